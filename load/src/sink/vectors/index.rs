//! A vector index as its readers have it: one state, mapped into memory, kept while a sync writes the next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use usearch::Index;

use super::change::open;
use super::files::{Manifest, fail};
use crate::error::Result;
use crate::fault::Cause;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

/// Below this many vectors a search compares all of them: exact, repeatable, and fast enough.
const EXACT_BELOW: usize = 200_000;

/// One table's vectors in one state.
pub(crate) struct VectorIndex {
    dir: PathBuf,
    pub(crate) target: SyncTarget,
    /// How far it has come with its table.
    pub(crate) cursor: Cursor,
    segments: Vec<OpenSegment>,
    dimension: usize,
}

/// A segment, mapped.
struct OpenSegment {
    index: Index,
    keys: Vec<(String, RowHash)>,
    dead: BTreeSet<u64>,
}

impl VectorIndex {
    /// Opens what the manifest speaks of, without copying it; once more when a sync replaced it between two looks.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>> {
        match Self::open_once(dir) {
            Err(_) => Self::open_once(dir),
            opened => opened,
        }
    }

    fn open_once(dir: &Path) -> Result<Option<Self>> {
        let Some(manifest) = Manifest::read(dir)? else { return Ok(None) };
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for segment in &manifest.segments {
            let index = open(&segment.index_file(dir), manifest.dimension).map_err(|e| fail("opening", dir, e))?;
            segments.push(OpenSegment { index, keys: segment.read_keys(dir)?, dead: segment.read_dead(dir)? });
        }
        let Manifest { target, cursor, dimension, .. } = manifest;
        Ok(Some(Self { dir: dir.to_owned(), target, cursor, segments, dimension }))
    }

    /// How many numbers a vector has; nothing where there is none.
    pub(crate) fn dimension(&self) -> Option<usize> {
        (!self.segments.is_empty()).then_some(self.dimension)
    }

    /// Keys of the nearest rows with their cosine, the nearest first; equal ones in the order of the keys.
    pub(crate) fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(String, f32)>> {
        if self.segments.is_empty() {
            return Ok(Vec::new());
        }
        if query.len() != self.dimension {
            let message = format!("expected a query of {} numbers, found {}", self.dimension, query.len());
            return Err(fail("searching", &self.dir, message));
        }
        let exact = self.segments.iter().map(|segment| segment.keys.len()).sum::<usize>() < EXACT_BELOW;
        let mut found = Vec::new();
        for segment in &self.segments {
            let near = segment.nearest(query, count, exact);
            found.extend(near.map_err(|e| fail("searching", &self.dir, e))?);
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found.truncate(count);
        Ok(found)
    }

    /// Calls `each` with key, hash and vector of every row, until it says `false`.
    pub(super) fn each(&self, mut each: impl FnMut(&str, RowHash, Vec<f32>) -> bool) -> Result<()> {
        for segment in &self.segments {
            for (row, (key, hash)) in segment.keys.iter().enumerate() {
                if segment.dead.contains(&(row as u64)) {
                    continue;
                }
                let mut vector = vec![0.0_f32; self.dimension];
                segment.index.get(row as u64, &mut vector).map_err(|e| fail("reading", &self.dir, e))?;
                if !each(key, *hash, vector) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl OpenSegment {
    fn nearest(&self, query: &[f32], count: usize, exact: bool) -> Result<Vec<(String, f32)>, Cause> {
        let count = count.min(self.keys.len());
        let matches = if exact {
            // The dead are among what is found.
            self.index.exact_search(query, (count + self.dead.len()).min(self.keys.len()))?
        } else {
            self.index.filtered_search(query, count, |row| !self.dead.contains(&row))?
        };
        let living = matches.keys.iter().zip(&matches.distances).filter(|(row, _)| !self.dead.contains(row));
        let named = living.filter_map(|(row, distance)| {
            let (key, _) = self.keys.get(usize::try_from(*row).ok()?)?;
            Some((key.clone(), 1.0 - distance))
        });
        Ok(named.take(count).collect())
    }
}
