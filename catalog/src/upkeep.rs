//! What may go, and what it frees.
//!
//! A lake only grows by itself: each build leaves the files of the last one, each run its story, each kill its leftovers. Here
//! they are found and removed, kind by kind ([`Leftover`]). Three rules keep readers and running steps safe:
//!
//! - What is in use is looked at *after* what lies there was listed, so nothing that came meanwhile is ever on the list.
//! - Nothing younger than [`GRACE`] is touched, whatever names it or does not: it may belong to a step that goes on.
//! - Ages are told by the store's own clock. Ours, if it is ahead, makes nothing older.
//!
//! Removing is idempotent and may be killed anywhere: what is left is found by the next one. Two at once do the same twice.
//!
//! One leftover can't be found here: the parts of an upload to S3 that a kill cut short. No listing of objects shows them; a
//! lifecycle rule of the bucket ends them (docs/aws.md).

mod bodies;
mod files;
mod house;
mod log;
mod temporary;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::name::{Layer, SourceName, TableName};
use crate::objects::ObjectEntry;
use crate::path::{self, ObjectPath};

/// Nothing that was written within this time is ever removed.
pub const GRACE: Duration = Duration::from_hours(24);

/// How long files that no version names any more are kept, unless it is said otherwise.
pub const KEEP: Duration = Duration::from_hours(7 * 24);

/// How long a table's log can be read back.
pub const KEEP_LOG: Duration = Duration::from_hours(30 * 24);

/// How often a run does the upkeep by itself.
pub const EVERY: Duration = Duration::from_hours(24);

/// Runs whose story is kept however old it is: what `onggi status` shows.
const RUNS_KEPT: usize = 20;

/// What a queue that can't tell which tasks it has may still hold.
const QUEUE_KEEPS: Duration = Duration::from_hours(15 * 24);

/// A kind of thing that may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Leftover {
    /// Data files that no version within the time kept names: of earlier builds, or of writes that were never committed.
    DataFiles,
    /// Files of writes that a kill cut short.
    TemporaryFiles,
    /// Entries of tables' logs that a checkpoint covers.
    LogEntries,
    /// What was fetched for tasks that have landed since.
    StagedObjects,
    /// What programs before this one set out to fetch: what is done is told by outcomes now.
    OldPlans,
    /// Lists of tasks that were sent to a queue which has forgotten them.
    SentLists,
    /// Letters of tasks that were given up and have landed since.
    DeadLetters,
    /// The stories of runs that are in `ops.runs`.
    RunEvents,
    /// Records of builds that are not the last one of their table and day.
    BuildRecords,
    /// Signs of life of workers that are gone.
    WorkerSigns,
    /// Answers that could not be read, of days that are over.
    UnreadableBodies,
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::DataFiles => "data files that no kept version names",
            Self::TemporaryFiles => "temporary files of writes that were cut short",
            Self::LogEntries => "log entries that a checkpoint covers",
            Self::StagedObjects => "staged objects of tasks that have landed",
            Self::OldPlans => "plans of programs before this one",
            Self::SentLists => "lists of tasks that were sent long ago",
            Self::DeadLetters => "dead letters of tasks that have landed",
            Self::RunEvents => "events of runs that are in ops.runs",
            Self::BuildRecords => "records of builds that were replaced",
            Self::WorkerSigns => "signs of life of workers that are gone",
            Self::UnreadableBodies => "unreadable answers of days that are over",
        })
    }
}

/// What is left of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskObjectKind {
    /// What was fetched and had not landed when it was written.
    Staged,
    /// That it was given up.
    DeadLetter,
}

/// An object that is left of a task, as its path tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskObject {
    /// What it is.
    pub kind: TaskObjectKind,
    /// Where it is.
    pub path: ObjectPath,
    /// The source.
    pub source: SourceName,
    /// The day.
    pub dt: Date,
    /// The part of the path behind the day: of staged pieces the folder they are in, of a letter its name.
    pub folder: String,
}

