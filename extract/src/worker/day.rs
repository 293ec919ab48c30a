//! What is left of a source's day: the outcomes of its keys and the dead letters say so, never the queue.

use std::collections::HashSet;
use std::sync::Arc;

use catalog::{CommitInfo, Date, path};

use super::Extractor;
use super::open_source::OpenSource;
use crate::error::{Error, one_line};
use crate::outcome::{KeyOutcome, Outcome, whole_milliseconds};
use crate::queue::{DeadLetter, TaskFilter};
use crate::stage;
use crate::task::{Key, Task};

/// One source's day.
pub(super) struct Day {
    ctx: Extractor,
    open: Arc<OpenSource>,
    dt: Date,
    pub(super) of: TaskFilter,
    /// The number of the newest commit of the source when this run began: what is newer is of this run, or of one beside it.
    pub(super) began_at: Option<i64>,
}

impl Day {
    pub(super) fn new(ctx: &Extractor, open: &Arc<OpenSource>, dt: Date) -> Self {
        let of = TaskFilter::day(open.source.name(), dt);
        // What is known of keys without any commit of this table has the number 0.
        let began_at = open.ledger.mark().or(Some(0));
        Self { ctx: ctx.clone(), open: Arc::clone(open), dt, of, began_at }
    }

    /// Puts tasks into the queue. Those that are dead letters there, of an earlier run, are sent anew: their keys are due.
    pub(super) async fn send(&self, tasks: &[Task]) -> Result<(), Error> {
        let (queue, now) = (&self.ctx.queue, self.ctx.now);
        let mut dead = queue.dead_letters(&self.of, now()).await?;
        dead.retain(|letter| tasks.iter().any(|task| task.id == letter.task.id));
        if !dead.is_empty() {
            queue.redrive(&dead, now()).await?;
        }
        queue.send(tasks, now()).await?;
        Ok(())
    }

    /// Those of these tasks that have keys which neither ended nor failed since this run began. Keys of a task that the queue
    /// gave up, because every worker that took it died, have failed.
    pub(super) async fn left(&self, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        self.open.ledger.catch_up(&self.open.table.head().await?).await?;
        let left: Vec<Task> = tasks.into_iter().filter(|task| self.has_left(task)).collect();
        if left.is_empty() {
            return Ok(left);
        }
        let dead = self.ctx.queue.dead_letters(&self.of, (self.ctx.now)()).await?;
        let (dead, left): (Vec<Task>, Vec<Task>) =
            left.into_iter().partition(|task| dead.iter().any(|letter| letter.task.id == task.id));
        for task in &dead {
            self.say(std::slice::from_ref(task), Outcome::Failed, &self.last_word(task).await?).await?;
        }
        Ok(left)
    }

    async fn last_word(&self, task: &Task) -> Result<String, Error> {
        let letters = self.ctx.queue.dead_letters(&self.of, (self.ctx.now)()).await?;
        let of = |letter: &DeadLetter| letter.task.id == task.id;
        Ok(letters.into_iter().find(of).map(|letter| letter.error).unwrap_or_default())
    }

    fn has_left(&self, task: &Task) -> bool {
        task.keys.iter().any(|key| self.is_left(key))
    }

    /// How many keys of these tasks are left.
    pub(super) fn count_left(&self, tasks: &[Task]) -> u64 {
        tasks.iter().flat_map(|task| &task.keys).filter(|key| self.is_left(key)).count() as u64
    }

    /// Whether a key neither ended nor failed since this run began.
    pub(super) fn is_left(&self, key: &Key) -> bool {
        let said = self.open.ledger.get(self.dt, &key.value);
        // A run with another list has only said that it does not ask for it.
        let tried = said.filter(|state| state.last.outcome != Outcome::Unlisted).map(|state| state.mark);
        let before_us = tried.is_none_or(|mark| self.began_at.is_some_and(|began| mark <= began));
        self.open.ledger.is_wanted(self.dt, key) && before_us
    }

    /// Records how the keys of these tasks ended that are left.
    pub(super) async fn say(&self, tasks: &[Task], outcome: Outcome, why: &str) -> Result<(), Error> {
        let now = whole_milliseconds((self.ctx.now)());
        let of = |task: &Task, key: &Key| KeyOutcome {
            key: key.value.clone(),
            dt: self.dt,
            outcome,
            rows: 0,
            set_aside: 0,
            missing: 0,
            why: Some(why.to_owned()),
            unfit: Vec::new(),
            definition: self.open.ledger.definition().to_owned(),
            task: task.id.to_string(),
            at: now,
        };
        let outcomes: Vec<KeyOutcome> = tasks
            .iter()
            .flat_map(|task| task.keys.iter().filter(|key| self.is_left(key)).map(|key| of(task, key)))
            .collect();
        self.open.ledger.say(&outcomes, &self.info()).await
    }

    pub(super) fn info(&self) -> CommitInfo {
        CommitInfo { run: self.ctx.run.clone(), now: (self.ctx.now)(), lineage: Vec::new() }
    }

    /// Removes what keys that are done left staged: their worker died between its commit and the end. It is garbage, so
    /// what can't be removed is left for later.
    pub(super) async fn sweep(&self, wanted: &[Key]) {
        let staged = path::staged_day(self.open.source.name(), self.dt);
        let Ok(staged) = self.ctx.lake.objects().list(&staged).await else { return };
        let wanted: HashSet<_> = wanted.iter().map(|key| stage::place(self.open.source.name(), self.dt, key)).collect();
        for object in staged.iter().filter(|object| !wanted.contains(object)) {
            tracing::debug!(%object, "removing what a key that is done left staged");
            if let Err(error) = self.ctx.lake.objects().delete(object).await {
                tracing::warn!(%object, error = one_line(&error), "a staged key stays behind");
            }
        }
    }
}
