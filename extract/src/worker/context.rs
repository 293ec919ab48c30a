//! What the hands of a process share: whose tasks they take, the open sources, who rests, the numbers, and the word to stop.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::SourceName;
use catalog::simulation::Instant;

use super::Extractor;
use super::day::Day;
use super::open_source::{OpenSource, OpenSources};
use super::stats::ExtractStats;
use crate::cancel::Cancel;
use crate::queue::TaskFilter;
use crate::source::Source;
use crate::task::{Task, TaskId};

/// How long a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until the queue is empty; a host that refuses us ends it too.
    Idle,
    /// Until somebody says so.
    Stopped,
}

/// What they share.
pub(super) struct WorkerContext {
    pub(super) ctx: Extractor,
    pub(super) open: OpenSources,
    /// What is to be received, where the queue can tell.
    pub(super) of: TaskFilter,
    /// The day that this process is here for; a worker is here for all.
    pub(super) day: Option<Day>,
    pub(super) until: Until,
    /// Raised when the work can't go on: a blocked host, a broken lake.
    pub(super) stop: Cancel,
    /// Sources that are left alone for a while, and until when.
    resting: Mutex<HashMap<SourceName, Instant>>,
    /// Tasks that we put back unbegun, and until when: they are in flight and nobody works on them.
    pub(super) postponed: Mutex<HashMap<TaskId, Instant>>,
    pub(super) stats: Arc<ExtractStats>,
    /// Of tasks that other runs wait for: they are not this run's numbers.
    foreign: Arc<ExtractStats>,
    /// Messages whose keys are being asked for at this moment.
    pub(super) asking_for_keys: AtomicUsize,
}

impl WorkerContext {
    /// For a source's day.
    pub(super) fn of_day(ctx: &Extractor, open: Arc<OpenSource>, day: Day) -> Self {
        let of = day.of.clone();
        Self::new(ctx, OpenSources::new([open]), of, Some(day), Until::Idle)
    }

    /// For whatever comes.
    pub(super) fn of_all(ctx: &Extractor, until: Until) -> Self {
        Self::new(ctx, OpenSources::new([]), TaskFilter::all(), None, until)
    }

    fn new(ctx: &Extractor, open: OpenSources, of: TaskFilter, day: Option<Day>, until: Until) -> Self {
        Self {
            open,
            of,
            day,
            until,
            stop: Cancel::new(),
            resting: Mutex::default(),
            postponed: Mutex::default(),
            stats: Arc::new(ExtractStats::new(Arc::clone(&ctx.progress))),
            foreign: Arc::new(ExtractStats::new(Arc::new(|_| {}))),
            asking_for_keys: AtomicUsize::new(0),
            ctx: ctx.clone(),
        }
    }

    /// How often any task that may come is received at the most. What its keys come to is said by us; the queue's own bound
    /// is for workers that never say a word, and leaves them one receive more.
    pub(super) fn most_receives(&self) -> u32 {
        let of = |source: &&Source| self.of.source.as_ref().is_none_or(|name| name == source.name());
        let most = self.ctx.sources.iter().filter(of).map(Source::max_receives).max();
        most.unwrap_or(2).saturating_add(1)
    }

    /// Whether nobody here is about to bring more to land.
    pub(super) fn is_alone(&self) -> bool {
        self.asking_for_keys.load(Ordering::Relaxed) == 0
    }

    /// After how many receives a source's task is given up.
    pub(super) fn max_receives_of(&self, source: &SourceName) -> u32 {
        let known = self.ctx.sources.iter().find(|known| known.name() == source);
        known.map_or(2, Source::max_receives)
    }

    /// The numbers that a task counts for.
    pub(super) fn stats_of(&self, task: &Task) -> &Arc<ExtractStats> {
        if self.of.has(task) { &self.stats } else { &self.foreign }
    }

    /// Whether a task is why this process is here.
    pub(super) fn is_ours(&self, task: &Task) -> bool {
        self.day.is_some() && self.of.has(task)
    }

    /// Leaves a source alone for a while.
    pub(super) fn rest(&self, source: &SourceName, time: Duration) {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner).insert(source.clone(), Instant::now() + time);
    }

    /// For how long a source is still left alone.
    pub(super) fn rests(&self, source: &SourceName) -> Option<Duration> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        resting.retain(|_, until| *until > now);
        resting.get(source).map(|until| *until - now)
    }

    /// Notes that a task waits in the queue with nobody on it.
    pub(super) fn postpone(&self, task: &TaskId, time: Duration) {
        self.postponed.lock().unwrap_or_else(PoisonError::into_inner).insert(task.clone(), Instant::now() + time);
    }
}
