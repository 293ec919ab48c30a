//! Who works on this lake: a sign of life of each worker and run, as a small object that it writes again and again.
//!
//! `status` shows them, a run that waits for others knows by them that somebody is there, and the pace of a host is divided
//! by them. Nothing else hangs on them: what is done stands in the table, who holds a message is told by the queue.
//!
//! `heartbeat/pace.rs` says how a host's pace is kept by all of them together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use catalog::run::Process;
use catalog::simulation::{Instant, sleep};
use catalog::{Lake, Timestamp, fresh_id, path};
use tokio::sync::Notify;

use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::task::Task;

mod pace;
mod record;

pub use record::{Health, MISSED, Role, UnderWay, Worker, WorkerRecord, WorkerState, workers};

/// Whose sign of life it is, and how often it is given.
#[derive(Clone, Debug)]
pub struct HeartbeatSettings {
    /// What people know it by. Another process may have the same: a sign is told by random bits of its own.
    pub id: String,
    /// What it does here.
    pub role: Role,
    /// Tasks it takes at the same time.
    pub jobs: usize,
    /// Between two signs. See [`INTERVAL`].
    pub interval: Duration,
    /// The only clock.
    pub now: fn() -> Timestamp,
}

/// Between two signs of life, unless a setting says otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// A sign of life that goes on until it is stopped. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Heartbeat(Arc<HeartbeatInner>);

#[derive(Debug)]
struct HeartbeatInner {
    lake: Lake,
    settings: HeartbeatSettings,
    /// Random, by which its own sign is known among all signs.
    holder: String,
    started: Timestamp,
    me: Mutex<Me>,
    /// By the names of their signs.
    others: Mutex<HashMap<String, Other>>,
    /// Held while a host is entered.
    entering: tokio::sync::Mutex<()>,
    /// Held while the sign is written, so that an older one never follows a newer one.
    writing: tokio::sync::Mutex<()>,
    changed: Notify,
    ended: Cancel,
}

#[derive(Debug, Default)]
struct Me {
    stopping: bool,
    tasks: BTreeMap<u64, UnderWay>,
    number: u64,
    /// Host → when it is wanted next; in the sign from the first entry on.
    hosts: BTreeMap<String, Instant>,
    /// Those that may be asked.
    entered: HashSet<String>,
    /// Why some source is left alone, and until when.
    notes: BTreeMap<String, Instant>,
    written: Option<Instant>,
}

/// Another worker, as far as its signs tell.
#[derive(Debug)]
struct Other {
    record: WorkerRecord,
    changed: Instant,
    dead: bool,
    /// It has signed since we look: no clock is needed to know that it lived then.
    seen: bool,
}

/// What is known of another's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It has signed since we look.
    Seen,
    /// Its last sign may be of one that died since.
    Unsure,
    /// It ended, is dead, or was never there.
    Over,
}

impl Heartbeat {
    /// Gives the first sign, and from then on one each interval.
    pub async fn start(lake: &Lake, settings: HeartbeatSettings) -> Result<Self, Error> {
        let heartbeat = Self(Arc::new(HeartbeatInner {
            lake: lake.clone(),
            holder: fresh_id(),
            started: (settings.now)(),
            settings,
            me: Mutex::default(),
            others: Mutex::default(),
            entering: tokio::sync::Mutex::new(()),
            writing: tokio::sync::Mutex::new(()),
            changed: Notify::new(),
            ended: Cancel::new(),
        }));
        heartbeat.write(None).await?;
        heartbeat.refresh().await?;
        heartbeat.sweep().await;
        tokio::spawn(beat(Arc::downgrade(&heartbeat.0)));
        Ok(heartbeat)
    }

    /// The name of the sign.
    pub fn id(&self) -> &str {
        &self.0.settings.id
    }

    /// What its sign is known by: random.
    pub(crate) fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Between two signs.
    pub(crate) fn interval(&self) -> Duration {
        self.0.settings.interval
    }

