//! Batches: sent, left, taken by later runs, whatever befalls them.

use llm_replica::{Fault, Switches};

use super::*;
use crate::llm::Mode;
use crate::llm::openai::BatchLimits;

fn batch_settings(replica: &LlmReplica) -> Settings {
    Settings { mode: Mode::Batch, batch: BatchLimits { requests: 7, bytes: 1 << 20 }, ..settings(replica) }
}

/// Runs until nothing is waited for.
async fn until_done(world: &World, settings: &Settings, most: usize) -> Vec<Enriched> {
    let mut runs = Vec::new();
    for number in 0..most {
        let done = go(world, settings.clone(), &format!("b{number}")).await.unwrap();
        runs.push(done.clone());
        if done.wait.is_none() {
            return runs;
        }
        assert!(matches!(done.wait, Some(Wait::Batches { .. })), "{done:?}");
    }
    panic!("not done after {most} runs: {runs:?}");
}

#[tokio::test]
async fn batches_are_sent_left_and_taken_by_later_runs() {
    let (world, replica) = (world(20).await, replica(Switches { batch_shuffle: true, ..Switches::default() }).await);
    let first = go(&world, batch_settings(&replica), "b0").await.unwrap();
    assert!(matches!(first.wait, Some(Wait::Batches { batches: 3, answers: 20, answered: 0, of: 20 })), "{first:?}");
    assert_eq!((replica.stats().batches, replica.stats().payments()), (3, 0), "seven requests a batch");
    let runs = until_done(&world, &batch_settings(&replica), 5).await;
    assert!(runs.len() <= 3, "summaries, then embeddings: {runs:?}");
    assert_eq!(shown(&world).await, (20, 20, 20));
    let stats = replica.stats();
    assert_eq!((stats.calls, stats.batches, stats.batch_lines), (0, 6, 40));
    assert!(stats.paid_ids.values().all(|times| *times == 1) && stats.paid_too_often().is_empty());
    assert_eq!(results(&world).await, (40, true));
    let (spent, full) = (costs(&world).await, stats.input_tokens as f64 * 10e-6 + stats.output_tokens as f64 * 100e-6);
    assert!((spent.3 - full / 2.0).abs() < 1e-9, "half price: {} of {full}", spent.3);
    assert!(world.lake.objects().list(&path::batches(&enrichment().into)).await.unwrap().is_empty());
    let requests = replica.stats().requests;
    assert!(matches!(go(&world, batch_settings(&replica), "b9").await.unwrap().outcome, Outcome::Unchanged(_)));
    assert_eq!(replica.stats().requests, requests);
}

#[tokio::test]
async fn a_batch_under_way_is_looked_at_and_left_alone() {
    let (world, replica) = (world(5).await, replica(Switches { batch_polls: 3, ..Switches::default() }).await);
    for number in 0..4 {
        let done = go(&world, batch_settings(&replica), &format!("b{number}")).await.unwrap();
        assert!(matches!(done.wait, Some(Wait::Batches { batches: 1, answers: 5, .. })), "{done:?}");
        assert_eq!(replica.stats().batches, 1);
    }
    until_done(&world, &batch_settings(&replica), 8).await;
    assert_eq!(shown(&world).await, (5, 5, 5));
}

#[tokio::test]
async fn whatever_befalls_a_batch_every_key_gets_one_result_and_only_losses_are_paid_again() {
    let calm = Switches { batch_shuffle: true, ..Switches::default() };
    let cases: Vec<(&str, Switches, bool)> = vec![
        ("partial expiry", Switches { batch_expire: Fault::next(5), ..calm.clone() }, false),
        ("bad status", Switches { batch_bad_status: Fault::next(4), ..calm.clone() }, false),
        ("dropped lines", Switches { batch_drop: Fault::next(3), ..calm.clone() }, true),
        ("cut lines", Switches { batch_broken_line: Fault::next(3), ..calm.clone() }, true),
        ("a lost creation", Switches { batch_lost_create: Fault::next(2), ..calm.clone() }, false),
        ("wrong answers", Switches { wrong_schema: Fault::next(4), ..calm.clone() }, false),
        (
            "all at once",
            Switches {
                batch_expire: Fault::rate(0.1),
                batch_bad_status: Fault::rate(0.1),
                batch_drop: Fault::rate(0.1),
                batch_broken_line: Fault::rate(0.1),
                ..calm.clone()
            },
            true,
        ),
    ];
    for (case, switches, losses) in cases {
        let (world, replica) = (world(16).await, replica(switches).await);
        let runs = until_done(&world, &batch_settings(&replica), 16).await;
        let stats = replica.stats();
        assert!(stats.paid_too_often().is_empty(), "{case}: {:?}", stats.paid_too_often());
        assert_eq!(!stats.lost.is_empty(), losses, "{case}");
        assert!(results(&world).await.1, "{case}");
        let set_aside = runs.last().map_or(0, Enriched::aside);
        assert_eq!(shown(&world).await.1 as u64 + set_aside, 16, "{case}");
        if case != "all at once" {
            assert_eq!(set_aside, 0, "{case}");
        }
        if case == "a lost creation" {
            assert_eq!(stats.batches, 6, "found in the service's own list, not created again");
        }
    }
}

#[tokio::test]
async fn a_batch_that_fails_validation_is_said_and_sent_again() {
    let (world, replica) =
        (world(3).await, replica(Switches { batch_invalid: Fault::next(1), ..Switches::default() }).await);
    go(&world, batch_settings(&replica), "b0").await.unwrap();
    let error = go(&world, batch_settings(&replica), "b1").await.unwrap_err();
    assert!(error.to_string().contains("as a whole: the file can't be read"), "{error}");
    until_done(&world, &batch_settings(&replica), 6).await;
    assert_eq!(shown(&world).await, (3, 3, 3));
    assert!(replica.stats().paid_too_often().is_empty());
}

