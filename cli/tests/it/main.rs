//! What a person types, and what becomes of it: whole commands against a local copy of the crawled site.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expected by failing"
)]

mod crash;
mod day;
mod help;
mod peers;
mod postgres;
mod support;
mod tidy;
mod wrong;
