//! Small objects under `_onggi/` that nobody needs any more.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::error::Result;
use crate::lake::Lake;
use crate::name::{Layer, RunId, TableName};
use crate::objects::ObjectEntry;
use crate::path;
use crate::run::{self, RunStatus};

use super::{GRACE, Leftover, QUEUE_KEEPS, RUNS_KEPT, TaskObject, TaskObjectKind, Upkeep, UpkeepWork, before};

/// Frees all kinds, each by itself: what is wrong with one keeps none of the others.
pub(super) async fn free(work: &mut UpkeepWork<'_>) {
    let (lake, upkeep) = (work.lake, work.upkeep);
    let of_tasks = |entries: Vec<ObjectEntry>| {
        let is_left = |it: &ObjectEntry| upkeep.landed.contains(&it.path) && it.modified < upkeep.cutoff();
        entries.into_iter().filter(is_left).collect()
    };
    let staged = lake.objects().entries(&path::staged_all()).await.map(of_tasks);
    part(work, Leftover::StagedObjects, staged).await;
    let dead = lake.objects().entries(&path::dead_letters(None, None)).await.map(of_tasks);
    part(work, Leftover::DeadLetters, dead).await;
    let plans = older(lake, &path::old_plans(), upkeep.cutoff()).await;
    part(work, Leftover::OldPlans, plans).await;
    let sent = older(lake, &path::sent_all(), before(upkeep.now, upkeep.keep().max(QUEUE_KEEPS))).await;
    part(work, Leftover::SentLists, sent).await;
    // A claim is as old as the run that made it; those of the dead go with the next run of their source.
    let claims = older(lake, &path::claims(None), before(upkeep.now, QUEUE_KEEPS)).await;
    part(work, Leftover::WorkerSigns, claims).await;
    let signs = older(lake, &path::workers(), before(upkeep.now, GRACE)).await;
    part(work, Leftover::WorkerSigns, signs).await;
    let records = build_records(lake, upkeep).await;
    part(work, Leftover::BuildRecords, records).await;
    let events = run_events(lake, upkeep).await;
    part(work, Leftover::RunEvents, events).await;
}

async fn part(work: &mut UpkeepWork<'_>, kind: Leftover, found: Result<Vec<ObjectEntry>>) {
    match found {
        Ok(found) => work.free_objects(kind, found).await,
        Err(error) => work.leave(&kind.to_string(), &error),
    }
}

/// Those under `prefix` that were last written before `cutoff`.
async fn older(lake: &Lake, prefix: &path::ObjectPath, cutoff: Timestamp) -> Result<Vec<ObjectEntry>> {
    let mut entries = lake.objects().entries(prefix).await?;
    entries.retain(|entry| entry.modified < cutoff);
    Ok(entries)
}

/// See [`super::old_task_objects`].
pub(super) async fn old_task_objects(lake: &Lake, upkeep: &Upkeep) -> Result<Vec<TaskObject>> {
    let mut found = Vec::new();
    for (kind, prefix) in
        [(TaskObjectKind::Staged, path::staged_all()), (TaskObjectKind::DeadLetter, path::dead_letters(None, None))]
    {
        let old = older(lake, &prefix, upkeep.cutoff()).await?;
        found.extend(old.into_iter().filter_map(|entry| task_object(kind, entry.path)));
    }
    Ok(found)
}

/// `_onggi/<kind>/<source>/<day>/<folder>/…`, or `…/<letter>.json`.
fn task_object(kind: TaskObjectKind, path: path::ObjectPath) -> Option<TaskObject> {
    let mut parts = path.as_str().split('/').skip(2);
    let (source, dt, folder) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.to_owned());
    Some(TaskObject { kind, path, source, dt, folder })
}

/// Records of builds whose fingerprint is not the mark of their table and day.
async fn build_records(lake: &Lake, upkeep: &Upkeep) -> Result<Vec<ObjectEntry>> {
    let old = older(lake, &path::states("builds"), before(upkeep.now, GRACE)).await?;
    let mut found = Vec::new();
    for entry in old {
        // Paths escape the tilde.
        let name = entry.path.stem().replace("%7E", "~");
        let mut parts = name.split('~');
        // One of another form is not known here.
        let (Some(model), Some(day), Some(fingerprint), _checks, _files, None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (Ok(model), Ok(fingerprint)) = (model.parse::<TableName>(), u64::from_str_radix(fingerprint, 16)) else {
            continue;
        };
        let replaced = match lake.newest(&model).await? {
            Some(snapshot) => {
                let mark = snapshot.txn(&format!("build/{model}/{day}")).await?;
                // No mark says nothing of the record.
                mark.is_some_and(|mark| mark.cast_unsigned() != fingerprint)
            }
            None => true,
        };
        if replaced {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The events of old runs that ended or died. What they come to stands in `ops.runs`, before they go.
async fn run_events(lake: &Lake, upkeep: &Upkeep) -> Result<Vec<ObjectEntry>> {
    let mut runs: BTreeMap<RunId, Vec<ObjectEntry>> = BTreeMap::new();
    for entry in lake.objects().entries(&path::runs()).await? {
        let name = entry.path.as_str().split('/').nth(2).and_then(|name| name.parse().ok());
        if let Some(run) = name {
            runs.entry(run).or_default().push(entry);
        }
    }
    let mut found = Vec::new();
    let cutoff = upkeep.cutoff();
    for (id, entries) in runs.into_iter().rev().skip(RUNS_KEPT) {
        if entries.iter().any(|entry| entry.modified >= cutoff) {
            continue;
        }
        match run::read(lake, &id, upkeep.now).await? {
            Some(state) if state.status == RunStatus::Running => continue,
            Some(state) if !upkeep.dry_run && !is_recorded(lake, &id).await? => run::record(lake, &state).await?,
            // Recorded, or nothing of it can be read.
            _ => {}
        }
        found.extend(entries);
    }
    Ok(found)
}

async fn is_recorded(lake: &Lake, run: &RunId) -> Result<bool> {
    let Some(runs) = lake.newest(&TableName::new(Layer::Ops, "runs")?).await? else { return Ok(false) };
    Ok(runs.txn(&run::record_mark(run)).await?.is_some())
}
