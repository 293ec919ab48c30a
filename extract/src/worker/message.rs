//! Steps 3 to 6 of a task's life, for one received message: done? → fetch → land → delete.
//!
//! Whatever ends it early is a [`Setback`], and [`Crew::set_back`] is the one place that tells the queue about it.

use std::collections::HashSet;
use std::time::Duration;

use catalog::{CommitInfo, Committed, ObjectPath, Txn, TxnRule, failpoint, path};
use tokio::time::sleep;

use super::crew::Crew;
use super::desk::Desk;
use super::lease::Lease;
use super::setback::Setback;
use super::tally::Share;
use crate::decide::{Attempt, Decision, decide, retry_or_bury};
use crate::error::{Error, one_line};
use crate::fetch::FetchError;
use crate::harvest::{Envelope, harvest};
use crate::presence::Guard;
use crate::queue::{Held, Message};
use crate::stage::{self, Staged};
use crate::task::{Key, fraction};

/// A task's txn has one version only: a task lands once or not.
pub(super) const TXN_VERSION: i64 = 1;

/// A second key that fails in a row of tries means that it is not the key. The rest of the task waits for its next receive.
const MOST_FAILED_KEYS: usize = 2;

/// Lost races for a version of the table before the task is put back.
const COMMIT_TRIES: u32 = 6;

impl Crew {
    /// Takes a message through the rest of its life. An error is one that stops the work.
    pub(super) async fn perform(&self, message: &Message) -> Result<(), Error> {
        let desk = match self.desks.get(&self.ctx, &message.task.source).await {
            Ok(desk) => desk,
            Err(error) => return self.set_back(message, Setback::Failed(error)).await,
        };
        let max_receives = desk.as_ref().map(|desk| desk.source.max_receives());
        if let Some(setback) = self.refuse(message, max_receives) {
            return self.set_back(message, setback).await;
        }
        let Some(desk) = desk else { return Ok(()) };
        let presence = self.ctx.presence.as_ref().map(|presence| presence.task(&message.task));
        let lease =
            Lease::hold(&self.ctx.queue, &message.receipt_handle, self.ctx.tuning.visibility_timeout, self.ctx.now);
        let job = Job { crew: self, desk: &desk, message, presence };
        let ended = job.live(&lease).await;
        // From here on nothing may extend what we give back.
        drop(lease);
        match ended {
            Ok(()) => Ok(()),
            Err(setback) => self.set_back(message, setback).await,
        }
    }
}

/// One message that is worked on.
struct Job<'a> {
    crew: &'a Crew,
    desk: &'a Desk,
    message: &'a Message,
    presence: Option<Guard>,
}

