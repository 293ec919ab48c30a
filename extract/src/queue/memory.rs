//! A queue in memory, for tests and for lakes in memory: what it holds dies with the process.
//!
//! It is written as plainly as possible, because it is also the specification that the contract suite compares with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use catalog::{Date, SourceName, Timestamp};

use super::{
    Counts, DeadLetter, Message, NO_WORD, Queue, ReceiptHandle, ReceiptState, ReceiveOptions, Release, TaskFilter,
    later,
};
use crate::error::Error;
use crate::task::{Task, TaskId};

/// A queue in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryQueue(Arc<Mutex<MemoryState>>);

#[derive(Debug, Default)]
struct MemoryState {
    messages: BTreeMap<MessageKey, Entry>,
    /// Counts sends and receives: it orders messages and makes handles that never repeat.
    sequence: u64,
}

type MessageKey = (SourceName, Date, TaskId);

#[derive(Debug)]
struct Entry {
    task: Task,
    sent: u64,
    visible_at: i64,
    receives: u32,
    token: Option<String>,
    error: Option<String>,
    dead_at: Option<Timestamp>,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        // Every change below is complete before the guard drops, so a panic elsewhere can't leave half a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Performs a change on the message whose newest receipt is `handle`.
    fn with_held(&self, handle: &ReceiptHandle, change: impl FnOnce(&mut Entry)) -> ReceiptState {
        let mut state = self.state();
        match state.messages.get_mut(&place(handle)) {
            Some(entry) if entry.token.as_ref() == Some(&handle.token) => {
                change(entry);
                ReceiptState::Current
            }
            _ => ReceiptState::Stale,
        }
    }
}

impl MemoryState {
    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn of<'a>(&'a mut self, of: &'a TaskFilter) -> impl Iterator<Item = &'a mut Entry> {
        self.messages.values_mut().filter(move |entry| of.has(&entry.task))
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error> {
        let mut state = self.state();
        let mut new = 0;
        for task in tasks {
            let place = (task.source.clone(), task.dt, task.id.clone());
            if state.messages.contains_key(&place) {
                continue;
            }
            let sent = state.next();
            let visible_at = now.as_microsecond();
            state.messages.insert(
                place,
                Entry { task: task.clone(), sent, visible_at, receives: 0, token: None, error: None, dead_at: None },
            );
            new += 1;
        }
        Ok(new)
    }

    async fn receive(
        &self,
        of: &TaskFilter,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Option<Message>, Error> {
        let mut state = self.state();
        let token = format!("receipt-{}", state.next());
        let at = now.as_microsecond();
        for entry in state.of(of) {
            if entry.dead_at.is_none() && entry.visible_at <= at && entry.receives >= options.max_receives {
                entry.token = None;
                entry.dead_at = Some(now);
            }
        }
        let next = state
            .of(of)
            .filter(|entry| entry.dead_at.is_none() && entry.visible_at <= at)
            .min_by_key(|entry| (entry.receives, entry.sent));
        Ok(next.map(|entry| {
            entry.receives += 1;
            entry.visible_at = later(now, options.visibility_timeout);
            entry.token = Some(token.clone());
            let Task { source, dt, id, .. } = entry.task.clone();
            let receipt_handle = ReceiptHandle { source, dt, task: id, token };
            Message { task: entry.task.clone(), receipt_handle, receive_count: entry.receives }
        }))
    }

    async fn change_visibility(
        &self,
        handle: &ReceiptHandle,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<ReceiptState, Error> {
        Ok(self.with_held(handle, |entry| entry.visible_at = later(now, timeout)))
    }

    async fn release(&self, message: &Message, release: &Release, now: Timestamp) -> Result<ReceiptState, Error> {
        Ok(self.with_held(&message.receipt_handle, |entry| {
            entry.visible_at = later(now, release.after);
            entry.token = None;
            if release.uncounted {
                entry.receives = entry.receives.saturating_sub(1);
            }
            if release.error.is_some() {
                entry.error.clone_from(&release.error);
            }
        }))
    }

    async fn delete(&self, handle: &ReceiptHandle) -> Result<ReceiptState, Error> {
        let mut state = self.state();
        let place = place(handle);
        if state.messages.get(&place).is_none_or(|entry| entry.token.as_ref() != Some(&handle.token)) {
            return Ok(ReceiptState::Stale);
        }
        state.messages.remove(&place);
        Ok(ReceiptState::Current)
    }

    async fn counts(&self, of: &TaskFilter, now: Timestamp) -> Result<Counts, Error> {
        let mut counts = Counts::default();
        for entry in self.state().of(of) {
            if entry.dead_at.is_some() {
                counts.dead += 1;
            } else if entry.visible_at <= now.as_microsecond() {
                counts.visible += 1;
            } else {
                counts.in_flight += 1;
            }
        }
        Ok(counts)
    }

    async fn dead_letters(&self, of: &TaskFilter, _now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
        let mut state = self.state();
        let dead = state.of(of).filter_map(|entry| {
            Some(DeadLetter {
                task: entry.task.clone(),
                receive_count: entry.receives,
                error: entry.error.clone().unwrap_or_else(|| NO_WORD.to_owned()),
                dead_at: entry.dead_at?,
            })
        });
        Ok(dead.collect())
    }

    async fn redrive(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error> {
        let mut state = self.state();
        let mut redriven = 0;
        for Task { source, dt, id, .. } in letters.iter().map(|letter| &letter.task) {
            if let Some(entry) = state.messages.get_mut(&(source.clone(), *dt, id.clone()))
                && entry.dead_at.take().is_some()
            {
                entry.receives = 0;
                entry.visible_at = now.as_microsecond();
                redriven += 1;
            }
        }
        Ok(redriven)
    }
}

fn place(handle: &ReceiptHandle) -> MessageKey {
    (handle.source.clone(), handle.dt, handle.task.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::contract::{Clock, Fixture, queue_contract, sorting_queue_contract};

    struct InMemory(MemoryQueue, Clock);

    impl Fixture for InMemory {
        fn new() -> Option<Self> {
            Some(Self(MemoryQueue::new(), Clock::simulated()))
        }

        async fn open(&self) -> Arc<dyn Queue> {
            Arc::new(self.0.clone())
        }

        fn clock(&self) -> &Clock {
            &self.1
        }
    }

    queue_contract!(InMemory);
    sorting_queue_contract!(InMemory);
}
