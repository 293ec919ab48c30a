//! Substring search in tantivy: any part of any text, also one syllable, exactly.
//!
//! Each text is folded and cut into grams of one and two characters. A query's grams must all be there, which finds everything that
//! holds the query and some things that don't (grams have no places: 국밥 and 밥국 look alike), so every candidate is verified against the
//! stored text. One index per table; the payload of its commit carries the cursor and the target, so data, cursor and meaning move
//! together. An index that cannot be opened is built again from the lake.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{TableName, failpoint};
use serde::{Deserialize, Serialize};
use tantivy::schema::{
    FAST, Field, IndexRecordOption, STORED, STRING, Schema, TantivyDocument, TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::NgramTokenizer;
use tantivy::{Index, IndexWriter, Term};

use super::parts::parts;
use super::{
    Apply, Contents, Member, Roles, Rows, Sink, SinkKind, SinkPlace, Start, counted, forget_dir, table_dir, table_dirs,
};
use crate::error::{Error, Result, blocking};
use crate::keys::Hashes;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;
use rows::text::fold;

pub(crate) mod document;
pub(crate) mod index;

use document::Document;
use index::KeywordIndex;

pub(super) const MEMBER: Member = Member {
    place: SinkPlace::Folder(|dir| Arc::new(Keywords::new(super::keywords_dir(dir)))),
    refused: |_, _| None,
    roles: |target, _| {
        let (key, texts, title, entity) = (&target.key, &target.texts, &target.title, &target.entity);
        let columns = texts.iter().chain(title).cloned().chain(entity.iter().map(|it| it.column.clone())).collect();
        let text = format!("key={key} texts={texts:?} title={title:?} entity={entity:?}");
        Ok(Roles { columns, required: None, text })
    },
};

/// Raise it when the fields or the grams change: older indexes are then built anew.
const FORMAT: u32 = 2;
/// The oldest that can still be asked; the next sync builds it anew.
const OLDEST: u32 = 1;
const GRAM: &str = "gram";
const ROW: &str = "row";
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

#[derive(Debug, Clone, Copy)]
struct Fields {
    key: Field,
    entity: Field,
    hash: Field,
    title: Field,
    passages: Field,
    gram: Field,
    /// Hash and key once more, in a column: what a sync reads of every row without its texts.
    row: Option<Field>,
}

/// The fields of an index of today, or of one that an older program made: without the column for syncs, which stands behind all
/// that a question reads.
fn schema_of(format: u32) -> (Schema, Fields) {
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
        row: if format == FORMAT { Some(schema.add_bytes_field(ROW, FAST)) } else { None },
    };
    (schema.build(), fields)
}

fn schema() -> (Schema, Fields) {
    schema_of(FORMAT)
}

/// Opens the index in `dir`; `None` when there is none, or none that this version of the code can read.
fn open(dir: &Path) -> Result<Option<Index>> {
    let fail = |e: tantivy::TantivyError| Error::sink(SinkKind::Keywords, "opening", dir, e);
    if !dir.join("meta.json").exists() {
        return Ok(None);
    }
    let index = match Index::open_in_dir(dir) {
        Ok(index) if (OLDEST..=FORMAT).any(|format| index.schema() == schema_of(format).0) => index,
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
    (OLDEST..=FORMAT).contains(&payload.format).then_some(payload)
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
        blocking(move || match KeywordIndex::open(&dir) {
            Ok(index) => Ok(index.map(|index| index.cursor)),
            // Its files are there and can't be opened together: nothing that can be read.
            Err(error) if open(&dir)?.is_some() => {
                tracing::warn!(dir = %dir.display(), %error, "the keyword index is damaged and is built again from the lake");
                Ok(None)
            }
            Err(error) => Err(error),
        })
        .await
    }

    async fn fits(&self, target: &SyncTarget, _: &SchemaRef) -> Result<bool> {
        let (dir, target) = (table_dir(&self.root, &target.table), target.clone());
        blocking(move || {
            let Some(index) = open(&dir)? else { return Ok(false) };
            let fits = payload(&index)
                .is_some_and(|it| it.format == FORMAT && SinkKind::Keywords.takes_alike(&it.target, &target));
            Ok(fits && is_whole(&index))
        })
        .await
    }

    async fn hashes(&self, target: &SyncTarget, _: &SchemaRef) -> Result<Hashes> {
        let dir = table_dir(&self.root, &target.table);
        let key = target.key.clone();
        blocking(move || match KeywordIndex::open(&dir) {
            // Under another key none of its rows is one of those to come.
            Ok(Some(index)) if index.target.key != key => Ok(Hashes::default()),
            Ok(Some(index)) => index.hashes(),
            Ok(None) => Ok(Hashes::default()),
            Err(_) if open(&dir)?.is_some() => Ok(Hashes::default()),
            Err(error) => Err(error),
        })
        .await
    }

    async fn contents(&self, table: &TableName) -> Result<Contents> {
        let dir = table_dir(&self.root, table);
        Ok(parts(move |parts| match KeywordIndex::open(&dir)? {
            Some(index) => index.each(|document| parts.push(&document.key, document.content())),
            None => Ok(()),
        }))
    }

    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>> {
        let of = |row| Ok(Document::of(target, rows, row).map_err(|e| Error::row(&target.table, e))?.content());
        (0..rows.keys.len()).map(of).collect()
    }

    async fn begin(&self, target: &SyncTarget, _: &SchemaRef, start: Start) -> Result<Box<dyn Apply>> {
        let dir = table_dir(&self.root, &target.table);
        Ok(Box::new(KeywordsChange { dir, target: target.clone(), start, writer: None }))
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        let (root, table) = (self.root.clone(), table.clone());
        blocking(move || forget_dir(&root, &table)).await
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
struct KeywordsChange {
    dir: PathBuf,
    target: SyncTarget,
    start: Start,
    writer: Option<IndexWriter>,
}

impl KeywordsChange {
    async fn work(
        &mut self,
        work: impl FnOnce(&mut IndexWriter) -> Result<(), crate::fault::Cause> + Send + 'static,
    ) -> Result<()> {
        let (dir, start, writer) = (self.dir.clone(), self.start, self.writer.take());
        let key = self.target.key.clone();
        let writer = blocking(move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => create(&dir, start, &key)?,
            };
            work(&mut writer).map_err(|e| Error::sink(SinkKind::Keywords, "writing", dir, e))?;
            Ok(writer)
        })
        .await?;
        self.writer = Some(writer);
        Ok(())
    }
}

