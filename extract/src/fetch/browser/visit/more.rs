//! The rest of a list: what comes after the first document, part by part, until there is no more.
//!
//! A click is made only after what the one before brought was taken and drawn: a click on a button that moves, or while the
//! page is busy, is lost. It brings an answer, or, where a link leads to the next part, another document. A list ends where
//! nothing leads on; whether that was all, who reads what was handed over says, by the site's total and by what was new.

use std::ops::ControlFlow;
use std::time::Duration;

use url::Url;

use super::super::intercept::{Captured, What};
use super::super::judge::{AnswerVerdict, Half, PageTrouble, VisitState};
use super::super::script::{Act, REST, script};
use super::super::tab::Tab;
use super::Visit;
use crate::error::FetchError;
use crate::fetch::{FetchFlow, RETRIES, Response, wait_before};
use crate::items;
use crate::politeness::RequestOutcome;
use crate::source::{More, host_of};

/// After an answer without items the page may still take its button away.
const IDLE_SETTLE: Duration = Duration::from_millis(150);

/// A button that is gone may come back while the page draws, on a busy machine seconds later; not waited for when the site's
/// total is reached.
const GRACE: Duration = Duration::from_secs(2);

/// How often a page is opened again because it ends before the site's own total. Sites count reviews that they don't show,
/// so a page that ends early again and again is taken at its word.
const SHORT_LOADS: u32 = 2;

/// The next part of the list came, or it was the last one.
type Turned = Result<ControlFlow<()>, Half>;

