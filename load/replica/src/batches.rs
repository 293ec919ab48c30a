//! Batches: created from a file, under way for a while, finished in any order, whole or in part.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::files::Stored;
use crate::server::{Shared, State, hang_up, problem};
use crate::stats::count;
use crate::{chat, embeddings, tokens};

/// What is kept of a batch.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) object: Value,
    begun: Instant,
    polls: u32,
    finished: bool,
}

/// `POST /v1/batches`
pub(crate) async fn create(Extract(shared): Extract<Arc<Shared>>, axum::Json(request): axum::Json<Value>) -> Response {
    let (object, lost) = {
        let mut state = shared.lock();
        let input = request["input_file_id"].as_str().unwrap_or_default().to_owned();
        if !state.files.contains_key(&input) {
            return problem(StatusCode::BAD_REQUEST, "invalid_file", &format!("no such file: {input}"));
        }
        let id = state.id("batch");
        let created = state.created();
        let object = json!({
            "id": id,
            "object": "batch",
            "endpoint": request["endpoint"],
            "errors": null,
            "input_file_id": input,
            "completion_window": request["completion_window"],
            "status": "validating",
            "output_file_id": null,
            "error_file_id": null,
            "created_at": created,
            "expires_at": created + 24 * 3600,
            "request_counts": { "total": 0, "completed": 0, "failed": 0 },
            "metadata": request["metadata"],
        });
        state.stats.batches += 1;
        let batch = Batch { object: object.clone(), begun: Instant::now(), polls: 0, finished: false };
        state.batches.insert(id, batch);
        (object, state.hits(|s| &mut s.batch_lost_create))
    };
    if lost { hang_up() } else { axum::Json(object).into_response() }
}

/// `GET /v1/batches/{id}`
pub(crate) async fn retrieve(Extract(shared): Extract<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    match look(&mut state, &id) {
        Some(object) => axum::Json(object).into_response(),
        None => problem(StatusCode::NOT_FOUND, "not_found", &format!("no such batch: {id}")),
    }
}

/// `POST /v1/batches/{id}/cancel`
pub(crate) async fn cancel(Extract(shared): Extract<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let mut state = shared.lock();
    let Some(batch) = state.batches.get_mut(&id) else {
        return problem(StatusCode::NOT_FOUND, "not_found", &format!("no such batch: {id}"));
    };
    if !batch.finished {
        batch.finished = true;
        batch.object["status"] = json!("cancelled");
    }
    axum::Json(batch.object.clone()).into_response()
}

/// What a list may be asked for.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /v1/batches`: the newest first, page by page.
pub(crate) async fn list(Extract(shared): Extract<Arc<Shared>>, Query(paging): Query<Paging>) -> Response {
    let state = shared.lock();
    let created = state.created();
    let other = |number: usize| json!({ "id": format!("other_{number:08}"), "object": "batch", "status": "completed", "created_at": created });
    let others = (0..state.switches.batch_others).map(other);
    let newest: Vec<Value> = others.chain(state.batches.values().rev().map(|batch| batch.object.clone())).collect();
    let start = paging.after.and_then(|id| newest.iter().position(|it| it["id"] == id)).map_or(0, |at| at + 1);
    let limit = paging.limit.unwrap_or(20).clamp(1, 100);
    let page: Vec<Value> = newest.iter().skip(start).take(limit).cloned().collect();
    let more = newest.len() > start + page.len();
    let last = page.last().map(|batch| batch["id"].clone());
    axum::Json(json!({ "object": "list", "data": page, "last_id": last, "has_more": more })).into_response()
}

/// A look at a batch counts; the one that finds its time come finishes it.
fn look(state: &mut State, id: &str) -> Option<Value> {
    let (polls, delay) = (state.switches.batch_polls, state.switches.batch_delay);
    let batch = state.batches.get_mut(id)?;
    batch.polls += 1;
    let due = batch.polls > polls && is_over(batch.begun, delay);
    if batch.finished || !due {
        if !batch.finished {
            batch.object["status"] = json!("in_progress");
        }
        return Some(batch.object.clone());
    }
    let input = batch.object["input_file_id"].as_str().unwrap_or_default().to_owned();
    let endpoint = batch.object["endpoint"].as_str().unwrap_or_default().to_owned();
    let lines = state.files.get(&input).map(|file| String::from_utf8_lossy(&file.bytes).into_owned())?;
    let finished = match wrong(&lines, &endpoint)
        .or_else(|| state.hits(|s| &mut s.batch_invalid).then(|| "the file can't be read at this time".to_owned()))
    {
        Some(message) => failed(&message),
        None => work(state, &lines, &endpoint),
    };
    let batch = state.batches.get_mut(id)?;
    batch.finished = true;
    for (name, value) in finished.as_object().into_iter().flatten() {
        batch.object[name] = value.clone();
    }
    Some(batch.object.clone())
}

