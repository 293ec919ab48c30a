//! How asking for one key of a source's day ended: the only thing that says "done".
//!
//! An outcome stands in the very commit that landed the key's rows ([`catalog::Note`]), and is copied into `ops.outcomes`,
//! where SQL finds it and where it outlives the log. Nothing under `_onggi/` is needed to know what is done.
//!
//! ```text
//! landed      its list was read to the end        ─┐
//! empty       the site answered: there is nothing  │ end the key: it is not asked for again
//! refused     a rule of robots.txt forbids it,     │ until it is due again
//!             or the rest of its list             ─┘
//! gone        404, 410                              ─┐ end the key for as long as the source's definition stays the
//! cut         a bound of ours was reached           ─┘ same; where all keys are gone none has ended (a wrong address)
//! unlisted    it was open or cut, and the source no longer has it ─ nobody asks, unless the source has it again
//! short       a later request failed, or was answered with 404    ─┐
//!             before the site's total; what came has landed        │
//! unreadable  the answer is not what the source file describes     │ open: the next run asks again,
//! failed      asked until the receives were used up                │ and until then the day is partial
//! blocked     the host refused us before it was asked              │
//! reopened    somebody asked for it anew                           │
//! lost        it had landed, and its rows are no longer there     ─┘
//! ```
//!
//! Of several outcomes of a key the newest counts, newest by the number of its commit ([`KeyState::mark`]). Two workers that
//! fetched the same key at once land it once: each says on top of which *closed* outcome it fetched ([`crate::Key::over`]),
//! and a commit that finds another one there leaves that key out.

use std::fmt;

use catalog::{Date, Timestamp};
use serde::{Deserialize, Serialize};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its list was read to its end.
    Landed,
    /// The site answered, and there is nothing.
    Empty,
    /// A bound of ours was reached: what came has landed, there is more.
    Cut,
    /// A later request failed, or was answered with 404 or 410 before the site's own total was reached: what came has landed,
    /// the rest is missing.
    Short,
    /// A rule of robots.txt forbids it, or the rest of its list: what came before that has landed.
    Refused,
    /// The site says that it does not exist.
    Gone,
    /// The answer is not what the source file describes.
    Unreadable,
    /// It could not be asked, or not be answered, as often as it was tried.
    Failed,
    /// The host refused us before the key was asked for.
    Blocked,
    /// To be asked for again, whatever came before.
    Reopened,
    /// Rows that had landed are no longer in the table. Those that are still there are counted.
    Lost,
    /// It did not end as it should, and the source no longer has it among its keys: nobody asks for it.
    Unlisted,
}

impl Outcome {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 12] = [
        Self::Landed,
        Self::Empty,
        Self::Cut,
        Self::Short,
        Self::Refused,
        Self::Gone,
        Self::Unreadable,
        Self::Failed,
        Self::Blocked,
        Self::Reopened,
        Self::Lost,
        Self::Unlisted,
    ];

    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Landed => "landed",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Short => "short",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Reopened => "reopened",
            Self::Lost => "lost",
            Self::Unlisted => "unlisted",
        }
    }

    /// Whether a later outcome has to say that it knew this one: it ended the key, or opened it again.
    pub(crate) const fn closes(self) -> bool {
        matches!(
            self,
            Self::Landed | Self::Empty | Self::Cut | Self::Refused | Self::Gone | Self::Reopened | Self::Lost
        )
    }

    /// Whether it says that the site has the key, or that it does not.
    pub(crate) const fn says_whether_it_is_there(self) -> bool {
        matches!(self, Self::Landed | Self::Empty | Self::Cut | Self::Short | Self::Gone | Self::Lost)
    }

    /// Whether the key's data are not what they should be, so that a run that ends with it is partial.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Short | Self::Unreadable | Self::Failed | Self::Blocked | Self::Reopened | Self::Lost)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How one key's day ended: what a commit's note says of it, and one row of `ops.outcomes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOutcome {
    /// The key.
    pub key: String,
    /// The day.
    pub dt: Date,
    /// How it ended.
    pub outcome: Outcome,
    /// Rows that landed with it, those with an `_error` included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// Rows of them with an `_error`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_aside: u64,
    /// Items that the site counts and did not show.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missing: u64,
    /// Why, where it is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Rules for persons that none of its items has anything of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfit: Vec<String>,
    /// Which definition of the source it was fetched by.
    pub definition: String,
    /// The task.
    pub task: String,
    /// When it ended.
    pub at: Timestamp,
}

