//! A keyword index as its readers have it: one state of one table, which stays as it is while a sync writes the next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tantivy::collector::DocSetCollector;
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, TantivyDocument, Value as _};
use tantivy::{DocAddress, ReloadPolicy, Searcher, Term};

use super::{Fields, Passage, Payload, open, payload, schema};
use crate::error::{Error, Result};
use crate::target::{Cursor, SinkKind, SyncTarget};
use crate::text::fold;
use crate::value::RowHash;

pub(crate) mod candidates;

/// A row as it was indexed.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) key: String,
    /// The key of the row of another target that this one is about.
    pub(crate) entity: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) hash: RowHash,
    pub(crate) passages: Vec<Passage>,
}

impl Document {
    /// The first passage that holds `needle` (folded).
    pub(crate) fn passage_with(&self, needle: &str) -> Option<&Passage> {
        self.passages.iter().find(|passage| passage.holds(needle))
    }
}

impl Passage {
    /// Whether its text holds `needle` (folded).
    pub(crate) fn holds(&self, needle: &str) -> bool {
        fold(&self.text).contains(needle)
    }
}

/// One table's index at one commit.
pub(crate) struct KeywordIndex {
    dir: PathBuf,
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
        let Some(Payload { target, cursor, .. }) = payload(&index) else { return Ok(None) };
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader: tantivy::IndexReader = reader.map_err(|e| Error::sink(SinkKind::Keywords, "opening", dir, e))?;
        Ok(Some(Self {
            dir: dir.to_owned(),
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

    /// Calls `each` with every document.
    pub(crate) fn each(&self, mut each: impl FnMut(Document)) -> Result<()> {
        for segment in self.searcher.segment_readers() {
            let store = segment.get_store_reader(8).map_err(|e| self.error(e))?;
            for document in store.iter::<TantivyDocument>(segment.alive_bitset()) {
                each(self.document(&document.map_err(|e| self.error(e))?)?);
            }
        }
        Ok(())
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

    fn error(&self, source: impl Into<crate::error::Cause>) -> Error {
        Error::sink(SinkKind::Keywords, "reading", &self.dir, source)
    }
}
