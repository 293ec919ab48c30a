//! The files of one table's vectors: what the manifest says, whether they are what it says, and how they are written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::fault::Cause;
use crate::kind::SinkKind;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

/// Raise it when the files change: older folders are then built anew.
const FORMAT: u32 = 2;
const MANIFEST: &str = "manifest.json";

/// One state of a table's vectors.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: u32,
    /// Goes up by one with each change that writes files, and is in their names.
    pub(super) generation: u64,
    /// Numbers of each vector; 0 as long as there is none.
    pub(super) dimension: usize,
    pub(super) segments: Vec<Segment>,
    pub(super) cursor: Cursor,
    pub(super) target: SyncTarget,
}

/// Rows that were written together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Segment {
    /// The change that wrote it.
    pub(super) generation: u64,
    /// How many rows its files have; those that are dead among them.
    pub(super) rows: u64,
    index: FileSum,
    keys: FileSum,
    /// The rows that are no more.
    pub(super) dead: Option<DeadRows>,
}

/// The list of a segment's dead rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DeadRows {
    /// The change that wrote it.
    generation: u64,
    rows: u64,
    file: FileSum,
}

/// What a file was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct FileSum {
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    /// SHA-256, in hexadecimal.
    sha256: String,
}

impl Manifest {
    pub(super) fn new(
        generation: u64,
        dimension: usize,
        segments: Vec<Segment>,
        cursor: Cursor,
        target: SyncTarget,
    ) -> Self {
        Self { format: FORMAT, generation, dimension, segments, cursor, target }
    }

    /// The state that stands in `dir`; `None` when there is none, or its files are not those that it speaks of. What costs no more
    /// than a look at each file is looked at; a file that was touched since is read.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>> {
        let Some(manifest) = Self::read_unproved(dir)? else { return Ok(None) };
        for (path, sum) in manifest.files(dir) {
            if !sum.is_untouched(&path)? && !sum.is_proved(&path)? {
                tracing::warn!(path = %path.display(), "the vector index is damaged and is built again from the lake");
                return Ok(None);
            }
        }
        Ok(Some(manifest))
    }

    fn read_unproved(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(MANIFEST);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice::<Self>(&bytes).ok().filter(|it| it.format == FORMAT)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("reading", path, e)),
        }
    }

    /// Whether every file is what it was when it was written. Reads all of them.
    pub(super) fn is_proved(&self, dir: &Path) -> Result<bool> {
        for (path, sum) in self.files(dir) {
            if !sum.is_proved(&path)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many rows are there.
    pub(super) fn rows(&self) -> u64 {
        self.segments.iter().map(Segment::living).sum()
    }

    /// Calls `each` with segment, row, key and hash of every row that is there.
    pub(super) fn each_row(&self, dir: &Path, mut each: impl FnMut(usize, u64, &str, RowHash)) -> Result<()> {
        for (at, segment) in self.segments.iter().enumerate() {
            let dead = segment.read_dead(dir)?;
            for (row, (key, hash)) in segment.read_keys(dir)?.into_iter().enumerate() {
                if !dead.contains(&(row as u64)) {
                    each(at, row as u64, &key, hash);
                }
            }
        }
        Ok(())
    }

    fn files<'a>(&'a self, dir: &Path) -> impl Iterator<Item = (PathBuf, &'a FileSum)> {
        self.segments
            .iter()
            .flat_map(|segment| {
                let dead =
                    segment.dead.as_ref().map(|dead| (dead_file(dir, segment.generation, dead.generation), &dead.file));
                let index = (index_file(dir, segment.generation), &segment.index);
                [index, (keys_file(dir, segment.generation), &segment.keys)].into_iter().chain(dead)
            })
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Makes it the state that stands, and removes the files that neither it nor `before` speaks of.
    pub(super) fn publish(&self, dir: &Path, before: Option<&Self>) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| fail("writing", dir, e))?;
        let (temp, path) = (dir.join("manifest.json.new"), dir.join(MANIFEST));
        write_durably(&temp, &bytes)?;
        std::fs::rename(&temp, &path).map_err(|e| Error::io("renaming", &path, e))?;
        sync_dir(dir)?;
        let needed: BTreeSet<PathBuf> =
            self.files(dir).chain(before.into_iter().flat_map(|it| it.files(dir))).map(|(path, _)| path).collect();
        for (_, path) in generations(dir).into_iter().filter(|(_, path)| !needed.contains(path)) {
            // Not worth failing for: the next change tries again.
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }
}

