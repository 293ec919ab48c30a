//! Why an entity is among the answers: for each term the sentence that shows it best.
//!
//! The best sentence holds the most of what was asked, and is a sentence: a name or a tag matches too, and tells nobody anything.

use super::corpus::Texts;
use super::hit::{Reason, ReasonKind};
use super::query::Term;
use super::rank::TermStatistics;
use crate::sink::keywords::document::Document;
use enrich::llm::hash_embedding;
use rows::text::{clip, fold, sentences};

/// Anything shorter is a name or a category (characters).
const MIN_SENTENCE_CHARS: usize = 8;
/// How many texts about an entity are looked at for one sentence.
const MAX_TEXTS: usize = 200;
/// How much of a sentence is shown (characters).
const SHOWN_CHARS: usize = 160;

/// A document that was read, and how much a mention of each term in it counts.
pub(super) struct ReadDocument {
    /// Which texts it is of.
    pub(super) texts: usize,
    pub(super) document: Document,
    /// For each term the spelling that it holds, and the weight of that.
    pub(super) holds: Vec<Option<(usize, f64)>>,
}

/// What the terms of a question matched of one entity.
pub(super) struct TermMatches<'a> {
    pub(super) terms: &'a [Term],
    pub(super) statistics: &'a TermStatistics,
    pub(super) texts: &'a [Texts],
    /// The documents about it that were read.
    pub(super) documents: &'a [ReadDocument],
    /// How many documents show each term.
    pub(super) rows: Vec<u64>,
    /// Each term's part of the score.
    pub(super) parts: &'a [f64],
}

/// For each term that an entity's texts hold: the best sentence, and the tag that says it.
pub(super) fn by_term(matches: &TermMatches<'_>) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = (0..matches.terms.len()).flat_map(|term| of_term(matches, term)).collect();
    reasons.sort_by(|a, b| b.score.total_cmp(&a.score));
    reasons
}

fn of_term(matches: &TermMatches<'_>, term: usize) -> impl Iterator<Item = Reason> {
    let this = &matches.terms[term];
    let mut best: Option<(f64, Reason)> = None;
    let mut tag: Option<Reason> = None;
    let showing = matches.documents.iter().filter_map(|it| it.holds[term].map(|(choice, _)| (it, choice)));
    for (read, choice) in showing.take(MAX_TEXTS) {
        let (texts, needle) = (&matches.texts[read.texts], &this.alternatives[choice].text);
        let reason = |kind, sentence: &str| Reason {
            kind,
            term: if choice == 0 { this.label.clone() } else { needle.clone() },
            sentence: clip(sentence, SHOWN_CHARS),
            from: texts.target().table.clone(),
            from_key: read.document.key.clone(),
            rows: matches.rows[term],
            score: matches.parts.get(term).copied().unwrap_or_default(),
        };
        let searched = read.document.passages.iter().filter(|it| texts.searched.columns.contains_key(&it.column));
        for passage in searched.filter(|it| it.holds(needle)) {
            if passage.list {
                tag.get_or_insert_with(|| reason(ReasonKind::Tag, &passage.text));
                continue;
            }
            // A match across two sentences is shown by the beginning of the text.
            let with: Vec<&str> =
                sentences(&passage.text).into_iter().filter(|s| fold(s).contains(needle.as_str())).collect();
            let shown = if with.is_empty() { vec![passage.text.trim()] } else { with };
            for sentence in shown {
                let value = worth(sentence, matches);
                if best.as_ref().is_none_or(|(held, _)| value > *held) {
                    best = Some((value, reason(ReasonKind::Keyword, sentence)));
                }
            }
        }
    }
    best.map(|(_, reason)| reason).into_iter().chain(tag)
}

/// What a sentence shows: the sum over the terms it holds, less when it is no sentence; of two that show the same, the shorter.
#[expect(clippy::cast_precision_loss, reason = "lengths of sentences")]
fn worth(sentence: &str, matches: &TermMatches<'_>) -> f64 {
    let folded = fold(sentence);
    let holds = |term: &Term| term.alternatives.iter().any(|it| folded.contains(&it.text));
    let held = matches.terms.iter().enumerate().filter(|(_, term)| holds(term));
    let sum: f64 = held.map(|(at, _)| matches.statistics.idf(at)).sum();
    let length = sentence.chars().count();
    let whole = if length < MIN_SENTENCE_CHARS { 0.1 } else { 1.0 };
    sum * whole - 1e-4 * length.min(1_000) as f64
}

/// The sentence of a document that is nearest to the question, by spelling.
pub(super) fn nearest_sentence(document: &Document, question: &str) -> String {
    let question = hash_embedding::embed(question);
    let all: Vec<&str> = document.passages.iter().filter(|p| !p.list).flat_map(|p| sentences(&p.text)).collect();
    let is_long = |sentence: &str| sentence.chars().count() >= MIN_SENTENCE_CHARS;
    let some_long = all.iter().any(|sentence| is_long(sentence));
    let mut best: Option<(f32, &str)> = None;
    for sentence in all.into_iter().filter(|sentence| !some_long || is_long(sentence)) {
        let cosine = hash_embedding::cosine(&question, &hash_embedding::embed(sentence));
        if best.is_none_or(|(held, _)| cosine > held) {
            best = Some((cosine, sentence));
        }
    }
    best.map(|(_, sentence)| clip(sentence, SHOWN_CHARS)).unwrap_or_default()
}
