//! The loop: a source's day is planned, sent, fetched and landed, and the only room that knows all the others.
//!
//! ```text
//!  1 plan      keys that have not ended → tasks; a day on which all have ended never touches the queue
//!  2 receive   the message is hidden; a heartbeat keeps it hidden; a lost heartbeat stops the asking
//!  3 wanted?   keys that somebody closed by now are left out
//!  4 fetch     key by key, at the host's pace; a finished key is staged
//!  5 land      what was fetched → one commit with the keys' outcomes, many tasks together
//!  6 delete    only now the message; then the staged keys
//! ```
//!
//! The hard part is to end. Several processes may work on the same day, any of them may die, and the queue may vanish: so
//! the loop ends when nothing is in the queue any more, then asks the *outcomes* what is done, and sends again what has none.
//!
//! Three ways lead through these steps. [`extract()`] does a source's day with hands of its own; [`extract_external`] plans
//! and sends it and waits for workers; [`work()`] is such a worker, which takes the tasks of any day and source. A queue that
//! can't tell days apart gives a run other days' tasks as well, and it does them, since somebody waits for them.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use catalog::simulation::sleep;
use catalog::{CommitInfo, Date, Lake, RunId, Timestamp};
use serde::Serialize;

use self::claim::{Claims, Holder};
use self::context::WorkerContext;
use self::day::Day;
use self::excess::{excess, unfit};
use self::open_source::OpenSource;
use self::pool::WorkerPool;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::fetch::{Fetch, Fetchers};
use crate::heartbeat::Heartbeat;
use crate::identity::IdentityKey;
use crate::ledger::{DueKeys, Ledger, lost_with_table};
use crate::outcome::{KeyOutcome, Outcome};
use crate::plan;
use crate::politeness::RobotsDecision;
use crate::queue::Queue;
use crate::source::Source;
use crate::task::Key;

mod claim;
mod context;
mod day;
mod excess;
mod external;
mod failure;
mod landing;
mod lease;
mod message;
mod open_source;
mod parcels;
mod pool;
mod stats;
mod work;

pub use context::Until;
pub use external::extract_external;
pub use work::{Worked, work};

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
    pub heartbeat: Option<Heartbeat>,
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
    /// Keys of the day that did not end as they should: open ones, and those that were cut at a bound.
    pub open: Vec<KeyOutcome>,
    /// Keys of other days whose rows are no longer in the table, by day.
    pub without_rows: BTreeMap<Date, u64>,
    /// Whether this run is the first to say so of some of them.
    pub without_rows_is_new: bool,
    /// What is wrong with the day as a whole, though no key of it is open.
    pub excess: Option<String>,
    /// What somebody should look at, though it may be nothing.
    pub notice: Option<String>,
    /// Keys that were unfinished and that the source no longer has, as far as this run was the first to say so.
    pub unlisted: Vec<KeyOutcome>,
    /// Hosts that refuse us, with how we know.
    pub blocked: Vec<(String, String)>,
    /// Keys left undone: a blocked host's.
    pub left: u64,
    /// Keys that were left to other runs, which ask for them on other days.
    pub left_to: Vec<LeftTo>,
    /// What robots.txt said.
    pub robots: Vec<RobotsDecision>,
    /// Tasks whose lease we lost.
    #[serde(skip)]
    pub lost: u64,
}

/// Keys that another run held, so that this one did not ask for them too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftTo {
    /// The other run.
    pub run: String,
    /// Its day.
    pub dt: Date,
    /// How many keys.
    pub keys: u64,
}

impl Extracted {
    /// Whether something of the day is missing.
    pub fn is_partial(&self) -> bool {
        self.left > 0
            || !self.left_to.is_empty()
            || !self.open.is_empty()
            || !self.blocked.is_empty()
            || self.excess.is_some()
            || self.without_rows_is_new
    }
}

