//! Why an entity is among the answers: for each term the sentence that shows it best.
//!
//! The best sentence holds the most of what was asked, and is a sentence: a category `국밥` matches too, and tells nobody anything.

use std::sync::Arc;

use super::answer::Matched;
use super::corpus::Texts;
use super::rank::Evidence;
use super::{Reason, ReasonKind};
use crate::llm::hash_embedding;
use crate::sink::keywords::index::Document;
use crate::text::{clip, fold, sentences};
use catalog::TableName;

/// Anything shorter is a name or a category (characters).
const MIN_SENTENCE_CHARS: usize = 8;
/// How many texts about an entity are looked at for one sentence.
const MAX_TEXTS: usize = 200;
/// How much of a sentence is shown (characters).
const SHOWN_CHARS: usize = 160;

/// For each term that an entity's texts hold: the best sentence, and the tag that says it.
pub(super) fn by_term(
    indexes: &[Texts],
    matched: &[Matched],
    evidence: &Evidence,
    (table, key): (&TableName, &str),
    parts: &[f64],
) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for (term, this) in matched.iter().enumerate() {
        let mine: Vec<&(usize, Arc<Document>, usize)> =
            this.documents.iter().filter(|(at, document, _)| is_about(&indexes[*at], document, table, key)).collect();
        let mut best: Option<(f64, Reason)> = None;
        let mut situation: Option<Reason> = None;
        for (at, document, choice) in mine.iter().take(MAX_TEXTS) {
            let needle = &this.alternatives[*choice].text;
            let reason = |kind, sentence: &str| Reason {
                kind,
                term: if *choice == 0 { this.label.clone() } else { needle.clone() },
                sentence: clip(sentence, SHOWN_CHARS),
                from: indexes[*at].target().table.clone(),
                from_key: document.key.clone(),
                rows: mine.len() as u64,
                score: parts.get(term).copied().unwrap_or_default(),
            };
            for passage in &document.passages {
                if !fold(&passage.text).contains(needle.as_str()) {
                    continue;
                }
                if passage.list {
                    situation.get_or_insert_with(|| reason(ReasonKind::Situation, &passage.text));
                    continue;
                }
                // A match across two sentences is shown by the beginning of the text.
                let with: Vec<&str> =
                    sentences(&passage.text).into_iter().filter(|s| fold(s).contains(needle.as_str())).collect();
                let shown = if with.is_empty() { vec![passage.text.trim()] } else { with };
                for sentence in shown {
                    let value = worth(sentence, matched, evidence);
                    if best.as_ref().is_none_or(|(held, _)| value > *held) {
                        best = Some((value, reason(ReasonKind::Keyword, sentence)));
                    }
                }
            }
        }
        reasons.extend(best.map(|(_, reason)| reason));
        reasons.extend(situation);
    }
    reasons.sort_by(|a, b| b.score.total_cmp(&a.score));
    reasons
}

/// What a sentence shows: the sum over the terms it holds, less when it is no sentence; of two that show the same, the shorter.
#[expect(clippy::cast_precision_loss, reason = "lengths of sentences")]
fn worth(sentence: &str, matched: &[Matched], evidence: &Evidence) -> f64 {
    let folded = fold(sentence);
    let holds = |term: &Matched| term.alternatives.iter().any(|a| folded.contains(&a.text));
    let sum: f64 = matched.iter().enumerate().filter(|(_, term)| holds(term)).map(|(at, _)| evidence.idf(at)).sum();
    let length = sentence.chars().count();
    let whole = if length < MIN_SENTENCE_CHARS { 0.1 } else { 1.0 };
    sum * whole - 1e-4 * length.min(1_000) as f64
}

fn is_about(index: &Texts, document: &Document, table: &TableName, key: &str) -> bool {
    match &index.target().entity {
        None => index.target().table == *table && document.key == key,
        Some(entity) => entity.table == *table && document.entity.as_deref() == Some(key),
    }
}

/// The sentence of an entity's own texts that is nearest to the question, by spelling.
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
