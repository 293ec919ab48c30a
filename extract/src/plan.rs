//! What a run of a source's day has to do.
//!
//! ```text
//! keys of the source ─┐
//!                     ├─ Ledger::due ─▶ keys that are due, those first that were left open ─▶ tasks of bounded size
//! outcomes so far ────┘
//! ```
//!
//! A key is due on a day unless it has ended within the source's rhythm before it: with `every = "7d"`, unless it has ended on
//! that day or one of the six before. So what a sick site left open on a day is asked for on the next, be the source due or
//! not, and a key that is new in a list is asked for at once.

use std::cmp::Ordering;

use catalog::{Date, SourceName, Timestamp};
use jiff::SignedDuration;

use crate::ledger::DueKeys;
use crate::source::FetchKind;
use crate::task::{Key, Task, split};

/// The tasks of a day, planned `now`: what was left open before the rest, and not in one task with it.
pub fn tasks(source: &SourceName, dt: Date, due: &DueKeys, keys_per_task: usize, now: Timestamp) -> Vec<Task> {
    let due_now: Vec<Key> = due.due.iter().map(|key| Key { planned: Some(now), ..key.clone() }).collect();
    let (left, rest) = due_now.split_at(due.leftovers.min(due_now.len()));
    let mut tasks = split(source, dt, left.to_vec(), keys_per_task);
    tasks.extend(split(source, dt, rest.to_vec(), keys_per_task));
    tasks
}

/// Whether what a source answers now can be filed under a day.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filing {
    /// It can.
    Fits,
    /// The day is over, and the source answers with the present.
    Past,
    /// The day has not come.
    Future,
}

/// A source that only knows the present is asked on the day itself. `today` is the day on which the run began, so that one
/// that goes on past midnight stays on its day.
pub fn filing(kind: FetchKind, dt: Date, today: Date) -> Filing {
    match dt.cmp(&today) {
        Ordering::Less if kind.answers_the_present() => Filing::Past,
        Ordering::Greater if kind.answers_the_present() => Filing::Future,
        _ => Filing::Fits,
    }
}

/// How long after it was planned a key of a source that answers with the present is still asked for under its day.
const LATEST: SignedDuration = SignedDuration::from_hours(24);

/// How far the clock of whoever planned it may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Whether a key is asked for too late for what its source answers to be filed under the day that it was planned for. A run
/// that was killed leaves tasks in the queue, and a worker may find them days later.
pub fn is_late(kind: FetchKind, planned: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(planned);
    kind.answers_the_present() && (age > LATEST || age < -AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_open_comes_first_and_by_itself() {
        let due = DueKeys { due: ["z", "y", "a", "b", "c"].map(Key::new).to_vec(), leftovers: 2, ..DueKeys::default() };
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        let tasks = tasks(&"notes".parse().unwrap(), "2026-10-01".parse().unwrap(), &due, 3, now);
        assert!(tasks.iter().flat_map(|task| &task.keys).all(|key| key.planned == Some(now)));
        let held: Vec<Vec<&str>> =
            tasks.iter().map(|task| task.keys.iter().map(|key| key.value.as_str()).collect()).collect();
        assert_eq!(held, [vec!["y", "z"], vec!["a", "b", "c"]]);
    }

    #[test]
    fn what_was_planned_long_ago_is_late() {
        let now = Timestamp::from_second(1_790_000_000).unwrap();
        for (hours, late) in [(0, false), (23, false), (25, true), (24 * 14, true), (-2, true)] {
            assert_eq!(is_late(FetchKind::Http, now - SignedDuration::from_hours(hours), now), late, "{hours}");
        }
    }

    #[test]
    fn the_present_is_filed_as_the_present() {
        let day = |text: &str| text.parse().unwrap();
        let today = day("2026-10-02");
        assert_eq!(filing(FetchKind::Http, day("2026-10-02"), today), Filing::Fits);
        assert_eq!(filing(FetchKind::Http, day("2026-10-01"), today), Filing::Past);
        assert_eq!(filing(FetchKind::Browser, day("2026-10-03"), today), Filing::Future);
    }
}
