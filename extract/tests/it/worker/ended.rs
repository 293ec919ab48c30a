//! Keys that end without what was asked for: gone, forbidden in part, or no longer on the list.

use catalog::Date;
use extract::ledger::Ledger;
use extract::outcome::Outcome;

use super::bench::*;

/// So many keys: `k00`, `k01` …
fn many(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("k{n:02}")).collect()
}

async fn unfinished(bench: &Bench) -> Vec<String> {
    let table = bench.lake.table(bench.source.table()).await.unwrap();
    let ledger = Ledger::open(&bench.lake, &bench.source, table, DT).await.unwrap();
    ledger.unfinished(DT).into_iter().map(|last| last.key).collect()
}

#[tokio::test]
async fn what_ends_without_what_was_asked_for_counts_in_the_tolerated_share() {
    let gone = Answer::Gone("404 Not Found");
    // Of 40 keys: how many answer so, what the day is told for, and how many rows land.
    let cases = [
        (&[][..], None, 80),
        (&[(gone, 2)], None, 76),
        (
            &[(gone, 3)],
            Some(
                "3 of 40 keys are newly gone (404 or 410), more than the 5 % that `tolerate` allows: `k00`, `k01`, `k02`",
            ),
            74,
        ),
        (
            &[(gone, 39)],
            Some(
                "39 of 40 keys are newly gone (404 or 410), more than the 5 % that `tolerate` allows: `k00`, `k01`, `k02`, `k03`, `k04` and 34 more",
            ),
            2,
        ),
        (
            &[(gone, 40)],
            Some(
                "the site does not have any of the 40 keys: the address is wrong, or they are late; the next run asks again",
            ),
            0,
        ),
        (&[(Answer::Forbidden, 2)], None, 80),
        (
            &[(Answer::Forbidden, 3)],
            Some("robots.txt refuses 3 of 40 keys, more than the 5 % that `tolerate` allows: `k00`, `k01`, `k02`"),
            80,
        ),
        (
            &[(gone, 2), (Answer::Forbidden, 1)],
            Some(
                "2 of 40 keys are newly gone (404 or 410) and 1 are refused by robots.txt, more than the 5 % that `tolerate` allows: `k00`, `k01`, `k02`",
            ),
            76,
        ),
    ];
    for (answers, told, rows) in cases {
        let bench = Bench::new("share").await.per_task(10);
        let keys = many(40);
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let scripted = answers.iter().flat_map(|(answer, count)| std::iter::repeat_n(*answer, *count));
        for (key, answer) in keys.iter().zip(scripted) {
            bench.site.script(key, answer);
        }
        let extracted = bench.extract(&keys).await.unwrap();
        assert_eq!((extracted.excess.as_deref(), extracted.is_partial()), (told, told.is_some()));
        assert_eq!((extracted.fetched, extracted.open.len()), (rows, 0), "{told:?}");
        if extracted.excess.is_none_or(|excess| !excess.contains("any of")) {
            let again = bench.extract(&keys).await.unwrap();
            assert_eq!((again.keys_fetched, again.excess.as_deref()), (0, told), "the day stays as it was");
        }
    }
}

#[tokio::test]
async fn what_is_known_to_be_gone_counts_once() {
    let bench = Bench::new("known-gone").await;
    bench.site.script("b", Answer::Gone("404 Not Found"));
    assert!(bench.extract(KEYS).await.unwrap().is_partial(), "1 of 5 is more than 5 %");
    let next = Date::constant(2026, 10, 2);
    let extracted = bench.extract_on(next, KEYS).await.unwrap();
    assert_eq!((extracted.keys_fetched, extracted.excess), (5, None), "nothing new");
    // Where it is looked for now it is gone as well: that is news.
    let moved = bench.with_source(&NOTES.replace("site.test/{key}", "site.test/v2/{key}"));
    let extracted = moved.extract_on(next, KEYS).await.unwrap();
    assert!(extracted.keys_fetched == 1 && extracted.excess.is_some(), "{extracted:?}");
}

#[tokio::test]
async fn a_list_whose_rest_robots_forbids_has_ended_with_what_came() {
    let bench = Bench::new("forbidden").await;
    bench.site.script("b", Answer::Forbidden);
    for turn in ["asked", "not asked again"] {
        let extracted = bench.extract(KEYS).await.unwrap();
        assert_eq!((extracted.open.len(), bench.site.calls_of("b")), (0, 1), "{turn}");
        assert!(extracted.excess.is_some_and(|excess| excess.contains("robots.txt refuses 1 of 5 keys")), "{turn}");
    }
    let last = bench.outcome("b").await.unwrap();
    let why = "cut after 1 answer: robots.txt does not allow `https://site.test/b`: Disallow: /*page=2 (line 2)";
    assert_eq!((last.outcome, last.rows, last.why.as_deref()), (Outcome::Refused, 2, Some(why)));
    assert_eq!((bench.rows().await, unfinished(&bench).await), (rows_of(KEYS), Vec::new()));
    // The rule may be gone when it is due again.
    bench.site.script("b", Answer::Items);
    let extracted = bench.extract_on(Date::constant(2026, 10, 2), KEYS).await.unwrap();
    assert_eq!((extracted.keys_fetched, extracted.is_partial()), (5, false));
}

#[tokio::test]
async fn a_key_that_leaves_the_list_is_told_once_and_asked_for_when_it_comes_back() {
    let bench = Bench::new("leaves").await;
    bench.site.script("b", Answer::Transient("503"));
    bench.site.script("c", Answer::Other);
    bench.extract(KEYS).await.unwrap();
    assert_eq!(unfinished(&bench).await, ["b", "c"]);
    let left: Vec<String> = many(0);
    for expected in [vec!["b".to_owned()], left] {
        let extracted = bench.extract(&["a", "c", "d", "e"]).await.unwrap();
        let unlisted: Vec<String> = extracted.unlisted.iter().map(|last| last.key.clone()).collect();
        assert_eq!(unlisted, expected);
        assert!(extracted.open.iter().all(|last| last.key == "c"), "{:?}", extracted.open);
    }
    assert_eq!(
        (unfinished(&bench).await, bench.outcome("b").await.unwrap().outcome),
        (vec!["c".to_owned()], Outcome::Unlisted)
    );
    for key in ["b", "c"] {
        bench.site.script(key, Answer::Items);
    }
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.keys_fetched, extracted.is_partial()), (2, false));
    assert_eq!(bench.rows().await, rows_of(KEYS));
}
