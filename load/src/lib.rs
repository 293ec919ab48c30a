//! The serving side: summaries, embeddings, and the stores that people read from.
//!
//! ```text
//! marts.place_reviews ─ enrich ─→ staging.place_summaries ─(a model)→ marts.places ─ sync ─→ SQLite · keywords · vectors ─ search ─→ answers
//!                        │  ↑
//!                        ↓  │
//!                   ops.llm_results
//! ```
//!
//! Order of events, and why it is this one: an answer of a model is stored in the lake **before** it is used, so that it is paid for once;
//! what changed is found by content, so that cost follows change; and a sink's cursor moves in the same step as its rows, so that a sync
//! repeated is a sync done once. Everything outside the lake can be deleted: the next [`sync()`] builds it again.
//!
//! What is absent: this crate plans no SQL, fetches no page, opens no object store, prints nothing, and reads neither clock nor
//! environment. Only it talks to language models and to sinks.
//!
//! In reading order: [`llm`] (what a model is), [`enrich()`], [`costs`] (what it cost), [`target`] (what is served how), [`sink`] (the promise of every store),
//! [`sync()`], [`compare()`], [`search`].

pub mod costs;
mod diff;
mod enrich;
mod error;
mod keys;
pub mod llm;
mod read;
mod reconcile;
pub mod search;
mod serving;
pub mod sink;
mod sync;
pub mod target;
#[cfg(test)]
mod testing;
pub mod text;
mod value;

pub use diff::{Change, Diff, Difference};
pub use enrich::{
    AnswerKind, Context, Enriched, Enrichment, Estimate, Expected, Outcome, Progress, Reasked, Spent, Wait, ask_again,
    enrich, estimate,
};
pub use error::{Error, Result};
pub use keys::{Hashes, Keys};
pub use llm::{
    Embedding, Llm, Mode, Model, Prompt, Refusal, RefusalKind, Script, Summary, local::Local, openai::OpenAi,
};
pub use reconcile::{Compared, Differing, NAMED, Orphan, compare, drop_orphan, orphans, repair};
pub use search::{QueryEmbedder, Search, SearchSettings};
pub use serving::{Serving, serving_hash};
pub use sink::SinkKind;
pub use sink::postgres::{Postgres, PostgresOptions};
pub use sync::{Rules, SinkSynced, SyncProgress, Synced, sync};
pub use target::{Cursor, Entity, SyncTarget, VectorColumn};
pub use value::{RowHash, Value, row_hashes};
