//! The two desks of an enrichment: one pays at once, one takes note of what a batch is to hold.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use catalog::failpoint;

use super::journal::Journal;
use crate::error::{Error, Result};
use crate::llm::openai::{OpenAi, Unanswered};
use crate::llm::{Call, Content, Desk, Mode};

/// Times that a call is paid for again because its reply was lost.
const LOSSES: u32 = 3;

/// What all desks of an enrichment share.
pub(super) struct Shared<'a> {
    pub(super) openai: &'a OpenAi,
    pub(super) journal: &'a Journal,
    /// Nothing new is sent once this is set.
    pub(super) stop: &'a AtomicBool,
    /// Requests of batches under way: their answers come later.
    pub(super) covered: &'a HashSet<String>,
    /// Requests for the next batches.
    pub(super) noted: &'a Mutex<Vec<Call>>,
}

/// The desk of one entity; it remembers which replies its answer rests on.
pub(super) struct Counter<'a> {
    shared: &'a Shared<'a>,
    used: Mutex<Vec<String>>,
}

impl<'a> Counter<'a> {
    pub(super) fn new(shared: &'a Shared<'a>) -> Self {
        Self { shared, used: Mutex::default() }
    }

    /// The keys of the replies that were handed out.
    pub(super) fn used(self) -> Vec<String> {
        self.used.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, key: &str) {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).push(key.to_owned());
    }
}

#[async_trait]
impl Desk for Counter<'_> {
    async fn ask(&self, call: Call) -> Result<Option<Content>> {
        if let Some(content) = self.shared.journal.find(&call.key) {
            self.note(&call.key);
            return Ok(Some(content));
        }
        if self.shared.covered.contains(&call.key) {
            return Ok(None);
        }
        match self.shared.openai.mode() {
            Mode::Batch => {
                self.shared.noted.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                Ok(None)
            }
            Mode::Interactive => self.pay(call).await,
        }
    }
}

impl Counter<'_> {
    async fn pay(&self, call: Call) -> Result<Option<Content>> {
        let Shared { openai, journal, stop, .. } = *self.shared;
        for loss in 1.. {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let most = openai.cost_at_most(&call, Mode::Interactive);
            let held = openai.till().reserve(most).await?;
            failpoint!("llm.call.before");
            match openai.send(&call, stop).await {
                Ok(reply) => {
                    failpoint!("llm.reply.before");
                    let cost = openai.cost(&call.model, reply.usage, Mode::Interactive);
                    held.settle(cost.unwrap_or(0.0));
                    journal.keep(&call, Mode::Interactive, reply.content.clone(), reply.usage, cost).await?;
                    failpoint!("llm.reply.after");
                    if call.parts.is_empty() {
                        self.note(&call.key);
                    } else {
                        call.parts.iter().for_each(|key| self.note(key));
                    }
                    return Ok(Some(reply.content));
                }
                Err(Unanswered::Lost(reason)) => {
                    // It may have been paid, so it counts as paid.
                    held.settle(most);
                    journal.lose(&call, Mode::Interactive, openai.price(&call.model).map(|_| most));
                    tracing::debug!(%reason, loss, "a reply was lost");
                    if loss == LOSSES {
                        let message = format!("{reason}; lost {LOSSES} times in a row");
                        return Err(Error::Model { model: call.model, message, retryable: true });
                    }
                }
                Err(Unanswered::Stopped) => return Ok(None),
                Err(Unanswered::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}
