//! A table: what the siblings hold to read the lake and to add to it.

mod commit;
mod create;
mod encode;
mod log;
mod pending;
mod snapshot;
mod written;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use jiff::{Timestamp, civil::Date};

use crate::Version;
use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::{RunId, TableName};

pub(crate) use create::create;
pub use snapshot::Snapshot;
pub use written::Written;

/// What a table is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Its name.
    pub name: TableName,
    /// Its columns. Types are kept as every Delta reader knows them: one kind of string and list,
    /// timestamps in microseconds of UTC.
    pub schema: SchemaRef,
    /// Whether it is split by the day column `dt`, which is then a `Date32` of the schema.
    pub partitioned: bool,
    /// The columns that files keep smallest and largest values of: ids, keys and numbers, never long text.
    pub stats_columns: Vec<String>,
}

/// The mark of a piece of work, kept in the table by the commit that did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// Which piece of work, such as `naver_reviews/2026-10-01/17` or `build/marts.places/2026-10-01`.
    pub app_id: String,
    /// Which doing of it: a counter or a fingerprint.
    pub version: i64,
    /// When the work counts as done.
    pub rule: TxnRule,
}

/// When a piece of work counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnRule {
    /// The table's mark is this version or a later one: appends.
    AtLeast,
    /// The table's mark is exactly this version: builds, whose version is a fingerprint.
    Equal,
}

impl Txn {
    /// Whether a table whose mark is `found` has this work in it.
    pub fn is_done(&self, found: Option<i64>) -> bool {
        match self.rule {
            TxnRule::AtLeast => found.is_some_and(|v| v >= self.version),
            TxnRule::Equal => found == Some(self.version),
        }
    }
}

/// Who commits, when, and from what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// The run.
    pub run: RunId,
    /// The time.
    pub now: Timestamp,
    /// The versions that were read to make the rows.
    pub lineage: Vec<(TableName, Version)>,
}

/// How a commit ended. Losing a race is an answer, not an error.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    /// The rows are in the table since this version.
    Done(Version),
    /// The same work was in the table already, at the latest in this version; nothing was added.
    Duplicate(Version),
    /// Another doing of the same work came first, as this version shows; nothing was changed.
    Conflict(Version),
}

/// What a replace replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All rows of the table.
    All,
    /// The rows of one day. The new rows must be of that day.
    Day(Date),
}

/// How files are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// How many encoders may work at once. Small inputs use one, and make one file.
    pub encoders: usize,
    /// The size at which a file is closed and the next one begun.
    pub target_file_bytes: u64,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let encoders = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        Self { encoders, target_file_bytes: 128 * 1024 * 1024 }
    }
}

/// A table of a lake. Clones are the same table.
#[derive(Debug, Clone)]
pub struct Table {
    lake: Lake,
    name: TableName,
    schema: SchemaRef,
    partitioned: bool,
}

impl Table {
    pub(crate) async fn open(lake: &Lake, name: &TableName) -> Result<Self> {
        let snapshot = Snapshot::newest(lake, name).await?;
        Ok(Self::of(lake, &snapshot))
    }

    pub(crate) fn of(lake: &Lake, snapshot: &Snapshot) -> Self {
        Self {
            lake: lake.clone(),
            name: snapshot.table().clone(),
            schema: snapshot.stored_schema(),
            partitioned: snapshot.is_partitioned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Its columns as they are kept, when the table was opened. `dt` is one of them.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether it is split by `dt`.
    pub fn is_partitioned(&self) -> bool {
        self.partitioned
    }

    /// The newest version.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::newest(&self.lake, &self.name).await
    }

    /// The table as of a version.
    pub async fn snapshot_at(&self, version: Version) -> Result<Snapshot> {
        Snapshot::at(&self.lake, &self.name, version).await
    }

    /// Writes the rows of all streams to Parquet files that no reader sees yet, several encoders at
    /// once. Columns are matched by name; a nullable one may be absent.
    pub async fn write(&self, input: Vec<SendableRecordBatchStream>, options: &WriteOptions) -> Result<Written> {
        let base = self.snapshot().await?;
        let files = encode::encode(&self.lake, &base, input, options).await?;
        crate::failpoint!("catalog.files.after");
        Ok(Written::new(self.lake.clone(), base, files))
    }

    /// Adds rows once: looks for `txn`, writes, commits.
    pub async fn append(&self, batches: Vec<RecordBatch>, txn: Txn, commit: &CommitInfo) -> Result<Committed> {
        let snapshot = self.snapshot().await?;
        if txn.is_done(snapshot.txn(&txn.app_id).await?) {
            return Ok(Committed::Duplicate(snapshot.version()));
        }
        let schema = batches.first().map_or_else(|| self.schema(), RecordBatch::schema);
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        let input: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        self.write(vec![input], &WriteOptions::default()).await?.append(txn, commit).await
    }

    /// Puts a table of the lake in an error's place.
    fn storage_error(lake: &Lake, what: impl Into<String>, source: object_store::Error) -> Error {
        Error::store(lake.uri().as_str(), Access::Read, what, source)
    }
}

#[cfg(test)]
pub(crate) mod tests;
