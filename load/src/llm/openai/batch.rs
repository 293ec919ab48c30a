//! Batches at the service: a file of requests goes up, a file of answers comes down within a day.
//!
//! Only what the service does is here. What was sent, and by whom, is the lake's business (`enrich::batches`).

use std::collections::HashMap;

use async_openai::types::batches::{
    BatchCompletionWindow, BatchEndpoint, BatchRequest, BatchRequestInput, BatchRequestInputMethod,
};
use serde::Deserialize;
use serde_json::Value;

use super::http::Answer;
use super::{OpenAi, reply};
use crate::error::{Error, Result};
use crate::llm::{Call, Endpoint, Reply, Usage};

/// The metadata that names our intent in the service's own list.
const INTENT: &str = "onggi_intent";
/// Pages of the service's list that are looked through for an intent: 100 batches each.
const PAGES: usize = 50;
/// Times that a request which costs nothing is repeated.
const TRIES: u32 = 5;

/// A batch as the service tells of it; what it does not tell is absent.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) status: String,
    pub(crate) output_file_id: Option<String>,
    pub(crate) error_file_id: Option<String>,
    errors: Option<Value>,
    metadata: Option<HashMap<String, Value>>,
}

impl Told {
    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "expired" | "cancelled")
    }

    /// What the service found wrong with the file.
    pub(crate) fn complaint(&self) -> Option<String> {
        let list = self.errors.as_ref()?.get("data")?.as_array()?;
        list.first()?.get("message")?.as_str().map(str::to_owned)
    }
}

/// A file of answers, read piece by piece.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    openai: &'a OpenAi,
    model: String,
    response: Option<reqwest::Response>,
    rest: Vec<u8>,
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
            Answer::Done(body) => Ok(serde_json::from_slice::<Told>(&body).ok().map(|told| told.id)),
            // A front's 5xx says nothing of what happened behind it.
            Answer::Lost(_) | Answer::Failed { .. } => Ok(None),
            other => Err(self.failed(model, other)),
        }
    }

    /// How a batch stands.
    pub(crate) async fn batch(&self, model: &str, id: &str) -> Result<Told> {
        let path = format!("/batches/{id}");
        self.repeated(model, || self.http.get(&path)).await
    }

    /// The batches at the service that carry this intent: normally one or none.
    pub(crate) async fn batches_of(&self, model: &str, intent: &str) -> Result<Vec<Told>> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let path = match &after {
                Some(id) => format!("/batches?limit=100&after={id}"),
                None => "/batches?limit=100".to_owned(),
            };
            let page: Page = self.repeated(model, || self.http.get(&path)).await?;
            after = page.data.last().map(|told| told.id.clone());
            let ours = |told: &Told| {
                told.metadata.as_ref().and_then(|it| it.get(INTENT)).and_then(Value::as_str) == Some(intent)
            };
            found.extend(page.data.into_iter().filter(ours));
            if !page.has_more || !found.is_empty() || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Opens a file of answers.
    pub(crate) async fn answers(&self, model: &str, file: &str) -> Result<Answers<'_>> {
        let path = format!("/files/{file}/content");
        let response = self.http.open(&path).await.map_err(|answer| self.failed(model, answer))?;
        Ok(Answers { openai: self, model: model.to_owned(), response: Some(response), rest: Vec::new(), unread: 0 })
    }

    /// One line; `None` if it can't be read.
    fn read_line(&self, line: &[u8]) -> Option<Answered> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let outcome = match (line.response, line.error) {
            (Some(response), _) if response.status_code == 200 => self.line_reply(&line.custom_id, &response.body),
            (Some(response), _) => {
                let said = response.body.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
                Err(format!("status {}: {}", response.status_code, self.http.without_key(said)))
            }
            (None, Some(error)) => Err(error.code.or(error.message).unwrap_or_else(|| "no reason given".to_owned())),
            (None, None) => Err("neither an answer nor an error".to_owned()),
        };
        Some(Answered { key: line.custom_id, outcome })
    }

    fn line_reply(&self, key: &str, body: &Value) -> Result<Reply, String> {
        let endpoint = if body.get("choices").is_some() { Endpoint::Chat } else { Endpoint::Embeddings };
        let call = Call {
            key: key.to_owned(),
            kind: crate::enrich::AnswerKind::Summary,
            model: String::new(),
            endpoint,
            body: Value::Null,
            parts: vec![key.to_owned()],
            estimate: Usage { calls: 1, ..Usage::default() },
        };
        reply::read(&call, self.dimensions, body.to_string().as_bytes())
    }

    /// A request that costs nothing, repeated until it is answered.
    async fn repeated<T, F>(&self, model: &str, send: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        T: serde::de::DeserializeOwned,
        F: Future<Output = Answer> + Send,
    {
        let mut failures = 0;
        loop {
            let answer = send().await;
            let wait = match &answer {
                Answer::Done(body) => {
                    if let Ok(value) = serde_json::from_slice(body) {
                        return Ok(value);
                    }
                    None
                }
                Answer::Limited(wait) | Answer::Failed { wait, .. } => *wait,
                Answer::Lost(_) => None,
                Answer::Quota(_) | Answer::Refused { .. } => return Err(self.failed(model, answer)),
            };
            failures += 1;
            if failures >= TRIES {
                return Err(self.failed(model, answer));
            }
            tokio::time::sleep(wait.unwrap_or_else(|| self.pause(failures))).await;
        }
    }
}

impl Answers<'_> {
    /// The lines of the next piece; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Answered>>> {
        let Some(response) = &mut self.response else { return Ok(None) };
        let chunk = response.chunk().await.map_err(|_| Error::Model {
            model: self.model.clone(),
            message: "the file of answers broke off".to_owned(),
            retryable: true,
        })?;
        if let Some(chunk) = chunk {
            self.rest.extend_from_slice(&chunk);
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
}
