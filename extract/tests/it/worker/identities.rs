//! Ids of one table are hashed with one key, whoever lands them and whatever is lost beside the lake.

use extract::identity::{self, IdentityKey};
use extract::worker::{Until, extract_with, work};
use extract::{Error, Extractor, Task};

use super::bench::*;

fn hashing(bench: Bench) -> Bench {
    let text = NOTES.replace("body = {", "author = { path = \"/id\", type = \"hash\" }\nbody = {");
    bench.with_source(&text)
}

fn with_key(bench: &Bench, key: &[u8]) -> Extractor {
    Extractor { identity: IdentityKey::from_bytes(key).unwrap(), ..bench.ctx() }
}

const OTHER: &[u8] = b"wholly made up for this test 7432";

fn is_refused<T>(ended: Result<T, Error>) -> bool {
    match ended {
        Ok(_) => false,
        Err(error @ Error::OtherIdentity { .. }) => error.hint().is_some() && !error.is_retryable(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn another_key_is_refused_by_whoever_lands_or_looks() {
    let folder = tempfile::tempdir().unwrap();
    let bench = hashing(Bench::new("identities").await).in_folder(folder.path()).await;
    let sources = [bench.source.clone()];
    let ours = bench.ctx().identity;
    identity::check(&bench.lake, &sources, &ours).await.unwrap();
    bench.extract(&["a"]).await.unwrap();
    for lost in ["nothing", "_onggi", "ops/outcomes"] {
        let _ = std::fs::remove_dir_all(folder.path().join(lost));
        let bench = bench.clone().in_folder(folder.path()).await;
        let rows = bench.rows().await;
        let other = with_key(&bench, OTHER);
        identity::check(&bench.lake, &sources, &ours).await.unwrap();
        assert!(is_refused(identity::check(&bench.lake, &sources, &other.identity).await), "{lost}");
        let run = extract_with(&other, &bench.source, &bench.fetch(), DT, keys(&["b"])).await;
        assert!(is_refused(run), "a run; lost: {lost}");
        bench.queue.send(&[Task::new(bench.source.name(), DT, keys(&["c"]))], now()).await.unwrap();
        assert!(is_refused(work(&other, Until::Idle).await), "a worker; lost: {lost}");
        assert_eq!(bench.rows().await, rows, "nothing landed");
        assert_eq!(bench.site.calls(), ["a"], "and nobody was asked");
    }
}

#[tokio::test]
async fn a_lake_of_an_older_program_takes_the_present_key() {
    let bench = Bench::new("older-identities").await;
    bench.extract(&["a"]).await.unwrap();
    let bench = hashing(bench);
    bench.extract(&["b"]).await.unwrap();
    let other = with_key(&bench, OTHER);
    assert!(is_refused(extract_with(&other, &bench.source, &bench.fetch(), DT, keys(&["c"])).await));
}

#[tokio::test]
async fn a_source_without_hashes_asks_for_no_key() {
    let bench = Bench::new("no-identities").await;
    bench.extract(&["a"]).await.unwrap();
    let other = with_key(&bench, OTHER);
    extract_with(&other, &bench.source, &bench.fetch(), DT, keys(&["b"])).await.unwrap();
    assert_eq!(bench.rows().await, rows_of(&["a", "b"]));
}
