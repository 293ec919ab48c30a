//! The hash of every row of a batch, without a [`Value`] in between: a sync of a million rows spends its time here.
//!
//! The bytes are those of [`Value::canonical`] and nothing else: `hashing_rows_at_once_gives_the_hash_of_their_values` holds it to that.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use sha2::block_api::compress256;

use super::{RowHash, Value, canonical_float, sized};

/// Writes the cell of a row in its one byte form; a null is the byte `0`.
type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), ArrowError> + 'a>;

const NULL: u8 = b'0';
/// Where SHA-256 begins (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of each row of a batch, over all its columns.
pub fn row_hashes(seed: &str, batch: &RecordBatch) -> Result<Vec<RowHash>, ArrowError> {
    let schema = batch.schema();
    let mut columns: Vec<(Vec<u8>, Write<'_>)> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, array)| ([b"\0", field.name().as_bytes(), b"\0"].concat(), cell(array.as_ref())))
        .collect();
    columns.sort_by(|one, other| one.0.cmp(&other.0));
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(seed.as_bytes());
    let mut hashes = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        bytes.truncate(seed.len());
        for (name, write) in &columns {
            let before = bytes.len();
            bytes.extend_from_slice(name);
            let at = bytes.len();
            write(row, &mut bytes)?;
            if bytes.len() == at + 1 && bytes[at] == NULL {
                bytes.truncate(before);
            }
        }
        hashes.push(sha256(&mut bytes));
    }
    Ok(hashes)
}

/// The first 128 bits of SHA-256 of `bytes`, which are padded in place as the standard says. The same as `Sha256::digest`, without the
/// layers that a million small messages feel.
fn sha256(bytes: &mut Vec<u8>) -> RowHash {
    let bits = (bytes.len() as u64) * 8;
    bytes.push(0x80);
    let blocks = (bytes.len() + 8).div_ceil(64);
    bytes.resize(blocks * 64 - 8, 0);
    bytes.extend_from_slice(&bits.to_be_bytes());
    let mut state = INITIAL;
    compress256(&mut state, bytes.as_chunks().0);
    let mut hash = [0; 16];
    for (part, word) in hash.as_chunks_mut().0.iter_mut().zip(state) {
        *part = word.to_be_bytes();
    }
    RowHash(hash)
}

/// Writes nothing but the null where `array` has one.
fn nullable<'a>(array: &'a dyn Array, write: impl Fn(usize, &mut Vec<u8>) + 'a) -> Write<'a> {
    match array.nulls() {
        Some(nulls) if nulls.null_count() > 0 => Box::new(move |row, out| {
            if nulls.is_null(row) {
                out.push(NULL);
            } else {
                write(row, out);
            }
            Ok(())
        }),
        _ => Box::new(move |row, out| {
            write(row, out);
            Ok(())
        }),
    }
}

fn integers<T: ArrowPrimitiveType>(array: &dyn Array) -> Write<'_>
where
    T::Native: Into<i128>,
{
    let values = array.as_primitive::<T>().values();
    nullable(array, move |row, out| sized(out, b'i', &values[row].into().to_le_bytes()))
}

fn text(out: &mut Vec<u8>, text: &str) {
    sized(out, b's', text.as_bytes());
}

fn cell(array: &dyn Array) -> Write<'_> {
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
            let values = array.as_primitive::<Float32Type>().values();
            nullable(array, move |row, out| canonical_float(values[row].into(), out))
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>().values();
            nullable(array, move |row, out| canonical_float(values[row], out))
        }
        DataType::Utf8 => {
            let values = array.as_string::<i32>();
            nullable(array, move |row, out| text(out, values.value(row)))
        }
        DataType::LargeUtf8 => {
            let values = array.as_string::<i64>();
            nullable(array, move |row, out| text(out, values.value(row)))
        }
        DataType::Utf8View => {
            let values = array.as_string_view();
            nullable(array, move |row, out| text(out, values.value(row)))
        }
        DataType::Date32 => {
            let values = array.as_primitive::<Date32Type>().values();
            nullable(array, move |row, out| sized(out, b'd', &values[row].to_le_bytes()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = array.as_primitive::<TimestampMicrosecondType>().values();
            nullable(array, move |row, out| sized(out, b't', &(i128::from(values[row]) * 1_000).to_le_bytes()))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (offsets, nulls) = (list.value_offsets(), list.nulls());
            let item = cell(list.values().as_ref());
            Box::new(move |row, out| {
                if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                    out.push(NULL);
                    return Ok(());
                }
                let whole = |at: usize| usize::try_from(offsets[at]).map_err(|e| ArrowError::CastError(e.to_string()));
                let (from, to) = (whole(row)?, whole(row + 1)?);
                sized(out, b'[', &super::count(to - from));
                (from..to).try_for_each(|at| item(at, out))
            })
        }
        _ => Box::new(move |row, out| {
            Value::of(array, row)?.canonical(out);
            Ok(())
        }),
    }
}
