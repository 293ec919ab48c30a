//! Steps 3 to 6 of a task's life, for one received message: wanted? → fetch → land → delete.
//!
//! A task is its keys: those that somebody has closed since are left out, those that were fetched well land whatever the
//! others do, and those that failed come again with the message, or, when its receives are used up, end as *failed*. What
//! ends it early is a [`TaskFailure`], and [`WorkerContext::settle`] is the one place that tells the queue about it.
//!
//! A hand does not wait until what it fetched has landed: it hands that over as a [`FetchedMessage`], with the lease, and takes the
//! next message.

use std::sync::Arc;

use catalog::{CommitInfo, failpoint};

use super::context::WorkerContext;
use super::failure::TaskFailure;
use super::lease::Lease;
use super::open_source::OpenSource;
use super::parcels::Fetched;
use super::stats::TaskProgress;
use crate::decide::{Attempt, Decision, decide, wait};
use crate::error::{Error, FetchError, one_line};
use crate::harvest::{Ending as ListEnding, Envelope, KeptBody, KeyOutput, harvest};
use crate::heartbeat::Guard;
use crate::outcome::{KeyOutcome, Outcome, whole_milliseconds};
use crate::plan::is_late;
use crate::politeness::KEY_PATIENCE;
use crate::queue::{Message, NO_WORD, ReceiptState};
use crate::stage::{self, Staged};
use crate::task::{Key, fraction};

/// So many keys in a row that fail, of a site that has answered nobody here, mean that it is not the keys. The rest of the
/// task waits for its next receive, which begins with them.
const MOST_FAILED_IN_ROW: usize = 3;

/// What is said of a key that was found in the queue when its day was over.
const LATE: &str = "not asked for: its day was over when a worker came to it, and the source answers with the present";

/// A message whose keys were asked for: what remains is to land them and to tell the queue.
pub(super) struct FetchedMessage {
    message: Message,
    open: Arc<OpenSource>,
    lease: Lease,
    progress: TaskProgress,
    /// What is to land.
    fetched: Vec<Fetched>,
    /// What is told to the queue then; nothing if the message is to be deleted.
    failure: Option<TaskFailure>,
}

impl FetchedMessage {
    /// The memory of what is to land.
    pub(super) fn bytes(&self) -> usize {
        self.fetched.iter().map(Fetched::bytes).sum()
    }
}

impl WorkerContext {
    /// Asks for the keys of a message. What remains to be done comes back; nothing if the queue was told already. An error is
    /// one that stops the work.
    pub(super) async fn perform(&self, message: Message) -> Result<Option<FetchedMessage>, Error> {
        let task = &message.task;
        let open = match self.open.get(&self.ctx, &task.source, task.dt).await {
            Ok(open) => open,
            Err(error) => return self.settle(&message, TaskFailure::Failed(error)).await.map(|()| None),
        };
        let Some(open) = open else {
            return self.settle(&message, Self::unknown_source(&message)).await.map(|()| None);
        };
        if let Some(failure) = self.refuse(&message) {
            return self.settle(&message, failure).await.map(|()| None);
        }
        let heartbeat = self.ctx.heartbeat.as_ref().map(|heartbeat| heartbeat.task(&message.task));
        let lease =
            Lease::hold(&self.ctx.queue, &message.receipt_handle, self.ctx.tuning.visibility_timeout, self.ctx.now);
        let progress = self.stats_of(&message.task).of_task();
        let job = Job { pool: self, open: &open, message: &message, heartbeat };
        let ended = job.fetch(&lease, &progress).await;
        match ended {
            Ok((fetched, failure)) => {
                Ok(Some(FetchedMessage { open: Arc::clone(&open), message, lease, progress, fetched, failure }))
            }
            Err(failure) => {
                // From here on nothing may extend what we give back.
                drop(lease);
                self.settle(&message, failure).await.map(|()| None)
            }
        }
    }

