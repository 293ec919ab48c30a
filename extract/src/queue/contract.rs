//! What any queue must do. Each case is a sentence; `queue_contract!` runs all of them over one implementation, and
//! `sorting_queue_contract!` those that only a queue with a memory of its own can keep.
//!
//! Cases wait by the fixture's clock: one that is simulated jumps, a service's real one is waited for.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use catalog::{Date, SourceName, Timestamp};

use super::{Counts, Message, Queue, ReceiptState, ReceiveOptions, Release, TaskFilter};
use crate::task::{Key, Task};

/// A queue under test, empty at first.
pub(super) trait Fixture: Sized {
    /// None where its service is not installed; it said so.
    fn new() -> Option<Self>;

    /// Opens it as one more process would.
    async fn open(&self) -> Arc<dyn Queue>;

    /// Its clock.
    fn clock(&self) -> &Clock;
}

/// How time passes for a queue.
pub(super) enum Clock {
    /// It jumps: microseconds since an arbitrary moment.
    Simulated(AtomicI64),
    /// It is the service's own; a timeout has to be really waited for.
    Real,
}

impl Clock {
    pub(super) fn simulated() -> Self {
        Self::Simulated(AtomicI64::new(1_790_000_000_000_000))
    }

    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Simulated(now) => Timestamp::from_microsecond(now.load(Ordering::SeqCst)).unwrap(),
            Self::Real => real_now(),
        }
    }

    /// The visibility timeout of the cases: as short as a busy machine allows.
    fn v(&self) -> Duration {
        match self {
            Self::Simulated(_) => Duration::from_mins(2),
            Self::Real => Duration::from_secs(3),
        }
    }

    async fn pass(&self, time: Duration) {
        match self {
            Self::Simulated(now) => {
                now.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
            }
            Self::Real => tokio::time::sleep(time).await,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the service under test reads the real clock")]
pub(super) fn real_now() -> Timestamp {
    Timestamp::now()
}

/// All cases over one [`Fixture`].
macro_rules! queue_contract {
    ($fixture:ty) => {
        crate::queue::contract::queue_contract!(
            $fixture:
            a_task_is_sent_once_while_it_is_there,
            a_received_message_is_hidden_until_its_timeout,
            a_heartbeat_keeps_it_hidden,
            a_stale_receipt_handle_is_refused,
            a_deleted_message_is_gone_and_may_come_again,
            dead_letters_are_sent_again_by_redrive,
            a_released_message_waits_as_long_as_it_was_told,
            handing_back_does_not_count_as_a_receive,
            dead_letters_are_told_by_source_and_day,
        );
    };
    ($fixture:ty: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(fixture) = <$fixture as crate::queue::contract::Fixture>::new() {
                    crate::queue::contract::$case(&fixture).await;
                }
            }
        )*
    };
}
pub(super) use queue_contract;

/// The cases of queues that tell sources and days apart, and remember what was said of a message.
macro_rules! sorting_queue_contract {
    ($fixture:ty) => {
        crate::queue::contract::queue_contract!(
            $fixture:
            a_message_that_is_received_too_often_is_a_dead_letter,
            a_dead_letter_tells_its_last_error,
            sources_and_days_do_not_mix,
            fresh_tasks_come_before_those_that_failed,
            two_processes_never_hold_the_same_message,
        );
    };
}
pub(super) use sorting_queue_contract;

fn options(clock: &Clock) -> ReceiveOptions {
    ReceiveOptions { visibility_timeout: clock.v(), max_receives: 3 }
}

pub(super) fn source() -> SourceName {
    "naver_reviews".parse().unwrap()
}

pub(super) fn dt() -> Date {
    "2026-10-01".parse().unwrap()
}

pub(super) fn of() -> TaskFilter {
    TaskFilter::day(&source(), dt())
}

pub(super) fn task(key: &str) -> Task {
    Task::new(&source(), dt(), vec![Key::new(key)])
}

/// One of our source and day, one of another day, one of another source.
fn tasks_of_two_sources_and_days() -> [Task; 3] {
    let other_day: Date = "2026-10-02".parse().unwrap();
    let other_source: SourceName = "naver_places".parse().unwrap();
    [
        task("a"),
        Task::new(&source(), other_day, vec![Key::new("a")]),
        Task::new(&other_source, dt(), vec![Key::new("a")]),
    ]
}

