//! Ids of one table are hashed with one key, whoever lands them and whatever is lost beside the lake.

use catalog::CommitInfo;
use extract::identity::{self, IdentityKey};
use extract::ledger::Ledger;
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

#[tokio::test]
async fn ids_and_hashes_are_never_in_one_column() {
    const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    // What the column holds first, and what is declared for it then; whether that is refused.
    for (said, before, after, is_refused) in [
        ("u1", "string", "hash", true),
        ("u1", "id", "hash", true),
        ("u1", "hash", "string", true),
        ("u1", "hash", "id", true),
        ("u1", "hash", "hash", false),
        ("u1", "string", "id", false),
        // An older program has left no mark: the values say what they are.
        (HASH, "string", "hash", false),
        (HASH, "string", "string", false),
    ] {
        let bench = Bench::new("columns").await;
        let with = |kind: &str| {
            let field = format!(
                "who = {{ path = \"/body\", type = \"{kind}\" }}\nother = {{ path = \"/x\", type = \"hash\" }}\nbody = {{"
            );
            bench.clone().with_source(&NOTES.replace("body = {", &field))
        };
        bench.site.script("a", Answer::Says(said));
        with(before).extract(&["a"]).await.unwrap();
        let bench = with(after);
        let told = [
            identity::check(&bench.lake, std::slice::from_ref(&bench.source), &bench.ctx().identity).await.err(),
            bench.extract(&["b"]).await.err(),
        ];
        for error in told {
            match error {
                Some(error @ Error::OtherHashing { .. }) => {
                    assert!(is_refused && error.to_string().contains("`who`"), "{before} {after}: {error}");
                    assert!(error.hint().is_some() && !error.is_retryable());
                }
                other => assert!(!is_refused && other.is_none(), "{before} {after}: {other:?}"),
            }
        }
        assert_eq!(bench.site.calls_of("b"), usize::from(!is_refused), "{before} {after}");
        // Under another name it lands.
        let renamed =
            NOTES.replace("body = {", &format!("who_2 = {{ path = \"/body\", type = \"{after}\" }}\nbody = {{"));
        bench.with_source(&renamed).extract(&["c"]).await.unwrap();
    }
}

#[tokio::test]
async fn a_rule_that_keeps_nothing_back_is_told_until_the_day_is_fetched_with_another() {
    let many: Vec<String> = (0..10).map(|n| format!("k{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let ruled = |rules: &str| format!("{NOTES}\n[identity]\n{rules}\n");
    let misspelt = ruled("keep = { \"/usr\" = [\"id\"] }\ndrop = [\"/body\"]");
    let told = "keep `/usr`;";
    // Of a few records it is only told.
    let bench = Bench::new("few").await.with_source(&misspelt);
    let extracted = bench.extract(&many[..9]).await.unwrap();
    assert!(extracted.notice.as_ref().is_some_and(|notice| notice.contains(told)), "{extracted:?}");
    assert!(!extracted.is_partial() && extracted.notice.unwrap().contains("none of 18 records"));
    // Of many it makes the day partial, also when it is looked at again.
    for turn in ["fetched", "looked at"] {
        let extracted = bench.extract(&many).await.unwrap();
        assert!(extracted.is_partial() && extracted.notice.is_none(), "{turn}");
        let excess = extracted.excess.unwrap();
        assert!(
            excess.contains("none of 20 records") && excess.contains(told) && !excess.contains("/body"),
            "{turn}: {excess}"
        );
    }
    assert_eq!(bench.outcome("k0").await.unwrap().unfit, ["keep `/usr`"]);
    // Who says that it is there seldom is told no more.
    let seldom = bench.clone().with_source(&ruled("keep = { \"/usr\" = [\"id\"] }\nseldom = [\"/usr\"]"));
    let extracted = seldom.extract(&many).await.unwrap();
    assert!(!extracted.is_partial() && extracted.notice.is_none(), "{extracted:?}");
    // A rule that is mended keeps back what comes from then on; the day is well when it was fetched so.
    let mended = bench.clone().with_source(&ruled("drop = [\"/body\"]"));
    assert!(mended.extract(&many).await.unwrap().is_partial());
    let table = mended.lake.table(mended.source.table()).await.unwrap();
    let ledger = Ledger::open(&mended.lake, &mended.source, table, DT).await.unwrap();
    ledger
        .reopen(|_| true, "mended", &CommitInfo { run: "r2".parse().unwrap(), now: now(), lineage: Vec::new() })
        .await
        .unwrap();
    let extracted = mended.extract(&many).await.unwrap();
    assert!(!extracted.is_partial() && extracted.keys_fetched == 10, "{extracted:?}");
    // One item that has it is enough.
    let rare = Bench::new("rare").await.with_source(&ruled("drop = [\"/more\"]"));
    rare.site.script("k3", Answer::SaysMore);
    assert!(!rare.extract(&many).await.unwrap().is_partial());
}
