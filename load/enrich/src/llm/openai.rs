//! The provider for any server that speaks `OpenAI`'s protocol.
//!
//! Order of events for a call: stand in line for the pace → send → a 429 silences everybody for as long as the service asks, a 503 that
//! says when to come back or an unreachable service is tried again after a growing pause, not for long if it never answered before →
//! a whole reply is read and checked. A reply that was lost may have been paid, and so may one that a front answered with a 5xx:
//! whether to ask again is decided by the [`CallGateway`], which knows what it costs.
//!
//! A summary is one call where the texts fit into one prompt; else one call for each group of them and calls over the answers,
//! level by level. An answer that fails its checks is asked for once more with the reason, then set aside. A group whose answer is set
//! aside is left out, and the summary says so (`Summarised`).

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;

use super::prices::{Budget, Price, Prices};
use super::tokens::Calibration;
use super::{
    Call, CallGateway, Content, Embedding, Llm, Mode, Model, Prompt, Refusal, RefusalKind, Summarised, Summary, Usage,
    Verdict, Written,
};
use crate::error::{Error, Result};
use crate::llm::AnswerKind;

pub(crate) mod batch;
mod calls;
mod check;
mod grouping;
pub(crate) mod http;
mod limiter;
mod prompt;
mod reply;
mod send;
mod settings;

use grouping::Piece;
use http::Http;
use limiter::Limiter;
use prompt::Role;
pub(crate) use send::{Loss, Unanswered};
pub use settings::{BatchLimits, SMALLEST_PROMPT, Settings, models};

/// Times that a call is sent again because its reply was lost: each may be paid.
pub(crate) const LOSSES: u32 = 3;
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
    budget: Budget,
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
            budget: Budget::new(settings.budget),
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

    /// What may still be spent today.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
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
            AnswerKind::Summary | AnswerKind::Part => &self.summary_model,
            AnswerKind::Embedding => &self.embedding_model,
        }
    }

    /// What decides whether there is an answer of a kind at all, beside what its key says.
    pub(crate) fn bounds(&self, kind: AnswerKind) -> String {
        match kind {
            AnswerKind::Summary | AnswerKind::Part => self.output_tokens.to_string(),
            AnswerKind::Embedding => String::new(),
        }
    }

    /// Whether texts are summarised in one call.
    pub(crate) fn fits(&self, texts: &[String]) -> bool {
        grouping::by_content(grouping::pieces(texts, self.prompt_tokens), self.prompt_tokens).len() <= 1
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

    /// The pause before what failed so often is tried again.
    pub(crate) fn pause_after(&self, failures: u32, asked: Option<Duration>) -> Duration {
        asked.unwrap_or_else(|| self.pause(failures)).min(send::LONGEST_PAUSE)
    }

    /// A summary of texts, every call of it over the gateway; `None` if the gateway does not have all replies in this run.
    pub(crate) async fn summary(
        &self,
        texts: &[String],
        prompt: &Prompt,
        gateway: &dyn CallGateway,
    ) -> Result<Option<Summarised>> {
        let mut groups = grouping::by_content(grouping::pieces(texts, self.prompt_tokens), self.prompt_tokens);
        let given = groups.iter().map(|group| grouping::weight(group)).sum();
        let (mut parts, mut left_out, mut role) = (Vec::new(), None, Role::Whole);
        for _ in 0..LEVELS {
            let Some(first) = groups.first() else {
                let nothing = Refusal::new(RefusalKind::Empty, "no text with letters in it");
                let verdict = Verdict::SetAside(left_out.clone().unwrap_or(nothing));
                return Ok(Some(Summarised { verdict, given, used: 0, left_out, parts }));
            };
            if groups.len() == 1 {
                let verdict = self.checked((role, prompt), (&grouping::texts(first), true), gateway).await?;
                let used = grouping::weight(first);
                return Ok(verdict.map(|(_, verdict)| Summarised { verdict, given, used, left_out, parts }));
            }
            let part = if role == Role::Whole { Role::Part } else { role };
            let Some(answers) = self.level((part, prompt), &groups, gateway).await? else { return Ok(None) };
            let mut pieces = Vec::with_capacity(answers.len());
            for (group, (key, verdict)) in groups.iter().zip(answers) {
                match verdict {
                    Verdict::Written(written) => {
                        let text = written.line();
                        pieces.push(Piece { text: text.clone(), weight: grouping::weight(group) });
                        parts.push((key, text));
                    }
                    Verdict::SetAside(refusal) => left_out = Some(refusal),
                }
            }
            role = Role::Parts;
            groups = grouping::in_order(pieces, self.prompt_tokens);
        }
        let refusal =
            Refusal::new(RefusalKind::Unusable, format!("expected at most {LEVELS} levels of summaries, found more"));
        Ok(Some(Summarised { verdict: Verdict::SetAside(refusal), given, used: 0, left_out, parts }))
    }

    /// The answers to all groups of a level, in their order; `None` if one is not to be had in this run.
    async fn level(
        &self,
        asked: (Role, &Prompt),
        groups: &[Vec<Piece>],
        gateway: &dyn CallGateway,
    ) -> Result<Option<Vec<(String, Verdict)>>> {
        let texts: Vec<Vec<String>> = groups.iter().map(|group| grouping::texts(group)).collect();
        // All groups are handed in at once: in batch mode they travel together.
        let calls: Vec<_> = texts.iter().map(|texts| self.checked(asked, (texts, false), gateway).boxed()).collect();
        let answers = futures::future::join_all(calls).await;
        answers.into_iter().collect::<Result<Option<Vec<_>>>>()
    }

    /// The key of one prompt's call and its answer, checked; asked for once more where the check fails.
    async fn checked(
        &self,
        asked: (Role, &Prompt),
        (texts, is_last): (&[String], bool),
        gateway: &dyn CallGateway,
    ) -> Result<Option<(String, Verdict)>> {
        let call = self.chat(asked, texts, None);
        let key = call.key.clone();
        // Of a part all is said by its line, fields and all; the fields of a last answer are asked for.
        if let Some(summary) = gateway.part(&key).filter(|_| !is_last || asked.1.fields.is_empty()) {
            return Ok(Some((key, Verdict::Written(Written { summary, fields: None }))));
        }
        let Some(content) = gateway.ask(call).await? else { return Ok(None) };
        let (answer, refusal) = match judge(content, asked.1) {
            Ok(written) => return Ok(Some((key, Verdict::Written(written)))),
            Err((_, refusal)) if !refusal.kind.can_be_repaired() => return Ok(Some((key, Verdict::SetAside(refusal)))),
            Err(refused) => refused,
        };
        let again = self.chat(asked, texts, Some((&answer, &refusal.reason)));
        let Some(content) = gateway.ask(again).await? else { return Ok(None) };
        let verdict = match judge(content, asked.1) {
            Ok(written) => Verdict::Written(written),
            Err((_, refusal)) => Verdict::SetAside(refusal),
        };
        Ok(Some((key, verdict)))
    }
}

