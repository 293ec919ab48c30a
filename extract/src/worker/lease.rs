//! A message in our hands, and the heartbeat that keeps it there.
//!
//! The heartbeat is a task of its own, so that a slow page can't hold it up. It extends the visibility timeout every third
//! of it, which leaves two tries before the message shows up for others. When it can't – the handle is stale, or the queue
//! hasn't answered for almost a whole timeout – the lease is *lost*, and the work must end before its commit: somebody else
//! may be on it.

use std::sync::Arc;
use std::time::Duration;

use catalog::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::queue::{Held, Queue, ReceiptHandle};

/// Held as long as it lives; dropping it ends the heartbeat, not the receive.
#[derive(Debug)]
pub(super) struct Lease {
    message: Extend,
    lost: Cancel,
    heartbeat: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Extend {
    queue: Arc<dyn Queue>,
    handle: ReceiptHandle,
    timeout: Duration,
    now: fn() -> Timestamp,
}

impl Lease {
    /// Starts the heartbeat of a message that was received just now.
    pub(super) fn hold(
        queue: &Arc<dyn Queue>,
        handle: &ReceiptHandle,
        timeout: Duration,
        now: fn() -> Timestamp,
    ) -> Self {
        let message = Extend { queue: Arc::clone(queue), handle: handle.clone(), timeout, now };
        let lost = Cancel::new();
        let heartbeat = tokio::spawn(beat(message.clone(), lost.clone()));
        Self { message, lost, heartbeat }
    }

    /// Waits until the lease is lost.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Asks the queue, right before a commit, whether the message is still ours.
    pub(super) async fn confirm(&self) -> Result<Held, Error> {
        if self.lost.is_cancelled() {
            return Ok(Held::Lost);
        }
        self.message.extend().await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeat.abort();
    }
}

impl Extend {
    async fn extend(&self) -> Result<Held, Error> {
        self.queue.change_visibility(&self.handle, self.timeout, (self.now)()).await
    }
}

async fn beat(message: Extend, lost: Cancel) {
    let (third, soon) = (message.timeout / 3, message.timeout / 12);
    let mut extended = Instant::now();
    let mut pause = third;
    loop {
        sleep(pause).await;
        match message.extend().await {
            Ok(Held::Yes) => {
                extended = Instant::now();
                pause = third;
            }
            Ok(Held::Lost) => break,
            Err(error) => {
                tracing::warn!(task = %message.handle.task, error = one_line(&error), "a heartbeat failed");
                pause = soon;
                if extended.elapsed() + 2 * soon >= message.timeout {
                    break;
                }
            }
        }
    }
    lost.cancel();
}
