//! What a process may do before it ends.

use std::time::Duration;

/// Which write of a process is its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// From 1.
    pub write: u64,
    /// Whether that write is still done, unknown to who asked for it.
    pub done: bool,
}

/// What a process may do before it ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Life {
    /// Where it is killed.
    pub death: Option<Death>,
    /// How long it may take, in simulated time.
    pub patience: Option<Duration>,
}
