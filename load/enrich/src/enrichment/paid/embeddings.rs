//! Asking for embeddings.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::{Asking, Final, Work};
use crate::enrichment::cache::{Answer, AnswerRow, RowContent};
use crate::enrichment::gateway::{EntityGateway, Shared};
use crate::enrichment::{Progress, Row};
use crate::error::{Error, Result};
use crate::llm::{AnswerKind, Call, CallGateway, Content, Refusal};

/// A text that is to be embedded, and whose summary it is.
struct SummaryText {
    entity: String,
    text: String,
}

impl Work<'_> {
    /// Asks for the embedding of every summary that is there and due, as many in a call as fit. Texts that are refused together are
    /// halved until the one is found that no service takes: it is set aside, and stops nobody else.
    pub(super) async fn embeddings(&mut self, rows: &[Row], asking: &Asking) -> Result<()> {
        let mut wanted: HashMap<String, SummaryText> = HashMap::new();
        let mut missing: Vec<(String, String)> = Vec::new();
        for row in rows {
            let (Some(key), Some(summary)) = (&row.embedding_key, &row.summary_key) else { continue };
            let Some(text) = self.known.get(summary).and_then(|it| it.text.clone()) else { continue };
            if self.known.contains_key(key) {
                self.done.reused += 1;
            } else if !wanted.contains_key(key) && self.is_due(key, AnswerKind::Embedding) {
                wanted.insert(key.clone(), SummaryText { entity: row.key.clone(), text: text.clone() });
                missing.push((key.clone(), text));
            }
        }
        let total = missing.len() as u64;
        self.needed += total;
        self.take_from_journal(&wanted, total).await?;
        missing.retain(|(key, _)| !self.known.contains_key(key) && !asking.covered.contains(key));
        self.pay_for(self.job.openai.embedding_calls(&missing), &wanted, (asking, total)).await
    }

    /// What batches brought, and what an earlier run paid for and could not gather.
    async fn take_from_journal(&mut self, wanted: &HashMap<String, SummaryText>, total: u64) -> Result<()> {
        for at in self.journal.holding(|key| wanted.contains_key(key)) {
            for (key, vector) in self.journal.vectors(at).await? {
                if wanted.contains_key(&key) && !self.known.contains_key(&key) {
                    self.embedded(wanted, key, vector, total);
                }
            }
            self.gather_many().await?;
        }
        Ok(())
    }

    async fn pay_for(
        &mut self,
        calls: Vec<Call>,
        wanted: &HashMap<String, SummaryText>,
        (asking, total): (&Asking, u64),
    ) -> Result<()> {
        let openai = self.job.openai;
        let (journal, stop, parts) = (Arc::clone(&self.journal), AtomicBool::new(false), HashMap::new());
        let shared = Shared {
            openai,
            journal: &journal,
            lease: self.job.lease,
            stop: &stop,
            given_up: &asking.given_up,
            parts: &parts,
            covered: &asking.covered,
            noted: &asking.noted,
        };
        let ask = |call: Call| {
            let counter = EntityGateway::new(&shared);
            async move { (counter.ask(call.clone()).await, call) }.boxed()
        };
        let mut waiting = calls.into_iter();
        let mut asked: FuturesUnordered<_> = waiting.by_ref().take(openai.jobs()).map(ask).collect();
        let mut failed = None;
        while let Some((content, call)) = asked.next().await {
            asked.extend(waiting.next().map(ask));
            match content {
                Ok(Some(Content::Vectors(vectors))) => {
                    for (key, vector) in call.parts.into_iter().zip(vectors) {
                        self.embedded(wanted, key, vector, total);
                    }
                }
                Ok(Some(Content::Refused(refusal))) if call.parts.len() > 1 && refusal.kind.can_be_halved() => {
                    self.finals.push(Final { rows: Vec::new(), used: vec![call.key.clone()] });
                    let halves = openai.halves(&call, |key| Some(wanted.get(key)?.text.clone()));
                    asked.extend(halves.into_iter().map(ask));
                }
                Ok(Some(Content::Refused(refusal))) => self.refused(wanted, &call, &refusal),
                Ok(Some(Content::Text(_)) | None) => {}
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    match error {
                        Error::Budget { .. } => self.out_of_budget = true,
                        error => failed = failed.or(Some(error)),
                    }
                }
            }
            if let Err(error) = self.gather_many().await {
                stop.store(true, Ordering::Relaxed);
                failed = failed.or(Some(error));
            }
        }
        drop(asked);
        failed.map_or(Ok(()), Err)
    }

    fn embedded(&mut self, wanted: &HashMap<String, SummaryText>, key: String, vector: Vec<f32>, total: u64) {
        self.done.embedded += 1;
        self.answered += 1;
        (self.job.context.progress)(Progress { kind: AnswerKind::Embedding, done: self.done.embedded, total });
        let entity = wanted.get(&key).map_or_else(String::new, |it| it.entity.clone());
        let answer = Answer { vector: Some(vector.into()), ..Answer::default() };
        self.known.insert(key.clone(), answer.clone());
        let used = vec![key.clone()];
        let row = AnswerRow { kind: AnswerKind::Embedding, key, entity, said: RowContent::Answer(answer) };
        self.finals.push(Final { rows: vec![row], used });
    }

    /// Texts that the service does not embed: set aside with the reason, each by itself.
    fn refused(&mut self, wanted: &HashMap<String, SummaryText>, call: &Call, refusal: &Refusal) {
        let mut rows = Vec::with_capacity(call.parts.len());
        for key in &call.parts {
            self.answered += 1;
            let entity = wanted.get(key).map_or("", |it| it.entity.as_str());
            rows.push(self.set_aside(AnswerKind::Embedding, key, entity, refusal.clone()));
        }
        self.finals.push(Final { rows, used: vec![call.key.clone()] });
    }
}
