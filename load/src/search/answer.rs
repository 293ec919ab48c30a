//! From a question to hits with their reasons.
//!
//! Order of events: the indexes count who may be mentioned, without reading a text → these counts are bounds of scores, and the best of
//! them are read until nothing else can be better ([`LazyOrder`]) → the nearest by vector, each for the entity it is about → both
//! rankings are fused → what is shown is read. So the cost follows what is shown.

use std::collections::HashMap;

use catalog::TableName;

use super::corpus::{Corpus, FoundMentions, Texts};
use super::hit::{EntityId, Hit, Reason, ReasonKind};
use super::near::{NearEntity, near};
use super::order::LazyOrder;
use super::query::Term;
use super::rank::{self, AlikeDocuments, KeywordScore, TermStatistics};
use super::reasons::{self, ReadDocument, TermMatches};
use super::settings::SearchWeights;
use crate::error::Result;
use crate::sink::keywords::document::Document;
use rows::text::fold;

/// Documents of an entity that are read to know its score: of one with more of them these speak for the others.
const READ: usize = 1_000;
/// Entities beyond those that are shown whose texts are read to find the best, at most.
const MORE_READ: usize = 200;

/// How often an entity is mentioned: (texts, pattern, documents).
type MentionList = Vec<(usize, u32, u64)>;

/// A question, taken apart.
pub(super) struct ParsedQuestion<'a> {
    pub(super) text: &'a str,
    pub(super) terms: Vec<Term>,
    /// Its vector and the model that made it.
    pub(super) vector: Option<(&'a [f32], &'a str)>,
    pub(super) limit: usize,
    pub(super) weights: SearchWeights,
}

/// What is known of an entity that may answer.
struct CandidateEntity {
    mentions: MentionList,
    size: u64,
    score: KeywordScore,
    /// Whether that is its score, and not a bound.
    is_exact: bool,
    documents: Option<Vec<ReadDocument>>,
}

/// One question's way through a corpus.
struct Ranking<'a> {
    corpus: &'a Corpus<'a>,
    terms: &'a [Term],
    needles: Vec<Vec<String>>,
    found: Vec<FoundMentions>,
    statistics: TermStatistics,
    ids: Vec<EntityId>,
    entities: Vec<CandidateEntity>,
}

/// The best answers, at most as many as the question wants.
pub(super) async fn ranked(corpus: &Corpus<'_>, question: ParsedQuestion<'_>) -> Result<Vec<Hit>> {
    let terms = present(corpus, question.terms).await?;
    let (weights, limit) = (question.weights, question.limit);
    let near = match question.vector {
        Some((vector, model)) if weights.vector > 0.0 => near(corpus, vector, model, &weights).await?,
        _ => Vec::new(),
    };
    let mut ranking = Ranking::new(corpus, &terms, near.iter().map(|it| it.id.clone()).collect()).await?;
    let by_keyword = ranking.by_keyword(limit).await?;
    let number = |id: &EntityId| ranking.ids.binary_search(id).ok();
    let by_vector: Vec<usize> = near.iter().filter_map(|it| number(&it.id)).collect();
    let rankings = [(by_keyword, weights.keyword), (by_vector, weights.vector)];
    let mut fused = rank::fuse(&rankings, weights.rank_constant);
    fused.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    fused.truncate(limit);
    let shown: Vec<usize> = fused.iter().map(|(number, _)| *number).collect();
    ranking.read(&shown).await?;
    let mut hits = Vec::with_capacity(fused.len());
    for (number, score) in fused {
        let id = &ranking.ids[number];
        let near = near.iter().find(|it| it.id == *id);
        hits.push(ranking.hit(number, score, near, question.text).await?);
    }
    tracing::debug!(documents = corpus.texts.iter().map(Texts::documents_read).sum::<u64>(), "read");
    Ok(hits)
}

/// The terms that are looked for: a phrase that nobody wrote falls apart into its words.
async fn present(corpus: &Corpus<'_>, terms: Vec<Term>) -> Result<Vec<Term>> {
    let mut waiting: std::collections::VecDeque<Term> = terms.into();
    let mut present = Vec::new();
    while let Some(term) = waiting.pop_front() {
        let mut is_written = term.fallback.is_empty();
        let spellings = spellings(&term);
        for texts in &corpus.texts {
            is_written = is_written || texts.holds(&spellings).await?;
        }
        if is_written {
            present.push(term);
        } else {
            term.fallback.into_iter().rev().for_each(|word| waiting.push_front(word));
        }
    }
    Ok(present)
}

