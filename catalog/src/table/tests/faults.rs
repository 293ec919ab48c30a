//! A store that breaks off while a commit is written. Each fault counts its firings.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, RenameOptions,
};

use super::*;

type StoreResult<T> = object_store::Result<T>;

/// How a put of a log entry breaks.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The entry is stored and the answer lost.
    AfterStored,
    /// The entry is not stored.
    BeforeStored,
    /// The disk is full.
    DiskFull,
    /// The entry is visible, and its sync failed.
    SyncFailed,
}

#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    fault: Fault,
    left: AtomicU32,
    fired: AtomicU32,
    /// Breaks puts of checkpoints instead of log entries.
    checkpoints: AtomicBool,
}

impl Faulty {
    fn error(&self) -> object_store::Error {
        let source: Box<dyn std::error::Error + Send + Sync> = match self.fault {
            Fault::DiskFull => std::io::Error::from(std::io::ErrorKind::StorageFull).into(),
            Fault::SyncFailed => std::io::Error::other(crate::store::SyncFailed::for_test()).into(),
            Fault::AfterStored | Fault::BeforeStored => "connection reset".into(),
        };
        object_store::Error::Generic { store: "Faulty", source }
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({:?})", self.fault)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> StoreResult<PutResult> {
        let meant = if self.checkpoints.load(Ordering::Relaxed) { ".checkpoint.parquet" } else { ".json" };
        let fires = location.as_ref().contains("/_delta_log/")
            && location.as_ref().ends_with(meant)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !fires {
            return self.inner.put_opts(location, payload, opts).await;
        }
        self.fired.fetch_add(1, Ordering::Relaxed);
        if matches!(self.fault, Fault::AfterStored | Fault::SyncFailed) {
            self.inner.put_opts(location, payload, opts).await?;
        }
        Err(self.error())
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

struct Case {
    lake: Lake,
    table: Table,
    store: Arc<Faulty>,
}

impl Case {
    /// A lake whose next `times` commits meet the fault.
    async fn new(fault: Fault, times: u32) -> Self {
        let store = Arc::new(Faulty {
            inner: InMemory::new(),
            fault,
            left: 0.into(),
            fired: 0.into(),
            checkpoints: false.into(),
        });
        let lake = Lake::on_store(Arc::clone(&store)).await;
        let table = lake.create(&spec("marts.t", true)).await.unwrap();
        store.left.store(times, Ordering::Relaxed);
        Self { lake, table, store }
    }

    async fn append(&self) -> Result<Committed> {
        write(&self.table, vec![rows(&[1, 2], Some(DAY))]).await.append(task("a", 1), &info()).await
    }

    async fn replace(&self) -> Result<Committed> {
        write(&self.table, vec![rows(&[1, 2], Some(DAY))]).await.replace(Scope::Day(DAY), build(1), &info()).await
    }

    async fn rows(&self) -> Vec<String> {
        rows_of(&self.lake, "marts.t", &["id"]).await
    }

    fn fired(&self) -> u32 {
        self.store.fired.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_lost_answer_is_found_in_the_log() {
    let case = Case::new(Fault::AfterStored, 1).await;
    assert_eq!(case.append().await.unwrap(), Committed::Done(1));
    assert_eq!((case.rows().await.len(), case.fired()), (2, 1));
    let case = Case::new(Fault::AfterStored, 1).await;
    assert_eq!(case.replace().await.unwrap(), Committed::Done(1));
    assert_eq!((case.rows().await.len(), case.fired()), (2, 1));
}

#[tokio::test]
async fn a_commit_that_was_not_stored_is_tried_again() {
    let case = Case::new(Fault::BeforeStored, 2).await;
    assert_eq!(case.append().await.unwrap(), Committed::Done(1));
    assert_eq!((case.rows().await.len(), case.fired()), (2, 2));
}

#[tokio::test]
async fn what_cannot_be_decided_is_called_unknown_and_a_later_run_decides() {
    let case = Case::new(Fault::BeforeStored, 99).await;
    let error = case.append().await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(case.fired(), 4);
    case.store.left.store(0, Ordering::Relaxed);
    assert_eq!(case.append().await.unwrap(), Committed::Done(1));
    assert_eq!(case.rows().await.len(), 2);
}

#[tokio::test]
async fn a_full_disk_is_not_tried_again() {
    let case = Case::new(Fault::DiskFull, 99).await;
    let error = case.append().await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("disk is full"));
    assert_eq!(case.fired(), 1);
    case.store.left.store(0, Ordering::Relaxed);
    assert_eq!(case.append().await.unwrap(), Committed::Done(1));
}

#[tokio::test]
async fn a_failed_sync_is_unknown_however_visible_the_commit_is() {
    let case = Case::new(Fault::SyncFailed, 1).await;
    let error = case.append().await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "{error:?}");
    assert_eq!(case.append().await.unwrap(), Committed::Duplicate(1), "the next run finds it");
}

#[tokio::test]
async fn a_checkpoint_that_fails_does_not_fail_its_commit() {
    let case = Case::new(Fault::BeforeStored, 0).await;
    for id in 1..=8 {
        let written = write(&case.table, vec![rows(&[id], Some(DAY))]).await;
        let _ = written.append(task(&id.to_string(), 1), &info()).await.unwrap();
    }
    // Version 9 is the tenth commit: its entry is stored, the checkpoint after it is not.
    let written = write(&case.table, vec![rows(&[9], Some(DAY))]).await;
    case.store.checkpoints.store(true, Ordering::Relaxed);
    case.store.left.store(1, Ordering::Relaxed);
    assert_eq!(written.append(task("9", 1), &info()).await.unwrap(), Committed::Done(9));
    assert_eq!(case.fired(), 1, "the checkpoint met the fault");
    assert_eq!(case.rows().await.len(), 9);
}
