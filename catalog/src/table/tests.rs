//! The contract of tables, over a folder and over memory, and what the tests of this crate share.

mod damage;
mod fault_table;
mod faults;
mod files;
mod followed;
mod laws;
mod notes;
mod race;
mod s3;
mod shape;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float32Builder, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::array_value_to_string;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use jiff::civil::Date;

use super::*;
use crate::Layer;
use crate::day::days_since_epoch;
use crate::error::Error;

pub(crate) const DAY: Date = Date::constant(2026, 10, 1);
pub(crate) const NEXT: Date = Date::constant(2026, 10, 2);

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

pub(crate) fn info() -> CommitInfo {
    CommitInfo {
        run: "r1".parse().unwrap(),
        now: "2026-10-01T03:00:00Z".parse().unwrap(),
        lineage: vec![(name("raw.naver_reviews"), 417)],
    }
}

pub(crate) fn task(id: &str, version: i64) -> Txn {
    Txn { app_id: format!("naver_reviews/{id}"), version, rule: TxnRule::AtLeast }
}

pub(crate) fn build(fingerprint: i64) -> Txn {
    Txn { app_id: format!("build/{DAY}"), version: fingerprint, rule: TxnRule::Equal }
}

fn list_of(of: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", of, true)))
}

pub(crate) fn spec(table: &str, partitioned: bool) -> TableSpec {
    let mut fields = vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("words", list_of(DataType::Utf8), true),
        Field::new("vector", list_of(DataType::Float32), true),
        Field::new("body", DataType::Utf8, true),
    ];
    if partitioned {
        // In the middle, so that no code may take the last column for it.
        fields.insert(2, Field::new("dt", DataType::Date32, true));
    }
    TableSpec {
        name: name(table),
        schema: Arc::new(Schema::new(fields)),
        partitioned,
        stats_columns: vec!["id".into(), "n".into()],
    }
}

/// Rows with the ids given, of one day; the other columns follow from the id.
pub(crate) fn rows(ids: &[i64], day: Option<Date>) -> RecordBatch {
    let mut words = ListBuilder::new(StringBuilder::new());
    let mut vector = ListBuilder::new(Float32Builder::new());
    for id in ids {
        words.append_value([Some("국밥"), None, Some(if id % 2 == 0 { "even" } else { "odd" })]);
        vector.append_value([Some(0.5), Some(1.0)]);
    }
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids.iter().map(|id| Some(format!("r{id}"))).collect::<StringArray>())),
        ("n", Arc::new(Int64Array::from(ids.to_vec()))),
        ("words", Arc::new(words.finish())),
        ("vector", Arc::new(vector.finish())),
        ("body", Arc::new(ids.iter().map(|id| Some(format!("body of {id}"))).collect::<StringArray>())),
    ];
    if let Some(day) = day {
        columns.push(("dt", Arc::new(Date32Array::from(vec![days_since_epoch(day); ids.len()]))));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

pub(crate) fn stream(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches.first().map_or_else(|| spec("raw.t", true).schema, RecordBatch::schema);
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))))
}

pub(crate) async fn write(table: &Table, batches: Vec<RecordBatch>) -> Written {
    table.write(vec![stream(batches)], &WriteOptions::default()).await.unwrap()
}

/// Rows as text, `a|b|c`, sorted.
fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            lines.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    lines.sort_unstable();
    lines
}

pub(crate) async fn rows_in(snapshot: &Snapshot, columns: &[&str]) -> Vec<String> {
    let batches: Vec<_> = snapshot.scan(Some(columns)).await.unwrap().try_collect().await.unwrap();
    lines(&batches)
}

pub(crate) async fn rows_of(lake: &Lake, table: &str, columns: &[&str]) -> Vec<String> {
    let table = lake.table(&name(table)).await.unwrap();
    rows_in(&table.snapshot().await.unwrap(), columns).await
}

pub(crate) async fn sql(provider: Arc<dyn datafusion::datasource::TableProvider>, query: &str) -> Vec<String> {
    let session = SessionContext::new();
    session.register_table("t", provider).unwrap();
    lines(&session.sql(query).await.unwrap().collect().await.unwrap())
}

