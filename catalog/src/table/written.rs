//! Files that are written and not visible: to be checked, then committed or discarded.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use datafusion::datasource::TableProvider;

use crate::error::Result;
use crate::lake::Lake;

use super::encode::{self, Files};
use super::pending::Pending;
use super::snapshot::Snapshot;
use super::{CommitInfo, Committed, Scope, Txn, commit};

/// Rows in files that no reader sees yet. Dropped without a commit they stay behind as orphans,
/// which a vacuum removes; [`Written::discard`] removes them at once.
#[must_use]
#[derive(Debug)]
pub struct Written {
    pub(super) lake: Lake,
    /// The table as it was when the writing began.
    pub(super) base: Snapshot,
    pub(super) files: Files,
    /// By this mark the commit is known again after a broken answer.
    pub(super) mark: String,
}

impl Written {
    pub(crate) fn new(lake: Lake, base: Snapshot, files: Files) -> Self {
        let random = || RandomState::new().hash_one(files.adds.len());
        let mark = format!("{:016x}{:016x}", random(), random());
        Self { lake, base, files, mark }
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
        Ok(Arc::new(Pending::new(&self.lake, &self.base, &self.files.adds)?))
    }

    /// Adds the rows to the table, once: [`Committed::Duplicate`] if the table's mark says that they
    /// are in it.
    pub async fn append(self, txn: Txn, commit: &CommitInfo) -> Result<Committed> {
        commit::commit(self, commit::Change::Append, &txn, commit).await
    }

    /// Puts the rows in the place of those in `scope`. [`Committed::Duplicate`] if the same doing of
    /// this work is in the table, [`Committed::Conflict`] if another one came in since the writing began.
    pub async fn replace(self, scope: Scope, txn: Txn, commit: &CommitInfo) -> Result<Committed> {
        commit::commit(self, commit::Change::Replace(scope), &txn, commit).await
    }

    /// Removes the files.
    pub async fn discard(self) -> Result<()> {
        encode::remove(&self.lake, &self.base, &self.files).await;
        Ok(())
    }
}
