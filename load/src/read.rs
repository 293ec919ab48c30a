//! Small helpers between Arrow and the rest of this crate: one column by name, one cell, one stream out of one batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::{Date, TableName};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::error::{Error, Result};
use crate::value::Value;

/// A column of a batch of `table`.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str, table: &TableName) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::Config {
        table: table.clone(),
        message: format!("expected a column `{name}`, found none"),
        hint: None,
    })
}

/// One cell of a batch of `table`.
pub(crate) fn value(batch: &RecordBatch, name: &str, row: usize, table: &TableName) -> Result<Value> {
    Value::of(column(batch, name, table)?, row).map_err(|e| Error::arrow(table, e))
}

/// One batch as the stream that a table is written from.
pub(crate) fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)])))
}

/// The items of a vector column, named as Delta names them.
pub(crate) fn vector_item() -> FieldRef {
    Arc::new(Field::new("element", DataType::Float32, true))
}

/// The type of a vector column.
pub(crate) fn vector_type() -> DataType {
    DataType::List(vector_item())
}

/// A day as Arrow counts it.
pub(crate) fn days(date: Date) -> i32 {
    let epoch = jiff::civil::date(1970, 1, 1);
    epoch.until(date).map_or(0, |span| span.get_days())
}
