//! Several runs of one source at once: each key is asked for once in all, whoever dies.

use std::time::Duration;

use catalog::{Date, path};
use extract::{Error, Extracted};
use futures::future::join_all;

use super::bench::*;

const NEXT: Date = Date::constant(2026, 10, 2);

async fn claims(bench: &Bench) -> usize {
    bench.lake.objects().list(&path::claims(None)).await.unwrap().len()
}

/// Runs of these days at once, each a process of its own.
async fn at_once(benches: &[(Bench, Date)]) -> Vec<Extracted> {
    let ended: Vec<Result<Extracted, Error>> =
        join_all(benches.iter().map(|(bench, dt)| bench.extract_on(*dt, KEYS))).await;
    ended.into_iter().map(Result::unwrap).collect()
}

/// An overlong run of the day, and one of the next day that begins when the first has said what it does.
async fn overlong(old: &Bench, new: &Bench) -> (Extracted, Extracted) {
    let next = async {
        while claims(old).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        new.extract_on(NEXT, KEYS).await
    };
    let (old, new) = tokio::join!(old.extract(KEYS), next);
    (old.unwrap(), new.unwrap())
}

#[tokio::test]
async fn runs_of_one_day_share_its_keys_however_they_split_them_and_whatever_queue_they_have() {
    for shares_queue in [true, false] {
        let bench = Bench::new("one-day").await;
        bench.site.be_slow(Duration::from_millis(300));
        let one = bench.process("one").await;
        let mut two = bench.process("two").await.per_task(3);
        if shares_queue {
            two = two.with_queue(one.queue.clone());
        }
        let ended = at_once(&[(one.clone(), DT), (two.clone(), DT)]).await;
        assert_eq!(bench.site.calls(), KEYS, "one queue: {shares_queue}");
        assert_eq!(bench.rows().await, rows_of(KEYS));
        assert_eq!(ended.iter().map(|it| it.landed).sum::<u64>(), 10);
        assert!(ended.iter().all(|it| !it.is_partial()), "both waited for what the other had: {ended:?}");
        assert_eq!(claims(&bench).await, 0, "what is claimed is given back");
        one.end().await;
        two.end().await;
    }
}

#[tokio::test]
async fn a_run_of_the_next_day_leaves_to_an_overlong_one_what_that_has_still_to_do() {
    let bench = Bench::new("two-days").await;
    let (old, new) = (bench.process("old").await, bench.process("new").await);
    old.extract(&["a", "b"]).await.unwrap();
    bench.site.be_slow(Duration::from_secs(1));
    let (first, second) = Box::pin(overlong(&old, &new)).await;
    // What the older day had done before is asked for on the next; of the rest each key once in all.
    assert_eq!(bench.site.calls(), ["a", "a", "b", "b", "c", "d", "e"]);
    assert!(!first.is_partial(), "{first:?}");
    let left: Vec<_> = second.left_to.iter().map(|left| (left.run.as_str(), left.dt, left.keys)).collect();
    assert_eq!(left, [("r1", DT, 3)], "it says so");
    assert!(second.is_partial());
    // Nothing is lost by it: the next run of the day asks for what was left.
    bench.site.be_slow(Duration::ZERO);
    let again = new.extract_on(NEXT, KEYS).await.unwrap();
    assert_eq!((again.keys_fetched, again.is_partial()), (3, false));
    old.end().await;
    new.end().await;
}

#[tokio::test]
async fn of_a_weekly_source_what_an_overlong_run_does_is_done_for_both() {
    let bench = Bench::new("weekly").await.weekly();
    bench.site.be_slow(Duration::from_secs(1));
    let (old, new) = (bench.process("old").await, bench.process("new").await);
    Box::pin(overlong(&old, &new)).await;
    assert_eq!(bench.site.calls(), KEYS);
    let again = new.extract_on(NEXT, KEYS).await.unwrap();
    assert_eq!((again.keys_fetched, again.is_partial()), (0, false));
    old.end().await;
    new.end().await;
}

#[tokio::test]
async fn what_a_killed_run_had_taken_on_is_taken_over_on_its_day_and_on_the_next() {
    for dt in [DT, NEXT] {
        let bench = Bench::new("killed-holder").await;
        let kill = Kill::at(4);
        let killed = bench.process("killed").await.with_kill(&kill);
        tokio::select! {
            ended = killed.extract(KEYS) => panic!("it was to be killed: {ended:?}"),
            () = kill.fell() => {}
        }
        assert_eq!(claims(&bench).await, 1);
        // Its last sign was given just now, and nobody says that it is gone.
        drop(killed);
        let heir = bench.process("heir").await;
        let before = bench.site.calls().len();
        let mut taken = heir.extract_on(dt, KEYS).await.unwrap();
        // What stops here may sign once more, and a run of another day that sees it leaves the keys to it, and says so.
        for _ in 0..20 {
            if taken.is_partial() {
                assert_eq!(taken.left_to.iter().map(|left| left.dt).collect::<Vec<_>>(), [DT]);
                tokio::time::sleep(SIGN).await;
                taken = heir.extract_on(dt, KEYS).await.unwrap();
            }
        }
        assert!(!taken.is_partial(), "{taken:?}");
        assert_eq!(claims(&bench).await, 0, "the claim of the dead is removed");
        assert!(bench.site.calls().len() > before);
        assert_eq!(heir.extract_on(dt, KEYS).await.unwrap().keys_fetched, 0);
        if dt == DT {
            assert_eq!(bench.rows().await, rows_of(KEYS));
        }
        heir.end().await;
    }
}

#[tokio::test]
async fn of_many_that_begin_at_the_same_moment_exactly_one_takes_each_key() {
    let bench = Bench::new("many").await;
    bench.site.be_slow(Duration::from_millis(1_500));
    let mut runs = Vec::new();
    for (name, dt) in [("n1", NEXT), ("o1", DT), ("n2", NEXT), ("o2", DT)] {
        runs.push((bench.process(name).await, dt));
    }
    at_once(&runs).await;
    assert_eq!(bench.site.calls(), KEYS);
    assert_eq!(bench.rows().await, rows_of(KEYS));
    for (run, _) in runs {
        run.end().await;
    }
}
