//! The loop: a source's day is planned, sent, fetched and landed, and the only file that knows all the others.
//!
//! ```text
//!  1 plan      keys → tasks, recorded in the lake; those whose txn is in the table are done and not even sent
//!  2 receive   the message is hidden; a heartbeat keeps it hidden; a lost heartbeat stops the work
//!  3 done?     its txn is in the table by now → delete the message, fetch nothing
//!  4 fetch     key by key, at the host's pace; a finished key is staged
//!  5 land      staged keys → one commit with the task's txn
//!  6 delete    only now the message; then the staged keys
//! ```
//!
//! The hard part is to end. Several processes may work on the same day, any of them may die, and the queue may vanish: so
//! the loop ends when nothing is in the queue any more, then asks the *table* what is done, and sends again what is neither
//! there nor among the dead letters. A day whose tasks are all in the table never touches the queue.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use catalog::{Date, Lake, RunId, Table, Timestamp, failpoint, path};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::message::TXN_VERSION;
use self::tally::Tally;
use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::fetch::{Fetch, Fetchers};
use crate::identity::IdentityKey;
use crate::plan::{self, Due, due, plan};
use crate::politeness::RobotsDecision;
use crate::queue::{DeadLetter, Queue, ReceiveOptions};
use crate::source::Source;
use crate::stage;
use crate::task::{Key, Task, TaskId};

mod lease;
mod message;
mod tally;

/// What extracting needs besides a source: made once by the command line, used for every source of a run.
#[derive(Clone)]
pub struct Extractor {
    /// Where records land.
    pub lake: Lake,
    /// Where tasks wait.
    pub queue: Arc<dyn Queue>,
    /// Who asks the outside world.
    pub fetchers: Arc<Fetchers>,
    /// Hides reviewers.
    pub identity: IdentityKey,
    /// Stamped on each commit.
    pub run: RunId,
    /// The only clock.
    pub now: fn() -> Timestamp,
    /// Tasks under way at the same time.
    pub jobs: usize,
    /// Of the jitter in waits.
    pub seed: u64,
    /// Told at each record's and key's end how far the source is.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
    /// Raised to stop: messages are handed back, staged keys stay.
    pub cancel: Cancel,
    /// What may be left alone.
    pub tuning: Tuning,
}

/// Times of the loop. Tests shorten them; nobody else needs to.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// How long a received message is hidden. The heartbeat comes every third of it, so it is also how long a worker of
    /// another machine that died keeps its task from others.
    pub visibility_timeout: Duration,
    /// How often an idle worker looks whether there is something to do. A look costs two short queries.
    pub poll_interval: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { visibility_timeout: Duration::from_mins(2), poll_interval: Duration::from_millis(250) }
    }
}

/// How far a source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Keys fetched, or found staged.
    pub done_keys: u64,
    /// Keys that were not done when the run began.
    pub total_keys: u64,
    /// Records of those keys so far.
    pub records: u64,
}

/// What a run did for one source, and what it had to leave. Numbers are those of this run only: what another run landed, a
/// minute ago or at the same time, is not in them.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Extracted {
    /// Tasks this run landed.
    pub tasks: u64,
    /// Rows of those tasks: landed + set aside.
    pub fetched: u64,
    /// Rows without an `_error`.
    pub landed: u64,
    /// Rows with one.
    pub set_aside: u64,
    /// Items that came more than once for a key and were merged.
    pub duplicates: u64,
    /// Keys really asked for, also by tasks that have not landed.
    pub keys_fetched: u64,
    /// Requests made for them.
    pub requests: u64,
    /// Tasks of the day that failed for good, in this run or an earlier one.
    pub dead: Vec<DeadLetter>,
    /// Hosts that refuse us, with how we know.
    pub blocked: Vec<(String, String)>,
    /// Tasks left undone, dead ones not counted: a blocked host's.
    pub left: u64,
    /// What robots.txt said.
    pub robots: Vec<RobotsDecision>,
}

impl Extracted {
    /// Whether something of the day is missing.
    pub fn is_partial(&self) -> bool {
        self.left > 0 || !self.dead.is_empty() || !self.blocked.is_empty()
    }
}

