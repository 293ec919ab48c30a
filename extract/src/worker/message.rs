//! Steps 3 to 6 of a task's life, for one received message: done? → fetch → land → delete.
//!
//! Whatever ends it early is a [`Setback`], and [`Crew::perform`] is the one place that tells the queue about it.

use std::collections::HashSet;
use std::time::Duration;

use catalog::{CommitInfo, Committed, ObjectPath, Txn, TxnRule, failpoint, path};
use tokio::time::sleep;

use super::Crew;
use super::lease::Lease;
use super::tally::Share;
use crate::decide::{Attempt, Decision, decide, retry_or_bury};
use crate::error::{Error, one_line};
use crate::fetch::FetchError;
use crate::harvest::{Envelope, harvest};
use crate::queue::{Held, Message, Release};
use crate::stage::{self, Staged};
use crate::task::{Key, Task, fraction};

/// A task's txn has one version only: a task lands once or not.
pub(super) const TXN_VERSION: i64 = 1;

/// A second key that fails in a row of tries means that it is not the key. The rest of the task waits for its next receive.
const MOST_FAILED_KEYS: usize = 2;

/// Lost races for a version of the table before the task is put back.
const COMMIT_TRIES: u32 = 6;

/// Why a message was not finished.
#[derive(Debug)]
enum Setback {
    /// Somebody else may hold it now. Nothing is told to the queue: it wouldn't listen.
    Lost,
    /// It is to stop; nothing was wrong with the task.
    HandBack,
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
    /// Takes a message through the rest of its life. An error is one that stops the source.
    pub(super) async fn perform(&self, message: &Message) -> Result<(), Error> {
        let lease =
            Lease::hold(&self.ctx.queue, &message.receipt_handle, self.ctx.tuning.visibility_timeout, self.ctx.now);
        let ended = self.live(message, &lease).await;
        // From here on nothing may extend what we give back.
        drop(lease);
        let Err(setback) = ended else { return Ok(()) };
        let (queue, handle, now) = (&self.ctx.queue, &message.receipt_handle, (self.ctx.now)());
        let task = message.task.id.as_str();
        let back = |error: Option<String>| Release { after: Duration::ZERO, error, uncounted: true };
        let held = match setback {
            Setback::Lost => {
                tracing::warn!(task, "the lease was lost: somebody else may hold the task, the work on it ended here");
                return Ok(());
            }
            Setback::HandBack => queue.release(handle, &back(None), now).await?,
            Setback::Retry { after, error } => {
                tracing::warn!(
                    task,
                    receive_count = message.receive_count,
                    after_seconds = after.as_secs_f64(),
                    error,
                    "a task is put back"
                );
                queue.release(handle, &Release { after, error: Some(error), uncounted: false }, now).await?
            }
            Setback::Bury(error) => {
                tracing::error!(
                    task,
                    receive_count = message.receive_count,
                    error,
                    "a task is set apart as a dead letter"
                );
                queue.bury(handle, &error, now).await?
            }
            Setback::Blocked { host, evidence } => {
                tracing::error!(host, evidence, "the host refuses us: the source stops here");
                let released = queue.release(handle, &back(Some(format!("blocked by {host}: {evidence}"))), now).await;
                self.tally.change(|numbers| {
                    let blocked = (host, evidence);
                    if !numbers.blocked.contains(&blocked) {
                        numbers.blocked.push(blocked);
                    }
                });
                self.stop.cancel();
                released?
            }
            Setback::Failed(error) => {
                self.stop.cancel();
                if let Err(second) = queue.release(handle, &back(Some(one_line(&error))), now).await {
                    tracing::warn!(
                        task,
                        error = one_line(&second),
                        "the task could not be handed back: it waits for its timeout"
                    );
                }
                return Err(error);
            }
        };
        if held == Held::Lost {
            tracing::debug!(task, "it was somebody else's already");
        }
        Ok(())
    }