async fn receive(queue: &Arc<dyn Queue>, clock: &Clock) -> Option<Message> {
    queue.receive(&of(), &options(clock), clock.now()).await.unwrap()
}

/// Receives all there is, as often as each queue allows, and never says that it is done.
async fn use_up(queue: &Arc<dyn Queue>, clock: &Clock) {
    while let Some(message) = queue.receive(&TaskFilter::all(), &options(clock), clock.now()).await.unwrap() {
        assert_eq!(queue.release(&message, &Release::default(), clock.now()).await.unwrap(), ReceiptState::Current);
    }
}

async fn counts(queue: &Arc<dyn Queue>, clock: &Clock) -> (usize, usize, usize) {
    let Counts { visible, in_flight, dead } = queue.counts(&of(), clock.now()).await.unwrap();
    (visible, in_flight, dead)
}

pub(super) async fn a_task_is_sent_once_while_it_is_there(fixture: &impl Fixture) {
    let (queue, other, clock) = (fixture.open().await, fixture.open().await, fixture.clock());
    assert_eq!(queue.send(&[task("a"), task("b")], clock.now()).await.unwrap(), 2);
    assert_eq!(other.send(&[task("b"), task("c"), task("c")], clock.now()).await.unwrap(), 1);
    assert_eq!(counts(&queue, clock).await, (3, 0, 0));
    let message = receive(&queue, clock).await.unwrap();
    let again = other.send(std::slice::from_ref(&message.task), clock.now()).await.unwrap();
    assert_eq!(again, 0, "it is in flight");
    assert_eq!(counts(&other, clock).await, (2, 1, 0));
}

pub(super) async fn a_received_message_is_hidden_until_its_timeout(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let message = receive(&queue, clock).await.unwrap();
    assert_eq!((message.task, message.receive_count), (task("a"), 1));
    clock.pass(clock.v() / 2).await;
    assert!(receive(&queue, clock).await.is_none());
    assert_eq!(counts(&queue, clock).await, (0, 1, 0));
    clock.pass(clock.v()).await;
    assert_eq!(counts(&queue, clock).await, (1, 0, 0));
    assert_eq!(receive(&queue, clock).await.unwrap().receive_count, 2);
}

pub(super) async fn a_heartbeat_keeps_it_hidden(fixture: &impl Fixture) {
    let (queue, other, clock) = (fixture.open().await, fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let message = receive(&queue, clock).await.unwrap();
    for _ in 0..4 {
        clock.pass(clock.v() * 2 / 3).await;
        assert!(receive(&other, clock).await.is_none());
        let held = queue.change_visibility(&message.receipt_handle, clock.v(), clock.now()).await.unwrap();
        assert_eq!(held, ReceiptState::Current);
    }
    clock.pass(clock.v() * 4 / 3).await;
    assert!(receive(&other, clock).await.is_some());
}

pub(super) async fn a_stale_receipt_handle_is_refused(fixture: &impl Fixture) {
    let (queue, other, clock) = (fixture.open().await, fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let old = receive(&queue, clock).await.unwrap();
    clock.pass(clock.v() * 4 / 3).await;
    let new = receive(&other, clock).await.unwrap();
    assert_ne!(old.receipt_handle, new.receipt_handle);
    let handle = &old.receipt_handle;
    assert_eq!(queue.change_visibility(handle, clock.v(), clock.now()).await.unwrap(), ReceiptState::Stale);
    assert_eq!(queue.release(&old, &Release::default(), clock.now()).await.unwrap(), ReceiptState::Stale);
    assert_eq!(queue.delete(handle).await.unwrap(), ReceiptState::Stale);
    assert_eq!(counts(&queue, clock).await, (0, 1, 0), "the stale handle changed nothing");
    assert_eq!(other.delete(&new.receipt_handle).await.unwrap(), ReceiptState::Current);
    assert_eq!(other.delete(&new.receipt_handle).await.unwrap(), ReceiptState::Stale);
}

pub(super) async fn a_deleted_message_is_gone_and_may_come_again(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let old = receive(&queue, clock).await.unwrap().receipt_handle;
    assert_eq!(queue.delete(&old).await.unwrap(), ReceiptState::Current);
    assert_eq!(counts(&queue, clock).await, (0, 0, 0));
    assert_eq!(queue.send(&[task("a")], clock.now()).await.unwrap(), 1, "a deleted message leaves no trace");
    receive(&queue, clock).await.unwrap();
    assert_eq!(queue.delete(&old).await.unwrap(), ReceiptState::Stale, "its handle is not that of the new one");
}

pub(super) async fn a_message_that_is_received_too_often_is_a_dead_letter(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a"), task("b")], clock.now()).await.unwrap();
    let rest = receive(&queue, clock).await.unwrap();
    let poisoned = receive(&queue, clock).await.unwrap();
    assert_eq!(queue.delete(&rest.receipt_handle).await.unwrap(), ReceiptState::Current);
    for count in [2, 3] {
        clock.pass(clock.v()).await;
        assert_eq!(receive(&queue, clock).await.unwrap().receive_count, count);
    }
    assert_eq!(counts(&queue, clock).await, (0, 1, 0));
    clock.pass(clock.v()).await;
    assert!(receive(&queue, clock).await.is_none());
    assert_eq!(counts(&queue, clock).await, (0, 0, 1));
    let dead = queue.dead_letters(&of(), clock.now()).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].task, dead[0].receive_count, dead[0].dead_at), (&poisoned.task, 3, clock.now()));
    assert_eq!(dead[0].error, super::NO_WORD);
    let again = queue.send(&[poisoned.task], clock.now()).await.unwrap();
    assert_eq!(again, 0, "it stays dead until it is redriven");
}

