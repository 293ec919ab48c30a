//! A run: the steps of one day in their order, each recorded as it happens.
//!
//! Steps of different kinds go side by side where none reads from the other: while one source is fetched, the models of another are
//! built and what they changed is synced. Of each kind one goes at a time, since those share what they work with: the browser and the
//! pace of sites, the engine's memory, the budget of a service, the lock of the sinks.
//!
//! A step that fails stops what reads from it and nothing else. A step that is up to date costs a look. Nothing here knows
//! how a step does its work; it knows what to do with how the work ended.

mod enrich;
pub(crate) mod extraction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::enrich::{Enrichment, Llm};
use anyhow::Context;
use catalog::run::{self, Event, Process, RunLog, RunStatus, StepEnd, StepKind, StepPlan, StepStatus};
use catalog::simulation::from_outside;
use catalog::{Date, Lake, Requests, RunId, failpoint};
use extract::{Cancel, Extractor};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use load::SyncTarget;
use tokio::sync::OnceCell;
use transform::{Builder, Engine, Model};

use crate::args::Fetchers;
use crate::clock;
use crate::count::thousands;
use crate::exit::{self, Failure};
use crate::lake_state;
use crate::progress::{Amount, Progress};
use crate::project::Project;
use crate::report::{RunReport, Status};
use crate::reporter::Reporter;
use crate::steps::{self, Placed, Step};
use crate::wire;

pub(crate) use enrich::money;

/// How many answers of a language model are stored at once: what a kill can cost.
const ENRICH_BATCH: usize = 64;

/// The exit codes of a process that ends by a signal, as shells have them.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// How the steps of a run follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// One of each kind at a time, where none reads from the other.
    SideBySide,
    /// One after the other, as they are planned.
    InTurn,
}

/// What a run is asked to do.
pub(crate) struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its lake.
    pub lake: &'a Lake,
    /// The day.
    pub dt: Date,
    /// The day on which the run begins.
    pub today: Date,
    /// Whether keys that have ended on the day are asked for again.
    pub refetch: bool,
    /// Whether a sync may remove any share of a sink's rows.
    pub allow_deletes: bool,
    /// Which steps; all if empty.
    pub select: &'a [String],
    /// Whether days that are over are made again with what is known now where a model is named in `select`.
    pub renew: bool,
    /// Tasks fetched at the same time.
    pub jobs: usize,
    /// Who fetches.
    pub workers: Fetchers,
    /// How its steps follow each other.
    pub order: Order,
    /// Where it shows how far it is.
    pub progress: Arc<Progress>,
    /// Raised when it is to stop.
    pub cancel: Cancel,
}

/// How a step ended, before it becomes an event.
#[derive(Default)]
struct Ended {
    status: Option<StepStatus>,
    counts: BTreeMap<String, i64>,
    /// What is printed after the step's name.
    text: String,
    why: Option<String>,
}

impl Ended {
    fn new(status: StepStatus, text: impl Into<String>) -> Self {
        Self { status: Some(status), text: text.into(), ..Self::default() }
    }

    fn count(mut self, name: &str, count: impl TryInto<i64>) -> Self {
        self.counts.insert(name.to_owned(), count.try_into().unwrap_or(i64::MAX));
        self
    }
}

/// Does one day, and says what it did. Errors of steps are in the run's record; the report's status tells of them.
///
/// # Errors
/// Only what keeps the run from beginning or from being recorded.
pub(crate) async fn run(request: &Request<'_>) -> anyhow::Result<RunReport> {
    let started = Instant::now();
    let before = request.lake.requests();
    let plan = steps::plan(request.project, request.select)?;
    let now = clock::now();
    let id = RunId::at(now);
    let log = RunLog::start(request.lake, id.clone(), request.dt, Process::current(), now).await?;
    let planned = plan.iter().map(|placed| step_plan(&placed.step)).collect();
    log.event(Event::Planned { steps: planned }, clock::now()).await?;

    let mut runner = Runner::new(request, log.clone(), id.clone())?;
    let status = runner.all(&plan).await?;
    runner.close().await;
    end(request, &log, id, status, started, before).await
}

