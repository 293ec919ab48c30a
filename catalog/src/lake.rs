//! A lake: one URL, the tables below it, and the objects beside them.
//!
//! The first project to open a lake writes its name into `_onggi/lake.json`, create-only; from then
//! on the lake is refused to every other project, so that two of them can't mix their tables.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::logstore::{StorageConfig, default_logstore};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::cache::TableCache;
use crate::error::{Access, Error, Result};
use crate::id::fresh_id;
use crate::name::{Layer, TableName};
use crate::objects::{Objects, PutNew};
use crate::path;
use crate::store::{self, Bucket, Place, Requests, StoreSettings};

/// A lake. Clones are the same lake.
#[derive(Debug, Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    /// The store seen from the lake's root.
    store: Arc<dyn ObjectStore>,
    objects: Objects,
    cache: TableCache,
    session: SessionContext,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lake({} on {})", self.place.url, self.place.root)
    }
}

/// `_onggi/lake.json`
#[derive(Debug, Serialize, Deserialize)]
struct LakeFile {
    project: String,
    /// Raised when a lake can't be read by older programs any more.
    format: u32,
}

/// `_onggi/lake-id.json`
#[derive(Debug, Serialize, Deserialize)]
struct LakeIdFile {
    id: String,
}

const FORMAT: u32 = 1;

impl Lake {
    /// Opens the lake at `uri`: a local path, `file://…` or `memory://name`. The first project to
    /// open it makes it its own; another one gets [`Error::OtherProject`].
    pub async fn open(uri: &str, project: &str) -> Result<Self> {
        Self::open_with(uri, project, &StoreSettings::default()).await
    }

    /// As [`Lake::open`], also `s3://bucket/prefix`. A bucket is proved first, once a lake: one that
    /// lets two writers create the same object is refused, since there a commit could be lost.
    pub async fn open_with(uri: &str, project: &str, settings: &StoreSettings) -> Result<Self> {
        Self::at(store::open(uri, settings).await?, project).await
    }

    /// Opens the lake at `uri` to look at it, if there is one: nothing is made, and no bucket is proved. A `project` that is
    /// named must be the one whose lake it is.
    pub async fn find_with(uri: &str, project: Option<&str>, settings: &StoreSettings) -> Result<Option<Self>> {
        let lake = Self::on(store::open(uri, settings).await?);
        match (lake.objects().get(&path::lake()).await?, project) {
            (Some(bytes), Some(project)) => lake.belongs_to(project, &bytes)?,
            // What lay under it may be lost; tables make a lake, too.
            (None, _) if lake.tables().await?.is_empty() => return Ok(None),
            _ => {}
        }
        Ok(Some(lake))
    }

    pub(crate) async fn at(place: Place, project: &str) -> Result<Self> {
        let lake = Self::on(place);
        if let Some(bucket) = &lake.inner.place.bucket {
            bucket.prove(&lake.inner.place.prefix).await?;
        }
        lake.claim(project).await?;
        Ok(lake)
    }

    fn on(place: Place) -> Self {
        let store: Arc<dyn ObjectStore> = if place.prefix.as_ref().is_empty() {
            Arc::clone(&place.root)
        } else {
            Arc::new(PrefixStore::new(Arc::clone(&place.root), place.prefix.clone()))
        };
        let objects = Objects::new(Arc::clone(&store), place.url.as_str());
        let inner = Inner { place, store, objects, cache: TableCache::default(), session: SessionContext::new() };
        Self { inner: Arc::new(inner) }
    }

    /// A lake on a store that a test made.
    #[cfg(test)]
    pub(crate) async fn on_store(store: Arc<impl ObjectStore>) -> Self {
        let url = Url::parse("memory://on-store/").unwrap();
        let root = Arc::new(store::CheckedLog::new(store));
        let lake = Self::on(Place { url, root, prefix: Path::default(), folder: None, syncs: None, bucket: None });
        lake.claim("demo").await.unwrap();
        lake
    }

    /// The lake's URL, ending in `/`.
    pub fn uri(&self) -> &Url {
        &self.inner.place.url
    }

