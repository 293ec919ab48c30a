//! Substring search in tantivy: any part of any text, also one syllable, exactly.
//!
//! Each text is folded and cut into grams of one and two characters. A query's grams must all be there, which finds everything that
//! holds the query and some things that don't (grams have no places: 국밥 and 밥국 look alike), so every candidate is verified against the
//! stored text. One index per table; the payload of its commit carries the cursor and the target, so data, cursor and meaning move
//! together. An index that cannot be opened is built again from the lake.

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{TableName, failpoint};
use serde::{Deserialize, Serialize};
use tantivy::schema::{
    Field, IndexRecordOption, STORED, STRING, Schema, TantivyDocument, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::NgramTokenizer;
use tantivy::{Index, IndexWriter, Term};

use super::{Apply, Rows, Sink, table_dir, table_dirs};
use crate::error::{Error, Result, blocking};
use crate::keys::Hashes;
use crate::target::{Cursor, SinkKind, SyncTarget};
use crate::text::{fold, nfc};
use crate::value::Value;

pub(crate) mod index;

use index::KeywordIndex;

/// Raise it when the fields or the grams change: older indexes are then built anew.
const FORMAT: u32 = 1;
const GRAM: &str = "gram";
/// Memory of each indexing thread before it writes a segment (bytes).
const THREAD_MEMORY_BYTES: usize = 32 << 20;
/// More threads make more segments, not more speed, at our sizes.
const MAX_THREADS: usize = 4;

/// One tantivy index per table, under one folder.
#[derive(Debug, Clone)]
pub struct Keywords {
    root: PathBuf,
}

/// What a commit carries beside its documents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Payload {
    format: u32,
    pub(crate) cursor: Cursor,
    pub(crate) target: SyncTarget,
}

/// One text of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// The column it is from.
    pub(crate) column: String,
    /// Whether that column is a list: tags, keywords, situations.
    pub(crate) list: bool,
    /// As it was written, NFC.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy)]
struct Fields {
    key: Field,
    entity: Field,
    hash: Field,
    title: Field,
    passages: Field,
    gram: Field,
}

fn schema() -> (Schema, Fields) {
    let grams = TextFieldIndexing::default()
        .set_tokenizer(GRAM)
        .set_index_option(IndexRecordOption::Basic)
        .set_fieldnorms(false);
    let mut schema = Schema::builder();
    let fields = Fields {
        key: schema.add_text_field("key", STRING | STORED),
        entity: schema.add_text_field("entity", STRING | STORED),
        hash: schema.add_text_field("hash", STORED),
        title: schema.add_text_field("title", STORED),
        passages: schema.add_text_field("passages", STORED),
        gram: schema.add_text_field(GRAM, TextOptions::default().set_indexing_options(grams)),
    };
    (schema.build(), fields)
}

/// Opens the index in `dir`; `None` when there is none, or none that this version of the code can read.
fn open(dir: &Path) -> Result<Option<Index>> {
    let fail = |e: tantivy::TantivyError| Error::sink(SinkKind::Keywords, "opening", dir, e);
    if !dir.join("meta.json").exists() {
        return Ok(None);
    }
    let index = match Index::open_in_dir(dir) {
        Ok(index) if index.schema() == schema().0 => index,
        Ok(_) => return Ok(None),
        Err(tantivy::TantivyError::LockFailure(lock, detail)) => {
            return Err(fail(tantivy::TantivyError::LockFailure(lock, detail)));
        }
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "the keyword index is damaged and is built again from the lake");
            return Ok(None);
        }
    };
    index.tokenizers().register(GRAM, NgramTokenizer::new(1, 2, false).map_err(fail)?);
    Ok(Some(index))
}

fn payload(index: &Index) -> Option<Payload> {
    let payload: Payload = serde_json::from_str(&index.load_metas().ok()?.payload?).ok()?;
    (payload.format == FORMAT).then_some(payload)
}

impl Keywords {
    /// Nothing is touched before the first call.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

#[async_trait]
impl Sink for Keywords {
    fn kind(&self) -> SinkKind {
        SinkKind::Keywords
    }

    fn describe(&self) -> String {
        format!("keyword indexes in {}", self.root.display())
    }

    async fn targets(&self) -> Result<Vec<TableName>> {
        table_dirs(&self.root)
    }

    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>> {
        let dir = table_dir(&self.root, table);
        blocking(move || Ok(open(&dir)?.as_ref().and_then(payload).map(|p| p.cursor))).await
    }

