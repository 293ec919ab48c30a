//! Data files of a table that no version within the time kept names.
//!
//! A version within that time names a file if the newest one does, or if a commit within it added or removed it: what was
//! there before and is not there now was removed by one of those commits. So the newest snapshot and the commits within the
//! time are all that has to be read.

use std::collections::{HashMap, HashSet};

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::Deserialize;

use crate::Version;
use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::objects::modified;
use crate::path;
use crate::table::Snapshot;

use super::Upkeep;

/// A file below the lake's root.
#[derive(Debug, Clone)]
pub(super) struct StoredFile {
    pub(super) path: Path,
    pub(super) bytes: u64,
    pub(super) modified: Timestamp,
}

impl StoredFile {
    pub(super) async fn remove(&self, lake: &Lake) -> Result<()> {
        match lake.store().delete(&self.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                Err(Error::store(lake.uri().as_str(), Access::Delete, format!("deleting `{}`", self.path), error))
            }
        }
    }
}

/// All files below a folder of the lake.
pub(super) async fn list(lake: &Lake, folder: &Path) -> Result<Vec<StoredFile>> {
    let listed = lake.store().list(Some(folder)).map_ok(|meta| StoredFile {
        modified: modified(&meta),
        bytes: meta.size,
        path: meta.location,
    });
    let failed = |error| Error::store(lake.uri().as_str(), Access::List, format!("listing `{folder}`"), error);
    listed.try_collect().await.map_err(failed)
}

/// What is found among the data files of a table.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that may go.
    pub(super) leftovers: Vec<StoredFile>,
    /// Those that readers need and that are not as they were written, each with what is wrong.
    pub(super) damaged: Vec<String>,
}

/// Looks through the data files of `table`.
pub(super) async fn find(lake: &Lake, upkeep: &Upkeep, table: &TableName) -> Result<Found> {
    let cutoff = upkeep.cutoff();
    let folder = path::table(table);
    let mut files = list(lake, &folder).await?;
    // From here on nothing that comes is on the list.
    let snapshot = Snapshot::newest(lake, table).await?;
    if snapshot.protocol()? != (1, 2) {
        // Another program gave it features that we don't know: their files are not ours to judge.
        return Ok(Found::default());
    }
    let damaged = damaged(lake, &snapshot, &files).await?;
    let log = list(lake, &path::log(table)).await?;
    let mut named = commits_since(lake, table, &log, snapshot.version(), cutoff).await?;
    named.extend(snapshot.file_paths()?.into_iter().filter_map(|file| inside(&folder, &Path::from(file))));
    files.retain(|file| {
        let Some(name) = inside(&folder, &file.path) else { return false };
        file.modified < cutoff && is_data(&name) && !named.contains(&name)
    });
    Ok(Found { leftovers: files, damaged })
}

/// The files of the newest version that are not there, or are of another size. What is inside them is not looked at.
async fn damaged(lake: &Lake, snapshot: &Snapshot, listed: &[StoredFile]) -> Result<Vec<String>> {
    let listed: HashMap<&Path, u64> = listed.iter().map(|file| (&file.path, file.bytes)).collect();
    let mut damaged = Vec::new();
    for (file, bytes) in snapshot.file_sizes()? {
        let path = Path::from(file);
        if listed.get(&path) == Some(&bytes) {
            continue;
        }
        // It may have come after the others were listed.
        match lake.store().head(&path).await {
            Ok(meta) if meta.size == bytes => {}
            Ok(meta) => damaged.push(format!("`{path}` has {} bytes and was written with {bytes}", meta.size)),
            Err(object_store::Error::NotFound { .. }) => damaged.push(format!("`{path}` is not there")),
            Err(error) => {
                return Err(Error::store(lake.uri().as_str(), Access::Read, format!("looking at `{path}`"), error));
            }
        }
    }
    Ok(damaged)
}

/// A file's path from its table's folder.
fn inside(folder: &Path, file: &Path) -> Option<String> {
    let parts = file.prefix_match(folder)?;
    Some(parts.collect::<Path>().to_string())
}

/// As the writers of Delta name data files, and below no folder that Delta keeps for something else.
fn is_data(name: &str) -> bool {
    let mut parts = name.split('/').rev();
    let file = parts.next().unwrap_or_default();
    file.starts_with("part-")
        && std::path::Path::new(file).extension().is_some_and(|ending| ending == "parquet")
        && parts.all(|folder| !folder.starts_with('_') || folder.contains('='))
}

#[derive(Deserialize)]
struct ActionLine {
    add: Option<Named>,
    remove: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    path: String,
}

/// The names of all files that commits since `cutoff` added or removed.
async fn commits_since(
    lake: &Lake,
    table: &TableName,
    log: &[StoredFile],
    newest: Version,
    cutoff: Timestamp,
) -> Result<HashSet<String>> {
    let log: HashMap<&Path, Timestamp> = log.iter().map(|entry| (&entry.path, entry.modified)).collect();
    let mut wanted = Vec::new();
    for version in (0..=newest).rev() {
        let at = path::commit(table, version);
        // The log was cleaned up to here, and it is kept for longer than the files.
        let Some(modified) = log.get(&at) else { break };
        // What this one removed was not there any more when the time began.
        if *modified < cutoff {
            break;
        }
        wanted.push(at);
    }
    let reads = futures::stream::iter(wanted).map(|at| async move {
        let read = async { lake.store().get(&at).await?.bytes().await };
        read.await.map_err(|e| Error::store(lake.uri().as_str(), Access::Read, format!("reading `{at}`"), e))
    });
    let mut named = HashSet::new();
    let mut reads = std::pin::pin!(reads.buffer_unordered(8));
    while let Some(bytes) = reads.try_next().await? {
        for line in bytes.split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<ActionLine>(line) else { continue };
            for Named { path } in line.add.into_iter().chain(line.remove) {
                // As it stands, and as a URL says it: others escape what we don't.
                named.extend(Path::from_url_path(&path).ok().map(|path| path.to_string()));
                named.insert(path);
            }
        }
    }
    Ok(named)
}
