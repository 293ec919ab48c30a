//! The hands of this process: each receives messages and asks for their keys; what they fetched lands behind their backs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use catalog::simulation::{Instant, sleep};
use catalog::{backoff, failpoint};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::Extracted;
use super::context::{Until, WorkerContext};
use super::message::FetchedMessage;
use crate::error::{Error, one_line};
use crate::outcome::Outcome;
use crate::queue::{Message, ReceiveOptions};
use crate::task::Task;

/// How often tasks may vanish from the queue before we ask for help. Each round does all that is there.
const ROUNDS: usize = 5;

/// A queue that doesn't answer is asked again so often, later and later, before the work ends.
const QUEUE_TRIES: u32 = 6;

/// Between two of these tries.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// Tasks whose keys were fetched and that have not landed, and their bytes: beyond either hands wait. A commit takes as long for
/// many tasks as for one, so a few hundred small ones may wait for it.
const MOST_ENDINGS: usize = 256;
const MOST_ENDING_BYTES: usize = 64 << 20;

/// Those who work in this process.
pub(super) struct WorkerPool {
    shared: WorkerContext,
    /// The day's tasks that are not known to be done or dead.
    waiting: Mutex<Vec<Task>>,
    /// A task ended: those who wait may have something to do.
    one_ended: Notify,
    /// Held while a queue that is far away is asked: one question at a time is enough.
    asking: tokio::sync::Mutex<()>,
}

impl WorkerPool {
    /// Of this context.
    pub(super) fn new(shared: WorkerContext) -> Self {
        Self { shared, waiting: Mutex::default(), one_ended: Notify::new(), asking: tokio::sync::Mutex::new(()) }
    }

    /// What its hands share.
    pub(super) fn shared(&self) -> &WorkerContext {
        &self.shared
    }

    /// Takes a day's tasks to their ends.
    pub(super) async fn extract(self: Arc<Self>, tasks: Vec<Task>) -> Result<Extracted, Error> {
        let Some(day) = &self.shared.day else { return Ok(Extracted::default()) };
        let mut waiting = tasks;
        self.shared.stats.expect(waiting.iter().map(|task| task.keys.len() as u64).sum());
        let mut round = 0;
        while !waiting.is_empty() && !self.shared.stop.is_cancelled() {
            if round == ROUNDS {
                let name = waiting[0].source.clone();
                return Err(Error::Unfinished { name, keys: day.count_left(&waiting), rounds: round });
            }
            round += 1;
            day.send(&waiting).await?;
            failpoint!("extract.send.after");
            let before = waiting.len();
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&waiting);
            Arc::clone(&self).work(self.shared.ctx.jobs.min(before)).await?;
            if self.shared.ctx.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            waiting = day.left(waiting).await?;
            if waiting.len() < before {
                round = 0;
            }
        }
        let mut extracted = self.shared.stats.numbers();
        extracted.left = day.count_left(&waiting);
        if waiting.is_empty() {
            self.shared.stats.complete();
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
        let held = Arc::new(AtomicUsize::new(0));
        let has_room =
            |landing: usize| landing < hands.max(1) + MOST_ENDINGS && held.load(Ordering::Relaxed) < MOST_ENDING_BYTES;
        // The channel ends with the last hand; what it held then is still landed.
        loop {
            let ended = tokio::select! {
                ending = fetched.recv(), if has_room(joined.len()) => {
                    match ending {
                        Some(ending) => drop(joined.spawn(Arc::clone(&self).land(ending, Arc::clone(&held)))),
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
            self.shared.stop.cancel();
            first_error.get_or_insert(error);
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Lands what a hand fetched; until then its bytes are `held`.
    async fn land(self: Arc<Self>, ending: FetchedMessage, held: Arc<AtomicUsize>) -> Result<(), Error> {
        let bytes = ending.bytes();
        held.fetch_add(bytes, Ordering::Relaxed);
        let ended = self.shared.end(ending).await;
        held.fetch_sub(bytes, Ordering::Relaxed);
        self.one_ended.notify_waiters();
        ended
    }

    /// Works on what others sent of the day, until nothing of it is in the queue.
    pub(super) async fn join(self: Arc<Self>) -> Result<(), Error> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let hands = self.shared.ctx.jobs;
        self.work(hands).await
    }

    /// Whether the work is to end, or can't go on.
    pub(super) fn ends(&self) -> bool {
        self.shared.stop.is_cancelled() || self.shared.ctx.cancel.is_cancelled()
    }

    async fn hand(self: Arc<Self>, endings: mpsc::Sender<FetchedMessage>) -> Result<(), Error> {
        while !self.ends() {
            if let Some(message) = self.receive().await? {
                failpoint!("extract.receive.after");
                self.shared.asking_for_keys.fetch_add(1, Ordering::Relaxed);
                let performed = self.shared.perform(message).await;
                self.shared.asking_for_keys.fetch_sub(1, Ordering::Relaxed);
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
                () = sleep(self.shared.ctx.tuning.poll_interval) => {}
                () = self.one_ended.notified() => {}
                () = self.shared.stop.cancelled() => {}
                () = self.shared.ctx.cancel.cancelled() => {}
            }
        }
        Ok(())
    }

    /// The next message. A service that doesn't answer is asked again a few times: it comes back more often than not.
    async fn receive(&self) -> Result<Option<Message>, Error> {
        let queue = &self.shared.ctx.queue;
        // A receive is never broken off: a message that it brings must not be lost in our hands.
        let _one = if queue.sorts() {
            None
        } else {
            tokio::select! {
                one = self.asking.lock() => Some(one),
                () = self.shared.stop.cancelled() => return Ok(None),
                () = self.shared.ctx.cancel.cancelled() => return Ok(None),
            }
        };
        if self.ends() {
            return Ok(None);
        }
        let options = ReceiveOptions {
            visibility_timeout: self.shared.ctx.tuning.visibility_timeout,
            max_receives: self.shared.most_receives().max(2),
        };
        let mut turn = 0;
        loop {
            let error = match queue.receive(&self.shared.of, &options, (self.shared.ctx.now)()).await {
                Ok(message) => return Ok(message),
                Err(error) => error,
            };
            turn += 1;
            if !error.is_retryable() || turn == QUEUE_TRIES {
                return Err(error);
            }
            tracing::warn!(error = one_line(&error), turn, "the queue does not answer: asking again");
            tokio::select! {
                () = sleep(backoff(FIRST_WAIT, turn - 1, LONGEST_WAIT, 1.0)) => {}
                () = self.shared.stop.cancelled() => return Ok(None),
                () = self.shared.ctx.cancel.cancelled() => return Ok(None),
            }
        }
    }

    /// Whether there is nothing to do any more. An empty queue says so where it counts exactly; else the table and the dead
    /// letters are asked, and what has vanished from the queue is sent again.
    async fn is_over(&self) -> Result<bool, Error> {
        let (queue, now) = (&self.shared.ctx.queue, self.shared.ctx.now);
        let Some(day) = self.shared.day.as_ref().filter(|_| !queue.sorts()) else {
            if self.shared.until == Until::Stopped {
                return Ok(false);
            }
            let counts = queue.counts(&self.shared.of, now()).await?;
            let mut postponed = self.shared.postponed.lock().unwrap_or_else(PoisonError::into_inner);
            postponed.retain(|_, until| *until > Instant::now());
            return Ok(counts.visible == 0 && counts.in_flight <= postponed.len());
        };
        let _one = tokio::select! {
            one = self.asking.lock() => one,
            () = self.shared.stop.cancelled() => return Ok(true),
            () = self.shared.ctx.cancel.cancelled() => return Ok(true),
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
