//! One key: open the page, take the document, click until there is no more.
//!
//! ```text
//! open ──▶ document ──▶ rendered? ──▶ look ──▶ click ──▶ answer ──▶ look …
//!   ▲         │             │           │ no button        │ none, garbage, 429, 5xx
//!   └─────────┴── half ◀────┘           ▼                  ▼
//!            (reloads)                 end            click again (3 tries), then open again
//! ```
//!
//! A click is made only after the answer to the one before was taken and drawn: a click on a button that moves, or while
//! the page is busy, is lost. A page that is opened again hands over again what it had; items are merged by key later.

use std::ops::ControlFlow;
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::intercept::{Captured, Lost, What};
use super::judge::{Half, Judge, Trouble, Verdict};
use super::tab::Tab;
use crate::error::FetchError;
use crate::fetch::{Flow, RETRIES, Response, charset, evidence, wait_before};
use crate::items::{self, Unreadable};
use crate::politeness::{Outcome, Politeness};
use crate::source::{BrowserRecipe, More, Place, Source, host_of};

const PAGE_JS: &str = include_str!("page.js");

/// After an answer without items the page may still take its button away.
const IDLE_SETTLE: Duration = Duration::from_millis(150);

/// A button that is gone may come back while the page draws, on a busy machine seconds later; not waited for when the site's
/// total is reached.
const GRACE: Duration = Duration::from_secs(2);

/// How often a page is opened again because it ends before the site's own total. Sites count reviews that they don't show,
/// so a page that ends early again and again is taken at its word.
const SHORT_LOADS: u32 = 2;

/// A loaded page that does not change for so long, and has no list, is half rendered.
const REST: Duration = Duration::from_millis(1_500);

/// One key at one page.
pub(super) struct Visit<'a> {
    source: &'a Source,
    recipe: &'a BrowserRecipe,
    politeness: &'a Politeness,
    judge: Judge<'a>,
    /// As the source names it.
    url: String,
    /// The same with its secrets in their place.
    own: Url,
}

/// What came so far, as far as the end of the list is concerned.
#[derive(Default)]
struct Seen {
    /// Different ones: a page that asks for its first items once more has not come any further.
    items: u64,
    total: Option<u64>,
    /// Answers to clicks.
    answers: u64,
    /// Loads that ended before their total without one.
    short_loads: u32,
}

impl Seen {
    fn is_short(&self) -> bool {
        self.total.is_some_and(|total| self.items < total)
    }

    fn is_all(&self) -> bool {
        self.total.is_some_and(|total| self.items >= total)
    }
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        source: &'a Source,
        recipe: &'a BrowserRecipe,
        key: &str,
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
        Ok(Self { source, recipe, politeness, judge, url, own })
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
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<(), Trouble> {
        let mut seen = Seen::default();
        for load in 0.. {
            let error = match self.once(tab, &mut seen, on).await? {
                Ok(()) => return Ok(()),
                Err(Half(error)) => error,
            };
            if load >= self.recipe.reloads {
                return Err(Trouble::Site(error));
            }
            tracing::debug!(url = self.url, load, %error, "opening the page again");
            let wait = if let FetchError::RateLimited { retry_after, .. } = &error {
                retry_after.unwrap_or(Duration::from_secs(1))
            } else {
                wait_before(load)
            };
            tokio::time::sleep(wait).await;
            seen = Seen { short_loads: seen.short_loads, ..Seen::default() };
        }
        Ok(())
    }

