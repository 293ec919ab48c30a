//! Tables for benches, written as a model would write them.

use std::sync::Arc;

use anyhow::bail;
use arrow::array::RecordBatch;
use catalog::{
    CommitInfo, Committed, Lake, RunId, Scope, TableName, TableSpec, Timestamp, Txn, TxnRule, Version, WriteOptions,
};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

/// Makes a table hold exactly these rows. Each call for a table needs a `txn` of its own.
///
/// # Errors
/// If the lake does not take them.
pub async fn put(lake: &Lake, table: &TableName, batches: Vec<RecordBatch>, txn: i64) -> anyhow::Result<Version> {
    let Some(first) = batches.first() else { bail!("expected rows for {table}, found none") };
    let schema = first.schema();
    let spec =
        TableSpec { name: table.clone(), schema: Arc::clone(&schema), partitioned: false, stats_columns: Vec::new() };
    let created = lake.create(&spec).await?;
    let rows: SendableRecordBatchStream =
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))));
    let written = created.write(vec![rows], &WriteOptions::default()).await?;
    let txn = Txn { app_id: "build/bench".into(), version: txn, rule: TxnRule::Equal };
    let info =
        CommitInfo { run: "20261001t000000-0001".parse::<RunId>()?, now: Timestamp::UNIX_EPOCH, lineage: Vec::new() };
    match written.replace(Scope::All, txn, &info).await? {
        Committed::Done(version) => Ok(version),
        other => bail!("expected a new version of {table}, found {other:?}"),
    }
}
