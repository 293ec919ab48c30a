//! Plain requests, page by page.
//!
//! The hard part is what counts as an answer. A status says little: sites send block pages with 200 and errors as JSON. So
//! an answer is one when it is JSON and holds a list of items where the source says; everything else is asked for again a
//! few times, the pace kept, and is then an error with its first bytes as evidence. An answer that redirects is no answer:
//! an API doesn't, and a login page or another host must not be read as one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use catalog::simulation::sleep;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use url::Url;

use super::{
    Fetch, FetchError, FetchFlow, FetchRequest, LONGEST_WAIT, RETRIES, Response, evidence, read_answer, wait_before,
};
use crate::egress::{Answer, AskError, ask};
use crate::items::{self, Unreadable};
use crate::politeness::{Politeness, RequestOutcome, retry_after};
use crate::source::{HttpRecipe, Method, Place, Recipe, Source, host_of};
use crate::status::{StatusKind, answered};

/// Plain requests.
#[derive(Debug)]
pub struct Http {
    politeness: Arc<Politeness>,
    client: Result<reqwest::Client, String>,
}

/// What went wrong with one try, before it is known whether there is another.
enum HttpTrouble {
    /// Try again.
    Again(FetchError),
    /// Wait so long, then try again.
    Wait(Duration, FetchError),
    /// No use.
    End(FetchError),
}

impl HttpTrouble {
    /// What a site says back may quote what it was sent.
    fn redacted(self, source: &Source) -> Self {
        match self {
            Self::Again(error) => Self::Again(error.redacted(source.secrets())),
            Self::Wait(wait, error) => Self::Wait(wait, error.redacted(source.secrets())),
            Self::End(error) => Self::End(error.redacted(source.secrets())),
        }
    }
}

/// One page of one key.
struct PageRequest<'a> {
    source: &'a Source,
    recipe: &'a HttpRecipe,
    place: Place<'a>,
    /// As it is shown.
    url: String,
    /// Whether the pages before look like the end.
    only_makes_sure: bool,
}

/// How services say that there is no such page.
const NO_SUCH_PAGE: [u16; 3] = [400, 416, 422];

impl Http {
    /// Makes a client. One that can't be made is reported with the first request.
    pub fn new(politeness: Arc<Politeness>) -> Self {
        let client = politeness.egress().client(politeness.user_agent()).build().map_err(|error| error.to_string());
        Self { politeness, client }
    }

    /// An answer and how many items it holds; none if its status says that there is nothing.
    async fn answer(&self, page: &PageRequest<'_>) -> Result<Option<(String, u64)>, FetchError> {
        let url = &page.url;
        let mut retry = 0;
        loop {
            let answer = self.once(page).await.map_err(|trouble| trouble.redacted(page.source));
            if let Err(HttpTrouble::Again(_)) = &answer {
                self.politeness.report(url, &RequestOutcome::Failed);
            }
            match answer {
                Ok(answer) => {
                    self.politeness.report(url, &RequestOutcome::Answered);
                    return Ok(answer);
                }
                Err(HttpTrouble::End(error)) => return Err(error),
                Err(HttpTrouble::Again(error) | HttpTrouble::Wait(_, error)) if retry >= RETRIES => return Err(error),
                Err(HttpTrouble::Again(error)) if self.politeness.is_silent(url) => return Err(error),
                Err(HttpTrouble::Again(error)) => {
                    tracing::debug!(url, retry, %error, "asking again");
                    sleep(wait_before(retry)).await;
                }
                Err(HttpTrouble::Wait(wait, error)) if !self.politeness.may_wait(page.source, page.place.key, wait) => {
                    return Err(error);
                }
                Err(HttpTrouble::Wait(wait, error)) => {
                    tracing::debug!(url, retry, %error, wait_seconds = wait.as_secs_f64(), "asking again later");
                    sleep(wait).await;
                }
            }
            retry += 1;
        }
    }

    async fn once(&self, page: &PageRequest<'_>) -> Result<Option<(String, u64)>, HttpTrouble> {
        let (recipe, url) = (page.recipe, &page.url);
        let transient = |reason: String| HttpTrouble::Again(FetchError::Transient { url: url.clone(), reason });
        self.politeness.admit(page.source, url).await.map_err(HttpTrouble::End)?;
        let asked = self.request(page)?;
        let answer = match ask(asked, recipe.timeout, recipe.max_body_bytes).await {
            Ok(answer) => answer,
            Err(AskError::Late(within)) => {
                return Err(transient(format!("no answer within {} s", within.as_secs_f64())));
            }
            Err(AskError::Broken(how)) => return Err(transient(how.to_owned())),
            Err(AskError::Refused(refusal)) if refusal.is_passing() => {
                return Err(transient(refusal.to_string()));
            }
            Err(AskError::Refused(refusal)) => {
                return Err(HttpTrouble::End(FetchError::Permanent { url: url.clone(), reason: refusal.to_string() }));
            }
        };
        self.judge(page, &answer)
    }

