//! One key: open the page, take the document, click until there is no more.
//!
//! ```text
//! open ──▶ document ──▶ rendered? ──▶ look ──▶ click ──▶ answer ──▶ look …
//!   ▲         │             │           │ no button        │ none, garbage, 429, 5xx
//!   └─────────┴── half ◀────┘           ▼                  ▼
//!            (reloads)                 end            click again (3 tries), then open again
//! ```
//!
//! What follows the first document is in `browser/visit/more.rs`. A page that is opened again hands over again what it had; items
//! are merged by key later.

use std::time::Duration;

use url::Url;

use super::intercept::{Captured, Lost, What};
use super::judge::{AnswerVerdict, Half, Judge, PageTrouble, VisitState};
use super::script::{Act, REST, script};
use super::tab::Tab;
use crate::error::FetchError;
use crate::fetch::{FetchFlow, Response, charset, evidence, wait_before};
use crate::items::{self, Unreadable};
use crate::politeness::{Politeness, RequestOutcome};
use crate::source::{BrowserRecipe, More, Place, Source, host_of};
use crate::status::{StatusKind, answered};

mod more;

/// One key at one page.
pub(super) struct Visit<'a> {
    pub(super) source: &'a Source,
    pub(super) recipe: &'a BrowserRecipe,
    pub(super) politeness: &'a Politeness,
    pub(super) judge: Judge<'a>,
    /// As the source names it.
    pub(super) url: String,
    /// The same with its secrets in their place.
    pub(super) own: Url,
    key: &'a str,
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        source: &'a Source,
        recipe: &'a BrowserRecipe,
        key: &'a str,
        politeness: &'a Politeness,
    ) -> Result<Self, FetchError> {
        let place = Place { key, page: 1, start: 1, size: 1 };
        let url = recipe.url.render(&place);
        let permanent = |reason: String| FetchError::Permanent { url: url.clone(), reason };
        if let Some((name, reference)) = source.secrets().missing() {
            return Err(permanent(format!("expected the secret `{name}` at {reference}, found nothing")));
        }
        let own = Url::parse(&recipe.url.render_address(&place, source.secrets()))
            .map_err(|error| permanent(format!("not an address: {error}")))?;
        let judge = Judge { source, recipe, politeness, url: url.clone(), host: host_of(&own) };
        Ok(Self { source, recipe, politeness, judge, url, own, key })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn own(&self) -> &Url {
        &self.own
    }

    /// Whether the page may be read at all.
    pub(super) async fn check_before(&self) -> Result<(), FetchError> {
        self.politeness.allowed(self.source, &self.url).await
    }

    pub(super) async fn perform(
        &self,
        tab: &mut Tab,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), PageTrouble> {
        let mut seen = VisitState::default();
        for load in 0.. {
            let error = match self.once(tab, &mut seen, on).await? {
                Ok(()) => return Ok(()),
                Err(Half(error)) => error,
            };
            if load >= self.recipe.reloads {
                return Err(PageTrouble::Site(error));
            }
            tracing::debug!(url = self.url, load, %error, "opening the page again");
            let wait = if let FetchError::RateLimited { retry_after, .. } = &error {
                let wait = retry_after.unwrap_or(Duration::from_secs(1));
                if !self.may_wait(wait) {
                    return Err(PageTrouble::Site(error));
                }
                wait
            } else {
                wait_before(load)
            };
            tokio::time::sleep(wait).await;
            seen = VisitState { short_loads: seen.short_loads, ..VisitState::default() };
        }
        Ok(())
    }

    /// Whether the key has patience left for a wait that its host asks for.
    pub(super) fn may_wait(&self, wait: Duration) -> bool {
        self.politeness.may_wait(self.source, self.key, wait)
    }

    /// Opens the page and reads it to its end, or says why it has to be opened again.
    async fn once(
        &self,
        tab: &mut Tab,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<Result<(), Half>, PageTrouble> {
        self.politeness.admit(self.source, &self.url).await.map_err(PageTrouble::Site)?;
        let really = self.politeness.hosts().locate(&self.own);
        self.politeness.egress().check_form(&really).map_err(|refusal| {
            PageTrouble::Site(FetchError::Permanent { url: self.url.clone(), reason: refusal.to_string() })
        })?;
        tab.go(really.as_str()).await.map_err(PageTrouble::Tab)?;
        let html = match self.document(tab, &really).await? {
            Ok(Some(html)) => html,
            Ok(None) => {
                self.politeness.report(&self.url, &RequestOutcome::Answered);
                let _ = on(Response::nothing(self.url.clone()));
                return Ok(Ok(()));
            }
            Err(half) => return Ok(Err(half)),
        };
        if let Some(document) = &self.recipe.document {
            let page = match items::in_document(document, &html) {
                Ok(page) => page,
                Err(why @ Unreadable::TooMuch { .. }) => {
                    return Err(PageTrouble::Site(self.judge.unreadable(why.to_string(), html.as_bytes())));
                }
                Err(why) => return Ok(Err(self.without_document(&why, &html))),
            };
            seen.total = seen.total.max(page.total);
        }
        if let Err(half) = self.rendered(tab).await? {
            return Ok(Err(half));
        }
        self.politeness.report(&self.url, &RequestOutcome::Answered);
        match on(Response::document(self.url.clone(), html)) {
            FetchFlow::Stop => return Ok(Ok(())),
            FetchFlow::Continue { items, .. } => seen.items = items,
        }
        match &self.recipe.more {
            More::Nothing => self.listen(tab, seen, on).await.map(Ok),
            More::Scroll { .. } | More::Button(_) | More::Next(_) => self.click_through(tab, seen, on).await,
        }
    }

    /// A page that loads all it has by itself: what comes until it rests.
    async fn listen(
        &self,
        tab: &mut Tab,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), PageTrouble> {
        if self.recipe.response.is_none() {
            return Ok(());
        }
        loop {
            let captured = match tab.next(REST).await.map_err(PageTrouble::Tab)? {
                Some(captured) => captured,
                None if tab.catch_up().await => continue,
                None => return Ok(()),
            };
            match self.judge.read(captured).await {
                Some(AnswerVerdict::Answer(answer, _, total)) => {
                    let handed_over = self.hand_over(answer, total, seen, on);
                    if handed_over.is_break() {
                        return Ok(());
                    }
                }
                Some(AnswerVerdict::Again(_, error) | AnswerVerdict::End(error)) => {
                    return Err(PageTrouble::Site(error));
                }
                None => {}
            }
        }
    }

    /// The page came, and what the source file looks for is not in it: the next time it may be, or the site has changed.
    pub(super) fn without_document(&self, why: &Unreadable, html: &str) -> Half {
        let reason = format!("{why}; {}", evidence(self.source, html.as_bytes()));
        Half(self.judge.unreadable(reason, html.as_bytes()))
    }

    /// The first document, as it came; none if its status says that there is nothing.
    async fn document(&self, tab: &mut Tab, really: &Url) -> Result<Result<Option<String>, Half>, PageTrouble> {
        let deadline = tokio::time::Instant::now() + self.recipe.ready_timeout;
        let captured = loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match tab.next(left).await.map_err(PageTrouble::Tab)? {
                Some(captured) if captured.what == What::Document => break captured,
                Some(_) => {}
                None => {
                    return Ok(Err(self
                        .judge
                        .half(format!("no document within {} s", self.recipe.ready_timeout.as_secs_f64()))));
                }
            }
        };
        self.read_document(captured, really)
    }

    /// A document that came: its text, nothing if its status says so, or what it is instead.
    pub(super) fn read_document(
        &self,
        captured: Captured,
        really: &Url,
    ) -> Result<Result<Option<String>, Half>, PageTrouble> {
        // Its own http and https are one place.
        let is_own = |url: &Url| {
            let usual = url.port().is_none() && really.port().is_none();
            url.host() == really.host() && (usual || url.port_or_known_default() == really.port_or_known_default())
        };
        if Url::parse(&captured.url).is_ok_and(|url| !is_own(&url)) {
            let to = self.source.secrets().redact(&self.politeness.hosts().name(&captured.url, really));
            let reason = format!("expected the page, found a redirect to another host: {}", items::excerpt(&to, 200));
            return Err(PageTrouble::Site(self.judge.unreadable(reason, &[])));
        }
        let kind = StatusKind::of(captured.status);
        // It is not looked for what is said not to be there.
        if kind == StatusKind::Nothing {
            return Ok(Ok(None));
        }
        let bytes = match captured.body {
            Ok(bytes) => bytes,
            Err(Lost::Broken(reason)) => return Ok(Err(self.judge.half(reason))),
            Err(Lost::TooLarge(reason)) => return Err(PageTrouble::Site(self.judge.unreadable(reason, &[]))),
        };
        let html = match charset::document(captured.content_type.as_deref(), &bytes) {
            Ok(html) => html,
            // An error page may be written in anything.
            Err(_) if kind != StatusKind::Whole => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) => return Err(PageTrouble::Site(self.judge.unreadable(why.to_string(), &bytes))),
        };
        // A page with items is no block page, whatever its reviews quote.
        let has_items = || {
            let document = self.recipe.document.as_ref();
            document
                .is_some_and(|document| items::in_document(document, &html).is_ok_and(|page| !page.items.is_empty()))
        };
        if let Some(phrase) = items::block_phrase(&self.recipe.blocked, &html)
            && !has_items()
        {
            return Err(self.judge.blocked(phrase, captured.status));
        }
        if kind.asks_for_patience(captured.retry_after.is_some()) {
            return self.judge.too_many(captured.retry_after).map(Err);
        }
        let told = || format!("{}; {}", answered(captured.status), evidence(self.source, &bytes));
        match kind {
            StatusKind::Whole | StatusKind::Nothing => Ok(Ok(Some(html))),
            StatusKind::Gone => Err(PageTrouble::Site(FetchError::Gone { url: self.url.clone(), reason: told() })),
            StatusKind::Part | StatusKind::Other => Ok(Err(Half(self.judge.unreadable(told(), &bytes)))),
            StatusKind::NotReady | StatusKind::NotNow | StatusKind::Refused | StatusKind::TooMany => {
                Ok(Err(self.judge.half(told())))
            }
        }
    }

    /// Waits until the page has what a rendered one has.
    pub(super) async fn rendered(&self, tab: &Tab) -> Result<Result<(), Half>, PageTrouble> {
        let deadline = tokio::time::Instant::now() + self.recipe.ready_timeout;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Ok(Err(self.judge.half("the page is not rendered in time".to_owned())));
            }
            let looked = tab.evaluate(&script(self.recipe, Act::Ready, left.min(Duration::from_secs(20)))).await;
            let state = match looked {
                Ok(state) => state,
                // The page that was left took the question with it.
                Err(reason) if tab.is_alive() => {
                    tracing::trace!(reason, "asking the page again");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                Err(reason) => return Err(PageTrouble::Tab(reason)),
            };
            match state["state"].as_str() {
                Some("ready") => return Ok(Ok(())),
                Some("half") => {
                    let text = state["text"].as_str().unwrap_or_default();
                    if let Some(phrase) = self.recipe.blocked.iter().find(|phrase| text.contains(phrase.as_str())) {
                        return Err(self.judge.blocked(phrase, 200));
                    }
                    let length = state["length"].as_u64().unwrap_or_default();
                    let refused = tab.refused();
                    let without = if refused.is_empty() {
                        String::new()
                    } else {
                        format!("; it asked for hosts that are not under [egress] hosts: {}", refused.join(", "))
                    };
                    return Ok(Err(self.judge.half(format!(
                        "expected `{}` on the page, found it half rendered with {length} characters{without}",
                        self.recipe.ready
                    ))));
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}
