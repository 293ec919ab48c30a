//! What an enrichment would ask for, and what that would cost at most, with nothing asked and nothing written.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use catalog::Lake;
use futures::FutureExt;

use super::aside::{self, Aside};
use super::batches::Batches;
use super::cache::{Answer, Cache};
use super::journal::Journal;
use super::published::Published;
use super::{AnswerKind, Context, Enrichment, Row};
use crate::error::Result;
use crate::llm::openai::OpenAi;
use crate::llm::{Call, CallGateway, Content, Llm, Mode, Usage, Verdict};

/// What one kind of answer would take.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Expected {
    /// Answers that are missing.
    pub answers: u64,
    /// Calls and tokens, at most.
    pub usage: Usage,
    /// What they cost at most; `None` without a price.
    pub cost: Option<f64>,
}

/// What an enrichment would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Whether answers would be waited for.
    pub mode: Mode,
    /// The summaries.
    pub summaries: Expected,
    /// The embeddings, those of summaries that are not written yet too.
    pub embeddings: Expected,
    /// Answers that batches under way will bring.
    pub under_way: u64,
    /// What may be spent in a day.
    pub budget: Option<f64>,
}

/// A gateway that only looks: in the journal, and in what batches will bring.
struct Looking<'a> {
    journal: &'a Journal,
    covered: &'a HashSet<String>,
    parts: &'a HashMap<String, String>,
    /// Whether something would have to be paid.
    due: Mutex<bool>,
}

#[async_trait]
impl CallGateway for Looking<'_> {
    async fn ask(&self, call: Call) -> Result<Option<Content>> {
        let found = self.journal.find(&call.key);
        if found.is_none()
            && !self.covered.contains(&call.key)
            && let Ok(mut due) = self.due.lock()
        {
            *due = true;
        }
        Ok(found)
    }

    fn part(&self, key: &str) -> Option<String> {
        self.parts.get(key).cloned()
    }
}

/// What the lake knows of the answers that are wanted.
struct Looked<'a> {
    cache: Option<Cache>,
    openai: &'a OpenAi,
    context: &'a Context<'a>,
    known: HashMap<String, Answer>,
    aside: HashMap<String, Aside>,
}

impl Looked<'_> {
    async fn remember(&mut self, keys: impl Iterator<Item = &String>, kind: AnswerKind) -> Result<()> {
        let Some(cache) = &self.cache else { return Ok(()) };
        let unknown: Vec<&String> = keys.filter(|key| self.is_lacking(key)).collect();
        let wanted = unknown.iter().flat_map(|key| [(*key).clone(), self.aside_key(key, kind)]).collect();
        let found = cache.read(&wanted).await?;
        for (key, answer) in found.answers {
            self.known.entry(key).or_insert(answer);
        }
        self.aside.extend(found.aside);
        Ok(())
    }

    fn aside_key(&self, key: &str, kind: AnswerKind) -> String {
        aside::key(key, &self.openai.bounds(kind))
    }

    fn is_lacking(&self, key: &str) -> bool {
        !self.known.get(key).is_some_and(Answer::is_whole)
    }

    /// Whether a run would ask for it now.
    fn is_due(&self, key: &str, kind: AnswerKind) -> bool {
        match self.aside.get(&self.aside_key(key, kind)) {
            Some(aside) => self.is_lacking(key) && aside.is_due(self.context.now),
            None => !self.known.contains_key(key),
        }
    }

    /// The parts that the lake has of the summaries that would be asked for.
    async fn parts(&self, rows: &[Row]) -> Result<HashMap<String, String>> {
        let Some(cache) = &self.cache else { return Ok(HashMap::new()) };
        let due = |row: &&Row| row.summary_key.as_ref().is_some_and(|key| self.is_due(key, AnswerKind::Summary));
        let in_parts = rows.iter().filter(due).filter(|row| !self.openai.fits(&row.texts));
        cache.parts(&in_parts.map(|row| row.key.clone()).collect()).await
    }
}

