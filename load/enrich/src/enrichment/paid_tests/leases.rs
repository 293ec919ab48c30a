//! Two runs at a time: one asks, the other leaves it to it.

use catalog::run::{Event, Process, RunLog, RunStatus};
use llm_replica::Switches;

use super::*;

#[tokio::test]
async fn while_one_run_asks_another_leaves_it_to_it() {
    let latency = Duration::from_millis(11_500);
    let (world, replica) = (world(6).await, replica(Switches { latency, ..Switches::default() }).await);
    let first: RunId = "m1".parse().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Six hours and more later by its clock, and nothing that says that the first one runs: it is seen to.
        go_after(&world, settings(&replica), "m2", 7).await
    };
    let (one, two) = Box::pin(futures::future::join(go(&world, settings(&replica), "m1"), later)).await;
    assert_eq!((one.unwrap().summarised, two.unwrap().wait), (6, Some(Wait::AnotherRun { run: first })));
    assert_eq!(replica.stats().payments(), 12, "nothing was paid for twice");
}

#[tokio::test]
async fn what_a_run_left_behind_is_taken_up_at_once_when_it_is_known_to_be_over() {
    let (world, replica) = (world(6).await, replica(Switches::default()).await);
    let run: RunId = "m1".parse().unwrap();
    let dt = jiff::civil::date(2026, 10, 1);
    let log = RunLog::start(&world.lake, run.clone(), dt, Process::current(), now()).await.unwrap();
    let left = lease::EnrichLease::take(&world.lake, &enrichment().into, &context(&run)).await.unwrap().unwrap();
    drop(left);
    let ended = Event::Ended { status: RunStatus::Failed, totals: BTreeMap::new(), error: None };
    log.event(ended, now()).await.unwrap();
    let begun = std::time::Instant::now();
    let done = go(&world, settings(&replica), "m2").await.unwrap();
    assert_eq!((done.summarised, done.wait), (6, None));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_run_of_the_release_before_is_left_alone_while_it_goes_on() {
    let (world, replica) = (world(2).await, replica(Switches::default()).await);
    let run: RunId = "m1".parse().unwrap();
    let dt = jiff::civil::date(2026, 10, 1);
    let log = RunLog::start(&world.lake, run.clone(), dt, Process::current(), now()).await.unwrap();
    let left = path::state("turn-staging.place_summaries", "00000001");
    let mark = format!("{{\"run\":\"m1\",\"at\":\"{}\"}}", now());
    world.lake.objects().put(&left, mark.into()).await.unwrap();
    let waits = go(&world, settings(&replica), "m3").await.unwrap();
    assert_eq!(waits.wait, Some(Wait::AnotherRun { run }));
    let ended = Event::Ended { status: RunStatus::Failed, totals: BTreeMap::new(), error: None };
    log.event(ended, now()).await.unwrap();
    assert_eq!(go(&world, settings(&replica), "m4").await.unwrap().summarised, 2);
    assert!(world.lake.objects().list(&path::states("turn-staging.place_summaries")).await.unwrap().is_empty());
}

#[tokio::test]
async fn who_lost_its_lease_keeps_what_it_paid_for_and_publishes_nothing() {
    let latency = Duration::from_millis(600);
    let (world, replica) = (world(4).await, replica(Switches { latency, ..Switches::default() }).await);
    let taken_over = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Somebody who took it for dead, with all rights.
        let next = path::state("lease-staging.place_summaries", "00000002");
        let mark = format!("{{\"id\":\"x\",\"run\":\"m2\",\"at\":\"{}\",\"renewals\":0,\"is_over\":false}}", now());
        world.lake.objects().put(&next, mark.into()).await.unwrap();
    };
    let (lost, ()) = Box::pin(futures::future::join(go(&world, settings(&replica), "m1"), taken_over)).await;
    let lost = lost.unwrap();
    assert_eq!(lost.wait, Some(Wait::AnotherRun { run: "m2".parse().unwrap() }), "{lost:?}");
    assert!(matches!(lost.outcome, Outcome::Unchanged(_)));
    assert_eq!(shown(&world).await, (0, 0, 0));
    let (kept, once) = results(&world).await;
    assert!(kept >= 4 && once, "what was paid for is in the lake");
}
