//! What can go wrong before and while a replica serves.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a replica could not be started or changed: one variant per different next action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The options contradict each other. The same call fails again until they change.
    #[error("expected {expected}, found {found}")]
    Options { expected: String, found: String },

    /// A file of texts is not what its name says. Mend or remove it.
    #[error("expected {expected} in `{path}`, found {found}")]
    Corpus { path: PathBuf, expected: String, found: String },

    /// A file or folder of texts could not be read.
    #[error("reading `{path}`")]
    Read { path: PathBuf, source: std::io::Error },

    /// The port is taken or not ours. Another port may do.
    #[error("listening on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },

    /// There is no such place in this replica.
    #[error("expected the id of a place of this replica, found `{place}`")]
    NoSuchPlace { place: String },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// What a person can try next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Options { .. } | Self::Read { .. } => None,
            Self::Corpus { .. } => Some(
                "name the column of the texts with `text_column`, or point at a folder of JSON, JSONL or CSV files"
                    .to_owned(),
            ),
            Self::Listen { .. } => Some("use port 0 to get any free port".to_owned()),
            Self::NoSuchPlace { .. } => Some("`truth().places()` lists the ids".to_owned()),
        }
    }

    /// Whether the same call may succeed later with nothing changed by us.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Listen { .. } | Self::Read { .. })
    }
}