/// The first of the steps that can begin: nothing that it reads from is still to be made, and no step of its kind goes on.
fn next(waiting: &[&Placed<'_>], running: &[&Placed<'_>], order: Order) -> Option<usize> {
    if order == Order::InTurn {
        return (running.is_empty() && !waiting.is_empty()).then_some(0);
    }
    let unmade: BTreeSet<String> = waiting.iter().chain(running).map(|placed| placed.step.id()).collect();
    let is_free = |step: &Step<'_>| running.iter().all(|other| other.step.verb() != step.verb());
    waiting.iter().position(|placed| is_free(&placed.step) && placed.above.iter().all(|name| !unmade.contains(name)))
}

/// Writes how the run ended: the last event, then the tables `ops.runs` and `ops.steps`.
async fn end(
    request: &Request<'_>,
    log: &RunLog,
    id: RunId,
    status: Status,
    started: Instant,
    before: Option<Requests>,
) -> anyhow::Result<RunReport> {
    let state = log.told().context("the run was never begun")?;
    let counts = state.steps.iter().map(|step| &step.counts);
    let mut report = RunReport::new(id, request.dt, status, counts, started.elapsed().as_secs_f64());
    report.requests = request.lake.requests().map(|now| now.since(&before.unwrap_or_default()));
    let run_status = match status {
        Status::Done => RunStatus::Done,
        Status::Partial => RunStatus::Partial,
        Status::Failed => RunStatus::Failed,
    };
    log.event(Event::Ended { status: run_status, totals: report.totals(), error: None }, clock::now()).await?;
    if let Some(state) = log.told() {
        failpoint!("run.record.before");
        run::record(request.lake, &state).await?;
        failpoint!("run.record.after");
    }
    Ok(report)
}

fn event_id(step: &Step<'_>) -> String {
    format!("{}:{}", step.verb(), step.name())
}

fn step_plan(step: &Step<'_>) -> StepPlan {
    let kind = match step {
        Step::Extract(_) => StepKind::Extract,
        Step::Build(_) => StepKind::Build,
        Step::Enrich(_) => StepKind::Enrich,
        Step::Sync(_) => StepKind::Sync,
    };
    StepPlan { id: event_id(step), kind, name: step.name(), why: None }
}

fn step_end(status: StepStatus) -> StepEnd {
    StepEnd { status, error: None, hint: None, counts: BTreeMap::new(), why: None }
}

/// The components of a run, each made when the first step needs it.
struct Runner<'a> {
    request: &'a Request<'a>,
    log: RunLog,
    id: RunId,
    engine: Engine,
    extractor: OnceCell<Extractor>,
    llm: OnceCell<Arc<dyn Llm>>,
    cancel: Cancel,
    reporter: Reporter,
}

impl<'a> Runner<'a> {
    fn new(request: &'a Request<'a>, log: RunLog, id: RunId) -> anyhow::Result<Self> {
        let cancel = request.cancel.clone();
        let stopping = match request.workers {
            Fetchers::Own => "stopping: what is under way is handed back; run again to go on",
            Fetchers::External => "stopping: the tasks stay in the queue; run again to go on waiting",
        };
        // Whoever listens for a signal once takes it for the whole process, which under test is the tests'.
        if !cfg!(test) {
            cancel_on_signal(cancel.clone(), Arc::clone(&request.progress), stopping);
        }
        Ok(Self {
            request,
            reporter: Reporter::start(log.clone(), Arc::clone(&request.progress)),
            log,
            id,
            engine: wire::engine(request.project)?,
            extractor: OnceCell::new(),
            llm: OnceCell::new(),
            cancel,
        })
    }

