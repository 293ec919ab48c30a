//! The first rows of a table that is not there yet.
//!
//! A table that is made before its first rows are known to be good is, for everybody who reads it, a table with no rows: "nothing
//! there" where the truth is "could not". So the files are written first, as those of any other commit are, with the columns of a
//! table in memory; the table itself is made when somebody is about to commit them.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use jiff::civil::Date;

use crate::error::Result;
use crate::lake::Lake;

use super::encode::{self, Files};
use super::rewrite::blank;
use super::snapshot::Snapshot;
use super::spec::{TableSpec, WriteOptions};
use super::uncommitted::UncommittedFiles;
use super::written::Written;

/// Rows in files that no reader sees yet, of a table that is not there yet. Dropped, the files stay behind as orphans.
#[must_use]
#[derive(Debug)]
pub struct Draft {
    lake: Lake,
    spec: TableSpec,
    /// The table as it is going to be, in memory.
    shape: Snapshot,
    files: Files,
}

impl Lake {
    /// As [`crate::Table::write`], for a table that is to be made by [`Draft::create`] once its rows are known to be good.
    pub async fn draft(
        &self,
        spec: &TableSpec,
        input: Vec<SendableRecordBatchStream>,
        options: &WriteOptions,
    ) -> Result<Draft> {
        let shape = blank(self, spec).await?;
        let files =
            encode::encode_into(self, self.handle(&spec.name)?.object_store(), shape.head(), input, options).await?;
        crate::failpoint!("catalog.files.after");
        Ok(Draft { lake: self.clone(), spec: spec.clone(), shape, files })
    }
}

impl Draft {
    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.files.rows
    }

    /// Which files hold these rows, or those of one day.
    pub fn files_id(&self, day: Option<Date>) -> String {
        self.files.id(day)
    }

    /// Exactly these rows for DataFusion, with the columns and types that the table is going to show.
    pub fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(UncommittedFiles::new(&self.lake, &self.shape, &self.files.adds)?))
    }

    /// Makes the table, unless somebody else did, and hands the rows over to be committed to it.
    pub async fn create(self) -> Result<Written> {
        let base = match self.lake.create(&self.spec).await {
            Ok(table) => table.snapshot().await,
            Err(error) => Err(error),
        };
        match base {
            Ok(base) => Ok(Written::new(self.lake, base, self.files)),
            Err(error) => {
                self.discard().await;
                Err(error)
            }
        }
    }

    /// Removes the files.
    pub async fn discard(self) {
        if let Ok(handle) = self.lake.handle(&self.spec.name) {
            encode::remove_from(&self.lake, &self.spec.name, &handle.object_store(), &self.files).await;
        }
    }
}
