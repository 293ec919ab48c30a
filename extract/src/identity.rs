//! Who wrote something never reaches the lake.
//!
//! An id becomes an HMAC-SHA256 whose key lives outside the lake: rows of one person can be counted, nobody can be found.
//! Names, pictures and profile addresses are removed, and phone numbers, e-mail addresses and resident numbers inside texts
//! are masked — in the payload as in the columns, because the columns are mapped from the scrubbed item. What was removed is
//! also looked for in the item's other texts: who answers a review calls its writer by name.
//!
//! Of a source that has such rules only known members of an item are kept, so that what the site adds tomorrow, and which
//! may name somebody, is not kept by accident.
//!
//! Order matters: hash, then remove, then mask. A removed id can't be hashed any more, and a hash must not be masked.

use std::sync::LazyLock;

use catalog::{CommitInfo, Committed, Lake, Table, Txn, TxnRule};
use hmac::{Hmac, KeyInit, Mac};
use regex::Regex;
use sha2::Sha256;

use crate::error::Error;
use crate::json::{Json, Text};
use crate::source::{FieldType, Found, From, Mask, Pointer, Source};

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
        hex::encode(mac.finalize().into_bytes())
    }
}

/// By which mark of a raw table it is told which key its ids were hashed with. A mark outlives the log, and the house beside it.
const MARK: &str = "identity";

impl IdentityKey {
    /// What tells this key from others: a keyed hash of a fixed text, which says no more of the key than any hashed id does.
    fn fingerprint(&self) -> i64 {
        let mut mac = self.0.clone();
        mac.update(b"onggi: which identity key is this");
        let bytes = mac.finalize().into_bytes();
        bytes.iter().take(8).fold(0, |number: i64, byte| (number << 8) | i64::from(*byte)) & i64::MAX
    }
}

