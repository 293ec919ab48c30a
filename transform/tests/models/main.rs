//! Models over a small lake: what builds do to tables, and what the models that come along make of rows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed expectation ends a test")]

mod builds;
mod cases;
mod checks;
mod conditions;
mod contents;
mod house;
mod peers;
mod plans;
mod questions;
mod states;
