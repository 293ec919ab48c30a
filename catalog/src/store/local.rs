//! A local disk whose answers can be relied on after the power went.
//!
//! The plain local store never syncs, so a commit that returned `Ok` could vanish, or, worse, leave
//! an empty log entry that makes the table unreadable. Here an object appears like this:
//!
//! 1. its bytes go to a temporary file **in the same folder**, and that file is synced;
//! 2. it gets its name: by hard link if the name must be new (who comes second is told so), else by rename;
//! 3. its folder is synced, and so is every folder that had to be made for it, up to one that was there.
//!
//! Only then the call returns. So a data file is durable before the log entry that names it is
//! written, and a log entry is whole before it is visible. A failed sync is never tried again: what
//! the disk holds is not known, and the commit says so ([`SyncFailed`]).
//!
//! A temporary file ends in `#digits`, which listings skip. One that a crash left behind is swept
//! when its folder is next written to and it is a day older than the file written then; the two
//! ages come from the same file system, so no clock is read.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result, UploadPart,
};

use super::forward::forward;

const STORE: &str = "DurableLocal";

/// Older than any upload can be: a temporary file of this age has no writer any more.
const STALE: Duration = Duration::from_hours(24);

/// Marks a put that need not reach the disk before it returns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volatile;

/// A sync failed: what the disk holds is not known.
#[derive(Debug, thiserror::Error)]
#[error("syncing `{path}` failed")]
pub(crate) struct SyncFailed {
    path: String,
    #[source]
    source: io::Error,
}

#[cfg(test)]
impl SyncFailed {
    pub(crate) fn for_test() -> Self {
        Self { path: "test".into(), source: io::Error::other("EIO") }
    }
}

/// How many files and folders have been synced.
#[derive(Debug, Clone, Default)]
pub(crate) struct SyncCount(Arc<AtomicU64>);

impl SyncCount {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn sync(&self, file: &File, path: &FsPath) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        file.sync_all().map_err(|source| io::Error::other(SyncFailed { path: path.display().to_string(), source }))
    }

    fn sync_at(&self, path: &FsPath) -> io::Result<()> {
        self.sync(&File::open(path)?, path)
    }
}

/// The local file system, rooted at `/`, with every put durable when it returns.
#[derive(Debug, Clone)]
pub(crate) struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    disk: Disk,
}

/// What the blocking half needs.
#[derive(Debug, Clone, Default)]
struct Disk {
    syncs: SyncCount,
    swept: Arc<Mutex<HashSet<PathBuf>>>,
}

impl DurableLocal {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(LocalFileSystem::new()), disk: Disk::default() }
    }

    pub(crate) fn syncs(&self) -> SyncCount {
        self.disk.syncs.clone()
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocal({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DurableLocal {
    forward!(get_opts, get_ranges, delete_stream, list, list_with_delimiter);

    /// What a folder has after a name. Each look at a table asks its log for this: most names there are older, and the plain store
    /// makes an address of each before it compares, which grows with the table's history.
    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, prefix, offset) = (Arc::clone(&self.inner), prefix.cloned().unwrap_or_default(), offset.clone());
        let listed = async move {
            let folder = inner.path_to_filesystem(&prefix)?;
            let (under, after) = (prefix.clone(), offset.clone());
            Ok::<_, Error>(match blocking(move || files_after(&folder, &under, &after), &prefix).await? {
                // What the plain store makes of such a folder is its own affair.
                None => inner.list_with_offset(Some(&prefix), &offset),
                Some(later) => stream::iter(later.into_iter().map(Ok)).boxed(),
            })
        };
        stream::once(listed).try_flatten().boxed()
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let must_be_new = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented { operation: "`PutMode::Update`".into(), implementer: STORE.into() });
            }
        };
        let durable = opts.extensions.get::<Volatile>().is_none();
        let target = self.inner.path_to_filesystem(location)?;
        let disk = self.disk.clone();
        blocking(move || disk.publish(&target, &payload, must_be_new, durable), location).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let folder = parent(&target).map_err(|e| describe(e, location))?.to_owned();
        let made = blocking(move || make_folders(&folder), location).await?;
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(DurableUpload { upload, target, made, location: location.clone(), disk: self.disk.clone() }))
    }

    /// Not durable: nothing in the lake is copied or renamed, and what can't be relied on is refused.
    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "`copy`".into(), implementer: STORE.into() })
    }

    async fn rename_opts(&self, _from: &Path, _to: &Path, _options: RenameOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "`rename`".into(), implementer: STORE.into() })
    }
}

