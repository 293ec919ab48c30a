//! The provider for any server that speaks `OpenAI`'s protocol.
//!
//! Order of events for a call: stand in line for the pace → send → a 429 silences everybody for as long as the service asks, a 5xx or
//! an unreachable service is tried again after a growing pause → a whole reply is read and checked. A reply that was lost may have
//! been paid: whether to ask again is decided by the [`Desk`], which knows what it costs.
//!
//! A summary is one call where the reviews fit into one prompt; else one call for each group of them and calls over the answers,
//! level by level. An answer that fails its checks is asked for once more with the reason, then set aside.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_openai::types::embeddings::{CreateEmbeddingRequest, EmbeddingInput, EncodingFormat};
use async_trait::async_trait;
use futures::FutureExt;

use super::prices::{Price, Prices, Till};
use super::tokens::{self, Calibration};
use super::{Call, Content, Desk, Embedding, Endpoint, Llm, Mode, Model, Reply, Summary, Usage, Verdict};
use crate::enrich::AnswerKind;
use crate::error::{Error, Result};
use crate::text::nfc;
use crate::value::content_hash;

pub(crate) mod batch;
mod check;
pub(crate) mod http;
mod limiter;
mod prompt;
mod reply;

use http::{Answer, Http};
use limiter::Limiter;
use prompt::Role;

/// The service's own bound on the inputs of one embedding request.
const INPUTS: usize = 2_048;
/// … on the tokens of one input.
const INPUT_TOKENS: u64 = 8_192;
/// … on the tokens of one request.
const REQUEST_TOKENS: u64 = 300_000;
/// Times that a call is tried again after a failure that cost nothing.
const TRIES: u32 = 8;
/// The first pause after a failure; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The smallest prompt: two of the longest answers fit, so that every level of summaries is at most half of the one below.
pub const SMALLEST_PROMPT: u64 = 1_600;
/// Levels of summaries of summaries before something must be wrong.
const LEVELS: usize = 8;

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
    /// What the run may spend; without bound if not given.
    pub budget: Option<f64>,
    /// What tokens cost.
    pub prices: Prices,
    /// Tokens of reviews in one prompt.
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
            timeout: Duration::from_secs(120),
            batch: BatchLimits::default(),
        }
    }
}

/// The model names of a provider as they are stored beside answers, known without a key: what summarises, what embeds.
pub fn models(summary_model: &str, embedding_model: &str, dimensions: usize, prompt_tokens: u64) -> (Model, Model) {
    let summariser =
        Model { name: summary_model.to_owned(), version: prompt::VERSION, parameters: format!("prompt_tokens={prompt_tokens}") };
    // The dimension is part of the name: vectors of two dimensions are no neighbours.
    let embedder = Model { name: format!("{embedding_model}-{dimensions}"), version: 1, parameters: String::new() };
    (summariser, embedder)
}