/// Which of a source's keys a run of the day would ask for. Nothing is changed by asking.
pub async fn due(lake: &Lake, source: &Source, dt: Date, keys: &[Key]) -> Result<DueKeys, Error> {
    if let Some(table) = lake.find(source.table()).await? {
        let ledger = Ledger::open(lake, source, table, dt).await?;
        return Ok(DueKeys { unlisted: ledger.unlisted(keys, dt).len(), ..ledger.due(keys, dt, source.every_days()) });
    }
    let mut due = DueKeys { due: crate::task::distinct(keys.to_vec()), ..DueKeys::default() };
    for lost in lost_with_table(lake, source.name()).await?.into_iter().filter(|lost| lost.dt != dt) {
        *due.lost.entry(lost.dt).or_default() += 1;
        due.lost_is_new = true;
    }
    Ok(due)
}

/// Says of the unfinished keys of a source that has no keys at all that nobody asks for them any more.
///
/// # Errors
/// If the lake can't be read or written.
pub async fn unlist(lake: &Lake, source: &Source, dt: Date, info: &CommitInfo) -> Result<Vec<KeyOutcome>, Error> {
    let ledger = Ledger::open(lake, source, lake.create(&source.table_spec()).await?, dt).await?;
    let unlisted = ledger.say_unlisted(&[], dt, info).await?;
    ledger.copy(info).await?;
    Ok(unlisted)
}

/// Extracts a source's day: everything that is due on it is in the table afterwards, except what [`Extracted`] names.
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
    let open = OpenSource::new(ctx, source, Arc::clone(fetch), dt).await?;
    let (day, told) = prepare(ctx, &open, dt, &keys).await?;
    let ending = Day::new(ctx, &open, dt);
    let pool = Arc::new(WorkerPool::new(WorkerContext::of_day(ctx, Arc::clone(&open), day)));
    let claims = Claims::new(ctx, &open, dt);
    let ended = share(&pool, &open, claims.as_ref(), dt, &keys).await;
    if let Some(claims) = &claims {
        claims.release().await;
    }
    match ended {
        Ok(extracted) => {
            let Told { lost, unlisted } = told;
            conclude(&open, &ending, dt, &keys, Extracted { without_rows_is_new: lost, unlisted, ..extracted }).await
        }
        Err(error) => {
            // What has landed is in the log; the copy for SQL may as well have it now.
            if let Err(second) = open.ledger.copy(&ending.info()).await {
                tracing::debug!(%second, "ops.outcomes is left to a later run");
            }
            Err(error)
        }
    }
}

/// What was said of keys before a day was planned.
struct Told {
    /// Whether a key of another day is among those that were not known to be lost.
    lost: bool,
    /// Keys that the source no longer has.
    unlisted: Vec<KeyOutcome>,
}

/// What comes before a day is planned: it is said which keys lost their rows and which the source no longer has, garbage of
/// earlier runs is removed.
async fn prepare(ctx: &Extractor, open: &Arc<OpenSource>, dt: Date, keys: &[Key]) -> Result<(Day, Told), Error> {
    let info = Day::new(ctx, open, dt).info();
    let lost = open.ledger.say_lost(&info).await?;
    let unlisted = open.ledger.say_unlisted(keys, dt, &info).await?;
    let (of_day, others): (Vec<_>, Vec<_>) = lost.iter().partition(|lost| lost.dt == dt);
    if !of_day.is_empty() {
        let keys = of_day.len();
        tracing::warn!(source = %open.source.name(), %dt, keys, "rows are no longer in the table: their keys are asked for again");
    }
    let day = Day::new(ctx, open, dt);
    day.sweep(&open.ledger.due(keys, dt, open.source.every_days()).due).await;
    Ok((day, Told { lost: !others.is_empty(), unlisted }))
}

