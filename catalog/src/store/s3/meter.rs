//! Every HTTP request to the store passes here: it waits for its turn, is counted, and its error is
//! made fit to be shown.
//!
//! This is below the store's own retries, so what is counted is what is paid for. And it is the only
//! place that sees what became of each try of a put, which [`Tried`] carries back up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::store::Tried;

/// HTTP requests by what they are billed as, retries included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Objects and parts written, uploads begun and completed.
    pub put: u64,
    /// Objects read, whole or in part.
    pub get: u64,
    /// Objects looked at.
    pub head: u64,
    /// Listings, page by page.
    pub list: u64,
    /// Objects deleted, up to 1,000 with one request; uploads given up.
    pub delete: u64,
    /// Those of all above that broke off or were answered with "later" (5xx, 429, 408, 409).
    pub failed: u64,
    /// Bytes of the bodies that were sent.
    pub sent_bytes: u64,
    /// Bytes of the bodies that came back, where the store said how many.
    pub received_bytes: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.put + self.get + self.head + self.list + self.delete
    }

    /// Those made since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            put: self.put - earlier.put,
            get: self.get - earlier.get,
            head: self.head - earlier.head,
            list: self.list - earlier.list,
            delete: self.delete - earlier.delete,
            failed: self.failed - earlier.failed,
            sent_bytes: self.sent_bytes - earlier.sent_bytes,
            received_bytes: self.received_bytes - earlier.received_bytes,
        }
    }

    /// The counts by their names, as a run's record keeps them.
    pub fn counts(&self) -> [(&'static str, u64); 8] {
        [
            ("put_requests", self.put),
            ("get_requests", self.get),
            ("head_requests", self.head),
            ("list_requests", self.list),
            ("delete_requests", self.delete),
            ("failed_requests", self.failed),
            ("sent_bytes", self.sent_bytes),
            ("received_bytes", self.received_bytes),
        ]
    }
}

/// Counts requests, and lets only so many be under way at once.
#[derive(Debug)]
pub(super) struct Meter {
    counts: [AtomicU64; 8],
    turns: Semaphore,
    /// The region that the store said its bucket is in.
    region: Mutex<Option<String>>,
}

/// What a request is billed as: an index into [`Meter::counts`], in the order of [`Requests::counts`].
const PUT: usize = 0;
const GET: usize = 1;
const HEAD: usize = 2;
const LIST: usize = 3;
const DELETE: usize = 4;
const FAILED: usize = 5;
const SENT: usize = 6;
const RECEIVED: usize = 7;

impl Meter {
    pub(super) fn new(at_once: usize) -> Self {
        Self { counts: Default::default(), turns: Semaphore::new(at_once.max(1)), region: Mutex::default() }
    }

    pub(super) fn requests(&self) -> Requests {
        let [put, get, head, list, delete, failed, sent_bytes, received_bytes] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Requests { put, get, head, list, delete, failed, sent_bytes, received_bytes }
    }

    /// The region that the store said its bucket is in, in its last answer that said so.
    pub(super) fn region(&self) -> Option<String> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, what: usize, n: u64) {
        self.counts[what].fetch_add(n, Ordering::Relaxed);
    }
}

/// A way to send HTTP requests, with the meter on it.
#[derive(Debug, Clone)]
pub(super) struct Metered {
    http: Arc<dyn HttpConnector>,
    meter: Arc<Meter>,
    /// All stores of a lake share one pool of connections.
    client: Arc<OnceLock<HttpClient>>,
}

impl Metered {
    pub(super) fn new(http: Arc<dyn HttpConnector>, meter: Arc<Meter>) -> Self {
        Self { http, meter, client: Arc::default() }
    }
}

impl HttpConnector for Metered {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client =
            HttpClient::new(MeteredService { client: self.http.connect(options)?, meter: Arc::clone(&self.meter) });
        Ok(self.client.get_or_init(|| client).clone())
    }
}

#[derive(Debug)]
struct MeteredService {
    client: HttpClient,
    meter: Arc<Meter>,
}

