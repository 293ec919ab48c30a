//! What is paid, what is kept, where it stops and how it goes on: an enrichment against the replica of a service.

mod aside;
mod batches;
mod budgets;
mod fields;
mod leases;
mod parts;
mod pieces;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use catalog::path;
use futures::TryStreamExt;
use llm_replica::{Fault, LlmReplica, LlmReplicaOptions, Switches};

use super::*;
use crate::llm::RefusalKind;
use crate::llm::openai::{OpenAi, Settings};
use crate::llm::prices::Price;
use crate::testing::{World, context_of, lists, name, now};

fn enrichment() -> Enrichment {
    Enrichment {
        into: name("staging.place_summaries"),
        from: name("marts.place_reviews"),
        key: "place_id".into(),
        texts: "summary_texts".into(),
        prompt: Prompt::default(),
    }
}

async fn world(places: usize) -> World {
    let world = World::new().await;
    put(&world, &(0..places).collect::<Vec<_>>(), "").await;
    world
}

/// Places by number, each with two reviews.
async fn put(world: &World, places: &[usize], more: &str) {
    let keys: ArrayRef = Arc::new(places.iter().map(|i| Some(format!("p{i:04}"))).collect::<StringArray>());
    let reviews = |i: &usize| vec![format!("{i}번 집은 국물이 진하고 친절해요{more}"), format!("{i}번 집에 또 갈게요")];
    let texts = lists(&places.iter().map(reviews).collect::<Vec<_>>());
    let batch = RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]);
    world.put("marts.place_reviews", batch.unwrap()).await;
}

/// Places by number, each with what is different about its texts.
async fn put_some(world: &World, places: &[(usize, &str)]) {
    let keys: ArrayRef = Arc::new(places.iter().map(|(i, _)| Some(format!("p{i:04}"))).collect::<StringArray>());
    let reviews = |(i, more): &(usize, &str)| {
        vec![format!("{i}번 집은 국물이 진하고 친절해요{more}"), format!("{i}번 집에 또 갈게요")]
    };
    let texts = lists(&places.iter().map(reviews).collect::<Vec<_>>());
    let batch = RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]);
    world.put("marts.place_reviews", batch.unwrap()).await;
}

async fn replica(switches: Switches) -> LlmReplica {
    LlmReplica::start(LlmReplicaOptions { switches, ..LlmReplicaOptions::default() }).await.unwrap()
}

fn settings(replica: &LlmReplica) -> Settings {
    let price = Price { input: 10.0, output: 100.0, batch: 0.5 };
    Settings {
        dimensions: 8,
        output_tokens: 200,
        prices: ["small", "embed"].map(|model| (model.to_owned(), price)).into(),
        ..Settings::new(replica.url(), "test-key", "small", "embed")
    }
}

fn context(id: &RunId) -> Context<'static> {
    context_of(id, now())
}

/// One run, as another process would do it.
async fn go(world: &World, settings: Settings, id: &str) -> Result<Enriched> {
    let openai = OpenAi::new(settings)?;
    enrich(&world.lake, &enrichment(), &openai, &context(&id.parse().unwrap())).await
}

/// The same so many hours later.
async fn go_after(world: &World, settings: Settings, id: &str, hours: i64) -> Result<Enriched> {
    let openai = OpenAi::new(settings)?;
    let later = context_of(&id.parse().unwrap(), now() + jiff::SignedDuration::from_hours(hours));
    enrich(&world.lake, &enrichment(), &openai, &later).await
}

async fn batches(world: &World, table: &str) -> Vec<RecordBatch> {
    let snapshot = world.lake.table(&name(table)).await.unwrap().snapshot().await.unwrap();
    snapshot.scan(None).await.unwrap().try_collect().await.unwrap()
}

/// What was set aside, by the reason.
fn kinds(done: &Enriched) -> Vec<(RefusalKind, u64)> {
    done.set_aside.iter().map(|(kind, count)| (*kind, *count)).collect()
}