/// A service, and what this run may ask of it.
#[derive(Debug)]
pub struct OpenAi {
    http: Http,
    limiter: Limiter,
    calibration: Calibration,
    till: Till,
    summariser: Model,
    embedder: Model,
    summary_model: String,
    embedding_model: String,
    dimensions: usize,
    mode: Mode,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u32>,
    prices: Prices,
    prompt_tokens: u64,
    output_tokens: u32,
    batch: BatchLimits,
}

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
    /// # Errors
    /// [`Error::Provider`] if the settings can't be used; nothing was sent.
    pub fn new(settings: Settings) -> Result<Self> {
        let wrong = |message: String, hint: &str| Error::Provider { message, hint: hint.to_owned() };
        let http = Http::new(&settings.url, &settings.key, settings.timeout)
            .map_err(|message| wrong(message, "correct `url` and `key` in [llm]"))?;
        if !(1..=8_192).contains(&settings.dimensions) {
            let message = format!("expected 1 to 8192 dimensions, found {}", settings.dimensions);
            return Err(wrong(message, "correct `dimensions` in [llm]"));
        }
        if settings.prompt_tokens < SMALLEST_PROMPT {
            let message = format!("expected at least {SMALLEST_PROMPT} tokens a prompt, found {}", settings.prompt_tokens);
            return Err(wrong(message, "correct `prompt_tokens` in [llm]"));
        }
        if settings.budget.is_some() {
            for model in [&settings.summary_model, &settings.embedding_model] {
                if !settings.prices.contains_key(model) {
                    let message = format!("expected a price of `{model}`, since a budget is set, found none");
                    return Err(wrong(message, &format!("add `[llm.prices.\"{model}\"]` with `input` and `output`")));
                }
            }
        }
        let (summariser, embedder) =
            models(&settings.summary_model, &settings.embedding_model, settings.dimensions, settings.prompt_tokens);
        Ok(Self {
            http,
            limiter: Limiter::new(settings.requests_per_minute, settings.tokens_per_minute),
            calibration: Calibration::default(),
            till: Till::new(settings.budget),
            summariser,
            embedder,
            summary_model: settings.summary_model,
            embedding_model: settings.embedding_model,
            dimensions: settings.dimensions,
            mode: settings.mode,
            requests_per_minute: settings.requests_per_minute,
            tokens_per_minute: settings.tokens_per_minute,
            prices: settings.prices,
            prompt_tokens: settings.prompt_tokens,
            output_tokens: settings.output_tokens.max(50),
            batch: settings.batch,
        })
    }

    /// Whether answers are waited for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What this run may still spend.
    pub(crate) fn till(&self) -> &Till {
        &self.till
    }

    /// The price of a model, if the configuration names one.
    pub fn price(&self, model: &str) -> Option<Price> {
        self.prices.get(model).copied()
    }

    /// What something costs; `None` without a price.
    pub fn cost(&self, model: &str, usage: Usage, mode: Mode) -> Option<f64> {
        self.price(model).map(|price| price.cost(usage, mode))
    }

    /// What a call may cost at most, corrected by what calls have taken.
    pub(crate) fn cost_at_most(&self, call: &Call, mode: Mode) -> f64 {
        let worst = self.calibration.worst();
        self.cost(&call.model, call.estimate, mode).unwrap_or(0.0) * worst
    }

    /// The name by which prices call the model of a kind.
    pub fn priced_model(&self, kind: AnswerKind) -> &str {
        match kind {
            AnswerKind::Summary => &self.summary_model,
            AnswerKind::Embedding => &self.embedding_model,
        }
    }

    /// Bounds on a batch.
    pub(crate) fn batch_limits(&self) -> BatchLimits {
        self.batch
    }

    /// How many calls may be under way. The pace decides when each is sent, so this only has to be enough: what the pace lets through
    /// while an answer takes half a minute.
    pub(crate) fn jobs(&self) -> usize {
        self.requests_per_minute.map_or(64, |rate| usize::try_from(rate / 2).unwrap_or(64).clamp(8, 1024))
    }

    /// A summary of texts, every call of it over the desk; `None` if the desk does not have all replies in this run.
    pub(crate) async fn summary(&self, texts: &[String], desk: &dyn Desk) -> Result<Option<Verdict>> {
        let mut groups = prompt::pack(texts, self.prompt_tokens);
        let mut role = Role::Whole;
        for _ in 0..LEVELS {
            let single = groups.len() <= 1;
            let Some(first) = groups.first() else {
                return Ok(Some(Verdict::SetAside("no text with letters in it".to_owned())));
            };
            if single {
                return self.checked(role, first, desk).await;
            }
            let part = if role == Role::Whole { Role::Part } else { role };
            // All groups are handed in at once: in batch mode they travel together.
            let mut asked = Vec::with_capacity(groups.len());
            for group in &groups {
                asked.push(self.checked(part, group, desk).boxed());
            }
            let mut texts = Vec::new();
            let mut complete = true;
            let mut reason = None;
            for answer in futures::future::join_all(asked).await {
                match answer? {
                    Some(Verdict::Text(text)) => texts.push(text),
                    Some(Verdict::SetAside(why)) => reason = Some(why),
                    None => complete = false,
                }
            }
            if !complete {
                return Ok(None);
            }
            if texts.is_empty() {
                return Ok(Some(Verdict::SetAside(reason.unwrap_or_default())));
            }
            role = Role::Parts;
            groups = prompt::pack(&texts, self.prompt_tokens);
        }
        Ok(Some(Verdict::SetAside(format!("expected at most {LEVELS} levels of summaries, found more"))))
    }

    /// One prompt's answer, checked; asked for once more where the check fails.
    async fn checked(&self, role: Role, texts: &[String], desk: &dyn Desk) -> Result<Option<Verdict>> {
        let Some(content) = desk.ask(self.chat(role, texts, None)).await? else { return Ok(None) };
        let (answer, reason) = match judge(content) {
            Ok(text) => return Ok(Some(Verdict::Text(text))),
            Err(refused) => refused,
        };
        let again = self.chat(role, texts, Some((&answer, &reason)));
        let Some(content) = desk.ask(again).await? else { return Ok(None) };
        Ok(Some(match judge(content) {
            Ok(text) => Verdict::Text(text),
            Err((_, reason)) => Verdict::SetAside(reason),
        }))
    }

    fn chat(&self, role: Role, texts: &[String], refused: Option<(&str, &str)>) -> Call {
        let (body, input) = prompt::request(&self.summary_model, role, texts, self.output_tokens, refused);
        let version = self.summariser.version.to_string();
        let tokens = self.output_tokens.to_string();
        let mut parts = vec!["chat", &self.summary_model, &version, role.name(), &tokens];
        parts.extend(refused.iter().flat_map(|(answer, reason)| [*answer, *reason]));
        let key = content_hash(parts.into_iter().chain(texts.iter().map(String::as_str)).map(str::as_bytes));
        Call {
            key,
            kind: AnswerKind::Summary,
            model: self.summary_model.clone(),
            endpoint: Endpoint::Chat,
            body,
            parts: Vec::new(),
            estimate: Usage { calls: 1, input_tokens: input, output_tokens: u64::from(self.output_tokens) },
        }
    }

    /// The calls that embed these texts, each given with its content key; in a batch one text a call.
    pub(crate) fn embedding_calls(&self, wanted: &[(String, String)]) -> Vec<Call> {
        let (most, tokens) = match self.mode {
            Mode::Batch => (1, REQUEST_TOKENS),
            // A request that takes a third of a minute's tokens would stop the pace.
            Mode::Interactive => {
                let pace = self.tokens_per_minute.map_or(REQUEST_TOKENS, |it| u64::from(it) / 3);
                (INPUTS, REQUEST_TOKENS.min(pace.max(INPUT_TOKENS)))
            }
        };
        let mut calls = Vec::new();
        let mut group: Vec<(&str, String)> = Vec::new();
        let mut held = 0;
        for (key, text) in wanted {
            let text = tokens::truncate(&nfc(text), INPUT_TOKENS).to_owned();
            let cost = tokens::estimate(&text);
            if !group.is_empty() && (group.len() >= most || held + cost > tokens) {
                calls.push(self.embedding(&std::mem::take(&mut group), held));
                held = 0;
            }
            held += cost;
            group.push((key, text));
        }
        if !group.is_empty() {
            calls.push(self.embedding(&group, held));
        }
        calls
    }

    fn embedding(&self, group: &[(&str, String)], input_tokens: u64) -> Call {
        let request = CreateEmbeddingRequest {
            model: self.embedding_model.clone(),
            input: EmbeddingInput::StringArray(group.iter().map(|(_, text)| text.clone()).collect()),
            encoding_format: Some(EncodingFormat::Base64),
            user: None,
            dimensions: u32::try_from(self.dimensions).ok(),
        };
        let parts: Vec<String> = group.iter().map(|(key, _)| (*key).to_owned()).collect();
        let key = match parts.as_slice() {
            [one] => one.clone(),
            many => content_hash(many.iter().map(String::as_bytes)),
        };
        Call {
            key,
            kind: AnswerKind::Embedding,
            model: self.embedding_model.clone(),
            endpoint: Endpoint::Embeddings,
            body: serde_json::to_value(request).unwrap_or_default(),
            parts,
            estimate: Usage { calls: 1, input_tokens, output_tokens: 0 },
        }
    }

    /// What a summary of these texts needs at most, without repairs: every level of it.
    pub(crate) fn expect(&self, texts: &[String]) -> Usage {
        let mut usage = Usage::default();
        let mut groups = prompt::pack(texts, self.prompt_tokens);
        for _ in 0..LEVELS {
            let single = groups.len() <= 1;
            for group in &groups {
                let (_, input) = prompt::request(&self.summary_model, Role::Whole, group, self.output_tokens, None);
                usage += Usage { calls: 1, input_tokens: input, output_tokens: u64::from(self.output_tokens) };
            }
            if single {
                break;
            }
            let answers = vec!["가".repeat(check::LONGEST); groups.len()];
            groups = prompt::pack(&answers, self.prompt_tokens);
        }
        usage
    }

    /// What the embedding of a summary that is not written yet needs at most.
    pub(crate) fn expect_embedding(&self, text: Option<&str>) -> u64 {
        text.map_or_else(|| tokens::estimate(&"가".repeat(check::LONGEST)), tokens::estimate).min(INPUT_TOKENS)
    }

    /// Sends a call, again where that costs nothing, until it is answered.
    pub(crate) async fn send(&self, call: &Call, stop: &AtomicBool) -> Result<Reply, Unanswered> {
        let estimated = call.estimate.input_tokens + call.estimate.output_tokens;
        let mut failures = 0;
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
                Answer::Refused { code, message, .. } if is_filtered(&code) => {
                    let content = Content::Refused(format!("the service's filter refused the texts: {message}"));
                    return Ok(Reply { content, usage: Usage { calls: 1, ..Usage::default() } });
                }
                Answer::Limited(wait) => {
                    let pause = wait.unwrap_or_else(|| pause(failures));
                    self.limiter.pause(pause);
                    ("the service limits the pace".to_owned(), Duration::ZERO)
                }
                Answer::Failed { message, wait } => (message, wait.unwrap_or_else(|| pause(failures))),
                Answer::Lost(reason) => return Err(Unanswered::Lost(reason)),
                other => return Err(Unanswered::Failed(self.failed(&call.model, other))),
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
    pub(crate) fn failed(&self, model: &str, answer: Answer) -> Error {
        let model = model.to_owned();
        match answer {
            Answer::Quota(message) => Error::Quota { model, message },
            Answer::Refused { status, message, .. } => {
                Error::Model { model, message: format!("the service refused with status {status}: {message}"), retryable: false }
            }
            Answer::Limited(_) => Error::Model { model, message: "the service limits the pace".to_owned(), retryable: true },
            Answer::Failed { message, .. } | Answer::Lost(message) => Error::Model { model, message, retryable: true },
            Answer::Done(_) => Error::Model { model, message: "an answer of another shape".to_owned(), retryable: false },
        }
    }
}

