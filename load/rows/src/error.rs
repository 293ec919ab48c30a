//! Why a row could not be read.

use arrow::error::ArrowError;
use catalog::TableName;

/// What every call of this crate may answer instead of a value.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cell could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// A batch has no such column.
    #[error("`{table}`: expected a column `{column}`, found none")]
    NoColumn { table: TableName, column: String },

    /// Arrow could not read or cast a batch of this table.
    #[error("reading rows of `{table}`")]
    Arrow { table: TableName, source: ArrowError },
}
