//! Why an answer of a model or an enrichment did not happen: one variant per different next action.

use catalog::TableName;

/// What every call of this crate may answer instead of a value.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Any error, as something below us gives it.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of this crate failed. `Display` says what this layer was doing; `source` says why below.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The lake did not do what was asked; its own error says what to do.
    #[error("using the lake")]
    Lake(#[from] catalog::Error),

    /// An enrichment names something its table does not have. Nothing was read or written.
    #[error("`{table}`: {message}")]
    Config { table: TableName, message: String, hint: Option<String> },

    /// The rows break a rule that answers rest on. Nothing was asked.
    #[error("`{table}`: {message}")]
    Data { table: TableName, message: String },

    /// Arrow could not read or cast a batch of this table.
    #[error("reading rows of `{table}`")]
    Arrow { table: TableName, source: Cause },

    /// A language model did not answer, or answered nonsense.
    #[error("asking `{model}`: {message}")]
    Model { model: String, message: String, retryable: bool },

    /// Nothing at the service's URL has answered since the start. Nothing was sent.
    #[error("asking `{model}`: {message}")]
    Unreached { model: String, message: String },

    /// A provider's settings can't be used. Nothing was sent.
    #[error("{message}")]
    Provider { message: String, hint: String },

    /// The account at the service is empty, or its own limit of spending is reached: asking again changes nothing.
    #[error("asking `{model}`: the account has no credit left: {message}")]
    Quota { model: String, message: String },

    /// The next call might cost more than is left. What was answered is kept.
    #[error("the budget of {budget:.2} does not allow another call: {spent:.4} spent")]
    Budget { budget: f64, spent: f64 },

    /// What was paid for can't be read back from its place in the lake.
    #[error("reading `{object}`")]
    Journal { object: String, source: Cause },

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
                "add a check to the model of `{table}` (`not_null`, `unique`), so that such rows are never published"
            )),
            Self::Provider { hint, .. } => Some(hint.clone()),
            Self::Unreached { .. } => Some("check `url` in [llm], and that the server there runs".into()),
            Self::Quota { .. } => Some(
                "add credit or raise the limit at the service, then run again: what was answered is kept and not asked again"
                    .into(),
            ),
            Self::Budget { .. } => Some("run again tomorrow, or raise `budget` in [llm]: it is of a day".into()),
            Self::Journal { object, .. } => {
                Some(format!("delete `{object}` from the lake: its answers are asked for again"))
            }
            Self::Contended { .. } => Some("wait for the other run to end, then run again".into()),
            Self::Arrow { .. } | Self::Model { .. } | Self::Stopped(_) => None,
        }
    }

    /// Whether the same call may succeed later with nothing changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lake(source) => source.is_retryable(),
            Self::Model { retryable, .. } => *retryable,
            Self::Contended { .. } | Self::Unreached { .. } => true,
            _ => false,
        }
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

/// Runs what blocks away from the threads that drive I/O.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::Stopped)?
}
