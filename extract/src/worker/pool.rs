//! The hands of this process: each receives messages and asks for their keys; what they fetched lands behind their backs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::simulation::{Instant, sleep};
use catalog::{SourceName, failpoint};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::day::Day;
use super::message::Ending;
use super::open_source::{OpenSource, OpenSources};
use super::stats::ExtractStats;
use super::work::Until;
use super::{Extracted, Extractor};
use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::outcome::Outcome;
use crate::queue::{Message, ReceiveOptions, TaskFilter};
use crate::task::{Task, TaskId};

/// How often tasks may vanish from the queue before we ask for help. Each round does all that is there.
const ROUNDS: usize = 5;

/// A queue that doesn't answer is asked again so often, later and later, before the work ends.
const QUEUE_TRIES: u32 = 6;

/// Tasks whose keys were fetched and that have not landed: beyond it hands wait.
const MOST_ENDINGS: usize = 32;

/// Those who work in this process.
pub(super) struct WorkerPool {
    pub(super) ctx: Extractor,
    pub(super) open: OpenSources,
    /// What is to be received, where the queue can tell.
    of: TaskFilter,
    /// The day that this process is here for; a worker is here for all.
    pub(super) day: Option<Day>,
    pub(super) until: Until,
    /// Raised when the work can't go on: a blocked host, a broken lake.
    pub(super) stop: Cancel,
    /// The day's tasks that are not known to be done or dead.
    waiting: Mutex<Vec<Task>>,
    /// A task ended: those who wait may have something to do.
    one_ended: Notify,
    /// Held while a queue that is far away is asked: one question at a time is enough.
    asking: tokio::sync::Mutex<()>,
    /// Sources that are left alone for a while, and until when.
    resting: Mutex<HashMap<SourceName, Instant>>,
    /// Tasks that we put back unbegun, and until when: they are in flight and nobody works on them.
    postponed: Mutex<HashMap<TaskId, Instant>>,
    pub(super) stats: Arc<ExtractStats>,
    /// Of tasks that other runs wait for: they are not this run's numbers.
    foreign: Arc<ExtractStats>,
    /// Messages whose keys are being asked for at this moment.
    asking_for_keys: AtomicUsize,
}

