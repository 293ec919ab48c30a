//! What files, logs and syncs a write leaves behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use datafusion::error::DataFusionError;
use futures::StreamExt as _;
use serde_json::Value;

use super::*;

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(files_under(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn parquet_under(folder: &Path) -> usize {
    files_under(folder).iter().filter(|f| f.extension().is_some_and(|e| e == "parquet")).count()
}

fn actions(uri: &str, table: &str, version: u64) -> Vec<Value> {
    let file = Path::new(uri).join(table).join(format!("_delta_log/{version:020}.json"));
    fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_commit_says_who_and_from_what_and_keeps_few_statistics() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    let _ = table.append(vec![rows(&[1, 2, 3], Some(DAY))], task("a", 7), &info()).await.unwrap();
    let actions = actions(&uri, "raw/t", 1);
    let commit = &actions[0]["commitInfo"];
    assert_eq!(commit["elt.run_id"], "r1");
    assert_eq!(commit["elt.lineage"], serde_json::json!({"raw.naver_reviews": 417}));
    assert_eq!(commit["elt.actions"], actions.len());
    let add = &actions.iter().find(|a| a.get("add").is_some()).unwrap()["add"];
    assert_eq!(add["partitionValues"]["dt"], "2026-10-01");
    assert!(add["path"].as_str().unwrap().starts_with("dt=2026-10-01/"));
    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], 3);
    assert_eq!(stats["minValues"], serde_json::json!({"id": "r1", "n": 1}), "long columns have none");
    let txn = &actions.iter().find(|a| a.get("txn").is_some()).unwrap()["txn"];
    assert_eq!((&txn["appId"], &txn["version"]), (&"naver_reviews/a".into(), &7.into()));
    let created = self::actions(&uri, "raw/t", 0);
    let metadata = &created.iter().find(|a| a.get("metaData").is_some()).unwrap()["metaData"];
    assert_eq!(metadata["configuration"]["delta.checkpointInterval"], "10");
    assert_eq!(metadata["configuration"]["delta.dataSkippingStatsColumns"], "id,n");
}

#[tokio::test]
async fn a_commit_is_durable_when_it_returns() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let before = lake.syncs().unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    let created = lake.syncs().unwrap();
    assert_eq!(created - before, 5, "log entry, _delta_log, t, raw, lake");
    let _ = table.append(vec![rows(&[1], Some(DAY))], task("a", 1), &info()).await.unwrap();
    let first = lake.syncs().unwrap();
    assert_eq!(first - created, 5, "file, dt=…, t; log entry, _delta_log");
    let _ = table.append(vec![rows(&[2], Some(DAY))], task("b", 1), &info()).await.unwrap();
    assert_eq!(lake.syncs().unwrap() - first, 4, "file, dt=…; log entry, _delta_log");
}

#[tokio::test]
async fn a_checkpoint_is_made_every_ten_commits_and_used() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    for id in 1..=12 {
        let done = table.append(vec![rows(&[id], Some(DAY))], task(&format!("{id}"), 1), &info()).await.unwrap();
        assert_eq!(done, Committed::Done(u64::try_from(id).unwrap()));
    }
    let log = Path::new(&uri).join("raw/t/_delta_log");
    assert!(log.join("00000000000000000009.checkpoint.parquet").exists());
    assert!(log.join("_last_checkpoint").exists());
    // With the summed-up commits gone only the checkpoint can tell of them.
    for version in 0..=9 {
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let fresh = Lake::open(&uri, "demo").await.unwrap();
    assert_eq!(rows_of(&fresh, "raw.t", &["n"]).await.len(), 12);
    let snapshot = fresh.table(&name("raw.t")).await.unwrap().snapshot().await.unwrap();
    assert_eq!(snapshot.txn("naver_reviews/3").await.unwrap(), Some(1), "marks are in the checkpoint");
    let table = fresh.table(&name("raw.t")).await.unwrap();
    let again = table.append(vec![rows(&[3], Some(DAY))], task("3", 1), &info()).await.unwrap();
    assert_eq!(again, Committed::Duplicate(12));
}

