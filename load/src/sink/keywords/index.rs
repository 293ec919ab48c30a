//! A keyword index as its readers have it: one state of one table, which stays as it is while a sync writes the next.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tantivy::collector::{Count, DocSetCollector};
use tantivy::query::{BooleanQuery, Query, TermQuery};
use tantivy::schema::{IndexRecordOption, TantivyDocument, Value as _};
use tantivy::{DocAddress, ReloadPolicy, Searcher, Term};

use super::{Fields, Passage, Payload, open, payload, schema};
use crate::error::{Error, Result};
use crate::target::{SinkKind, SyncTarget};
use crate::text::fold;
use crate::value::RowHash;

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
        self.passages.iter().find(|passage| fold(&passage.text).contains(needle))
    }
}

/// Documents that were read once are kept for the next term of the same query.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<DocAddress, Arc<Document>>);

/// One table's index at one commit.
pub(crate) struct KeywordIndex {
    dir: PathBuf,
    pub(crate) target: SyncTarget,
    fields: Fields,
    searcher: Searcher,
}

impl KeywordIndex {
    /// `None` when nothing was ever committed here, or nothing that can be read.
    pub(crate) fn open(dir: &Path) -> Result<Option<Self>> {
        let Some(index) = open(dir)? else { return Ok(None) };
        let Some(Payload { target, .. }) = payload(&index) else { return Ok(None) };
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into();
        let reader: tantivy::IndexReader = reader.map_err(|e| Error::sink(SinkKind::Keywords, "opening", dir, e))?;
        Ok(Some(Self { dir: dir.to_owned(), target, fields: schema().1, searcher: reader.searcher() }))
    }

    pub(crate) fn documents(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// How many documents are about this entity.
    pub(crate) fn documents_about(&self, entity: &str) -> Result<u64> {
        let query = TermQuery::new(Term::from_field_text(self.fields.entity, entity), IndexRecordOption::Basic);
        self.searcher.search(&query, &Count).map(|n| n as u64).map_err(|e| self.error(e))
    }

    /// The document with this key.
    pub(crate) fn get(&self, key: &str) -> Result<Option<Document>> {
        let query = TermQuery::new(Term::from_field_text(self.fields.key, key), IndexRecordOption::Basic);
        let found = self.searcher.search(&query, &DocSetCollector).map_err(|e| self.error(e))?;
        found.into_iter().min().map(|address| self.read(address)).transpose()
    }

    /// Every document with a text that holds `needle` (folded, not empty), exactly, in the order of the keys.
    pub(crate) fn find(&self, needle: &str, seen: &mut Seen) -> Result<Vec<Arc<Document>>> {
        let chars: Vec<char> = needle.chars().collect();
        let grams: BTreeSet<String> = match chars.len() {
            0 => return Ok(Vec::new()),
            1 => BTreeSet::from([needle.to_owned()]),
            _ => chars.windows(2).map(|pair| pair.iter().collect()).collect(),
        };
        let clauses: Vec<Box<dyn Query>> = grams
            .iter()
            .map(|gram| {
                Box::new(TermQuery::new(Term::from_field_text(self.fields.gram, gram), IndexRecordOption::Basic))
                    as Box<dyn Query>
            })
            .collect();
        let candidates =
            self.searcher.search(&BooleanQuery::intersection(clauses), &DocSetCollector).map_err(|e| self.error(e))?;
        let mut candidates: Vec<DocAddress> = candidates.into_iter().collect();
        candidates.sort_unstable();
        let mut found = Vec::new();
        for address in candidates {
            let document = if let Some(document) = seen.0.get(&address) {
                Arc::clone(document)
            } else {
                let document = Arc::new(self.read(address)?);
                seen.0.insert(address, Arc::clone(&document));
                document
            };
            if document.passage_with(needle).is_some() {
                found.push(document);
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
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
