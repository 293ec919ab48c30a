//! Rows of a mart as the bytes of a binary COPY: pgpq for what it knows, and by hand what it does not.
//!
//! pgpq has no dictionaries (cast to their values), no vectors and no `jsonb` (a `bytea` cell that already has the bytes of the type goes
//! through as it is, since COPY sends no types). Its timestamps are microseconds since 2000, which is what `timestamptz` takes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, FixedSizeBinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Schema, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut as _, Bytes, BytesMut};
use half::f16;
use pgpq::ArrowToPostgresBinaryEncoder;

use super::layout::{PostgresLayout, is_document, list_item};
use super::sql::{HASH, TEXT, Type};
use crate::fault::Cause;
use crate::keys::Keys;
use crate::sink::Rows;
use crate::target::SyncTarget;
use rows::Value;
use rows::text::fold;

/// pgvector keeps no longer ones in an index.
const MAX_DIMENSION: usize = 4_000;
/// The largest number that 16 bits hold.
const MAX_HALF: f32 = 65_504.0;
/// The version of `jsonb` that is sent.
const JSONB: u8 = 1;
/// Stands between two texts of a row; a match across it is refused when the document is looked at.
const BETWEEN: char = '\n';

/// Rows as bytes, without header or footer, and the length of their vectors.
pub(super) struct PostgresRows {
    pub(super) bytes: Bytes,
    pub(super) dimension: Option<usize>,
}

/// What a binary COPY begins with.
pub(super) fn header() -> Bytes {
    let mut bytes = BytesMut::with_capacity(19);
    bytes.put_slice(b"PGCOPY\n\xff\r\n\0");
    bytes.put_i32(0);
    bytes.put_i32(0);
    bytes.freeze()
}

/// What it ends with.
pub(super) fn footer() -> Bytes {
    Bytes::from_static(&[0xff, 0xff])
}

/// Encodes rows in the order of [`PostgresLayout::sent`].
pub(super) fn encode(layout: &PostgresLayout, rows: &Rows) -> Result<PostgresRows, Cause> {
    let mut fields = Vec::with_capacity(layout.columns.len() + 2);
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(layout.columns.len() + 2);
    let mut dimension = None;
    for column in &layout.columns {
        let array = rows
            .batch
            .column_by_name(&column.name)
            .ok_or_else(|| format!("expected column `{}`, found none", column.name))?;
        let array = if matches!(column.is, Type::HalfVec { .. }) {
            let (array, found) = vectors(array, &rows.keys)?;
            dimension = found;
            array
        } else if is_document(array.data_type()) {
            documents(array, &rows.keys).map_err(|e| format!("`{}` of {e}", column.name))?
        } else {
            plain(array)?
        };
        fields.push(Field::new(&column.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let hashes = FixedSizeBinaryArray::try_from_iter(rows.hashes.iter().map(|hash| hash.0)).map_or_else(
        // No rows have no width.
        |_| Arc::new(FixedSizeBinaryArray::new_null(16, 0)) as ArrayRef,
        |array| Arc::new(array) as ArrayRef,
    );
    fields.push(Field::new(HASH, hashes.data_type().clone(), true));
    arrays.push(hashes);
    if layout.has_texts() {
        let texts = texts(&layout.target.texts, rows)?;
        fields.push(Field::new(TEXT, DataType::Utf8, true));
        arrays.push(texts);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    let mut encoder = ArrowToPostgresBinaryEncoder::try_new(batch.schema().as_ref()).map_err(|e| format!("{e:?}"))?;
    encoder.write_header(&mut BytesMut::new()).map_err(|e| format!("{e:?}"))?;
    let mut bytes = BytesMut::new();
    encoder.write_batch(&batch, &mut bytes).map_err(|e| format!("{e:?}"))?;
    Ok(PostgresRows { bytes: bytes.freeze(), dimension })
}

/// A column in one of the types that pgpq sends as the type its column was declared with.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match sent_as(array.data_type()) {
        Some(wanted) if wanted == *array.data_type() => Arc::clone(array),
        Some(wanted) => cast(array, &wanted)?,
        None => {
            let options = FormatOptions::default();
            let print = ArrayFormatter::try_new(array.as_ref(), &options)?;
            let text = |row| array.is_valid(row).then(|| print.value(row).to_string());
            Arc::new((0..array.len()).map(text).collect::<StringArray>())
        }
    })
}

/// What a type is cast to before it is sent; `None` when it is sent as the text that Arrow prints.
fn sent_as(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Decimal32(p, s) | DataType::Decimal64(p, s) => DataType::Decimal128(*p, *s),
        DataType::Float16 => DataType::Float32,
        DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Date64 | DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Dictionary(_, values) => sent_as(values)?,
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::Date32 => data_type.clone(),
        other => {
            let item = sent_as(list_item(other)?)?;
            DataType::List(Arc::new(Field::new("element", item, true)))
        }
    })
}

