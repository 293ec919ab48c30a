//! The way of an enrichment whose answers cost money.
//!
//! Order of events: what the day has cost so far → the answers of the lake, then those of the journal → what is missing is asked for,
//! many calls at a time, each reply stored before it is used → complete answers are gathered into `ops.llm_results`, with `ops.costs`
//! before them → the result table is replaced with all that is known. Where the budget ends, batches are under way or answers are set
//! aside the table is published all the same: an entity whose new texts have no answer yet keeps the summary it had.

mod embeddings;
mod publish;
mod summaries;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Lake, Snapshot, Table, failpoint};

use super::aside::{self, Aside};
use super::batches::Batches;
use super::cache::{Answer, AnswerRow, Cache, RowContent};
use super::journal::Journal;
use super::lease::EnrichLease;
use super::published::Published;
use super::{AnswerKind, Context, Enriched, Enrichment, Outcome, Row};
use crate::costs::Costs;
use crate::error::Result;
use crate::llm::openai::OpenAi;
use crate::llm::{Call, Llm, Mode, Refusal};

/// Complete answers that are gathered with one commit.
pub(super) const GATHER: usize = 512;

/// What the way needs.
pub(super) struct Job<'a> {
    pub(super) lake: &'a Lake,
    pub(super) enrichment: &'a Enrichment,
    pub(super) llm: &'a dyn Llm,
    pub(super) openai: &'a OpenAi,
    pub(super) context: &'a Context<'a>,
    pub(super) from: &'a Snapshot,
    pub(super) before: &'a Snapshot,
    pub(super) into: &'a Table,
    pub(super) app_id: String,
    pub(super) print: i64,
    pub(super) lease: &'a EnrichLease,
}

/// Rows that are not in the lake's table yet, and the replies that they rest on.
struct Final {
    rows: Vec<AnswerRow>,
    used: Vec<String>,
}

/// What all calls of a run share.
#[derive(Default)]
struct Asking {
    /// Requests of batches under way: their answers come later.
    covered: HashSet<String>,
    /// Requests for the next batches.
    noted: Mutex<Vec<Call>>,
    /// Calls given up since the last answer.
    given_up: AtomicU32,
}

/// How far it is.
struct Work<'a> {
    job: &'a Job<'a>,
    cache: Cache,
    costs: Costs,
    journal: Arc<Journal>,
    published: Published,
    known: HashMap<String, Answer>,
    /// Answers that are set aside, by the keys that they are kept under.
    aside: HashMap<String, Aside>,
    finals: Vec<Final>,
    done: Enriched,
    needed: u64,
    answered: u64,
    out_of_budget: bool,
    /// What batches under way cost at most.
    promised: f64,
}

/// See the module for the order of events.
pub(super) async fn enrich(job: &Job<'_>) -> Result<Enriched> {
    let Job { lake, enrichment, llm, context, .. } = *job;
    let mut rows = super::rows(enrichment, job.from, llm).await?;
    let costs = Costs::open(lake).await?;
    let journal = Journal::open(lake, &enrichment.into, &context.run, context.dt).await?;
    journal.begin(&costs).await?;
    let mut published = Published::read(job.before, enrichment).await?;
    let mut work = Work {
        job,
        cache: Cache::open(lake).await?,
        costs,
        journal: Arc::new(journal),
        known: std::mem::take(&mut published.known),
        published,
        aside: HashMap::new(),
        finals: Vec::new(),
        done: Enriched::new(Outcome::Unchanged(job.before.version())),
        needed: 0,
        answered: 0,
        out_of_budget: false,
        promised: 0.0,
    };
    // Batches under way are paid for: their answers are waited for also where the mode is another one now.
    let mut batches = Batches::open(lake, &enrichment.into, context).await?;
    let asked = work.ask(&mut rows, &mut batches).await;
    // What was paid for is put in order also where something failed.
    let gathered = work.gather().await;
    asked?;
    gathered?;
    work.publish(&rows, &batches).await
}

