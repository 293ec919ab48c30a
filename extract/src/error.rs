//! Why an extraction could not go on. What goes wrong with a single key is a [`FetchError`], and becomes a retry, a dead
//! letter or a recorded result; only what stops the whole source ends up here.

use std::io;
use std::path::PathBuf;

use catalog::SourceName;

use crate::fetch::FetchError;

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

    /// A plan in the lake can't be read.
    #[error("expected `{path}` to be a plan of tasks, found something else")]
    Plan { path: String, source: serde_json::Error },

    /// A note for others could not be put into words.
    #[error("writing `{path}`")]
    Note { path: String, source: serde_json::Error },

    /// A staged key could not be turned into bytes.
    #[error("staging a key of `{name}`")]
    Stage { name: SourceName, source: arrow::error::ArrowError },

    /// Fetching can't work for any key: no browser, for one.
    #[error("fetching `{name}`")]
    Fetch { name: SourceName, source: Box<FetchError> },

    /// Tasks leave the queue again and again without being done.
    #[error(
        "expected {tasks} tasks of `{name}` to be done or dead after {rounds} rounds, found them neither in the queue nor in the table"
    )]
    Unfinished { name: SourceName, tasks: usize, rounds: usize },

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
            Self::Plan { path, .. } => {
                Some(format!("delete the object `{path}` of the lake and run again: the same tasks are planned anew"))
            }
            Self::Stage { .. } | Self::Note { .. } => None,
            Self::Fetch { source, .. } => source.hint(),
            Self::Unfinished { .. } => {
                Some("does something delete the queue while the run goes on? run again".to_owned())
            }
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
            | Self::Plan { .. }
            | Self::Stage { .. }
            | Self::Note { .. }
            | Self::Fetch { .. } => false,
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
