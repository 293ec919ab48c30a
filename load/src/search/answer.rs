//! From the terms of a question to hits with their reasons.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalog::TableName;

use super::corpus::{Corpus, Texts};
use super::query::{self, Term};
use super::rank::{self, Evidence};
use super::{Hit, KeywordHit, Reason, ReasonKind, reasons};
use crate::error::{Error, Result};
use crate::sink::keywords::index::{Document, Seen};
use crate::text::{fold, sentence_with};

/// How many neighbours take part in the fusion.
const NEIGHBOURS: usize = 100;
/// A cosine below this is noise of the projection.
const MIN_COSINE: f32 = 0.1;

/// An entity: its table and key.
type Id = (TableName, String);

/// Everything one term of a query matched.
pub(super) struct Matched {
    pub(super) label: String,
    weight: f64,
    /// (index, document, alternative), in a fixed order.
    pub(super) documents: Vec<(usize, Arc<Document>, usize)>,
    pub(super) alternatives: Vec<query::Alternative>,
}

/// Every entity with `part` in its own texts or in a text about it: exact, complete, the most mentioned first.
pub(super) async fn keyword(corpus: &Corpus, part: &str) -> Result<Vec<KeywordHit>> {
    let needle = fold(part.trim());
    if needle.is_empty() {
        return Err(Error::EmptyQuery { query: part.to_owned() });
    }
    let mut found: BTreeMap<Id, (u64, bool, usize, Arc<Document>)> = BTreeMap::new();
    for (at, index) in corpus.texts.iter().enumerate() {
        for document in index.find(&needle, &mut Seen::default()).await? {
            let Some(id) = entity_of(index, &document) else { continue };
            let own = index.target().entity.is_none();
            let entry = found.entry(id).or_insert_with(|| (0, false, at, Arc::clone(&document)));
            entry.0 += 1;
            if own {
                *entry = (entry.0, true, at, document);
            }
        }
    }
    let titles = titles(corpus, found.keys()).await?;
    let mut hits = Vec::with_capacity(found.len());
    for ((table, key), (rows, own, at, document)) in found {
        let id = (table, key);
        let title = titles.get(&id).cloned().unwrap_or_else(|| id.1.clone());
        let (table, key) = id;
        let passage = document.passage_with(&needle).map(|p| p.text.as_str()).unwrap_or_default();
        let sentence = sentence_with(passage, &needle);
        let from = corpus.texts[at].target().table.clone();
        hits.push(KeywordHit { table, key, title, rows, own, sentence, from, from_key: document.key.clone() });
    }
    hits.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| (&a.table, &a.key).cmp(&(&b.table, &b.key))));
    Ok(hits)
}

pub(super) async fn ranked(
    corpus: &Corpus,
    question: &str,
    terms: Vec<Term>,
    vector: Option<&[f32]>,
    model: &str,
    limit: usize,
) -> Result<Vec<Hit>> {
    let matched = matched(corpus, terms).await?;
    let mut ids: BTreeMap<Id, usize> = BTreeMap::new();
    for matched in &matched {
        for (at, document, _) in &matched.documents {
            if let Some(id) = entity_of(&corpus.texts[*at], document) {
                let next = ids.len();
                ids.entry(id).or_insert(next);
            }
        }
    }
    let evidence = evidence(corpus, &matched, &ids).await?;
    let scored = rank::score(&evidence);
    let near = near(corpus, vector, model, &mut ids).await?;
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
        let own = own(corpus, table, key).await?;
        let mut reasons = scored
            .get(number)
            .map_or_else(Vec::new, |s| reasons::by_term(&corpus.texts, &matched, &evidence, (table, key), &s.parts));
        if let Some((_, cosine, from)) = near.iter().find(|(n, ..)| *n == number) {
            let sentence =
                own.as_ref().map(|document| reasons::nearest_sentence(document, question)).unwrap_or_default();
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
        let title = own.and_then(|document| document.title).unwrap_or_else(|| key.clone());
        hits.push(Hit {
            table: table.clone(),
            key: key.clone(),
            title,
            score,
            fields: corpus.fields(table, key).await?,
            reasons,
        });
    }
    Ok(hits)
}

