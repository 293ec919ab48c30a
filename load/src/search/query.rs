//! A question in Korean → the terms to look for. Small rules and small tables; no analyser, no model.
//!
//! Words lose their particles; words that only frame a question (`먹기 좋은 곳`) are left out; one-syllable words mean something only
//! together (`비 오는 날`), so they become a phrase that is looked for with and without its spaces; and a few words of this domain are
//! tried as what people also write (`혼자` → `혼밥`). Everything is data: a quote or a percent sign is a character like any other.

use crate::error::{Error, Result};
use crate::text::{fold, stem, words};

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

/// Words that frame a question and say nothing about what is wanted.
const FRAME: [&str; 36] = [
    "먹기",
    "먹을",
    "먹는",
    "먹고",
    "가기",
    "갈",
    "가는",
    "가고",
    "마시기",
    "좋은",
    "좋을",
    "괜찮은",
    "만한",
    "싶은",
    "싶을",
    "있는",
    "하는",
    "하기",
    "할",
    "맛집",
    "식당",
    "가게",
    "음식점",
    "추천",
    "추천해줘",
    "알려줘",
    "어디",
    "근처",
    "같은",
    "정말",
    "아주",
    "너무",
    "그리고",
    "또는",
    "수",
    "것",
];
/// Words that mean something inside a phrase only.
const WEAK: [&str; 9] = ["오는", "날", "때", "곳", "집", "데", "한", "그", "이"];
/// What people also write. Left: without particles and spaces.
const RELATED: [(&str, &[&str]); 16] = [
    ("비오는날", &["비 올 때", "비올때", "비가 오", "비가 와", "비 와서", "장마", "우천"]),
    ("눈오는날", &["눈 올 때", "눈이 오", "눈이 와"]),
    ("추운날", &["쌀쌀", "겨울"]),
    ("더운날", &["무더위", "여름"]),
    ("혼자", &["혼밥", "혼술", "1인"]),
    ("혼밥", &["혼자", "1인"]),
    ("데이트", &["연인", "커플"]),
    ("아이", &["아기", "키즈", "유아"]),
    ("단체", &["회식", "모임"]),
    ("회식", &["단체", "모임"]),
    ("조용", &["차분", "한적"]),
    ("저렴", &["가성비", "싸고"]),
    ("가성비", &["저렴"]),
    ("강아지", &["반려견", "애견"]),
    ("부모님", &["어르신", "가족"]),
    ("해장", &["숙취"]),
];
/// A related word is weaker evidence than the word itself.
const RELATED_WEIGHT: f64 = 0.6;
/// A single syllable is in many words: `비` is in `비싸다`.
const SYLLABLE_WEIGHT: f64 = 0.4;
/// Words of a phrase, at most.
const PHRASE_WORDS: usize = 3;

/// The terms of a question, in its order. An error when it has no letter or digit.
pub(super) fn parse(question: &str) -> Result<Vec<Term>> {
    let folded = fold(question);
    let all: Vec<&str> = words(&folded).collect();
    if all.is_empty() {
        return Err(Error::EmptyQuery { query: question.to_owned() });
    }
    let mut terms: Vec<Term> = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if FRAME.contains(&all[at]) {
            at += 1;
            continue;
        }
        let length = phrase_length(&all[at..]);
        if length > 1 {
            terms.push(phrase(&all[at..at + length]));
        } else if !WEAK.contains(&all[at]) {
            terms.push(word(all[at]));
        }
        at += length;
    }
    if terms.is_empty() {
        terms = all.iter().map(|w| word(w)).collect();
    }
    let mut seen = std::collections::HashSet::new();
    terms.retain(|term| seen.insert(term.label.clone()));
    Ok(terms)
}

fn chars(word: &str) -> usize {
    word.chars().count()
}

/// How many words from here on belong together because one of them is a single syllable; 1 when none does.
fn phrase_length(words: &[&str]) -> usize {
    let short = words.iter().take(PHRASE_WORDS).take_while(|w| chars(w) <= 2 && !FRAME.contains(w)).count();
    let starts = chars(words[0]) == 1 || words.get(1).is_some_and(|next| chars(next) == 1);
    if !starts || short < 2 {
        return 1;
    }
    // A phrase ends with its last single syllable, unless it begins with one and has no other.
    let last = (1..short).rev().find(|i| chars(words[*i]) == 1);
    last.map_or(2, |last| last + 1)
}

fn word(word: &str) -> Term {
    let label = stem(word).to_owned();
    let weight = if chars(&label) == 1 { SYLLABLE_WEIGHT } else { 1.0 };
    let mut alternatives = vec![Alternative { text: label.clone(), weight: 1.0 }];
    alternatives.extend(related(&label));
    Term { label, weight, alternatives, fallback: Vec::new() }
}

fn phrase(parts: &[&str]) -> Term {
    let mut spellings = vec![String::new()];
    for (i, part) in parts.iter().enumerate() {
        let joints: &[&str] = if i == 0 { &[""] } else { &[" ", ""] };
        spellings =
            spellings.iter().flat_map(|s| joints.iter().map(move |joint| format!("{s}{joint}{part}"))).collect();
    }
    let label = parts.join(" ");
    let mut alternatives: Vec<Alternative> =
        spellings.into_iter().map(|text| Alternative { text, weight: 1.0 }).collect();
    alternatives.extend(related(&parts.concat()));
    let fallback = parts.iter().filter(|part| !WEAK.contains(part)).map(|part| word(part)).collect();
    Term { label, weight: 1.0, alternatives, fallback }
}

fn related(word: &str) -> impl Iterator<Item = Alternative> {
    let found = RELATED.iter().find(|(key, _)| *key == word).map_or(&[] as &[&str], |(_, others)| others);
    found.iter().map(|text| Alternative { text: (*text).to_owned(), weight: RELATED_WEIGHT })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_question_without_letters_is_refused() {
        for question in ["", "  ", "?!"] {
            assert!(matches!(parse(question), Err(Error::EmptyQuery { .. })));
        }
    }
}
