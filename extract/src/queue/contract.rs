//! What any queue must do. Each case is a sentence; `queue_contract!` runs all of them over one implementation.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Date, SourceName, Timestamp};

use super::{Counts, Held, Message, Queue, ReceiveOptions, Release};
use crate::task::{Key, Task};

/// A queue under test, empty at first.
pub(super) trait Fixture {
    fn new() -> Self;

    /// Opens it as one more process would.
    async fn open(&self) -> Arc<dyn Queue>;
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
            a_message_that_is_received_too_often_is_a_dead_letter,
            a_dead_letter_tells_its_last_error,
            a_message_can_be_buried_at_once,
            dead_letters_are_sent_again_by_redrive,
            a_released_message_waits_as_long_as_it_was_told,
            handing_back_does_not_count_as_a_receive,
            sources_and_days_do_not_mix,
            fresh_tasks_come_before_those_that_failed,
            two_processes_never_hold_the_same_message,
        );
    };
    ($fixture:ty: $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                crate::queue::contract::$case(&<$fixture as crate::queue::contract::Fixture>::new()).await;
            }
        )*
    };
}
pub(super) use queue_contract;

const V: Duration = Duration::from_mins(2);
const OPTIONS: ReceiveOptions = ReceiveOptions { visibility_timeout: V, max_receives: 3 };

fn source() -> SourceName {
    "naver_reviews".parse().unwrap()
}

fn dt() -> Date {
    "2026-10-01".parse().unwrap()
}

/// `seconds` after an arbitrary moment.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

fn task(key: &str) -> Task {
    Task::new(&source(), dt(), vec![Key::new(key)])
}

async fn receive(queue: &Arc<dyn Queue>, now: Timestamp) -> Option<Message> {
    queue.receive(&source(), dt(), &OPTIONS, now).await.unwrap()
}

async fn counts(queue: &Arc<dyn Queue>, now: Timestamp) -> (usize, usize, usize) {
    let Counts { visible, in_flight, dead } = queue.counts(&source(), dt(), now).await.unwrap();
    (visible, in_flight, dead)
}

pub(super) async fn a_task_is_sent_once_while_it_is_there(fixture: &impl Fixture) {
    let (queue, other) = (fixture.open().await, fixture.open().await);
    assert_eq!(queue.send(&[task("a"), task("b")], at(0)).await.unwrap(), 2);
    assert_eq!(other.send(&[task("b"), task("c"), task("c")], at(0)).await.unwrap(), 1);
    assert_eq!(counts(&queue, at(0)).await, (3, 0, 0));
    let message = receive(&queue, at(1)).await.unwrap();
    assert_eq!(other.send(std::slice::from_ref(&message.task), at(1)).await.unwrap(), 0, "it is in flight");
    assert_eq!(counts(&other, at(1)).await, (2, 1, 0));
}

pub(super) async fn a_received_message_is_hidden_until_its_timeout(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    let message = receive(&queue, at(0)).await.unwrap();
    assert_eq!((message.task, message.receive_count), (task("a"), 1));
    assert!(receive(&queue, at(119)).await.is_none());
    assert_eq!(counts(&queue, at(119)).await, (0, 1, 0));
    assert_eq!(counts(&queue, at(120)).await, (1, 0, 0));
    assert_eq!(receive(&queue, at(120)).await.unwrap().receive_count, 2);
}

pub(super) async fn a_heartbeat_keeps_it_hidden(fixture: &impl Fixture) {
    let (queue, other) = (fixture.open().await, fixture.open().await);
    queue.send(&[task("a")], at(0)).await.unwrap();
    let message = receive(&queue, at(0)).await.unwrap();
    for beat in 1..10 {
        assert_eq!(queue.change_visibility(&message.receipt_handle, V, at(40 * beat)).await.unwrap(), Held::Yes);
        assert!(receive(&other, at(40 * beat + 119)).await.is_none());
    }
    assert!(receive(&other, at(40 * 9 + 120)).await.is_some());
}

