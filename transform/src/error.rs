//! Why something could not be planned, asked or built: one variant per different next action.

use std::fmt;

use catalog::{Date, Diagnostic, TableName};
use datafusion::common::DataFusionError;

use crate::explain::{SqlProblem, explain};
use crate::fault::Meaning;

/// What went wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The models don't hold together. Nothing is built until they are edited.
    #[error("{}", diagnosed(.0))]
    Models(Vec<Diagnostic>),

    /// The statement can't be planned. The same text fails again.
    #[error("{message}")]
    Sql { message: String, hint: Option<String> },

    /// The statement does more than ask.
    #[error("expected a query, found `{found}`")]
    NotAQuery { found: String },

    /// A table that is named but is neither in the lake nor a model.
    #[error("no table `{table}`{}", for_model(.model.as_ref()))]
    NoSuchTable { table: String, model: Option<TableName>, hint: Option<String> },

    /// Nothing of that name.
    #[error("no model `{model}`")]
    NoSuchModel { model: TableName, hint: Option<String> },

    /// A row of another day in the partition of a day: the model doesn't filter by `$dt` as it should.
    #[error("expected every `dt` of `{model}` to be {expected}, found {found}")]
    WrongDay { model: TableName, expected: Date, found: String },

    /// A row with a number that is none, such as `0.0 / 0.0`: readers don't agree what is greater than it, and pruning loses it.
    #[error("expected a number in column `{column}` of `{model}`, found NaN")]
    NotANumber { model: TableName, column: String },

    /// Rows broke a check. They were thrown away; what was visible before still is.
    #[error("{}", failed_checks(model, dt.as_ref(), failures))]
    CheckFailed { model: TableName, dt: Option<Date>, seen: Seen, failures: Vec<CheckFailure> },

    /// The query needs more memory or disk than it may have.
    #[error("running {what} took more memory or disk than it may")]
    Exhausted { what: String, source: Box<DataFusionError> },

    /// The query failed while it ran.
    #[error("running {what}: {problem}")]
    Query { what: String, problem: String, hint: Option<String>, engine: Box<DataFusionError> },

    /// The query panicked. Its rows are gone, nothing else is.
    #[error("running {what} panicked: {panic}")]
    Panicked { what: String, panic: String },

    /// The engine could not start.
    #[error("starting the query engine")]
    Engine { source: Box<DataFusionError> },

    /// Someone else kept changing the table while it was being built. Later it may be free.
    #[error("`{model}` was changed by another run while it was being built")]
    Contended { model: TableName },

    /// The lake didn't do what it was asked.
    #[error("using the lake for {what}")]
    Lake { what: String, source: Box<catalog::Error> },
}

/// This crate's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What readers see of a table whose check failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is a view: what it reads.
    View,
    /// Nothing: it, or the day of it, has never been built.
    Nothing,
    /// What was built before.
    Former,
    /// The rows that break the check: they were there before it was asked.
    Bad,
}

/// One check that found bad rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// The check as its model's head says it.
    pub check: String,
    /// The query that returns the bad rows.
    pub sql: String,
    /// How many there are.
    pub count: u64,
    /// Up to five of them, as a table of text.
    pub rows: String,
}

impl fmt::Display for CheckFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.count == 1 { "row" } else { "rows" };
        write!(f, "{} found {} bad {noun}\n  {}", self.check, self.count, self.sql)?;
        self.rows.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Error {
    /// What a person can try next; `cli` prints it after `hint: `.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Models(found) => match found.as_slice() {
                [one] => one.hint.clone(),
                _ => Some("`onggi check` shows each with its place".to_owned()),
            },
            Self::Sql { hint, .. }
            | Self::NoSuchTable { hint, .. }
            | Self::NoSuchModel { hint, .. }
            | Self::Query { hint, .. } => hint.clone(),
            Self::NotAQuery { .. } => Some(
                "`select`, `explain`, `show` and `describe` are understood; tables are written by models".to_owned(),
            ),
            Self::WrongDay { .. } => Some("filter by `dt = $dt`, or leave `dt` out and it is added".to_owned()),
            Self::NotANumber { column, .. } => Some(format!(
                "say what it is to be: `nullif` around the divisor, or `case when isnan({column}) then null else {column} end`"
            )),
            Self::CheckFailed { model, seen: Seen::View, .. } => Some(format!(
                "nothing that reads the view `{model}` was built; correct the view, the check or what it reads, and run again"
            )),
            Self::CheckFailed { model, dt, seen, .. } => {
                let day = dt.map_or_else(String::new, |dt| format!(" of {dt}"));
                let readers = match seen {
                    Seen::Nothing => format!("nothing was published: `{model}` has no rows{day} yet"),
                    Seen::Bad => {
                        format!(
                            "readers see these rows{day}: the check is newer than they are, or what it looks into has changed since"
                        )
                    }
                    _ => format!("nothing was published: readers still see the former `{model}`"),
                };
                Some(format!("{readers}; correct the model, the check or what it reads, and run again"))
            }
            Self::Exhausted { .. } => {
                Some("raise the memory or spill limit of the engine, or read fewer days".to_owned())
            }
            Self::Contended { .. } => Some("run again when the other run has ended".to_owned()),
            Self::Lake { source, .. } => source.hint(),
            Self::Panicked { .. } | Self::Engine { .. } => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contended { .. } => true,
            Self::Lake { source, .. } => source.is_retryable(),
            _ => false,
        }
    }

    pub(crate) fn lake(what: impl fmt::Display) -> impl FnOnce(catalog::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Lake { what, source: Box::new(source) }
    }

    /// An error of the engine before it ran anything.
    pub(crate) fn engine(source: DataFusionError) -> Self {
        Self::Engine { source: Box::new(source) }
    }

    /// An error of the engine while it ran `what`.
    pub(crate) fn query(what: impl Into<String>, source: DataFusionError) -> Self {
        let what = what.into();
        if let DataFusionError::ResourcesExhausted(_) = source.find_root() {
            return Self::Exhausted { what, source: Box::new(source) };
        }
        tracing::debug!(what, error = %source, "the query failed");
        let Meaning { message, hint, .. } = Meaning::of(&source);
        // Files were written whole: one that can't be read was changed by somebody else.
        let of_file = matches!(source.find_root(), DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_));
        let hint = if of_file {
            Some("`onggi upkeep` names the files of the lake that are gone or cut".to_owned())
        } else {
            hint
        };
        Self::Query { what, problem: message, hint, engine: Box::new(source) }
    }

    /// An error of the engine while it planned: about the text, not about the data.
    pub(crate) fn planning(source: &DataFusionError) -> Self {
        SqlProblem { place: None, ..explain(source) }.into()
    }
}

impl From<SqlProblem> for Error {
    fn from(problem: SqlProblem) -> Self {
        let at = problem.place.map_or_else(String::new, |at| format!(" (line {}, column {})", at.line, at.column));
        Self::Sql { message: format!("{}{at}", problem.message), hint: problem.hint }
    }
}

fn for_model(model: Option<&TableName>) -> String {
    model.map_or_else(String::new, |model| format!(", which `{model}` reads"))
}

fn diagnosed(found: &[Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn failed_checks(model: &TableName, dt: Option<&Date>, failures: &[CheckFailure]) -> String {
    let noun = if failures.len() == 1 { "check" } else { "checks" };
    let day = dt.map_or_else(String::new, |dt| format!(" for {dt}"));
    let mut text = format!("{} {noun} of `{model}` failed{day}", failures.len());
    for failure in failures {
        text.push('\n');
        text.push_str(&failure.to_string());
    }
    text
}
