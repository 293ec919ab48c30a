//! Rows on their way into a table, with what none of them may be.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Date32Type, Float16Type, Float32Type, Float64Type};
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

/// Also in what lies in a value: a list, a structure, a map.
fn has_nan(column: &ArrayRef) -> bool {
    let in_any = |mut values: Box<dyn Iterator<Item = Option<ArrayRef>> + '_>| {
        values.any(|inner| inner.is_some_and(|inner| has_nan(&inner)))
    };
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().iter().flatten().any(f64::is_nan),
        DataType::Float32 => column.as_primitive::<Float32Type>().iter().flatten().any(f32::is_nan),
        DataType::Float16 => {
            column.as_primitive::<Float16Type>().iter().flatten().any(|number| f32::from(number).is_nan())
        }
        kind if !holds_numbers(kind) => false,
        DataType::List(_) => in_any(Box::new(column.as_list::<i32>().iter())),
        DataType::LargeList(_) => in_any(Box::new(column.as_list::<i64>().iter())),
        DataType::FixedSizeList(..) => in_any(Box::new(column.as_fixed_size_list().iter())),
        DataType::Map(..) => {
            in_any(Box::new(column.as_map().iter().map(|it| it.map(|entries| Arc::new(entries) as ArrayRef))))
        }
        // What stands where the whole structure is null is no value.
        DataType::Struct(_) => {
            let rows = column.as_struct();
            let is_there = rows.nulls().map(|nulls| BooleanArray::new(nulls.inner().clone(), None));
            rows.columns().iter().any(|inner| match &is_there {
                None => has_nan(inner),
                Some(is_there) => filter(inner, is_there).is_ok_and(|inner| has_nan(&inner)),
            })
        }
        _ => false,
    }
}

/// Whether a value of this type may hold a number with a point.
fn holds_numbers(kind: &DataType) -> bool {
    match kind {
        DataType::List(inner)
        | DataType::LargeList(inner)
        | DataType::FixedSizeList(inner, _)
        | DataType::Map(inner, _) => holds_numbers(inner.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| holds_numbers(field.data_type())),
        kind => kind.is_floating(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{FixedSizeListBuilder, Float32Builder, Float64Array, Float64Builder, ListBuilder, StructArray};
    use arrow::datatypes::Field;

    use super::*;

    #[test]
    fn a_nan_is_found_wherever_it_lies_and_nowhere_else() {
        let list = |values: &[Option<&[f64]>]| {
            let mut list = ListBuilder::new(Float64Builder::new());
            for value in values {
                list.append_option(value.map(|numbers| numbers.iter().copied().map(Some)));
            }
            Arc::new(list.finish()) as ArrayRef
        };
        let inside = |inner: ArrayRef, is_null: bool| {
            let field = Arc::new(Field::new("x", inner.data_type().clone(), true));
            let nulls = Some(vec![!is_null; inner.len()].into());
            Arc::new(StructArray::new(vec![field].into(), vec![inner], nulls)) as ArrayRef
        };
        let mut fixed = FixedSizeListBuilder::new(Float32Builder::new(), 2);
        fixed.values().append_slice(&[1.0, f32::NAN]);
        fixed.append(true);
        let mut null = FixedSizeListBuilder::new(Float32Builder::new(), 2);
        null.values().append_slice(&[1.0, f32::NAN]);
        null.append(false);
        let bad = list(&[Some(&[1.0]), None, Some(&[2.0, f64::NAN])]);
        let cases: [(&str, ArrayRef, bool); 9] = [
            ("a number", Arc::new(Float64Array::from(vec![1.0, f64::NAN])), true),
            ("numbers", Arc::new(Float64Array::from(vec![1.0, f64::INFINITY])), false),
            ("a list", Arc::clone(&bad), true),
            ("a part of it that is well", bad.slice(0, 2), false),
            ("a list of numbers", list(&[Some(&[1.0, f64::INFINITY]), None, Some(&[])]), false),
            ("a vector", Arc::new(fixed.finish()), true),
            ("no vector", Arc::new(null.finish()), false),
            ("a structure of lists", inside(Arc::clone(&bad), false), true),
            ("no structure", inside(bad, true), false),
        ];
        for (what, column, expected) in cases {
            assert_eq!(has_nan(&column), expected, "{what}");
        }
    }
}
