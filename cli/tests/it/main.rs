//! What a person types, and what becomes of it: whole commands against a local copy of the crawled site.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expected by failing"
)]

mod athena;
mod bucket;
mod canary;
mod cloud;
mod crash;
mod day;
mod docs;
mod films;
mod help;
mod llm;
mod mysql;
mod old_lake;
mod peers;
mod postgres;
mod questions;
mod reconcile;
mod search;
mod shapes;
mod side_by_side;
mod support;
mod terminal;
mod tidy;
mod trino;
mod workers;
mod wrong;
