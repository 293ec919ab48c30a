//! The loop: a source's day is planned, sent, fetched and landed, and the only room that knows all the others.
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
//!
//! Three ways lead through these steps. [`extract()`] does a source's day with hands of its own; [`extract_by_others`] plans
//! and sends it and waits for workers; [`work`] is such a worker, which takes the tasks of any day and source. A queue that
//! can't tell days apart gives a run other days' tasks as well, and it does them, since somebody waits for them.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Date, Lake, RunId, Timestamp};
use serde::Serialize;

use self::crew::Crew;
use self::day::{Day, undone};
use self::desk::Desk;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::fetch::{Fetch, Fetchers};
use crate::identity::IdentityKey;
use crate::plan::{self, Due, due, plan};
use crate::politeness::RobotsDecision;
use crate::presence::Presence;
use crate::queue::{DeadLetter, Queue};
use crate::source::Source;
use crate::task::Key;

mod crew;
mod day;
mod desk;
mod lease;
mod message;
mod others;
mod serve;
mod setback;
mod tally;

pub use day::landed;
pub use others::{Others, extract_by_others};
pub use serve::{Until, Worked, work};

/// What extracting needs besides a source: made once by the command line, used for every source of a run.
#[derive(Clone)]
pub struct Extractor {
    /// Where records land.
    pub lake: Lake,
    /// Where tasks wait.
    pub queue: Arc<dyn Queue>,
    /// Whose tasks may come: a queue that can't tell sources apart gives any.
    pub sources: Arc<[Source]>,
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
    /// Says that we live, and shares the hosts' pace with others; none where nobody else is.
    pub presence: Option<Presence>,
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
    /// Keys whose list ended before the site's own total.
    pub short_keys: u64,
    /// Items that those totals count and the lists did not show.
    pub short_items: u64,
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
    /// Tasks that failed for good in our own hands.
    #[serde(skip)]
    pub buried: u64,
    /// Tasks whose lease we lost.
    #[serde(skip)]
    pub lost: u64,
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
    let desk = Desk::new(&ctx.lake, source, Arc::clone(fetch)).await?;
    let tasks = plan(&ctx.lake, source.name(), dt, &keys, source.keys_per_task()).await?;
    let day = Day::new(ctx, desk.table.clone(), source.name(), dt);
    Arc::new(Crew::of_day(ctx, desk, day)).extract(tasks).await
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
