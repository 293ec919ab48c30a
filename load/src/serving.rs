//! Where the sinks of a project are: the folder of the embedded ones, `<lake>/_onggi/serving/`, and the servers that are configured.
//!
//! One writer at a time, whichever process it is in: a sync holds an exclusive lock on a file in the folder, which the system drops when the
//! process dies. Readers need no lock. The folder may be deleted at any time; the next sync builds it again.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::simulation::sleep;
use futures::TryStreamExt as _;

use crate::error::{Error, Result};
use crate::kind::SinkKind;
use crate::sink::{Sink, SinkPlace, member};
use rows::content_hash;

/// How often a waiting sync looks whether the other one is done.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The sinks, found by kind.
#[derive(Clone)]
pub struct Serving {
    dir: PathBuf,
    servers: Vec<Arc<dyn Sink>>,
}

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let servers: Vec<String> = self.servers.iter().map(|sink| sink.describe()).collect();
        f.debug_struct("Serving").field("dir", &self.dir).field("servers", &servers).finish()
    }
}

/// Held while a sync writes. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

impl Serving {
    /// The sinks of this folder. Nothing is touched before the first sync.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), servers: Vec::new() }
    }

    /// The same, with a server beside the folder.
    #[must_use]
    pub fn with(self, server: impl Sink + 'static) -> Self {
        self.with_sink(Arc::new(server))
    }

    /// The same, with a server of whatever kind.
    #[must_use]
    pub fn with_sink(mut self, server: Arc<dyn Sink>) -> Self {
        self.servers.push(server);
        self
    }

    /// Where the folder is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The kinds that can be asked: those of the folder, and the servers that are configured.
    pub fn kinds(&self) -> impl Iterator<Item = SinkKind> {
        SinkKind::ALL
            .into_iter()
            .filter(|kind| kind.is_embedded() || self.servers.iter().any(|server| server.kind() == *kind))
    }

    /// The sink of a kind; an error for a server that is not configured.
    pub fn sink(&self, kind: SinkKind) -> Result<Arc<dyn Sink>> {
        match member(kind).place {
            SinkPlace::Folder(open) => Ok(open(&self.dir)),
            SinkPlace::Server(section) => {
                let server = self.servers.iter().find(|server| server.kind() == kind);
                server.cloned().ok_or(Error::NoServer { sink: kind, section })
            }
        }
    }

    /// Takes the folder for writing; waits while another sync has it, and says so once.
    pub(crate) async fn lock(&self, waiting: &(dyn Fn() + Send + Sync)) -> Result<Locked> {
        std::fs::create_dir_all(&self.dir).map_err(|e| Error::io("creating", &self.dir, e))?;
        let path = self.dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io("opening", &path, e))?;
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        waiting();
                        told = true;
                    }
                    sleep(LOCK_POLL).await;
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("locking", path, e)),
            }
        }
    }
}

/// One hash over everything that readers of this folder can see: rows, documents, vectors; not the order they were written in, nor the
/// cursors. Two folders with the same hash give the same answers.
pub async fn serving_hash(dir: &Path) -> Result<String> {
    let serving = Serving::new(dir);
    let mut lines = Vec::new();
    for kind in SinkKind::EMBEDDED {
        let sink = serving.sink(kind)?;
        for table in sink.targets().await? {
            let mut rows = sink.contents(&table).await?;
            while let Some(part) = rows.try_next().await? {
                lines.extend(part.iter().map(|(key, hash)| format!("{kind} {table} {} {key}", hash.to_hex())));
            }
        }
    }
    lines.sort_unstable();
    Ok(content_hash(lines.iter().map(String::as_bytes)))
}
