//! The server: what a request goes through, from its key being looked at to being answered, or not.
//!
//! Order of events for a call: is the key right? → the real limit → a 429 or a 5xx by switch → wait → make the answer and count it
//! as paid → send it whole, cut it, or drop the connection. The lock is held for counting and making only, never while waiting.

mod state;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::options::LlmReplicaOptions;
use crate::stats::Stats;
use crate::switches::Switches;
use crate::{batches, chat, embeddings, files};

pub(crate) use state::{Made, State};

/// How long `stop` waits for answers that are under way.
const PATIENCE: Duration = Duration::from_millis(500);
/// How many request bodies are kept to be looked at.
const KEPT: usize = 5_000;

/// A replica: what it was asked and paid stays with it, whoever serves it. It ends when it is stopped or dropped.
#[derive(Debug)]
pub struct LlmReplica {
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    url: String,
    serving: Option<Serving>,
}

/// The task that answers.
#[derive(Debug)]
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl LlmReplica {
    /// Serves on 127.0.0.1.
    ///
    /// # Errors
    /// If the port can't be listened on.
    #[expect(clippy::unused_async, reason = "who awaits it is in a runtime, which it needs")]
    pub async fn start(options: LlmReplicaOptions) -> Result<Self> {
        let mut replica = Self::bind(&options)?;
        replica.serve()?;
        Ok(replica)
    }

    /// Takes its port; nobody is answered before [`LlmReplica::serve`].
    ///
    /// # Errors
    /// If the port can't be listened on.
    pub fn bind(options: &LlmReplicaOptions) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listen = |source| Error::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let url = format!("http://{}/v1", listener.local_addr().map_err(listen)?);
        let shared = Arc::new(Shared { key: options.key.clone(), state: Mutex::new(State::new(options)) });
        Ok(Self { shared, listener, url, serving: None })
    }

    /// Answers within the runtime that this is called in, as long as that lives.
    ///
    /// # Errors
    /// If the port can't be listened on there.
    pub fn serve(&mut self) -> Result<()> {
        let listener = self.listener.try_clone().and_then(TcpListener::from_std).map_err(|source| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            Error::Listen { address, source }
        })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let app = router(Arc::clone(&self.shared));
        let task = tokio::spawn(async move {
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            let serve = axum::serve(listener, app).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            let _ = serve.await;
        });
        self.serving = Some(Serving { stop, task });
        Ok(())
    }

    /// Its base URL: `http://127.0.0.1:<port>/v1`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked and what was paid so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// The bodies of the calls so far, the first few thousand: chat completions and embeddings.
    pub fn requests(&self) -> Vec<Value> {
        self.shared.lock().requests.clone()
    }

    /// How it misbehaves now.
    pub fn switches(&self) -> Switches {
        self.shared.lock().switches.clone()
    }

    /// Changes how it misbehaves. Limits begin anew; counts go on.
    pub fn set_switches(&self, switches: Switches) {
        let mut state = self.shared.lock();
        state.switches = switches;
        (state.request_bucket, state.token_bucket) = (None, None);
    }

    /// Forgets every batch and every file, as a service does with what is older than a month.
    pub fn forget_batches(&self) {
        let mut state = self.shared.lock();
        state.batches.clear();
        state.files.clear();
    }

    /// Stops listening; answers under way get half a second.
    pub async fn stop(self) {
        let Some(Serving { stop, task }) = self.serving else { return };
        drop(stop);
        let abort = task.abort_handle();
        if tokio::time::timeout(PATIENCE, task).await.is_err() {
            abort.abort();
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/v1/chat/completions", post(chat_call))
        .route("/v1/embeddings", post(embedding_call))
        .route("/v1/files", post(files::upload))
        .route("/v1/files/{id}", get(files::retrieve).delete(files::delete))
        .route("/v1/files/{id}/content", get(files::content))
        .route("/v1/batches", post(batches::create).get(batches::list))
        .route("/v1/batches/{id}", get(batches::retrieve))
        .route("/v1/batches/{id}/cancel", post(batches::cancel))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), authorised));
    let app = Router::new().route("/stats", get(stats)).merge(api).fallback(unknown);
    app.layer(DefaultBodyLimit::disable()).with_state(shared)
}

