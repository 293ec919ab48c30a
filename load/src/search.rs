//! Questions to the serving folder: by part of a word, exactly; or in words, by keyword and vector, fused.
//!
//! The folder describes itself (each index carries its target), so a search needs no configuration and no lake. What is found are
//! **entities**: rows of a target that is not about another (places). Texts about them (reviews) are evidence, and each hit says which.
//! A query is data: it is folded and compared, never parsed as a query language.
//!
//! The hard part is fairness between a place with 5,000 reviews and one with 20: see `rank.rs`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use catalog::TableName;
use rusqlite::Connection;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::llm::Llm;
use crate::serving::{keywords_dir, vectors_dir};
use crate::sink::keywords::index::{Document, KeywordIndex, Seen};
use crate::sink::sqlite::{self, Sqlite};
use crate::sink::vectors::index::VectorIndex;
use crate::sink::{table_dir, table_dirs};
use crate::target::SinkKind;
use crate::text::{fold, nfc, sentence_with};

mod query;
mod rank;
mod reasons;
#[cfg(test)]
mod tests;

use query::Term;
use rank::Evidence;

/// How many neighbours take part in the fusion.
const NEIGHBOURS: usize = 100;
/// A cosine below this is noise of the projection.
const MIN_COSINE: f32 = 0.1;

/// An opened serving folder: one state of it, which stays as it is while a sync writes the next.
pub struct Search {
    keywords: Vec<KeywordIndex>,
    vectors: Vec<VectorIndex>,
    tables: Option<Mutex<Connection>>,
}

/// A row that answers a question.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// The table it is in.
    pub table: TableName,
    /// Its key.
    pub key: String,
    /// What people call it; the key where it has no title.
    pub title: String,
    /// The fused score; only the order means something.
    pub score: f64,
    /// Its columns from the serving table, without the vector; empty where the `sqlite` sink is not used.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// Why it is here, the strongest first.
    pub reasons: Vec<Reason>,
}

/// One piece of evidence.
#[derive(Debug, Clone, Serialize)]
pub struct Reason {
    /// How it was found.
    pub kind: ReasonKind,
    /// What matched: a part of the query, or a related word; the whole query for a vector.
    pub term: String,
    /// The best sentence that shows it.
    pub sentence: String,
    /// The table the sentence is from: the entity's own, or that of the texts about it.
    pub from: TableName,
    /// The key of the row the sentence is from: a place, or a review.
    pub from_key: String,
    /// How many rows show it.
    pub rows: u64,
    /// Its part of the keyword score, or the cosine.
    pub score: f64,
}

/// How a piece of evidence was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonKind {
    /// A text holds the term.
    Keyword,
    /// A tag does: a voted keyword, a situation of a visit.
    Situation,
    /// The texts are near as a whole.
    Vector,
}

/// An entity whose texts hold a substring.
#[derive(Debug, Clone, Serialize)]
pub struct KeywordHit {
    /// The table it is in.
    pub table: TableName,
    /// Its key.
    pub key: String,
    /// What people call it; the key where it has no title.
    pub title: String,
    /// How many rows hold it: its own and those about it.
    pub rows: u64,
    /// Whether its own row does.
    pub own: bool,
    /// The first sentence with it, from its own row if that has it.
    pub sentence: String,
    /// The table the sentence is from.
    pub from: TableName,
    /// The key of the row the sentence is from.
    pub from_key: String,
}

/// An entity: its table and key.
type Id = (TableName, String);

/// Everything one term of a query matched.
struct Matched {
    label: String,
    weight: f64,
    /// (index, document, alternative), in a fixed order.
    documents: Vec<(usize, Rc<Document>, usize)>,
    alternatives: Vec<query::Alternative>,
}

