//! The life of a task, on a scripted site and a lake in memory: whatever is killed, lost, delivered twice or refused, each
//! record is in the table once and no key is asked for twice.

use std::sync::Arc;
use std::time::Duration;

use catalog::path;
use extract::outcome::Outcome;
use extract::queue::{EmbeddedQueue, MemoryQueue, ReceiveOptions};
use extract::worker::{due, extract_with};
use extract::{Cancel, Error, Key, Progress};

use self::bench::*;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod bodies;
#[cfg(test)]
mod claims;
#[cfg(test)]
mod ended;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod mapped;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod steps;

#[tokio::test]
async fn a_day_lands_once_and_the_second_run_asks_for_nothing() {
    let bench = Bench::new("once").await;
    let first = bench.extract(KEYS).await.unwrap();
    assert_eq!((first.tasks, first.fetched, first.landed, first.set_aside, first.keys_fetched), (3, 10, 10, 0, 5));
    assert!(!first.is_partial());
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls(), KEYS, "each key was asked for once");
    assert!(bench.lake.objects().list(&path::staged_all()).await.unwrap().is_empty());

    let version = bench.version().await;
    let deaf = bench.clone().with_queue(Arc::new(faults::NoQueue));
    let second = deaf.extract(KEYS).await.unwrap();
    assert_eq!((second.tasks, second.fetched, second.keys_fetched, second.requests), (0, 0, 0, 0));
    assert_eq!(bench.site.calls().len(), 5);
    assert_eq!(bench.version().await, version, "nothing was committed");
}

#[tokio::test]
async fn progress_ends_where_it_should() {
    let bench = Bench::new("progress").await;
    bench.extract(KEYS).await.unwrap();
    let told = bench.told.lock().unwrap().clone();
    assert_eq!(told.first(), Some(&Progress { done_keys: 0, total_keys: 5, records: 0 }));
    assert_eq!(told.last(), Some(&Progress { done_keys: 5, total_keys: 5, records: 10 }));
}

#[tokio::test]
async fn keys_that_come_later_in_the_day_are_all_that_is_fetched() {
    let bench = Bench::new("later").await;
    bench.extract(&["a", "b"]).await.unwrap();
    let later = bench.extract(KEYS).await.unwrap();
    assert_eq!((later.tasks, later.keys_fetched), (2, 3));
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn nothing_under_the_house_is_needed_to_know_what_is_done() {
    for per_task in [2, 3] {
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench::new("no-house").await.in_folder(folder.path()).await;
        bench.extract(&["a", "b", "c", "d"]).await.unwrap();
        bench.extract(&["a", "aa", "b", "c", "d"]).await.unwrap();
        let before = bench.rows().await;
        std::fs::remove_dir_all(folder.path().join("_onggi")).unwrap();
        let other =
            bench.clone().per_task(per_task).with_queue(Arc::new(faults::NoQueue)).in_folder(folder.path()).await;
        let again = other.extract(&["d", "c", "aa", "b", "a"]).await.unwrap();
        assert_eq!((again.fetched, again.is_partial()), (0, false), "{per_task} keys a task");
        assert_eq!(bench.rows().await, before);
        // Nor is the copy: the log says it as well, and where the log does not reach, the rows do.
        std::fs::remove_dir_all(folder.path().join("ops/outcomes")).unwrap();
        let other = other.in_folder(folder.path()).await;
        assert_eq!(other.extract(&["a", "aa", "b", "c", "d"]).await.unwrap().fetched, 0);
    }
}

#[tokio::test]
async fn a_task_that_is_delivered_twice_lands_once() {
    let bench = Bench::new("twice").await;
    // Two queues that know nothing of each other: all tasks are held by two workers at the same time.
    let other = bench.clone().with_queue(Arc::new(MemoryQueue::new()));
    bench.site.be_slow(Duration::from_millis(50));
    let (one, two) = tokio::join!(bench.extract(KEYS), other.extract(KEYS));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.tasks + two.tasks, 3, "each task landed through one of them");
    assert_eq!(one.landed + two.landed, 10);
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn two_runs_of_a_day_share_its_tasks_and_both_end() {
    let bench = Bench::new("two-runs").await;
    // Slower than the visibility timeout: only heartbeats keep each message with its worker.
    bench.site.be_slow(2 * VISIBILITY / 3);
    bench.site.script_once("a", Answer::Slow(2 * VISIBILITY));
    let other = bench.clone();
    let (one, two) = tokio::join!(bench.extract(KEYS), other.extract(KEYS));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.landed + two.landed, 10);
    assert_eq!(one.tasks + two.tasks, 3);
    assert!(!one.is_partial() && !two.is_partial());
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls(), KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_queue_file_share_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.sqlite");
    let bench = Bench::new("two-processes").await.with_queue(Arc::new(EmbeddedQueue::open(&file).await.unwrap()));
    let other = bench.clone().with_queue(Arc::new(EmbeddedQueue::open(&file).await.unwrap()));
    let many: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (one, two) = tokio::join!(bench.extract(&many), other.extract(&many));
    assert_eq!(one.unwrap().landed + two.unwrap().landed, 80);
    assert_eq!(bench.rows().await, rows_of(&many));
    assert_eq!(bench.site.calls(), many);
}

