//! Two sides of millions of rows, compared by sums: which parts of them differ, and that none does.
//!
//! Rows are added up in buckets by key, as 128-bit hashes whose key is chance (the multiset hash `MSet-Add-Hash` of Clarke et al., 2003):
//! rows in any order give the same sum, and rows that differ another one. Memory is that of the buckets, whatever the rows.

use std::collections::BTreeSet;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher13};

use rows::RowHash;

/// A power of two.
const BUCKETS: usize = 1 << 16;

/// Both sides, added up.
#[derive(Debug)]
pub(crate) struct Sums {
    hasher: SipHasher13,
    buckets: Vec<Bucket>,
}

/// What the mart has of a bucket more than the sink, and how much each has.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    sum: u128,
    mart: u64,
    there: u64,
}

impl Bucket {
    fn agrees(self) -> bool {
        self.sum == 0 && self.mart == self.there
    }
}

impl Sums {
    pub(crate) fn new() -> Self {
        let hasher = SipHasher13::new_with_keys(rand::random(), rand::random());
        Self { hasher, buckets: vec![Bucket::default(); BUCKETS] }
    }

    /// Where a key is added up.
    pub(crate) fn bucket(&self, key: &str) -> usize {
        let mut hasher = self.hasher;
        hasher.write(key.as_bytes());
        usize::try_from(hasher.finish128().h1 % BUCKETS as u64).unwrap_or_default()
    }

    fn of(&self, key: &str, hash: RowHash) -> u128 {
        let mut hasher = self.hasher;
        hasher.write(&hash.0);
        hasher.write(key.as_bytes());
        hasher.finish128().as_u128()
    }

    /// A row of the mart.
    pub(crate) fn mart(&mut self, key: &str, hash: RowHash) {
        let (at, sum) = (self.bucket(key), self.of(key, hash));
        let bucket = &mut self.buckets[at];
        bucket.sum = bucket.sum.wrapping_add(sum);
        bucket.mart += 1;
    }

    /// A row of the sink.
    pub(crate) fn there(&mut self, key: &str, hash: RowHash) {
        let (at, sum) = (self.bucket(key), self.of(key, hash));
        let bucket = &mut self.buckets[at];
        bucket.sum = bucket.sum.wrapping_sub(sum);
        bucket.there += 1;
    }

    /// How many rows the mart has.
    pub(crate) fn rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.mart).sum()
    }

    /// Whether both sides have the same rows in the bucket of this key.
    pub(crate) fn agree_on(&self, key: &str) -> bool {
        self.buckets[self.bucket(key)].agrees()
    }

    /// Whether both sides have the same rows.
    pub(crate) fn agree(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.agrees())
    }

    /// The buckets that differ, in groups of about so many rows of the sink.
    pub(crate) fn differing(&self, most: u64) -> Vec<BTreeSet<usize>> {
        let mut groups = Vec::new();
        let (mut group, mut rows) = (BTreeSet::new(), 0);
        for (at, bucket) in self.buckets.iter().enumerate() {
            if bucket.agrees() {
                continue;
            }
            if rows + bucket.there > most && !group.is_empty() {
                groups.push(std::mem::take(&mut group));
                rows = 0;
            }
            rows += bucket.there;
            group.insert(at);
        }
        groups.extend((!group.is_empty()).then_some(group));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u8) -> RowHash {
        RowHash([n; 16])
    }

    #[test]
    fn sums_agree_for_the_same_rows_in_any_order_and_for_no_others() {
        let rows: Vec<(String, RowHash)> =
            (0..1_000).map(|i| (format!("k{i}"), hash(u8::try_from(i % 7).unwrap()))).collect();
        let differing = |there: &[(String, RowHash)]| {
            let mut sums = Sums::new();
            for (key, hash) in &rows {
                sums.mart(key, *hash);
            }
            for (key, hash) in there.iter().rev() {
                sums.there(key, *hash);
            }
            assert_eq!(sums.rows(), 1_000);
            assert_eq!(sums.agree(), sums.differing(u64::MAX).is_empty());
            sums.differing(u64::MAX).iter().map(BTreeSet::len).sum::<usize>()
        };
        assert_eq!(differing(&rows), 0);
        let mut changed = rows.clone();
        changed[500].1 = hash(9);
        assert_eq!(differing(&changed), 1);
        // Two rows that swapped their contents.
        let mut swapped = rows.clone();
        (swapped[0].1, swapped[1].1) = (rows[1].1, rows[0].1);
        assert_eq!(differing(&swapped), 2);
        assert_eq!(differing(&rows[1..]), 1);
        assert_eq!(differing(&[rows.clone(), rows[..1].to_vec()].concat()), 1, "a row that lies there twice");
    }
}
