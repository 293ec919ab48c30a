//! One request to the service, and what became of it.
//!
//! The library's own sender repeats requests by itself, a paid one after a 5xx too, and shows no header of an answer, so that neither
//! the pace nor `Retry-After` could be kept above it. From it come the protocol's types; the sending is done here, once per call, and
//! whether to send again is decided by who knows what it costs.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_openai::error::WrappedError;
use bytes::Bytes;
use catalog::simulation::from_outside;
use reqwest::header::{AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;

/// The largest answer that is read into memory: 2,048 vectors of 3,072 numbers in base64 are 34 MB.
const LARGEST: usize = 64 << 20;
/// How much of an answer that is an error is read: a front may answer with a page of any length.
const LARGEST_ERROR: usize = 1 << 16;
/// How much of a service's own words an error repeats.
const WORDS: usize = 300;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum HttpAnswer {
    /// 200, read to its end.
    Done(Bytes),
    /// 429: too fast. The service may say how long to wait.
    Limited(Option<Duration>),
    /// 429 of the kind that waiting does not mend: the account is empty.
    Quota(String),
    /// It was never reached, or it said that it does nothing now and when to come back (`sent` says which): nothing was done.
    Failed { message: String, wait: Option<Duration>, sent: bool },
    /// The request is wrong, or may not be made.
    Refused { status: u16, code: String, message: String },
    /// Sent, and no whole answer came back: it may have been done and paid. What a front answers with a 5xx, a 408 or a 409 says
    /// nothing of what happened behind it.
    Lost { reason: String, wait: Option<Duration> },
}

impl HttpAnswer {
    fn lost(reason: String) -> Self {
        Self::Lost { reason, wait: None }
    }
}

/// Speaks to one service with one key.
pub(crate) struct Http {
    client: reqwest::Client,
    base: Url,
    key: HeaderValue,
    /// The same key, to take it out of what the service says.
    secret: String,
    timeout: Duration,
    /// Whether anything at this URL has answered yet, whatever it said.
    reached: AtomicBool,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.base)
    }
}