#[tokio::test]
async fn a_poisoned_key_fails_alone_and_is_asked_for_by_the_next_run() {
    let bench = Bench::new("poison").await;
    bench.site.script("c", Answer::Transient("the page fell apart"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(extracted.is_partial());
    assert_eq!((extracted.landed, extracted.left), (8, 0));
    let [open] = extracted.open.as_slice() else { panic!("expected one open key, found {:?}", extracted.open) };
    assert_eq!((open.key.as_str(), open.outcome), ("c", Outcome::Failed));
    assert!(open.why.as_ref().is_some_and(|why| why.contains("the page fell apart")), "{open:?}");
    assert_eq!(bench.site.calls_of("c"), 3, "once for each receive");
    assert_eq!(bench.site.calls_of("d"), 1, "the other key of the task landed with the first receive");
    assert_eq!(bench.rows().await, rows_of(&["a", "b", "d", "e"]));

    // On a mended site the next run of the day fetches that key and no other, with nothing typed by anybody.
    bench.site.script("c", Answer::Items);
    let mended = bench.extract(KEYS).await.unwrap();
    assert_eq!((mended.keys_fetched, mended.landed, mended.open.len()), (1, 2, 0));
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn keys_behind_failing_ones_are_asked_for_whatever_their_order() {
    let bench = Bench::new("behind").await.per_task(6).with_jobs(1);
    let all = ["a", "b", "c", "d", "e", "f"];
    for bad in ["a", "b", "c"] {
        bench.site.script(bad, Answer::Transient("500"));
    }
    let extracted = bench.extract(&all).await.unwrap();
    assert_eq!(bench.rows().await, rows_of(&["d", "e", "f"]));
    let open: Vec<_> = extracted.open.iter().map(|last| (last.key.as_str(), last.outcome)).collect();
    assert_eq!(open, [("a", Outcome::Failed), ("b", Outcome::Failed), ("c", Outcome::Failed)]);
}

#[tokio::test]
async fn a_hiccup_costs_one_receive_and_nothing_else() {
    let bench = Bench::new("hiccup").await;
    bench.site.script_once("d", Answer::Transient("connection reset"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.landed, extracted.open.len()), (10, 0));
    assert_eq!(bench.site.calls_of("c"), 1);
    assert_eq!(bench.site.calls_of("d"), 2);
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn a_host_that_asks_for_patience_gets_it() {
    let bench = Bench::new("patience").await;
    bench.site.script_once("c", Answer::RateLimited(Duration::from_millis(2500)));
    let began = std::time::Instant::now();
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!(extracted.landed, 10);
    assert!(began.elapsed() >= Duration::from_millis(2500));
    assert_eq!(bench.site.calls_of("c"), 2);
}

#[tokio::test]
async fn one_key_that_is_told_to_wait_and_wait_holds_no_run() {
    let bench = Bench::new("waits").await.per_task(5).with_jobs(1);
    bench.site.script("b", Answer::RateLimited(Duration::from_secs(150)));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.landed, extracted.blocked.len(), extracted.left), (8, 0, 0));
    let open: Vec<_> = extracted.open.iter().map(|last| (last.key.as_str(), last.outcome)).collect();
    assert_eq!(open, [("b", Outcome::Failed)]);
    let why = "`site.test` asks to slow down for 150 s; no key may wait for more than 120 s in a run";
    assert_eq!(extracted.open[0].why.as_deref(), Some(why));
    assert_eq!((bench.site.calls_of("b"), bench.rows().await), (1, rows_of(&["a", "c", "d", "e"])));
    // The next run asks again, and its key may wait anew.
    bench.site.script_once("b", Answer::RateLimited(Duration::from_millis(100)));
    bench.site.script("b", Answer::Items);
    assert!(!bench.extract(KEYS).await.unwrap().is_partial());
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn a_storm_of_requests_to_slow_down_stops_the_source_and_costs_no_receive() {
    let bench = Bench::new("storm").await.with_jobs(1);
    bench.site.script("c", Answer::RateLimited(Duration::ZERO));
    let fast = extract::Extractor { seed: 3, ..bench.ctx() };
    let fetch = bench.fetch();
    let extracted = extract_with(&fast, &bench.source, &fetch, DT, keys(&["c", "d"])).await.unwrap();
    assert_eq!((extracted.blocked.len(), extracted.left), (1, 2));
    let states: Vec<_> = extracted.open.iter().map(|last| (last.key.as_str(), last.outcome)).collect();
    assert_eq!(states, [("c", Outcome::Blocked), ("d", Outcome::Blocked)], "nobody has failed");
    bench.site.script("c", Answer::Items);
    assert!(!bench.extract(&["c", "d"]).await.unwrap().is_partial());
    assert_eq!(bench.rows().await, rows_of(&["c", "d"]));
}

#[tokio::test]
async fn a_key_that_is_gone_has_an_outcome_and_is_not_asked_for_again() {
    let bench = Bench::new("gone").await;
    bench.site.script("b", Answer::Gone("404 Not Found"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.fetched, extracted.landed, extracted.set_aside), (8, 8, 0));
    assert!(extracted.open.is_empty(), "{:?}", extracted.open);
    let gone = bench.outcome("b").await.unwrap();
    assert_eq!(gone.outcome, Outcome::Gone);
    assert!(gone.why.unwrap().contains("404 Not Found"));
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0);
    assert_eq!(bench.site.calls_of("b"), 1);
}

#[tokio::test]
async fn where_all_keys_are_gone_the_run_is_partial_and_the_next_one_asks_again() {
    let bench = Bench::new("all-gone").await;
    for key in KEYS {
        bench.site.script(key, Answer::Gone("404 Not Found"));
    }
    for turn in 1..=2 {
        let extracted = bench.extract(KEYS).await.unwrap();
        assert!(extracted.is_partial() && extracted.excess.unwrap().contains("any of the 5 keys"));
        assert_eq!(bench.site.calls_of("b"), turn, "once a run");
    }
    // What was late is there.
    bench.site.script("a", Answer::Items);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.landed, extracted.open.len()), (2, 0));
    assert!(extracted.excess.unwrap().contains("4 of 5 keys are newly gone"), "which are not few");
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0, "the others are really gone");
    // Another address may have them.
    let mut moved = bench.clone();
    moved.source =
        extract::Source::parse("notes.toml", &NOTES.replace("site.test/{key}", "site.test/v2/{key}")).unwrap();
    moved.site.script("b", Answer::Items);
    assert_eq!(moved.extract(KEYS).await.unwrap().landed, 2);
    assert_eq!(bench.rows().await, rows_of(&["a", "b"]));
}

