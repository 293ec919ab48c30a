//! The life of a task, on a scripted site and a lake in memory: whatever is killed, lost, delivered twice or refused, each
//! record is in the table once and no key is asked for twice.

use std::sync::Arc;
use std::time::Duration;

use catalog::path;
use extract::plan::{Due, plan};
use extract::queue::{EmbeddedQueue, MemoryQueue, ReceiveOptions};
use extract::worker::{extract_with, is_due};
use extract::{Cancel, Error, Progress, Task};
use proptest::prelude::*;

use self::bench::*;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod shared;

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
async fn a_plan_without_a_queue_is_taken_up() {
    let bench = Bench::new("plan-only").await;
    let planned = plan(&bench.lake, bench.source.name(), DT, &keys(KEYS), 2).await.unwrap();
    let mut other_order = KEYS.to_vec();
    other_order.reverse();
    let extracted = bench.extract(&other_order).await.unwrap();
    assert_eq!(extracted.tasks, planned.len() as u64);
    assert_eq!(bench.rows().await, rows_of(KEYS));
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
async fn a_poisoned_task_is_a_dead_letter_and_the_rest_goes_on() {
    let bench = Bench::new("poison").await;
    bench.site.script("c", Answer::Transient("the page fell apart"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(extracted.is_partial());
    assert_eq!((extracted.tasks, extracted.landed, extracted.left), (2, 6, 0));
    let [dead] = extracted.dead.as_slice() else { panic!("expected one dead letter, found {:?}", extracted.dead) };
    assert_eq!(dead.receive_count, 3);
    assert!(dead.error.contains("`c`") && dead.error.contains("the page fell apart"), "{}", dead.error);
    assert_eq!(bench.site.calls_of("c"), 3, "once for each receive");
    assert_eq!(bench.site.calls_of("d"), 1, "the other key of the task was staged by the first receive");
    assert_eq!(bench.rows().await, rows_of(&["a", "b", "e"]));

    // The next run of the day still says so, and asks nobody.
    let calls = bench.site.calls().len();
    let again = bench.extract(KEYS).await.unwrap();
    assert_eq!((&again.dead, again.keys_fetched), (&extracted.dead, 0));
    assert_eq!(bench.site.calls().len(), calls);

    // Redriven on a mended site, it lands and only its poisoned key is fetched.
    bench.site.script("c", Answer::Items);
    assert_eq!(bench.queue.redrive(&extracted.dead, now()).await.unwrap(), 1);
    let mended = bench.extract(KEYS).await.unwrap();
    assert_eq!((mended.keys_fetched, mended.landed, mended.dead.len()), (1, 4, 0));
    assert_eq!(bench.rows().await, rows_of(KEYS));
}

#[tokio::test]
async fn a_hiccup_costs_one_receive_and_nothing_else() {
    let bench = Bench::new("hiccup").await;
    bench.site.script_once("d", Answer::Transient("connection reset"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.landed, extracted.dead.len()), (10, 0));
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
async fn a_key_that_is_gone_is_recorded_and_not_asked_for_again() {
    let bench = Bench::new("gone").await;
    bench.site.script("b", Answer::Permanent("404 Not Found"));
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.fetched, extracted.landed, extracted.set_aside, extracted.dead.len()), (9, 8, 1, 0));
    let rows = bench.rows().await;
    let refused: Vec<_> = rows.iter().filter(|row| row.error.is_some()).collect();
    assert_eq!(refused.len(), 1);
    assert_eq!((refused[0].key.as_str(), refused[0].id.as_deref()), ("b", None));
    assert!(refused[0].error.as_ref().unwrap().contains("404 Not Found"));
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0);
    assert_eq!(bench.site.calls_of("b"), 1);
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
    assert_eq!((extracted.tasks, extracted.left), (1, 2));
    assert_eq!(bench.site.calls(), ["a", "b", "c", "d"], "nobody was asked after that");
    assert_eq!(bench.counts().await, (2, 0, 0), "all messages were handed back at once");

    // However often it happens, it is not the task's fault.
    for _ in 0..6 {
        assert_eq!(bench.extract(KEYS).await.unwrap().dead, []);
    }
    bench.site.script("d", Answer::Items);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert!(!extracted.is_partial());
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(bench.site.calls_of("c"), 1, "it was staged");
}

#[tokio::test]
async fn a_blocked_host_stops_what_others_have_under_way() {
    let bench = Bench::new("blocked-others").await.with_jobs(3);
    bench.site.script("a", Answer::Blocked);
    bench.site.script("c", Answer::Hang);
    bench.site.script("e", Answer::Hang);
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.tasks, extracted.left, extracted.blocked.len()), (0, 3, 1));
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
    let task = Task::new(bench.source.name(), DT, keys(&["a", "b"]));
    let staged = path::staged(&task.source, DT, task.id.as_str(), &task.keys[0].file_id());
    bench.lake.objects().put(&staged, "left".into()).await.unwrap();
    let foreign = path::staged(&task.source, DT, "0123456789abcdef", "k");
    bench.lake.objects().put(&foreign, "of a task that nobody planned".into()).await.unwrap();
    bench.extract(KEYS).await.unwrap();
    assert_eq!(bench.lake.objects().list(&path::staged_all()).await.unwrap(), [foreign]);
}

