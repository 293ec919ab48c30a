//! One sign of life, and what can be told from it.

use std::time::Duration;

use catalog::run::{Process, silence};
use catalog::{Date, Lake, ObjectPath, SourceName, Timestamp, path};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// After so many intervals without a sign a worker counts as dead.
pub const MISSED: u32 = 3;

/// How long the last sign of one that stopped or died is kept.
const KEPT: Duration = Duration::from_hours(24);

/// Why somebody is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `onggi worker`.
    Worker,
    /// A run with hands of its own.
    Run,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// It has tasks under way.
    Working,
    /// It waits for some.
    Idle,
    /// It takes no new ones.
    Stopping,
    /// It has ended by itself.
    Stopped,
}

/// A task in somebody's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Its source.
    pub source: SourceName,
    /// Its day.
    pub dt: Date,
    /// Its id.
    pub task: String,
    /// The key that is fetched.
    pub key: Option<String>,
    /// When it was received.
    pub since: Timestamp,
}

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerRecord {
    /// Its name, for people.
    pub id: String,
    /// Random, made when it began to give signs: by this alone it knows its own sign, whatever names, hosts and process ids
    /// containers have in common. Empty where an older program wrote it.
    #[serde(default)]
    pub holder: String,
    /// Why it is here.
    pub role: Role,
    /// Machine and process.
    pub process: Process,
    /// When it began.
    pub started: Timestamp,
    /// When it said this.
    pub seen: Timestamp,
    /// When it means to say something again.
    pub interval_ms: u64,
    /// Tasks it takes at the same time.
    pub jobs: usize,
    /// What it does.
    pub state: WorkerState,
    /// The tasks in its hands.
    pub tasks: Vec<UnderWay>,
    /// The hosts whose pace it shares.
    pub hosts: Vec<String>,
    /// Why it leaves something alone.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Whether somebody is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As far as can be told.
    Lives,
    /// Its process is gone, or it was silent for too long.
    Dead,
    /// It said that it ended.
    Stopped,
}

impl WorkerRecord {
    /// How long it may be silent.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.interval_ms).saturating_mul(MISSED)
    }

    /// The name of its object, which no other process has.
    pub(super) fn name(&self) -> String {
        match self.holder.as_str() {
            "" => self.id.clone(),
            holder => format!("{}-{holder}", self.id),
        }
    }

    /// Whether it is still there, if it has said nothing for `silence`.
    pub fn health(&self, silence: Duration) -> Health {
        match () {
            () if self.state == WorkerState::Stopped => Health::Stopped,
            () if self.process.is_gone() || silence > self.patience() => Health::Dead,
            () => Health::Lives,
        }
    }
}

/// A sign, where it lies, and when the store took it in.
#[derive(Clone, Debug)]
pub(super) struct StoredRecord {
    pub(super) record: WorkerRecord,
    path: ObjectPath,
    pub(super) at: Timestamp,
}

impl StoredRecord {
    /// How long ago it was given.
    pub(super) fn silence(&self, now: Timestamp) -> Duration {
        silence(self.record.seen, Some(self.at), now)
    }
}

/// A sign and what it means now, as `status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct Worker {
    /// Whether it is still there.
    pub health: Health,
    /// Seconds since its last sign.
    pub seconds_ago: f64,
    /// What it said.
    #[serde(flatten)]
    pub record: WorkerRecord,
}

/// All who gave a sign lately, in the order in which they began.
pub async fn workers(lake: &Lake, now: Timestamp) -> Result<Vec<Worker>, Error> {
    let mut records = read_all(lake).await?;
    records.sort_by(|StoredRecord { record: a, .. }, StoredRecord { record: b, .. }| {
        (a.started, &a.id, &a.holder).cmp(&(b.started, &b.id, &b.holder))
    });
    let worker = |stored: StoredRecord| {
        let silence = stored.silence(now);
        let health = stored.record.health(silence);
        Worker { health, seconds_ago: silence.as_secs_f64(), record: stored.record }
    };
    Ok(records.into_iter().map(worker).collect())
}

/// All signs there are; one that can't be read says nothing.
pub(super) async fn read_all(lake: &Lake) -> Result<Vec<StoredRecord>, Error> {
    let listed = lake.objects().entries(&path::workers()).await?;
    let read = futures::stream::iter(listed).map(|entry| async move {
        let body = lake.objects().get(&entry.path).await?;
        let record = body.and_then(|body| serde_json::from_slice::<WorkerRecord>(&body).ok());
        Ok::<_, Error>(record.map(|record| StoredRecord { record, path: entry.path, at: entry.modified }))
    });
    read.buffered(8).try_filter_map(|record| async { Ok(record) }).try_collect().await
}

/// Removes the signs of those that stopped or died a day ago.
pub(super) async fn sweep(lake: &Lake, now: Timestamp) -> Result<(), Error> {
    for stored in read_all(lake).await? {
        let silence = stored.silence(now);
        if silence > KEPT && stored.record.health(silence) != Health::Lives {
            lake.objects().delete(&stored.path).await?;
        }
    }
    Ok(())
}
