//! What is done about a model, and why, in words that a person reads.

use std::fmt;

use catalog::{Date, TableName};
use serde::Serialize;

/// Why something is built, or left as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// There is no such table, or no such day of it.
    NeverBuilt,
    /// Its checks have not run yet.
    NeverChecked,
    /// The query, the materialization or the key is another.
    SqlChanged,
    /// A function that it calls answers differently now.
    FunctionChanged(String),
    /// The query engine is another version, or is told to answer differently.
    EngineChanged,
    /// A view that it reads through is another.
    ViewChanged(TableName),
    /// The checks are others: the rows are looked at again.
    ChecksChanged,
    /// A table that a check looks into has changed: the rows are looked at again.
    ReferenceChanged(TableName),
    /// The rows of a table that it reads have changed.
    ParentChanged(TableName),
    /// A table that it reads will have changed by then.
    WillChange(TableName),
    /// A table that it reads is not there, and nothing of this run makes it.
    Missing(TableName),
    /// It holds the state of another day.
    OtherDay(Date),
    /// It holds the state of a newer day than the one that is asked for, and keeps it.
    NewerDay(Date),
    /// It is of a day that is over, and holds what was known on it: a table that it reads whole has changed since.
    AsKnownThen,
    /// Its rows are not those that were built: somebody else changed them, or the table was kept in another way meanwhile.
    RowsChanged,
    /// How much of what it reads goes into it is told differently now.
    ReadOtherwise,
    /// It was built, and what went into it is no longer known.
    RecordLost,
    /// It was built by a program that kept other records of what went in.
    OlderProgram,
    /// Nothing changed.
    UpToDate,
    /// A view stores nothing.
    NothingStored,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::NeverChecked => f.write_str("never checked"),
            Self::SqlChanged => f.write_str("sql changed"),
            Self::FunctionChanged(name) => write!(f, "function {name} changed"),
            Self::EngineChanged => f.write_str("the query engine changed"),
            Self::ViewChanged(view) => write!(f, "view {view} changed"),
            Self::ChecksChanged => f.write_str("checks changed"),
            Self::ReferenceChanged(table) => write!(f, "{table}, which a check looks into, changed"),
            Self::ParentChanged(table) => write!(f, "{table} changed"),
            Self::WillChange(table) => write!(f, "{table} will change"),
            Self::Missing(table) => write!(f, "{table} is not there"),
            Self::OtherDay(day) => write!(f, "it was built for {day}"),
            Self::NewerDay(day) => write!(f, "it stands for {day}, which is newer"),
            Self::AsKnownThen => f.write_str("as known on that day; what it reads whole has changed since"),
            Self::RowsChanged => f.write_str("its rows are not those that were built"),
            Self::ReadOtherwise => f.write_str("what it reads is told differently now"),
            Self::RecordLost => f.write_str("the record of its last build is lost"),
            Self::OlderProgram => f.write_str("made by an older program"),
            Self::UpToDate => f.write_str("up to date"),
            Self::NothingStored => f.write_str("a view stores nothing"),
        }
    }
}

/// What is done about a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its rows are made again.
    Build,
    /// Its rows stay and are checked again.
    Recheck,
    /// Nothing.
    Keep,
    /// It can't be built: something that it reads is missing.
    Blocked,
}
