//! Which tasks of a day were sent: a note in the lake, since the queue can't tell.
//!
//! The note is written after the sending and only saves duplicates: without it, or with a stale one, a task is in the queue
//! twice and done once.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Date, SourceName, Timestamp, path};
use serde::{Deserialize, Serialize};

use super::SqsQueue;
use super::body::MessageBody;
use crate::error::Error;
use crate::task::Task;

/// What was sent of a source's day.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sent {
    /// The queue that it was sent to: another one knows nothing of it.
    queue: String,
    /// When, the last time.
    at: Timestamp,
    /// Ids of the tasks.
    tasks: BTreeSet<String>,
}

impl SqsQueue {
    /// Sends those that are not noted as sent; all of them once the queue is surely empty.
    pub(super) async fn send_unless_sent(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error> {
        let mut days: BTreeMap<(SourceName, Date), Vec<&Task>> = BTreeMap::new();
        for task in tasks {
            days.entry((task.source.clone(), task.dt)).or_default().push(task);
        }
        let mut empty = None;
        let mut count = 0;
        for ((source, dt), tasks) in days {
            let mut sent = self.sent(&source, dt).await?;
            let age = std::time::Duration::try_from(now.duration_since(sent.at)).unwrap_or_default();
            let mut valid = sent.queue == self.url && age < self.retention;
            let again = tasks.iter().any(|task| sent.tasks.contains(task.id.as_str()));
            if valid && again && age >= self.settings.settle {
                if empty.is_none() {
                    let (visible, hidden) =
                        self.about(&self.url).await.map_err(|fault| self.failed("counting the messages", fault))?;
                    empty = Some(visible + hidden == 0);
                }
                valid = empty != Some(true);
            }
            if !valid {
                sent = Sent { queue: self.url.clone(), at: now, tasks: BTreeSet::new() };
            }
            let mut new: BTreeMap<&str, &Task> = tasks.iter().map(|task| (task.id.as_str(), *task)).collect();
            new.retain(|id, _| !sent.tasks.contains(*id));
            if new.is_empty() {
                continue;
            }
            let texts: Vec<String> = new.values().map(|task| MessageBody::fresh(task).text()).collect();
            self.send_texts(&texts).await?;
            count += texts.len();
            sent.at = now;
            sent.tasks.extend(new.into_keys().map(str::to_owned));
            self.note_sent(&source, dt, &sent).await?;
        }
        Ok(count)
    }

    async fn sent(&self, source: &SourceName, dt: Date) -> Result<Sent, Error> {
        let body = self.lake.objects().get(&path::sent(source, dt)).await?;
        // One that can't be read is as if it were not there: it costs duplicates.
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default())
    }

    async fn note_sent(&self, source: &SourceName, dt: Date, sent: &Sent) -> Result<(), Error> {
        let at = path::sent(source, dt);
        let body = serde_json::to_vec(sent).map_err(|source| Error::Note { path: at.to_string(), source })?;
        Ok(self.lake.objects().put(&at, body.into()).await?)
    }
}