#[tokio::test]
async fn what_can_not_be_read_is_open_until_the_source_or_the_site_is_mended() {
    let bench = Bench::new("unreadable").await;
    bench.site.script("b", Answer::Other);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(extracted.is_partial());
    assert_eq!(bench.outcome("b").await.unwrap().outcome, Outcome::Unreadable);
    assert_eq!(bench.site.calls_of("b"), 2, "once more, since it may have been a moment");
    bench.site.script("b", Answer::Items);
    let mended = bench.extract(KEYS).await.unwrap();
    assert_eq!((mended.keys_fetched, mended.is_partial()), (1, false));
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn a_key_without_records_is_done() {
    let bench = Bench::new("empty").await;
    for key in KEYS {
        bench.site.script(key, Answer::Nothing);
    }
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.tasks, extracted.fetched, extracted.keys_fetched), (3, 0, 5));
    assert!(bench.rows().await.is_empty());
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0, "nothing is an answer too");
}

#[tokio::test]
async fn no_keys_are_no_work() {
    let bench = Bench::new("no-keys").await.with_queue(Arc::new(faults::NoQueue));
    assert_eq!(bench.extract(&[]).await.unwrap().tasks, 0);
}

#[tokio::test]
async fn a_blocked_host_stops_the_source_and_says_so() {
    let bench = Bench::new("blocked").await.with_jobs(1);
    bench.site.script("d", Answer::Blocked);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(extracted.is_partial());
    assert_eq!(extracted.blocked, [("site.test".to_owned(), "the page says: too many requests".to_owned())]);
    assert_eq!((extracted.tasks, extracted.left), (1, 2), "the keys d and e");
    assert_eq!(bench.site.calls(), ["a", "b", "c", "d"], "nobody was asked after that");
    assert_eq!(bench.counts().await, (2, 0, 0), "all messages were handed back at once");

    // However often it happens, it is not the keys' fault.
    for _ in 0..6 {
        let again = bench.extract(KEYS).await.unwrap();
        assert!(again.open.iter().all(|last| last.outcome == Outcome::Blocked), "{:?}", again.open);
    }
    bench.site.script("d", Answer::Items);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(!extracted.is_partial());
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls_of("c"), 1, "it landed");
}

