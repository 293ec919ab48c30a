//! From a lake's URL to the store behind it, with our wrappers around it.
//!
//! Every store here is rooted at `/` of its world, because the Delta library addresses a table by
//! its whole URL; the lake is a prefix in it. From outside to inside the stack is
//! `CheckedLog(DurableLocal(LocalFileSystem))` for a folder, `CheckedLog(InMemory)` for memory and
//! `CheckedLog(CachedLog(CreateOnce(AmazonS3)))` for S3, whose HTTP requests pass a meter.

mod cached_log;
mod checked_log;
mod create_once;
mod forward;
mod local;
#[cfg(feature = "failpoints")]
mod mortal;
mod s3;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::path::Path;
use url::Url;

use crate::aws::Aws;
use crate::error::{Error, Result};

pub(crate) use cached_log::CachedLog;
pub(crate) use checked_log::{CheckedLog, read_commit};
pub(crate) use create_once::{CreateOnce, InDoubt, Tried};
pub(crate) use local::{DurableLocal, SyncCount, SyncFailed, Volatile, is_temporary};
pub(crate) use s3::Bucket;
pub use s3::Requests;
#[cfg(test)]
pub(crate) use s3::open_bucket;

/// How a lake that is no local folder is reached. None of it is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// Whose credentials, and the region unless `region` names another.
    pub aws: Aws,
    /// An S3-compatible server, instead of AWS. Only here may a URL be `http://`.
    pub endpoint: Option<Url>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Whether URLs name the bucket in their path; if not said, only with an endpoint.
    pub path_style: Option<bool>,
    /// How many requests may be under way at once.
    pub requests: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self { aws: Aws::default(), endpoint: None, region: None, path_style: None, requests: 32 }
    }
}

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
    /// What S3 needs beside a store, if it is one.
    pub(crate) bucket: Option<Bucket>,
}

/// What a lake's URL may be.
const A_LAKE_IS: &str =
    "a lake is a local folder (`lake`, `file:///data/lake`), a bucket (`s3://bucket/prefix`) or `memory://name`";

/// Lakes in memory live as long as the process and are shared by name.
static MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// Opens the store behind a lake's URL. A bare path is a folder, whether it exists or not. Nothing is
/// asked of the store yet.
pub(crate) async fn open(uri: &str, settings: &StoreSettings) -> Result<Place> {
    let unsupported = |reason: &str| Error::unsupported(uri, reason, A_LAKE_IS);
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
            Ok(Place { url, root, prefix: Path::default(), folder: None, syncs: None, bucket: None })
        }
        "file" => {
            let url = Url::parse(uri).map_err(|e| unsupported(&e.to_string()))?;
            let path = url.to_file_path().map_err(|()| unsupported("not the URL of a local folder"))?;
            folder(path, uri)
        }
        "s3" => s3::open(uri, settings).await,
        other => Err(unsupported(&format!("expected a folder, `s3://` or `memory://`, found `{other}://`"))),
    }
}

fn folder(path: PathBuf, uri: &str) -> Result<Place> {
    let unsupported = |reason: String| Error::unsupported(uri, reason, A_LAKE_IS);
    let folder = std::path::absolute(path).map_err(|e| unsupported(e.to_string()))?;
    if let Some(part) = taken_for_another(&folder.to_string_lossy()) {
        return Err(unsupported(format!("`{part}` can't be in the path of a lake's folder, `{}`", folder.display())));
    }
    let url =
        Url::from_directory_path(&folder).map_err(|()| unsupported("the path can't be written as a URL".to_owned()))?;
    let prefix = Path::from_url_path(url.path()).map_err(|e| unsupported(e.to_string()))?;
    let local = DurableLocal::new();
    let syncs = local.syncs();
    let local = Arc::new(local);
    #[cfg(feature = "failpoints")]
    let local = Arc::new(mortal::Mortal::new(local));
    let root = Arc::new(CheckedLog::new(local));
    Ok(Place { url, root, prefix, folder: Some(folder), syncs: Some(syncs), bucket: None })
}

/// What of a path some of those who read a log take for another letter, since they take its address apart once more.
fn taken_for_another(path: &str) -> Option<&str> {
    let encoded =
        |at: usize| path.get(at + 1..at + 3).is_some_and(|code| code.bytes().all(|it| it.is_ascii_hexdigit()));
    let mut signs = path.match_indices(['%', '\\']);
    signs.find_map(|(at, sign)| if sign == "%" { encoded(at).then(|| &path[at..at + 3]) } else { Some(sign) })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn place(uri: &str) -> Result<Place> {
        let aws = Aws { region: Some("ap-northeast-2".into()), profile: None };
        open(uri, &StoreSettings { aws, ..StoreSettings::default() }).await
    }

    #[tokio::test]
    async fn urls() {
        assert_eq!(place("/data/lake").await.unwrap().url.as_str(), "file:///data/lake/");
        assert_eq!(place("file:///data/lake").await.unwrap().folder.unwrap(), PathBuf::from("/data/lake"));
        assert_eq!(place("memory://Demo").await.unwrap().url.as_str(), "memory://demo/");
        let relative = place("lake").await.unwrap().folder.unwrap();
        assert!(relative.is_absolute() && relative.ends_with("lake"));
        assert_eq!(place("/data/100% mine").await.unwrap().folder.unwrap(), PathBuf::from("/data/100% mine"));
        for bad in ["l%20x", "/data/a%2fb", "back\\slash", "file:///data/a%2520b"] {
            let refused = place(bad).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(refused.contains("can't be in the path of a lake's folder"), "{bad}: {refused}");
        }
        for bad in ["", "memory://", "memory://a/b", "s3://", "s3://Bucket/x", "s3://a", "s3://b1c?x=1", "gs://x"] {
            assert!(matches!(place(bad).await, Err(Error::UnsupportedLake { .. })), "{bad}");
        }
        for (uri, url, prefix) in [
            ("s3://bucket", "s3://bucket/", ""),
            ("s3://bucket/", "s3://bucket/", ""),
            ("s3://bucket/a/b", "s3://bucket/a/b/", "a/b"),
            ("s3://bucket.with.dots/a/b/", "s3://bucket.with.dots/a/b/", "a/b"),
        ] {
            let place = place(uri).await.unwrap();
            assert_eq!((place.url.as_str(), place.prefix.as_ref()), (url, prefix), "{uri}");
        }
    }

    #[tokio::test]
    async fn memory_is_shared_by_name() {
        let name = |uri: &str| Arc::as_ptr(MEMORY.lock().unwrap().get(uri).unwrap());
        place("memory://shared").await.unwrap();
        let first = name("memory://shared/");
        place("memory://shared").await.unwrap();
        assert_eq!(first, name("memory://shared/"));
    }
}
