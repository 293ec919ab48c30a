//! A question → the terms to look for. Small rules over the words of the project's language; no analyser, no model.
//!
//! Words lose their particles; words that only frame a question are left out; where words of one character mean something only together
//! (`비 오는 날`), they become a phrase that is looked for with and without its spaces; and words are tried as what people also write.
//! Which words these are is data ([`QueryWords`]). Everything else is data too: a quote or a percent sign is a character like any other.

use super::settings::QueryWords;
use crate::error::{Error, Result};
use rows::text::{fold, words};

/// One thing to look for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Term {
    /// As the person wrote it, without particles.
    pub(super) label: String,
    pub(super) weight: f64,
    /// Any of these will do; the first is what was asked for.
    pub(super) alternatives: Vec<Alternative>,
    /// What to look for when nothing has any of the alternatives.
    pub(super) fallback: Vec<Term>,
}

/// A spelling, folded, and how much it counts beside the first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alternative {
    pub(super) text: String,
    pub(super) weight: f64,
}

/// Terms of a question, at most: each costs a look at every index.
const MAX_TERMS: usize = 24;
/// Spellings of a term, at most.
const MAX_ALTERNATIVES: usize = 100;
/// A single character is in many words: `비` is in `비싸다`.
const SHORT_WEIGHT: f64 = 0.4;
/// Words of a phrase, at most.
const PHRASE_WORDS: usize = 3;

/// Takes questions apart.
struct Parser<'a> {
    words: &'a QueryWords,
    /// How much a related word counts beside the word.
    related: f64,
}

/// The terms of a question, in its order. An error when it has no letter or digit.
pub(super) fn parse(question: &str, language: &QueryWords, related: f64) -> Result<Vec<Term>> {
    let folded = fold(question);
    let all: Vec<&str> = words(&folded).collect();
    if all.is_empty() {
        return Err(Error::EmptyQuery { query: question.to_owned() });
    }
    let parser = Parser { words: language, related };
    let mut terms: Vec<Term> = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if language.is_frame(all[at]) {
            at += 1;
            continue;
        }
        let length = parser.phrase_length(&all[at..]);
        if length > 1 {
            terms.push(parser.phrase(&all[at..at + length]));
        } else if !language.is_weak(all[at]) {
            terms.push(parser.word(all[at]));
        }
        at += length;
    }
    if terms.is_empty() {
        terms = all.iter().map(|word| parser.word(word)).collect();
    }
    let mut seen = std::collections::HashSet::new();
    terms.retain(|term| seen.insert(term.label.clone()));
    terms.truncate(MAX_TERMS);
    Ok(terms)
}

fn chars(word: &str) -> usize {
    word.chars().count()
}

impl Parser<'_> {
    /// How many words from here on belong together because one of them is a single character; 1 when none does.
    fn phrase_length(&self, words: &[&str]) -> usize {
        if !self.words.joins_short() {
            return 1;
        }
        let short =
            words.iter().take(PHRASE_WORDS).take_while(|word| chars(word) <= 2 && !self.words.is_frame(word)).count();
        let starts = chars(words[0]) == 1 || words.get(1).is_some_and(|next| chars(next) == 1);
        if !starts || short < 2 {
            return 1;
        }
        // A phrase ends with its last single character, unless it begins with one and has no other.
        let last = (1..short).rev().find(|i| chars(words[*i]) == 1);
        last.map_or(2, |last| last + 1)
    }

    fn word(&self, word: &str) -> Term {
        let label = self.words.stem(word).to_owned();
        let weight = if chars(&label) == 1 { SHORT_WEIGHT } else { 1.0 };
        let mut alternatives = vec![Alternative { text: label.clone(), weight: 1.0 }];
        alternatives.extend(self.related(&label));
        alternatives.truncate(MAX_ALTERNATIVES);
        Term { label, weight, alternatives, fallback: Vec::new() }
    }

    fn phrase(&self, parts: &[&str]) -> Term {
        let mut spellings = vec![String::new()];
        for (i, part) in parts.iter().enumerate() {
            let joints: &[&str] = if i == 0 { &[""] } else { &[" ", ""] };
            spellings =
                spellings.iter().flat_map(|s| joints.iter().map(move |joint| format!("{s}{joint}{part}"))).collect();
        }
        let label = parts.join(" ");
        let mut alternatives: Vec<Alternative> =
            spellings.into_iter().map(|text| Alternative { text, weight: 1.0 }).collect();
        alternatives.extend(self.related(&parts.concat()));
        alternatives.truncate(MAX_ALTERNATIVES);
        let fallback = parts.iter().filter(|part| !self.words.is_weak(part)).map(|part| self.word(part)).collect();
        Term { label, weight: 1.0, alternatives, fallback }
    }

    fn related(&self, word: &str) -> impl Iterator<Item = Alternative> {
        self.words.related(word).iter().map(|text| Alternative { text: text.clone(), weight: self.related })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::tests::korean;

    fn parse(question: &str) -> Result<Vec<Term>> {
        super::parse(question, &korean(), 0.6)
    }

    fn check(question: &str, labels: &[&str]) {
        let terms = parse(question).unwrap();
        assert_eq!(terms.iter().map(|t| t.label.as_str()).collect::<Vec<_>>(), labels, "{question}");
    }

    #[test]
    fn a_question_becomes_what_is_wanted() {
        check("비 오는 날 혼자 먹기 좋은 국밥", &["비 오는 날", "혼자", "국밥"]);
        check("조용한 카페에서 데이트", &["조용", "카페", "데이트"]);
        check("추운 날 국물이 진한 해장국 맛집", &["추운 날", "국물", "진한", "해장국"]);
        check("부모님을 모시고 갈 식당 추천", &["부모님", "모시고"]);
        check("국", &["국"]);
        check("좋은 곳", &["좋은", "곳"]);
        check("국밥 국밥을", &["국밥"]);
        check("100% '맛집'; drop table -- \"", &["100", "drop", "table"]);
    }

    #[test]
    fn a_phrase_is_looked_for_in_each_spelling_and_falls_apart_into_its_words() {
        let term = &parse("비 오는 날 국밥").unwrap()[0];
        let spellings: Vec<&str> =
            term.alternatives.iter().filter(|a| a.weight > 0.9).map(|a| a.text.as_str()).collect();
        assert_eq!(spellings, ["비 오는 날", "비 오는날", "비오는 날", "비오는날"]);
        assert!(term.alternatives.iter().any(|a| a.text == "장마"));
        assert_eq!(term.fallback.iter().map(|t| t.label.as_str()).collect::<Vec<_>>(), ["비"]);
    }

    #[test]
    fn without_words_of_a_language_a_question_is_its_words() {
        let labels = |question: &str| -> Vec<String> {
            let terms = super::parse(question, &QueryWords::default(), 0.6).unwrap();
            assert!(terms.iter().all(|term| term.alternatives.len() == 1 && term.fallback.is_empty()));
            terms.into_iter().map(|term| term.label).collect()
        };
        assert_eq!(labels("추천 근처 어디 비 오는 날"), ["추천", "근처", "어디", "비", "오는", "날"]);
        assert_eq!(labels("A film in which it rains"), ["a", "film", "in", "which", "it", "rains"]);
    }

    #[test]
    fn a_question_without_letters_is_refused() {
        for question in ["", "  ", "?!"] {
            assert!(matches!(parse(question), Err(Error::EmptyQuery { .. })));
        }
    }
}