/// A folder whose name is no friend of URLs.
pub(crate) fn folder() -> (tempfile::TempDir, String) {
    let dir = tempfile::Builder::new().prefix("옹기 50% lake#").tempdir().unwrap();
    let uri = dir.path().join("lake").to_str().unwrap().to_owned();
    (dir, uri)
}

/// The contract: what every lake promises.
async fn contract(lake: Lake) {
    create_and_evolve(&lake).await;
    append_once(&lake).await;
    replace_a_day(&lake).await;
    replace_all(&lake).await;
    pending_rows(&lake).await;
    refusals(&lake).await;
    let tables = lake.tables().await.unwrap();
    assert!(tables.contains(&name("raw.appended")) && tables.is_sorted(), "{tables:?}");
}

async fn create_and_evolve(lake: &Lake) {
    let mut wanted = spec("staging.evolving", true);
    assert!(lake.find(&wanted.name).await.unwrap().is_none());
    let table = lake.create(&wanted).await.unwrap();
    let again = lake.create(&wanted).await.unwrap();
    assert_eq!(again.schema(), table.schema());
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!((snapshot.version(), snapshot.protocol().unwrap()), (0, (1, 2)));
    assert_eq!(table.schema().field(2), &Field::new("dt", DataType::Date32, true));

    let done = table.append(vec![rows(&[1], Some(DAY))], task("a", 1), &info()).await.unwrap();
    assert_eq!(done, Committed::Done(1));
    let mut fields: Vec<_> = wanted.schema.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("extra", DataType::Utf8View, true)));
    wanted.schema = Arc::new(Schema::new(fields.clone()));
    let wider = lake.create(&wanted).await.unwrap();
    assert_eq!(wider.snapshot().await.unwrap().version(), 2, "a step of its own");
    assert_eq!(rows_of(lake, "staging.evolving", &["id", "extra"]).await, ["r1|"]);
    let old = table.append(vec![rows(&[2], Some(DAY))], task("b", 1), &info()).await.unwrap();
    assert_eq!(old, Committed::Done(3), "who opened it before can still write");

    fields[1] = Arc::new(Field::new("n", DataType::Utf8, true));
    wanted.schema = Arc::new(Schema::new(fields));
    let error = lake.create(&wanted).await.unwrap_err();
    assert_eq!(error.to_string(), "table staging.evolving, column `n`: expected int64, found utf8");
    assert!(error.hint().unwrap().contains("give the column a new name"));
    let error = lake.create(&TableSpec { partitioned: false, ..spec("staging.evolving", true) }).await.unwrap_err();
    assert!(matches!(error, Error::SchemaMismatch { .. }), "{error}");
    assert_eq!(lake.table(&wanted.name).await.unwrap().snapshot().await.unwrap().version(), 3, "nothing changed");
}

async fn append_once(lake: &Lake) {
    let table = lake.create(&spec("raw.appended", true)).await.unwrap();
    let append = |ids: &'static [i64], txn: Txn| {
        let table = table.clone();
        async move { table.append(vec![rows(ids, Some(DAY))], txn, &info()).await.unwrap() }
    };
    assert_eq!(append(&[1, 2], task("a", 1)).await, Committed::Done(1));
    assert_eq!(append(&[1, 2], task("a", 1)).await, Committed::Duplicate(1));
    assert_eq!(append(&[3], task("b", 5)).await, Committed::Done(2));
    assert_eq!(append(&[3], task("b", 4)).await, Committed::Duplicate(2), "an earlier doing is in the later one");
    assert_eq!(append(&[], task("c", 1)).await, Committed::Done(3), "a task that found nothing is done too");
    assert_eq!(append(&[], task("c", 1)).await, Committed::Duplicate(3));
    let written = write(&table, vec![rows(&[9], Some(DAY))]).await;
    assert_eq!(written.append(task("a", 1), &info()).await.unwrap(), Committed::Duplicate(3));

    let snapshot = table.snapshot().await.unwrap();
    assert_eq!(rows_in(&snapshot, &["id"]).await, ["r1", "r2", "r3"]);
    assert_eq!((snapshot.row_count().unwrap(), snapshot.file_count().unwrap()), (3, 2));
    assert_eq!(snapshot.txn("naver_reviews/b").await.unwrap(), Some(5));
    assert_eq!(snapshot.txn("naver_reviews/none").await.unwrap(), None);
    assert_eq!(rows_in(&snapshot, &["words", "vector"]).await[0], "[국밥, , even]|[0.5, 1.0]");

    let old = table.snapshot_at(1).await.unwrap();
    assert_eq!(rows_in(&old, &["n"]).await, ["1", "2"]);
    let error = table.snapshot_at(99).await.unwrap_err();
    assert_eq!(error.to_string(), "table raw.appended has no version 99");
}