    async fn hashes(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Hashes> {
        let dir = table_dir(&self.root, &target.table);
        blocking(move || {
            let Some(index) = KeywordIndex::open(&dir)? else { return Ok(Hashes::default()) };
            let mut hashes = Hashes::default();
            index.each(|document| hashes.push(&document.key, document.hash))?;
            Ok(hashes)
        })
        .await
    }

    async fn begin(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Box<dyn Apply>> {
        Ok(Box::new(Change { dir: table_dir(&self.root, &target.table), target: target.clone(), writer: None }))
    }

    async fn content(&self, table: &TableName) -> Result<Vec<String>> {
        let dir = table_dir(&self.root, table);
        blocking(move || {
            let Some(index) = KeywordIndex::open(&dir)? else { return Ok(Vec::new()) };
            let mut lines = Vec::new();
            index.each(|document| lines.push(crate::value::content_hash([format!("{document:?}").as_bytes()])))?;
            Ok(lines)
        })
        .await
    }

    async fn doctor(&self) -> Result<String> {
        let this = self.clone();
        blocking(move || {
            std::fs::create_dir_all(&this.root).map_err(|e| Error::io("creating", &this.root, e))?;
            let mut documents = 0;
            for table in table_dirs(&this.root)? {
                documents += KeywordIndex::open(&table_dir(&this.root, &table))?.map_or(0, |index| index.documents());
            }
            Ok(format!("{}: {documents} documents", this.describe()))
        })
        .await
    }
}

/// A change under way; the writer is opened by the first row.
struct Change {
    dir: PathBuf,
    target: SyncTarget,
    writer: Option<IndexWriter>,
}

impl Change {
    async fn work(
        &mut self,
        work: impl FnOnce(&mut IndexWriter) -> Result<(), crate::error::Cause> + Send + 'static,
    ) -> Result<()> {
        let (dir, writer) = (self.dir.clone(), self.writer.take());
        let writer = blocking(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => create(&dir)?,
            };
            work(&mut writer).map_err(|e| Error::sink(SinkKind::Keywords, "writing", dir, e))?;
            Ok(writer)
        })
        .await?;
        self.writer = Some(writer);
        Ok(())
    }
}

/// Opens the index for writing, creating it when it is not there or not readable.
fn create(dir: &Path) -> Result<IndexWriter> {
    let fail = |e: tantivy::TantivyError| Error::sink(SinkKind::Keywords, "opening", dir, e);
    let index = match open(dir)? {
        Some(index) if payload(&index).is_some() => index,
        _ => {
            match std::fs::remove_dir_all(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("removing", dir, e)),
                _ => {}
            }
            std::fs::create_dir_all(dir).map_err(|e| Error::io("creating", dir, e))?;
            let index = Index::create_in_dir(dir, schema().0).map_err(fail)?;
            index.tokenizers().register(GRAM, NgramTokenizer::new(1, 2, false).map_err(fail)?);
            index
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_THREADS);
    index.writer_with_num_threads(threads, threads * THREAD_MEMORY_BYTES).map_err(fail)
}

fn document(
    target: &SyncTarget,
    fields: Fields,
    rows: &Rows,
    row: usize,
) -> Result<TantivyDocument, crate::error::Cause> {
    let cell = |name: &str| -> Result<Value, crate::error::Cause> {
        let column = rows.batch.column_by_name(name).ok_or_else(|| format!("expected column `{name}`, found none"))?;
        Ok(Value::of(column, row)?)
    };
    let mut document = TantivyDocument::default();
    document.add_text(fields.key, &rows.keys[row]);
    document.add_text(fields.hash, rows.hashes[row].to_hex());
    if let Some(entity) = &target.entity
        && let Some(key) = cell(&entity.column)?.as_key()
    {
        document.add_text(fields.entity, key);
    }
    if let Some(Value::Text(title)) = target.title.as_deref().map(cell).transpose()? {
        document.add_text(fields.title, nfc(&title));
    }
    let mut passages = Vec::new();
    for column in &target.texts {
        let value = cell(column)?;
        let list = matches!(value, Value::List(_));
        passages.extend(value.texts().iter().map(|text| Passage { column: column.clone(), list, text: nfc(text) }));
    }
    for passage in &passages {
        document.add_text(fields.gram, fold(&passage.text));
    }
    document.add_text(fields.passages, serde_json::to_string(&passages)?);
    Ok(document)
}

#[async_trait]
impl Apply for Change {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        let target = self.target.clone();
        self.work(move |writer| {
            let fields = schema().1;
            for row in 0..rows.keys.len() {
                writer.delete_term(Term::from_field_text(fields.key, &rows.keys[row]));
                writer.add_document(document(&target, fields, &rows, row)?)?;
            }
            Ok(())
        })
        .await
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        self.work(move |writer| {
            for key in &keys {
                writer.delete_term(Term::from_field_text(schema().1.key, key));
            }
            Ok(())
        })
        .await
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        let payload = Payload { format: FORMAT, cursor, target: self.target.clone() };
        self.work(move |writer| {
            let payload = serde_json::to_string(&payload)?;
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&payload);
            failpoint!("load.keywords.before");
            prepared.commit()?;
            failpoint!("load.keywords.after");
            Ok(())
        })
        .await?;
        let (dir, writer) = (self.dir.clone(), self.writer.take());
        blocking(move || match writer {
            Some(writer) => {
                writer.wait_merging_threads().map_err(|e| Error::sink(SinkKind::Keywords, "merging", dir, e))
            }
            None => Ok(()),
        })
        .await
    }
}
