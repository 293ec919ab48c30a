//! What a status says of an answer, whoever asks and whatever for: the one table of it.
//!
//! | status | what it is | a list | a page of a browser | robots.txt |
//! |---|---|---|---|---|
//! | 200, 201, 203, others of 2xx | whole | is read | is read | is read |
//! | 204, 205 | nothing | has no items here, and none behind it | has no items | forbids nothing |
//! | 202 | not ready | is asked again, later and later | is opened again | nobody may ask now |
//! | 206, 226 | a part, which nobody asked for | can't be read | can't be read | nobody may ask now |
//! | 404, 410 | gone | is gone; a later page: ends there, or is short of its total | likewise | there is none |
//! | 429 | a request to slow down | waits | waits | waits |
//! | 503 | not now | waits as long as it says, else as 5xx | likewise | nobody may ask now |
//! | 401, 403, 408, 425, 5xx | refused, or this hour | is asked again | is opened again | there is none; nobody may ask now |
//! | 3xx and the rest of 4xx | something else | can't be read | can't be read | is followed; there is none |
//!
//! A status alone makes no answer: sites send block pages and errors with 200, which is for who reads them to see.

/// What an answer is, by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusKind {
    /// All that was asked for.
    Whole,
    /// There is nothing.
    Nothing,
    /// It is being made: later it may be there.
    NotReady,
    /// A part of it, which was not asked for.
    Part,
    /// It is not there.
    Gone,
    /// We ask too often.
    TooMany,
    /// It can't answer now.
    NotNow,
    /// A refusal of us, or of this hour: one key must not be written off for it.
    Refused,
    /// It is not what was asked for.
    Other,
}

impl StatusKind {
    /// What a status means.
    pub(crate) const fn of(status: u16) -> Self {
        match status {
            202 => Self::NotReady,
            204 | 205 => Self::Nothing,
            206 | 226 => Self::Part,
            200..=299 => Self::Whole,
            404 | 410 => Self::Gone,
            429 => Self::TooMany,
            503 => Self::NotNow,
            0 | 401 | 403 | 408 | 425 | 500..=599 => Self::Refused,
            _ => Self::Other,
        }
    }

    /// Whether it asks for patience: with `Retry-After`, or by what it is.
    pub(crate) const fn asks_for_patience(self, has_retry_after: bool) -> bool {
        matches!(self, Self::TooMany) || (matches!(self, Self::NotNow) && has_retry_after)
    }
}

/// A status in a sentence: `it answered 206, a part of an answer that nobody asked for`.
pub(crate) fn answered(status: u16) -> String {
    let what = match StatusKind::of(status) {
        StatusKind::NotReady => ", which is not ready yet",
        StatusKind::Part => ", a part of an answer that nobody asked for",
        _ => "",
    };
    format!("it answered {status}{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_meaning() {
        use StatusKind::{Gone, NotNow, NotReady, Nothing, Other, Part, Refused, TooMany, Whole};
        let known = [
            (vec![200, 201, 203, 207, 299], Whole),
            (vec![204, 205], Nothing),
            (vec![202], NotReady),
            (vec![206, 226], Part),
            (vec![404, 410], Gone),
            (vec![429], TooMany),
            (vec![503], NotNow),
            (vec![0, 401, 403, 408, 425, 500, 502, 504, 599], Refused),
            (vec![100, 199, 300, 302, 304, 308, 400, 402, 406, 418, 451, 499, 600], Other),
        ];
        for (statuses, kind) in known {
            for status in statuses {
                assert_eq!(StatusKind::of(status), kind, "{status}");
                assert_eq!(kind.asks_for_patience(true), matches!(kind, TooMany | NotNow), "{status}");
                assert_eq!(kind.asks_for_patience(false), kind == TooMany, "{status}");
            }
        }
        assert_eq!(answered(206), "it answered 206, a part of an answer that nobody asked for");
        assert_eq!(answered(500), "it answered 500");
    }
}