/// As tables keep instants, so that an outcome is the same before and after it was stored.
pub(crate) fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is known of a key's day: its newest outcome, and what a new one must be made on top of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The newest outcome.
    pub last: KeyOutcome,
    /// The number of the commit that it stands in; it grows with each commit of the source.
    pub mark: i64,
    /// The number of the newest outcome that closes, if there is one.
    pub closed: Option<i64>,
}

impl KeyState {
    /// Takes in a newer outcome, or begins with it.
    pub(crate) fn fold(state: Option<Self>, mark: i64, outcome: KeyOutcome) -> Self {
        let before = match state {
            Some(state) if state.mark > mark => return state,
            state => state.and_then(|state| state.closed),
        };
        let closed = if outcome.outcome.closes() { Some(mark) } else { before };
        Self { last: outcome, mark, closed }
    }

    /// Whether the key needs no asking, for a source that is defined in this way.
    pub fn is_ended(&self, definition: &str) -> bool {
        match self.last.outcome {
            Outcome::Landed | Outcome::Empty | Outcome::Refused => true,
            // Another address may have it.
            Outcome::Cut | Outcome::Gone => self.last.definition == definition,
            _ => false,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn outcome(key: &str, dt: &str, outcome: Outcome) -> KeyOutcome {
        KeyOutcome {
            key: key.to_owned(),
            dt: dt.parse().unwrap(),
            outcome,
            rows: 0,
            set_aside: 0,
            missing: 0,
            why: None,
            unfit: Vec::new(),
            definition: "d".to_owned(),
            task: "t".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_what_the_site_has_answered_ends_a_key() {
        for one in Outcome::ALL {
            let state = KeyState::fold(None, 1, outcome("a", "2026-10-01", one));
            let ends =
                matches!(one, Outcome::Landed | Outcome::Empty | Outcome::Refused | Outcome::Gone | Outcome::Cut);
            assert_eq!(state.is_ended("d"), ends, "{one}");
            let is_asked_otherwise = matches!(one, Outcome::Cut | Outcome::Gone);
            assert_eq!(state.is_ended("another"), ends && !is_asked_otherwise, "{one}");
            assert!(!(ends && one.is_open()), "{one} is either over or open");
            assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
        }
    }

    #[test]
    fn the_newest_counts_and_what_is_open_fences_nobody() {
        let fold = |state, mark, one| Some(KeyState::fold(state, mark, outcome("a", "2026-10-01", one)));
        let state = fold(None, 3, Outcome::Failed).unwrap();
        assert_eq!((state.closed, state.mark), (None, 3));
        let state = fold(Some(state), 4, Outcome::Landed).unwrap();
        assert_eq!(state.closed, Some(4));
        let state = fold(Some(state), 2, Outcome::Gone).unwrap();
        assert_eq!((state.last.outcome, state.mark), (Outcome::Landed, 4), "an older one changes nothing");
        let state = fold(fold(Some(state), 6, Outcome::Reopened), 7, Outcome::Failed).unwrap();
        assert_eq!((state.closed, state.is_ended("d")), (Some(6), false));
    }

    #[test]
    fn a_note_says_no_more_than_it_has_to() {
        let one = outcome("국밥", "2026-10-01", Outcome::Landed);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(
            text,
            r#"{"key":"국밥","dt":"2026-10-01","outcome":"landed","definition":"d","task":"t","at":"1970-01-01T00:00:00Z"}"#
        );
        assert_eq!(serde_json::from_str::<KeyOutcome>(&text).unwrap(), one);
    }
}