/// Finds the documents of each term; a phrase that nobody wrote falls apart into its words.
async fn matched(corpus: &Corpus, terms: Vec<Term>) -> Result<Vec<Matched>> {
    let mut seen: Vec<Seen> = corpus.texts.iter().map(|_| Seen::default()).collect();
    let mut queue: std::collections::VecDeque<Term> = terms.into();
    let mut matched = Vec::new();
    while let Some(term) = queue.pop_front() {
        let mut documents: BTreeMap<(usize, String), (Arc<Document>, usize)> = BTreeMap::new();
        for (at, index) in corpus.texts.iter().enumerate() {
            for (choice, alternative) in term.alternatives.iter().enumerate() {
                for document in index.find(&alternative.text, &mut seen[at]).await? {
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
        matched.push(Matched { label: term.label, weight: term.weight, documents, alternatives: term.alternatives });
    }
    Ok(matched)
}

/// What the ranking needs to know, in numbers.
async fn evidence(corpus: &Corpus, matched: &[Matched], ids: &BTreeMap<Id, usize>) -> Result<Evidence> {
    let mut sizes = vec![1; ids.len()];
    for index in &corpus.texts {
        let Some(entity) = &index.target().entity else { continue };
        let about = ids.keys().filter(|(table, _)| *table == entity.table);
        let keys: Vec<&str> = about.map(|(_, key)| key.as_str()).collect();
        for (key, count) in index.documents_about(&keys).await? {
            if let Some(number) = ids.get(&(entity.table.clone(), key)) {
                sizes[*number] += count;
            }
        }
    }
    let documents = corpus.texts.iter().map(Texts::documents).sum();
    let mut evidence = Evidence::new(documents, sizes);
    let mut numbers: HashMap<(usize, &str), usize> = HashMap::new();
    for matched in matched {
        let term = evidence.term(matched.weight);
        for (at, document, choice) in &matched.documents {
            let index = &corpus.texts[*at];
            let Some(entity) = entity_of(index, document).and_then(|id| ids.get(&id).copied()) else { continue };
            let next = numbers.len();
            let number = *numbers.entry((*at, document.key.as_str())).or_insert(next);
            term.matches(entity, number, index.target().entity.is_none(), matched.alternatives[*choice].weight);
        }
    }
    Ok(evidence)
}

/// The nearest entities by vector, as (number, cosine, table of the vector).
async fn near(
    corpus: &Corpus,
    vector: Option<&[f32]>,
    model: &str,
    ids: &mut BTreeMap<Id, usize>,
) -> Result<Vec<(usize, f32, TableName)>> {
    let mut near = Vec::new();
    let Some(vector) = vector else { return Ok(near) };
    for index in corpus.vectors.iter().filter(|i| i.target().vector.as_ref().is_some_and(|v| v.model == model)) {
        for (key, cosine) in
            index.nearest(vector, NEIGHBOURS).await?.into_iter().filter(|(_, cosine)| *cosine >= MIN_COSINE)
        {
            let next = ids.len();
            let number = *ids.entry((index.target().table.clone(), key)).or_insert(next);
            near.push((number, cosine, index.target().table.clone()));
        }
    }
    near.sort_by(|a, b| b.1.total_cmp(&a.1));
    near.truncate(NEIGHBOURS);
    Ok(near)
}

/// The entity's own document.
async fn own(corpus: &Corpus, table: &TableName, key: &str) -> Result<Option<Document>> {
    for index in corpus.texts.iter().filter(|it| it.target().table == *table) {
        if let Some(document) = index.get(&[key]).await?.remove(key) {
            return Ok(Some(document));
        }
    }
    Ok(None)
}

/// What people call these entities, where they have a title.
async fn titles<'a>(corpus: &Corpus, ids: impl Iterator<Item = &'a Id>) -> Result<BTreeMap<Id, String>> {
    let mut by_table: BTreeMap<&TableName, Vec<&str>> = BTreeMap::new();
    for (table, key) in ids {
        by_table.entry(table).or_default().push(key);
    }
    let mut found = BTreeMap::new();
    for (table, keys) in by_table {
        for index in corpus.texts.iter().filter(|it| it.target().table == *table) {
            for (key, document) in index.get(&keys).await? {
                found.extend(document.title.map(|title| ((table.clone(), key), title)));
            }
        }
    }
    Ok(found)
}

/// Which entity a document is evidence for: itself, or the one it is about.
fn entity_of(index: &Texts, document: &Document) -> Option<Id> {
    match &index.target().entity {
        None => Some((index.target().table.clone(), document.key.clone())),
        Some(entity) => document.entity.clone().map(|key| (entity.table.clone(), key)),
    }
}
