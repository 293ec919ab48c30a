//! What a replica is. How it misbehaves is in [`Switches`].

use crate::switches::Switches;

/// How a replica starts.
#[derive(Debug, Clone)]
pub struct LlmReplicaOptions {
    /// All misbehaviour follows from it.
    pub seed: u64,
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The key that every request must carry.
    pub key: String,
    /// How many numbers an embedding has where a request does not say.
    pub dimensions: usize,
    /// How it misbehaves at first.
    pub switches: Switches,
}

impl Default for LlmReplicaOptions {
    fn default() -> Self {
        Self { seed: 1, port: 0, key: "test-key".to_owned(), dimensions: 256, switches: Switches::default() }
    }
}
