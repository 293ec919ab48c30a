//! The step that extracts a source: with hands of its own, or by workers that it waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use catalog::run::StepStatus;
use extract::plan::Due;
use extract::presence::{self, Health, Role};
use extract::queue::DeadLetter;
use extract::{Extracted, Extractor, Source};

use super::{Ended, Request, Runner};
use crate::args::Workers;
use crate::clock;
use crate::keys;
use crate::progress::{Amount, Progress, counted, thousands};
use crate::wire;

/// How often a run that waits looks whether somebody works, and after which silence it says that nobody does.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(15);

/// How often it says so.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Ids of tasks in one statement.
const IDS: usize = 500;

impl Runner<'_> {
    pub(super) async fn extract(&mut self, source: &Source) -> anyhow::Result<Ended> {
        let Request { project, lake, dt, .. } = *self.request;
        if let Due::Fresh { newest, next } = extract::worker::is_due(lake, source, dt).await? {
            let why = format!("not due: fetched on {newest}, due on {next}");
            return Ok(Ended { why: Some(why.clone()), ..Ended::new(StepStatus::Unchanged, why) });
        }
        let keys = keys::keys(&self.engine, lake, project, source).await?;
        if keys.is_empty() {
            // Models read the table also when nothing is in it.
            let _ = lake.create(&source.table_spec()).await?;
            return Ok(Ended::new(StepStatus::Unchanged, "no keys: there is nothing to ask for"));
        }
        let extractor = self.extractor().await?;
        let extracted = match self.request.workers {
            Workers::Own => extract::extract(&extractor, source, dt, keys).await?,
            Workers::External => {
                let watch = tokio::spawn(watch(lake.clone(), Arc::clone(&self.request.progress)));
                let waited = extract::worker::extract_by_others(&extractor, source, dt, keys).await;
                watch.abort();
                self.by_others(source, waited?).await?
            }
        };
        if self.cancel.is_cancelled() {
            return Err(extract::Error::Cancelled.into());
        }
        Ok(ended(&extracted))
    }

    async fn extractor(&mut self) -> anyhow::Result<Extractor> {
        if let Some(extractor) = &self.extractor {
            return Ok(extractor.clone());
        }
        let Request { project, lake, jobs, workers, .. } = *self.request;
        let reporter = self.reporter.clone();
        let hands = wire::Hands {
            id: self.id.clone(),
            role: (workers == Workers::Own).then_some(Role::Run),
            jobs,
            cancel: self.cancel.clone(),
            progress: Arc::new(move |it: extract::Progress| {
                reporter.tell(Amount { done: it.done_keys, total: Some(it.total_keys), records: it.records }, "keys");
            }),
        };
        let extractor = wire::extractor(project, lake, hands).await?;
        Ok(self.extractor.insert(extractor).clone())
    }

    /// What others landed while we waited, counted in the table itself.
    async fn by_others(&self, source: &Source, others: extract::worker::Others) -> anyhow::Result<Extracted> {
        let Request { project, lake, dt, .. } = *self.request;
        let mut extracted = Extracted { tasks: others.landed.len() as u64, dead: others.dead, ..Extracted::default() };
        let table = source.table();
        for ids in others.landed.chunks(IDS) {
            // Ids are hexadecimal, and the names of layers and tables are plain words: nothing here can end a text.
            let ids: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
            let statement = format!(
                r#"select count(*) as fetched, count("_error") as set_aside from "{}"."{}" where dt = date '{dt}' and "_task" in ({})"#,
                table.layer(),
                table.name(),
                ids.join(", ")
            );
            let counting = || format!("counting what landed in {table}");
            let answer = self.engine.query(lake, &project.models, &statement).await.with_context(counting)?;
            for batch in answer.collect().await.with_context(counting)? {
                let number = |column: usize| {
                    let column = batch.column(column).as_primitive_opt::<Int64Type>();
                    column.map_or(0, |column| column.iter().flatten().sum::<i64>().unsigned_abs())
                };
                extracted.fetched += number(0);
                extracted.set_aside += number(1);
            }
        }
        extracted.landed = extracted.fetched.saturating_sub(extracted.set_aside);
        Ok(extracted)
    }

    /// Ends what the extraction of this run needed.
    pub(super) async fn close(&mut self) {
        if let Some(extractor) = self.extractor.take() {
            extractor.fetchers.close().await;
            if let Some(presence) = &extractor.presence {
                presence.stop().await;
            }
        }
    }
}

