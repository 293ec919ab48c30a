//! Batches at the service: a file of requests goes up, a file of answers comes down within a day.
//!
//! Only what the service does is here. What was sent, and by whom, is the lake's business (`enrich::batches`).

use std::collections::HashMap;

use async_openai::types::batches::{
    BatchCompletionWindow, BatchEndpoint, BatchRequest, BatchRequestInput, BatchRequestInputMethod,
};
use catalog::Timestamp;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::Value;

use super::http::HttpAnswer;
use super::{OpenAi, reply};
use crate::error::{Error, Result};
use crate::llm::{Call, Endpoint, Reply, Usage};

/// The metadata that names our intent in the service's own list.
const INTENT: &str = "onggi_intent";
/// Pages of the service's list that are looked through for an intent, 100 batches each, before nothing is known of it.
const PAGES: usize = 1_000;
/// How much older than its claim a batch may seem: the service's clock is another one.
const CLOCKS_APART: SignedDuration = SignedDuration::from_hours(24);
/// The longest line of an answer file: one answer, or one vector of 8,192 numbers in decimals.
const LONGEST_LINE: usize = 4 << 20;
/// What a reason begins with that is a status and what was said with it.
const STATUS: &str = "status ";
/// The status of what is not there.
const GONE: u16 = 404;
/// Times that a request which costs nothing is repeated.
const TRIES: u32 = 5;

/// A batch as the service tells of it; what it does not tell is absent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) output_file_id: Option<String>,
    pub(crate) error_file_id: Option<String>,
    created_at: Option<i64>,
    errors: Option<Value>,
    metadata: Option<HashMap<String, Value>>,
}

/// What the service's list says of an intent.
#[derive(Debug)]
pub(crate) enum Listed {
    /// It is this batch.
    Found(Box<Told>),
    /// There is none, as far back as it could be.
    Absent,
    /// The list did not come to its end: there may be one.
    Unknown,
}

impl Told {
    /// A batch of which the service knows nothing any more.
    pub(crate) fn forgotten(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            status: "forgotten".to_owned(),
            output_file_id: None,
            error_file_id: None,
            created_at: None,
            errors: None,
            metadata: None,
        }
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "expired" | "cancelled" | "forgotten")
    }

    /// What the service found wrong with the file.
    pub(crate) fn complaint(&self) -> Option<String> {
        let list = self.errors.as_ref()?.get("data")?.as_array()?;
        list.first()?.get("message")?.as_str().map(str::to_owned)
    }
}

/// A file of answers, read piece by piece.
#[derive(Debug)]
pub(crate) struct BatchAnswers<'a> {
    openai: &'a OpenAi,
    model: String,
    response: Option<reqwest::Response>,
    rest: Vec<u8>,
    /// A line that is too long is passed over up to its end.
    passing: bool,
    /// Lines that can't be read; their requests count as unanswered.
    pub(crate) unread: u64,
}

#[derive(Debug, Deserialize)]
struct File {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Told>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Debug, Deserialize)]
struct Line {
    custom_id: String,
    response: Option<LineResponse>,
    error: Option<LineError>,
}

#[derive(Debug, Deserialize)]
struct LineResponse {
    status_code: u16,
    body: Value,
}

#[derive(Debug, Deserialize)]
struct LineError {
    code: Option<String>,
    message: Option<String>,
}

/// One line of an answer file.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The custom id.
    pub(crate) key: String,
    /// The reply, or why there is none.
    pub(crate) outcome: Result<Reply, String>,
}

/// Whether a request that has no reply for this reason would be answered the same way in another batch.
pub(crate) fn is_refused(reason: &str) -> bool {
    let status = reason.strip_prefix(STATUS).and_then(|rest| rest.split(':').next()?.parse::<u16>().ok());
    // A wait that was too long, a conflict, and too many requests pass by themselves.
    status.is_some_and(|status| (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429))
}

/// One line of a request file.
pub(crate) fn line(call: &Call) -> Result<String> {
    let input = BatchRequestInput {
        custom_id: call.key.clone(),
        method: BatchRequestInputMethod::POST,
        url: endpoint(call.endpoint),
        body: Some(call.body.clone()),
    };
    serde_json::to_string(&input).map_err(|error| Error::Model {
        model: call.model.clone(),
        message: format!("a request can't be written: {error}"),
        retryable: false,
    })
}

