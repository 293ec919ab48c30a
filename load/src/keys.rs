//! Keys of rows and their hashes, for millions of them at once: one text holds all keys, so that a row costs no allocation.

use std::ops::{Index, Range};

use rows::RowHash;

/// Keys, in an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// All of them, one after the other.
    text: String,
    /// Where each ends (bytes).
    ends: Vec<usize>,
}

impl Keys {
    /// Room for so many keys of so many bytes in all.
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(keys) }
    }

    /// One more, at the end.
    pub fn push(&mut self, key: &str) {
        self.text.push_str(key);
        self.ends.push(self.text.len());
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Each, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|at| &self[at])
    }

    /// Those of a range.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        range.map(|at| &self[at]).collect()
    }

    /// Those whose flag is set; as many flags as keys.
    #[must_use]
    pub fn filter(&self, keep: &[bool]) -> Self {
        self.iter().zip(keep).filter_map(|(key, keep)| keep.then_some(key)).collect()
    }
}

impl Index<usize> for Keys {
    type Output = str;

    fn index(&self, at: usize) -> &str {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[from..self.ends[at]]
    }
}

impl<T: AsRef<str>> FromIterator<T> for Keys {
    fn from_iter<I: IntoIterator<Item = T>>(keys: I) -> Self {
        let keys = keys.into_iter();
        let mut all = Self::with_capacity(keys.size_hint().0, 0);
        keys.for_each(|key| all.push(key.as_ref()));
        all
    }
}

/// What a sink holds: each key with the hash of its row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashes {
    keys: Keys,
    hashes: Vec<RowHash>,
}

impl Hashes {
    /// One more row.
    pub fn push(&mut self, key: &str, hash: RowHash) {
        self.keys.push(key);
        self.hashes.push(hash);
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// Each row, in no order that means anything.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, RowHash)> {
        self.keys.iter().zip(self.hashes.iter().copied())
    }

    /// The key of a row.
    pub(crate) fn key(&self, row: usize) -> &str {
        &self.keys[row]
    }

    /// The hash of a row.
    pub(crate) fn hash(&self, row: usize) -> RowHash {
        self.hashes[row]
    }
}

impl<T: AsRef<str>> FromIterator<(T, RowHash)> for Hashes {
    fn from_iter<I: IntoIterator<Item = (T, RowHash)>>(rows: I) -> Self {
        let mut all = Self::default();
        rows.into_iter().for_each(|(key, hash)| all.push(key.as_ref(), hash));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_went_in() {
        let texts = ["a", "", "망원국밥", "a"];
        let keys: Keys = texts.into_iter().collect();
        assert_eq!((keys.len(), keys.is_empty()), (4, false));
        assert_eq!(keys.iter().collect::<Vec<_>>(), texts);
        assert_eq!((&keys[0], &keys[1], &keys[2]), ("a", "", "망원국밥"));
        assert_eq!(keys.slice(1..3), ["", "망원국밥"].into_iter().collect());
        assert_eq!(keys.filter(&[true, false, true, false]), ["a", "망원국밥"].into_iter().collect());
        assert_eq!(Keys::default().iter().count(), 0);
    }

    #[test]
    fn each_row_has_its_hash() {
        let rows = [("a", RowHash([1; 16])), ("나", RowHash([2; 16]))];
        let held: Hashes = rows.into_iter().collect();
        assert_eq!(held.iter().collect::<Vec<_>>(), rows);
        assert_eq!((held.key(1), held.hash(1), held.len()), ("나", RowHash([2; 16]), 2));
    }
}