pub(super) async fn a_stale_receipt_handle_is_refused(fixture: &impl Fixture) {
    let (queue, other) = (fixture.open().await, fixture.open().await);
    queue.send(&[task("a")], at(0)).await.unwrap();
    let old = receive(&queue, at(0)).await.unwrap().receipt_handle;
    let new = receive(&other, at(200)).await.unwrap().receipt_handle;
    assert_ne!(old, new);
    assert_eq!(queue.change_visibility(&old, V, at(201)).await.unwrap(), Held::Lost);
    assert_eq!(queue.release(&old, &Release::default(), at(201)).await.unwrap(), Held::Lost);
    assert_eq!(queue.bury(&old, "too late", at(201)).await.unwrap(), Held::Lost);
    assert_eq!(queue.delete(&old).await.unwrap(), Held::Lost);
    assert_eq!(counts(&queue, at(201)).await, (0, 1, 0), "the stale handle changed nothing");
    assert_eq!(other.delete(&new).await.unwrap(), Held::Yes);
    assert_eq!(other.delete(&new).await.unwrap(), Held::Lost);
}

pub(super) async fn a_deleted_message_is_gone_and_may_come_again(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    let old = receive(&queue, at(0)).await.unwrap().receipt_handle;
    assert_eq!(queue.delete(&old).await.unwrap(), Held::Yes);
    assert_eq!(counts(&queue, at(0)).await, (0, 0, 0));
    assert_eq!(queue.send(&[task("a")], at(1)).await.unwrap(), 1, "a deleted message leaves no trace");
    receive(&queue, at(1)).await.unwrap();
    assert_eq!(queue.delete(&old).await.unwrap(), Held::Lost, "its handle is not that of the new one");
}

pub(super) async fn a_message_that_is_received_too_often_is_a_dead_letter(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a"), task("b")], at(0)).await.unwrap();
    let rest = receive(&queue, at(0)).await.unwrap();
    let poisoned = receive(&queue, at(0)).await.unwrap();
    assert_eq!(queue.delete(&rest.receipt_handle).await.unwrap(), Held::Yes);
    assert_eq!(receive(&queue, at(200)).await.unwrap().receive_count, 2);
    assert_eq!(receive(&queue, at(400)).await.unwrap().receive_count, 3);
    assert_eq!(counts(&queue, at(401)).await, (0, 1, 0));
    assert!(receive(&queue, at(600)).await.is_none());
    assert_eq!(counts(&queue, at(600)).await, (0, 0, 1));
    let dead = queue.dead_letters(&source(), dt()).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].task, dead[0].receive_count, dead[0].dead_at), (&poisoned.task, 3, at(600)));
    assert_eq!(dead[0].error, super::NO_WORD);
    assert_eq!(queue.send(&[poisoned.task], at(700)).await.unwrap(), 0, "it stays dead until it is redriven");
}

pub(super) async fn a_dead_letter_tells_its_last_error(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    for (turn, error) in [Some("first"), Some("second"), None].into_iter().enumerate() {
        let message = receive(&queue, at(0)).await.unwrap();
        assert_eq!(message.receive_count as usize, turn + 1);
        let release = Release { error: error.map(str::to_owned), ..Release::default() };
        assert_eq!(queue.release(&message.receipt_handle, &release, at(0)).await.unwrap(), Held::Yes);
    }
    assert!(receive(&queue, at(0)).await.is_none());
    assert_eq!(queue.dead_letters(&source(), dt()).await.unwrap()[0].error, "second");
}

pub(super) async fn a_message_can_be_buried_at_once(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    let message = receive(&queue, at(0)).await.unwrap();
    assert_eq!(queue.bury(&message.receipt_handle, "expected JSON, found 'a quote'", at(5)).await.unwrap(), Held::Yes);
    assert!(receive(&queue, at(1000)).await.is_none());
    let dead = queue.dead_letters(&source(), dt()).await.unwrap();
    assert_eq!((dead[0].error.as_str(), dead[0].receive_count), ("expected JSON, found 'a quote'", 1));
    assert_eq!(queue.delete(&message.receipt_handle).await.unwrap(), Held::Lost);
}

pub(super) async fn dead_letters_are_sent_again_by_redrive(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a"), task("b")], at(0)).await.unwrap();
    for _ in 0..2 {
        let message = receive(&queue, at(0)).await.unwrap();
        assert_eq!(queue.bury(&message.receipt_handle, "no", at(0)).await.unwrap(), Held::Yes);
    }
    assert_eq!(counts(&queue, at(1)).await, (0, 0, 2));
    assert_eq!(queue.redrive(&source(), dt(), at(1)).await.unwrap(), 2);
    assert_eq!(queue.redrive(&source(), dt(), at(1)).await.unwrap(), 0);
    assert_eq!(counts(&queue, at(1)).await, (2, 0, 0));
    assert_eq!(receive(&queue, at(1)).await.unwrap().receive_count, 1);
}

