//! Who wrote something never reaches the lake.
//!
//! An id becomes an HMAC-SHA256 whose key lives outside the lake: rows of one person can be counted, nobody can be found.
//! Names, pictures and profile addresses are removed, and phone numbers, e-mail addresses and resident numbers inside texts
//! are masked — in the payload as in the columns, because the columns are mapped from the scrubbed item. What was removed, and
//! an id beside its hash, is also looked for in the item's other texts and numbers, in whatever writing it stands there
//! (`needle.rs`): who answers a review calls its writer by name, and a link to a profile has the id in it.
//!
//! Of a source that has such rules only known members of an item are kept, so that what the site adds tomorrow, and which
//! may name somebody, is not kept by accident.
//!
//! The rules hold for whatever may say a name: for texts, for numbers as wholes, for the names of members, and for the id that names
//! the item, which becomes its keyed hash where a person's name or id is in it, since a mask would make one of two. What is no object
//! at all is not kept of such a source: its rules speak of members.
//!
//! Order matters: hash, then remove, then mask. A removed id can't be hashed any more, and a hash must not be masked.

use std::collections::HashSet;

use catalog::{CommitInfo, Committed, Lake, Table, Txn, TxnRule};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::Error;
use crate::json::{Json, Text, whole_digits};
use crate::source::{Field, FieldType, Found, Pointer, Source};

mod columns;
mod hidden;
mod masks;
mod unfit;

use hidden::{Hidden, Persons};
pub(crate) use masks::{mask, mask_bytes};
pub(crate) use unfit::{UnfitRules, is_seldom};

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

/// Makes sure that a raw table holds ids of this key only, and in each column either ids or hashes. One that says nothing of its
/// key – a new one, or one of an older program – takes this one from here on.
pub(crate) async fn hold(table: &Table, source: &Source, key: &IdentityKey, info: &CommitInfo) -> Result<(), Error> {
    let head = table.head().await?;
    if source.hashes() {
        hold_key(table, head.txn(MARK).await?, key, info).await?;
    }
    columns::hold(table, &head, source, info).await
}

/// `held` is the mark that the table was seen with.
async fn hold_key(table: &Table, mut held: Option<i64>, key: &IdentityKey, info: &CommitInfo) -> Result<(), Error> {
    let ours = key.fingerprint();
    loop {
        match held {
            Some(found) if found == ours => return Ok(()),
            Some(_) => return Err(Error::OtherIdentity { table: table.name().clone() }),
            None => {
                let txn = Txn { app_id: MARK.to_owned(), version: ours, rule: TxnRule::After(None) };
                let note = Some(serde_json::json!({}));
                if let Committed::Done(_) = table.append_noted(Vec::new(), txn, info, note).await? {
                    return Ok(());
                }
                held = table.head().await?.txn(MARK).await?;
            }
        }
    }
}

