//! What a provider is told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::prompt;
use crate::llm::prices::Prices;
use crate::llm::{Mode, Model};

/// The smallest prompt: two answers fit, so that every level of summaries is at most half of the one below.
pub const SMALLEST_PROMPT: u64 = 1_600;

/// What a provider is told. The key is not kept where it can be printed.
#[derive(Clone)]
pub struct Settings {
    /// The service's base URL, such as `https://api.openai.com/v1`.
    pub url: String,
    /// The key.
    pub key: String,
    /// Who summarises.
    pub summary_model: String,
    /// Who embeds.
    pub embedding_model: String,
    /// How many numbers an embedding has.
    pub dimensions: usize,
    /// Whether answers are waited for.
    pub mode: Mode,
    /// The pace; without bound if not given.
    pub requests_per_minute: Option<u32>,
    /// The pace; without bound if not given.
    pub tokens_per_minute: Option<u32>,
    /// What may be spent in a day; without bound if not given.
    pub budget: Option<f64>,
    /// What tokens cost.
    pub prices: Prices,
    /// Tokens of texts in one prompt.
    pub prompt_tokens: u64,
    /// Tokens that an answer may have.
    pub output_tokens: u32,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Bounds on a batch.
    pub batch: BatchLimits,
}

/// Bounds on one batch of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Requests.
    pub requests: usize,
    /// Bytes of the file.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { requests: 50_000, bytes: 200_000_000 }
    }
}

impl Settings {
    /// Settings with the defaults of everything that has one.
    pub fn new(url: &str, key: &str, summary_model: &str, embedding_model: &str) -> Self {
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            summary_model: summary_model.to_owned(),
            embedding_model: embedding_model.to_owned(),
            dimensions: 1536,
            mode: Mode::Interactive,
            requests_per_minute: None,
            tokens_per_minute: None,
            budget: None,
            prices: BTreeMap::new(),
            prompt_tokens: 12_000,
            output_tokens: 1_000,
            timeout: Duration::from_mins(2),
            batch: BatchLimits::default(),
        }
    }
}

/// The model names of a provider as they are stored beside answers, known without a key: what summarises, what embeds.
pub fn models(summary_model: &str, embedding_model: &str, dimensions: usize, prompt_tokens: u64) -> (Model, Model) {
    let summariser = Model {
        name: summary_model.to_owned(),
        version: prompt::VERSION,
        parameters: format!("prompt_tokens={prompt_tokens}"),
    };
    // The dimension is part of the name: vectors of two dimensions are no neighbours.
    let embedder = Model { name: format!("{embedding_model}-{dimensions}"), version: 1, parameters: String::new() };
    (summariser, embedder)
}
