//! Files that are written and not visible: to be checked, then committed or discarded.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use jiff::civil::Date;

use crate::error::Result;
use crate::id::fresh_id;
use crate::lake::Lake;

use super::create::Additive;
use super::encode::{self, Files};
use super::head::Head;
use super::snapshot::Snapshot;
use super::uncommitted::UncommittedFiles;

/// Rows in files that no reader sees yet. Dropped without a commit they stay behind as orphans,
/// which a vacuum removes; [`Written::discard`] removes them at once.
#[must_use]
#[derive(Debug)]
pub struct Written {
    pub(super) pending: Pending,
    /// The table whose columns the files have.
    pub(super) columns: Snapshot,
}

/// The shape that a table takes with the rows of a commit.
#[derive(Debug)]
pub(super) enum NewShape {
    /// Another one, for all of its rows.
    Other(Head),
    /// Its own, and what is added to that.
    Widened(Head, Additive),
}

impl NewShape {
    pub(super) fn head(&self) -> &Head {
        match self {
            Self::Other(head) | Self::Widened(head, _) => head,
        }
    }
}

/// What a commit takes.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) lake: Lake,
    /// The table as it was when the writing began.
    pub(super) base: Head,
    /// The shape that the table takes with these rows, if it is to be another one.
    pub(super) shape: Option<NewShape>,
    pub(super) files: Files,
    /// By this mark the commit is known again after a broken answer.
    pub(super) mark: String,
    /// What the commit says besides.
    pub(super) note: Option<serde_json::Value>,
    /// Other pieces of work that these rows are the doing of.
    pub(super) others: Vec<(String, i64)>,
}

impl Pending {
    pub(super) fn new(lake: Lake, base: Head, files: Files) -> Self {
        Self { lake, base, shape: None, files, mark: fresh_id(), note: None, others: Vec::new() }
    }

    /// Removes the files.
    pub(super) async fn discard(self) {
        encode::remove(&self.lake, &self.base, &self.files).await;
    }
}

impl Written {
    pub(super) fn new(lake: Lake, base: Snapshot, files: Files) -> Self {
        Self { pending: Pending::new(lake, base.head().clone(), files), columns: base }
    }

    /// These rows with the marks of other pieces of work, by their names, beside that of the commit: a table that is made anew as a
    /// whole holds the doing of many. Only what is committed under the commit's own mark is looked for, so that these must stand and
    /// fall with it.
    pub fn marked(mut self, others: Vec<(String, i64)>) -> Self {
        self.pending.others = others;
        self
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.pending.files.rows
    }

    /// The number of files.
    pub fn files(&self) -> usize {
        self.pending.files.adds.len()
    }

    /// The size of the files.
    pub fn bytes(&self) -> u64 {
        self.pending.files.adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum()
    }

    /// Which files hold these rows, or those of one day.
    pub fn files_id(&self, day: Option<Date>) -> String {
        self.pending.files.id(day)
    }

    /// Exactly these rows for DataFusion, with the columns and types that the table's own snapshots give.
    pub fn provider(&self) -> Result<Arc<dyn TableProvider>> {
        Ok(Arc::new(UncommittedFiles::new(&self.pending.lake, &self.columns, &self.pending.files.adds)?))
    }

    /// Removes the files.
    pub async fn discard(self) -> Result<()> {
        self.pending.discard().await;
        Ok(())
    }
}
