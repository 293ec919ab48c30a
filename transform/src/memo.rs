//! Answers that are kept for who asks the same again.
//!
//! Planning a project without data takes most of the time of a run that has nothing to do, and a run asks for it several times:
//! to check its files, to compare the lake with them, to know what a query reads. Its answer hangs on texts and columns alone, so
//! it is kept under their digest.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use catalog::PartsHash;

/// The digest of all that an answer hangs on.
pub(crate) type Key = [u8; 32];

/// The answers that were asked for last.
pub(crate) struct Memo<T> {
    kept: Mutex<VecDeque<(Key, T)>>,
    most: usize,
}

impl<T: Clone> Memo<T> {
    /// Keeps so many.
    pub(crate) const fn new(most: usize) -> Self {
        Self { kept: Mutex::new(VecDeque::new()), most }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| known == key)?;
        let found = kept.remove(place)?;
        let answer = found.1.clone();
        kept.push_front(found);
        Some(answer)
    }

    /// Keeps an answer, and forgets the one that nobody asked for the longest.
    pub(crate) fn keep(&self, key: Key, answer: T) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(known, _)| *known != key);
        kept.push_front((key, answer));
        kept.truncate(self.most);
    }
}

/// Takes columns into a key: names, types, nullability, metadata.
pub(crate) fn columns(hash: &mut PartsHash, schema: Option<&SchemaRef>) {
    let fields = schema.map(|schema| schema.fields().iter().map(|field| format!("{field:?}")).collect::<Vec<_>>());
    hash.part(format!("{:?}", fields.as_ref().map(Vec::len)));
    fields.iter().flatten().for_each(|field| hash.part(field));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn what_nobody_asked_for_the_longest_is_forgotten() {
        let memo = Memo::new(2);
        let key = |number: u8| [number; 32];
        memo.keep(key(1), "one");
        memo.keep(key(2), "two");
        assert_eq!(memo.get(&key(1)), Some("one"));
        memo.keep(key(3), "three");
        assert_eq!([1, 2, 3].map(|number| memo.get(&key(number))), [Some("one"), None, Some("three")]);
        memo.keep(key(3), "other");
        assert_eq!(memo.get(&key(3)), Some("other"));
    }

    #[test]
    fn each_thing_about_columns_makes_another_key() {
        let field = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
        let with = |fields: Vec<Field>| Some(Arc::new(Schema::new(fields)));
        let noted = field("a", DataType::Int64, true).with_metadata([("x".to_owned(), "y".to_owned())].into());
        let schemas = [
            None,
            with(vec![]),
            with(vec![field("a", DataType::Int64, true)]),
            with(vec![field("b", DataType::Int64, true)]),
            with(vec![field("a", DataType::Utf8, true)]),
            with(vec![field("a", DataType::Int64, false)]),
            with(vec![noted]),
            with(vec![field("a", DataType::Int64, true), field("b", DataType::Int64, true)]),
        ];
        let keys = schemas.iter().map(|schema| {
            let mut hash = PartsHash::new();
            columns(&mut hash, schema.as_ref());
            hash.finish()
        });
        assert_eq!(keys.collect::<std::collections::BTreeSet<_>>().len(), schemas.len());
    }
}
