//! The parts of an S3 lake that need no server; the others are in the tests of tables.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use super::*;

type StoreResult<T> = object_store::Result<T>;

/// How a server can be unfit to hold a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// A create overwrites.
    IgnoresTheHeader,
    /// A create looks, and then writes without holding the place.
    LooksThenWrites,
    /// A refused create has written all the same.
    RefusesAndWrites,
    /// A listing is behind.
    ListsLate,
    /// A read is behind.
    ReadsLate,
}

#[derive(Debug)]
struct Flawed {
    inner: InMemory,
    flaw: Flaw,
}

impl fmt::Display for Flawed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flawed({:?})", self.flaw)
    }
}

#[async_trait]
impl ObjectStore for Flawed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut opts: PutOptions) -> StoreResult<PutResult> {
        let create = opts.mode == PutMode::Create;
        match self.flaw {
            Flaw::IgnoresTheHeader => opts.mode = PutMode::Overwrite,
            Flaw::RefusesAndWrites if create && self.inner.head(location).await.is_ok() => {
                self.inner.put(location, payload.clone()).await?;
            }
            Flaw::LooksThenWrites if create => {
                if self.inner.head(location).await.is_err() {
                    opts.mode = PutMode::Overwrite;
                }
                tokio::task::yield_now().await;
            }
            _ => {}
        }
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        if self.flaw == Flaw::ReadsLate {
            return Err(object_store::Error::NotFound { path: location.to_string(), source: "not yet".into() });
        }
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let nothing = Path::from("nothing");
        self.inner.list(if self.flaw == Flaw::ListsLate { Some(&nothing) } else { prefix })
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_creates_twice_is_refused() {
    for (flaw, expected) in [
        (Flaw::IgnoresTheHeader, "lets two writers create the same object"),
        (Flaw::LooksThenWrites, "writers that create the same object at once"),
        (Flaw::RefusesAndWrites, "a create that it refused has changed the object"),
        (Flaw::ListsLate, "not listed at once"),
        (Flaw::ReadsLate, "can't be read at once"),
    ] {
        let store = CreateOnce::new(Arc::new(Flawed { inner: InMemory::new(), flaw }));
        let failed = probe::prove(&store, &Path::from("a/b"), "here").await.unwrap_err();
        let probe::Failed::Unfit(reason) = failed else { panic!("{flaw:?}: {failed:?}") };
        assert!(reason.contains(expected), "{flaw:?}: {reason}");
        let left = store.list_with_delimiter(Some(&Path::from("a/b/_onggi"))).await.unwrap();
        assert!(left.common_prefixes.is_empty() && left.objects.is_empty(), "{flaw:?} left {left:?}");
    }
}

#[tokio::test]
async fn a_fit_store_is_proved_once_a_place() {
    let store = Arc::new(Flawed { inner: InMemory::new(), flaw: Flaw::None });
    let store = CreateOnce::new(store);
    let prefix = Path::from("a/b");
    probe::prove(&store, &prefix, "here").await.unwrap();
    let at = Path::from("a/b/_onggi/probe.json");
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), r#"{"at":"here"}"#);
    let first = store.head(&at).await.unwrap();
    probe::prove(&store, &prefix, "here").await.unwrap();
    assert_eq!(store.head(&at).await.unwrap().e_tag, first.e_tag, "not asked again");
    probe::prove(&store, &prefix, "there").await.unwrap();
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), r#"{"at":"there"}"#);
}

#[tokio::test]
async fn a_refused_store_is_an_error_with_a_way_out() {
    let settings = StoreSettings { endpoint: Some("http://127.0.0.1:9".parse().unwrap()), ..StoreSettings::default() };
    let place = open("s3://bucket/lake", &settings).await.unwrap();
    let error = explain::failed(&place.bucket.unwrap(), probe::Failed::Unfit("it lies".into()));
    assert_eq!(
        error.to_string(),
        "cannot open the lake `s3://bucket/lake/`: http://127.0.0.1:9 can't hold one: it lies"
    );
    assert!(error.hint().unwrap().contains("conditional writes"));
}

#[test]
fn keys_in_a_url_are_refused_and_not_repeated() {
    let error = parse("s3://AKIAX:s3cr3t@bucket/prefix").unwrap_err();
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
    assert!(error.hint().unwrap().contains("environment"));
}

#[test]
fn an_endpoint_gets_the_bucket_into_its_host_if_asked() {
    let endpoint = "https://host.example:9000/".parse().unwrap();
    assert_eq!(address(&endpoint, None), "https://host.example:9000");
    assert_eq!(address(&endpoint, Some(&"b1".to_owned())), "https://b1.host.example:9000");
}
