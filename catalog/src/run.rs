//! What a run does, as it happens and afterwards.
//!
//! While a run goes on each [`Event`] is a small object under `_onggi/runs/<run>/`, so that any
//! machine that sees the lake can tell where it is. [`RunState`] is the fold of those events: it is
//! never stored, so it can't disagree with them. When the run ends, [`record()`] puts it into the
//! tables `ops.runs` and `ops.steps`, once, where SQL can ask about it.
//!
//! How far its steps are is no event: it is one object, the *heartbeat*, written again and again, at least each
//! [`HEARTBEAT_EVERY`] also when nothing gets on. A run that can't be looked at (its machine is another one, or its container) is
//! dead when it has not been heard for [`DEAD_AFTER`].
//!
//! What may be lost with the power (progress) doesn't wait for the disk; starts and ends do.

mod heartbeat;
mod process;
mod record;
mod state;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::name::RunId;
use crate::{ObjectPath, path};

pub use process::{Process, Sighting, silence};
pub(crate) use record::record_mark;
pub use record::{record, record_specs};
pub use state::{RunState, StepState};

use heartbeat::Heartbeat;

/// How often a run gives a sign of life at least, also when no step gets on.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// After so long a silence a run that can't be looked at from here is dead.
pub const DEAD_AFTER: Duration = Duration::from_mins(5);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It goes on.
    Running,
    /// All of it was done.
    Done,
    /// It ended, and something was set aside or left out; the steps say what.
    Partial,
    /// It ended because something failed.
    Failed,
    /// It never ended, and its process is gone, or was not heard any more.
    Dead,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Its turn has not come.
    Waiting,
    /// It goes on.
    Running,
    /// It did its work.
    Done,
    /// There was nothing to do.
    Unchanged,
    /// It failed.
    Failed,
    /// It did its work but for what it set aside.
    Partial,
    /// What it needs failed.
    Skipped,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// Extracts a source.
    Extract,
    /// Builds a model.
    Build,
    /// Summarises and embeds.
    Enrich,
    /// Brings a sink up to a mart.
    Sync,
}

/// Gives an enum of plain words its text, the same that serde writes.
macro_rules! words {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(RunStatus { Running = "running", Done = "done", Partial = "partial", Failed = "failed", Dead = "dead" });
words!(StepStatus {
    Waiting = "waiting", Running = "running", Done = "done", Unchanged = "unchanged",
    Failed = "failed", Partial = "partial", Skipped = "skipped",
});
words!(StepKind { Extract = "extract", Build = "build", Enrich = "enrich", Sync = "sync" });

/// A step that a run is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Unique within the run, such as `extract:naver_reviews`.
    pub id: String,
    /// What it does.
    pub kind: StepKind,
    /// What it does it to: a source, a model, a sink.
    pub name: String,
    /// Why it is to be done, in the words of `onggi plan`.
    pub why: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    /// One of the statuses of ended steps.
    pub status: StepStatus,
    /// What failed.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What was done, counted: `fetched`, `landed`, `set_aside`, `checks`, …
    pub counts: BTreeMap<String, i64>,
    /// A better reason than the plan's, if there is one.
    pub why: Option<String>,
}

/// One thing that happened in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began. Written by [`RunLog::start`].
    Started {
        /// The run.
        run: RunId,
        /// Its day.
        dt: Date,
        /// What runs it.
        process: Process,
    },
    /// Steps became known.
    Planned {
        /// In the order they are shown.
        steps: Vec<StepPlan>,
    },
    /// A step began.
    StepStarted {
        /// The step's id.
        id: String,
    },
    /// A step got on. Kept in the heartbeat, where the next one takes its place; in an object of its own where an older
    /// program told it.
    Progress {
        /// The step's id.
        id: String,
        /// How far.
        done: u64,
        /// Of how many, if known.
        total: Option<u64>,
        /// What is counted, such as `reviews`.
        unit: String,
    },
    /// A step ended.
    StepEnded {
        /// The step's id.
        id: String,
        /// How.
        #[serde(flatten)]
        end: StepEnd,
    },
    /// The run ended.
    Ended {
        /// How.
        status: RunStatus,
        /// What was done in all.
        totals: BTreeMap<String, i64>,
        /// What failed outside of any step.
        error: Option<String>,
    },
}

impl Event {
    /// Whether it may be lost with the power.
    fn is_passing(&self) -> bool {
        matches!(self, Self::StepStarted { .. })
    }
}

/// An event and its time, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stamped {
    at: Timestamp,
    #[serde(flatten)]
    event: Event,
}

