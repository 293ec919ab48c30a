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
//! The rules hold for whatever may say a name: for texts, for numbers as wholes, for the names of members, and for the id that names
//! the item, which becomes its keyed hash where a person's name is in it, since a mask would make one of two. What is no object at
//! all is not kept of such a source: its rules speak of members.
//!
//! Order matters: hash, then remove, then mask. A removed id can't be hashed any more, and a hash must not be masked.

use std::collections::HashSet;

use catalog::{CommitInfo, Committed, Lake, Table, Txn, TxnRule};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use unicode_normalization::UnicodeNormalization as _;

use crate::error::Error;
use crate::json::{Json, Text};
use crate::source::{Field, FieldType, Found, From, Mask, Pointer, Source};

mod masks;

pub(crate) use masks::{mask, mask_bytes};

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

/// A shorter id is looked for nowhere: too many texts have it by accident.
const SHORTEST_ID: usize = 6;

/// Texts of one item that are looked for in its others.
const MOST_NAMES: usize = 64;

/// Takes out of an item what must not reach the lake. Whether there was anything.
pub(crate) fn scrub(item: &mut Json, source: &Source, key: &IdentityKey) -> bool {
    if source.names_persons() && !item.is_object() {
        let is_something = !item.is_null();
        *item = Json::Null;
        return is_something;
    }
    let scope = source.name().to_string();
    let rules = source.scrub();
    let mut is_changed = false;
    let mut names = Vec::new();
    let mut say_name = |name: &Json| match name {
        Json::Number(number) => names.push(number.to_string()),
        other => texts(other, &mut names),
    };
    for pointer in &rules.names {
        match pointer.find(item) {
            Found::One(name) => say_name(name),
            Found::Many(found) => found.into_iter().for_each(&mut say_name),
            Found::Absent | Found::Wrong { .. } => {}
        }
    }
    names.retain(|name| names_somebody(name));
    // Beside its hash an id in clear would undo it, for all that its owner wrote.
    let mut ids = Vec::new();
    let mut exempt: Vec<&Pointer> = rules.unmasked.iter().collect();
    for field in source.fields() {
        let From::Item(pointer) = &field.from else { continue };
        if field.kind == FieldType::Hash {
            pointer.each_mut(item, &mut |id| {
                if let Json::Text(text) = &*id {
                    ids.push(text.as_str().trim().to_owned());
                }
                is_changed |= hash_in_place(id, &scope, key);
            });
            exempt.push(pointer);
        } else if field.column == source.items().key {
            // The name of an item is no text; it must come out as it went in, unless it says who wrote it.
            pointer.each_mut(item, &mut |id| {
                let names_person = matches!(&*id, Json::Text(text) if without_names(text.as_str(), &names).is_some());
                is_changed |= names_person && hash_in_place(id, &scope, key);
            });
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
    names.extend(ids.into_iter().filter(|id| id.chars().count() >= SHORTEST_ID));
    names.retain(|name| names_somebody(name));
    names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    names.dedup();
    // Every text is searched for each of them: a site that sends thousands must not keep us busy with them.
    names.truncate(MOST_NAMES);
    let mut names: Vec<String> = names.iter().flat_map(|name| spellings(name)).collect();
    names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    names.dedup();
    let counts = |field: &&Field| matches!(field.kind, FieldType::Int64 | FieldType::Float64 | FieldType::Timestamp);
    let counts = source.fields().iter().filter(counts).filter_map(Field::pointer).collect::<Vec<_>>();
    let known = spoken_of(source);
    let hidden = Hidden { exempt: &exempt, counts: &counts, known: &known, names: &names, masks: &rules.masks };
    hidden.mask_all(item, &mut Vec::new()) || is_changed
}

/// Removes what no rule and no field of the source speaks of.
fn remove_unknown(item: &mut Json, source: &Source) -> bool {
    let Json::Object(members) = item else { return false };
    if !source.names_persons() {
        return false;
    }
    let rules = source.scrub();
    let mapped = source.fields().iter().filter_map(Field::pointer);
    let known: HashSet<&str> = mapped
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

/// The names of members that the source file speaks of. They name nobody.
fn spoken_of(source: &Source) -> HashSet<&str> {
    let rules = source.scrub();
    let kept = rules.keep.iter().flat_map(|(_, names)| names);
    source
        .fields()
        .iter()
        .filter_map(Field::pointer)
        .chain(&rules.unmasked)
        .chain(&rules.drop)
        .chain(&rules.names)
        .chain(rules.keep.iter().map(|(pointer, _)| pointer))
        .flat_map(Pointer::names)
        .chain(kept.chain(&rules.allow).map(String::as_str))
        .collect()
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

/// A name as it is, put together and taken apart as Unicode has it, and in other capitals: how its readers write it.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let composed: String = name.nfc().collect();
    let all = [name.to_lowercase(), name.to_uppercase(), composed.to_lowercase(), composed.to_uppercase(), composed];
    let apart: Vec<String> = all.iter().map(|name| name.nfd().collect()).collect();
    all.into_iter().chain(apart).chain([name.to_owned()])
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
    /// Where the source has numbers: they are no names.
    counts: &'a [&'a Pointer],
    /// Names of members that are none of persons.
    known: &'a HashSet<&'a str>,
    names: &'a [String],
    masks: &'a [Mask],
}

impl Hidden<'_> {
    fn mask_all(&self, value: &mut Json, path: &mut Vec<String>) -> bool {
        let mut is_changed = false;
        match value {
            Json::Text(text) => {
                if let Some(masked) = self.masked(text.as_str())
                    && !is_below(self.exempt, path)
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
                let is_exempt = is_below(self.exempt, path);
                for (name, member) in members.iter_mut() {
                    path.push(name.as_str().to_owned());
                    is_changed |= self.mask_all(member, path);
                    path.pop();
                    if let Some(masked) = self.masked_name(name.as_str()).filter(|_| !is_exempt) {
                        name.replace(masked);
                        is_changed = true;
                    }
                }
            }
            Json::Number(number) => {
                if let Some(mask) = self.masked_number(number)
                    && !is_below(self.exempt, path)
                    && !is_below(self.counts, path)
                {
                    *value = Json::Text(Text::new(mask));
                    is_changed = true;
                }
            }
            Json::Null | Json::Bool(_) => {}
        }
        is_changed
    }

    /// The name of a member, likewise. Most are words that nothing is to be looked for in.
    fn masked_name(&self, name: &str) -> Option<String> {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if (is_word && self.names.is_empty() && self.masks.is_empty()) || self.known.contains(name) {
            return None;
        }
        self.masked(name)
    }

    /// What stands for a number that is a name, or what the source has a mask for, as a whole: a part of it is another number.
    fn masked_number(&self, number: &str) -> Option<String> {
        if self.names.iter().any(|name| name == number) {
            return Some("[name]".to_owned());
        }
        let is_whole = |mask: &&Mask| mask.pattern.find(number).is_some_and(|found| found.len() == number.len());
        self.masks.iter().find(is_whole).map(|mask| mask.label.clone())
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

/// Whether a place is one of these, or lies below one.
fn is_below(places: &[&Pointer], path: &[String]) -> bool {
    places.iter().any(|pointer| pointer.covers(path))
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

#[cfg(test)]
mod tests;
