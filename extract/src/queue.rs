//! Where tasks wait. The words are SQS's, because a queue may be SQS.
//!
//! - A task is *sent* and becomes a message. Sending it again while it is there changes nothing, or makes a duplicate that
//!   is harmless and cheap: its keys' outcomes are looked at before anything is fetched, and its keys are staged once.
//! - *Receiving* hides the message for the *visibility timeout* and gives a *receipt handle*. A heartbeat extends the
//!   timeout; when it runs out, the message is visible again and the next receive makes a new handle: the old one is
//!   [`ReceiptState::Stale`], which is an answer and not an error.
//! - *Deleting* ends the message. It is done only after the task's commit.
//! - A message that was received too often becomes a *dead letter* with its last error; *redrive* sends it again.
//!
//! The queue is a convenience and never the truth: what is done stands in the table as the keys' outcomes, and what is to be
//! done follows from them. A queue that is deleted, corrupt, or hands the same message to two workers costs time and
//! never a row. That is also why deleted messages leave no trace here.
//!
//! Time is an argument of every method: the caller read the clock.
//!
//! Three implementations stand: [`EmbeddedQueue`], a SQLite file that several processes of a machine share, [`MemoryQueue`],
//! and [`SqsQueue`] for many machines. All pass `queue/contract.rs`. They differ in what they can tell apart, see
//! [`Queue::sorts`]: the first two give the messages of one source's day when asked to, SQS gives what comes.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use catalog::{Date, SourceName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::task::{Task, TaskId};

pub use self::embedded::EmbeddedQueue;
pub use self::memory::MemoryQueue;
pub use self::sqs::{SqsQueue, SqsSettings, noted_dead_letters};

#[cfg(test)]
mod contract;
mod embedded;
mod memory;
mod sqs;

/// Which messages are meant: those of a source, of a day, of both, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this source; of any if left out.
    pub source: Option<SourceName>,
    /// Of this day; of any if left out.
    pub dt: Option<Date>,
}

impl TaskFilter {
    /// Every message.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of one source's day.
    pub fn day(source: &SourceName, dt: Date) -> Self {
        Self { source: Some(source.clone()), dt: Some(dt) }
    }

    /// Whether a task is meant.
    pub fn has(&self, task: &Task) -> bool {
        self.source.as_ref().is_none_or(|source| *source == task.source) && self.dt.is_none_or(|dt| dt == task.dt)
    }
}

/// Tasks that wait, are under way, or have failed for good.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// Puts tasks in and says how many were sent. A task that is known to be there – waiting, in flight or dead – stays as
    /// it is.
    async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error>;

    /// Takes the next visible message and hides it. A queue that sorts gives one of those that are meant, and makes dead
    /// letters of messages that were received `max_receives` times; one that doesn't gives any, and keeps to its own bound.
    async fn receive(
        &self,
        of: &TaskFilter,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Option<Message>, Error>;

    /// Hides a received message for another `timeout` from `now`: the heartbeat.
    async fn change_visibility(
        &self,
        handle: &ReceiptHandle,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<ReceiptState, Error>;

    /// Puts a received message back, to be visible after `release.after`.
    async fn release(&self, message: &Message, release: &Release, now: Timestamp) -> Result<ReceiptState, Error>;

    /// Ends a received message: its task is done.
    async fn delete(&self, handle: &ReceiptHandle) -> Result<ReceiptState, Error>;

    /// How many messages there are. One that doesn't sort counts all of its own, and only about.
    async fn counts(&self, of: &TaskFilter, now: Timestamp) -> Result<Counts, Error>;

    /// The dead letters, by source, day and task id.
    async fn dead_letters(&self, of: &TaskFilter, now: Timestamp) -> Result<Vec<DeadLetter>, Error>;

    /// Sends these dead letters again, with no receives, and says how many there were.
    async fn redrive(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error>;

    /// Whether it tells sources and days apart and counts exactly. Of one that doesn't, messages of any run come, an empty
    /// count may be late, and only the table and the dead letters say whether a day is done.
    fn sorts(&self) -> bool {
        true
    }
}

/// How to receive. What a message may cost has no default: it is the source's.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveOptions {
    /// How long the message is hidden unless a heartbeat extends it.
    pub visibility_timeout: Duration,
    /// After how many receives a message is dead, where the queue counts for us. At least 2: a message may be marked as received by a worker that was
    /// killed before it saw it.
    pub max_receives: u32,
}

/// How a message goes back.
#[derive(Clone, Debug, Default)]
pub struct Release {
    /// How long it stays hidden from everybody.
    pub after: Duration,
    /// What went wrong; kept as the message's last error.
    pub error: Option<String>,
    /// Takes this receive back: nothing was wrong with the task (an interrupt, a blocked host).
    pub uncounted: bool,
}

/// A task that was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// What is to be done.
    pub task: Task,
    /// Proves that this receive is the newest one.
    pub receipt_handle: ReceiptHandle,
    /// How often the task was received, this time included.
    pub receive_count: u32,
}

/// Proof of a receive. Changes with each receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptHandle {
    pub(crate) source: SourceName,
    pub(crate) dt: Date,
    pub(crate) task: TaskId,
    pub(crate) token: String,
}

/// Whether a receipt handle was still the newest one.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptState {
    /// It was, and what was asked is done.
    Current,
    /// Somebody else has received the message since, or it is gone. Nothing was changed: stop working on it.
    Stale,
}

/// How many messages there are, by what can be done with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Can be received now.
    pub visible: usize,
    /// Hidden: somebody works on it, or it waits for its retry.
    pub in_flight: usize,
    /// Failed for good.
    pub dead: usize,
}

/// A task that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What was to be done.
    pub task: Task,
    /// How often it was received.
    pub receive_count: u32,
    /// What went wrong the last time.
    pub error: String,
    /// When it was given up.
    pub dead_at: Timestamp,
}

/// The last error of a message whose workers never lived to tell one.
pub(crate) const NO_WORD: &str = "every worker that took it stopped before it could say why";

/// `now + timeout` in microseconds, saturating: the queue compares nothing finer.
fn later(now: Timestamp, timeout: Duration) -> i64 {
    now.as_microsecond().saturating_add(i64::try_from(timeout.as_micros()).unwrap_or(i64::MAX))
}
