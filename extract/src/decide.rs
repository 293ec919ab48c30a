//! What to do after a key could not be fetched. Pure: what was observed goes in, jitter included, a [`Decision`] comes out.
//!
//! The hard part is whose fault it is. A reset connection says nothing: the key is *tried again*, later and later, and when
//! its task has had its receives it has *failed*, until the next run. A block page is about us and not about the key: the
//! *host* is left alone. A host that asks to slow down gets its rest, and the rest is no try: nothing was wrong with the key.
//! A missing browser is about this machine: the *source* can't be extracted here at all.

use std::time::Duration;

use catalog::backoff;

use crate::error::FetchError;

/// What to do with the key, its task, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ask for the key again when its task comes again.
    Again,
    /// Put the task back, and don't count this try: the host wants its rest.
    Rest {
        /// Hidden from everybody until then.
        after: Duration,
    },
    /// Leave the host alone: hand everything back, say why.
    StopHost {
        /// That refused us.
        host: String,
        /// How we know.
        evidence: String,
    },
    /// Nothing of this source can be fetched here: hand everything back, fail.
    StopSource,
    /// Somebody asked to stop: hand everything back.
    HandBack,
}

/// Which try of a task this was.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// How often the task was received, this time included.
    pub receive_count: u32,
    /// How often it may be.
    pub max_receives: u32,
    /// How often in a row the host has asked to slow down, this time included, with no answer in between.
    pub rests_in_a_row: u32,
    /// In 0..1, so that those who failed together don't come back together.
    pub jitter: f64,
}

impl Attempt {
    /// Whether the task won't come again by itself.
    pub fn is_last(&self) -> bool {
        self.receive_count >= self.max_receives
    }
}

/// The wait after a first failure; it doubles with each receive.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// No wait of our own is longer: a run is a daily thing.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// A host that asks for more patience than this is left alone until the next run.
const LONGEST_PATIENCE: Duration = Duration::from_mins(10);

/// A host that answers with nothing but requests to slow down, this often, is left alone until the next run.
const MOST_RESTS: u32 = 6;

/// What to do after `error`.
pub fn decide(error: &FetchError, attempt: &Attempt) -> Decision {
    match error {
        FetchError::Blocked { host, evidence, .. } => {
            Decision::StopHost { host: host.clone(), evidence: evidence.clone() }
        }
        FetchError::RateLimited { host, retry_after } | FetchError::Resting { host, retry_after } => {
            let asked = retry_after.unwrap_or_default();
            let stop = |evidence| Decision::StopHost { host: host.clone(), evidence };
            if asked > LONGEST_PATIENCE {
                stop(format!("it asks to wait for {} s before the next request", asked.as_secs()))
            } else if attempt.rests_in_a_row >= MOST_RESTS {
                stop(format!("it asked to slow down {} times and answered nothing in between", attempt.rests_in_a_row))
            } else {
                let rests = Attempt { receive_count: attempt.rests_in_a_row, ..*attempt };
                Decision::Rest { after: wait(&rests).max(asked) }
            }
        }
        FetchError::NoBrowser { .. } => Decision::StopSource,
        FetchError::Cancelled => Decision::HandBack,
        FetchError::Transient { .. }
        | FetchError::RobotsDenied { .. }
        | FetchError::Gone { .. }
        | FetchError::Unreadable { .. }
        | FetchError::Cut { .. }
        | FetchError::Permanent { .. } => Decision::Again,
    }
}

/// Doubles with each receive up to two minutes; between half and all of it, by jitter.
pub fn wait(attempt: &Attempt) -> Duration {
    backoff(FIRST_WAIT, attempt.receive_count.saturating_sub(1), LONGEST_WAIT, attempt.jitter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(rests_in_a_row: u32) -> Attempt {
        Attempt { receive_count: 1, max_receives: 5, rests_in_a_row, jitter: 1.0 }
    }

    fn rest(after: u64) -> Decision {
        Decision::Rest { after: Duration::from_secs(after) }
    }

    fn rate_limited(retry_after: Option<u64>) -> FetchError {
        FetchError::RateLimited { host: "m.place".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn each_failure_has_its_decision() {
        let check = |error: &FetchError, rests: u32, expected: &Decision| {
            assert_eq!(decide(error, &attempt(rests)), *expected, "{error:?} after {rests} rests");
        };
        let transient = FetchError::Transient { url: "https://m.place/1".into(), reason: "connection reset".into() };
        check(&transient, 0, &Decision::Again);
        // The host says how long; if it says it again and again, later and later.
        check(&rate_limited(None), 1, &rest(1));
        check(&rate_limited(Some(30)), 1, &rest(30));
        check(&rate_limited(Some(1)), 4, &rest(8));
        let resting = FetchError::Resting { host: "m.place".into(), retry_after: Some(Duration::from_secs(30)) };
        check(&resting, 1, &rest(30));
        let stop = |evidence: &str| Decision::StopHost { host: "m.place".into(), evidence: evidence.into() };
        check(&rate_limited(None), 6, &stop("it asked to slow down 6 times and answered nothing in between"));
        check(&rate_limited(Some(86_400)), 1, &stop("it asks to wait for 86400 s before the next request"));
        // It is about us.
        let blocked = FetchError::Blocked { host: "m.place".into(), evidence: "a page of refusal".into() };
        check(&blocked, 0, &stop("a page of refusal"));
        // It is about this machine, or about whoever pressed the key.
        check(&FetchError::NoBrowser { tried: "chromium".into() }, 0, &Decision::StopSource);
        check(&FetchError::Cancelled, 0, &Decision::HandBack);
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        let after = |jitter: f64| wait(&Attempt { receive_count: 3, jitter, ..attempt(0) });
        assert_eq!(
            (after(0.0), after(0.5), after(1.0)),
            (Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(4))
        );
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded_and_every_storm_ends(rests in 0_u32.., receive_count in 0_u32.., jitter in 0.0_f64..1.0) {
            let attempt = Attempt { receive_count, max_receives: 5, rests_in_a_row: rests, jitter };
            let pause = wait(&attempt);
            prop_assert!(pause >= FIRST_WAIT / 2 && pause <= LONGEST_WAIT);
            match decide(&rate_limited(None), &attempt) {
                Decision::Rest { after } => prop_assert!(rests < MOST_RESTS && after <= LONGEST_WAIT),
                Decision::StopHost { .. } => prop_assert!(rests >= MOST_RESTS),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
