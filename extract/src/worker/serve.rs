//! A worker: takes tasks of any source, day and run until it is told to stop.

use std::sync::Arc;

use serde::Serialize;

use super::crew::Crew;
use super::{Extracted, Extractor};
use crate::error::Error;

/// How long a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until the queue is empty; a host that refuses us ends it too.
    Idle,
    /// Until somebody says so.
    Stopped,
}

/// What a worker did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Worked {
    /// Tasks it landed.
    pub tasks: u64,
    /// Rows of those tasks: landed + set aside.
    pub fetched: u64,
    /// Rows without an `_error`.
    pub landed: u64,
    /// Rows with one.
    pub set_aside: u64,
    /// Requests it made.
    pub requests: u64,
    /// Tasks it gave up.
    pub dead: u64,
    /// Tasks whose lease it lost: somebody else has them.
    pub lost: u64,
    /// Hosts that refuse us, with how we know.
    pub blocked: Vec<(String, String)>,
}

/// Takes tasks until `until`, or until [`Extractor::cancel`] is raised: then messages are handed back at once. Tables are
/// made and sources found by the tasks that come.
pub async fn work(ctx: &Extractor, until: Until) -> Result<Worked, Error> {
    let crew = Arc::new(Crew::of_all(ctx, until));
    let ended = Arc::clone(&crew).work(ctx.jobs).await;
    let Extracted { tasks, fetched, landed, set_aside, requests, blocked, buried, lost, .. } = crew.tally.numbers();
    match ended {
        Ok(()) => Ok(Worked { tasks, fetched, landed, set_aside, requests, dead: buried, lost, blocked }),
        // To be told to stop is how a worker ends.
        Err(Error::Cancelled) if ctx.cancel.is_cancelled() => {
            Ok(Worked { tasks, fetched, landed, set_aside, requests, dead: buried, lost, blocked })
        }
        Err(error) => Err(error),
    }
}
