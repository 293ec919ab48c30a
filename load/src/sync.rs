//! Makes every sink of a target equal to its mart.
//!
//! Order of events: compare cursors with the newest version (nothing to do: nothing is read) → lock the serving folder or the table of
//! the database, look again → read the mart, hash each row as each sink sees it, and add both sides up (see `sums`) → where the sums of
//! any sink differ, read it once more, and hand each sink only the rows that differ → find the keys that are gone, and stop where they
//! are more than may go at once, before anything of any sink is visible → let each sink make all of that visible together with its
//! cursor. A kill between two sinks leaves the first done and the second as it was; the next sync does the second. What passes by itself
//! (a deadlock, a server that restarts) is tried again, from the cursors on: whatever became visible is not done twice. Memory holds a
//! few batches and one hash per key, however large the mart.

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use catalog::simulation::sleep;
use catalog::{Lake, Snapshot, Version, failpoint};
use futures::{Stream, StreamExt, TryStreamExt as _};
use std::collections::HashMap;
use std::sync::Arc;

mod hashed;

use crate::diff::{Change, Diff, Difference};
use crate::error::{Error, Result, blocking};
use crate::fault::Cause;
use crate::keys::Hashes;
use crate::kind::SinkKind;
use crate::serving::Serving;
use crate::sink::projection::SinkProjection;
use crate::sink::{Apply, Rows, Sink, Start};
use crate::sums::Sums;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

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

/// What a sync may do beside writing what differs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The share of a sink's rows that a sync may remove, from 0 to 1; tables of fewer than 50 rows may lose any.
    pub max_deleted: f64,
    /// Whether it may remove any share.
    pub allow_deletes: bool,
    /// Whether a table that follows another lake follows this one from now on.
    pub adopt: bool,
}

impl Rules {
    /// [`Rules::max_deleted`] where nothing else is said: a mart that is suddenly empty or halved is more often a fault than the truth.
    pub const MAX_DELETED: f64 = 0.2;
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_deleted: Self::MAX_DELETED, allow_deletes: false, adopt: false }
    }
}

/// Which sinks of a target are read and compared, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncScope {
    /// Those whose cursor is not at the newest version, by the hashes that stand beside their rows.
    Behind,
    /// All of them, by what really lies there: somebody else may have been at their rows.
    All,
}

/// A sink that is to be compared, with the change it is about to make.
struct Behind {
    sink: Arc<dyn Sink>,
    projection: SinkProjection,
    /// Where it is, where it says so.
    there: Option<Cursor>,
    /// Where it will be.
    goal: Cursor,
}

/// Below this many rows a sink may lose any share of them.
const FEW: u64 = 50;
/// Batches that are read and hashed ahead: one in each stage, so that none waits for another.
const AHEAD: usize = 2;
/// How often a sync is tried when the database fails in a way that may pass.
const TRIES: u32 = 5;
/// How long it waits before the second try (seconds); twice as long before each further one, and up to half of it more by chance.
const PAUSE_SECONDS: f64 = 0.5;

/// Brings each sink of `target` to the newest version of its mart.
///
/// # Errors
/// If rows can't be read or kept, if the table of a server follows another lake, or if more rows would go than `rules` let go. What
/// the sinks held before still stands.
pub async fn sync(
    lake: &Lake,
    target: &SyncTarget,
    serving: &Serving,
    rules: &Rules,
    progress: &(dyn Fn(SyncProgress) + Send + Sync),
) -> Result<Synced> {
    Syncing { scope: SyncScope::Behind, lake, target, serving, rules, progress }.run().await
}

/// The sinks of `target` that a sync would bring to the newest version of its mart. Nothing is written.
///
/// # Errors
/// If a sink can't be asked, or its table follows another lake.
pub async fn behind(lake: &Lake, target: &SyncTarget, serving: &Serving) -> Result<Vec<SinkKind>> {
    let (rules, progress) = (Rules::default(), |_| {});
    let syncing = Syncing { scope: SyncScope::Behind, lake, target, serving, rules: &rules, progress: &progress };
    let snapshot = lake.snapshot(&target.table).await?;
    Ok(syncing.behind(&snapshot).await?.into_iter().map(|it| it.sink.kind()).collect())
}