impl Search {
    /// Opens a serving folder. One that is not there yet answers nothing.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut keywords = Vec::new();
        let root = keywords_dir(dir);
        for table in table_dirs(&root)? {
            keywords.extend(KeywordIndex::open(&table_dir(&root, &table))?);
        }
        let mut vectors = Vec::new();
        let root = vectors_dir(dir);
        for table in table_dirs(&root)? {
            vectors.extend(VectorIndex::open(&table_dir(&root, &table))?);
        }
        let tables = Sqlite::new(sqlite::path(dir)).read()?.map(Mutex::new);
        Ok(Self { keywords, vectors, tables })
    }

    /// Every entity with `part` in its own texts or in a text about it: exact, complete, the most mentioned first.
    pub fn keyword(&self, part: &str) -> Result<Vec<KeywordHit>> {
        let needle = fold(part.trim());
        if needle.is_empty() {
            return Err(Error::EmptyQuery { query: part.to_owned() });
        }
        let mut found: BTreeMap<Id, (u64, bool, usize, Rc<Document>)> = BTreeMap::new();
        for (at, index) in self.keywords.iter().enumerate() {
            for document in index.find(&needle, &mut Seen::default())? {
                let Some(id) = entity_of(index, &document) else { continue };
                let own = index.target.entity.is_none();
                let entry = found.entry(id).or_insert_with(|| (0, false, at, Rc::clone(&document)));
                entry.0 += 1;
                if own {
                    *entry = (entry.0, true, at, document);
                }
            }
        }
        let mut hits = Vec::with_capacity(found.len());
        for ((table, key), (rows, own, at, document)) in found {
            let title = self.title(&table, &key)?;
            let passage = document.passage_with(&needle).map(|p| p.text.as_str()).unwrap_or_default();
            let sentence = sentence_with(passage, &needle);
            let from = self.keywords[at].target.table.clone();
            hits.push(KeywordHit { table, key, title, rows, own, sentence, from, from_key: document.key.clone() });
        }
        hits.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| (&a.table, &a.key).cmp(&(&b.table, &b.key))));
        Ok(hits)
    }

    /// The entities that answer `question` best, at most `limit`, each with its reasons.
    pub async fn search(&self, question: &str, limit: usize, llm: &dyn Llm) -> Result<Vec<Hit>> {
        let terms = query::parse(question)?;
        let model = llm.embedder().id();
        let usable = self.vectors.iter().any(|index| index.target.vector.as_ref().is_some_and(|v| v.model == model));
        let vector =
            if usable { llm.embed(&[nfc(question)]).await?.into_iter().next().map(|e| e.vector) } else { None };
        self.ranked(question, terms, vector.as_deref(), &model, limit)
    }

    fn ranked(
        &self,
        question: &str,
        terms: Vec<Term>,
        vector: Option<&[f32]>,
        model: &str,
        limit: usize,
    ) -> Result<Vec<Hit>> {
        let matched = self.matched(terms)?;
        let mut ids: BTreeMap<Id, usize> = BTreeMap::new();
        for matched in &matched {
            for (at, document, _) in &matched.documents {
                if let Some(id) = entity_of(&self.keywords[*at], document) {
                    let next = ids.len();
                    ids.entry(id).or_insert(next);
                }
            }
        }
        let evidence = self.evidence(&matched, &ids)?;
        let scored = rank::score(&evidence);
        let near = self.near(vector, model, &mut ids)?;
        let by_number: HashMap<usize, &Id> = ids.iter().map(|(id, number)| (*number, id)).collect();
        let mut by_keyword: Vec<usize> = (0..scored.len()).filter(|n| scored[*n].total > 0.0).collect();
        by_keyword
            .sort_by(|a, b| scored[*b].total.total_cmp(&scored[*a].total).then_with(|| by_number[a].cmp(by_number[b])));
        let by_vector: Vec<usize> = near.iter().map(|(number, ..)| *number).collect();
        let mut fused = rank::fuse(&[(by_keyword, rank::KEYWORD_WEIGHT), (by_vector, rank::VECTOR_WEIGHT)]);
        fused.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| by_number[&a.0].cmp(by_number[&b.0])));
        fused.truncate(limit);
        let mut hits = Vec::with_capacity(fused.len());
        for (number, score) in fused {
            let (table, key) = by_number[&number];
            let own = self.own(table, key)?;
            let mut reasons = scored.get(number).map_or_else(Vec::new, |s| {
                reasons::by_term(&self.keywords, &matched, &evidence, (table, key), &s.parts)
            });
            if let Some((_, cosine, from)) = near.iter().find(|(n, ..)| *n == number) {
                let sentence =
                    own.as_ref().map(|(_, document)| reasons::nearest_sentence(document, question)).unwrap_or_default();
                reasons.push(Reason {
                    kind: ReasonKind::Vector,
                    term: question.to_owned(),
                    sentence,
                    from: from.clone(),
                    from_key: key.clone(),
                    rows: 1,
                    score: f64::from(*cosine),
                });
            }
            let title = own.and_then(|(_, document)| document.title).unwrap_or_else(|| key.clone());
            hits.push(Hit {
                table: table.clone(),
                key: key.clone(),
                title,
                score,
                fields: self.fields(table, key)?,
                reasons,
            });
        }
        Ok(hits)
    }

    /// Finds the documents of each term; a phrase that nobody wrote falls apart into its words.
    fn matched(&self, terms: Vec<Term>) -> Result<Vec<Matched>> {
        let mut seen: Vec<Seen> = self.keywords.iter().map(|_| Seen::default()).collect();
        let mut queue: std::collections::VecDeque<Term> = terms.into();
        let mut matched = Vec::new();
        while let Some(term) = queue.pop_front() {
            let mut documents: BTreeMap<(usize, String), (Rc<Document>, usize)> = BTreeMap::new();
            for (at, index) in self.keywords.iter().enumerate() {
                for (choice, alternative) in term.alternatives.iter().enumerate() {
                    for document in index.find(&alternative.text, &mut seen[at])? {
                        documents.entry((at, document.key.clone())).or_insert((document, choice));
                    }
                }
            }
            if documents.is_empty() && !term.fallback.is_empty() {
                for word in term.fallback.into_iter().rev() {
                    queue.push_front(word);
                }
                continue;
            }
            let documents = documents.into_iter().map(|((at, _), (document, choice))| (at, document, choice)).collect();
            matched.push(Matched {
                label: term.label,
                weight: term.weight,
                documents,
                alternatives: term.alternatives,
            });
        }
        Ok(matched)
    }

    /// What the ranking needs to know, in numbers.
    fn evidence(&self, matched: &[Matched], ids: &BTreeMap<Id, usize>) -> Result<Evidence> {
        let mut sizes = vec![0; ids.len()];
        for ((table, key), number) in ids {
            let mut size = 1;
            for index in self.keywords.iter().filter(|i| i.target.entity.as_ref().is_some_and(|e| e.table == *table)) {
                size += index.documents_about(key)?;
            }
            sizes[*number] = size;
        }
        let documents = self.keywords.iter().map(KeywordIndex::documents).sum();
        let mut evidence = Evidence::new(documents, sizes);
        let mut numbers: HashMap<(usize, &str), usize> = HashMap::new();
        for matched in matched {
            let term = evidence.term(matched.weight);
            for (at, document, choice) in &matched.documents {
                let index = &self.keywords[*at];
                let Some(entity) = entity_of(index, document).and_then(|id| ids.get(&id).copied()) else { continue };
                let next = numbers.len();
                let number = *numbers.entry((*at, document.key.as_str())).or_insert(next);
                term.matches(entity, number, index.target.entity.is_none(), matched.alternatives[*choice].weight);
            }
        }
        Ok(evidence)
    }

    /// The nearest entities by vector, as (number, cosine, table of the vector).
    fn near(
        &self,
        vector: Option<&[f32]>,
        model: &str,
        ids: &mut BTreeMap<Id, usize>,
    ) -> Result<Vec<(usize, f32, TableName)>> {
        let mut near = Vec::new();
        let Some(vector) = vector else { return Ok(near) };
        for index in self.vectors.iter().filter(|i| i.target.vector.as_ref().is_some_and(|v| v.model == model)) {
            for (key, cosine) in
                index.nearest(vector, NEIGHBOURS)?.into_iter().filter(|(_, cosine)| *cosine >= MIN_COSINE)
            {
                let next = ids.len();
                let number = *ids.entry((index.target.table.clone(), key)).or_insert(next);
                near.push((number, cosine, index.target.table.clone()));
            }
        }
        near.sort_by(|a, b| b.1.total_cmp(&a.1));
        near.truncate(NEIGHBOURS);
        Ok(near)
    }

    /// The entity's own document, with the number of its index.
    fn own(&self, table: &TableName, key: &str) -> Result<Option<(usize, Document)>> {
        for (at, index) in self.keywords.iter().enumerate().filter(|(_, i)| i.target.table == *table) {
            if let Some(document) = index.get(key)? {
                return Ok(Some((at, document)));
            }
        }
        Ok(None)
    }

    fn title(&self, table: &TableName, key: &str) -> Result<String> {
        Ok(self.own(table, key)?.and_then(|(_, document)| document.title).unwrap_or_else(|| key.to_owned()))
    }

    fn fields(&self, table: &TableName, key: &str) -> Result<serde_json::Map<String, serde_json::Value>> {
        let Some(tables) = &self.tables else { return Ok(serde_json::Map::new()) };
        let targets = self.keywords.iter().map(|i| &i.target).chain(self.vectors.iter().map(|i| &i.target));
        let Some(target) = targets.into_iter().find(|t| t.table == *table) else { return Ok(serde_json::Map::new()) };
        let connection = tables.lock().unwrap_or_else(PoisonError::into_inner);
        let row = sqlite::layout::row(&connection, table, &target.key, key)
            .map_err(|e| Error::sink(SinkKind::Sqlite, "reading", table.to_string(), e))?;
        let mut row = row.unwrap_or_default();
        if let Some(vector) = &target.vector {
            row.shift_remove(&vector.column);
        }
        Ok(row)
    }
}

/// Which entity a document is evidence for: itself, or the one it is about.
fn entity_of(index: &KeywordIndex, document: &Document) -> Option<Id> {
    match &index.target.entity {
        None => Some((index.target.table.clone(), document.key.clone())),
        Some(entity) => document.entity.clone().map(|key| (entity.table.clone(), key)),
    }
}
