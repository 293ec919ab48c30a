//! Numbers and addresses by which somebody is found, masked in whatever text they stand.

use std::sync::LazyLock;

use regex::Regex;

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

/// The same for what may be no text: what is ASCII in it is looked at.
pub(crate) fn mask_bytes(bytes: &[u8]) -> Vec<u8> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return mask(text).unwrap_or_else(|| text.to_owned()).into_bytes();
    }
    let wide: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    match mask(&wide) {
        Some(masked) => masked.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect(),
        None => bytes.to_vec(),
    }
}

/// Whether what a pattern found is what it looks like.
type Accept = fn(&str) -> bool;

struct MaskRule {
    pattern: Regex,
    mask: &'static str,
    accept: Accept,
}

/// Digits may be full-width (`\d` is Unicode's), separators a blank, a hyphen of any kind, a dot or a tilde.
static RULES: LazyLock<Vec<MaskRule>> = LazyLock::new(|| {
    const GAP: &str = r"[\s\-‐‑‒–—−－.~·]{0,3}";
    const SOME: &str = r"[\s\-‐‑‒–—−－.~·)）]{1,3}";
    const ZERO: &str = "[0０]";
    let rules: [(String, &str, Accept); 5] = [
        (
            r"[\p{L}\p{M}\d._%+\-]+\s?[@＠]\s?[\p{L}\d\-]+(?:\.[\p{L}\d\-]+)*\.[A-Za-z]{2,24}".to_owned(),
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
            MaskRule { pattern, mask, accept }
        })
        .collect()
});

impl MaskRule {
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
