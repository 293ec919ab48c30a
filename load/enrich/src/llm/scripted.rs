//! A provider for tests: answers by rule, counts what it was asked, fails when told to.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{Embedding, Llm, Model, Summary};
use crate::error::{Error, Result};

/// Summarises to the first text in brackets; embeds to (length, 1).
#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) summariser: Model,
    pub(crate) embedder: Model,
    pub(crate) summaries: AtomicUsize,
    pub(crate) embeddings: AtomicUsize,
    /// Calls of either kind that succeed before every further one fails.
    pub(crate) fails_after: usize,
}

impl Scripted {
    pub(crate) fn new() -> Self {
        let model = |name: &str| Model { name: name.into(), version: 1, parameters: "t=0".into() };
        Self {
            summariser: model("scripted-summary"),
            embedder: model("scripted-embedding"),
            summaries: AtomicUsize::new(0),
            embeddings: AtomicUsize::new(0),
            fails_after: usize::MAX,
        }
    }

    /// (summaries, embeddings) asked for so far.
    pub(crate) fn asked(&self) -> (usize, usize) {
        (self.summaries.load(Ordering::SeqCst), self.embeddings.load(Ordering::SeqCst))
    }

    fn check(&self) -> Result<()> {
        let (a, b) = self.asked();
        if a + b > self.fails_after {
            return Err(Error::Model {
                model: self.summariser.id(),
                message: "out of answers".into(),
                retryable: true,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Llm for Scripted {
    fn summariser(&self) -> &Model {
        &self.summariser
    }
    fn embedder(&self) -> &Model {
        &self.embedder
    }
    fn dimension(&self) -> usize {
        2
    }
    async fn summarise(&self, texts: &[String]) -> Result<Summary> {
        self.summaries.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        Ok(Summary { text: format!("[{}]", texts[0]), model: self.summariser.id() })
    }
    #[expect(clippy::cast_precision_loss, reason = "short test texts")]
    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        self.embeddings.fetch_add(texts.len(), Ordering::SeqCst);
        self.check()?;
        Ok(texts
            .iter()
            .map(|t| Embedding { vector: vec![t.chars().count() as f32, 1.0], model: self.embedder.id() })
            .collect())
    }
}