/// Whether a refusal is about the texts and not about the request.
fn is_filtered(code: &str) -> bool {
    matches!(code, "content_filter" | "content_policy_violation" | "data_inspection_failed")
}

/// A pause that doubles with each failure, somewhere in its second half so that not everybody comes back at once.
fn pause(failures: u32) -> Duration {
    let full = PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    full.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// A summary, or the answer that is none and the reason.
fn judge(content: Content) -> Result<String, (String, String)> {
    match content {
        Content::Text(text) => check::summary(&text).map_err(|reason| (text, reason)),
        Content::Refused(reason) => Err((String::new(), reason)),
        Content::Vectors(_) => Err((String::new(), "expected a text, found vectors".to_owned())),
    }
}

/// A desk for those who need no record: a question that somebody types.
struct Counter<'a>(&'a OpenAi);

#[async_trait]
impl Desk for Counter<'_> {
    async fn ask(&self, call: Call) -> Result<Option<Content>> {
        let held = self.0.till.reserve(self.0.cost_at_most(&call, Mode::Interactive)).await?;
        match self.0.send(&call, &AtomicBool::new(false)).await {
            Ok(reply) => {
                held.settle(self.0.cost(&call.model, reply.usage, Mode::Interactive).unwrap_or(0.0));
                Ok(Some(reply.content))
            }
            Err(Unanswered::Failed(error)) => Err(error),
            Err(Unanswered::Lost(message)) => Err(Error::Model { model: call.model, message, retryable: true }),
            Err(Unanswered::Stopped) => Ok(None),
        }
    }
}

