//! The rows of a mart as a sink takes them: its columns, a key and a hash for each.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::DataType;
use catalog::TableName;

use crate::error::{Error, Result};
use crate::keys::Keys;
use crate::sink::Rows;
use crate::sink::projection::SinkProjection;
use rows::read;
use rows::{RowHash, Value, row_hashes};

/// Every sink can hold keys of this length.
const MAX_KEY_BYTES: usize = 1024;

/// The rows of a batch that a sink wants, with keys and hashes.
pub(crate) fn hashed(batch: &RecordBatch, projection: &SinkProjection, table: &TableName, key: &str) -> Result<Rows> {
    let arrow = |e| Error::arrow(table, e);
    let indices = projection
        .columns
        .iter()
        .map(|name| batch.schema().index_of(name))
        .collect::<Result<Vec<_>, _>>()
        .map_err(arrow)?;
    let mut part = batch.project(&indices).map_err(arrow)?;
    if let Some(required) = &projection.required {
        let column = read::column(&part, required, table)?;
        if column.null_count() > 0 {
            let there = arrow::compute::is_not_null(column).map_err(arrow)?;
            part = filter_record_batch(&part, &there).map_err(arrow)?;
        }
    }
    let column = read::column(&part, key, table)?;
    let keys = keys(column.as_ref(), table, key)?;
    let hashes: Vec<RowHash> = row_hashes(&projection.seed, &part).map_err(arrow)?;
    // Before it is compared, any row may be there already.
    let replaces = vec![true; keys.len()];
    Ok(Rows { batch: part, keys, hashes, replaces })
}

/// The key of each row, as text.
fn keys(column: &dyn Array, table: &TableName, key: &str) -> Result<Keys> {
    let mut keys = Keys::with_capacity(column.len(), column.len() * 16);
    let mut take = |found: Option<&str>| match found {
        Some(found) if !found.is_empty() && found.len() <= MAX_KEY_BYTES => {
            keys.push(found);
            Ok(())
        }
        Some(found) => Err(Error::Data {
            table: table.clone(),
            message: format!("expected key `{key}` of 1 to {MAX_KEY_BYTES} bytes, found {}", found.len()),
        }),
        None => Err(Error::Data { table: table.clone(), message: format!("expected a key in `{key}`, found null") }),
    };
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().iter().try_for_each(take)?,
        DataType::Utf8View => column.as_string_view().iter().try_for_each(take)?,
        _ => {
            for row in 0..column.len() {
                take(Value::of(column, row).map_err(|e| Error::arrow(table, e))?.as_key().as_deref())?;
            }
        }
    }
    Ok(keys)
}

/// Those of the rows that are to be written: for each row whether it is, and whether the sink has one of its key.
pub(super) fn select(rows: Rows, write: &[Option<bool>]) -> Result<Rows, arrow::error::ArrowError> {
    let keep: Vec<bool> = write.iter().map(Option::is_some).collect();
    let replaces = write.iter().copied().flatten().collect();
    if keep.iter().all(|keep| *keep) {
        return Ok(Rows { replaces, ..rows });
    }
    let keys = rows.keys.filter(&keep);
    let hashes = rows.hashes.iter().zip(&keep).filter_map(|(hash, keep)| keep.then_some(*hash)).collect();
    let batch = filter_record_batch(&rows.batch, &BooleanArray::from(keep))?;
    Ok(Rows { batch, keys, hashes, replaces })
}
