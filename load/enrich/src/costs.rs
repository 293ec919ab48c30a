//! `ops.costs`: what was spent on what, a row for each run, step, model and mode, as often as a step reports.
//!
//! Sum it: `select model, sum(cost) from ops.costs where dt >= … group by model`. A row is added once: the commit carries the number of
//! the last reply that it counts, so that a step which is killed and repeated neither counts a reply twice nor forgets one.
//!
//! `dt` is the day that was worked on, `spent_on` the day on which the money went: a budget is of the latter.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{CommitInfo, Committed, Date, Lake, Layer, RunId, Table, TableName, TableSpec, Txn, TxnRule};
use futures::StreamExt;

use crate::error::{Error, Result};
use crate::llm::AnswerKind;
use crate::llm::{Mode, Usage};
use rows::Value;
use rows::read;

/// Lost races in a row before we say that others are in the way.
const TRIES: u32 = 5;

/// One kind of spending of one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CostRow {
    pub(crate) model: String,
    pub(crate) kind: AnswerKind,
    pub(crate) mode: Mode,
    pub(crate) usage: Usage,
    pub(crate) cost: Option<f64>,
}

/// Two days of the same spending.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Days {
    /// That was worked on.
    pub(crate) dt: Date,
    /// On which it was paid.
    pub(crate) spent_on: Date,
}

/// The table, opened.
#[derive(Debug)]
pub(crate) struct Costs {
    table: Table,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("run", DataType::Utf8, true),
        Field::new("step", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("mode", DataType::Utf8, true),
        Field::new("calls", DataType::Int64, true),
        Field::new("input_tokens", DataType::Int64, true),
        Field::new("output_tokens", DataType::Int64, true),
        Field::new("cost", DataType::Float64, true),
        Field::new("spent_on", DataType::Date32, true),
        Field::new("dt", DataType::Date32, true),
    ]))
}

impl Costs {
    pub(crate) async fn open(lake: &Lake) -> Result<Self> {
        let spec = TableSpec {
            name: TableName::new(Layer::Ops, "costs")?,
            schema: schema(),
            partitioned: true,
            stats_columns: ["run", "step", "model"].map(str::to_owned).to_vec(),
        };
        Ok(Self { table: lake.create(&spec).await? })
    }

    /// The number of the last reply of this step of this run that is counted.
    pub(crate) async fn counted(&self, run: &RunId, step: &str) -> Result<u64> {
        let found = self.table.snapshot().await?.txn(&app_id(run, step)).await?;
        Ok(found.and_then(|it| u64::try_from(it).ok()).unwrap_or(0))
    }

    /// What all runs but this one have spent on a day.
    pub(crate) async fn spent_by_others(&self, day: Date, run: &RunId) -> Result<f64> {
        let name = self.table.name();
        let snapshot = self.table.snapshot().await?;
        let mut sum = 0.0;
        let mut stream = snapshot.scan(Some(&["run", "cost", "spent_on", "dt"])).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(name, e))?;
            for row in 0..batch.num_rows() {
                let value = |column: &str| read::value(&batch, column, row, name);
                // Before it was kept, the day of the work is the best there is.
                let paid_on = match value("spent_on")? {
                    Value::Null => value("dt")?,
                    paid_on => paid_on,
                };
                let is_ours = matches!(value("run")?, Value::Text(of) if of == run.as_str());
                if let (false, Value::Float(cost)) =
                    (is_ours || paid_on != Value::Date(catalog::days_since_epoch(day)), value("cost")?)
                {
                    sum += cost;
                }
            }
        }
        Ok(sum)
    }

    /// Adds what a step spent on its replies up to `last`, unless that is counted.
    pub(crate) async fn add(
        &self,
        run: &RunId,
        step: &str,
        days: Days,
        last: u64,
        rows: &[CostRow],
        info: &CommitInfo,
    ) -> Result<()> {
        let batch = self.batch(run, step, days, rows)?;
        let version = i64::try_from(last).unwrap_or(i64::MAX);
        for _ in 0..TRIES {
            let txn = Txn { app_id: app_id(run, step), version, rule: TxnRule::AtLeast };
            match self.table.append(vec![batch.clone()], txn, info).await? {
                Committed::Done(_) | Committed::Duplicate(_) => return Ok(()),
                Committed::Conflict(_) => {}
            }
        }
        Err(Error::Contended { table: self.table.name().clone(), tries: TRIES })
    }

    fn batch(&self, run: &RunId, step: &str, days: Days, rows: &[CostRow]) -> Result<RecordBatch> {
        let number = |each: fn(&Usage) -> u64| -> ArrayRef {
            let numbers = rows.iter().map(|row| i64::try_from(each(&row.usage)).unwrap_or(i64::MAX));
            Arc::new(Int64Array::from_iter_values(numbers))
        };
        let text = |each: &dyn Fn(&CostRow) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(each)))
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|_| run.to_string()),
            text(&|_| step.to_owned()),
            text(&|row| row.model.clone()),
            text(&|row| row.kind.name().to_owned()),
            text(&|row| row.mode.name().to_owned()),
            number(|it| it.calls),
            number(|it| it.input_tokens),
            number(|it| it.output_tokens),
            Arc::new(rows.iter().map(|row| row.cost).collect::<Float64Array>()),
            Arc::new(Date32Array::from(vec![catalog::days_since_epoch(days.spent_on); rows.len()])),
            Arc::new(Date32Array::from(vec![catalog::days_since_epoch(days.dt); rows.len()])),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|error| Error::arrow(self.table.name(), error))
    }
}

fn app_id(run: &RunId, step: &str) -> String {
    format!("costs/{run}/{step}")
}
