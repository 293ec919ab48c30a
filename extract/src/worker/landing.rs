//! What is fetched becomes visible: many tasks in one commit, each key once.
//!
//! Commits to a table come one after the other, so tasks that end while one is under way wait and land together in the
//! next: the more there are, the fewer commits each costs. Hands of one process never race each other; with other
//! processes they do, and who lost looks again at what is left to land: a key that somebody else closed in the meantime is
//! left out ([`crate::outcome`]).

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use catalog::simulation::{Instant, sleep};
use catalog::{CommitInfo, Committed, backoff, failpoint};
use tokio::sync::oneshot;

use super::Extractor;
use super::open_source::OpenSource;
use super::parcels::{Fetched, Landed, Waiting};
use crate::error::Error;
use crate::outcome::KeyOutcome;
use crate::task::fraction;

/// Lost races for the table before a task is put back.
const TRIES: u32 = 16;

/// Between two of these tries: longer and longer.
const FIRST_WAIT: Duration = Duration::from_millis(60);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// No parcel waits longer than this for others to land with.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

impl OpenSource {
    /// Lands keys, and says which of them landed through this call. The others were closed by somebody else. `alone` if
    /// nobody here is about to bring more.
    pub(super) async fn land(&self, ctx: &Extractor, keys: Vec<Fetched>, alone: bool) -> Result<Vec<Landed>, Error> {
        let (landed, mut done) = oneshot::channel();
        let number = self.landing.number.fetch_add(1, Ordering::Relaxed);
        self.landing.waiting().push(Waiting { number, keys, landed });
        let mut turn = self.landing.turn.lock().await;
        if let Ok(landed) = done.try_recv() {
            return Ok(landed);
        }
        // Half of the time at most goes into commits: each takes longer, the more of them a day has.
        if !alone && !turn.is_zero() {
            sleep((*turn).min(LONGEST_WAIT)).await;
        }
        loop {
            let mut group = self.landing.take();
            let began = Instant::now();
            let ended = self.land_group(ctx, &group).await;
            *turn = began.elapsed();
            let mut landed = match ended {
                Ok(landed) => landed,
                Err(error) => {
                    // Those who wait try for themselves, and so does our task later.
                    group.retain(|waiting| waiting.number != number);
                    self.landing.waiting().extend(group);
                    self.landing.waiting().retain(|waiting| waiting.number != number);
                    return Err(error);
                }
            };
            for waiting in group.into_iter().rev() {
                let theirs = landed.pop().unwrap_or_default();
                // Who no longer waits was killed, and finds its keys closed.
                let _ = waiting.landed.send(theirs);
            }
            if let Ok(landed) = done.try_recv() {
                return Ok(landed);
            }
        }
    }

    /// One commit for all of `group`; says for each what landed through it.
    async fn land_group(&self, ctx: &Extractor, group: &[Waiting]) -> Result<Vec<Vec<Landed>>, Error> {
        for turn in 1..=TRIES {
            self.ledger.catch_up(&self.table.head().await?).await?;
            let mut seen = HashSet::new();
            let (mut batches, mut outcomes, mut landed) = (Vec::new(), Vec::new(), Vec::new());
            for waiting in group {
                let mut theirs = Vec::new();
                for Fetched { dt, key, staged } in &waiting.keys {
                    if !self.ledger.is_wanted(*dt, key) || !seen.insert((*dt, key.value.as_str())) {
                        tracing::info!(key = key.value, "somebody else landed it meanwhile");
                        continue;
                    }
                    let (batch, there) = self.ledger.only_new(*dt, &key.value, &staged.batch).await?;
                    let set_aside = set_aside(&batch);
                    let new = KeyOutcome { rows: batch.num_rows() as u64, set_aside, ..staged.outcome.clone() };
                    // An outcome says what the table has of its key, not only what came last.
                    // What is set aside once more is in the table already, and set aside all the same.
                    let set_aside = staged.outcome.set_aside;
                    outcomes.push(KeyOutcome { rows: there + new.rows, set_aside, ..new.clone() });
                    theirs.push(Landed { outcome: new, duplicates: staged.duplicates });
                    batches.extend((batch.num_rows() > 0).then_some(batch));
                }
                landed.push(theirs);
            }
            if outcomes.is_empty() {
                return Ok(landed);
            }
            let info = CommitInfo { run: ctx.run.clone(), now: (ctx.now)(), lineage: Vec::new() };
            failpoint!("extract.land.before");
            match self.ledger.commit(batches, &outcomes, &info).await? {
                Committed::Done(version) => {
                    failpoint!("extract.land.after");
                    let rows: u64 = outcomes.iter().map(|outcome| outcome.rows).sum();
                    tracing::info!(source = %self.source.name(), version, keys = outcomes.len(), rows, "landed");
                    return Ok(landed);
                }
                Committed::Duplicate(version) | Committed::Conflict(version) => {
                    tracing::debug!(source = %self.source.name(), version, turn, "the table moved under the commit");
                    let (run, turn_text) = (ctx.run.to_string(), turn.to_string());
                    let jitter = fraction([run.as_str(), turn_text.as_str()]);
                    sleep(backoff(FIRST_WAIT, turn - 1, LONGEST_BACKOFF, jitter)).await;
                }
            }
        }
        Err(catalog::Error::Contended { table: self.table.name().clone(), attempts: TRIES }.into())
    }
}

/// How many rows have an `_error`.
fn set_aside(batch: &RecordBatch) -> u64 {
    batch.column_by_name("_error").map_or(0, |errors| (errors.len() - errors.null_count()) as u64)
}
