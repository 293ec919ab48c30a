//! The lake as AWS sees it: Glue's tables and Athena's answers.
//!
//! Athena reads a Delta table by its log and needs to be told no more than where it lies. So [`publish()`] registers each
//! table of a lake in Glue's catalog, one database a layer: `marts.places` is the same name in Athena as in
//! `onggi sql`. What it writes follows from the lake alone, so a second pass finds nothing to do, and a changed table is
//! the only one that is written again.
//!
//! [`Athena`] asks questions: it starts a query, says how far it is and what it costs, hands the answer over page by page
//! as Arrow batches, and stops the query when nobody waits for it any more. Answers are never held as a whole.
//!
//! Deliberately absent: partitions (the log knows them), table statistics, crawlers, and every statement that writes.
//!
//! Modules in reading order: `hive` (types), `registration` (one table as Glue keeps it), `publish` (all of them), `query`
//! (the life of a query), `page` (its answer), `price`, `look` (whether all this would work).

mod client;
mod error;
mod hive;
mod look;
mod page;
mod price;
mod publish;
mod query;
mod registration;

pub use client::Glue;
pub use error::{Error, Result};
pub use look::{Databases, Output};
pub use page::Rows;
pub use price::cost;
pub use publish::{Changed, PublishOptions, Published, location, publish};
pub use query::{Athena, AthenaSettings, Execution, Progress, State};
pub use registration::{Foreign, Refused};

#[cfg(test)]
mod testing;
