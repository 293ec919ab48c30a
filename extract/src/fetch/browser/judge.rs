//! What came: is it an answer, is there another try, is it about us?

use std::time::Duration;

use bytes::Bytes;
use url::Url;

use super::intercept::{Captured, Lost, What};
use crate::error::FetchError;
use crate::fetch::{LONGEST_WAIT, Response, evidence, read_answer};
use crate::items::{self, Unreadable};
use crate::politeness::{Politeness, RequestOutcome};
use crate::source::{BrowserRecipe, Source, host_of};
use crate::status::{StatusKind, answered};

/// Why a visit ended early.
pub(super) enum PageTrouble {
    /// It is about the site or about us.
    Site(FetchError),
    /// The tab or the browser was lost.
    Tab(String),
    /// The page held too much: what is too much.
    TooMuch(String),
}

/// Why a page is opened again.
pub(super) struct Half(pub(super) FetchError);

/// What a captured answer is.
pub(super) enum AnswerVerdict {
    Answer(Response, usize, Option<u64>),
    /// Wait so long and ask again.
    Again(Duration, FetchError),
    End(FetchError),
}

/// Who looks at what comes for one key.
pub(super) struct Judge<'a> {
    pub(super) source: &'a Source,
    pub(super) recipe: &'a BrowserRecipe,
    pub(super) politeness: &'a Politeness,
    /// The page, as the source names it.
    pub(super) url: String,
    pub(super) host: String,
}

impl Judge<'_> {
    /// What an answer is worth; nothing for a document.
    pub(super) async fn read(&self, captured: Captured) -> Option<AnswerVerdict> {
        if captured.what == What::Document {
            return None;
        }
        let named = Url::parse(&self.url)
            .map_or_else(|_| captured.url.clone(), |own| self.politeness.hosts().name(&captured.url, &own));
        // An answer of another host is read under that host's rules.
        if Url::parse(&named).is_ok_and(|url| host_of(&url) != self.host)
            && let Err(error) = self.politeness.allowed(self.source, &named).await
        {
            return Some(AnswerVerdict::End(error));
        }
        let again = |reason: String| {
            AnswerVerdict::Again(Duration::ZERO, FetchError::Transient { url: self.url.clone(), reason })
        };
        let kind = StatusKind::of(captured.status);
        // It is not looked for what is said not to be there.
        if kind == StatusKind::Nothing {
            let url = self.source.secrets().redact(&named);
            return Some(AnswerVerdict::Answer(Response::nothing(url), 0, None));
        }
        let bytes = match captured.body {
            Ok(bytes) => bytes,
            Err(Lost::Broken(reason)) => return Some(again(reason)),
            Err(Lost::TooLarge(reason)) => return Some(AnswerVerdict::End(self.unreadable(reason, &[]))),
        };
        let answer = match kind {
            StatusKind::Whole => read_answer(self.source, captured.content_type.as_deref(), &bytes),
            _ => Err(Unreadable::Refused(format!("status {}", captured.status))),
        };
        let why = match answer {
            Ok((text, count, total)) => {
                let url = self.source.secrets().redact(&named);
                return Some(AnswerVerdict::Answer(Response::text(url, text), count, total));
            }
            Err(why) => why,
        };
        if let Some(phrase) = items::block_phrase(&self.recipe.blocked, &String::from_utf8_lossy(&bytes)) {
            let PageTrouble::Site(error) = self.blocked(phrase, captured.status) else { return None };
            return Some(AnswerVerdict::End(error));
        }
        let unreadable = || self.unreadable(format!("{why}; {}", evidence(self.source, &bytes)), &bytes);
        Some(match (kind, &why) {
            (kind, _) if kind.asks_for_patience(captured.retry_after.is_some()) => match self
                .too_many(captured.retry_after)
            {
                Ok(Half(error)) => AnswerVerdict::Again(captured.retry_after.unwrap_or(Duration::from_secs(1)), error),
                Err(PageTrouble::Site(error)) => AnswerVerdict::End(error),
                Err(PageTrouble::Tab(reason) | PageTrouble::TooMuch(reason)) => again(reason),
            },
            (StatusKind::Whole, Unreadable::TooMuch { .. }) => AnswerVerdict::End(unreadable()),
            // An error of the service in a form of its own looks like a list that moved: the next answer may be well.
            (StatusKind::Whole, Unreadable::Shape { .. } | Unreadable::Garbage { .. }) => {
                AnswerVerdict::Again(Duration::ZERO, unreadable())
            }
            (StatusKind::Part, _) => {
                let reason = format!("{}; {}", answered(captured.status), evidence(self.source, &bytes));
                AnswerVerdict::Again(Duration::ZERO, self.unreadable(reason, &bytes))
            }
            _ => again(format!("{why}; {}", evidence(self.source, &bytes))),
        })
    }

    pub(super) fn unreadable(&self, reason: String, body: &[u8]) -> FetchError {
        FetchError::Unreadable { url: self.url.clone(), reason, body: Bytes::copy_from_slice(body) }
    }

    pub(super) fn too_many(&self, wait: Option<Duration>) -> Result<Half, PageTrouble> {
        self.politeness.report(&self.url, &RequestOutcome::TooMany { retry_after: wait });
        let error = FetchError::RateLimited { host: self.host.clone(), retry_after: wait };
        if wait.unwrap_or_default() > LONGEST_WAIT { Err(PageTrouble::Site(error)) } else { Ok(Half(error)) }
    }

    pub(super) fn blocked(&self, phrase: &str, status: u16) -> PageTrouble {
        let evidence = format!("`{phrase}` with status {status}");
        self.politeness.report(&self.url, &RequestOutcome::Blocked { evidence: evidence.clone() });
        PageTrouble::Site(FetchError::Blocked { host: self.host.clone(), evidence })
    }

    pub(super) fn half(&self, reason: String) -> Half {
        Half(FetchError::Transient { url: self.url.clone(), reason })
    }
}

/// What came so far, as far as the end of the list is concerned.
#[derive(Default)]
pub(super) struct VisitState {
    /// Different ones: a page that asks for its first items once more has not come any further.
    pub(super) items: u64,
    pub(super) total: Option<u64>,
    /// Answers to clicks, and documents they led to.
    pub(super) answers: u64,
    /// Loads that ended before their total without one.
    pub(super) short_loads: u32,
}

impl VisitState {
    pub(super) fn is_short(&self) -> bool {
        self.total.is_some_and(|total| self.items < total)
    }

    pub(super) fn is_all(&self) -> bool {
        self.total.is_some_and(|total| self.items >= total)
    }
}
