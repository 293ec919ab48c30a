//! The unit of extraction: a source, a day and a bounded list of keys.
//!
//! A task is a parcel of keys, made anew by each run from what is not done yet. Its id is made of nothing but what it does –
//! source, day and keys, and on top of what – and not of when or by whom it was planned: so two runs of a day send the same
//! tasks, and a queue takes them for the same. Nothing else hangs on it: what is staged is found by its key, and what is
//! done stands in the table, key by key ([`crate::outcome`]).
//!
//! ```
//! use extract::task::{Key, Task};
//!
//! let source = "naver_places".parse()?;
//! let dt = "2026-10-01".parse()?;
//! let one = Task::new(&source, dt, vec![Key::new("망원동 국밥"), Key::new("연남동 카페")]);
//! let two = Task::new(&source, dt, vec![Key::new("연남동 카페"), Key::new("망원동 국밥")]);
//! assert_eq!(one.id, two.id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use catalog::{Date, SourceName, Timestamp};
use serde::{Deserialize, Serialize};

/// What a source is asked for: a search word, a place id, a file name, a date.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// As the source's key list or key query gave it.
    pub value: String,
    /// Where an incremental source may stop: the newest value the lake already has for this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// On top of which closed outcome it is asked for, by the number of that outcome's commit: if another one stands there
    /// when it is to land, somebody else was faster. None if there was none. See [`crate::outcome`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<i64>,
    /// After which open outcome it is asked for again, by the number of that outcome's commit. It makes the task another one,
    /// for queues that remember which tasks they were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// When a run asked for it. No part of the task's id: who finds the task much later leaves it, see [`crate::plan::is_late`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<Timestamp>,
}

impl Key {
    /// A key without a watermark.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), since: None, over: None, after: None, planned: None }
    }

    /// A name for the key that is safe in a path, whatever script the key is written in: 128 bits of its hash.
    pub fn file_id(&self) -> String {
        short_hash([self.value.as_str()], 16)
    }
}

/// One unit of extraction. Its output is one commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Task {
    /// The source that is read.
    pub source: SourceName,
    /// The day its rows belong to.
    pub dt: Date,
    /// Short hash of source, day and sorted keys.
    pub id: TaskId,
    /// Sorted, each once.
    pub keys: Vec<Key>,
}

impl Task {
    /// Sorts the keys, drops repeated ones and names the task after them.
    pub fn new(source: &SourceName, dt: Date, keys: Vec<Key>) -> Self {
        let keys = distinct(keys);
        let source_text = source.to_string();
        let dt_text = dt.to_string();
        let mut parts = vec![source_text, dt_text];
        for key in &keys {
            parts.push(key.value.clone());
            parts.extend(key.over.map(|over| format!("over {over}")));
            parts.extend(key.after.map(|after| format!("after {after}")));
        }
        // 64 bits: a day of a source has thousands of tasks at most, so a collision is a matter of 10⁻¹².
        let id = TaskId(short_hash(parts.iter().map(String::as_str), 8));
        Self { source: source.clone(), dt, id, keys }
    }
}

/// The name of a task within its source and day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(String);

