//! What a search looks at, how much each part counts, and the words of its language: all of it data of a project.
//!
//! Nothing here knows a language or a trade. What is left out has a value that holds for any texts; the weights were measured
//! (`search/relevance.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::target::SyncTarget;
use rows::text::fold;

/// Everything that a project says about its search.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SearchSettings {
    /// What is searched, and nothing else: a table that is left in a sink from former days is not read.
    pub targets: Vec<SearchedTarget>,
    /// How much each part counts.
    pub weights: SearchWeights,
    /// The words of the language that questions are asked in.
    pub words: QueryWords,
}

/// A target that is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchedTarget {
    /// The target, as it is configured today.
    pub target: SyncTarget,
    /// How much a mention in one of its rows counts beside those of other targets.
    pub weight: f64,
    /// The columns that are searched, each with how much a mention in it counts beside the others.
    pub columns: BTreeMap<String, f64>,
}

impl SearchedTarget {
    /// A mention in a row of its own (a name, a summary) counts as so many in the texts about it.
    pub const OWN_WEIGHT: f64 = 3.0;
    /// See [`Self::OWN_WEIGHT`].
    pub const ABOUT_WEIGHT: f64 = 1.0;

    /// All of a target's text columns, each as good as the other.
    pub fn new(target: SyncTarget) -> Self {
        let weight = if target.entity.is_none() { Self::OWN_WEIGHT } else { Self::ABOUT_WEIGHT };
        let columns = target.texts.iter().map(|column| (column.clone(), 1.0)).collect();
        Self { target, weight, columns }
    }
}

/// How much each part of an answer counts, as a project says it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchWeights {
    /// The ranking by words; 0 leaves it out.
    pub keyword: f64,
    /// The ranking by vectors; 0 leaves it out.
    pub vector: f64,
    /// A related word, beside the word itself.
    pub related: f64,
    /// The constant of reciprocal rank fusion: the smaller, the more the first of a ranking counts beside the tenth.
    pub rank_constant: f64,
    /// How many nearest rows take part.
    pub neighbours: usize,
    /// A cosine below this is no likeness.
    pub least_cosine: f64,
}

impl Default for SearchWeights {
    fn default() -> Self {
        Self { keyword: 1.0, vector: 1.0, related: 0.6, rank_constant: 5.0, neighbours: 100, least_cosine: 0.1 }
    }
}

/// What belongs to a language: how a question is taken apart. All of it is folded when it is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryWords {
    frame: BTreeSet<String>,
    weak: BTreeSet<String>,
    /// The longest first.
    particles: Vec<String>,
    related: BTreeMap<String, Vec<String>>,
    joins_short: bool,
}

impl QueryWords {
    /// Words that frame a question and say nothing about what is wanted.
    #[must_use]
    pub fn with_frame(mut self, words: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.frame = words.into_iter().map(|word| fold(word.as_ref())).collect();
        self
    }

    /// Words that mean something only beside others.
    #[must_use]
    pub fn with_weak(mut self, words: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.weak = words.into_iter().map(|word| fold(word.as_ref())).collect();
        self
    }

    /// What is taken off the end of a word before it is looked for, when two characters or more stay.
    #[must_use]
    pub fn with_particles(mut self, particles: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.particles = particles.into_iter().map(|it| fold(it.as_ref())).filter(|it| !it.is_empty()).collect();
        self.particles.sort_by(|a, b| b.chars().count().cmp(&a.chars().count()).then_with(|| a.cmp(b)));
        self
    }

    /// What people also write: the word, or a phrase without its spaces, and what is tried beside it.
    #[must_use]
    pub fn with_related(mut self, related: impl IntoIterator<Item = (impl AsRef<str>, Vec<String>)>) -> Self {
        let key = |word: &str| fold(word).split_whitespace().collect::<String>();
        let folded =
            |words: Vec<String>| words.iter().map(|word| fold(word)).filter(|it| !it.trim().is_empty()).collect();
        self.related = related.into_iter().map(|(word, words)| (key(word.as_ref()), folded(words))).collect();
        self
    }

    /// Whether a word of one character means something only together with its neighbours, and is looked for as a phrase with them.
    #[must_use]
    pub fn joining_short(self, joins_short: bool) -> Self {
        Self { joins_short, ..self }
    }

    pub(super) fn is_frame(&self, word: &str) -> bool {
        self.frame.contains(word)
    }

    pub(super) fn is_weak(&self, word: &str) -> bool {
        self.weak.contains(word)
    }

    pub(super) fn joins_short(&self) -> bool {
        self.joins_short
    }

    pub(super) fn related(&self, word: &str) -> &[String] {
        self.related.get(word).map_or(&[], Vec::as_slice)
    }

    /// The word without its particle. Lightly wrong now and then, which for a search by parts of words only widens the match.
    pub(super) fn stem<'a>(&self, word: &'a str) -> &'a str {
        let stems = self.particles.iter().filter_map(|particle| word.strip_suffix(particle.as_str()));
        stems.into_iter().find(|rest| rest.chars().nth(1).is_some()).unwrap_or(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_particle_goes_and_only_when_a_word_stays() {
        let words = QueryWords::default().with_particles(["에서", "에서는", "을", "ING"]);
        for (word, stem) in
            [("국밥을", "국밥"), ("식당에서는", "식당"), ("비을", "비을"), ("walking", "walk"), ("ing", "ing")]
        {
            assert_eq!(words.stem(word), stem);
        }
        assert_eq!(QueryWords::default().stem("국밥을"), "국밥을", "no language is known by itself");
    }

    #[test]
    fn a_row_counts_more_than_a_text_about_it() {
        let own = SearchedTarget::new(crate::testing::place_target());
        let about = SearchedTarget::new(crate::testing::review_target());
        assert!(own.weight > about.weight);
        assert_eq!(own.columns.len(), own.target.texts.len());
    }
}
