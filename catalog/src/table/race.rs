//! Several writers of one log: how a lost race is told, and how long the loser waits.

use std::time::Duration;

use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use crate::backoff::backoff;
use crate::id::fresh_fraction;

/// Tries that broke off before saying that the outcome is unknown.
pub(super) const BROKEN_ROUNDS: u32 = 4;

/// Whether another writer committed first.
pub(super) fn lost_race(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::MaxCommitAttempts(_)
                | TransactionError::CommitConflict(_)
                | TransactionError::VersionAlreadyExists(_)
        ),
        // The creator's own check found a table that was not there a moment ago.
        other => other.to_string().contains("already exists"),
    }
}

/// Longer with each round, and never the same for two writers.
pub(super) fn pause(round: u32) -> Duration {
    backoff(Duration::from_millis(4), round, Duration::from_secs(1), fresh_fraction())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_short() {
        assert!(pause(0) <= Duration::from_millis(5));
        assert!((0..64).all(|round| pause(round) <= Duration::from_secs(1)));
    }
}