pub(super) async fn a_released_message_waits_as_long_as_it_was_told(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    let first = receive(&queue, at(0)).await.unwrap();
    let release = Release { after: Duration::from_secs(30), error: Some("slow down".into()), uncounted: false };
    assert_eq!(queue.release(&first.receipt_handle, &release, at(10)).await.unwrap(), Held::Yes);
    assert_eq!(
        queue.change_visibility(&first.receipt_handle, V, at(11)).await.unwrap(),
        Held::Lost,
        "it was given back"
    );
    assert!(receive(&queue, at(39)).await.is_none());
    assert_eq!(receive(&queue, at(40)).await.unwrap().receive_count, 2);
}

pub(super) async fn handing_back_does_not_count_as_a_receive(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a")], at(0)).await.unwrap();
    let back = Release { uncounted: true, ..Release::default() };
    for _ in 0..10 {
        let message = receive(&queue, at(0)).await.unwrap();
        assert_eq!(message.receive_count, 1);
        assert_eq!(queue.release(&message.receipt_handle, &back, at(0)).await.unwrap(), Held::Yes);
    }
    assert_eq!(counts(&queue, at(0)).await, (1, 0, 0));
}

pub(super) async fn sources_and_days_do_not_mix(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    let other_day: Date = "2026-10-02".parse().unwrap();
    let other_source: SourceName = "naver_places".parse().unwrap();
    let tasks = [
        task("a"),
        Task::new(&source(), other_day, vec![Key::new("a")]),
        Task::new(&other_source, dt(), vec![Key::new("a")]),
    ];
    assert_eq!(queue.send(&tasks, at(0)).await.unwrap(), 3);
    let message = receive(&queue, at(0)).await.unwrap();
    assert_eq!(message.task, tasks[0]);
    assert!(receive(&queue, at(0)).await.is_none());
    assert_eq!(queue.bury(&message.receipt_handle, "no", at(0)).await.unwrap(), Held::Yes);
    assert!(queue.dead_letters(&other_source, dt()).await.unwrap().is_empty());
    assert_eq!(queue.redrive(&source(), other_day, at(0)).await.unwrap(), 0);
    assert_eq!(queue.counts(&source(), other_day, at(0)).await.unwrap(), Counts { visible: 1, in_flight: 0, dead: 0 });
}

pub(super) async fn fresh_tasks_come_before_those_that_failed(fixture: &impl Fixture) {
    let queue = fixture.open().await;
    queue.send(&[task("a"), task("b"), task("c")], at(0)).await.unwrap();
    let first = receive(&queue, at(0)).await.unwrap();
    assert_eq!(first.task, task("a"), "in the order they were sent");
    assert_eq!(queue.release(&first.receipt_handle, &Release::default(), at(0)).await.unwrap(), Held::Yes);
    let mut order = Vec::new();
    while let Some(message) = receive(&queue, at(0)).await {
        order.push(message.task.keys[0].value.clone());
    }
    assert_eq!(order, ["b", "c", "a"]);
}

pub(super) async fn two_processes_never_hold_the_same_message(fixture: &impl Fixture) {
    const TASKS: usize = 60;
    let queue = fixture.open().await;
    let tasks: Vec<Task> = (0..TASKS).map(|n| task(&n.to_string())).collect();
    let mut takers = Vec::new();
    for _ in 0..4 {
        let (queue, tasks) = (fixture.open().await, tasks.clone());
        takers.push(tokio::spawn(async move {
            let sent = queue.send(&tasks, at(0)).await.unwrap();
            let mut taken = Vec::new();
            while let Some(message) = receive(&queue, at(1)).await {
                taken.push(message.task.id.clone());
                if taken.len() % 2 == 0 {
                    assert_eq!(queue.delete(&message.receipt_handle).await.unwrap(), Held::Yes);
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
    assert_eq!(counts(&queue, at(1)).await.0, 0);
}
