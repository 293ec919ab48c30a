//! A change under way: a segment of the rows that come, and which rows of which segments they replace.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use catalog::failpoint;
use usearch::Index;

use super::files::{Manifest, Segment, fail, index_file, newest_generation, sync_dir, utf8};
use super::{new_index, vector, vector_column};
use crate::error::{Error, Result, blocking};
use crate::fault::Cause;
use crate::sink::{Apply, Rows, SinkKind, Start, counted};
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

/// A segment is merged into a new one that has at least this part of its rows.
const MERGED_AT: u64 = 2;
/// A segment is written anew when this part of its rows is dead.
const DEAD_PART: u64 = 4;

/// Where a row is that stands.
#[derive(Debug, Clone, Copy)]
enum RowPlace {
    Segment(usize, u64),
    New(u64),
}

/// A change under way.
pub(super) struct SegmentState {
    dir: PathBuf,
    target: SyncTarget,
    /// What stands, with all its segments; none when the change starts anew.
    before: Option<Manifest>,
    generation: u64,
    dimension: usize,
    rows: HashMap<String, RowPlace>,
    /// Dead rows of each segment that stands, and whether this change found more.
    dead: Vec<(BTreeSet<u64>, bool)>,
    new: NewSegment,
}

/// The rows that come; the graph is made with the first of them.
#[derive(Default)]
struct NewSegment {
    index: Option<Index>,
    keys: Vec<(String, RowHash)>,
    dead: BTreeSet<u64>,
}

impl NewSegment {
    fn add(&mut self, key: &str, hash: RowHash, vector: &[f32]) -> Result<u64, Cause> {
        if self.index.is_none() {
            self.index = Some(new_index(vector.len())?);
        }
        let row = self.keys.len() as u64;
        if let Some(index) = &self.index {
            if index.size() == index.capacity() {
                index.reserve((index.size() * 2).max(64))?;
            }
            index.add(row, vector)?;
        }
        self.keys.push((key.to_owned(), hash));
        Ok(row)
    }

    fn living(&self) -> u64 {
        (self.keys.len() - self.dead.len()) as u64
    }
}

impl SegmentState {
    pub(super) fn begin(dir: PathBuf, target: SyncTarget, start: Start) -> Result<Self> {
        let standing = match start {
            Start::Existing => Manifest::read(&dir)?,
            Start::Anew => None,
        };
        let generation = standing.as_ref().map_or(0, |it| it.generation).max(newest_generation(&dir));
        // Another embedder: the sync sends every row again, and nothing old may stay beside them.
        let before = standing.filter(|it| SinkKind::Vectors.takes_alike(&it.target, &target));
        let mut rows = HashMap::new();
        let mut dead = Vec::new();
        if let Some(before) = &before {
            before.each_row(&dir, |segment, row, key, _| {
                rows.insert(key.to_owned(), RowPlace::Segment(segment, row));
            })?;
            for segment in &before.segments {
                dead.push((segment.read_dead(&dir)?, false));
            }
        }
        let dimension = before.as_ref().map_or(0, |it| it.dimension);
        Ok(Self { dir, target, before, generation, dimension, rows, dead, new: NewSegment::default() })
    }

    fn upsert(&mut self, rows: &Rows) -> Result<(), Cause> {
        let column = vector_column(&self.target, rows)?;
        for (row, key) in rows.keys.iter().enumerate() {
            let vector = vector(column, row, key)?;
            if self.dimension == 0 {
                self.dimension = vector.len();
            }
            if vector.len() != self.dimension {
                return Err(format!(
                    "expected vectors of {} numbers, found {} for `{key}`; one embedder makes one length: give another one a name of its own",
                    self.dimension,
                    vector.len()
                )
                .into());
            }
            self.kill(key);
            let at = self.new.add(key, rows.hashes[row], &vector)?;
            self.rows.insert(key.to_owned(), RowPlace::New(at));
        }
        Ok(())
    }

    fn delete(&mut self, keys: &[String]) {
        for key in keys {
            self.kill(key);
        }
    }

    /// The row of this key is no more.
    fn kill(&mut self, key: &str) {
        match self.rows.remove(key) {
            Some(RowPlace::Segment(segment, row)) => {
                if let Some((dead, grown)) = self.dead.get_mut(segment) {
                    dead.insert(row);
                    *grown = true;
                }
            }
            Some(RowPlace::New(row)) => {
                self.new.dead.insert(row);
            }
            None => {}
        }
    }

