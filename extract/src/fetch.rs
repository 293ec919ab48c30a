//! Asking the outside for one key's responses.
//!
//! A [`Fetch`] performs the requests of a key in order and hands over each response as it comes; who receives them says
//! when it is enough. It decides nothing about records: it doesn't know what an item is, only whether an answer is one at
//! all. What differs between sites is in the source's recipe, what differs between ways of asking is here:
//!
//! - `fetch/http.rs`: plain requests, page by page;
//! - `fetch/browser.rs`: a page in a headless Chromium that asks by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use catalog::Timestamp;
use serde_json::Value;

pub use crate::error::FetchError;

use crate::heartbeat::Heartbeat;
use crate::identity;
use crate::items::{self, Unreadable, excerpt};
use crate::politeness::{Hosts, Politeness, RobotsDecision};
use crate::source::{FetchKind, Source};
use crate::task::Key;

mod browser;
mod charset;
mod http;

pub use browser::{Browser, BrowserSettings, find_chromium};
pub use http::Http;

/// One key to fetch.
#[derive(Clone, Copy, Debug)]
pub struct FetchRequest<'a> {
    /// Its source: recipe, pace, robots.
    pub source: &'a Source,
    /// The key.
    pub key: &'a Key,
}

/// One response.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The address that was asked, with the host as the source names it.
    pub url: String,
    /// What it said.
    pub body: Body,
}

/// What a response said.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A JSON answer, as it was written.
    Answer(String),
    /// An HTML document, with which a key begins. One more is the same page opened again.
    Document(String),
    /// An HTML document that followed the one before: the next part of the list.
    NextDocument(String),
    /// Nothing, by its status: there is no more.
    Nothing,
}

impl Body {
    /// What came.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Answer(text) | Self::Document(text) | Self::NextDocument(text) => text,
            Self::Nothing => "",
        }
    }
}

impl Response {
    /// A JSON answer that is at hand as a value.
    #[expect(clippy::needless_pass_by_value, reason = "who answers has made it for this")]
    pub fn answer(url: impl Into<String>, answer: Value) -> Self {
        Self::text(url, answer.to_string())
    }

    /// A JSON answer, as it was written.
    pub fn text(url: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { url: url.into(), body: Body::Answer(answer.into()) }
    }

    /// An HTML document.
    pub fn document(url: impl Into<String>, html: impl Into<String>) -> Self {
        Self { url: url.into(), body: Body::Document(html.into()) }
    }

    /// An answer that there is nothing.
    pub fn nothing(url: impl Into<String>) -> Self {
        Self { url: url.into(), body: Body::Nothing }
    }

    /// An HTML document that is the next part of a list.
    pub fn next_document(url: impl Into<String>, html: impl Into<String>) -> Self {
        Self { url: url.into(), body: Body::NextDocument(html.into()) }
    }
}

/// Whether to go on with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FetchFlow {
    /// There is more, or nobody knows.
    Continue {
        /// So many different items came since the last document: what a site sends twice counts once, so that its total can be
        /// compared.
        items: u64,
        /// Whether what came looks like the end: the next request only makes sure.
        looks_ended: bool,
    },
    /// It is enough.
    Stop,
}

/// A way of asking.
///
/// Contract: responses are handed over in the order of the requests, each once, and never after `on` said [`FetchFlow::Stop`].
/// An answer is handed over only if it is readable; what isn't is asked for again, a few times, and is then an error. An
/// error may come after responses: they are real, but they are not all. [`FetchError::Cut`] says that a bound of the recipe
/// was reached and the site has more.
///
/// A future that is dropped stops at once and leaves nothing behind.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Performs one key's requests in order, handing over each response as it comes; stops early when `on` says [`FetchFlow::Stop`].
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError>;
}

/// What the fetchers need to know.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// Where the sources' hosts really are, and how fast each may be asked.
    pub hosts: Hosts,
    /// Who we say we are; the first word is what robots.txt may call us by. See [`USER_AGENT`].
    pub user_agent: String,
    /// Chromium, if it is not to be looked for under its usual names.
    pub chromium: Option<PathBuf>,
    /// Pages open at the same time.
    pub tabs: usize,
    /// The only clock.
    pub now: fn() -> Timestamp,
}

/// Who we say we are unless a setting says otherwise: a name, and where to complain.
pub const USER_AGENT: &str = concat!("Onggi/", env!("CARGO_PKG_VERSION"), " (+https://github.com/onggi/onggi)");

/// All ways of asking, sharing one [`Politeness`].
pub struct Fetchers {
    politeness: Arc<Politeness>,
    http: Arc<Http>,
    browser: Arc<Browser>,
}

impl Fetchers {
    /// Makes them. No browser is started before one is needed.
    pub fn new(settings: FetchSettings) -> Self {
        let politeness = Arc::new(Politeness::new(settings.hosts, &settings.user_agent, settings.now));
        let http = Arc::new(Http::new(Arc::clone(&politeness)));
        let most_bytes = BrowserSettings::usual_bytes(settings.tabs);
        let browser_settings = BrowserSettings {
            chromium: settings.chromium,
            tabs: settings.tabs,
            most_bytes,
            ..BrowserSettings::default()
        };
        let browser = Arc::new(Browser::new(browser_settings, Arc::clone(&politeness)));
        Self { politeness, http, browser }
    }

    /// The same with a browser whose processes together may hold so many bytes.
    #[must_use]
    pub fn with_browser_memory(mut self, most_bytes: u64) -> Self {
        self.browser = Arc::new(self.browser.with_memory(most_bytes));
        self
    }

