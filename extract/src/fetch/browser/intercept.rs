//! What a page asks for, on its way in.
//!
//! Answers are stopped at the response stage, read, and let go on. The rule that keeps pages alive: whatever happens while
//! an answer is read, it is let go on afterwards, or the page waits for it for ever. Every answer that is stopped is either
//! captured or skipped for a reason, and the sum is checked when the tab closes.
//!
//! A body is read as a stream and counted while it is decompressed; a small one that says how small it is is read at once.
//! What is too big is not let go on: the page must not hold it either. Captured answers wait in a queue of a few places:
//! who sends more than is read waits.
//!
//! Requests to hosts that `[hosts]` moves are stopped before they leave and sent where the host really is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EventRequestPaused, FailRequestParams, FulfillRequestParams, GetResponseBodyParams,
    HeaderEntry, RequestPattern, RequestStage, TakeResponseBodyAsStreamParams,
};
use chromiumoxide::cdp::browser_protocol::io::{CloseParams, ReadParams};
use chromiumoxide::cdp::browser_protocol::network::{ErrorReason, ResourceType};
use chromiumoxide::listeners::EventStream;
use futures::StreamExt;
use tokio::sync::mpsc;
use url::Url;

use crate::egress::Declared;
use crate::politeness::{Politeness, retry_after};
use crate::source::BrowserRecipe;

/// How many captured answers wait.
pub(super) const MOST_WAITING: usize = 8;

/// What is read of a stream at once.
const CHUNK: i64 = 1 << 20;

/// How much smaller `deflate` makes a body at most. Others know no bound.
const DEFLATE_RATIO: usize = 1_032;

/// What was taken on its way into the page.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) what: What,
    /// The address that was really asked.
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) content_type: Option<String>,
    /// The body, decompressed, or why there is none.
    pub(super) body: Result<Vec<u8>, Lost>,
}

/// Why there is no body.
#[derive(Debug)]
pub(super) enum Lost {
    /// It did not come.
    Broken(String),
    /// It is more than is taken.
    TooLarge(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Document,
    Answer,
}

/// How many answers were stopped, and what became of them.
#[derive(Debug, Default)]
pub(super) struct InterceptCounts {
    pub(super) paused: AtomicU64,
    pub(super) captured: AtomicU64,
    pub(super) skipped: AtomicU64,
}

/// Documents and the wanted answers at the response stage; what is not loaded, or asked elsewhere, at the request stage.
pub(super) fn patterns(recipe: &BrowserRecipe, politeness: &Politeness) -> Vec<RequestPattern> {
    let of = |kind: ResourceType, url: &str| {
        RequestPattern::builder().url_pattern(url).resource_type(kind).request_stage(RequestStage::Response).build()
    };
    let before = |url: String| RequestPattern::builder().url_pattern(url).request_stage(RequestStage::Request).build();
    let mut patterns = vec![
        // The browser lets us answer the proxy's question for a password only where the request itself was stopped before;
        // what it was told for the document it knows for all that follows.
        RequestPattern::builder()
            .url_pattern("*")
            .resource_type(ResourceType::Document)
            .request_stage(RequestStage::Request)
            .build(),
        of(ResourceType::Document, "*"),
        RequestPattern::builder()
            .url_pattern("*")
            .resource_type(ResourceType::Media)
            .request_stage(RequestStage::Request)
            .build(),
    ];
    patterns.extend(recipe.response.iter().flat_map(|url| [of(ResourceType::Xhr, url), of(ResourceType::Fetch, url)]));
    patterns.extend(recipe.block_urls.iter().cloned().map(before));
    patterns.extend(politeness.hosts().moved().map(|(name, _)| before(format!("*://{name}/*"))));
    patterns
}

pub(super) struct Interceptor {
    pub(super) page: Page,
    pub(super) main_frame: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) block_urls: Vec<String>,
    pub(super) max_body_bytes: usize,
    pub(super) politeness: Arc<Politeness>,
    /// The page's own address, and the hosts whose answers are taken.
    pub(super) own: Url,
    pub(super) answering: Declared,
    pub(super) sender: mpsc::Sender<Captured>,
    pub(super) counts: Arc<InterceptCounts>,
}

/// What becomes of an answer after it was read.
enum Then {
    GoOn,
    Fulfil(Vec<u8>),
    Fail,
}