/// The library's own default is another endpoint, so it is always said.
fn endpoint(endpoint: Endpoint) -> BatchEndpoint {
    match endpoint {
        Endpoint::Chat => BatchEndpoint::V1ChatCompletions,
        Endpoint::Embeddings => BatchEndpoint::V1Embeddings,
    }
}

impl OpenAi {
    /// Uploads a file of requests. Uploading costs nothing, so it is repeated where it fails.
    pub(crate) async fn upload(&self, model: &str, name: &str, lines: String) -> Result<String> {
        let bytes = bytes::Bytes::from(lines);
        let file: File = self.repeated(model, || self.http.upload("/files", name, "batch", bytes.clone())).await?;
        Ok(file.id)
    }

    /// Starts a batch, once: where the reply is lost, the batch may stand all the same (`None`).
    pub(crate) async fn create_batch(
        &self,
        model: &str,
        at: Endpoint,
        file: &str,
        intent: &str,
    ) -> Result<Option<String>> {
        let request = BatchRequest {
            input_file_id: file.to_owned(),
            endpoint: endpoint(at),
            completion_window: BatchCompletionWindow::W24H,
            metadata: Some([(INTENT.to_owned(), Value::from(intent))].into()),
            output_expires_after: None,
        };
        match self.http.post("/batches", &serde_json::to_value(request).unwrap_or_default()).await {
            HttpAnswer::Done(body) => Ok(serde_json::from_slice::<Told>(&body).ok().map(|told| told.id)),
            // A front's 5xx says nothing of what happened behind it.
            HttpAnswer::Lost { .. } | HttpAnswer::Failed { .. } => Ok(None),
            other => Err(self.failed(model, other)),
        }
    }

    /// How a batch stands; `None` if the service knows it no more.
    pub(crate) async fn batch(&self, model: &str, id: &str) -> Result<Option<Told>> {
        let path = format!("/batches/{id}");
        self.repeated_where_it_is(model, || self.http.get(&path)).await
    }

    /// Ends a batch that nobody waits for any more; what it did until then is there to be taken.
    pub(crate) async fn cancel_batch(&self, model: &str, id: &str) -> Result<Option<Told>> {
        let (path, nothing) = (format!("/batches/{id}/cancel"), Value::Object(serde_json::Map::new()));
        self.repeated_where_it_is(model, || self.http.post(&path, &nothing)).await
    }