    fn judge(&self, page: &PageRequest<'_>, answer: &Answer) -> Result<Option<(String, u64)>, HttpTrouble> {
        let (recipe, url, status, body) = (page.recipe, &page.url, answer.status.as_u16(), &answer.body);
        let kind = StatusKind::of(status);
        let transient = |reason: String| HttpTrouble::Again(FetchError::Transient { url: url.clone(), reason });
        let unreadable = |reason: String, body: &[u8]| FetchError::Unreadable {
            url: url.clone(),
            reason,
            body: Bytes::copy_from_slice(body),
        };
        if answer.is_cut {
            let reason = format!("expected an answer of at most {} bytes, found more", recipe.max_body_bytes);
            return Err(HttpTrouble::End(unreadable(reason, body)));
        }
        let read = match kind {
            StatusKind::Whole => read_answer(page.source, answer.header(CONTENT_TYPE), body),
            StatusKind::Nothing => return Ok(None),
            _ => Err(Unreadable::Refused(format!("status {status}"))),
        };
        let why = match read {
            // A review may quote a block page; a list of them is none.
            Ok((text, count, _)) if count > 0 => return Ok(Some((text, count as u64))),
            Ok((text, ..)) => Ok((text, 0)),
            Err(why) => Err(why),
        };
        let host = Url::parse(url).map(|url| host_of(&url)).unwrap_or_default();
        if let Some(phrase) = items::block_phrase(&recipe.blocked, &String::from_utf8_lossy(body)) {
            let evidence = format!("`{phrase}` with status {status}");
            self.politeness.report(url, &RequestOutcome::Blocked { evidence: evidence.clone() });
            return Err(HttpTrouble::End(FetchError::Blocked { host, evidence }));
        }
        let why = match why {
            Ok(nothing) => return Ok(Some(nothing)),
            Err(why) => why,
        };
        let wait = answer.header(RETRY_AFTER).and_then(|value| retry_after(value, self.politeness.now()));
        if kind.asks_for_patience(wait.is_some()) {
            self.politeness.report(url, &RequestOutcome::TooMany { retry_after: wait });
            let error = FetchError::RateLimited { host, retry_after: wait };
            let wait = wait.unwrap_or(Duration::from_secs(1));
            return Err(if wait > LONGEST_WAIT { HttpTrouble::End(error) } else { HttpTrouble::Wait(wait, error) });
        }
        let told = |more: &str| format!("{}{more}; {}", answered(status), evidence(page.source, body));
        match kind {
            StatusKind::NotReady => {
                // It is this key that is being made: the host is well.
                let error = FetchError::Transient { url: url.clone(), reason: told("") };
                return Err(match wait {
                    Some(wait) if wait > LONGEST_WAIT => HttpTrouble::End(error),
                    Some(wait) => HttpTrouble::Wait(wait, error),
                    None => HttpTrouble::Again(error),
                });
            }
            StatusKind::NotNow | StatusKind::Refused => return Err(transient(told(""))),
            StatusKind::Gone => {
                return Err(HttpTrouble::End(FetchError::Gone { url: url.clone(), reason: told("") }));
            }
            // What stands in between may have kept a part: the next answer may be whole.
            StatusKind::Part => return Err(HttpTrouble::Again(unreadable(told(""), body))),
            StatusKind::Other if page.only_makes_sure && NO_SUCH_PAGE.contains(&status) => return Ok(None),
            StatusKind::Other => {
                let to = answer.header(LOCATION).filter(|_| answer.status.is_redirection());
                let to = to.map(|to| redirect(page.source, url, to)).unwrap_or_default();
                return Err(HttpTrouble::End(unreadable(told(&to), body)));
            }
            StatusKind::Whole | StatusKind::Nothing | StatusKind::TooMany => {}
        }
        Err(match why {
            Unreadable::Refused(message) => transient(format!("it refused: {message}")),
            Unreadable::TooMuch { .. } => {
                HttpTrouble::End(unreadable(format!("{why}; {}", evidence(page.source, body)), body))
            }
            // An error of the service in a form of its own looks like a list that moved: the next answer may be well.
            Unreadable::Shape { .. } | Unreadable::Garbage { .. } => {
                HttpTrouble::Again(unreadable(format!("{why}; {}", evidence(page.source, body)), body))
            }
        })
    }