    /// Opens the page and reads it to its end, or says why it has to be opened again.
    async fn once(
        &self,
        tab: &mut Tab,
        seen: &mut Seen,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<Result<(), Half>, Trouble> {
        self.politeness.admit(self.source, &self.url).await.map_err(Trouble::Site)?;
        let really = self.politeness.hosts().locate(&self.own);
        self.politeness.egress().check_form(&really).map_err(|refusal| {
            Trouble::Site(FetchError::Permanent { url: self.url.clone(), reason: refusal.to_string() })
        })?;
        tab.go(really.as_str()).await.map_err(Trouble::Tab)?;
        let html = match self.document(tab, &really).await? {
            Ok(html) => html,
            Err(half) => return Ok(Err(half)),
        };
        if let Some(document) = &self.recipe.document {
            let page = match items::in_document(document, &html) {
                Ok(page) => page,
                Err(why @ Unreadable::TooMuch { .. }) => {
                    return Err(Trouble::Site(self.judge.unreadable(why.to_string(), html.as_bytes())));
                }
                Err(why) => return Ok(Err(self.judge.half(format!("{why}; {}", evidence(html.as_bytes()))))),
            };
            seen.total = page.total.or(seen.total);
        }
        if let Err(half) = self.rendered(tab).await? {
            return Ok(Err(half));
        }
        self.politeness.report(&self.url, &Outcome::Answered);
        match on(Response::document(self.url.clone(), html)) {
            Flow::Stop => return Ok(Ok(())),
            Flow::Continue(items) => seen.items = items,
        }
        match &self.recipe.more {
            More::Nothing => self.listen(tab, seen, on).await.map(Ok),
            More::Scroll { .. } | More::Button(_) => self.click_through(tab, seen, on).await,
        }
    }

    /// A page that loads all it has by itself: what comes until it rests.
    async fn listen(
        &self,
        tab: &mut Tab,
        seen: &mut Seen,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<(), Trouble> {
        loop {
            let captured = match tab.next(REST).await.map_err(Trouble::Tab)? {
                Some(captured) => captured,
                None if tab.catch_up().await => continue,
                None => return Ok(()),
            };
            match self.judge.read(captured).await {
                Some(Verdict::Answer(answer, _, total)) => {
                    let handed_over = self.hand_over(answer, total, seen, on);
                    if handed_over.is_break() {
                        return Ok(());
                    }
                }
                Some(Verdict::Again(_, error) | Verdict::End(error)) => return Err(Trouble::Site(error)),
                None => {}
            }
        }
    }

    /// The first document, as it came.
    async fn document(&self, tab: &mut Tab, really: &Url) -> Result<Result<String, Half>, Trouble> {
        let deadline = tokio::time::Instant::now() + self.recipe.ready_timeout;
        let captured = loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            match tab.next(left).await.map_err(Trouble::Tab)? {
                Some(captured) if captured.what == What::Document => break captured,
                Some(_) => {}
                None => {
                    return Ok(Err(self
                        .judge
                        .half(format!("no document within {} s", self.recipe.ready_timeout.as_secs_f64()))));
                }
            }
        };
        // Its own http and https are one place.
        let is_own = |url: &Url| {
            let usual = url.port().is_none() && really.port().is_none();
            url.host() == really.host() && (usual || url.port_or_known_default() == really.port_or_known_default())
        };
        if Url::parse(&captured.url).is_ok_and(|url| !is_own(&url)) {
            let to = self.source.secrets().redact(&self.politeness.hosts().name(&captured.url, really));
            let reason = format!("expected the page, found a redirect to another host: {}", items::excerpt(&to, 200));
            return Err(Trouble::Site(self.judge.unreadable(reason, &[])));
        }
        let bytes = match captured.body {
            Ok(bytes) => bytes,
            Err(Lost::Broken(reason)) => return Ok(Err(self.judge.half(reason))),
            Err(Lost::TooLarge(reason)) => return Err(Trouble::Site(self.judge.unreadable(reason, &[]))),
        };
        let html = match charset::document(captured.content_type.as_deref(), &bytes) {
            Ok(html) => html,
            // An error page may be written in anything.
            Err(_) if !(200..=299).contains(&captured.status) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(why) => return Err(Trouble::Site(self.judge.unreadable(why.to_string(), &bytes))),
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
        match captured.status {
            200..=299 => Ok(Ok(html)),
            429 => self.judge.too_many(captured.retry_after).map(Err),
            503 if captured.retry_after.is_some() => self.judge.too_many(captured.retry_after).map(Err),
            404 | 410 => {
                let reason = format!("it answered {}; {}", captured.status, evidence(&bytes));
                Err(Trouble::Site(FetchError::Gone { url: self.url.clone(), reason }))
            }
            status => Ok(Err(self.judge.half(format!("it answered {status}; {}", evidence(&bytes))))),
        }
    }

    /// Waits until the page has what a rendered one has.
    async fn rendered(&self, tab: &Tab) -> Result<Result<(), Half>, Trouble> {
        let deadline = tokio::time::Instant::now() + self.recipe.ready_timeout;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Ok(Err(self.judge.half("the page is not rendered in time".to_owned())));
            }
            let looked = tab.evaluate(&self.script("ready", left.min(Duration::from_secs(20)), false, false)).await;
            let state = match looked {
                Ok(state) => state,
                // The page that was left took the question with it.
                Err(reason) if tab.is_alive() => {
                    tracing::trace!(reason, "asking the page again");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                Err(reason) => return Err(Trouble::Tab(reason)),
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

    async fn click_through(
        &self,
        tab: &mut Tab,
        seen: &mut Seen,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<Result<(), Half>, Trouble> {
        let (timeout, settle_for) = self.patience();
        let mut expect = None;
        let mut failures = 0;
        let mut last: Option<FetchError> = None;
        loop {
            if self.take_waiting(tab, seen, on).await?.is_break() {
                return Ok(Ok(()));
            }
            if seen.is_all() && matches!(self.recipe.more, More::Scroll { .. }) {
                return Ok(Ok(()));
            }
            let settle = match expect {
                Some(0) => IDLE_SETTLE,
                _ => settle_for,
            };
            let looked = tab
                .evaluate(&self.script("look", settle, expect.is_some(), !seen.is_all()))
                .await
                .map_err(Trouble::Tab)?;
            match looked["state"].as_str() {
                Some("more") => {}
                // The page may be a step ahead: it has drawn an answer that was not handed over yet.
                Some("end") if tab.catch_up().await => {
                    expect = None;
                    continue;
                }
                Some("end") => {
                    // A page that lost its button together with an answer has not said that this was all.
                    if let Some(error) = last {
                        return Ok(Err(Half(error)));
                    }
                    // Neither has one that never had a button, although the site counts more than it brought along.
                    if seen.answers == 0 && seen.is_short() && seen.short_loads < SHORT_LOADS {
                        seen.short_loads += 1;
                        return Ok(Err(self.judge.half(format!("the page ends after {} of its items", seen.items))));
                    }
                    tracing::debug!(
                        url = self.url,
                        items = seen.items,
                        total = seen.total,
                        answers = seen.answers,
                        "the page ends"
                    );
                    return Ok(Ok(()));
                }
                // The page that is about to be left, or something that is no answer at all.
                _ => return Ok(Err(self.judge.half(format!("the page is gone: {looked}")))),
            }
            self.politeness.pace_again(self.source, &self.url).await.map_err(Trouble::Site)?;
            // What came meanwhile is not the answer to the click that follows.
            if self.take_waiting(tab, seen, on).await?.is_break() {
                return Ok(Ok(()));
            }
            let Some(captured) = self.click(tab).await? else {
                // Nobody says where a page ends that is scrolled, but that it asks for nothing more.
                if seen.is_all() || matches!(self.recipe.more, More::Scroll { .. }) {
                    return Ok(Ok(()));
                }
                return Ok(Err(self.judge.half(format!("no answer to two clicks, {} s each", timeout.as_secs_f64()))));
            };
            expect = None;
            match self.judge.read(captured).await {
                Some(Verdict::Answer(answer, count, total)) => {
                    failures = 0;
                    last = None;
                    expect = Some(count);
                    seen.answers += 1;
                    if self.hand_over(answer, total, seen, on).is_break() {
                        return Ok(Ok(()));
                    }
                }
                Some(Verdict::Again(wait, error)) => {
                    failures += 1;
                    tracing::debug!(url = self.url, failures, %error, "clicking again");
                    if failures > RETRIES {
                        return Err(Trouble::Site(error));
                    }
                    last = Some(error);
                    tokio::time::sleep(wait.max(wait_before(failures - 1))).await;
                }
                Some(Verdict::End(error)) => return Err(Trouble::Site(error)),
                // Another document: the page went away under our hands.
                None => return Ok(Err(self.judge.half("the page left for another".to_owned()))),
            }
        }
    }

    /// How long an answer may take, and how long the page may take to draw it.
    fn patience(&self) -> (Duration, Duration) {
        match &self.recipe.more {
            More::Button(more) => (more.timeout, more.settle),
            More::Scroll { timeout } => (*timeout, IDLE_SETTLE),
            More::Nothing => (REST, IDLE_SETTLE),
        }
    }

    /// Clicks and waits for the answer; once more when none comes.
    async fn click(&self, tab: &mut Tab) -> Result<Option<Captured>, Trouble> {
        for _ in 0..2 {
            let clicked =
                tab.evaluate(&self.script("click", Duration::ZERO, false, false)).await.map_err(Trouble::Tab)?;
            if clicked["state"] != "clicked" {
                return Ok(tab.waiting());
            }
            if let Some(captured) = tab.next(self.patience().0).await.map_err(Trouble::Tab)? {
                return Ok(Some(captured));
            }
        }
        Ok(None)
    }

    /// Hands over what came without a click: a page that asks for its first items once more.
    async fn take_waiting(
        &self,
        tab: &mut Tab,
        seen: &mut Seen,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<ControlFlow<()>, Trouble> {
        while let Some(captured) = tab.waiting() {
            match self.judge.read(captured).await {
                Some(Verdict::Answer(answer, _, total)) => {
                    if self.hand_over(answer, total, seen, on).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Some(Verdict::End(error)) => return Err(Trouble::Site(error)),
                Some(Verdict::Again(..)) | None => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn hand_over(
        &self,
        answer: Response,
        total: Option<u64>,
        seen: &mut Seen,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> ControlFlow<()> {
        seen.total = total.or(seen.total);
        self.politeness.report(&self.url, &Outcome::Answered);
        match on(answer) {
            Flow::Stop => ControlFlow::Break(()),
            Flow::Continue(items) => {
                seen.items = items;
                ControlFlow::Continue(())
            }
        }
    }

    /// The call of `page.js`. Its argument is JSON, and JSON is JavaScript. What the page makes it throw is of any length.
    fn script(&self, act: &str, wait: Duration, expect: bool, grace: bool) -> String {
        let mut argument = json!({
            "act": act, "wait": millis(wait), "rest": millis(REST), "expect": expect, "grace": if grace { millis(GRACE) } else { 0 },
            "ready": self.recipe.ready, "scrolls": matches!(self.recipe.more, More::Scroll { .. }),
        });
        if let (More::Button(more), Value::Object(members)) = (&self.recipe.more, &mut argument) {
            members.insert("list".to_owned(), more.list.clone().into());
            members.insert("within".to_owned(), more.within.clone().into());
            members.insert("button".to_owned(), more.button.clone().into());
            members.insert("texts".to_owned(), more.texts.clone().into());
            members.insert("prune".to_owned(), more.prune.clone().into());
            members.insert("keep".to_owned(), more.keep.into());
        }
        format!(
            "({PAGE_JS})({argument}).catch((thrown) => {{ try {{ return {{ state: 'threw', text: String(thrown).slice(0, 300) }}; }} catch {{ return {{ state: 'threw' }}; }} }})"
        )
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
