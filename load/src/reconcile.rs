//! Proves a sink equal to its mart, or says where it is not, and repairs it.
//!
//! What is compared is **what lies there**: every cell is read back and hashed, and held against what the sink would keep of the mart's
//! row ([`Sink::contents`], [`Sink::stored`]). The hash that stands beside a row is part of it and proves nothing by itself.
//!
//! Memory does not grow with the table. A first pass adds up each side (see [`Sums`]). Where all sums agree, that was all. A second pass
//! reads the buckets that differ, as many at a time as are to be held, and names the keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::{Lake, Snapshot, TableName};
use futures::{StreamExt, TryStreamExt as _};

use crate::error::{Error, Result, blocking};
use crate::kind::SinkKind;
use crate::serving::Serving;
use crate::sink::Sink;
use crate::sink::projection::SinkProjection;
use crate::sums::Sums;
use crate::sync::{Rules, SyncProgress, SyncScope, Synced, Syncing, hashed, project};
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

/// How many keys of a kind are named.
pub const NAMED: usize = 5;
/// How many rows a second pass holds at a time.
const HELD: u64 = 250_000;

/// A sink beside its mart, at the mart's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Which sink.
    pub sink: SinkKind,
    /// Whether its table is laid out for this key, these columns and roles. If not, none of its rows is compared: all are missing.
    pub fits: bool,
    /// How many rows are the same in both.
    pub equal: u64,
    /// In the mart and not in the sink.
    pub missing: Differing,
    /// In the sink and not in the mart.
    pub extra: Differing,
    /// In both, with other content.
    pub different: Differing,
}

/// Rows that are not as they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differing {
    /// How many.
    pub rows: u64,
    /// The first of their keys, in order; [`NAMED`] at most.
    pub first: BTreeSet<String>,
}

impl Differing {
    fn add(&mut self, key: &str) {
        self.rows += 1;
        if self.first.len() < NAMED || self.first.last().is_some_and(|last| key < last.as_str()) {
            self.first.insert(key.to_owned());
        }
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }
}

impl Compared {
    /// Whether the sink holds the rows of its mart and no others.
    pub fn is_equal(&self) -> bool {
        self.fits && self.differing() == 0
    }

    /// How many rows are not as they should be.
    pub fn differing(&self) -> u64 {
        self.missing.rows + self.extra.rows + self.different.rows
    }
}

/// A table in a sink that no target asks for any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Orphan {
    /// Where it is.
    pub sink: SinkKind,
    /// What it followed.
    pub table: TableName,
}

/// Makes every sink of `target` as the newest version of its mart, whatever its cursor and its hashes say: writes the rows that lie
/// there otherwise, as a sync does, and no others.
///
/// # Errors
/// As [`sync()`](crate::sync()).
pub async fn repair(
    lake: &Lake,
    target: &SyncTarget,
    serving: &Serving,
    rules: &Rules,
    progress: &(dyn Fn(SyncProgress) + Send + Sync),
) -> Result<Synced> {
    Syncing { scope: SyncScope::All, lake, target, serving, rules, progress }.run().await
}

/// Compares every sink of `target` with the newest version of its mart, row by row. Changes nothing.
///
/// # Errors
/// If the lake or a sink can't be read, or the table follows another lake.
pub async fn compare(lake: &Lake, target: &SyncTarget, serving: &Serving) -> Result<Vec<Compared>> {
    let snapshot = lake.snapshot(&target.table).await?;
    let lake_id = lake.find_id().await?.unwrap_or_default();
    let mut found = Vec::new();
    for kind in SinkKind::ALL.into_iter().filter(|kind| target.sinks.contains(kind)) {
        let projection = target.projection(kind, &snapshot.schema())?;
        let sink = serving.sink(kind)?;
        let goal = Cursor::at(&lake_id, &snapshot, &projection.shape)?;
        let there = sink.cursor(&target.table).await?;
        if let Some(there) = there.filter(|there| !kind.is_embedded() && there.is_of_another_lake(&goal)) {
            let (at, table) = (sink.describe(), target.table.clone());
            return Err(Error::OtherLake { sink: kind, at, table, lake: there.lake });
        }
        found.push(Comparing { sink, target, projection, snapshot: &snapshot }.compare().await?);
    }
    Ok(found)
}

