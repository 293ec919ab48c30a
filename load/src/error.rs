//! Why a sync or a search did not happen: one variant per different next action.

use std::path::PathBuf;

use catalog::TableName;

use crate::fault::{Cause, SinkFault};
use crate::kind::SinkKind;

/// What every call of this crate may answer instead of a value.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call of this crate failed. `Display` says what this layer was doing; `source` says why below.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The lake did not do what was asked; its own error says what to do.
    #[error("using the lake")]
    Lake(#[from] catalog::Error),

    /// A target names something its table does not have. Nothing was read or written.
    #[error("`{table}`: {message}")]
    Config { table: TableName, message: String, hint: Option<String> },

    /// The rows break a rule that the serving side rests on. Nothing was published.
    #[error("`{table}`: {message}")]
    Data { table: TableName, message: String },

    /// Arrow could not read or cast a batch of this table.
    #[error("reading rows of `{table}`")]
    Arrow { table: TableName, source: Cause },

    /// A sink did not take or give rows. What it held before still stands.
    #[error("{doing} the {sink} sink at {at}")]
    Sink { sink: SinkKind, doing: &'static str, at: String, source: SinkFault },

    /// A target names a server that is not configured.
    #[error("a target has the sink `{sink}`, and no server is configured")]
    NoServer { sink: SinkKind, section: &'static str },

    /// A sink's table follows a table of another lake. Nothing was read or written.
    #[error("the {sink} sink at {at}: its table for `{table}` follows another lake ({lake})")]
    OtherLake { sink: SinkKind, at: String, table: TableName, lake: String },

    /// A sync would remove more of a sink's rows than it may. Nothing was published, in none of the target's sinks.
    #[error("`{table}`: a sync would remove {removed} of {rows} rows from the {sink} sink, more than {} %", percent(*share))]
    TooManyDeletes { table: TableName, sink: SinkKind, removed: u64, rows: u64, share: f64 },

    /// A file of the serving folder could not be read or written.
    #[error("{doing} {}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },

    /// The query has nothing that could be searched for.
    #[error("expected a query with letters or digits, found `{query}`")]
    EmptyQuery { query: String },

    /// Another writer was faster each time; the same call may succeed later.
    #[error("`{table}` was changed by others on each of {tries} tries")]
    Contended { table: TableName, tries: u32 },

    /// A worker thread ended without an answer: a bug, or the process is shutting down.
    #[error("a background thread stopped")]
    Stopped(#[source] tokio::task::JoinError),
}

impl Error {
    /// What a person can try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lake(source) => source.hint(),
            Self::Config { hint, .. } => hint.clone(),
            Self::Data { table, .. } => Some(format!(
                "add a check to the model of `{table}` (`not_null`, `unique`, of a text key `length(…, 1, 1024)` too), so that such rows are \
                 never published"
            )),
            Self::Sink { source, .. } => source.hint().map(str::to_owned),
            Self::Io { path, .. } => {
                Some(format!("check that {} can be written and that the disk is not full", path.display()))
            }
            Self::NoServer { section, .. } => {
                Some(format!("add `[{section}]` with `url = \"env:NAME\"` to onggi.toml"))
            }
            Self::OtherLake { .. } => Some(
                "give this lake a place of its own (another schema or database); if the table is to follow this lake from now on, \
                 `onggi reconcile --repair --adopt` makes it do so, with `--allow-deletes` where many rows go"
                    .into(),
            ),
            Self::TooManyDeletes { table, .. } => Some(format!(
                "look at `{table}`: if so many rows are right to go, `onggi run --allow-deletes` lets them, and beside \
                 `onggi reconcile --repair` the same word does; \
                 `max_deleted` in its [sync] section is the share that always may"
            )),
            Self::EmptyQuery { .. } => Some("give a word, or a part of one".into()),
            Self::Contended { .. } => Some("wait for the other run to end, then run again".into()),
            Self::Arrow { .. } | Self::Stopped(_) => None,
        }
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lake(source) => source.is_retryable(),
            Self::Contended { .. } => true,
            Self::Sink { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    /// What a library said about a sink in our own folder.
    pub(crate) fn sink(
        sink: SinkKind,
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<Cause>,
    ) -> Self {
        let at = path.into().display().to_string();
        let hint = format!("the lake is the truth: when {at} is damaged, delete it and the next sync builds it again");
        Self::Sink { sink, doing, at, source: SinkFault::of(&source.into(), Some(hint)) }
    }

    /// A row that a sink can't keep as it is, which `message` names.
    pub(crate) fn row(table: &TableName, message: impl std::fmt::Display) -> Self {
        Self::Data { table: table.clone(), message: message.to_string() }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { doing, path: path.into(), source }
    }

    pub(crate) fn arrow(table: &TableName, source: impl Into<Cause>) -> Self {
        Self::Arrow { table: table.clone(), source: source.into() }
    }
}

impl From<rows::Error> for Error {
    fn from(error: rows::Error) -> Self {
        match error {
            rows::Error::Arrow { table, source } => Self::arrow(&table, source),
            rows::Error::NoColumn { table, column } => {
                Self::Config { table, message: format!("expected a column `{column}`, found none"), hint: None }
            }
        }
    }
}

/// Runs what blocks (hashing, index files, `SQLite`) away from the threads that drive I/O.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = catalog::simulation::blocking(work);
    // A process of a simulation may die of each step of a sink, as of each write to the lake.
    #[cfg(feature = "failpoints")]
    let done = catalog::simulation::write(done);
    done.await.map_err(Error::Stopped)?
}

/// A share as a person writes it.
fn percent(share: f64) -> f64 {
    (share * 1_000.0).round() / 10.0
}
