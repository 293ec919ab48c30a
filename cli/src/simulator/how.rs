//! How a run is asked for, and how it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use catalog::Date;
use catalog::run::{StepState, StepStatus};
use catalog::simulation;
use extract::Cancel;

use super::files::{OTHER, ZONE};
use super::verbs::Hand;
use super::world::global;
use crate::args::{Fetchers, RunArgs};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::report::{RunReport, Status};
use crate::{clock, exit, wire};

/// How a run is made.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that is given or not")]
pub(super) struct How {
    /// Its day; today if none.
    pub dt: Option<Date>,
    /// The machines that run it, all at once; `None` is this one.
    pub hosts: Vec<Option<String>>,
    /// Tasks at the same time.
    pub jobs: usize,
    /// Where it is killed.
    pub death: Option<simulation::Death>,
    /// The request at which it is killed.
    pub deadly: Option<u64>,
    /// Whether it only builds stale days again.
    pub stale: bool,
    /// Whether keys that have ended are asked for again.
    pub refetch: bool,
    /// Whether a sync may remove any share of a sink's rows.
    pub allow_deletes: bool,
    /// The steps that are named; all if none.
    pub select: Vec<String>,
    /// The request at which it is told to stop.
    pub stop: Option<u64>,
    /// Whether it is the other project of the lake that is run.
    pub other: bool,
    /// Who does its tasks; the run itself if nobody.
    pub workers: Vec<Hand>,
}

impl How {
    /// Whether a second one of a day that is done finds nothing to do.
    pub(super) fn is_plain(&self) -> bool {
        let whole = !self.stale && !self.refetch && self.dt.is_none() && self.select.is_empty();
        let lives = self.death.is_none() && self.deadly.is_none() && self.stop.is_none();
        whole && lives && !self.other && !self.allow_deletes
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct Ran {
    /// The day that it was for.
    pub dt: Date,
    /// The exit code it leads to; none if it was killed.
    pub exit: Option<Exit>,
    /// Whether it was a run of a whole day: not of the stale ones, and of all steps.
    pub whole: bool,
    /// Whether a sync might remove any share of a sink's rows.
    pub may_delete: bool,
    /// Why it could not begin.
    pub error: Option<String>,
    /// What it did.
    pub report: Option<RunReport>,
    /// Its steps by name, such as `build:marts.daily`.
    pub steps: BTreeMap<String, StepState>,
    /// What it told people.
    pub told: Vec<String>,
}

impl Ran {
    /// Whether everything was done.
    pub(super) fn is_done(&self) -> bool {
        self.exit == Some(Exit::Done)
    }

    /// Whether a step published nothing.
    pub(super) fn failed(&self, step: &str) -> bool {
        let failed = [StepStatus::Failed, StepStatus::Skipped];
        self.steps.get(step).is_some_and(|step| failed.contains(&step.status))
    }

    /// Whether a step ended so that its table can't be as it should.
    pub(super) fn gave_up(&self, step: &str) -> bool {
        let given_up = [StepStatus::Failed, StepStatus::Skipped, StepStatus::Partial];
        self.steps.get(step).is_some_and(|step| given_up.contains(&step.status))
    }
}

/// The end of a run, or of several at once.
pub(super) enum End {
    /// They ended by themselves.
    Ran(Vec<Ran>),
    /// They were killed, after the failpoint that was passed last.
    Killed(Option<&'static str>),
    /// They would have gone on.
    Endless,
}

/// What `onggi run` does, in this process.
pub(super) async fn once(folder: PathBuf, how: &How, told: Cancel) -> Ran {
    let progress = Arc::new(Progress::kept());
    let today = clock::today(&jiff::tz::TimeZone::get(ZONE).unwrap());
    let args = RunArgs {
        dt: how.dt,
        select: how.select.clone(),
        dry_run: false,
        refetch: how.refetch,
        allow_deletes: how.allow_deletes,
        stale: how.stale,
        jobs: Some(u16::try_from(how.jobs.max(1)).unwrap()),
        workers: if how.workers.is_empty() { Fetchers::Own } else { Fetchers::External },
    };
    let ran = async {
        let mut global = global(&if how.other { folder.join(OTHER) } else { folder.clone() });
        global.lake = how.other.then(|| folder.join("lake").display().to_string());
        let reports = crate::verb::run::reported(&global, &args, Arc::clone(&progress), told).await?;
        let lake = wire::lake(&crate::project::Project::open(&global)?, &global).await?;
        let mut steps = Vec::new();
        for report in &reports {
            let state = catalog::run::read(&lake, &report.run, clock::now()).await?;
            steps.extend(state.into_iter().flat_map(|state| state.steps));
        }
        anyhow::Ok((reports, steps))
    };
    let ran = ran.await;
    let (dt, told) = (how.dt.unwrap_or(today), progress.told());
    match ran {
        Ok((reports, steps)) => Ran {
            whole: !how.stale && how.select.is_empty(),
            may_delete: how.allow_deletes,
            dt,
            exit: Some(reports.iter().map(|report| report.status).max().unwrap_or(Status::Done).into()),
            error: None,
            report: reports.into_iter().last(),
            steps: steps.into_iter().map(|step| (step.id.clone(), step)).collect(),
            told,
        },
        Err(error) => Ran {
            whole: !how.stale && how.select.is_empty(),
            may_delete: how.allow_deletes,
            dt,
            exit: Some(exit::code(&error)),
            error: Some(exit::render(&error)),
            report: None,
            steps: BTreeMap::new(),
            told,
        },
    }
}