    /// The fetcher of a kind.
    pub fn get(&self, kind: FetchKind) -> Arc<dyn Fetch> {
        match kind {
            FetchKind::Http => Arc::clone(&self.http) as Arc<dyn Fetch>,
            FetchKind::Browser => Arc::clone(&self.browser) as Arc<dyn Fetch>,
        }
    }

    /// What robots.txt said so far.
    pub fn robots_decisions(&self) -> Vec<RobotsDecision> {
        self.politeness.robots_decisions()
    }

    /// The manners all of them share.
    pub fn politeness(&self) -> &Arc<Politeness> {
        &self.politeness
    }

    /// From now on the hosts' paces are shared with the other workers of the lake.
    pub fn share_pace(&self, heartbeat: &Heartbeat) {
        self.politeness.share_pace(heartbeat);
    }

    /// The browser, for who wants to look at its process.
    pub fn browser(&self) -> &Arc<Browser> {
        &self.browser
    }

    /// Ends the browser and waits until its processes are gone. Also without it they end with ours.
    pub async fn close(&self) {
        self.browser.close().await;
    }
}

/// How often an answer that is none is asked for again, and the first wait; it doubles.
const RETRIES: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A host that asks for more patience than this, while a key is half read, has the key put back instead.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

fn wait_before(retry: u32) -> Duration {
    catalog::backoff(FIRST_WAIT, retry, LONGEST_WAIT, 1.0)
}

/// Bytes → a readable answer: how many items it has, and how many the site says there are.
fn read_answer(
    source: &Source,
    content_type: Option<&str>,
    bytes: &[u8],
) -> Result<(String, usize, Option<u64>), Unreadable> {
    let answer = charset::answer(content_type, bytes)?;
    let page = items::in_answer(source, &answer)?;
    let (count, total) = (page.items.len(), page.total);
    Ok((answer, count, total))
}

/// What a body was, as evidence in a message: its first characters in one line, no secret of ours, nothing personal. Where
/// items name persons nobody knows what else does: of such a source nothing is quoted.
fn evidence(source: &Source, bytes: &[u8]) -> String {
    // A secret that is cut in two would not be known.
    let start = source.secrets().redact_bytes(&bytes[..bytes.len().min(6_000)]);
    let start = String::from_utf8_lossy(&start[..start.len().min(600)]);
    let line: String = start.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_json = line.starts_with(['{', '[']);
    if source.names_persons() {
        let kind = match line.as_bytes().first() {
            _ if is_json => " of JSON",
            Some(b'<') => " of markup",
            Some(_) => " of text",
            None => "",
        };
        return format!("{} bytes{kind}", bytes.len());
    }
    let shape = if is_json { without_values(&line) } else { line };
    let masked = identity::mask(&shape).unwrap_or(shape);
    format!("{} bytes: {}", bytes.len(), excerpt(&masked, 120))
}

/// JSON, or the beginning of it, with every text that is not a member's name left out: it may be somebody's.
fn without_values(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(open) = rest.find('"') {
        out.push_str(&rest[..open]);
        let text = &rest[open + 1..];
        let mut escaped = false;
        let close = text.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let Some(close) = close else {
            out.push_str("\"…");
            return out;
        };
        let is_name = text[close + 1..].trim_start().starts_with(':');
        out.push_str(if is_name { &rest[open..open + close + 2] } else { "\"…\"" });
        rest = &text[close + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::politeness::retry_after;
    use crate::source::{EMBEDDED, Secrets};

    #[test]
    fn evidence_is_one_masked_line_of_a_source_without_persons() {
        let mut secrets = Secrets::default();
        secrets.declare("KEY", "env:KEY");
        secrets.set("KEY", "k-7f3a91-of-ours");
        let plain = crate::source::tests::any().with_secrets(secrets);
        let quoted = |bytes: &[u8]| evidence(&plain, bytes);
        assert_eq!(quoted(b"<html>\n  call 010-1234-5678\n</html>"), "35 bytes: <html> call [phone] </html>");
        assert_eq!(quoted(&[0xff, b'a']), "2 bytes: \u{fffd}a");
        assert_eq!(quoted(b"you said k-7f3a91-of-ours"), "25 bytes: you said {secret:KEY}");
        let json = br#"[{"items": [{"id": 7, "nickname" :"kim \"k\"", "tags": ["a", "b"], "body": "cut o"#;
        let expected = r#"[{"items": [{"id": 7, "nickname" :"…", "tags": ["…", "…"], "body": "…"#;
        assert_eq!(quoted(json), format!("{} bytes: {expected}", json.len()));
        let (file, text) = EMBEDDED[1];
        let reviews = Source::parse(file, text).unwrap();
        for (body, expected) in [
            (&b" <b>kim</b>"[..], "11 bytes of markup"),
            (b"kim", "3 bytes of text"),
            (br#"{"kim": 1}"#, "10 bytes of JSON"),
            (b"", "0 bytes"),
        ] {
            assert_eq!(evidence(&reviews, body), expected);
        }
    }

    #[test]
    fn retry_after_is_read() {
        let now = "2026-09-30T23:58:30Z".parse().unwrap();
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Thu, 01 Oct 2026 00:00:00 GMT", now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("Wed, 30 Sep 2026 00:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn errors_say_what_to_do() {
        let error = FetchError::RateLimited { host: "a.example".to_owned(), retry_after: Some(Duration::from_secs(9)) };
        assert_eq!(error.to_string(), "`a.example` asks to slow down for 9 s");
        assert!(error.is_retryable());
        let error = FetchError::NoBrowser { tried: "chromium".to_owned() };
        assert!(!error.is_retryable());
        assert!(error.hint().is_some_and(|hint| hint.contains("apt-get install chromium")));
    }
}
