//! `[llm]`: who summarises and embeds, how fast, and for how much.

use enrich::Mode;
use enrich::llm::openai::{SMALLEST_PROMPT, Settings};
use enrich::llm::prices::Prices;
use serde::Deserialize;

use super::SecretRef;

/// `[llm]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LlmSection {
    /// Who answers.
    pub provider: Provider,
    /// The service's base URL.
    pub url: String,
    /// Where the service's key is.
    pub key: Option<SecretRef>,
    /// The model that summarises.
    pub summary_model: Option<String>,
    /// The model that embeds.
    pub embedding_model: Option<String>,
    /// How many numbers an embedding has.
    pub dimensions: usize,
    /// Whether answers are waited for, or come as a batch within a day.
    pub mode: Mode,
    /// The pace that the account allows; without bound if left out.
    pub requests_per_minute: Option<u32>,
    /// The pace that the account allows; without bound if left out.
    pub tokens_per_minute: Option<u32>,
    /// What may be spent in a day by all runs together, in the currency of the prices; without bound if left out.
    pub budget: Option<f64>,
    /// What a million tokens cost, by the model's name.
    pub prices: Prices,
    /// Tokens of texts in one prompt; more are summarised in levels.
    pub prompt_tokens: u64,
    /// Tokens that an answer may have.
    pub output_tokens: u32,
    /// Seconds that an answer is waited for.
    pub timeout: u64,
    /// Requests in one batch, at most.
    pub batch_requests: usize,
    /// Bytes of one batch's file, at most.
    pub batch_bytes: usize,
}

/// Who summarises and embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    /// This program, with no network and no key.
    Local,
    /// Any server that speaks OpenAI's protocol.
    Openai,
}

impl Default for LlmSection {
    fn default() -> Self {
        // The provider's own defaults: what has none is left open here.
        let settings = Settings::new("https://api.openai.com/v1", "", "", "");
        Self {
            provider: Provider::Local,
            url: settings.url,
            key: None,
            summary_model: None,
            embedding_model: None,
            dimensions: settings.dimensions,
            mode: settings.mode,
            requests_per_minute: settings.requests_per_minute,
            tokens_per_minute: settings.tokens_per_minute,
            budget: settings.budget,
            prices: settings.prices,
            prompt_tokens: settings.prompt_tokens,
            output_tokens: settings.output_tokens,
            timeout: settings.timeout.as_secs(),
            batch_requests: settings.batch.requests,
            batch_bytes: settings.batch.bytes,
        }
    }
}

impl LlmSection {
    /// What the types cannot say: the key to look for, what is wrong with it and what to do.
    pub(crate) fn problems(&self) -> Vec<(&str, String, &'static str)> {
        let mut problems = Vec::new();
        if self.provider == Provider::Openai {
            let needed = [
                ("key", self.key.is_some(), "add `key = \"env:OPENAI_API_KEY\"`, a reference to the service's key"),
                ("summary_model", self.summary_model.is_some(), "add `summary_model = \"…\"`, a model of the service"),
                (
                    "embedding_model",
                    self.embedding_model.is_some(),
                    "add `embedding_model = \"…\"`, a model of the service",
                ),
            ];
            for (name, there, hint) in needed {
                if !there {
                    problems.push((
                        "[llm]",
                        format!("expected `{name}` in [llm] for the provider `openai`, found none"),
                        hint,
                    ));
                }
            }
        }
        if self.budget.is_some_and(|budget| !budget.is_finite() || budget <= 0.0) {
            problems.push(("budget", "expected a budget above 0".to_owned(), "leave it out to spend without a bound"));
        }
        if self.budget.is_some() {
            for model in [&self.summary_model, &self.embedding_model].into_iter().flatten() {
                if !self.prices.contains_key(model) {
                    let message = format!("expected `[llm.prices.\"{model}\"]`, since a budget is set, found none");
                    problems.push((
                        "budget",
                        message,
                        "add it with `input` and `output` for a million tokens, or leave the budget out",
                    ));
                }
            }
        }
        for (model, price) in &self.prices {
            if [price.input, price.output, price.batch].iter().any(|it| !it.is_finite() || *it < 0.0) {
                problems.push((
                    model,
                    format!("expected prices of 0 or more for `{model}`"),
                    "a price is for a million tokens",
                ));
            }
        }
        let bounds = [
            ("dimensions", (1..=8_192).contains(&self.dimensions), "1 to 8192"),
            ("prompt_tokens", self.prompt_tokens >= SMALLEST_PROMPT, "1600 or more"),
            ("output_tokens", (50..=100_000).contains(&self.output_tokens), "50 to 100000"),
            ("timeout", (1..=3_600).contains(&self.timeout), "1 to 3600 seconds"),
            ("requests_per_minute", self.requests_per_minute != Some(0), "1 or more, or nothing"),
            ("tokens_per_minute", self.tokens_per_minute.is_none_or(|it| it >= 1_000), "1000 or more, or nothing"),
            ("batch_requests", (1..=50_000).contains(&self.batch_requests), "1 to 50000"),
            ("batch_bytes", (1_000..=200_000_000).contains(&self.batch_bytes), "1000 to 200000000"),
        ];
        for (name, fine, expected) in bounds {
            if !fine {
                problems.push((
                    name,
                    format!("expected {expected} for `{name}` in [llm]"),
                    "leave it out for the default",
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> LlmSection {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn nothing_is_needed_for_the_local_provider() {
        assert!(section("").problems().is_empty());
        assert_eq!(section("").provider, Provider::Local);
    }

    #[test]
    fn a_service_needs_a_key_and_its_models() {
        let found: Vec<String> = section("provider = \"openai\"").problems().into_iter().map(|it| it.1).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        let whole = "provider = \"openai\"\nkey = \"env:K\"\nsummary_model = \"a\"\nembedding_model = \"b\"\n";
        assert!(section(whole).problems().is_empty());
        let priced = section(&format!("{whole}budget = 5.0\n[prices.a]\ninput = 0.05\noutput = 0.4\n"));
        let found = priced.problems();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, "expected `[llm.prices.\"b\"]`, since a budget is set, found none");
    }

    #[test]
    fn impossible_numbers_are_named() {
        for (line, name) in [
            ("budget = -1.0", "budget"),
            ("dimensions = 0", "dimensions"),
            ("prompt_tokens = 10", "prompt_tokens"),
            ("requests_per_minute = 0", "requests_per_minute"),
            ("batch_requests = 60000", "batch_requests"),
            ("[prices.x]\ninput = -1.0", "x"),
        ] {
            assert_eq!(section(line).problems()[0].0, name, "{line}");
        }
    }
}
