//! The pace: so many requests and so many tokens a minute, and silence when the service asks for it.
//!
//! Two buckets fill evenly and hold five seconds' worth, so that what a pause cost is caught up with afterwards. Callers stand in one
//! line; the first waits for both buckets, the others for the first. A request takes what it is likely to use, and is corrected by
//! what it really used.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use catalog::simulation::{Instant, sleep};

/// What part of a minute's worth a bucket holds.
const HOLDS: f64 = 1.0 / 12.0;
/// The longest that one answer of the service can silence us; it may say so again.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// The limits of a service, and how near we are to them.
#[derive(Debug)]
pub(super) struct Limiter {
    requests_per_minute: Option<f64>,
    tokens_per_minute: Option<f64>,
    line: tokio::sync::Mutex<()>,
    state: Mutex<LimiterState>,
}

#[derive(Debug)]
struct LimiterState {
    requests: f64,
    tokens: f64,
    at: Instant,
    silent_until: Option<Instant>,
}

impl Limiter {
    pub(super) fn new(requests_per_minute: Option<u32>, tokens_per_minute: Option<u32>) -> Self {
        let (requests, tokens) = (requests_per_minute.map(f64::from), tokens_per_minute.map(f64::from));
        let state = LimiterState {
            requests: requests.map_or(0.0, holds),
            tokens: tokens.map_or(0.0, holds),
            at: Instant::now(),
            silent_until: None,
        };
        Self {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            line: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        }
    }

    /// Waits until a request of so many tokens may be sent, and counts it.
    pub(super) async fn admit(&self, tokens: f64) {
        let _first = self.line.lock().await;
        while let Err(wait) = self.take(tokens, Instant::now()) {
            sleep(wait).await;
        }
    }

    /// The request never left: the service did not count it either.
    pub(super) fn give_back(&self, tokens: f64) {
        let mut state = self.lock();
        if self.requests_per_minute.is_some() {
            state.requests += 1.0;
        }
        if self.tokens_per_minute.is_some() {
            state.tokens += tokens;
        }
    }

    /// What the buckets hold: requests and tokens.
    #[cfg(test)]
    pub(super) fn level(&self) -> (f64, f64) {
        let state = self.lock();
        (state.requests, state.tokens)
    }

    /// The request used other than what was counted.
    pub(super) fn correct(&self, counted: f64, used: f64) {
        if self.tokens_per_minute.is_some() {
            self.lock().tokens += counted - used;
        }
    }

    /// The service asked for silence: nobody sends anything for so long, and a little longer, not all to the same instant.
    pub(super) fn pause(&self, wait: Duration) {
        let jitter = Duration::from_millis(50).mul_f64(rand::random::<f64>());
        self.pause_at(wait.min(LONGEST_PAUSE) + jitter, Instant::now());
    }

    fn pause_at(&self, wait: Duration, now: Instant) {
        let until = now + wait;
        let mut state = self.lock();
        state.silent_until = Some(state.silent_until.map_or(until, |it| it.max(until)));
    }

    fn take(&self, tokens: f64, now: Instant) -> Result<(), Duration> {
        let mut state = self.lock();
        let passed = now.saturating_duration_since(state.at).as_secs_f64();
        state.at = now;
        if let Some(rate) = self.requests_per_minute {
            state.requests = (state.requests + passed * rate / 60.0).min(holds(rate));
        }
        if let Some(rate) = self.tokens_per_minute {
            state.tokens = (state.tokens + passed * rate / 60.0).min(holds(rate));
        }
        if let Some(until) = state.silent_until {
            if until > now {
                return Err(until - now);
            }
            state.silent_until = None;
        }
        let mut wait: f64 = 0.0;
        if let Some(rate) = self.requests_per_minute {
            wait = wait.max((1.0 - state.requests) * 60.0 / rate);
        }
        if let Some(rate) = self.tokens_per_minute {
            // A request larger than the bucket waits for a full one and leaves a debt.
            wait = wait.max((tokens.min(holds(rate)) - state.tokens) * 60.0 / rate);
        }
        if wait > 1e-6 {
            return Err(Duration::from_secs_f64(wait.min(60.0)) + Duration::from_micros(200));
        }
        state.requests -= 1.0;
        state.tokens -= tokens;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, LimiterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a bucket of this rate holds: at least one request.
fn holds(rate: f64) -> f64 {
    (rate * HOLDS).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests admitted one after the other in a span of time that nobody waits for.
    fn admitted(limiter: &Limiter, from: Instant, span: Duration, tokens: f64) -> u32 {
        let (mut now, mut count) = (from, 0);
        while now < from + span {
            match limiter.take(tokens, now) {
                Ok(()) => count += 1,
                Err(wait) => now = now + wait,
            }
        }
        count
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn requests_keep_their_pace() {
        let limiter = Limiter::new(Some(600), None);
        let count = admitted(&limiter, Instant::now(), SECOND * 60, 10.0);
        assert!((640..=651).contains(&count), "{count}: a minute and what the bucket held");
    }

    #[test]
    fn tokens_keep_their_pace_and_are_corrected() {
        let limiter = Limiter::new(None, Some(60_000));
        let start = Instant::now();
        let count = admitted(&limiter, start, SECOND * 60, 1_000.0);
        assert!((63..=66).contains(&count), "{count}");
        limiter.correct(0.0, 10_000.0);
        let count = admitted(&limiter, start + SECOND * 60, SECOND * 60, 1_000.0);
        assert!((49..=51).contains(&count), "{count}: the debt is paid first");
    }

    #[test]
    fn a_pause_silences_everybody_and_is_caught_up_with() {
        let limiter = Limiter::new(Some(600), None);
        let start = Instant::now();
        let before = admitted(&limiter, start, SECOND * 10, 0.0);
        limiter.pause_at(SECOND * 2, start + SECOND * 10);
        assert_eq!(admitted(&limiter, start + SECOND * 10, SECOND * 2, 0.0), 0);
        let after = admitted(&limiter, start + SECOND * 12, SECOND * 8, 0.0);
        assert!(before + after >= 248, "{before} + {after}: nothing of the allowance was lost");
    }

    #[test]
    fn a_request_larger_than_the_bucket_is_sent_all_the_same() {
        let limiter = Limiter::new(Some(60), Some(6_000));
        assert!(admitted(&limiter, Instant::now(), SECOND * 61, 5_000.0) >= 1);
    }

    #[tokio::test]
    async fn a_line_of_callers_is_served_in_order() {
        let limiter = Limiter::new(Some(6_000), None);
        let started = Instant::now();
        futures::future::join_all((0..520).map(|_| limiter.admit(0.0))).await;
        assert!(started.elapsed() >= Duration::from_millis(150), "{:?}", started.elapsed());
    }
}
