//! What is not a table: small objects under `<lake>/_onggi/`.
//!
//! Objects here have bounded size and fit in memory, so nothing streams. A path is written once
//! with [`Objects::put_new`] (who comes second is told so) or overwritten with [`Objects::put`].

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{Access, Error, Result};
use crate::path::ObjectPath;
use crate::store::Volatile;

/// Whether a [`Objects::put_new`] was the first.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutNew {
    /// The object is ours.
    Created,
    /// It was there already and is untouched.
    Existed,
}

/// An object as a listing tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Where it is.
    pub path: ObjectPath,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the store's own clock.
    pub modified: Timestamp,
}

/// When the store took it in, by its own clock; the beginning of all time where it does not say.
pub(crate) fn modified(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_microsecond(meta.last_modified.timestamp_micros()).unwrap_or(Timestamp::MIN)
}

/// The objects of a lake.
#[derive(Debug, Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    uri: Arc<str>,
}

impl Objects {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, uri: &str) -> Self {
        Self { store, uri: uri.into() }
    }

    /// Writes an object that is not there yet; durable when it returns. Of several at once, one wins.
    pub async fn put_new(&self, path: &ObjectPath, bytes: Bytes) -> Result<PutNew> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(path.as_path(), PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(PutNew::Created),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(PutNew::Existed),
            Err(source) => Err(self.failed(Access::Write, "writing", path, source)),
        }
    }

    /// Writes an object, whatever was there; durable when it returns.
    pub async fn put(&self, path: &ObjectPath, bytes: Bytes) -> Result<()> {
        let put = self.store.put(path.as_path(), PutPayload::from_bytes(bytes));
        put.await.map(drop).map_err(|source| self.failed(Access::Write, "writing", path, source))
    }

    /// Writes an object without waiting for the disk: for what may be lost with the power, such as
    /// progress. Readers see it whole or not at all, as with [`Objects::put`].
    pub async fn put_volatile(&self, path: &ObjectPath, bytes: Bytes) -> Result<()> {
        let mut options = PutOptions::default();
        options.extensions.insert(Volatile);
        let put = self.store.put_opts(path.as_path(), PutPayload::from_bytes(bytes), options);
        put.await.map(drop).map_err(|source| self.failed(Access::Write, "writing", path, source))
    }

    /// Reads an object; `None` if it isn't there.
    pub async fn get(&self, path: &ObjectPath) -> Result<Option<Bytes>> {
        let read = async { self.store.get(path.as_path()).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed(Access::Read, "reading", path, source)),
        }
    }

    /// All objects under `prefix`, sorted by path.
    pub async fn list(&self, prefix: &ObjectPath) -> Result<Vec<ObjectPath>> {
        Ok(self.entries(prefix).await?.into_iter().map(|entry| entry.path).collect())
    }

    /// All objects under `prefix`, sorted by path, with what the store tells of them.
    pub async fn entries(&self, prefix: &ObjectPath) -> Result<Vec<ObjectEntry>> {
        let listed = self.store.list(Some(prefix.as_path()));
        let mut entries: Vec<_> = listed
            .map_ok(|meta| ObjectEntry {
                modified: modified(&meta),
                bytes: meta.size,
                path: ObjectPath::listed(meta.location),
            })
            .try_collect()
            .await
            .map_err(|source| self.failed(Access::List, "listing", prefix, source))?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    /// The names of the folders right under `prefix`, sorted.
    pub async fn folders(&self, prefix: &ObjectPath) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(Some(prefix.as_path())).await;
        let folders = match listed {
            Ok(listed) => listed.common_prefixes,
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            Err(source) => return Err(self.failed(Access::List, "listing", prefix, source)),
        };
        let names: BTreeSet<_> = folders.iter().filter_map(Path::filename).map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }

    /// Deletes an object; one that isn't there is fine.
    pub async fn delete(&self, path: &ObjectPath) -> Result<()> {
        match self.store.delete(path.as_path()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed(Access::Delete, "deleting", path, source)),
        }
    }

    /// Deletes all objects under `prefix`.
    pub async fn delete_prefix(&self, prefix: &ObjectPath) -> Result<()> {
        let paths = self.list(prefix).await?;
        let deletes = futures::stream::iter(paths).map(|path| async move { self.delete(&path).await });
        deletes.buffer_unordered(8).try_collect().await
    }

    fn failed(&self, tried: Access, doing: &str, path: &ObjectPath, source: object_store::Error) -> Error {
        Error::store(&self.uri, tried, format!("{doing} `{path}`"), source)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Lake, path};

    /// The contract of objects, over every kind of store.
    pub(crate) async fn contract(lake: Lake) {
        let objects = lake.objects();
        let part = |name: &str| path::state("test", name);
        assert_eq!(objects.get(&part("a")).await.unwrap(), None);
        assert_eq!(objects.put_new(&part("a"), "1".into()).await.unwrap(), PutNew::Created);
        assert_eq!(objects.put_new(&part("a"), "2".into()).await.unwrap(), PutNew::Existed);
        assert_eq!(objects.get(&part("a")).await.unwrap().unwrap(), "1");
        objects.put(&part("a"), "3".into()).await.unwrap();
        objects.put_volatile(&part("b"), "4".into()).await.unwrap();
        assert_eq!(objects.get(&part("a")).await.unwrap().unwrap(), "3");
        assert_eq!(objects.list(&path::states("test")).await.unwrap(), [part("a"), part("b")]);
        let entries = objects.entries(&path::states("test")).await.unwrap();
        assert_eq!(
            entries.iter().map(|entry| (entry.path.clone(), entry.bytes)).collect::<Vec<_>>(),
            [(part("a"), 1), (part("b"), 1)]
        );
        assert!(entries[0].modified <= entries[1].modified && entries[0].modified > Timestamp::UNIX_EPOCH);
        assert_eq!(objects.list(&path::states("none")).await.unwrap(), []);
        assert_eq!(objects.folders(&path::runs()).await.unwrap(), Vec::<String>::new());
        objects.delete(&part("a")).await.unwrap();
        objects.delete(&part("a")).await.unwrap();
        objects.delete_prefix(&path::states("test")).await.unwrap();
        assert_eq!(objects.list(&path::states("test")).await.unwrap(), []);
    }

    #[tokio::test]
    async fn objects_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        contract(Lake::open(dir.path().to_str().unwrap(), "demo").await.unwrap()).await;
    }

    #[tokio::test]
    async fn objects_in_memory() {
        contract(Lake::open("memory://objects", "demo").await.unwrap()).await;
    }

    #[tokio::test]
    async fn of_many_writers_one_creates() {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(dir.path().to_str().unwrap(), "demo").await.unwrap();
        let target = path::state("race", "one");
        let puts = (0..16).map(|i| lake.objects().put_new(&target, format!("{i}").into()));
        let created = futures::future::join_all(puts).await;
        assert_eq!(created.into_iter().filter(|r| *r.as_ref().unwrap() == PutNew::Created).count(), 1);
    }
}
