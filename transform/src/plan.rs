//! What a build would do, and why: decided from what is known about the last one.
//!
//! A build leaves two things: its mark, in the table's log with the rows it made, and a record of what went into that mark, beside
//! the lake's tables. The mark alone decides; the record says which part of it changed. A lost record costs an explanation, and for
//! a `latest` model a full merge, never a wrong row.

use std::collections::BTreeSet;

use catalog::{Date, Lake, TableName};
use serde::Serialize;

use crate::error::Result;
use crate::facts::{Facts, OpenTables, When, referenced};
use crate::model::Models;
use crate::reason::{Action, Reason};
use crate::record::day_of;
use crate::there::built;

/// What a run would do about one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The model.
    pub model: TableName,
    /// The day, for a model that has days.
    pub dt: Option<Date>,
    /// What would be done.
    pub action: Action,
    /// Why.
    pub why: Vec<Reason>,
}

/// What a build of these models would do, in order. `coming` are the tables that earlier steps of the run
/// will change.
pub async fn plan(
    lake: &Lake,
    models: &Models,
    names: &BTreeSet<TableName>,
    when: &When,
    coming: &BTreeSet<TableName>,
) -> Result<Vec<Planned>> {
    let dt = when.dt;
    let mut changing = coming.clone();
    let mut planned = Vec::new();
    for model in models.iter().filter(|model| names.contains(model.name())) {
        let (stored, _) = models.resolve(model.parents().iter().cloned());
        let is_view = !model.materialization().is_stored();
        let mut entry =
            Planned { model: model.name().clone(), dt: day_of(model, dt), action: Action::Keep, why: Vec::new() };
        if is_view && model.checks().is_empty() {
            entry.why.push(Reason::NothingStored);
            planned.push(entry);
            continue;
        }
        let mut missing = Vec::new();
        for name in stored.iter().filter(|name| !changing.contains(name)) {
            if built(lake, models, name).await?.is_none() {
                missing.push(Reason::Missing(name.clone()));
            }
        }
        if !missing.is_empty() {
            (entry.action, entry.why) = (Action::Blocked, missing);
            planned.push(entry);
            continue;
        }
        let facts = Facts::gather(lake, models, model, dt, &changing, &OpenTables::new()).await?;
        (entry.action, entry.why) = if is_view { facts.decide_view() } else { facts.decide(when) };
        let will = |tables: &BTreeSet<TableName>| -> Vec<Reason> {
            tables.intersection(&changing).map(|name| Reason::WillChange(name.clone())).collect()
        };
        let checked = will(&models.resolve(referenced(model)).0);
        let read = will(&stored);
        let kept = matches!(entry.why.as_slice(), [Reason::NewerDay(_) | Reason::AsKnownThen]);
        if !(kept || read.is_empty() && checked.is_empty()) {
            let rebuilt = !read.is_empty() && !is_view;
            entry.why.retain(|reason| match reason {
                Reason::UpToDate => false,
                Reason::ChecksChanged | Reason::ReferenceChanged(_) => !rebuilt,
                Reason::ParentChanged(name) => !changing.contains(name),
                _ => true,
            });
            let more = read.into_iter().chain(checked.into_iter().filter(|_| !rebuilt));
            entry.why.extend(more.collect::<BTreeSet<_>>());
            entry.action = match entry.action {
                _ if rebuilt => Action::Build,
                Action::Keep => Action::Recheck,
                other => other,
            };
        }
        if entry.action == Action::Build {
            changing.insert(model.name().clone());
        }
        planned.push(entry);
    }
    Ok(planned)
}