    /// Does the steps, each once what it reads from is made, and says how the whole ended.
    async fn all(&self, plan: &[Placed<'_>]) -> anyhow::Result<Status> {
        let mut waiting: Vec<&Placed<'_>> = plan.iter().collect();
        let mut running: Vec<&Placed<'_>> = Vec::new();
        let mut steps = FuturesUnordered::new();
        let mut broken: BTreeSet<String> = BTreeSet::new();
        let mut status = Status::Done;
        loop {
            while !self.cancel.is_cancelled()
                && let Some(at) = next(&waiting, &running, self.request.order)
            {
                let placed = waiting.remove(at);
                if let Some(name) = placed.above.iter().find(|name| broken.contains(*name)) {
                    self.skip(&placed.step, name).await?;
                    broken.insert(placed.step.id());
                    continue;
                }
                running.push(placed);
                steps.push(Box::pin(async move { (placed, self.step(&placed.step).await) }));
            }
            let Some((placed, ended)) = steps.next().await else { break };
            let (step, ended) = (&placed.step, ended?);
            running.retain(|other| !std::ptr::eq(*other, placed));
            match ended.status {
                StepStatus::Failed => {
                    broken.insert(step.id());
                    status = Status::Failed;
                }
                StepStatus::Partial => status = status.max(Status::Partial),
                _ => {}
            }
            self.log.event(Event::StepEnded { id: event_id(step), end: ended }, clock::now()).await?;
        }
        Ok(if self.cancel.is_cancelled() { Status::Failed } else { status })
    }

    /// A step that is not done, because one that it reads from failed.
    async fn skip(&self, step: &Step<'_>, failed: &str) -> anyhow::Result<()> {
        let text = format!("skipped: `{failed}` failed");
        self.request.progress.line(&format!("  {} {}  {text}", step.verb(), step.name()));
        let end = StepEnd { why: Some(text), ..step_end(StepStatus::Skipped) };
        Ok(self.log.event(Event::StepEnded { id: event_id(step), end }, clock::now()).await?)
    }

    /// Does one step; its failure is an answer, since other steps may go on.
    async fn step(&self, step: &Step<'_>) -> anyhow::Result<StepEnd> {
        let (verb, name) = (step.verb(), step.name());
        self.log.event(Event::StepStarted { id: event_id(step) }, clock::now()).await?;
        self.request.progress.start(verb, &name);
        self.reporter.enter(verb, event_id(step));
        let cancel = self.cancel.clone();
        let ended = match step {
            // It hands back what is under way.
            Step::Extract(source) => self.extract(source).await,
            Step::Build(model) => or_stopped(&cancel, Box::pin(self.build(model))).await,
            Step::Enrich(enrichment) => or_stopped(&cancel, Box::pin(self.enrich(enrichment))).await,
            Step::Sync(target) => or_stopped(&cancel, Box::pin(self.sync(target))).await,
        };
        self.reporter.leave(verb);
        Ok(match ended {
            Ok(ended) => {
                self.request.progress.end(verb, &format!("{verb:<7} {name:<26} {}", ended.text));
                StepEnd { counts: ended.counts, why: ended.why, ..step_end(ended.status.unwrap_or(StepStatus::Done)) }
            }
            Err(error) => {
                self.request.progress.end(verb, &format!("{verb:<7} {name:<26} failed"));
                self.request.progress.error(&exit::render(&error));
                StepEnd {
                    error: Some(exit::causes(&error).join(": ")),
                    hint: exit::hint(&error),
                    ..step_end(StepStatus::Failed)
                }
            }
        })
    }

    async fn build(&self, model: &Model) -> anyhow::Result<Ended> {
        let Request { project, lake, dt, today, .. } = *self.request;
        let renew = self.request.renew && steps::is_named(self.request.select, &model.name().to_string());
        let (run, now) = (&self.id, clock::now());
        let builder = Builder { engine: &self.engine, lake, models: &project.models, dt, today, renew, run, now };
        Ok(match from_outside(Box::pin(builder.build(model.name()))).await? {
            transform::Outcome::AsKnownThen { .. } => {
                let why = transform::Reason::AsKnownThen.to_string();
                let hint = lake_state::renew(model.name(), dt);
                let ended = Ended::new(StepStatus::Unchanged, format!("kept: {why}; {hint}")).count("unchanged", 1);
                Ended { why: Some(why), ..ended }
            }
            transform::Outcome::View { checks: 0 } => Ended::new(StepStatus::Unchanged, "a view, up to date"),
            transform::Outcome::View { checks } => {
                Ended::new(StepStatus::Unchanged, format!("a view, {checks} checks")).count("checks", checks)
            }
            transform::Outcome::Newer { day, .. } => {
                let why = transform::Reason::NewerDay(day).to_string();
                let ended = Ended::new(StepStatus::Unchanged, format!("kept: {why}")).count("unchanged", 1);
                Ended { why: Some(why), ..ended }
            }
            transform::Outcome::Unchanged { checks, .. } => {
                Ended::new(StepStatus::Unchanged, "up to date").count("unchanged", 1).count("checks", checks)
            }
            transform::Outcome::Built { rows, set_aside, checks, why, .. } => {
                let why = why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let left = if set_aside > 0 { format!(", {} set aside", thousands(set_aside)) } else { String::new() };
                let text = format!("{} rows{left}, {checks} checks ({why})", thousands(rows));
                let ended =
                    Ended::new(StepStatus::Done, text).count("built", 1).count("checks", checks).count("rows", rows);
                let ended = if set_aside > 0 { ended.count("set_aside", set_aside) } else { ended };
                Ended { why: Some(why), ..ended }
            }
        })
    }

    async fn enrich(&self, enrichment: &Enrichment) -> anyhow::Result<Ended> {
        // One provider for the whole run: its budget and its pace hold across steps.
        let llm = self.llm.get_or_try_init(|| async { wire::llm(self.request.project) }).await?;
        let reporter = self.reporter.clone();
        let context = ::enrich::Context {
            run: self.id.clone(),
            dt: self.request.dt,
            today: self.request.today,
            now: clock::now(),
            batch: ENRICH_BATCH,
            jobs: std::thread::available_parallelism().map_or(2, Into::into),
            progress: &move |it: ::enrich::Progress| {
                let amount = Amount { done: it.done, total: Some(it.total), records: 0 };
                let unit = if it.kind == ::enrich::AnswerKind::Summary { "summaries" } else { "embeddings" };
                reporter.tell(Step::ENRICH, amount, unit);
            },
        };
        let enriched = ::enrich::enrich(self.request.lake, enrichment, llm.as_ref(), &context).await?;
        Ok(enrich::ended(&enriched))
    }

    async fn sync(&self, target: &SyncTarget) -> anyhow::Result<Ended> {
        let Request { project, lake, .. } = *self.request;
        let reporter = self.reporter.clone();
        let progress = Arc::clone(&self.request.progress);
        let tell = move |it: load::SyncProgress| match it {
            load::SyncProgress::Waiting => progress.line("  waiting for another sync of this lake"),
            load::SyncProgress::Again { why } => progress.line(&format!("  the sync begins again: {why}")),
            load::SyncProgress::Rows { done, total } => {
                reporter.tell(Step::SYNC, Amount { done, total: Some(total), records: 0 }, "rows");
            }
            load::SyncProgress::Committed(_) => {}
        };
        let rules = wire::sync_rules(&project.config, target, self.request.allow_deletes);
        let synced = load::sync(lake, target, &wire::serving(project, lake)?, &rules, &tell).await?;
        let changed = synced.upserted + synced.deleted;
        let status = if synced.is_up_to_date() { StepStatus::Unchanged } else { StepStatus::Done };
        let text = match (status, changed) {
            (StepStatus::Unchanged, _) => "up to date".to_owned(),
            (_, 0) => "no row changed".to_owned(),
            _ => {
                let sinks: Vec<String> = synced.sinks.iter().map(|it| it.sink.to_string()).collect();
                format!(
                    "{} written, {} deleted in {}",
                    thousands(synced.upserted),
                    thousands(synced.deleted),
                    sinks.join(", ")
                )
            }
        };
        Ok(Ended::new(status, text).count("synced", changed).count("deleted", synced.deleted))
    }
}

/// A step, or its end at once when the run is told to stop: whatever it had begun is as if it had been killed there.
async fn or_stopped(cancel: &Cancel, step: impl Future<Output = anyhow::Result<Ended>>) -> anyhow::Result<Ended> {
    tokio::select! {
        biased;
        ended = step => ended,
        () = cancel.cancelled() => Err(Failure::failed("stopped", "run again to go on").into()),
    }
}

/// How long the threads that work may be deaf to a signal: a statement of some kinds holds them for hours.
const DEAF: Duration = Duration::from_secs(2);

/// Ctrl-C and SIGTERM hand back what is under way; a second one ends the process at once, as a kill would, and so does the first one
/// where nobody is left to hear it. Listens on a thread of its own, which no work can hold.
///
/// # Panics
/// Outside a runtime.
pub(crate) fn cancel_on_signal(cancel: Cancel, progress: Arc<Progress>, stopping: &'static str) {
    let working = tokio::runtime::Handle::current();
    let listen = move || {
        if let Ok(listening) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            listening.block_on(listen(cancel, &progress, stopping, &working));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("signals".to_owned()).spawn(listen) {
        tracing::warn!(%error, "no thread to listen for signals: they end the process at once");
    }
}

async fn listen(cancel: Cancel, progress: &Progress, stopping: &'static str, working: &tokio::runtime::Handle) {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else { return };
    let Ok(mut interrupt) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()) else { return };
    let mut told = async || {
        tokio::select! {
            _ = interrupt.recv() => INTERRUPTED,
            _ = terminate.recv() => TERMINATED,
        }
    };
    let first = told().await;
    progress.line(stopping);
    cancel.cancel();
    let heard = tokio::time::timeout(DEAF, working.spawn(async {}));
    let code = tokio::select! {
        code = told() => code,
        Err(_) = heard => first,
    };
    #[expect(clippy::disallowed_methods, reason = "who asks twice waits for nothing, and cli owns the exit codes")]
    std::process::exit(code);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed<'a>(step: Step<'a>, above: &[&str]) -> Placed<'a> {
        Placed { step, above: above.iter().map(|it| (*it).to_owned()).collect() }
    }

    fn synced(table: &str) -> Step<'static> {
        Step::Sync(SyncTarget {
            table: table.parse().unwrap(),
            key: "k".to_owned(),
            sinks: Vec::new(),
            texts: Vec::new(),
            title: None,
            entity: None,
            vector: None,
        })
    }

    fn enriched(into: &str) -> Step<'static> {
        Step::Enrich(Enrichment {
            into: into.parse().unwrap(),
            from: "marts.texts".parse().unwrap(),
            key: "k".to_owned(),
            texts: "texts".to_owned(),
            prompt: ::enrich::Prompt::default(),
        })
    }

    #[test]
    fn a_step_begins_when_what_it_reads_is_made_and_no_other_of_its_kind_goes_on() {
        let plan = [
            placed(enriched("staging.a"), &[]),
            placed(enriched("staging.b"), &[]),
            placed(synced("marts.a"), &["staging.a"]),
            placed(synced("marts.c"), &["marts.left_out"]),
        ];
        let all: Vec<&Placed<'_>> = plan.iter().collect();
        assert_eq!(next(&all, &[], Order::SideBySide), Some(0));
        // The second enrichment waits for the first, and so does what reads it; the last one reads what this run does not make.
        assert_eq!(next(&all[1..], &all[..1], Order::SideBySide), Some(2));
        assert_eq!(next(&[all[1], all[2]], &[all[0], all[3]], Order::SideBySide), None);
        assert_eq!(next(&[all[1], all[2]], &[all[3]], Order::SideBySide), Some(0));
        assert_eq!(next(&[all[2]], &[all[1]], Order::SideBySide), Some(0));
        assert_eq!(next(&[], &[all[1]], Order::SideBySide), None);
        // One after the other is the order of the plan.
        assert_eq!(
            (next(&all, &[], Order::InTurn), next(&all[1..], &all[..1], Order::InTurn), next(&[], &[], Order::InTurn)),
            (Some(0), None, None)
        );
    }
}