impl Interceptor {
    pub(super) async fn run(self, mut events: EventStream<EventRequestPaused>) {
        while let Some(event) = events.next().await {
            self.counts.paused.fetch_add(1, Ordering::Relaxed);
            if event.response_status_code.is_none() && event.response_error_reason.is_none() {
                self.counts.skipped.fetch_add(1, Ordering::Relaxed);
                self.before(&event).await;
                continue;
            }
            let (captured, then) = match self.wanted(&event) {
                Ok(what) => {
                    let (captured, then) = self.capture(&event, what).await;
                    (Some(captured), then)
                }
                Err(reason) => {
                    tracing::trace!(reason, "an answer passes");
                    (None, Then::GoOn)
                }
            };
            self.let_go(&event, then).await;
            match captured {
                Some(captured) => {
                    let sent = self.sender.send(captured).await;
                    // Counted when it is there: `catch_up` looks at the count first.
                    self.counts.captured.fetch_add(1, Ordering::Release);
                    if sent.is_err() {
                        break;
                    }
                }
                None => {
                    self.counts.skipped.fetch_add(1, Ordering::Release);
                }
            }
        }
    }

    /// A request that has not left.
    async fn before(&self, event: &EventRequestPaused) {
        let id = event.request_id.clone();
        let elsewhere = Url::parse(&event.request.url).ok().and_then(|url| {
            let really = self.politeness.hosts().locate_any(&url)?;
            (really != url).then_some(really)
        });
        let is_refused = event.resource_type == ResourceType::Media
            || self.block_urls.iter().any(|pattern| fits(pattern, &event.request.url));
        let done = match elsewhere {
            Some(really) if !is_refused => {
                let moved = ContinueRequestParams::builder().request_id(id).url(really.to_string()).build();
                match moved {
                    Ok(moved) => self.page.execute(moved).await.map(|_| ()),
                    Err(_) => return,
                }
            }
            _ if is_refused => {
                self.page.execute(FailRequestParams::new(id, ErrorReason::BlockedByClient)).await.map(|_| ())
            }
            _ => self.page.execute(ContinueRequestParams::new(id)).await.map(|_| ()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a request could not be let go on");
        }
    }

    /// What an answer is to us, or why it passes.
    fn wanted(&self, event: &EventRequestPaused) -> Result<What, &'static str> {
        if is_redirect(event) {
            return Err("a redirect has no body");
        }
        if event.resource_type == ResourceType::Document {
            let main = self.main_frame.as_ref().is_none_or(|frame| frame == event.frame_id.inner());
            return if main { Ok(What::Document) } else { Err("the document of a frame") };
        }
        if event.request.method.eq_ignore_ascii_case("OPTIONS") {
            return Err("a preflight");
        }
        let named = Url::parse(&self.politeness.hosts().name(&event.request.url, &self.own)).ok();
        let is_ours =
            named.as_ref().and_then(|url| Some(self.answering.has(url.host_str()?, url.port_or_known_default()?)));
        if is_ours != Some(true) {
            return Err("the answer of another host");
        }
        match &self.operation {
            Some(operation) if !carries(event, operation) => Err("another operation"),
            _ => Ok(What::Answer),
        }
    }

    async fn capture(&self, event: &EventRequestPaused, what: What) -> (Captured, Then) {
        let status = event.response_status_code.and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
        let (body, then) = if let Some(reason) = &event.response_error_reason {
            (Err(Lost::Broken(format!("the request failed: {}", reason.as_ref()))), Then::GoOn)
        } else {
            self.body(event).await
        };
        let captured = Captured {
            what,
            url: event.request.url.clone(),
            status,
            retry_after: header(event, "retry-after").and_then(|value| retry_after(value, self.politeness.now())),
            content_type: header(event, "content-type").map(str::to_owned),
            body,
        };
        (captured, then)
    }

