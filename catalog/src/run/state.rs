//! A run and its steps, folded from what they told.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::name::RunId;

use super::{Event, Process, RunStatus, Stamped, StepEnd, StepKind, StepPlan, StepStatus};

/// A step as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// Unique within the run.
    pub id: String,
    /// What it does.
    pub kind: StepKind,
    /// What it does it to.
    pub name: String,
    /// How it stands.
    pub status: StepStatus,
    /// How far it is.
    pub done: u64,
    /// Of how many, if known.
    pub total: Option<u64>,
    /// What is counted.
    pub unit: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What failed.
    pub error: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What was done, counted.
    pub counts: BTreeMap<String, i64>,
    /// Why it was to be done.
    pub why: Option<String>,
}

/// A run as its events tell it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// The run.
    pub run: RunId,
    /// Its day.
    pub dt: Date,
    /// How it stands.
    pub status: RunStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it was last heard, by its own clock.
    pub heard_at: Timestamp,
    /// Its steps, in the order they became known.
    pub steps: Vec<StepState>,
    /// What was done in all.
    pub totals: BTreeMap<String, i64>,
    /// What failed outside of any step.
    pub error: Option<String>,
    /// What runs it.
    pub process: Process,
}

impl RunState {
    /// The fold of a run's events; `None` before its start is known.
    pub(super) fn fold(events: impl IntoIterator<Item = Stamped>) -> Option<Self> {
        let mut state: Option<Self> = None;
        for event in events {
            Self::tell(&mut state, event);
        }
        state
    }

    /// Goes on with the story.
    pub(super) fn tell(state: &mut Option<Self>, Stamped { at, event }: Stamped) {
        match (event, state) {
            (Event::Started { run, dt, process }, state @ None) => {
                *state = Some(Self {
                    run,
                    dt,
                    status: RunStatus::Running,
                    started_at: at,
                    ended_at: None,
                    heard_at: at,
                    steps: Vec::new(),
                    totals: BTreeMap::new(),
                    error: None,
                    process,
                });
            }
            (event, Some(state)) => state.take(event, at),
            (_, None) => {}
        }
    }

    fn take(&mut self, event: Event, at: Timestamp) {
        self.heard_at = self.heard_at.max(at);
        match event {
            Event::Started { .. } => {}
            Event::Planned { steps } => {
                for step in steps {
                    if self.steps.iter().all(|known| known.id != step.id) {
                        self.steps.push(StepState::waiting(step));
                    }
                }
            }
            Event::StepStarted { id } => {
                if let Some(step) = self.step(&id) {
                    step.status = StepStatus::Running;
                    step.started_at = Some(at);
                }
            }
            Event::Progress { id, done, total, unit } => {
                if let Some(step) = self.step(&id) {
                    (step.done, step.total, step.unit) = (done, total, Some(unit));
                }
            }
            Event::StepEnded { id, end } => {
                if let Some(step) = self.step(&id) {
                    let StepEnd { status, error, hint, counts, why } = end;
                    (step.status, step.error, step.hint, step.counts) = (status, error, hint, counts);
                    step.ended_at = Some(at);
                    step.why = why.or(step.why.take());
                }
            }
            Event::Ended { status, totals, error } => {
                (self.status, self.totals, self.error) = (status, totals, error);
                self.ended_at = Some(at);
            }
        }
    }

    pub(super) fn step(&mut self, id: &str) -> Option<&mut StepState> {
        self.steps.iter_mut().find(|step| step.id == id)
    }
}

impl StepState {
    fn waiting(StepPlan { id, kind, name, why }: StepPlan) -> Self {
        Self {
            id,
            kind,
            name,
            status: StepStatus::Waiting,
            done: 0,
            total: None,
            unit: None,
            started_at: None,
            ended_at: None,
            error: None,
            hint: None,
            counts: BTreeMap::new(),
            why,
        }
    }
}
