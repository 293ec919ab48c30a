//! What the tests of this crate share: a lake in a temporary folder, and tables from rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field};
use catalog::{
    CommitInfo, Committed, Lake, RunId, Scope, TableName, TableSpec, Timestamp, Txn, TxnRule, Version, WriteOptions,
};
use tempfile::TempDir;

/// A lake that goes away with the test.
pub(crate) struct World {
    _dir: TempDir,
    pub(crate) lake: Lake,
    commits: std::sync::atomic::AtomicI64,
}

pub(crate) fn run() -> RunId {
    "20261001t000000-0001".parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

/// What an enrichment is told of its run, for a day that is worked on when it is there.
pub(crate) fn context_of(run: &RunId, now: Timestamp) -> crate::Context<'static> {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    crate::Context { run: run.clone(), dt: today, today, now, batch: 64, jobs: 2, progress: &|_| {} }
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let lake = Lake::open(dir.path().join("lake").to_str().unwrap(), "test").await.unwrap();
        Self { _dir: dir, lake, commits: std::sync::atomic::AtomicI64::new(1) }
    }

    /// Makes the table hold exactly these rows, in a new version.
    pub(crate) async fn put(&self, table: &str, batch: RecordBatch) -> Version {
        let spec =
            TableSpec { name: name(table), schema: batch.schema(), partitioned: false, stats_columns: Vec::new() };
        let table = self.lake.create(&spec).await.unwrap();
        let written = table.write(vec![rows::read::stream(batch)], &WriteOptions::default()).await.unwrap();
        let version = self.commits.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let txn = Txn { app_id: "build/test".into(), version, rule: TxnRule::Equal };
        let info = CommitInfo { run: run(), now: now(), lineage: Vec::new() };
        match written.replace(Scope::All, txn, &info).await.unwrap() {
            Committed::Done(version) => version,
            other => panic!("expected a new version, found {other:?}"),
        }
    }
}

pub(crate) fn lists(rows: &[Vec<String>]) -> ArrayRef {
    let mut list = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for row in rows {
        list.append_value(row.iter().map(Some));
    }
    Arc::new(list.finish())
}
