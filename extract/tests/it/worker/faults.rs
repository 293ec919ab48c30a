//! Queues that do what queues may do.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use catalog::Timestamp;
use extract::queue::{
    Counts, DeadLetter, MemoryQueue, Message, Queue, ReceiptHandle, ReceiptState, ReceiveOptions, Release, TaskFilter,
};
use extract::{Error, Task};

use super::bench::Kill;

/// Asked anything, it fails the test: a day that is done costs no queue.
#[derive(Debug)]
pub(crate) struct NoQueue;

/// Can't tell sources and days apart, as SQS can't: any message comes.
#[derive(Debug, Default)]
pub(crate) struct Unsorted(pub(crate) MemoryQueue);

/// Says `losses` times that the lease is lost.
#[derive(Debug)]
pub(crate) struct LosesLeases {
    inner: Arc<dyn Queue>,
    losses: AtomicU32,
}

impl LosesLeases {
    pub(crate) fn new(inner: Arc<dyn Queue>, losses: u32) -> Self {
        Self { inner, losses: AtomicU32::new(losses) }
    }
}

/// Somebody deletes the file at the nth receive.
#[derive(Debug)]
pub(crate) struct Forgetful {
    inner: Mutex<MemoryQueue>,
    receives_left: AtomicU32,
}

impl Forgetful {
    pub(crate) fn new(receives: u32) -> Self {
        Self { inner: Mutex::default(), receives_left: AtomicU32::new(receives) }
    }

    fn inner(&self) -> MemoryQueue {
        self.inner.lock().unwrap().clone()
    }
}

/// The nth call fails, before or after it did its work.
#[derive(Debug)]
pub(crate) struct FailsOnce {
    inner: Arc<dyn Queue>,
    calls_left: AtomicU32,
    fired: AtomicU32,
    before: bool,
}

impl FailsOnce {
    pub(crate) fn new(inner: Arc<dyn Queue>, call: u32, before: bool) -> Self {
        Self { inner, calls_left: AtomicU32::new(call), fired: AtomicU32::new(0), before }
    }

    pub(crate) fn fired(&self) -> bool {
        self.fired.load(Ordering::SeqCst) > 0
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let fails = self.fired.load(Ordering::SeqCst) == 0
            && self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if fails {
            self.fired.store(1, Ordering::SeqCst);
            if !self.before {
                drop(call.await?);
            }
            let source = std::io::Error::other("the disk hangs");
            return Err(Error::QueueFolder { file: "queue.sqlite".into(), source });
        }
        call.await
    }
}

/// The process dies before or after a call.
#[derive(Debug)]
pub(crate) struct Killed {
    inner: Arc<dyn Queue>,
    kill: Kill,
}

impl Killed {
    pub(crate) fn new(inner: Arc<dyn Queue>, kill: Kill) -> Self {
        Self { inner, kill }
    }

    fn inner(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.inner)
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.kill.step().await;
        let answer = call.await;
        self.kill.step().await;
        answer
    }
}

impl Faults for Killed {}

/// Passes every call on through `$pass`, which gets what it would answer.
macro_rules! decorate {
    ($type:ty, $inner:ident, $pass:ident) => {
        #[async_trait]
        impl Queue for $type {
            async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error> {
                let inner = self.$inner();
                self.$pass(inner.send(tasks, now)).await
            }
            async fn receive(
                &self,
                of: &TaskFilter,
                options: &ReceiveOptions,
                now: Timestamp,
            ) -> Result<Option<Message>, Error> {
                self.on_receive();
                let inner = self.$inner();
                let all = TaskFilter::all();
                let of = if self.sorts() { of } else { &all };
                self.$pass(inner.receive(of, options, now)).await
            }
            fn sorts(&self) -> bool {
                self.sorts_days()
            }
            async fn change_visibility(
                &self,
                handle: &ReceiptHandle,
                timeout: Duration,
                now: Timestamp,
            ) -> Result<ReceiptState, Error> {
                if self.loses_the_lease() {
                    return Ok(ReceiptState::Stale);
                }
                let inner = self.$inner();
                self.$pass(inner.change_visibility(handle, timeout, now)).await
            }
            async fn release(
                &self,
                message: &Message,
                release: &Release,
                now: Timestamp,
            ) -> Result<ReceiptState, Error> {
                let inner = self.$inner();
                self.$pass(inner.release(message, release, now)).await
            }
            async fn delete(&self, handle: &ReceiptHandle) -> Result<ReceiptState, Error> {
                let inner = self.$inner();
                self.$pass(inner.delete(handle)).await
            }
            async fn counts(&self, of: &TaskFilter, now: Timestamp) -> Result<Counts, Error> {
                let inner = self.$inner();
                let all = TaskFilter::all();
                let of = if self.sorts() { of } else { &all };
                self.$pass(inner.counts(of, now)).await
            }
            async fn dead_letters(&self, of: &TaskFilter, now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
                let inner = self.$inner();
                self.$pass(inner.dead_letters(of, now)).await
            }
            async fn redrive(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error> {
                let inner = self.$inner();
                self.$pass(inner.redrive(letters, now)).await
            }
        }
    };
}

/// What a decorator may do besides; most do nothing.
trait Faults {
    fn on_receive(&self) {}

    fn loses_the_lease(&self) -> bool {
        false
    }

    fn sorts_days(&self) -> bool {
        true
    }

    async fn straight<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        call.await
    }
}

impl Faults for NoQueue {}

impl Faults for Unsorted {
    fn sorts_days(&self) -> bool {
        false
    }
}

impl Unsorted {
    fn inner(&self) -> MemoryQueue {
        self.0.clone()
    }
}

impl NoQueue {
    #[expect(clippy::unused_self, reason = "the other doubles have a queue inside")]
    fn inner(&self) -> MemoryQueue {
        panic!("the queue was asked");
    }
}

impl Faults for LosesLeases {
    fn loses_the_lease(&self) -> bool {
        self.losses.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}

impl LosesLeases {
    fn inner(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.inner)
    }
}

impl Faults for Forgetful {
    fn on_receive(&self) {
        if self.receives_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) == Ok(1) {
            *self.inner.lock().unwrap() = MemoryQueue::new();
        }
    }
}

impl Faults for FailsOnce {}

impl FailsOnce {
    fn inner(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.inner)
    }
}

decorate!(NoQueue, inner, straight);
decorate!(Unsorted, inner, straight);
decorate!(LosesLeases, inner, straight);
decorate!(Forgetful, inner, straight);
decorate!(FailsOnce, inner, pass);
decorate!(Killed, inner, pass);
