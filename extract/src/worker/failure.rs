//! Why a message was not finished, and what the queue is told about it.

use std::time::Duration;

use super::context::{Until, WorkerContext};
use crate::error::{Error, one_line};
use crate::queue::{Message, ReceiptState, Release};

/// How long a worker leaves a source alone whose host refuses it, and one that can't be worked on here.
const REST: Duration = Duration::from_mins(10);

/// How long a message of a source that this project doesn't have is left to others.
const UNKNOWN_REST: Duration = Duration::from_secs(30);

/// Why a message was not finished.
#[derive(Debug)]
pub(super) enum TaskFailure {
    /// Somebody else may hold it now. Nothing is told to the queue: it wouldn't listen.
    Lost,
    /// It is to stop; nothing was wrong with the task.
    HandBack,
    /// Its source is left alone, or is not known here: somebody else may do it, or we later.
    NotNow(Duration),
    /// Later again: some of its keys failed.
    Retry { after: Duration, error: String },
    /// Later again, and this try doesn't count: it was no fault of its keys.
    Again { after: Duration, error: String },
    /// The whole source can't go on.
    Failed(Error),
}

impl WorkerContext {
    /// Tells the queue why a message was not finished. An error is one that stops the work.
    pub(super) async fn settle(&self, message: &Message, failure: TaskFailure) -> Result<(), Error> {
        let (queue, now) = (&self.ctx.queue, (self.ctx.now)());
        let task = message.task.id.as_str();
        let back = |after: Duration, error: Option<String>| Release { after, error, uncounted: true };
        let told = match failure {
            TaskFailure::Lost => {
                tracing::warn!(task, "the lease was lost: somebody else may hold the task, the work on it ended here");
                self.stats_of(&message.task).change(|numbers| numbers.lost += 1);
                return Ok(());
            }
            TaskFailure::HandBack => queue.release(message, &back(Duration::ZERO, None), now).await,
            TaskFailure::NotNow(after) => {
                self.postpone(&message.task.id, after);
                queue.release(message, &back(after, None), now).await
            }
            TaskFailure::Retry { after, error } => {
                tracing::warn!(
                    task,
                    receive_count = message.receive_count,
                    after_seconds = after.as_secs_f64(),
                    error,
                    "a task is put back"
                );
                queue.release(message, &Release { after, error: Some(error), uncounted: false }, now).await
            }
            TaskFailure::Again { after, error } => {
                tracing::warn!(task, after_seconds = after.as_secs_f64(), error, "a task waits");
                queue.release(message, &back(after, Some(error)), now).await
            }
            TaskFailure::Failed(error) => return self.failed(message, error).await,
        };
        match told {
            Ok(ReceiptState::Current) => Ok(()),
            Ok(ReceiptState::Stale) => {
                tracing::debug!(task, "it was somebody else's already");
                Ok(())
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(
                    task,
                    error = one_line(&error),
                    "the queue was not told: the task waits for its timeout"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// A host refuses us: who is here for this task stops, who takes any task leaves its source alone. Says after which time
    /// the message may come again.
    pub(super) fn refused(&self, message: &Message, host: &str, evidence: &str) -> Duration {
        let source = &message.task.source;
        self.stats_of(&message.task).change(|numbers| {
            let blocked = (host.to_owned(), evidence.to_owned());
            if !numbers.blocked.contains(&blocked) {
                numbers.blocked.push(blocked);
            }
        });
        if self.is_ours(&message.task) || (self.day.is_none() && self.until == Until::Idle) {
            tracing::error!(host, evidence, "the host refuses us: the source stops here");
            self.stop.cancel();
            return Duration::ZERO;
        }
        tracing::error!(host, evidence, %source, minutes = REST.as_secs() / 60, "the host refuses us: its source rests");
        if let Some(heartbeat) = &self.ctx.heartbeat {
            heartbeat.show_note(format!("{source} rests: blocked by {host}: {evidence}"), REST);
        }
        self.rest(source, REST);
        REST
    }

    /// A source that can't go on ends the work of who is here for it. Who does what comes leaves it alone for a while: it can
    /// be another run's, and the tasks of the other sources are done whatever is wrong with this one.
    async fn failed(&self, message: &Message, error: Error) -> Result<(), Error> {
        let goes_on = if self.day.is_some() { !self.is_ours(&message.task) } else { self.until == Until::Stopped };
        let after = if goes_on {
            self.rest(&message.task.source, REST);
            REST
        } else {
            self.stop.cancel();
            Duration::ZERO
        };
        let release = Release { after, error: Some(one_line(&error)), uncounted: true };
        if let Err(second) = self.ctx.queue.release(message, &release, (self.ctx.now)()).await {
            tracing::warn!(
                task = message.task.id.as_str(),
                error = one_line(&second),
                "the task could not be handed back: it waits for its timeout"
            );
        }
        if goes_on {
            let (source, error) = (&message.task.source, one_line(&error));
            tracing::warn!(%source, error, minutes = REST.as_secs() / 60, "a source can't be worked on here, and rests");
            if let Some(heartbeat) = self.ctx.heartbeat.as_ref().filter(|_| self.day.is_none()) {
                heartbeat.show_note(format!("{source} rests: {error}"), REST);
            }
            return Ok(());
        }
        Err(error)
    }

    /// Why a message is not even begun.
    pub(super) fn refuse(&self, message: &Message) -> Option<TaskFailure> {
        self.rests(&message.task.source).map(TaskFailure::NotNow)
    }

    /// A message of a source that is not known here.
    pub(super) fn unknown_source(message: &Message) -> TaskFailure {
        let (source, task) = (&message.task.source, message.task.id.as_str());
        tracing::warn!(%source, task, "a task of a source that this project does not have is left to others");
        TaskFailure::NotNow(UNKNOWN_REST)
    }
}
