//! Small steps between Arrow and rows: one column by name, one cell, one stream out of one batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::TableName;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use crate::error::{Error, Result};
use crate::value::Value;

/// A column of a batch of `table`.
pub fn column<'a>(batch: &'a RecordBatch, name: &str, table: &TableName) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| Error::NoColumn { table: table.clone(), column: name.to_owned() })
}

/// One cell of a batch of `table`.
pub fn value(batch: &RecordBatch, name: &str, row: usize, table: &TableName) -> Result<Value> {
    Value::of(column(batch, name, table)?, row).map_err(|source| Error::Arrow { table: table.clone(), source })
}

/// One batch as the stream that a table is written from.
pub fn stream(batch: RecordBatch) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)])))
}

/// The items of a vector column, named as Delta names them.
pub fn vector_item() -> FieldRef {
    Arc::new(Field::new("element", DataType::Float32, true))
}

/// The type of a vector column.
pub fn vector_type() -> DataType {
    DataType::List(vector_item())
}
