//! From a lake's URL to the store behind it, with our wrappers around it.
//!
//! Every store here is rooted at `/` of its world, because the Delta library addresses a table by
//! its whole URL; the lake is a prefix in it. From outside to inside the stack is
//! `CheckedLog(DurableLocal(LocalFileSystem))` for a folder and `CheckedLog(InMemory)` for memory.

mod checked_log;
mod local;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use crate::error::{Error, Result};

pub(crate) use checked_log::{CheckedLog, read_commit};
pub(crate) use local::{DurableLocal, SyncCount, SyncFailed, Volatile};

/// A lake's place, opened.
#[derive(Debug)]
pub(crate) struct Place {
    /// The lake's URL, ending in `/`.
    pub(crate) url: Url,
    /// The store, rooted at `/`.
    pub(crate) root: Arc<dyn ObjectStore>,
    /// The lake's root within it.
    pub(crate) prefix: Path,
    /// The lake's folder, if it is one.
    pub(crate) folder: Option<PathBuf>,
    /// The fsyncs done, if it is a folder.
    pub(crate) syncs: Option<SyncCount>,
}

/// Lakes in memory live as long as the process and are shared by name.
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// Opens the store behind a lake's URL. A bare path is a folder, whether it exists or not.
pub(crate) fn open(uri: &str) -> Result<Place> {
    let unsupported = |reason: &str| Error::UnsupportedLake { uri: uri.to_owned(), reason: reason.to_owned() };
    if uri.is_empty() {
        return Err(unsupported("the URL is empty"));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return folder(PathBuf::from(uri), uri);
    };
    match scheme {
        "memory" => {
            let name = rest.trim_end_matches('/');
            if name.is_empty() || name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
                return Err(unsupported("expected `memory://name` with letters, digits, `-` and `_`"));
            }
            let url = Url::parse(&format!("memory://{}/", name.to_ascii_lowercase()))
                .map_err(|e| unsupported(&e.to_string()))?;
            let mut stores = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
            let store = Arc::clone(stores.entry(url.to_string()).or_default());
            let root = Arc::new(CheckedLog::new(store));
            Ok(Place { url, root, prefix: Path::default(), folder: None, syncs: None })
        }
        "file" => {
            let url = Url::parse(uri).map_err(|e| unsupported(&e.to_string()))?;
            let path = url.to_file_path().map_err(|()| unsupported("not the URL of a local folder"))?;
            folder(path, uri)
        }
        other => Err(unsupported(&format!("expected a folder or `memory://`, found `{other}://`"))),
    }
}

fn folder(path: PathBuf, uri: &str) -> Result<Place> {
    let unsupported = |reason: String| Error::UnsupportedLake { uri: uri.to_owned(), reason };
    let folder = std::path::absolute(path).map_err(|e| unsupported(e.to_string()))?;
    let url =
        Url::from_directory_path(&folder).map_err(|()| unsupported("the path can't be written as a URL".to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|e| unsupported(e.to_string()))?;
    let local = DurableLocal::new();
    let syncs = local.syncs();
    let root = Arc::new(CheckedLog::new(Arc::new(local)));
    Ok(Place { url, root, prefix, folder: Some(folder), syncs: Some(syncs) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(open("/data/lake").unwrap().url.as_str(), "file:///data/lake/");
        assert_eq!(open("file:///data/lake").unwrap().folder.unwrap(), PathBuf::from("/data/lake"));
        assert_eq!(open("memory://Demo").unwrap().url.as_str(), "memory://demo/");
        let relative = open("lake").unwrap().folder.unwrap();
        assert!(relative.is_absolute() && relative.ends_with("lake"));
        for bad in ["", "memory://", "memory://a/b", "s3://bucket/lake", "gs://x"] {
            assert!(matches!(open(bad), Err(Error::UnsupportedLake { .. })), "{bad}");
        }
    }

    #[test]
    fn memory_is_shared_by_name() {
        let name = |uri: &str| Arc::as_ptr(MEMORY.lock().unwrap().get(uri).unwrap());
        open("memory://shared").unwrap();
        let first = name("memory://shared/");
        open("memory://shared").unwrap();
        assert_eq!(first, name("memory://shared/"));
    }
}
