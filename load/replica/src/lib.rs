//! A local server that behaves as a language-model service does: chat completions, embeddings, files and batches in the protocol
//! that `OpenAI` and the many that are like it speak.
//!
//! Tests and benches ask it instead of anybody's paid service. What it answers is a function of the text alone, so two runs can be
//! compared; how it misbehaves is a set of switches ([`Switches`]) that can be thrown while it runs; and **everything that it
//! answered as paid is counted by content** ([`Stats::paid`]), so that a test can prove that nothing was paid for twice.
//!
//! The hard part is that a reply can be paid and never arrive. Such losses are counted too ([`Stats::lost`]): what a caller pays
//! twice must be among them.
//!
//! It listens on 127.0.0.1 only, keeps everything in memory, and calls nobody.

mod batches;
mod chat;
mod embeddings;
mod error;
mod files;
mod limit;
mod options;
mod server;
mod stats;
mod switches;
mod tokens;

pub use error::{Error, Result};
pub use options::LlmReplicaOptions;
pub use server::LlmReplica;
pub use stats::Stats;
pub use switches::{Fault, RetryAfter, Switches};
