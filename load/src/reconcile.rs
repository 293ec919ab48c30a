//! Proves a sink equal to its mart, or says where it is not, and mends it.

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::Lake;
use futures::StreamExt;

use crate::error::{Error, Result, blocking};
use crate::serving::Serving;
use crate::sync::{SyncProgress, Synced, Syncing, Those, hashed, project};
use crate::target::{SinkKind, SyncTarget};
use crate::value::RowHash;

/// A sink beside its mart, at the mart's newest version. Keys are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Which sink.
    pub sink: SinkKind,
    /// How many rows are the same in both.
    pub equal: u64,
    /// In the mart and not in the sink.
    pub missing: Vec<String>,
    /// In the sink and not in the mart.
    pub extra: Vec<String>,
    /// In both, with other content.
    pub different: Vec<String>,
}

impl Compared {
    /// Whether the sink holds the rows of its mart and no others.
    pub fn is_equal(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty() && self.different.is_empty()
    }
}

/// Makes every sink of `target` as the newest version of its mart, whatever its cursor says: writes the rows that differ, as a
/// sync does, and no others.
pub async fn mend(
    lake: &Lake,
    target: &SyncTarget,
    serving: &Serving,
    progress: &(dyn Fn(SyncProgress) + Send + Sync),
) -> Result<Synced> {
    Syncing { those: Those::All, lake, target, serving, progress }.run().await
}

/// Compares every sink of `target` with the newest version of its mart, row by row, by the hash that is stored with each. Changes
/// nothing.
pub async fn compare(lake: &Lake, target: &SyncTarget, serving: &Serving) -> Result<Vec<Compared>> {
    let snapshot = lake.table(&target.table).await?.snapshot().await?;
    let schema = snapshot.schema();
    let mut found = Vec::new();
    for kind in SinkKind::ALL.into_iter().filter(|kind| target.sinks.contains(kind)) {
        let wanted = target.wanted(kind, &schema)?;
        let columns: Vec<&str> = wanted.columns.iter().map(String::as_str).collect();
        let part = Arc::new(project(&schema, &wanted.columns));
        let mut held: BTreeMap<String, RowHash> =
            serving.sink(kind)?.hashes(target, &part).await?.iter().map(|(key, hash)| (key.to_owned(), hash)).collect();
        let mut compared =
            Compared { sink: kind, equal: 0, missing: Vec::new(), extra: Vec::new(), different: Vec::new() };
        let mut stream = snapshot.scan(Some(&columns)).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(&target.table, e))?;
            let (wanted, table, key) = (wanted.clone(), target.table.clone(), target.key.clone());
            let rows = blocking(move || hashed(&batch, &wanted, &table, &key)).await?;
            for (key, hash) in rows.keys.iter().zip(rows.hashes) {
                match held.remove(key) {
                    None => compared.missing.push(key.to_owned()),
                    Some(there) if there != hash => compared.different.push(key.to_owned()),
                    Some(_) => compared.equal += 1,
                }
            }
        }
        compared.extra.extend(held.into_keys());
        compared.missing.sort_unstable();
        compared.different.sort_unstable();
        found.push(compared);
    }
    Ok(found)
}
