//! What a run has done so far: the numbers it reports at its end, and how far it is while it goes on.
//!
//! A task that is handed back takes its progress back with it ([`TaskProgress`]), else its staged keys would count again when it
//! is received the next time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::parcels::Landed;
use super::{Extracted, Progress};

pub(super) struct ExtractStats {
    report: Arc<dyn Fn(Progress) + Send + Sync>,
    total_keys: AtomicU64,
    done_keys: AtomicU64,
    records: AtomicU64,
    numbers: Mutex<Extracted>,
}

impl ExtractStats {
    pub(super) fn new(report: Arc<dyn Fn(Progress) + Send + Sync>) -> Self {
        Self {
            report,
            total_keys: AtomicU64::new(0),
            done_keys: AtomicU64::new(0),
            records: AtomicU64::new(0),
            numbers: Mutex::default(),
        }
    }

    /// So many keys more are to be done.
    pub(super) fn expect(&self, more_keys: u64) {
        self.total_keys.fetch_add(more_keys, Ordering::Relaxed);
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

    /// Keys of a task landed through us; `whole` if nothing of the task is left to do.
    pub(super) fn landed(&self, landed: &[Landed], whole: bool) {
        self.change(|numbers| {
            numbers.tasks += u64::from(whole && !landed.is_empty());
            for Landed { outcome, duplicates } in landed {
                numbers.fetched += outcome.rows;
                numbers.set_aside += outcome.set_aside;
                numbers.landed += outcome.rows.saturating_sub(outcome.set_aside);
                numbers.duplicates += duplicates;
                numbers.short_keys += u64::from(outcome.missing > 0);
                numbers.short_items = numbers.short_items.saturating_add(outcome.missing);
            }
        });
    }

    /// The progress of one task.
    pub(super) fn of_task(self: &Arc<Self>) -> TaskProgress {
        TaskProgress { stats: Arc::clone(self), keys: AtomicU64::new(0), records: AtomicU64::new(0), kept: false }
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
pub(super) struct TaskProgress {
    stats: Arc<ExtractStats>,
    keys: AtomicU64,
    records: AtomicU64,
    kept: bool,
}

impl TaskProgress {
    /// The task has so many records now, those of the key under way included.
    pub(super) fn records(&self, records: u64) {
        let before = self.records.swap(records, Ordering::Relaxed);
        if records >= before {
            self.stats.records.fetch_add(records - before, Ordering::Relaxed);
        } else {
            self.stats.records.fetch_sub(before - records, Ordering::Relaxed);
        }
        self.stats.tell();
    }

    /// One key more is done.
    pub(super) fn key_done(&self) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.stats.done_keys.fetch_add(1, Ordering::Relaxed);
        self.stats.tell();
    }

    /// The task has landed: what it added stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for TaskProgress {
    fn drop(&mut self) {
        if !self.kept {
            self.stats.done_keys.fetch_sub(self.keys.load(Ordering::Relaxed), Ordering::Relaxed);
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
        let stats = Arc::new(ExtractStats::new(Arc::new({
            let told = Arc::clone(&told);
            move |progress: Progress| {
                told.lock().unwrap().push((progress.done_keys, progress.total_keys, progress.records));
            }
        })));
        stats.expect(4);
        let landed = stats.of_task();
        landed.records(10);
        landed.key_done();
        landed.keep();
        let handed_back = stats.of_task();
        handed_back.records(7);
        handed_back.key_done();
        handed_back.records(9);
        handed_back.records(8);
        drop(handed_back);
        stats.complete();
        assert_eq!(
            *told.lock().unwrap(),
            [(0, 4, 0), (0, 4, 10), (1, 4, 10), (1, 4, 17), (2, 4, 17), (2, 4, 19), (2, 4, 18), (1, 4, 10), (4, 4, 10)]
        );
    }
}