    /// Lands what was fetched of a message, and tells the queue. An error is one that stops the work.
    pub(super) async fn end(&self, ending: FetchedMessage) -> Result<(), Error> {
        let FetchedMessage { message, open, lease, progress, fetched, failure } = ending;
        let keys: Vec<Key> = fetched.iter().map(|it| it.key.clone()).collect();
        if !fetched.is_empty() {
            match open.land(&self.ctx, fetched, self.is_alone()).await {
                Ok(landed) => {
                    self.stats_of(&message.task).landed(&landed, failure.is_none());
                    progress.keep();
                }
                Err(error) => {
                    drop(lease);
                    return self.settle(&message, self.failure_of(&message, error)).await;
                }
            }
        }
        drop(lease);
        if let Some(failure) = failure {
            self.settle(&message, failure).await?;
        } else {
            self.delete(&message).await?;
        }
        // What can't be removed now is garbage and not an error.
        if let Err(error) = stage::clear(&self.ctx.lake, &message.task.source, message.task.dt, &keys).await {
            tracing::warn!(task = message.task.id.as_str(), error = one_line(&error), "staged keys stay behind");
        }
        failpoint!("extract.unstage.after");
        Ok(())
    }

    async fn delete(&self, message: &Message) -> Result<(), Error> {
        let task = message.task.id.as_str();
        failpoint!("extract.delete.before");
        match self.ctx.queue.delete(&message.receipt_handle).await {
            Ok(ReceiptState::Current) => {}
            Ok(ReceiptState::Stale) => {
                tracing::debug!(task, "its message is somebody else's, who will find its keys done");
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(task, error = one_line(&error), "its message stays, and its keys will be found done");
            }
            Err(error) => return Err(error),
        }
        failpoint!("extract.delete.after");
        Ok(())
    }

    /// What an error of the lake or the queue means for a message: it is no fault of its keys.
    pub(super) fn failure_of(&self, message: &Message, error: Error) -> TaskFailure {
        if error.is_retryable() {
            TaskFailure::Again { after: wait(&self.attempt(message, 0)), error: one_line(&error) }
        } else {
            TaskFailure::Failed(error)
        }
    }

    fn attempt(&self, message: &Message, rests_in_a_row: u32) -> Attempt {
        let receive_count = message.receive_count;
        // The same for the same seed, task and turn.
        let jitter = fraction([
            self.ctx.seed.to_string().as_str(),
            message.task.id.as_str(),
            receive_count.to_string().as_str(),
            rests_in_a_row.to_string().as_str(),
        ]);
        let max_receives = self.max_receives_of(&message.task.source);
        Attempt { receive_count, max_receives, rests_in_a_row, jitter }
    }
}

/// One message that is worked on.
struct Job<'a> {
    pool: &'a WorkerContext,
    open: &'a OpenSource,
    message: &'a Message,
    heartbeat: Option<Guard>,
}

/// What was done of a message's keys.
#[derive(Default)]
struct Done {
    fetched: Vec<Fetched>,
    /// To be asked for again, and why.
    again: Vec<(Key, Outcome, String)>,
}

/// How asking for one key ended.
enum Asked {
    /// To land.
    Fetched(Box<Staged>),
    /// To be asked for again, if there is another time; what came until then lands if there is none.
    Again { outcome: Outcome, why: String, came: Option<Box<Staged>>, bodies: Vec<KeptBody> },
    /// It has failed, and is not asked for again in this run.
    GivenUp { why: String },
    /// The whole task goes back; what came of the key until then lands, where nobody here goes on with it.
    Back { failure: TaskFailure, came: Option<Box<Staged>> },
}

