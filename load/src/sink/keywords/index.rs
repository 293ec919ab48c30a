//! A keyword index as its readers have it: one state of one table, which stays as it is while a sync writes the next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tantivy::collector::DocSetCollector;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, TantivyDocument, Value as _};
use tantivy::{DocAddress, ReloadPolicy, Searcher, Term};

use super::document::Document;
use super::{FORMAT, Fields, Payload, ROW, open, payload, schema};
use crate::error::{Error, Result};
use crate::keys::Hashes;
use crate::kind::SinkKind;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

pub(crate) mod candidates;

/// One table's index at one commit.
pub(crate) struct KeywordIndex {
    dir: PathBuf,
    /// Whether a sync can go on with it; one of an older program only answers.
    pub(super) is_of_today: bool,
    pub(crate) target: SyncTarget,
    /// How far it has come with its table.
    pub(crate) cursor: Cursor,
    fields: Fields,
    searcher: Searcher,
    documents_read: AtomicU64,
}

impl KeywordIndex {
    /// `None` when nothing was ever committed here, or nothing that can be read.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>> {
        let Some(index) = open(dir)? else { return Ok(None) };
        let Some(Payload { cursor, target, format }) = payload(&index) else { return Ok(None) };
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader: tantivy::IndexReader = reader.map_err(|e| Error::sink(SinkKind::Keywords, "opening", dir, e))?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            is_of_today: format == FORMAT,
            target,
            cursor,
            fields: schema().1,
            searcher: reader.searcher(),
            documents_read: AtomicU64::new(0),
        }))
    }

    pub(crate) fn documents(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// The document with this key.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Document>> {
        let query = TermQuery::new(Term::from_field_text(self.fields.key, key), IndexRecordOption::Basic);
        let found = self.searcher.search(&query, &DocSetCollector).map_err(|e| self.error(e))?;
        found.into_iter().min().map(|address| self.read(address)).transpose()
    }

    /// Finds what has every gram of `needle` (folded, not empty).
    fn grams(&self, needle: &str) -> BooleanQuery {
        let chars: Vec<char> = needle.chars().collect();
        let grams: BTreeSet<String> = match chars.len() {
            0 | 1 => BTreeSet::from([needle.to_owned()]),
            _ => chars.windows(2).map(|pair| pair.iter().collect()).collect(),
        };
        let has = |gram: &String| -> Box<dyn Query> {
            Box::new(TermQuery::new(Term::from_field_text(self.fields.gram, gram), IndexRecordOption::Basic))
        };
        BooleanQuery::intersection(grams.iter().map(has).collect())
    }

    /// Calls `each` with every document, until it says `false`.
    pub(super) fn each(&self, mut each: impl FnMut(Document) -> bool) -> Result<()> {
        for segment in self.searcher.segment_readers() {
            let store = segment.get_store_reader(8).map_err(|e| self.error(e))?;
            for document in store.iter::<TantivyDocument>(segment.alive_bitset()) {
                if !each(self.document(&document.map_err(|e| self.error(e))?)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Key and hash of every document, from the column that holds nothing else.
    pub(super) fn hashes(&self) -> Result<Hashes> {
        let mut hashes = Hashes::default();
        if !self.is_of_today {
            return Ok(hashes);
        }
        for segment in self.searcher.segment_readers() {
            let Some(rows) = segment.fast_fields().bytes(ROW).map_err(|e| self.error(e))? else { continue };
            // Each row has a term of its own. They are read in the order in which they lie; those of rows that are gone stay among
            // them until their segment is merged.
            let mut alive = vec![false; rows.num_terms()];
            for document in segment.doc_ids_alive() {
                for term in rows.term_ords(document) {
                    if let Some(alive) = usize::try_from(term).ok().and_then(|term| alive.get_mut(term)) {
                        *alive = true;
                    }
                }
            }
            let mut terms = rows.dictionary().stream().map_err(|e| self.error(e))?;
            let mut alive = alive.into_iter();
            while terms.advance() {
                if alive.next() == Some(true)
                    && let Some((hash, key)) = terms.key().split_first_chunk()
                    && let Ok(key) = std::str::from_utf8(key)
                {
                    hashes.push(key, RowHash(*hash));
                }
            }
        }
        Ok(hashes)
    }

    fn read(&self, address: DocAddress) -> Result<Document> {
        self.documents_read.fetch_add(1, Ordering::Relaxed);
        self.document(&self.searcher.doc::<TantivyDocument>(address).map_err(|e| self.error(e))?)
    }

    fn document(&self, document: &TantivyDocument) -> Result<Document> {
        let text = |field| document.get_first(field).and_then(|value| value.as_str().map(str::to_owned));
        Ok(Document {
            key: text(self.fields.key).unwrap_or_default(),
            entity: text(self.fields.entity),
            title: text(self.fields.title),
            hash: text(self.fields.hash).as_deref().and_then(RowHash::from_hex).unwrap_or(RowHash([0; 16])),
            passages: serde_json::from_str(&text(self.fields.passages).unwrap_or_default())
                .map_err(|e| self.error(e))?,
        })
    }

    fn error(&self, source: impl Into<crate::fault::Cause>) -> Error {
        Error::sink(SinkKind::Keywords, "reading", &self.dir, source)
    }
}
