//! Log files are read from a bucket once.
//!
//! A commit and a checkpoint never change once they are written, yet a look at a table's marks reads all of them
//! again: four requests for each of a run's tasks. Here they are kept in memory, whole, while the process lives.
//!
//! What is kept is never older than the last listing: each listing names every file's tag, and one whose tag
//! is another one, since a table was removed and made again, is forgotten. Looking for the newest version always
//! lists. `_last_checkpoint`, which does change, is not kept.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ListResult, ObjectMeta, ObjectStore, Result};

use super::forward::forward;

/// The largest file that is kept: checkpoints of very long histories are read in ranges as before.
const LARGEST: u64 = 4 << 20;

/// All that is kept. Beyond it everything is forgotten and begins anew.
const ALL: u64 = 64 << 20;

/// A store that reads a log file once.
#[derive(Debug)]
pub(crate) struct CachedLog<S: ?Sized> {
    inner: Arc<S>,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Debug, Default)]
struct Cache {
    files: HashMap<Path, (ObjectMeta, Bytes)>,
    /// The sizes and tags that the last listings told.
    listed: HashMap<Path, (u64, Option<String>)>,
    bytes: u64,
}

impl Cache {
    fn see(&mut self, meta: &ObjectMeta) {
        if !is_cached(&meta.location) {
            return;
        }
        if self.files.get(&meta.location).is_some_and(|(kept, _)| kept.e_tag != meta.e_tag || kept.size != meta.size) {
            self.forget(&meta.location);
        }
        self.listed.insert(meta.location.clone(), (meta.size, meta.e_tag.clone()));
    }

    fn keep(&mut self, meta: &ObjectMeta, bytes: &Bytes) {
        // Only what was listed with this very tag: nothing is kept that a listing could not take back.
        if self.listed.get(&meta.location) != Some(&(meta.size, meta.e_tag.clone())) || meta.e_tag.is_none() {
            return;
        }
        if self.bytes + meta.size > ALL {
            *self = Self::default();
        }
        self.bytes += meta.size;
        self.files.insert(meta.location.clone(), (meta.clone(), bytes.clone()));
    }

    fn forget(&mut self, location: &Path) {
        self.listed.remove(location);
        if let Some((meta, _)) = self.files.remove(location) {
            self.bytes -= meta.size;
        }
    }
}

/// `…/_delta_log/` and a version: commits and checkpoints.
fn is_cached(location: &Path) -> bool {
    let mut parts = location.as_ref().rsplit('/');
    let name = parts.next().unwrap_or_default();
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    digits == 20 && parts.next() == Some("_delta_log") && matches!(location.extension(), Some("json" | "parquet"))
}