    fn request(&self, page: &PageRequest<'_>) -> Result<reqwest::RequestBuilder, HttpTrouble> {
        let PageRequest { source, recipe, place, url, .. } = page;
        let permanent = |reason: String| HttpTrouble::End(FetchError::Permanent { url: url.clone(), reason });
        let client = self.client.as_ref().map_err(|error| permanent(error.clone()))?;
        let secrets = source.secrets();
        if let Some((name, reference)) = secrets.missing() {
            return Err(permanent(format!("expected the secret `{name}` at {reference}, found nothing")));
        }
        let really = Url::parse(&recipe.url.render_address(place, secrets))
            .map(|url| self.politeness.hosts().locate(&url))
            .map_err(|error| permanent(format!("not an address: {error}")))?;
        self.politeness.egress().check_form(&really).map_err(|refusal| permanent(refusal.to_string()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &recipe.headers {
            let mut value = HeaderValue::from_str(&value.render_header(place, secrets))
                .map_err(|error| permanent(format!("the header `{name}`: {error}")))?;
            value.set_sensitive(true);
            headers.insert(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|error| permanent(format!("the header `{name}`: {error}")))?,
                value,
            );
        }
        let request = match recipe.method {
            Method::Get => client.get(really),
            Method::Post => client.post(really),
        };
        let request = match &recipe.body {
            // `json` would set its own content type beside the source's.
            Some(body) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                request.body(body.render(place).to_string())
            }
            None => request,
        };
        Ok(request.headers(headers))
    }
}

/// Where an answer sends us instead, and what to do about it: a redirect is not followed, since a source says what is asked. Of a
/// source that has rules for persons only the host is told: the rest may name one.
fn redirect(source: &Source, url: &str, to: &str) -> String {
    let asked = Url::parse(url).ok();
    let target = asked.as_ref().and_then(|asked| asked.join(to).ok());
    let host = |url: &Url| (url.host_str().map(str::to_owned), url.port());
    let is_own = asked.zip(target.as_ref()).is_some_and(|(asked, target)| host(&asked) == host(target));
    if source.names_persons() {
        let place = match target.as_ref().map(Url::host_str) {
            Some(Some(host)) if !is_own => format!("the host `{host}`"),
            Some(_) => "somewhere on the same host".to_owned(),
            None => "what is no address".to_owned(),
        };
        return format!(
            ", a redirect to {place} (if the list is there now, write its address into `url` of the source file)"
        );
    }
    // As it was sent: what is put into another form may no longer show which part of it is a secret.
    let shown: String = catalog::without_user(&source.secrets().redact(to)).escape_debug().collect();
    let what = if is_own {
        "if the list is there now, write that address into `url` of the source file"
    } else {
        "another host, which is asked only if the source file names it: if the list is there now, write that address into `url`"
    };
    format!(", a redirect to `{}` ({what})", items::excerpt(&shown, 200))
}

#[async_trait]
impl Fetch for Http {
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        let Recipe::Http(recipe) = request.source.recipe() else {
            return Err(FetchError::Permanent {
                url: request.source.name().to_string(),
                reason: "it is no source of plain requests".to_owned(),
            });
        };
        // Where every page is the same request, one is all.
        let pages = if recipe.is_paged() { recipe.max_pages } else { 1 };
        let mut only_makes_sure = false;
        // The place of the next page's first item goes by what came: who gives fewer than they are asked for have the rest there.
        let mut start = 1;
        for page in 0..pages {
            let place =
                Place { key: &request.key.value, page: recipe.first_page + page, start, size: recipe.page_size };
            let url = recipe.url.render(&place);
            let page = PageRequest { source: request.source, recipe, url, place, only_makes_sure };
            let Some((answer, count)) = self.answer(&page).await? else {
                // Where there is nothing, there is nothing behind it either.
                let _ = on(Response::nothing(page.url));
                return Ok(());
            };
            start += if count == 0 { recipe.page_size } else { count };
            match on(Response::text(page.url, answer)) {
                FetchFlow::Stop => return Ok(()),
                FetchFlow::Continue { looks_ended, .. } => only_makes_sure = looks_ended,
            }
        }
        if recipe.is_paged() {
            return Err(FetchError::Cut { why: format!("it may have more than {pages} pages, [http] max_pages") });
        }
        Ok(())
    }
}
