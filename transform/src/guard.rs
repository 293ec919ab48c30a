//! Rows on their way into a table, with what none of them may be.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, Float32Type, Float64Type};
use catalog::{Date, TableName, date_of, days_since_epoch};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::engine::Failure;
use crate::error::Error;

/// The rows, except that one of another day is an error.
pub(crate) fn of_one_day(
    stream: SendableRecordBatchStream,
    model: &TableName,
    day: Date,
    failure: &Failure,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let (model, failure, wanted) = (model.clone(), failure.clone(), days_since_epoch(day));
    let stream = stream.map(move |batch| {
        let batch = batch?;
        let Some(days) = batch.column_by_name("dt").and_then(|days| days.as_primitive_opt::<Date32Type>()) else {
            return Ok(batch);
        };
        let other = (0..days.len()).find(|row| days.is_null(*row) || days.value(*row) != wanted);
        match other {
            None => Ok(batch),
            Some(row) => {
                let found = if days.is_null(row) { None } else { date_of(days.value(row)) };
                let found = found.map_or_else(|| "null".to_owned(), |day| day.to_string());
                Err(failure.keep(Error::WrongDay { model: model.clone(), expected: day, found }))
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

/// The rows, except that a NaN is an error: files keep no statistics of it, so that a question by that column would lose the row.
pub(crate) fn of_numbers(
    stream: SendableRecordBatchStream,
    model: &TableName,
    failure: &Failure,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let (model, failure) = (model.clone(), failure.clone());
    let stream = stream.map(move |batch| {
        let batch = batch?;
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        match columns.filter(|(_, column)| has_nan(column)).map(|(field, _)| field.name().clone()).next() {
            None => Ok(batch),
            Some(column) => Err(failure.keep(Error::NotANumber { model: model.clone(), column })),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

fn has_nan(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
        _ => false,
    }
}
