//! Every instant that is kept is a whole millisecond.
//!
//! Delta's statistics are in milliseconds, and readers of the Trino family keep no more than those of a timestamp: a table with
//! finer ones shows them a row and hides it again, by rounding one way in the file and another way in the log. So what is finer
//! is cut off here, where batches become rows of a table, and every reader sees the same instants.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, make_array};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::error::ArrowError;

use super::is_utc;

/// The same array, with its instants cut to the millisecond before, and with UTC under its one name, however deep in lists and
/// structs they lie: a cast takes `UTC` and `+00:00` for two zones.
pub(super) fn whole_milliseconds(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if is_kept(array.data_type()) { Ok(ArrayRef::clone(array)) } else { Ok(make_array(cut(array.to_data())?)) }
}

/// Whether nothing in it can be finer than a millisecond, nor in UTC by another name.
fn is_kept(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => false,
        T::List(e) | T::LargeList(e) | T::FixedSizeList(e, _) | T::ListView(e) | T::LargeListView(e) => {
            is_kept(e.data_type())
        }
        T::Struct(fields) => fields.iter().all(|field| is_kept(field.data_type())),
        T::Dictionary(_, values) => is_kept(values),
        other => kept_type(other) == *other,
    }
}

/// The type with UTC under its one name.
fn kept_type(data_type: &DataType) -> DataType {
    use DataType as T;
    let kept = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(kept_type(field.data_type())));
    match data_type {
        T::Timestamp(unit, Some(zone)) if is_utc(zone) => T::Timestamp(*unit, Some("UTC".into())),
        T::List(e) => T::List(kept(e)),
        T::LargeList(e) => T::LargeList(kept(e)),
        T::FixedSizeList(e, size) => T::FixedSizeList(kept(e), *size),
        T::ListView(e) => T::ListView(kept(e)),
        T::LargeListView(e) => T::LargeListView(kept(e)),
        T::Struct(fields) => T::Struct(fields.iter().map(kept).collect()),
        T::Dictionary(key, values) => T::Dictionary(key.clone(), Box::new(kept_type(values))),
        other => other.clone(),
    }
}

fn cut(data: ArrayData) -> Result<ArrayData, ArrowError> {
    if is_kept(data.data_type()) {
        return Ok(data);
    }
    let kept = kept_type(data.data_type());
    match data.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Ok(floor::<TimestampMicrosecondType>(data, 1_000, kept)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(floor::<TimestampNanosecondType>(data, 1_000_000, kept)),
        DataType::Timestamp(..) => data.into_builder().data_type(kept).build(),
        _ => {
            let children = data.child_data().iter().cloned().map(cut).collect::<Result<_, _>>()?;
            data.into_builder().data_type(kept).child_data(children).build()
        }
    }
}

/// Toward minus infinity, so that an instant before 1970 moves the same way as one after it.
fn floor<T: ArrowPrimitiveType<Native = i64>>(data: ArrayData, unit: i64, kept: DataType) -> ArrayData {
    let array = make_array(data);
    let whole = array.as_primitive::<T>().unary::<_, T>(|instant| {
        let over = instant.rem_euclid(unit);
        // Only the earliest instant that can be said has nothing below it.
        instant.checked_sub(over).unwrap_or_else(|| instant + (unit - over))
    });
    whole.with_data_type(kept).into_data()
}