/// Structs, maps and nested lists as the server's `jsonb` takes them: its version, and the text.
fn documents(array: &ArrayRef, keys: &Keys) -> Result<ArrayRef, Cause> {
    let mut cells = BinaryBuilder::new();
    for (row, key) in keys.iter().enumerate() {
        match Value::of(array.as_ref(), row)? {
            Value::Null => cells.append_null(),
            value => {
                let json = value.to_stored_json().map_err(|e| format!("`{key}`: {e}"))?;
                cells.append_value([&[JSONB], json.to_string().as_bytes()].concat());
            }
        }
    }
    Ok(Arc::new(cells.finish()))
}

/// The vectors of some rows as the server keeps them; `None` where the target has none.
pub(super) fn vectors_of(target: &SyncTarget, rows: &Rows) -> Result<Option<ArrayRef>, Cause> {
    let Some(vector) = &target.vector else { return Ok(None) };
    let column = rows.batch.column_by_name(&vector.column);
    let column = column.ok_or_else(|| format!("expected column `{}`, found none", vector.column))?;
    Ok(Some(vectors(column, &rows.keys)?.0))
}

/// A list of floats in the layout of pgvector's `halfvec`: length, zero, and each number in 16 bits.
fn vectors(array: &ArrayRef, keys: &Keys) -> Result<(ArrayRef, Option<usize>), Cause> {
    let item = Arc::new(Field::new("element", DataType::Float32, true));
    let lists = cast(array, &DataType::List(item))?;
    let lists = lists.as_list::<i32>();
    let mut cells = BinaryBuilder::with_capacity(lists.len(), lists.len() * 512);
    let mut dimension = None;
    let mut cell = Vec::new();
    for (row, key) in keys.iter().enumerate() {
        if lists.is_null(row) {
            cells.append_null();
            continue;
        }
        let list = lists.value(row);
        let numbers = list.as_primitive::<Float32Type>();
        let expected = *dimension.get_or_insert(numbers.len());
        let fits = |x: &f32| x.is_finite() && x.abs() <= MAX_HALF;
        if numbers.is_empty()
            || numbers.len() != expected
            || numbers.null_count() > 0
            || !numbers.values().iter().all(fits)
        {
            return Err(format!(
                "expected {expected} finite numbers below {MAX_HALF} for `{key}`, found {} or others among them",
                numbers.len()
            )
            .into());
        }
        if expected > MAX_DIMENSION {
            return Err(format!(
                "expected vectors of at most {MAX_DIMENSION} numbers, which pgvector can index, found {expected} for `{key}`"
            )
            .into());
        }
        cell.clear();
        cell.extend_from_slice(&u16::try_from(expected)?.to_be_bytes());
        cell.extend_from_slice(&[0, 0]);
        for x in numbers.values() {
            cell.extend_from_slice(&f16::from_f32(*x).to_be_bytes());
        }
        cells.append_value(&cell);
    }
    Ok((Arc::new(cells.finish()), dimension))
}

/// Every text of each row, folded as a search folds its question.
pub(super) fn texts(names: &[String], rows: &Rows) -> Result<ArrayRef, Cause> {
    let mut columns = Vec::with_capacity(names.len());
    for name in names {
        columns.push(rows.batch.column_by_name(name).ok_or_else(|| format!("expected column `{name}`, found none"))?);
    }
    let mut folded = Vec::with_capacity(rows.keys.len());
    for row in 0..rows.keys.len() {
        let mut all = String::new();
        for column in &columns {
            for text in Value::of(column, row)?.texts() {
                if !all.is_empty() {
                    all.push(BETWEEN);
                }
                all.push_str(&fold(&text));
            }
        }
        folded.push(all);
    }
    Ok(Arc::new(StringArray::from(folded)))
}
