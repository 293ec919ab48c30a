//! Asking a model for what the lake does not know yet, batch by batch; each batch is stored before anybody uses it.

use std::collections::{HashMap, HashSet};

use catalog::failpoint;
use futures::{StreamExt, TryStreamExt};

use super::cache::{Answer, AnswerRow, Cache, RowContent};
use super::{AnswerKind, Basis, Context, Progress};
use crate::error::{Error, Result};
use crate::llm::Llm;

/// What is asked about one entity.
pub(super) struct Wish<'a> {
    pub(super) entity: &'a str,
    pub(super) texts: &'a [String],
}

/// How many answers were asked for, and how many were there.
pub(super) struct Count {
    pub(super) asked: u64,
    pub(super) found: u64,
}

/// Every answer known so far, and how to get the others.
pub(super) struct Answers<'a> {
    cache: Cache,
    pub(super) known: HashMap<String, Answer>,
    context: &'a Context<'a>,
}

impl<'a> Answers<'a> {
    /// With the answers that are at hand; the cache is asked for the others.
    pub(super) fn new(cache: Cache, known: HashMap<String, Answer>, context: &'a Context<'a>) -> Self {
        Self { cache, known, context }
    }

    /// Makes all wanted answers known.
    pub(super) async fn all(
        &mut self,
        kind: AnswerKind,
        wanted: Vec<(String, Wish<'_>)>,
        llm: &dyn Llm,
    ) -> Result<Count> {
        let needed = wanted.len() as u64;
        let mut seen = HashSet::new();
        let mut missing: Vec<_> =
            wanted.into_iter().filter(|(key, _)| !self.known.contains_key(key) && seen.insert(key.clone())).collect();
        if !missing.is_empty() {
            let keys = missing.iter().map(|(key, _)| key.clone()).collect();
            self.known.extend(self.cache.read(&keys).await?.answers);
            missing.retain(|(key, _)| !self.known.contains_key(key));
        }
        let total = missing.len() as u64;
        let mut done = 0;
        for batch in missing.chunks(self.context.batch.max(1)) {
            failpoint!("load.summarise.before");
            let answers = match kind {
                AnswerKind::Embedding => embeddings(batch, llm).await?,
                AnswerKind::Summary | AnswerKind::Part => self.summaries(batch, llm, done, total).await?,
            };
            failpoint!("load.summarise.after");
            let model = if kind == AnswerKind::Summary { llm.summariser() } else { llm.embedder() };
            let stored: Vec<AnswerRow> = batch
                .iter()
                .zip(&answers)
                .map(|((key, question), answer)| AnswerRow {
                    kind,
                    key: key.clone(),
                    entity: question.entity.to_owned(),
                    said: RowContent::Answer(answer.clone()),
                })
                .collect();
            failpoint!("load.results.before");
            self.cache.store(kind, &model.id(), &stored.iter().collect::<Vec<_>>(), self.context).await?;
            failpoint!("load.results.after");
            done += batch.len() as u64;
            (self.context.progress)(Progress { kind, done, total });
            self.known.extend(batch.iter().map(|(key, _)| key.clone()).zip(answers));
        }
        Ok(Count { asked: total, found: needed - total })
    }

    async fn summaries(
        &self,
        batch: &[(String, Wish<'_>)],
        llm: &dyn Llm,
        before: u64,
        total: u64,
    ) -> Result<Vec<Answer>> {
        let asked: Vec<_> = batch.iter().map(|(_, question)| llm.summarise(question.texts)).collect();
        let mut answers = futures::stream::iter(asked).buffered(self.context.jobs.max(1));
        let mut given = Vec::with_capacity(batch.len());
        let mut texts = batch.iter().map(|(_, question)| question.texts.len() as u64);
        while let Some(summary) = answers.try_next().await? {
            if summary.text.trim().is_empty() {
                return Err(Error::Model {
                    model: summary.model,
                    message: "expected a summary, found a blank one".into(),
                    retryable: true,
                });
            }
            let basis = texts.next().map(|count| Basis { used: count, given: count });
            given.push(Answer { text: Some(summary.text), basis, ..Answer::default() });
            (self.context.progress)(Progress { kind: AnswerKind::Summary, done: before + given.len() as u64, total });
        }
        Ok(given)
    }
}

async fn embeddings(batch: &[(String, Wish<'_>)], llm: &dyn Llm) -> Result<Vec<Answer>> {
    let texts: Vec<String> = batch.iter().map(|(_, question)| question.texts.join("\n")).collect();
    let vectors = llm.embed(&texts).await?;
    let wrong = vectors.iter().find(|v| v.vector.len() != llm.dimension() || v.vector.iter().any(|x| !x.is_finite()));
    if vectors.len() != texts.len() || wrong.is_some() {
        let found = wrong.map_or_else(
            || format!("{} vectors", vectors.len()),
            |w| format!("one of {} numbers, or with a number that is not finite", w.vector.len()),
        );
        return Err(Error::Model {
            model: llm.embedder().id(),
            message: format!("expected {} vectors of {} numbers, found {found}", texts.len(), llm.dimension()),
            retryable: false,
        });
    }
    Ok(vectors.into_iter().map(|v| Answer { vector: Some(v.vector.into()), ..Answer::default() }).collect())
}
