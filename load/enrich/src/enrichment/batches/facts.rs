//! The facts of a batch, as they stand in the lake.

use catalog::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::llm::AnswerKind;
use crate::llm::Endpoint;

/// `intent`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    pub(super) kind: AnswerKind,
    pub(super) model: String,
    pub(super) endpoint: Endpoint,
    pub(super) keys: Vec<String>,
    pub(super) run: RunId,
    pub(super) at: Timestamp,
    /// What it costs at most; unknown where it was sent before that was kept.
    #[serde(default)]
    pub(super) most: f64,
}

/// `file`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FileFact {
    pub(super) file: String,
}

/// `claim-<k>`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Claim {
    pub(super) run: RunId,
    pub(super) at: Timestamp,
}

/// `batch`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BatchFact {
    pub(super) batch: String,
}

/// `over`
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Over {
    pub(super) status: String,
    pub(super) answered: u64,
    /// Requests that brought nothing, with the reason where one was given.
    pub(super) missing: Vec<(String, Option<String>)>,
}

/// `given-up-<hash>`: requests that were set aside when this batch was the last; what failed before counts no more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct GivenUp {
    pub(super) keys: Vec<String>,
}

/// What is known of a batch.
#[derive(Debug)]
pub(super) enum BatchState {
    Open(Open),
    Over(Over),
    /// Its folder holds nothing yet.
    Nothing,
}

/// A batch that is not over.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) n: u64,
    pub(super) intent: Intent,
    pub(super) file: Option<String>,
    pub(super) claims: u32,
    pub(super) batch: Option<String>,
}