impl Visit<'_> {
    /// Loads more until there is none.
    pub(super) async fn click_through(
        &self,
        tab: &mut Tab,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<Result<(), Half>, PageTrouble> {
        let (timeout, settle_for) = self.patience();
        let mut expect = None;
        let mut failures = 0;
        let mut last: Option<FetchError> = None;
        // A page that is left takes what it has not loaded yet along.
        if matches!(self.recipe.more, More::Next(_)) && self.loads(tab, seen, on).await?.is_break() {
            return Ok(Ok(()));
        }
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
            let grace = if seen.is_all() { Duration::ZERO } else { GRACE };
            let look = Act::Look { expect: expect.is_some(), grace };
            let looked = tab.evaluate(&script(self.recipe, look, settle)).await.map_err(PageTrouble::Tab)?;
            match looked["state"].as_str() {
                Some("more") => {}
                // The page may be a step ahead: it has drawn an answer that was not handed over yet.
                Some("end") if tab.catch_up().await => {
                    expect = None;
                    continue;
                }
                Some("end") => return Ok(self.ended(seen, last)),
                // The page that is about to be left, or something that is no answer at all.
                _ => return Ok(Err(self.judge.half(format!("the page is gone: {looked}")))),
            }
            if let Some(link) = looked["link"].as_str() {
                self.may_follow(link).await?;
            }
            self.politeness.pace_again(self.source, &self.url).await.map_err(PageTrouble::Site)?;
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
            if captured.what == What::Document && matches!(self.recipe.more, More::Next(_)) {
                match self.turn(tab, captured, seen, on).await? {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(Ok(())),
                    Err(half) => return Ok(Err(half)),
                }
                (failures, last) = (0, None);
                continue;
            }
            match self.judge.read(captured).await {
                Some(AnswerVerdict::Answer(answer, count, total)) => {
                    failures = 0;
                    last = None;
                    expect = Some(count);
                    seen.answers += 1;
                    if self.hand_over(answer, total, seen, on).is_break() {
                        return Ok(Ok(()));
                    }
                }
                Some(AnswerVerdict::Again(wait, error)) => {
                    failures += 1;
                    tracing::debug!(url = self.url, failures, %error, "clicking again");
                    if failures > RETRIES || (!wait.is_zero() && !self.may_wait(wait)) {
                        return Err(PageTrouble::Site(error));
                    }
                    last = Some(error);
                    tokio::time::sleep(wait.max(wait_before(failures - 1))).await;
                }
                Some(AnswerVerdict::End(error)) => return Err(PageTrouble::Site(error)),
                // Another document: the page went away under our hands.
                None => return Ok(Err(self.judge.half("the page left for another".to_owned()))),
            }
        }
    }

    /// Whether a page that leads nowhere any more has said that this was all.
    fn ended(&self, seen: &mut VisitState, last: Option<FetchError>) -> Result<(), Half> {
        // One that lost its button together with an answer has not.
        if let Some(error) = last {
            return Err(Half(error));
        }
        // Neither has one that never had a button, although the site counts more than it brought along.
        if seen.answers == 0 && seen.is_short() && seen.short_loads < SHORT_LOADS {
            seen.short_loads += 1;
            return Err(self.judge.half(format!("the page ends after {} of its items", seen.items)));
        }
        let (items, total, answers) = (seen.items, seen.total, seen.answers);
        tracing::debug!(url = self.url, items, total, answers, "the page ends");
        Ok(())
    }

    /// How long an answer may take, and how long the page may take to draw it.
    fn patience(&self) -> (Duration, Duration) {
        match &self.recipe.more {
            More::Button(more) => (more.timeout, more.settle),
            More::Next(more) => (more.timeout, more.settle),
            More::Scroll { timeout } => (*timeout, IDLE_SETTLE),
            More::Nothing => (REST, IDLE_SETTLE),
        }
    }

    /// What a document without items of its own loads at first.
    async fn loads(
        &self,
        tab: &mut Tab,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<ControlFlow<()>, PageTrouble> {
        if self.recipe.document.is_some() {
            return Ok(ControlFlow::Continue(()));
        }
        match tab.next(self.patience().0).await.map_err(PageTrouble::Tab)? {
            Some(captured) => self.take(captured, seen, on).await,
            None => Ok(ControlFlow::Continue(())),
        }
    }

    /// Whether robots.txt lets us go where a link of the page's own host leads. Other hosts are not left for.
    async fn may_follow(&self, link: &str) -> Result<(), PageTrouble> {
        let named = self.politeness.hosts().name(link, &self.own);
        if Url::parse(&named).is_ok_and(|url| host_of(&url) == self.judge.host) {
            self.politeness.allowed(self.source, &named).await.map_err(PageTrouble::Site)?;
        }
        Ok(())
    }

    /// A link led to another document: the next part of the list.
    async fn turn(
        &self,
        tab: &mut Tab,
        captured: Captured,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<Turned, PageTrouble> {
        self.may_follow(&captured.url).await?;
        let really = self.politeness.hosts().locate(&self.own);
        let url = self.source.secrets().redact(&self.politeness.hosts().name(&captured.url, &self.own));
        let html = match self.read_document(captured, &really) {
            Ok(Ok(Some(html))) => html,
            Ok(Err(half)) => return Ok(Err(half)),
            Ok(Ok(None)) => return Ok(Ok(ControlFlow::Break(()))),
            // Sites answer 404 behind the last page. One that counts more items has not shown its last page.
            Err(PageTrouble::Site(FetchError::Gone { .. })) if !seen.is_short() => {
                return Ok(Ok(ControlFlow::Break(())));
            }
            Err(trouble) => return Err(trouble),
        };
        if let Err(half) = self.rendered(tab).await? {
            return Ok(Err(half));
        }
        seen.answers += 1;
        let Some(document) = &self.recipe.document else {
            return self.loads(tab, seen, on).await.map(Ok);
        };
        let total = match items::in_document(document, &html) {
            Ok(page) => page.total,
            Err(why) => return Ok(Err(self.without_document(&why, &html))),
        };
        Ok(Ok(self.hand_over(Response::next_document(url, html), total, seen, on)))
    }

    /// Clicks and waits for the answer; once more when none comes.
    async fn click(&self, tab: &mut Tab) -> Result<Option<Captured>, PageTrouble> {
        for _ in 0..2 {
            match tab.evaluate(&script(self.recipe, Act::Click, Duration::ZERO)).await {
                Ok(clicked) if clicked["state"] == "clicked" => {}
                Ok(_) => return Ok(tab.waiting()),
                // A page that is left takes the question with it.
                Err(_) if matches!(self.recipe.more, More::Next(_)) && tab.is_alive() => {}
                Err(reason) => return Err(PageTrouble::Tab(reason)),
            }
            if let Some(captured) = tab.next(self.patience().0).await.map_err(PageTrouble::Tab)? {
                return Ok(Some(captured));
            }
        }
        Ok(None)
    }

    /// Hands over what came without a click: a page that asks for its first items once more.
    async fn take_waiting(
        &self,
        tab: &mut Tab,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<ControlFlow<()>, PageTrouble> {
        while let Some(captured) = tab.waiting() {
            if self.take(captured, seen, on).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn take(
        &self,
        captured: Captured,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<ControlFlow<()>, PageTrouble> {
        match self.judge.read(captured).await {
            Some(AnswerVerdict::Answer(answer, _, total)) => Ok(self.hand_over(answer, total, seen, on)),
            Some(AnswerVerdict::End(error)) => Err(PageTrouble::Site(error)),
            Some(AnswerVerdict::Again(..)) | None => Ok(ControlFlow::Continue(())),
        }
    }

    pub(super) fn hand_over(
        &self,
        answer: Response,
        total: Option<u64>,
        seen: &mut VisitState,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> ControlFlow<()> {
        // As who reads what is handed over has it: the most that was said counts.
        seen.total = seen.total.max(total);
        self.politeness.report(&self.url, &RequestOutcome::Answered);
        match on(answer) {
            FetchFlow::Stop => ControlFlow::Break(()),
            FetchFlow::Continue { items, .. } => {
                seen.items = items;
                ControlFlow::Continue(())
            }
        }
    }
}
