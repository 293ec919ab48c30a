//! Values that must not be kept, found in whatever writing they come: secrets of ours, and names of persons.
//!
//! A text is read sign by sign, and each sign in all that it may stand for: itself, or what addresses, JSON, scripts or HTML write
//! in its place, and these mixed and in each other, as servers do that leave `/` in an address and write `=` as `%3D`
//! (`needle/writing.rs`). What is read is compared in one of two ways. A secret is compared sign by sign. A name is compared as
//! its readers spell it: in any capitals, put together or taken apart as Unicode has it, with any blanks between its words, and
//! whatever stands in it that nobody sees. A name in Latin letters counts only as a word of its own – `kim` is not in `kimchi` –
//! and one of digits only as all of the digits that stand there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::iter::once;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

mod writing;

pub(crate) use writing::decoded;
use writing::{last_char, read};

/// So far before a place it is looked for an escape that ends there.
const LONGEST_ESCAPE: usize = 16;

/// One value to look for, and what stands in its place.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Needle {
    letters: Vec<char>,
    label: String,
    likeness: Likeness,
}

/// How a value is compared with what stands in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    /// Sign by sign; a line may be broken in it.
    Exact,
    /// As it may be spelt.
    Spelt,
}

impl Needle {
    /// A value that is compared sign by sign.
    pub(crate) fn exact(value: &str, label: &str) -> Self {
        Self { letters: value.chars().collect(), label: label.to_owned(), likeness: Likeness::Exact }
    }

    /// A name, however it is spelt.
    pub(crate) fn spelt(name: &str, label: &str) -> Self {
        let words: Vec<String> = name
            .split_whitespace()
            .map(|word| word.chars().filter(|letter| !is_unseen(*letter)).flat_map(folded).collect())
            .collect();
        Self { letters: words.join(" ").trim().chars().collect(), label: label.to_owned(), likeness: Likeness::Spelt }
    }

    /// Where it ends, if it begins at a place: of several ends the last.
    fn end_of(&self, bytes: &[u8], at: usize) -> Option<usize> {
        if self.is_plainly_another(bytes, at) {
            return None;
        }
        // A sign may be written in two ways at one place, as `%` before `25` is: both are followed.
        let (mut open, mut known) = (vec![(at, 0)], HashSet::new());
        let mut last = None;
        while let Some((place, letter)) = open.pop() {
            if letter == self.letters.len() {
                last = last.max(Some(place).filter(|end| self.stands_alone(bytes, at, *end)));
                continue;
            }
            read(bytes, place, |sign, end| {
                let next = if self.passes_over(letter, sign) { Some(letter) } else { self.after(letter, sign) };
                open.extend(next.map(|next| (end, next)).filter(|state| known.insert(*state)));
            });
        }
        last
    }

    /// Whether the second letter is another. Letters and digits of ASCII stand for nothing but themselves: most places need no
    /// other look.
    fn is_plainly_another(&self, bytes: &[u8], at: usize) -> bool {
        let (Some(second), Some([first, next])) = (self.letters.get(1), bytes.get(at..at + 2)) else { return false };
        let next_letter = match self.likeness {
            Likeness::Exact => char::from(*next),
            Likeness::Spelt => char::from(next.to_ascii_lowercase()),
        };
        first.is_ascii_alphanumeric() && next.is_ascii_alphanumeric() && next_letter != *second
    }

    /// Whether a sign before this letter is none of the value.
    fn passes_over(&self, letter: usize, sign: char) -> bool {
        let Some(before) = letter.checked_sub(1).and_then(|before| self.letters.get(before)) else { return false };
        match self.likeness {
            Likeness::Exact => matches!(sign, '\r' | '\n') && self.letters[letter] != sign,
            Likeness::Spelt => is_unseen(sign) || (*before == ' ' && sign.is_whitespace()),
        }
    }

    /// The letter that follows those that a sign stands for, if it stands for the next ones.
    fn after(&self, letter: usize, sign: char) -> Option<usize> {
        if self.likeness == Likeness::Exact {
            return (self.letters[letter] == sign).then_some(letter + 1);
        }
        if sign.is_whitespace() {
            return (self.letters[letter] == ' ').then_some(letter + 1);
        }
        let mut at = letter;
        for part in folded(sign) {
            if self.letters.get(at) != Some(&part) {
                return None;
            }
            at += 1;
        }
        Some(at)
    }

    /// Whether it is no part of a longer word or number, where it is one itself.
    fn stands_alone(&self, bytes: &[u8], start: usize, end: usize) -> bool {
        let (Some(first), Some(last)) = (self.letters.first(), self.letters.last()) else { return false };
        if self.likeness == Likeness::Exact {
            return true;
        }
        let is_number = self.letters.iter().all(char::is_ascii_digit);
        let touches = |inner: char, outer: char| {
            if is_number { outer.is_numeric() } else { inner.is_ascii_alphanumeric() && outer.is_ascii_alphanumeric() }
        };
        let (mut is_longer, mut is_first) = (false, true);
        read(bytes, end, |sign, _| {
            // As it is, and not what it may stand for: rather a word too many.
            is_longer |= is_first && (touches(*last, sign) || belongs_to_the_sign_before(sign));
            is_first = false;
        });
        !is_longer && is_apart(bytes, start, |outer| touches(*first, outer))
    }
}

