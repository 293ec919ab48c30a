//! `ops.outcomes`: all outcomes of all sources, a row each, for SQL and for the time when a log is gone.
//!
//! It is a copy. Rows are appended and never changed; of several rows for a key's day the one with the highest `mark` counts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Date32Type, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use catalog::{CommitInfo, Committed, Date, Lake, Snapshot, SourceName, TableName, TableSpec, Timestamp, Txn, date_of};
use futures::TryStreamExt;
use serde_json::json;

use super::rows::text;
use crate::error::Error;
use crate::outcome::{KeyOutcome, Outcome};

/// The columns in their order: ids first, long text last.
const COLUMNS: [&str; 14] = [
    "source",
    "dt",
    "key",
    "outcome",
    "rows",
    "set_aside",
    "missing",
    "mark",
    "at",
    "definition",
    "task",
    "table_id",
    "why",
    "unfit",
];

/// The table that outcomes are copied into.
///
/// # Errors
/// Never, as long as its name is one.
pub fn outcomes_table() -> Result<TableSpec, Error> {
    let field = |name: &&str| {
        let kind = match *name {
            "dt" => DataType::Date32,
            "rows" | "set_aside" | "missing" | "mark" => DataType::Int64,
            "at" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Field::new(*name, kind, true)
    };
    let name: TableName = super::name()?;
    let schema = Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()));
    let stats_columns = ["source", "key", "outcome", "mark", "table_id"].map(str::to_owned).to_vec();
    Ok(TableSpec { name, schema, partitioned: true, stats_columns })
}

/// What the table knows of one source.
#[derive(Default)]
pub(super) struct StoredOutcomes {
    pub(super) outcomes: Vec<(i64, KeyOutcome)>,
    /// Up to which number it is complete.
    pub(super) copied: Option<i64>,
}

/// The outcomes of a source's days from `since` on, those of the raw table with this id.
pub(super) async fn read(
    lake: &Lake,
    source: &SourceName,
    table_id: &str,
    since: Date,
    app_id: &str,
) -> Result<StoredOutcomes, Error> {
    let Some(snapshot) = lake.newest(&super::name()?).await? else { return Ok(StoredOutcomes::default()) };
    let Some(copied) = snapshot.txn(app_id).await? else { return Ok(StoredOutcomes::default()) };
    let equal = [("source", source.as_str()), ("table_id", table_id)];
    let mut batches = snapshot.scan_where(&columns_of(&snapshot), since, &equal).await?;
    let mut outcomes = Vec::new();
    let failed = |error| catalog::Error::reading(snapshot.table(), error);
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        read_batch(&batch, &mut outcomes)?;
    }
    Ok(StoredOutcomes { outcomes, copied: Some(copied) })
}

/// The outcomes of all days of a source, those of other raw tables than the one with this id.
pub(super) async fn read_former(
    lake: &Lake,
    source: &SourceName,
    present: Option<&str>,
) -> Result<Vec<KeyOutcome>, Error> {
    let Some(snapshot) = lake.newest(&super::name()?).await? else { return Ok(Vec::new()) };
    let columns = columns_of(&snapshot);
    let mut batches = snapshot.scan_where(&columns, Date::MIN, &[("source", source.as_str())]).await?;
    let mut outcomes = Vec::new();
    let failed = |error| catalog::Error::reading(snapshot.table(), error);
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let ids = text(&batch, COLUMNS.iter().position(|column| *column == "table_id").unwrap_or_default())?;
        let other: BooleanArray = ids.as_string::<i32>().iter().map(|id| Some(id != present)).collect();
        let batch = filter_record_batch(&batch, &other).map_err(|source| Error::Outcomes { source })?;
        read_batch(&batch, &mut outcomes)?;
    }
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// Those of the columns that are there: an older program made the table with fewer.
fn columns_of(snapshot: &Snapshot) -> Vec<&'static str> {
    let kept = snapshot.schema();
    COLUMNS.into_iter().filter(|column| kept.index_of(column).is_ok()).collect()
}

