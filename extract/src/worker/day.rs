//! What is left of a source's day: the table and the dead letters say so, never the queue.

use std::collections::HashSet;

use catalog::{Date, Lake, SourceName, Table, path};

use super::Extractor;
use super::message::TXN_VERSION;
use crate::error::{Error, one_line};
use crate::queue::{DeadLetter, Of};
use crate::stage;
use crate::task::{Task, TaskId};

/// One source's day.
pub(super) struct Day {
    ctx: Extractor,
    table: Table,
    pub(super) of: Of,
}

/// What is left of the tasks that were looked at.
pub(super) struct Left {
    /// Neither in the table nor dead.
    pub(super) waiting: Vec<Task>,
    /// Given up.
    pub(super) dead: Vec<DeadLetter>,
}

impl Day {
    pub(super) fn new(ctx: &Extractor, table: Table, source: &SourceName, dt: Date) -> Self {
        Self { ctx: ctx.clone(), table, of: Of::day(source, dt) }
    }

    /// Those whose txn is not in the newest snapshot.
    pub(super) async fn undone(&self, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        undone(&self.table, tasks).await
    }

    /// What is left of these.
    pub(super) async fn left(&self, tasks: Vec<Task>) -> Result<Left, Error> {
        let mut waiting = self.undone(tasks).await?;
        let mut dead = Vec::new();
        if !waiting.is_empty() {
            dead = self.ctx.queue.dead_letters(&self.of, (self.ctx.now)()).await?;
            dead.retain(|letter| waiting.iter().any(|task| task.id == letter.task.id));
            waiting.retain(|task| dead.iter().all(|letter| letter.task.id != task.id));
        }
        Ok(Left { waiting, dead })
    }

    /// Those of these dead letters whose tasks have not landed in the meantime: somebody may have sent them back.
    pub(super) async fn still_dead(&self, mut dead: Vec<DeadLetter>) -> Result<Vec<DeadLetter>, Error> {
        let undone = self.undone(dead.iter().map(|letter| letter.task.clone()).collect()).await?;
        dead.retain(|letter| undone.iter().any(|task| task.id == letter.task.id));
        Ok(dead)
    }

    /// Removes what tasks that have landed left staged: their worker died between its commit and the end. It is garbage, so
    /// what can't be removed is left for later.
    pub(super) async fn sweep(&self, tasks: &[Task], waiting: &[Task]) {
        if tasks.len() == waiting.len() {
            return;
        }
        let staged = self.ctx.lake.objects().list(&path::staged_all()).await.unwrap_or_default();
        if staged.is_empty() {
            return;
        }
        let waiting: HashSet<&TaskId> = waiting.iter().map(|task| &task.id).collect();
        for task in tasks.iter().filter(|task| !waiting.contains(&task.id)) {
            let folder = format!("{}/", path::staged_task(&task.source, task.dt, task.id.as_str()));
            if staged.iter().any(|object| object.as_str().starts_with(&folder)) {
                tracing::debug!(task = task.id.as_str(), "removing what a task that has landed left staged");
                if let Err(error) = stage::clear(&self.ctx.lake, task).await {
                    tracing::warn!(task = task.id.as_str(), error = one_line(&error), "staged keys stay behind");
                }
            }
        }
    }
}

/// Those tasks whose txn is not in the table's newest snapshot.
pub(super) async fn undone(table: &Table, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
    if tasks.is_empty() {
        return Ok(tasks);
    }
    let snapshot = table.snapshot().await?;
    let mut undone = Vec::new();
    for task in tasks {
        if snapshot.txn(&task.app_id()).await?.is_none_or(|version| version < TXN_VERSION) {
            undone.push(task);
        }
    }
    Ok(undone)
}

/// Whether a task is in its source's table. The queue may say otherwise of a task that was sent twice.
pub async fn landed(lake: &Lake, task: &Task) -> Result<bool, Error> {
    let name = catalog::TableName::new(catalog::Layer::Raw, task.source.as_str())?;
    match lake.find(&name).await? {
        Some(table) => Ok(undone(&table, vec![task.clone()]).await?.is_empty()),
        None => Ok(false),
    }
}
