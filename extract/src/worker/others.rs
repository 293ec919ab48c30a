//! A source's day done by others: planned and sent here, fetched and landed by workers wherever they are.

use std::collections::HashMap;
use std::time::Duration;

use catalog::{Date, failpoint, path};
use tokio::time::sleep;

use super::day::{Day, Left};
use super::{Extractor, Progress};
use crate::error::Error;
use crate::plan::plan;
use crate::queue::DeadLetter;
use crate::source::Source;
use crate::task::{Key, Task, TaskId};

/// Between two looks at the table and the staged keys.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How many looks later it is made sure that what is missing is in the queue.
const SEND_EVERY: u32 = 5;

/// What others did of a day while we waited.
#[derive(Clone, Debug, Default)]
pub struct Others {
    /// Tasks that landed in the meantime: their rows are this run's.
    pub landed: Vec<TaskId>,
    /// Tasks that were given up, in this run or an earlier one.
    pub dead: Vec<DeadLetter>,
}

/// Plans and sends a source's day and waits until each of its tasks is in the table or dead. How far it is comes from the
/// table and from what is staged; the counts of a queue may be wrong. To stop leaves the tasks in the queue.
pub async fn extract_by_others(ctx: &Extractor, source: &Source, dt: Date, keys: Vec<Key>) -> Result<Others, Error> {
    let table = ctx.lake.create(&source.table_spec()).await?;
    let tasks = plan(&ctx.lake, source.name(), dt, &keys, source.keys_per_task()).await?;
    let day = Day::new(ctx, table, source.name(), dt);
    let waiting = day.undone(tasks.clone()).await?;
    day.sweep(&tasks, &waiting).await;
    let ours = waiting.clone();
    let mut left = day.left(waiting).await?;
    for look in 0_u32.. {
        if left.waiting.is_empty() {
            break;
        }
        if look.is_multiple_of(SEND_EVERY) {
            ctx.queue.send(&left.waiting, (ctx.now)()).await?;
            failpoint!("extract.send.after");
        }
        (ctx.progress)(progress(ctx, source, dt, &ours, &left).await?);
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = ctx.cancel.cancelled() => return Err(Error::Cancelled),
        }
        let dead = std::mem::take(&mut left.dead);
        left = day.left(left.waiting).await?;
        left.dead.extend(dead);
    }
    left.dead = day.still_dead(left.dead).await?;
    (ctx.progress)(progress(ctx, source, dt, &ours, &left).await?);
    let dead = |task: &Task| left.dead.iter().any(|letter| letter.task.id == task.id);
    let landed = ours.iter().filter(|task| !dead(task)).map(|task| task.id.clone()).collect();
    Ok(Others { landed, dead: left.dead })
}

/// Keys of the tasks that have landed, and those that are staged.
async fn progress(ctx: &Extractor, source: &Source, dt: Date, ours: &[Task], left: &Left) -> Result<Progress, Error> {
    let staged = ctx.lake.objects().list(&path::staged_day(source.name(), dt)).await?;
    let mut by_task: HashMap<String, u64> = HashMap::new();
    for object in &staged {
        if let Some(task) = object.as_str().rsplit('/').nth(1) {
            *by_task.entry(task.to_owned()).or_default() += 1;
        }
    }
    let keys = |task: &Task| task.keys.len() as u64;
    let open = left.waiting.iter().chain(left.dead.iter().map(|letter| &letter.task));
    let missing: u64 =
        open.map(|task| keys(task).saturating_sub(by_task.get(task.id.as_str()).copied().unwrap_or(0))).sum();
    let total: u64 = ours.iter().map(keys).sum();
    Ok(Progress { done_keys: total.saturating_sub(missing), total_keys: total, records: 0 })
}
