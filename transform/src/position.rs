//! Where something stands in a file.

use datafusion::sql::sqlparser::tokenizer::{Location, Span};

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    /// The first character of a file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    pub(crate) fn new(line: u64, column: u64) -> Self {
        Self { line: usize::try_from(line).unwrap_or(0), column: usize::try_from(column).unwrap_or(0) }
    }
}

impl From<Location> for Position {
    fn from(location: Location) -> Self {
        Self::new(location.line, location.column)
    }
}

impl From<Span> for Position {
    fn from(span: Span) -> Self {
        span.start.into()
    }
}
