//! A server that answers as a test wrote it, for what the AWS double can't: pages, throttling, failures, lost races.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_glue::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use catalog::aws::SdkConfig;
use serde_json::{Value, json};

/// The configuration of a client of the server at `endpoint`.
pub(crate) fn sdk(endpoint: &str, region: &'static str) -> SdkConfig {
    let credentials = Credentials::new(services::ACCESS_KEY, services::SECRET_KEY, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

#[derive(Default)]
struct Script {
    replies: BTreeMap<String, VecDeque<(u16, Value)>>,
    requests: Vec<(String, Value)>,
}

/// A server with a script: for each operation the answers in their order, the last of them for ever.
#[derive(Clone)]
pub(crate) struct Double {
    pub endpoint: String,
    script: Arc<Mutex<Script>>,
}

impl Double {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<Script>> = Arc::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { endpoint, script }
    }

    pub(crate) fn sdk(&self) -> SdkConfig {
        sdk(&self.endpoint, "us-east-1")
    }

    /// The next answer to an operation such as `GetTables`.
    pub(crate) fn says(&self, operation: &str, answer: Value) -> &Self {
        self.push(operation, 200, answer)
    }

    /// The next answer to an operation is an error.
    pub(crate) fn fails(&self, operation: &str, code: &str, message: &str) -> &Self {
        self.push(operation, 400, json!({ "__type": code, "message": message }))
    }

    fn push(&self, operation: &str, status: u16, answer: Value) -> &Self {
        let mut script = self.script.lock().unwrap();
        script.replies.entry(operation.to_owned()).or_default().push_back((status, answer));
        drop(script);
        self
    }

    /// What an operation was asked with, each time.
    pub(crate) fn asked(&self, operation: &str) -> Vec<Value> {
        let script = self.script.lock().unwrap();
        script.requests.iter().filter(|(name, _)| name == operation).map(|(_, body)| body.clone()).collect()
    }

    /// The operations that were asked for, in their order.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.script.lock().unwrap().requests.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Waits until an operation was asked for.
    pub(crate) async fn until_asked(&self, operation: &str) {
        for _ in 0..500 {
            if !self.asked(operation).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{operation} was not asked for within 5 s; these were: {:?}", self.operations());
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let target = headers.get("x-amz-target").and_then(|it| it.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut script = script.lock().unwrap();
    script.requests.push((operation.clone(), body));
    let (status, answer) = match script.replies.get_mut(&operation) {
        Some(replies) if replies.len() > 1 => replies.pop_front().unwrap(),
        Some(replies) => replies.front().cloned().unwrap(),
        None => (400, json!({ "__type": "NotInTheScript", "message": operation })),
    };
    let kind = [("content-type", "application/x-amz-json-1.1")];
    (StatusCode::from_u16(status).unwrap(), kind, answer.to_string())
}

/// Sends JSON to a server, for the double's own switches. The status line comes back.
pub(crate) async fn post(endpoint: &str, path: &str, body: &Value) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = endpoint.trim_start_matches("http://");
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}