fn spellings(term: &Term) -> Vec<String> {
    term.alternatives.iter().map(|it| it.text.clone()).collect()
}

impl<'a> Ranking<'a> {
    /// Everybody who may be mentioned, and these others.
    async fn new(corpus: &'a Corpus<'a>, terms: &'a [Term], others: Vec<EntityId>) -> Result<Self> {
        let needles: Vec<Vec<String>> = terms.iter().map(spellings).collect();
        let mut found = Vec::with_capacity(corpus.texts.len());
        let mut mentions: Vec<(EntityId, MentionList)> = Vec::new();
        let mut with_term = vec![0; terms.len()];
        for (at, texts) in corpus.texts.iter().enumerate() {
            let mut here = if terms.is_empty() { FoundMentions::default() } else { texts.mentions(&needles).await? };
            for it in std::mem::take(&mut here.mentions) {
                for (pattern, documents) in &it.patterns {
                    let shown = here.patterns[*pattern as usize].iter().zip(&mut with_term);
                    shown.filter(|(choice, _)| **choice > 0).for_each(|(_, with)| *with += documents);
                }
                let patterns = it.patterns.into_iter().map(|(pattern, documents)| (at, pattern, documents));
                mentions.push(((texts.entity_table().clone(), it.entity), patterns.collect()));
            }
            found.push(here);
        }
        let mut mentions = merged(mentions);
        let sizes = sizes(corpus, &mentions).await?;
        let documents = corpus.texts.iter().map(Texts::documents).sum();
        let weighed: Vec<(f64, u64)> = terms.iter().zip(with_term).map(|(term, with)| (term.weight, with)).collect();
        let statistics = TermStatistics::new(documents, &weighed, &sizes);
        let sizes = sizes.into_iter().map(Some).chain(std::iter::repeat(None));
        mentions.extend(others.into_iter().map(|id| (id, Vec::new())));
        let mut known: Vec<(EntityId, CandidateEntity)> = mentions
            .into_iter()
            .zip(sizes)
            .map(|((id, mentions), size)| {
                let score = KeywordScore::default();
                (id, CandidateEntity { mentions, size: size.unwrap_or(1), score, is_exact: false, documents: None })
            })
            .collect();
        // Who is mentioned and near stands twice: the first one is the one with mentions.
        known.sort_by(|(a, _), (b, _)| a.cmp(b));
        known.dedup_by(|(next, _), (first, _)| next == first);
        let (ids, entities) = known.into_iter().unzip();
        let mut ranking = Self { corpus, terms, needles, found, statistics, ids, entities };
        ranking.bound();
        Ok(ranking)
    }

    /// Gives everybody the score that the counts of the indexes allow.
    fn bound(&mut self) {
        let weigh = |(texts, found): (&Texts, &FoundMentions)| -> Vec<(Vec<f64>, bool)> {
            found.patterns.iter().map(|pattern| weights(texts, self.terms, pattern)).collect()
        };
        let known: Vec<Vec<(Vec<f64>, bool)>> = self.corpus.texts.iter().zip(&self.found).map(weigh).collect();
        for entity in &mut self.entities {
            let each =
                entity.mentions.iter().map(|(at, pattern, documents)| (&known[*at][*pattern as usize], documents));
            let alike: Vec<AlikeDocuments<'_>> = each
                .clone()
                .map(|((weights, _), documents)| AlikeDocuments { weights, documents: as_number(*documents) })
                .collect();
            entity.is_exact = each.clone().all(|((_, is_exact), _)| *is_exact);
            entity.score = self.statistics.score(entity.size, &alike);
        }
    }

    /// The numbers of the entities by keyword, the best first; the first `count` of them are known to be.
    async fn by_keyword(&mut self, count: usize) -> Result<Vec<usize>> {
        let bounds: Vec<(usize, f64, bool)> =
            self.entities.iter().enumerate().map(|(number, it)| (number, it.score.total, it.is_exact)).collect();
        let mut order = LazyOrder::new(bounds, count.saturating_add(MORE_READ));
        loop {
            let next = order.next(count);
            if next.is_empty() {
                break;
            }
            self.read(&next).await?;
            for number in next {
                order.settle(number, self.entities[number].score.total);
            }
        }
        let mut all = std::mem::take(&mut order.best);
        all.extend(order.rest());
        Ok(all)
    }

