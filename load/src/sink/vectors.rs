//! Nearest neighbours in usearch. One folder per table:
//!
//! ```text
//! marts.places/manifest.json      cursor, target, generation, dimension: the only file that is ever replaced
//! marts.places/index-7.usearch    the graph with its vectors, by number
//! marts.places/keys-7.jsonl       number → key and row hash
//! ```
//!
//! usearch has no transactions, so a change writes both files of a new generation, syncs them, and renames the manifest: that rename is
//! the commit. Readers that opened the old generation keep it; it is removed one change later. What a crash leaves is overwritten.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{TableName, failpoint};
use serde::{Deserialize, Serialize};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::{Apply, Rows, Sink, table_dir, table_dirs};
use crate::error::{Cause, Error, Result, blocking};
use crate::keys::Hashes;
use crate::target::{Cursor, SinkKind, SyncTarget};
use crate::value::{RowHash, Value, content_hash};

pub(crate) mod index;

use index::VectorIndex;

/// Raise it when the files change: older folders are then built anew.
const FORMAT: u32 = 1;

/// One usearch index per table, under one folder.
#[derive(Debug, Clone)]
pub struct Vectors {
    root: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    generation: u64,
    dimension: usize,
    next_id: u64,
    /// Hash of the keys file: both files are of one change or the folder is void.
    keys: String,
    cursor: Cursor,
    target: SyncTarget,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    id: u64,
    hash: RowHash,
}

type Keys = BTreeMap<String, Held>;

impl Vectors {
    /// Nothing is touched before the first call.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

fn index_file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("index-{generation}.usearch"))
}

fn keys_file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("keys-{generation}.jsonl"))
}

fn fail(doing: &'static str, dir: &Path, source: impl Into<Cause>) -> Error {
    Error::sink(SinkKind::Vectors, doing, dir, source)
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>> {
    let path = dir.join("manifest.json");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(serde_json::from_slice::<Manifest>(&bytes).ok().filter(|manifest| manifest.format == FORMAT)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("reading", path, e)),
    }
}

/// The manifest and the keys it speaks of; `None` when there are none that fit together.
fn read_keys(dir: &Path) -> Result<Option<(Manifest, Keys)>> {
    let Some(manifest) = read_manifest(dir)? else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(keys_file(dir, manifest.generation)) else { return Ok(None) };
    if content_hash([text.as_bytes()]) != manifest.keys || !index_file(dir, manifest.generation).exists() {
        tracing::warn!(dir = %dir.display(), "the vector index is damaged and is built again from the lake");
        return Ok(None);
    }
    let mut keys = Keys::new();
    for line in text.lines() {
        let (id, key, hash): (u64, String, String) = serde_json::from_str(line).map_err(|e| fail("reading", dir, e))?;
        keys.insert(key, Held { id, hash: RowHash::from_hex(&hash).unwrap_or(RowHash([0; 16])) });
    }
    Ok(Some((manifest, keys)))
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| fail("opening", path, "expected a path in UTF-8, found other bytes"))
}

fn new_index(dimension: usize) -> Result<Index, Cause> {
    let options = IndexOptions {
        dimensions: dimension,
        metric: MetricKind::Cos,
        quantization: ScalarKind::F32,
        ..IndexOptions::default()
    };
    Ok(Index::new(&options)?)
}

#[async_trait]
impl Sink for Vectors {
    fn kind(&self) -> SinkKind {
        SinkKind::Vectors
    }

    fn describe(&self) -> String {
        format!("vector indexes in {}", self.root.display())
    }

    async fn targets(&self) -> Result<Vec<TableName>> {
        table_dirs(&self.root)
    }

    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>> {
        let dir = table_dir(&self.root, table);
        blocking(move || Ok(read_keys(&dir)?.map(|(manifest, _)| manifest.cursor))).await
    }

