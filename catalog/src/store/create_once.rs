//! A create that is told the truth about itself.
//!
//! A store that creates an object only if it is absent can still mislead its caller: the request is
//! stored and answered with an error, or the answer is lost, and the next try is told that the object
//! exists. That object is the caller's own. And S3 answers 409 to two creates that race, which says
//! neither "yes" nor "it exists".
//!
//! Here each create ends in one of three ways: `Ok`, the object is ours; `AlreadyExists`, it is
//! somebody else's; an error. An error that leaves it open whether the object will be there carries
//! [`InDoubt`]; any other error means that nothing was stored. Whose object it is, is told by its
//! bytes: a commit carries a mark of its own, and writers of equal bytes need not be told apart.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, Result};
use tokio::time::Instant;

use crate::backoff::backoff;
use crate::id::fresh_fraction;

use super::forward::forward;

const STORE: &str = "CreateOnce";

/// How often a create is asked for whose answer was lost, or that lost a race which nobody won.
const ROUNDS: u32 = 6;

/// No try begins later than this after the first: the store's own retries may take as long.
const PATIENCE: Duration = Duration::from_mins(3);

/// It is not known whether an object was, or will be, created.
#[derive(Debug, thiserror::Error)]
#[error("it is not known whether `{path}` was created")]
pub(crate) struct InDoubt {
    path: String,
    #[source]
    source: Error,
}

/// What became of the requests of one put. It travels with them, down to where they are sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried(Arc<Tries>);

#[derive(Debug, Default)]
struct Tries {
    sent: AtomicU32,
    /// Those that may have been stored.
    open: AtomicU32,
    /// The status of the last answer; 0 if there was none.
    last: AtomicU32,
}

impl Tried {
    /// A request was answered with `status`, or broke off after it may have been sent.
    pub(crate) fn note(&self, status: Option<u16>, sent: bool) {
        self.0.sent.fetch_add(1, Ordering::Relaxed);
        self.0.last.store(status.unwrap_or(0).into(), Ordering::Relaxed);
        // Only a refusal says for certain that nothing was stored.
        let refused = status.is_some_and(|it| (400..500).contains(&it) && it != 408);
        if sent && !refused {
            self.0.open.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_open(&self, error: &Error) -> bool {
        let untold = self.0.sent.load(Ordering::Relaxed) == 0;
        self.0.open.load(Ordering::Relaxed) > 0
            || (untold
                && matches!(error, Error::Generic { .. })
                && crate::error::find::<crate::aws::NoCredentials>(error).is_none())
    }

    fn lost_a_race_without_a_winner(&self) -> bool {
        self.0.last.load(Ordering::Relaxed) == 409
    }

    /// Whether the store itself has asked again already, for as long as it may.
    fn was_answered(&self) -> bool {
        self.0.last.load(Ordering::Relaxed) != 0
    }
}

/// A store whose creates end in the truth or in [`InDoubt`].
#[derive(Debug)]
pub(crate) struct CreateOnce<S: ?Sized> {
    /// The first pause between two tries is about this long.
    step: Duration,
    inner: Arc<S>,
}

impl<S: ObjectStore> CreateOnce<S> {
    pub(crate) fn new(inner: Arc<S>) -> Self {
        Self { step: Duration::from_millis(50), inner }
    }

    /// One that waits hardly at all, for stores that fail by plan.
    #[cfg(test)]
    pub(crate) fn hurried(inner: Arc<S>) -> Self {
        Self { step: Duration::from_millis(1), inner }
    }

    async fn create(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let begun = Instant::now();
        let mut open = false;
        for round in 1.. {
            let tried = Tried::default();
            let mut opts = opts.clone();
            opts.extensions.insert(tried.clone());
            let error = match self.inner.put_opts(location, payload.clone(), opts).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            let exists = matches!(error, Error::AlreadyExists { .. });
            let race = exists && tried.lost_a_race_without_a_winner();
            open |= tried.is_open(&error);
            if exists && !race {
                return if open { self.whose(location, &payload, error).await } else { Err(error) };
            }
            let again = race || (tried.is_open(&error) && !tried.was_answered());
            if !again || round == ROUNDS || begun.elapsed() > PATIENCE {
                return match (open, race) {
                    (true, _) => self.landed(location, &payload, error).await,
                    (false, true) => {
                        let source = format!("409 {round} times: another create of `{location}` never ends").into();
                        Err(Error::Generic { store: STORE, source })
                    }
                    (false, false) => Err(error),
                };
            }
            tokio::time::sleep(pause(self.step, round)).await;
        }
        Err(Error::Generic { store: STORE, source: "no try was left".into() })
    }

    /// Nothing more is tried, and a try may have put the object there.
    async fn landed(&self, location: &Path, payload: &PutPayload, error: Error) -> Result<PutResult> {
        let read = async { self.inner.get(location).await?.bytes().await };
        match read.await {
            Ok(found) if found == Bytes::from(payload.clone()) => Ok(PutResult { e_tag: None, version: None }),
            // Not there yet, or not to be seen: it may still come.
            _ => Err(in_doubt(location, error)),
        }
    }

    /// The object is there, and an earlier try of ours may have put it there.
    async fn whose(&self, location: &Path, payload: &PutPayload, exists: Error) -> Result<PutResult> {
        let read = async { self.inner.get(location).await?.bytes().await };
        match read.await {
            Ok(found) if found == Bytes::from(payload.clone()) => Ok(PutResult { e_tag: None, version: None }),
            Ok(_) => Err(exists),
            Err(error) => Err(in_doubt(location, error)),
        }
    }
}

fn in_doubt(location: &Path, source: Error) -> Error {
    Error::Generic { store: STORE, source: InDoubt { path: location.to_string(), source }.into() }
}

/// Longer with each round, and never the same for two writers.
fn pause(step: Duration, round: u32) -> Duration {
    backoff(step, round, step * 64, fresh_fraction())
}

impl<S: ObjectStore> fmt::Display for CreateOnce<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreateOnce({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for CreateOnce<S> {
    forward!(
        put_multipart_opts,
        get_opts,
        get_ranges,
        delete_stream,
        list,
        list_with_offset,
        list_with_delimiter,
        copy_opts,
        rename_opts
    );

    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match opts.mode {
            PutMode::Create => self.create(location, payload, opts).await,
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }
}
