//! The way of an enrichment whose answers cost money.
//!
//! Order of events: the answers of the lake, then those of the journal → what is missing is asked for, many calls at a time, each
//! reply stored before it is used → complete answers are gathered into `ops.llm_results`, with `ops.costs` before them → the result
//! table is replaced with all that is known. Where the budget ends or batches are under way the table is published all the same: an
//! entity whose new texts have no answer yet keeps the summary it had.

mod publish;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{Lake, Snapshot, Table, failpoint};
use futures::{FutureExt, StreamExt};

use super::batches::Batches;
use super::cache::{Answer, Cache};
use super::desk::{Counter, Shared};
use super::journal::Journal;
use super::{AnswerKind, Context, Enriched, Enrichment, Outcome, Progress, Row, content_key, held_answers};
use crate::costs::Costs;
use crate::error::{Error, Result};
use crate::llm::openai::OpenAi;
use crate::llm::{Call, Content, Desk, Llm, Mode, Verdict};
use crate::text::nfc;

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
    pub(super) held: &'a Snapshot,
    pub(super) into: &'a Table,
    pub(super) app_id: String,
    pub(super) print: i64,
}

/// A complete answer that is not in the lake's table yet.
struct Final {
    kind: AnswerKind,
    key: String,
    entity: String,
    answer: Answer,
    used: Vec<String>,
}

/// How far it is.
struct Work<'a> {
    job: &'a Job<'a>,
    cache: Cache,
    cache_read: bool,
    costs: Costs,
    journal: Arc<Journal>,
    known: HashMap<String, Answer>,
    finals: Vec<Final>,
    done: Enriched,
    wanted: u64,
    answered: u64,
    out_of_budget: bool,
}

/// See the module for the order of events.
pub(super) async fn enrich(job: &Job<'_>) -> Result<Enriched> {
    let Job { lake, enrichment, llm, context, .. } = *job;
    let mut rows = super::rows(enrichment, job.from, llm.summariser()).await?;
    let costs = Costs::open(lake).await?;
    let journal = Journal::open(lake, &enrichment.into, &context.run, context.dt).await?;
    journal.begin(&costs).await?;
    let mut work = Work {
        job,
        cache: Cache::open(lake).await?,
        cache_read: false,
        costs,
        journal: Arc::new(journal),
        known: held_answers(job.held).await?,
        finals: Vec::new(),
        done: Enriched::new(Outcome::Unchanged(job.held.version())),
        wanted: 0,
        answered: 0,
        out_of_budget: false,
    };
    // Batches under way are paid for: their answers are waited for also where the mode is another one now.
    let mut batches = Batches::open(lake, &enrichment.into, context).await?;
    let asked = work.ask(&mut rows, &mut batches).await;
    // What was paid for is put in order also where something failed.
    let gathered = work.gather().await;
    asked?;
    gathered?;
    work.publish(rows, &batches).await
}

