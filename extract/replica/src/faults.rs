//! Which requests go wrong, decided purely: the same seed, switches, request and attempt give the same verdict.
//!
//! Each trouble throws once per request (key and page), so a crawl meets the same trouble whenever it is repeated; a hit
//! request fails for as many attempts as the [`Fault`] says and is well afterwards. Several troubles of one request do not
//! add up: they share the attempts, the first in the order below wins.

use std::time::Duration;

use crate::seed::{self, Rng, Stream};
use crate::switches::{Fault, Switches};

/// What is asked for: what misbehaves is decided by this and by how often it was asked before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) kind: Kind,
    /// Place id or search words.
    pub(crate) key: String,
    /// Page or start; 0 for pages of HTML.
    pub(crate) page: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ListPage = 1,
    HomePage = 2,
    ReviewPage = 3,
    Reviews = 4,
    Restaurants = 5,
    Statistics = 6,
    Other = 7,
}

impl Kind {
    pub(crate) fn is_graphql(self) -> bool {
        matches!(self, Self::Reviews | Self::Restaurants | Self::Statistics | Self::Other)
    }
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Serve,
    Blocked,
    Poisoned,
    TooMany,
    ServerError(u16),
    HalfRendered,
    Garbage,
    Cut,
    Slow,
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    TooMany = 1,
    ServerError = 2,
    HalfRendered = 3,
    Garbage = 4,
    Cut = 5,
    Slow = 6,
    PartialErrors = 7,
}

/// The verdict on one attempt (0 is the first) at a call.
pub(crate) fn decide(seed: u64, switches: &Switches, call: &Call, attempt: u32) -> Verdict {
    let hits = |fault: Fault, trouble: Trouble| hit(seed, fault, trouble, call, attempt);
    if hits(switches.too_many, Trouble::TooMany) {
        Verdict::TooMany
    } else if hits(switches.server_error, Trouble::ServerError) {
        Verdict::ServerError(if attempt.is_multiple_of(2) { 503 } else { 500 })
    } else if matches!(call.kind, Kind::HomePage | Kind::ReviewPage)
        && hits(switches.half_rendered, Trouble::HalfRendered)
    {
        Verdict::HalfRendered
    } else if call.kind.is_graphql() && hits(switches.garbage, Trouble::Garbage) {
        Verdict::Garbage
    } else if hits(switches.cut, Trouble::Cut) {
        Verdict::Cut
    } else if hits(switches.slow, Trouble::Slow) {
        Verdict::Slow
    } else {
        Verdict::Serve
    }
}

/// Whether this element of a GraphQL answer has `errors` instead of data.
pub(crate) fn errors_instead(seed: u64, switches: &Switches, call: &Call, attempt: u32) -> bool {
    hit(seed, switches.partial_errors, Trouble::PartialErrors, call, attempt)
}

/// How long the answer waits.
pub(crate) fn delay(seed: u64, switches: &Switches, call: &Call, attempt: u32) -> Duration {
    if switches.jitter.is_zero() {
        return switches.latency;
    }
    let mut rng =
        Rng::new(seed, Stream::Latency, &[call.kind as u64, seed::text(&call.key), call.page, u64::from(attempt)]);
    switches.latency + switches.jitter.mul_f64(rng.unit())
}

fn hit(seed: u64, fault: Fault, trouble: Trouble, call: &Call, attempt: u32) -> bool {
    if fault.rate <= 0.0 || fault.attempts.is_some_and(|attempts| attempt >= attempts) {
        return false;
    }
    let hash = seed::hash(
        seed ^ seed::mix(Stream::Fault as u64),
        &[trouble as u64, call.kind as u64, seed::text(&call.key), call.page],
    );
    seed::below_rate(hash, fault.rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(page: u64) -> Call {
        Call { kind: Kind::Reviews, key: "11356993".to_owned(), page }
    }

    #[test]
    fn a_hit_request_fails_for_its_attempts_and_is_well_afterwards() {
        let switches = Switches { server_error: Fault::times(1.0, 2), ..Switches::default() };
        let verdicts: Vec<_> = (0..3).map(|attempt| decide(1, &switches, &call(4), attempt)).collect();
        assert_eq!(verdicts, [Verdict::ServerError(503), Verdict::ServerError(500), Verdict::Serve]);
    }

    #[test]
    fn the_rate_is_a_share_of_the_requests_and_the_seed_decides_which() {
        let switches = Switches { garbage: Fault::always(0.2), ..Switches::default() };
        let hit = |seed: u64| {
            (0..2_000).filter(|page| decide(seed, &switches, &call(*page), 9) == Verdict::Garbage).collect::<Vec<_>>()
        };
        assert!((330..470).contains(&hit(1).len()), "{}", hit(1).len());
        assert_eq!(hit(1), hit(1));
        assert_ne!(hit(1), hit(2));
    }

    #[test]
    fn troubles_share_their_attempts() {
        let switches = Switches {
            too_many: Fault::once(1.0),
            server_error: Fault::once(1.0),
            cut: Fault::once(1.0),
            ..Switches::default()
        };
        assert_eq!(decide(1, &switches, &call(1), 0), Verdict::TooMany);
        assert_eq!(decide(1, &switches, &call(1), 1), Verdict::Serve);
    }

    #[test]
    fn pages_are_never_garbage_and_answers_never_half_rendered() {
        let switches =
            Switches { garbage: Fault::always(1.0), half_rendered: Fault::always(1.0), ..Switches::default() };
        let page = Call { kind: Kind::ReviewPage, key: "1".to_owned(), page: 0 };
        assert_eq!(decide(1, &switches, &page, 0), Verdict::HalfRendered);
        assert_eq!(decide(1, &switches, &call(1), 0), Verdict::Garbage);
    }

    #[test]
    fn a_delay_stays_within_its_bounds() {
        let (latency, jitter) = (Duration::from_millis(20), Duration::from_millis(30));
        let switches = Switches { latency, jitter, ..Switches::default() };
        assert!(
            (0..200)
                .map(|page| delay(1, &switches, &call(page), 0))
                .all(|delay| delay >= latency && delay <= latency + jitter)
        );
    }
}
