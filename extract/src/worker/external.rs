//! A source's day done by others: planned and sent here, fetched and landed by workers wherever they are.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use catalog::simulation::sleep;
use catalog::{Date, failpoint, path};

use super::open_source::OpenSource;
use super::{Extracted, Extractor, Progress, conclude, prepare};
use crate::error::Error;
use crate::outcome::{KeyOutcome, Outcome};
use crate::plan;
use crate::source::Source;
use crate::stage;
use crate::task::{Key, Task};

/// Between two looks at the table and the staged keys.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many looks later it is made sure that what is missing is in the queue.
const SEND_EVERY: u32 = 5;

/// Plans and sends a source's day and waits until each of its keys has ended or failed. How far it is comes from the
/// outcomes and from what is staged; the counts of a queue may be wrong. To stop leaves the tasks in the queue. The numbers
/// are those of all that landed while it waited.
pub async fn extract_external(ctx: &Extractor, source: &Source, dt: Date, keys: Vec<Key>) -> Result<Extracted, Error> {
    let open = OpenSource::new(ctx, source, ctx.fetchers.get(source.fetch_kind()), dt).await?;
    let (day, told) = prepare(ctx, &open, dt, &keys).await?;
    let due = open.ledger.due(&keys, dt, source.every_days());
    let tasks = plan::tasks(source.name(), dt, &due, source.keys_per_task(), (ctx.now)());
    let mut waiting = tasks.clone();
    for look in 0_u32.. {
        if waiting.is_empty() {
            break;
        }
        if look.is_multiple_of(SEND_EVERY) {
            day.send(&waiting).await?;
            failpoint!("extract.send.after");
        }
        (ctx.progress)(progress(ctx, &open, dt, &tasks, &waiting).await?);
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = ctx.cancel.cancelled() => return Err(Error::Cancelled),
        }
        waiting = day.left(waiting).await?;
    }
    (ctx.progress)(progress(ctx, &open, dt, &tasks, &waiting).await?);
    let mut extracted = Extracted { without_rows_is_new: told.lost, unlisted: told.unlisted, ..Extracted::default() };
    let is_ours =
        |outcome: &KeyOutcome| outcome.dt == dt && !matches!(outcome.outcome, Outcome::Lost | Outcome::Unlisted);
    for outcome in open.ledger.since(day.began_at).into_iter().filter(is_ours) {
        extracted.fetched += outcome.rows;
        extracted.set_aside += outcome.set_aside;
        extracted.short_keys += u64::from(outcome.missing > 0);
        extracted.short_items = extracted.short_items.saturating_add(outcome.missing);
    }
    extracted.landed = extracted.fetched.saturating_sub(extracted.set_aside);
    extracted.tasks = tasks.len() as u64;
    conclude(&open, &day, dt, &keys, extracted).await
}

/// Keys that have ended, and those that are staged.
async fn progress(
    ctx: &Extractor,
    open: &Arc<OpenSource>,
    dt: Date,
    ours: &[Task],
    waiting: &[Task],
) -> Result<Progress, Error> {
    let staged: HashSet<_> =
        ctx.lake.objects().list(&path::staged_day(open.source.name(), dt)).await?.into_iter().collect();
    let is_missing =
        |key: &&Key| open.ledger.is_wanted(dt, key) && !staged.contains(&stage::place(open.source.name(), dt, key));
    let missing = waiting.iter().flat_map(|task| &task.keys).filter(is_missing).count() as u64;
    let total: u64 = ours.iter().map(|task| task.keys.len() as u64).sum();
    Ok(Progress { done_keys: total.saturating_sub(missing), total_keys: total, records: 0 })
}
