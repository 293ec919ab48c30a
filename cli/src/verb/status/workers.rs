//! Who works, on what, and which keys are unfinished.

use catalog::{Lake, Timestamp};
use extract::heartbeat::{self, Health, Role, Worker, WorkerState};
use extract::ledger::Ledger;
use extract::outcome::KeyOutcome;
use serde_json::json;

use super::took;
use crate::count::counted;
use crate::out;
use crate::project::Project;
use crate::run::extraction::told;
use crate::{clock, table};

/// One that ended by itself is shown for so long.
const RECENT_SECONDS: f64 = 600.0;

/// Keys that are named of those that are unfinished.
const NAMED: usize = 20;

/// Those who gave signs of life, and the keys that did not end as they should, by source.
#[derive(Default)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    unfinished: Vec<(String, KeyOutcome)>,
}

impl Workers {
    /// Looks at the signs of life and at the outcomes of keys.
    ///
    /// # Errors
    /// If the lake cannot be read.
    pub(super) async fn look(project: &Project, lake: &Lake) -> anyhow::Result<Self> {
        let workers = heartbeat::workers(lake, clock::now()).await?;
        let today = clock::today(&project.config.timezone());
        let mut unfinished = Vec::new();
        for source in &project.sources {
            let Some(table) = lake.find(source.table()).await? else { continue };
            let ledger = Ledger::open(lake, source, table, today).await?;
            unfinished.extend(ledger.unfinished(today).into_iter().map(|last| (source.name().to_string(), last)));
        }
        Ok(Self { workers, unfinished })
    }

    /// One object a worker and an unfinished key, after those of the runs.
    ///
    /// # Errors
    /// If one cannot be turned into JSON.
    pub(super) fn print_json(&self) -> anyhow::Result<()> {
        for worker in &self.workers {
            out::object(&json!({ "worker": serde_json::to_value(worker)? }))?;
        }
        for (source, last) in &self.unfinished {
            out::object(&json!({ "unfinished": { "source": source, "outcome": serde_json::to_value(last)? } }))?;
        }
        Ok(())
    }

    /// As people read them; nothing if nobody is there.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let shown: Vec<&Worker> = self
            .workers
            .iter()
            .filter(|worker| match (worker.health, worker.record.role) {
                (Health::Stopped, Role::Worker) => worker.seconds_ago < RECENT_SECONDS,
                // A run that ended, or died, is told of above.
                (Health::Stopped, Role::Run) => false,
                (Health::Lives | Health::Dead, _) => true,
            })
            .collect();
        let mut text = String::new();
        if !shown.is_empty() {
            text += "workers\n";
            text += &table::align(&shown.iter().flat_map(|worker| rows(worker, now)).collect::<Vec<_>>());
            text.push('\n');
        }
        if !self.unfinished.is_empty() {
            let count = self.unfinished.len();
            text += &format!("{} unfinished; a run asks for them again where it can\n", counted(count as u64, "key"));
            for (source, last) in self.unfinished.iter().take(NAMED) {
                text += &format!("  {source} {}  {}\n", last.dt, told(last));
            }
            if count > NAMED {
                text += &format!("  and {} more; `onggi retry` lists them\n", count - NAMED);
            }
            text.push('\n');
        }
        text
    }
}

/// One line for the worker, one for each task beyond the first, one for each note.
fn rows(worker: &Worker, now: Timestamp) -> Vec<Vec<String>> {
    let record = &worker.record;
    let (mark, word) = match (worker.health, record.state) {
        (Health::Dead, _) => ("✗", "dead"),
        (Health::Stopped, _) => ("-", "stopped"),
        (Health::Lives, WorkerState::Working) => ("▶", "working"),
        (Health::Lives, WorkerState::Stopping) => ("▶", "stopping"),
        (Health::Lives, WorkerState::Idle | WorkerState::Stopped) => ("·", "idle"),
    };
    let role = match record.role {
        Role::Worker => "worker",
        Role::Run => "run",
    };
    let mut on = record.tasks.iter().map(|task| {
        let key = task.key.as_ref().map_or_else(String::new, |key| format!(" at `{key}`"));
        let time = if worker.health == Health::Lives { format!(", {}", took(task.since, now)) } else { String::new() };
        format!("{} {} {}{key}{time}", task.source, task.dt, task.task)
    });
    let seen = format!("{} ago", seconds(worker.seconds_ago));
    let place = format!("{} pid {}", record.process.host, record.process.pid);
    let first = match (on.next(), worker.health) {
        (Some(task), _) => task,
        (None, Health::Lives) => format!("{} free", counted(record.jobs as u64, "job")),
        (None, _) => String::new(),
    };
    let mut rows = vec![vec![format!("  {mark} {role} {}", record.id), word.to_owned(), seen, place, first]];
    let blank = |text: String| vec![String::new(), String::new(), String::new(), String::new(), text];
    rows.extend(on.map(blank));
    if worker.health == Health::Lives {
        rows.extend(record.notes.iter().cloned().map(blank));
    }
    rows
}

fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0}s"),
        seconds if seconds < 7200.0 => format!("{:.0}min", seconds / 60.0),
        seconds if seconds < 1e8 => format!("{:.0}h", seconds / 3600.0),
        // A sign that says a time more than a day from now.
        _ => "ages".to_owned(),
    }
}
