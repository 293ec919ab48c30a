//! What is said about a table and its commits: plain values.

use arrow::datatypes::SchemaRef;
use jiff::{Timestamp, civil::Date};

use crate::Version;
use crate::name::{RunId, TableName};

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
    /// Never by its mark alone: it is done only on top of this mark, whose contents the caller knows. With any other mark
    /// there the commit is a [`Committed::Conflict`], and the caller looks again at what is left to do.
    After(Option<i64>),
}

impl Txn {
    /// Whether a table whose mark is `found` has this work in it.
    pub fn is_done(&self, found: Option<i64>) -> bool {
        match self.rule {
            TxnRule::AtLeast => found.is_some_and(|v| v >= self.version),
            TxnRule::Equal => found == Some(self.version),
            TxnRule::After(_) => false,
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

/// What a commit does to the rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It adds to them.
    Append,
    /// It takes away those in the scope.
    Replace(Scope),
}