impl Work<'_> {
    async fn ask(&mut self, rows: &mut [Row], batches: &mut Batches) -> Result<()> {
        let openai = self.job.openai;
        let complaint = batches.collect(openai, &self.journal).await?;
        let covered = batches.covered();
        let noted = Mutex::new(Vec::new());
        self.remember(rows.iter().filter_map(|row| row.summary_key.as_ref())).await?;
        self.summaries(rows, &covered, &noted).await?;
        for row in rows.iter_mut() {
            let answer = row.summary_key.as_ref().and_then(|key| self.known.get(key));
            if let Some(text) = answer.and_then(|answer| answer.text.as_deref()) {
                let (model, dimension) = (self.job.llm.embedder(), self.job.llm.dimension());
                row.embedding_key = Some(content_key(AnswerKind::Embedding, model, dimension, &[nfc(text)]));
            }
        }
        self.remember(rows.iter().filter_map(|row| row.embedding_key.as_ref())).await?;
        self.embeddings(rows, &covered, &noted).await?;
        if openai.mode() == Mode::Batch {
            let noted = noted.into_inner().unwrap_or_else(PoisonError::into_inner);
            self.out_of_budget |= batches.submit(openai, noted).await?;
        }
        // A batch that the service refused as a whole is said after everything else went its way.
        complaint.map_or(Ok(()), Err)
    }

    /// Reads every answer of the lake, once, if the table of last time does not have them all.
    async fn remember(&mut self, mut keys: impl Iterator<Item = &String>) -> Result<()> {
        if !self.cache_read && keys.any(|key| !self.known.contains_key(key)) {
            self.cache.read(&mut self.known).await?;
            self.cache_read = true;
        }
        Ok(())
    }

    async fn summaries(&mut self, rows: &[Row], covered: &HashSet<String>, noted: &Mutex<Vec<Call>>) -> Result<()> {
        let mut seen = HashSet::new();
        let missing: Vec<(&str, &Row)> = rows
            .iter()
            .filter_map(|row| Some((row.summary_key.as_deref()?, row)))
            .filter(|(key, _)| !self.known.contains_key(*key) && seen.insert((*key).to_owned()))
            .collect();
        let needed = rows.iter().filter(|row| row.summary_key.is_some()).count() as u64;
        let total = missing.len() as u64;
        self.done.reused += needed - total;
        self.wanted += total;
        let openai = self.job.openai;
        let stop = AtomicBool::new(false);
        let journal = Arc::clone(&self.journal);
        let shared = Shared { openai, journal: &journal, stop: &stop, covered, noted };
        let mut asked = Vec::with_capacity(missing.len());
        for (key, row) in missing {
            let counter = Counter::new(&shared);
            asked.push(async move { (key, row, openai.summary(&row.texts, &counter).await, counter.used()) }.boxed());
        }
        let mut answers = futures::stream::iter(asked).buffer_unordered(openai.jobs());
        let (mut failed, mut done) = (None, 0);
        while let Some((key, row, verdict, used)) = answers.next().await {
            let answer = match verdict {
                Ok(Some(Verdict::Text(text))) => Answer { text: Some(text), ..Answer::default() },
                Ok(Some(Verdict::SetAside(reason))) => {
                    self.done.set_aside += 1;
                    Answer { reason: Some(reason), ..Answer::default() }
                }
                Ok(None) => continue,
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    match error {
                        Error::Budget { .. } => self.out_of_budget = true,
                        error => failed = failed.or(Some(error)),
                    }
                    continue;
                }
            };
            done += 1;
            self.done.summarised += 1;
            self.answered += 1;
            (self.job.context.progress)(Progress { kind: AnswerKind::Summary, done, total });
            let (key, entity) = (key.to_owned(), row.key.clone());
            self.known.insert(key.clone(), answer.clone());
            self.finals.push(Final { kind: AnswerKind::Summary, key, entity, answer, used });
            if let Err(error) = self.gather_many().await {
                stop.store(true, Ordering::Relaxed);
                failed = failed.or(Some(error));
            }
        }
        drop(answers);
        failed.map_or(Ok(()), Err)
    }

    async fn embeddings(&mut self, rows: &[Row], covered: &HashSet<String>, noted: &Mutex<Vec<Call>>) -> Result<()> {
        let openai = self.job.openai;
        let mut entities: HashMap<String, String> = HashMap::new();
        let mut missing: Vec<(String, String)> = Vec::new();
        let mut needed = 0;
        for row in rows {
            let (Some(key), Some(summary)) = (&row.embedding_key, &row.summary_key) else { continue };
            needed += 1;
            let Some(text) = self.known.get(summary).and_then(|it| it.text.clone()) else { continue };
            if self.known.contains_key(key) || entities.contains_key(key) {
                continue;
            }
            entities.insert(key.clone(), row.key.clone());
            missing.push((key.clone(), text));
        }
        let total = missing.len() as u64;
        self.done.reused += needed - total;
        self.wanted += total;
        let stop = AtomicBool::new(false);
        let mut done = 0;
        // What batches brought, and what an earlier run paid for and could not gather.
        for at in self.journal.holding(|key| entities.contains_key(key)) {
            for (key, vector) in self.journal.vectors(at).await? {
                if entities.contains_key(&key) && !self.known.contains_key(&key) {
                    done += 1;
                    self.embedded(&entities, key, vector, Progress { kind: AnswerKind::Embedding, done, total });
                }
            }
            self.gather_many().await?;
        }
        missing.retain(|(key, _)| !self.known.contains_key(key) && !covered.contains(key));
        let calls = openai.embedding_calls(&missing);
        let journal = Arc::clone(&self.journal);
        let shared = Shared { openai, journal: &journal, stop: &stop, covered, noted };
        let mut asked = Vec::with_capacity(calls.len());
        for call in calls {
            let counter = Counter::new(&shared);
            asked.push(async move { (call.parts.clone(), counter.ask(call).await) }.boxed());
        }
        let mut answers = futures::stream::iter(asked).buffer_unordered(openai.jobs());
        let mut failed = None;
        while let Some((parts, content)) = answers.next().await {
            match content {
                Ok(Some(Content::Vectors(vectors))) => {
                    for (key, vector) in parts.into_iter().zip(vectors) {
                        done += 1;
                        self.embedded(&entities, key, vector, Progress { kind: AnswerKind::Embedding, done, total });
                    }
                    if let Err(error) = self.gather_many().await {
                        stop.store(true, Ordering::Relaxed);
                        failed = failed.or(Some(error));
                    }
                }
                Ok(_) => {}
                Err(Error::Budget { .. }) => {
                    stop.store(true, Ordering::Relaxed);
                    self.out_of_budget = true;
                }
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    failed = failed.or(Some(error));
                }
            }
        }
        drop(answers);
        failed.map_or(Ok(()), Err)
    }

    fn embedded(&mut self, entities: &HashMap<String, String>, key: String, vector: Vec<f32>, progress: Progress) {
        (self.job.context.progress)(progress);
        self.done.embedded += 1;
        self.answered += 1;
        let entity = entities.get(&key).cloned().unwrap_or_default();
        let answer = Answer { vector: Some(vector), ..Answer::default() };
        self.known.insert(key.clone(), answer.clone());
        self.finals.push(Final { kind: AnswerKind::Embedding, used: vec![key.clone()], key, entity, answer });
    }

    /// Gathers once it is worth a commit: what waits for one is held in memory.
    async fn gather_many(&mut self) -> Result<()> {
        if self.finals.len() >= GATHER { self.gather().await } else { Ok(()) }
    }

    /// Costs first, answers second, and only then the objects that both came from.
    async fn gather(&mut self) -> Result<()> {
        self.journal.count(&self.costs, self.job.context).await?;
        let finals = std::mem::take(&mut self.finals);
        for kind in [AnswerKind::Summary, AnswerKind::Embedding] {
            let model = if kind == AnswerKind::Summary { self.job.llm.summariser() } else { self.job.llm.embedder() };
            let ours: Vec<(&str, &str, &Answer)> = finals
                .iter()
                .filter(|it| it.kind == kind)
                .map(|it| (it.key.as_str(), it.entity.as_str(), &it.answer))
                .collect();
            if !ours.is_empty() {
                self.cache.store(kind, &model.id(), &ours, self.job.context).await?;
            }
        }
        failpoint!("llm.gather.after");
        let used: Vec<String> = finals.into_iter().flat_map(|it| it.used).collect();
        if used.is_empty() { Ok(()) } else { self.journal.used(&used).await }
    }
}
