use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pace::LEFT_AFTER;
use super::*;
use crate::task::Key;

const SIGN: Duration = Duration::from_millis(200);
const HOST: &str = "pcmap.place.naver.com";

/// A clock that goes on with the real one.
fn now() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Timestamp::from_microsecond(1_790_000_000_000_000 + i64::try_from(since.as_micros()).unwrap()).unwrap()
}

async fn lake(name: &str) -> Lake {
    static LAKES: AtomicU64 = AtomicU64::new(0);
    let number = LAKES.fetch_add(1, Ordering::SeqCst);
    Lake::open(&format!("memory://heartbeat-{name}-{number}"), "test").await.unwrap()
}

fn settings(id: &str) -> HeartbeatSettings {
    HeartbeatSettings { id: id.into(), role: Role::Worker, jobs: 2, interval: SIGN, now }
}

async fn start(lake: &Lake, id: &str) -> Heartbeat {
    Heartbeat::start(lake, settings(id)).await.unwrap()
}

async fn seen(lake: &Lake) -> Vec<(String, Health, WorkerState)> {
    let workers = workers(lake, now()).await.unwrap();
    workers.into_iter().map(|worker| (worker.record.id, worker.health, worker.record.state)).collect()
}

fn task() -> Task {
    Task::new(&"naver_reviews".parse().unwrap(), "2026-10-01".parse().unwrap(), vec![Key::new("국밥")])
}

#[tokio::test]
async fn a_worker_is_seen_with_what_it_is_on_and_says_when_it_ends() {
    let lake = lake("seen").await;
    let heartbeat = start(&lake, "w1").await;
    assert_eq!(seen(&lake).await, [("w1".into(), Health::Lives, WorkerState::Idle)]);
    let guard = heartbeat.task(&task());
    guard.key("국밥");
    sleep(SIGN * 2).await;
    let worker = workers(&lake, now()).await.unwrap().remove(0);
    assert_eq!((worker.health, worker.record.state), (Health::Lives, WorkerState::Working));
    let under_way = &worker.record.tasks[0];
    assert_eq!((under_way.task.as_str(), under_way.key.as_deref()), (task().id.as_str(), Some("국밥")));
    assert!(worker.seconds_ago < 1.0, "{}", worker.seconds_ago);
    drop(guard);
    heartbeat.stop().await;
    assert_eq!(seen(&lake).await, [("w1".into(), Health::Stopped, WorkerState::Stopped)]);
    sleep(SIGN * 2).await;
    assert_eq!(seen(&lake).await[0].1, Health::Stopped, "nothing is said after the last word");
}

#[tokio::test]
async fn who_is_silent_or_gone_is_dead() {
    let lake = lake("dead").await;
    let heartbeat = start(&lake, "silent").await;
    let mut record = heartbeat.record(None);
    heartbeat.stop().await;
    record.seen = now() - jiff::SignedDuration::try_from(SIGN * (MISSED + 1)).unwrap();
    let write = async |record: &WorkerRecord| {
        lake.objects().put(&path::worker(&record.name()), serde_json::to_vec(record).unwrap().into()).await.unwrap();
    };
    write(&record).await;
    assert_eq!(seen(&lake).await, [("silent".into(), Health::Dead, WorkerState::Idle)]);
    record.seen = now();
    record.process.pid = 0;
    write(&record).await;
    assert_eq!(seen(&lake).await[0].1, Health::Dead, "its process is not there");
    for elsewhere in [
        Process { host: "elsewhere".into(), ..record.process.clone() },
        Process { boot: "another machine of this name".into(), ..record.process.clone() },
        Process { space: "another container".into(), ..record.process.clone() },
    ] {
        record.process = elsewhere;
        record.seen = now();
        write(&record).await;
        assert_eq!(seen(&lake).await[0].1, Health::Lives, "what runs elsewhere can't be looked at");
        record.seen = now() - jiff::SignedDuration::try_from(SIGN * (MISSED + 1)).unwrap();
        write(&record).await;
        assert_eq!(seen(&lake).await[0].1, Health::Dead, "but it was not heard again");
    }
}

#[tokio::test]
async fn a_sign_is_told_by_its_own_random_bits_and_by_nothing_else() {
    let lake = lake("namesakes").await;
    // As three containers of one image that were started in one second by an older scheduler.
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(start(&lake, "20261126T144142Z-000001").await);
    }
    assert_eq!(seen(&lake).await.len(), 3);
    for worker in &workers {
        worker.refresh().await.unwrap();
        assert_eq!(worker.others().len(), 2, "the other two, and not itself");
    }
    for (n, worker) in (1..).zip(&workers) {
        assert_eq!(worker.enter(HOST).await, n);
    }
    // Each has looked again by now, and takes a third.
    for worker in &workers {
        worker.refresh().await.unwrap();
        assert_eq!(worker.enter(HOST).await, 3);
    }
}

#[tokio::test]
async fn the_sign_of_an_older_program_is_another_ones() {
    let lake = lake("older").await;
    let old = start(&lake, "old").await;
    let mut record = serde_json::to_value(old.record(None)).unwrap();
    old.stop().await;
    lake.objects().delete(&path::worker(&old.record(None).name())).await.unwrap();
    record.as_object_mut().unwrap().remove("holder");
    record["hosts"] = serde_json::json!([HOST]);
    record["interval_ms"] = serde_json::json!(60_000);
    lake.objects().put(&path::worker("old"), record.to_string().into()).await.unwrap();
    let new = start(&lake, "old").await;
    assert_eq!(new.others().keys().collect::<Vec<_>>(), ["old"]);
    assert_eq!(new.enter(HOST).await, 2);
}