#[tokio::test]
async fn a_blocked_host_stops_what_others_have_under_way() {
    let bench = Bench::new("blocked-others").await.with_jobs(3);
    bench.site.script("a", Answer::Blocked);
    bench.site.script("c", Answer::Hang);
    bench.site.script("e", Answer::Hang);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.tasks, extracted.left, extracted.blocked.len()), (0, 5, 1));
    assert_eq!(bench.counts().await, (3, 0, 0));
}

#[tokio::test]
async fn without_a_browser_the_source_fails_with_a_way_out() {
    let bench = Bench::new("no-browser").await;
    bench.site.script("a", Answer::NoBrowser);
    let error = bench.extract(KEYS).await.unwrap_err();
    assert!(matches!(error, Error::Fetch { .. }), "{error}");
    assert!(error.hint().is_some() && !error.is_retryable());
    assert_eq!(bench.counts().await.1, 0, "all messages were handed back");
}

#[tokio::test]
async fn an_interrupt_hands_everything_back() {
    let bench = Bench::new("interrupt").await;
    bench.site.script("d", Answer::Hang);
    let cancel = Cancel::new();
    let ctx = extract::Extractor { cancel: cancel.clone(), ..bench.ctx() };
    let fetch = bench.fetch();
    let running = extract_with(&ctx, &bench.source, &fetch, DT, keys(KEYS));
    let (ended, ()) = tokio::join!(running, async {
        while bench.counts().await != (0, 1, 0) || bench.site.calls().len() < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert_eq!(bench.counts().await, (1, 0, 0));
    let options = ReceiveOptions { visibility_timeout: Duration::ZERO, max_receives: 3 };
    let message = bench.queue.receive(&bench.of(), &options, now()).await.unwrap().unwrap();
    assert_eq!(message.receive_count, 1, "an interrupt is not the task's fault");

    bench.site.script("d", Answer::Items);
    bench.extract(KEYS).await.unwrap();
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls().len(), 6, "only the key under way was asked for again");
}

#[tokio::test]
async fn a_lost_heartbeat_stops_the_work_before_its_commit() {
    let bench = Bench::new("heartbeat").await;
    let thief = Arc::new(faults::LosesLeases::new(bench.queue.clone(), 1));
    let bench = bench.with_queue(thief).with_jobs(1);
    // The first heartbeat comes while the first key is under way.
    bench.site.script_once("a", Answer::Slow(2 * VISIBILITY));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.tasks, extracted.landed), (3, 10));
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls_of("a"), 2, "the key under way when the lease was lost, and nothing else");
    assert_eq!(bench.site.calls().len(), 6);
}

