//! Scores and fusion, pure.
//!
//! Keyword evidence is BM25 ([Robertson & Zaragoza 2009](https://doi.org/10.1561/1500000019)) with an entity in the place of a document and its
//! matching texts in the place of occurrences: rare terms weigh more, the tenth mention adds less than the first, and a place with
//! thousands of reviews needs more of them than a small one. On top: an entity that has all terms beats one that has one of them
//! often, most of all when a single text has them together. Rankings are then fused by reciprocal rank
//! ([Cormack et al. 2009](https://doi.org/10.1145/1571941.1572114)), because their scores cannot be compared.

use std::collections::{BTreeMap, HashMap};

/// The constant of reciprocal rank fusion, as in the paper.
const RRF_K: f64 = 60.0;
/// Keywords are exact; a vector, the local one above all, only supports them.
pub(super) const KEYWORD_WEIGHT: f64 = 1.0;
/// See [`KEYWORD_WEIGHT`].
pub(super) const VECTOR_WEIGHT: f64 = 0.4;
/// Mentions of about this number count half of what any number can count.
const K1: f64 = 6.0;
/// How much the number of texts about an entity counts against it.
const B: f64 = 0.75;
/// A mention in an entity's own row (name, category, summary) counts as so many in the texts about it.
const OWN_MENTIONS: f64 = 3.0;

/// What matched where, in numbers.
#[derive(Debug)]
pub(super) struct Evidence {
    documents: u64,
    sizes: Vec<u64>,
    terms: Vec<TermEvidence>,
}

/// One term's matches.
#[derive(Debug, Default)]
pub(super) struct TermEvidence {
    weight: f64,
    documents: u64,
    mentions: BTreeMap<usize, f64>,
    /// (entity, document) of each match.
    places: Vec<(usize, usize)>,
}

/// An entity's keyword score and each term's part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Scored {
    pub(super) total: f64,
    pub(super) parts: Vec<f64>,
}

impl Evidence {
    /// Of a corpus of so many documents; `sizes` says how many are about each entity.
    pub(super) fn new(documents: u64, sizes: Vec<u64>) -> Self {
        Self { documents, sizes, terms: Vec::new() }
    }

    /// Begins the next term.
    pub(super) fn term(&mut self, weight: f64) -> &mut TermEvidence {
        let at = self.terms.len();
        self.terms.push(TermEvidence { weight, ..TermEvidence::default() });
        &mut self.terms[at]
    }

    /// How telling a term is.
    #[expect(clippy::cast_precision_loss, reason = "counts of documents")]
    pub(super) fn idf(&self, term: usize) -> f64 {
        let Some(term) = self.terms.get(term) else { return 0.0 };
        let (all, with) = (self.documents as f64, term.documents as f64);
        term.weight * (1.0 + (all - with + 0.5).max(0.5) / (with + 0.5)).ln()
    }
}

impl TermEvidence {
    /// One document holds the term, in a spelling of this weight.
    pub(super) fn matches(&mut self, entity: usize, document: usize, own: bool, weight: f64) {
        self.documents += 1;
        *self.mentions.entry(entity).or_default() += weight * if own { OWN_MENTIONS } else { 1.0 };
        self.places.push((entity, document));
    }
}

/// The keyword score of every entity.
#[expect(clippy::cast_precision_loss, reason = "counts of documents")]
pub(super) fn score(evidence: &Evidence) -> Vec<Scored> {
    let count = evidence.sizes.len();
    let mut scored = vec![Scored { total: 0.0, parts: vec![0.0; evidence.terms.len()] }; count];
    let average = evidence.sizes.iter().sum::<u64>() as f64 / count.max(1) as f64;
    let all: f64 = (0..evidence.terms.len()).map(|term| evidence.idf(term)).sum();
    let mut covered = vec![0.0; count];
    let mut together: HashMap<(usize, usize), f64> = HashMap::new();
    for (at, term) in evidence.terms.iter().enumerate() {
        let idf = evidence.idf(at);
        for (&entity, &mentions) in &term.mentions {
            let norm = 1.0 - B + B * evidence.sizes[entity] as f64 / average.max(1.0);
            let part = idf * mentions * (K1 + 1.0) / (mentions + K1 * norm);
            scored[entity].parts[at] = part;
            scored[entity].total += part;
            covered[entity] += idf;
        }
        for place in &term.places {
            *together.entry(*place).or_default() += idf;
        }
    }
    let mut best = vec![0.0_f64; count];
    for ((entity, _), value) in together {
        best[entity] = best[entity].max(value);
    }
    for (entity, scored) in scored.iter_mut().enumerate() {
        if all > 0.0 {
            scored.total *= 0.1 + 0.5 * covered[entity] / all + 0.4 * best[entity] / all;
        }
    }
    scored
}

/// Fuses rankings (the best first) into one score per entity, in no order.
#[expect(clippy::cast_precision_loss, reason = "ranks")]
pub(super) fn fuse(rankings: &[(Vec<usize>, f64)]) -> Vec<(usize, f64)> {
    let mut fused: BTreeMap<usize, f64> = BTreeMap::new();
    for (ranking, weight) in rankings {
        for (rank, entity) in ranking.iter().enumerate() {
            *fused.entry(*entity).or_default() += weight / (RRF_K + rank as f64 + 1.0);
        }
    }
    fused.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of entities, given for each term its (entity, document, own) matches.
    fn totals(sizes: &[u64], terms: &[&[(usize, usize, bool)]]) -> Vec<f64> {
        let mut evidence = Evidence::new(1_000, sizes.to_vec());
        for matches in terms {
            let term = evidence.term(1.0);
            for &(entity, document, own) in *matches {
                term.matches(entity, document, own, 1.0);
            }
        }
        score(&evidence).into_iter().map(|s| s.total).collect()
    }

    #[test]
    fn an_entity_with_all_terms_beats_one_with_one_of_them_often() {
        let often: Vec<(usize, usize, bool)> = (0..20).map(|i| (0, i, false)).chain([(1, 100, false)]).collect();
        let scores = totals(&[50, 50], &[&often, &[(1, 100, false)]]);
        assert!(scores[1] > scores[0], "{scores:?}");
    }

    #[test]
    fn terms_together_in_one_text_beat_terms_in_two() {
        let scores = totals(&[50, 50], &[&[(0, 1, false), (1, 10, false)], &[(0, 1, false), (1, 11, false)]]);
        assert!(scores[0] > scores[1], "{scores:?}");
    }

    #[test]
    fn a_large_entity_needs_more_mentions_than_a_small_one() {
        let scores = totals(&[5_000, 20], &[&[(0, 1, false), (0, 2, false), (1, 3, false), (1, 4, false)]]);
        assert!(scores[1] > scores[0], "{scores:?}");
    }

    #[test]
    fn the_own_row_counts_more_than_one_text_about_it() {
        let scores = totals(&[50, 50], &[&[(0, 1, true), (1, 2, false)]]);
        assert!(scores[0] > scores[1], "{scores:?}");
    }

    #[test]
    fn fusion_prefers_what_both_rankings_know() {
        let mut fused = fuse(&[(vec![1, 2, 3], 1.0), (vec![3, 9], 1.0)]);
        fused.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(fused[0].0, 3);
        assert_eq!(fused.len(), 4);
        assert!((fused.iter().find(|(e, _)| *e == 1).unwrap().1 - 1.0 / 61.0).abs() < 1e-12);
    }
}