/// What bringing the result table up to its input would take. `None` where answers are free or the input is not there yet.
pub async fn estimate(
    lake: &Lake,
    enrichment: &Enrichment,
    llm: &dyn Llm,
    context: &Context<'_>,
) -> Result<Option<Estimate>> {
    looked(lake, enrichment, llm, context).boxed().await
}

async fn looked(
    lake: &Lake,
    enrichment: &Enrichment,
    llm: &dyn Llm,
    context: &Context<'_>,
) -> Result<Option<Estimate>> {
    let (Some(openai), Some(from)) = (llm.paid(), lake.newest(&enrichment.from).await?) else { return Ok(None) };
    let mut rows = super::rows(enrichment, &from, llm).await?;
    let known = match lake.newest(&enrichment.into).await? {
        Some(into) => Published::read(&into, enrichment).await?.known,
        None => HashMap::new(),
    };
    let mut looked = Looked { cache: Cache::find(lake).await?, openai, context, known, aside: HashMap::new() };
    looked.remember(rows.iter().filter_map(|row| row.summary_key.as_ref()), AnswerKind::Summary).await?;
    let parts = looked.parts(&rows).await?;
    let journal = Journal::open(lake, &enrichment.into, &context.run, context.dt).await?;
    let batches = Batches::open(lake, &enrichment.into, context).await?;
    let covered = batches.covered();
    let mut summaries = Expected::default();
    // Of each entity whose summary is to be embedded: the text, if it is written already.
    let mut texts: Vec<Option<String>> = Vec::new();
    let mut seen = HashSet::new();
    for row in &mut rows {
        let Some(key) = row.summary_key.clone().filter(|key| seen.insert(key.clone())) else { continue };
        let mut text = looked.known.get(&key).and_then(|answer| answer.text.clone());
        if looked.is_due(&key, AnswerKind::Summary) {
            let gateway = Looking { journal: &journal, covered: &covered, parts: &parts, due: Mutex::new(false) };
            let summarised = openai.summary(&row.texts, &enrichment.prompt, &gateway).await?;
            if gateway.due.into_inner().unwrap_or(true) {
                summaries.answers += 1;
                summaries.usage += openai.expect(&row.texts, &enrichment.prompt);
            }
            match summarised.map(|it| it.verdict) {
                Some(Verdict::Written(written)) => text = Some(written.summary),
                None if text.is_none() => texts.push(None),
                Some(Verdict::SetAside(_)) | None => {}
            }
        }
        if let Some(text) = text {
            row.embeds(&text, llm);
            texts.push(Some(text));
        }
    }
    looked.remember(rows.iter().filter_map(|row| row.embedding_key.as_ref()), AnswerKind::Embedding).await?;
    let prompt = &enrichment.prompt;
    let mut inputs: Vec<u64> =
        texts.iter().filter(|it| it.is_none()).map(|_| OpenAi::expect_embedding(None, prompt)).collect();
    let mut seen = HashSet::new();
    for (row, text) in rows.iter().filter(|row| row.embedding_key.is_some()).zip(texts.iter().flatten()) {
        let Some(key) = row.embedding_key.as_ref().filter(|key| seen.insert((*key).clone())) else { continue };
        if looked.is_due(key, AnswerKind::Embedding) && !covered.contains(key) && !journal.knows(key) {
            inputs.push(OpenAi::expect_embedding(Some(text), prompt));
        }
    }
    let usage = Usage {
        calls: openai.embedding_groups(&inputs).len() as u64,
        input_tokens: inputs.iter().sum(),
        output_tokens: 0,
    };
    let mut embeddings = Expected { answers: inputs.len() as u64, usage, cost: None };
    for (expected, kind) in [(&mut summaries, AnswerKind::Summary), (&mut embeddings, AnswerKind::Embedding)] {
        expected.cost = openai.cost(openai.priced_model(kind), expected.usage, openai.mode());
    }
    let under_way = batches.under_way().1;
    Ok(Some(Estimate { mode: openai.mode(), summaries, embeddings, under_way, budget: openai.budget().limit() }))
}
