//! Which documents may hold what is looked for, found by grams alone: nothing that is stored with a document is read.
//!
//! Each document of a segment is marked with the pattern that it shows: for each term of a question, which of its spellings. Then one walk
//! over the keys (or over the entities) that the index knows counts the patterns of each. So the cost follows the length of posting lists,
//! four bytes a document, and not the texts; these are read for the few that are shown.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocId, DocSet as _, Score, SegmentOrdinal, SegmentReader, TERMINATED, Term};

use super::{Document, KeywordIndex};
use crate::error::Result;

/// A gram that stands for itself has this many characters at most: a longer needle is only likely where all its grams are.
const EXACT_CHARS: usize = 2;
/// So few candidates are asked one by one whom they are about, in an index that is much larger.
const FEW: u64 = 1_024;
/// How much larger: a document that is read costs as much as so many steps of a walk.
const MUCH_LARGER: u64 = 200;

/// Which spelling of each term a document shows: 0 for none, else its number from 1.
pub(crate) type Pattern = Vec<u8>;

/// How often each pattern is shown by the documents about one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mentions {
    /// The entity's key; the row's own where rows are about nothing else.
    pub(crate) entity: String,
    /// (number of the pattern, documents)
    pub(crate) patterns: Vec<(u32, u64)>,
}

/// What may hold the terms of one question.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    /// What the numbers mean; the first shows nothing.
    pub(crate) patterns: Vec<Pattern>,
    /// The pattern of each document of each segment; nothing of a segment without any.
    marks: Vec<Vec<u32>>,
    count: u64,
}

/// Whether grams alone prove that a text holds `needle`.
pub(crate) fn is_exact(needle: &str) -> bool {
    needle.chars().count() <= EXACT_CHARS
}

/// Numbers of the documents of each segment that a query finds, in their order.
struct Numbers;

struct SegmentNumbers {
    segment: SegmentOrdinal,
    documents: Vec<DocId>,
}

impl Collector for Numbers {
    type Fruit = Vec<(SegmentOrdinal, Vec<DocId>)>;
    type Child = SegmentNumbers;

    fn for_segment(&self, segment: SegmentOrdinal, _: &SegmentReader) -> tantivy::Result<Self::Child> {
        Ok(SegmentNumbers { segment, documents: Vec::new() })
    }

    fn requires_scoring(&self) -> bool {
        false
    }

    fn merge_fruits(&self, fruits: Vec<(SegmentOrdinal, Vec<DocId>)>) -> tantivy::Result<Self::Fruit> {
        Ok(fruits)
    }
}

impl SegmentCollector for SegmentNumbers {
    type Fruit = (SegmentOrdinal, Vec<DocId>);

    fn collect(&mut self, document: DocId, _: Score) {
        self.documents.push(document);
    }

    fn harvest(self) -> Self::Fruit {
        (self.segment, self.documents)
    }
}

impl KeywordIndex {
    /// Marks what may hold a spelling of a term; of several spellings the first counts. `terms` are folded and not empty.
    pub(crate) fn candidates(&self, terms: &[Vec<String>]) -> Result<Candidates> {
        let segments = self.searcher.segment_readers();
        let mut marks: Vec<Vec<u32>> = vec![Vec::new(); segments.len()];
        let mut patterns: Vec<Pattern> = vec![vec![0; terms.len()]];
        let mut steps: HashMap<(u32, usize, u8), u32> = HashMap::new();
        let mut count = 0;
        for (term, spellings) in terms.iter().enumerate() {
            for (spelling, needle) in spellings.iter().enumerate() {
                let choice = u8::try_from(spelling + 1).unwrap_or(u8::MAX);
                let found = self.searcher.search(&self.grams(needle), &Numbers).map_err(|e| self.error(e))?;
                for (segment, documents) in found {
                    let at = segment as usize;
                    if marks[at].is_empty() && !documents.is_empty() {
                        marks[at] = vec![0; segments[at].max_doc() as usize];
                    }
                    for document in documents {
                        let mark = &mut marks[at][document as usize];
                        let before = *mark;
                        *mark = *steps
                            .entry((before, term, choice))
                            .or_insert_with(|| step(&mut patterns, before, term, choice));
                        count += u64::from(before == 0);
                    }
                }
            }
        }
        Ok(Candidates { patterns, marks, count })
    }

    /// How often each entity is mentioned, in the order of their keys. A text that is about nothing is left out.
    pub(crate) fn mentions(&self, candidates: &Candidates) -> Result<Vec<Mentions>> {
        let mut found = if candidates.count <= FEW && candidates.count * MUCH_LARGER < self.documents() {
            self.ask_each(candidates)?
        } else {
            self.walk(candidates)?
        };
        // Each segment has its keys in order, so this is a merge.
        found.sort_by(|a, b| a.entity.cmp(&b.entity));
        found.dedup_by(|next, first| {
            let is_same = next.entity == first.entity;
            if is_same {
                next.patterns.iter().for_each(|(pattern, documents)| add(&mut first.patterns, *pattern, *documents));
            }
            is_same
        });
        Ok(found)
    }

    /// The candidates about an entity, `most` of them, in the order in which they lie.
    pub(crate) fn candidates_about(&self, candidates: &Candidates, entity: &str, most: usize) -> Result<Vec<Document>> {
        let term = Term::from_field_text(self.entity_field(), entity);
        let mut found = Vec::new();
        for (segment, marks) in (0..).zip(&candidates.marks).filter(|(_, marks)| !marks.is_empty()) {
            let reader = self.searcher.segment_reader(segment);
            let inverted = reader.inverted_index(term.field()).map_err(|e| self.error(e))?;
            let postings = inverted.read_postings(&term, IndexRecordOption::Basic).map_err(|e| self.error(e))?;
            let Some(mut postings) = postings else { continue };
            while postings.doc() != TERMINATED && found.len() < most {
                if marks[postings.doc() as usize] != 0 {
                    found.push(self.read(tantivy::DocAddress::new(segment, postings.doc()))?);
                }
                postings.advance();
            }
        }
        Ok(found)
    }

