//! One tab, set up for one key: a context of its own, a proxy of its own, and what is taken on its way in.
//!
//! Events are handled one after the other, so that answers are captured in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chromiumoxide::Page;
use chromiumoxide::auth::Credentials;
use chromiumoxide::cdp::browser_protocol::browser::{
    BrowserContextId, SetDownloadBehaviorBehavior, SetDownloadBehaviorParams,
};
use chromiumoxide::cdp::browser_protocol::emulation::{SetLocaleOverrideParams, SetUserAgentOverrideParams};
use chromiumoxide::cdp::browser_protocol::fetch::{EnableParams, EventRequestPaused};
use chromiumoxide::cdp::browser_protocol::log;
use chromiumoxide::cdp::browser_protocol::network;
use chromiumoxide::cdp::browser_protocol::page::{
    AddScriptToEvaluateOnNewDocumentParams, CreateIsolatedWorldParams, FrameId,
};
use chromiumoxide::cdp::browser_protocol::target::{
    CreateBrowserContextParams, CreateTargetParams, SetAutoAttachParams,
};
use chromiumoxide::cdp::js_protocol::runtime::{self, EvaluateParams};
use chromiumoxide::error::CdpError;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::intercept::{Captured, InterceptCounts, Interceptor, MOST_WAITING, patterns};
use super::process::{Crash, Running};
use crate::egress::{Declared, Proxy};
use crate::items::excerpt;
use crate::politeness::Politeness;
use crate::source::{BrowserRecipe, Source};

/// Dialogs would stop the page, prints would stop the browser, and what a service worker fetches passes us by: no page may
/// register one, whatever it calls.
const QUIET: &str = "window.alert = () => {}; window.confirm = () => false; window.prompt = () => null; window.print = () => {}; window.open = () => null; \
if (window.ServiceWorkerContainer) Object.defineProperty(ServiceWorkerContainer.prototype, 'register', { value: () => new Promise(() => {}), writable: false, configurable: false });";

/// The world of our scripts in a page: the document is the same, and what the page's program has made of `Promise` or
/// `String` is not. So no page decides how much of it we are told.
const WORLD: &str = "onggi";

/// What a message of the browser's may take in one of ours.
const LONGEST_WORD: usize = 300;

/// A command that is not answered by then never is.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(28);

/// How long the word may take that a page crashed.
const CRASH_WORD: Duration = Duration::from_millis(300);

/// One tab, set up for one key.
pub(super) struct Tab {
    page: Page,
    context: BrowserContextId,
    proxy: Proxy,
    captured: mpsc::Receiver<Captured>,
    interceptor: JoinHandle<()>,
    counts: Arc<InterceptCounts>,
    running: Arc<Running>,
}

impl Tab {
    pub(super) async fn open(
        running: Arc<Running>,
        source: &Source,
        recipe: &BrowserRecipe,
        own: &url::Url,
        politeness: &Arc<Politeness>,
    ) -> Result<Self, String> {
        let places = Arc::clone(politeness);
        let locate = Arc::new(move |url: &url::Url| places.hosts().locate_any(url));
        let proxy = Proxy::start(Arc::clone(politeness.egress()), politeness.declared(source), locate)
            .await
            .map_err(|error| format!("no tab could be opened: no port for its proxy: {error}"))?;
        running.count_tab();
        let mut context = None;
        let opened = tokio::select! {
            opened = tokio::time::timeout(COMMAND_TIMEOUT, set_up(&running, recipe, politeness, &proxy, &mut context)) => match opened {
                Ok(Ok(opened)) => Ok(opened),
                Ok(Err(error)) => Err(format!("no tab could be opened: {}", bounded(&error))),
                Err(_) => Err("no tab could be opened: the browser does not answer".to_owned()),
            },
            () = running.gone() => Err("no tab could be opened: the browser is gone".to_owned()),
        };
        let (page, context, events) = match (opened, context) {
            (Ok((page, events)), Some(context)) => (page, context, events),
            (opened, context) => {
                if let Some(context) = context {
                    dispose(&running, context);
                }
                return Err(opened.err().unwrap_or_else(|| "no tab could be opened".to_owned()));
            }
        };
        let (sender, captured) = mpsc::channel(MOST_WAITING);
        let counts = Arc::new(InterceptCounts::default());
        let interceptor = Interceptor {
            page: page.clone(),
            main_frame: page.mainframe().await.ok().flatten().map(|frame| frame.inner().clone()),
            operation: recipe.operation.clone(),
            block_urls: recipe.block_urls.clone(),
            max_body_bytes: recipe.max_body_bytes,
            politeness: Arc::clone(politeness),
            own: own.clone(),
            answering: answering(source, recipe),
            sender,
            counts: Arc::clone(&counts),
        };
        let interceptor = tokio::spawn(interceptor.run(events));
        Ok(Self { page, context, proxy, captured, interceptor, counts, running })
    }

    /// Hosts that the page asked for and was not let to.
    pub(super) fn refused(&self) -> Vec<String> {
        self.proxy.refused()
    }

