//! A table: what the siblings hold to read the lake and to add to it.

mod commit;
mod create;
mod draft;
mod encode;
mod followed;
mod head;
mod log;
mod marks;
mod notes;
mod race;
mod reshape;
mod rewrite;
mod snapshot;
mod spec;
mod uncommitted;
mod written;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::Version;
use crate::error::Result;
use crate::lake::Lake;
use crate::name::TableName;

pub(crate) use create::create;
pub use draft::Draft;
pub use head::Head;
pub(crate) use log::parquet_damage;
pub use notes::{Note, Notes};
pub use snapshot::Snapshot;
pub use spec::{CommitInfo, Committed, Scope, TableSpec, Txn, TxnRule, WriteOptions};
pub use written::Written;

use spec::Change;
use written::Pending;

/// A table of a lake. Clones are the same table.
#[derive(Debug, Clone)]
pub struct Table {
    lake: Lake,
    name: TableName,
    schema: SchemaRef,
    partitioned: bool,
}

impl Table {
    /// The one that this is a version of, opened as of it: nothing is read again.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            lake: snapshot.head().lake().clone(),
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

    /// The newest version of its log alone: all that adding rows and reading marks and notes takes.
    pub async fn head(&self) -> Result<Head> {
        Head::newest(&self.lake, &self.name).await
    }

    /// The table as of a version.
    pub async fn snapshot_at(&self, version: Version) -> Result<Snapshot> {
        Snapshot::at(&self.lake, &self.name, version).await
    }

    /// Writes the rows of all streams to Parquet files that no reader sees yet, several encoders at
    /// once. Columns are matched by name; a nullable one may be absent.
    pub async fn write(&self, input: Vec<SendableRecordBatchStream>, options: &WriteOptions) -> Result<Written> {
        let base = self.snapshot().await?;
        let pending = self.encode(base.head().clone(), input, options).await?;
        Ok(Written { pending, columns: base })
    }

    async fn encode(
        &self,
        base: Head,
        input: Vec<SendableRecordBatchStream>,
        options: &WriteOptions,
    ) -> Result<Pending> {
        let files = encode::encode(&self.lake, (&base, &base), input, options).await?;
        crate::failpoint!("catalog.files.after");
        Ok(Pending::new(self.lake.clone(), base, files))
    }

    /// Adds rows once: looks for `txn`, writes, commits.
    pub async fn append(&self, batches: Vec<RecordBatch>, txn: Txn, commit: &CommitInfo) -> Result<Committed> {
        self.append_noted(batches, txn, commit, None).await
    }

    /// [`Table::append`] with a note that stands in the very commit of the rows, for [`Head::notes`] to read. There may
    /// be a note without rows.
    pub async fn append_noted(
        &self,
        batches: Vec<RecordBatch>,
        txn: Txn,
        commit: &CommitInfo,
        note: Option<serde_json::Value>,
    ) -> Result<Committed> {
        let head = self.head().await?;
        if txn.is_done(head.txn(&txn.app_id).await?) {
            return Ok(Committed::Duplicate(head.version()));
        }
        let schema = batches.first().map_or_else(|| self.schema(), RecordBatch::schema);
        let stream = futures::stream::iter(batches.into_iter().map(Ok));
        let input: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        let pending = self.encode(head, vec![input], &WriteOptions::default()).await?;
        commit::commit(Pending { note, ..pending }, Change::Append, &txn, commit).await
    }

    pub(super) fn lake(&self) -> &Lake {
        &self.lake
    }
}

#[cfg(test)]
pub(crate) mod tests;