/// Does what is due, together with other runs that do the same now: what they hold is left to them ([`claim`]).
async fn share(
    pool: &Arc<WorkerPool>,
    open: &Arc<OpenSource>,
    claims: Option<&Claims<'_>>,
    dt: Date,
    keys: &[Key],
) -> Result<Extracted, Error> {
    let (ctx, every_days) = (&pool.shared().ctx, open.source.every_days());
    let Some(day) = &pool.shared().day else { return Ok(Extracted::default()) };
    let mut left = 0;
    let mut held: BTreeMap<String, Holder> = BTreeMap::new();
    let is_left_to = |held: &BTreeMap<String, Holder>, key: &Key| {
        held.contains_key(&key.value) && open.ledger.was_asked_since(day.began_at, &key.value, dt)
    };
    loop {
        let mut due = open.ledger.due(keys, dt, every_days);
        let mut number = 0;
        let leftovers = due.leftovers;
        due.leftovers = 0;
        due.due.retain(|key| {
            number += 1;
            let stays = day.is_left(key) && !is_left_to(&held, key);
            due.leftovers += usize::from(stays && number <= leftovers);
            stays
        });
        if due.due.is_empty() {
            break;
        }
        let theirs = match claims {
            None => BTreeMap::new(),
            Some(claims) => {
                let (mine, theirs) = claims.take(&due.due).await?;
                let first: HashSet<&str> = due.due[..due.leftovers].iter().map(|key| key.value.as_str()).collect();
                let leftovers = mine.iter().filter(|key| first.contains(key.value.as_str())).count();
                (due.due, due.leftovers) = (mine, leftovers);
                theirs
            }
        };
        held.extend(theirs.iter().map(|(key, holder)| (key.clone(), holder.clone())));
        if !due.due.is_empty() {
            for key in &due.due {
                held.remove(&key.value);
            }
            let tasks = plan::tasks(open.source.name(), dt, &due, open.source.keys_per_task(), (ctx.now)());
            left = Arc::clone(pool).extract(tasks).await?.left;
            if pool.ends() {
                break;
            }
        } else if theirs.values().all(|holder| holder.dt != dt && holder.is_sure) {
            break;
        } else {
            if theirs.values().any(|holder| holder.dt == dt) {
                Arc::clone(pool).join().await?;
            }
            let pause = ctx.heartbeat.as_ref().map_or(ctx.tuning.poll_interval, Heartbeat::interval);
            tokio::select! {
                () = sleep(pause) => {}
                () = ctx.cancel.cancelled() => {}
            }
            if ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if pool.ends() {
                break;
            }
        }
        open.ledger.catch_up(&open.table.head().await?).await?;
    }
    let mut extracted = pool.shared().stats.numbers();
    extracted.left = left;
    extracted.left_to = left_to(&held, &open.ledger.due(keys, dt, every_days), dt);
    Ok(extracted)
}

/// Which keys that are still due were left to others, by run.
fn left_to(held: &BTreeMap<String, Holder>, due: &DueKeys, dt: Date) -> Vec<LeftTo> {
    let mut runs: BTreeMap<(Date, &str), u64> = BTreeMap::new();
    for holder in due.due.iter().filter_map(|key| held.get(&key.value)).filter(|holder| holder.dt != dt) {
        *runs.entry((holder.dt, holder.run.as_str())).or_default() += 1;
    }
    runs.into_iter().map(|((dt, run), keys)| LeftTo { run: run.to_owned(), dt, keys }).collect()
}

/// What a run has to tell of a day: also what an earlier run left open.
async fn conclude(
    open: &OpenSource,
    day: &Day,
    dt: Date,
    keys: &[Key],
    mut extracted: Extracted,
) -> Result<Extracted, Error> {
    open.ledger.copy(&day.info()).await?;
    extracted.without_rows = open.ledger.due(&[], dt, open.source.every_days()).lost;
    extracted.without_rows_is_new &= !extracted.without_rows.is_empty();
    // One that somebody else's list does not have is not done by that.
    let is_bad = |last: &KeyOutcome| last.outcome.is_open() || matches!(last.outcome, Outcome::Cut | Outcome::Unlisted);
    let states = keys.iter().filter_map(|key| open.ledger.get(dt, &key.value));
    extracted.open = states.map(|state| state.last).filter(is_bad).collect();
    extracted.excess = excess(open, dt, keys);
    match unfit(open, dt) {
        Some((told, true)) if extracted.excess.is_none() => extracted.excess = Some(told),
        told => extracted.notice = told.map(|(told, _)| told),
    }
    Ok(extracted)
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
