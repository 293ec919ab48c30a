//! A message in our hands, and the heartbeat that keeps it there.
//!
//! The heartbeat is a task of its own, so that a slow page can't hold it up. It extends the visibility timeout every third
//! of it, which leaves two tries before the message shows up for others. When it can't – the handle is stale, or the queue
//! hasn't answered for almost a whole timeout – the lease is *lost*, and the asking ends: somebody else may be on it. Landing
//! needs no lease: a key that somebody else closed in the meantime is left out of the commit.
//!
//! A process that was frozen wakes up believing that no time has passed. So our own monotonic clock has a word too: a lease
//! whose last extension is older than the timeout is lost without asking, whatever the queue would answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::Timestamp;
use catalog::simulation::{Instant, sleep};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::queue::{Queue, ReceiptHandle, ReceiptState};

/// Held as long as it lives; dropping it ends the heartbeat, not the receive.
#[derive(Debug)]
pub(super) struct Lease {
    lost: Cancel,
    heartbeat: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Extend {
    queue: Arc<dyn Queue>,
    handle: ReceiptHandle,
    timeout: Duration,
    now: fn() -> Timestamp,
    /// When the last extension that worked was asked for.
    extended: Arc<Mutex<Instant>>,
}

impl Lease {
    /// Starts the heartbeat of a message that was received just now.
    pub(super) fn hold(
        queue: &Arc<dyn Queue>,
        handle: &ReceiptHandle,
        timeout: Duration,
        now: fn() -> Timestamp,
    ) -> Self {
        let extended = Arc::new(Mutex::new(Instant::now()));
        let message = Extend { queue: Arc::clone(queue), handle: handle.clone(), timeout, now, extended };
        let lost = Cancel::new();
        let heartbeat = tokio::spawn(beat(message, lost.clone()));
        Self { lost, heartbeat }
    }

    /// Waits until the lease is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

impl Extend {
    async fn extend(&self) -> Result<ReceiptState, Error> {
        if self.age() >= self.timeout {
            return Ok(ReceiptState::Stale);
        }
        let began = Instant::now();
        let change = self.queue.change_visibility(&self.handle, self.timeout, (self.now)());
        // An answer that comes after the timeout is worth nothing.
        let Ok(held) = timeout(self.timeout.saturating_sub(self.age()), change).await else {
            return Ok(ReceiptState::Stale);
        };
        let held = held?;
        if held == ReceiptState::Current {
            *self.extended.lock().unwrap_or_else(PoisonError::into_inner) = began;
        }
        Ok(held)
    }

    /// Since the last extension.
    fn age(&self) -> Duration {
        self.extended.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

async fn beat(message: Extend, lost: Cancel) {
    let (third, soon) = (message.timeout / 3, message.timeout / 12);
    let mut pause = third;
    loop {
        sleep(pause).await;
        match message.extend().await {
            Ok(ReceiptState::Current) => pause = third,
            Ok(ReceiptState::Stale) => break,
            Err(error) => {
                tracing::warn!(task = %message.handle.task, error = one_line(&error), "a heartbeat failed");
                pause = soon;
                if message.age() + 2 * soon >= message.timeout {
                    break;
                }
            }
        }
    }
    lost.cancel();
}
