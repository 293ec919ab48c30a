//! Why an extraction could not go on. What goes wrong with a single key is a [`FetchError`], and becomes a retry or the
//! key's outcome; only what stops the whole source is an [`Error`].

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use catalog::{SourceName, TableName};

use crate::source::Secrets;

/// What stopped an extraction: one variant per different next action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The lake said no. Its error tells what to do.
    #[error(transparent)]
    Lake(#[from] catalog::Error),

    /// The queue's file didn't do what it should. It may be deleted: the queue is planned again from the lake.
    #[error("using the queue `{}`", file.display())]
    Queue { file: PathBuf, source: rusqlite::Error },

    /// The queue's folder can't be used.
    #[error("preparing the folder of the queue `{}`", file.display())]
    QueueFolder { file: PathBuf, source: io::Error },

    /// A newer program wrote the queue.
    #[error("expected the queue `{}` to be of version {expected} or older, found version {found}", file.display())]
    QueueVersion { file: PathBuf, expected: i64, found: i64 },

    /// The queue's service didn't do what it should.
    #[error("{doing}, with the queue `{queue}`")]
    QueueService {
        queue: String,
        doing: &'static str,
        hint: String,
        retryable: bool,
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A queue is named in a way that can't be understood.
    #[error("expected a queue such as `sqs://onggi-tasks` or `sqs://123456789012/onggi-tasks`, found `{uri}`")]
    QueueUri { uri: String },

    /// Outcomes could not be turned into rows, or rows into outcomes.
    #[error("reading or writing the outcomes of keys")]
    Outcomes { source: arrow::error::ArrowError },

    /// Unreadable answers could not be turned into rows, or rows be read back.
    #[error("reading or writing what was kept of unreadable answers")]
    Unreadable { source: arrow::error::ArrowError },

    /// A note for others could not be put into words.
    #[error("writing `{path}`")]
    Note { path: String, source: serde_json::Error },

    /// A staged key could not be turned into bytes.
    #[error("staging a key of `{name}`")]
    Stage { name: SourceName, source: arrow::error::ArrowError },

    /// Fetching can't work for any key: no browser, for one.
    #[error("fetching `{name}`")]
    Fetch { name: SourceName, source: Box<FetchError> },

    /// Messages leave the queue again and again, and the keys in them have no outcome.
    #[error(
        "expected {keys} keys of `{name}` to have ended after {rounds} rounds, found no outcome of them in the table and none of their tasks in the queue"
    )]
    Unfinished { name: SourceName, keys: u64, rounds: usize },

    /// Ids in the table were hashed with another key: the same person would count as another.
    #[error("the identity key is another one than that of the rows in `{table}`")]
    OtherIdentity { table: TableName },

    /// A column would hold ids beside hashes.
    #[error(
        "expected `{column}` to hold {} as in the rows of `{table}`, found the type {}",
        if *.is_hash { "ids in clear" } else { "hashed ids" },
        if *.is_hash { "`hash`" } else { "of ids as they come" }
    )]
    OtherHashing { table: TableName, column: String, is_hash: bool },

    /// Somebody asked to stop. What was under way has been handed back.
    #[error("stopped on request")]
    Cancelled,
}

impl Error {
    /// What a person can try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Lake(error) => error.hint(),
            Self::Queue { file, .. } => Some(format!(
                "nothing but the queue lives in `{}`: stop other runs, delete it and run again",
                file.display()
            )),
            Self::QueueFolder { file, .. } => {
                let folder = file.parent().unwrap_or(file);
                Some(format!("make `{}` a folder that this user may write to", folder.display()))
            }
            Self::QueueVersion { file, .. } => Some(format!(
                "use the newer program, or delete `{}`: it is planned again from the lake",
                file.display()
            )),
            Self::QueueService { hint, .. } => Some(hint.clone()),
            Self::QueueUri { .. } => Some(
                "correct `uri` in [queue], or leave it out for the embedded queue; FIFO queues don't fit".to_owned(),
            ),
            Self::Stage { .. } | Self::Note { .. } | Self::Outcomes { .. } | Self::Unreadable { .. } => None,
            Self::Fetch { source, .. } => source.hint(),
            Self::Unfinished { .. } => {
                Some("does something delete the queue while the run goes on? run again".to_owned())
            }
            Self::OtherIdentity { table } => Some(format!(
                "put the former key back, where `key` under [identity] says: with another one the same person counts as another; to begin anew with this key, remove the folders of {table} and of the tables that are built from it"
            )),
            Self::OtherHashing { table, column, is_hash: true } => Some(format!(
                "give the field a new column name, such as `{column}_hash`; the ids of former days stay in `{column}` of {table} until its folder is removed"
            )),
            Self::OtherHashing { column, .. } => Some(format!(
                "give the field a new column name, or leave its type `hash`: hashes and ids in `{column}` count one person as two, and the ids of persons would land"
            )),
            Self::Cancelled => Some("run again to go on where it stopped".to_owned()),
        }
    }

    /// Whether the same call may succeed later, with nothing changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Lake(error) => error.is_retryable(),
            Self::Queue { source, .. } => {
                matches!(
                    source.sqlite_error_code(),
                    Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
                )
            }
            Self::QueueService { retryable, .. } => *retryable,
            Self::Unfinished { .. } | Self::Cancelled => true,
            Self::QueueUri { .. }
            | Self::QueueFolder { .. }
            | Self::QueueVersion { .. }
            | Self::Outcomes { .. }
            | Self::Unreadable { .. }
            | Self::Stage { .. }
            | Self::Note { .. }
            | Self::OtherIdentity { .. }
            | Self::OtherHashing { .. }
            | Self::Fetch { .. } => false,
        }
    }
}