/// An extraction as a step ends.
fn ended(extracted: &Extracted) -> Ended {
    let status = match () {
        () if extracted.is_partial() => StepStatus::Partial,
        () if extracted.tasks == 0 => StepStatus::Unchanged,
        () => StepStatus::Done,
    };
    let mut text = match extracted.fetched {
        0 if status == StepStatus::Unchanged => "all fetched already".to_owned(),
        fetched => format!("{} records", thousands(fetched)),
    };
    if extracted.set_aside > 0 {
        text += &format!(", {} set aside", thousands(extracted.set_aside));
    }
    if extracted.duplicates > 0 {
        text += &format!(", {} seen twice", thousands(extracted.duplicates));
    }
    if extracted.short_keys > 0 {
        text += &format!(", {}", short(extracted.short_keys, extracted.short_items));
    }
    let mut why = Vec::new();
    for (host, evidence) in &extracted.blocked {
        why.push(format!("blocked by `{host}`: {evidence}"));
    }
    for letter in &extracted.dead {
        why.push(given_up(letter));
    }
    for reason in &why {
        text += &format!("\n    {reason}");
    }
    if !extracted.dead.is_empty() {
        text += "\n    hint: mend the cause, then `onggi retry --dead` sends them back";
    }
    let mut ended = Ended::new(status, text)
        .count("fetched", extracted.fetched)
        .count("landed", extracted.landed)
        .count("set_aside", extracted.set_aside)
        .count("duplicates", extracted.duplicates)
        .count("short_keys", extracted.short_keys)
        .count("short_items", extracted.short_items)
        .count("requests", extracted.requests)
        .count("dead", extracted.dead.len())
        .count("robots_denied", extracted.robots.iter().filter(|it| !it.allowed).count());
    ended.why = (!why.is_empty()).then(|| why.join("; "));
    ended
}

/// What the site counts and did not show, in a few words.
pub(crate) fn short(keys: u64, items: u64) -> String {
    format!("{} ended {} before the site's own total", counted(keys, "key"), counted(items, "item"))
}

/// A dead letter in one line.
pub(crate) fn given_up(letter: &DeadLetter) -> String {
    let keys: Vec<&str> = letter.task.keys.iter().map(|key| key.value.as_str()).collect();
    format!("gave up on {}: {}", keys.join(", "), letter.error)
}

/// Says so when nobody works on what is waited for, and what somebody leaves alone.
async fn watch(lake: catalog::Lake, progress: Arc<Progress>) {
    let mut heard = Instant::now();
    let mut said: Option<Instant> = None;
    let mut told = Vec::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Who can't look says nothing; the run itself will say why.
        let Ok(workers) = presence::workers(&lake, clock::now()).await else { continue };
        let living: Vec<_> = workers.iter().filter(|worker| worker.health == Health::Lives).collect();
        for note in living.iter().flat_map(|worker| &worker.sign.notes) {
            if !told.contains(note) {
                progress.line(&format!("  a worker says: {note}"));
                told.push(note.clone());
            }
        }
        if !living.is_empty() {
            (heard, said) = (Instant::now(), None);
        } else if heard.elapsed() >= SILENCE && said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            let seconds = heard.elapsed().as_secs();
            progress.line(&format!(
                "  no worker has shown a sign of life for {seconds}s; start one with `onggi worker`. Ctrl-C leaves the tasks in the queue"
            ));
            said = Some(Instant::now());
        }
    }
}