impl TaskId {
    /// The id as text: 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes an id back from a store that wrote it.
    pub(crate) fn from_stored(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Keys → tasks of at most `keys_per_task` keys. The order of the keys doesn't matter, nor do repeated ones.
pub fn split(source: &SourceName, dt: Date, keys: Vec<Key>, keys_per_task: usize) -> Vec<Task> {
    let keys = distinct(keys);
    keys.chunks(keys_per_task.max(1)).map(|chunk| Task::new(source, dt, chunk.to_vec())).collect()
}

/// Sorted by value, each value once. Of several watermarks for a value the lowest stays: it fetches the most.
pub(crate) fn distinct(keys: Vec<Key>) -> Vec<Key> {
    let mut by_value: BTreeMap<String, Key> = BTreeMap::new();
    for key in keys {
        match by_value.entry(key.value.clone()) {
            Entry::Vacant(entry) => drop(entry.insert(key)),
            Entry::Occupied(mut entry) => {
                let kept = entry.get_mut();
                kept.since = kept.since.take().min(key.since);
                kept.over = kept.over.max(key.over);
                kept.after = kept.after.max(key.after);
            }
        }
    }
    by_value.into_values().collect()
}

/// The first `bytes` bytes of a hash over length-prefixed parts, in hexadecimal. The prefix keeps `ab`,`c` and `a`,`bc` apart.
pub(crate) fn short_hash<'a>(parts: impl IntoIterator<Item = &'a str>, bytes: usize) -> String {
    let digest = catalog::digest_of(parts);
    hex::encode(&digest[..bytes.min(digest.len())])
}

/// A number in 0..1 that is the same for the same parts.
pub(crate) fn fraction<'a>(parts: impl IntoIterator<Item = &'a str>) -> f64 {
    let number = u32::from_str_radix(&short_hash(parts, 4), 16).unwrap_or_default();
    f64::from(number) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source() -> SourceName {
        "naver_places".parse().unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn keys(values: &[&str]) -> Vec<Key> {
        values.iter().copied().map(Key::new).collect()
    }

    #[test]
    fn a_task_is_named_by_what_it_does() {
        let task = Task::new(&source(), day("2026-10-01"), keys(&["b", "a"]));
        assert_eq!(task.id.as_str().len(), 16);
        assert_eq!(task.id, Task::new(&source(), day("2026-10-01"), keys(&["a", "b", "a"])).id);
        assert_ne!(task.id, Task::new(&source(), day("2026-10-02"), keys(&["a", "b"])).id);
        assert_ne!(task.id, Task::new(&"other".parse().unwrap(), day("2026-10-01"), keys(&["a", "b"])).id);
        assert_ne!(task.id, Task::new(&source(), day("2026-10-01"), keys(&["ab"])).id);
    }

    #[test]
    fn the_watermark_is_not_part_of_the_name() {
        let with = Key { since: Some("2026-09-30".into()), ..Key::new("a") };
        let task = Task::new(&source(), day("2026-10-01"), vec![with.clone()]);
        assert_eq!(task.id, Task::new(&source(), day("2026-10-01"), keys(&["a"])).id);
        assert_eq!(task.keys, vec![with]);
    }

    #[test]
    fn what_it_is_done_on_top_of_is_part_of_the_name() {
        let over = |over| Task::new(&source(), day("2026-10-01"), vec![Key { over, ..Key::new("a") }]).id;
        assert_ne!(over(None), over(Some(3)));
        assert_ne!(over(Some(3)), over(Some(4)));
    }

    #[test]
    fn of_two_watermarks_the_one_that_fetches_more_stays() {
        let at = |since: Option<&str>| Key { since: since.map(str::to_owned), ..Key::new("a") };
        assert_eq!(distinct(vec![at(Some("5")), at(Some("3"))]), vec![at(Some("3"))]);
        assert_eq!(distinct(vec![at(Some("5")), at(None)]), vec![at(None)]);
    }

    #[test]
    fn a_key_in_any_script_has_a_name_that_is_safe_in_a_path() {
        for value in ["망원동 국밥", "../../etc/passwd", "a/b", "", "𠮷", "nul\0"] {
            let id = Key::new(value).file_id();
            assert_eq!(id.len(), 32, "{value:?}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value:?}: {id}");
        }
        assert_ne!(Key::new("a").file_id(), Key::new("A").file_id());
    }

    #[test]
    fn tasks_are_bounded_and_hold_every_key_once() {
        let tasks = split(&source(), day("2026-10-01"), keys(&["d", "a", "c", "b", "e", "a"]), 2);
        let held: Vec<Vec<&str>> =
            tasks.iter().map(|task| task.keys.iter().map(|key| key.value.as_str()).collect()).collect();
        assert_eq!(held, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
        assert!(split(&source(), day("2026-10-01"), Vec::new(), 2).is_empty());
    }

    proptest! {
        #[test]
        fn any_order_of_keys_gives_the_same_tasks(values in proptest::collection::vec(".{0,6}", 0..40), size in 1_usize..7, turn in 0_usize..40) {
            let keys: Vec<Key> = values.iter().map(Key::new).collect();
            let mut other = keys.clone();
            other.reverse();
            if !other.is_empty() {
                let turn = turn % other.len();
                other.rotate_left(turn);
            }
            let tasks = split(&source(), day("2026-10-01"), keys.clone(), size);
            prop_assert_eq!(&tasks, &split(&source(), day("2026-10-01"), other, size));
            prop_assert!(tasks.iter().all(|task| (1..=size).contains(&task.keys.len())));
            let held: Vec<Key> = tasks.into_iter().flat_map(|task| task.keys).collect();
            prop_assert_eq!(held, distinct(keys));
        }
    }
}