fn is_over(begun: Instant, delay: Duration) -> bool {
    begun.elapsed() >= delay
}

fn failed(message: &str) -> Value {
    json!({
        "status": "failed",
        "errors": { "object": "list", "data": [{ "code": "invalid_request", "message": message, "line": 1 }] },
    })
}

/// Why a file can't be a batch, by the rules of the real service.
fn wrong(lines: &str, endpoint: &str) -> Option<String> {
    let mut ids = BTreeSet::new();
    let mut models = BTreeSet::new();
    for (number, line) in lines.lines().enumerate() {
        let line: Value = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(error) => return Some(format!("line {}: {error}", number + 1)),
        };
        let id = line["custom_id"].as_str().unwrap_or_default().to_owned();
        if id.is_empty() || !ids.insert(id) {
            return Some(format!("line {}: expected a custom_id of its own", number + 1));
        }
        if line["url"] != endpoint || line["method"] != "POST" {
            return Some(format!("line {}: expected POST {endpoint}", number + 1));
        }
        models.insert(line["body"]["model"].to_string());
    }
    match (ids.len(), models.len()) {
        (1..=50_000, 1) => None,
        (requests, models) => Some(format!("expected 1 to 50000 requests of one model, found {requests} of {models}")),
    }
}

/// What stands in the file of errors where a request is not done.
fn unpaid(state: &mut State, request: &Value) -> Option<Value> {
    let refused = |status: u16, code: &str, message: &str| {
        let body = json!({ "error": { "message": message, "type": code, "code": code } });
        json!({ "response": { "status_code": status, "body": body }, "error": null })
    };
    let error = if state.hits(|s| &mut s.batch_expire) {
        let message = "This request could not be executed before the completion window expired.";
        json!({ "response": null, "error": { "code": "batch_expired", "message": message } })
    } else if state.hits(|s| &mut s.batch_bad_status) {
        refused(500, "server_error", "The server had an error")
    } else if state.is_filtered(request) {
        refused(400, "content_filter", "The texts were filtered.")
    } else {
        return None;
    };
    state.stats.batch_unpaid += 1;
    Some(error)
}

/// Does the requests of a batch, as far as the switches let it come.
fn work(state: &mut State, lines: &str, endpoint: &str) -> Value {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (mut total, mut completed, mut expired) = (0_u64, 0_u64, false);
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        let id = line["custom_id"].as_str().unwrap_or_default().to_owned();
        let number = tokens::hash(&[&id]);
        total += 1;
        if let Some(error) = unpaid(state, &line["body"]) {
            expired |= error["error"]["code"] == "batch_expired";
            let mut error = error;
            error["id"] = json!(format!("batch_req_{number}"));
            error["custom_id"] = json!(id);
            errors.push(error.to_string());
            continue;
        }
        let made = if endpoint == "/v1/embeddings" {
            embeddings::answer(state, &line["body"])
        } else {
            chat::answer(state, &line["body"])
        };
        completed += 1;
        state.stats.batch_lines += 1;
        count(&mut state.stats.paid_ids, &id);
        state.pay(&made);
        let body: Value = serde_json::from_str(&made.body).unwrap_or_default();
        let response = json!({ "status_code": 200, "request_id": number, "body": body });
        let mut text =
            json!({ "id": format!("batch_req_{number}"), "custom_id": id, "response": response, "error": null })
                .to_string();
        if state.hits(|s| &mut s.batch_drop) {
            state.lose(&made);
            continue;
        }
        if state.hits(|s| &mut s.batch_broken_line) {
            state.lose(&made);
            let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            text.truncate(half);
        }
        output.push(text);
    }
    if state.switches.batch_shuffle {
        output.sort_by_cached_key(|line| tokens::number(&["shuffle", line]));
    }
    if state.switches.batch_long_line > 0 && !output.is_empty() {
        output.insert(0, "x".repeat(state.switches.batch_long_line));
    }
    let mut keep = |lines: Vec<String>, name: &str| -> Value {
        if lines.is_empty() {
            return Value::Null;
        }
        let id = state.id("file");
        let bytes = (lines.join("\n") + "\n").into();
        let created = state.created();
        let file = Stored { name: name.to_owned(), purpose: "batch_output".to_owned(), bytes, created };
        state.files.insert(id.clone(), file);
        json!(id)
    };
    json!({
        "status": if expired { "expired" } else { "completed" },
        "output_file_id": keep(output, "output.jsonl"),
        "error_file_id": keep(errors, "errors.jsonl"),
        "request_counts": { "total": total, "completed": completed, "failed": total - completed },
    })
}
