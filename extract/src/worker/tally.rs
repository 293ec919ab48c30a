//! What a run has done so far: the numbers it reports at its end, and how far it is while it goes on.
//!
//! A task that is handed back takes its progress back with it ([`Share`]), else its staged keys would count again when it
//! is received the next time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Extracted, Progress};
use crate::stage::Staged;

pub(super) struct Tally {
    report: Arc<dyn Fn(Progress) + Send + Sync>,
    total_keys: AtomicU64,
    done_keys: AtomicU64,
    records: AtomicU64,
    numbers: Mutex<Extracted>,
}

impl Tally {
    pub(super) fn new(report: Arc<dyn Fn(Progress) + Send + Sync>) -> Self {
        Self {
            report,
            total_keys: AtomicU64::new(0),
            done_keys: AtomicU64::new(0),
            records: AtomicU64::new(0),
            numbers: Mutex::default(),
        }
    }

    /// How many keys there are to do.
    pub(super) fn expect(&self, total_keys: u64) {
        self.total_keys.store(total_keys, Ordering::Relaxed);
        self.tell();
    }

    /// Everything is done, by whomever.
    pub(super) fn complete(&self) {
        self.done_keys.store(self.total_keys.load(Ordering::Relaxed), Ordering::Relaxed);
        self.tell();
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Extracted)) {
        change(&mut self.numbers.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn numbers(&self) -> Extracted {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A task's rows became visible through us.
    pub(super) fn landed(&self, staged: &[Staged]) {
        self.change(|numbers| {
            numbers.tasks += 1;
            for key in staged {
                numbers.fetched += key.rows();
                numbers.set_aside += key.set_aside;
                numbers.landed += key.rows().saturating_sub(key.set_aside);
                numbers.duplicates += key.duplicates;
                numbers.short_keys += u64::from(key.short > 0);
                numbers.short_items += key.short;
            }
        });
    }

    /// The progress of one task.
    pub(super) fn share(&self) -> Share<'_> {
        Share { tally: self, keys: AtomicU64::new(0), records: AtomicU64::new(0), kept: false }
    }

    fn tell(&self) {
        (self.report)(Progress {
            done_keys: self.done_keys.load(Ordering::Relaxed),
            total_keys: self.total_keys.load(Ordering::Relaxed),
            records: self.records.load(Ordering::Relaxed),
        });
    }
}

/// What one task has added to the progress, taken back unless it is kept.
pub(super) struct Share<'t> {
    tally: &'t Tally,
    keys: AtomicU64,
    records: AtomicU64,
    kept: bool,
}

impl Share<'_> {
    /// The task has so many records now, those of the key under way included.
    pub(super) fn records(&self, records: u64) {
        let before = self.records.swap(records, Ordering::Relaxed);
        if records >= before {
            self.tally.records.fetch_add(records - before, Ordering::Relaxed);
        } else {
            self.tally.records.fetch_sub(before - records, Ordering::Relaxed);
        }
        self.tally.tell();
    }

    /// One key more is done.
    pub(super) fn key_done(&self) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.tally.done_keys.fetch_add(1, Ordering::Relaxed);
        self.tally.tell();
    }

    /// The task has landed: what it added stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.tally.done_keys.fetch_sub(self.keys.load(Ordering::Relaxed), Ordering::Relaxed);
            self.records(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_is_handed_back_takes_its_progress_with_it() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tally = Tally::new(Arc::new({
            let told = Arc::clone(&told);
            move |progress: Progress| {
                told.lock().unwrap().push((progress.done_keys, progress.total_keys, progress.records));
            }
        }));
        tally.expect(4);
        let landed = tally.share();
        landed.records(10);
        landed.key_done();
        landed.keep();
        let handed_back = tally.share();
        handed_back.records(7);
        handed_back.key_done();
        handed_back.records(9);
        handed_back.records(8);
        drop(handed_back);
        tally.complete();
        assert_eq!(
            *told.lock().unwrap(),
            [(0, 4, 0), (0, 4, 10), (1, 4, 10), (1, 4, 17), (2, 4, 17), (2, 4, 19), (2, 4, 18), (1, 4, 10), (4, 4, 10)]
        );
    }
}
