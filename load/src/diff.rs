//! What changed between what a sink holds and what a table says, by key and row hash. Pure.
//!
//! The table comes in batches and is never held whole. What is held is what the sink told, and 128 bits for each key that was met: a
//! `SipHash` (Aumasson and Bernstein, 2012) whose key is chance, so that nobody can write keys that fall together; that two of a
//! billion keys do is less likely than one in 10²⁰. Order of events: `see` every row of the table, which says at once whether it must be
//! written, then `finish`, which says which keys are gone.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::keys::Hashes;
use crate::sums::Sums;
use rows::RowHash;

/// What to do with a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The sink does not have it.
    New,
    /// The sink has it with other content.
    Changed,
    /// The sink has it just so.
    Unchanged,
    /// The same key came before: the table is not keyed by this column.
    Duplicate,
}

/// A difference under way.
#[derive(Debug)]
pub struct Diff {
    held: Hashes,
    /// Which rows of `held` the table has.
    seen: Vec<bool>,
    places: HashMap<Fingerprint, usize, BuildHasherDefault<First>>,
    fingerprints: SipHasher13,
    /// Both sides in sums, where they were added up: of a part in which they agree no key is looked up.
    sums: Option<Sums>,
    upserted: u64,
    unchanged: u64,
}

/// The place of a key that the sink does not hold.
const NEW: usize = usize::MAX;

/// A key, in 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint([u64; 2]);

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
    }
}

/// What is a hash already is hashed by taking its first half.
#[derive(Debug, Default)]
struct First(u64);

impl Hasher for First {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many rows were written, left alone, and removed, and the keys of the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// New or changed rows.
    pub upserted: u64,
    /// Rows that were there already.
    pub unchanged: u64,
    /// Keys that the table no longer has, in order.
    pub deleted: Vec<String>,
}

impl Diff {
    /// Against what the sink holds.
    pub fn new(held: Hashes) -> Self {
        Self::expecting(held, 0)
    }

    /// The same, for a table of about so many rows.
    pub fn expecting(held: Hashes, rows: usize) -> Self {
        Self::of(held, rows, None)
    }

    /// Against what the sink holds, when both sides were added up: only where their sums differ is a row looked at.
    pub(crate) fn where_differs(held: Hashes, sums: Sums) -> Self {
        Self::of(held, 0, Some(sums))
    }

    fn of(held: Hashes, rows: usize, sums: Option<Sums>) -> Self {
        let is_same = |key: &str| sums.as_ref().is_some_and(|sums| sums.agree_on(key));
        let seen: Vec<bool> = held.iter().map(|(key, _)| is_same(key)).collect();
        let left = seen.iter().filter(|seen| !**seen).count();
        let fingerprints = SipHasher13::new_with_keys(rand::random(), rand::random());
        let mut places = HashMap::with_capacity_and_hasher(rows.max(left), BuildHasherDefault::default());
        for (place, (key, _)) in held.iter().enumerate().filter(|(place, _)| !seen[*place]) {
            places.insert(fingerprint(&fingerprints, key), place);
        }
        Self { held, seen, places, fingerprints, sums, upserted: 0, unchanged: 0 }
    }

    /// Whether nothing differs, which sums alone can tell: then no row has to be seen.
    pub(crate) fn is_same(&self) -> bool {
        self.sums.as_ref().is_some_and(Sums::agree)
    }

    /// One row of the table.
    pub fn see(&mut self, key: &str, hash: RowHash) -> Change {
        if self.sums.as_ref().is_some_and(|sums| sums.agree_on(key)) {
            self.unchanged += 1;
            return Change::Unchanged;
        }
        match self.places.entry(fingerprint(&self.fingerprints, key)) {
            Entry::Vacant(free) => {
                free.insert(NEW);
                self.upserted += 1;
                Change::New
            }
            Entry::Occupied(place) => match self.seen.get_mut(*place.get()) {
                None | Some(true) => Change::Duplicate,
                Some(seen) => {
                    *seen = true;
                    if self.held.hash(*place.get()) == hash {
                        self.unchanged += 1;
                        Change::Unchanged
                    } else {
                        self.upserted += 1;
                        Change::Changed
                    }
                }
            },
        }
    }

