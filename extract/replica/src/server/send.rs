//! Sending: whole, slowly, in part, or not at all.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream::{self, StreamExt as _};

use super::{Admission, InFlight};
use crate::faults::Verdict;
use crate::page;

/// What is sent and how its content is called.
pub(super) struct Answer {
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json; charset=utf-8";

/// Waits, then answers as the verdict says; `make` is called only where the real answer is needed.
pub(super) async fn send(admission: Admission, make: impl FnOnce() -> Answer) -> Response {
    if !admission.delay.is_zero() {
        tokio::time::sleep(admission.delay).await;
    }
    let Admission { verdict, switches, flight, .. } = admission;
    match verdict {
        Verdict::Serve => whole(StatusCode::OK, make()),
        Verdict::Blocked => whole(StatusCode::OK, Answer { content_type: HTML, body: page::blocked() }),
        Verdict::Poisoned => whole(StatusCode::INTERNAL_SERVER_ERROR, plain("internal server error")),
        Verdict::TooMany => {
            let mut response = whole(StatusCode::TOO_MANY_REQUESTS, plain("too many requests"));
            response.headers_mut().insert(header::RETRY_AFTER, switches.retry_after.into());
            response
        }
        Verdict::ServerError(code) => {
            whole(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), plain("service unavailable"))
        }
        Verdict::HalfRendered => whole(StatusCode::OK, Answer { content_type: HTML, body: page::half_rendered() }),
        Verdict::Garbage => whole(StatusCode::OK, Answer { content_type: JSON, body: garbage(&make().body) }),
        Verdict::Cut => cut(make()),
        Verdict::Slow => slow(make(), switches.slow_for, flight),
    }
}

/// A whole answer.
pub(super) fn whole(status: StatusCode, answer: Answer) -> Response {
    (status, headers(answer.content_type), answer.body).into_response()
}

pub(super) fn plain(text: &str) -> Answer {
    Answer { content_type: "text/plain; charset=utf-8", body: format!("{text}\n") }
}

fn headers(content_type: &'static str) -> [(HeaderName, &'static str); 2] {
    [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")]
}

/// Starts like the answer and goes wrong in the middle, as a proxy's mistake does.
fn garbage(body: &str) -> String {
    let half: String = body.chars().take(body.chars().count() / 2).collect();
    format!("{half}\u{fffd}<html>")
}

/// Announces the whole length, sends a half and breaks the connection.
fn cut(answer: Answer) -> Response {
    let bytes = Bytes::from(answer.body);
    let length = bytes.len();
    let half = bytes.slice(..length / 2);
    let broken = Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut by a switch"));
    // The pause lets the half leave before the connection does.
    let parts = stream::iter([Ok(half), broken]).enumerate().then(|(n, part)| async move {
        if n > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        part
    });
    (headers(answer.content_type), [(header::CONTENT_LENGTH, length.to_string())], Body::from_stream(parts))
        .into_response()
}

/// Sends in 16 pieces with pauses between them.
fn slow(answer: Answer, within: Duration, flight: InFlight) -> Response {
    const PIECES: u32 = 16;
    let bytes = Bytes::from(answer.body);
    let length = bytes.len();
    let size = length.div_ceil(PIECES as usize).max(1);
    let pieces = (0..length.div_ceil(size)).map(move |n| bytes.slice(n * size..length.min((n + 1) * size)));
    // The request stays in flight until its last piece is sent.
    let parts = stream::unfold((pieces, flight), move |(mut pieces, flight)| async move {
        let piece = pieces.next()?;
        tokio::time::sleep(within / PIECES).await;
        Some((Ok::<_, Infallible>(piece), (pieces, flight)))
    });
    (headers(answer.content_type), [(header::CONTENT_LENGTH, length.to_string())], Body::from_stream(parts))
        .into_response()
}
