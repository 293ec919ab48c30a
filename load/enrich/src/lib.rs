//! What language models add to a lake: summaries and embeddings of what changed, each paid for once.
//!
//! ```text
//! marts.place_reviews ─ enrich ─→ staging.place_summaries
//!                        │  ↑
//!                        ↓  │
//!                   ops.llm_results, ops.costs
//! ```
//!
//! An answer is stored in the lake **before** it is used, so that it is paid for once; its key is the content of everything that shaped
//! it, so that cost follows change. What a model says is checked like any stranger's text.
//!
//! What is absent: this crate knows no sink and no search, plans no SQL, prints nothing, and reads neither clock nor environment. Only
//! it talks to language models.
//!
//! In reading order: [`llm`] (what a model is), [`enrich()`], [`Enriched`] (how it ended), [`estimate`] (what it would cost).

mod costs;
mod enrichment;
mod error;
pub mod llm;
#[cfg(test)]
mod testing;

pub use enrichment::{
    Context, Enriched, Enrichment, Estimate, Expected, Outcome, Progress, Reasked, Spent, Wait, ask_again, enrich,
    estimate,
};
pub use error::{Error, Result};
pub use llm::{
    AnswerKind, Embedding, FieldKind, Length, Llm, Mode, Model, OutputField, Prompt, Range, Refusal, RefusalKind,
    Script, Summary, TextRule, local::Local, openai::OpenAi,
};
