//! One tab, and what is taken from it.
//!
//! Answers are stopped at the response stage, read, and let go on. The rule that keeps pages alive: whatever happens while
//! an answer is read, it is let go on afterwards, or the page waits for it for ever. Every answer that is stopped is either
//! captured or skipped for a reason, and the sum is checked when the tab closes.
//!
//! Events are handled one after the other, so that answers are captured in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::emulation::{SetLocaleOverrideParams, SetUserAgentOverrideParams};
use chromiumoxide::cdp::browser_protocol::fetch::{
    ContinueRequestParams, EnableParams, EventRequestPaused, FailRequestParams, GetResponseBodyParams, RequestPattern,
    RequestStage,
};
use chromiumoxide::cdp::browser_protocol::network::{self, ErrorReason, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::AddScriptToEvaluateOnNewDocumentParams;
use chromiumoxide::cdp::browser_protocol::target::CloseTargetParams;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use chromiumoxide::error::CdpError;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::process::Running;
use crate::fetch::retry_after;
use crate::politeness::Politeness;
use crate::source::{BrowserRecipe, Source};

/// Dialogs would stop the page, prints would stop the browser, and what a worker fetches passes us by.
const QUIET: &str = "window.alert = () => {}; window.confirm = () => false; window.prompt = () => null; window.print = () => {}; window.open = () => null; if (navigator.serviceWorker) navigator.serviceWorker.register = () => new Promise(() => {});";

/// A command that is not answered by then never is.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(28);

/// What was taken on its way into the page.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) what: What,
    /// The address that was really asked.
    pub(super) url: String,
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// The body, decompressed, or why there is none.
    pub(super) body: Result<Vec<u8>, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Document,
    Answer,
}

/// Counts of answers that were stopped.
#[derive(Debug, Default)]
struct Counts {
    paused: AtomicU64,
    captured: AtomicU64,
    skipped: AtomicU64,
}

/// One tab, set up for one source.
pub(super) struct Tab {
    page: Page,
    captured: mpsc::UnboundedReceiver<Captured>,
    interceptor: JoinHandle<()>,
    counts: Arc<Counts>,
    source: String,
    running: Arc<Running>,
    keys: u32,
}

impl Tab {
    pub(super) async fn open(
        running: Arc<Running>,
        source: &Source,
        recipe: &BrowserRecipe,
        politeness: &Arc<Politeness>,
    ) -> Result<Self, String> {
        let opening = async {
            let page = running.connection().new_page("about:blank").await?;
            let agent = SetUserAgentOverrideParams::builder()
                .user_agent(format!("{} {}", running.user_agent(), politeness.user_agent()))
                .accept_language("ko-KR,ko;q=0.9");
            page.execute(agent.build().map_err(CdpError::msg)?).await?;
            page.execute(SetLocaleOverrideParams::builder().locale("ko-KR").build()).await?;
            // We take bodies as they pass; the browser need not keep them, nor report each request. What interception
            // needs is a domain of its own.
            page.execute(network::DisableParams::default()).await?;
            page.execute(AddScriptToEvaluateOnNewDocumentParams::new(QUIET)).await?;
            let events = page.event_listener::<EventRequestPaused>().await?;
            page.execute(EnableParams::builder().patterns(patterns(recipe)).build()).await?;
            Ok::<_, CdpError>((page, events))
        };
        let (page, events) = tokio::select! {
            opened = tokio::time::timeout(COMMAND_TIMEOUT, opening) => match opened {
                Ok(Ok(opened)) => opened,
                Ok(Err(error)) => return Err(format!("no tab could be opened: {error}")),
                Err(_) => return Err("no tab could be opened: the browser does not answer".to_owned()),
            },
            () = running.gone() => return Err("no tab could be opened: the browser is gone".to_owned()),
        };
        let (sender, captured) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let interceptor = Interceptor {
            page: page.clone(),
            main_frame: page.mainframe().await.ok().flatten().map(|frame| frame.inner().clone()),
            operation: recipe.operation.clone(),
            max_body_bytes: recipe.max_body_bytes,
            politeness: Arc::clone(politeness),
            sender,
            counts: Arc::clone(&counts),
        };
        let interceptor = tokio::spawn(interceptor.run(events));
        Ok(Self { page, captured, interceptor, counts, source: source.name().to_string(), running, keys: 0 })
    }

    pub(super) fn is_for(&self, source: &Source) -> bool {
        source.name().as_str() == self.source
    }

