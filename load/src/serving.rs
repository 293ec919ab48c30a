//! Where the sinks of a project are: the folder of the embedded ones, `<lake>/_onggi/serving/`, and a database where one is configured.
//!
//! One writer at a time, whichever process it is in: a sync holds an exclusive lock on a file in it, which the system drops when the
//! process dies. Readers need no lock. The folder may be deleted at any time; the next sync builds it again.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sink::Sink;
use crate::sink::keywords::Keywords;
use crate::sink::postgres::Postgres;
use crate::sink::sqlite::{self, Sqlite};
use crate::sink::vectors::Vectors;
use crate::target::SinkKind;
use crate::value::content_hash;

/// How often a waiting sync looks whether the other one is done.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The sinks, found by kind.
#[derive(Debug, Clone)]
pub struct Serving {
    dir: PathBuf,
    postgres: Option<Arc<Postgres>>,
}

/// Held while a sync writes. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Locked {
    _file: File,
}

impl Serving {
    /// The sinks of this folder. Nothing is touched before the first sync.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), postgres: None }
    }

    /// The same, with a database beside the folder.
    #[must_use]
    pub fn with_postgres(self, postgres: Arc<Postgres>) -> Self {
        Self { postgres: Some(postgres), ..self }
    }

    /// The database, where one is configured.
    pub fn postgres(&self) -> Option<&Arc<Postgres>> {
        self.postgres.as_ref()
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The sink of a kind; an error for a database that is not configured.
    pub fn sink(&self, kind: SinkKind) -> Result<Arc<dyn Sink>> {
        Ok(match kind {
            SinkKind::Sqlite => Arc::new(Sqlite::new(sqlite::path(&self.dir))),
            SinkKind::Keywords => Arc::new(Keywords::new(keywords_dir(&self.dir))),
            SinkKind::Vectors => Arc::new(Vectors::new(vectors_dir(&self.dir))),
            SinkKind::Postgres => Arc::new(Arc::clone(self.postgres.as_ref().ok_or(Error::NoPostgres)?)),
        })
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
                    tokio::time::sleep(LOCK_POLL).await;
                }
                Err(TryLockError::Error(e)) => return Err(Error::io("locking", path, e)),
            }
        }
    }
}

pub(crate) fn keywords_dir(serving: &Path) -> PathBuf {
    serving.join("keywords")
}

pub(crate) fn vectors_dir(serving: &Path) -> PathBuf {
    serving.join("vectors")
}

/// One hash over everything that readers of this folder can see: rows, documents, vectors; not the order they were written in, nor the
/// cursors. Two folders with the same hash give the same answers.
pub async fn serving_hash(dir: &Path) -> Result<String> {
    let serving = Serving::new(dir);
    let mut lines = Vec::new();
    for kind in SinkKind::EMBEDDED {
        let sink = serving.sink(kind)?;
        for table in sink.targets().await? {
            let rows = sink.content(&table).await?;
            lines.extend(rows.into_iter().map(|row| format!("{kind} {table} {row}")));
        }
    }
    lines.sort_unstable();
    Ok(content_hash(lines.iter().map(String::as_bytes)))
}
