//! What a table's columns are, and how rows from elsewhere become rows of it.
//!
//! A table keeps few types: those that every reader of Delta knows. `stored` maps what Arrow and
//! SQL can say to what is kept: one kind of string and of list, timestamps in microseconds of UTC
//! (one without a zone is taken as UTC) and whole milliseconds of those (`schema/times.rs`). `Align` brings batches to a table's schema by column name.
//! It casts only where no value can change: a number that does not fit, a null in a column that has
//! none, or a text where a number belongs is an error that names the column.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::name::TableName;

mod difference;
mod times;
mod unfit;

pub use difference::{SchemaDifference, TableShape, differences};
pub(crate) use difference::{holds, split};
pub use unfit::{UnfitColumn, unfit_columns};

/// The day column of a partitioned table.
pub(crate) const DT: &str = "dt";

/// How a list names its elements in Delta.
const ELEMENT: &str = "element";

/// The type a table keeps for `given`; `None` if it keeps none.
pub(crate) fn stored(given: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match given {
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => given.clone(),
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 => T::Float32,
        T::Timestamp(_, None) => utc(),
        T::Timestamp(_, Some(zone)) if is_utc(zone) => utc(),
        T::Decimal128(precision, scale) if *scale >= 0 => T::Decimal128(*precision, *scale),
        T::Dictionary(_, values) => stored(values)?,
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) | T::ListView(e) | T::LargeListView(e) => {
            T::List(Arc::new(Field::new(ELEMENT, stored(e.data_type())?, true)))
        }
        T::Struct(fields) => {
            T::Struct(fields.iter().map(|f| stored_field(f)).collect::<Option<Vec<FieldRef>>>()?.into())
        }
        _ => return None,
    })
}

fn stored_field(field: &Field) -> Option<FieldRef> {
    Some(Arc::new(Field::new(field.name(), stored(field.data_type())?, field.is_nullable())))
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "+00")
}

/// The schema a table would keep for `given`; the first column that no table may have is an error.
pub(crate) fn stored_schema(table: &TableName, given: &Schema) -> Result<Schema> {
    let fields = given.fields().iter().map(|field| {
        stored_field(field).ok_or_else(|| {
            let UnfitColumn { column, problem, hint } = unfit_columns(&Schema::new(vec![Arc::clone(field)])).remove(0);
            Error::UnfitColumn { table: table.clone(), column, problem, hint }
        })
    });
    Ok(Schema::new(fields.collect::<Result<Vec<FieldRef>>>()?))
}

/// A type in the words of SQL users.
pub(crate) fn describe(data_type: &DataType) -> String {
    use DataType as T;
    match data_type {
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) | T::ListView(e) | T::LargeListView(e) => {
            format!("list<{}>", describe(e.data_type()))
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "utf8".into(),
        T::Timestamp(TimeUnit::Microsecond, Some(zone)) if is_utc(zone) => "timestamp".into(),
        T::Date32 => "date".into(),
        other => other.to_string().to_lowercase(),
    }
}

/// Brings batches to a table's schema.
#[derive(Debug, Clone)]
pub(crate) struct Align {
    table: TableName,
    to: SchemaRef,
    /// Whether each row must say to which day it belongs.
    by_day: bool,
}

/// Rows per piece: small enough that no piece's strings can overflow what an array holds.
const PIECE: usize = 8 * 1024;

impl Align {
    pub(crate) fn new(table: TableName, to: SchemaRef, by_day: bool) -> Self {
        Self { table, to, by_day }
    }

    pub(crate) fn table(&self) -> &TableName {
        &self.table
    }

    /// The same rows, in pieces, with exactly the table's columns.
    pub(crate) fn apply(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        for field in batch.schema_ref().fields() {
            if self.to.field_with_name(field.name()).is_err() {
                return Err(self.mismatch(field.name(), "no such column".into(), describe(field.data_type())));
            }
        }
        let starts = (0..batch.num_rows()).step_by(PIECE);
        starts.map(|at| self.piece(&batch.slice(at, PIECE.min(batch.num_rows() - at)))).collect()
    }

    fn piece(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.to.fields().iter().map(|field| self.column(field, batch));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.to), columns, &options)
            .map_err(|e| self.mismatch("", "rows of the table".into(), e.to_string()))
    }

    fn column(&self, field: &Field, batch: &RecordBatch) -> Result<ArrayRef> {
        let expected = || describe(field.data_type());
        let is_day = self.by_day && field.name() == DT;
        let Some(column) = batch.column_by_name(field.name()) else {
            return if field.is_nullable() && !is_day {
                Ok(new_null_array(field.data_type(), batch.num_rows()))
            } else {
                Err(self.mismatch(field.name(), expected(), "no such column".into()))
            };
        };
        let nulls = column.logical_null_count();
        if nulls > 0 && (!field.is_nullable() || is_day) {
            return Err(self.mismatch(field.name(), "a value in every row".into(), format!("{nulls} nulls")));
        }
        if !fits(column.data_type(), field.data_type()) {
            return Err(self.mismatch(field.name(), expected(), describe(column.data_type())));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        // Before the cast, which would cut what is finer than a microsecond toward zero.
        times::whole_milliseconds(column)
            .and_then(|column| cast_with_options(&column, field.data_type(), &options))
            .map_err(|e| self.mismatch(field.name(), expected(), e.to_string()))
    }

    fn mismatch(&self, column: &str, expected: String, found: String) -> Error {
        Error::SchemaMismatch { table: self.table.clone(), column: column.to_owned(), expected, found }
    }
}

/// Whether every value of `from` that can be cast to `to` keeps its meaning.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from == to => true,
        (T::Dictionary(_, values), to) => fits(values, to),
        (T::List(a) | T::LargeList(a) | T::FixedSizeList(a, _) | T::ListView(a) | T::LargeListView(a), T::List(b)) => {
            fits(a.data_type(), b.data_type())
        }
        (T::Struct(a), T::Struct(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a.name() == b.name() && fits(a.data_type(), b.data_type()))
        }
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, T::Float64) if from.is_integer() => !matches!(from, T::Int64 | T::UInt64),
        (T::Null, _) | (T::Float16 | T::Float32, T::Float64) | (T::Float16, T::Float32) => true,
        (from, to) => stored(from).as_ref() == Some(to),
    }
}

#[cfg(test)]
mod tests;