    async fn live(&self, message: &Message, lease: &Lease) -> Result<(), Setback> {
        let task = &message.task;
        if self.is_done(task).await.map_err(|error| self.setback(message, error))? {
            tracing::debug!(task = task.id.as_str(), "it has landed already");
            return self.finish(message).await.map_err(Setback::Failed);
        }
        let share = self.tally.share();
        let staged = tokio::select! {
            biased;
            () = lease.lost() => Err(Setback::Lost),
            () = self.ctx.cancel.cancelled() => Err(Setback::HandBack),
            () = self.stop.cancelled() => Err(Setback::HandBack),
            staged = self.fetch_all(message, &share) => staged,
        }?;
        if lease.confirm().await.map_err(|error| self.setback(message, error))? == Held::Lost {
            return Err(Setback::Lost);
        }
        failpoint!("extract.land.before");
        self.land(message, &staged).await?;
        failpoint!("extract.land.after");
        share.keep();
        self.finish(message).await.map_err(Setback::Failed)
    }

    /// Step 4. What is staged is not fetched; what is fetched is staged before the next key.
    async fn fetch_all(&self, message: &Message, share: &Share<'_>) -> Result<Vec<Staged>, Setback> {
        let task = &message.task;
        let prefix = path::staged_task(&task.source, task.dt, task.id.as_str());
        let listed =
            self.ctx.lake.objects().list(&prefix).await.map_err(|error| self.setback(message, error.into()))?;
        let listed: HashSet<ObjectPath> = listed.into_iter().collect();
        let mut staged = Vec::with_capacity(task.keys.len());
        let mut records = 0;
        let mut first_setback = None;
        let mut failed = 0;
        for key in &task.keys {
            let found = if listed.contains(&stage::place(task, key)) {
                stage::read(&self.ctx.lake, task, key, &self.schema)
                    .await
                    .map_err(|error| self.setback(message, error))?
            } else {
                None
            };
            let one = match found {
                Some(one) => one,
                None => match self.fetch_key(message, key, records, share).await {
                    Ok(one) => one,
                    Err((setback, go_on)) => {
                        share.records(records);
                        failed += 1;
                        if !go_on {
                            return Err(setback);
                        }
                        first_setback.get_or_insert(setback);
                        if failed >= MOST_FAILED_KEYS {
                            break;
                        }
                        continue;
                    }
                },
            };
            records += one.rows();
            share.records(records);
            share.key_done();
            staged.push(one);
        }
        first_setback.map_or(Ok(staged), Err)
    }

    /// Fetches a key and stages it. A failure says whether the task's other keys are worth a try.
    async fn fetch_key(
        &self,
        message: &Message,
        key: &Key,
        records: u64,
        share: &Share<'_>,
    ) -> Result<Staged, (Setback, bool)> {
        let task = &message.task;
        let lake_error = |error: Error| (self.setback(message, error), false);
        failpoint!("extract.fetch.before");
        let envelope = Envelope { task: task.id.to_string(), dt: task.dt, now: self.ctx.now };
        let progress = |so_far: u64| share.records(records + so_far);
        let harvested = harvest(self.fetch.as_ref(), &self.source, key, &envelope, &self.ctx.identity, &progress).await;
        failpoint!("extract.fetch.after");
        let fetched = match harvested {
            Ok(harvest) => {
                self.tally.change(|numbers| {
                    numbers.keys_fetched += 1;
                    numbers.requests += harvest.requests;
                });
                Staged::from(harvest)
            }
            Err(error) => {
                let same_host = matches!(error, FetchError::RateLimited { .. });
                match decide(&error, &self.attempt(message)) {
                    Decision::Record { reason } => {
                        tracing::warn!(task = task.id.as_str(), key = key.value, reason, "a key has no data: recorded");
                        self.tally.change(|numbers| numbers.keys_fetched += 1);
                        stage::refusal(&self.schema, task, key, &reason, (self.ctx.now)()).map_err(lake_error)?
                    }
                    Decision::Retry { after } => {
                        let error = format!("key `{}`: {}", key.value, one_line(&error));
                        return Err((Setback::Retry { after, error }, !same_host));
                    }
                    Decision::DeadLetter(reason) => {
                        return Err((Setback::Bury(format!("key `{}`: {reason}", key.value)), !same_host));
                    }
                    Decision::StopHost { host, evidence } => return Err((Setback::Blocked { host, evidence }, false)),
                    Decision::StopSource => {
                        let error = Error::Fetch { name: task.source.clone(), source: Box::new(error) };
                        return Err((Setback::Failed(error), false));
                    }
                    Decision::HandBack => return Err((Setback::Failed(Error::Cancelled), false)),
                }
            }
        };
        failpoint!("extract.stage.before");
        let staged = stage::write(&self.ctx.lake, task, key, fetched).await.map_err(lake_error)?;
        failpoint!("extract.stage.after");
        Ok(staged)
    }

