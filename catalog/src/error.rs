//! What can go wrong with a lake, one variant for each different next action.
//!
//! A lost race is not here: it is a value, [`Committed`](crate::Committed). `Display` says what
//! happened and never repeats its source; [`Error::hint`] says what to do.

use std::error::Error as StdError;
use std::io;

use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;

use crate::address::without_user;
use crate::name::{Layer, TableName};

mod access;

pub use access::Access;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is none.
    #[error("`{found}` is not a {what}: expected {expected}")]
    InvalidName {
        /// What was to be named.
        what: &'static str,
        /// What was given.
        found: String,
        /// The rule.
        expected: &'static str,
    },
    /// A lake URL this build can't open.
    #[error("cannot open the lake `{uri}`: {reason}")]
    UnsupportedLake {
        /// The URL as given.
        uri: String,
        /// Why not.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// The lake's place can't be reached, or lets nobody in.
    #[error("cannot reach the lake `{uri}`: {reason}")]
    Unreachable {
        /// The lake.
        uri: String,
        /// Why not.
        reason: String,
        /// The setting that mends it.
        hint: String,
        /// What the store said.
        #[source]
        source: Source,
    },
    /// The lake's place refuses what was tried: permissions, a read-only or a full disk.
    #[error("cannot {tried} the lake {uri}")]
    Refused {
        /// The lake.
        uri: String,
        /// What was tried.
        tried: Access,
        /// What the store said.
        #[source]
        source: Source,
    },
    /// The lake belongs to another project.
    #[error("the lake {uri} belongs to another project: expected `{expected}`, found `{found}`")]
    OtherProject {
        /// The lake.
        uri: String,
        /// The project that opens it.
        expected: String,
        /// The project it was made for.
        found: String,
    },
    /// No such table.
    #[error("no table {0}")]
    NoSuchTable(TableName),
    /// The table never had, or no longer has, this version.
    #[error("table {table} has no version {version}")]
    NoSuchVersion {
        /// The table.
        table: TableName,
        /// The version asked for.
        version: u64,
    },
    /// Data or a declaration that doesn't fit the table.
    #[error("table {table}, column `{column}`: expected {expected}, found {found}")]
    SchemaMismatch {
        /// The table.
        table: TableName,
        /// The first column that doesn't fit.
        column: String,
        /// What the table has.
        expected: String,
        /// What was given.
        found: String,
    },
    /// A column that no table may have.
    #[error("table {table}, column `{column}`: {problem}")]
    UnfitColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// A raw table was to be replaced.
    #[error("table {0} only grows: expected an append, found a replace")]
    AppendOnly(TableName),
    /// A file of the lake is torn or garbage. Nothing older is shown in its place.
    #[error("{what}: `{file}` is damaged: {detail}")]
    Damaged {
        /// The table or the part of the lake.
        what: String,
        /// The file, from the lake's root.
        file: String,
        /// What is wrong with it.
        detail: String,
        /// How to get out of it.
        hint: String,
    },
    /// Others kept committing first. Nothing was committed.
    #[error("table {table}: others committed first, {attempts} times in a row")]
    Contended {
        /// The table.
        table: TableName,
        /// How often it was tried.
        attempts: u32,
    },
    /// The store broke off, and it can't be said whether the commit stands. Asking again decides it.
    #[error("table {table}: it is not known whether the commit stands")]
    Unknown {
        /// The table.
        table: TableName,
        /// What broke.
        #[source]
        source: Source,
    },
    /// The rows handed in could not be made.
    #[error("table {table}: its input failed")]
    Input {
        /// The table that was being written.
        table: TableName,
        /// What the query or the source said.
        #[source]
        source: DataFusionError,
    },
    /// A read of a table failed.
    #[error("cannot read table {table}")]
    Read {
        /// The table.
        table: TableName,
        /// What broke.
        #[source]
        source: Source,
    },
    /// The object store failed in some other way.
    #[error("{what} failed")]
    Storage {
        /// What was being done.
        what: String,
        /// What the store said.
        #[source]
        source: Source,
    },
    /// A failpoint was to be armed that does not exist, or in a build without them.
    #[error("cannot arm failpoint `{name}`: {reason}")]
    Failpoint {
        /// The name given.
        name: String,
        /// Why not.
        reason: &'static str,
    },
}

