//! How far a step is, told to the screen at once and to the lake now and then, so that `onggi status` on another machine
//! sees it too. A step that says nothing for long is no reason for silence: the lake hears that the run lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::run::{Event, HEARTBEAT_EVERY, RunLog};
use catalog::simulation::{Instant, sleep};

use crate::clock;
use crate::progress::{Amount, Progress};

/// How often a step under way leaves an event in the lake: enough to look at, too few to weigh.
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// Takes how far a step is to the screen at once and to the lake now and then.
#[derive(Clone)]
pub(crate) struct Reporter {
    progress: Arc<Progress>,
    latest: Arc<Mutex<BTreeMap<&'static str, Latest>>>,
}

/// A step under way, and how far it is if that was not told to the lake yet.
struct Latest {
    id: String,
    amount: Option<(Amount, &'static str)>,
}

impl Latest {
    fn take(&mut self) -> Option<(String, Amount, &'static str)> {
        let (amount, unit) = self.amount.take()?;
        Some((self.id.clone(), amount, unit))
    }
}

impl Reporter {
    /// Begins; ends by itself when the last clone is gone.
    pub(crate) fn start(log: RunLog, progress: Arc<Progress>) -> Self {
        let reporter = Self { progress, latest: Arc::default() };
        let latest = Arc::downgrade(&reporter.latest);
        tokio::spawn(async move {
            let mut heard = Instant::now();
            loop {
                sleep(EVENT_EVERY).await;
                let Some(latest) = latest.upgrade() else { return };
                let taken: Vec<_> = latest
                    .lock()
                    .map(|mut steps| steps.values_mut().filter_map(Latest::take).collect())
                    .unwrap_or_default();
                // Both are for looking at: a run does not fail for them.
                let mut told = Ok(());
                for (id, Amount { done, total, .. }, unit) in &taken {
                    let (id, done, total, unit) = (id.clone(), *done, *total, (*unit).to_owned());
                    told = told.and(log.event(Event::Progress { id, done, total, unit }, clock::now()).await);
                }
                if taken.is_empty() {
                    if heard.elapsed() < HEARTBEAT_EVERY {
                        continue;
                    }
                    told = log.write_heartbeat(clock::now()).await;
                }
                match told {
                    Ok(()) => heard = Instant::now(),
                    Err(error) => tracing::debug!(%error, "a sign of life could not be given"),
                }
            }
        });
        reporter
    }

    /// A step of this verb begins.
    pub(crate) fn enter(&self, verb: &'static str, id: String) {
        if let Ok(mut latest) = self.latest.lock() {
            latest.insert(verb, Latest { id, amount: None });
        }
    }

    /// It is over.
    pub(crate) fn leave(&self, verb: &'static str) {
        if let Ok(mut latest) = self.latest.lock() {
            latest.remove(verb);
        }
    }

    /// It is this far.
    pub(crate) fn tell(&self, verb: &'static str, amount: Amount, unit: &'static str) {
        self.progress.amount(verb, amount, unit);
        if let Ok(mut latest) = self.latest.lock()
            && let Some(latest) = latest.get_mut(verb)
        {
            latest.amount = Some((amount, unit));
        }
    }
}
