//! Sending: at the pace, again where that costs nothing, and never twice where it might.
//!
//! A service that worked a moment ago is worth a minute's patience. One that never answered in this run may have another URL, or may not
//! run at all: it is tried for some seconds, and whoever waits is told.

use std::time::Duration;

use super::http::HttpAnswer;
use super::{OpenAi, reply};
use crate::error::Error;
use crate::llm::{Call, Content, Endpoint, Refusal, RefusalKind, Reply, Usage};

/// Times that a call is tried again after a failure that cost nothing.
const TRIES: u32 = 8;
/// … after the service could not be reached and never was before: some three seconds in all.
const UNREACHED: u32 = 4;
/// Times that a call is tried again after a 429: the service works, and says when to come back.
const LIMITED: u32 = 40;
/// The first pause after a failure; it doubles.
pub(super) const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a call was not answered.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It may have been paid, and asking again may pay again.
    Lost(Loss),
    /// Others stopped before it was sent.
    Stopped,
    /// Asking again changes nothing, or was tried often enough.
    Failed(Error),
}

/// A reply that did not come, or that nobody can read.
#[derive(Debug)]
pub(crate) struct Loss {
    /// What happened.
    pub(crate) reason: String,
    /// How long the service asks to wait.
    pub(crate) wait: Option<Duration>,
    /// Whether it came whole and makes no sense: then it is the request's own trouble rather than the service's.
    pub(crate) unreadable: bool,
}

impl OpenAi {
    /// Sends a call, again where that costs nothing, until it is answered.
    pub(crate) async fn send(&self, call: &Call, stop: &(dyn Fn() -> bool + Sync)) -> Result<Reply, Unanswered> {
        let estimated = call.estimate.input_tokens + call.estimate.output_tokens;
        let (mut failures, mut limited) = (0, 0);
        loop {
            let counted = self.calibration.likely(estimated);
            self.limiter.admit(counted).await;
            if stop() {
                self.limiter.give_back(counted);
                return Err(Unanswered::Stopped);
            }
            let (message, wait, tries) = match self.http.post(call.endpoint.path(), &call.body).await {
                HttpAnswer::Done(body) => {
                    let reply = reply::read(call, self.dimensions, &body).map_err(|reason| {
                        let reason = format!("the answer can't be read: {reason}");
                        Unanswered::Lost(Loss { reason, wait: None, unreadable: true })
                    })?;
                    let used = reply.usage.input_tokens + reply.usage.output_tokens;
                    self.limiter.correct(counted, used as f64);
                    self.calibration.learn(estimated, used);
                    return Ok(reply);
                }
                HttpAnswer::Refused { code, message, .. } if is_about_texts(&code) => {
                    let what = if call.endpoint == Endpoint::Chat { "texts" } else { "text" };
                    let reason = format!("the service refused the {what}: {message}");
                    let content = Content::Refused(Refusal::new(RefusalKind::Filtered, reason));
                    return Ok(Reply { content, usage: Usage { calls: 1, ..Usage::default() } });
                }
                HttpAnswer::Limited(wait) if limited < LIMITED => {
                    self.limiter.pause(wait.unwrap_or_else(|| self.pause(limited)));
                    limited += 1;
                    continue;
                }
                HttpAnswer::Failed { message, wait, sent } => {
                    if !sent {
                        // The service counts what reaches it: a pace held for what never left would only delay the end.
                        self.limiter.give_back(counted);
                    }
                    let tries = if sent || self.http.was_reached() { TRIES } else { UNREACHED };
                    (message, wait.unwrap_or_else(|| self.pause(failures)), tries)
                }
                HttpAnswer::Lost { reason, wait } => {
                    return Err(Unanswered::Lost(Loss { reason, wait, unreadable: false }));
                }
                other => return Err(Unanswered::Failed(self.failed(&call.model, other))),
            };
            failures += 1;
            if failures > tries {
                let (model, message) = (call.model.clone(), format!("{message}; tried {failures} times"));
                return Err(Unanswered::Failed(self.silent(model, message)));
            }
            catalog::simulation::sleep(wait.min(LONGEST_PAUSE)).await;
        }
    }

    /// A pause that doubles with each failure, somewhere in its second half so that not everybody comes back at once.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        let full = self.first_pause.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
        full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }

    /// A service that did not answer, as an error: what to do depends on whether it ever did.
    fn silent(&self, model: String, message: String) -> Error {
        if self.http.was_reached() {
            Error::Model { model, message, retryable: true }
        } else {
            Error::Unreached { model, message }
        }
    }

    /// An answer that is none, as an error.
    pub(crate) fn failed(&self, model: &str, answer: HttpAnswer) -> Error {
        let model = model.to_owned();
        match answer {
            HttpAnswer::Failed { message, sent: false, .. } => self.silent(model, message),
            HttpAnswer::Quota(message) => Error::Quota { model, message },
            HttpAnswer::Refused { status, message, .. } => Error::Model {
                model,
                message: format!("the service refused with status {status}: {message}"),
                retryable: false,
            },
            HttpAnswer::Limited(_) => {
                Error::Model { model, message: "the service limits the pace".to_owned(), retryable: true }
            }
            HttpAnswer::Failed { message, .. } | HttpAnswer::Lost { reason: message, .. } => {
                Error::Model { model, message, retryable: true }
            }
            HttpAnswer::Done(_) => {
                Error::Model { model, message: "an answer of another shape".to_owned(), retryable: false }
            }
        }
    }
}

/// Whether a refusal is about these texts and not about every request: one entity's texts must not stop all others.
fn is_about_texts(code: &str) -> bool {
    matches!(
        code,
        "content_filter"
            | "content_policy_violation"
            | "data_inspection_failed"
            | "context_length_exceeded"
            | "string_above_max_length"
    )
}