#[async_trait]
impl HttpService for MeteredService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Until the answer begins, not until its body ends: who reads one body while waiting for another must get it.
        let turn = self.meter.turns.acquire().await;
        let _turn = turn.map_err(|closed| HttpError::new(HttpErrorKind::Unknown, closed))?;
        let tried = request.extensions().get::<Tried>().cloned();
        let kind = kind(request.method().as_str(), request.uri().query().unwrap_or_default());
        self.meter.add(kind, 1);
        self.meter.add(SENT, request.body().content_length() as u64);
        // Method and address, never a header: what a request is signed with is in those.
        let asked = tracing::enabled!(tracing::Level::TRACE).then(|| format!("{} {}", request.method(), request.uri()));
        let answer = self.client.execute(request).await;
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        if let Some(asked) = asked {
            tracing::trace!(request = %asked, status, "asked");
        }
        if let Some(tried) = tried {
            let sent = !answer.as_ref().is_err_and(|error| error.kind() == HttpErrorKind::Connect);
            tried.note(status, sent);
        }
        if status.is_none_or(|status| status >= 500 || matches!(status, 408 | 409 | 429)) {
            self.meter.add(FAILED, 1);
        }
        let answer = answer?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if kind != HEAD
            && let Some(bytes) = header("content-length").and_then(|length| length.parse().ok())
        {
            self.meter.add(RECEIVED, bytes);
        }
        if let Some(region) = header("x-amz-bucket-region") {
            *self.meter.region.lock().unwrap_or_else(PoisonError::into_inner) = Some(region.to_owned());
        }
        if answer.status().is_success() || answer.status().is_redirection() || kind == HEAD {
            return Ok(answer);
        }
        let (mut parts, body) = answer.into_parts();
        let body = fit_to_show(&String::from_utf8_lossy(&body.bytes().await?));
        parts.headers.remove("content-length");
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

/// What a request is billed as.
fn kind(method: &str, query: &str) -> usize {
    let has = |name: &str| query.split('&').any(|it| it == name || it.split_once('=').is_some_and(|it| it.0 == name));
    match method {
        "GET" if has("list-type") => LIST,
        "GET" => GET,
        "HEAD" => HEAD,
        "DELETE" => DELETE,
        "POST" if has("delete") => DELETE,
        _ => PUT,
    }
}

/// An error's body without what a person should not see: the store repeats the key, the signed text
/// and the session's token in it.
fn fit_to_show(body: &str) -> String {
    let mut kept = String::new();
    for name in ["Code", "Message", "Region", "Resource", "BucketName", "RequestId"] {
        if let Some(value) = element(body, name) {
            kept += &format!("<{name}>{value}</{name}>");
        }
    }
    if kept.is_empty() { String::new() } else { format!("<Error>{kept}</Error>") }
}

/// The text of the first element of this name.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_as_they_are_billed() {
        for (method, query, expected) in [
            ("GET", "list-type=2&prefix=raw%2F", LIST),
            ("GET", "", GET),
            ("HEAD", "", HEAD),
            ("PUT", "", PUT),
            ("PUT", "partNumber=1&uploadId=x", PUT),
            ("POST", "uploads", PUT),
            ("POST", "uploads=", PUT),
            ("POST", "uploadId=x", PUT),
            ("POST", "delete", DELETE),
            ("DELETE", "uploadId=x", DELETE),
        ] {
            assert_eq!(kind(method, query), expected, "{method} ?{query}");
        }
    }

    #[test]
    fn an_error_repeats_no_key_and_no_token() {
        let said = "<?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>differs</Message>\
            <AWSAccessKeyId>AKIAX</AWSAccessKeyId><CanonicalRequest>x-amz-security-token:t0ken</CanonicalRequest>\
            <SignatureProvided>abc</SignatureProvided><RequestId>r1</RequestId></Error>";
        let shown = fit_to_show(said);
        assert_eq!(
            shown,
            "<Error><Code>SignatureDoesNotMatch</Code><Message>differs</Message><RequestId>r1</RequestId></Error>"
        );
        assert_eq!(fit_to_show("<html>no error of a store</html>"), "");
    }
}
