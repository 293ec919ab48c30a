//! Who wrote something never reaches the lake.
//!
//! An id becomes an HMAC-SHA256 whose key lives outside the lake: rows of one person can be counted, nobody can be found.
//! Names, pictures and profile addresses are removed, and phone numbers, e-mail addresses and resident numbers inside texts
//! are masked — in the payload as in the columns, because the columns are mapped from the scrubbed item.
//!
//! Order matters: hash, then remove, then mask. A removed id can't be hashed any more, and a hash must not be masked.

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use regex::Regex;
use serde_json::Value;
use sha2::Sha256;

use crate::source::{FieldType, From, Pointer, Source};

/// The key of the identity hash. It has no printable form, and only `cli` reads it from where it is kept.
#[derive(Clone)]
pub struct IdentityKey(Hmac<Sha256>);

/// Why a key was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeakKey {
    /// Too little to be guessed only by trying for ever.
    #[error("expected an identity key of at least 16 bytes, found {found_bytes}")]
    TooShort {
        /// Its length.
        found_bytes: usize,
    },
    /// It is in every list of passwords, or in a documentation.
    #[error("expected an identity key that nobody can guess, found one that everybody knows")]
    Known,
}

impl WeakKey {
    /// What to do instead.
    pub fn hint(&self) -> Option<String> {
        Some(
            "make one with `openssl rand -hex 32` and keep it: with another key the same person counts as another"
                .to_owned(),
        )
    }
}

impl IdentityKey {
    /// Takes a key of at least 16 bytes. Blanks around it are not part of it: files end with a newline.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WeakKey> {
        let key = bytes.trim_ascii();
        if key.len() < 16 {
            return Err(WeakKey::TooShort { found_bytes: key.len() });
        }
        if is_known(key) {
            return Err(WeakKey::Known);
        }
        // HMAC takes a key of any length, so this never fails.
        Hmac::new_from_slice(key).map(Self).map_err(|_| WeakKey::TooShort { found_bytes: key.len() })
    }

    /// The hash of an id, in hexadecimal. `scope` keeps ids of different sources apart, so that sources can't be joined on people.
    pub(crate) fn hash(&self, scope: &str, id: &str) -> String {
        let mut mac = self.0.clone();
        mac.update(scope.as_bytes());
        mac.update(&[0]);
        mac.update(id.as_bytes());
        mac.finalize().into_bytes().iter().fold(String::with_capacity(64), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
            text
        })
    }
}

fn is_known(key: &[u8]) -> bool {
    const KNOWN: [&str; 12] = [
        "changeme",
        "change-me",
        "change_me",
        "password",
        "default",
        "example",
        "placeholder",
        "secret",
        "your-key",
        "0123456789",
        "abcdefghij",
        "qwertyuiop",
    ];
    let mut distinct = key.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let lower = String::from_utf8_lossy(key).to_ascii_lowercase();
    // A random key of 16 bytes or 16 hexadecimal digits has fewer than 5 different ones about once in 10⁷.
    distinct.len() < 5 || KNOWN.iter().any(|known| lower.contains(known))
}

/// Takes out of an item what must not reach the lake.
pub(crate) fn scrub(item: &mut Value, source: &Source, key: &IdentityKey) {
    let scope = source.name().to_string();
    let mut exempt: Vec<&Pointer> = source.scrub().unmasked.iter().collect();
    for field in source.fields() {
        let From::Item(pointer) = &field.from else { continue };
        if field.kind == FieldType::Hash {
            pointer.each_mut(item, &mut |id| hash_in_place(id, &scope, key));
            exempt.push(pointer);
        } else if field.column == source.items().key {
            // The name of an item is no text; it must come out as it went in.
            exempt.push(pointer);
        }
    }
    for (pointer, names) in &source.scrub().keep {
        pointer.each_mut(item, &mut |object| match object {
            Value::Object(members) => members.retain(|name, _| names.contains(name)),
            // Where an object was expected stands an id, a name or a list of either.
            other => *other = Value::Null,
        });
    }
    for pointer in &source.scrub().drop {
        pointer.remove(item);
    }
    mask_all(item, &mut Vec::new(), &exempt);
}

