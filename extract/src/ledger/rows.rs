//! What the rows of a raw table say of their keys, where no outcome does.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Date32Type, FieldRef};
use arrow::row::{RowConverter, SortField};
use catalog::{Date, Snapshot, Timestamp, date_of};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::outcome::{KeyOutcome, Outcome};

/// What was seen of one key.
#[derive(Default)]
struct SeenRows {
    rows: u64,
    set_aside: u64,
    /// Rows that hold nothing but a reason: how an older program recorded a key that could not be read or reached.
    refusals: u64,
    why: Option<String>,
}

/// The keys that have rows on a day from `since` on, as outcomes. A key of which there is nothing but a reason why there is
/// nothing stays open: that reason may have passed.
pub(super) async fn read(snapshot: &Snapshot, since: Date, definition: &str) -> Result<Vec<KeyOutcome>, Error> {
    let mut seen: BTreeMap<(Date, String), SeenRows> = BTreeMap::new();
    let mut batches = snapshot.scan_where(&["dt", "_key", "_error", "_payload"], since, &[]).await?;
    while let Some(batch) =
        batches.try_next().await.map_err(|error| catalog::Error::reading(snapshot.table(), error))?
    {
        let (keys, errors, payloads) = (text(&batch, 1)?, text(&batch, 2)?, text(&batch, 3)?);
        let (keys, errors) = (keys.as_string::<i32>(), errors.as_string::<i32>());
        let days = batch.column(0).as_primitive::<Date32Type>();
        for row in (0..batch.num_rows()).filter(|row| keys.is_valid(*row) && days.is_valid(*row)) {
            let Some(day) = date_of(days.value(row)) else { continue };
            let of = seen.entry((day, keys.value(row).to_owned())).or_default();
            of.rows += 1;
            if errors.is_valid(row) {
                of.set_aside += 1;
                if payloads.is_null(row) || payloads.as_string::<i32>().value(row).is_empty() {
                    of.refusals += 1;
                    of.why = Some(errors.value(row).to_owned());
                }
            }
        }
    }
    let outcome = |((dt, key), seen): ((Date, String), SeenRows)| KeyOutcome {
        key,
        dt,
        outcome: if seen.refusals == seen.rows { Outcome::Unreadable } else { Outcome::Landed },
        rows: seen.rows,
        set_aside: seen.set_aside,
        missing: 0,
        why: seen.why,
        definition: definition.to_owned(),
        task: String::new(),
        at: Timestamp::UNIX_EPOCH,
    };
    Ok(seen.into_iter().map(outcome).collect())
}

/// How many rows of a day each key has.
pub(super) async fn count(snapshot: &Snapshot, dt: Date) -> Result<HashMap<String, u64>, Error> {
    let mut counts = HashMap::new();
    let mut batches = snapshot.scan_where(&["dt", "_key"], dt, &[]).await?;
    let wanted = catalog::days_since_epoch(dt);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| catalog::Error::reading(snapshot.table(), error))?
    {
        let keys = text(&batch, 1)?;
        let keys = keys.as_string::<i32>();
        let days = batch.column(0).as_primitive::<Date32Type>();
        for row in (0..batch.num_rows()).filter(|row| keys.is_valid(*row) && days.value(*row) == wanted) {
            *counts.entry(keys.value(row).to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// What a row is beside what it says: where and when it was fetched.
const FETCH: [&str; 5] = ["_key", "_task", "_url", "_fetched_at", "dt"];

/// What of a key's rows a table does not have on that day, and how many it has: a list that broke off lands with what came, and
/// when it is asked for again only the rest is new. Rows are the same if all of their columns are but those of the fetch: what
/// is mapped otherwise than before is another row, though its payload is the same.
pub(crate) async fn only_new(
    snapshot: &Snapshot,
    dt: Date,
    key: &str,
    batch: &RecordBatch,
) -> Result<(RecordBatch, u64), Error> {
    let failed = |source| Error::Outcomes { source };
    let kept = snapshot.schema();
    let compared: Vec<&FieldRef> =
        batch.schema_ref().fields().iter().filter(|field| !FETCH.contains(&field.name().as_str())).collect();
    // A column that the table does not have yet is null in its rows.
    let stored = compared.iter().filter(|field| kept.index_of(field.name()).is_ok());
    let columns: Vec<&str> = std::iter::once("dt").chain(stored.map(|field| field.name().as_str())).collect();
    let sort_fields = compared.iter().map(|field| SortField::new(field.data_type().clone())).collect();
    let converter = RowConverter::new(sort_fields).map_err(failed)?;
    let rows_of = |batch: &RecordBatch| {
        let column = |field: &&FieldRef| match batch.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = compared.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        converter.convert_columns(&columns)
    };
    let mut there: HashSet<[u8; 32]> = HashSet::new();
    let mut count = 0;
    let mut batches = snapshot.scan_where(&columns, dt, &[("_key", key)]).await?;
    let wanted = catalog::days_since_epoch(dt);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| catalog::Error::reading(snapshot.table(), error))?
    {
        let days = batch.column(0).as_primitive::<Date32Type>();
        let rows = rows_of(&batch).map_err(failed)?;
        for row in (0..batch.num_rows()).filter(|row| days.value(*row) == wanted) {
            count += 1;
            there.insert(Sha256::digest(rows.row(row)).into());
        }
    }
    if there.is_empty() {
        return Ok((batch.clone(), count));
    }
    let rows = rows_of(batch).map_err(failed)?;
    let new: BooleanArray =
        rows.iter().map(|row| Some(!there.contains::<[u8; 32]>(&Sha256::digest(row).into()))).collect();
    Ok((filter_record_batch(batch, &new).map_err(failed)?, count))
}

/// A column as plain text: tables give views.
pub(super) fn text(batch: &RecordBatch, column: usize) -> Result<ArrayRef, Error> {
    let column = batch.column(column);
    cast(column, &DataType::Utf8).map_err(|source| Error::Outcomes { source })
}
