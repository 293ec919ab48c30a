//! Temporary files in a lake that is a folder: what a write was cut short in, which no listing of the store shows.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::store::is_temporary;

use super::{GRACE, Upkeep, before};

/// A file of this machine.
#[derive(Debug, Clone)]
pub(super) struct LocalFile {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    uri: String,
}

impl LocalFile {
    pub(super) async fn remove(&self) -> Result<()> {
        let path = self.path.clone();
        let removed = crate::simulation::blocking(move || fs::remove_file(path)).await;
        match removed.map_err(std::io::Error::from).flatten() {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => {
                let source = object_store::Error::Generic { store: "folder", source: error.into() };
                let what = format!("deleting `{}`", self.path.display());
                Err(Error::store(&self.uri, Access::Delete, what, source))
            }
        }
    }
}

/// Those older than any write can be; none for a lake that is no folder.
pub(super) async fn find(lake: &Lake, upkeep: &Upkeep) -> Vec<LocalFile> {
    let Some(root) = lake.folder() else { return Vec::new() };
    let (cutoff, uri) = (before(upkeep.now, GRACE), lake.uri().to_string());
    let search = move || {
        let mut found = Vec::new();
        search(&root, cutoff, &uri, &mut found);
        found
    };
    crate::simulation::blocking(search).await.unwrap_or_default()
}

/// Removes folders of runs that nothing is left in. No listing of the store shows an empty folder, so they are not counted.
pub(super) async fn sweep_run_folders(lake: &Lake, upkeep: &Upkeep) {
    let Some(house) = lake.local_dir() else { return };
    let cutoff = before(upkeep.now, GRACE);
    let sweep = move || {
        let Ok(entries) = fs::read_dir(house.join("runs")) else { return };
        for entry in entries.flatten() {
            let modified = entry.metadata().and_then(|meta| meta.modified()).ok();
            if modified.and_then(|at| Timestamp::try_from(at).ok()).is_some_and(|at| at < cutoff) {
                // Only an empty one can be removed so.
                let _ = fs::remove_dir(entry.path());
            }
        }
    };
    let _ = crate::simulation::blocking(sweep).await;
}

/// What can't be looked at holds nothing that could be removed.
fn search(folder: &Path, cutoff: Timestamp, uri: &str, found: &mut Vec<LocalFile>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        // Of a link the link itself is meant, and a link is no folder and no file of ours.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            search(&entry.path(), cutoff, uri, found);
        } else if meta.is_file() && is_temporary(&entry.file_name().to_string_lossy()) {
            let modified = meta.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
            if modified.is_some_and(|at| at < cutoff) {
                found.push(LocalFile { path: entry.path(), bytes: meta.len(), uri: uri.to_owned() });
            }
        }
    }
}