/// Whether this is the key that the ids of these sources were hashed with so far, and those that were are still to be. Nothing is
/// changed by asking.
///
/// # Errors
/// [`Error::OtherIdentity`] if it is another one; [`Error::OtherHashing`] if a column is to hold ids beside hashes; if the lake
/// can't be read.
pub async fn check(lake: &Lake, sources: &[Source], key: &IdentityKey) -> Result<(), Error> {
    for source in sources {
        let Some(table) = lake.find(source.table()).await? else { continue };
        let head = table.head().await?;
        let held = head.txn(MARK).await?;
        if source.hashes() && held.is_some_and(|found| found != key.fingerprint()) {
            return Err(Error::OtherIdentity { table: table.name().clone() });
        }
        columns::unmarked(&table, &head, source).await?;
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
const SHORTEST_ID: usize = 4;

/// A shorter number is not looked for where the source counts: too many counts are the same by accident.
const SHORTEST_OF_COUNTS: usize = 6;

/// Texts of one item that are looked for in its others, and as many ids.
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
    for pointer in &rules.names {
        match pointer.find(item) {
            Found::One(name) => said(name, &mut names),
            Found::Many(found) => found.into_iter().for_each(|name| said(name, &mut names)),
            Found::Absent | Found::Wrong { .. } => {}
        }
    }
    let hashed: Vec<&Pointer> = pointers_of(source, |field| field.kind == FieldType::Hash).collect();
    // What stands where a person was expected may be one: a list of them, or a name alone. Of an object of which only some members
    // stay nothing else does anyway.
    let mut removed = Vec::new();
    let stays = |pointer: &&Pointer| !rules.keep.iter().any(|(object, _)| pointer.lies_below(object));
    for pointer in hashed.iter().copied().chain(&rules.names).filter(stays) {
        pointer.remove_misfits(item, &mut |misfit| {
            said(&misfit, &mut names);
            is_changed = true;
        });
    }
    for pointer in rules.drop.iter().filter(stays) {
        pointer.remove_misfits(item, &mut |misfit| removed.push(misfit));
    }
    names.retain(|name| names_somebody(name));
    // Beside its hash an id in clear would undo it, for all that its owner wrote.
    let mut ids = Vec::new();
    for pointer in &hashed {
        pointer.each_mut(item, &mut |id| {
            said(id, &mut ids);
            is_changed |= hash_in_place(id, &scope, key);
        });
    }
    ids.retain(|id| id.chars().count() >= SHORTEST_ID);
    let mut exempt: Vec<&Pointer> = rules.unmasked.iter().chain(hashed.iter().copied()).collect();
    // The name of an item is no text; it must come out as it went in, unless it says who wrote it.
    let persons = Persons::new(names.iter().cloned(), ids.iter().cloned());
    for pointer in pointers_of(source, |field| field.column == source.items().key) {
        if !hashed.contains(&pointer) {
            // A list or an object is no name: what lies in it is as any other text.
            let mut is_name = true;
            pointer.each_mut(item, &mut |id| {
                is_name &= !matches!(id, Json::List(_) | Json::Object(_));
                is_changed |= is_name && persons.are_in(id) && hash_in_place(id, &scope, key);
            });
            if is_name {
                exempt.push(pointer);
            }
        }
    }
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
    for pointer in hashed.iter().copied().chain(&rules.names) {
        remove_unknown_beside(pointer, item, source, &mut removed);
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
    let persons = Persons::new(names, ids);
    let counts = |field: &Field| matches!(field.kind, FieldType::Int64 | FieldType::Float64 | FieldType::Timestamp);
    let counts = pointers_of(source, counts).collect::<Vec<_>>();
    let known = spoken_of(source);
    let hidden = Hidden { exempt: &exempt, counts: &counts, known: &known, persons: &persons, masks: &rules.masks };
    hidden.mask_all(item, &mut Vec::new()) || is_changed
}

/// Where the values of some fields lie in an item.
fn pointers_of(source: &Source, which: impl Fn(&Field) -> bool) -> impl Iterator<Item = &Pointer> {
    source.fields().iter().filter(move |field| which(field)).filter_map(Field::pointer)
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

/// Removes what no rule and no field of the source speaks of in the objects that hold what says who somebody is: they are persons.
/// Of one that a field takes as a whole only what the rules name is removed.
fn remove_unknown_beside(pointer: &Pointer, item: &mut Json, source: &Source, removed: &mut Vec<Json>) {
    let Some(person) = pointer.parent() else { return };
    let rules = source.scrub();
    let mapped: Vec<&Pointer> = pointers_of(source, |_| true).chain(&rules.unmasked).collect();
    if mapped.iter().any(|field| field.may_hold(&person)) {
        return;
    }
    let kept = rules.keep.iter().filter(|(object, _)| object.may_hold(&person) && person.may_hold(object));
    let known: HashSet<&str> = mapped
        .into_iter()
        .chain(&rules.drop)
        .chain(&rules.names)
        .chain(rules.keep.iter().map(|(object, _)| object))
        .flat_map(|other| other.names_below(&person))
        .chain(kept.flat_map(|(_, names)| names))
        .map(String::as_str)
        .collect();
    person.each_mut(item, &mut |object| {
        let Json::Object(members) = object else { return };
        let (stays, gone) = std::mem::take(members)
            .into_iter()
            .partition::<Vec<_>, _>(|(name, _)| known.contains(name.as_str()) || name.as_str() == "__typename");
        *members = stays;
        removed.extend(gone.into_iter().map(|(_, member)| member));
    });
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

/// The same where a number may stand for a text.
fn said(value: &Json, out: &mut Vec<String>) {
    match value {
        Json::Number(number) => out.push(whole_digits(number).unwrap_or_else(|| number.to_string())),
        other => texts(other, out),
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

#[cfg(test)]
mod tests;