    async fn hashes(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Hashes> {
        let dir = table_dir(&self.root, &target.table);
        let keys = blocking(move || Ok(read_keys(&dir)?.map(|(_, keys)| keys))).await?;
        Ok(keys.unwrap_or_default().into_iter().map(|(key, held)| (key, held.hash)).collect())
    }

    async fn begin(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Box<dyn Apply>> {
        let dir = table_dir(&self.root, &target.table);
        let target = target.clone();
        blocking(move || {
            let (manifest, keys) = match read_keys(&dir)? {
                Some((manifest, keys)) => (Some(manifest), keys),
                None => (None, Keys::new()),
            };
            // A folder without a readable manifest may still hold files that a reader has open: never write over their names.
            let generation = manifest.as_ref().map_or_else(|| newest_generation(&dir), |m| m.generation);
            let open = State {
                generation,
                dimension: manifest.as_ref().map_or(0, |m| m.dimension),
                next_id: manifest.as_ref().map_or(0, |m| m.next_id),
                keys_hash: manifest.map(|m| m.keys),
                keys,
                index: None,
                dir,
                target,
            };
            Ok(Box::new(Change { open: Some(open) }) as Box<dyn Apply>)
        })
        .await
    }

    async fn content(&self, table: &TableName) -> Result<Vec<String>> {
        let dir = table_dir(&self.root, table);
        blocking(move || {
            let Some(index) = VectorIndex::open(&dir)? else { return Ok(Vec::new()) };
            index.lines()
        })
        .await
    }

    async fn doctor(&self) -> Result<String> {
        let this = self.clone();
        blocking(move || {
            std::fs::create_dir_all(&this.root).map_err(|e| Error::io("creating", &this.root, e))?;
            let mut vectors = 0;
            for table in table_dirs(&this.root)? {
                vectors += VectorIndex::open(&table_dir(&this.root, &table))?.map_or(0, |index| index.len());
            }
            Ok(format!("{}: {vectors} vectors", this.describe()))
        })
        .await
    }
}

fn newest_generation(dir: &Path) -> u64 {
    generations(dir).into_iter().map(|(generation, _)| generation).max().unwrap_or(0)
}

fn generations(dir: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let generation = path.file_stem()?.to_str()?.split_once('-')?.1.parse().ok()?;
            Some((generation, path))
        })
        .collect()
}

/// A change under way, in memory.
struct State {
    dir: PathBuf,
    target: SyncTarget,
    generation: u64,
    dimension: usize,
    next_id: u64,
    keys: Keys,
    /// Of the keys file as it stands.
    keys_hash: Option<String>,
    /// Loaded by the first row that changes.
    index: Option<Index>,
}

impl State {
    /// The index of the old generation, in memory; a new one when there is none.
    fn index(&mut self, dimension: Option<usize>) -> Result<&Index, Cause> {
        if let Some(dimension) = dimension
            && dimension != self.dimension
        {
            if !self.keys.is_empty() {
                // Another embedder: the sync sends every row again, under another seed; nothing old may stay beside them.
                self.keys.clear();
            }
            self.dimension = dimension;
            self.index = Some(new_index(dimension)?);
        }
        if self.index.is_none() {
            let index = new_index(self.dimension.max(1))?;
            if !self.keys.is_empty() {
                index.load(utf8(&index_file(&self.dir, self.generation))?)?;
            }
            self.index = Some(index);
        }
        self.index.as_ref().ok_or_else(|| "no index".into())
    }

    fn upsert(&mut self, rows: &Rows) -> Result<(), Cause> {
        let column = self.target.vector.as_ref().map(|v| v.column.clone()).unwrap_or_default();
        let array =
            rows.batch.column_by_name(&column).ok_or_else(|| format!("expected column `{column}`, found none"))?;
        let mut added: Vec<(u64, Vec<f32>)> = Vec::with_capacity(rows.keys.len());
        for (row, key) in rows.keys.iter().enumerate() {
            let vector: Vec<f32> = match Value::of(array, row)? {
                Value::Vector(vector) => vector,
                Value::List(items) => items.iter().map(number).collect::<Result<_, _>>()?,
                other => return Err(format!("expected a vector for `{key}`, found {other:?}").into()),
            };
            let expected = added.first().map_or(vector.len(), |(_, first)| first.len());
            if vector.is_empty() || vector.len() != expected || vector.iter().any(|x| !x.is_finite()) {
                return Err(format!("expected {expected} finite numbers for `{key}`, found {}", vector.len()).into());
            }
            let id = self.next_id + added.len() as u64;
            added.push((id, vector));
        }
        let Some(dimension) = added.first().map(|(_, v)| v.len()) else { return Ok(()) };
        self.index(Some(dimension))?;
        let old: Vec<u64> = rows.keys.iter().filter_map(|key| self.keys.get(key).map(|held| held.id)).collect();
        let index = self.index(None)?;
        for id in old {
            index.remove(id)?;
        }
        index.reserve(index.size() + added.len())?;
        for (id, vector) in &added {
            index.add(*id, vector)?;
        }
        for ((key, hash), (id, _)) in rows.keys.iter().zip(&rows.hashes).zip(&added) {
            self.keys.insert(key.to_owned(), Held { id: *id, hash: *hash });
        }
        self.next_id += added.len() as u64;
        Ok(())
    }

