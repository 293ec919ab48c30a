//! One sign of life, and what can be told from it.

use std::time::Duration;

use catalog::run::Process;
use catalog::{Date, Lake, SourceName, Timestamp, path};
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
pub enum State {
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
pub struct Sign {
    /// Its name.
    pub id: String,
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
    pub state: State,
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

impl Sign {
    /// How long it may be silent.
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.interval_ms).saturating_mul(MISSED)
    }

    /// How long ago it said this, by two clocks that may differ.
    pub fn age(&self, now: Timestamp) -> Duration {
        Duration::try_from(now.duration_since(self.seen)).unwrap_or_default()
    }

    /// Whether it is still there.
    pub fn health(&self, now: Timestamp) -> Health {
        match () {
            () if self.state == State::Stopped => Health::Stopped,
            () if self.process.is_gone() || self.age(now) > self.patience() => Health::Dead,
            () => Health::Lives,
        }
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
    pub sign: Sign,
}

/// All who gave a sign lately, in the order in which they began.
pub async fn workers(lake: &Lake, now: Timestamp) -> Result<Vec<Worker>, Error> {
    let mut signs = read_all(lake).await?;
    signs.sort_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id)));
    let worker = |sign: Sign| Worker { health: sign.health(now), seconds_ago: sign.age(now).as_secs_f64(), sign };
    Ok(signs.into_iter().map(worker).collect())
}

/// All signs there are; one that can't be read says nothing.
pub(super) async fn read_all(lake: &Lake) -> Result<Vec<Sign>, Error> {
    let listed = lake.objects().list(&path::workers()).await?;
    let read = futures::stream::iter(listed).map(|at| async move {
        let body = lake.objects().get(&at).await?;
        Ok::<_, Error>(body.and_then(|body| serde_json::from_slice::<Sign>(&body).ok()))
    });
    read.buffered(8).try_filter_map(|sign| async { Ok(sign) }).try_collect().await
}

/// Removes the signs of those that stopped or died a day ago.
pub(super) async fn sweep(lake: &Lake, now: Timestamp) -> Result<(), Error> {
    for sign in read_all(lake).await? {
        if sign.age(now) > KEPT && sign.health(now) != Health::Lives {
            lake.objects().delete(&path::worker(&sign.id)).await?;
        }
    }
    Ok(())
}
