//! An answer, page by page, as Arrow batches.
//!
//! Athena sends every value as text, and each column's type once. Types that have one meaning in Arrow become that type;
//! what has none (arrays, maps, rows, JSON, binary, times with a zone of their own) stays the text that Athena wrote. The
//! first row of the first page repeats the columns' names, except after `show` and `describe`.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use aws_sdk_athena::operation::get_query_results::GetQueryResultsOutput;
use aws_sdk_athena::types::{ColumnInfo, Row};

use crate::client;
use crate::error::{Error, Result};

/// Rows of one page: the most that the service sends.
const PAGE_ROWS: i32 = 1000;

/// The rows of an answer, as they come. At most one page is held.
#[derive(Debug)]
pub struct Rows {
    client: aws_sdk_athena::Client,
    id: String,
    schema: SchemaRef,
    first: Option<RecordBatch>,
    next: Option<String>,
}

impl Rows {
    /// Reads the first page. `named` says whether its first row may be the columns' names.
    pub(crate) async fn open(client: aws_sdk_athena::Client, id: String, named: bool) -> Result<Self> {
        let mut answer = page(&client, &id, None).await?;
        let next = answer.next_token.take();
        let set = answer.result_set.unwrap_or_else(|| aws_sdk_athena::types::ResultSet::builder().build());
        let columns = set.result_set_metadata().map_or(&[][..], |it| it.column_info());
        let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
        let mut rows = set.rows();
        if let Some((first, others)) = rows.split_first()
            && named
            && names(first, columns)
        {
            rows = others;
        }
        let first = batch(&schema, rows)?;
        Ok(Self { client, id, schema, first: Some(first), next })
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        let token = self.next.take()?;
        let mut answer = match page(&self.client, &self.id, Some(token)).await {
            Ok(answer) => answer,
            Err(error) => return Some(Err(error)),
        };
        self.next = answer.next_token.take();
        Some(batch(&self.schema, answer.result_set.as_ref().map_or(&[], |set| set.rows())))
    }
}

async fn page(client: &aws_sdk_athena::Client, id: &str, token: Option<String>) -> Result<GetQueryResultsOutput> {
    let request = client.get_query_results().query_execution_id(id).max_results(PAGE_ROWS).set_next_token(token);
    request.send().await.map_err(|error| client::failed("reading the answer (athena:GetQueryResults)", error))
}

/// Whether a row is nothing but the names of the columns.
fn names(row: &Row, columns: &[ColumnInfo]) -> bool {
    let values = row.data().iter().map(|datum| datum.var_char_value());
    row.data().len() == columns.len() && values.zip(columns).all(|(value, column)| value == Some(column.name()))
}

fn field(column: &ColumnInfo) -> Field {
    let kind = match column.r#type().to_lowercase().as_str() {
        "boolean" => DataType::Boolean,
        "tinyint" => DataType::Int8,
        "smallint" => DataType::Int16,
        "int" | "integer" => DataType::Int32,
        "bigint" => DataType::Int64,
        "float" | "real" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, None),
        "decimal" => decimal(column.precision(), column.scale()),
        _ => DataType::Utf8,
    };
    Field::new(column.name(), kind, true)
}

fn decimal(precision: i32, scale: i32) -> DataType {
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale @ 0..)) if precision.cast_signed() >= scale => {
            DataType::Decimal128(precision, scale)
        }
        _ => DataType::Utf8,
    }
}

/// The rows of a page with the types of their columns. A missing value is null, an empty text is a text.
fn batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let column = |(place, field): (usize, &Arc<Field>)| -> Result<ArrayRef> {
        let texts = rows.iter().map(|row| row.data().get(place).and_then(|datum| datum.var_char_value()));
        let texts: StringArray = texts.collect();
        typed(&texts, field)
    };
    let columns = schema.fields().iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| Error::Answer {
        column: String::new(),
        expected: "as many values as columns".to_owned(),
        found: error.to_string(),
    })
}

fn typed(texts: &StringArray, field: &Field) -> Result<ArrayRef> {
    let kind = field.data_type();
    if *kind == DataType::Utf8 {
        return Ok(Arc::new(texts.clone()));
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(texts, kind, &strict).map_err(|_| {
        // Which value it was: the first that is null once failures are allowed.
        let lenient = cast_with_options(texts, kind, &CastOptions::default()).ok();
        let wrong = texts
            .iter()
            .enumerate()
            .find(|(place, text)| text.is_some() && lenient.as_ref().is_none_or(|values| values.is_null(*place)));
        Error::Answer {
            column: field.name().clone(),
            expected: kind.to_string().to_lowercase(),
            found: wrong.and_then(|(_, text)| text).map_or_else(String::new, |text| format!("`{text}`")),
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
    use aws_sdk_athena::types::Datum;

    use super::*;

    fn column(name: &str, kind: &str) -> ColumnInfo {
        ColumnInfo::builder().name(name).r#type(kind).precision(12).scale(2).build().unwrap()
    }

    fn row(values: &[Option<&str>]) -> Row {
        let data = values.iter().map(|it| Datum::builder().set_var_char_value(it.map(str::to_owned)).build());
        Row::builder().set_data(Some(data.collect())).build()
    }

    fn read(columns: &[ColumnInfo], rows: &[Row]) -> Result<RecordBatch> {
        batch(&Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>())), rows)
    }

    #[test]
    fn every_type_becomes_its_own_and_null_is_not_empty() {
        let columns = [
            column("n", "bigint"),
            column("f", "double"),
            column("ok", "boolean"),
            column("d", "date"),
            column("t", "timestamp"),
            column("m", "decimal"),
            column("s", "varchar"),
            column("l", "array"),
        ];
        let rows = [
            row(&[
                Some("-9007199254740993"),
                Some("NaN"),
                Some("true"),
                Some("2026-11-20"),
                Some("2026-11-20 23:59:59.123"),
                Some("1234.50"),
                Some(""),
                Some("[혼자, 비 오는 날]"),
            ]),
            row(&[None; 8]),
        ];
        let batch = read(&columns, &rows).unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), -9_007_199_254_740_993);
        assert!(batch.column(1).as_primitive::<Float64Type>().value(0).is_nan());
        assert!(batch.column(2).as_boolean().value(0));
        assert_eq!(batch.column(3).as_primitive::<Date32Type>().value(0), 20_777);
        assert_eq!(
            batch.column(4).as_primitive::<TimestampMicrosecondType>().value(0) - 20_777 * 86_400_000_000,
            86_399_123_000
        );
        assert_eq!(batch.column(5).as_primitive::<Decimal128Type>().value(0), 123_450);
        assert_eq!(batch.column(6).as_string::<i32>().value(0), "");
        assert_eq!(batch.column(7).as_string::<i32>().value(0), "[혼자, 비 오는 날]");
        for column in batch.columns() {
            assert!(column.is_null(1) && column.is_valid(0));
        }
    }

    #[test]
    fn a_value_that_breaks_its_type_is_named() {
        let error = read(&[column("n", "bigint")], &[row(&[Some("1")]), row(&[Some("x1")])]).unwrap_err();
        assert_eq!(error.to_string(), "column `n` of the answer: expected int64, found `x1`");
    }

    #[test]
    fn the_line_of_names_is_one_only_if_every_name_fits() {
        let columns = [column("a", "varchar"), column("b", "varchar")];
        assert!(names(&row(&[Some("a"), Some("b")]), &columns));
        assert!(!names(&row(&[Some("a"), Some("c")]), &columns));
        assert!(!names(&row(&[Some("a"), None]), &columns));
    }
}
