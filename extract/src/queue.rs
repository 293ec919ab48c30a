//! Where tasks wait. The words are SQS's, because one day the queue is SQS.
//!
//! - A task is *sent* and becomes a message, once per (source, dt): sending it again while it is there changes nothing.
//! - *Receiving* hides the message for the *visibility timeout* and gives a *receipt handle*. A heartbeat extends the
//!   timeout; when it runs out, the message is visible again and the next receive makes a new handle: the old one is
//!   [`Held::Lost`], which is an answer and not an error.
//! - *Deleting* ends the message. It is done only after the task's commit.
//! - A message that was received too often becomes a *dead letter* with its last error; *redrive* sends it again.
//!
//! The queue is a convenience and never the truth: what is done stands in the table as the task's txn, what is to be done
//! stands in the plan objects. A queue that is deleted, corrupt, or hands the same message to two workers costs time and
//! never a row. That is also why deleted messages leave no trace here.
//!
//! Time is an argument of every method: the caller read the clock.
//!
//! Two implementations stand: [`EmbeddedQueue`], a SQLite file that several processes of a machine share, and
//! [`MemoryQueue`]. Both pass `queue/contract.rs`.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use catalog::{Date, SourceName, Timestamp};
use serde::Serialize;

use crate::error::Error;
use crate::task::{Task, TaskId};

pub use self::embedded::EmbeddedQueue;
pub use self::memory::MemoryQueue;

#[cfg(test)]
mod contract;
mod embedded;
mod memory;
mod process;

/// Tasks that wait, are under way, or have failed for good.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// Puts tasks in and says how many were new. A task that is already there – waiting, in flight or dead – stays as it is.
    async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error>;

    /// Takes the next visible message of a source's day and hides it. Messages that were received `max_receives` times
    /// become dead letters instead.
    async fn receive(
        &self,
        source: &SourceName,
        dt: Date,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Option<Message>, Error>;

    /// Hides a received message for another `timeout` from `now`: the heartbeat.
    async fn change_visibility(&self, handle: &ReceiptHandle, timeout: Duration, now: Timestamp)
    -> Result<Held, Error>;

    /// Puts a received message back, to be visible after `release.after`.
    async fn release(&self, handle: &ReceiptHandle, release: &Release, now: Timestamp) -> Result<Held, Error>;

    /// Ends a received message: its task is done.
    async fn delete(&self, handle: &ReceiptHandle) -> Result<Held, Error>;

    /// Sets a received message apart for good, before its receives are used up.
    async fn bury(&self, handle: &ReceiptHandle, error: &str, now: Timestamp) -> Result<Held, Error>;

    /// How many messages of a source's day there are.
    async fn counts(&self, source: &SourceName, dt: Date, now: Timestamp) -> Result<Counts, Error>;

    /// The dead letters of a source's day, by task id.
    async fn dead_letters(&self, source: &SourceName, dt: Date) -> Result<Vec<DeadLetter>, Error>;

    /// Makes the dead letters of a source's day visible again, with no receives, and says how many there were.
    async fn redrive(&self, source: &SourceName, dt: Date, now: Timestamp) -> Result<usize, Error>;
}

/// How to receive. What a message may cost has no default: it is the source's.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveOptions {
    /// How long the message is hidden unless a heartbeat extends it.
    pub visibility_timeout: Duration,
    /// After how many receives a message is dead. At least 2: a message may be marked as received by a worker that was
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
    /// Takes this receive back: nothing was wrong with the task (an interrupt, a blocked host). A queue that can't count
    /// down, as SQS, ignores it.
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
pub enum Held {
    /// It was, and what was asked is done.
    Yes,
    /// Somebody else has received the message since, or it is gone. Nothing was changed: stop working on it.
    Lost,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
