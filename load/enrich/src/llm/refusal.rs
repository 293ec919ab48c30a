//! Why a question has no answer that can be used: of which kind, in words, and what leads out.
//!
//! The kind is what is counted, what decides whether a second question makes sense, and what the hint hangs on. The words are for who
//! reads the lake's table of answers; nothing reads them back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of reason for which an answer is set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// The answer did not fit into the tokens that it may have.
    Length,
    /// The model declined.
    Declined,
    /// The service does not take the texts, or held the answer back.
    Filtered,
    /// The model wrote nothing.
    Empty,
    /// The answer fails a check.
    Unusable,
    /// Sent several times, and no whole answer came back.
    Lost,
    /// Sent several times, and what came back makes no sense.
    Unreadable,
    /// The service refused the request in a batch, or failed it in several.
    Failed,
    /// There is an answer, and it rests on some of the texts alone: the others were refused.
    Partial,
    /// It was set aside before kinds were kept.
    #[serde(other)]
    Unknown,
}

impl RefusalKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Length,
        Self::Declined,
        Self::Filtered,
        Self::Empty,
        Self::Unusable,
        Self::Lost,
        Self::Unreadable,
        Self::Failed,
        Self::Partial,
        Self::Unknown,
    ];

    /// As in `ops.llm_results.refusal`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Declined => "declined",
            Self::Filtered => "filtered",
            Self::Empty => "empty",
            Self::Unusable => "unusable",
            Self::Lost => "lost",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }

    /// The kind of that name; [`RefusalKind::Unknown`] for a name of another release.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|kind| kind.name() == name).unwrap_or(Self::Unknown)
    }

    /// What happened, in a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Length => "did not fit into `output_tokens`",
            Self::Declined => "declined by the model",
            Self::Filtered => "filtered by the service",
            Self::Empty => "empty",
            Self::Unusable => "failed a check",
            Self::Lost => "lost on the way",
            Self::Unreadable => "could not be read",
            Self::Failed => "refused by the service, or failed in several batches",
            Self::Partial => "rests on a part of the texts",
            Self::Unknown => "set aside earlier",
        }
    }

    /// What a person can do about it, if there is anything but to wait.
    pub const fn hint(self) -> Option<&'static str> {
        match self {
            Self::Length => {
                Some("raise `output_tokens` in [llm]: a model that reasons spends of them before it writes")
            }
            Self::Unusable => {
                Some("look at `reason` in ops.llm_results, and at the checks of the table's [enrich] section")
            }
            Self::Failed => Some("correct in [llm] or [enrich] what the service names"),
            _ => None,
        }
    }

    /// Whether one of several texts that were sent together may be to blame.
    pub(crate) const fn can_be_halved(self) -> bool {
        matches!(self, Self::Filtered | Self::Unreadable)
    }

    /// Whether the model is told at once what is wrong and asked once more.
    pub(crate) const fn can_be_repaired(self) -> bool {
        matches!(self, Self::Declined | Self::Empty | Self::Unusable)
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Of which kind the reason is.
    pub kind: RefusalKind,
    /// The reason in words.
    pub reason: String,
}

impl Refusal {
    /// A reason of this kind.
    pub fn new(kind: RefusalKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_the_name_that_it_is_kept_under() {
        for kind in RefusalKind::ALL {
            assert_eq!(RefusalKind::named(kind.name()), kind);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(serde_json::from_value::<RefusalKind>(kind.name().into()).unwrap(), kind);
        }
        assert_eq!(RefusalKind::named("of a later release"), RefusalKind::Unknown);
        assert_eq!(serde_json::from_str::<RefusalKind>("\"of a later release\"").unwrap(), RefusalKind::Unknown);
    }
}
