//! Answers that are set aside: how long each waits before it is asked for again.
//!
//! What a model answers badly once it often answers well the next time, and a setting that was too small gets changed. So nothing is
//! set aside for good, and nothing is paid for at every run either: the pauses grow to a day. They are counted by the rows of
//! `ops.llm_results`, so they hold across runs and machines; a row that counts no try is somebody's wish to ask at once.

use catalog::Timestamp;
use jiff::SignedDuration;

use crate::llm::Refusal;
use rows::content_hash;

/// How long an answer waits after its first try, its second, and every further one.
const PAUSES: [SignedDuration; 3] =
    [SignedDuration::from_hours(1), SignedDuration::from_hours(6), SignedDuration::from_hours(24)];
/// Which part of a pause may be missing: a run that comes at the same hour of each day is some seconds early on every other.
const EARLY: i32 = 12;

/// An answer that is set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Aside {
    pub(super) refusal: Refusal,
    /// How often it was asked for in a row.
    pub(super) tries: u32,
    pub(super) at: Timestamp,
}

impl Aside {
    /// When it is asked for again.
    pub(super) fn due_at(&self) -> Timestamp {
        let Some(turn) = self.tries.checked_sub(1) else { return self.at };
        let turn = usize::try_from(turn).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
        let pause = PAUSES[turn];
        self.at.saturating_add(pause - pause / EARLY).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.due_at() <= now
    }
}

/// The key under which it is kept that an answer was set aside: the answer's own and whatever decides whether there is one.
///
/// The bound on an answer's tokens is such a thing. A good answer ended by itself, and would have under any higher bound, so it is not
/// asked for again where the bound is raised; one that was cut is, at once.
pub(super) fn key(answer: &str, bounds: &str) -> String {
    content_hash(["set aside", answer, bounds].map(str::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::RefusalKind;

    #[test]
    fn the_pauses_grow_from_an_hour_to_a_day() {
        let begun = Timestamp::from_second(1_790_000_000).unwrap();
        let waits = |tries| {
            let aside = Aside { refusal: Refusal::new(RefusalKind::Empty, "x"), tries, at: begun };
            aside.due_at().duration_since(begun).as_secs() * 12 / 11
        };
        let hour = 3_600;
        assert_eq!([0, 1, 2, 3, 4, 400].map(waits), [0, hour, 6 * hour, 24 * hour, 24 * hour, 24 * hour]);
    }

    #[test]
    fn a_run_at_the_same_hour_of_each_day_finds_it_due() {
        let begun = Timestamp::from_second(1_790_000_000).unwrap();
        let aside = Aside { refusal: Refusal::new(RefusalKind::Empty, "x"), tries: 9, at: begun };
        let after = |seconds: i64| aside.is_due(begun + SignedDuration::from_secs(seconds));
        assert!(after(24 * 3_600 - 60) && !after(20 * 3_600));
    }
}