    /// `<lake>/_onggi` if the lake is a local folder: where embedded parts (queue, indexes) live.
    pub fn local_dir(&self) -> Option<PathBuf> {
        self.inner.place.folder.as_ref().map(|folder| folder.join(path::LOCAL_HOUSE))
    }

    /// The lake's folder, if it is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.inner.place.folder.clone()
    }

    /// What is not a table.
    pub fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    /// How often a file or folder of a local lake has been synced through this value.
    pub fn syncs(&self) -> Option<u64> {
        self.inner.place.syncs.as_ref().map(store::SyncCount::get)
    }

    /// The HTTP requests made to the store so far, if it is one that is asked by HTTP.
    pub fn requests(&self) -> Option<Requests> {
        self.inner.place.bucket.as_ref().map(Bucket::requests)
    }

    /// The address of the store's server, for people; `None` for a folder or memory. An open lake's
    /// server has been proved to create an object once.
    pub fn server(&self) -> Option<String> {
        self.inner.place.bucket.as_ref().map(Bucket::server)
    }

    /// What tells this lake from every other one, also from one of the same project: chance, made when it is first asked for. It
    /// lies under `_onggi/` and can be lost with it; what follows the lake then knows its tables by their own ids.
    pub async fn id(&self) -> Result<String> {
        if let Some(id) = self.find_id().await? {
            return Ok(id);
        }
        let bytes = serde_json::to_vec(&LakeIdFile { id: fresh_id() })
            .map_err(|e| Error::Storage { what: "writing the lake's id".into(), source: e.into() })?;
        // Whoever is first, the object decides.
        let (PutNew::Created | PutNew::Existed) = self.objects().put_new(&path::lake_id(), bytes.into()).await?;
        Ok(self.find_id().await?.unwrap_or_default())
    }

    /// The same for those who only look; `None` where nobody has asked for it yet.
    pub async fn find_id(&self) -> Result<Option<String>> {
        let at = path::lake_id();
        let Some(bytes) = self.objects().get(&at).await? else { return Ok(None) };
        let found: LakeIdFile = serde_json::from_slice(&bytes).map_err(|e| Error::Damaged {
            what: format!("lake {}", self.uri()),
            file: at.to_string(),
            detail: e.to_string(),
            hint:
                "delete it: the next run makes another one, and what follows the lake knows its tables by their own ids"
                    .into(),
        })?;
        Ok(Some(found.id))
    }

    /// All tables, sorted by name.
    pub async fn tables(&self) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for layer in Layer::ALL {
            let listed = self.inner.store.list_with_delimiter(Some(&Path::from(layer.as_str()))).await;
            let folders = match listed {
                Ok(listed) => listed.common_prefixes,
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(e) => return Err(Error::store(self.uri().as_str(), Access::List, "listing the tables", e)),
            };
            for name in folders.iter().filter_map(|p| TableName::new(layer, p.filename()?).ok()) {
                if self.has_log(&name).await? {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the lake `project`'s, or makes sure that it is.
    async fn claim(&self, project: &str) -> Result<()> {
        let at = path::lake();
        let mine = LakeFile { project: project.to_owned(), format: FORMAT };
        let found = if let Some(bytes) = self.objects().get(&at).await? {
            bytes
        } else {
            let bytes = serde_json::to_vec(&mine)
                .map_err(|e| Error::Storage { what: "writing the lake file".into(), source: e.into() })?;
            match self.objects().put_new(&at, bytes.into()).await? {
                PutNew::Created => return Ok(()),
                PutNew::Existed => self.objects().get(&at).await?.unwrap_or_default(),
            }
        };
        self.belongs_to(project, &found)
    }

    /// Makes sure that the lake whose file this is can be read by this program, and is `project`'s.
    fn belongs_to(&self, project: &str, file: &[u8]) -> Result<()> {
        let at = path::lake();
        let found: LakeFile = serde_json::from_slice(file).map_err(|e| Error::Damaged {
            what: format!("lake {}", self.uri()),
            file: at.to_string(),
            detail: e.to_string(),
            hint: format!(
                "if the lake is this project's, write `{{\"project\":\"{project}\",\"format\":{FORMAT}}}` into it"
            ),
        })?;
        if found.format > FORMAT {
            return Err(Error::unsupported(
                self.uri().as_str(),
                format!("expected format {FORMAT} or older, found {}", found.format),
                "a newer program wrote it: use that one, or choose another lake with `--lake`",
            ));
        }
        if found.project != project {
            return Err(Error::OtherProject {
                uri: self.uri().to_string(),
                expected: project.to_owned(),
                found: found.project,
            });
        }
        Ok(())
    }

    /// Whether the table's log has anything in it.
    pub(crate) async fn has_log(&self, name: &TableName) -> Result<bool> {
        match self.inner.store.list(Some(&path::log(name))).next().await {
            None | Some(Err(object_store::Error::NotFound { .. })) => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(e)) => Err(Error::store(self.uri().as_str(), Access::List, format!("looking for {name}"), e)),
        }
    }

    /// The Delta library's handle on a table, nothing loaded yet.
    pub(crate) fn handle(&self, name: &TableName) -> Result<DeltaTable> {
        let (uri, root) = (self.uri(), &self.inner.place.root);
        let failed =
            |reason: String| Error::Storage { what: format!("naming the folder of {name}"), source: reason.into() };
        let url = uri.join(&format!("{}/", path::table(name))).map_err(|e| failed(e.to_string()))?;
        let folder: Path = self.inner.place.prefix.parts().chain(path::table(name).parts()).collect();
        let table: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(root), folder));
        Ok(DeltaTable::new(default_logstore(table, Arc::clone(root), &url, &StorageConfig::default())))
    }

    /// The store from the lake's root.
    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.inner.store
    }

    /// The store from `/`, and the lake's root in it.
    pub(crate) fn root_store(&self) -> (&Arc<dyn ObjectStore>, &Path) {
        (&self.inner.place.root, &self.inner.place.prefix)
    }

    /// What is remembered of its tables.
    pub(crate) fn cache(&self) -> &TableCache {
        &self.inner.cache
    }

    /// A read of an object below the lake's root that failed.
    pub(crate) fn read_failed(&self, what: impl Into<String>, source: object_store::Error) -> Error {
        Error::store(self.uri().as_str(), Access::Read, what, source)
    }

    /// Plans plain reads.
    pub(crate) fn session(&self) -> &SessionContext {
        &self.inner.session
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{DAY, folder, info, rows, spec, task, write};

    #[tokio::test]
    async fn a_lake_has_one_id_which_is_made_when_it_is_asked_for() {
        let ((_one, uri), (_other, elsewhere)) = (folder(), folder());
        let lake = Lake::open(&uri, "demo").await.unwrap();
        assert_eq!(lake.find_id().await.unwrap(), None, "who looks makes nothing");
        let again = Lake::open(&uri, "demo").await.unwrap();
        let (id, same) = tokio::join!(lake.id(), again.id());
        let id = id.unwrap();
        assert_eq!((same.unwrap(), again.find_id().await.unwrap()), (id.clone(), Some(id.clone())));
        assert_ne!(Lake::open(&elsewhere, "demo").await.unwrap().id().await.unwrap(), id);
        std::fs::write(std::path::Path::new(&uri).join("_onggi/lake-id.json"), "{").unwrap();
        let error = lake.id().await.unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }) && error.hint().unwrap().contains("delete it"), "{error:?}");
    }

    #[tokio::test]
    async fn an_opened_lake_is_freed_with_the_last_of_what_was_made_of_it() {
        let (_dir, uri) = folder();
        let lake = Lake::open(&uri, "demo").await.unwrap();
        let table = lake.create(&spec("raw.t", true)).await.unwrap();
        let _ = table.append(vec![rows(&[1], Some(DAY))], task("a", 1), &info()).await.unwrap();
        let snapshot = table.snapshot().await.unwrap();
        let provider = snapshot.provider().await.unwrap();
        let written = write(&table, vec![rows(&[2], Some(DAY))]).await;
        let pending = written.provider().unwrap();
        let inner = Arc::downgrade(&lake.inner);
        drop((table, written));
        drop(lake);
        assert!(inner.upgrade().is_some(), "a snapshot is of a lake");
        drop(snapshot);
        assert!(inner.upgrade().is_none(), "what a statement reads is no longer of it");
        drop((provider, pending));
    }
}