    async fn body(&self, event: &EventRequestPaused) -> (Result<Vec<u8>, Lost>, Then) {
        let most = self.max_body_bytes;
        let too_large = || {
            let reason = format!("expected an answer of at most {most} bytes, found more");
            (Err(Lost::TooLarge(reason)), Then::Fail)
        };
        let announced = header(event, "content-length").and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|announced| announced > most) {
            return too_large();
        }
        let ratio = match header(event, "content-encoding").map(str::to_ascii_lowercase).as_deref() {
            None | Some("" | "identity") => Some(1),
            Some("gzip" | "deflate" | "x-gzip") => Some(DEFLATE_RATIO),
            Some(_) => None,
        };
        let at_most = announced.zip(ratio).map(|(announced, ratio)| announced.saturating_mul(ratio));
        if at_most.is_some_and(|at_most| at_most <= most) {
            let body = match self.page.execute(GetResponseBodyParams::new(event.request_id.clone())).await {
                Ok(returned) => decode(&returned.result.body, returned.result.base64_encoded).map_err(Lost::Broken),
                Err(error) => Err(Lost::Broken(format!("the answer broke off: {error}"))),
            };
            return match body {
                Ok(body) if body.len() > most => too_large(),
                body => (body, Then::GoOn),
            };
        }
        match self.stream(event, most).await {
            Ok(Some(body)) => (Ok(body.clone()), Then::Fulfil(body)),
            Ok(None) => too_large(),
            Err(reason) => (Err(Lost::Broken(reason)), Then::Fail),
        }
    }

    /// The body piece by piece; nothing for one that is too large.
    async fn stream(&self, event: &EventRequestPaused, most: usize) -> Result<Option<Vec<u8>>, String> {
        let broke = |error: chromiumoxide::error::CdpError| format!("the answer broke off: {error}");
        let taken = self.page.execute(TakeResponseBodyAsStreamParams::new(event.request_id.clone())).await;
        let handle = taken.map_err(broke)?.result.stream.clone();
        let mut body = Vec::new();
        let read = loop {
            let mut read = ReadParams::new(handle.clone());
            read.size = Some(CHUNK);
            let piece = match self.page.execute(read).await {
                Ok(piece) => piece.result,
                Err(error) => break Err(broke(error)),
            };
            match decode(&piece.data, piece.base64_encoded.unwrap_or(false)) {
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(error) => break Err(error),
            }
            if body.len() > most {
                break Ok(None);
            }
            if piece.eof {
                break Ok(Some(body));
            }
        };
        let _ = self.page.execute(CloseParams::new(handle)).await;
        read
    }

    async fn let_go(&self, event: &EventRequestPaused, then: Then) {
        let id = event.request_id.clone();
        let done = match then {
            Then::GoOn => self.page.execute(ContinueRequestParams::new(id)).await.map(|_| ()),
            Then::Fail => self.page.execute(FailRequestParams::new(id, ErrorReason::Aborted)).await.map(|_| ()),
            Then::Fulfil(body) => {
                let mut answer = FulfillRequestParams::new(id, event.response_status_code.unwrap_or(200));
                answer.response_headers = Some(without_encoding(event));
                answer.body = Some(BASE64.encode(body).into());
                self.page.execute(answer).await.map(|_| ())
            }
        };
        if let Err(error) = done {
            tracing::debug!(%error, "an answer could not be let go on");
        }
    }
}

/// Headers of a body that is handed over decompressed and whole.
fn without_encoding(event: &EventRequestPaused) -> Vec<HeaderEntry> {
    let dropped = ["content-encoding", "content-length", "transfer-encoding"];
    let headers = event.response_headers.iter().flatten();
    headers.filter(|header| !dropped.contains(&header.name.to_ascii_lowercase().as_str())).cloned().collect()
}

fn header<'e>(event: &'e EventRequestPaused, name: &str) -> Option<&'e str> {
    let mut headers = event.response_headers.iter().flatten();
    headers.find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.as_str())
}

fn is_redirect(event: &EventRequestPaused) -> bool {
    header(event, "location").is_some() && matches!(event.response_status_code, Some(301 | 302 | 303 | 307 | 308))
}

/// Whether an address fits a pattern of the browser's: `*` is anything, `?` one character, a backslash takes the next as it is.
fn fits(pattern: &str, url: &str) -> bool {
    let (pattern, url) = (pattern.as_bytes(), url.as_bytes());
    let (mut p, mut u) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while u < url.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, u));
                p += 1;
            }
            Some(b'\\') if pattern.get(p + 1) == Some(&url[u]) => {
                p += 2;
                u += 1;
            }
            Some(byte) if *byte == b'?' || *byte == url[u] => {
                p += 1;
                u += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    u = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Whether the request names the operation, in its body or its address. Where the body can't be seen, it may.
fn carries(event: &EventRequestPaused, operation: &str) -> bool {
    if event.request.url.contains(operation) {
        return true;
    }
    let Some(entries) = &event.request.post_data_entries else { return event.request.has_post_data == Some(true) };
    let body: Vec<u8> = entries
        .iter()
        .filter_map(|entry| BASE64.decode::<&str>(entry.bytes.as_ref()?.as_ref()).ok())
        .flatten()
        .collect();
    if body.is_empty() {
        return event.request.has_post_data == Some(true);
    }
    body.windows(operation.len()).any(|window| window == operation.as_bytes())
}

fn decode(body: &str, is_base64: bool) -> Result<Vec<u8>, String> {
    if is_base64 {
        BASE64.decode(body).map_err(|error| format!("the browser's base64 can't be read: {error}"))
    } else {
        Ok(body.as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_the_browser() {
        for (pattern, url, expected) in [
            ("*", "https://a.example/x", true),
            ("*/tracker*", "https://a.example/tracker.js", true),
            ("*/tracker*", "https://a.example/track.js", false),
            ("*://*.veta.naver.com/*", "https://siape.veta.naver.com/fxview?x", true),
            ("*://*.veta.naver.com/*", "https://veta.naver.com/", false),
            ("*.j?", "https://a.example/x.js", true),
            ("*\\?x", "https://a.example/?x", true),
            ("*\\?x", "https://a.example/yx", false),
            ("", "https://a.example/", false),
        ] {
            assert_eq!(fits(pattern, url), expected, "{pattern} {url}");
        }
    }
}
