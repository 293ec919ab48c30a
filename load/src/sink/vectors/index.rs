//! A vector index as its readers have it: one generation, mapped into memory, kept while a sync writes the next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use usearch::Index;

use super::{Held, Keys, fail, index_file, new_index, read_keys, utf8};
use crate::error::Result;
use crate::target::{Cursor, SyncTarget};
use crate::value::content_hash;

/// Below this many vectors a search compares all of them: exact, repeatable, and fast enough.
const EXACT_BELOW: usize = 200_000;

/// One table's vectors at one generation.
pub(crate) struct VectorIndex {
    dir: PathBuf,
    pub(crate) target: SyncTarget,
    /// How far it has come with its table.
    pub(crate) cursor: Cursor,
    keys: Keys,
    by_id: BTreeMap<u64, String>,
    index: Option<Index>,
    dimension: usize,
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
        let Some((manifest, keys)) = read_keys(dir)? else { return Ok(None) };
        let index = if keys.is_empty() {
            None
        } else {
            let index = new_index(manifest.dimension).map_err(|e| fail("opening", dir, e))?;
            index.view(utf8(&index_file(dir, manifest.generation))?).map_err(|e| fail("opening", dir, e))?;
            Some(index)
        };
        let by_id = keys.iter().map(|(key, held)| (held.id, key.clone())).collect();
        Ok(Some(Self {
            dir: dir.to_owned(),
            target: manifest.target,
            cursor: manifest.cursor,
            keys,
            by_id,
            index,
            dimension: manifest.dimension,
        }))
    }

    /// How many numbers a vector has; nothing where there is none.
    pub(crate) fn dimension(&self) -> Option<usize> {
        self.index.as_ref().map(|_| self.dimension)
    }

    /// Keys of the nearest rows with their cosine, the nearest first; equal ones in the order of the keys.
    pub(crate) fn nearest(&self, query: &[f32], count: usize) -> Result<Vec<(String, f32)>> {
        let Some(index) = &self.index else { return Ok(Vec::new()) };
        if query.len() != self.dimension {
            let message = format!("expected a query of {} numbers, found {}", self.dimension, query.len());
            return Err(fail("searching", &self.dir, message));
        }
        let count = count.min(self.keys.len());
        let matches =
            if self.keys.len() < EXACT_BELOW { index.exact_search(query, count) } else { index.search(query, count) };
        let matches = matches.map_err(|e| fail("searching", &self.dir, e))?;
        let mut found: Vec<(String, f32)> = matches
            .keys
            .iter()
            .zip(&matches.distances)
            .filter_map(|(id, distance)| Some((self.by_id.get(id)?.clone(), 1.0 - distance)))
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(found)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// A hash of each row: key, row hash, and the vector as it lies in the index.
    pub(super) fn lines(&self) -> Result<Vec<String>> {
        let line = |(key, held): (&String, &Held)| {
            let text = format!("{key} {:?} {:?}", held.hash, self.vector(held.id)?);
            Ok(content_hash([text.as_bytes()]))
        };
        self.keys.iter().map(line).collect()
    }

    fn vector(&self, id: u64) -> Result<Vec<f32>> {
        let mut vector = vec![0.0_f32; self.dimension];
        if let Some(index) = &self.index {
            index.get(id, &mut vector).map_err(|e| fail("reading", &self.dir, e))?;
        }
        Ok(vector)
    }
}
