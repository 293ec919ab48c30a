//! Summaries of more texts than a prompt holds: what is kept of them, and what they rest on.

use llm_replica::{Fault, Switches};

use super::*;
use crate::llm::RefusalKind;
use crate::llm::openai::SMALLEST_PROMPT;

fn small(replica: &LlmReplica) -> Settings {
    Settings { prompt_tokens: SMALLEST_PROMPT, prices: BTreeMap::new(), ..settings(replica) }
}

fn visits(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{i}번째 방문도 국물이 진하고 직원이 친절해서 좋았어요")).collect()
}

/// One place with these texts.
async fn one(world: &World, texts: &[String]) {
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["p0001"]));
    let texts = lists(&[texts.to_vec()]);
    let batch = RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]);
    world.put("marts.place_reviews", batch.unwrap()).await;
}

/// What the place's summary rests on, as the row says.
async fn basis(world: &World) -> (Value, Value) {
    let batches = batches(world, "staging.place_summaries").await;
    let value = |column: &str| Value::of(batches[0].column_by_name(column).unwrap(), 0).unwrap();
    (value("texts_used"), value("texts_given"))
}

#[tokio::test]
async fn one_text_more_asks_for_its_part_and_the_whole() {
    let (world, replica) = (World::new().await, replica(Switches::default()).await);
    let mut texts = visits(400);
    one(&world, &texts).await;
    go(&world, small(&replica), "r0").await.unwrap();
    let first = replica.stats();
    assert!(first.calls > 15, "{} calls", first.calls);
    let mut calls = Vec::new();
    for number in 1..=8 {
        // In the middle, as a text comes in whose rank is neither the first nor the last.
        texts.insert(number * 31, format!("{number}번째 새 글에는 창가 자리가 좋다고 합니다"));
        one(&world, &texts).await;
        let before = replica.stats();
        let openai = OpenAi::new(small(&replica)).unwrap();
        let id: RunId = "plan".parse().unwrap();
        assert!(estimate(&world.lake, &enrichment(), &openai, &context(&id)).await.unwrap().is_some());
        let done = go(&world, small(&replica), &format!("r{number}")).await.unwrap();
        assert_eq!((done.summarised, done.embedded, &done.wait), (1, 1, &None));
        calls.push(replica.stats().calls - before.calls);
    }
    // A part, its way up the levels of the whole (their order is kept, so a level has two calls at most) and the embedding. A part that
    // is full becomes two.
    let levels = 6;
    assert!(calls.iter().all(|it| *it <= 2 + 2 * levels), "{calls:?} of {}", first.calls);
    let mean = calls.iter().sum::<u64>() as f64 / calls.len() as f64;
    assert!(mean < first.calls as f64 * 0.5, "{calls:?} of {}", first.calls);
    assert_eq!(basis(&world).await, (Value::Int(408), Value::Int(408)));
    assert!(replica.stats().paid_too_often().is_empty(), "no text that did not change was sent twice");
}

#[tokio::test]
async fn with_an_ordinary_prompt_one_text_more_is_one_part_one_whole_and_one_embedding() {
    let (world, replica) = (World::new().await, replica(Switches::default()).await);
    let ordinary = Settings { prompt_tokens: 3_000, ..small(&replica) };
    let mut texts = visits(400);
    one(&world, &texts).await;
    go(&world, ordinary.clone(), "r0").await.unwrap();
    let mut calls = Vec::new();
    for number in 1..=8 {
        texts.insert(number * 31, format!("{number}번째 새 글에는 창가 자리가 좋다고 합니다"));
        one(&world, &texts).await;
        let before = replica.stats().calls;
        go(&world, ordinary.clone(), &format!("r{number}")).await.unwrap();
        calls.push(replica.stats().calls - before);
    }
    calls.sort_unstable();
    assert_eq!(calls[4], 3, "{calls:?}");
}

#[tokio::test]
async fn texts_that_are_refused_are_left_out_and_the_row_says_so_until_they_are_taken() {
    let (world, replica) =
        (World::new().await, replica(Switches { refuses: Some("불친절".into()), ..Switches::default() }).await);
    let mut texts = visits(90);
    texts.push("직원이 불친절하고 음식이 식어서 나왔어요".to_owned());
    one(&world, &texts).await;
    let ordinary = Settings { prompt_tokens: 3_000, ..small(&replica) };
    let done = go(&world, ordinary.clone(), "r1").await.unwrap();
    assert_eq!((done.summarised, done.set_aside.get(&RefusalKind::Partial)), (1, Some(&1)), "{done:?}");
    let (Value::Int(used), Value::Int(given)) = basis(&world).await else { panic!("no counts") };
    assert!(used > 0 && used < given && given == 91, "{used} of {given}");
    let reason = batches(&world, "ops.llm_results").await.iter().find_map(|batch| {
        let column = batch.column_by_name("reason").unwrap();
        (0..batch.num_rows()).find_map(|row| Value::of(column, row).unwrap().as_key())
    });
    assert!(reason.unwrap().starts_with(&format!("it rests on {used} of 91 texts")), "{done:?}");
    let calm = go(&world, ordinary.clone(), "r2").await.unwrap();
    assert_eq!((calm.summarised, calm.aside()), (0, 1));

    replica.set_switches(Switches::default());
    let calls = replica.stats().calls;
    let whole = go_after(&world, ordinary, "r3", 1).await.unwrap();
    assert_eq!((whole.summarised, whole.aside()), (1, 0));
    assert_eq!(basis(&world).await, (Value::Int(91), Value::Int(91)));
    assert_eq!(replica.stats().calls - calls, 3, "the part that was refused, the whole, and the embedding");
}

#[tokio::test]
async fn a_whole_that_fails_keeps_its_parts() {
    let (world, replica) = (World::new().await, replica(Switches::default()).await);
    let ordinary = Settings { prompt_tokens: 3_000, ..small(&replica) };
    let parts = {
        let other = World::new().await;
        one(&other, &visits(90)).await;
        go(&other, ordinary.clone(), "r0").await.unwrap();
        replica.stats().calls - 2
    };
    one(&world, &visits(90)).await;
    // The calls that are not of the parts: they all end too early.
    let before = replica.stats().calls;
    replica.set_switches(Switches { refuses: Some("후기".into()), ..Switches::default() });
    let bad = go(&world, ordinary.clone(), "r1").await.unwrap();
    assert_eq!((bad.summarised, bad.aside(), replica.stats().calls - before), (0, 1, parts + 1));
    replica.set_switches(Switches { length: Fault::rate(0.0), ..Switches::default() });
    let calls = replica.stats().calls;
    let good = go_after(&world, ordinary, "r2", 1).await.unwrap();
    assert_eq!((good.summarised, replica.stats().calls - calls), (1, 2), "the whole and its embedding");
}