impl WorkerPool {
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
            waiting: Mutex::default(),
            one_ended: Notify::new(),
            asking: tokio::sync::Mutex::new(()),
            resting: Mutex::default(),
            postponed: Mutex::default(),
            stats: Arc::new(ExtractStats::new(Arc::clone(&ctx.progress))),
            foreign: Arc::new(ExtractStats::new(Arc::new(|_| {}))),
            asking_for_keys: AtomicUsize::new(0),
            ctx: ctx.clone(),
        }
    }

    /// Takes a day's tasks to their ends.
    pub(super) async fn extract(self: Arc<Self>, tasks: Vec<Task>) -> Result<Extracted, Error> {
        let Some(day) = &self.day else { return Ok(Extracted::default()) };
        let mut waiting = tasks;
        self.stats.expect(waiting.iter().map(|task| task.keys.len() as u64).sum());
        let mut round = 0;
        while !waiting.is_empty() && !self.stop.is_cancelled() {
            if round == ROUNDS {
                let name = waiting[0].source.clone();
                return Err(Error::Unfinished { name, tasks: waiting.len(), rounds: round });
            }
            round += 1;
            day.send(&waiting).await?;
            failpoint!("extract.send.after");
            let before = waiting.len();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&waiting);
            Arc::clone(&self).work(self.ctx.jobs.min(before)).await?;
            if self.ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            waiting = day.left(waiting).await?;
            if waiting.len() < before {
                round = 0;
            }
        }
        let mut extracted = self.stats.numbers();
        extracted.left = day.count_left(&waiting);
        if waiting.is_empty() {
            self.stats.complete();
        } else if let Some((host, evidence)) = extracted.blocked.first() {
            day.say(&waiting, Outcome::Blocked, &format!("{host}: {evidence}")).await?;
        }
        Ok(extracted)
    }

    /// Works until there is nothing to do any more, or until it is to stop.
    pub(super) async fn work(self: Arc<Self>, hands: usize) -> Result<(), Error> {
        let (endings, mut fetched) = mpsc::channel(1);
        let mut joined = JoinSet::new();
        for _ in 0..hands.max(1) {
            joined.spawn(Arc::clone(&self).hand(endings.clone()));
        }
        drop(endings);
        let mut first_error = None;
        // The channel ends with the last hand; what it held then is still landed.
        loop {
            let ended = tokio::select! {
                ending = fetched.recv(), if joined.len() < hands.max(1) + MOST_ENDINGS => {
                    match ending {
                        Some(ending) => drop(joined.spawn(Arc::clone(&self).land(ending))),
                        None if joined.is_empty() => break,
                        None => {}
                    }
                    if fetched.is_closed() && fetched.is_empty() { joined.join_next().await } else { continue }
                }
                ended = joined.join_next() => ended,
            };
            let error = match ended {
                None | Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(error))) => error,
                Some(Err(failed)) => match failed.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Error::Cancelled,
                },
            };
            self.stop.cancel();
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Lands what a hand fetched.
    async fn land(self: Arc<Self>, ending: Ending) -> Result<(), Error> {
        let ended = self.end(ending).await;
        self.one_ended.notify_waiters();
        ended
    }

    /// Whether nobody here is about to bring more to land.
    pub(super) fn is_alone(&self) -> bool {
        self.asking_for_keys.load(Ordering::Relaxed) == 0
    }

    /// After how many receives a source's task is given up.
    pub(super) fn max_receives_of(&self, source: &SourceName) -> u32 {
        let known = self.ctx.sources.iter().find(|known| known.name() == source);
        known.map_or(2, crate::source::Source::max_receives)
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

    fn ends(&self) -> bool {
        self.stop.is_cancelled() || self.ctx.cancel.is_cancelled()
    }

    async fn hand(self: Arc<Self>, endings: mpsc::Sender<Ending>) -> Result<(), Error> {
        while !self.ends() {
            if let Some(message) = self.receive().await? {
                failpoint!("extract.receive.after");
                self.asking_for_keys.fetch_add(1, Ordering::Relaxed);
                let performed = self.perform(message).await;
                self.asking_for_keys.fetch_sub(1, Ordering::Relaxed);
                self.one_ended.notify_waiters();
                if let Some(ending) = performed? {
                    // Nobody takes it: the work has ended, and the message comes back after its timeout.
                    let _ = endings.send(ending).await;
                }
                continue;
            }
            if self.ends() || self.is_over().await? {
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

    /// The next message. A service that doesn't answer is asked again a few times: it comes back more often than not.
    async fn receive(&self) -> Result<Option<Message>, Error> {
        let queue = &self.ctx.queue;
        // A receive is never broken off: a message that it brings must not be lost in our hands.
        let _one = if queue.sorts() {
            None
        } else {
            tokio::select! {
                one = self.asking.lock() => Some(one),
                () = self.stop.cancelled() => return Ok(None),
                () = self.ctx.cancel.cancelled() => return Ok(None),
            }
        };
        if self.ends() {
            return Ok(None);
        }
        let options = ReceiveOptions {
            visibility_timeout: self.ctx.tuning.visibility_timeout,
            max_receives: self.most_receives().max(2),
        };
        let mut turn = 0;
        loop {
            let error = match queue.receive(&self.of, &options, (self.ctx.now)()).await {
                Ok(message) => return Ok(message),
                Err(error) => error,
            };
            turn += 1;
            if !error.is_retryable() || turn == QUEUE_TRIES {
                return Err(error);
            }
            tracing::warn!(error = one_line(&error), turn, "the queue does not answer: asking again");
            tokio::select! {
                () = sleep(Duration::from_millis(500 << turn)) => {}
                () = self.stop.cancelled() => return Ok(None),
                () = self.ctx.cancel.cancelled() => return Ok(None),
            }
        }
    }

    /// How often any task that may come is received at the most. What its keys come to is said by us; the queue's own bound
    /// is for workers that never say a word, and leaves them one receive more.
    fn most_receives(&self) -> u32 {
        let of = |source: &&crate::source::Source| self.of.source.as_ref().is_none_or(|name| name == source.name());
        let most = self.ctx.sources.iter().filter(of).map(crate::source::Source::max_receives).max();
        most.unwrap_or(2).saturating_add(1)
    }

    /// Whether there is nothing to do any more. An empty queue says so where it counts exactly; else the table and the dead
    /// letters are asked, and what has vanished from the queue is sent again.
    async fn is_over(&self) -> Result<bool, Error> {
        let (queue, now) = (&self.ctx.queue, self.ctx.now);
        let Some(day) = self.day.as_ref().filter(|_| !queue.sorts()) else {
            if self.until == Until::Stopped {
                return Ok(false);
            }
            let counts = queue.counts(&self.of, now()).await?;
            let mut postponed = self.postponed.lock().unwrap_or_else(PoisonError::into_inner);
            postponed.retain(|_, until| *until > Instant::now());
            return Ok(counts.visible == 0 && counts.in_flight <= postponed.len());
        };
        let _one = tokio::select! {
            one = self.asking.lock() => one,
            () = self.stop.cancelled() => return Ok(true),
            () = self.ctx.cancel.cancelled() => return Ok(true),
        };
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waiting = day.left(waiting).await?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&waiting);
        if !waiting.is_empty() {
            queue.send(&waiting, now()).await?;
        }
        Ok(waiting.is_empty())
    }
}