#[tokio::test]
async fn a_source_is_due_by_what_its_table_has() {
    let bench = Bench::new("due").await.weekly();
    assert_eq!(is_due(&bench.lake, &bench.source, DT).await.unwrap(), Due::Now, "it has no table");
    bench.extract(KEYS).await.unwrap();
    assert_eq!(
        is_due(&bench.lake, &bench.source, DT).await.unwrap(),
        Due::Now,
        "its own tasks know that nothing is left"
    );
    let next = DT.saturating_add(jiff::Span::new().days(7));
    let tomorrow = DT.saturating_add(jiff::Span::new().days(1));
    assert_eq!(is_due(&bench.lake, &bench.source, tomorrow).await.unwrap(), Due::Fresh { newest: DT, next });
    assert_eq!(is_due(&bench.lake, &bench.source, next).await.unwrap(), Due::Now);
}

/// Runs a process that is killed at its nth step: before or after a call of the queue, or within a request. Its queue dies
/// with it, which is harder than what a kill does to a file. Says whether it was killed.
async fn killed_at(step: u32, bench: &Bench) -> bool {
    let kill = Kill::at(step);
    let queue = faults::Killed::new(Arc::new(MemoryQueue::new()), kill.clone());
    let process = bench.clone().with_queue(Arc::new(queue)).with_kill(&kill);
    tokio::select! {
        biased;
        () = kill.fell() => true,
        done = process.extract(KEYS) => {
            done.unwrap();
            false
        }
    }
}

async fn killed_and_run_again(steps: &[u32], jobs: usize) -> usize {
    let bench = Bench::new("killed").await.with_jobs(jobs);
    let mut kills = 0;
    for step in steps {
        kills += usize::from(killed_at(*step, &bench).await);
        // What a killed process was doing has ended before the next one begins.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench.extract(KEYS).await.unwrap();
    assert_eq!(bench.rows().await, rows_of(KEYS), "killed at steps {steps:?} with {jobs} jobs");
    let calls = bench.site.calls().len();
    assert!(calls <= KEYS.len() + kills * jobs, "{calls} calls, killed at steps {steps:?} with {jobs} jobs");
    assert!(bench.lake.objects().list(&path::staged_all()).await.unwrap().is_empty());
    kills
}

#[tokio::test]
async fn killed_at_any_step_and_run_again_is_as_if_nothing_happened() {
    for jobs in [1, 3] {
        let mut step = 0;
        while killed_and_run_again(&[step], jobs).await == 1 {
            step += 1;
        }
        // 5 keys with 3 steps each, 3 tasks with a receive, a confirmation and a delete with 2 steps each, and a send.
        assert!(step >= 5 * 3 + 3 * 6 + 2, "a day has {step} steps only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn killed_again_and_again_is_as_if_nothing_happened(steps in proptest::collection::vec(0_u32..40, 2..5), jobs in 1_usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(killed_and_run_again(&steps, jobs));
    }
}

#[tokio::test]
async fn a_queue_that_fails_at_any_call_costs_a_run_and_no_row() {
    for before in [true, false] {
        for call in 0.. {
            let bench = Bench::new("queue-fails").await.with_jobs(1);
            let failing = Arc::new(faults::FailsOnce::new(bench.queue.clone(), call, before));
            let ended = bench.clone().with_queue(failing.clone()).extract(KEYS).await;
            if !failing.fired() {
                assert!(call > 8, "the fault fired at {call} calls only");
                ended.unwrap();
                break;
            }
            bench.extract(KEYS).await.unwrap();
            assert_eq!(bench.rows().await, rows_of(KEYS), "failed at call {call}, before: {before}");
            assert_eq!(bench.site.calls(), KEYS);
        }
    }
}