/// Why a key could not be fetched, or not to its end: one variant per different next action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum FetchError {
    /// It is about us: leave the host alone.
    #[error("`{host}` shows a block page: {evidence}")]
    Blocked { host: String, evidence: String },

    /// The site does not want it: don't ask.
    #[error("robots.txt does not allow `{url}`: {rule}")]
    RobotsDenied { url: String, rule: String },

    /// Ask later: the answer to this key says so.
    #[error("`{host}` asks to slow down{}", .retry_after.map(|wait| format!(" for {} s", wait.as_secs())).unwrap_or_default())]
    RateLimited { host: String, retry_after: Option<Duration> },

    /// Ask later: the host is given its rest, whatever the key is.
    #[error("`{host}` is left alone, as it asks{}", .retry_after.map(|wait| format!(", for {} s", wait.as_secs())).unwrap_or_default())]
    Resting { host: String, retry_after: Option<Duration> },

    /// It did not work this time.
    #[error("`{url}` could not be fetched: {reason}")]
    Transient { url: String, reason: String },

    /// It is not there: 404 or 410.
    #[error("`{url}` is gone: {reason}")]
    Gone { url: String, reason: String },

    /// It came, and can't be read in the source's way. `body` is what came, if it is known.
    #[error("`{url}` can't be read: {reason}")]
    Unreadable { url: String, reason: String, body: Bytes },

    /// A bound of the source was reached and there is more.
    #[error("it is cut: {why}")]
    Cut { why: String },

    /// It will not work.
    #[error("`{url}` can't be fetched: {reason}")]
    Permanent { url: String, reason: String },

    /// No browser starts here.
    #[error("no Chromium could be started: {tried}")]
    NoBrowser { tried: String },

    /// Somebody asked to stop.
    #[error("stopped while fetching")]
    Cancelled,
}

impl FetchError {
    /// What a person can try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Blocked { host, .. } => Some(format!("wait an hour, then run again with a lower rate for `{host}`; what was fetched so far is kept")),
            Self::RobotsDenied { .. } => {
                Some("ask the site's owner; with an agreement, write `robots = { ignore = \"why\" }` into the source file".to_owned())
            }
            Self::RateLimited { host, .. } | Self::Resting { host, .. } => Some(format!("set a lower rate for `{host}` under [hosts]")),
            Self::NoBrowser { .. } => {
                Some("install one (Debian, Ubuntu: `apt-get install chromium`; macOS: `brew install --cask chromium`), or set `chromium = \"/path/to/it\"` under [crawl]".to_owned())
            }
            Self::Permanent { .. } | Self::Unreadable { .. } => {
                Some("compare the source file with what the site sends today".to_owned())
            }
            Self::Cut { .. } => Some("raise the bound in the source file, or split the key into smaller ones".to_owned()),
            Self::Transient { .. } | Self::Gone { .. } | Self::Cancelled => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Resting { .. } | Self::Transient { .. })
    }

    /// The same with the values of secrets behind their references.
    pub(crate) fn redacted(self, secrets: &Secrets) -> Self {
        let hide = |text: String| secrets.redact(&text);
        match self {
            Self::Blocked { host, evidence } => Self::Blocked { host, evidence: hide(evidence) },
            Self::RobotsDenied { url, rule } => Self::RobotsDenied { url: hide(url), rule: hide(rule) },
            Self::Transient { url, reason } => Self::Transient { url: hide(url), reason: hide(reason) },
            Self::Gone { url, reason } => Self::Gone { url: hide(url), reason: hide(reason) },
            Self::Unreadable { url, reason, body } => Self::Unreadable { url: hide(url), reason: hide(reason), body },
            Self::Permanent { url, reason } => Self::Permanent { url: hide(url), reason: hide(reason) },
            other @ (Self::RateLimited { .. }
            | Self::Resting { .. }
            | Self::Cut { .. }
            | Self::NoBrowser { .. }
            | Self::Cancelled) => other,
        }
    }
}

/// An error with its causes on one line, as a dead letter and a row keep it.
pub(crate) fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
