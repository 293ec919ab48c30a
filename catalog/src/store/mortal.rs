//! A store whose writes may be the last thing that a simulated process does. See [`crate::simulation`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, future};
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::forward::forward;
use crate::simulation::{at_once, is_played, of_disk, write};

/// Passes everything on through the simulation, if there is one: writes may be the last, and nothing else goes on while the disk
/// is asked.
#[derive(Debug)]
pub(crate) struct Mortal {
    inner: Arc<dyn ObjectStore>,
}

impl Mortal {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mortal({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Mortal {
    forward!(copy_opts, rename_opts);

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = of_disk(self.inner.get_opts(location, options)).await?;
        if is_played() && matches!(found.payload, GetResultPayload::File(..)) {
            let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
            let bytes = at_once(found.bytes()).await?;
            let payload = GetResultPayload::Stream(stream::once(future::ready(Ok(bytes))).boxed());
            found = GetResult { payload, meta, range, attributes };
        }
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        of_disk(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let deleted = self.inner.delete_stream(locations);
        if !is_played() {
            return deleted;
        }
        let next = |mut deleted: BoxStream<'static, Result<Path>>| async {
            at_once(deleted.next()).await.map(|it| (it, deleted))
        };
        stream::unfold(deleted, next).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        in_order(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        in_order(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        of_disk(self.inner.list_with_delimiter(prefix)).await
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        write(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(MortalUpload { upload }))
    }
}

/// What is listed, in a simulation in the order of the names: a folder has none.
fn in_order(listed: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    if !is_played() {
        return listed;
    }
    let all = async {
        let mut all: Vec<Result<ObjectMeta>> = of_disk(listed.collect()).await;
        all.sort_by(|one, other| match (one, other) {
            (Ok(one), Ok(other)) => one.location.cmp(&other.location),
            (one, other) => one.is_ok().cmp(&other.is_ok()),
        });
        stream::iter(all)
    };
    stream::once(all).flatten().boxed()
}

/// An upload whose completion is the write.
#[derive(Debug)]
struct MortalUpload {
    upload: Box<dyn MultipartUpload>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for MortalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        write(self.upload.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