/// How an upkeep is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upkeep {
    /// How long what nobody names is kept; at least [`GRACE`] whatever is said.
    pub keep: Duration,
    /// How long a table's log can be read back; at least as long as `keep`.
    pub keep_log: Duration,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// The time.
    pub now: Timestamp,
    /// Of [`old_task_objects`], those whose keys have landed: they may go.
    pub landed: BTreeSet<ObjectPath>,
}

impl Upkeep {
    /// With the usual times.
    pub fn at(now: Timestamp) -> Self {
        Self { keep: KEEP, keep_log: KEEP_LOG, dry_run: false, now, landed: BTreeSet::new() }
    }

    fn keep(&self) -> Duration {
        self.keep.max(GRACE)
    }

    /// The instant before which what nobody names may go.
    fn cutoff(&self) -> Timestamp {
        before(self.now, self.keep())
    }

    fn log_cutoff(&self) -> Timestamp {
        before(self.now, self.keep_log.max(self.keep()))
    }
}

/// How much of a kind went, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Freed {
    /// What.
    pub kind: Leftover,
    /// How many objects.
    pub objects: u64,
    /// Their size.
    pub bytes: u64,
}

/// What an upkeep did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpkeepReport {
    /// Whether it only says so.
    pub dry_run: bool,
    /// By kind, in their order, without those of which there was nothing.
    pub freed: Vec<Freed>,
    /// What could not be looked at or removed, and why, and files of tables that are damaged. It is left as it was.
    pub left_alone: Vec<String>,
    /// Files that readers need and that are gone or cut: whoever reads their tables fails.
    pub damaged: Vec<String>,
}

/// `_onggi/state/upkeep/last.json`
#[derive(Debug, Serialize, Deserialize)]
struct Last {
    at: Timestamp,
}

/// Whether the last upkeep was longer ago than [`EVERY`]. A time that has not come yet counts as none.
pub async fn is_due(lake: &Lake, now: Timestamp) -> Result<bool> {
    let Some(bytes) = lake.objects().get(&path::last_upkeep()).await? else { return Ok(true) };
    // One that can't be read is none.
    let Ok(Last { at }) = serde_json::from_slice(&bytes) else { return Ok(true) };
    Ok(at > now || at < before(now, EVERY))
}

/// The table of answers that could not be read, a row each, split by the day they were asked for.
///
/// # Errors
/// Never, as long as its name is one.
pub fn unreadable_table() -> Result<TableName> {
    TableName::new(Layer::Ops, "unreadable")
}

/// What is left of tasks and was last written before the time that `upkeep` keeps.
pub async fn old_task_objects(lake: &Lake, upkeep: &Upkeep) -> Result<Vec<TaskObject>> {
    house::old_task_objects(lake, upkeep).await
}

/// Removes what may go, or says what would. A part of the lake that can't be looked at is left alone and told.
pub async fn upkeep(lake: &Lake, upkeep: &Upkeep) -> Result<UpkeepReport> {
    let mut upkeep = upkeep.clone();
    let at = if upkeep.dry_run { path::upkeep_clock() } else { path::last_upkeep() };
    let begun = match begin(lake, &at, upkeep.now).await {
        // Who may read and not write can still look, by a clock of their own.
        Err(_) if upkeep.dry_run => upkeep.now,
        begun => begun?,
    };
    upkeep.now = upkeep.now.min(begun);
    let mut work =
        UpkeepWork { lake, upkeep: &upkeep, freed: BTreeMap::new(), left_alone: Vec::new(), damaged: Vec::new() };
    for table in lake.tables().await? {
        let (files, entries) = (files::find(lake, &upkeep, &table).await, log::find(lake, &upkeep, &table).await);
        let leftovers = files.map(|found| {
            work.damaged.extend(found.damaged.into_iter().map(|file| format!("{table}: {file}")));
            found.leftovers
        });
        work.free_files(Leftover::DataFiles, &table, leftovers).await;
        work.free_files(Leftover::LogEntries, &table, entries).await;
    }
    bodies::free(&mut work).await;
    house::free(&mut work).await;
    let temporary = temporary::find(lake, &upkeep).await;
    work.free_local(temporary).await;
    if !upkeep.dry_run {
        temporary::sweep_run_folders(lake, &upkeep).await;
    }
    let UpkeepWork { freed, left_alone, damaged, .. } = work;
    if !upkeep.dry_run && !damaged.is_empty() {
        // Each run looks again, and says it again, until it is mended.
        lake.objects().delete(&at).await?;
    }
    let freed = freed.into_iter().map(|(kind, (objects, bytes))| Freed { kind, objects, bytes }).collect();
    Ok(UpkeepReport { dry_run: upkeep.dry_run, freed, left_alone, damaged })
}