/// A sync of one target.
pub(crate) struct Syncing<'a> {
    pub(crate) scope: SyncScope,
    pub(crate) lake: &'a Lake,
    pub(crate) target: &'a SyncTarget,
    pub(crate) serving: &'a Serving,
    pub(crate) rules: &'a Rules,
    pub(crate) progress: &'a (dyn Fn(SyncProgress) + Send + Sync),
}

impl Syncing<'_> {
    /// Does it, again where the database fails in a way that may pass.
    pub(crate) async fn run(&self) -> Result<Synced> {
        failpoint!("load.sync.before");
        let mut pause = PAUSE_SECONDS;
        for tried in 1.. {
            match self.once().await {
                Err(error @ Error::Sink { .. }) if error.is_retryable() && tried < TRIES => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    tracing::warn!(table = %self.target.table, %error, cause, "the sync begins again");
                    (self.progress)(SyncProgress::Again { why: format!("{error}: {cause}") });
                    sleep(std::time::Duration::from_secs_f64(pause * (1.0 + rand::random::<f64>() / 2.0))).await;
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
        let snapshot = lake.snapshot(&target.table).await?;
        if self.behind(&snapshot).await?.is_empty() {
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
        let snapshot = lake.snapshot(&target.table).await?;
        let schema = snapshot.schema();
        let behind = self.behind(&snapshot).await?;
        if behind.is_empty() {
            return Ok(up_to_date(snapshot.version()));
        }

        let total = snapshot.row_count()?;
        let expected = usize::try_from(total).unwrap_or(0);
        let mut begun = Vec::with_capacity(behind.len());
        let mut comparisons = Vec::with_capacity(behind.len());
        for Behind { sink, projection, there, goal } in behind {
            let part: SchemaRef = Arc::new(project(&schema, &projection.columns));
            let (held, start) = self.held(sink.as_ref(), &part).await?;
            // A table that is made anew holds nothing, and yet its readers lose what the new one has not.
            let before = (held.len() as u64).max(there.map_or(0, |there| there.rows));
            let apply = sink.begin(target, &part, start).await?;
            let contents = (self.scope == SyncScope::All).then(|| Arc::clone(&sink));
            begun.push((sink.kind(), held, apply, goal, before));
            comparisons.push(Comparison { projection, contents });
        }
        let columns: Vec<&str> = schema
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .filter(|name| comparisons.iter().any(|it| it.projection.columns.iter().any(|c| c == name)))
            .collect();
        let comparisons: Arc<[Comparison]> = comparisons.into();
        let hashing = |batch| hash(batch, Arc::clone(&comparisons), target);
        let pass = async || Ok::<_, Error>(snapshot.scan(Some(&columns)).await?.map(hashing).buffered(AHEAD));

        // Most rows of most days are there already. Sums find the parts that differ, in memory that does not grow; only those are looked
        // up key by key. A sink that holds nothing needs no sums.
        let mut sums: Vec<Option<Sums>> =
            begun.iter().map(|(_, held, ..)| (!held.is_empty()).then(Sums::new)).collect();
        let passes = if sums.iter().any(Option::is_some) { 2 } else { 1 };
        let mut done = 0;
        if passes == 2 {
            let mut stream = pass().await?;
            while let Some((count, rows)) = stream.try_next().await? {
                for (sums, rows) in sums.iter_mut().zip(&rows) {
                    if let Some(sums) = sums {
                        rows.each(|key, hash| sums.mart(key, hash));
                    }
                }
                done += count;
                progress(SyncProgress::Rows { done: done / passes, total });
            }
        }
        let mut works: Vec<Work> = begun
            .into_iter()
            .zip(sums)
            .map(|((kind, held, apply, goal, before), sums)| {
                let diff = match sums {
                    Some(mut sums) => {
                        held.iter().for_each(|(key, hash)| sums.there(key, hash));
                        Diff::where_differs(held, sums)
                    }
                    None => Diff::expecting(held, expected),
                };
                Work { kind, diff, apply, goal, before }
            })
            .collect();
        if !works.iter().all(|work| work.diff.is_same()) {
            // While a batch is written, the next ones are read and hashed.
            self.write(&mut works, pass().await?, (done, passes, total)).await?;
        }

        let ended: Vec<Ended> = works.into_iter().map(Work::end).collect();
        for work in &ended {
            self.may_delete(work)?;
        }
        let mut synced = up_to_date(snapshot.version());
        for work in ended {
            let done = work.commit().await?;
            progress(SyncProgress::Committed(done.sink));
            synced.upserted += done.upserted;
            synced.deleted += done.deleted;
            synced.unchanged += done.unchanged;
            synced.sinks.push(done);
        }
        Ok(synced)
    }

    /// Reads the mart and hands each sink the rows that it has not. So many rows were read in the passes before, of so many passes.
    async fn write(
        &self,
        works: &mut [Work],
        mut stream: impl Stream<Item = Result<(u64, Vec<Comparable>)>> + Unpin,
        (mut done, passes, total): (u64, u64, u64),
    ) -> Result<()> {
        let target = self.target;
        let mut ready: Vec<Option<Rows>> = works.iter().map(|_| None).collect();
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
            (self.progress)(SyncProgress::Rows { done: done / passes, total });
        }
        Ok(())
    }

    /// What a sink has, to be compared with the mart.
    async fn held(&self, sink: &dyn Sink, part: &SchemaRef) -> Result<(Hashes, Start)> {
        if self.scope == SyncScope::Behind {
            return Ok((sink.hashes(self.target, part).await?, Start::Existing));
        }
        if !sink.fits(self.target, part).await? {
            return Ok((Hashes::default(), Start::Anew));
        }
        let mut held: HashMap<String, RowHash> = HashMap::new();
        let mut parts = sink.contents(&self.target.table).await?;
        while let Some(rows) = parts.try_next().await? {
            for (key, hash) in rows.iter() {
                // A key that lies there twice is not as it should be, whatever each of them holds.
                held.entry(key.to_owned()).and_modify(|hash| *hash = RowHash([0; 16])).or_insert(hash);
            }
        }
        Ok((held.into_iter().collect(), Start::Existing))
    }

    /// The sinks that are not where this version is, or all, in the fixed order.
    async fn behind(&self, snapshot: &Snapshot) -> Result<Vec<Behind>> {
        let lake = self.lake.id().await?;
        let mut found = Vec::new();
        for kind in SinkKind::ALL.into_iter().filter(|kind| self.target.sinks.contains(kind)) {
            let projection = self.target.projection(kind, &snapshot.schema())?;
            let goal = Cursor::at(&lake, snapshot, &projection.shape)?;
            let sink = self.serving.sink(kind)?;
            let there = sink.cursor(&self.target.table).await?;
            // A folder of ours lies with its lake, and follows whatever lies there.
            let shared = there.as_ref().filter(|_| !kind.is_embedded() && !self.rules.adopt);
            if let Some(there) = shared.filter(|there| there.is_of_another_lake(&goal)) {
                let (at, table, lake) = (sink.describe(), self.target.table.clone(), there.lake.clone());
                return Err(Error::OtherLake { sink: kind, at, table, lake });
            }
            if self.scope == SyncScope::All || !there.as_ref().is_some_and(|there| there.is_at(&goal)) {
                found.push(Behind { sink, projection, there, goal });
            }
        }
        Ok(found)
    }

    /// Refuses what would empty a sink: nothing of this sync is visible yet, in none of them.
    fn may_delete(&self, work: &Ended) -> Result<()> {
        let left = work.difference.upserted + work.difference.unchanged;
        let removed = (work.difference.deleted.len() as u64).max(work.before.saturating_sub(left));
        let Rules { max_deleted: share, allow_deletes, .. } = *self.rules;
        if allow_deletes || work.before < FEW || removed as f64 <= share * work.before as f64 {
            return Ok(());
        }
        let (table, sink, rows) = (self.target.table.clone(), work.kind, work.before);
        Err(Error::TooManyDeletes { table, sink, removed, rows, share })
    }
}

fn up_to_date(version: Version) -> Synced {
    Synced { version, upserted: 0, deleted: 0, unchanged: 0, sinks: Vec::new() }
}

/// The schema of the columns that a sink wants.
pub(crate) fn project(schema: &Schema, columns: &[String]) -> Schema {
    Schema::new(schema.fields().iter().filter(|f| columns.contains(f.name())).cloned().collect::<Vec<_>>())
}

/// By what the rows of the mart are compared with those of a sink.
struct Comparison {
    projection: SinkProjection,
    /// The sink, where its contents are compared and not the hashes beside them.
    contents: Option<Arc<dyn Sink>>,
}

/// Rows as a sink takes them, and what each is compared by where that is not its own hash.
struct Comparable {
    rows: Rows,
    contents: Option<Vec<RowHash>>,
}

impl Comparable {
    /// Calls `each` with every key and what its row is compared by.
    fn each(&self, mut each: impl FnMut(&str, RowHash)) {
        let hashes = self.contents.as_ref().unwrap_or(&self.rows.hashes);
        self.rows.keys.iter().zip(hashes).for_each(|(key, hash)| each(key, *hash));
    }
}

/// One sink's part of a sync.
struct Work {
    kind: SinkKind,
    diff: Diff,
    apply: Box<dyn Apply>,
    goal: Cursor,
    /// How many rows its readers see now.
    before: u64,
}

impl Work {
    /// The whole mart has been seen.
    fn end(self) -> Ended {
        let Self { kind, diff, apply, goal, before, .. } = self;
        Ended { kind, difference: diff.finish(), apply, goal, before }
    }
}

/// The same, once it is known what goes.
struct Ended {
    kind: SinkKind,
    difference: Difference,
    apply: Box<dyn Apply>,
    goal: Cursor,
    before: u64,
}

impl Ended {
    async fn commit(mut self) -> Result<SinkSynced> {
        let Difference { upserted, unchanged, deleted: gone } = self.difference;
        let deleted = gone.len() as u64;
        if !gone.is_empty() {
            self.apply.delete(gone).await?;
        }
        self.apply.commit(Cursor { rows: upserted + unchanged, ..self.goal }).await?;
        Ok(SinkSynced { sink: self.kind, upserted, deleted, unchanged })
    }
}

/// How many rows a batch of the mart has, and those that each sink wants, in the order of the sinks.
async fn hash(
    batch: std::result::Result<RecordBatch, impl Into<Cause>>,
    comparisons: Arc<[Comparison]>,
    target: &SyncTarget,
) -> Result<(u64, Vec<Comparable>)> {
    let target = target.clone();
    let batch = batch.map_err(|e| Error::arrow(&target.table, e))?;
    let count = batch.num_rows() as u64;
    let comparable = move |it: &Comparison| {
        let rows = hashed(&batch, &it.projection, &target.table, &target.key)?;
        let contents = it.contents.as_ref().map(|sink| sink.stored(&target, &rows)).transpose()?;
        Ok(Comparable { rows, contents })
    };
    Ok((count, blocking(move || comparisons.iter().map(comparable).collect()).await?))
}

/// Those of the rows that a sink does not have just so.
fn compare(diff: &mut Diff, Comparable { rows, contents }: Comparable, target: &SyncTarget) -> Result<Rows> {
    let mut write = Vec::with_capacity(rows.keys.len());
    for (key, hash) in rows.keys.iter().zip(contents.as_ref().unwrap_or(&rows.hashes)) {
        write.push(match diff.see(key, *hash) {
            Change::New => Some(false),
            Change::Changed => Some(true),
            Change::Unchanged => None,
            Change::Duplicate => {
                let message = format!("expected each key once, found `{key}` twice");
                return Err(Error::Data { table: target.table.clone(), message });
            }
        });
    }
    select(rows, &write).map_err(|e| Error::arrow(&target.table, e))
}

#[cfg(test)]
mod tests;
