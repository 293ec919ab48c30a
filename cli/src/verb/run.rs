//! `onggi run`: one day, from the sources to the sinks.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::TableName;
use catalog::simulation::from_outside;
use extract::Cancel;

use crate::args::{Global, RunArgs};
use crate::clock;
use crate::exit::Exit;
use crate::lake_state;
use crate::out;
use crate::progress::Progress;
use crate::report::{RunReport, Status};
use crate::run::{Order, Request, run as run_day};
use crate::steps;
use crate::verb::{check, plan, upkeep};
use crate::wire;

/// Steps that are named of those that a run of the stale days left alone.
const NAMED: usize = 5;

/// Runs the day and prints what it did.
///
/// # Errors
/// If the run cannot begin: a wrong file, a lake that cannot be opened. Failed steps are in the report.
pub(crate) async fn run(global: &Global, args: &RunArgs) -> anyhow::Result<Exit> {
    let reports = reported(global, args, Arc::new(Progress::new(global.quiet)), Cancel::new()).await?;
    Ok(reports.iter().map(|report| report.status).max().unwrap_or(Status::Done).into())
}

/// As [`run`], telling `progress`, until `cancel` is raised; gives the report of each day that was run, of which there are
/// several or none for `--stale`.
///
/// # Errors
/// As [`run`].
pub(crate) async fn reported(
    global: &Global,
    args: &RunArgs,
    progress: Arc<Progress>,
    cancel: Cancel,
) -> anyhow::Result<Vec<RunReport>> {
    let project = check::checked(global)?;
    let lake = wire::lake(&project, global).await?;
    let today = clock::today(&project.config.timezone());
    let dt = args.dt.unwrap_or(today);
    let request = Request {
        project: &project,
        lake: &lake,
        dt,
        today,
        refetch: args.refetch,
        allow_deletes: args.allow_deletes,
        select: &args.select,
        renew: true,
        jobs: usize::from(args.jobs.unwrap_or(project.config.crawl.jobs)),
        workers: args.workers,
        // A history that is played again by its seed has one order.
        order: if cfg!(test) { Order::InTurn } else { Order::SideBySide },
        progress,
        cancel,
    };
    if args.stale {
        return stale(&request, global).await;
    }
    let mut report = day(&request).await?;
    report.damaged = upkeep::when_due(&project, &lake, &request.progress).await;
    if !report.damaged.is_empty() {
        report.status = report.status.max(Status::Partial);
    }
    print(&report, global)?;
    if let Some(line) = lake_state::stale_line(&from_outside(Box::pin(lake_state::look(&project, &lake))).await?) {
        request.progress.line(&line);
    }
    Ok(vec![report])
}

async fn day(request: &Request<'_>) -> anyhow::Result<RunReport> {
    request.progress.line(&format!("run of {} on {}", request.dt, request.lake.uri()));
    run_day(request).await
}

/// Builds every stale day again, and then what is below. A day that was built may make the same day of what reads it stale, so it
/// looks again, at most as often as there are models.
async fn stale(request: &Request<'_>, global: &Global) -> anyhow::Result<Vec<RunReport>> {
    let mut reports: Vec<RunReport> = Vec::new();
    let mut built: BTreeSet<TableName> = BTreeSet::new();
    for _ in 0..=request.project.models.len() {
        let days = lake_state::look(request.project, request.lake).await?.stale_days();
        if days.is_empty() || reports.iter().any(|report| report.status != Status::Done) {
            break;
        }
        for (dt, models) in days {
            let select: Vec<String> = models.iter().map(ToString::to_string).collect();
            built.extend(models);
            let (progress, cancel) = (Arc::clone(&request.progress), request.cancel.clone());
            let request = Request { dt, select: &select, renew: false, progress, cancel, ..*request };
            let report = day(&request).await?;
            print(&report, global)?;
            reports.push(report);
        }
    }
    // What stands for no day, and the sinks, follow once, on the day of the run.
    let select = steps::below(request.project, &built)?;
    if !select.is_empty() && reports.iter().all(|report| report.status == Status::Done) {
        let open = plan::lines(request.project, request.lake, request.today, &select).await?;
        if open.iter().any(|line| line.to_do().is_some()) {
            let (progress, cancel) = (Arc::clone(&request.progress), request.cancel.clone());
            let request = Request { dt: request.today, select: &select, renew: false, progress, cancel, ..*request };
            let report = day(&request).await?;
            print(&report, global)?;
            reports.push(report);
        }
    }
    if reports.is_empty() {
        request.progress.line("no day is stale");
    }
    if let Some(line) = not_looked_at(request).await {
        request.progress.line(&line);
    }
    Ok(reports)
}

/// What a run of the stale days does not touch, if today has something to do: steps that failed are among them, and those
/// whose checks have not run since something changed.
async fn not_looked_at(request: &Request<'_>) -> Option<String> {
    let lines = match plan::lines(request.project, request.lake, request.today, &[]).await {
        Ok(lines) => lines,
        Err(error) => {
            return Some(format!("not looked at: the steps of {}, which can't be told ({error})", request.today));
        }
    };
    let open: Vec<String> = lines.iter().filter_map(plan::Line::to_do).collect();
    let more = open.len().saturating_sub(NAMED);
    let named = open.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!open.is_empty()).then(|| format!("not looked at, `onggi run` does it: {named}{more}"))
}

/// A report's line for people, or its object for scripts.
///
/// # Errors
/// If it cannot be turned into JSON.
pub(crate) fn print(report: &RunReport, global: &Global) -> anyhow::Result<()> {
    if global.json {
        out::object(report)?;
    } else if !global.quiet {
        let word = match report.status {
            Status::Done => "done",
            Status::Partial => "partial",
            Status::Failed => "failed",
        };
        out::line(format_args!("{word}: {} ({:.1}s, run {})", report.line(), report.seconds, report.run));
        if !report.damaged.is_empty() {
            out::line("`onggi upkeep --dry-run` names the files of the lake that are gone or cut");
        }
        if report.status != Status::Done {
            out::line(format_args!("`onggi status {}` shows each step and why", report.run));
        }
    }
    Ok(())
}