impl Job<'_> {
    /// Asks for the keys that are wanted: what is to land, and what is told to the queue after that.
    async fn fetch(
        &self,
        lease: &Lease,
        progress: &TaskProgress,
    ) -> Result<(Vec<Fetched>, Option<TaskFailure>), TaskFailure> {
        let (pool, ledger) = (self.pool, &self.open.ledger);
        let task = &self.message.task;
        let caught_up = async { ledger.catch_up(&self.open.table.head().await?).await };
        caught_up.await.map_err(|error| pool.failure_of(self.message, error))?;
        let wanted: Vec<Key> = task.keys.iter().filter(|key| ledger.is_wanted(task.dt, key)).cloned().collect();
        if wanted.is_empty() {
            tracing::debug!(task = task.id.as_str(), "all of its keys are done");
        }
        let attempt = pool.attempt(self.message, 0);
        // Of a queue that counts receives by itself, a message may come that nobody lived to say a word about.
        if self.message.receive_count > attempt.max_receives.max(2) {
            let fetched = wanted.into_iter().map(|key| self.without_rows(key, Outcome::Failed, NO_WORD.to_owned()));
            return Ok((fetched.collect(), None));
        }
        // Whoever waits for it is told; whose own day it is, goes on with it also past midnight.
        if !pool.is_ours(task) && wanted.iter().any(|key| self.is_late(key)) {
            let fetched = wanted.into_iter().map(|key| self.without_rows(key, Outcome::Failed, LATE.to_owned()));
            return Ok((fetched.collect(), None));
        }
        let mut done = Done::default();
        let stopped = tokio::select! {
            biased;
            () = lease.lost() => return Err(TaskFailure::Lost),
            () = pool.ctx.cancel.cancelled() => return Err(TaskFailure::HandBack),
            () = pool.stop.cancelled() => return Err(TaskFailure::HandBack),
            stopped = self.ask(&wanted, &mut done, progress) => stopped?,
        };
        let Done { mut fetched, again } = done;
        if stopped.is_some() {
            return Ok((fetched, stopped));
        }
        let Some((key, _, why)) = again.first() else { return Ok((fetched, None)) };
        if attempt.is_last() {
            fetched.extend(again.into_iter().map(|(key, outcome, why)| self.without_rows(key, outcome, why)));
            return Ok((fetched, None));
        }
        let error = format!("key `{}`: {why}", key.value);
        Ok((fetched, Some(TaskFailure::Retry { after: wait(&attempt), error })))
    }

    /// Step 4. What is staged is not fetched; what is fetched is staged before the next key. Says why the task goes back, if
    /// it does so whatever its keys gave.
    async fn ask(
        &self,
        wanted: &[Key],
        done: &mut Done,
        progress: &TaskProgress,
    ) -> Result<Option<TaskFailure>, TaskFailure> {
        let (pool, task, lake) = (self.pool, &self.message.task, &self.pool.ctx.lake);
        let lake_error = |error: Error| pool.failure_of(self.message, error);
        let attempt = pool.attempt(self.message, 0);
        // Each try begins elsewhere, so that keys which fail don't keep others from being asked for.
        let turn = (self.message.receive_count.saturating_sub(1) as usize * MOST_FAILED_IN_ROW) % wanted.len().max(1);
        let (mut records, mut failed_in_row) = (0, 0);
        for (index, key) in wanted[turn..].iter().chain(&wanted[..turn]).enumerate() {
            // Asked for by name: a listing would cost what all other tasks of the day have staged.
            let staged = stage::read(lake, task, key, &self.open.schema, self.open.ledger.definition())
                .await
                .map_err(lake_error)?;
            let asked = match staged {
                Some(staged) => Asked::Fetched(Box::new(staged)),
                None => self.ask_one(key, records, progress).await.map_err(lake_error)?,
            };
            match asked {
                Asked::Fetched(staged) => {
                    failed_in_row = 0;
                    records += staged.outcome.rows;
                    progress.records(records);
                    progress.key_done();
                    done.fetched.push(Fetched { dt: task.dt, key: key.clone(), staged: *staged });
                }
                Asked::Again { outcome, came: Some(staged), bodies, .. }
                    if attempt.is_last() || (outcome == Outcome::Unreadable && self.message.receive_count > 1) =>
                {
                    let info = CommitInfo { run: pool.ctx.run.clone(), now: (pool.ctx.now)(), lineage: Vec::new() };
                    self.open.bodies.keep(task.dt, &key.value, &bodies, &info).await;
                    failed_in_row = 0;
                    records += staged.outcome.rows;
                    done.fetched.push(Fetched { dt: task.dt, key: key.clone(), staged: *staged });
                }
                Asked::Again { outcome, why, .. } => {
                    progress.records(records);
                    failed_in_row += usize::from(outcome == Outcome::Failed);
                    done.again.push((key.clone(), outcome, why));
                }
                Asked::GivenUp { why } => {
                    progress.records(records);
                    progress.key_done();
                    done.fetched.push(self.without_rows(key.clone(), Outcome::Failed, why));
                }
                Asked::Back { failure, came } => {
                    let came = came.map(|staged| Fetched { dt: task.dt, key: key.clone(), staged: *staged });
                    done.fetched.extend(came);
                    return Ok(Some(failure));
                }
            }
            if failed_in_row >= MOST_FAILED_IN_ROW && !self.open.has_answered() {
                let rest = wanted[turn..].iter().chain(&wanted[..turn]).skip(index + 1);
                let why = format!("not asked for: {failed_in_row} keys before it failed one after the other");
                done.again.extend(rest.map(|key| (key.clone(), Outcome::Failed, why.clone())));
                break;
            }
        }
        Ok(None)
    }

    /// Fetches a key and stages it.
    async fn ask_one(&self, key: &Key, records: u64, progress: &TaskProgress) -> Result<Asked, Error> {
        let (ctx, task, stats) = (&self.pool.ctx, &self.message.task, self.pool.stats_of(&self.message.task));
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.key(&key.value);
        }
        failpoint!("extract.fetch.before");
        let envelope = Envelope { task: task.id.to_string(), dt: task.dt, now: ctx.now };
        let tell = |so_far: u64| progress.records(records + so_far);
        let harvested =
            harvest(self.open.fetch.as_ref(), &self.open.source, key, &envelope, &ctx.identity, &tell).await;
        failpoint!("extract.fetch.after");
        let mut harvest = match harvested {
            Ok(harvest) => harvest,
            Err(error) => return Ok(self.failed(key, &error)),
        };
        self.open.answers();
        if !matches!(harvest.ending, ListEnding::Short(_)) {
            ctx.fetchers.politeness().has_ended(&self.open.source, &key.value);
        }
        stats.change(|numbers| {
            numbers.keys_fetched += 1;
            numbers.requests += harvest.requests;
        });
        let (outcome, why) = match &harvest.ending {
            ListEnding::Whole if harvest.fetched == 0 => (Outcome::Empty, None),
            ListEnding::Whole => (Outcome::Landed, None),
            ListEnding::Cut(why) => (Outcome::Cut, Some(why.clone())),
            ListEnding::Short(error) => (Outcome::Short, Some(one_line(error))),
            ListEnding::Gone(why) => (Outcome::Gone, Some(why.clone())),
            ListEnding::Refused(rule) => (Outcome::Refused, Some(rule.clone())),
            ListEnding::Unreadable(why) => (Outcome::Unreadable, Some(why.clone())),
        };
        if let Some(why) = &why {
            tracing::warn!(task = task.id.as_str(), key = key.value, %outcome, why, "a key did not end as it should");
        }
        let (broke_off, refused) = match &harvest.ending {
            ListEnding::Short(error) => (Some(self.failed(key, error)), matches!(error, FetchError::Blocked { .. })),
            _ => (None, false),
        };
        let bodies = std::mem::take(&mut harvest.unreadable);
        let mut staged = self.staged(key, outcome, why.clone(), harvest);
        match broke_off {
            Some(Asked::Back { failure, .. }) => {
                // A host that only wants its rest is asked for the whole list again, by us.
                let came = refused.then(|| Box::new(staged));
                return Ok(Asked::Back { failure, came });
            }
            Some(Asked::GivenUp { why }) => {
                staged.outcome.why = Some(why);
                return Ok(Asked::Fetched(Box::new(staged)));
            }
            _ => {}
        }
        if outcome.is_open() {
            return Ok(Asked::Again { outcome, why: why.unwrap_or_default(), came: Some(Box::new(staged)), bodies });
        }
        failpoint!("extract.stage.before");
        let staged = stage::write(&ctx.lake, task, key, staged).await?;
        failpoint!("extract.stage.after");
        Ok(Asked::Fetched(Box::new(staged)))
    }

    /// What it means that nothing came at all.
    fn failed(&self, key: &Key, error: &FetchError) -> Asked {
        let back = |failure| Asked::Back { failure, came: None };
        let politeness = self.pool.ctx.fetchers.politeness();
        let is_of_key = matches!(error, FetchError::RateLimited { .. });
        let is_about_pace = is_of_key || matches!(error, FetchError::Resting { .. });
        if !is_about_pace {
            politeness.has_ended(&self.open.source, &key.value);
        }
        let rests = if is_about_pace { self.open.rests() } else { 0 };
        match decide(error, &self.pool.attempt(self.message, rests)) {
            Decision::Again => {
                let outcome = match error {
                    FetchError::Permanent { .. } | FetchError::Unreadable { .. } => Outcome::Unreadable,
                    FetchError::RobotsDenied { .. } => Outcome::Refused,
                    FetchError::Gone { .. } => Outcome::Gone,
                    FetchError::Cut { .. } => Outcome::Cut,
                    _ => Outcome::Failed,
                };
                Asked::Again { outcome, why: one_line(error), came: None, bodies: Vec::new() }
            }
            // What the host asks of all is no matter of this key.
            Decision::Rest { after } if is_of_key && !politeness.may_wait(&self.open.source, &key.value, after) => {
                politeness.has_ended(&self.open.source, &key.value);
                let most = KEY_PATIENCE.as_secs();
                Asked::GivenUp { why: format!("{}; no key may wait for more than {most} s in a run", one_line(error)) }
            }
            Decision::Rest { after } => back(TaskFailure::Again { after, error: one_line(error) }),
            Decision::StopHost { host, evidence } => {
                // The host is left alone at once, not when what came of the task has landed.
                let after = self.pool.refused(self.message, &host, &evidence);
                back(TaskFailure::Again { after, error: format!("blocked by {host}: {evidence}") })
            }
            Decision::StopSource => {
                let source = Box::new(error.clone());
                back(TaskFailure::Failed(Error::Fetch { name: self.message.task.source.clone(), source }))
            }
            Decision::HandBack => back(TaskFailure::HandBack),
        }
    }

    fn staged(&self, key: &Key, outcome: Outcome, why: Option<String>, harvest: KeyOutput) -> Staged {
        let KeyOutput { batch, set_aside, duplicates, short, unfit, .. } = harvest;
        let outcome = KeyOutcome {
            rows: batch.num_rows() as u64,
            set_aside,
            missing: short,
            unfit,
            ..self.outcome(key, outcome, why)
        };
        Staged { batch, outcome, duplicates }
    }

    /// Whether what the source answers now is no longer what was asked for when the key was planned.
    fn is_late(&self, key: &Key) -> bool {
        let kind = self.open.source.fetch_kind();
        key.planned.is_some_and(|planned| is_late(kind, planned, (self.pool.ctx.now)()))
    }

    fn without_rows(&self, key: Key, outcome: Outcome, why: String) -> Fetched {
        let outcome = self.outcome(&key, outcome, Some(why));
        Fetched { dt: self.message.task.dt, staged: Staged::without_rows(&self.open.schema, outcome), key }
    }

    fn outcome(&self, key: &Key, outcome: Outcome, why: Option<String>) -> KeyOutcome {
        KeyOutcome {
            key: key.value.clone(),
            dt: self.message.task.dt,
            outcome,
            rows: 0,
            set_aside: 0,
            missing: 0,
            why,
            unfit: Vec::new(),
            definition: self.open.ledger.definition().to_owned(),
            task: self.message.task.id.to_string(),
            at: whole_milliseconds((self.pool.ctx.now)()),
        }
    }
}
