//! Makes every sink of a target equal to its mart.
//!
//! Order of events: compare cursors with the newest version (nothing to do: nothing is read) → lock the serving folder or the table of
//! the database, look again → read the mart **once**, hash each row as each sink sees it, and hand each sink only the rows that differ → tell it which keys are
//! gone → let it make all of that visible together with its cursor. A kill between two sinks leaves the first done and the second as
//! it was; the next sync does the second. What passes by itself (a deadlock, a server that restarts) is tried again, from the cursors on:
//! whatever became visible is not done twice. Memory holds a few batches and one hash per key, however large the mart.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use catalog::{Lake, Version, failpoint};
use futures::StreamExt;
use std::sync::Arc;

mod hashed;

use crate::diff::{Change, Diff, Difference};
use crate::error::{Cause, Error, Result, blocking};
use crate::serving::Serving;
use crate::sink::{Apply, Rows, Sink};
use crate::target::{Cursor, SinkKind, SyncTarget, Wanted};

pub(crate) use hashed::hashed;
use hashed::select;

/// What a sync tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncProgress {
    /// Another process is syncing this folder or this table; we wait.
    Waiting,
    /// The database failed in a way that may pass; the sync begins again.
    Again {
        /// What failed.
        why: String,
    },
    /// Rows of the mart compared so far.
    Rows {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// A sink shows the new version.
    Committed(SinkKind),
}

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The version that every sink of the target now shows.
    pub version: Version,
    /// Rows written, summed over the sinks.
    pub upserted: u64,
    /// Rows removed, summed over the sinks.
    pub deleted: u64,
    /// Rows that were there already, summed over the sinks. Zero when nothing had to be read.
    pub unchanged: u64,
    /// The same for each sink that was behind; none when all were up to date.
    pub sinks: Vec<SinkSynced>,
}

/// What a sync did to one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSynced {
    /// Which.
    pub sink: SinkKind,
    /// Rows written.
    pub upserted: u64,
    /// Rows removed.
    pub deleted: u64,
    /// Rows that were there already.
    pub unchanged: u64,
}

impl Synced {
    /// Whether every sink showed this version before, so that nothing was read.
    pub fn is_up_to_date(&self) -> bool {
        self.sinks.is_empty()
    }
}

/// Which sinks of a target are read and compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Those {
    /// Those whose cursor is not at the newest version.
    Behind,
    /// All of them: somebody else may have been at their rows.
    All,
}

/// A sink that is to be compared, with the change it is about to make.
struct Behind {
    sink: Arc<dyn Sink>,
    wanted: Wanted,
}

/// Batches that are read and hashed ahead: one in each stage, so that none waits for another.
const AHEAD: usize = 2;
/// How often a sync is tried when the database fails in a way that may pass.
const TRIES: u32 = 5;
/// How long it waits before the second try (seconds); twice as long before each further one, and up to half of it more by chance.
const PAUSE_SECONDS: f64 = 0.5;

/// Brings each sink of `target` to the newest version of its mart.
pub async fn sync(
    lake: &Lake,
    target: &SyncTarget,
    serving: &Serving,
    progress: &(dyn Fn(SyncProgress) + Send + Sync),
) -> Result<Synced> {
    Syncing { those: Those::Behind, lake, target, serving, progress }.run().await
}

/// A sync of one target.
pub(crate) struct Syncing<'a> {
    pub(crate) those: Those,
    pub(crate) lake: &'a Lake,
    pub(crate) target: &'a SyncTarget,
    pub(crate) serving: &'a Serving,
    pub(crate) progress: &'a (dyn Fn(SyncProgress) + Send + Sync),
}