    /// Whether some document really holds one of these spellings, as far as `most` candidates tell.
    pub(crate) fn holds(&self, spellings: &[String], most: usize) -> Result<bool> {
        let candidates = self.candidates(&[spellings.to_vec()])?;
        let exact = |mark: u32| {
            let choice = usize::from(candidates.patterns[mark as usize][0]);
            choice > 0 && is_exact(&spellings[choice - 1])
        };
        let mut read = 0;
        for (segment, marks) in (0..).zip(&candidates.marks) {
            for (document, mark) in (0..).zip(marks).filter(|(_, mark)| **mark != 0) {
                if exact(*mark) {
                    return Ok(true);
                }
                if read == most {
                    return Ok(false);
                }
                read += 1;
                let document = self.read(tantivy::DocAddress::new(segment, document))?;
                if spellings.iter().any(|needle| document.passage_with(needle).is_some()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// How many documents are about each of these entities.
    pub(crate) fn documents_about(&self, entities: &[&str]) -> Result<HashMap<String, u64>> {
        let mut found: HashMap<String, u64> = HashMap::new();
        for reader in self.searcher.segment_readers() {
            let inverted = reader.inverted_index(self.fields.entity).map_err(|e| self.error(e))?;
            for entity in entities {
                let term = Term::from_field_text(self.fields.entity, entity);
                let Some(info) = inverted.get_term_info(&term).map_err(|e| self.error(e))? else { continue };
                let mut count = u64::from(info.doc_freq);
                if let Some(alive) = reader.alive_bitset() {
                    let postings = inverted.read_postings_from_terminfo(&info, IndexRecordOption::Basic);
                    let mut postings = postings.map_err(|e| self.error(e))?;
                    count = 0;
                    while postings.doc() != TERMINATED {
                        count += u64::from(alive.is_alive(postings.doc()));
                        postings.advance();
                    }
                }
                *found.entry((*entity).to_owned()).or_default() += count;
            }
        }
        Ok(found)
    }

    /// How many documents were read from the store since this state was opened.
    pub(crate) fn documents_read(&self) -> u64 {
        self.documents_read.load(Ordering::Relaxed)
    }

    /// The field whose terms name entities: rows that are about nothing else are entities themselves.
    fn entity_field(&self) -> Field {
        if self.target.entity.is_some() { self.fields.entity } else { self.fields.key }
    }

    /// Goes over the terms that name entities, and over the documents of each.
    fn walk(&self, candidates: &Candidates) -> Result<Vec<Mentions>> {
        let mut found = Vec::new();
        let segments = self.searcher.segment_readers().iter().zip(&candidates.marks);
        for (reader, marks) in segments.filter(|(_, marks)| !marks.is_empty()) {
            let inverted = reader.inverted_index(self.entity_field()).map_err(|e| self.error(e))?;
            let mut terms = inverted.terms().stream().map_err(|e| self.error(e))?;
            // One decoder for all of them: most terms have a single document.
            let mut blocks = BlockSegmentPostings::empty();
            let mut is_first = true;
            while terms.advance() {
                let info = terms.value();
                if std::mem::take(&mut is_first) {
                    let opened = inverted.read_block_postings_from_terminfo(info, IndexRecordOption::Basic);
                    blocks = opened.map_err(|e| self.error(e))?;
                } else {
                    inverted.reset_block_postings_from_terminfo(info, &mut blocks).map_err(|e| self.error(e))?;
                }
                let mut patterns = Vec::new();
                while !blocks.docs().is_empty() {
                    let marks = blocks.docs().iter().map(|document| marks[*document as usize]);
                    marks.filter(|mark| *mark != 0).for_each(|mark| add(&mut patterns, mark, 1));
                    blocks.advance();
                }
                if !patterns.is_empty() {
                    let entity = std::str::from_utf8(terms.key()).map_err(|e| self.error(e))?;
                    found.push(Mentions { entity: entity.to_owned(), patterns });
                }
            }
        }
        Ok(found)
    }

    /// Reads the few candidates that there are.
    fn ask_each(&self, candidates: &Candidates) -> Result<Vec<Mentions>> {
        let mut found = Vec::new();
        for (segment, marks) in (0..).zip(&candidates.marks) {
            for (document, mark) in (0..).zip(marks).filter(|(_, mark)| **mark != 0) {
                let document = self.read(tantivy::DocAddress::new(segment, document))?;
                let entity = if self.target.entity.is_some() { document.entity } else { Some(document.key) };
                found.extend(entity.map(|entity| Mentions { entity, patterns: vec![(*mark, 1)] }));
            }
        }
        Ok(found)
    }
}

/// Counts documents of a pattern.
fn add(patterns: &mut Vec<(u32, u64)>, pattern: u32, documents: u64) {
    match patterns.iter_mut().find(|(known, _)| *known == pattern) {
        Some((_, count)) => *count += documents,
        None => patterns.push((pattern, documents)),
    }
}

/// The number of the pattern that comes of another one when a spelling of a term is found too.
fn step(patterns: &mut Vec<Pattern>, from: u32, term: usize, choice: u8) -> u32 {
    let mut pattern = patterns[from as usize].clone();
    if pattern[term] != 0 {
        return from;
    }
    pattern[term] = choice;
    let at = patterns.iter().position(|known| *known == pattern).unwrap_or_else(|| {
        patterns.push(pattern);
        patterns.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}
