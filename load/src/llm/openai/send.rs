//! Sending: at the pace, again where that costs nothing, and never twice where it might.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::http::Answer;
use super::{OpenAi, reply};
use crate::error::Error;
use crate::llm::{Call, Content, Endpoint, Reply, Usage};

/// Times that a call is tried again after a failure that cost nothing.
const TRIES: u32 = 8;
/// Times that a call is tried again after a 429: the service works, and says when to come back.
const LIMITED: u32 = 40;
/// The first pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a call was not answered.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It may have been paid, and asking again may pay again.
    Lost(String),
    /// Others stopped before it was sent.
    Stopped,
    /// Asking again changes nothing, or was tried often enough.
    Failed(Error),
}

impl OpenAi {
    /// Sends a call, again where that costs nothing, until it is answered.
    pub(crate) async fn send(&self, call: &Call, stop: &AtomicBool) -> Result<Reply, Unanswered> {
        let estimated = call.estimate.input_tokens + call.estimate.output_tokens;
        let (mut failures, mut limited) = (0, 0);
        loop {
            let counted = self.calibration.likely(estimated);
            self.limiter.admit(counted).await;
            if stop.load(Ordering::Relaxed) {
                return Err(Unanswered::Stopped);
            }
            let (message, wait) = match self.http.post(call.endpoint.path(), &call.body).await {
                Answer::Done(body) => {
                    let reply = reply::read(call, self.dimensions, &body)
                        .map_err(|reason| Unanswered::Lost(format!("the answer can't be read: {reason}")))?;
                    let used = reply.usage.input_tokens + reply.usage.output_tokens;
                    self.limiter.correct(counted, used as f64);
                    self.calibration.learn(estimated, used);
                    return Ok(reply);
                }
                Answer::Refused { code, message, .. } if call.endpoint == Endpoint::Chat && is_about_texts(&code) => {
                    let content = Content::Refused(format!("the service refused the texts: {message}"));
                    return Ok(Reply { content, usage: Usage { calls: 1, ..Usage::default() } });
                }
                Answer::Limited(wait) if limited < LIMITED => {
                    self.limiter.pause(wait.unwrap_or_else(|| pause(limited)));
                    limited += 1;
                    continue;
                }
                Answer::Failed { message, wait, sent } => {
                    if !sent {
                        // The service counts what reaches it: a pace held for what never left would only delay the end.
                        self.limiter.correct(counted, 0.0);
                    }
                    (message, wait.unwrap_or_else(|| pause(failures)))
                }
                Answer::Lost(reason) => return Err(Unanswered::Lost(reason)),
                other => return Err(Unanswered::Failed(Self::failed(&call.model, other))),
            };
            failures += 1;
            if failures > TRIES {
                let message = format!("{message}; tried {failures} times");
                let model = call.model.clone();
                return Err(Unanswered::Failed(Error::Model { model, message, retryable: true }));
            }
            tokio::time::sleep(wait.min(LONGEST_PAUSE)).await;
        }
    }

    /// An answer that is none, as an error.
    pub(crate) fn failed(model: &str, answer: Answer) -> Error {
        let model = model.to_owned();
        match answer {
            Answer::Quota(message) => Error::Quota { model, message },
            Answer::Refused { status, message, .. } => Error::Model {
                model,
                message: format!("the service refused with status {status}: {message}"),
                retryable: false,
            },
            Answer::Limited(_) => {
                Error::Model { model, message: "the service limits the pace".to_owned(), retryable: true }
            }
            Answer::Failed { message, .. } | Answer::Lost(message) => Error::Model { model, message, retryable: true },
            Answer::Done(_) => {
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

/// A pause that doubles with each failure, somewhere in its second half so that not everybody comes back at once.
pub(super) fn pause(failures: u32) -> Duration {
    let full = PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