impl Syncing<'_> {
    /// Does it, again where the database fails in a way that may pass.
    pub(crate) async fn run(&self) -> Result<Synced> {
        failpoint!("load.sync.before");
        let mut pause = PAUSE_SECONDS;
        for tried in 1.. {
            match self.once().await {
                Err(error @ Error::Postgres { .. }) if error.is_retryable() && tried < TRIES => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(table = %self.target.table, %error, cause, "the sync begins again");
                    (self.progress)(SyncProgress::Again { why: format!("{error}: {cause}") });
                    tokio::time::sleep(std::time::Duration::from_secs_f64(pause * (1.0 + rand::random::<f64>() / 2.0)))
                        .await;
                    pause *= 2.0;
                }
                done => {
                    let done = done?;
                    failpoint!("load.sync.after");
                    return Ok(done);
                }
            }
        }
        Err(Error::Contended { table: self.target.table.clone(), tries: TRIES })
    }

    async fn once(&self) -> Result<Synced> {
        let Self { lake, target, serving, progress, .. } = *self;
        let snapshot = lake.table(&target.table).await?.snapshot().await?;
        if self.behind(&snapshot.schema(), snapshot.version()).await?.is_empty() {
            return Ok(up_to_date(snapshot.version()));
        }
        let waiting = || progress(SyncProgress::Waiting);
        let embedded = target.sinks.iter().any(|kind| kind.is_embedded());
        let _folder = if embedded { Some(serving.lock(&waiting).await?) } else { None };
        let mut held = Vec::new();
        for kind in &target.sinks {
            held.extend(serving.sink(*kind)?.lock(&target.table, &waiting).await?);
        }
        let done = self.locked().await;
        for table in held {
            table.release().await;
        }
        done
    }

    /// The sync itself, with every sink of the target held.
    async fn locked(&self) -> Result<Synced> {
        let Self { lake, target, progress, .. } = *self;
        let snapshot = lake.table(&target.table).await?.snapshot().await?;
        let schema = snapshot.schema();
        let behind = self.behind(&schema, snapshot.version()).await?;
        if behind.is_empty() {
            return Ok(up_to_date(snapshot.version()));
        }

        let total = snapshot.row_count()?;
        let expected = usize::try_from(total).unwrap_or(0);
        let mut works = Vec::with_capacity(behind.len());
        for Behind { sink, wanted } in behind {
            let part: SchemaRef = Arc::new(project(&schema, &wanted.columns));
            let diff = Diff::expecting(sink.hashes(target, &part).await?, expected);
            let apply = sink.begin(target, &part).await?;
            works.push(Work { kind: sink.kind(), wanted, diff, apply });
        }
        let columns: Vec<&str> = schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .filter(|name| works.iter().any(|work| work.wanted.columns.iter().any(|c| c == name)))
            .collect();
        let wanted: Arc<[Wanted]> = works.iter().map(|work| work.wanted.clone()).collect();
        let hashing = |batch| hash(batch, Arc::clone(&wanted), target);
        // While a batch is written, the next ones are read and hashed.
        let mut stream = snapshot.scan(Some(&columns)).await?.map(hashing).buffered(AHEAD);
        let mut ready: Vec<Option<Rows>> = works.iter().map(|_| None).collect();
        let mut done = 0;
        loop {
            let (mut diffs, mut applies): (Vec<_>, Vec<_>) =
                works.iter_mut().map(|work| (&mut work.diff, &mut work.apply)).unzip();
            let read = async {
                let Some(hashed) = stream.next().await else { return Ok::<_, Error>(None) };
                let (count, rows) = hashed?;
                let compared = diffs.iter_mut().zip(rows).map(|(diff, rows)| compare(diff, rows, target));
                Ok(Some((count, compared.collect::<Result<Vec<Rows>>>()?)))
            };
            let write = async {
                for (apply, rows) in applies.iter_mut().zip(&mut ready) {
                    if let Some(rows) = rows.take() {
                        apply.upsert(rows).await?;
                    }
                }
                Ok::<(), Error>(())
            };
            let (read, written) = tokio::join!(read, write);
            written?;
            let Some((count, rows)) = read? else { break };
            ready = rows.into_iter().map(|rows| (!rows.keys.is_empty()).then_some(rows)).collect();
            done += count;
            progress(SyncProgress::Rows { done, total });
        }

        let mut synced = up_to_date(snapshot.version());
        for work in works {
            let done = work.commit(snapshot.version()).await?;
            progress(SyncProgress::Committed(done.sink));
            synced.upserted += done.upserted;
            synced.deleted += done.deleted;
            synced.unchanged += done.unchanged;
            synced.sinks.push(done);
        }
        Ok(synced)
    }

    /// The sinks whose cursor is not at this version and shape, or all, in the fixed order.
    async fn behind(&self, schema: &Schema, version: Version) -> Result<Vec<Behind>> {
        let mut found = Vec::new();
        for kind in SinkKind::ALL.into_iter().filter(|kind| self.target.sinks.contains(kind)) {
            let wanted = self.target.wanted(kind, schema)?;
            let sink = self.serving.sink(kind)?;
            let there = sink.cursor(&self.target.table).await?;
            if self.those == Those::All || there != Some(Cursor { version, shape: wanted.shape.clone() }) {
                found.push(Behind { sink, wanted });
            }
        }
        Ok(found)
    }
}

fn up_to_date(version: Version) -> Synced {
    Synced { version, upserted: 0, deleted: 0, unchanged: 0, sinks: Vec::new() }
}

/// The schema of the columns that a sink wants.
pub(crate) fn project(schema: &Schema, columns: &[String]) -> Schema {
    Schema::new(schema.fields().iter().filter(|f| columns.contains(f.name())).cloned().collect::<Vec<_>>())
}

/// One sink's part of a sync.
struct Work {
    kind: SinkKind,
    wanted: Wanted,
    diff: Diff,
    apply: Box<dyn Apply>,
}

impl Work {
    async fn commit(mut self, version: Version) -> Result<SinkSynced> {
        let Difference { upserted, unchanged, deleted: gone } = self.diff.finish();
        let deleted = gone.len() as u64;
        if !gone.is_empty() {
            self.apply.delete(gone).await?;
        }
        self.apply.commit(Cursor { version, shape: self.wanted.shape }).await?;
        Ok(SinkSynced { sink: self.kind, upserted, deleted, unchanged })
    }
}

/// How many rows a batch of the mart has, and those that each sink wants, in the order of the sinks.
async fn hash(
    batch: std::result::Result<RecordBatch, impl Into<Cause>>,
    wanted: Arc<[Wanted]>,
    target: &SyncTarget,
) -> Result<(u64, Vec<Rows>)> {
    let (table, key) = (target.table.clone(), target.key.clone());
    let batch = batch.map_err(|e| Error::arrow(&table, e))?;
    let count = batch.num_rows() as u64;
    let rows = blocking(move || wanted.iter().map(|wanted| hashed(&batch, wanted, &table, &key)).collect());
    Ok((count, rows.await?))
}

/// Those of the rows that a sink does not have just so.
fn compare(diff: &mut Diff, rows: Rows, target: &SyncTarget) -> Result<Rows> {
    let mut differs = Vec::with_capacity(rows.keys.len());
    for (key, hash) in rows.keys.iter().zip(&rows.hashes) {
        match diff.see(key, *hash) {
            Change::Duplicate => {
                let message = format!("expected each key once, found `{key}` twice");
                return Err(Error::Data { table: target.table.clone(), message });
            }
            change => differs.push(change == Change::Upsert),
        }
    }
    select(rows, &differs).map_err(|e| Error::arrow(&target.table, e))
}

#[cfg(test)]
mod tests;