    fn delete(&mut self, keys: &[String]) -> Result<(), Cause> {
        for key in keys {
            if let Some(held) = self.keys.get(key).copied() {
                self.index(None)?.remove(held.id)?;
                self.keys.remove(key);
            }
        }
        Ok(())
    }

    fn commit(mut self, cursor: Cursor) -> Result<()> {
        let dir = self.dir.clone();
        std::fs::create_dir_all(&dir).map_err(|e| Error::io("creating", &dir, e))?;
        failpoint!("load.vectors.before");
        let keys = match (self.index.is_some(), self.keys_hash.clone()) {
            (false, Some(unchanged)) => unchanged,
            _ => self.write_generation()?,
        };
        failpoint!("load.vectors.written");
        let manifest = Manifest {
            format: FORMAT,
            generation: self.generation,
            dimension: self.dimension,
            next_id: self.next_id,
            keys,
            cursor,
            target: self.target,
        };
        let bytes = serde_json::to_vec_pretty(&manifest).map_err(|e| fail("writing", &dir, e))?;
        let (temp, path) = (dir.join("manifest.json.new"), dir.join("manifest.json"));
        write_durably(&temp, &bytes)?;
        std::fs::rename(&temp, &path).map_err(|e| Error::io("renaming", &path, e))?;
        sync_dir(&dir)?;
        failpoint!("load.vectors.after");
        for (generation, path) in generations(&dir) {
            if generation + 1 < manifest.generation {
                // Not worth failing for: the next change tries again.
                let _ = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Writes both files of the next generation and returns the hash of the keys.
    fn write_generation(&mut self) -> Result<String> {
        let dir = self.dir.clone();
        self.index(None).map_err(|e| fail("loading", &dir, e))?;
        self.generation += 1;
        let path = index_file(&dir, self.generation);
        if let Some(index) = &self.index {
            index.save(utf8(&path)?).map_err(|e| fail("writing", &dir, e))?;
        }
        File::open(&path).and_then(|file| file.sync_all()).map_err(|e| Error::io("syncing", &path, e))?;
        let mut text = String::new();
        for (key, held) in &self.keys {
            text += &serde_json::json!([held.id, key, held.hash.to_hex()]).to_string();
            text.push('\n');
        }
        write_durably(&keys_file(&dir, self.generation), text.as_bytes())?;
        sync_dir(&dir)?;
        Ok(content_hash([text.as_bytes()]))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "an embedding is kept in 32 bits")]
fn number(value: &Value) -> Result<f32, Cause> {
    match value {
        Value::Float(f) => Ok(*f as f32),
        other => Err(format!("expected numbers in a vector, found {other:?}").into()),
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("writing", path, e))
}

fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io("syncing", dir, e))
}

/// What holds the state between two calls; empty after a step that failed.
struct Change {
    open: Option<State>,
}

impl Change {
    async fn work(&mut self, work: impl FnOnce(&mut State) -> Result<(), Cause> + Send + 'static) -> Result<()> {
        let Some(mut state) = self.open.take() else {
            return Err(fail("writing", Path::new("vectors"), "an earlier step of this change failed"));
        };
        let state = blocking(move || {
            let done = work(&mut state);
            let dir = state.dir.clone();
            done.map(|()| state).map_err(|e| fail("writing", &dir, e))
        })
        .await?;
        self.open = Some(state);
        Ok(())
    }
}

#[async_trait]
impl Apply for Change {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        self.work(move |state| state.upsert(&rows)).await
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        self.work(move |state| state.delete(&keys)).await
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        match self.open.take() {
            Some(state) => blocking(move || state.commit(cursor)).await,
            None => Err(fail("committing", Path::new("vectors"), "an earlier step of this change failed")),
        }
    }
}
