//! The serving side: the stores that people read from, and the search over them.
//!
//! ```text
//! marts.places ─ sync ─→ SQLite · keywords · vectors · Postgres ─ search ─→ answers
//! ```
//!
//! What changed is found by content, so that cost follows change; and a sink's cursor moves in the same step as its rows, so that a sync
//! repeated is a sync done once. Everything outside the lake can be deleted: the next [`sync()`] builds it again.
//!
//! What is absent: this crate plans no SQL, fetches no page, opens no object store, prints nothing, and reads neither clock nor
//! environment. Only it talks to sinks.
//!
//! In reading order: [`target`] (what is served how), [`sink`] (the promise of every store),
//! [`sync()`], [`compare()`], [`search`].

mod diff;
mod error;
mod fault;
mod keys;
mod kind;
mod reconcile;
pub mod search;
mod serving;
pub mod sink;
mod sums;
mod sync;
pub mod target;
#[cfg(test)]
mod testing;

pub use diff::{Change, Diff, Difference};
pub use error::{Error, Result};
pub use keys::{Hashes, Keys};
pub use kind::SinkKind;
pub use reconcile::{Compared, Differing, NAMED, Orphan, compare, drop_orphan, orphans, repair};
pub use search::{QueryEmbedder, Search, SearchSettings};
pub use serving::{Serving, serving_hash};
pub use sync::{Rules, SinkSynced, SyncProgress, Synced, behind, sync};
pub use target::{Cursor, Entity, SyncTarget, VectorColumn};
