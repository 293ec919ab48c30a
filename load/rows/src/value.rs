//! One cell of a row, free of its Arrow encoding: what is hashed, what is written to a database, what a search prints.
//!
//! The hard part is that the same row comes back in another dress: `Utf8` today and `Utf8View` tomorrow, a list with another
//! item name, `Int32` where a model now says `Int64`. A row's hash must not notice, or a sync would rewrite a whole mart because a
//! library was raised. So hashing goes through [`Value`], columns are taken in the order of their names, and nulls are left out
//! (a new column that is null everywhere changes nothing).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, FieldRef, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

mod hash;
mod kind;

pub use hash::row_hashes;
pub use kind::Kind;

/// One cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// Any integer width.
    Int(i128),
    /// Any float width.
    Float(f64),
    /// Any string encoding.
    Text(String),
    /// Any binary encoding.
    Bytes(Vec<u8>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Nanoseconds since 1970-01-01T00:00:00Z, whatever the unit was.
    Time(i128),
    /// A list of 32-bit floats: an embedding, kept flat because it is long.
    Vector(Vec<f32>),
    /// Any other list.
    List(Vec<Value>),
    /// A decimal of any width, with all the digits behind its point.
    Decimal(String),
    /// Members with their names, in the order of the type.
    Struct(Vec<(String, Value)>),
    /// Keys with their values, in the order in which they lie.
    Map(Vec<(Value, Value)>),
    /// What has no form of its own here (durations, intervals), as Arrow prints it.
    Other(String),
}