    /// The batch at the service that carries this intent. The list begins with the newest, so it is looked through back to the
    /// time at which the batch was claimed, however many other batches the account has had since.
    pub(crate) async fn batch_of(&self, model: &str, intent: &str, claimed: Timestamp) -> Result<Listed> {
        let oldest = claimed.saturating_sub(CLOCKS_APART).map_or(i64::MIN, Timestamp::as_second);
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let path = match &after {
                Some(id) => format!("/batches?limit=100&after={id}"),
                None => "/batches?limit=100".to_owned(),
            };
            let page: Page = self.repeated(model, || self.http.get(&path)).await?;
            after = page.data.last().map(|told| told.id.clone());
            let reached = page.data.iter().filter_map(|told| told.created_at).min().is_some_and(|at| at < oldest);
            let ours = |told: &Told| {
                told.metadata.as_ref().and_then(|it| it.get(INTENT)).and_then(Value::as_str) == Some(intent)
            };
            if let Some(found) = page.data.into_iter().find(ours) {
                return Ok(Listed::Found(Box::new(found)));
            }
            if !page.has_more || after.is_none() || reached {
                return Ok(Listed::Absent);
            }
        }
        Ok(Listed::Unknown)
    }

    /// Opens a file of answers; `None` if the service has it no more.
    pub(crate) async fn answers(&self, model: &str, file: &str) -> Result<Option<BatchAnswers<'_>>> {
        let path = format!("/files/{file}/content");
        let response = match self.http.open(&path).await {
            Ok(response) => response,
            Err(HttpAnswer::Refused { status: GONE, .. }) => return Ok(None),
            Err(answer) => return Err(self.failed(model, answer)),
        };
        let (model, response) = (model.to_owned(), Some(response));
        Ok(Some(BatchAnswers { openai: self, model, response, rest: Vec::new(), passing: false, unread: 0 }))
    }

    /// One line; `None` if it can't be read.
    fn read_line(&self, line: &[u8]) -> Option<Answered> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let outcome = match (line.response, line.error) {
            (Some(response), _) if response.status_code == 200 => self.line_reply(&line.custom_id, &response.body),
            (Some(response), _) => {
                let said = response.body.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
                Err(format!("{STATUS}{}: {}", response.status_code, self.http.without_key(said)))
            }
            (None, Some(error)) => Err(error.code.or(error.message).unwrap_or_else(|| "no reason given".to_owned())),
            (None, None) => Err("neither an answer nor an error".to_owned()),
        };
        Some(Answered { key: line.custom_id, outcome })
    }

    fn line_reply(&self, key: &str, body: &Value) -> Result<Reply, String> {
        let endpoint = if body.get("choices").is_some() { Endpoint::Chat } else { Endpoint::Embeddings };
        let output_tokens = if endpoint == Endpoint::Chat { u64::from(self.output_tokens) } else { 0 };
        let call = Call {
            key: key.to_owned(),
            kind: crate::llm::AnswerKind::Summary,
            model: String::new(),
            endpoint,
            body: Value::Null,
            parts: vec![key.to_owned()],
            estimate: Usage { calls: 1, output_tokens, ..Usage::default() },
        };
        reply::read(&call, self.dimensions, body.to_string().as_bytes())
    }

    /// A request that costs nothing, repeated until it is answered.
    async fn repeated<T, F>(&self, model: &str, send: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        T: serde::de::DeserializeOwned,
        F: Future<Output = HttpAnswer> + Send,
    {
        let found = self.repeated_where_it_is(model, send).await?;
        found.ok_or_else(|| Error::Model {
            model: model.to_owned(),
            message: format!("the service refused with status {GONE}: there is no such thing"),
            retryable: false,
        })
    }

    /// The same for what may not be there any more: `None` if it is not.
    async fn repeated_where_it_is<T, F>(&self, model: &str, send: impl Fn() -> F + Send + Sync) -> Result<Option<T>>
    where
        T: serde::de::DeserializeOwned,
        F: Future<Output = HttpAnswer> + Send,
    {
        let mut failures = 0;
        loop {
            let answer = send().await;
            let wait = match &answer {
                HttpAnswer::Done(body) => {
                    if let Ok(value) = serde_json::from_slice(body) {
                        return Ok(Some(value));
                    }
                    None
                }
                HttpAnswer::Limited(wait) | HttpAnswer::Failed { wait, .. } | HttpAnswer::Lost { wait, .. } => *wait,
                HttpAnswer::Refused { status: GONE, .. } => return Ok(None),
                HttpAnswer::Quota(_) | HttpAnswer::Refused { .. } => return Err(self.failed(model, answer)),
            };
            failures += 1;
            if failures >= TRIES {
                return Err(self.failed(model, answer));
            }
            catalog::simulation::sleep(wait.unwrap_or_else(|| self.pause(failures))).await;
        }
    }
}

impl BatchAnswers<'_> {
    /// The lines of the next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Answered>>> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let chunk = response.chunk().await.map_err(|_| Error::Model {
            model: self.model.clone(),
            message: "the file of answers broke off".to_owned(),
            retryable: true,
        })?;
        if let Some(chunk) = chunk {
            self.take(&chunk);
        } else {
            // The last line may lack its end.
            self.rest.push(b'\n');
            self.response = None;
        }
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let mut answered = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)) {
            match self.openai.read_line(line) {
                Some(line) => answered.push(line),
                None => self.unread += 1,
            }
        }
        Ok(Some(answered))
    }

    /// Keeps a piece, but for what belongs to a line that no answer is as long as.
    fn take(&mut self, chunk: &[u8]) {
        let mut chunk = chunk;
        if self.passing {
            let Some(end) = chunk.iter().position(|byte| *byte == b'\n') else { return };
            chunk = &chunk[end + 1..];
            self.passing = false;
        }
        self.rest.extend_from_slice(chunk);
        let line = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if self.rest.len() - line > LONGEST_LINE {
            self.rest.truncate(line);
            self.passing = true;
            self.unread += 1;
        }
    }
}