pub(super) async fn a_dead_letter_tells_its_last_error(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    for (turn, error) in [Some("first"), Some("second"), None].into_iter().enumerate() {
        let message = receive(&queue, clock).await.unwrap();
        assert_eq!(message.receive_count as usize, turn + 1);
        let release = Release { error: error.map(str::to_owned), ..Release::default() };
        assert_eq!(queue.release(&message, &release, clock.now()).await.unwrap(), ReceiptState::Current);
    }
    assert!(receive(&queue, clock).await.is_none());
    assert_eq!(queue.dead_letters(&of(), clock.now()).await.unwrap()[0].error, "second");
}

pub(super) async fn dead_letters_are_sent_again_by_redrive(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a"), task("b")], clock.now()).await.unwrap();
    use_up(&queue, clock).await;
    let dead = queue.dead_letters(&of(), clock.now()).await.unwrap();
    assert_eq!(dead.iter().map(|letter| letter.task.clone()).collect::<HashSet<_>>(), [task("a"), task("b")].into());
    assert_eq!(counts(&queue, clock).await, (0, 0, 2));
    assert_eq!(queue.redrive(&dead[..1], clock.now()).await.unwrap(), 1, "one of them");
    assert_eq!(counts(&queue, clock).await, (1, 0, 1));
    assert_eq!(queue.redrive(&dead, clock.now()).await.unwrap(), 1, "the other one");
    assert_eq!(queue.redrive(&dead, clock.now()).await.unwrap(), 0);
    assert_eq!(counts(&queue, clock).await, (2, 0, 0));
    assert!(queue.dead_letters(&of(), clock.now()).await.unwrap().is_empty());
    assert_eq!(receive(&queue, clock).await.unwrap().receive_count, 1);
}

pub(super) async fn a_released_message_waits_as_long_as_it_was_told(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let first = receive(&queue, clock).await.unwrap();
    let release = Release { after: clock.v(), error: Some("slow down".into()), uncounted: false };
    assert_eq!(queue.release(&first, &release, clock.now()).await.unwrap(), ReceiptState::Current);
    let late = queue.change_visibility(&first.receipt_handle, clock.v() * 9, clock.now()).await.unwrap();
    assert_eq!(late, ReceiptState::Stale, "it was given back");
    clock.pass(clock.v() / 2).await;
    assert!(receive(&queue, clock).await.is_none());
    clock.pass(clock.v()).await;
    assert_eq!(receive(&queue, clock).await.unwrap().receive_count, 2);
}

