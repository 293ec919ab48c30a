//! How far a step is, told to the screen at once and to the lake now and then, so that `onggi status` on another machine
//! sees it too. A step that says nothing for long is no reason for silence: the lake hears that the run lives.

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
    latest: Arc<Mutex<Option<Latest>>>,
}

/// The step under way, and how far it is if that was not told to the lake yet.
struct Latest {
    id: String,
    amount: Option<(Amount, &'static str)>,
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
                let taken = latest.lock().ok().and_then(|mut it| {
                    let latest = it.as_mut()?;
                    latest.amount.take().map(|amount| (latest.id.clone(), amount))
                });
                // Both are for looking at: a run does not fail for them.
                let told = match taken {
                    Some((id, (amount, unit))) => {
                        let (done, total, unit) = (amount.done, amount.total, unit.to_owned());
                        log.event(Event::Progress { id, done, total, unit }, clock::now()).await
                    }
                    None if heard.elapsed() >= HEARTBEAT_EVERY => log.write_heartbeat(clock::now()).await,
                    None => continue,
                };
                match told {
                    Ok(()) => heard = Instant::now(),
                    Err(error) => tracing::debug!(%error, "a sign of life could not be given"),
                }
            }
        });
        reporter
    }

    /// A step begins.
    pub(crate) fn enter(&self, id: String) {
        if let Ok(mut latest) = self.latest.lock() {
            *latest = Some(Latest { id, amount: None });
        }
    }

    /// The step is over.
    pub(crate) fn leave(&self) {
        if let Ok(mut latest) = self.latest.lock() {
            *latest = None;
        }
    }

    /// The step is this far.
    pub(crate) fn tell(&self, amount: Amount, unit: &'static str) {
        self.progress.amount(amount, unit);
        if let Ok(mut latest) = self.latest.lock()
            && let Some(latest) = latest.as_mut()
        {
            latest.amount = Some((amount, unit));
        }
    }
}
