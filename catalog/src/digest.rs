//! One digest of several parts.
//!
//! Parts that are only put behind each other give the same bytes for (`ab`, `c`) and (`a`, `bc`); here each part comes behind
//! its length, so that two lists of parts have the same digest only if they are the same list.

use sha2::{Digest as _, Sha256};

/// A SHA-256 that takes parts, each with its length before it.
#[derive(Debug, Clone, Default)]
pub struct PartsHash(Sha256);

impl PartsHash {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part.
    pub fn part(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The digest of the parts taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    /// The first 128 bits of the digest, in hexadecimal.
    pub fn short_hex(self) -> String {
        hex::encode(&self.finish()[..16])
    }
}

/// The digest of a list of parts.
pub fn digest_of(parts: impl IntoIterator<Item: AsRef<[u8]>>) -> [u8; 32] {
    let mut hash = PartsHash::new();
    parts.into_iter().for_each(|part| hash.part(part));
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_parts_are_told_apart() {
        let lists: [&[&str]; 5] = [&[], &[""], &["ab", "c"], &["a", "bc"], &["abc"]];
        let digests: std::collections::HashSet<_> = lists.iter().map(|parts| digest_of(*parts)).collect();
        assert_eq!(digests.len(), lists.len());
        let mut hash = PartsHash::new();
        for part in ["ab", "c"] {
            hash.part(part);
        }
        assert_eq!(hash.clone().finish(), digest_of(["ab", "c"]));
        assert_eq!(hash.short_hex(), hex::encode(&digest_of(["ab", "c"])[..16]));
    }
}
