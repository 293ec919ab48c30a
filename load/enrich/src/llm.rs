//! What a language model is to us: texts in, one short text out; texts in, vectors out.
//!
//! The trait says nothing of prompts, tokens or limits: they belong to the provider behind it. What every answer must carry is
//! the name of the model that gave it, because the lake keeps answers for years and a vector of one model means nothing to another.
//!
//! A provider that costs money says so by [`Llm::paid`]. Then every request is a [`Call`] that goes over a [`CallGateway`]: the one place
//! that knows what was paid for already, what may still be spent, and that a reply is stored before anybody uses it.

use async_trait::async_trait;

use crate::error::Result;

mod call;
mod field;
pub mod hash_embedding;
pub mod lexrank;
pub mod local;
pub mod openai;
pub mod prices;
mod prompt;
mod refusal;
#[cfg(test)]
pub(crate) mod scripted;
pub mod tokens;

pub(crate) use call::Summarised;
pub use call::{AnswerKind, Call, CallGateway, Content, Endpoint, Mode, Reply, Usage, Verdict, Written};
pub use field::{FieldKind, FieldValues, OutputField, Range, TextRule};
pub use prompt::{Length, Prompt, Script};
pub use refusal::{Refusal, RefusalKind};

/// A model as a part of a content key: change any field and every answer is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// For example `local-lexrank-mmr`.
    pub name: String,
    /// The version of the prompt or of the algorithm.
    pub version: u32,
    /// Everything else that changes the answer, as text: temperature, number of sentences, dimensions.
    pub parameters: String,
}

impl Model {
    /// The short form that is stored beside each answer: `name@version`.
    pub fn id(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// A short text about one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The text; never blank.
    pub text: String,
    /// [`Model::id`] of what wrote it.
    pub model: String,
}

/// A text as a point; the nearer two points, the nearer the texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Of length 1 (or all zero for a text without words), with the model's dimension.
    pub vector: Vec<f32>,
    /// [`Model::id`] of what computed it.
    pub model: String,
}

/// A provider of summaries and embeddings. `local` needs nothing; others speak to a server.
///
/// Contract: the same texts give an answer of the same kind every time, answers are never blank or of another dimension, and a call
/// that fails has no effect. Callers store an answer before they use it, so a provider need not cache.
#[async_trait]
pub trait Llm: Send + Sync {
    /// The model behind [`Llm::summarise`].
    fn summariser(&self) -> &Model;

    /// The model behind [`Llm::embed`].
    fn embedder(&self) -> &Model;

    /// How many numbers an embedding has.
    fn dimension(&self) -> usize;

    /// One short text about what many texts say. `texts` is not empty and none is blank.
    async fn summarise(&self, texts: &[String]) -> Result<Summary>;

    /// One vector per text, in the order of the texts.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>>;

    /// The service behind it, if its answers cost money; `None` where they are free.
    fn paid(&self) -> Option<&openai::OpenAi> {
        None
    }
}