    fn commit(mut self, cursor: Cursor) -> Result<()> {
        let dir = self.dir.clone();
        counted(self.rows.len() as u64, &cursor).map_err(|e| fail("committing", &dir, e))?;
        std::fs::create_dir_all(&dir).map_err(|e| Error::io("creating", &dir, e))?;
        failpoint!("load.vectors.before");
        let segments = if self.new.keys.is_empty() && self.dead.iter().all(|(_, grown)| !grown) {
            self.before.as_ref().map(|before| before.segments.clone()).unwrap_or_default()
        } else {
            self.generation += 1;
            self.write()?
        };
        failpoint!("load.vectors.written");
        let dimension = if self.rows.is_empty() { 0 } else { self.dimension };
        let manifest = Manifest::new(self.generation, dimension, segments, cursor, self.target);
        manifest.publish(&dir, self.before.as_ref())?;
        failpoint!("load.vectors.after");
        Ok(())
    }

    /// Writes the files of this generation; the segments that stand after it.
    fn write(&mut self) -> Result<Vec<Segment>> {
        let (dir, generation) = (self.dir.clone(), self.generation);
        let standing = self.before.as_ref().map(|before| before.segments.clone()).unwrap_or_default();
        let living = |at: usize| standing[at].rows - self.dead[at].0.len() as u64;
        let mut by_size: Vec<usize> = (0..standing.len()).collect();
        by_size.sort_by_key(|at| living(*at));
        let mut total = self.new.living();
        let mut merged = BTreeSet::new();
        for at in by_size {
            let rotten = self.dead[at].0.len() as u64 * DEAD_PART > standing[at].rows;
            if rotten || living(at) <= total * MERGED_AT {
                total += living(at);
                merged.insert(at);
            }
        }
        let mut segments = Vec::new();
        for (at, segment) in standing.into_iter().enumerate() {
            if merged.contains(&at) {
                self.merge(at, &segment).map_err(|e| fail("merging", &dir, e))?;
                continue;
            }
            let mut segment = segment;
            if self.dead[at].1 {
                segment.write_dead(&dir, generation, &self.dead[at].0)?;
            }
            segments.push(segment);
        }
        if self.new.living() > 0
            && let Some(index) = &self.new.index
        {
            let path = index_file(&dir, generation);
            index.save(utf8(&path)?).map_err(|e| fail("writing", &dir, e))?;
            segments.push(Segment::write(&dir, generation, &self.new.keys, &self.new.dead)?);
        }
        sync_dir(&dir)?;
        Ok(segments)
    }

    /// Takes the living rows of a segment over into the new one.
    fn merge(&mut self, at: usize, segment: &Segment) -> Result<(), Cause> {
        let index = open(&segment.index_file(&self.dir), self.dimension)?;
        let mut vector = vec![0.0_f32; self.dimension];
        for (row, (key, hash)) in segment.read_keys(&self.dir)?.into_iter().enumerate() {
            if self.dead[at].0.contains(&(row as u64)) {
                continue;
            }
            if index.get(row as u64, &mut vector)? == 0 {
                return Err(format!("expected the vector of `{key}`, found none").into());
            }
            self.new.add(&key, hash, &vector)?;
        }
        Ok(())
    }
}

/// The graph of a segment, without a copy of it in memory.
pub(super) fn open(path: &Path, dimension: usize) -> Result<Index, Cause> {
    let index = new_index(dimension)?;
    index.view(utf8(path)?)?;
    Ok(index)
}

/// What holds the state between two calls; empty after a step that failed.
pub(super) struct VectorsChange {
    open: Option<SegmentState>,
}

impl VectorsChange {
    pub(super) fn new(state: SegmentState) -> Self {
        Self { open: Some(state) }
    }

    fn broken() -> Error {
        fail("writing", Path::new("vectors"), "an earlier step of this change failed")
    }

    async fn work(&mut self, work: impl FnOnce(&mut SegmentState) -> Result<(), Cause> + Send + 'static) -> Result<()> {
        let mut state = self.open.take().ok_or_else(Self::broken)?;
        let state = blocking(move || {
            let done = work(&mut state);
            let table = state.target.table.clone();
            done.map(|()| state).map_err(|e| Error::row(&table, e))
        })
        .await?;
        self.open = Some(state);
        Ok(())
    }
}

#[async_trait]
impl Apply for VectorsChange {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        self.work(move |state| state.upsert(&rows)).await
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        self.work(move |state| {
            state.delete(&keys);
            Ok(())
        })
        .await
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        let state = self.open.take().ok_or_else(Self::broken)?;
        blocking(move || state.commit(cursor)).await
    }
}