impl Work<'_> {
    async fn ask(&mut self, rows: &mut [Row], batches: &mut Batches) -> Result<()> {
        let openai = self.job.openai;
        let complaint = batches.collect(openai, &self.journal).await?;
        // Whatever the day has cost is counted before anything is asked: by runs before this one, and by those that died.
        self.journal.count(&self.costs, self.job.context).await?;
        self.promised = batches.promised();
        self.add_up().await?;
        let asking = Asking { covered: batches.covered(), ..Asking::default() };
        let keys: Vec<String> = rows.iter().filter_map(|row| row.summary_key.clone()).collect();
        self.remember(&keys, AnswerKind::Summary).await?;
        self.summaries(rows, &asking).await?;
        for row in rows.iter_mut() {
            let answer = row.summary_key.as_ref().and_then(|key| self.known.get(key));
            if let Some(text) = answer.and_then(|answer| answer.text.clone()) {
                row.embeds(&text, self.job.llm);
            }
        }
        let keys: Vec<String> = rows.iter().filter_map(|row| row.embedding_key.clone()).collect();
        self.remember(&keys, AnswerKind::Embedding).await?;
        self.embeddings(rows, &asking).await?;
        if openai.mode() == Mode::Batch && !self.job.lease.is_lost() {
            let noted = asking.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.out_of_budget |= batches.submit(openai, noted).await?;
        }
        // A batch that the service refused as a whole is said after everything else went its way.
        complaint.map_or(Ok(()), Err)
    }

    /// What others have spent of the day's budget, and what batches under way will. Others spend while we do: so it is added up again
    /// with each commit of our own, and two runs at a time pass the budget by what each spends between two of them, at most.
    async fn add_up(&self) -> Result<()> {
        if self.job.openai.budget().limit().is_some() {
            let Context { run, today, .. } = self.job.context;
            let spent = self.costs.spent_by_others(*today, run).await?;
            self.job.openai.budget().add_up(spent, self.job.enrichment.into.to_string().as_str(), self.promised);
        }
        Ok(())
    }

    /// Looks in the lake for answers that are not at hand, and for those that are set aside.
    async fn remember(&mut self, keys: &[String], kind: AnswerKind) -> Result<()> {
        let mut wanted = HashSet::new();
        for key in keys {
            if self.is_lacking(key) {
                wanted.insert(self.aside_key(key, kind));
            }
            if !self.known.contains_key(key) {
                wanted.insert(key.clone());
            }
        }
        let found = self.cache.read(&wanted).await?;
        self.known.extend(found.answers);
        self.aside.extend(found.aside);
        Ok(())
    }

    fn aside_key(&self, key: &str, kind: AnswerKind) -> String {
        aside::key(key, &self.job.openai.bounds(kind))
    }

    /// Whether an answer is to be asked for now: it is not there, or rests on some of its texts, and it does not wait for its time.
    fn is_due(&self, key: &str, kind: AnswerKind) -> bool {
        match self.aside.get(&self.aside_key(key, kind)) {
            Some(aside) => self.is_lacking(key) && aside.is_due(self.job.context.now),
            None => !self.known.contains_key(key),
        }
    }

    fn is_lacking(&self, key: &str) -> bool {
        !self.known.get(key).is_some_and(Answer::is_whole)
    }

    /// The row that says that an answer was set aside once more.
    fn set_aside(&mut self, kind: AnswerKind, key: &str, entity: &str, refusal: Refusal) -> AnswerRow {
        let key = self.aside_key(key, kind);
        let tries = self.aside.get(&key).map_or(0, |it| it.tries).saturating_add(1);
        let at = self.job.context.now;
        self.aside.insert(key.clone(), Aside { refusal: refusal.clone(), tries, at });
        AnswerRow { kind, key, entity: entity.to_owned(), said: RowContent::Aside(refusal, tries) }
    }

    /// Gathers once it is worth a commit: what waits for one is held in memory.
    async fn gather_many(&mut self) -> Result<()> {
        let waiting: usize = self.finals.iter().map(|it| it.rows.len()).sum();
        if waiting < GATHER {
            return Ok(());
        }
        self.gather().await?;
        self.add_up().await
    }

    /// Costs first, answers second, and only then the objects that both came from.
    async fn gather(&mut self) -> Result<()> {
        self.journal.count(&self.costs, self.job.context).await?;
        let finals = std::mem::take(&mut self.finals);
        for kind in [AnswerKind::Part, AnswerKind::Summary, AnswerKind::Embedding] {
            let llm = self.job.llm;
            let model = if kind == AnswerKind::Embedding { llm.embedder() } else { llm.summariser() };
            let rows: Vec<&AnswerRow> = finals.iter().flat_map(|it| &it.rows).filter(|row| row.kind == kind).collect();
            if !rows.is_empty() {
                self.cache.store(kind, &model.id(), &rows, self.job.context).await?;
            }
        }
        failpoint!("llm.gather.after");
        let used: Vec<String> = finals.into_iter().flat_map(|it| it.used).collect();
        if used.is_empty() { Ok(()) } else { self.journal.used(&used).await }
    }
}
