//! `onggi run`: one day, from the sources to the sinks.

use std::sync::Arc;

use crate::args::{Global, RunArgs};
use crate::clock;
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report::{RunReport, Status};
use crate::run::{Request, run as run_day};
use crate::verb::check;
use crate::wire;

/// Runs the day and prints what it did.
///
/// # Errors
/// If the run cannot begin: a wrong file, a lake that cannot be opened. Failed steps are in the report.
pub(crate) async fn run(global: &Global, args: &RunArgs) -> anyhow::Result<Exit> {
    let project = check::checked(global)?;
    let lake = wire::lake(&project, global).await?;
    let dt = args.dt.unwrap_or_else(|| clock::today(&project.config.timezone()));
    let progress = Arc::new(Progress::new(global.quiet));
    progress.line(&format!("run of {dt} on {}", lake.uri()));
    let request = Request {
        project: &project,
        lake: &lake,
        dt,
        select: &args.select,
        jobs: usize::from(args.jobs.unwrap_or(project.config.crawl.jobs)),
        workers: args.workers,
        progress,
    };
    let report = run_day(&request).await?;
    print(&report, global)?;
    Ok(report.status.into())
}

/// A report's line for people, or its object for scripts.
///
/// # Errors
/// If it cannot be turned into JSON.
pub(crate) fn print(report: &RunReport, global: &Global) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string(report)?);
    } else if !global.quiet {
        let word = match report.status {
            Status::Done => "done",
            Status::Partial => "partial",
            Status::Failed => "failed",
        };
        println!("{word}: {} ({:.1}s, run {})", report.line(), report.seconds, report.run);
        if report.status != Status::Done {
            println!("`onggi status {}` shows each step and why", report.run);
        }
    }
    Ok(())
}
