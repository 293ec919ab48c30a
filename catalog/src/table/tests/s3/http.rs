//! An HTTP client that misbehaves as told, below the store's retries and above a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Full};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
    ReqwestConnector,
};

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    PutLog,
    PutData,
    /// Of an object that is no table's.
    PutObject,
    Get,
    List,
    Delete,
}

/// What goes wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// 503, and nothing is done.
    Busy,
    /// It is done, and answered with 500: the store's next try meets its own object.
    DoneThen500,
    /// Nothing is sent.
    ResetBefore,
    /// It is done, and the connection is lost.
    ResetAfter,
    /// It is done, and the answer does not come in time.
    TimeoutAfter,
    /// 409, and nothing is done.
    Conflict,
    /// 403, and nothing is done.
    Expired,
    /// 403 for want of a right, and nothing is done.
    Denied,
    /// It is done and answered with 500; every later try is answered with 403.
    DoneThenExpired,
    /// The body ends too soon.
    CutBody,
}

/// The faulty client.
#[derive(Debug, Clone)]
pub(super) struct FaultyHttp {
    verb: Verb,
    fault: Fault,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    armed: AtomicBool,
    left: AtomicU32,
    fired: AtomicU32,
}

impl FaultyHttp {
    pub(super) fn new(verb: Verb, fault: Fault, times: u32) -> Self {
        let state = State { armed: false.into(), left: times.into(), fired: 0.into() };
        Self { verb, fault, state: Arc::new(state) }
    }

    pub(super) fn arm(&self) {
        self.state.armed.store(true, Ordering::Relaxed);
    }

    pub(super) fn disarm(&self) {
        self.state.armed.store(false, Ordering::Relaxed);
    }

    pub(super) fn fired(&self) -> u32 {
        self.state.fired.load(Ordering::Relaxed)
    }

    fn fires(&self, request: &HttpRequest) -> bool {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let log = path.contains("/_delta_log/");
        let found = match request.method().as_str() {
            "PUT" if log => Verb::PutLog,
            "PUT" if path.rsplit('.').next() == Some("parquet") => Verb::PutData,
            "PUT" => Verb::PutObject,
            "POST" if query == "delete" => Verb::Delete,
            "GET" if query.contains("list-type") => Verb::List,
            "GET" => Verb::Get,
            _ => return false,
        };
        let left = || self.state.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let fires = found == self.verb && self.state.armed.load(Ordering::Relaxed) && left().is_ok();
        self.state.fired.fetch_add(u32::from(fires), Ordering::Relaxed);
        fires
    }
}

impl HttpConnector for FaultyHttp {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Line { client, http: self.clone() }))
    }
}

#[derive(Debug)]
struct Line {
    client: HttpClient,
    http: FaultyHttp,
}

fn broken(kind: HttpErrorKind) -> HttpError {
    HttpError::new(kind, std::io::Error::other("by plan"))
}

fn answer(status: u16, code: &str) -> HttpResponse {
    let body = format!("<Error><Code>{code}</Code><Message>by plan</Message></Error>");
    http::Response::builder().status(status).body(HttpResponseBody::from(body)).unwrap()
}

#[async_trait]
impl HttpService for Line {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.http.fires(&request) {
            return self.client.execute(request).await;
        }
        #[expect(clippy::match_same_arms, reason = "one line for each fault")]
        match self.http.fault {
            Fault::Busy => Ok(answer(503, "SlowDown")),
            Fault::Conflict => Ok(answer(409, "ConditionalRequestConflict")),
            Fault::Expired => Ok(answer(403, "ExpiredToken")),
            Fault::Denied => Ok(answer(403, "AccessDenied")),
            Fault::ResetBefore => Err(broken(HttpErrorKind::Interrupted)),
            Fault::DoneThen500 => {
                self.client.execute(request).await?;
                Ok(answer(500, "InternalError"))
            }
            Fault::ResetAfter => {
                self.client.execute(request).await?;
                Err(broken(HttpErrorKind::Request))
            }
            Fault::TimeoutAfter => {
                self.client.execute(request).await?;
                Err(broken(HttpErrorKind::Timeout))
            }
            Fault::DoneThenExpired if self.http.fired() == 1 => {
                self.client.execute(request).await?;
                Ok(answer(500, "InternalError"))
            }
            Fault::DoneThenExpired => Ok(answer(403, "ExpiredToken")),
            Fault::CutBody => {
                let (parts, body) = self.client.execute(request).await?.into_parts();
                let bytes = body.bytes().await?;
                let half = Full::new(bytes.slice(..bytes.len() / 2)).map_err(|never| match never {});
                let body = half.with_trailers(async { Some(Err(broken(HttpErrorKind::Interrupted))) });
                let body = HttpResponseBody::new(body);
                Ok(HttpResponse::from_parts(parts, body))
            }
        }
    }
}
