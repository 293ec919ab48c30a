//! What the rows of a raw table say of their keys, where no outcome does.

use std::collections::{BTreeMap, HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Date32Type, FieldRef, TimeUnit, TimestampMicrosecondType};
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
        unfit: Vec::new(),
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
///
/// Of an item, which the column `item` names, the newest row counts: who reads the table takes that one. An item that was
/// changed and changed back is new again, though a row of that day says the same, since another one says something else after it.
/// Rows without a name that say the same are as many items as there are: the third is new where the table has two.
pub(crate) async fn only_new(
    snapshot: &Snapshot,
    dt: Date,
    key: &str,
    item: &str,
    batch: &RecordBatch,
) -> Result<(RecordBatch, u64), Error> {
    let failed = |source| Error::Outcomes { source };
    let kept = snapshot.schema();
    let compared: Vec<&FieldRef> =
        batch.schema_ref().fields().iter().filter(|field| !FETCH.contains(&field.name().as_str())).collect();
    // A column that the table does not have yet is null in its rows.
    let stored = compared.iter().filter(|field| kept.index_of(field.name()).is_ok());
    let columns: Vec<&str> =
        ["dt", "_fetched_at"].into_iter().chain(stored.map(|field| field.name().as_str())).collect();
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
    let mut there: HashMap<RowHash, u64> = HashMap::new();
    let mut newest_there = NewestRows::default();
    let mut count = 0;
    let mut batches = snapshot.scan_where(&columns, dt, &[("_key", key)]).await?;
    let wanted = catalog::days_since_epoch(dt);
    while let Some(batch) =
        batches.try_next().await.map_err(|error| catalog::Error::reading(snapshot.table(), error))?
    {
        let days = batch.column(0).as_primitive::<Date32Type>();
        let rows = rows_of(&batch).map_err(failed)?;
        let (items, fetched) = (names(&batch, item)?, times(&batch)?);
        for row in (0..batch.num_rows()).filter(|row| days.value(*row) == wanted) {
            count += 1;
            let hash: RowHash = Sha256::digest(rows.row(row)).into();
            *there.entry(hash).or_default() += 1;
            newest_there.take(name(&items, row), fetched.value(row), hash);
        }
    }
    if there.is_empty() {
        return Ok((batch.clone(), count));
    }
    let rows: Vec<RowHash> = rows_of(batch).map_err(failed)?.iter().map(|row| Sha256::digest(row).into()).collect();
    let (items, fetched) = (names(batch, item)?, times(batch)?);
    let mut newest = NewestRows::default();
    for (row, hash) in rows.iter().enumerate() {
        newest.take(name(&items, row), fetched.value(row), *hash);
    }
    let mut alike: HashMap<RowHash, u64> = HashMap::new();
    let is_new = |(row, hash): (usize, &RowHash)| {
        let Some(name) = name(&items, row) else {
            let count = alike.entry(*hash).or_default();
            *count += 1;
            return Some(there.get(hash).is_none_or(|there| *count > *there));
        };
        // Of an item that was sent in several forms, the last one says whether something has changed.
        let has_changed = newest.has(name, hash) && !newest_there.has_all_of(name, &newest);
        Some(!there.contains_key(hash) || has_changed)
    };
    let new: BooleanArray = rows.iter().enumerate().map(is_new).collect();
    Ok((filter_record_batch(batch, &new).map_err(failed)?, count))
}

/// What a row says.
type RowHash = [u8; 32];

/// What the newest rows of items say, by the items' names: several where several came with one answer. A row without a name has
/// nothing but what it says, and is never another one's newer form.
#[derive(Default)]
struct NewestRows(HashMap<String, (i64, HashSet<RowHash>)>);

impl NewestRows {
    fn take(&mut self, name: Option<&str>, fetched_at: i64, hash: RowHash) {
        let Some(name) = name else { return };
        let (newest, hashes) = self.0.entry(name.to_owned()).or_insert((fetched_at, HashSet::new()));
        if fetched_at > *newest {
            hashes.clear();
            *newest = fetched_at;
        }
        if fetched_at == *newest {
            hashes.insert(hash);
        }
    }

    fn has(&self, name: &str, hash: &RowHash) -> bool {
        self.0.get(name).is_some_and(|(_, hashes)| hashes.contains(hash))
    }

    /// Whether all that `others` has as the newest of this item is the newest here.
    fn has_all_of(&self, name: &str, others: &Self) -> bool {
        let of = |newest: &Self| newest.0.get(name).map(|(_, hashes)| hashes.clone());
        of(others).unwrap_or_default().is_subset(&of(self).unwrap_or_default())
    }
}

