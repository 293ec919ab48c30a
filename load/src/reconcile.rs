//! Proves a sink equal to its mart, or says where it is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use catalog::Lake;
use futures::StreamExt;

use crate::error::{Error, Result, blocking};
use crate::serving::Serving;
use crate::sync::hashed;
use crate::target::{SinkKind, SyncTarget};
use crate::value::RowHash;

/// Where a sink differs from its mart at the mart's newest version. Keys are in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Which sink.
    pub sink: SinkKind,
    /// In the mart and not in the sink.
    pub missing: Vec<String>,
    /// In the sink and not in the mart.
    pub extra: Vec<String>,
    /// In both, with other content.
    pub different: Vec<String>,
}

/// Compares every sink of `target` with the newest version of its mart, row by row. Empty when all are equal. Changes nothing.
pub async fn reconcile(lake: &Lake, target: &SyncTarget, serving: &Serving) -> Result<Vec<Mismatch>> {
    let snapshot = lake.table(&target.table).await?.snapshot().await?;
    let schema = snapshot.schema();
    let mut found = Vec::new();
    for kind in SinkKind::ALL.into_iter().filter(|kind| target.sinks.contains(kind)) {
        let wanted = target.wanted(kind, &schema)?;
        let columns: Vec<&str> = wanted.columns.iter().map(String::as_str).collect();
        let part = Arc::new(Schema::new(
            schema.fields().iter().filter(|f| wanted.columns.contains(f.name())).cloned().collect::<Vec<_>>(),
        ));
        let mut held: BTreeMap<String, RowHash> =
            serving.sink(kind)?.hashes(target, &part).await?.iter().map(|(key, hash)| (key.to_owned(), hash)).collect();
        let mut mismatch = Mismatch { sink: kind, missing: Vec::new(), extra: Vec::new(), different: Vec::new() };
        let mut stream = snapshot.scan(Some(&columns)).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(&target.table, e))?;
            let (wanted, table, key) = (wanted.clone(), target.table.clone(), target.key.clone());
            let rows = blocking(move || hashed(&batch, &wanted, &table, &key)).await?;
            for (key, hash) in rows.keys.iter().zip(rows.hashes) {
                match held.remove(key) {
                    None => mismatch.missing.push(key.to_owned()),
                    Some(there) if there != hash => mismatch.different.push(key.to_owned()),
                    Some(_) => {}
                }
            }
        }
        mismatch.extra.extend(held.into_keys());
        mismatch.missing.sort_unstable();
        mismatch.different.sort_unstable();
        if !(mismatch.missing.is_empty() && mismatch.extra.is_empty() && mismatch.different.is_empty()) {
            found.push(mismatch);
        }
    }
    Ok(found)
}