    /// Reads what may be about these entities, where it was not read yet, and gives them their scores.
    async fn read(&mut self, numbers: &[usize]) -> Result<()> {
        let unread: Vec<usize> =
            numbers.iter().copied().filter(|number| self.entities[*number].documents.is_none()).collect();
        let mut documents: HashMap<usize, Vec<ReadDocument>> = HashMap::new();
        for (at, texts) in self.corpus.texts.iter().enumerate() {
            let is_here = |number: &&usize| self.entities[**number].mentions.iter().any(|(here, ..)| *here == at);
            let here: Vec<usize> = unread.iter().filter(is_here).copied().collect();
            let keys: Vec<&str> = here.iter().map(|number| self.ids[*number].1.as_str()).collect();
            if keys.is_empty() {
                continue;
            }
            let mut read = texts.read(&self.found[at], &self.needles, &keys, READ).await?;
            for number in here {
                let these = read.remove(&self.ids[number].1).unwrap_or_default();
                let these = these.into_iter().map(|document| self.read_document(at, document));
                documents.entry(number).or_default().extend(these);
            }
        }
        for number in unread {
            let documents = documents.remove(&number).unwrap_or_default();
            if !self.entities[number].is_exact {
                self.entities[number].score = self.score_of(&self.entities[number], &documents);
                self.entities[number].is_exact = true;
            }
            self.entities[number].documents = Some(documents);
        }
        Ok(())
    }

    /// What a document really holds.
    fn read_document(&self, texts: usize, document: Document) -> ReadDocument {
        let folded: Vec<(&str, String)> =
            document.passages.iter().map(|it| (it.column.as_str(), fold(&it.text))).collect();
        let searched = &self.corpus.texts[texts].searched;
        let holds = |term: &Term| {
            term.alternatives.iter().enumerate().find_map(|(choice, alternative)| {
                let holding = folded.iter().filter(|(_, text)| text.contains(&alternative.text));
                let column =
                    holding.filter_map(|(column, _)| searched.columns.get(*column)).copied().fold(0.0, f64::max);
                (column > 0.0).then_some((choice, alternative.weight * searched.weight * column))
            })
        };
        let holds = self.terms.iter().map(holds).collect();
        ReadDocument { texts, document, holds }
    }

    /// The score by the documents that were read; they speak for those that were not.
    fn score_of(&self, entity: &CandidateEntity, documents: &[ReadDocument]) -> KeywordScore {
        let mut weighed: Vec<(Vec<f64>, f64)> = Vec::with_capacity(documents.len());
        for at in 0..self.corpus.texts.len() {
            let here: Vec<&ReadDocument> = documents.iter().filter(|it| it.texts == at).collect();
            let counted: u64 = entity.mentions.iter().filter(|(here, ..)| *here == at).map(|(.., count)| count).sum();
            let each = as_number(counted) / as_number(here.len().max(1) as u64);
            let weights = |it: &ReadDocument| it.holds.iter().map(|it| it.map_or(0.0, |(_, weight)| weight)).collect();
            weighed.extend(here.into_iter().map(|it| (weights(it), each)));
        }
        let alike = weighed.iter().map(|(weights, documents)| AlikeDocuments { weights, documents: *documents });
        self.statistics.score(entity.size, &alike.collect::<Vec<_>>())
    }