impl Value {
    /// The cell of `array` in `row`.
    pub fn of(array: &dyn Array, row: usize) -> Result<Self, ArrowError> {
        if array.is_null(row) {
            return Ok(Self::Null);
        }
        macro_rules! prim {
            ($t:ty) => {
                array.as_primitive::<$t>().value(row)
            };
        }
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().value(row)),
            DataType::Int8 => Self::Int(prim!(Int8Type).into()),
            DataType::Int16 => Self::Int(prim!(Int16Type).into()),
            DataType::Int32 => Self::Int(prim!(Int32Type).into()),
            DataType::Int64 => Self::Int(prim!(Int64Type).into()),
            DataType::UInt8 => Self::Int(prim!(UInt8Type).into()),
            DataType::UInt16 => Self::Int(prim!(UInt16Type).into()),
            DataType::UInt32 => Self::Int(prim!(UInt32Type).into()),
            DataType::UInt64 => Self::Int(prim!(UInt64Type).into()),
            DataType::Float16 => Self::Float(prim!(Float16Type).to_f64()),
            DataType::Float32 => Self::Float(prim!(Float32Type).into()),
            DataType::Float64 => Self::Float(prim!(Float64Type)),
            DataType::Utf8 => Self::Text(array.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Self::Text(array.as_string::<i64>().value(row).to_owned()),
            DataType::Utf8View => Self::Text(array.as_string_view().value(row).to_owned()),
            DataType::Binary => Self::Bytes(array.as_binary::<i32>().value(row).to_vec()),
            DataType::LargeBinary => Self::Bytes(array.as_binary::<i64>().value(row).to_vec()),
            DataType::BinaryView => Self::Bytes(array.as_binary_view().value(row).to_vec()),
            DataType::Date32 => Self::Date(prim!(Date32Type)),
            DataType::Date64 => Self::Time(i128::from(prim!(Date64Type)) * 1_000_000),
            DataType::Timestamp(unit, _) => Self::Time(match unit {
                TimeUnit::Second => i128::from(prim!(TimestampSecondType)) * 1_000_000_000,
                TimeUnit::Millisecond => i128::from(prim!(TimestampMillisecondType)) * 1_000_000,
                TimeUnit::Microsecond => i128::from(prim!(TimestampMicrosecondType)) * 1_000,
                TimeUnit::Nanosecond => i128::from(prim!(TimestampNanosecondType)),
            }),
            DataType::List(_) => Self::list(array.as_list::<i32>().value(row).as_ref())?,
            DataType::LargeList(_) => Self::list(array.as_list::<i64>().value(row).as_ref())?,
            DataType::FixedSizeList(..) => Self::list(array.as_fixed_size_list().value(row).as_ref())?,
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary();
                match Self::of(dictionary.keys(), row)? {
                    Self::Int(key) => {
                        let key = usize::try_from(key).map_err(|e| ArrowError::CastError(e.to_string()))?;
                        Self::of(dictionary.values().as_ref(), key)?
                    }
                    _ => Self::Null,
                }
            }
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Self::Decimal(printed(array, row)?)
            }
            DataType::Struct(fields) => {
                let members = fields.iter().zip(array.as_struct().columns());
                let member =
                    |(field, column): (&FieldRef, &ArrayRef)| Ok((field.name().clone(), Self::of(column, row)?));
                Self::Struct(members.map(member).collect::<Result<_, ArrowError>>()?)
            }
            DataType::Map(..) => {
                let entries = array.as_map().value(row);
                let [keys, values] = entries.columns() else {
                    return Err(ArrowError::CastError("expected a map of keys and values".into()));
                };
                let pair = |at| Ok((Self::of(keys, at)?, Self::of(values, at)?));
                Self::Map((0..entries.len()).map(pair).collect::<Result<_, ArrowError>>()?)
            }
            _ => Self::Other(printed(array, row)?),
        })
    }

    fn list(items: &dyn Array) -> Result<Self, ArrowError> {
        if items.data_type() == &DataType::Float32 && items.null_count() == 0 {
            return Ok(Self::Vector(items.as_primitive::<Float32Type>().values().to_vec()));
        }
        Ok(Self::List((0..items.len()).map(|i| Self::of(items, i)).collect::<Result<_, _>>()?))
    }

    /// The text of a cell that holds one, or of a key: strings as they are, integers in digits.
    pub fn as_key(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The texts of a cell: one for a string, its items for a list of strings, none for anything else. Blank ones are left out.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) if !text.trim().is_empty() => vec![text.clone()],
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            _ => Vec::new(),
        }
    }

    /// The cell as JSON: dates and times as text, bytes in hexadecimal.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(n) => i64::try_from(*n).map_or_else(
                |_| u64::try_from(*n).map_or_else(|_| Json::String(n.to_string()), Json::from),
                Json::from,
            ),
            Self::Float(f) => Json::from(*f),
            Self::Text(t) | Self::Decimal(t) | Self::Other(t) => Json::String(t.clone()),
            Self::Bytes(b) => Json::String(hex::encode(b)),
            Self::Date(_) | Self::Time(_) => Json::String(self.moment().unwrap_or_default()),
            Self::Vector(v) => Json::Array(v.iter().map(|x| shortest(*x)).collect()),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Struct(members) => {
                Json::Object(members.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
            }
            Self::Map(pairs) => {
                let named = |(key, value): &(Self, Self)| Some((key.as_key()?, value.to_json()));
                match pairs.iter().map(named).collect() {
                    Some(members) => Json::Object(members),
                    None => {
                        Json::Array(pairs.iter().map(|(k, v)| Json::Array(vec![k.to_json(), v.to_json()])).collect())
                    }
                }
            }
        }
    }

    /// The cell as JSON for a sink that keeps it so; an error where JSON has no word for a part of it, which would come back as null.
    pub fn to_stored_json(&self) -> Result<Json, String> {
        match self.number_without_json() {
            Some(number) => Err(format!("expected numbers that JSON has, found {number}")),
            None => Ok(self.to_json()),
        }
    }

    /// A float in it that is no number or has no end.
    fn number_without_json(&self) -> Option<f64> {
        match self {
            Self::Float(f) => Some(*f).filter(|f| !f.is_finite()),
            Self::Vector(v) => v.iter().find(|x| !x.is_finite()).map(|x| f64::from(*x)),
            Self::List(items) => items.iter().find_map(Self::number_without_json),
            Self::Struct(members) => members.iter().find_map(|(_, value)| value.number_without_json()),
            Self::Map(pairs) => {
                pairs.iter().find_map(|(k, v)| k.number_without_json().or_else(|| v.number_without_json()))
            }
            _ => None,
        }
    }

    /// The text of a date (`2026-10-01`) or of a time (`2026-10-01T00:00:00Z`).
    pub fn moment(&self) -> Option<String> {
        match self {
            Self::Date(days) => catalog::date_of(*days).map(|date| date.to_string()),
            Self::Time(nanos) => Timestamp::from_nanosecond(*nanos).ok().map(|time| time.to_string()),
            _ => None,
        }
    }

    /// Appends the one byte form of this value: a tag, a length where it varies, the content.
    fn canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.push(b'0'),
            Self::Bool(b) => out.extend_from_slice(&[b'b', u8::from(*b)]),
            Self::Int(n) => sized(out, b'i', &n.to_le_bytes()),
            Self::Float(f) => canonical_float(*f, out),
            Self::Text(t) => sized(out, b's', t.as_bytes()),
            Self::Bytes(b) => sized(out, b'x', b),
            Self::Date(d) => sized(out, b'd', &d.to_le_bytes()),
            Self::Time(t) => sized(out, b't', &t.to_le_bytes()),
            Self::Decimal(t) | Self::Other(t) => sized(out, b'o', t.as_bytes()),
            Self::Vector(v) => {
                sized(out, b'[', &count(v.len()));
                for x in v {
                    canonical_float(f64::from(*x), out);
                }
            }
            Self::List(items) => {
                sized(out, b'[', &count(items.len()));
                for item in items {
                    item.canonical(out);
                }
            }
            Self::Struct(members) => {
                // By name: where a member stands in the type says nothing.
                let mut members: Vec<&(String, Self)> = members.iter().collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                sized(out, b'{', &count(members.len()));
                for (name, value) in members {
                    sized(out, b's', name.as_bytes());
                    value.canonical(out);
                }
            }
            Self::Map(pairs) => {
                sized(out, b'(', &count(pairs.len()));
                for (key, value) in pairs {
                    key.canonical(out);
                    value.canonical(out);
                }
            }
        }
    }
}