async fn replace_a_day(lake: &Lake) {
    let table = lake.create(&spec("marts.daily", true)).await.unwrap();
    let replace = |ids: &'static [i64], day: Date, fingerprint: i64| {
        let table = table.clone();
        async move {
            let batches = if ids.is_empty() { vec![] } else { vec![rows(ids, Some(day))] };
            let txn = Txn { app_id: format!("build/{day}"), version: fingerprint, rule: TxnRule::Equal };
            write(&table, batches).await.replace(Scope::Day(day), txn, &info()).await.unwrap()
        }
    };
    assert_eq!(replace(&[1, 2], DAY, 77).await, Committed::Done(1));
    assert_eq!(replace(&[3], NEXT, 50).await, Committed::Done(2));
    assert_eq!(replace(&[1, 2], DAY, 77).await, Committed::Duplicate(2));
    assert_eq!(replace(&[4], DAY, 12).await, Committed::Done(3), "a fingerprint may go down");
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!(rows_in(&snapshot, &["id", "dt"]).await, ["r3|2026-10-02", "r4|2026-10-01"]);
    assert_eq!(snapshot.days().await.unwrap(), [DAY, NEXT]);
    assert_eq!(replace(&[], DAY, 13).await, Committed::Done(4), "a day may become empty");
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!(snapshot.days().await.unwrap(), [NEXT]);
    assert_eq!(snapshot.txn(&format!("build/{DAY}")).await.unwrap(), Some(13));

    let ours = write(&table, vec![rows(&[5], Some(DAY))]).await;
    let theirs = write(&table, vec![rows(&[6], Some(DAY))]).await;
    assert_eq!(theirs.replace(Scope::Day(DAY), build(21), &info()).await.unwrap(), Committed::Done(5));
    assert_eq!(ours.replace(Scope::Day(DAY), build(20), &info()).await.unwrap(), Committed::Conflict(5));
    assert_eq!(rows_of(lake, "marts.daily", &["id"]).await, ["r3", "r6"]);
}

async fn replace_all(lake: &Lake) {
    let table = lake.create(&spec("marts.whole", false)).await.unwrap();
    for (ids, fingerprint, version) in [(&[1, 2][..], 1, 1), (&[3][..], 2, 2), (&[][..], 3, 3), (&[4][..], 4, 4)] {
        let written = write(&table, vec![rows(ids, None)]).await;
        assert_eq!(written.rows(), ids.len() as u64);
        let done = written.replace(Scope::All, build(fingerprint), &info()).await.unwrap();
        assert_eq!(done, Committed::Done(version));
        let expected: Vec<_> = ids.iter().map(|id| format!("r{id}")).collect();
        assert_eq!(rows_of(lake, "marts.whole", &["id"]).await, expected);
    }
    assert_eq!(table.snapshot().await.unwrap().days().await.unwrap(), []);
}

