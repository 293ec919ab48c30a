//! Lakes in a bucket of a real server: the contract, races, what can be wrong when one is opened, and the
//! same faults as in memory, but below the store's own retries.

mod http;

use std::sync::atomic::{AtomicU32, Ordering};

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::StreamExt as _;
use object_store::client::{HttpConnector, ReqwestConnector};
use object_store::{BackoffConfig, RetryConfig};

use super::*;
use crate::aws::SdkConfig;
use crate::store::{Place, StoreSettings, open_bucket};
use crate::{PutNew, path};
use http::{Fault, FaultyHttp, Verb};

/// A place in a bucket of the test's server; each call of [`Spot::open`] is a process of its own.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    uri: String,
    endpoint: String,
    key: String,
    secret: String,
}

impl Spot {
    /// A fresh place; `None` if there is no server here, which has been said.
    pub(super) fn new(name: &str) -> Option<Self> {
        static BUCKET: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = services::s3()?;
        let bucket = BUCKET.get_or_init(|| server.bucket());
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            uri: format!("s3://{bucket}/{name}/{n}"),
            endpoint: server.endpoint().to_owned(),
            key: server.access_key().to_owned(),
            secret: server.secret_key().to_owned(),
        })
    }

    fn place(&self, http: Arc<dyn HttpConnector>) -> Result<Place> {
        let settings = StoreSettings { endpoint: Some(self.endpoint.parse().unwrap()), ..StoreSettings::default() };
        let keys = Credentials::new(&self.key, &self.secret, None, None, "test");
        let config = SdkConfig::builder()
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(keys))
            .build();
        let backoff = BackoffConfig {
            init_backoff: std::time::Duration::from_millis(2),
            max_backoff: std::time::Duration::from_millis(20),
            base: 2.,
        };
        let retry = RetryConfig { backoff, max_retries: 3, retry_timeout: std::time::Duration::from_secs(20) };
        open_bucket(&self.uri, &settings, &config, http, retry)
    }

    pub(super) async fn open(&self) -> Result<Lake> {
        Lake::at(self.place(Arc::new(ReqwestConnector::default()))?, "demo").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_in_a_bucket() {
    let Some(spot) = Spot::new("contract with spaces, 옹기") else { return };
    let lake = spot.open().await.unwrap();
    assert!(lake.uri().as_str().starts_with("s3://") && lake.uri().as_str().ends_with('/'));
    contract(lake.clone()).await;
    let table = lake.table(&name("raw.appended")).await.unwrap();
    let url = table.snapshot().await.unwrap().delta().log_store().config().location().to_string();
    assert_eq!(url, format!("{}raw/appended/", lake.uri()), "who reads it finds it by its URL");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_in_a_bucket() {
    let Some(spot) = Spot::new("objects") else { return };
    crate::objects::tests::contract(spot.open().await.unwrap()).await;
}

#[test]
fn races_in_a_bucket() {
    let Some(spot) = Spot::new("races") else { return };
    race::all_races(&race::Where::Bucket(spot));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_that_cannot_be_reached_says_what_to_mend() {
    let Some(spot) = Spot::new("wrong") else { return };
    let right = spot.open().await.unwrap();
    assert_eq!(right.server().unwrap(), spot.endpoint);
    let begun = std::time::Instant::now();
    for (wrong, reason, hint) in [
        (Spot { uri: "s3://no-such-bucket/x".into(), ..spot.clone() }, "no bucket `no-such-bucket`", "`uri`"),
        (Spot { key: "nobody".into(), ..spot.clone() }, "does not know these credentials", "AWS_ACCESS_KEY_ID"),
        (Spot { secret: "s3cr3t".into(), ..spot.clone() }, "does not know these credentials", "`profile`"),
        (Spot { endpoint: "http://127.0.0.1:9".into(), ..spot.clone() }, "can't be connected to", "`endpoint`"),
    ] {
        let error = wrong.open().await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
        let mut cause: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = cause {
            assert!(!error.to_string().contains("s3cr3t") && !error.to_string().contains("Signature="), "{error}");
            cause = error.source();
        }
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_as_they_are_made() {
    let Some(spot) = Spot::new("counted") else { return };
    let first = spot.open().await.unwrap().requests().unwrap();
    let lake = spot.open().await.unwrap();
    let opened = lake.requests().unwrap();
    println!("requests of the first opening: {first:?}\nof a later one: {opened:?}");
    assert_eq!((opened.get, opened.total()), (2, 2), "is it proved, and whose is it");
    let at = path::state("t", "a");
    assert_eq!(lake.objects().put_new(&at, "12345".into()).await.unwrap(), PutNew::Created);
    lake.objects().get(&at).await.unwrap();
    lake.objects().list(&path::states("t")).await.unwrap();
    lake.objects().delete(&at).await.unwrap();
    let now = lake.requests().unwrap().since(&opened);
    assert_eq!((now.put, now.get, now.list, now.delete, now.failed), (1, 1, 1, 1, 0), "{now:?}");
    assert!(now.sent_bytes >= 5 && now.received_bytes >= 5, "{now:?}");
}

/// What a table costs in requests, so that a change that makes it dearer is seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_a_handful_of_requests() {
    let Some(spot) = Spot::new("cost") else { return };
    let lake = spot.open().await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    let _ = table.append(vec![rows(&[1], Some(DAY))], task("1", 1), &info()).await.unwrap();
    let before = lake.requests().unwrap();
    let _ = table.append(vec![rows(&[2], Some(DAY))], task("2", 1), &info()).await.unwrap();
    let append = lake.requests().unwrap().since(&before);
    let cold = spot.open().await.unwrap();
    let before = cold.requests().unwrap();
    let table = cold.table(&name("raw.t")).await.unwrap();
    let open = cold.requests().unwrap().since(&before);
    let before = cold.requests().unwrap();
    table.snapshot().await.unwrap();
    let look = cold.requests().unwrap().since(&before);
    println!("append: {append:?}\nopen: {open:?}\nlook again: {look:?}");
    assert_eq!(append.put, 2, "a file and a log entry: {append:?}");
    assert!(append.total() <= 20 && open.total() <= 10 && look.total() <= 2, "{append:?} {open:?} {look:?}");
}

/// What a refused lake says, for each kind of request that is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_told_by_what_it_was_for() {
    let Some(spot) = Spot::new("refused") else { return };
    let calm = spot.open().await.unwrap();
    let _ = append_to(&calm.create(&spec("raw.t", true)).await.unwrap(), "old").await.unwrap();
    let at = path::state("t", "a");
    calm.objects().put(&at, "1".into()).await.unwrap();
    let place = spot.uri.trim_start_matches("s3://");
    let bucket = place.split('/').next().unwrap();
    for (verb, says, right) in [
        (Verb::List, "list", format!("s3:ListBucket on `{bucket}`")),
        (Verb::Get, "read", format!("s3:GetObject on `{place}/*`")),
        (Verb::PutLog, "write to", format!("s3:PutObject on `{place}/*`")),
        (Verb::PutData, "write to", format!("s3:PutObject on `{place}/*`")),
        (Verb::PutObject, "write to", format!("s3:PutObject on `{place}/*`")),
        (Verb::Delete, "delete from", format!("s3:DeleteObject on `{place}/*`")),
    ] {
        let http = FaultyHttp::new(verb, Fault::Denied, u32::MAX);
        let lake = Lake::at(spot.place(Arc::new(http.clone())).unwrap(), "demo").await.unwrap();
        http.arm();
        let objects = lake.objects();
        let error = match verb {
            Verb::PutObject => objects.put(&at, "2".into()).await.unwrap_err(),
            Verb::Delete => objects.delete(&at).await.unwrap_err(),
            _ => append(&lake).await.unwrap_err(),
        };
        let tell = |error: &Error| (error.to_string(), error.hint().unwrap_or_default());
        let (said, hint) = tell(&error);
        assert!(said.starts_with(&format!("cannot {says} the lake s3://")), "{verb:?}: {error:?}");
        assert!(hint.contains(&right), "{verb:?}: {hint}");
        // The objects beside the tables are told in the same words.
        let error = match verb {
            Verb::List => objects.list(&path::states("t")).await.unwrap_err(),
            Verb::Get => objects.get(&at).await.unwrap_err(),
            _ => continue,
        };
        assert_eq!(tell(&error), (said, hint), "{verb:?}");
    }
    assert_eq!(rows_of(&calm, "raw.t", &["id"]).await, ["r9"], "nothing was done");
}

async fn append_to(table: &Table, txn: &str) -> Result<Committed> {
    table.append(vec![rows(&[9], Some(NEXT))], task(txn, 1), &info()).await
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Done,
    Refused,
    Unknown,
}

async fn append(lake: &Lake) -> Result<Committed> {
    let table = lake.table(&name("raw.t")).await?;
    let written = table.write(vec![stream(vec![rows(&[1, 2], Some(DAY))])], &WriteOptions::default()).await?;
    written.append(task("a", 1), &info()).await
}

/// One table, one fault: done, refused or unknown, and after another try without faults there once.
async fn case(verb: Verb, fault: Fault, times: u32) -> Option<(End, u32)> {
    let what = format!("{verb:?} {fault:?} {times}");
    let spot = Spot::new("faults")?;
    let calm = spot.open().await.unwrap();
    let table = calm.create(&spec("raw.t", true)).await.unwrap();
    let _ = append_to(&table, "old").await.unwrap();

    let http = FaultyHttp::new(verb, fault, times);
    let lake = Lake::at(spot.place(Arc::new(http.clone())).unwrap(), "demo").await.unwrap();
    http.arm();
    let result = append(&lake).await;
    http.disarm();
    assert!(http.fired() > 0, "{what}: the fault never fired ({result:?})");
    let seen = rows_of(&spot.open().await.unwrap(), "raw.t", &["id"]).await.len();
    let end = match &result {
        Ok(committed) => {
            assert!(matches!(committed, Committed::Done(_)), "{what}: {committed:?}");
            assert_eq!(seen, 3, "{what}: done, but not there once");
            End::Done
        }
        Err(Error::Unknown { .. }) => End::Unknown,
        Err(error) => {
            assert_eq!(seen, 1, "{what}: {error:?}, but it is there");
            End::Refused
        }
    };
    let again = spot.open().await.unwrap();
    let _ = append(&again).await.unwrap();
    assert_eq!(rows_of(&again, "raw.t", &["id"]).await, ["r1", "r2", "r9"], "{what}: done again");
    Some((end, http.fired()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_the_wire_ends_in_the_truth() {
    if services::s3().is_none() {
        return;
    }
    let writes = [
        Fault::Busy,
        Fault::DoneThen500,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::TimeoutAfter,
        Fault::Conflict,
        Fault::Expired,
        Fault::DoneThenExpired,
    ];
    let reads = [Fault::Busy, Fault::ResetBefore, Fault::ResetAfter, Fault::CutBody, Fault::Expired];
    let mut cases = Vec::new();
    for (verb, faults) in
        [(Verb::PutLog, &writes[..]), (Verb::PutData, &writes), (Verb::Get, &reads), (Verb::List, &reads)]
    {
        for fault in faults {
            for times in [1, 2, u32::MAX] {
                cases.push((verb, *fault, times));
            }
        }
    }
    let ends = futures::stream::iter(cases.clone()).map(|(verb, fault, times)| case(verb, fault, times));
    let ends: Vec<_> = ends.buffered(6).collect().await;
    println!("\nfaults of the wire: {} cases, each with its rows there once at the end", cases.len());
    println!("| request | fault | once (fired) | twice | always |\n|---|---|---|---|---|");
    for (cases, ends) in cases.chunks(3).zip(ends.chunks(3)) {
        let words: Vec<_> =
            ends.iter().flatten().map(|(end, n)| format!("{} ({n})", format!("{end:?}").to_lowercase())).collect();
        println!("| {:?} | {:?} | {} |", cases[0].0, cases[0].1, words.join(" | "));
    }
}