impl<S: ObjectStore> CachedLog<S> {
    pub(crate) fn new(inner: Arc<S>) -> Self {
        Self { inner, cache: Arc::default() }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole file: as it is kept, or read now if it is small.
    async fn whole(&self, location: &Path) -> Result<Option<(ObjectMeta, Bytes)>> {
        {
            let kept = self.cache();
            if let Some(found) = kept.files.get(location) {
                return Ok(Some(found.clone()));
            }
            if kept.listed.get(location).is_none_or(|(size, _)| *size > LARGEST) {
                return Ok(None);
            }
        }
        let result = self.inner.get_opts(location, GetOptions::default()).await?;
        let meta = result.meta.clone();
        let bytes = result.bytes().await?;
        self.cache().keep(&meta, &bytes);
        Ok(Some((meta, bytes)))
    }

    fn watch(&self, listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let kept = Arc::clone(&self.cache);
        let see = move |meta: &Result<ObjectMeta>| {
            if let Ok(meta) = meta {
                kept.lock().unwrap_or_else(PoisonError::into_inner).see(meta);
            }
        };
        listed.inspect(see).boxed()
    }
}

/// Nothing is asked but the bytes.
fn is_plain(options: &GetOptions) -> bool {
    let GetOptions { if_match, if_none_match, if_modified_since, if_unmodified_since, version, head, .. } = options;
    if_match.is_none()
        && if_none_match.is_none()
        && if_modified_since.is_none()
        && if_unmodified_since.is_none()
        && version.is_none()
        && !head
}

/// The part of a file of `size` that is asked for; `None` for one that is not in it.
fn part(range: Option<&GetRange>, size: u64) -> Option<Range<u64>> {
    let part = match range {
        None => 0..size,
        Some(GetRange::Bounded(range)) => range.start..range.end.min(size),
        Some(GetRange::Offset(from)) => *from..size,
        Some(GetRange::Suffix(n)) => size.saturating_sub(*n)..size,
    };
    (part.start < part.end).then_some(part)
}

/// The bytes of a range that is within them.
fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (from, to) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
    (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
}

impl<S: ObjectStore> fmt::Display for CachedLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CachedLog({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for CachedLog<S> {
    forward!(put_opts, put_multipart_opts, delete_stream, copy_opts, rename_opts);

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if is_cached(location)
            && is_plain(&options)
            && let Some((meta, bytes)) = self.whole(location).await?
            && let Some(range) = part(options.range.as_ref(), meta.size)
            && let Some(bytes) = slice(&bytes, &range)
        {
            let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed());
            return Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() });
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if is_cached(location)
            && let Some((meta, bytes)) = self.whole(location).await?
            && ranges.iter().all(|range| range.end <= meta.size)
            && let Some(parts) = ranges.iter().map(|range| slice(&bytes, range)).collect()
        {
            return Ok(parts);
        }
        self.inner.get_ranges(location, ranges).await
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.watch(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let listed = self.inner.list_with_delimiter(prefix).await?;
        listed.objects.iter().for_each(|meta| self.cache().see(meta));
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    async fn listed(store: &impl ObjectStore) {
        store.list(None).try_collect::<Vec<_>>().await.unwrap();
    }

    #[tokio::test]
    async fn a_log_file_is_read_once_and_forgotten_when_a_listing_shows_another() {
        let memory = Arc::new(InMemory::new());
        let store = CachedLog::new(Arc::clone(&memory));
        let at = Path::from("raw/t/_delta_log/00000000000000000007.json");
        let read = || async { store.get(&at).await.unwrap().bytes().await.unwrap() };
        store.put(&at, "first".into()).await.unwrap();
        assert_eq!(read().await, "first");
        store.put(&at, "other".into()).await.unwrap();
        assert_eq!(read().await, "other", "what no listing has shown is not kept");
        listed(&store).await;
        assert_eq!(read().await, "other");
        memory.put(&at, "third".into()).await.unwrap();
        assert_eq!(read().await, "other", "kept");
        assert_eq!(store.get_range(&at, 1..3).await.unwrap(), "th");
        assert_eq!(store.get_ranges(&at, &[0..1, 4..5]).await.unwrap(), ["o", "r"]);
        listed(&store).await;
        assert_eq!(read().await, "third", "a listing shows another tag");
        memory.delete(&at).await.unwrap();
        assert!(store.head(&at).await.is_err(), "a look at the file itself is never kept");
    }

    #[tokio::test]
    async fn what_changes_is_never_kept() {
        let memory = Arc::new(InMemory::new());
        let store = CachedLog::new(Arc::clone(&memory));
        for at in ["raw/t/_delta_log/_last_checkpoint", "raw/t/part-0.parquet", "_onggi/runs/r/00000001.json"] {
            let at = Path::from(at);
            store.put(&at, "first".into()).await.unwrap();
            listed(&store).await;
            assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "first");
            memory.put(&at, "other".into()).await.unwrap();
            assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "other", "{at}");
        }
    }

    #[test]
    fn parts_are_those_of_the_store() {
        for (range, expected) in [
            (None, Some(0..10)),
            (Some(GetRange::Bounded(2..5)), Some(2..5)),
            (Some(GetRange::Bounded(8..50)), Some(8..10)),
            (Some(GetRange::Bounded(10..20)), None),
            (Some(GetRange::Offset(7)), Some(7..10)),
            (Some(GetRange::Suffix(3)), Some(7..10)),
            (Some(GetRange::Suffix(30)), Some(0..10)),
        ] {
            assert_eq!(part(range.as_ref(), 10), expected, "{range:?}");
        }
    }
}