impl Job<'_> {
    async fn live(&self, lease: &Lease) -> Result<(), Setback> {
        let (crew, task) = (self.crew, &self.message.task);
        if self.is_done().await.map_err(|error| self.setback(error))? {
            tracing::debug!(task = task.id.as_str(), "it has landed already");
            return self.finish().await.map_err(Setback::Failed);
        }
        let share = crew.tally_of(task).share();
        let staged = tokio::select! {
            biased;
            () = lease.lost() => Err(Setback::Lost),
            () = crew.ctx.cancel.cancelled() => Err(Setback::HandBack),
            () = crew.stop.cancelled() => Err(Setback::HandBack),
            staged = self.fetch_all(&share) => staged,
        }?;
        if lease.confirm().await.map_err(|error| self.setback(error))? == Held::Lost {
            return Err(Setback::Lost);
        }
        failpoint!("extract.land.before");
        self.land(&staged).await?;
        failpoint!("extract.land.after");
        share.keep();
        self.finish().await.map_err(Setback::Failed)
    }

    async fn is_done(&self) -> Result<bool, Error> {
        let version = self.desk.table.snapshot().await?.txn(&self.message.task.app_id()).await?;
        Ok(version.is_some_and(|version| version >= TXN_VERSION))
    }

    /// Step 4. What is staged is not fetched; what is fetched is staged before the next key.
    async fn fetch_all(&self, share: &Share<'_>) -> Result<Vec<Staged>, Setback> {
        let (lake, task) = (&self.crew.ctx.lake, &self.message.task);
        let prefix = path::staged_task(&task.source, task.dt, task.id.as_str());
        let listed = lake.objects().list(&prefix).await.map_err(|error| self.setback(error.into()))?;
        let listed: HashSet<ObjectPath> = listed.into_iter().collect();
        let mut staged = Vec::with_capacity(task.keys.len());
        let mut records = 0;
        let mut first_setback = None;
        let mut failed = 0;
        for key in &task.keys {
            let found = if listed.contains(&stage::place(task, key)) {
                stage::read(lake, task, key, &self.desk.schema).await.map_err(|error| self.setback(error))?
            } else {
                None
            };
            let one = match found {
                Some(one) => one,
                None => match self.fetch_key(key, records, share).await {
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
    async fn fetch_key(&self, key: &Key, records: u64, share: &Share<'_>) -> Result<Staged, (Setback, bool)> {
        let (ctx, task, tally) = (&self.crew.ctx, &self.message.task, self.crew.tally_of(&self.message.task));
        let lake_error = |error: Error| (self.setback(error), false);
        if let Some(presence) = &self.presence {
            presence.key(&key.value);
        }
        failpoint!("extract.fetch.before");
        let envelope = Envelope { task: task.id.to_string(), dt: task.dt, now: ctx.now };
        let progress = |so_far: u64| share.records(records + so_far);
        let harvested =
            harvest(self.desk.fetch.as_ref(), &self.desk.source, key, &envelope, &ctx.identity, &progress).await;
        failpoint!("extract.fetch.after");
        let fetched = match harvested {
            Ok(harvest) => {
                tally.change(|numbers| {
                    numbers.keys_fetched += 1;
                    numbers.requests += harvest.requests;
                });
                Staged::from(harvest)
            }
            Err(error) => {
                let same_host = matches!(error, FetchError::RateLimited { .. });
                match decide(&error, &self.attempt()) {
                    Decision::Record { reason } => {
                        tracing::warn!(task = task.id.as_str(), key = key.value, reason, "a key has no data: recorded");
                        tally.change(|numbers| numbers.keys_fetched += 1);
                        stage::refusal(&self.desk.schema, task, key, &reason, (ctx.now)()).map_err(lake_error)?
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
        let staged = stage::write(&ctx.lake, task, key, fetched).await.map_err(lake_error)?;
        failpoint!("extract.stage.after");
        Ok(staged)
    }

    /// Step 5: everything the task staged becomes visible in one commit, or was already.
    async fn land(&self, staged: &[Staged]) -> Result<(), Setback> {
        let (ctx, task) = (&self.crew.ctx, &self.message.task);
        for turn in 1..=COMMIT_TRIES {
            let batches = staged.iter().map(|one| &one.batch).filter(|batch| batch.num_rows() > 0).cloned().collect();
            let txn = Txn { app_id: task.app_id(), version: TXN_VERSION, rule: TxnRule::AtLeast };
            let commit = CommitInfo { run: ctx.run.clone(), now: (ctx.now)(), lineage: Vec::new() };
            match self.desk.table.append(batches, txn, &commit).await {
                Ok(Committed::Done(version)) => {
                    tracing::info!(
                        task = task.id.as_str(),
                        version,
                        rows = staged.iter().map(Staged::rows).sum::<u64>(),
                        "landed"
                    );
                    self.crew.tally_of(task).landed(staged);
                    return Ok(());
                }
                Ok(Committed::Duplicate(version)) => {
                    tracing::info!(task = task.id.as_str(), version, "somebody else landed it meanwhile");
                    return Ok(());
                }
                Ok(Committed::Conflict(version)) => {
                    tracing::debug!(task = task.id.as_str(), version, turn, "the table moved under the commit");
                    let jitter = self.jitter(self.message.receive_count + turn * 1000);
                    sleep(Duration::from_millis(20 << turn).mul_f64(0.5 + jitter)).await;
                }
                Err(error) => return Err(self.setback(error.into())),
            }
        }
        let reason = || format!("lost the race for a version of the table {COMMIT_TRIES} times");
        Err(match retry_or_bury(reason, &self.attempt()) {
            Decision::Retry { after } => Setback::Retry { after, error: reason() },
            _ => Setback::Bury(reason()),
        })
    }

    /// Step 6: the message, and after it what was staged. What can't be removed now is garbage and not an error.
    async fn finish(&self) -> Result<(), Error> {
        let (ctx, task) = (&self.crew.ctx, &self.message.task);
        failpoint!("extract.delete.before");
        match ctx.queue.delete(&self.message.receipt_handle).await {
            Ok(Held::Yes) => {}
            Ok(Held::Lost) => {
                tracing::debug!(task = task.id.as_str(), "its message is somebody else's, who will find it done");
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(
                    task = task.id.as_str(),
                    error = one_line(&error),
                    "its message stays, and will be found done"
                );
            }
            Err(error) => return Err(error),
        }
        failpoint!("extract.delete.after");
        if let Err(error) = stage::clear(&ctx.lake, task).await {
            tracing::warn!(task = task.id.as_str(), error = one_line(&error), "staged keys stay behind");
        }
        failpoint!("extract.unstage.after");
        Ok(())
    }

    /// What an error of the lake or the queue means for the message.
    fn setback(&self, error: Error) -> Setback {
        if !error.is_retryable() {
            return Setback::Failed(error);
        }
        match retry_or_bury(|| one_line(&error), &self.attempt()) {
            Decision::Retry { after } => Setback::Retry { after, error: one_line(&error) },
            _ => Setback::Bury(one_line(&error)),
        }
    }

    fn attempt(&self) -> Attempt {
        let receive_count = self.message.receive_count;
        let jitter = self.jitter(receive_count);
        Attempt { receive_count, max_receives: self.desk.source.max_receives(), jitter }
    }

    /// In 0..1, the same for the same seed, task and turn.
    fn jitter(&self, turn: u32) -> f64 {
        let (seed, task) = (self.crew.ctx.seed.to_string(), self.message.task.id.as_str());
        fraction([seed.as_str(), task, turn.to_string().as_str()])
    }
}