#[tokio::test]
async fn old_signs_of_the_dead_are_swept() {
    let lake = lake("sweep").await;
    let old = start(&lake, "old").await;
    old.stop().await;
    let mut record = old.record(Some(WorkerState::Stopped));
    record.seen = now() - jiff::SignedDuration::from_hours(25);
    lake.objects().put(&path::worker(&record.name()), serde_json::to_vec(&record).unwrap().into()).await.unwrap();
    start(&lake, "recent").await.stop().await;
    start(&lake, "new").await;
    let ids: Vec<String> = seen(&lake).await.into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids, ["recent", "new"]);
}

#[tokio::test]
async fn a_lone_worker_never_waits() {
    let lake = lake("alone").await;
    start(&lake, "ended").await.stop().await;
    let heartbeat = start(&lake, "w1").await;
    let elsewhere = start(&lake, "w2").await;
    assert_eq!(elsewhere.enter("another.host").await, 1);
    let began = Instant::now();
    assert_eq!(heartbeat.enter(HOST).await, 1);
    assert!(began.elapsed() < SIGN / 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn who_comes_second_waits_until_the_first_has_noticed() {
    let lake = lake("second").await;
    let first = start(&lake, "w1").await;
    assert_eq!(first.enter(HOST).await, 1);
    let second = start(&lake, "w2").await;
    let began = Instant::now();
    assert_eq!(second.enter(HOST).await, 2);
    assert!(began.elapsed() >= SIGN, "{:?}", began.elapsed());
    assert_eq!(first.enter(HOST).await, 2, "it has noticed by now");
    second.stop().await;
    sleep(SIGN * 2).await;
    assert_eq!(first.enter(HOST).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_begin_at_once_at_least_one_waits() {
    for _ in 0..5 {
        let lake = lake("at-once").await;
        let (one, two) = (start(&lake, "w1").await, start(&lake, "w2").await);
        let began = Instant::now();
        let enter = |heartbeat: Heartbeat| {
            tokio::spawn(async move {
                heartbeat.enter(HOST).await;
                began.elapsed()
            })
        };
        let (first, second) = (enter(one.clone()), enter(two.clone()));
        let waited = first.await.unwrap().max(second.await.unwrap());
        assert!(waited >= SIGN, "{waited:?}");
        assert_eq!((one.enter(HOST).await, two.enter(HOST).await), (2, 2));
    }
}

#[tokio::test]
async fn the_share_of_one_that_fell_silent_comes_back() {
    let lake = lake("silent").await;
    let (first, second) = (start(&lake, "w1").await, start(&lake, "w2").await);
    first.enter(HOST).await;
    assert_eq!(second.enter(HOST).await, 2);
    // Its signs end without a last word, as those of a killed process on another machine.
    drop(second);
    let began = Instant::now();
    while first.enter(HOST).await > 1 {
        assert!(began.elapsed() < SIGN * (MISSED + 8), "its share never came back");
        first.wants(HOST, Instant::now());
        sleep(SIGN / 4).await;
    }
    assert!(began.elapsed() > SIGN * (MISSED - 1), "not before it counts as dead: {:?}", began.elapsed());
}

#[tokio::test]
async fn a_host_that_nobody_wants_is_left() {
    let lake = lake("left").await;
    let (one, two) = (start(&lake, "w1").await, start(&lake, "w2").await);
    one.enter(HOST).await;
    two.enter(HOST).await;
    for _ in 0..2 * LEFT_AFTER {
        one.wants(HOST, Instant::now());
        sleep(SIGN).await;
    }
    assert_eq!(one.enter(HOST).await, 1, "the other one has not asked for long");
}

/// Requests in any window of this length are at most what the rate allows, and one for each worker.
fn assert_paced(asked: &[Instant], window: Duration, interval: Duration, workers: usize) {
    let most = usize::try_from(window.as_micros() / interval.as_micros()).unwrap() + workers + 1;
    for (place, first) in asked.iter().enumerate() {
        let within = asked[place..].iter().take_while(|at| **at - *first < window).count();
        assert!(within <= most, "{within} requests in {window:?}, {most} are allowed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_together_keep_one_pace() {
    const EVERY: Duration = Duration::from_millis(20);
    let lake = lake("pace").await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut workers = Vec::new();
    for number in 0..3_u64 {
        let heartbeat = start(&lake, &format!("w{number}")).await;
        let asked = Arc::clone(&asked);
        workers.push(tokio::spawn(async move {
            // They come one after the other, in the middle of the work.
            sleep(Duration::from_millis(300) * u32::try_from(number).unwrap()).await;
            let began = Instant::now();
            let mut next = Instant::now();
            while began.elapsed() < Duration::from_millis(2500) {
                let share = heartbeat.enter(HOST).await;
                let at = next.max(Instant::now());
                next = at + EVERY * share;
                heartbeat.wants(HOST, at);
                sleep(at.saturating_duration_since(Instant::now())).await;
                asked.lock().unwrap().push(Instant::now());
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut asked = asked.lock().unwrap().clone();
    asked.sort_unstable();
    assert_paced(&asked, Duration::from_millis(500), EVERY, 3);
    assert!(asked.len() > 60, "{} requests: the pace is used", asked.len());
}