impl Segment {
    /// A segment whose graph lies in its file already; writes its keys and its dead rows.
    pub(super) fn write(dir: &Path, generation: u64, keys: &[(String, RowHash)], dead: &BTreeSet<u64>) -> Result<Self> {
        let index = index_file(dir, generation);
        File::open(&index).and_then(|file| file.sync_all()).map_err(|e| Error::io("syncing", &index, e))?;
        let mut text = String::new();
        for (key, hash) in keys {
            text += &serde_json::json!([key, hash.to_hex()]).to_string();
            text.push('\n');
        }
        let path = keys_file(dir, generation);
        write_durably(&path, text.as_bytes())?;
        let (index, sum) = (FileSum::of(&index)?, FileSum::of(&path)?);
        let mut segment = Self { generation, rows: keys.len() as u64, index, keys: sum, dead: None };
        segment.write_dead(dir, generation, dead)?;
        Ok(segment)
    }

    /// Writes the list of its dead rows anew.
    pub(super) fn write_dead(&mut self, dir: &Path, generation: u64, dead: &BTreeSet<u64>) -> Result<()> {
        if !dead.is_empty() {
            let path = dead_file(dir, self.generation, generation);
            write_durably(&path, &serde_json::to_vec(dead).map_err(|e| fail("writing", dir, e))?)?;
            self.dead = Some(DeadRows { generation, rows: dead.len() as u64, file: FileSum::of(&path)? });
        }
        Ok(())
    }

    /// How many of its rows are there.
    pub(super) fn living(&self) -> u64 {
        self.rows - self.dead.as_ref().map_or(0, |dead| dead.rows)
    }

    pub(super) fn read_dead(&self, dir: &Path) -> Result<BTreeSet<u64>> {
        let Some(dead) = &self.dead else { return Ok(BTreeSet::new()) };
        let path = dead_file(dir, self.generation, dead.generation);
        let bytes = std::fs::read(&path).map_err(|e| Error::io("reading", &path, e))?;
        serde_json::from_slice(&bytes).map_err(|e| fail("reading", dir, e))
    }

    /// Key and hash of each of its rows, the dead ones among them.
    pub(super) fn read_keys(&self, dir: &Path) -> Result<Vec<(String, RowHash)>> {
        let path = keys_file(dir, self.generation);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("reading", &path, e))?;
        let row = |line: &str| {
            let (key, hash): (String, String) = serde_json::from_str(line).map_err(|e| fail("reading", dir, e))?;
            Ok((key, RowHash::from_hex(&hash).unwrap_or(RowHash([0; 16]))))
        };
        text.lines().map(row).collect()
    }

    pub(super) fn index_file(&self, dir: &Path) -> PathBuf {
        index_file(dir, self.generation)
    }
}

impl FileSum {
    fn of(path: &Path) -> Result<Self> {
        let (bytes, modified) = look(path)?.unwrap_or_default();
        Ok(Self { bytes, modified, sha256: sha256(path).map_err(|e| Error::io("reading", path, e))? })
    }

    /// Whether the file has the length and the time that it had.
    fn is_untouched(&self, path: &Path) -> Result<bool> {
        Ok(look(path)? == Some((self.bytes, self.modified)))
    }

    /// Whether it has the content that it had.
    fn is_proved(&self, path: &Path) -> Result<bool> {
        match sha256(path) {
            Ok(found) => Ok(found == self.sha256),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("reading", path, e)),
        }
    }
}

/// Length and time of a file; `None` when there is none.
fn look(path: &Path) -> Result<Option<(u64, u64)>> {
    let looked = std::fs::metadata(path).and_then(|it| Ok((it.len(), it.modified()?)));
    match looked {
        Ok((bytes, modified)) => {
            let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(Some((bytes, u64::try_from(since.as_nanos()).unwrap_or_default())))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("reading", path, e)),
    }
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

pub(super) fn index_file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("index-{generation}.usearch"))
}

fn keys_file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("keys-{generation}.jsonl"))
}

fn dead_file(dir: &Path, segment: u64, generation: u64) -> PathBuf {
    dir.join(format!("dead-{segment}-{generation}.json"))
}

/// The newest generation that any file of the folder has: a folder without a readable manifest may still hold files that a reader
/// has open.
pub(super) fn newest_generation(dir: &Path) -> u64 {
    generations(dir).into_iter().map(|(generation, _)| generation).max().unwrap_or(0)
}

fn generations(dir: &Path) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let generation = path.file_stem()?.to_str()?.rsplit_once('-')?.1.parse().ok()?;
            Some((generation, path))
        })
        .collect()
}

pub(super) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| fail("opening", path, "expected a path in UTF-8, found other bytes"))
}

pub(super) fn fail(doing: &'static str, dir: &Path, source: impl Into<Cause>) -> Error {
    Error::sink(SinkKind::Vectors, doing, dir, source)
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Error::io("writing", path, e))
}

pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io("syncing", dir, e))
}