/// (entities, those with a summary, those with a vector) of the result table.
async fn shown(world: &World) -> (usize, usize, usize) {
    let count =
        |batch: &RecordBatch, column: &str| batch.num_rows() - batch.column_by_name(column).unwrap().null_count();
    batches(world, "staging.place_summaries").await.iter().fold((0, 0, 0), |(rows, texts, vectors), batch| {
        (rows + batch.num_rows(), texts + count(batch, "summary"), vectors + count(batch, "embedding"))
    })
}

/// (calls, input tokens, output tokens, cost) of `ops.costs`.
async fn costs(world: &World) -> (i64, i64, i64, f64) {
    let mut sum = (0, 0, 0, 0.0);
    for batch in batches(world, "ops.costs").await {
        let ints = |column: &str| -> i64 {
            batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().values().iter().sum()
        };
        sum.0 += ints("calls");
        sum.1 += ints("input_tokens");
        sum.2 += ints("output_tokens");
        sum.3 += batch.column_by_name("cost").unwrap().as_primitive::<Float64Type>().values().iter().sum::<f64>();
    }
    sum
}

async fn journal(world: &World) -> usize {
    world.lake.objects().list(&path::llm_replies(&enrichment().into)).await.unwrap().len()
}

/// Every content key of `ops.llm_results`, and whether each is there once.
async fn results(world: &World) -> (usize, bool) {
    let mut keys = Vec::new();
    for batch in batches(world, "ops.llm_results").await {
        let column = batch.column_by_name("content_key").unwrap();
        keys.extend((0..batch.num_rows()).map(|row| Value::of(column, row).unwrap().as_key().unwrap()));
    }
    (keys.len(), keys.iter().collect::<BTreeSet<_>>().len() == keys.len())
}

#[tokio::test]
async fn every_answer_is_paid_once_and_a_second_run_asks_nothing() {
    let (world, replica) = (world(12).await, replica(Switches::default()).await);
    let first = go(&world, settings(&replica), "r1").await.unwrap();
    assert_eq!((first.summarised, first.embedded, first.aside(), first.wait), (12, 12, 0, None));
    assert_eq!(shown(&world).await, (12, 12, 12));
    let stats = replica.stats();
    assert_eq!(stats.calls, 13, "a call for each summary, one for all embeddings");
    assert_eq!(stats.payments(), 24);
    let second = go(&world, settings(&replica), "r2").await.unwrap();
    assert!(matches!(second.outcome, Outcome::Unchanged(_)));
    assert_eq!(replica.stats().requests, stats.requests);
    assert_eq!(journal(&world).await, 0, "what is gathered is not kept twice");
    assert_eq!(results(&world).await, (24, true));

    put(&world, &(0..13).collect::<Vec<_>>(), "").await;
    let third = go(&world, settings(&replica), "r3").await.unwrap();
    assert_eq!((third.summarised, third.embedded, third.reused), (1, 1, 24));
    assert!(replica.stats().paid_too_often().is_empty());
    let spent = costs(&world).await;
    let stats = replica.stats();
    let as_i64 = |count: u64| i64::try_from(count).unwrap();
    assert_eq!((spent.0, spent.1, spent.2), (15, as_i64(stats.input_tokens), as_i64(stats.output_tokens)));
    let price = stats.input_tokens as f64 * 10e-6 + stats.output_tokens as f64 * 100e-6;
    assert!((spent.3 - price).abs() < 1e-9, "{} is not {price}", spent.3);
}

#[tokio::test]
async fn an_entity_whose_texts_changed_keeps_its_summary_until_there_is_another() {
    let (world, replica) = (world(6).await, replica(Switches::default()).await);
    go(&world, settings(&replica), "r1").await.unwrap();
    put(&world, &(0..6).collect::<Vec<_>>(), " 그리고 깨끗해요").await;
    let poor = Settings { budget: Some(0.0001), ..settings(&replica) };
    let done = go(&world, poor, "r2").await.unwrap();
    assert!(matches!(done.wait, Some(Wait::Budget { answered: 0, of: 6, .. })), "{done:?}");
    assert_eq!(shown(&world).await, (6, 6, 6));
    let done = go(&world, settings(&replica), "r3").await.unwrap();
    assert_eq!((done.summarised, done.wait), (6, None));
}

