//! One request to a service that costs money, and what comes back.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::field::FieldValues;
use super::refusal::Refusal;
use crate::error::Result;

/// The questions that a model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerKind {
    /// Texts → a short text.
    Summary,
    /// A text → a vector.
    Embedding,
    /// Some of the texts → an answer that a summary is made from.
    Part,
}

impl AnswerKind {
    /// As in `ops.llm_results.kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Embedding => "embedding",
            Self::Part => "part",
        }
    }
}

/// Whether answers are waited for or fetched later at a lower price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One request, one answer.
    Interactive,
    /// Many requests in a file, answered within a day.
    Batch,
}

impl Mode {
    /// As in `ops.costs.mode`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Batch => "batch",
        }
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// Chat completions.
    Chat,
    /// Embeddings.
    Embeddings,
}

impl Endpoint {
    /// The path below the service's base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Embeddings => "/embeddings",
        }
    }
}

/// What was used, or is expected to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests that were answered, or whose answer was lost.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
    }
}

/// A request, ready to be sent.
#[derive(Debug, Clone)]
pub struct Call {
    /// The hash of everything that the answer depends on; in a batch it is the request's custom id.
    pub key: String,
    /// What is asked for.
    pub kind: AnswerKind,
    /// The model's name, as prices call it.
    pub model: String,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// The JSON that is sent.
    pub body: Value,
    /// For embeddings: the content key of each input, in order.
    pub parts: Vec<String>,
    /// What it costs at most, by the stated rule.
    pub estimate: Usage,
}

/// What a reply says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// What the model wrote.
    Text(String),
    /// Why there is nothing that could be used.
    Refused(Refusal),
    /// One vector per input, in the order of the inputs.
    Vectors(Vec<Vec<f32>>),
}

/// A reply, and what it cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What it says.
    pub content: Content,
    /// What the service counted.
    pub usage: Usage,
}

/// How the asking for a summary ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// An answer that passed every check.
    Written(Written),
    /// There is none, and why; it is asked for again after a while.
    SetAside(Refusal),
}

/// What a model wrote about an entity, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The summary.
    pub summary: String,
    /// The other fields; none where the project asks for no others.
    pub fields: Option<FieldValues>,
}

impl Written {
    /// One line that says all of it: what an answer to a part is for those that are made from parts.
    pub(crate) fn line(&self) -> String {
        match self.fields.as_ref().filter(|fields| !fields.is_empty()) {
            Some(fields) => format!("{} {}", self.summary, Value::Object(fields.clone())),
            None => self.summary.clone(),
        }
    }
}

/// A summary with what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summarised {
    /// The summary, or why there is none.
    pub verdict: Verdict,
    /// How many texts there were.
    pub given: u64,
    /// How many of them it rests on: those of a group that was refused are left out.
    pub used: u64,
    /// Why the others were left out: the last such reason.
    pub left_out: Option<Refusal>,
    /// The answers that are no summary by themselves but a part of it: the key of the call, and the text.
    pub parts: Vec<(String, String)>,
}

/// Where calls are handed in. It answers from what is known, or pays, or takes note for later.
#[async_trait]
pub trait CallGateway: Send + Sync {
    /// The reply's content; `None` if it is not to be had in this run.
    async fn ask(&self, call: Call) -> Result<Option<Content>>;

    /// A part of a summary that was answered and checked in an earlier run, by the key of its call.
    fn part(&self, _key: &str) -> Option<String> {
        None
    }
}
