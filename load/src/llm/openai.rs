//! The provider for any server that speaks `OpenAI`'s protocol.
//!
//! Order of events for a call: stand in line for the pace → send → a 429 silences everybody for as long as the service asks, a 5xx or
//! an unreachable service is tried again after a growing pause, not for long if it never answered before → a whole reply is read and
//! checked. A reply that was lost may have been paid: whether to ask again is decided by the [`Desk`], which knows what it costs.
//!
//! A summary is one call where the reviews fit into one prompt; else one call for each group of them and calls over the answers,
//! level by level. An answer that fails its checks is asked for once more with the reason, then set aside.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;

use super::prices::{Price, Prices, Till};
use super::tokens::Calibration;
use super::{Call, Content, Desk, Embedding, Llm, Mode, Model, Summary, Usage, Verdict};
use crate::enrich::AnswerKind;
use crate::error::{Error, Result};

pub(crate) mod batch;
mod calls;
mod check;
pub(crate) mod http;
mod limiter;
mod prompt;
mod reply;
mod send;
mod settings;

use http::Http;
use limiter::Limiter;
use prompt::Role;
pub(crate) use send::Unanswered;
pub use settings::{BatchLimits, SMALLEST_PROMPT, Settings, models};

/// Levels of summaries of summaries before something must be wrong.
const LEVELS: usize = 8;

/// A service, and what this run may ask of it.
#[derive(Debug)]
pub struct OpenAi {
    http: Http,
    limiter: Limiter,
    /// The pause after a call's first failure.
    first_pause: Duration,
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
            let message =
                format!("expected at least {SMALLEST_PROMPT} tokens a prompt, found {}", settings.prompt_tokens);
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
            first_pause: send::PAUSE,
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