    pub(super) fn is_in(&self, running: &Arc<Running>) -> bool {
        Arc::ptr_eq(&self.running, running)
    }

    pub(super) fn keys(&self) -> u32 {
        self.keys
    }

    pub(super) fn answers(&self) -> u64 {
        self.counts.captured.load(Ordering::Relaxed)
    }

    /// Leaves for an address. What was captured of the page before is forgotten.
    pub(super) async fn go(&mut self, url: &str) -> Result<(), String> {
        self.keys += 1;
        while self.captured.try_recv().is_ok() {}
        let url = Value::String(url.to_owned());
        self.evaluate(&format!("window.__onggi_left = true; window.stop(); location.assign({url}); 0"))
            .await
            .map(|_| ())
    }

    /// Runs an expression in the page and gives its value.
    pub(super) async fn evaluate(&self, expression: &str) -> Result<Value, String> {
        let params =
            EvaluateParams::builder().expression(expression).await_promise(true).return_by_value(true).build()?;
        let command = async { self.page.execute(params).await };
        let returned = tokio::select! {
            returned = tokio::time::timeout(COMMAND_TIMEOUT, command) => returned.map_err(|_| "the page does not answer".to_owned())?.map_err(|error| error.to_string())?,
            () = self.running.gone() => return Err("the browser is gone".to_owned()),
        };
        match &returned.result.exception_details {
            Some(details) => Err(format!(
                "the page threw: {}",
                details
                    .exception
                    .as_ref()
                    .and_then(|exception| exception.description.clone())
                    .unwrap_or_else(|| details.text.clone())
            )),
            None => Ok(returned.result.result.value.clone().unwrap_or(Value::Null)),
        }
    }

    /// The next thing captured, within a time.
    pub(super) async fn next(&mut self, within: Duration) -> Result<Option<Captured>, String> {
        tokio::select! {
            biased;
            captured = self.captured.recv() => captured.map(Some).ok_or_else(|| "the tab is gone".to_owned()),
            () = tokio::time::sleep(within) => Ok(None),
            () = self.running.gone() => Err("the browser is gone".to_owned()),
        }
    }

    /// What was captured already.
    pub(super) fn waiting(&mut self) -> Option<Captured> {
        self.captured.try_recv().ok()
    }

    /// Waits for what was stopped on its way into the page and is not handed over yet; whether something waits then. The
    /// page had such an answer first: it is let go on before it is handed over.
    pub(super) async fn catch_up(&self) -> bool {
        let open = || {
            let done = self.counts.captured.load(Ordering::Acquire) + self.counts.skipped.load(Ordering::Acquire);
            self.counts.paused.load(Ordering::Acquire) > done
        };
        let deadline = tokio::time::Instant::now() + COMMAND_TIMEOUT;
        while open() && self.is_alive() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        !self.captured.is_empty()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.running.is_alive() && !self.interceptor.is_finished()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.interceptor.abort();
        let (paused, captured, skipped) = (
            self.counts.paused.load(Ordering::Relaxed),
            self.counts.captured.load(Ordering::Relaxed),
            self.counts.skipped.load(Ordering::Relaxed),
        );
        // One may be under way when a tab is left in the middle.
        if paused > captured + skipped + 1 {
            tracing::error!(paused, captured, skipped, "answers were stopped and neither captured nor skipped");
        }
        let (page, running) = (self.page.clone(), Arc::clone(&self.running));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Over the browser and not over the page: a page that hangs does not close itself.
            runtime.spawn(async move {
                if running.is_alive() {
                    let close = page.execute(CloseTargetParams::new(page.target_id().clone()));
                    let _ = tokio::time::timeout(Duration::from_secs(5), close).await;
                }
            });
        }
    }
}

/// Documents and the wanted answers at the response stage; what is not loaded at the request stage, to refuse it.
fn patterns(recipe: &BrowserRecipe) -> Vec<RequestPattern> {
    let of = |kind: ResourceType, url: &str| {
        RequestPattern::builder().url_pattern(url).resource_type(kind).request_stage(RequestStage::Response).build()
    };
    let mut patterns = vec![
        of(ResourceType::Document, "*"),
        of(ResourceType::Xhr, &recipe.response),
        of(ResourceType::Fetch, &recipe.response),
        RequestPattern::builder()
            .url_pattern("*")
            .resource_type(ResourceType::Media)
            .request_stage(RequestStage::Request)
            .build(),
    ];
    patterns.extend(
        recipe
            .block_urls
            .iter()
            .map(|url| RequestPattern::builder().url_pattern(url.clone()).request_stage(RequestStage::Request).build()),
    );
    patterns
}

