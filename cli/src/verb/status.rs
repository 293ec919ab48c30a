//! `onggi status`: the steps of the last runs, from the events that they left in the lake.

use std::collections::BTreeMap;

use catalog::run::{self, RunState, RunStatus, Sighting, StepState, StepStatus};
use catalog::{RunId, Timestamp};
use jiff::tz::TimeZone;

use crate::args::{Global, StatusArgs};
use crate::clock;
use crate::count::thousands;
use crate::exit::{Exit, Failure};
use crate::lake_state;
use crate::out;
use crate::project::Project;
use crate::run::extraction::short;
use crate::sink_state::SinkState;
use crate::table;
use crate::wire;

mod workers;

use workers::Workers;

/// Prints one run, or the last ones.
///
/// # Errors
/// If the lake cannot be read or there is no such run.
pub(crate) async fn status(global: &Global, args: &StatusArgs) -> anyhow::Result<Exit> {
    let project = Project::open(global)?;
    let Some(lake) = wire::find_lake(&project, global).await? else {
        if !global.json {
            let at = wire::lake_address(&project, global);
            out::line(format_args!("no lake at {at} yet; `onggi run` makes it"));
        }
        return Ok(Exit::Done);
    };
    let states = match &args.run {
        Some(name) => {
            let id: RunId = name.parse()?;
            let found = run::read(&lake, &id, clock::now()).await?;
            vec![found.ok_or_else(|| {
                Failure::usage(
                    format!("expected a run of this lake, found no `{name}`"),
                    "`onggi status` lists the last runs",
                )
            })?]
        }
        None => run::recent(&lake, args.last, clock::now()).await?,
    };
    // Who asks for one run asks about that run.
    let workers = match args.run {
        Some(_) => Workers::default(),
        None => Workers::look(&project, &lake).await?,
    };
    if global.json {
        for state in &states {
            out::object(state)?;
        }
        workers.print_json()?;
        if args.run.is_none() {
            SinkState::look(&project, &lake).await?.objects().try_for_each(|it| out::object(&it))?;
        }
        return Ok(Exit::Done);
    }
    if states.is_empty() {
        out::line(format_args!("no run yet on {}; `onggi run` does the first", lake.uri()));
    }
    let zone = project.config.timezone();
    for state in states.iter().rev() {
        out::text(&text(state, clock::now(), &zone));
    }
    out::text(&workers.text(clock::now()));
    if args.run.is_none() {
        for line in lake_state::lines(&lake_state::look(&project, &lake).await?) {
            out::line(line);
        }
        SinkState::look(&project, &lake).await?.lines().iter().for_each(out::line);
    }
    Ok(Exit::Done)
}

/// A run as people read it.
fn text(state: &RunState, now: Timestamp, zone: &TimeZone) -> String {
    let started = state.started_at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let end = state.ended_at.unwrap_or(now);
    let took = took(state.started_at, end);
    let mut text = match state.status {
        RunStatus::Dead => format!(
            "run {}  {}  dead: {}; run the day again to go on  started {started}\n",
            state.run,
            state.dt,
            why_dead(state, now)
        ),
        status => format!("run {}  {}  {status}  started {started}, {took}\n", state.run, state.dt),
    };
    let dead = state.status == RunStatus::Dead;
    let rows: Vec<Vec<String>> = state.steps.iter().map(|step| row(step, now, dead)).collect();
    text += &table::align(&rows);
    for step in &state.steps {
        if let Some(error) = &step.error {
            text += &format!("  {} failed: {}\n", step.name, error.trim_end().replace('\n', "\n    "));
            if let Some(hint) = &step.hint {
                text += &format!("    hint: {hint}\n");
            }
        }
    }
    if let Some(error) = &state.error {
        text += &format!("  {}\n", error.trim_end().replace('\n', "\n    "));
    }
    text += &requests(&state.totals).map_or_else(String::new, |line| format!("  requests: {line}\n"));
    text.push('\n');
    text
}

/// By what it is known that a run is dead.
fn why_dead(state: &RunState, now: Timestamp) -> String {
    match state.process.observe() {
        Sighting::Gone | Sighting::Runs => "its process is gone".to_owned(),
        Sighting::OutOfSight => format!(
            "nothing was heard for {} of it, on {} pid {}",
            took(state.heard_at, now),
            state.process.host,
            state.process.pid
        ),
    }
}

/// What the run asked of a bucket: `120 put, 310 get, 14 list`; `None` for a lake that is not in one.
fn requests(totals: &BTreeMap<String, i64>) -> Option<String> {
    let count = |kind: &str| totals.get(&format!("{kind}_requests")).copied();
    count("put")?;
    let kinds = ["put", "get", "head", "list", "delete", "failed"];
    let counts = kinds.iter().filter_map(|kind| Some((kind, count(kind).filter(|count| *count > 0)?)));
    let parts: Vec<String> =
        counts.map(|(kind, count)| format!("{} {kind}", thousands(count.unsigned_abs()))).collect();
    Some(parts.join(", "))
}

fn row(step: &StepState, now: Timestamp, dead: bool) -> Vec<String> {
    let mark = match step.status {
        StepStatus::Waiting => "·",
        StepStatus::Running if dead => "✗",
        StepStatus::Running => "▶",
        StepStatus::Done => "✓",
        StepStatus::Unchanged => "=",
        StepStatus::Failed => "✗",
        StepStatus::Partial => "!",
        StepStatus::Skipped => "-",
    };
    let word = match step.status {
        StepStatus::Running if dead => "killed".to_owned(),
        status => status.to_string(),
    };
    let time = step.started_at.map(|started| took(started, step.ended_at.unwrap_or(if dead { started } else { now })));
    vec![
        format!("  {mark} {}", step.kind),
        step.name.clone(),
        word,
        time.filter(|_| !dead || step.ended_at.is_some()).unwrap_or_default(),
        detail(step),
    ]
}

/// How far a step is, or what it did and why.
fn detail(step: &StepState) -> String {
    let mut parts = Vec::new();
    if step.status == StepStatus::Running && step.unit.is_some() {
        let of = step.total.map_or_else(String::new, |total| format!(" of {}", thousands(total)));
        parts.push(format!("{}{of} {}", thousands(step.done), step.unit.as_deref().unwrap_or_default()));
    }
    for name in ["fetched", "set_aside", "duplicates", "open_keys", "rows", "summarised", "embedded", "synced"] {
        if let Some(count) = step.counts.get(name).filter(|count| **count > 0) {
            parts.push(format!("{} {}", name.replace('_', " "), thousands(count.unsigned_abs())));
        }
    }
    let count = |name: &str| step.counts.get(name).map_or(0, |count| count.unsigned_abs());
    if count("short_keys") > 0 {
        parts.push(short(count("short_keys"), count("short_items")));
    }
    if let Some(why) = &step.why {
        parts.push(why.clone());
    }
    parts.join(" · ")
}

pub(super) fn took(from: Timestamp, to: Timestamp) -> String {
    let took = std::time::Duration::try_from(to.duration_since(from)).unwrap_or_default();
    match took.as_secs() {
        seconds @ 60.. => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_for_a_lake_in_a_bucket() {
        let totals = |counts: &[(&str, i64)]| counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(requests(&totals(&[("fetched", 3)])), None);
        let found =
            totals(&[("put_requests", 1_120), ("get_requests", 310), ("list_requests", 14), ("head_requests", 0)]);
        assert_eq!(requests(&found).unwrap(), "1,120 put, 310 get, 14 list");
    }
}
