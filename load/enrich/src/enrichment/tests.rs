//! What is asked, what is stored, what is reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use futures::TryStreamExt;

use super::*;
use crate::llm::scripted::Scripted;
use crate::testing::{World, context_of, lists, name, now, run};

fn texts(rows: &[(&str, &[&str])]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(rows.iter().map(|(k, _)| Some(*k)).collect::<StringArray>());
    let texts = lists(&rows.iter().map(|(_, t)| t.iter().map(|t| (*t).to_owned()).collect()).collect::<Vec<_>>());
    RecordBatch::try_from_iter_with_nullable([("place_id", keys, true), ("summary_texts", texts, true)]).unwrap()
}

fn enrichment() -> Enrichment {
    Enrichment {
        into: name("staging.place_summaries"),
        from: name("marts.place_reviews"),
        key: "place_id".into(),
        texts: "summary_texts".into(),
        prompt: Prompt::default(),
    }
}

async fn go(world: &World, llm: &dyn Llm, batch: usize) -> Result<Enriched> {
    let dt = jiff::civil::date(2026, 10, 1);
    let context = Context { dt, batch, ..context_of(&run(), now()) };
    enrich(&world.lake, &enrichment(), llm, &context).await
}

/// The rows of a table as text, in order.
async fn dump(world: &World, table: &str, columns: &[&str]) -> Vec<String> {
    let snapshot = world.lake.table(&name(table)).await.unwrap().snapshot().await.unwrap();
    let batches: Vec<RecordBatch> = snapshot.scan(Some(columns)).await.unwrap().try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            rows.push(format!(
                "{:?}",
                columns
                    .iter()
                    .map(|c| Value::of(batch.column_by_name(c).unwrap(), row).unwrap().to_json())
                    .collect::<Vec<_>>()
            ));
        }
    }
    rows.sort();
    rows
}

const RESULT: [&str; 6] = ["place_id", "summary", "summary_key", "embedding", "embedding_key", "model"];

#[tokio::test]
async fn each_entity_gets_a_summary_and_its_embedding_once() {
    let world = World::new().await;
    world
        .put(
            "marts.place_reviews",
            texts(&[
                ("a", &["국밥이 맛있어요", "친절해요"]),
                ("b", &["커피가 진해요"]),
                ("c", &[" ", "!"]),
                ("d", &[]),
            ]),
        )
        .await;
    let llm = Scripted::new();
    let first = go(&world, &llm, 10).await.unwrap();
    assert_eq!((first.summarised, first.embedded, first.reused), (2, 2, 0));
    assert!(matches!(first.outcome, Outcome::Built(_)));
    assert_eq!(llm.asked(), (2, 2));
    let rows = dump(&world, "staging.place_summaries", &["place_id", "summary", "embedding", "model"]).await;
    assert_eq!(rows.len(), 4);
    assert!(
        rows[0].contains("[국밥이 맛있어요]") && rows[0].contains("scripted-summary@1 scripted-embedding@1"),
        "{}",
        rows[0]
    );
    assert!(
        rows[2].contains("Null, Null, Null") && rows[3].contains("Null, Null, Null"),
        "no text, no answer: {rows:?}"
    );

    let second = go(&world, &llm, 10).await.unwrap();
    assert_eq!((second.summarised, second.embedded, second.reused), (0, 0, 0));
    assert!(matches!(second.outcome, Outcome::Unchanged(_)));
    assert_eq!(llm.asked(), (2, 2));
}

#[tokio::test]
async fn only_what_changed_is_asked_again() {
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["하나 둘"]), ("b", &["셋 넷"])])).await;
    let llm = Scripted::new();
    go(&world, &llm, 10).await.unwrap();
    world.put("marts.place_reviews", texts(&[("b", &["셋 넷"]), ("a", &["하나 둘", "새 글"]), ("e", &["다섯"])])).await;
    let second = go(&world, &llm, 10).await.unwrap();
    // The new text of `a` gives the same summary here, so its embedding is known.
    assert_eq!((second.summarised, second.embedded, second.reused), (2, 1, 3));
    world.put("marts.place_reviews", texts(&[("a", &["하나 둘"])])).await;
    let third = go(&world, &llm, 10).await.unwrap();
    assert_eq!(
        (third.summarised, third.embedded),
        (0, 0),
        "an old answer is remembered by the lake, not only by the last result"
    );
}

#[tokio::test]
async fn text_that_only_looks_different_is_the_same_text() {
    use unicode_normalization::UnicodeNormalization;
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["국밥"])])).await;
    let llm = Scripted::new();
    go(&world, &llm, 10).await.unwrap();
    let loose: String = "국밥".nfd().collect();
    world.put("marts.place_reviews", texts(&[("a", &[&loose])])).await;
    assert_eq!(go(&world, &llm, 10).await.unwrap().summarised, 0);
}

