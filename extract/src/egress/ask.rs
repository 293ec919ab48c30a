//! One plain request, bounded in bytes and time.
//!
//! It runs in a task of its own: a server that sends interim answers without end keeps whoever polls it busy, and a
//! time-out in the same task would never be looked at. Bodies are counted while they are decompressed: 6 KB of brotli can be
//! 4 GB.

use std::time::Duration;

use catalog::simulation::from_outside;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tokio::task::JoinHandle;

use super::EgressDenied;

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// There was more than was asked for.
    pub(crate) is_cut: bool,
}

impl Answer {
    /// A header as a text.
    pub(crate) fn header(&self, name: reqwest::header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why nothing came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AskError {
    /// It did not leave.
    Refused(EgressDenied),
    /// It took too long.
    Late(Duration),
    /// It broke: in what way. The text of the library's error names the real address, which may hold what a message should
    /// not.
    Broken(&'static str),
}

/// Ends the task when nobody waits for it any more.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request and takes at most so many bytes in at most that time.
pub(crate) async fn ask(
    request: reqwest::RequestBuilder,
    timeout: Duration,
    most_bytes: usize,
) -> Result<Answer, AskError> {
    let mut task = AbortOnDrop(tokio::spawn(async move {
        let mut response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        let mut is_cut = false;
        while let Some(chunk) = response.chunk().await? {
            let left = most_bytes - body.len();
            is_cut = chunk.len() > left;
            body.extend_from_slice(&chunk[..chunk.len().min(left)]);
            if is_cut {
                break;
            }
        }
        Ok::<_, reqwest::Error>(Answer { status, headers, body, is_cut })
    }));
    match from_outside(tokio::time::timeout(timeout, &mut task.0)).await {
        Err(_) => Err(AskError::Late(timeout)),
        Ok(Err(_)) => Err(AskError::Broken("the request broke off")),
        Ok(Ok(Err(error))) => Err(trouble(&error)),
        Ok(Ok(Ok(answer))) => Ok(answer),
    }
}

fn trouble(error: &reqwest::Error) -> AskError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<EgressDenied>() {
            return AskError::Refused(refusal.clone());
        }
        cause = error.source();
    }
    AskError::Broken(if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else if error.is_decode() || error.is_body() {
        "the answer broke off, or can't be decompressed"
    } else {
        "the connection broke off"
    })
}