    /// Step 5: everything the task staged becomes visible in one commit, or was already.
    async fn land(&self, message: &Message, staged: &[Staged]) -> Result<(), Setback> {
        let task = &message.task;
        for turn in 1..=COMMIT_TRIES {
            let batches = staged.iter().map(|one| &one.batch).filter(|batch| batch.num_rows() > 0).cloned().collect();
            let txn = Txn { app_id: task.app_id(), version: TXN_VERSION, rule: TxnRule::AtLeast };
            let commit = CommitInfo { run: self.ctx.run.clone(), now: (self.ctx.now)(), lineage: Vec::new() };
            match self.table.append(batches, txn, &commit).await {
                Ok(Committed::Done(version)) => {
                    tracing::info!(
                        task = task.id.as_str(),
                        version,
                        rows = staged.iter().map(Staged::rows).sum::<u64>(),
                        "landed"
                    );
                    self.tally.landed(staged);
                    return Ok(());
                }
                Ok(Committed::Duplicate(version)) => {
                    tracing::info!(task = task.id.as_str(), version, "somebody else landed it meanwhile");
                    return Ok(());
                }
                Ok(Committed::Conflict(version)) => {
                    tracing::debug!(task = task.id.as_str(), version, turn, "the table moved under the commit");
                    let jitter = self.jitter(task, message.receive_count + turn * 1000);
                    sleep(Duration::from_millis(20 << turn).mul_f64(0.5 + jitter)).await;
                }
                Err(error) => return Err(self.setback(message, error.into())),
            }
        }
        let reason = || format!("lost the race for a version of the table {COMMIT_TRIES} times");
        Err(match retry_or_bury(reason, &self.attempt(message)) {
            Decision::Retry { after } => Setback::Retry { after, error: reason() },
            _ => Setback::Bury(reason()),
        })
    }

    /// Step 6: the message, and after it what was staged. What can't be removed now is garbage and not an error.
    async fn finish(&self, message: &Message) -> Result<(), Error> {
        failpoint!("extract.delete.before");
        if self.ctx.queue.delete(&message.receipt_handle).await? == Held::Lost {
            tracing::debug!(task = message.task.id.as_str(), "its message is somebody else's, who will find it done");
        }
        failpoint!("extract.delete.after");
        if let Err(error) = stage::clear(&self.ctx.lake, &message.task).await {
            tracing::warn!(task = message.task.id.as_str(), error = one_line(&error), "staged keys stay behind");
        }
        failpoint!("extract.unstage.after");
        Ok(())
    }

    /// What an error of the lake or the queue means for the message.
    fn setback(&self, message: &Message, error: Error) -> Setback {
        if !error.is_retryable() {
            return Setback::Failed(error);
        }
        match retry_or_bury(|| one_line(&error), &self.attempt(message)) {
            Decision::Retry { after } => Setback::Retry { after, error: one_line(&error) },
            _ => Setback::Bury(one_line(&error)),
        }
    }

    fn attempt(&self, message: &Message) -> Attempt {
        let jitter = self.jitter(&message.task, message.receive_count);
        Attempt { receive_count: message.receive_count, max_receives: self.source.max_receives(), jitter }
    }

    /// In 0..1, the same for the same seed, task and turn.
    fn jitter(&self, task: &Task, turn: u32) -> f64 {
        fraction([self.ctx.seed.to_string().as_str(), task.id.as_str(), turn.to_string().as_str()])
    }
}