    async fn hit(&self, number: usize, score: f64, near: Option<&NearEntity>, question: &str) -> Result<Hit> {
        let (table, key) = &self.ids[number];
        let entity = &self.entities[number];
        let own = own(self.corpus, table, key).await?;
        let matches = TermMatches {
            terms: self.terms,
            statistics: &self.statistics,
            texts: &self.corpus.texts,
            documents: entity.documents.as_deref().unwrap_or_default(),
            rows: self.rows(entity),
            parts: &entity.score.parts,
        };
        let mut reasons = reasons::by_term(&matches);
        if let Some(near) = near {
            let text = if near.table == *table && near.key == *key {
                own.clone()
            } else {
                self.document(&near.table, &near.key).await?
            };
            reasons.push(Reason {
                kind: ReasonKind::Vector,
                term: question.to_owned(),
                sentence: text.map(|it| reasons::nearest_sentence(&it, question)).unwrap_or_default(),
                from: near.table.clone(),
                from_key: near.key.clone(),
                rows: near.rows,
                score: f64::from(near.cosine),
            });
        }
        let title = own.and_then(|document| document.title).unwrap_or_else(|| key.clone());
        let fields = self.corpus.fields(table, key).await?;
        Ok(Hit { table: table.clone(), key: key.clone(), title, score, fields, reasons })
    }

    /// How many rows about an entity show each term: as they were read, or as the indexes count them.
    fn rows(&self, entity: &CandidateEntity) -> Vec<u64> {
        let read = entity.documents.as_deref().unwrap_or_default();
        let counted: u64 = entity.mentions.iter().map(|(.., documents)| documents).sum();
        let is_all_read = counted == read.len() as u64;
        let of_term = |term: usize| {
            let shows = |(at, pattern, _): &&(usize, u32, u64)| self.found[*at].patterns[*pattern as usize][term] > 0;
            if is_all_read {
                return read.iter().filter(|it| it.holds[term].is_some()).count() as u64;
            }
            entity.mentions.iter().filter(shows).map(|(.., documents)| documents).sum()
        };
        (0..self.terms.len()).map(of_term).collect()
    }

    async fn document(&self, table: &TableName, key: &str) -> Result<Option<Document>> {
        own(self.corpus, table, key).await
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of documents")]
fn as_number(count: u64) -> f64 {
    count as f64
}

/// How much a mention of each term counts in a document of this pattern, at most; and whether it is known to be there.
fn weights(texts: &Texts, terms: &[Term], pattern: &[u8]) -> (Vec<f64>, bool) {
    let most = texts.most_weight();
    let mut is_exact = true;
    let weight = |(term, choice): (&Term, &u8)| {
        let chosen = usize::from(*choice).checked_sub(1)?;
        let spelling = term.alternatives.get(chosen)?;
        if texts.is_exact(&spelling.text) {
            return Some(spelling.weight * most);
        }
        is_exact = false;
        // What is no hit of this spelling may be one of a later one.
        term.alternatives[chosen..].iter().map(|it| it.weight * most).max_by(f64::total_cmp)
    };
    let weights = terms.iter().zip(pattern).map(weight).map(Option::unwrap_or_default).collect();
    (weights, is_exact)
}

/// What several texts say of the same entity, in the order of the entities.
fn merged(mut mentions: Vec<(EntityId, MentionList)>) -> Vec<(EntityId, MentionList)> {
    // Stable, and each text has them in order: a merge, in the order of the texts.
    mentions.sort_by(|(a, _), (b, _)| a.cmp(b));
    mentions.dedup_by(|(next, more), (first, patterns)| {
        let is_same = next == first;
        if is_same {
            patterns.append(more);
        }
        is_same
    });
    mentions
}

/// How many documents are about each entity, its own row among them.
async fn sizes(corpus: &Corpus<'_>, mentions: &[(EntityId, MentionList)]) -> Result<Vec<u64>> {
    let mut sizes = vec![1; mentions.len()];
    for texts in corpus.texts.iter().filter(|it| it.target().entity.is_some()) {
        let table = texts.entity_table();
        let here = mentions.iter().enumerate().filter(|(_, ((it, _), _))| it == table);
        let keys: Vec<&str> = here.clone().map(|(_, ((_, key), _))| key.as_str()).collect();
        if keys.is_empty() {
            continue;
        }
        let about = texts.documents_about(&keys).await?;
        for (number, ((_, key), _)) in here {
            sizes[number] += about.get(key).copied().unwrap_or(0);
        }
    }
    Ok(sizes)
}

/// A row's own document.
async fn own(corpus: &Corpus<'_>, table: &TableName, key: &str) -> Result<Option<Document>> {
    for texts in corpus.texts.iter().filter(|it| it.target().table == *table) {
        if let Some(document) = texts.get(&[key]).await?.remove(key) {
            return Ok(Some(document));
        }
    }
    Ok(None)
}