#[tokio::test]
async fn a_run_that_fails_keeps_and_counts_what_it_paid_for() {
    let (world, replica) = (world(20).await, replica(Switches { quota_after: Some(8), ..Switches::default() }).await);
    let slow = Settings { requests_per_minute: Some(1_200), ..settings(&replica) };
    let error = go(&world, slow, "r1").await.unwrap_err();
    assert!(matches!(error, Error::Quota { .. }), "{error}");
    let paid = replica.stats().payments();
    assert!(paid >= 8);
    assert_eq!(u64::try_from(costs(&world).await.0).unwrap(), paid, "costs are there also when the step failed");
    replica.set_switches(Switches::default());
    let second = go(&world, settings(&replica), "r2").await.unwrap();
    assert_eq!(second.summarised, 20 - paid);
    assert!(replica.stats().paid_too_often().is_empty());
    assert_eq!(shown(&world).await, (20, 20, 20));
}

#[tokio::test]
async fn lost_replies_and_cut_json_are_asked_for_again_and_counted() {
    let switches = Switches { lost_reply: Fault::rate(0.1), broken_json: Fault::rate(0.1), ..Switches::default() };
    let (world, replica) = (world(40).await, replica(switches).await);
    let mut done = None;
    for number in 0..5 {
        if let Ok(enriched) = go(&world, settings(&replica), &format!("r{number}")).await {
            done = Some(enriched);
            break;
        }
    }
    assert!(done.is_some_and(|it| it.wait.is_none()));
    let stats = replica.stats();
    assert!(stats.dropped > 0 && stats.broken > 0, "{stats:?}");
    assert!(stats.paid_too_often().is_empty(), "only what was lost is paid again");
    assert!(costs(&world).await.3 >= stats.input_tokens as f64 * 10e-6, "what was lost counts as paid");
    assert_eq!(shown(&world).await, (40, 40, 40));
}

#[tokio::test]
async fn the_estimate_says_what_is_missing_and_writes_nothing() {
    let (world, replica) = (world(10).await, replica(Switches::default()).await);
    let openai = OpenAi::new(settings(&replica)).unwrap();
    let id: RunId = "plan".parse().unwrap();
    let before = world.lake.tables().await.unwrap();
    let expected = estimate(&world.lake, &enrichment(), &openai, &context(&id)).await.unwrap().unwrap();
    assert_eq!((expected.summaries.answers, expected.summaries.usage.calls), (10, 10));
    assert_eq!((expected.embeddings.answers, expected.embeddings.usage.calls), (10, 1));
    assert_eq!(world.lake.tables().await.unwrap(), before);
    assert_eq!(replica.stats().requests, 0);
    go(&world, settings(&replica), "r1").await.unwrap();
    let spent = costs(&world).await;
    assert!(expected.summaries.cost.unwrap() + expected.embeddings.cost.unwrap() >= spent.3, "at most is at most");
    let after = estimate(&world.lake, &enrichment(), &openai, &context(&id)).await.unwrap().unwrap();
    assert_eq!((after.summaries.answers, after.embeddings.answers), (0, 0));
    assert_eq!(after.summaries.cost, Some(0.0));
    let local = crate::llm::local::Local::default();
    assert_eq!(estimate(&world.lake, &enrichment(), &local, &context(&id)).await.unwrap(), None);
}

#[tokio::test]
async fn on_a_busy_day_everybody_is_answered_once_and_the_limit_is_never_run_into() {
    let switches = Switches {
        latency: Duration::from_millis(20),
        too_many: Fault::rate(0.05),
        server_error: Fault::rate(0.05),
        broken_json: Fault::rate(0.05),
        requests_per_minute: Some(1_200),
        ..Switches::default()
    };
    // More than the service allows at first: from there on the pace alone decides.
    let (world, replica) = (world(170).await, replica(switches).await);
    let done = go(&world, Settings { requests_per_minute: Some(1_200), ..settings(&replica) }, "r1").await.unwrap();
    assert_eq!((done.summarised, done.embedded, done.wait), (170, 170, None));
    let stats = replica.stats();
    assert!(stats.too_many > 0 && stats.server_errors > 0 && stats.broken > 0, "{stats:?}");
    assert!(stats.paid_too_often().is_empty());
    assert_eq!(stats.limited, 0, "how much of the limit is used is measured in the benches");
}