/// The names of items, as texts; none where the table does not have that column yet.
fn names(batch: &RecordBatch, item: &str) -> Result<ArrayRef, Error> {
    let failed = |source| Error::Outcomes { source };
    match batch.column_by_name(item) {
        Some(names) => cast(names, &DataType::Utf8).map_err(failed),
        None => Ok(new_null_array(&DataType::Utf8, batch.num_rows())),
    }
}

fn name(names: &ArrayRef, row: usize) -> Option<&str> {
    names.is_valid(row).then(|| names.as_string::<i32>().value(row))
}

/// When rows were fetched.
fn times(batch: &RecordBatch) -> Result<TimestampMicrosecondArray, Error> {
    let failed = |source| Error::Outcomes { source };
    let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = match batch.column_by_name("_fetched_at") {
        Some(times) => cast(times, &kind).map_err(failed)?,
        None => new_null_array(&kind, batch.num_rows()),
    };
    Ok(times.as_primitive::<TimestampMicrosecondType>().clone())
}

/// A column as plain text: tables give views.
pub(super) fn text(batch: &RecordBatch, column: usize) -> Result<ArrayRef, Error> {
    let column = batch.column(column);
    cast(column, &DataType::Utf8).map_err(|source| Error::Outcomes { source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, StringArray};
    use catalog::{CommitInfo, Committed, Lake, Txn, TxnRule};

    use super::*;

    /// Rows of the key `a`, each an item's name, if it has one, and what it says.
    fn batch(source: &crate::Source, dt: Date, rows: &[(Option<&str>, &str)]) -> RecordBatch {
        let column = |field: &FieldRef| -> ArrayRef {
            match field.name().as_str() {
                "id" => Arc::new(rows.iter().map(|(name, _)| *name).collect::<StringArray>()),
                "_payload" => Arc::new(rows.iter().map(|(_, says)| Some(*says)).collect::<StringArray>()),
                "_key" => Arc::new(StringArray::from(vec!["a"; rows.len()])),
                "_fetched_at" => Arc::new(TimestampMicrosecondArray::from(vec![7; rows.len()]).with_timezone("UTC")),
                "dt" => Arc::new(Date32Array::from(vec![catalog::days_since_epoch(dt); rows.len()])),
                _ => new_null_array(field.data_type(), rows.len()),
            }
        };
        let schema = source.schema();
        let columns = schema.fields().iter().map(column).collect();
        RecordBatch::try_new(schema, columns).unwrap()
    }

    #[tokio::test]
    async fn rows_without_a_name_are_as_many_as_came() {
        type Rows = &'static [(Option<&'static str>, &'static str)];
        let source = crate::source::tests::any();
        let dt = Date::constant(2026, 10, 1);
        let info = CommitInfo { run: "r1".parse().unwrap(), now: Timestamp::UNIX_EPOCH, lineage: Vec::new() };
        // What the table has, what comes, and how many of it are new.
        let cases: [(Rows, Rows, usize); 6] = [
            (&[], &[(None, "x"), (None, "x")], 2),
            (&[(None, "x"), (None, "x")], &[(None, "x"), (None, "x")], 0),
            (&[(None, "x"), (None, "x")], &[(None, "x"), (None, "y"), (None, "x"), (None, "x")], 2),
            (&[(None, "x"), (None, "x")], &[(None, "x")], 0),
            // A name says which one it is.
            (&[(Some("1"), "x"), (None, "x")], &[(Some("1"), "x"), (Some("1"), "x"), (None, "x")], 0),
            (&[(Some("1"), "x")], &[(Some("2"), "x"), (None, "x"), (None, "x")], 3),
        ];
        for (n, (there, comes, expected)) in cases.into_iter().enumerate() {
            let lake = Lake::open(&format!("memory://only-new-{n}"), "test").await.unwrap();
            let table = lake.create(&source.table_spec()).await.unwrap();
            if !there.is_empty() {
                let txn = Txn { app_id: "t".to_owned(), version: 1, rule: TxnRule::After(None) };
                let done = table.append(vec![batch(&source, dt, there)], txn, &info).await.unwrap();
                assert!(matches!(done, Committed::Done(_)));
            }
            let snapshot = table.snapshot().await.unwrap();
            let (new, count) = only_new(&snapshot, dt, "a", "id", &batch(&source, dt, comes)).await.unwrap();
            assert_eq!((new.num_rows(), count), (expected, there.len() as u64), "{there:?} {comes:?}");
        }
    }
}