/// Makes sure that a raw table holds ids of this key only. One that says nothing of its key – a new one, or one of an older
/// program – takes this one from here on.
pub(crate) async fn hold(table: &Table, key: &IdentityKey, info: &CommitInfo) -> Result<(), Error> {
    let ours = key.fingerprint();
    loop {
        match table.snapshot().await?.txn(MARK).await? {
            Some(found) if found == ours => return Ok(()),
            Some(_) => return Err(Error::OtherIdentity { table: table.name().clone() }),
            None => {
                let txn = Txn { app_id: MARK.to_owned(), version: ours, rule: TxnRule::After(None) };
                let note = Some(serde_json::json!({}));
                if let Committed::Done(_) = table.append_noted(Vec::new(), txn, info, note).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether this is the key that the ids of these sources were hashed with so far. Nothing is changed by asking.
///
/// # Errors
/// [`Error::OtherIdentity`] if it is another one; if the lake can't be read.
pub async fn check(lake: &Lake, sources: &[Source], key: &IdentityKey) -> Result<(), Error> {
    for source in sources.iter().filter(|source| source.hashes()) {
        let Some(table) = lake.find(source.table()).await? else { continue };
        if table.snapshot().await?.txn(MARK).await?.is_some_and(|found| found != key.fingerprint()) {
            return Err(Error::OtherIdentity { table: table.name().clone() });
        }
    }
    Ok(())
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

/// Texts of one item that are looked for in its others.
const MOST_NAMES: usize = 64;

/// Takes out of an item what must not reach the lake. Whether there was anything.
pub(crate) fn scrub(item: &mut Json, source: &Source, key: &IdentityKey) -> bool {
    let scope = source.name().to_string();
    let rules = source.scrub();
    let mut is_changed = false;
    let mut names = Vec::new();
    for pointer in &rules.names {
        match pointer.find(item) {
            Found::One(name) => texts(name, &mut names),
            Found::Many(found) => found.into_iter().for_each(|name| texts(name, &mut names)),
            Found::Absent | Found::Wrong { .. } => {}
        }
    }
    let mut exempt: Vec<&Pointer> = rules.unmasked.iter().collect();
    for field in source.fields() {
        let From::Item(pointer) = &field.from else { continue };
        if field.kind == FieldType::Hash {
            pointer.each_mut(item, &mut |id| is_changed |= hash_in_place(id, &scope, key));
            exempt.push(pointer);
        } else if field.column == source.items().key {
            // The name of an item is no text; it must come out as it went in.
            exempt.push(pointer);
        }
    }
    let mut removed = Vec::new();
    for (pointer, kept) in &rules.keep {
        pointer.each_mut(item, &mut |object| match object {
            Json::Object(members) => {
                let (stays, gone) = std::mem::take(members)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(name, _)| kept.iter().any(|known| known == name.as_str()));
                *members = stays;
                is_changed |= !gone.is_empty();
                removed
                    .extend(gone.into_iter().filter(|(name, _)| name.as_str() != "__typename").map(|(_, gone)| gone));
            }
            // Where an object was expected stands an id, a name or a list of either.
            other => removed.push(std::mem::replace(other, Json::Null)),
        });
    }
    for pointer in &rules.drop {
        pointer.remove(item, &mut |gone| removed.push(gone));
    }
    is_changed |= !removed.is_empty();
    // Who says where names stand knows that the rest of what is removed is none.
    if rules.names.is_empty() {
        for gone in &removed {
            texts(gone, &mut names);
        }
    }
    is_changed |= remove_unknown(item, source);
    names.retain(|name| names_somebody(name));
    names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    names.dedup();
    // Every text is searched for each of them: a site that sends thousands must not keep us busy with them.
    names.truncate(MOST_NAMES);
    let hidden = Hidden { exempt: &exempt, names: &names, masks: &rules.masks };
    hidden.mask_all(item, &mut Vec::new()) || is_changed
}

/// Removes what no rule and no field of the source speaks of.
fn remove_unknown(item: &mut Json, source: &Source) -> bool {
    let Json::Object(members) = item else { return false };
    if !source.names_persons() {
        return false;
    }
    let rules = source.scrub();
    let spoken_of = source.fields().iter().filter_map(|field| match &field.from {
        From::Item(pointer) => Some(pointer),
        From::Key => None,
    });
    let known: std::collections::HashSet<&str> = spoken_of
        .chain(&rules.unmasked)
        .chain(rules.keep.iter().map(|(pointer, _)| pointer))
        .chain(&rules.drop)
        .flat_map(Pointer::first_names)
        .chain(&rules.allow)
        .map(String::as_str)
        .collect();
    let before = members.len();
    members.retain(|(name, _)| known.contains(name.as_str()) || name.as_str() == "__typename");
    members.len() < before
}

/// The texts in a value.
fn texts(value: &Json, out: &mut Vec<String>) {
    match value {
        Json::Text(text) => out.push(text.as_str().trim().to_owned()),
        Json::List(elements) => elements.iter().for_each(|element| texts(element, out)),
        Json::Object(members) => {
            for (_, member) in members.iter().filter(|(name, _)| name.as_str() != "__typename") {
                texts(member, out);
            }
        }
        _ => {}
    }
}

/// Whether a removed text can be found in others without hiding what says nothing: a single letter, a count.
fn names_somebody(text: &str) -> bool {
    let long = text.chars().nth(1).is_some();
    let counts = text.chars().all(|c| c.is_ascii_digit()) && text.len() < 6;
    long && !counts
}

fn hash_in_place(id: &mut Json, scope: &str, key: &IdentityKey) -> bool {
    let text = match &*id {
        Json::Null => return false,
        Json::Text(text) => text.as_str().to_owned(),
        other => other.to_string(),
    };
    *id = Json::Text(Text::new(key.hash(scope, &text)));
    true
}

/// What is taken out of every text of an item.
struct Hidden<'a> {
    exempt: &'a [&'a Pointer],
    names: &'a [String],
    masks: &'a [Mask],
}

impl Hidden<'_> {
    fn mask_all(&self, value: &mut Json, path: &mut Vec<String>) -> bool {
        let mut is_changed = false;
        match value {
            Json::Text(text) => {
                if let Some(masked) = self.masked(text.as_str())
                    && !self.exempt.iter().any(|pointer| pointer.covers(path))
                {
                    text.replace(masked);
                    is_changed = true;
                }
            }
            Json::List(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    path.push(index.to_string());
                    is_changed |= self.mask_all(element, path);
                    path.pop();
                }
            }
            Json::Object(members) => {
                for (name, member) in members.iter_mut() {
                    path.push(name.as_str().to_owned());
                    is_changed |= self.mask_all(member, path);
                    path.pop();
                }
            }
            _ => {}
        }
        is_changed
    }

    /// The text with nothing in it that is to be hidden, or nothing when there is none.
    fn masked(&self, text: &str) -> Option<String> {
        let mut out = without_names(text, self.names);
        for Mask { label, pattern } in self.masks {
            let current = out.as_deref().unwrap_or(text);
            if pattern.is_match(current) {
                out = Some(pattern.replace_all(current, regex::NoExpand(label)).into_owned());
            }
        }
        mask(out.as_deref().unwrap_or(text)).or(out)
    }
}

/// The text without the names, or nothing when it holds none. A name in Latin letters counts only as a word of its own:
/// `kim` is not in `kimchi`.
fn without_names(text: &str, names: &[String]) -> Option<String> {
    let mut out: Option<String> = None;
    for name in names {
        let current = out.as_deref().unwrap_or(text);
        let (mut next, mut copied) = (String::new(), 0);
        for (at, _) in current.match_indices(name.as_str()) {
            let touches = |inner: Option<char>, outer: Option<char>| {
                inner.is_some_and(|c| c.is_ascii_alphanumeric()) && outer.is_some_and(|c| c.is_ascii_alphanumeric())
            };
            let end = at + name.len();
            let before = touches(name.chars().next(), current[..at].chars().next_back());
            let after = touches(name.chars().next_back(), current[end..].chars().next());
            if before || after {
                continue;
            }
            next.push_str(&current[copied..at]);
            next.push_str("[name]");
            copied = end;
        }
        if copied > 0 {
            next.push_str(&current[copied..]);
            out = Some(next);
        }
    }
    out
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

#[cfg(test)]
mod tests;
