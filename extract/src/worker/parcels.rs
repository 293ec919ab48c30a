//! Keys that were fetched and wait to land.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catalog::Date;
use tokio::sync::oneshot;

use crate::outcome::KeyOutcome;
use crate::stage::Staged;
use crate::task::Key;

/// What lands in one commit at most.
const MOST_BYTES: usize = 64 << 20;

/// Keys that wait to land.
#[derive(Default)]
pub(super) struct Landing {
    waiting: Mutex<Vec<Waiting>>,
    pub(super) number: AtomicU64,
    /// Held by who lands for all; how long its last commit took.
    pub(super) turn: tokio::sync::Mutex<Duration>,
}

/// A key that was fetched, and its day.
pub(super) struct Fetched {
    pub(super) dt: Date,
    pub(super) key: Key,
    pub(super) staged: Staged,
}

impl Fetched {
    /// The memory of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.staged.batch.get_array_memory_size()
    }
}

/// Keys of one call, and who is told.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) keys: Vec<Fetched>,
    pub(super) landed: oneshot::Sender<Vec<Landed>>,
}

/// A key that landed through us.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) outcome: KeyOutcome,
    pub(super) duplicates: u64,
}

impl Landing {
    pub(super) fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that land next: the first, and what fits beside it.
    pub(super) fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let mut bytes = 0;
        let fits = waiting.iter().take_while(|one| {
            bytes += one.bytes();
            bytes <= MOST_BYTES
        });
        let count = fits.count().max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        self.keys.iter().map(Fetched::bytes).sum()
    }
}