fn read_batch(batch: &RecordBatch, into: &mut Vec<(i64, KeyOutcome)>) -> Result<(), Error> {
    let column = |name: &str| COLUMNS.iter().position(|column| *column == name).unwrap_or_default();
    let (keys, words, definitions) =
        (text(batch, column("key"))?, text(batch, column("outcome"))?, text(batch, column("definition"))?);
    let (tasks, whys) = (text(batch, column("task"))?, text(batch, column("why"))?);
    let unfit = batch.schema_ref().index_of("unfit").ok().map(|column| text(batch, column)).transpose()?;
    let unfit = |row: usize| {
        let told = unfit.as_ref().filter(|told| told.is_valid(row)).map(|told| told.as_string::<i32>().value(row));
        told.and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default()
    };
    let days = batch.column(column("dt")).as_primitive::<Date32Type>();
    let at = batch.column(column("at")).as_primitive::<TimestampMicrosecondType>();
    let number = |name: &str, row: usize| batch.column(column(name)).as_primitive::<Int64Type>().value(row);
    let count = |name: &str, row: usize| u64::try_from(number(name, row)).unwrap_or_default();
    let value = |array: &ArrayRef, row: usize| array.as_string::<i32>().value(row).to_owned();
    for row in 0..batch.num_rows() {
        let word = value(&words, row);
        // An outcome that a newer program knows and this one doesn't is as good as none: the key is asked for.
        let Some(outcome) = Outcome::ALL.into_iter().find(|one| one.as_str() == word) else { continue };
        let Some(dt) = date_of(days.value(row)) else { continue };
        let outcome = KeyOutcome {
            key: value(&keys, row),
            dt,
            outcome,
            rows: count("rows", row),
            set_aside: count("set_aside", row),
            missing: count("missing", row),
            why: whys.is_valid(row).then(|| value(&whys, row)),
            unfit: unfit(row),
            definition: value(&definitions, row),
            task: value(&tasks, row),
            at: Timestamp::from_microsecond(at.value(row)).unwrap_or(Timestamp::UNIX_EPOCH),
        };
        into.push((number("mark", row), outcome));
    }
    Ok(())
}

/// Adds outcomes, once.
pub(super) async fn append(
    lake: &Lake,
    source: &SourceName,
    table_id: &str,
    outcomes: &[(i64, KeyOutcome)],
    txn: Txn,
    info: &CommitInfo,
) -> Result<Committed, Error> {
    let table = lake.create(&outcomes_table()?).await?;
    let texts = |of: &dyn Fn(&KeyOutcome) -> &str| -> ArrayRef {
        Arc::new(outcomes.iter().map(|(_, it)| Some(of(it))).collect::<StringArray>())
    };
    let counts = |of: &dyn Fn(&KeyOutcome) -> u64| -> ArrayRef {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Arc::new(outcomes.iter().map(|(_, it)| Some(count(of(it)))).collect::<Int64Array>())
    };
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; outcomes.len()])) };
    let at: TimestampMicrosecondArray = outcomes.iter().map(|(_, it)| Some(it.at.as_microsecond())).collect();
    let columns: Vec<ArrayRef> = COLUMNS
        .iter()
        .map(|column| match *column {
            "source" => same(source.as_str()),
            "dt" => {
                Arc::new(outcomes.iter().map(|(_, it)| Some(catalog::days_since_epoch(it.dt))).collect::<Date32Array>())
            }
            "key" => texts(&|it| &it.key),
            "outcome" => texts(&|it| it.outcome.as_str()),
            "rows" => counts(&|it| it.rows),
            "set_aside" => counts(&|it| it.set_aside),
            "missing" => counts(&|it| it.missing),
            "mark" => Arc::new(outcomes.iter().map(|(mark, _)| Some(*mark)).collect::<Int64Array>()),
            "at" => Arc::new(at.clone().with_timezone("UTC")),
            "definition" => texts(&|it| &it.definition),
            "task" => texts(&|it| &it.task),
            "table_id" => same(table_id),
            "unfit" => {
                let told =
                    |unfit: &Vec<String>| Some(unfit).filter(|unfit| !unfit.is_empty()).map(|it| json!(it).to_string());
                Arc::new(outcomes.iter().map(|(_, it)| told(&it.unfit)).collect::<StringArray>())
            }
            _ => Arc::new(outcomes.iter().map(|(_, it)| it.why.as_deref()).collect::<StringArray>()),
        })
        .collect();
    let batch = RecordBatch::try_new(outcomes_table()?.schema, columns).map_err(|source| Error::Outcomes { source })?;
    Ok(table.append(vec![batch], txn, info).await?)
}
