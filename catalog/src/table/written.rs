//! Files that are written and not visible: to be checked, then committed or discarded.

use std::sync::Arc;

use datafusion::datasource::TableProvider;

use crate::error::Result;
use crate::id::fresh_id;
use crate::lake::Lake;

use super::encode::{self, Files};
use super::snapshot::Snapshot;
use super::uncommitted::UncommittedFiles;

/// Rows in files that no reader sees yet. Dropped without a commit they stay behind as orphans,
/// which a vacuum removes; [`Written::discard`] removes them at once.
#[must_use]
#[derive(Debug)]
pub struct Written {
    pub(super) lake: Lake,
    /// The table as it was when the writing began.
    pub(super) base: Snapshot,
    /// The shape that the table takes with these rows, if it is to be another one.
    pub(super) shape: Option<Snapshot>,
    pub(super) files: Files,
    /// By this mark the commit is known again after a broken answer.
    pub(super) mark: String,
    /// What the commit says besides.
    pub(super) note: Option<serde_json::Value>,
}

impl Written {
    pub(crate) fn new(lake: Lake, base: Snapshot, files: Files) -> Self {
        Self { lake, base, shape: None, files, mark: fresh_id(), note: None }
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.files.rows
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.files.adds.len()
    }

    /// The size of the files.
    pub fn bytes(&self) -> u64 {
        self.files.adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum()
    }

    /// Exactly these rows for DataFusion, with the columns and types that the table's own snapshots give.
    pub fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(UncommittedFiles::new(&self.lake, self.columns(), &self.files.adds)?))
    }

    /// The table whose columns the files have.
    pub(super) fn columns(&self) -> &Snapshot {
        self.shape.as_ref().unwrap_or(&self.base)
    }

    /// Removes the files.
    pub async fn discard(self) -> Result<()> {
        encode::remove(&self.lake, &self.base, &self.files).await;
        Ok(())
    }
}