/// Whether a source is to be extracted for a day at all: one look at the days its table has.
pub async fn is_due(lake: &Lake, source: &Source, dt: Date) -> Result<Due, Error> {
    match lake.find(source.table()).await? {
        Some(table) => Ok(due(source.every_days(), dt, &table.snapshot().await?.days().await?)),
        None => Ok(Due::Now),
    }
}

/// How many of these keys a run of the day would ask for: a look at the plans and the table that plans nothing itself.
pub async fn keys_left(lake: &Lake, source: &Source, dt: Date, keys: Vec<Key>) -> Result<usize, Error> {
    let planned = plan::planned(lake, source.name(), dt).await?;
    let known: HashSet<String> = planned.iter().flat_map(|task| &task.keys).map(|key| key.value.clone()).collect();
    let new = keys.iter().filter(|key| !known.contains(&key.value)).count();
    let left = match lake.find(source.table()).await? {
        Some(table) => undone(&table, planned).await?,
        None => planned,
    };
    Ok(new + left.iter().map(|task| task.keys.len()).sum::<usize>())
}

/// Those tasks whose txn is not in the table's newest snapshot.
async fn undone(table: &Table, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
    if tasks.is_empty() {
        return Ok(tasks);
    }
    let snapshot = table.snapshot().await?;
    let mut undone = Vec::new();
    for task in tasks {
        if snapshot.txn(&task.app_id()).await?.is_none_or(|version| version < TXN_VERSION) {
            undone.push(task);
        }
    }
    Ok(undone)
}

/// Extracts a source's day: everything that is planned for it is in the table afterwards, except what [`Extracted`] names.
/// To do it again costs a look at the table.
pub async fn extract(ctx: &Extractor, source: &Source, dt: Date, keys: Vec<Key>) -> Result<Extracted, Error> {
    let fetch = ctx.fetchers.get(source.fetch_kind());
    let mut extracted = extract_with(ctx, source, &fetch, dt, keys).await?;
    extracted.robots = ctx.fetchers.robots_decisions();
    Ok(extracted)
}

/// [`extract`] with a fetcher of one's own.
pub async fn extract_with(
    ctx: &Extractor,
    source: &Source,
    fetch: &Arc<dyn Fetch>,
    dt: Date,
    keys: Vec<Key>,
) -> Result<Extracted, Error> {
    let spec = source.table_spec();
    let schema = Arc::clone(&spec.schema);
    let table = ctx.lake.create(&spec).await?;
    let tasks = plan(&ctx.lake, source.name(), dt, &keys, source.keys_per_task()).await?;
    let crew = Arc::new(Crew {
        ctx: ctx.clone(),
        source: source.clone(),
        dt,
        fetch: Arc::clone(fetch),
        table,
        schema,
        stop: Cancel::new(),
        one_ended: Notify::new(),
        tally: Tally::new(Arc::clone(&ctx.progress)),
    });
    crew.extract(tasks).await
}

/// Those who work on one source's day in this process.
struct Crew {
    ctx: Extractor,
    source: Source,
    dt: Date,
    fetch: Arc<dyn Fetch>,
    table: Table,
    schema: SchemaRef,
    /// Raised when the source can't go on: a blocked host, a broken lake.
    stop: Cancel,
    /// A task ended: those who wait may have something to do.
    one_ended: Notify,
    tally: Tally,
}

/// How often tasks may vanish from the queue before we ask for help. Each round does all that is there.
const ROUNDS: usize = 5;

