//! How a model is kept: the kinds, and what each of them is to the rest of this crate, which asks here and names none.

use std::fmt;

/// The words that say how a model is kept.
pub const MATERIALIZATIONS: [&str; 4] = ["view", "partition", "table", "latest"];

/// How a model is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Materialization {
    /// Not kept: its SQL stands for it wherever it is read.
    #[default]
    View,
    /// One partition a day: `$dt` is the day, and only that day is replaced.
    Partition,
    /// Replaced whole.
    Table,
    /// The newest row of each key, over all days: rows of days that have not been merged yet meet those that are there.
    Latest {
        /// What makes two rows the same thing.
        by: Vec<String>,
        /// The greatest value wins.
        order: String,
    },
}

impl Materialization {
    /// Whether it has a table.
    pub fn is_stored(&self) -> bool {
        !matches!(self, Self::View)
    }

    /// Whether its table is split by day, and a build makes one of them.
    pub(crate) fn is_by_day(&self) -> bool {
        matches!(self, Self::Partition)
    }

    /// Whether a build replaces all of it.
    pub(crate) fn is_replaced(&self) -> bool {
        matches!(self, Self::Table)
    }

    /// The columns that make two rows the same thing, and the one whose greatest value wins, where new rows are merged with those that
    /// are there.
    pub(crate) fn merges(&self) -> Option<(&[String], &str)> {
        match self {
            Self::Latest { by, order } => Some((by, order)),
            Self::View | Self::Partition | Self::Table => None,
        }
    }
}

impl fmt::Display for Materialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View => f.write_str("view"),
            Self::Partition => f.write_str("partition"),
            Self::Table => f.write_str("table"),
            Self::Latest { by, order } => write!(f, "latest by {} order by {order}", by.join(", ")),
        }
    }
}