fn hash_in_place(id: &mut Value, scope: &str, key: &IdentityKey) {
    let text = match &*id {
        Value::Null => return,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    *id = Value::String(key.hash(scope, &text));
}

fn mask_all(value: &mut Value, path: &mut Vec<String>, exempt: &[&Pointer]) {
    match value {
        Value::String(text) => {
            if let Some(masked) = mask(text)
                && !exempt.iter().any(|pointer| pointer.covers(path))
            {
                *text = masked;
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                path.push(index.to_string());
                mask_all(element, path, exempt);
                path.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                path.push(name.clone());
                mask_all(member, path, exempt);
                path.pop();
            }
        }
        _ => {}
    }
}

/// The text with personal numbers and addresses masked, or nothing when there are none.
pub(crate) fn mask(text: &str) -> Option<String> {
    let mut masked: Option<String> = None;
    for rule in RULES.iter() {
        let current = masked.as_deref().unwrap_or(text);
        if let Some(next) = rule.apply(current) {
            masked = Some(next);
        }
    }
    masked
}

/// Whether what a pattern found is what it looks like.
type Accept = fn(&str) -> bool;

struct Rule {
    pattern: Regex,
    mask: &'static str,
    accept: Accept,
}

/// Digits may be full-width (`\d` is Unicode's), separators a blank, a hyphen of any kind, a dot or a tilde.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    const GAP: &str = r"[\s\-‐‑‒–—−－.~·]{0,3}";
    const SOME: &str = r"[\s\-‐‑‒–—−－.~·)）]{1,3}";
    const ZERO: &str = "[0０]";
    let rules: [(String, &str, Accept); 5] = [
        (
            r"(?:[A-Za-z\d._%+\-]+|\p{Hangul}+)\s?[@＠]\s?[\p{L}\d\-]+(?:\.[\p{L}\d\-]+)*\.[A-Za-z]{2,24}".to_owned(),
            "[email]",
            |_| true,
        ),
        (r"\d{6}\s?[-–—－]\s?[1-8]\d{6}".to_owned(), "[resident number]", |found| {
            starts_with_a_day(&digits(found))
        }),
        (r"\d{6}[1-8]\d{6}".to_owned(), "[resident number]", |found| {
            starts_with_a_day(&digits(found)) && check_digit_fits(&digits(found))
        }),
        // Mobile numbers, 070 and 050x, with or without separators, spelled or with the country's code.
        (
            format!(
                r"(?:(?:[+＋]\s?82|\(82\)|82-){GAP}{ZERO}?|[(（]?{ZERO})(?:[1１][016789０１６７８９]|[7７]{ZERO}|[5５]{ZERO}\d)[)）]?{GAP}\d{{3,4}}{GAP}\d{{4}}|[공영]일[공영]{GAP}\d{{3,4}}{GAP}\d{{4}}"
            ),
            "[phone]",
            |_| true,
        ),
        // Fixed lines only with separators: a bare run of digits is more often something else.
        (
            format!(
                r"[(（]?{ZERO}(?:[2２]|[3-6]\d)[)）]?{SOME}\d{{3,4}}{GAP}\d{{4}}|[(（]{ZERO}(?:[2２]|[3-6]\d)[)）]\d{{3,4}}{GAP}\d{{4}}"
            ),
            "[phone]",
            |_| true,
        ),
    ];
    rules
        .into_iter()
        .map(|(pattern, mask, accept)| {
            #[expect(clippy::expect_used, reason = "a mask must never be missing in silence; every pattern has a test")]
            let pattern = Regex::new(&pattern).expect("a pattern of this file");
            Rule { pattern, mask, accept }
        })
        .collect()
});

impl Rule {
    fn apply(&self, text: &str) -> Option<String> {
        let mut out: Option<String> = None;
        let (mut copied, mut at) = (0, 0);
        while let Some(found) = self.pattern.find_at(text, at) {
            if stands_alone(text, found.start(), found.end(), self.mask) && (self.accept)(found.as_str()) {
                let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
                out.push_str(&text[copied..found.start()]);
                out.push_str(self.mask);
                copied = found.end();
                at = found.end();
            } else {
                // A longer number swallowed it; a shorter one may begin inside.
                at = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
            }
            if at >= text.len() {
                break;
            }
        }
        out.map(|mut out| {
            out.push_str(&text[copied..]);
            out
        })
    }
}

/// Whether a number is not part of a longer number or of an id in Latin letters. Hangul may touch it: `010-1234-5678로`.
fn stands_alone(text: &str, start: usize, end: usize, mask: &str) -> bool {
    if mask == "[email]" {
        return true;
    }
    let joins = |c: char| c.is_numeric() || c.is_ascii_alphabetic() || c == '_';
    !text[..start].chars().next_back().is_some_and(joins) && !text[end..].chars().next().is_some_and(joins)
}

fn digits(text: &str) -> Vec<u32> {
    text.chars()
        .filter_map(|c| {
            if c.is_ascii_digit() {
                c.to_digit(10)
            } else {
                ('０'..='９').contains(&c).then(|| c as u32 - '０' as u32)
            }
        })
        .collect()
}

/// `yymmdd…`
fn starts_with_a_day(digits: &[u32]) -> bool {
    let [_, _, m1, m2, d1, d2, ..] = digits else { return false };
    (1..=12).contains(&(m1 * 10 + m2)) && (1..=31).contains(&(d1 * 10 + d2))
}

/// The check digit of resident numbers given out before October 2020. Without a hyphen nothing else tells one from a time in milliseconds.
fn check_digit_fits(digits: &[u32]) -> bool {
    let weights = [2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5];
    let sum: u32 = digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum();
    digits.len() == 13 && (11 - sum % 11) % 10 == digits[12]
}

#[cfg(test)]
mod tests;