impl Crew {
    async fn extract(self: Arc<Self>, tasks: Vec<Task>) -> Result<Extracted, Error> {
        let mut waiting = self.undone(tasks.clone()).await?;
        self.sweep(&tasks, &waiting).await;
        self.tally.expect(waiting.iter().map(|task| task.keys.len() as u64).sum());
        let mut dead = Vec::new();
        let mut round = 0;
        while !waiting.is_empty() && !self.stop.is_cancelled() {
            if round == ROUNDS {
                return Err(Error::Unfinished {
                    name: self.source.name().clone(),
                    tasks: waiting.len(),
                    rounds: round,
                });
            }
            round += 1;
            self.ctx.queue.send(&waiting, (self.ctx.now)()).await?;
            failpoint!("extract.send.after");
            Arc::clone(&self).work(waiting.len()).await?;
            if self.ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            waiting = self.undone(waiting).await?;
            dead = self.ctx.queue.dead_letters(self.source.name(), self.dt).await?;
            dead.retain(|letter: &DeadLetter| waiting.iter().any(|task| task.id == letter.task.id));
            waiting.retain(|task| dead.iter().all(|letter| letter.task.id != task.id));
        }
        if waiting.is_empty() && dead.is_empty() {
            self.tally.complete();
        }
        let mut extracted = self.tally.numbers();
        extracted.left = waiting.len() as u64;
        extracted.dead = dead;
        Ok(extracted)
    }

    /// Removes what tasks that have landed left staged: their worker died between its commit and the end. It is garbage, so
    /// what can't be removed is left for later.
    async fn sweep(&self, tasks: &[Task], waiting: &[Task]) {
        if tasks.len() == waiting.len() {
            return;
        }
        let staged = self.ctx.lake.objects().list(&path::staged_all()).await.unwrap_or_default();
        if staged.is_empty() {
            return;
        }
        let waiting: HashSet<&TaskId> = waiting.iter().map(|task| &task.id).collect();
        for task in tasks.iter().filter(|task| !waiting.contains(&task.id)) {
            let folder = format!("{}/", path::staged_task(&task.source, task.dt, task.id.as_str()));
            if staged.iter().any(|object| object.as_str().starts_with(&folder)) {
                tracing::debug!(task = task.id.as_str(), "removing what a task that has landed left staged");
                if let Err(error) = stage::clear(&self.ctx.lake, task).await {
                    tracing::warn!(task = task.id.as_str(), error = one_line(&error), "staged keys stay behind");
                }
            }
        }
    }

    /// Those whose txn is not in the newest snapshot.
    async fn undone(&self, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        undone(&self.table, tasks).await
    }

    async fn is_done(&self, task: &Task) -> Result<bool, Error> {
        let version = self.table.snapshot().await?.txn(&task.app_id()).await?;
        Ok(version.is_some_and(|version| version >= TXN_VERSION))
    }

    /// Works until the queue has nothing for this day, visible or in anybody's hands, or until it is to stop.
    async fn work(self: Arc<Self>, tasks: usize) -> Result<(), Error> {
        let mut hands = JoinSet::new();
        for _ in 0..self.ctx.jobs.min(tasks).max(1) {
            hands.spawn(Arc::clone(&self).hand());
        }
        let mut first_error = None;
        while let Some(ended) = hands.join_next().await {
            let error = match ended {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error,
                Err(failed) => match failed.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Error::Cancelled,
                },
            };
            self.stop.cancel();
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn hand(self: Arc<Self>) -> Result<(), Error> {
        let (queue, name) = (&self.ctx.queue, self.source.name());
        let options = ReceiveOptions {
            visibility_timeout: self.ctx.tuning.visibility_timeout,
            max_receives: self.source.max_receives().max(2),
        };
        while !self.stop.is_cancelled() && !self.ctx.cancel.is_cancelled() {
            if let Some(message) = queue.receive(name, self.dt, &options, (self.ctx.now)()).await? {
                failpoint!("extract.receive.after");
                let performed = self.perform(&message).await;
                self.one_ended.notify_waiters();
                performed?;
                continue;
            }
            let counts = queue.counts(name, self.dt, (self.ctx.now)()).await?;
            if counts.visible + counts.in_flight == 0 {
                return Ok(());
            }
            tokio::select! {
                () = sleep(self.ctx.tuning.poll_interval) => {}
                () = self.one_ended.notified() => {}
                () = self.stop.cancelled() => {}
                () = self.ctx.cancel.cancelled() => {}
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Extractor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Extractor")
            .field("queue", &self.queue)
            .field("run", &self.run)
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}