impl Http {
    /// # Errors
    /// Words for what is wrong with the URL or the key; never the key.
    pub(crate) fn new(url: &str, key: &str, timeout: Duration) -> Result<Self, String> {
        let base = Url::parse(url).map_err(|error| format!("expected the service's base URL: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err("expected a base URL that starts with `https://` or `http://`".to_owned());
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(
                "expected a base URL without a name or a password in it; the key has a place of its own".to_owned()
            );
        }
        if key.is_empty() {
            return Err("expected a key, found an empty text".to_owned());
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
            .map_err(|_| "expected a key of printable ASCII, found other characters".to_owned())?;
        header.set_sensitive(true);
        // A key follows no redirect to another host.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10));
        // Reading the machine's certificates takes longer than all the rest, and a service without TLS needs none of them.
        let client = if base.scheme() == "http" { client.tls_certs_only([]) } else { client };
        let client = client.build().map_err(|error| format!("the HTTP client can't be made: {error}"))?;
        Ok(Self { client, base, key: header, secret: key.to_owned(), timeout, reached: AtomicBool::new(false) })
    }

    /// Whether the service has answered at all since the start: before that, its URL may as well be wrong.
    pub(crate) fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Posts JSON, once.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> HttpAnswer {
        self.send(self.request(Method::POST, path, self.timeout).json(body)).await
    }

    /// Posts a form with one file, once.
    pub(crate) async fn upload(&self, path: &str, name: &str, purpose: &str, bytes: Bytes) -> HttpAnswer {
        let part = reqwest::multipart::Part::bytes(Vec::from(bytes)).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().text("purpose", purpose.to_owned()).part("file", part);
        // A file of the largest size at 1 MB a second.
        let timeout = self.timeout.max(Duration::from_mins(4));
        self.send(self.request(Method::POST, path, timeout).multipart(form)).await
    }

    /// Gets JSON or a small file.
    pub(crate) async fn get(&self, path: &str) -> HttpAnswer {
        self.send(self.request(Method::GET, path, self.timeout)).await
    }

    /// Opens a large answer, to be read piece by piece.
    pub(crate) async fn open(&self, path: &str) -> Result<Response, HttpAnswer> {
        let request = self.request(Method::GET, path, Duration::from_hours(1));
        let response = request.send().await.map_err(|error| unsent(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        if response.status().is_success() { Ok(response) } else { Err(self.not_done(response).await) }
    }

    fn request(&self, method: Method, path: &str, timeout: Duration) -> RequestBuilder {
        let url = format!("{}{path}", self.base.as_str().trim_end_matches('/'));
        self.client.request(method, url).header(AUTHORIZATION, self.key.clone()).timeout(timeout)
    }

    async fn send(&self, request: RequestBuilder) -> HttpAnswer {
        from_outside(self.answer(request)).await
    }

    async fn answer(&self, request: RequestBuilder) -> HttpAnswer {
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return unsent(&error),
        };
        self.reached.store(true, Ordering::Relaxed);
        if !response.status().is_success() {
            return self.not_done(response).await;
        }
        match head(response, LARGEST).await {
            Ok((body, true)) => HttpAnswer::Done(body.into()),
            Ok((_, false)) => HttpAnswer::lost(format!("expected an answer of at most {LARGEST} bytes, found more")),
            Err(error) => HttpAnswer::lost(format!("the answer broke off: {}", words(&error))),
        }
    }

    /// An answer with a status other than 2xx.
    async fn not_done(&self, response: Response) -> HttpAnswer {
        let (status, wait) = (response.status(), wait(response.headers()));
        let body = head(response, LARGEST_ERROR).await.map(|(body, _)| body).unwrap_or_default();
        let error = serde_json::from_slice::<WrappedError>(&body).ok().map(|it| it.error);
        let code = error.as_ref().and_then(|it| it.code.clone().or_else(|| it.r#type.clone())).unwrap_or_default();
        let kind = error.as_ref().and_then(|it| it.r#type.clone()).unwrap_or_default();
        let said =
            error.map_or_else(|| status.canonical_reason().unwrap_or("no reason given").to_owned(), |it| it.message);
        let message = self.without_key(&said);
        match status {
            StatusCode::TOO_MANY_REQUESTS if code == "insufficient_quota" || kind == "insufficient_quota" => {
                HttpAnswer::Quota(message)
            }
            StatusCode::TOO_MANY_REQUESTS => HttpAnswer::Limited(wait),
            // Who is turned away with a time to come back was not served. Without one it may be a front that gave up waiting.
            StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => {
                HttpAnswer::Failed { message: format!("{status}: {message}"), wait, sent: true }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => {
                HttpAnswer::Lost { reason: format!("{status}: {message}"), wait }
            }
            _ if status.is_server_error() => HttpAnswer::Lost { reason: format!("{status}: {message}"), wait },
            _ => HttpAnswer::Refused { status: status.as_u16(), code, message },
        }
    }

    /// What the service says, short, and without the key: some services repeat it.
    pub(crate) fn without_key(&self, said: &str) -> String {
        let short: String = said.replace(&self.secret, "…").chars().filter(|c| !c.is_control()).take(WORDS).collect();
        short
    }
}

/// A request that got no answer at all.
fn unsent(error: &reqwest::Error) -> HttpAnswer {
    if error.is_connect() || error.is_builder() {
        return HttpAnswer::Failed { message: words(error), wait: None, sent: false };
    }
    HttpAnswer::lost(words(error))
}

/// The body of an answer up to so many bytes, and whether that is all of it.
async fn head(mut response: Response, most: usize) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

/// An error without its URL, down to its innermost reason.
fn words(error: &reqwest::Error) -> String {
    let (mut reason, mut next) = (None, std::error::Error::source(error));
    while let Some(deeper) = next {
        (reason, next) = (Some(deeper), deeper.source());
    }
    let kind = match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_connect() => "the service can't be reached",
        () => "the connection failed",
    };
    reason.map_or_else(|| kind.to_owned(), |reason| format!("{kind}: {reason}"))
}

/// How long the service asks to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date, which is compared with the
/// answer's own `Date`, not with our clock.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim);
    if let Some(milliseconds) = text("retry-after-ms").and_then(|it| it.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    let after = text(RETRY_AFTER.as_str())?;
    if let Ok(seconds) = after.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let (until, now) = (date(after)?, date(text(DATE.as_str())?)?);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_way_of_saying_when_to_come_back_is_understood() {
        let second = |n| Some(Duration::from_secs(n));
        assert_eq!(wait(&headers(&[])), None);
        assert_eq!(wait(&headers(&[("retry-after", "3")])), second(3));
        assert_eq!(
            wait(&headers(&[("retry-after-ms", "250"), ("retry-after", "3")])),
            Some(Duration::from_millis(250))
        );
        let (now, then) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:50:07 GMT");
        assert_eq!(wait(&headers(&[("date", now), ("retry-after", then)])), second(30));
        assert_eq!(wait(&headers(&[("date", then), ("retry-after", now)])), second(0));
        assert_eq!(wait(&headers(&[("retry-after", "soon")])), None);
        assert_eq!(wait(&headers(&[("retry-after", "-1")])), None);
    }

    #[test]
    fn a_wrong_url_or_key_is_said_without_the_key() {
        let new = |url: &str, key: &str| Http::new(url, key, Duration::from_secs(1)).map(|_| ()).unwrap_err();
        assert!(new("api.openai.com", "k").contains("base URL"));
        assert!(new("ftp://x/v1", "k").contains("https://"));
        assert!(new("https://user:pass@x/v1", "k").contains("without a name"));
        assert!(new("https://x/v1", "").contains("empty"));
        let refused = new("https://x/v1", "secret\nkey");
        assert!(!refused.contains("secret"), "{refused}");
        let http = Http::new("https://x/v1", "sk-secret", Duration::from_secs(1)).unwrap();
        assert!(!format!("{http:?}").contains("secret"));
        assert_eq!(http.without_key("wrong key sk-secret given"), "wrong key … given");
    }
}