/// Opens the index for writing, creating it when it is not there or not readable. What is to go of one that is readable goes with the
/// commit, so that its readers have it until then.
fn create(dir: &Path, start: Start, key: &str) -> Result<IndexWriter> {
    let fail = |e: tantivy::TantivyError| Error::sink(SinkKind::Keywords, "opening", dir, e);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_THREADS);
    let writer = |index: &Index| index.writer_with_num_threads(threads, threads * THREAD_MEMORY_BYTES).map_err(fail);
    if let Some(index) = open(dir)?
        && let Ok(Some(standing)) = KeywordIndex::open(dir)
        && standing.is_of_today
        && (start == Start::Existing || is_whole(&index))
    {
        let writer = writer(&index)?;
        // A kill leaves files that no commit names, and the next commit may want their names.
        let _ = writer.garbage_collect_files().wait().map_err(fail)?;
        if start == Start::Anew || standing.target.key != key {
            writer.delete_all_documents().map_err(fail)?;
        }
        return Ok(writer);
    }
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("removing", dir, e)),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(|e| Error::io("creating", dir, e))?;
    let index = Index::create_in_dir(dir, schema().0).map_err(fail)?;
    index.tokenizers().register(GRAM, NgramTokenizer::new(1, 2, false).map_err(fail)?);
    writer(&index)
}

/// Whether its files are those that were written. Reads all of them.
fn is_whole(index: &Index) -> bool {
    index.validate_checksum().is_ok_and(|damaged| damaged.is_empty())
}

/// A document as the index takes it.
fn indexed(document: &Document, fields: Fields) -> Result<TantivyDocument, crate::fault::Cause> {
    let mut indexed = TantivyDocument::default();
    indexed.add_text(fields.key, &document.key);
    indexed.add_text(fields.hash, document.hash.to_hex());
    if let Some(row) = fields.row {
        indexed.add_bytes(row, &[&document.hash.0, document.key.as_bytes()].concat());
    }
    if let Some(entity) = &document.entity {
        indexed.add_text(fields.entity, entity);
    }
    if let Some(title) = &document.title {
        indexed.add_text(fields.title, title);
    }
    for passage in &document.passages {
        indexed.add_text(fields.gram, fold(&passage.text));
    }
    indexed.add_text(fields.passages, serde_json::to_string(&document.passages)?);
    Ok(indexed)
}

#[async_trait]
impl Apply for KeywordsChange {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        let target = self.target.clone();
        self.work(move |writer| {
            let fields = schema().1;
            for row in 0..rows.keys.len() {
                // The writer keeps every deletion in memory until it commits: none for a key that is not there.
                if rows.replaces[row] {
                    writer.delete_term(Term::from_field_text(fields.key, &rows.keys[row]));
                }
                writer.add_document(indexed(&Document::of(&target, &rows, row)?, fields)?)?;
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
        let payload = Payload { format: FORMAT, cursor: cursor.clone(), target: self.target.clone() };
        self.work(move |writer| {
            let payload = serde_json::to_string(&payload)?;
            let mut prepared = writer.prepare_commit()?;
            prepared.set_payload(&payload);
            failpoint!("load.keywords.before");
            prepared.commit()?;
            failpoint!("load.keywords.after");
            // What a commit holds is known once it is one. A wrong one is void at once, and the next sync makes the index anew.
            let counted = counted(writer.index().reader()?.searcher().num_docs(), &cursor);
            if counted.is_err() {
                writer.prepare_commit()?.commit()?;
            }
            Ok(counted?)
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