/// Where a run that goes on reports. Clones report to the same run.
#[derive(Debug, Clone)]
pub struct RunLog {
    lake: Lake,
    run: RunId,
    next: Arc<AtomicU64>,
    /// The fold of what was told here, so that who tells the story need not read it back.
    told: Arc<Mutex<Option<RunState>>>,
    /// Held while the heartbeat is written, so that an older one never follows a newer one.
    beating: Arc<tokio::sync::Mutex<()>>,
}

impl RunLog {
    /// Begins the story of a run.
    pub async fn start(lake: &Lake, run: RunId, dt: Date, process: Process, now: Timestamp) -> Result<Self> {
        let log = Self {
            lake: lake.clone(),
            run: run.clone(),
            next: Arc::default(),
            told: Arc::default(),
            beating: Arc::default(),
        };
        log.event(Event::Started { run, dt, process }, now).await?;
        Ok(log)
    }

    /// The run.
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Tells what happened.
    pub async fn event(&self, event: Event, now: Timestamp) -> Result<()> {
        if matches!(event, Event::Progress { .. }) {
            self.tell(Stamped { at: now, event });
            return self.write_heartbeat(now).await;
        }
        let at = path::run_event(&self.run, self.next.fetch_add(1, Ordering::Relaxed));
        let passing = event.is_passing();
        let event = Stamped { at: now, event };
        let bytes = serde_json::to_vec(&event)
            .map_err(|e| Error::Storage { what: format!("writing `{at}`"), source: e.into() })?;
        let objects = self.lake.objects();
        if passing {
            objects.put_volatile(&at, bytes.into()).await?;
        } else {
            objects.put(&at, bytes.into()).await?;
        }
        self.tell(event);
        Ok(())
    }

    /// Gives a sign of life, and says with it how far the steps are.
    pub async fn write_heartbeat(&self, now: Timestamp) -> Result<()> {
        let _one = self.beating.lock().await;
        let beat = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(state) = told.as_mut() else { return Ok(()) };
            state.heard_at = state.heard_at.max(now);
            Heartbeat::of(state)
        };
        let at = path::run_heartbeat(&self.run);
        let bytes = serde_json::to_vec(&beat)
            .map_err(|e| Error::Storage { what: format!("writing `{at}`"), source: e.into() })?;
        self.lake.objects().put_volatile(&at, bytes.into()).await
    }

    fn tell(&self, event: Stamped) {
        RunState::tell(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner), event);
    }

    /// The run as it was told here so far: what [`RunLog::state`] reads, without reading.
    pub fn told(&self) -> Option<RunState> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The run as its events in the lake tell it.
    pub async fn state(&self, now: Timestamp) -> Result<Option<RunState>> {
        read(&self.lake, &self.run, now).await
    }
}

/// The run as its events tell it, as it stands `now`; `None` if there is no such run.
pub async fn read(lake: &Lake, run: &RunId, now: Timestamp) -> Result<Option<RunState>> {
    let entries = lake.objects().entries(&path::run(run)).await?;
    let stored = entries.iter().map(|entry| entry.modified).max();
    let heartbeat = path::run_heartbeat(run);
    let events = entries.into_iter().map(|entry| entry.path).filter(|at| *at != heartbeat);
    let events = futures::stream::iter(events).map(|at| read_json::<Stamped>(lake, at)).buffered(16);
    let events: Vec<Stamped> = events.try_filter_map(|event| async { Ok(event) }).try_collect().await?;
    let Some(mut state) = RunState::fold(events) else { return Ok(None) };
    if let Some(beat) = read_json::<Heartbeat>(lake, heartbeat).await? {
        beat.tell(&mut state);
    }
    if state.status == RunStatus::Running && state.process.is_dead(silence(state.heard_at, stored, now), DEAD_AFTER) {
        state.status = RunStatus::Dead;
    }
    Ok(Some(state))
}

/// The newest `n` runs, the newest first.
pub async fn recent(lake: &Lake, n: usize, now: Timestamp) -> Result<Vec<RunState>> {
    let mut runs: Vec<RunId> =
        lake.objects().folders(&path::runs()).await?.iter().filter_map(|name| name.parse().ok()).collect();
    runs.sort_unstable_by(|a, b| b.cmp(a));
    let states = futures::stream::iter(runs).map(|run| async move { read(lake, &run, now).await }).buffered(4);
    states.try_filter_map(|state| async { Ok(state) }).take(n).try_collect().await
}

/// What an object says; one that the power cut short is as if it had not been written.
async fn read_json<T: serde::de::DeserializeOwned>(lake: &Lake, at: ObjectPath) -> Result<Option<T>> {
    let Some(bytes) = lake.objects().get(&at).await? else { return Ok(None) };
    let read = serde_json::from_slice(&bytes);
    Ok(read.inspect_err(|error| tracing::debug!(%at, %error, "not what it should be")).ok())
}

#[cfg(test)]
mod tests;
