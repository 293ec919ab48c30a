//! How a replica misbehaves: thrown before it starts or while it runs.

use std::str::FromStr;
use std::time::Duration;

/// A trouble: which share of the requests it hits, and how often in all.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fault {
    /// Of 1.
    pub rate: f64,
    /// Not more often than this; without end if not given.
    pub times: Option<u64>,
}

impl Fault {
    /// This share of all requests, for ever.
    pub const fn rate(rate: f64) -> Self {
        Self { rate, times: None }
    }

    /// The next `times` requests.
    pub const fn next(times: u64) -> Self {
        Self { rate: 1.0, times: Some(times) }
    }
}

impl FromStr for Fault {
    type Err = String;

    /// `0.05`, or `1x3` for at most three times.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rate, times) = match text.split_once('x') {
            Some((rate, times)) => (rate, Some(times)),
            None => (text, None),
        };
        let wrong = || format!("expected a share such as `0.05` or `1x3`, found `{text}`");
        let rate: f64 = rate.parse().map_err(|_| wrong())?;
        let times = times.map(str::parse).transpose().map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&rate) { Ok(Self { rate, times }) } else { Err(wrong()) }
    }
}

/// What a 429 says about when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryAfter {
    /// Nothing.
    None,
    /// So many seconds.
    Seconds(u64),
    /// So many seconds from now, as an HTTP date.
    Date(u64),
    /// What the bucket needs, in `retry-after-ms`, and rounded up in `retry-after`; 100 ms for a trouble that is no limit.
    #[default]
    Exact,
}

/// Everything that can be switched. The default is a service without trouble, delay or limit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Switches {
    /// How long every answer takes.
    pub latency: Duration,
    /// How much longer it takes at most.
    pub jitter: Duration,
    /// 429, although there was room.
    pub too_many: Fault,
    /// What a 429 says.
    pub retry_after: RetryAfter,
    /// After so many paid answers the account is empty: `insufficient_quota`.
    pub quota_after: Option<u64>,
    /// 500 and 503 without a word of when to come back, before anything was done: a caller can't know that.
    pub server_error: Fault,
    /// 503 that says when to come back, before anything was done.
    pub unavailable: Fault,
    /// 504 of a front that did not wait for the answer: it is done and paid behind it.
    pub gateway_timeout: Fault,
    /// Bytes of the page that a front answers an error with.
    pub error_page: usize,
    /// The answer is paid and the connection drops before it is sent.
    pub lost_reply: Fault,
    /// The answer is paid and its JSON ends in the middle.
    pub broken_json: Fault,
    /// 400: the texts are longer than the model takes.
    pub too_long: Fault,
    /// A summary that is JSON of another shape.
    pub wrong_schema: Fault,
    /// A summary inside a Markdown fence.
    pub fenced: Fault,
    /// A refusal instead of a summary.
    pub refusal: Fault,
    /// An empty summary.
    pub empty: Fault,
    /// A summary that ends at `max_completion_tokens` before it says anything: `finish_reason` is `length`.
    pub length: Fault,
    /// 400 of a filter: texts with this word in them, in chats, embeddings and batches alike.
    pub refuses: Option<String>,
    /// A summary that does what a review asked for: markup, an address, the words of the prompt.
    pub obedient: Fault,
    /// An embedding more than inputs.
    pub extra_item: Fault,
    /// An embedding less than inputs.
    pub missing_item: Fault,
    /// Embeddings in another order, with true indexes.
    pub reordered: Fault,
    /// Embeddings that hold a NaN.
    pub not_a_number: Fault,
    /// Embeddings of another dimension.
    pub wrong_dimension: Fault,
    /// A body of this many bytes of blanks before the JSON.
    pub padding: usize,
    /// The real limit: requests a minute. Every request counts, also one that fails.
    pub requests_per_minute: Option<u32>,
    /// The real limit: tokens a minute.
    pub tokens_per_minute: Option<u32>,
    /// A batch is under way until it has been looked at so often.
    pub batch_polls: u32,
    /// A batch is under way for so long.
    pub batch_delay: Duration,
    /// Output lines come in another order.
    pub batch_shuffle: bool,
    /// Requests of a batch that are paid and whose line is missing.
    pub batch_drop: Fault,
    /// Requests of a batch that end with status 500.
    pub batch_bad_status: Fault,
    /// Requests of a batch whose line is cut in the middle.
    pub batch_broken_line: Fault,
    /// Requests of a batch that were not reached in time: the batch is `expired`.
    pub batch_expire: Fault,
    /// Batches that fail validation.
    pub batch_invalid: Fault,
    /// Batches that are created and whose answer is lost.
    pub batch_lost_create: Fault,
    /// Batches of others, newer than all of ours, that the account's list begins with.
    pub batch_others: usize,
    /// Bytes of a line that no request asked for, at the head of every file of answers.
    pub batch_long_line: usize,
}