/// Whether what ends at a place, as it is or as what it stands for, touches nothing.
fn is_apart(bytes: &[u8], at: usize, touches: impl Fn(char) -> bool) -> bool {
    if last_char(&bytes[..at]).is_none_or(|before| !touches(before)) {
        return true;
    }
    (at.saturating_sub(LONGEST_ESCAPE)..at).filter(|start| matches!(bytes[*start], b'%' | b'\\' | b'&')).any(|start| {
        let mut is_apart = false;
        read(bytes, start, |sign, end| is_apart |= end == at && !touches(sign));
        is_apart
    })
}

/// A letter as all of its spellings have it: in small letters, and in its parts.
fn folded(letter: char) -> impl Iterator<Item = char> {
    // By way of capitals: one letter has two of them, or two small ones have one.
    once(letter).nfkd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkd()
}

/// What stands in a text and is not seen there.
fn is_unseen(sign: char) -> bool {
    matches!(sign,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// An accent, or the rest of a syllable.
fn belongs_to_the_sign_before(sign: char) -> bool {
    !is_unseen(sign) && (is_combining_mark(sign) || matches!(sign, '\u{1160}'..='\u{11ff}'))
}

/// All that is looked for in a text, at once.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Needles {
    /// The longest first: one may be a part of another.
    all: Vec<Needle>,
    /// Those that begin with a letter.
    exact: HashMap<char, Vec<usize>>,
    spelt: HashMap<char, Vec<usize>>,
    /// The signs of ASCII at which one may begin.
    beginnings: u128,
}

impl Needles {
    /// Needles without a letter are none.
    pub(crate) fn new(mut all: Vec<Needle>) -> Self {
        all.retain(|needle| !needle.letters.is_empty());
        all.sort_by(|one, other| {
            other.letters.len().cmp(&one.letters.len()).then_with(|| one.letters.cmp(&other.letters))
        });
        all.dedup();
        let mut needles = Self::default();
        for sign in ['%', '\\', '&'] {
            needles.may_begin_with(sign);
        }
        for (at, needle) in all.iter().enumerate() {
            let Some(first) = needle.letters.first().copied() else { continue };
            let of = if needle.likeness == Likeness::Exact { &mut needles.exact } else { &mut needles.spelt };
            of.entry(first).or_default().push(at);
            needles.may_begin_with(first);
            needles.may_begin_with(first.to_ascii_uppercase());
            if first == ' ' {
                needles.may_begin_with('+');
            }
        }
        needles.all = all;
        needles
    }

    fn may_begin_with(&mut self, sign: char) {
        if sign.is_ascii() {
            self.beginnings |= 1 << u32::from(sign);
        }
    }

    /// Whether nothing is looked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The text with each value behind its label; nothing where there is none.
    pub(crate) fn replaced(&self, text: &str) -> Option<String> {
        // A value begins and ends where a character does.
        Some(String::from_utf8_lossy(&self.replaced_bytes(text.as_bytes())?).into_owned())
    }

    /// The same for what may be no text. Of values that begin at one place the longest counts.
    pub(crate) fn replaced_bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.is_empty() {
            return None;
        }
        let mut out: Option<Vec<u8>> = None;
        let (mut at, mut copied) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            let may_begin = !byte.is_ascii() || (self.beginnings >> byte) & 1 == 1;
            let Some((end, needle)) = may_begin.then(|| self.longest_at(bytes, at)).flatten() else {
                at += 1;
                continue;
            };
            let out = out.get_or_insert_default();
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(needle.label.as_bytes());
            (at, copied) = (end, end);
        }
        if let Some(out) = &mut out {
            out.extend_from_slice(&bytes[copied..]);
        }
        out
    }

    /// The longest value that begins at a place, and where it ends.
    fn longest_at(&self, bytes: &[u8], at: usize) -> Option<(usize, &Needle)> {
        let mut signs = Vec::new();
        let mut plain = None;
        read(bytes, at, |sign, _| match plain {
            None => plain = Some(sign),
            Some(_) => signs.push(sign),
        });
        let ends = |number: &usize| {
            let needle = self.all.get(*number)?;
            Some((needle.end_of(bytes, at)?, needle))
        };
        if signs.is_empty() {
            return self.that_begin_with(plain?).find_map(ends);
        }
        let candidates: BTreeSet<&usize> =
            plain.into_iter().chain(signs).flat_map(|sign| self.that_begin_with(sign)).collect();
        candidates.into_iter().find_map(ends)
    }

    /// Those that may begin with a sign, the longest first.
    fn that_begin_with(&self, sign: char) -> impl Iterator<Item = &usize> {
        let spelt =
            if self.spelt.is_empty() { None } else { first_folded(sign).and_then(|first| self.spelt.get(&first)) };
        self.exact.get(&sign).into_iter().chain(spelt).flatten()
    }
}

