//! Ended runs as tables: `ops.runs`, one row a run, and `ops.steps`, one row a step.
//!
//! Steps go first: a run that is in `ops.runs` has its steps in `ops.steps`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use jiff::Timestamp;

use crate::day::days_since_epoch;
use crate::error::{Error, Result};
use crate::failpoint;
use crate::lake::Lake;
use crate::name::{Layer, RunId, TableName};
use crate::table::{CommitInfo, TableSpec, Txn, TxnRule};

use super::{Event, Process, RunState, Stamped, StepState};

/// The totals of a run that are columns of their own.
const TOTALS: [&str; 9] =
    ["fetched", "landed", "set_aside", "built", "unchanged", "checks", "summarised", "embedded", "synced"];

/// Puts a run into `ops.runs` and `ops.steps`, once, however often it is called.
pub async fn record(lake: &Lake, state: &RunState) -> Result<()> {
    failpoint!("run.record.before");
    let steps = rows(&TableName::new(Layer::Ops, "steps")?, step_columns(state))?;
    let runs = rows(&TableName::new(Layer::Ops, "runs")?, run_columns(state))?;
    for (spec, batch) in [steps, runs] {
        let table = lake.create(&spec).await?;
        let txn = Txn { app_id: record_mark(&state.run), version: 1, rule: TxnRule::AtLeast };
        let now = state.ended_at.unwrap_or(state.started_at);
        let info = CommitInfo { run: state.run.clone(), now, lineage: Vec::new() };
        // Recorded now or before: either way it is there.
        let _ = table.append(vec![batch], txn, &info).await?;
    }
    failpoint!("run.record.after");
    Ok(())
}

/// The mark that a run's record leaves in the tables.
pub(crate) fn record_mark(run: &RunId) -> String {
    format!("run/{run}")
}

/// `ops.steps` and `ops.runs` as [`record`] makes them, for who plans a question about them without a lake.
pub fn record_specs() -> Result<Vec<TableSpec>> {
    let process = Process { pid: 0, host: String::new(), boot: String::new(), started: 0, space: String::new() };
    let start = Event::Started { run: "none".parse()?, dt: jiff::civil::date(2000, 1, 1), process };
    let Some(state) = RunState::fold([Stamped { at: Timestamp::UNIX_EPOCH, event: start }]) else {
        return Ok(Vec::new());
    };
    let steps = rows(&TableName::new(Layer::Ops, "steps")?, step_columns(&state))?;
    let runs = rows(&TableName::new(Layer::Ops, "runs")?, run_columns(&state))?;
    Ok([steps, runs].map(|(spec, _)| spec).into())
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn rows(name: &TableName, columns: Columns) -> Result<(TableSpec, RecordBatch)> {
    let failed = |e: arrow::error::ArrowError| Error::Input { table: name.clone(), source: e.into() };
    let fields: Vec<_> = columns.iter().map(|(n, c)| Field::new(*n, c.data_type().clone(), true)).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(failed)?;
    let stats_columns = ["run", "dt", "status", "started_at"].map(str::to_owned).to_vec();
    Ok((TableSpec { name: name.clone(), schema, partitioned: false, stats_columns }, batch))
}

fn run_columns(state: &RunState) -> Columns {
    let mut columns: Columns = vec![
        ("run", text([Some(state.run.as_str())])),
        ("dt", Arc::new(Date32Array::from(vec![days_since_epoch(state.dt)]))),
        ("status", text([Some(state.status.as_str())])),
        ("started_at", times([Some(state.started_at)])),
        ("ended_at", times([state.ended_at])),
        ("seconds", seconds([(Some(state.started_at), state.ended_at)])),
    ];
    for name in TOTALS {
        columns.push((name, Arc::new(Int64Array::from(vec![state.totals.get(name).copied().unwrap_or(0)]))));
    }
    columns.push(("totals", text([Some(json(&state.totals))])));
    columns.push(("error", text([state.error.as_deref()])));
    columns.push(("host", text([Some(state.process.host.as_str())])));
    columns
}

fn step_columns(state: &RunState) -> Columns {
    let steps = &state.steps;
    let each = |value: fn(&StepState) -> Option<&str>| text(steps.iter().map(value));
    let number = |value: fn(&StepState) -> Option<u64>| -> ArrayRef {
        let numbers = steps.iter().map(|s| value(s).and_then(|n| i64::try_from(n).ok()));
        Arc::new(numbers.collect::<Int64Array>())
    };
    vec![
        ("run", text(steps.iter().map(|_| Some(state.run.as_str())))),
        ("dt", Arc::new(Date32Array::from_iter_values(steps.iter().map(|_| days_since_epoch(state.dt))))),
        ("step", each(|s| Some(&s.id))),
        ("kind", each(|s| Some(s.kind.as_str()))),
        ("name", each(|s| Some(&s.name))),
        ("status", each(|s| Some(s.status.as_str()))),
        ("done", number(|s| Some(s.done))),
        ("total", number(|s| s.total)),
        ("unit", each(|s| s.unit.as_deref())),
        ("started_at", times(steps.iter().map(|s| s.started_at))),
        ("ended_at", times(steps.iter().map(|s| s.ended_at))),
        ("seconds", seconds(steps.iter().map(|s| (s.started_at, s.ended_at)))),
        ("why", each(|s| s.why.as_deref())),
        ("error", each(|s| s.error.as_deref())),
        ("hint", each(|s| s.hint.as_deref())),
        ("counts", text(steps.iter().map(|s| Some(json(&s.counts))))),
    ]
}

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn times(values: impl IntoIterator<Item = Option<Timestamp>>) -> ArrayRef {
    let micros = values.into_iter().map(|at| at.map(Timestamp::as_microsecond));
    let array: TimestampMicrosecondArray = micros.collect();
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(array.with_data_type(utc))
}

fn seconds(values: impl IntoIterator<Item = (Option<Timestamp>, Option<Timestamp>)>) -> ArrayRef {
    let spans = values.into_iter().map(|(from, to)| Some(to?.duration_since(from?).as_secs_f64()));
    Arc::new(spans.collect::<Float64Array>())
}

fn json(counts: &BTreeMap<String, i64>) -> String {
    let counts: serde_json::Value = counts.iter().map(|(name, n)| (name.clone(), *n)).collect();
    counts.to_string()
}