#[tokio::test]
async fn a_queue_that_loses_everything_loses_nothing() {
    for receives in 1..6 {
        let bench = Bench::new("forgetful").await;
        let bench = bench.with_queue(Arc::new(faults::Forgetful::new(receives))).with_jobs(1);
        let extracted = bench.extract(KEYS).await.unwrap();
        assert!(!extracted.is_partial());
        assert_eq!(bench.rows().await, rows_of(KEYS), "forgot at receive {receives}");
        assert_eq!(bench.site.calls(), KEYS);
    }
}

#[tokio::test]
async fn what_a_dead_worker_left_staged_is_swept() {
    let bench = Bench::new("sweep").await;
    bench.extract(KEYS).await.unwrap();
    let staged = extract::stage::place(bench.source.name(), DT, &Key::new("a"));
    bench.lake.objects().put(&staged, "left".into()).await.unwrap();
    let older = path::staged(bench.source.name(), DT, "0123456789abcdef", "k");
    bench.lake.objects().put(&older, "of a task, as an older program staged it".into()).await.unwrap();
    bench.extract(KEYS).await.unwrap();
    assert!(bench.lake.objects().list(&path::staged_all()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_source_is_due_by_the_outcomes_of_its_keys() {
    let bench = Bench::new("due").await.weekly();
    let on = |days: i64| DT.saturating_add(jiff::Span::new().days(days));
    let due_on = |dt| {
        let (lake, source) = (bench.lake.clone(), bench.source.clone());
        async move { due(&lake, &source, dt, &keys(KEYS)).await.unwrap() }
    };
    assert_eq!(due_on(DT).await.due.len(), 5, "it has no table");
    bench.site.script("c", Answer::Transient("the site is down"));
    bench.extract(KEYS).await.unwrap();
    // What was left open is asked for on the next day, the rest when its week is over.
    let tomorrow = due_on(on(1)).await;
    assert_eq!((tomorrow.due.len(), tomorrow.leftovers, tomorrow.fresh), (1, 1, Some((DT, on(7)))));
    bench.site.script("c", Answer::Items);
    bench.extract_on(on(1), KEYS).await.unwrap();
    assert_eq!(due_on(on(2)).await.due, []);
    let next = due_on(on(7)).await;
    assert_eq!((next.due.len(), next.ended), (4, 1), "c has its own week");
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn a_table_that_lost_rows_gets_them_again() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new("lost-rows").await.in_folder(folder.path()).await;
    bench.extract(&["a", "b"]).await.unwrap();
    let copy = folder.path().join("copy");
    let raw = folder.path().join("raw/notes");
    copy_folder(&raw, &copy);
    bench.extract(KEYS).await.unwrap();
    // An older copy of the table is restored: the keys that it does not have are fetched again, the others are not.
    std::fs::remove_dir_all(&raw).unwrap();
    copy_folder(&copy, &raw);
    let bench = bench.in_folder(folder.path()).await;
    let restored = bench.extract(KEYS).await.unwrap();
    assert_eq!((restored.keys_fetched, restored.landed), (3, 6));
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0);
    // A table made anew has another id: what is known of the old one does not count.
    std::fs::remove_dir_all(&raw).unwrap();
    let bench = bench.in_folder(folder.path()).await;
    assert_eq!(bench.extract(KEYS).await.unwrap().landed, 10);
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