impl Error {
    /// What to do next, where that can be said.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnsupportedLake { hint, .. }
            | Self::Unreachable { hint, .. }
            | Self::Damaged { hint, .. }
            | Self::UnfitColumn { hint, .. } => hint.clone(),
            Self::Refused { uri, tried, source } => match io_kind(source.as_ref()) {
                Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                    "the disk is full: make room and run again, nothing that was committed is lost".into()
                }
                _ if uri.starts_with("file:") => format!(
                    "give this user {} access to the folder, or choose another lake with `--lake`",
                    tried.of_a_user()
                ),
                _ => format!("give these credentials {}, or renew them", tried.rights(uri)),
            },
            Self::OtherProject { found, .. } => {
                format!("choose another lake with `--lake`, or name the project `{found}` in onggi.toml")
            }
            Self::NoSuchTable(_) => "`onggi run` makes the tables of a project".into(),
            Self::NoSuchVersion { .. } => "leave the version out to read the newest".into(),
            Self::SchemaMismatch { table, .. } if table.layer() == Layer::Raw => {
                "give the field a new column name (the old column stays)".into()
            }
            Self::SchemaMismatch { .. } => {
                "give the column a new name (the old column stays), or build the whole table again in its new shape"
                    .into()
            }
            Self::AppendOnly(_) => "build from the raw table into staging or marts instead".into(),
            Self::Contended { .. } | Self::Unknown { .. } => {
                "run again: what is already in the lake is found there and not written twice".into()
            }
            Self::InvalidName { .. } | Self::Input { .. } | Self::Failpoint { .. } => return None,
            Self::Read { .. } | Self::Storage { .. } => "look at the cause; if it passes by itself, run again".into(),
        })
    }

    /// Whether the same call may succeed later with nothing changed by hand.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Contended { .. } | Self::Unknown { .. } | Self::Storage { .. } | Self::Unreachable { .. })
    }

    /// A lake that can't be opened, whatever is tried again.
    pub(crate) fn unsupported(uri: &str, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::UnsupportedLake { uri: without_user(uri), reason: reason.into(), hint: hint.into() }
    }

    /// What reading rows of `table` ended with.
    pub fn reading(table: &TableName, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Read { table: table.clone(), source: source.into() }
    }

    /// Wraps what the store said while `what` was done to the lake at `uri`, which needs `tried`.
    pub(crate) fn store(uri: &str, tried: Access, what: impl Into<String>, source: object_store::Error) -> Self {
        if is_refused(&source) {
            let tried = Access::found(&source, tried);
            return Self::Refused { uri: uri.to_owned(), tried, source: source.into() };
        }
        Self::Storage { what: what.into(), source: source.into() }
    }

    /// Wraps what the Delta library said about `table`. One call of it lists, reads and writes: `tried` is what it was called for.
    pub(crate) fn delta(uri: &str, tried: Access, table: &TableName, source: DeltaTableError) -> Self {
        if is_refused(&source) {
            let tried = Access::found(&source, tried);
            return Self::Refused { uri: uri.to_owned(), tried, source: source.into() };
        }
        Self::Read { table: table.clone(), source: source.into() }
    }
}

/// Everything below `error`, itself first.
pub(crate) fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |e| (*e).source())
}

/// The first `T` in the chain. An I/O error hides what it was made of from its source, hence the second look.
pub(crate) fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|e| {
        let inside = || e.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        e.downcast_ref().or_else(inside)
    })
}

/// The first I/O error's kind in the chain.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    chain(error).find_map(|e| e.downcast_ref::<io::Error>()).map(io::Error::kind)
}

/// Whether the place itself refuses, so that trying again is no use.
pub(crate) fn is_refused(error: &(dyn StdError + 'static)) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        io_kind(error),
        Some(
            Kind::PermissionDenied
                | Kind::ReadOnlyFilesystem
                | Kind::NotADirectory
                | Kind::StorageFull
                | Kind::QuotaExceeded
        )
    ) || chain(error).any(|e| {
        matches!(
            e.downcast_ref::<object_store::Error>(),
            Some(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. })
        ) || access::is_refused_request(e)
    })
}

#[cfg(test)]
mod tests;
