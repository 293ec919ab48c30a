//! What changes while a replica serves: counts, switches, limits, files, batches.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::time::Instant;

use super::problem;
use crate::limit::Bucket;
use crate::options::LlmReplicaOptions;
use crate::stats::{Stats, count};
use crate::switches::{Fault, RetryAfter, Switches};
use crate::{batches, files, tokens};

/// An answer and what it costs.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) body: String,
    pub(crate) keys: Vec<String>,
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
}

/// What changes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) switches: Switches,
    pub(crate) stats: Stats,
    pub(crate) dimensions: usize,
    pub(crate) files: BTreeMap<String, files::Stored>,
    pub(crate) batches: BTreeMap<String, batches::Batch>,
    pub(super) requests: Vec<Value>,
    pub(super) request_bucket: Option<Bucket>,
    pub(super) token_bucket: Option<Bucket>,
    pub(super) in_flight: u64,
    dice: u64,
    ids: u64,
}

impl State {
    pub(super) fn new(options: &LlmReplicaOptions) -> Self {
        Self {
            switches: options.switches.clone(),
            stats: Stats::default(),
            dimensions: options.dimensions,
            files: BTreeMap::new(),
            batches: BTreeMap::new(),
            requests: Vec::new(),
            request_bucket: None,
            token_bucket: None,
            in_flight: 0,
            dice: tokens::mix(options.seed),
            ids: 0,
        }
    }

    /// Whether a trouble hits now; a hit counts.
    pub(crate) fn hits(&mut self, fault: fn(&mut Switches) -> &mut Fault) -> bool {
        let chosen = *fault(&mut self.switches);
        if chosen.rate <= 0.0 || chosen.times == Some(0) {
            return false;
        }
        self.dice = tokens::mix(self.dice);
        let hit = tokens::unit(self.dice) < chosen.rate;
        if hit && let Some(times) = &mut fault(&mut self.switches).times {
            *times -= 1;
        }
        hit
    }

    /// An answer was done: from here on it is paid.
    pub(crate) fn pay(&mut self, made: &Made) {
        for key in &made.keys {
            count(&mut self.stats.paid, key);
        }
        self.stats.input_tokens += made.input_tokens;
        self.stats.output_tokens += made.output_tokens;
    }

    /// A paid answer does not arrive.
    pub(crate) fn lose(&mut self, made: &Made) {
        for key in &made.keys {
            count(&mut self.stats.lost, key);
        }
    }

    /// A fresh id.
    pub(crate) fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_{:08}", self.ids)
    }

    /// This second, since 1970.
    #[expect(clippy::unused_self, reason = "asked of the state like everything that is stamped")]
    pub(crate) fn created(&self) -> u64 {
        unix_seconds()
    }

    /// Lets a call in, or says why not.
    pub(super) fn admit(&mut self, tokens: u64) -> Result<(), Box<Response>> {
        self.stats.calls += 1;
        let now = Instant::now();
        let room = |bucket: &mut Option<Bucket>, limit: Option<u32>, amount: f64| -> Result<(), f64> {
            let Some(limit) = limit else { return Ok(()) };
            let bucket = bucket.get_or_insert_with(|| Bucket::new(limit, now));
            if bucket.per_minute() != limit {
                *bucket = Bucket::new(limit, now);
            }
            bucket.take(amount, now)
        };
        let requests = room(&mut self.request_bucket, self.switches.requests_per_minute, 1.0);
        let limited =
            requests.and_then(|()| room(&mut self.token_bucket, self.switches.tokens_per_minute, tokens as f64));
        if let Err(wait) = limited {
            self.stats.limited += 1;
            return Err(Box::new(self.too_many(Duration::from_secs_f64(wait))));
        }
        if self.switches.quota_after.is_some_and(|after| self.stats.payments() >= after) {
            self.stats.out_of_quota += 1;
            let message = "You exceeded your current quota, please check your plan and billing details.";
            return Err(Box::new(problem(StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", message)));
        }
        if self.hits(|s| &mut s.too_many) {
            self.stats.too_many += 1;
            return Err(Box::new(self.too_many(Duration::from_millis(100))));
        }
        if self.hits(|s| &mut s.server_error) {
            self.stats.server_errors += 1;
            let status = if self.stats.server_errors.is_multiple_of(2) {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::INTERNAL_SERVER_ERROR
            };
            // The real service answers with a page of its front now and then, not with JSON.
            let page = format!("<html>upstream error</html>{}", " ".repeat(self.switches.error_page));
            return Err(Box::new((status, page).into_response()));
        }
        if self.hits(|s| &mut s.unavailable) {
            self.stats.server_errors += 1;
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "Overloaded, try again.");
            set(response.headers_mut(), "retry-after-ms", "20");
            return Err(Box::new(response));
        }
        Ok(())
    }

    /// Whether texts hold a word that is refused.
    pub(crate) fn is_filtered(&self, body: &Value) -> bool {
        self.switches.refuses.as_ref().is_some_and(|word| {
            // What a model wrote itself is in a message of its own; the texts are in the user's.
            body.to_string().contains(word.as_str())
        })
    }

    fn too_many(&self, wait: Duration) -> Response {
        let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", "Rate limit reached.");
        let headers = response.headers_mut();
        match self.switches.retry_after {
            RetryAfter::None => {}
            RetryAfter::Seconds(seconds) => set(headers, "retry-after", &seconds.to_string()),
            RetryAfter::Date(seconds) => set(headers, "retry-after", &http_date(unix_seconds() + seconds)),
            RetryAfter::Exact => {
                set(headers, "retry-after-ms", &wait.as_millis().max(1).to_string());
                set(headers, "retry-after", &(wait.as_secs() + 1).to_string());
            }
        }
        response
    }

    pub(super) fn delay(&mut self) -> Duration {
        self.dice = tokens::mix(self.dice);
        self.switches.latency + self.switches.jitter.mul_f64(tokens::unit(self.dice))
    }
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[expect(clippy::disallowed_methods, reason = "a server stamps its answers; nothing here decides by the clock")]
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
pub(super) fn http_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let weekday = DAYS[usize::try_from(days % 7).unwrap_or(0)];
    let mut year = 1970;
    loop {
        let length = 365 + u64::from(is_leap(year));
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time % 3600 / 60, time % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", days + 1, MONTHS[month])
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}