/// Writes at `at` that an upkeep began `now`, and gives what the store's clock said of it: its files are as old as that clock
/// says. Who only looks goes by the same clock, and leaves nothing behind.
async fn begin(lake: &Lake, at: &ObjectPath, now: Timestamp) -> Result<Timestamp> {
    let bytes = serde_json::to_vec(&Last { at: now })
        .map_err(|e| Error::Storage { what: format!("writing `{at}`"), source: e.into() })?;
    lake.objects().put(at, bytes.into()).await?;
    let entries = lake.objects().entries(&path::last_upkeep_folder()).await?;
    if *at != path::last_upkeep() {
        lake.objects().delete(at).await?;
    }
    Ok(entries.into_iter().find(|entry| entry.path == *at).map_or(now, |entry| entry.modified))
}

/// An upkeep under way.
struct UpkeepWork<'a> {
    lake: &'a Lake,
    upkeep: &'a Upkeep,
    /// The number of objects and their bytes.
    freed: BTreeMap<Leftover, (u64, u64)>,
    left_alone: Vec<String>,
    damaged: Vec<String>,
}

impl UpkeepWork<'_> {
    /// Removes objects below the lake's root, whose names and sizes were found.
    async fn free_files(&mut self, kind: Leftover, table: &TableName, found: Result<Vec<files::StoredFile>>) {
        match found {
            Ok(found) => {
                for file in found {
                    let removed = if self.upkeep.dry_run { Ok(()) } else { file.remove(self.lake).await };
                    self.count(kind, file.path.as_ref(), file.bytes, removed);
                }
            }
            Err(error) => self.leave(&table.to_string(), &error),
        }
    }

    /// Removes objects of the house.
    async fn free_objects(&mut self, kind: Leftover, found: Vec<ObjectEntry>) {
        for entry in found {
            let removed = if self.upkeep.dry_run { Ok(()) } else { self.lake.objects().delete(&entry.path).await };
            self.count(kind, entry.path.as_str(), entry.bytes, removed);
        }
    }

    async fn free_local(&mut self, found: Vec<temporary::LocalFile>) {
        for file in found {
            let removed = if self.upkeep.dry_run { Ok(()) } else { file.remove().await };
            self.count(Leftover::TemporaryFiles, &file.path.display().to_string(), file.bytes, removed);
        }
    }

    fn count(&mut self, kind: Leftover, name: &str, bytes: u64, removed: Result<()>) {
        match removed {
            Ok(()) => {
                let (objects, total) = self.freed.entry(kind).or_default();
                (*objects, *total) = (*objects + 1, *total + bytes);
            }
            Err(error) => self.leave(name, &error),
        }
    }

    fn leave(&mut self, what: &str, error: &Error) {
        let causes: Vec<String> = crate::error::chain(error).map(ToString::to_string).collect();
        self.left_alone.push(format!("{what}: {}", causes.join(": ")));
    }
}

/// So long before `now`.
fn before(now: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| now.checked_sub(time).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests;
