//! Arrow's types in the words of Glue and Athena, or what to write instead.
//!
//! The list of what Athena reads: <https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables.html>. A table that this
//! program made has no other types; one that something else put into the lake may.

use arrow::datatypes::{DataType, Field, TimeUnit};

/// The name of a type in Glue's catalog.
///
/// # Errors
/// The expression that a model can write instead, with `{}` in the place of the column.
pub(crate) fn name(kind: &DataType) -> Result<String, String> {
    use DataType as T;
    let plain = match kind {
        T::Boolean => "boolean",
        T::Int8 => "tinyint",
        T::Int16 => "smallint",
        T::Int32 => "int",
        T::Int64 => "bigint",
        T::Float32 => "float",
        T::Float64 => "double",
        T::Date32 => "date",
        T::Utf8 | T::LargeUtf8 | T::Utf8View => "string",
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => "binary",
        T::Timestamp(TimeUnit::Microsecond, Some(zone)) if is_utc(zone) => "timestamp",
        T::Decimal128(precision, scale) if *scale >= 0 && precision.cast_signed() >= *scale => {
            return Ok(format!("decimal({precision},{scale})"));
        }
        T::Dictionary(_, values) => return name(values),
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) | T::ListView(item) | T::LargeListView(item) => {
            return Ok(format!("array<{}>", inner(item)?));
        }
        T::Map(entries, _) => {
            let T::Struct(fields) = entries.data_type() else { return Err(TEXT.to_owned()) };
            let [key, value] = fields.as_ref() else { return Err(TEXT.to_owned()) };
            return Ok(format!("map<{},{}>", inner(key)?, inner(value)?));
        }
        T::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                if is_word(field.name()) { Ok(format!("{}:{}", field.name(), inner(field)?)) } else { Err(TEXT.into()) }
            });
            return Ok(format!("struct<{}>", fields.collect::<Result<Vec<_>, String>>()?.join(",")));
        }
        other => return Err(instead(other)),
    };
    Ok(plain.to_owned())
}

/// What any value can be kept as.
const TEXT: &str = "cast({} as text)";

/// A type within a type. A cast can't reach into it, so the whole column becomes text.
fn inner(field: &Field) -> Result<String, String> {
    name(field.data_type()).map_err(|_| TEXT.to_owned())
}

/// What to write in the model for a column of a type that Athena does not read.
fn instead(kind: &DataType) -> String {
    use DataType as T;
    let wanted = match kind {
        T::UInt8 => "smallint",
        T::UInt16 => "int",
        T::UInt32 => "bigint",
        T::UInt64 => "decimal(20, 0)",
        T::Float16 => "real",
        T::Date64 => "date",
        T::Decimal32(precision, scale) | T::Decimal64(precision, scale) => {
            return format!("cast({{}} as decimal({precision}, {scale}))");
        }
        T::Decimal256(_, scale) if (0..=38).contains(scale) => return format!("cast({{}} as decimal(38, {scale}))"),
        T::Timestamp(..) => return "arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')".to_owned(),
        _ => return TEXT.to_owned(),
    };
    format!("cast({{}} as {wanted})")
}

/// A type as a person calls it, for messages.
pub(crate) fn plain(kind: &DataType) -> String {
    match kind {
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second => "seconds",
                TimeUnit::Millisecond => "milliseconds",
                TimeUnit::Microsecond => "microseconds",
                TimeUnit::Nanosecond => "nanoseconds",
            };
            match zone {
                None => format!("timestamp without time zone ({unit})"),
                Some(zone) => format!("timestamp ({unit}, {zone})"),
            }
        }
        other => other.to_string().to_lowercase(),
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "+00")
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_a_lake_keeps_has_a_name() {
        use DataType as T;
        let text = || Arc::new(Field::new("element", T::Utf8, true));
        let number = Field::new("n", T::Int64, true);
        let entries = Field::new("entries", T::Struct(vec![number.clone(), number.clone()].into()), false);
        let cases = [
            (T::Boolean, "boolean"),
            (T::Int8, "tinyint"),
            (T::Int32, "int"),
            (T::Utf8View, "string"),
            (T::LargeBinary, "binary"),
            (T::Date32, "date"),
            (T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), "timestamp"),
            (T::Decimal128(12, 3), "decimal(12,3)"),
            (T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)), "string"),
            (T::LargeList(text()), "array<string>"),
            (T::FixedSizeList(Arc::new(Field::new("element", T::Float32, true)), 384), "array<float>"),
            (
                T::Struct(vec![number.clone(), Field::new("names", T::List(text()), true)].into()),
                "struct<n:bigint,names:array<string>>",
            ),
            (T::Map(Arc::new(entries), false), "map<bigint,bigint>"),
        ];
        for (kind, expected) in cases {
            assert_eq!(name(&kind).as_deref(), Ok(expected), "{kind}");
        }
    }

    #[test]
    fn what_athena_does_not_read_comes_with_a_cast() {
        use DataType as T;
        let cases = [
            (T::UInt32, "cast({} as bigint)"),
            (T::UInt64, "cast({} as decimal(20, 0))"),
            (T::Timestamp(TimeUnit::Microsecond, None), "arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')"),
            (
                T::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                "arrow_cast({}, 'Timestamp(Microsecond, Some(\"UTC\"))')",
            ),
            (T::Time64(TimeUnit::Microsecond), "cast({} as text)"),
            (T::Null, "cast({} as text)"),
            (T::Decimal256(50, 2), "cast({} as decimal(38, 2))"),
            (T::List(Arc::new(Field::new("element", T::UInt8, true))), "cast({} as text)"),
            (T::Struct(vec![Field::new("a:b", T::Int64, true)].into()), "cast({} as text)"),
        ];
        for (kind, expected) in cases {
            assert_eq!(name(&kind), Err(expected.to_owned()), "{kind}");
        }
    }
}
