//! A place that people and programs read from, kept equal to a mart.
//!
//! The promise of every sink: rows, their hashes and the cursor move **together or not at all**, and a reader sees the state before or
//! the state after, never between. How it is kept differs: one transaction in `SQLite` and in `Postgres`, the payload of a commit in
//! tantivy, the rename of a manifest beside usearch files. `sink/contract.rs` holds all of them to it.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::TableName;

use crate::error::{Error, Result};
use crate::keys::{Hashes, Keys};
use crate::target::{Cursor, SinkKind, SyncTarget};
use crate::value::RowHash;

#[cfg(test)]
mod contract;
pub mod keywords;
pub mod postgres;
pub mod sqlite;
pub mod vectors;

/// Rows to be written, with the key and the hash of each.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns that the sink wants, no others.
    pub batch: RecordBatch,
    /// As many as rows.
    pub keys: Keys,
    /// As many as rows.
    pub hashes: Vec<RowHash>,
}

impl Rows {
    /// Some of them, without a copy of the columns.
    pub(crate) fn slice(&self, from: usize, length: usize) -> Self {
        Self {
            batch: self.batch.slice(from, length),
            keys: self.keys.slice(from..from + length),
            hashes: self.hashes[from..from + length].to_vec(),
        }
    }
}

/// A table that one sync has to itself. Dropping it gives it back, at the latest when the connection is seen to be gone.
#[async_trait]
pub trait Held: Send {
    /// Gives it back now.
    async fn release(self: Box<Self>);
}

/// A serving store.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Which one.
    fn kind(&self) -> SinkKind;

    /// Where it is, for people.
    fn describe(&self) -> String;

    /// The tables it holds.
    async fn targets(&self) -> Result<Vec<TableName>>;

    /// How far it has come with a table; `None` when it holds nothing of it (or nothing that can be read).
    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>>;

    /// Takes a table for one sync; waits while another has it, and says so once. `None` where a lock of the folder does this.
    async fn lock(&self, _table: &TableName, _waiting: &(dyn Fn() + Send + Sync)) -> Result<Option<Box<dyn Held>>> {
        Ok(None)
    }

    /// Key and hash of every row that it would keep for this target and schema. Empty when it must be built anew.
    async fn hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes>;

    /// Starts a change. Nothing is visible before [`Apply::commit`]; dropping it leaves everything as it was. One change at a time.
    async fn begin(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Box<dyn Apply>>;

    /// A hash of each row as a reader sees it, in no order: what tests compare.
    async fn content(&self, table: &TableName) -> Result<Vec<String>>;

    /// Whether it works, in one line; an error says why not.
    async fn doctor(&self) -> Result<String>;
}

/// A change under way.
#[async_trait]
pub trait Apply: Send {
    /// Writes rows, in place of those with the same keys.
    async fn upsert(&mut self, rows: Rows) -> Result<()>;

    /// Removes rows. A key that is not there is fine.
    async fn delete(&mut self, keys: Vec<String>) -> Result<()>;

    /// Makes everything visible at once, together with the cursor, and durable.
    async fn commit(self: Box<Self>, cursor: Cursor) -> Result<()>;
}

/// The folder of one table inside a sink that keeps one per table.
pub(crate) fn table_dir(root: &Path, table: &TableName) -> std::path::PathBuf {
    root.join(table.to_string())
}

/// The tables that have a folder under `root`.
pub(crate) fn table_dirs(root: &Path) -> Result<Vec<TableName>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("listing", root, e)),
    };
    let mut tables: Vec<TableName> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    tables.sort();
    Ok(tables)
}