pub(super) async fn handing_back_does_not_count_as_a_receive(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a")], clock.now()).await.unwrap();
    let once = receive(&queue, clock).await.unwrap();
    assert_eq!(queue.release(&once, &Release::default(), clock.now()).await.unwrap(), ReceiptState::Current);
    let back = Release { uncounted: true, ..Release::default() };
    for _ in 0..10 {
        let message = receive(&queue, clock).await.unwrap();
        assert_eq!(message.receive_count, 2, "the one that counted still does");
        assert_eq!(queue.release(&message, &back, clock.now()).await.unwrap(), ReceiptState::Current);
    }
    assert_eq!(counts(&queue, clock).await, (1, 0, 0));
}

pub(super) async fn dead_letters_are_told_by_source_and_day(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    let tasks = tasks_of_two_sources_and_days();
    assert_eq!(queue.send(&tasks, clock.now()).await.unwrap(), 3);
    use_up(&queue, clock).await;
    let found = async |of: &TaskFilter| -> HashSet<Task> {
        queue.dead_letters(of, clock.now()).await.unwrap().into_iter().map(|letter| letter.task).collect()
    };
    let expected = |of: &TaskFilter| -> HashSet<Task> { tasks.iter().filter(|task| of.has(task)).cloned().collect() };
    for of in [
        TaskFilter::all(),
        of(),
        TaskFilter { source: Some(source()), dt: None },
        TaskFilter { source: None, dt: Some(dt()) },
        TaskFilter::day(&tasks[2].source, tasks[1].dt),
    ] {
        assert_eq!(found(&of).await, expected(&of), "{of:?}");
    }
}

pub(super) async fn sources_and_days_do_not_mix(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    let tasks = tasks_of_two_sources_and_days();
    assert_eq!(queue.send(&tasks, clock.now()).await.unwrap(), 3);
    let message = receive(&queue, clock).await.unwrap();
    assert_eq!(message.task, tasks[0]);
    assert!(receive(&queue, clock).await.is_none());
    let counts = queue.counts(&TaskFilter::day(&source(), tasks[1].dt), clock.now()).await.unwrap();
    assert_eq!(counts, Counts { visible: 1, in_flight: 0, dead: 0 });
}

pub(super) async fn fresh_tasks_come_before_those_that_failed(fixture: &impl Fixture) {
    let (queue, clock) = (fixture.open().await, fixture.clock());
    queue.send(&[task("a"), task("b"), task("c")], clock.now()).await.unwrap();
    let first = receive(&queue, clock).await.unwrap();
    assert_eq!(first.task, task("a"), "in the order they were sent");
    assert_eq!(queue.release(&first, &Release::default(), clock.now()).await.unwrap(), ReceiptState::Current);
    let mut order = Vec::new();
    while let Some(message) = receive(&queue, clock).await {
        order.push(message.task.keys[0].value.clone());
    }
    assert_eq!(order, ["b", "c", "a"]);
}

pub(super) async fn two_processes_never_hold_the_same_message(fixture: &impl Fixture) {
    const TASKS: usize = 60;
    let queue = fixture.open().await;
    let tasks: Vec<Task> = (0..TASKS).map(|n| task(&n.to_string())).collect();
    let mut takers = Vec::new();
    let now = fixture.clock().now();
    for _ in 0..4 {
        let (queue, tasks) = (fixture.open().await, tasks.clone());
        let options = options(fixture.clock());
        takers.push(tokio::spawn(async move {
            let sent = queue.send(&tasks, now).await.unwrap();
            let mut taken = Vec::new();
            while let Some(message) = queue.receive(&of(), &options, now).await.unwrap() {
                taken.push(message.task.id.clone());
                if taken.len() % 2 == 0 {
                    assert_eq!(queue.delete(&message.receipt_handle).await.unwrap(), ReceiptState::Current);
                }
            }
            (sent, taken)
        }));
    }
    let (mut sent, mut taken) = (0, Vec::new());
    for taker in takers {
        let (more, ids) = taker.await.unwrap();
        sent += more;
        taken.extend(ids);
    }
    // A taker that sends late may bring back a task that another one has deleted by then; it is a new message, held once.
    assert_eq!(sent, taken.len());
    assert_eq!(taken.iter().collect::<HashSet<_>>().len(), TASKS);
    assert_eq!(counts(&queue, fixture.clock()).await.0, 0);
}
