//! Nearest neighbours in usearch. One folder per table:
//!
//! ```text
//! marts.places/manifest.json      cursor, target, segments: the only file that is ever replaced
//! marts.places/index-7.usearch    the graph of a segment with its vectors, by row
//! marts.places/keys-7.jsonl       row → key and row hash
//! marts.places/dead-7-9.json      the rows of segment 7 that later changes took the place of
//! ```
//!
//! usearch has no transactions, so a change writes a new segment of the rows that changed and the lists of those that they replace, syncs
//! them, and renames the manifest: that rename is the commit. Small segments are merged as they come (the logarithmic method of Bentley and
//! Saxe, 1980), so that a change costs what changed and a question asks few segments. Readers that opened the old state keep it; its
//! files are removed one change later. What a crash leaves is overwritten. The manifest has the sum of each file.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::TableName;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::parts::parts;
use super::{
    Apply, Contents, Member, Roles, Rows, Sink, SinkKind, SinkPlace, Start, forget_dir, table_dir, table_dirs,
};
use crate::error::{Error, Result, blocking};
use crate::fault::Cause;
use crate::keys::Hashes;
use crate::target::{Cursor, SyncTarget, VectorColumn};
use rows::{RowHash, Value};

mod change;
mod files;
pub(crate) mod index;

use change::{SegmentState, VectorsChange};
use files::Manifest;
use index::VectorIndex;

pub(super) const MEMBER: Member = Member {
    place: SinkPlace::Folder(|dir| Arc::new(Vectors::new(super::vectors_dir(dir)))),
    refused: |_, _| None,
    roles: |target, _| match &target.vector {
        Some(vector) => Ok(Roles {
            columns: vec![vector.column.clone()],
            required: Some(vector.column.clone()),
            text: text(target, vector),
        }),
        None => Err(target.config(
            "expected a vector column for the vectors sink, found none".into(),
            "name its `vector` column, or take `vectors` off its sinks",
        )),
    },
};

/// One usearch index per table, under one folder.
#[derive(Debug, Clone)]
pub struct Vectors {
    root: PathBuf,
}

impl Vectors {
    /// Nothing is touched before the first call.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

/// What the columns of a target are to this sink. A search asks an index what its rows are about.
fn text(target: &SyncTarget, vector: &VectorColumn) -> String {
    let about = target.entity.as_ref().map(|entity| format!(" entity={entity:?}")).unwrap_or_default();
    format!("key={} vector={} model={}{about}", target.key, vector.column, vector.model)
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
        blocking(move || Ok(Manifest::read(&dir)?.map(|manifest| manifest.cursor))).await
    }

    async fn fits(&self, target: &SyncTarget, _: &SchemaRef) -> Result<bool> {
        let (dir, target) = (table_dir(&self.root, &target.table), target.clone());
        blocking(move || {
            let Some(manifest) = Manifest::read(&dir)? else { return Ok(false) };
            Ok(SinkKind::Vectors.takes_alike(&manifest.target, &target) && manifest.is_proved(&dir)?)
        })
        .await
    }

    async fn hashes(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Hashes> {
        let (dir, target) = (table_dir(&self.root, &target.table), target.clone());
        blocking(move || {
            let mut hashes = Hashes::default();
            // A change for other roles goes on with none of its rows.
            let alike = |it: &Manifest| SinkKind::Vectors.takes_alike(&it.target, &target);
            if let Some(manifest) = Manifest::read(&dir)?.filter(alike) {
                manifest.each_row(&dir, |_, _, key, hash| hashes.push(key, hash))?;
            }
            Ok(hashes)
        })
        .await
    }

    async fn contents(&self, table: &TableName) -> Result<Contents> {
        let dir = table_dir(&self.root, table);
        Ok(parts(move |parts| match VectorIndex::open(&dir)? {
            Some(index) => index.each(|key, hash, vector| parts.push(key, content(key, hash, vector))),
            None => Ok(()),
        }))
    }

    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>> {
        let refuse = |e: Cause| Error::row(&target.table, e);
        let column = vector_column(target, rows).map_err(refuse)?;
        let of = |row: usize| {
            let vector = vector(column, row, &rows.keys[row]).map_err(refuse)?;
            Ok(content(&rows.keys[row], rows.hashes[row], vector))
        };
        (0..rows.keys.len()).map(of).collect()
    }

    async fn begin(&self, target: &SyncTarget, _: &SchemaRef, start: Start) -> Result<Box<dyn Apply>> {
        let (dir, target) = (table_dir(&self.root, &target.table), target.clone());
        blocking(move || Ok(Box::new(VectorsChange::new(SegmentState::begin(dir, target, start)?)) as Box<dyn Apply>))
            .await
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        let (root, table) = (self.root.clone(), table.clone());
        blocking(move || forget_dir(&root, &table)).await
    }

    async fn doctor(&self) -> Result<String> {
        let this = self.clone();
        blocking(move || {
            std::fs::create_dir_all(&this.root).map_err(|e| Error::io("creating", &this.root, e))?;
            let mut vectors = 0;
            for table in table_dirs(&this.root)? {
                let manifest = Manifest::read(&table_dir(&this.root, &table))?;
                vectors += manifest.map_or(0, |manifest| manifest.rows());
            }
            Ok(format!("{}: {vectors} vectors", this.describe()))
        })
        .await
    }
}

/// A hash of a row as a reader has it.
fn content(key: &str, hash: RowHash, vector: Vec<f32>) -> RowHash {
    let (key, hash) = (Value::Text(key.to_owned()), Value::Bytes(hash.0.to_vec()));
    RowHash::of("vectors", [("hash", &hash), ("key", &key), ("vector", &Value::Vector(vector))])
}

fn vector_column<'a>(target: &SyncTarget, rows: &'a Rows) -> Result<&'a ArrayRef, Cause> {
    let name = target.vector.as_ref().map(|vector| vector.column.as_str()).unwrap_or_default();
    rows.batch.column_by_name(name).ok_or_else(|| format!("expected column `{name}`, found none").into())
}

/// The vector of a row: at least one number, and each of them finite.
fn vector(column: &ArrayRef, row: usize, key: &str) -> Result<Vec<f32>, Cause> {
    let vector: Vec<f32> = match Value::of(column.as_ref(), row)? {
        Value::Vector(vector) => vector,
        Value::List(items) => items.iter().map(number).collect::<Result<_, _>>()?,
        other => return Err(format!("expected a vector for `{key}`, found {other:?}").into()),
    };
    if vector.is_empty() || vector.iter().any(|x| !x.is_finite()) {
        return Err(format!("expected a vector of finite numbers for `{key}`, found {} or others", vector.len()).into());
    }
    Ok(vector)
}

#[expect(clippy::cast_possible_truncation, reason = "an embedding is kept in 32 bits")]
fn number(value: &Value) -> Result<f32, Cause> {
    match value {
        Value::Float(f) => Ok(*f as f32),
        other => Err(format!("expected numbers in a vector, found {other:?}").into()),
    }
}
