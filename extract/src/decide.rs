//! What to do after a key could not be fetched. Pure: what was observed goes in, jitter included, a [`Decision`] comes out.
//!
//! The hard part is whose fault it is. A page that is gone will be gone tomorrow: that is a *result*, and is recorded. A
//! reset connection says nothing: the task is *tried again*, later and later, and set apart when it has had its receives. A
//! block page is about us and not about the task: the *host* is left alone and the task keeps its receives. A missing
//! browser is about this machine: the *source* can't be extracted here at all.

use std::time::Duration;

use crate::error::one_line;
use crate::fetch::FetchError;

/// What to do with the key, its task, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Put the task back; it is visible again after this long.
    Retry {
        /// Hidden from everybody until then.
        after: Duration,
    },
    /// Set the task apart with this as its last error.
    DeadLetter(String),
    /// The key has no data and never will today: land one row that says so.
    Record {
        /// Goes to the row's `_error`.
        reason: String,
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
    /// In 0..1, so that those who failed together don't come back together.
    pub jitter: f64,
}

/// The wait after a first failure; it doubles with each receive.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// No wait of our own is longer: a run is a daily thing.
const LONGEST_WAIT: Duration = Duration::from_mins(2);

/// A host that asks for more patience than this is left alone until the next run.
const LONGEST_PATIENCE: Duration = Duration::from_mins(10);

/// What to do after `error`.
pub fn decide(error: &FetchError, attempt: &Attempt) -> Decision {
    match error {
        FetchError::Blocked { host, evidence, .. } => {
            Decision::StopHost { host: host.clone(), evidence: evidence.clone() }
        }
        FetchError::RateLimited { host, retry_after, .. } => {
            let asked = retry_after.unwrap_or_default();
            if asked > LONGEST_PATIENCE {
                let evidence = format!("it asks to wait for {} s before the next request", asked.as_secs());
                return Decision::StopHost { host: host.clone(), evidence };
            }
            match retry_or_bury(|| one_line(error), attempt) {
                Decision::Retry { after } => Decision::Retry { after: after.max(asked) },
                other => other,
            }
        }
        FetchError::Transient { .. } => retry_or_bury(|| one_line(error), attempt),
        FetchError::RobotsDenied { .. } | FetchError::Permanent { .. } => Decision::Record { reason: one_line(error) },
        FetchError::NoBrowser { .. } => Decision::StopSource,
        FetchError::Cancelled => Decision::HandBack,
    }
}

/// Again later while receives are left, else a dead letter.
pub fn retry_or_bury(reason: impl FnOnce() -> String, attempt: &Attempt) -> Decision {
    if attempt.receive_count >= attempt.max_receives {
        Decision::DeadLetter(reason())
    } else {
        Decision::Retry { after: wait(attempt) }
    }
}

/// Doubles with each receive up to [`LONGEST_WAIT`]; between half and all of it, by jitter
/// ("equal jitter", <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
fn wait(attempt: &Attempt) -> Duration {
    let doublings = attempt.receive_count.saturating_sub(1).min(16);
    let whole = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT);
    whole.mul_f64(0.5 + attempt.jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(receive_count: u32) -> Attempt {
        Attempt { receive_count, max_receives: 5, jitter: 1.0 }
    }

    fn seconds(after: u64) -> Decision {
        Decision::Retry { after: Duration::from_secs(after) }
    }

    fn rate_limited(retry_after: Option<u64>) -> FetchError {
        FetchError::RateLimited { host: "m.place".into(), retry_after: retry_after.map(Duration::from_secs) }
    }

    fn transient() -> FetchError {
        FetchError::Transient { url: "https://m.place/1".into(), reason: "connection reset".into() }
    }

    #[test]
    fn each_failure_has_its_decision() {
        let check = |error: &FetchError, receive_count: u32, expected: &Decision| {
            assert_eq!(decide(error, &attempt(receive_count)), *expected, "{error:?} at receive {receive_count}");
        };
        // A hiccup: later and later, then never.
        check(&transient(), 1, &seconds(1));
        check(&transient(), 2, &seconds(2));
        check(&transient(), 4, &seconds(8));
        check(&transient(), 5, &Decision::DeadLetter(one_line(&transient())));
        check(&transient(), 9, &Decision::DeadLetter(one_line(&transient())));
        // The host says how long.
        check(&rate_limited(None), 1, &seconds(1));
        check(&rate_limited(Some(30)), 1, &seconds(30));
        check(&rate_limited(Some(1)), 4, &seconds(8));
        check(&rate_limited(Some(30)), 5, &Decision::DeadLetter(one_line(&rate_limited(Some(30)))));
        let evidence = "it asks to wait for 86400 s before the next request".to_owned();
        check(&rate_limited(Some(86_400)), 1, &Decision::StopHost { host: "m.place".into(), evidence });
        // It is about us: the task keeps its receives, also the last one.
        let blocked = FetchError::Blocked {
            host: "m.place".into(),
            evidence: "title `서비스 이용이 제한되었습니다`".into(),
        };
        let stop = Decision::StopHost {
            host: "m.place".into(),
            evidence: "title `서비스 이용이 제한되었습니다`".into(),
        };
        check(&blocked, 1, &stop);
        check(&blocked, 9, &stop);
        // It is a result.
        let denied =
            FetchError::RobotsDenied { url: "https://m.place/private".into(), rule: "Disallow: /private".into() };
        check(&denied, 1, &Decision::Record { reason: one_line(&denied) });
        check(&denied, 9, &Decision::Record { reason: one_line(&denied) });
        let gone = FetchError::Permanent { url: "https://m.place/1".into(), reason: "404 Not Found".into() };
        check(&gone, 1, &Decision::Record { reason: one_line(&gone) });
        // It is about this machine, or about whoever pressed the key.
        check(&FetchError::NoBrowser { tried: "chromium".into() }, 1, &Decision::StopSource);
        check(&FetchError::Cancelled, 5, &Decision::HandBack);
    }

    #[test]
    fn jitter_takes_off_at_most_half() {
        let after = |jitter: f64| wait(&Attempt { jitter, ..attempt(3) });
        assert_eq!(
            (after(0.0), after(0.5), after(1.0)),
            (Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(4))
        );
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded_and_every_task_ends(receive_count in 0_u32.., max_receives in 1_u32..100, jitter in 0.0_f64..1.0) {
            let attempt = Attempt { receive_count, max_receives, jitter };
            match decide(&transient(), &attempt) {
                Decision::Retry { after } => {
                    prop_assert!(receive_count < max_receives);
                    prop_assert!(after >= FIRST_WAIT / 2 && after <= LONGEST_WAIT);
                }
                Decision::DeadLetter(_) => prop_assert!(receive_count >= max_receives),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
