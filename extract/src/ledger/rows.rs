//! What the rows of a raw table say of their keys, where no outcome does.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Date32Type};
use catalog::{Date, Snapshot, Timestamp, date_of};
use futures::TryStreamExt;

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

/// What of a key's rows a table does not have on that day, and how many it has: a list that broke off lands with what came, and
/// when it is asked for again only the rest is new. Rows are the same if their payload and their reason are.
pub(crate) async fn only_new(
    snapshot: &Snapshot,
    dt: Date,
    key: &str,
    batch: &RecordBatch,
) -> Result<(RecordBatch, u64), Error> {
    let mut there: HashSet<(String, String)> = HashSet::new();
    let mut count = 0;
    let columns = ["dt", "_payload", "_error"];
    let mut batches = snapshot.scan_where(&columns, dt, &[("_key", key)]).await?;
    let wanted = catalog::days_since_epoch(dt);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| catalog::Error::reading(snapshot.table(), error))?
    {
        let (payloads, errors) = (text(&batch, 1)?, text(&batch, 2)?);
        let days = batch.column(0).as_primitive::<Date32Type>();
        for row in (0..batch.num_rows()).filter(|row| days.value(*row) == wanted) {
            count += 1;
            there.insert((value(&payloads, row), value(&errors, row)));
        }
    }
    if there.is_empty() {
        return Ok((batch.clone(), count));
    }
    let place = |name: &str| batch.schema().index_of(name).map_err(|source| Error::Outcomes { source });
    let (payloads, errors) = (text(batch, place("_payload")?)?, text(batch, place("_error")?)?);
    let is_new = |row: usize| !there.contains(&(value(&payloads, row), value(&errors, row)));
    let new: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_new(row))).collect();
    let batch = filter_record_batch(batch, &new).map_err(|source| Error::Outcomes { source })?;
    Ok((batch, count))
}

/// A text, empty where there is none.
fn value(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) { String::new() } else { column.as_string::<i32>().value(row).to_owned() }
}

/// A column as plain text: tables give views.
pub(super) fn text(batch: &RecordBatch, column: usize) -> Result<ArrayRef, Error> {
    let column = batch.column(column);
    cast(column, &DataType::Utf8).map_err(|source| Error::Outcomes { source })
}
