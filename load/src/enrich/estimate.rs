//! What an enrichment would ask for, and what that would cost at most, with nothing asked and nothing written.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use async_trait::async_trait;
use catalog::Lake;
use futures::FutureExt;

use super::batches::Batches;
use super::cache::Cache;
use super::journal::Journal;
use super::{AnswerKind, Context, Enrichment, content_key, held_answers};
use crate::error::Result;
use crate::llm::openai::OpenAi;
use crate::llm::{Call, Content, Desk, Llm, Mode, Usage, Verdict};
use crate::text::nfc;

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
    /// What a run may spend.
    pub budget: Option<f64>,
}

/// A desk that only looks: in the journal, and in what batches will bring.
struct Looking<'a> {
    journal: &'a Journal,
    covered: &'a HashSet<String>,
    /// Whether something would have to be paid.
    due: Mutex<bool>,
}

#[async_trait]
impl Desk for Looking<'_> {
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
    let (Some(openai), Some(from)) = (llm.paid(), lake.find(&enrichment.from).await?) else { return Ok(None) };
    let from = from.snapshot().await?;
    let rows = super::rows(enrichment, &from, llm.summariser()).await?;
    let mut known = match lake.find(&enrichment.into).await? {
        Some(into) => held_answers(&into.snapshot().await?).await?,
        None => HashMap::new(),
    };
    if let Some(cache) = Cache::find(lake).await? {
        cache.read(&mut known).await?;
    }
    let journal = Journal::open(lake, &enrichment.into, &context.run, context.dt).await?;
    let batches = Batches::open(lake, &enrichment.into, context).await?;
    let covered = batches.covered();
    let (mut summaries, mut embeddings) = (Expected::default(), Expected::default());
    let mut inputs: Vec<u64> = Vec::new();
    let mut seen = HashSet::new();
    for row in &rows {
        let Some(key) = row.summary_key.as_ref().filter(|key| seen.insert((*key).clone())) else { continue };
        let text = if let Some(answer) = known.get(key) {
            match &answer.text {
                Some(text) => Some(text.clone()),
                // Set aside: there is nothing to embed.
                None => continue,
            }
        } else {
            let desk = Looking { journal: &journal, covered: &covered, due: Mutex::new(false) };
            let verdict = openai.summary(&row.texts, &desk).await?;
            if desk.due.into_inner().unwrap_or(true) {
                summaries.answers += 1;
                summaries.usage += openai.expect(&row.texts);
            }
            match verdict {
                Some(Verdict::Text(text)) => Some(text),
                Some(Verdict::SetAside(_)) => continue,
                None => None,
            }
        };
        let is_known = text.as_deref().is_some_and(|text| {
            let key = content_key(AnswerKind::Embedding, llm.embedder(), llm.dimension(), &[nfc(text)]);
            known.contains_key(&key) || covered.contains(&key) || journal.knows(&key)
        });
        if !is_known {
            embeddings.answers += 1;
            inputs.push(OpenAi::expect_embedding(text.as_deref()));
        }
    }
    embeddings.usage = Usage { calls: calls(openai, &inputs), input_tokens: inputs.iter().sum(), output_tokens: 0 };
    for (expected, kind) in [(&mut summaries, AnswerKind::Summary), (&mut embeddings, AnswerKind::Embedding)] {
        expected.cost = openai.cost(openai.priced_model(kind), expected.usage, openai.mode());
    }
    let under_way = batches.under_way().1;
    Ok(Some(Estimate { mode: openai.mode(), summaries, embeddings, under_way, budget: openai.till().budget() }))
}

/// How many calls so many inputs make.
fn calls(openai: &OpenAi, inputs: &[u64]) -> u64 {
    // Every input as a text of its size, so that the rule of packing stands in one place.
    let texts: Vec<(String, String)> = inputs.iter().map(|tokens| (String::new(), filler(*tokens))).collect();
    openai.embedding_calls(&texts).len() as u64
}

/// A text of so many tokens by the rule.
fn filler(tokens: u64) -> String {
    "가".repeat(usize::try_from(tokens * 2 / 3).unwrap_or(0).max(1))
}
