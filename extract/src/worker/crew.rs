//! Those who work in this process: hands that receive messages and take them through the rest of their lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::{SourceName, failpoint};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::day::{Day, Left};
use super::desk::{Desk, Desks};
use super::serve::Until;
use super::tally::Tally;
use super::{Extracted, Extractor};
use crate::cancel::Cancel;
use crate::error::{Error, one_line};
use crate::queue::{Message, Of, ReceiveOptions};
use crate::task::{Task, TaskId};

/// How often tasks may vanish from the queue before we ask for help. Each round does all that is there.
const ROUNDS: usize = 5;

/// A queue that doesn't answer is asked again so often, later and later, before the work ends.
const QUEUE_TRIES: u32 = 6;

/// Those who work in this process.
pub(super) struct Crew {
    pub(super) ctx: Extractor,
    pub(super) desks: Desks,
    /// What is to be received, where the queue can tell.
    of: Of,
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
    pub(super) tally: Tally,
    /// Of tasks that other runs wait for: they are not this run's numbers.
    foreign: Tally,
}

impl Crew {
    /// For a source's day.
    pub(super) fn of_day(ctx: &Extractor, desk: Arc<Desk>, day: Day) -> Self {
        let of = day.of.clone();
        Self::new(ctx, Desks::new([desk]), of, Some(day), Until::Idle)
    }

    /// For whatever comes.
    pub(super) fn of_all(ctx: &Extractor, until: Until) -> Self {
        Self::new(ctx, Desks::new([]), Of::all(), None, until)
    }

    fn new(ctx: &Extractor, desks: Desks, of: Of, day: Option<Day>, until: Until) -> Self {
        Self {
            desks,
            of,
            day,
            until,
            stop: Cancel::new(),
            waiting: Mutex::default(),
            one_ended: Notify::new(),
            asking: tokio::sync::Mutex::new(()),
            resting: Mutex::default(),
            postponed: Mutex::default(),
            tally: Tally::new(Arc::clone(&ctx.progress)),
            foreign: Tally::new(Arc::new(|_| {})),
            ctx: ctx.clone(),
        }
    }

    /// Takes a day's tasks to their ends.
    pub(super) async fn extract(self: Arc<Self>, tasks: Vec<Task>) -> Result<Extracted, Error> {
        let Some(day) = &self.day else { return Ok(Extracted::default()) };
        let mut left = Left { waiting: day.undone(tasks.clone()).await?, dead: Vec::new() };
        day.sweep(&tasks, &left.waiting).await;
        self.tally.expect(left.waiting.iter().map(|task| task.keys.len() as u64).sum());
        let mut round = 0;
        while !left.waiting.is_empty() && !self.stop.is_cancelled() {
            if round == ROUNDS {
                let name = left.waiting[0].source.clone();
                return Err(Error::Unfinished { name, tasks: left.waiting.len(), rounds: round });
            }
            round += 1;
            self.ctx.queue.send(&left.waiting, (self.ctx.now)()).await?;
            failpoint!("extract.send.after");
            let before = left.waiting.len();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&left.waiting);
            Arc::clone(&self).work(self.ctx.jobs.min(before)).await?;
            if self.ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let dead = std::mem::take(&mut left.dead);
            left = day.left(left.waiting).await?;
            left.dead.extend(dead);
            if left.waiting.len() < before {
                round = 0;
            }
        }
        left.dead = day.still_dead(left.dead).await?;
        if left.waiting.is_empty() && left.dead.is_empty() {
            self.tally.complete();
        }
        let mut extracted = self.tally.numbers();
        extracted.left = left.waiting.len() as u64;
        extracted.dead = left.dead;
        Ok(extracted)
    }

    /// Works until there is nothing to do any more, or until it is to stop.
    pub(super) async fn work(self: Arc<Self>, hands: usize) -> Result<(), Error> {
        let mut joined = JoinSet::new();
        for _ in 0..hands.max(1) {
            joined.spawn(Arc::clone(&self).hand());
        }
        let mut first_error = None;
        while let Some(ended) = joined.join_next().await {
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

    /// The numbers that a task counts for.
    pub(super) fn tally_of(&self, task: &Task) -> &Tally {
        if self.of.has(task) { &self.tally } else { &self.foreign }
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

    async fn hand(self: Arc<Self>) -> Result<(), Error> {
        while !self.ends() {
            if let Some(message) = self.receive().await? {
                failpoint!("extract.receive.after");
                let performed = self.perform(&message).await;
                self.one_ended.notify_waiters();
                performed?;
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
            max_receives: self.most_receives().await.max(2),
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

    /// The most receives that any task which may come has. Sources that have less are seen to when one comes.
    async fn most_receives(&self) -> u32 {
        if let Some(source) = &self.of.source
            && let Ok(Some(desk)) = self.desks.get(&self.ctx, source).await
        {
            return desk.source.max_receives();
        }
        self.ctx.sources.iter().map(crate::source::Source::max_receives).max().unwrap_or(2)
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
        let left = day.left(waiting).await?;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&left.waiting);
        if !left.waiting.is_empty() {
            queue.send(&left.waiting, now()).await?;
        }
        Ok(left.waiting.is_empty())
    }
}
