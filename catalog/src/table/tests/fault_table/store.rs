//! A store that misbehaves as told: one fault, at one kind of request, so many times. It counts its firings.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::store::Tried;

use super::fault::{Fault, Verb, verb_of_put};

/// The faulty store.
#[derive(Debug, Clone)]
pub(super) struct Faulty {
    inner: Arc<InMemory>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    verb: Verb,
    fault: Fault,
    armed: AtomicBool,
    left: AtomicU32,
    fired: AtomicU32,
    /// Requests that were sent and land later.
    late: Mutex<Vec<(Path, PutPayload, PutOptions)>>,
}

impl Faulty {
    pub(super) fn new(inner: Arc<InMemory>, verb: Verb, fault: Fault, times: u32) -> Self {
        let state =
            State { verb, fault, armed: false.into(), left: times.into(), fired: 0.into(), late: Mutex::default() };
        Self { inner, state: Arc::new(state) }
    }

    pub(super) fn fired(&self) -> u32 {
        self.state.fired.load(Ordering::Relaxed)
    }

    pub(super) fn arm(&self) {
        self.state.armed.store(true, Ordering::Relaxed);
    }

    pub(super) fn disarm(&self) {
        self.state.armed.store(false, Ordering::Relaxed);
    }

    /// Lets land what was sent and not answered.
    pub(super) async fn land(&self) {
        let late = std::mem::take(&mut *self.state.late.lock().unwrap());
        for (path, payload, options) in late {
            let _ = self.inner.put_opts(&path, payload, options).await;
        }
    }

    async fn land_at(&self, location: &Path) {
        if self.state.fault != Fault::TimeoutLandsAtNext {
            return;
        }
        let due: Vec<_> = {
            let mut late = self.state.late.lock().unwrap();
            let (due, rest) = late.drain(..).partition(|(path, ..)| path == location);
            *late = rest;
            due
        };
        for (path, payload, options) in due {
            let _ = self.inner.put_opts(&path, payload, options).await;
        }
    }

    /// Whether this request meets the fault.
    fn fires(&self, verb: Verb) -> bool {
        let left = || self.state.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let fires = verb == self.state.verb && self.state.armed.load(Ordering::Relaxed) && left().is_ok();
        self.state.fired.fetch_add(u32::from(fires), Ordering::Relaxed);
        fires
    }

    async fn delay(&self) {
        if self.state.fault == Fault::Slow {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?} at {:?})", self.state.fault, self.state.verb)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.land_at(location).await;
        if !self.fires(verb_of_put(location, &opts.mode)) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        self.delay().await;
        self.state.fault.note(opts.extensions.get::<Tried>());
        if self.state.fault.does_it() {
            let done = self.inner.put_opts(location, payload, opts).await?;
            return if self.state.fault == Fault::Slow { Ok(done) } else { Err(self.state.fault.error(location)) };
        }
        if matches!(self.state.fault, Fault::TimeoutLandsAtNext | Fault::TimeoutLandsLast) {
            self.state.late.lock().unwrap().push((location.clone(), payload, opts));
        }
        Err(self.state.fault.error(location))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultyUpload { upload, store: self.clone(), location: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let verb = if options.range.is_some() { Verb::GetRange } else { Verb::Get };
        if !self.fires(verb) {
            return self.inner.get_opts(location, options).await;
        }
        self.delay().await;
        match self.state.fault {
            Fault::Slow => self.inner.get_opts(location, options).await,
            Fault::CutBody => {
                let mut result = self.inner.get_opts(location, options).await?;
                let bytes = result.payload_bytes().await?;
                let half = bytes.slice(..bytes.len() / 2);
                let cut = Error::Generic { store: "Faulty", source: "the body ended too soon".into() };
                result.payload = GetResultPayload::Stream(futures::stream::iter([Ok(half), Err(cut)]).boxed());
                Ok(result)
            }
            _ => Err(self.state.fault.error(location)),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if !self.fires(Verb::GetRange) {
            return self.inner.get_ranges(location, ranges).await;
        }
        self.delay().await;
        if self.state.fault == Fault::Slow {
            return self.inner.get_ranges(location, ranges).await;
        }
        Err(self.state.fault.error(location))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                if !store.fires(Verb::Delete) {
                    return store.inner.delete(&location).await.map(|()| location);
                }
                store.delay().await;
                if store.state.fault.does_it() {
                    store.inner.delete(&location).await?;
                    if store.state.fault == Fault::Slow {
                        return Ok(location);
                    }
                }
                Err(store.state.fault.error(&location))
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        if !self.fires(Verb::List) {
            return listed;
        }
        let error = self.state.fault.error(&prefix.cloned().unwrap_or_default());
        match self.state.fault {
            Fault::Slow => listed
                .then(|it| async {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    it
                })
                .boxed(),
            // A page, and then it breaks off.
            Fault::CutBody => listed.take(1).chain(futures::stream::once(async { Err(error) })).boxed(),
            _ => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fires(Verb::List) {
            self.delay().await;
            if self.state.fault != Fault::Slow {
                return Err(self.state.fault.error(&prefix.cloned().unwrap_or_default()));
            }
        }
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// The bytes of a result that is to be cut.
trait PayloadBytes {
    async fn payload_bytes(&mut self) -> Result<Bytes>;
}

impl PayloadBytes for GetResult {
    async fn payload_bytes(&mut self) -> Result<Bytes> {
        let empty = GetResultPayload::Stream(futures::stream::empty().boxed());
        let payload = std::mem::replace(&mut self.payload, empty);
        let whole = GetResult {
            payload,
            meta: self.meta.clone(),
            range: self.range.clone(),
            attributes: self.attributes.clone(),
        };
        whole.bytes().await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    store: Faulty,
    location: Path,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if !self.store.fires(Verb::Part) {
            return self.upload.put_part(data);
        }
        let (store, location) = (self.store.clone(), self.location.clone());
        let done = store.state.fault.does_it().then(|| self.upload.put_part(data));
        Box::pin(async move {
            store.delay().await;
            if let Some(done) = done {
                done.await?;
                if store.state.fault == Fault::Slow {
                    return Ok(());
                }
            }
            Err(store.state.fault.error(&location))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if !self.store.fires(Verb::Complete) {
            return self.upload.complete().await;
        }
        self.store.delay().await;
        if self.store.state.fault.does_it() {
            let done = self.upload.complete().await?;
            if self.store.state.fault == Fault::Slow {
                return Ok(done);
            }
        }
        Err(self.store.state.fault.error(&self.location))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
