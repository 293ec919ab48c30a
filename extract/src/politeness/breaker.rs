//! When to leave a host alone: a pure state machine over what was answered and when.
//!
//! A block page is about us, and lasts most of an hour where it was observed (sites let go after 40 to 60 minutes): the
//! host is left alone for the rest of an ordinary run. A single 429 only asks for patience. Several in a row mean that our
//! pace is wrong, and everybody stops at once instead of each worker finding out by itself. A host that has nothing but
//! failures for us is still asked for every key, since the next one may be well, but for each of them once and not four times.

use std::time::Duration;

use catalog::simulation::Instant;

use super::RequestOutcome;

/// After a block page.
const BLOCK_REST: Duration = Duration::from_hours(1);

/// 429s in a row that are a storm, and how long the host is then left alone at least.
const STORM: u32 = 5;
const STORM_REST: Duration = Duration::from_mins(1);

/// Requests in a row without a good answer after which the trouble is the host's and not a key's: three keys, with all their tries.
const SILENT: u32 = 12;

/// One host's circuit: closed, or open until a time.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: Option<Open>,
    too_many_in_a_row: u32,
    failed_in_a_row: u32,
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
    pub(super) fn note(&mut self, outcome: &RequestOutcome, now: Instant) {
        match outcome {
            RequestOutcome::Answered => (self.too_many_in_a_row, self.failed_in_a_row) = (0, 0),
            RequestOutcome::Failed => self.failed_in_a_row = self.failed_in_a_row.saturating_add(1),
            RequestOutcome::Blocked { evidence } => {
                self.open = Some(Open { until: now + BLOCK_REST, evidence: Some(evidence.clone()) });
            }
            RequestOutcome::TooMany { retry_after } => {
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

    /// Whether there is no use in asking again at once.
    pub(super) fn is_silent(&self) -> bool {
        self.failed_in_a_row >= SILENT
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

    fn too_many(seconds: u64) -> RequestOutcome {
        RequestOutcome::TooMany { retry_after: (seconds > 0).then(|| Duration::from_secs(seconds)) }
    }

    #[test]
    fn a_block_page_opens_the_circuit_for_an_hour() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!(breaker.refusal(now), None);
        breaker.note(&RequestOutcome::Blocked { evidence: "e".to_owned() }, now);
        breaker.note(&RequestOutcome::Answered, now);
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
        breaker.note(&RequestOutcome::Answered, now);
        for _ in 0..STORM {
            assert_eq!(breaker.refusal(now), None);
            breaker.note(&too_many(90), now);
        }
        assert_eq!(breaker.refusal(now), Some(Refusal::Wait(Duration::from_secs(90))));
        assert_eq!(breaker.refusal(now + Duration::from_secs(91)), None);
    }

    #[test]
    fn a_host_is_silent_until_it_answers() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        (1..SILENT).for_each(|_| breaker.note(&RequestOutcome::Failed, now));
        assert!(!breaker.is_silent());
        breaker.note(&RequestOutcome::Failed, now);
        assert!(breaker.is_silent());
        assert_eq!(breaker.refusal(now), None, "it is asked all the same");
        breaker.note(&RequestOutcome::Answered, now);
        breaker.note(&RequestOutcome::Failed, now);
        assert!(!breaker.is_silent());
    }

    #[test]
    fn a_storm_never_hides_a_block() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.note(&RequestOutcome::Blocked { evidence: "e".to_owned() }, now);
        (0..STORM).for_each(|_| breaker.note(&too_many(0), now));
        assert!(matches!(breaker.refusal(now), Some(Refusal::Blocked { .. })));
    }
}