#[async_trait]
impl Llm for OpenAi {
    fn summariser(&self) -> &Model {
        &self.summariser
    }

    fn embedder(&self) -> &Model {
        &self.embedder
    }

    fn dimension(&self) -> usize {
        self.dimensions
    }

    async fn summarise(&self, texts: &[String]) -> Result<Summary> {
        let model = self.summariser.id();
        match self.summary(texts, &Counter(self)).await? {
            Some(Verdict::Text(text)) => Ok(Summary { text, model }),
            Some(Verdict::SetAside(message)) => Err(Error::Model { model, message, retryable: false }),
            None => Err(Error::Model { model, message: "no answer".to_owned(), retryable: true }),
        }
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        let wanted: Vec<(String, String)> =
            texts.iter().enumerate().map(|(index, text)| (index.to_string(), text.clone())).collect();
        let mut embedded = Vec::with_capacity(texts.len());
        for call in self.embedding_calls(&wanted) {
            if let Some(Content::Vectors(vectors)) = Counter(self).ask(call).await? {
                embedded.extend(vectors.into_iter().map(|vector| Embedding { vector, model: self.embedder.id() }));
            }
        }
        Ok(embedded)
    }

    fn paid(&self) -> Option<&OpenAi> {
        Some(self)
    }
}

#[cfg(test)]
mod tests;
