//! A whole table in another shape, in one commit.
//!
//! New columns come by themselves ([`crate::Lake::create`]). Another type of a column, or another split by days, makes every
//! file that is there unreadable as the table's, so it comes with new rows for all of them: new metadata, the files that go
//! and the files that come stand in one commit. Who reads an older version goes on with the older shape.
//!
//! What the new shape means for encoding, for reading what is not committed yet and for the log is asked of a *blank*: a table
//! of that shape in memory, made as a real one is, so that no second description of a table exists.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use deltalake::DeltaTableError;
use deltalake::logstore::{StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::Layer;

use super::create::{Additive, check_new, create_at};
use super::snapshot::Snapshot;
use super::spec::{TableSpec, WriteOptions};
use super::written::{NewShape, Pending, Written};
use super::{Table, encode};

impl Table {
    /// As [`Table::write`], for a table that is to take the shape of `spec`. The rows must be all that the table is to have:
    /// only [`Written::replace`] with `Scope::All` commits them, and it is a [`crate::Committed::Conflict`] if any row came
    /// or went since the writing began. A raw table keeps its shape: [`Error::AppendOnly`].
    pub async fn write_reshaped(
        &self,
        spec: &TableSpec,
        input: Vec<SendableRecordBatchStream>,
        options: &WriteOptions,
    ) -> Result<Written> {
        if self.name().layer() == Layer::Raw {
            return Err(Error::AppendOnly(self.name().clone()));
        }
        let base = self.snapshot().await?;
        let shape = blank(self.lake(), spec).await?;
        let files = encode::encode(self.lake(), (base.head(), shape.head()), input, options).await?;
        crate::failpoint!("catalog.files.after");
        let pending = Pending::new(self.lake().clone(), base.head().clone(), files);
        let pending = Pending { shape: Some(NewShape::Other(shape.head().clone())), ..pending };
        Ok(Written { pending, columns: shape })
    }
}

impl Table {
    /// As [`Table::write`], for rows with columns that the table does not have yet, or that leave out one that was never null.
    /// The table takes them with the rows, in one commit: as long as these are not committed, nobody sees a new column.
    /// Anything but new columns is [`Error::SchemaMismatch`]; see [`Table::write_reshaped`]. It is a
    /// [`crate::Committed::Conflict`] if the table's columns changed since the writing began.
    pub async fn write_widened(
        &self,
        spec: &TableSpec,
        input: Vec<SendableRecordBatchStream>,
        options: &WriteOptions,
    ) -> Result<Written> {
        let change = Additive::of(self, &spec.shape()?)?;
        if change.is_empty() {
            return self.write(input, options).await;
        }
        let base = self.snapshot().await?;
        let schema = Arc::new(change.applied(&self.schema()));
        let shape =
            blank(self.lake(), &TableSpec { schema, partitioned: self.is_partitioned(), ..spec.clone() }).await?;
        let files = encode::encode(self.lake(), (base.head(), shape.head()), input, options).await?;
        crate::failpoint!("catalog.files.after");
        let pending = Pending::new(self.lake().clone(), base.head().clone(), files);
        let pending = Pending { shape: Some(NewShape::Widened(shape.head().clone(), change)), ..pending };
        Ok(Written { pending, columns: shape })
    }
}

/// An empty table of the shape, in memory.
pub(super) async fn blank(lake: &Lake, spec: &TableSpec) -> Result<Snapshot> {
    let failed = |error: DeltaTableError| Error::delta(lake.uri().as_str(), Access::Write, &spec.name, error);
    check_new(spec)?;
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let url = Url::parse("memory://blank/").map_err(|e| failed(DeltaTableError::GenericError { source: e.into() }))?;
    let log = default_logstore(Arc::clone(&store), store, &url, &StorageConfig::default());
    let table = create_at(log, spec, &spec.shape()?.schema).await.map_err(failed)?;
    Snapshot::new(lake, &spec.name, table).await
}
