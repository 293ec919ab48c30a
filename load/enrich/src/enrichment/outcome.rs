//! How far an enrichment is, and how it ended.

use std::collections::BTreeMap;

use catalog::{RunId, Timestamp, Version};

use crate::llm::{AnswerKind, RefusalKind, Usage};

/// How far an enrichment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being asked for.
    pub kind: AnswerKind,
    /// Answers given in this run.
    pub done: u64,
    /// Answers that this run needs.
    pub total: u64,
}

/// What calls used and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Calls and tokens.
    pub usage: Usage,
    /// The sum of what has a price; `None` where nothing has one.
    pub cost: Option<f64>,
}

impl Spent {
    pub(crate) fn add(&mut self, usage: Usage, cost: Option<f64>) {
        self.usage += usage;
        if let Some(cost) = cost {
            *self.cost.get_or_insert(0.0) += cost;
        }
    }
}

/// What an enrichment waits for, where it could not finish.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// Another run asks for the same answers; nothing was asked or changed.
    AnotherRun {
        /// Which.
        run: RunId,
    },
    /// The next call might have cost more than was left.
    Budget {
        /// What may be spent in a day.
        budget: f64,
        /// Answers that this run got.
        answered: u64,
        /// Answers that it needed.
        of: u64,
        /// Batches under way all the same.
        batches: u64,
    },
    /// Batches are under way at the service.
    Batches {
        /// How many.
        batches: u64,
        /// For so many answers.
        answers: u64,
        /// Answers that this run got.
        answered: u64,
        /// Answers that it needed.
        of: u64,
    },
}

/// What an enrichment did.
#[derive(Debug, Clone, PartialEq)]
pub struct Enriched {
    /// Summaries asked for in this run.
    pub summarised: u64,
    /// Embeddings asked for in this run.
    pub embedded: u64,
    /// Answers that were in the lake already.
    pub reused: u64,
    /// Answers that are set aside, in this run or before, by the kind of reason: what the entity had before is shown, the lake has
    /// the reasons, and each is asked for again.
    pub set_aside: BTreeMap<RefusalKind, u64>,
    /// The first of their reasons in words, by the order of the entities. It may quote what a service or a model said.
    pub set_aside_for: Option<String>,
    /// When the first of them is asked for again.
    pub asked_again_at: Option<Timestamp>,
    /// What the answers of this run used and cost.
    pub spent: Spent,
    /// Why it is not complete; `None` if it is.
    pub wait: Option<Wait>,
    /// Whether the table has a new version.
    pub outcome: Outcome,
}

impl Enriched {
    /// How many answers are set aside.
    pub fn aside(&self) -> u64 {
        self.set_aside.values().sum()
    }

    pub(super) fn new(outcome: Outcome) -> Self {
        Self {
            summarised: 0,
            embedded: 0,
            reused: 0,
            set_aside: BTreeMap::new(),
            set_aside_for: None,
            asked_again_at: None,
            spent: Spent::default(),
            wait: None,
            outcome,
        }
    }
}

/// What became of the result table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Same input, same models: nothing was read.
    Unchanged(Version),
    /// Replaced by this version.
    Built(Version),
}
