//! What can go wrong before a replica serves.

use std::net::SocketAddr;

/// Why a replica could not be started: one variant per different next action.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message names the fields")]
pub enum Error {
    /// The port is taken or not ours. Port 0 takes a free one.
    #[error("listening on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
