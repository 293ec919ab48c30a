//! Records from outside, politely, once.
//!
//! This crate reads other people's sites and lands what it finds, untouched, in raw tables. It is the only one of the house
//! that fetches, and it knows no SQL, no model and no sink: what it gives to the others is a table.
//!
//! # The life of a task
//!
//! A [`Source`] is a TOML file. Its keys – search words, places – are split into [`Task`]s, and a
//! task goes through six steps:
//!
//! ```text
//!               lake: raw.<source>          queue                       lake: _onggi/staged/…      lake: raw.<source>
//! 1 plan     keys without an outcome ────▶ send, each task once
//! 2 receive                                 hidden, heartbeat
//! 3 wanted?                                 ◀──────────────────────────────────────────────────── keys that somebody closed
//! 4 fetch    key by key, at the host's pace ────────────────────────────▶ one object a key
//! 5 land                                                                  keys of many tasks ──▶ one commit with their outcomes
//! 6 delete                                  the message                   then the objects
//! ```
//!
//! The order is what makes a kill harmless. Before 4 nothing was asked of anybody. Within 4 a finished key is staged at a path
//! made of its day and its name, and is never fetched again. Before 5 nothing is visible, after it everything is. A message
//! is deleted only after the commit, so what is lost with a worker is at most the key it was on; a message that comes again
//! after the commit finds its keys closed and costs one look. Two workers with the same message – it happens, with any
//! queue – stage the same paths, and each key lands once.
//!
//! So the truth is in one place, the raw table: a key is done if an [`outcome`] in a commit says so. The queue is for
//! convenience and may be deleted at any time, and so may everything under `_onggi/`.
//!
//! # When it does not work
//!
//! A [`harvest::Ending`] says how far a key's list came, and what came lands whatever the ending is. Of a key of which nothing
//! came [`decide`] tells apart whose fault it is: a hiccup puts the task back for later, and after its receives are used up its
//! key has *failed* until the next run; a block page stops the *host*, hands everything back and makes the run partial. Nothing
//! is dropped without a row, an outcome or an error.
//!
//! # Reading order
//!
//! [`task`] → [`outcome`] → [`ledger`] → [`plan`] → [`queue`] → [`stage`] → [`decide`] → [`heartbeat`] → [`worker`] is the frame.
//! [`source`] → [`fetch`] → [`politeness`] → [`egress`] → [`json`] → items → records → [`identity`] → [`harvest`] is how one key
//! becomes one batch. They meet in [`harvest::harvest`].
//!
//! Time is a value here: nothing reads the clock, waits are `tokio`'s. Nothing reads the environment, and nothing prints.

pub mod cancel;
pub mod decide;
pub mod error;
pub mod heartbeat;
pub mod ledger;
pub mod leftover;
pub mod outcome;
pub mod plan;
pub mod queue;
pub mod stage;
pub mod task;
pub mod unreadable;
pub mod worker;

// How one key becomes one batch.
pub mod egress;
pub mod fetch;
pub mod harvest;
pub mod identity;
pub mod items;
pub mod json;
mod needle;
pub mod politeness;
pub mod record;
pub mod source;
mod status;

pub use cancel::Cancel;
pub use error::{Error, FetchError};
pub use source::Source;
pub use task::{Key, Task};
pub use worker::{Extracted, Extractor, Progress, Tuning, extract};