#[tokio::test]
async fn answers_survive_a_failure_and_the_loss_of_the_result() {
    let world = World::new().await;
    let rows: Vec<(String, Vec<String>)> = (0..10).map(|i| (format!("k{i}"), vec![format!("글 번호 {i}")])).collect();
    let borrowed: Vec<(&str, Vec<&str>)> =
        rows.iter().map(|(k, t)| (k.as_str(), t.iter().map(String::as_str).collect())).collect();
    let borrowed: Vec<(&str, &[&str])> = borrowed.iter().map(|(k, t)| (*k, t.as_slice())).collect();
    world.put("marts.place_reviews", texts(&borrowed)).await;
    let failing = Scripted { fails_after: 6, ..Scripted::new() };
    let error = go(&world, &failing, 3).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(
        dump(&world, "ops.llm_results", &["content_key", "kind"]).await.len(),
        6,
        "two batches of three were stored"
    );
    assert!(dump(&world, "staging.place_summaries", &RESULT).await.is_empty(), "nothing half is visible");

    let llm = Scripted::new();
    let second = go(&world, &llm, 3).await.unwrap();
    assert_eq!((second.summarised, second.embedded, second.reused), (4, 10, 6));
    let stored = dump(&world, "ops.llm_results", &["content_key", "kind", "model", "entity", "text", "dt"]).await;
    assert_eq!(stored.len(), 20, "each answer once");
    assert!(stored.iter().all(|row| row.contains("2026-10-01")));

    // The same as an undisturbed run gives.
    let other = World::new().await;
    other.put("marts.place_reviews", texts(&borrowed)).await;
    go(&other, &Scripted::new(), 100).await.unwrap();
    assert_eq!(
        dump(&world, "staging.place_summaries", &RESULT).await,
        dump(&other, "staging.place_summaries", &RESULT).await
    );
}

#[tokio::test]
async fn another_model_answers_anew() {
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["하나 둘"])])).await;
    go(&world, &Scripted::new(), 10).await.unwrap();
    let mut other = Scripted::new();
    other.embedder.version = 2;
    let enriched = go(&world, &other, 10).await.unwrap();
    assert_eq!((enriched.summarised, enriched.embedded), (0, 1));
}

#[tokio::test]
async fn a_lake_from_before_reasons_were_kept_goes_on() {
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["하나 둘"]), ("b", &["셋 넷"])])).await;
    let llm = Scripted::new();
    go(&world, &llm, 10).await.unwrap();
    // What that wrote, as a table without the column.
    let old = World::new().await;
    let mut batches: Vec<RecordBatch> = Vec::new();
    let table = world.lake.table(&name("ops.llm_results")).await.unwrap();
    let mut stream = table.snapshot().await.unwrap().scan(None).await.unwrap();
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        let keep: Vec<usize> =
            (0..batch.num_columns()).filter(|i| batch.schema().field(*i).name() != "reason").collect();
        batches.push(batch.project(&keep).unwrap());
    }
    let spec = TableSpec {
        name: name("ops.llm_results"),
        schema: batches[0].schema(),
        partitioned: true,
        stats_columns: Vec::new(),
    };
    let info = CommitInfo { run: run(), now: now(), lineage: Vec::new() };
    let txn = Txn { app_id: "llm/old".into(), version: 1, rule: TxnRule::AtLeast };
    let _ = old.lake.create(&spec).await.unwrap().append(batches, txn, &info).await.unwrap();
    old.put("marts.place_reviews", texts(&[("a", &["하나 둘"]), ("b", &["셋 넷"]), ("c", &["다섯"])])).await;
    let done = go(&old, &llm, 10).await.unwrap();
    assert_eq!((done.summarised, done.embedded, done.reused), (1, 1, 4));
    assert_eq!(dump(&old, "ops.llm_results", &["content_key", "reason"]).await.len(), 6);
}

#[tokio::test]
async fn progress_counts_to_the_total() {
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["하나"]), ("b", &["둘"]), ("c", &["셋"])])).await;
    let last = AtomicU64::new(0);
    let progress = |p: Progress| {
        assert!(p.done <= p.total && p.total == 3);
        if p.kind == AnswerKind::Embedding {
            last.store(p.done, Ordering::SeqCst);
        }
    };
    let context = Context { batch: 2, progress: &progress, ..context_of(&run(), now()) };
    enrich(&world.lake, &enrichment(), &Scripted::new(), &context).await.unwrap();
    assert_eq!(last.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn wrong_input_is_named() {
    let world = World::new().await;
    world.put("marts.place_reviews", texts(&[("a", &["하나"]), ("a", &["둘"])])).await;
    let twice = go(&world, &Scripted::new(), 10).await.unwrap_err();
    assert_eq!(twice.to_string(), "`marts.place_reviews`: expected each `place_id` once, found `a` twice");
    let context = context_of(&run(), now());
    let wrong = Enrichment { texts: "text".into(), ..enrichment() };
    let error = enrich(&world.lake, &wrong, &Scripted::new(), &context).await.unwrap_err();
    assert_eq!(error.to_string(), "`marts.place_reviews`: expected a column `text`, found none");
}

#[tokio::test]
async fn the_local_provider_runs_the_whole_way() {
    let world = World::new().await;
    world
        .put(
            "marts.place_reviews",
            texts(&[("a", &["국물이 진하고 고기가 많아요. 혼자 가기 좋아요.", "혼밥하기 좋고 국물이 진해요."])]),
        )
        .await;
    let local = crate::llm::local::Local::default();
    let enriched = go(&world, &local, 64).await.unwrap();
    assert_eq!((enriched.summarised, enriched.embedded), (1, 1));
    let into = world.lake.table(&name("staging.place_summaries")).await.unwrap().snapshot().await.unwrap();
    let batches: Vec<RecordBatch> = into.scan(None).await.unwrap().try_collect().await.unwrap();
    let Value::Vector(vector) = Value::of(batches[0].column_by_name("embedding").unwrap(), 0).unwrap() else {
        panic!("no vector")
    };
    assert_eq!(vector.len(), 256);
    assert!(!batches[0].column_by_name("summary").unwrap().is_null(0));
}
