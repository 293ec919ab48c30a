//! What a column is, whatever its encoding: what roles are checked against, and what the columns of a sink are made from.

use std::fmt;

use arrow::datatypes::DataType;

/// What kind of column this is, whatever its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// An integer of any width.
    Int,
    /// A float of any width.
    Float,
    /// Text in any encoding.
    Text,
    /// Bytes in any encoding.
    Bytes,
    /// A day.
    Date,
    /// A moment, in any unit.
    Time,
    /// A list of such items.
    List(Box<Kind>),
    /// Digits in all, and behind the point.
    Decimal(u8, i8),
    /// Members with their names.
    Struct(Vec<(String, Kind)>),
    /// Keys and their values.
    Map(Box<Kind>, Box<Kind>),
    /// Whatever else, as Arrow calls it.
    Other(String),
}

impl Kind {
    /// The kind of an Arrow type.
    pub fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Bool,
            t if t.is_integer() => Self::Int,
            t if t.is_floating() => Self::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Bytes,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(..) | DataType::Date64 => Self::Time,
            DataType::List(f)
            | DataType::LargeList(f)
            | DataType::FixedSizeList(f, _)
            | DataType::ListView(f)
            | DataType::LargeListView(f) => Self::List(Box::new(Self::of(f.data_type()))),
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => Self::Decimal(*p, *s),
            DataType::Struct(fields) => {
                Self::Struct(fields.iter().map(|f| (f.name().clone(), Self::of(f.data_type()))).collect())
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(pair) if pair.len() == 2 => {
                    let of = |at: usize| Box::new(Self::of(pair[at].data_type()));
                    Self::Map(of(0), of(1))
                }
                other => Self::Other(other.to_string()),
            },
            other => Self::Other(other.to_string()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Bool => "a boolean",
            Self::Int => "an integer",
            Self::Float => "a float",
            Self::Text => "text",
            Self::Bytes => "bytes",
            Self::Date => "a date",
            Self::Time => "a time",
            Self::List(item) if **item == Self::Float => "a list of floats",
            Self::List(item) if **item == Self::Text => "a list of text",
            Self::List(_) => "a list",
            Self::Decimal(..) => "a decimal",
            Self::Struct(_) => "a struct",
            Self::Map(..) => "a map",
            Self::Other(name) => name,
        };
        f.write_str(name)
    }
}
