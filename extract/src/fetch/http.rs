//! Plain requests, page by page.
//!
//! The hard part is what counts as an answer. A status says little: sites send block pages with 200 and errors as JSON. So
//! an answer is one when it is JSON and holds a list of items where the source says; everything else is asked for again a
//! few times, the pace kept, and is then an error with its first bytes as evidence. Bodies are bounded while they are
//! *decompressed*: 6 KB of brotli can be 4 GB.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use url::Url;

use super::{
    Fetch, FetchError, FetchRequest, Flow, LONGEST_WAIT, RETRIES, Response, evidence, read_answer, retry_after,
    wait_before,
};
use crate::items::{self, Unreadable};
use crate::politeness::{Outcome, Politeness, host_of};
use crate::source::{HttpRecipe, Method, Place, Recipe, Source};

/// Plain requests.
#[derive(Debug)]
pub struct Http {
    politeness: Arc<Politeness>,
    client: Result<reqwest::Client, String>,
}

/// What went wrong with one try, before it is known whether there is another.
enum Trouble {
    /// Try again.
    Again(FetchError),
    /// Wait so long, then try again.
    Wait(Duration, FetchError),
    /// No use.
    End(FetchError),
}

impl Http {
    /// Makes a client. One that can't be made is reported with the first request.
    pub fn new(politeness: Arc<Politeness>) -> Self {
        // An answer that redirects is no answer: an API doesn't, and a login page or another host must not be read as one.
        let client = reqwest::Client::builder()
            .user_agent(politeness.user_agent())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| error.to_string());
        Self { politeness, client }
    }

    async fn answer(
        &self,
        source: &Source,
        recipe: &HttpRecipe,
        place: &Place<'_>,
        url: &str,
    ) -> Result<serde_json::Value, FetchError> {
        let mut retry = 0;
        loop {
            match self.once(source, recipe, place, url).await {
                Ok(answer) => {
                    self.politeness.report(url, &Outcome::Answered);
                    return Ok(answer);
                }
                Err(Trouble::End(error)) => return Err(error),
                Err(Trouble::Again(error) | Trouble::Wait(_, error)) if retry >= RETRIES => return Err(error),
                Err(Trouble::Again(error)) => {
                    tracing::debug!(url, retry, %error, "asking again");
                    tokio::time::sleep(wait_before(retry)).await;
                }
                Err(Trouble::Wait(wait, error)) => {
                    tracing::debug!(url, retry, %error, wait_seconds = wait.as_secs_f64(), "asking again later");
                    tokio::time::sleep(wait).await;
                }
            }
            retry += 1;
        }
    }

    async fn once(
        &self,
        source: &Source,
        recipe: &HttpRecipe,
        place: &Place<'_>,
        url: &str,
    ) -> Result<serde_json::Value, Trouble> {
        let really = self.politeness.admit(source, url).await.map_err(Trouble::End)?;
        let host = Url::parse(url).map(|url| host_of(&url)).unwrap_or_default();
        let transient = |reason: String| Trouble::Again(FetchError::Transient { url: url.to_owned(), reason });
        let request = self.request(recipe, place, really, url)?;
        let sent = tokio::time::timeout(recipe.timeout, async {
            let mut response = request.send().await?;
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > recipe.max_body_bytes {
                    break;
                }
            }
            Ok::<_, reqwest::Error>((
                response.status(),
                response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| retry_after(value.to_str().ok()?, self.politeness.now())),
                bytes,
            ))
        })
        .await;
        let (status, wait, bytes) = match sent {
            Err(_) => return Err(transient(format!("no answer within {} s", recipe.timeout.as_secs_f64()))),
            // The text of a reqwest error names the real address, which may hold what a message should not.
            Ok(Err(error)) => return Err(transient(describe(&error).to_owned())),
            Ok(Ok(answer)) => answer,
        };
        if bytes.len() > recipe.max_body_bytes {
            let reason = format!("expected an answer of at most {} bytes, found more", recipe.max_body_bytes);
            return Err(Trouble::End(FetchError::Permanent { url: url.to_owned(), reason }));
        }
        let answer = if status.is_success() {
            read_answer(source, &bytes)
        } else {
            Err(Unreadable::Refused(format!("status {}", status.as_u16())))
        };
        let unreadable = match answer {
            Ok(answer) => return Ok(answer),
            Err(unreadable) => unreadable,
        };
        // Only now: a review may quote a block page, an answer is no block page.
        if let Some(phrase) = items::block_phrase(&recipe.blocked, &String::from_utf8_lossy(&bytes)) {
            let evidence = format!("`{phrase}` with status {}", status.as_u16());
            self.politeness.report(url, &Outcome::Blocked { evidence: evidence.clone() });
            return Err(Trouble::End(FetchError::Blocked { host, evidence }));
        }
        if status == 429 || (status == 503 && wait.is_some()) {
            self.politeness.report(url, &Outcome::TooMany { retry_after: wait });
            let error = FetchError::RateLimited { host, retry_after: wait };
            let wait = wait.unwrap_or(Duration::from_secs(1));
            return Err(if wait > LONGEST_WAIT { Trouble::End(error) } else { Trouble::Wait(wait, error) });
        }
        if status.is_server_error() || status == 408 {
            return Err(transient(format!("it answered {}", status.as_u16())));
        }
        // A refusal of us, or of this hour: one key must not be written off for it.
        if status == 401 || status == 403 {
            return Err(transient(format!("it answered {}; {}", status.as_u16(), evidence(&bytes))));
        }
        if !status.is_success() {
            let to = if status.is_redirection() { ", a redirect" } else { "" };
            let reason = format!("it answered {}{to}; {}", status.as_u16(), evidence(&bytes));
            return Err(Trouble::End(FetchError::Permanent { url: url.to_owned(), reason }));
        }
        let permanent =
            FetchError::Permanent { url: url.to_owned(), reason: format!("{unreadable}; {}", evidence(&bytes)) };
        Err(match unreadable {
            // Another try will not move the list.
            Unreadable::Shape { .. } => Trouble::End(permanent),
            Unreadable::Refused(message) => {
                Trouble::Again(FetchError::Transient { url: url.to_owned(), reason: format!("it refused: {message}") })
            }
            Unreadable::Garbage { .. } => Trouble::Again(permanent),
        })
    }

    fn request(
        &self,
        recipe: &HttpRecipe,
        place: &Place<'_>,
        really: Url,
        url: &str,
    ) -> Result<reqwest::RequestBuilder, Trouble> {
        let permanent = |reason: String| Trouble::End(FetchError::Permanent { url: url.to_owned(), reason });
        let client = self.client.as_ref().map_err(|error| permanent(error.clone()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &recipe.headers {
            let value = HeaderValue::from_str(&value.render(place))
                .map_err(|error| permanent(format!("the header `{name}`: {error}")))?;
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
                headers.entry(reqwest::header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                request.body(body.render(place).to_string())
            }
            None => request,
        };
        Ok(request.headers(headers))
    }
}

#[async_trait]
impl Fetch for Http {
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<(), FetchError> {
        let Recipe::Http(recipe) = request.source.recipe() else {
            return Err(FetchError::Permanent {
                url: request.source.name().to_string(),
                reason: "it is no source of plain requests".to_owned(),
            });
        };
        for page in 0..recipe.max_pages {
            let place = Place {
                key: &request.key.value,
                page: recipe.first_page + page,
                start: 1 + page * recipe.page_size,
                size: recipe.page_size,
            };
            let url = recipe.url.render(&place);
            let answer = self.answer(request.source, recipe, &place, &url).await?;
            if on(Response::answer(url, answer)) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

fn describe(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_decode() || error.is_body() {
        "the answer broke off, or can't be decompressed"
    } else {
        "the connection broke off"
    }
}
