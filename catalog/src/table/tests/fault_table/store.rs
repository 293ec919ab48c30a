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
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::store::Tried;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    /// A data file in one piece.
    PutData,
    /// A log entry, created.
    PutLog,
    /// A checkpoint, or the pointer at it.
    PutCheckpoint,
    /// An object beside the tables, created.
    Create,
    /// An object beside the tables, overwritten.
    Put,
    /// A part of a data file.
    Part,
    /// The end of a data file in parts.
    Complete,
    /// A whole object.
    Get,
    /// A range of an object.
    GetRange,
    List,
    Delete,
}

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// 503, and nothing is done.
    Busy,
    /// It is done, and answered with 500.
    DoneThen500,
    /// Nothing is sent.
    TimeoutBefore,
    /// It is sent and not answered; it is done when the same is asked for again.
    TimeoutLandsAtNext,
    /// It is sent and not answered; it is done when everybody has given up.
    TimeoutLandsLast,
    /// It is done, and the connection is lost.
    LostReply,
    /// 409: another create of the same object is under way.
    Conflict,
    /// It is done, asked for again below, and that is answered with 412.
    OwnExists,
    /// It is done, asked for again below, and that is answered with an expired key.
    DoneThen403,
    /// The key has expired.
    Expired,
    /// What is there is not seen.
    Missing,
    /// The body ends too soon.
    CutBody,
    /// It takes its time.
    Slow,
}

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
        let state = State { verb, fault, armed: false.into(), left: times.into(), fired: 0.into(), late: Mutex::default() };
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

    /// What the fault answers, once what it does is done.
    fn error(&self, location: &Path) -> Error {
        let path = location.to_string();
        let generic = |text: &str| Error::Generic { store: "Faulty", source: text.into() };
        match self.state.fault {
            Fault::Busy => generic("503 SlowDown"),
            Fault::DoneThen500 => generic("500 InternalError"),
            Fault::TimeoutBefore | Fault::TimeoutLandsAtNext | Fault::TimeoutLandsLast => generic("timed out"),
            Fault::LostReply | Fault::CutBody | Fault::Slow => generic("connection reset"),
            Fault::Conflict => Error::AlreadyExists { path, source: "409 ConditionalRequestConflict".into() },
            Fault::OwnExists => Error::AlreadyExists { path, source: "412 PreconditionFailed".into() },
            Fault::Expired | Fault::DoneThen403 => Error::PermissionDenied { path, source: "403 ExpiredToken".into() },
            Fault::Missing => Error::NotFound { path, source: "404 NoSuchKey".into() },
        }
    }

    /// What the requests below would have noted on their way.
    fn note(&self, tried: Option<&Tried>) {
        let Some(tried) = tried else { return };
        match self.state.fault {
            Fault::Busy => tried.note(Some(503), true),
            Fault::DoneThen500 => tried.note(Some(500), true),
            Fault::Conflict => tried.note(Some(409), true),
            Fault::Expired => tried.note(Some(403), true),
            Fault::OwnExists => {
                tried.note(Some(500), true);
                tried.note(Some(412), true);
            }
            Fault::DoneThen403 => {
                tried.note(Some(500), true);
                tried.note(Some(403), true);
            }
            Fault::Missing => tried.note(Some(404), true),
            Fault::Slow => tried.note(Some(200), true),
            Fault::TimeoutBefore
            | Fault::TimeoutLandsAtNext
            | Fault::TimeoutLandsLast
            | Fault::LostReply
            | Fault::CutBody => tried.note(None, true),
        }
    }

    /// Whether the fault does what was asked before it answers.
    fn does_it(&self) -> bool {
        matches!(
            self.state.fault,
            Fault::DoneThen500 | Fault::LostReply | Fault::OwnExists | Fault::DoneThen403 | Fault::Slow
        )
    }

    async fn delay(&self) {
        if self.state.fault == Fault::Slow {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn verb_of_put(location: &Path, mode: &PutMode) -> Verb {
    let path = location.as_ref();
    let log = path.contains("/_delta_log/");
    match mode {
        PutMode::Create if log => Verb::PutLog,
        _ if log => Verb::PutCheckpoint,
        _ if !path.starts_with("_onggi/") => Verb::PutData,
        PutMode::Create => Verb::Create,
        _ => Verb::Put,
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
        self.note(opts.extensions.get::<Tried>());
        if self.does_it() {
            let done = self.inner.put_opts(location, payload, opts).await?;
            return if self.state.fault == Fault::Slow { Ok(done) } else { Err(self.error(location)) };
        }
        if matches!(self.state.fault, Fault::TimeoutLandsAtNext | Fault::TimeoutLandsLast) {
            self.state.late.lock().unwrap().push((location.clone(), payload, opts));
        }
        Err(self.error(location))
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
            _ => Err(self.error(location)),
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
        Err(self.error(location))
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
                if store.does_it() {
                    store.inner.delete(&location).await?;
                    if store.state.fault == Fault::Slow {
                        return Ok(location);
                    }
                }
                Err(store.error(&location))
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.inner.list(prefix);
        if !self.fires(Verb::List) {
            return listed;
        }
        let error = self.error(&prefix.cloned().unwrap_or_default());
        match self.state.fault {
            Fault::Slow => listed.then(|it| async { tokio::time::sleep(Duration::from_millis(5)).await; it }).boxed(),
            // A page, and then it breaks off.
            Fault::CutBody => listed.take(1).chain(futures::stream::once(async { Err(error) })).boxed(),
            _ => futures::stream::once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if self.fires(Verb::List) {
            self.delay().await;
            if self.state.fault != Fault::Slow {
                return Err(self.error(&prefix.cloned().unwrap_or_default()));
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
        let done = store.does_it().then(|| self.upload.put_part(data));
        Box::pin(async move {
            store.delay().await;
            if let Some(done) = done {
                done.await?;
                if store.state.fault == Fault::Slow {
                    return Ok(());
                }
            }
            Err(store.error(&location))
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        if !self.store.fires(Verb::Complete) {
            return self.upload.complete().await;
        }
        self.store.delay().await;
        if self.store.does_it() {
            let done = self.upload.complete().await?;
            if self.store.state.fault == Fault::Slow {
                return Ok(done);
            }
        }
        Err(self.store.error(&self.location))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
