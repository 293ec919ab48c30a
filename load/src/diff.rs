//! What changed between what a sink holds and what a table says, by key and row hash. Pure.
//!
//! The table comes in batches and is never held whole; what is held is one hash per key of the sink. Order of events: `see` every row
//! of the table, which says at once whether it must be written, then `finish`, which says which keys are gone.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

use crate::value::RowHash;

/// What to do with a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The sink does not have it, or has it with other content.
    Upsert,
    /// The sink has it just so.
    Unchanged,
    /// The same key came before: the table is not keyed by this column.
    Duplicate,
}

/// A difference under way.
#[derive(Debug)]
pub struct Diff {
    rows: HashMap<String, (RowHash, bool), Folding>,
    upserted: u64,
    unchanged: u64,
}

/// A hash of keys that is fast for millions of them. Its seed is chance, so that nobody can write keys that fall together.
#[derive(Debug, Clone)]
struct Folding(u64);

/// Eight bytes at a time, each multiplied into 128 bits that are folded to 64.
#[derive(Debug)]
struct Folded {
    seed: u64,
    state: u64,
}

impl BuildHasher for Folding {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded { seed: self.0, state: !self.0 }
    }
}

impl Folded {
    fn fold(&mut self, word: u64) {
        let wide = u128::from(self.state ^ word) * u128::from(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let halves = (wide as u64, (wide >> 64) as u64);
        self.state = (halves.0 ^ halves.1).rotate_left(23).wrapping_add(word);
    }
}

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.fold(u64::from_le_bytes(last) ^ ((bytes.len() as u64) << 56));
    }

    fn write_u8(&mut self, _: u8) {
        // What ends a string: its length is in the last word already.
    }

    fn finish(&self) -> u64 {
        self.state
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
    pub fn new(held: impl IntoIterator<Item = (String, RowHash)>) -> Self {
        Self::expecting(held, 0)
    }

    /// The same, for a table of about so many rows.
    pub fn expecting(held: impl IntoIterator<Item = (String, RowHash)>, rows: usize) -> Self {
        let mut all = HashMap::with_capacity_and_hasher(rows, Folding(RandomState::new().hash_one(rows) | 1));
        all.extend(held.into_iter().map(|(key, hash)| (key, (hash, false))));
        Self { rows: all, upserted: 0, unchanged: 0 }
    }

    /// One row of the table.
    pub fn see(&mut self, key: &str, hash: RowHash) -> Change {
        match self.rows.entry(key.to_owned()) {
            Entry::Occupied(mut held) => match held.get_mut() {
                (_, true) => Change::Duplicate,
                (old, seen) => {
                    *seen = true;
                    if *old == hash {
                        self.unchanged += 1;
                        Change::Unchanged
                    } else {
                        *old = hash;
                        self.upserted += 1;
                        Change::Upsert
                    }
                }
            },
            Entry::Vacant(free) => {
                free.insert((hash, true));
                self.upserted += 1;
                Change::Upsert
            }
        }
    }

    /// The whole table has been seen.
    pub fn finish(self) -> Difference {
        let mut deleted: Vec<String> =
            self.rows.into_iter().filter(|(_, (_, seen))| !seen).map(|(key, _)| key).collect();
        deleted.sort_unstable();
        Difference { upserted: self.upserted, unchanged: self.unchanged, deleted }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Rows = BTreeMap<String, RowHash>;

    fn rows() -> impl Strategy<Value = Rows> {
        proptest::collection::btree_map("[a-h]", (0_u8..3).prop_map(|n| RowHash([n; 16])), 0..8)
    }

    /// Applies the difference the way a sink does.
    fn apply(held: &Rows, table: &Rows) -> (Rows, Difference) {
        let mut diff = Diff::new(held.clone());
        let mut now = held.clone();
        for (key, hash) in table {
            if diff.see(key, *hash) == Change::Upsert {
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
        fn it_writes_no_more_than_what_differs(held in rows(), table in rows()) {
            let (_, difference) = apply(&held, &table);
            let differing = table.iter().filter(|(key, hash)| held.get(*key) != Some(hash)).count();
            prop_assert_eq!(difference.upserted, differing as u64);
            prop_assert_eq!(difference.deleted, held.keys().filter(|key| !table.contains_key(*key)).cloned().collect::<Vec<_>>());
        }
    }

    #[test]
    fn keys_that_look_alike_hash_apart() {
        let hasher = Folding(0x1234_5679);
        let mut seen = std::collections::HashSet::new();
        for i in 0..100_000_u32 {
            for key in [i.to_string(), format!("{i:012x}"), format!("{i}-review-of-a-place"), format!("r\u{0}{i}")] {
                seen.insert(hasher.hash_one(key.as_str()));
            }
        }
        // "7" and its kin come twice where hexadecimal digits are those of the number; nothing else falls together.
        assert!(seen.len() >= 399_990, "{}", seen.len());
        let low: std::collections::HashSet<u64> = seen.iter().map(|hash| hash & 0xffff).collect();
        assert!(low.len() > 65_000, "the low bits are used: {}", low.len());
    }

    #[test]
    fn a_key_that_comes_twice_is_told() {
        let mut diff = Diff::new([("a".to_owned(), RowHash([1; 16]))]);
        assert_eq!(diff.see("a", RowHash([1; 16])), Change::Unchanged);
        assert_eq!(diff.see("a", RowHash([1; 16])), Change::Duplicate);
        assert_eq!(diff.see("b", RowHash([1; 16])), Change::Upsert);
        assert_eq!(diff.see("b", RowHash([2; 16])), Change::Duplicate);
    }
}
