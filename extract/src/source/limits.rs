//! What one key may take. A site decides how much it sends, we decide how much we hold.

use std::time::Duration;

/// Bounds of one key. Who reaches one lands what came and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: u64,
    /// Answers: pages, or clicks.
    pub answers: u64,
    /// Time.
    pub time: Duration,
    /// Bytes of records held.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 200_000, answers: 20_000, time: Duration::from_hours(6), bytes: 256 << 20 }
    }
}
