//! Cells as texts that the server reads and prints the same way, and what it can't keep refused with the row's key.

use std::io::Write as _;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};

use super::column::{CellForm, MysqlColumn};
use super::layout::MAX_INDEXED;
use super::sql::HASH;
use crate::fault::Cause;
use crate::sink::Rows;
use rows::Value;

/// The years that `date` and `datetime` hold.
const YEARS: std::ops::RangeInclusive<i16> = 1000..=9999;
const MICROS_A_DAY: i128 = 86_400_000_000;

/// Writes the cell of a row as text. `false`: it is null, and nothing was written.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<bool, Cause> + 'a>;

/// The cells of some rows, in the order of the columns that are sent.
pub(super) struct Cells<'a> {
    rows: &'a Rows,
    columns: &'a [MysqlColumn],
    writes: Vec<Write<'a>>,
}

impl<'a> Cells<'a> {
    /// `columns` are those of the batch, and the hash.
    pub(super) fn new(rows: &'a Rows, columns: &'a [MysqlColumn]) -> Result<Self, Cause> {
        let mut writes: Vec<Write<'a>> = Vec::with_capacity(columns.len());
        for column in columns {
            if column.name == HASH {
                writes.push(Box::new(|row, out| {
                    hexadecimal(&rows.hashes[row].0, out);
                    Ok(true)
                }));
                continue;
            }
            let array = rows.batch.column_by_name(&column.name);
            writes.push(writer(array.ok_or_else(|| format!("expected column `{}`, found none", column.name))?));
        }
        Ok(Self { rows, columns, writes })
    }

    /// Appends a cell as text; `false` where it is null. An error names the row and the column.
    pub(super) fn write(&self, row: usize, at: usize, out: &mut Vec<u8>) -> Result<bool, Cause> {
        let (column, begin) = (&self.columns[at], out.len());
        let named = |e: Cause| -> Cause { format!("`{}` of `{}`: {e}", column.name, &self.rows.keys[row]).into() };
        let found = self.writes[at](row, out).map_err(named)?;
        // No text is longer in characters than in bytes.
        if column.is_indexed_text() && out.len() - begin > MAX_INDEXED {
            let length = String::from_utf8_lossy(&out[begin..]).chars().count();
            if length > MAX_INDEXED {
                return Err(named(
                    format!(
                        "expected a text of at most {MAX_INDEXED} characters, which an index holds, found {length}"
                    )
                    .into(),
                ));
            }
        }
        Ok(found)
    }

    /// All of them as lines of `load data`: cells between tabs, and what would end one behind a backslash.
    pub(super) fn lines(&self) -> Result<Vec<u8>, Cause> {
        let mut out = Vec::with_capacity(self.rows.keys.len() * self.columns.len() * 16);
        for row in 0..self.rows.keys.len() {
            for at in 0..self.columns.len() {
                if at > 0 {
                    out.push(b'\t');
                }
                let begin = out.len();
                if self.write(row, at, &mut out)? {
                    escape(&mut out, begin);
                } else {
                    out.extend_from_slice(b"\\N");
                }
            }
            out.push(b'\n');
        }
        Ok(out)
    }

    /// The cells of a row, to be bound.
    pub(super) fn bound(&self, row: usize) -> Result<Vec<mysql_async::Value>, Cause> {
        let cell = |at| {
            let mut text = Vec::new();
            let found = self.write(row, at, &mut text)?;
            Ok(if found { mysql_async::Value::Bytes(text) } else { mysql_async::Value::NULL })
        };
        (0..self.columns.len()).map(cell).collect()
    }
}

/// Puts a backslash before what ends a cell, from `begin` on.
fn escape(out: &mut Vec<u8>, begin: usize) {
    let ends = |byte: &u8| matches!(byte, b'\\' | b'\t' | b'\n' | 0);
    let Some(first) = out[begin..].iter().position(ends) else { return };
    let rest = out.split_off(begin + first);
    for byte in rest {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0 => out.extend_from_slice(b"\\0"),
            _ => out.push(byte),
        }
    }
}

/// Writes what `write` makes of each cell that is not null.
fn valid<'a>(array: &'a dyn Array, write: impl Fn(usize, &mut Vec<u8>) -> Result<(), Cause> + 'a) -> Write<'a> {
    Box::new(move |row, out| {
        if array.is_null(row) {
            return Ok(false);
        }
        write(row, out).map(|()| true)
    })
}

fn integers<T: ArrowPrimitiveType>(array: &dyn Array) -> Write<'_>
where
    T::Native: std::fmt::Display,
{
    let values = array.as_primitive::<T>().values();
    valid(array, move |row, out| Ok(write!(out, "{}", values[row])?))
}

