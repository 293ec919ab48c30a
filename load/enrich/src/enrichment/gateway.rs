//! The two gateways of an enrichment: one pays at once, one takes note of what a batch is to hold.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use catalog::failpoint;
use catalog::simulation::sleep;

use super::journal::Journal;
use super::lease::EnrichLease;
use crate::error::{Error, Result};
use crate::llm::openai::{LOSSES, Loss, OpenAi, Unanswered};
use crate::llm::{Call, CallGateway, Content, Mode, Refusal, RefusalKind, Reply};

/// Calls given up one after the other, with no answer between them, before it is the service that is in trouble and not the texts.
const GIVEN_UP: u32 = 5;

/// What all gateways of an enrichment share.
pub(super) struct Shared<'a> {
    pub(super) openai: &'a OpenAi,
    pub(super) journal: &'a Journal,
    /// Nothing new is sent once this is lost.
    pub(super) lease: &'a EnrichLease,
    /// … or once this is set.
    pub(super) stop: &'a AtomicBool,
    /// Calls given up since the last answer.
    pub(super) given_up: &'a AtomicU32,
    /// Parts of summaries that the lake has.
    pub(super) parts: &'a HashMap<String, String>,
    /// Requests of batches under way: their answers come later.
    pub(super) covered: &'a HashSet<String>,
    /// Requests for the next batches.
    pub(super) noted: &'a Mutex<Vec<Call>>,
}

impl Shared<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.lease.is_lost()
    }
}

/// The gateway of one entity; it remembers which replies its answer rests on.
pub(super) struct EntityGateway<'a> {
    shared: &'a Shared<'a>,
    used: Mutex<Vec<String>>,
}

impl<'a> EntityGateway<'a> {
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
impl CallGateway for EntityGateway<'_> {
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

    fn part(&self, key: &str) -> Option<String> {
        self.shared.parts.get(key).cloned()
    }
}

impl EntityGateway<'_> {
    async fn pay(&self, call: Call) -> Result<Option<Content>> {
        let Shared { openai, journal, .. } = *self.shared;
        for losses in 1.. {
            if self.shared.is_stopped() {
                return Ok(None);
            }
            let most = openai.cost_at_most(&call, Mode::Interactive);
            let held = openai.budget().reserve(most).await?;
            failpoint!("llm.call.before");
            match openai.send(&call, &|| self.shared.is_stopped()).await {
                Ok(reply) => {
                    failpoint!("llm.reply.before");
                    let cost = openai.cost(&call.model, reply.usage, Mode::Interactive);
                    held.settle(cost.unwrap_or(0.0));
                    return self.keep(&call, reply, cost).await.map(Some);
                }
                Err(Unanswered::Lost(loss)) => {
                    // It may have been paid, so it counts as paid.
                    held.settle(most);
                    journal.lose(&call, Mode::Interactive, openai.price(&call.model).map(|_| most));
                    tracing::debug!(reason = %loss.reason, losses, "a reply was lost");
                    if losses == LOSSES {
                        return self.give_up(&call, &loss).map(Some);
                    }
                    sleep(openai.pause_after(losses, loss.wait)).await;
                }
                Err(Unanswered::Stopped) => return Ok(None),
                Err(Unanswered::Failed(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn keep(&self, call: &Call, reply: Reply, cost: Option<f64>) -> Result<Content> {
        self.shared.given_up.store(0, Ordering::Relaxed);
        self.shared.journal.keep(call, Mode::Interactive, reply.content.clone(), reply.usage, cost).await?;
        failpoint!("llm.reply.after");
        let is_refused = matches!(reply.content, Content::Refused(_));
        if call.parts.is_empty() || is_refused {
            self.note(&call.key);
        } else {
            call.parts.iter().for_each(|key| self.note(key));
        }
        Ok(reply.content)
    }

    /// A call that was lost as often as it may be: its own trouble, until others fare the same.
    fn give_up(&self, call: &Call, loss: &Loss) -> Result<Content> {
        let message = format!("{}; lost {LOSSES} times in a row", loss.reason);
        if self.shared.given_up.fetch_add(1, Ordering::Relaxed) + 1 >= GIVEN_UP {
            return Err(Error::Model { model: call.model.clone(), message, retryable: true });
        }
        let kind = if loss.unreadable { RefusalKind::Unreadable } else { RefusalKind::Lost };
        Ok(Content::Refused(Refusal::new(kind, message)))
    }
}