/// A cell as Arrow prints it.
fn printed(array: &dyn Array, row: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::default();
    Ok(ArrayFormatter::try_new(array, &options)?.value(row).to_string())
}

fn count(number: usize) -> [u8; 8] {
    (number as u64).to_le_bytes()
}

/// A tag, the number of bytes, the bytes.
fn sized(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&count(bytes.len()));
    out.extend_from_slice(bytes);
}

fn canonical_float(f: f64, out: &mut Vec<u8>) {
    let f = if f == 0.0 {
        0.0
    } else if f.is_nan() {
        f64::NAN
    } else {
        f
    };
    out.push(b'f');
    out.extend_from_slice(&f.to_bits().to_le_bytes());
}

/// A 32-bit float with the digits it has, not those of its 64-bit neighbour.
fn shortest(x: f32) -> Json {
    x.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

/// SHA-256 over parts, each with its length, so that no two lists of parts look alike. In hexadecimal.
pub fn content_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    hex::encode(catalog::digest_of(parts))
}

/// 63 bits of a content hash, as a positive number: what a transaction's version can hold.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> i64 {
    let text = content_hash(parts);
    u64::from_str_radix(&text[..16], 16).map_or(0, |bits| (bits >> 1).cast_signed())
}

/// 128 bits of SHA-256 over a row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowHash(pub [u8; 16]);

impl RowHash {
    /// Over a seed and (column, value) pairs, which must come in the order of the names.
    pub fn of<'a>(seed: &str, columns: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(seed.as_bytes());
        for (name, value) in columns {
            if *value != Value::Null {
                bytes.push(0);
                bytes.extend_from_slice(name.as_bytes());
                bytes.push(0);
                value.canonical(&mut bytes);
            }
        }
        let mut hash = [0; 16];
        hash.copy_from_slice(&Sha256::digest(&bytes)[..16]);
        Self(hash)
    }

    /// As 32 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    /// From 32 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(|bits| Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests;