/// About 24 MiB of rows of one day.
fn large() -> Vec<RecordBatch> {
    let filler = "망원동 국밥집에서 혼자 먹기 좋은 저녁 ".repeat(20);
    let batch = |start: i64| {
        let ids: Vec<i64> = (start..start + 1_000).collect();
        let batch = rows(&ids, Some(DAY));
        let body: ArrayRef = Arc::new(ids.iter().map(|id| Some(format!("{id} {filler}"))).collect::<StringArray>());
        let mut columns = batch.columns().to_vec();
        columns[4] = body;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    (0..24).map(|i| batch(i * 1_000)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_day_is_written_by_several_encoders_and_a_small_one_is_one_file() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let table = lake.create(&spec("staging.t", true)).await.unwrap();
    let options = WriteOptions { encoders: 3, ..WriteOptions::default() };
    let written = table.write(vec![stream(large())], &options).await.unwrap();
    assert_eq!(written.rows(), 24_000);
    assert!((2..=3).contains(&written.files()), "{} files", written.files());
    assert_eq!(sql(written.provider().unwrap(), "select count(distinct id), sum(n) from t").await, ["24000|287988000"]);
    let _ = written.replace(Scope::Day(DAY), build(1), &info()).await.unwrap();
    assert_eq!(table.snapshot().await.unwrap().row_count().unwrap(), 24_000);

    let streams = (0..4).map(|i| stream(vec![rows(&[i], Some(DAY))])).collect();
    let small = table.write(streams, &options).await.unwrap();
    assert_eq!((small.rows(), small.files()), (4, 1));

    let one = WriteOptions { encoders: 1, target_file_bytes: 64 * 1024 };
    let cut = table.write(vec![stream(large())], &one).await.unwrap();
    assert!(cut.files() > 1, "closed at the target size");
    assert_eq!(sql(cut.provider().unwrap(), "select count(distinct id) from t").await, ["24000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discarded_refused_and_failed_writes_leave_no_files() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let table = lake.create(&spec("staging.t", true)).await.unwrap();
    let folder = Path::new(&uri).join("staging/t");
    write(&table, vec![rows(&[1], Some(DAY))]).await.discard().await.unwrap();
    assert_eq!(parquet_under(&folder), 0);

    let written = write(&table, vec![rows(&[1], Some(DAY))]).await;
    let _ = table.append(vec![rows(&[1], Some(DAY))], task("a", 1), &info()).await.unwrap();
    assert_eq!(written.append(task("a", 1), &info()).await.unwrap(), Committed::Duplicate(1));
    assert_eq!(parquet_under(&folder), 1, "the files of a duplicate are removed");

    let mut batches: Vec<_> = large().into_iter().map(Ok).collect();
    batches.push(Err(DataFusionError::Execution("boom".into())));
    let schema = rows(&[], Some(DAY)).schema();
    let failing = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches)));
    let error = table.write(vec![failing], &WriteOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "table staging.t: its input failed");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("boom"));
    let bad = stream(vec![rows(&[1], Some(DAY)), rows(&[2], None)]);
    assert!(table.write(vec![bad], &WriteOptions::default()).await.is_err());
    assert_eq!(parquet_under(&folder), 1);
    assert_eq!(table.snapshot().await.unwrap().version(), 1);
}

#[tokio::test]
async fn a_panic_in_the_input_is_an_error() {
    let lake = Lake::open("memory://panics", "demo").await.unwrap();
    let table = lake.create(&spec("staging.t", true)).await.unwrap();
    let schema = rows(&[], Some(DAY)).schema();
    let panicking = futures::stream::iter(0..3).map(|i| -> Result<RecordBatch, DataFusionError> {
        assert!(i < 1, "offset overflow");
        Ok(rows(&[i], Some(DAY)))
    });
    let input = Box::pin(RecordBatchStreamAdapter::new(schema, panicking.boxed()));
    let error = table.write(vec![input], &WriteOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Input { .. }), "{error:?}");
}

#[tokio::test]
async fn files_named_by_the_log_are_those_that_are_there() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    for day in [DAY, NEXT] {
        let _ = table.append(vec![rows(&[1], Some(day))], task(&day.to_string(), 1), &info()).await.unwrap();
    }
    let snapshot = table.snapshot().await.unwrap();
    let named: BTreeSet<_> = snapshot.file_paths().unwrap().iter().map(|f| Path::new(&uri).join(f)).collect();
    let there: BTreeSet<_> = files_under(&Path::new(&uri).join("raw/t"))
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e == "parquet"))
        .collect();
    assert_eq!(named, there);
    let size: u64 = there.iter().map(|f| fs::metadata(f).unwrap().len()).sum();
    assert_eq!(snapshot.bytes().unwrap(), size);
}