/// The tables that lie in the sinks of `serving`, follow this lake, and that no target asks for.
///
/// # Errors
/// If a sink can't be asked.
pub async fn orphans(lake: &Lake, serving: &Serving, targets: &[SyncTarget]) -> Result<Vec<Orphan>> {
    let lake = lake.find_id().await?.unwrap_or_default();
    let mut found = Vec::new();
    for kind in serving.kinds() {
        let sink = serving.sink(kind)?;
        for table in sink.targets().await? {
            if targets.iter().any(|it| it.table == table && it.sinks.contains(&kind)) {
                continue;
            }
            // A server may be shared with another lake of the project, whose tables are not ours to miss.
            let follows = sink.cursor(&table).await?.map(|cursor| cursor.lake).unwrap_or_default();
            if kind.is_embedded() || follows.is_empty() || follows == lake {
                found.push(Orphan { sink: kind, table });
            }
        }
    }
    Ok(found)
}

/// Removes an orphan with all its rows.
///
/// # Errors
/// If the sink refuses; then it stays.
pub async fn drop_orphan(serving: &Serving, orphan: &Orphan, waiting: &(dyn Fn() + Send + Sync)) -> Result<()> {
    let sink = serving.sink(orphan.sink)?;
    let _folder = if orphan.sink.is_embedded() { Some(serving.lock(waiting).await?) } else { None };
    let held = sink.lock(&orphan.table, waiting).await?;
    let done = sink.forget(&orphan.table).await;
    if let Some(held) = held {
        held.release().await;
    }
    done
}

/// One sink beside one version of its mart.
struct Comparing<'a> {
    sink: Arc<dyn Sink>,
    target: &'a SyncTarget,
    projection: SinkProjection,
    snapshot: &'a Snapshot,
}

/// What a pass does with a row: its key, and the hash of its content.
type Each<'a> = &'a mut (dyn FnMut(&str, RowHash) + Send);

impl Comparing<'_> {
    async fn compare(&self) -> Result<Compared> {
        let part = Arc::new(project(&self.snapshot.schema(), &self.projection.columns));
        let fits = self.sink.fits(self.target, &part).await?;
        let mut compared = Compared {
            sink: self.sink.kind(),
            fits,
            equal: 0,
            missing: Differing::default(),
            extra: Differing::default(),
            different: Differing::default(),
        };
        if !fits {
            self.mart(&mut |key, _| compared.missing.add(key)).await?;
            return Ok(compared);
        }
        let mut sums = Sums::new();
        self.mart(&mut |key, hash| sums.mart(key, hash)).await?;
        self.there(&mut |key, hash| sums.there(key, hash)).await?;
        let rows = sums.rows();
        for group in sums.differing(HELD) {
            let mut held: BTreeMap<String, RowHash> = BTreeMap::new();
            let mut twice = Vec::new();
            self.there(&mut |key, hash| {
                if group.contains(&sums.bucket(key)) && held.insert(key.to_owned(), hash).is_some() {
                    twice.push(key.to_owned());
                }
            })
            .await?;
            self.mart(&mut |key, hash| {
                if group.contains(&sums.bucket(key)) {
                    match held.remove(key) {
                        None => compared.missing.add(key),
                        Some(there) if there != hash => compared.different.add(key),
                        Some(_) => {}
                    }
                }
            })
            .await?;
            held.keys().chain(&twice).for_each(|key| compared.extra.add(key));
        }
        compared.equal = rows - compared.missing.rows - compared.different.rows;
        Ok(compared)
    }

    /// Every row of the mart that is for this sink.
    async fn mart(&self, each: Each<'_>) -> Result<()> {
        let columns: Vec<&str> = self.projection.columns.iter().map(String::as_str).collect();
        let mut stream = self.snapshot.scan(Some(&columns)).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(&self.target.table, e))?;
            let (keys, hashes) = self.stored(batch).await?;
            keys.iter().zip(hashes).for_each(|(key, hash)| each(key, hash));
        }
        Ok(())
    }

    async fn stored(&self, batch: RecordBatch) -> Result<(crate::keys::Keys, Vec<RowHash>)> {
        let (projection, target, sink) = (self.projection.clone(), self.target.clone(), Arc::clone(&self.sink));
        blocking(move || {
            let rows = hashed(&batch, &projection, &target.table, &target.key)?;
            let hashes = sink.stored(&target, &rows)?;
            Ok((rows.keys, hashes))
        })
        .await
    }

    /// Every row that lies in the sink.
    async fn there(&self, each: Each<'_>) -> Result<()> {
        let mut parts = self.sink.contents(&self.target.table).await?;
        while let Some(part) = parts.try_next().await? {
            part.iter().for_each(|(key, hash)| each(key, hash));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_are_named_and_all_are_counted() {
        let mut differing = Differing::default();
        (0..100).rev().for_each(|i| differing.add(&format!("k{i:02}")));
        assert_eq!(differing.rows, 100);
        assert_eq!(differing.first.into_iter().collect::<Vec<_>>(), ["k00", "k01", "k02", "k03", "k04"]);
    }
}
