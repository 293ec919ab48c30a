//! Scores and fusion, pure.
//!
//! Keyword evidence is BM25 ([Robertson & Zaragoza 2009](https://doi.org/10.1561/1500000019)) with an entity in the place of a document
//! and its matching texts in the place of occurrences: rare terms weigh more, the tenth mention adds less than the first, and an entity
//! with thousands of texts about it needs more of them than a small one. On top: an entity that has all terms beats one that has one of
//! them often, most of all when a single text has them together. Rankings are then fused by reciprocal rank
//! ([Cormack et al. 2009](https://doi.org/10.1145/1571941.1572114)), because their scores cannot be compared.

use std::collections::BTreeMap;

/// Mentions of about this number count half of what any number can count.
const K1: f64 = 6.0;
/// How much the number of texts about an entity counts against it.
const B: f64 = 0.75;

/// What is known of all texts, for the terms of one question.
#[derive(Debug)]
pub(super) struct TermStatistics {
    /// How telling each term is.
    idf: Vec<f64>,
    all: f64,
    average_size: f64,
}

/// Documents about one entity that show the same: how much a mention of each term in one of them counts (0 where it is not there).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AlikeDocuments<'a> {
    pub(super) weights: &'a [f64],
    pub(super) documents: f64,
}

/// An entity's keyword score and each term's part of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct KeywordScore {
    pub(super) total: f64,
    pub(super) parts: Vec<f64>,
}

impl TermStatistics {
    /// Of so many documents; `terms` are weights and documents with the term, `sizes` how many documents are about each entity.
    #[expect(clippy::cast_precision_loss, reason = "counts of documents")]
    pub(super) fn new(documents: u64, terms: &[(f64, u64)], sizes: &[u64]) -> Self {
        let idf = |(weight, with): &(f64, u64)| {
            let (all, with) = (documents as f64, *with as f64);
            weight * (1.0 + (all - with + 0.5).max(0.5) / (with + 0.5)).ln()
        };
        let idf: Vec<f64> = terms.iter().map(idf).collect();
        let average_size = (sizes.iter().sum::<u64>() as f64 / sizes.len().max(1) as f64).max(1.0);
        Self { all: idf.iter().sum(), idf, average_size }
    }

    pub(super) fn idf(&self, term: usize) -> f64 {
        self.idf.get(term).copied().unwrap_or_default()
    }

    /// The keyword score of an entity with so many documents about it. More mentions never make it less: what may be mentioned gives a
    /// bound of what is.
    #[expect(clippy::cast_precision_loss, reason = "counts of documents")]
    pub(super) fn score(&self, size: u64, alike: &[AlikeDocuments<'_>]) -> KeywordScore {
        let norm = 1.0 - B + B * size as f64 / self.average_size;
        let mut score = KeywordScore { total: 0.0, parts: vec![0.0; self.idf.len()] };
        let mut covered = 0.0;
        for (term, idf) in self.idf.iter().enumerate() {
            let mentions: f64 = alike.iter().map(|it| it.weights[term] * it.documents).sum();
            if mentions > 0.0 {
                score.parts[term] = idf * mentions * (K1 + 1.0) / (mentions + K1 * norm);
                score.total += score.parts[term];
                covered += idf;
            }
        }
        let together = |it: &AlikeDocuments<'_>| -> f64 {
            self.idf.iter().zip(it.weights).filter(|(_, weight)| **weight > 0.0).map(|(idf, _)| idf).sum()
        };
        let best = alike.iter().map(together).fold(0.0, f64::max);
        if self.all > 0.0 {
            score.total *= 0.1 + 0.5 * covered / self.all + 0.4 * best / self.all;
        }
        score
    }
}

/// Fuses rankings (the best first, each with its weight) into one score per entity, in no order.
#[expect(clippy::cast_precision_loss, reason = "ranks")]
pub(super) fn fuse(rankings: &[(Vec<usize>, f64)], constant: f64) -> Vec<(usize, f64)> {
    let mut fused: BTreeMap<usize, f64> = BTreeMap::new();
    for (ranking, weight) in rankings {
        for (rank, entity) in ranking.iter().enumerate() {
            *fused.entry(*entity).or_default() += weight / (constant + rank as f64 + 1.0);
        }
    }
    fused.into_iter().filter(|(_, score)| *score > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Documents of an entity that are alike: their weights, and how many.
    type Alike<'a> = (&'a [f64], u32);

    /// Of 1,000 documents; each entity as its size and its documents.
    fn totals(terms: &[(f64, u64)], entities: &[(u64, &[Alike<'_>])]) -> Vec<f64> {
        let sizes: Vec<u64> = entities.iter().map(|(size, _)| *size).collect();
        let statistics = TermStatistics::new(1_000, terms, &sizes);
        let total = |size: u64, documents: &[Alike<'_>]| {
            let alike =
                documents.iter().map(|(weights, count)| AlikeDocuments { weights, documents: f64::from(*count) });
            statistics.score(size, &alike.collect::<Vec<_>>()).total
        };
        entities.iter().map(|(size, documents)| total(*size, documents)).collect()
    }

    #[test]
    fn an_entity_with_all_terms_beats_one_with_one_of_them_often() {
        let scores = totals(&[(1.0, 21), (1.0, 1)], &[(50, &[(&[1.0, 0.0], 20)]), (50, &[(&[1.0, 1.0], 1)])]);
        assert!(scores[1] > scores[0], "{scores:?}");
    }

    #[test]
    fn terms_together_in_one_text_beat_terms_in_two() {
        let scores =
            totals(&[(1.0, 2), (1.0, 2)], &[(50, &[(&[1.0, 1.0], 1)]), (50, &[(&[1.0, 0.0], 1), (&[0.0, 1.0], 1)])]);
        assert!(scores[0] > scores[1], "{scores:?}");
    }

    #[test]
    fn a_large_entity_needs_more_mentions_than_a_small_one() {
        let scores = totals(&[(1.0, 4)], &[(5_000, &[(&[1.0], 2)]), (20, &[(&[1.0], 2)])]);
        assert!(scores[1] > scores[0], "{scores:?}");
    }

    #[test]
    fn the_own_row_counts_more_than_one_text_about_it() {
        let scores = totals(&[(1.0, 2)], &[(50, &[(&[3.0], 1)]), (50, &[(&[1.0], 1)])]);
        assert!(scores[0] > scores[1], "{scores:?}");
    }

    #[test]
    fn more_mentions_never_score_less() {
        for (few, many) in [([1.0, 0.0], [1.0, 1.0]), ([0.0, 2.0], [0.0, 3.0]), ([0.0, 0.0], [0.6, 0.0])] {
            let scores = totals(&[(1.0, 7), (0.4, 3)], &[(9, &[(&few, 2)]), (9, &[(&many, 2)])]);
            assert!(scores[1] >= scores[0], "{few:?} {many:?}: {scores:?}");
        }
    }

    #[test]
    fn fusion_prefers_what_both_rankings_know() {
        let mut fused = fuse(&[(vec![1, 2, 3], 1.0), (vec![3, 9], 1.0)], 60.0);
        fused.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(fused[0].0, 3);
        assert_eq!(fused.len(), 4);
        assert!((fused.iter().find(|(e, _)| *e == 1).unwrap().1 - 1.0 / 61.0).abs() < 1e-12);
        assert_eq!(fuse(&[(vec![1], 1.0), (vec![9], 0.0)], 60.0).len(), 1, "a ranking without weight finds nothing");
    }
}
