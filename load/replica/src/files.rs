//! Files: uploaded as a form, kept in memory, downloaded whole.

use std::sync::Arc;

use axum::extract::{Multipart, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::server::{Shared, problem};

/// What is kept of a file.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) purpose: String,
    pub(crate) bytes: Bytes,
    pub(crate) created: u64,
}

/// The object that describes a file.
pub(crate) fn describe(id: &str, file: &Stored) -> Value {
    json!({
        "id": id,
        "object": "file",
        "bytes": file.bytes.len(),
        "created_at": file.created,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    })
}

/// `POST /v1/files`
pub(crate) async fn upload(State(shared): State<Arc<Shared>>, mut form: Multipart) -> Response {
    let mut purpose = String::new();
    let mut found = None;
    loop {
        match form.next_field().await {
            Ok(Some(field)) if field.name() == Some("file") => {
                let name = field.file_name().unwrap_or("file").to_owned();
                match field.bytes().await {
                    Ok(bytes) => found = Some((name, bytes)),
                    Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid_form", &error.to_string()),
                }
            }
            Ok(Some(field)) if field.name() == Some("purpose") => purpose = field.text().await.unwrap_or_default(),
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => return problem(StatusCode::BAD_REQUEST, "invalid_form", &error.to_string()),
        }
    }
    let Some((name, bytes)) = found else {
        return problem(StatusCode::BAD_REQUEST, "missing_file", "expected a field `file`, found none");
    };
    let mut state = shared.lock();
    let id = state.id("file");
    let file = Stored { name, purpose, bytes, created: state.created() };
    let described = describe(&id, &file);
    state.files.insert(id, file);
    axum::Json(described).into_response()
}

/// `GET /v1/files/{id}`
pub(crate) async fn retrieve(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match shared.lock().files.get(&id) {
        Some(file) => axum::Json(describe(&id, file)).into_response(),
        None => missing(&id),
    }
}

/// `GET /v1/files/{id}/content`
pub(crate) async fn content(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match shared.lock().files.get(&id) {
        Some(file) => file.bytes.clone().into_response(),
        None => missing(&id),
    }
}

/// `DELETE /v1/files/{id}`
pub(crate) async fn delete(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    match shared.lock().files.remove(&id) {
        Some(_) => axum::Json(json!({ "id": id, "object": "file", "deleted": true })).into_response(),
        None => missing(&id),
    }
}

fn missing(id: &str) -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", &format!("no such file: {id}"))
}