    /// Looks at the others now, and not when it is time.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        self.refresh().await
    }

    /// What was known of another's life at the last look.
    pub(crate) fn life_of(&self, holder: &str) -> Life {
        let (now, others) = (Instant::now(), self.others());
        match others.values().find(|other| other.record.holder == holder) {
            Some(other) if other.lives(now) && other.seen => Life::Seen,
            Some(other) if other.lives(now) => Life::Unsure,
            _ => Life::Over,
        }
    }

    /// A task is under way until the guard is dropped.
    pub fn task(&self, task: &Task) -> Guard {
        let mut me = self.me();
        me.number += 1;
        let number = me.number;
        let Task { source, dt, id, .. } = task;
        let since = (self.0.settings.now)();
        let under_way = UnderWay { source: source.clone(), dt: *dt, task: id.to_string(), key: None, since };
        me.tasks.insert(number, under_way);
        drop(me);
        self.0.changed.notify_one();
        Guard { heartbeat: self.clone(), number }
    }

    /// Says why a source is left alone, and for how long.
    pub fn show_note(&self, note: String, time: Duration) {
        self.me().notes.insert(note, Instant::now() + time);
        self.0.changed.notify_one();
    }

    /// It takes no new task.
    pub fn stopping(&self) {
        self.me().stopping = true;
        self.0.changed.notify_one();
    }

    /// The last sign: it ended by itself. What can't be written now is told by the silence.
    pub async fn stop(&self) {
        self.0.ended.cancel();
        {
            let mut me = self.me();
            me.tasks.clear();
            me.hosts.clear();
            me.entered.clear();
        }
        if let Err(error) = self.write(Some(WorkerState::Stopped)).await {
            tracing::debug!(error = one_line(&error), "the last sign of life could not be written");
        }
    }

    fn me(&self) -> MutexGuard<'_, Me> {
        self.0.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn others(&self) -> MutexGuard<'_, HashMap<String, Other>> {
        self.0.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, state: Option<WorkerState>) -> WorkerRecord {
        let (settings, now) = (&self.0.settings, Instant::now());
        let me = self.me();
        let state = state.unwrap_or(match () {
            () if me.stopping => WorkerState::Stopping,
            () if me.tasks.is_empty() => WorkerState::Idle,
            () => WorkerState::Working,
        });
        WorkerRecord {
            id: settings.id.clone(),
            holder: self.0.holder.clone(),
            role: settings.role,
            process: Process::current(),
            started: self.0.started,
            seen: (settings.now)(),
            interval_ms: u64::try_from(settings.interval.as_millis()).unwrap_or(u64::MAX),
            jobs: settings.jobs,
            state,
            tasks: me.tasks.values().cloned().collect(),
            hosts: me.hosts.keys().cloned().collect(),
            notes: me.notes.iter().filter(|(_, until)| **until > now).map(|(note, _)| note.clone()).collect(),
        }
    }

    async fn write(&self, state: Option<WorkerState>) -> Result<(), Error> {
        let _one = self.0.writing.lock().await;
        // An end that came meanwhile is the last word.
        if state.is_none() && self.0.ended.is_cancelled() {
            return Ok(());
        }
        let began = Instant::now();
        let record = self.record(state);
        let at = path::worker(&record.name());
        let body = serde_json::to_vec(&record).map_err(|source| Error::Note { path: at.to_string(), source })?;
        self.0.lake.objects().put_volatile(&at, body.into()).await?;
        self.me().written = Some(began);
        Ok(())
    }

    /// Looks at the others.
    async fn refresh(&self) -> Result<(), Error> {
        let found = record::read_all(&self.0.lake).await?;
        let (now, wall) = (Instant::now(), (self.0.settings.now)());
        // Our own sign came in by the clock that theirs came in by: with it nobody's wrong clock counts.
        let mine = found.iter().find(|it| it.record.holder == self.0.holder).map(|it| it.at);
        let mut others = self.others();
        let here: HashSet<String> = found.iter().map(|it| it.record.name()).collect();
        others.retain(|name, _| here.contains(name));
        for it in found.into_iter().filter(|it| it.record.holder != self.0.holder) {
            let dead = it.record.state == WorkerState::Stopped || it.record.process.is_gone();
            if let Some(other) = others.get_mut(&it.record.name()) {
                if other.record.seen != it.record.seen {
                    other.changed = now;
                    other.seen = true;
                }
                (other.record, other.dead) = (it.record, dead);
            } else {
                // Of one that is seen for the first time, clocks are all there is to go by.
                let silence = match mine {
                    Some(mine) => Duration::try_from(mine.duration_since(it.at)).unwrap_or_default(),
                    None => it.silence(wall),
                };
                let dead = it.record.health(silence) != Health::Lives;
                let changed = if dead { now.checked_sub(it.record.patience()).unwrap_or(now) } else { now };
                others.insert(it.record.name(), Other { record: it.record, changed, dead, seen: false });
            }
        }
        Ok(())
    }

    /// Removes signs that nobody needs to see any more.
    async fn sweep(&self) {
        let swept = record::sweep(&self.0.lake, (self.0.settings.now)()).await;
        if let Err(error) = swept {
            tracing::debug!(error = one_line(&error), "old signs of life stay behind");
        }
    }
}

impl Other {
    fn lives(&self, now: Instant) -> bool {
        !self.dead && now.saturating_duration_since(self.changed) < self.record.patience()
    }
}

/// Signs each interval, and soon after something changed.
async fn beat(heartbeat: std::sync::Weak<HeartbeatInner>) {
    loop {
        let Some(inner) = heartbeat.upgrade() else { return };
        let (interval, ended) = (inner.settings.interval, inner.ended.clone());
        tokio::select! {
            () = sleep(interval) => {}
            () = ended.cancelled() => return,
            () = async {
                inner.changed.notified().await;
                // Not for each key of a fast source.
                sleep(interval / 5).await;
            } => {}
        }
        let heartbeat = Heartbeat(inner);
        heartbeat.leave();
        for done in [heartbeat.write(None).await, heartbeat.refresh().await] {
            if let Err(error) = done {
                tracing::warn!(error = one_line(&error), "a sign of life failed");
            }
        }
    }
}

/// A task under way. Dropped, it is not any more.
#[derive(Debug)]
pub struct Guard {
    heartbeat: Heartbeat,
    number: u64,
}

impl Guard {
    /// The key that is fetched now.
    pub fn key(&self, key: &str) {
        if let Some(under_way) = self.heartbeat.me().tasks.get_mut(&self.number) {
            under_way.key = Some(key.to_owned());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.heartbeat.me().tasks.remove(&self.number);
        self.heartbeat.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests;