async fn stats(Extract(shared): Extract<Arc<Shared>>) -> Response {
    axum::Json(shared.lock().stats.clone()).into_response()
}

async fn unknown() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "no such path")
}

/// Nothing is answered without the key.
async fn authorised(Extract(shared): Extract<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let right = given.and_then(|value| value.strip_prefix("Bearer ")) == Some(shared.key.as_str());
    {
        let mut state = shared.lock();
        state.stats.requests += 1;
        if !right {
            state.stats.unauthorised += 1;
        }
    }
    if right {
        return next.run(request).await;
    }
    problem(StatusCode::UNAUTHORIZED, "invalid_api_key", "Incorrect API key provided.")
}

async fn chat_call(Extract(shared): Extract<Arc<Shared>>, axum::Json(body): axum::Json<Value>) -> Response {
    call(&shared, body, chat::tokens_of, |_| None, chat::answer).await
}

async fn embedding_call(Extract(shared): Extract<Arc<Shared>>, axum::Json(body): axum::Json<Value>) -> Response {
    call(&shared, body, embeddings::tokens_of, embeddings::refused, embeddings::answer).await
}

/// One paid call, with everything that may happen to it.
async fn call(
    shared: &Arc<Shared>,
    body: Value,
    tokens_of: fn(&Value) -> u64,
    refused: fn(&Value) -> Option<String>,
    answer: fn(&mut State, &Value) -> Made,
) -> Response {
    let admitted = shared.lock().admit(tokens_of(&body));
    if let Err(response) = admitted {
        return *response;
    }
    let flight = InFlight::new(shared);
    let delay = shared.lock().delay();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if shared.lock().hits(|s| &mut s.too_long) {
        return problem(
            StatusCode::BAD_REQUEST,
            "context_length_exceeded",
            "This model's maximum context length is exceeded.",
        );
    }
    if shared.lock().is_filtered(&body) {
        return problem(StatusCode::BAD_REQUEST, "content_filter", "The texts were filtered.");
    }
    if let Some(message) = refused(&body) {
        return problem(StatusCode::BAD_REQUEST, "invalid_request_error", &message);
    }
    let mut state = shared.lock();
    let made = answer(&mut state, &body);
    state.pay(&made);
    if state.requests.len() < KEPT {
        state.requests.push(body);
    }
    if state.hits(|s| &mut s.gateway_timeout) {
        state.stats.server_errors += 1;
        state.lose(&made);
        return (StatusCode::GATEWAY_TIMEOUT, "<html>gateway time-out</html>").into_response();
    }
    if state.hits(|s| &mut s.lost_reply) {
        state.stats.dropped += 1;
        state.lose(&made);
        drop(state);
        drop(flight);
        return hang_up();
    }
    let mut text = " ".repeat(state.switches.padding) + &made.body;
    if state.hits(|s| &mut s.broken_json) {
        state.stats.broken += 1;
        state.lose(&made);
        let half = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
        text.truncate(half);
    } else {
        state.stats.answered += 1;
    }
    drop(state);
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// An answer that never arrives: the head is sent, the body breaks off, the connection closes.
pub(crate) fn hang_up() -> Response {
    let broken = futures::stream::iter([
        Ok(Bytes::from_static(b"{\"id\":")),
        Err(std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the replica hangs up")),
    ]);
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(broken)).into_response()
}

/// An error as the real service words it.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str) -> Response {
    let error = json!({ "error": { "message": message, "type": code, "param": null, "code": code } });
    (status, axum::Json(error)).into_response()
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    key: String,
    state: Mutex<State>,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Counters stay usable after a panic in a test.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a call as under way until it is dropped.
struct InFlight(Arc<Shared>);

impl InFlight {
    fn new(shared: &Arc<Shared>) -> Self {
        let mut state = shared.lock();
        state.in_flight += 1;
        state.stats.peak_in_flight = state.stats.peak_in_flight.max(state.in_flight);
        Self(Arc::clone(shared))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

#[cfg(test)]
mod tests;
