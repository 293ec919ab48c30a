//! A column of a raw table and where in an item it comes from.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, TimeUnit};
use jiff::tz::TimeZone;

use super::Pointer;

/// One mapped column.
#[derive(Clone)]
pub struct Field {
    /// Its name in the table.
    pub column: String,
    /// Where its value lies.
    pub from: From,
    /// What it becomes.
    pub kind: FieldType,
    /// Whether an item without it is set aside.
    pub required: bool,
    /// Of an instant: where a clock stands whose times, or days, come without a zone. Without one they are no instants.
    pub zone: Option<TimeZone>,
}

impl Field {
    /// Where in the item its value lies.
    pub(crate) fn pointer(&self) -> Option<&Pointer> {
        match &self.from {
            From::Item(pointer) => Some(pointer),
            From::Key => None,
        }
    }
}

impl fmt::Debug for Field {
    /// As it has always been written where there is no zone: a source's definition is made of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { column, from, kind, required, zone } = self;
        let mut f = f.debug_struct("Field");
        f.field("column", column).field("from", from).field("kind", kind).field("required", required);
        if let Some(zone) = zone {
            f.field("zone", &zone.iana_name());
        }
        f.finish()
    }
}

/// Where a value lies.
#[derive(Clone, Debug)]
pub enum From {
    /// In the item.
    Item(Pointer),
    /// It is the key the item was fetched for.
    Key,
}

/// The type of a mapped column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text.
    String,
    /// What names something: a text, or a number taken by its digits. Sites send one id as `"12"` here and `12` there.
    Id,
    /// A whole number, also as text with separators: `"1,821"`.
    Int64,
    /// A number, also as text.
    Float64,
    /// An instant: RFC 3339 with an offset; with a `zone` also a time or a day without one.
    Timestamp,
    /// `true` or `false`.
    Bool,
    /// The texts that a pointer with `*` finds.
    ListString,
    /// How long a list is.
    Count,
    /// A person's id: its keyed hash, in the column and in the payload.
    Hash,
}

impl FieldType {
    /// Every type by the name it has in a source file.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("string", Self::String),
        ("id", Self::Id),
        ("int64", Self::Int64),
        ("float64", Self::Float64),
        ("timestamp", Self::Timestamp),
        ("bool", Self::Bool),
        ("list<string>", Self::ListString),
        ("count", Self::Count),
        ("hash", Self::Hash),
    ];

    /// The name in a source file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("string", |(name, _)| name)
    }

    /// The Arrow type of the column.
    pub fn data_type(self) -> DataType {
        match self {
            Self::String | Self::Id | Self::Hash => DataType::Utf8,
            Self::Int64 | Self::Count => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Bool => DataType::Boolean,
            Self::ListString => DataType::List(Arc::new(ArrowField::new_list_field(DataType::Utf8, true))),
        }
    }

    /// Whether statistics on such a column are worth their bytes.
    pub(crate) fn is_short(self) -> bool {
        !matches!(self, Self::String | Self::ListString)
    }
}
