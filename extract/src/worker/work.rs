//! A worker: takes tasks of any source, day and run until it is told to stop.

use std::sync::Arc;

use catalog::CommitInfo;
use serde::Serialize;

use super::context::{Until, WorkerContext};
use super::pool::WorkerPool;
use super::{Extracted, Extractor};
use crate::error::Error;

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
    /// Keys of those tasks whose list ended before the site's own total.
    pub short_keys: u64,
    /// Items that those totals count and the lists did not show.
    pub short_items: u64,
    /// Requests it made.
    pub requests: u64,
    /// Tasks whose lease it lost: somebody else has them.
    pub lost: u64,
    /// Hosts that refuse us, with how we know.
    pub blocked: Vec<(String, String)>,
}

/// Takes tasks until `until`, or until [`Extractor::cancel`] is raised: then messages are handed back at once. Tables are
/// made and sources found by the tasks that come.
pub async fn work(ctx: &Extractor, until: Until) -> Result<Worked, Error> {
    let pool = Arc::new(WorkerPool::new(WorkerContext::of_all(ctx, until)));
    let ended = Arc::clone(&pool).work(ctx.jobs).await;
    let numbers = pool.shared().stats.numbers();
    for open in pool.shared().open.all().await {
        open.ledger.copy(&CommitInfo { run: ctx.run.clone(), now: (ctx.now)(), lineage: Vec::new() }).await?;
    }
    match ended {
        // To be told to stop is how a worker ends.
        Err(Error::Cancelled) if ctx.cancel.is_cancelled() => Ok(numbers.into()),
        Err(error) => Err(error),
        Ok(()) => Ok(numbers.into()),
    }
}

impl From<Extracted> for Worked {
    fn from(it: Extracted) -> Self {
        Self {
            tasks: it.tasks,
            fetched: it.fetched,
            landed: it.landed,
            set_aside: it.set_aside,
            short_keys: it.short_keys,
            short_items: it.short_items,
            requests: it.requests,
            lost: it.lost,
            blocked: it.blocked,
        }
    }
}