/// The first part of a letter. Most letters of a text are one of these.
fn first_folded(sign: char) -> Option<char> {
    match sign {
        '\0'..='\x7f' => Some(sign.to_ascii_lowercase()),
        '가'..='힣' => char::from_u32(0x1100 + (u32::from(sign) - 0xac00) / 588),
        _ => folded(sign).next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(name: &str, text: &str) -> Option<String> {
        Needles::new(vec![Needle::spelt(name, "[name]")]).replaced(text)
    }

    #[test]
    fn the_first_part_of_a_letter_is_the_first_of_its_parts() {
        for sign in ('\0'..'\u{3000}').chain('가'..='힣').chain('\u{f900}'..='\u{ffff}') {
            assert_eq!(first_folded(sign), folded(sign).next(), "{sign:?}");
        }
    }

    #[test]
    fn a_name_is_found_in_every_writing_and_in_no_longer_word() {
        let found = [
            ("김민수", "http://h/u/%EA%B9%80%EB%AF%BC%EC%88%98?x=1", "http://h/u/[name]?x=1"),
            ("김민수", "%25EA%25B9%2580%25EB%25AF%25BC%25EC%2588%2598", "[name]"),
            ("김민수", "&#44608;&#xBBFC;&#49688;님", "[name]님"),
            ("김민수", "&amp;#44608;&amp;#48124;&amp;#49688;", "[name]"),
            ("김민수", r#"{"nick":"\uae40\uBBFC\uc218"}"#, r#"{"nick":"[name]"}"#),
            ("김민수", r#"{\"nick\":\"\\uae40\\uBBFC\\uc218\"}"#, r#"{\"nick\":\"[name]\"}"#),
            ("김민수", r"\352\271\200\353\257\274\354\210\230", "[name]"),
            ("김민수", "김\u{200b}민\u{feff}수", "[name]"),
            ("김민수", "김&#8203;민수", "[name]"),
            ("김민수", "김민수님과 김민수", "[name]님과 [name]"),
            ("Tom & Jerry", "by Tom &amp; Jerry!", "by [name]!"),
            ("Tom & Jerry", "by tom%20%26%20jerry", "by [name]"),
            ("Tom & Jerry", "tom+&+JERRY", "[name]"),
            ("Kim Min Su", "Kim  Min\u{a0}Su", "[name]"),
            ("Kim Min Su", r"KIM&nbsp;min\tsu", "[name]"),
            ("Kim  Min\u{3000}Su", "kim min su", "[name]"),
            ("G\u{fc}nther", "gu\u{308}nther", "[name]"),
            ("Gu\u{308}nther", "G&uuml;nther, G\u{dc}NTHER", "[name], [name]"),
            ("Straße", "STRASSE und strasse", "[name] und [name]"),
            ("Ｋｉｍ２", "kim2", "[name]"),
            ("kim", "Lee%20kim, a\\nkim, &lt;kim&gt;", "Lee%20[name], a\\n[name], &lt;[name]&gt;"),
            ("778899123", "id778899123, 778899123호", "id[name], [name]호"),
            ("name", "[name] name", "[[name]] [name]"),
        ];
        for (name, text, expected) in found {
            assert_eq!(spelt(name, text).as_deref(), Some(expected), "{name} in {text}");
        }
        let apart = |text: &str| text.nfd().collect::<String>();
        let not_found = [
            ("kim", "kimchi Kimchi xkim 2kim".to_owned()),
            // The syllable goes on.
            ("김미", "김민".to_owned()),
            ("김미", apart("김민")),
            ("Gunther", "Gu\u{308}nther".to_owned()),
            ("Andre", apart("Andr\u{e9}")),
            ("778899123", "7788991234 1778899123 ７778899123".to_owned()),
            ("Kim Min", "KimMin".to_owned()),
            ("", "a".to_owned()),
            (" \u{200b}", "a  b".to_owned()),
        ];
        for (name, text) in not_found {
            assert_eq!(spelt(name, &text), None, "{name} in {text}");
        }
    }

    #[test]
    fn what_is_written_in_many_ways_at_once_is_followed_in_time() {
        // Each sign of it may be read in several ways that lead to the same place.
        let value = "%25".repeat(200);
        let needles = Needles::new(vec![Needle::exact(&format!("{value}!"), "x")]);
        assert_eq!(needles.replaced(&value.repeat(2)), None);
        assert_eq!(needles.replaced(&format!("{value}!")).as_deref(), Some("x"));
    }
}