    /// Leaves for an address. What was captured of the page before is forgotten.
    pub(super) async fn go(&mut self, url: &str) -> Result<(), String> {
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
        let command = async {
            // Made for each question: it goes with its document. A page's frame has the page's own id.
            let mut world = CreateIsolatedWorldParams::new(FrameId::new(self.page.target_id().inner().clone()));
            world.world_name = Some(WORLD.to_owned());
            let mut params = params;
            params.context_id = Some(self.page.execute(world).await?.result.execution_context_id);
            self.page.execute(params).await
        };
        let returned = tokio::select! {
            returned = tokio::time::timeout(COMMAND_TIMEOUT, command) => returned.map_err(|_| "the page does not answer".to_owned())?.map_err(|error| bounded(&error))?,
            () = self.running.gone() => return Err("the browser is gone".to_owned()),
            reason = self.running.crashed(self.page.target_id()) => return Err(reason),
        };
        match &returned.result.exception_details {
            Some(details) => {
                let said = details.exception.as_ref().and_then(|exception| exception.description.as_deref());
                Err(format!("the page threw: {}", excerpt(said.unwrap_or(&details.text), LONGEST_WORD)))
            }
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
            reason = self.running.crashed(self.page.target_id()) => Err(reason),
        }
    }

    /// Why the page's program is no more, if it is.
    fn crash(&self) -> Option<Crash> {
        self.running.crash_of(self.page.target_id())
    }

    /// The same where something of the page just broke: that it crashed may be told a moment later.
    pub(super) async fn crash_soon(&self) -> Option<Crash> {
        if self.running.is_alive() {
            let _ = tokio::time::timeout(CRASH_WORD, self.running.crashed(self.page.target_id())).await;
        }
        self.crash()
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
        while open() && self.captured.is_empty() && self.is_alive() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        !self.captured.is_empty()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.running.is_alive() && !self.interceptor.is_finished() && self.crash().is_none()
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
        dispose(&self.running, self.context.clone());
    }
}

/// The hosts whose answers are taken: the page's own, those of the recipe, and one that its pattern names.
fn answering(source: &Source, recipe: &BrowserRecipe) -> Declared {
    let response = recipe.response.as_deref().unwrap_or_default();
    let named = response.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    let named = named.filter(|name| !name.trim_start_matches("*.").contains(['*', '?'])).map(str::to_owned);
    Declared::new([source.host()].into_iter().chain(recipe.response_hosts.iter().cloned()).chain(named))
}

/// Makes a context and a page in it. The context is handed over as soon as there is one, for it has to go again.
async fn set_up(
    running: &Running,
    recipe: &BrowserRecipe,
    politeness: &Politeness,
    proxy: &Proxy,
    context: &mut Option<BrowserContextId>,
) -> Result<(Page, chromiumoxide::listeners::EventStream<EventRequestPaused>), CdpError> {
    let connection = running.connection();
    let own = CreateBrowserContextParams::builder()
        .dispose_on_detach(true)
        .proxy_server(proxy.server())
        // Loopback is asked through it as well.
        .proxy_bypass_list("<-loopback>")
        .build();
    let id = connection.create_browser_context(own).await?;
    *context = Some(id.clone());
    let mut deny = SetDownloadBehaviorParams::new(SetDownloadBehaviorBehavior::Deny);
    deny.browser_context_id = Some(id.clone());
    connection.execute(deny).await?;
    let mut target = CreateTargetParams::new("about:blank");
    target.browser_context_id = Some(id);
    let page = connection.new_page(target).await?;
    page.authenticate(Credentials { username: Proxy::USER.to_owned(), password: proxy.password().to_owned() }).await?;
    let agent = SetUserAgentOverrideParams::builder()
        .user_agent(format!("{} {}", running.user_agent(), politeness.user_agent()))
        .accept_language(recipe.language.clone());
    page.execute(agent.build().map_err(CdpError::msg)?).await?;
    let locale = recipe.language.split([',', ';']).next().unwrap_or_default().trim().to_owned();
    page.execute(SetLocaleOverrideParams::builder().locale(locale).build()).await?;
    // We take bodies as they pass; the browser need not keep them, nor report each request. What interception needs is a
    // domain of its own. Nor do we want to hear what a page prints or throws, which may be of any length.
    page.execute(network::DisableParams::default()).await?;
    page.execute(runtime::DisableParams::default()).await?;
    page.execute(log::DisableParams::default()).await?;
    // Frames and workers of the page are not talked to, so nothing of theirs reaches us: they pass the proxy like all else,
    // and none of them lets a worker go on that was stopped at its start.
    page.execute(SetAutoAttachParams::new(false, false)).await?;
    page.execute(AddScriptToEvaluateOnNewDocumentParams::new(QUIET)).await?;
    let events = page.event_listener::<EventRequestPaused>().await?;
    let wanted = EnableParams::builder().patterns(patterns(recipe, politeness)).handle_auth_requests(true);
    page.execute(wanted.build()).await?;
    Ok((page, events))
}

/// Closes a context with its pages. Over the browser and not over the page: a page that hangs does not close itself.
fn dispose(running: &Arc<Running>, context: BrowserContextId) {
    let running = Arc::clone(running);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            if running.is_alive() {
                let close = running.connection().dispose_browser_context(context);
                let _ = tokio::time::timeout(Duration::from_secs(5), close).await;
            }
        });
    }
}

fn bounded(error: &CdpError) -> String {
    excerpt(&error.to_string(), LONGEST_WORD)
}
