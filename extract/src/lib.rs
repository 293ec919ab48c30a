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
//!               lake: _onggi/plans/…           queue                       lake: _onggi/staged/…      lake: raw.<source>
//! 1 plan     keys → tasks, once per day ──▶ send, each once
//! 2 receive                                  hidden, heartbeat
//! 3 done?                                    ◀─────────────────────────────────────────────────────── its txn is there: delete
//! 4 fetch    key by key, at the host's pace ─────────────────────────────▶ one object a key
//! 5 land                                                                   all keys of the task ────▶ one commit with its txn
//! 6 delete                                   the message                   then the objects
//! ```
//!
//! The order is what makes a kill harmless. Before 4 nothing was asked of anybody. Within 4 a finished key is staged at a path
//! made of its task and its name, and is never fetched again. Before 5 nothing is visible, after it everything is. A message
//! is deleted only after the commit, so what is lost with a worker is at most the key it was on; a message that comes again
//! after the commit finds its txn and costs one look. Two workers with the same message – it happens, with any queue – stage
//! the same paths and collide on the same txn.
//!
//! So the truth is in two places of the lake: the plan says what is to be done, the table says what is done. The queue between
//! them is for convenience and may be deleted at any time.
//!
//! # When it does not work
//!
//! [`decide`] tells apart whose fault it is: a page that is gone is a *result* and lands as a row with an `_error`; a hiccup puts
//! the task back for later, and after its receives are used up it is a *dead letter* with its last error; a block page stops the
//! *host*, hands everything back and makes the run partial. Nothing is dropped without a row, a dead letter or an error.
//!
//! # Reading order
//!
//! [`task`] → [`plan`] → [`queue`] → [`stage`] → [`decide`] → [`presence`] → [`worker`] is the frame. [`source`] → [`fetch`] → [`politeness`] → items →
//! records → [`identity`] → [`harvest`] is how one key becomes one batch. They meet in [`harvest::harvest`].
//!
//! Time is a value here: nothing reads the clock, waits are `tokio`'s. Nothing reads the environment, and nothing prints.

pub mod cancel;
pub mod decide;
pub mod error;
pub mod plan;
pub mod presence;
pub mod queue;
pub mod stage;
pub mod task;
pub mod worker;

// How one key becomes one batch.
pub mod fetch;
pub mod harvest;
pub mod identity;
pub mod items;
pub mod politeness;
pub mod record;
pub mod source;

pub use cancel::Cancel;
pub use error::Error;
pub use fetch::FetchError;
pub use source::Source;
pub use task::{Key, Task};
pub use worker::{Extracted, Extractor, Progress, Tuning, extract};