/// An upload in parts that is synced when it completes.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    target: PathBuf,
    made: Vec<PathBuf>,
    location: Path,
    disk: Disk,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        let (disk, target, made) = (self.disk.clone(), self.target.clone(), std::mem::take(&mut self.made));
        let sync = move || {
            disk.syncs.sync_at(&target)?;
            disk.sync_folders(parent(&target)?, &made)
        };
        blocking(sync, &self.location).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

impl Disk {
    fn publish(&self, target: &FsPath, payload: &PutPayload, must_be_new: bool, durable: bool) -> io::Result<()> {
        let folder = parent(target)?;
        let made = make_folders(folder)?;
        let (temporary, mut file) = temporary(target)?;
        let named = (|| {
            for part in payload {
                file.write_all(part)?;
            }
            if durable {
                self.syncs.sync(&file, &temporary)?;
            }
            if made.is_empty() {
                self.sweep(folder, &file);
            }
            drop(file);
            if must_be_new { link_new(&temporary, target) } else { fs::rename(&temporary, target) }
        })();
        if named.is_err() || must_be_new {
            // Best effort: a leftover is swept later.
            let _ = fs::remove_file(&temporary);
        }
        named?;
        if durable { self.sync_folders(folder, &made) } else { Ok(()) }
    }

    fn sync_folders(&self, folder: &FsPath, made: &[PathBuf]) -> io::Result<()> {
        self.syncs.sync_at(folder)?;
        made.iter().try_for_each(|path| self.syncs.sync_at(path))
    }

    /// Removes temporary files that a crash left in `folder`, once per folder and process.
    fn sweep(&self, folder: &FsPath, written_now: &File) {
        if !self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned()) {
            return;
        }
        let Ok(now) = written_now.metadata().and_then(|m| m.modified()) else { return };
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten().filter(|e| is_temporary(&e.file_name().to_string_lossy())) {
            let age = entry.metadata().and_then(|m| m.modified()).map(|then| now.duration_since(then));
            if matches!(age, Ok(Ok(age)) if age > STALE) {
                tracing::info!(path = %entry.path().display(), "removing what a crash left behind");
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The files of a folder whose paths come after `offset`; nothing if it also has folders, or names that are written otherwise in
/// a path.
fn files_after(folder: &FsPath, prefix: &Path, offset: &Path) -> io::Result<Option<Vec<ObjectMeta>>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Vec::new())),
        entries => entries?,
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let Some(after) = offset.as_ref().strip_prefix(prefix.as_ref()).filter(|it| it.is_empty() || it.starts_with('/'))
    else {
        return Ok(None);
    };
    let mut later = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return Ok(None) };
        if is_temporary(name) {
            continue;
        }
        if !name.bytes().all(is_plain) || !entry.file_type()?.is_file() {
            return Ok(None);
        }
        if name <= after.trim_start_matches('/') {
            continue;
        }
        let meta = match entry.metadata() {
            // It went while we looked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        later.push(ObjectMeta {
            location: prefix.clone().join(name),
            last_modified: meta.modified()?.into(),
            size: meta.len(),
            e_tag: None,
            version: None,
        });
    }
    Ok(Some(later))
}

/// Makes `folder` and what is missing above it. Returns the folders that got a new entry and must
/// be synced for it to last, innermost first.
fn make_folders(folder: &FsPath) -> io::Result<Vec<PathBuf>> {
    let missing: Vec<_> = folder.ancestors().take_while(|path| !path.exists()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(folder)?;
    Ok(missing.into_iter().filter_map(FsPath::parent).map(FsPath::to_owned).collect())
}

/// A new temporary file next to `target`.
fn temporary(target: &FsPath) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(format!("{name}#{}{n:010}", std::process::id()));
        match File::options().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
}

/// Whether a file of this name is one that a write has not finished.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Gives `from` the name `to` unless it is taken.
fn link_new(from: &FsPath, to: &FsPath) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Err(e) if matches!(e.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            rename_new(from, to).map_err(|_| e)
        }
        done => done,
    }
}

/// For file systems without hard links.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_new(from: &FsPath, to: &FsPath) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_new(_from: &FsPath, _to: &FsPath) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn parent(path: &FsPath) -> io::Result<&FsPath> {
    path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the root is not an object"))
}

/// Runs `work` off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
    location: &Path,
) -> Result<T> {
    crate::simulation::blocking(work).await?.map_err(|e| describe(e, location))
}

fn describe(error: io::Error, location: &Path) -> Error {
    let path = location.to_string();
    match error.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: error.into() },
        io::ErrorKind::NotFound => Error::NotFound { path, source: error.into() },
        io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: error.into() },
        _ => Error::Generic { store: STORE, source: error.into() },
    }
}

#[cfg(test)]
mod tests;