/// A summary, or the answer that is none and the reason.
fn judge(content: Content, prompt: &Prompt) -> Result<Written, (String, Refusal)> {
    let unusable = |reason: String| Refusal::new(RefusalKind::Unusable, reason);
    match content {
        Content::Text(text) => check::written(&text, prompt).map_err(|reason| (text, unusable(reason))),
        Content::Refused(refusal) => Err((String::new(), refusal)),
        Content::Vectors(_) => Err((String::new(), unusable("expected a text, found vectors".to_owned()))),
    }
}

/// A gateway for those who need no record: a question that somebody types.
struct DirectGateway<'a>(&'a OpenAi);

#[async_trait]
impl CallGateway for DirectGateway<'_> {
    async fn ask(&self, call: Call) -> Result<Option<Content>> {
        for losses in 1.. {
            let most = self.0.cost_at_most(&call, Mode::Interactive);
            let held = self.0.budget.reserve(most).await?;
            match self.0.send(&call, &|| false).await {
                Ok(reply) => {
                    held.settle(self.0.cost(&call.model, reply.usage, Mode::Interactive).unwrap_or(0.0));
                    return Ok(Some(reply.content));
                }
                Err(Unanswered::Failed(error)) => return Err(error),
                Err(Unanswered::Lost(loss)) => {
                    held.settle(most);
                    if losses == LOSSES || loss.unreadable {
                        return Err(Error::Model { model: call.model, message: loss.reason, retryable: true });
                    }
                    catalog::simulation::sleep(self.0.pause_after(losses, loss.wait)).await;
                }
                Err(Unanswered::Stopped) => break,
            }
        }
        Ok(None)
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
        match self.summary(texts, &Prompt::default(), &DirectGateway(self)).await?.map(|it| it.verdict) {
            Some(Verdict::Written(written)) => Ok(Summary { text: written.summary, model }),
            Some(Verdict::SetAside(refusal)) => Err(Error::Model { model, message: refusal.reason, retryable: false }),
            None => Err(Error::Model { model, message: "no answer".to_owned(), retryable: true }),
        }
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        let wanted: Vec<(String, String)> =
            texts.iter().enumerate().map(|(index, text)| (index.to_string(), text.clone())).collect();
        let mut embedded = Vec::with_capacity(texts.len());
        for call in self.embedding_calls(&wanted) {
            match DirectGateway(self).ask(call).await? {
                Some(Content::Vectors(vectors)) => {
                    embedded.extend(vectors.into_iter().map(|vector| Embedding { vector, model: self.embedder.id() }));
                }
                Some(Content::Refused(refusal)) => {
                    let (model, message) = (self.embedder.id(), refusal.reason);
                    return Err(Error::Model { model, message, retryable: false });
                }
                Some(Content::Text(_)) | None => {}
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