async fn pending_rows(lake: &Lake) {
    let table = lake.create(&spec("staging.pending", true)).await.unwrap();
    let _ = table.append(vec![rows(&[100], Some(DAY))], task("old", 1), &info()).await.unwrap();
    let written = write(&table, vec![rows(&[1, 2], Some(DAY)), rows(&[3], Some(NEXT))]).await;
    assert_eq!((written.rows(), written.files()), (3, 2));
    assert!(written.bytes() > 0);
    let provider = written.provider().unwrap();
    let snapshot = table.snapshot().await.unwrap();
    assert_eq!(provider.schema(), snapshot.schema(), "checks see what readers will see");
    let ask = |query: &'static str| sql(written.provider().unwrap(), query);
    assert_eq!(ask("select count(*) from t").await, ["3"]);
    assert_eq!(ask("select id, dt from t where n > 1").await, ["r2|2026-10-01", "r3|2026-10-02"]);
    assert_eq!(ask("select dt, count(*) from t group by dt").await, ["2026-10-01|2", "2026-10-02|1"]);
    assert_eq!(ask("select words, n from t where dt = date '2026-10-02'").await, ["[국밥, , odd]|3"]);
    assert_eq!(ask("select * from t limit 0").await, Vec::<String>::new());
    let all = "select * from t order by n";
    let pending = ask(all).await;
    assert_eq!(sql(snapshot.provider().await.unwrap(), "select count(*) from t").await, ["1"], "not visible");
    let _ = written.append(task("new", 1), &info()).await.unwrap();
    let visible = sql(table.snapshot().await.unwrap().provider().await.unwrap(), "select * from t where n < 100").await;
    assert_eq!(visible, pending);

    let nothing = write(&table, vec![]).await;
    assert_eq!((nothing.rows(), nothing.files()), (0, 0));
    assert_eq!(sql(nothing.provider().unwrap(), "select count(*) from t").await, ["0"]);
    nothing.discard().await.unwrap();
    let before = table.snapshot().await.unwrap().version();
    write(&table, vec![rows(&[7], Some(DAY))]).await.discard().await.unwrap();
    assert_eq!(table.snapshot().await.unwrap().version(), before);
}

async fn refusals(lake: &Lake) {
    let raw = lake.create(&spec("raw.refusing", true)).await.unwrap();
    let written = write(&raw, vec![rows(&[1], Some(DAY))]).await;
    let error = written.replace(Scope::Day(DAY), build(1), &info()).await.unwrap_err();
    assert_eq!(error.to_string(), "table raw.refusing only grows: expected an append, found a replace");

    let staging = lake.create(&spec("staging.refusing", true)).await.unwrap();
    let written = write(&staging, vec![rows(&[1], Some(NEXT))]).await;
    let error = written.replace(Scope::Day(DAY), build(1), &info()).await.unwrap_err();
    assert_eq!(error.to_string(), "table staging.refusing, column `dt`: expected 2026-10-01, found 2026-10-02");
    let whole = lake.create(&spec("staging.refusing_whole", false)).await.unwrap();
    let error = write(&whole, vec![]).await.replace(Scope::Day(DAY), build(1), &info()).await.unwrap_err();
    assert!(error.to_string().contains("split by day"), "{error}");

    let error = raw.append(vec![rows(&[1], None)], task("a", 1), &info()).await.unwrap_err();
    assert_eq!(error.to_string(), "table raw.refusing, column `dt`: expected date, found no such column");
    let error = lake.table(&TableName::new(Layer::Marts, "none").unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), "no table marts.none");
    let mut bad = spec("marts.bad", true);
    bad.stats_columns.push("nope".into());
    assert!(lake.create(&bad).await.unwrap_err().to_string().contains("column `nope`"));
    let no_day = TableSpec { partitioned: true, ..spec("marts.bad", false) };
    assert!(lake.create(&no_day).await.unwrap_err().to_string().contains("column `dt`"));
    assert_eq!(raw.snapshot().await.unwrap().version(), 0);
}

#[tokio::test]
async fn the_contract_on_disk() {
    let (_dir, uri) = folder();
    contract(Lake::open(&uri, "demo").await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_in_memory() {
    contract(Lake::open("memory://contract", "demo").await.unwrap()).await;
}

#[tokio::test]
async fn a_lake_has_one_project() {
    let (_dir, uri) = folder();
    Lake::open(&uri, "demo").await.unwrap();
    Lake::open(&uri, "demo").await.unwrap();
    let error = Lake::open(&uri, "other").await.unwrap_err();
    assert!(matches!(error, Error::OtherProject { .. }));
    assert!(error.to_string().ends_with("expected `other`, found `demo`"), "{error}");
    assert!(error.hint().unwrap().contains("--lake"));
    std::fs::write(std::path::Path::new(&uri).join("_onggi/lake.json"), "{").unwrap();
    let error = Lake::open(&uri, "demo").await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
}

#[tokio::test]
async fn an_unwritable_lake_says_so() {
    let (dir, _) = folder();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Lake::open(file.to_str().unwrap(), "demo").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot write to the lake file:///"), "{error}");
    assert!(error.hint().unwrap().contains("write access"));
}