    /// The whole table has been seen, or nothing differs.
    pub fn finish(self) -> Difference {
        if self.is_same() {
            return Difference { upserted: 0, unchanged: self.held.len() as u64, deleted: Vec::new() };
        }
        let gone = self.seen.iter().enumerate().filter(|(_, seen)| !**seen);
        let mut deleted: Vec<String> = gone.map(|(place, _)| self.held.key(place).to_owned()).collect();
        deleted.sort_unstable();
        Difference { upserted: self.upserted, unchanged: self.unchanged, deleted }
    }
}

fn fingerprint(hasher: &SipHasher13, key: &str) -> Fingerprint {
    let mut hasher = *hasher;
    hasher.write(key.as_bytes());
    let hash = hasher.finish128();
    Fingerprint([hash.h1, hash.h2])
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    type Rows = BTreeMap<String, RowHash>;

    fn rows() -> impl Strategy<Value = Rows> {
        proptest::collection::btree_map("[a-h]", (0_u8..3).prop_map(|n| RowHash([n; 16])), 0..8)
    }

    /// Applies the difference the way a sink does.
    fn apply(held: &Rows, table: &Rows) -> (Rows, Difference) {
        applied(held, table, Diff::new(held.clone().into_iter().collect()))
    }

    /// The same, after both sides were added up.
    fn apply_where_differs(held: &Rows, table: &Rows) -> (Rows, Difference) {
        let mut sums = Sums::new();
        for (key, hash) in held {
            sums.there(key, *hash);
        }
        for (key, hash) in table {
            sums.mart(key, *hash);
        }
        applied(held, table, Diff::where_differs(held.clone().into_iter().collect(), sums))
    }

    fn applied(held: &Rows, table: &Rows, mut diff: Diff) -> (Rows, Difference) {
        let mut now = held.clone();
        for (key, hash) in table {
            if matches!(diff.see(key, *hash), Change::New | Change::Changed) {
                now.insert(key.clone(), *hash);
            }
        }
        let difference = diff.finish();
        for key in &difference.deleted {
            now.remove(key);
        }
        (now, difference)
    }

    proptest! {
        #[test]
        fn a_sync_makes_the_sink_equal_to_the_table_and_the_second_does_nothing(held in rows(), table in rows()) {
            let (now, first) = apply(&held, &table);
            prop_assert_eq!(&now, &table);
            prop_assert_eq!(first.upserted + first.unchanged, table.len() as u64);
            let (same, second) = apply(&now, &table);
            prop_assert_eq!(same, now);
            prop_assert_eq!((second.upserted, second.deleted.len()), (0, 0));
        }

        #[test]
        fn adding_up_first_changes_no_difference(held in rows(), table in rows()) {
            prop_assert_eq!(apply_where_differs(&held, &table), apply(&held, &table));
            prop_assert_eq!(apply_where_differs(&held, &held).1.unchanged, held.len() as u64);
        }

        #[test]
        fn it_writes_no_more_than_what_differs(held in rows(), table in rows()) {
            let (_, difference) = apply(&held, &table);
            let differing = table.iter().filter(|(key, hash)| held.get(*key) != Some(hash)).count();
            prop_assert_eq!(difference.upserted, differing as u64);
            prop_assert_eq!(difference.deleted, held.keys().filter(|key| !table.contains_key(*key)).cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_that_look_alike_have_fingerprints_apart() {
        let hasher = SipHasher13::new_with_keys(0x1234_5679, 0);
        let (mut keys, mut seen, mut low) = (HashSet::new(), HashSet::new(), HashSet::new());
        for i in 0..100_000_u32 {
            for key in [i.to_string(), format!("{i:012x}"), format!("{i}-review-of-a-place"), format!("r\u{0}{i}")] {
                let Fingerprint(halves) = fingerprint(&hasher, &key);
                seen.insert(halves);
                low.insert(halves[0] & 0xffff);
                keys.insert(key);
            }
        }
        assert_eq!(seen.len(), keys.len(), "each key has its own");
        assert!(low.len() > 65_000, "the low bits are used: {}", low.len());
    }

    #[test]
    fn a_key_that_comes_twice_is_told() {
        let mut diff = Diff::new([("a", RowHash([1; 16]))].into_iter().collect());
        assert_eq!(diff.see("a", RowHash([1; 16])), Change::Unchanged);
        assert_eq!(diff.see("a", RowHash([1; 16])), Change::Duplicate);
        assert_eq!(diff.see("b", RowHash([1; 16])), Change::New);
        assert_eq!(diff.see("b", RowHash([2; 16])), Change::Duplicate);
    }
}
