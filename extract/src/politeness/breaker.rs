//! When to leave a host alone: a pure state machine over what was answered and when.
//!
//! A block page is about us, and lasts most of an hour where it was observed (sites let go after 40 to 60 minutes): the
//! host is left alone for the rest of an ordinary run. A single 429 only asks for patience. Several in a row mean that our
//! pace is wrong, and everybody stops at once instead of each worker finding out by itself.

use std::time::Duration;

use catalog::simulation::Instant;

use super::Outcome;

/// After a block page.
const BLOCK_REST: Duration = Duration::from_hours(1);

/// 429s in a row that are a storm, and how long the host is then left alone at least.
const STORM: u32 = 5;
const STORM_REST: Duration = Duration::from_mins(1);

/// One host's circuit: closed, or open until a time.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: Option<Open>,
    too_many_in_a_row: u32,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    /// Of a block page; none after a storm.
    evidence: Option<String>,
}

/// Why a request is not made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The host showed a block page.
    Blocked { evidence: String },
    /// It asked for patience.
    Wait(Duration),
}

impl Breaker {
    pub(super) fn note(&mut self, outcome: &Outcome, now: Instant) {
        match outcome {
            Outcome::Answered => self.too_many_in_a_row = 0,
            Outcome::Blocked { evidence } => {
                self.open = Some(Open { until: now + BLOCK_REST, evidence: Some(evidence.clone()) });
            }
            Outcome::TooMany { retry_after } => {
                self.too_many_in_a_row += 1;
                if self.too_many_in_a_row >= STORM {
                    self.too_many_in_a_row = 0;
                    let until = now + retry_after.unwrap_or_default().max(STORM_REST);
                    // A block page says more than a storm.
                    if self.open.as_ref().is_none_or(|open| open.evidence.is_none() && open.until < until) {
                        self.open = Some(Open { until, evidence: None });
                    }
                }
            }
        }
    }

    pub(super) fn refusal(&mut self, now: Instant) -> Option<Refusal> {
        let open = self.open.as_ref()?;
        if open.until <= now {
            self.open = None;
            return None;
        }
        Some(match &open.evidence {
            Some(evidence) => Refusal::Blocked { evidence: evidence.clone() },
            None => Refusal::Wait(open.until - now),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn too_many(seconds: u64) -> Outcome {
        Outcome::TooMany { retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)) }
    }

    #[test]
    fn a_block_page_opens_the_circuit_for_an_hour() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.refusal(now), None);
        breaker.note(&Outcome::Blocked { evidence: "e".to_owned() }, now);
        breaker.note(&Outcome::Answered, now);
        assert_eq!(
            breaker.refusal(now + Duration::from_secs(3599)),
            Some(Refusal::Blocked { evidence: "e".to_owned() })
        );
        assert_eq!(breaker.refusal(now + BLOCK_REST), None);
    }

    #[test]
    fn a_storm_opens_it_for_as_long_as_the_host_asks() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..STORM - 1 {
            breaker.note(&too_many(0), now);
        }
        assert_eq!(breaker.refusal(now), None);
        breaker.note(&Outcome::Answered, now);
        for _ in 0..STORM {
            assert_eq!(breaker.refusal(now), None);
            breaker.note(&too_many(90), now);
        }
        assert_eq!(breaker.refusal(now), Some(Refusal::Wait(Duration::from_secs(90))));
        assert_eq!(breaker.refusal(now + Duration::from_secs(91)), None);
    }

    #[test]
    fn a_storm_never_hides_a_block() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.note(&Outcome::Blocked { evidence: "e".to_owned() }, now);
        (0..STORM).for_each(|_| breaker.note(&too_many(0), now));
        assert!(matches!(breaker.refusal(now), Some(Refusal::Blocked { .. })));
    }
}
