//! A run's sign of life, and how far its steps were when it gave it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{RunState, StepState};

/// `_onggi/runs/<run>/heartbeat.json`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    at: Timestamp,
    steps: Vec<StepProgress>,
}

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct StepProgress {
    id: String,
    done: u64,
    total: Option<u64>,
    unit: String,
}

impl Heartbeat {
    /// The sign of life of a run that stands so.
    pub(super) fn of(state: &RunState) -> Self {
        let progress = |step: &StepState| {
            let unit = step.unit.clone()?;
            Some(StepProgress { id: step.id.clone(), done: step.done, total: step.total, unit })
        };
        Self { at: state.heard_at, steps: state.steps.iter().filter_map(progress).collect() }
    }

    /// Puts what it says into the run's story.
    pub(super) fn tell(self, state: &mut RunState) {
        state.heard_at = state.heard_at.max(self.at);
        for StepProgress { id, done, total, unit } in self.steps {
            if let Some(step) = state.step(&id) {
                (step.done, step.total, step.unit) = (done, total, Some(unit));
            }
        }
    }
}