fn writer(array: &ArrayRef) -> Write<'_> {
    let array = array.as_ref();
    match array.data_type() {
        DataType::Int8 => integers::<Int8Type>(array),
        DataType::Int16 => integers::<Int16Type>(array),
        DataType::Int32 => integers::<Int32Type>(array),
        DataType::Int64 => integers::<Int64Type>(array),
        DataType::UInt8 => integers::<UInt8Type>(array),
        DataType::UInt16 => integers::<UInt16Type>(array),
        DataType::UInt32 => integers::<UInt32Type>(array),
        DataType::UInt64 => integers::<UInt64Type>(array),
        DataType::Float32 => {
            // With the digits that it has, not those of its 64-bit neighbour.
            let values = array.as_primitive::<Float32Type>().values();
            valid(array, move |row, out| {
                finite(f64::from(values[row])).and_then(|_| Ok(write!(out, "{:e}", values[row])?))
            })
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            valid(array, move |row, out| float(values[row], out))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            valid(array, move |row, out| {
                text(values.value(row), out);
                Ok(())
            })
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            valid(array, move |row, out| {
                text(values.value(row), out);
                Ok(())
            })
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            valid(array, move |row, out| {
                text(values.value(row), out);
                Ok(())
            })
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            valid(array, move |row, out| time(i128::from(values[row]), out))
        }
        _ => Box::new(move |row, out| value(&Value::of(array, row)?, out)),
    }
}

fn value(value: &Value, out: &mut Vec<u8>) -> Result<bool, Cause> {
    match value {
        Value::Null => return Ok(false),
        Value::Bool(b) => out.push(if *b { b'1' } else { b'0' }),
        Value::Int(n) => write!(out, "{n}")?,
        Value::Float(f) => float(*f, out)?,
        Value::Text(t) | Value::Decimal(t) | Value::Other(t) => text(t, out),
        Value::Bytes(bytes) => hexadecimal(bytes, out),
        Value::Date(days) => date(i128::from(*days), out)?,
        Value::Time(nanos) => time(nanos.div_euclid(1_000), out)?,
        Value::Vector(_) | Value::List(_) | Value::Struct(_) | Value::Map(_) => {
            serde_json::to_writer(out, &value.to_stored_json()?)?;
        }
    }
    Ok(true)
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(text.as_bytes());
}

fn finite(f: f64) -> Result<f64, Cause> {
    if f.is_finite() { Ok(f) } else { Err(format!("expected a number that MySQL has, found {f}").into()) }
}

fn float(f: f64, out: &mut Vec<u8>) -> Result<(), Cause> {
    Ok(write!(out, "{:e}", finite(f)?)?)
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(hex::encode_upper(bytes).as_bytes());
}

fn date(days: i128, out: &mut Vec<u8>) -> Result<(), Cause> {
    let found = i32::try_from(days).ok().and_then(catalog::date_of);
    match found.filter(|date| YEARS.contains(&date.year())) {
        Some(date) => Ok(write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())?),
        None => Err(format!(
            "expected a time of the years {} to {}, which MySQL has, found another",
            YEARS.start(),
            YEARS.end()
        )
        .into()),
    }
}

/// A time in UTC, to the microsecond.
fn time(micros: i128, out: &mut Vec<u8>) -> Result<(), Cause> {
    date(micros.div_euclid(MICROS_A_DAY), out)?;
    let left = micros.rem_euclid(MICROS_A_DAY);
    let (seconds, part) = (left / 1_000_000, left % 1_000_000);
    Ok(write!(out, " {:02}:{:02}:{:02}.{part:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60)?)
}

/// The bytes that a cell is compared by, from its text.
pub(super) fn compared(form: CellForm, text: &[u8]) -> Vec<u8> {
    match form {
        CellForm::Plain | CellForm::Hex => text.to_vec(),
        CellForm::Float => {
            let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
            number.map_or_else(|| text.to_vec(), compared_float)
        }
        CellForm::Json => crate::sink::document::compared(text),
    }
}

/// The bytes that a number is compared by; both zeros are one.
pub(super) fn compared_float(f: f64) -> Vec<u8> {
    (if f == 0.0 { 0.0 } else { f }).to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(of: &Value) -> Result<String, String> {
        let mut out = Vec::new();
        value(of, &mut out).map(|_| String::from_utf8(out).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn each_value_is_the_text_that_the_server_prints() {
        for (of, expected) in [
            (Value::Bool(true), "1"),
            (Value::Int(i128::from(u64::MAX)), "18446744073709551615"),
            (Value::Float(1e300), "1e300"),
            (Value::Float(0.1), "1e-1"),
            (Value::Bytes(vec![0, 0xff]), "00FF"),
            (Value::Date(20_000), "2024-10-04"),
            (Value::Date(-1), "1969-12-31"),
            (Value::Time(1_790_000_000_123_456_789), "2026-09-21 14:13:20.123456"),
            (Value::Time(-1), "1969-12-31 23:59:59.999999"),
            (Value::Vector(vec![0.1, 2.0]), "[0.1,2.0]"),
        ] {
            assert_eq!(written(&of).as_deref(), Ok(expected), "{of:?}");
        }
        for (of, expected) in [
            (Value::Float(f64::NAN), "found NaN"),
            (Value::Float(f64::NEG_INFINITY), "found -inf"),
            (Value::Vector(vec![f32::INFINITY]), "found inf"),
            (Value::Date(-400_000), "the years 1000 to 9999"),
            (Value::Time(i128::MAX), "the years 1000 to 9999"),
        ] {
            assert!(written(&of).unwrap_err().contains(expected), "{of:?}");
        }
    }

    #[test]
    fn what_would_end_a_cell_is_escaped_and_nothing_else() {
        let mut out = b"kept\t".to_vec();
        let begin = out.len();
        out.extend_from_slice("망원\t\\N\n\0'\"`".as_bytes());
        escape(&mut out, begin);
        assert_eq!(String::from_utf8(out).unwrap(), "kept\t망원\\t\\\\N\\n\\0'\"`");
    }
}
