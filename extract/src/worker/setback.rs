//! Why a message was not finished, and what the queue is told about it.

use std::time::Duration;

use super::crew::Crew;
use super::serve::Until;
use crate::error::{Error, one_line};
use crate::queue::{Held, Message, NO_WORD, Release};

/// How long a worker leaves a source alone whose host refuses it, and one that can't be worked on here.
const REST: Duration = Duration::from_mins(10);

/// How long a message of a source that this project doesn't have is left to others.
const UNKNOWN_REST: Duration = Duration::from_secs(30);

/// Why a message was not finished.
#[derive(Debug)]
pub(super) enum Setback {
    /// Somebody else may hold it now. Nothing is told to the queue: it wouldn't listen.
    Lost,
    /// It is to stop; nothing was wrong with the task.
    HandBack,
    /// Its source is left alone, or is not known here: somebody else may do it, or we later.
    NotNow(Duration),
    /// Later again.
    Retry { after: Duration, error: String },
    /// Never again.
    Bury(String),
    /// The host refuses us.
    Blocked { host: String, evidence: String },
    /// The whole source can't go on.
    Failed(Error),
}

impl Crew {
    /// Tells the queue why a message was not finished. An error is one that stops the work.
    pub(super) async fn set_back(&self, message: &Message, setback: Setback) -> Result<(), Error> {
        let (queue, now) = (&self.ctx.queue, (self.ctx.now)());
        let task = message.task.id.as_str();
        let back = |after: Duration, error: Option<String>| Release { after, error, uncounted: true };
        let told = match setback {
            Setback::Lost => {
                tracing::warn!(task, "the lease was lost: somebody else may hold the task, the work on it ended here");
                self.tally_of(&message.task).change(|numbers| numbers.lost += 1);
                return Ok(());
            }
            Setback::HandBack => queue.release(message, &back(Duration::ZERO, None), now).await,
            Setback::NotNow(after) => {
                self.postpone(&message.task.id, after);
                queue.release(message, &back(after, None), now).await
            }
            Setback::Retry { after, error } => {
                tracing::warn!(
                    task,
                    receive_count = message.receive_count,
                    after_seconds = after.as_secs_f64(),
                    error,
                    "a task is put back"
                );
                queue.release(message, &Release { after, error: Some(error), uncounted: false }, now).await
            }
            Setback::Bury(error) => {
                tracing::error!(
                    task,
                    receive_count = message.receive_count,
                    error,
                    "a task is set apart as a dead letter"
                );
                self.tally_of(&message.task).change(|numbers| numbers.buried += 1);
                queue.bury(message, &error, now).await
            }
            Setback::Blocked { host, evidence } => {
                let error = format!("blocked by {host}: {evidence}");
                let after = self.refused(message, &host, &evidence);
                queue.release(message, &back(after, Some(error)), now).await
            }
            Setback::Failed(error) => return self.failed(message, error).await,
        };
        match told {
            Ok(Held::Yes) => Ok(()),
            Ok(Held::Lost) => {
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
    fn refused(&self, message: &Message, host: &str, evidence: &str) -> Duration {
        let source = &message.task.source;
        self.tally_of(&message.task).change(|numbers| {
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
        if let Some(presence) = &self.ctx.presence {
            presence.note(format!("{source} rests: blocked by {host}: {evidence}"), REST);
        }
        self.rest(source, REST);
        REST
    }

    /// A source that can't go on ends the work, unless it is another run's.
    async fn failed(&self, message: &Message, error: Error) -> Result<(), Error> {
        let foreign = self.day.is_some() && !self.is_ours(&message.task);
        let after = if foreign {
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
        if foreign {
            tracing::warn!(source = %message.task.source, error = one_line(&error), "another run's source can't be worked on here");
            return Ok(());
        }
        Err(error)
    }

    /// Why a message is not even begun.
    pub(super) fn refuse(&self, message: &Message, max_receives: Option<u32>) -> Option<Setback> {
        let source = &message.task.source;
        let Some(max_receives) = max_receives else {
            tracing::warn!(%source, task = message.task.id.as_str(), "a task of a source that this project does not have is left to others");
            return Some(Setback::NotNow(UNKNOWN_REST));
        };
        if let Some(rest) = self.rests(source) {
            return Some(Setback::NotNow(rest));
        }
        // Its workers died each time, or a queue that bounds receives has a higher bound than the source.
        (message.receive_count > max_receives.max(2)).then(|| Setback::Bury(NO_WORD.to_owned()))
    }
}
