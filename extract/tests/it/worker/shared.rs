//! Several runs on a queue that can't tell their tasks apart, and a run whose tasks others do.

use std::sync::Arc;
use std::time::Duration;

use extract::ledger::Ledger;
use extract::outcome::Outcome;
use extract::queue::{Counts, MemoryQueue, Queue, TaskFilter};
use extract::worker::{Until, extract_external, work};
use extract::{Cancel, Error, Extractor, Key, Task};

use super::bench::*;
use super::faults::Unsorted;

/// A bench on a queue that gives what comes, with tasks in it already.
async fn with_others(name: &str, tasks: &[Task]) -> (Bench, MemoryQueue) {
    let queue = MemoryQueue::new();
    queue.send(tasks, now()).await.unwrap();
    (Bench::new(name).await.with_queue(Arc::new(Unsorted(queue.clone()))), queue)
}

#[tokio::test]
async fn what_other_runs_wait_for_is_done_too_and_is_not_in_the_numbers() {
    let bench = Bench::new("names").await;
    let yesterday = DT.saturating_sub(jiff::Span::new().days(1));
    let foreign = Task::new(bench.source.name(), yesterday, keys(&["x", "y"]));
    let (bench, queue) = with_others("foreign", std::slice::from_ref(&foreign)).await;
    let extracted = bench.extract(KEYS).await.unwrap();
    assert_eq!((extracted.tasks, extracted.fetched, extracted.left), (3, 10, 0), "its own day's");
    assert_eq!(bench.rows().await, rows_of(&["a", "b", "c", "d", "e", "x", "y"]));
    assert_eq!(queue.counts(&TaskFilter::all(), now()).await.unwrap(), Counts::default());
    assert_eq!(bench.extract(KEYS).await.unwrap().keys_fetched, 0);
}

#[tokio::test]
async fn a_task_of_an_unknown_source_is_left_to_others() {
    let unknown = Task::new(&"elsewhere".parse().unwrap(), DT, keys(&["x"]));
    let (bench, queue) = with_others("unknown", std::slice::from_ref(&unknown)).await;
    assert_eq!(bench.extract(KEYS).await.unwrap().tasks, 3, "its own are done all the same");
    let counts = queue.counts(&TaskFilter::all(), now()).await.unwrap();
    assert_eq!(counts, Counts { visible: 0, in_flight: 1, dead: 0 }, "it waits for somebody who knows it");
    assert_eq!(bench.site.calls_of("x"), 0);
}