struct Interceptor {
    page: Page,
    main_frame: Option<String>,
    operation: Option<String>,
    max_body_bytes: usize,
    politeness: Arc<Politeness>,
    sender: mpsc::UnboundedSender<Captured>,
    counts: Arc<Counts>,
}

impl Interceptor {
    async fn run(self, mut events: chromiumoxide::listeners::EventStream<EventRequestPaused>) {
        while let Some(event) = events.next().await {
            self.counts.paused.fetch_add(1, Ordering::Relaxed);
            if event.response_status_code.is_none() && event.response_error_reason.is_none() {
                self.counts.skipped.fetch_add(1, Ordering::Relaxed);
                let _ = self
                    .page
                    .execute(FailRequestParams::new(event.request_id.clone(), ErrorReason::BlockedByClient))
                    .await;
                continue;
            }
            let captured = match self.wanted(&event) {
                Ok(what) => Some(self.capture(&event, what).await),
                Err(reason) => {
                    tracing::trace!(reason, "an answer passes");
                    None
                }
            };
            let went_on = self.page.execute(ContinueRequestParams::new(event.request_id.clone())).await;
            if let Err(error) = went_on {
                tracing::debug!(%error, "an answer could not be let go on");
            }
            match captured {
                Some(captured) => {
                    let sent = self.sender.send(captured);
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
        match &self.operation {
            Some(operation) if !carries(event, operation) => Err("another operation"),
            _ => Ok(What::Answer),
        }
    }

    async fn capture(&self, event: &EventRequestPaused, what: What) -> Captured {
        let header = |name: &str| {
            event
                .response_headers
                .iter()
                .flatten()
                .find(|header| header.name.eq_ignore_ascii_case(name))
                .map(|header| header.value.as_str())
        };
        let status = event.response_status_code.and_then(|status| u16::try_from(status).ok()).unwrap_or(0);
        let announced: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let body = if let Some(reason) = &event.response_error_reason {
            Err(format!("the request failed: {}", reason.as_ref()))
        } else if announced > self.max_body_bytes {
            Err(format!("expected an answer of at most {} bytes, found {announced}", self.max_body_bytes))
        } else {
            match self.page.execute(GetResponseBodyParams::new(event.request_id.clone())).await {
                Ok(returned) => decode(&returned.result.body, returned.result.base64_encoded),
                Err(error) => Err(format!("the answer broke off: {error}")),
            }
        };
        let body = body.and_then(|body| {
            if body.len() > self.max_body_bytes {
                Err(format!("expected an answer of at most {} bytes, found {}", self.max_body_bytes, body.len()))
            } else {
                Ok(body)
            }
        });
        Captured {
            what,
            url: event.request.url.clone(),
            status,
            retry_after: header("retry-after").and_then(|value| retry_after(value, self.politeness.now())),
            body,
        }
    }
}

fn is_redirect(event: &EventRequestPaused) -> bool {
    let location = event.response_headers.iter().flatten().any(|header| header.name.eq_ignore_ascii_case("location"));
    location && matches!(event.response_status_code, Some(301 | 302 | 303 | 307 | 308))
}

/// Whether the request names the operation, in its body or its address. Where the body can't be seen, it may.
fn carries(event: &EventRequestPaused, operation: &str) -> bool {
    if event.request.url.contains(operation) {
        return true;
    }
    let Some(entries) = &event.request.post_data_entries else { return event.request.has_post_data == Some(true) };
    let body: Vec<u8> = entries
        .iter()
        .filter_map(|entry| {
            base64::engine::general_purpose::STANDARD.decode::<&str>(entry.bytes.as_ref()?.as_ref()).ok()
        })
        .flatten()
        .collect();
    if body.is_empty() {
        return event.request.has_post_data == Some(true);
    }
    body.windows(operation.len()).any(|window| window == operation.as_bytes())
}

fn decode(body: &str, is_base64: bool) -> Result<Vec<u8>, String> {
    if is_base64 {
        base64::engine::general_purpose::STANDARD
            .decode(body)
            .map_err(|error| format!("the browser's base64 can't be read: {error}"))
    } else {
        Ok(body.as_bytes().to_vec())
    }
}
