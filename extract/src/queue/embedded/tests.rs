use tempfile::TempDir;

use super::*;
use crate::queue::contract::{Clock, Fixture, queue_contract, sorting_queue_contract};
use crate::task::Key;

struct OnDisk(TempDir, Clock);

impl OnDisk {
    fn file(&self) -> PathBuf {
        self.0.path().join("deep/queue.sqlite")
    }
}

impl Fixture for OnDisk {
    fn new() -> Option<Self> {
        Some(Self(TempDir::new().unwrap(), Clock::simulated()))
    }

    async fn open(&self) -> Arc<dyn Queue> {
        Arc::new(EmbeddedQueue::open(self.file()).await.unwrap())
    }

    fn clock(&self) -> &Clock {
        &self.1
    }
}

queue_contract!(OnDisk);
sorting_queue_contract!(OnDisk);

const OPTIONS: ReceiveOptions = ReceiveOptions { visibility_timeout: Duration::from_mins(2), max_receives: 3 };

fn source() -> SourceName {
    "naver_reviews".parse().unwrap()
}

fn dt() -> Date {
    "2026-10-01".parse().unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn task(key: &str) -> Task {
    Task::new(&source(), dt(), vec![Key { since: Some("2026-09-30".into()), over: Some(7), ..Key::new(key) }])
}

async fn receive(queue: &EmbeddedQueue) -> Option<Message> {
    queue.receive(&TaskFilter::day(&source(), dt()), &OPTIONS, now()).await.unwrap()
}

/// What is waited for is a duration, whatever the clock said when the wait began.
#[tokio::test]
async fn a_clock_that_was_ahead_makes_nobody_wait() {
    let of = TaskFilter::day(&source(), dt());
    for ahead in [Duration::from_mins(5), Duration::from_hours(9), Duration::from_hours(24 * 400)] {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("queue.sqlite");
        let queue = EmbeddedQueue::open(&file).await.unwrap();
        let later = now() + ahead;
        queue.send(&[task("put back"), task("held"), task("waiting")], later).await.unwrap();
        let put_back = queue.receive(&of, &OPTIONS, later).await.unwrap().unwrap();
        let release = Release { after: Duration::from_secs(30), error: None, uncounted: true };
        assert_eq!(queue.release(&put_back, &release, later).await.unwrap(), ReceiptState::Current);
        let held = queue.receive(&of, &OPTIONS, later).await.unwrap().unwrap();

        let queue = EmbeddedQueue::open(&file).await.unwrap();
        assert_eq!(queue.counts(&of, now()).await.unwrap(), Counts { visible: 1, in_flight: 2, dead: 0 }, "{ahead:?}");
        let waiting = receive(&queue).await.unwrap();
        assert_eq!(waiting.task.keys[0].value, "waiting", "{ahead:?}");
        assert!(receive(&queue).await.is_none(), "{ahead:?}: the others still wait");
        let after = |seconds: u64| now() + Duration::from_secs(seconds);
        let again = queue.receive(&of, &OPTIONS, after(32)).await.unwrap().unwrap();
        assert_eq!(again.task.keys[0].value, "put back", "{ahead:?}");
        // Who holds one does so as long as it was given, and can say that it lives.
        assert_eq!(
            queue.change_visibility(&held.receipt_handle, Duration::from_mins(2), after(100)).await.unwrap(),
            ReceiptState::Current
        );
        for done in [waiting, again] {
            assert_eq!(queue.delete(&done.receipt_handle).await.unwrap(), ReceiptState::Current);
        }
        assert!(queue.receive(&of, &OPTIONS, after(200)).await.unwrap().is_none(), "{ahead:?}");
        assert!(queue.receive(&of, &OPTIONS, after(225)).await.unwrap().is_some(), "{ahead:?}");
    }
}

#[test]
fn each_version_has_the_step_that_makes_it() {
    assert_eq!(i64::try_from(MIGRATIONS.len()), Ok(VERSION));
}

#[tokio::test]
async fn what_was_sent_is_there_after_the_file_is_opened_again() {
    let disk = OnDisk::new().unwrap();
    let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
    queue.send(&[task("망원동 '국밥'")], now()).await.unwrap();
    drop(queue);
    let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
    assert_eq!(receive(&queue).await.unwrap().task, task("망원동 '국밥'"));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_a_dead_process_of_this_machine_held_is_free_at_once() {
    let disk = OnDisk::new().unwrap();
    let gone = Process { started: 1, ..Process::current() };
    let queue = EmbeddedQueue::open_as(disk.file(), gone.clone()).await.unwrap();
    queue.send(&[task("a"), task("b")], now()).await.unwrap();
    let held = receive(&queue).await.unwrap();
    let elsewhere = EmbeddedQueue::open_as(disk.file(), Process { boot: "elsewhere".into(), ..gone }).await.unwrap();
    assert_eq!(receive(&elsewhere).await.unwrap().task, task("b"));

    let heir = EmbeddedQueue::open(disk.file()).await.unwrap();
    let message = receive(&heir).await.unwrap();
    assert_eq!((message.task, message.receive_count), (task("a"), 2), "the kill counts as a receive");
    assert!(receive(&heir).await.is_none(), "who holds `b` can't be asked from here: it waits for its timeout");
    assert_eq!(queue.delete(&held.receipt_handle).await.unwrap(), ReceiptState::Stale);
}

#[tokio::test]
async fn what_a_living_process_holds_stays_held() {
    let disk = OnDisk::new().unwrap();
    let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
    queue.send(&[task("a")], now()).await.unwrap();
    receive(&queue).await.unwrap();
    let second = EmbeddedQueue::open(disk.file()).await.unwrap();
    assert!(receive(&second).await.is_none());
}

#[tokio::test]
async fn a_file_that_is_no_queue_is_set_aside_and_begun_anew() {
    for damage in [
        "garbage that is longer than the header of a database file, which has a hundred bytes, so that it is read as one, and then some",
        "short",
    ] {
        let disk = OnDisk::new().unwrap();
        fs::create_dir_all(disk.file().parent().unwrap()).unwrap();
        fs::write(disk.file(), damage).unwrap();
        let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
        assert_eq!(queue.send(&[task("a")], now()).await.unwrap(), 1);
        assert_eq!(fs::read_to_string(with_suffix(&disk.file(), ".corrupt")).unwrap(), damage);
    }
}

#[tokio::test]
async fn a_queue_with_torn_pages_is_set_aside_and_begun_anew() {
    let disk = OnDisk::new().unwrap();
    let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
    let tasks: Vec<Task> = (0..500).map(|n| task(&n.to_string())).collect();
    queue.send(&tasks, now()).await.unwrap();
    drop(queue);
    let mut bytes = fs::read(disk.file()).unwrap();
    for byte in &mut bytes[4096..] {
        *byte = 0xA5;
    }
    fs::write(disk.file(), bytes).unwrap();
    let queue = EmbeddedQueue::open(disk.file()).await.unwrap();
    assert_eq!(queue.counts(&TaskFilter::day(&source(), dt()), now()).await.unwrap(), Counts::default());
    assert!(with_suffix(&disk.file(), ".corrupt").exists());
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let disk = OnDisk::new().unwrap();
    drop(EmbeddedQueue::open(disk.file()).await.unwrap());
    Connection::open(disk.file()).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = EmbeddedQueue::open(disk.file()).await.unwrap_err();
    assert!(matches!(error, Error::QueueVersion { expected: VERSION, found: 7, .. }), "{error}");
    assert!(error.hint().is_some() && !error.is_retryable());
}

#[tokio::test]
async fn a_folder_that_can_not_be_made_is_one_clear_error() {
    let disk = OnDisk::new().unwrap();
    fs::write(disk.0.path().join("deep"), "a file where the folder should be").unwrap();
    let error = EmbeddedQueue::open(disk.file()).await.unwrap_err();
    assert!(matches!(error, Error::QueueFolder { .. }), "{error}");
}
