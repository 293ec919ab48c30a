//! The lake: what tables exist, what is in them, and every commit to them.
//!
//! A [`Lake`] is one URL. Below it lie Delta tables, one folder each (`raw/naver_reviews/`), and
//! `_onggi/`, which holds what is not a table. This crate is the only one that opens an object
//! store, formats a lake path or touches a table's log; everyone else holds a [`Table`], a
//! [`Snapshot`] or [`Objects`].
//!
//! The order of a write, and why it is this one:
//!
//! 1. [`Table::write`] closes Parquet files that no reader sees yet, several encoders at once.
//! 2. Checks run on [`Written::provider`]: bad rows are found before anybody can read them.
//! 3. [`Written::append`] or [`Written::replace`] reads the newest [`Snapshot`], looks for the
//!    [`Txn`] of this piece of work, and commits on *that very snapshot*: if anybody else committed
//!    in between, it looks again. So a piece of work lands once, however often it is repeated.
//! 4. Only then the caller is told. On local disk the files, the log entry and their folders have
//!    been synced by then.
//!
//! Modules in reading order: names and paths, the store and its objects, the lake, its tables
//! (schema, snapshot, write, commit), runs, upkeep, failpoints, the simulation of days.

mod address;
pub mod aws;
mod backoff;
mod cache;
mod day;
mod diagnostic;
mod digest;
mod entry;
mod error;
pub mod failpoint;
mod id;
mod lake;
mod name;
mod name_rules;
mod objects;
pub mod path;
pub mod run;
pub mod schema;
pub mod simulation;
mod store;
mod table;
mod tables;
pub mod upkeep;

pub use address::without_user;
pub use backoff::backoff;
pub use day::{date_of, days_since_epoch};
pub use diagnostic::Diagnostic;
pub use digest::{PartsHash, digest_of};
pub use error::{Access, Error, Result};
pub use id::{fresh_bits, fresh_fraction, fresh_id};
pub use jiff::{Timestamp, civil::Date};
pub use lake::Lake;
pub use name::{Layer, RunId, SinkName, SourceName, TableName};
pub use objects::{ObjectEntry, Objects, PutNew};
pub use path::ObjectPath;
pub use store::{Requests, StoreSettings};
pub use table::{
    CommitInfo, Committed, Draft, Head, Note, Notes, Scope, Snapshot, Table, TableSpec, Txn, TxnRule, WriteOptions,
    Written,
};

/// A table's commit number, from 0.
pub type Version = u64;