#[tokio::test]
async fn two_machines_at_once_send_each_request_once() {
    let (world, replica) = (world(20).await, replica(Switches::default()).await);
    let both = Box::pin(futures::future::join(
        go(&world, batch_settings(&replica), "m1"),
        go(&world, batch_settings(&replica), "m2"),
    ))
    .await;
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    until_done(&world, &batch_settings(&replica), 12).await;
    assert!(replica.stats().paid_too_often().is_empty(), "{:?}", replica.stats().paid_too_often());
    assert_eq!(shown(&world).await, (20, 20, 20));
}

#[tokio::test]
async fn a_batch_under_way_is_waited_for_although_the_mode_has_changed() {
    let (world, replica) = (world(9).await, replica(Switches { batch_polls: 1, ..Switches::default() }).await);
    go(&world, batch_settings(&replica), "b0").await.unwrap();
    let waiting = go(&world, settings(&replica), "r1").await.unwrap();
    assert!(matches!(waiting.wait, Some(Wait::Batches { batches: 2, answers: 9, .. })), "{waiting:?}");
    let done = go(&world, settings(&replica), "r2").await.unwrap();
    assert_eq!((done.summarised, done.embedded, done.wait), (9, 9, None));
    assert_eq!((replica.stats().batches, replica.stats().calls), (2, 1));
    assert!(replica.stats().paid_too_often().is_empty());
}

#[tokio::test]
async fn a_budget_bounds_what_batches_may_cost() {
    let (world, replica) = (world(20).await, replica(Switches::default()).await);
    let poor = Settings { budget: Some(0.1), ..batch_settings(&replica) };
    let first = go(&world, poor.clone(), "b0").await.unwrap();
    assert!(matches!(first.wait, Some(Wait::Budget { batches, .. }) if batches > 0), "{first:?}");
    for number in 1..40 {
        let before = replica.stats();
        let done = go_after(&world, poor.clone(), &format!("b{number}"), 24 * number).await.unwrap();
        let stats = replica.stats();
        let paid = (stats.input_tokens - before.input_tokens) as f64 * 5e-6
            + (stats.output_tokens - before.output_tokens) as f64 * 50e-6;
        assert!(paid <= 0.1, "what a run sent cost {paid}");
        if done.wait.is_none() {
            assert_eq!(shown(&world).await, (20, 20, 20));
            return;
        }
    }
    panic!("no end");
}

#[tokio::test]
async fn a_batch_that_the_service_has_forgotten_is_asked_for_again() {
    let (world, replica) = (world(6).await, replica(Switches { batch_polls: 1, ..Switches::default() }).await);
    go(&world, batch_settings(&replica), "b0").await.unwrap();
    replica.forget_batches();
    until_done(&world, &batch_settings(&replica), 10).await;
    assert_eq!(shown(&world).await, (6, 6, 6));
}

#[tokio::test]
async fn a_batch_that_never_ends_is_ended() {
    let (world, replica) = (world(6).await, replica(Switches { batch_polls: 1_000_000, ..Switches::default() }).await);
    go(&world, batch_settings(&replica), "b0").await.unwrap();
    let waits = go_after(&world, batch_settings(&replica), "b1", 40).await.unwrap();
    assert!(matches!(waits.wait, Some(Wait::Batches { batches: 1, .. })), "{waits:?}");
    let again = Settings { mode: Mode::Interactive, ..batch_settings(&replica) };
    let done = go_after(&world, again, "b2", 50).await.unwrap();
    assert_eq!((done.summarised, &done.wait), (6, &None), "{done:?}");
}

#[tokio::test]
async fn a_batch_whose_creation_was_lost_is_found_behind_any_number_of_newer_ones() {
    let switches = Switches { batch_lost_create: Fault::next(1), batch_others: 5_300, ..Switches::default() };
    let (world, replica) = (world(5).await, replica(switches).await);
    go(&world, batch_settings(&replica), "b0").await.unwrap();
    until_done(&world, &batch_settings(&replica), 8).await;
    assert_eq!(replica.stats().batches, 2, "summaries and embeddings, each once");
    assert!(replica.stats().paid_too_often().is_empty());
}

#[tokio::test]
async fn a_line_that_no_answer_is_as_long_as_is_passed_over() {
    let (world, replica) =
        (world(5).await, replica(Switches { batch_long_line: 30 << 20, ..Switches::default() }).await);
    until_done(&world, &batch_settings(&replica), 6).await;
    assert_eq!(shown(&world).await, (5, 5, 5));
    assert!(replica.stats().paid_too_often().is_empty(), "the lines behind it are read");
}

#[tokio::test]
async fn what_batches_may_cost_is_spent_for_every_run_of_the_day() {
    let (world, replica) = (world(20).await, replica(Switches { batch_polls: 100, ..Switches::default() }).await);
    let poor = Settings { budget: Some(0.1), ..batch_settings(&replica) };
    go(&world, poor.clone(), "b0").await.unwrap();
    let sent = replica.stats().batches;
    assert!(sent > 0);
    for number in 1..4 {
        let again = go(&world, poor.clone(), &format!("b{number}")).await.unwrap();
        assert!(matches!(again.wait, Some(Wait::Budget { .. })), "{again:?}");
    }
    assert_eq!(replica.stats().batches, sent, "a scheduler that repeats what ended with 3 sends nothing more");
}