#[tokio::test]
async fn a_worker_ends_when_nothing_is_left_that_it_can_do_and_when_it_is_told_to() {
    let unknown = Task::new(&"elsewhere".parse().unwrap(), DT, keys(&["x"]));
    let bench = Bench::new("idle").await;
    bench.queue.send(std::slice::from_ref(&unknown), now()).await.unwrap();
    let worked = work(&bench.ctx(), Until::Idle).await.unwrap();
    assert_eq!(worked.tasks, 0);
    let counts = bench.queue.counts(&TaskFilter::all(), now()).await.unwrap();
    assert_eq!(counts, Counts { visible: 0, in_flight: 1, dead: 0 }, "it is left to others");

    let cancel = Cancel::new();
    let ctx = Extractor { cancel: cancel.clone(), ..bench.ctx() };
    let (worked, ()) = tokio::join!(work(&ctx, Until::Stopped), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    assert_eq!(worked.unwrap().tasks, 0, "to be told to stop is no error");
}

/// What is wrong with one source stops no worker: the others' tasks are done, and its own wait for somebody who can do them.
#[tokio::test]
async fn a_source_that_can_not_be_worked_on_does_not_end_a_worker() {
    let bench = Bench::new("unfit").await;
    let source = |text: &str| extract::Source::parse("unfit.toml", &text.replace("\"notes\"", "\"unfit\"")).unwrap();
    let (was, is) =
        (source(&NOTES.replace("\"/body\", type = \"string\"", "\"/body\", type = \"int64\"")), source(NOTES));
    bench.lake.create(&was.table_spec()).await.unwrap();
    let task = Task::new(is.name(), DT, keys(&["x"]));
    bench.queue.send(std::slice::from_ref(&task), now()).await.unwrap();
    let cancel = Cancel::new();
    let ctx = Extractor { cancel: cancel.clone(), sources: Arc::from([is]), ..bench.ctx() };
    let working = work(&ctx, Until::Stopped);
    let stopping = async {
        while bench.queue.counts(&TaskFilter::all(), now()).await.unwrap().visible > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    };
    let (worked, ()) = tokio::join!(working, stopping);
    assert_eq!(worked.unwrap().tasks, 0, "it went on until it was told to stop");
    let counts = bench.queue.counts(&TaskFilter::all(), now()).await.unwrap();
    assert_eq!(counts, Counts { visible: 0, in_flight: 1, dead: 0 }, "it rests, and this try did not count");
    // Who works until nothing is left says that something is.
    let later = Bench::new("unfit-idle").await;
    later.lake.create(&was.table_spec()).await.unwrap();
    later.queue.send(std::slice::from_ref(&task), now()).await.unwrap();
    let ctx = Extractor { sources: ctx.sources.clone(), ..later.ctx() };
    let error = work(&ctx, Until::Idle).await.unwrap_err();
    assert!(error.to_string().contains("raw.unfit"), "{error}");
}

#[tokio::test]
async fn a_host_that_refuses_another_runs_source_does_not_stop_this_one() {
    let foreign = Task::new(&"others".parse().unwrap(), DT, keys(&["x"]));
    let text = NOTES.replace("name = \"notes\"", "name = \"others\"");
    let other = extract::Source::parse("others.toml", &text).unwrap();
    // Nobody answers at the address of that source: it fails for this process, and only for that task.
    let (bench, queue) = with_others("refused", std::slice::from_ref(&foreign)).await;
    let sources = Arc::from([bench.source.clone(), other]);
    let ctx = Extractor { sources, ..bench.ctx() };
    let fetch = bench.fetch();
    let extracted = extract::worker::extract_with(&ctx, &bench.source, &fetch, DT, keys(KEYS)).await.unwrap();
    assert_eq!((extracted.tasks, extracted.left), (3, 0));
    assert!(extracted.blocked.is_empty() && extracted.open.is_empty());
    assert_eq!(queue.counts(&TaskFilter::all(), now()).await.unwrap().visible, 0, "it waits for its next try");
}

/// A run that was killed leaves its tasks in the queue, and whoever finds them days later can only have the present.
#[tokio::test]
async fn a_task_that_is_found_days_later_is_not_filed_under_its_day() {
    let yesterday = DT.saturating_sub(jiff::Span::new().days(1));
    let name = "notes".parse().unwrap();
    let planned = |hours: i64, key: &str| {
        let planned = Some(now() - jiff::SignedDuration::from_hours(hours));
        Task::new(&name, yesterday, vec![Key { planned, ..Key::new(key) }])
    };
    let (bench, queue) = with_others("late", &[planned(49, "late"), planned(2, "soon")]).await;
    bench.extract(KEYS).await.unwrap();
    assert_eq!((bench.site.calls_of("late"), bench.site.calls_of("soon")), (0, 1));
    assert_eq!(queue.counts(&TaskFilter::all(), now()).await.unwrap(), Counts::default(), "nobody finds it again");
    let table = bench.lake.table(bench.source.table()).await.unwrap();
    let ledger = Ledger::open(&bench.lake, &bench.source, table, DT).await.unwrap();
    let outcome = |key: &str| ledger.get(yesterday, key).unwrap().last.outcome;
    assert_eq!((outcome("late"), outcome("soon")), (Outcome::Failed, Outcome::Landed), "who waits for it is told");
}

#[tokio::test]
async fn a_run_whose_tasks_others_do_ends_when_all_have_ended_or_failed() {
    let bench = Bench::new("by-others").await;
    bench.site.script("c", Answer::Transient("the page fell apart"));
    let worker = bench.clone();
    let ctx = bench.ctx();
    let waiting = extract_external(&ctx, &bench.source, DT, keys(KEYS));
    let (waited, worked) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        worker.extract(KEYS).await
    });
    let (waited, worked) = (waited.unwrap(), worked.unwrap());
    assert_eq!((waited.landed, waited.open.len()), (8, 1));
    assert_eq!((waited.open[0].outcome, &waited.open), (Outcome::Failed, &worked.open));
    assert!(waited.open[0].why.as_ref().unwrap().contains("fell apart"), "{:?}", waited.open);
    let told = bench.told.lock().unwrap().clone();
    assert!(told.iter().any(|progress| progress.done_keys == 4 && progress.total_keys == 5), "{told:?}");
}

#[tokio::test]
async fn a_run_that_waits_leaves_its_tasks_in_the_queue_when_it_is_told_to_stop() {
    let bench = Bench::new("stop-waiting").await;
    let cancel = Cancel::new();
    let ctx = Extractor { cancel: cancel.clone(), ..bench.ctx() };
    let (ended, ()) = tokio::join!(extract_external(&ctx, &bench.source, DT, keys(KEYS)), async {
        while bench.counts().await != (3, 0, 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cancel.cancel();
    });
    assert!(matches!(ended, Err(Error::Cancelled)));
    assert_eq!(bench.counts().await, (3, 0, 0));
    assert!(bench.site.calls().is_empty());
}
