//! What a replica was asked, and what it answered as paid.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests for an answer: chat completions and embeddings, outside of batches.
    pub calls: u64,
    /// Of these, answered with status 200.
    pub answered: u64,
    /// 429 by switch.
    pub too_many: u64,
    /// 429 by the real limit.
    pub limited: u64,
    /// 429 because the account is empty.
    pub out_of_quota: u64,
    /// 5xx.
    pub server_errors: u64,
    /// 401.
    pub unauthorised: u64,
    /// Bodies cut in the middle.
    pub broken: u64,
    /// Connections dropped after the work was done.
    pub dropped: u64,
    /// Answers that were not what was asked for: schema, fence, refusal, empty, wrong items.
    pub odd: u64,
    /// Batches created.
    pub batches: u64,
    /// Lines of batches that were done and paid.
    pub batch_lines: u64,
    /// Requests of batches that expired, failed or were not reached.
    pub batch_unpaid: u64,
    /// Calls under way at the same time, at most.
    pub peak_in_flight: u64,
    /// Tokens read, of all paid answers.
    pub input_tokens: u64,
    /// Tokens written, of all paid answers.
    pub output_tokens: u64,
    /// How often each piece of content was paid for. An embedding request counts each of its inputs.
    pub paid: BTreeMap<String, u64>,
    /// How often a paid answer for this content never reached its caller whole.
    pub lost: BTreeMap<String, u64>,
    /// How often each custom id of a batch was paid for.
    pub paid_ids: BTreeMap<String, u64>,
}

impl Stats {
    /// The content that was paid for more often than once for each time that its answer was lost: empty for a caller that
    /// forgets nothing.
    pub fn paid_too_often(&self) -> Vec<(&str, u64)> {
        let lost = |key: &str| self.lost.get(key).copied().unwrap_or(0);
        self.paid.iter().filter(|(key, paid)| **paid > 1 + lost(key)).map(|(key, paid)| (key.as_str(), *paid)).collect()
    }

    /// The sum of all payments.
    pub fn payments(&self) -> u64 {
        self.paid.values().sum()
    }
}

/// Counts one more of `key`.
pub(crate) fn count(counts: &mut BTreeMap<String, u64>, key: &str) {
    *counts.entry(key.to_owned()).or_default() += 1;
}
