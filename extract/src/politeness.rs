//! How we behave towards a host: its robots.txt, its pace, and when to leave it alone.
//!
//! One [`Politeness`] is shared by everybody who fetches, so that ten workers together keep one host's pace. Before each
//! request comes [`Politeness::admit`], in this order: is the host's circuit open, does robots.txt allow the address, wait
//! for the pace. Workers of other processes share the pace by their [`crate::heartbeat`]. After each answer comes [`Politeness::report`], which opens the circuit on a block page or on a storm of
//! 429s. Nothing here looks at what was asked for.
//!
//! Hosts are those of the source files. [`Hosts`] says where they really are: a test or the demo sends them to a local
//! server, and everything else, robots.txt and the breaker included, stays as it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use catalog::Timestamp;
use catalog::simulation::{Instant, sleep_until};
use serde::Serialize;
use url::Url;

use crate::egress::{Declared, Egress};
use crate::error::FetchError;
use crate::heartbeat::Heartbeat;
use crate::source::{Rate, Robots, Source, host_of};

mod breaker;
mod hosts;
mod patience;
mod robots;

pub use hosts::{HostSetting, Hosts};
pub use robots::{RobotsTxt, RobotsVerdict};

use breaker::{Breaker, Refusal};
pub(crate) use patience::KEY_PATIENCE;
use patience::Patience;
use robots::{Missed, RobotsAnswer};

/// robots.txt is asked for again after a day (RFC 9309, 2.4). One that could not be had is no answer: the next request asks
/// again, but not each of a hundred keys at the same moment.
const ROBOTS_FRESH: Duration = Duration::from_hours(24);
const ROBOTS_RETRY: Duration = Duration::from_secs(1);

/// A `Crawl-delay` above this is taken for a mistake.
const LONGEST_CRAWL_DELAY: Duration = Duration::from_mins(1);

/// What robots.txt said about an address, for the record of the run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RobotsDecision {
    /// The host, as the source names it.
    pub host: String,
    /// The address that was looked up.
    pub url: String,
    /// Whether it was fetched.
    pub allowed: bool,
    /// The line that decided, or why none did.
    pub rule: String,
}

/// What became of a request, as far as the host's circuit is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// It was answered.
    Answered,
    /// There was no answer, or none that is of use.
    Failed,
    /// 429 or 503 with a request to wait.
    TooMany {
        /// For how long.
        retry_after: Option<Duration>,
    },
    /// A block page.
    Blocked {
        /// How it was known.
        evidence: String,
    },
}

/// Our manners, shared by all fetchers.
pub struct Politeness {
    hosts: Hosts,
    user_agent: String,
    now: fn() -> Timestamp,
    egress: Arc<Egress>,
    client: Option<reqwest::Client>,
    by_host: Mutex<HashMap<String, Arc<Host>>>,
    decisions: Mutex<Vec<RobotsDecision>>,
    patience: Mutex<Patience>,
    heartbeat: OnceLock<Heartbeat>,
}

/// How asking for robots.txt ended, and when.
type LastAsked = Option<(Instant, Result<Arc<RobotsAnswer>, Missed>)>;

/// What is known of one host.
struct Host {
    state: Mutex<HostState>,
    /// Held while robots.txt is fetched, so that it is fetched once.
    robots: tokio::sync::Mutex<LastAsked>,
}

#[derive(Default)]
struct HostState {
    next: Option<Instant>,
    crawl_delay: Duration,
    breaker: Breaker,
}

impl Politeness {
    /// `user_agent` names us and says where to complain; its first word is what robots.txt may call us by.
    pub fn new(hosts: Hosts, user_agent: &str, now: fn() -> Timestamp) -> Self {
        let egress = Arc::new(Egress::new(hosts.moved().map(|(_, base)| base.clone())));
        let client = egress.client(user_agent).build().ok();
        Self {
            hosts,
            user_agent: user_agent.to_owned(),
            now,
            egress,
            client,
            by_host: Mutex::default(),
            decisions: Mutex::default(),
            patience: Mutex::default(),
            heartbeat: OnceLock::new(),
        }
    }

    /// From now on the hosts' paces are shared with the other workers of the lake. The first call counts.
    pub fn share_pace(&self, heartbeat: &Heartbeat) {
        let _ = self.heartbeat.set(heartbeat.clone());
    }

    /// Waits until `url` may be asked for and gives the address to really ask.
    pub async fn admit(&self, source: &Source, url: &str) -> Result<Url, FetchError> {
        self.allowed(source, url).await?;
        self.pace_again(source, url).await?;
        Url::parse(url)
            .map(|url| self.hosts.locate(&url))
            .map_err(|error| FetchError::Permanent { url: url.to_owned(), reason: format!("not an address: {error}") })
    }

    /// Whether `url` may be asked for at all: the circuit and robots.txt, without waiting for the pace.
    pub async fn allowed(&self, source: &Source, url: &str) -> Result<(), FetchError> {
        let parsed = Url::parse(url).map_err(|error| FetchError::Permanent {
            url: url.to_owned(),
            reason: format!("not an address: {error}"),
        })?;
        let name = host_of(&parsed);
        let host = self.host(&name);
        if let Some(refusal) = lock(&host.state).breaker.refusal(Instant::now()) {
            return Err(refused(name, refusal));
        }
        self.check_robots(source, &name, &host, &parsed, &self.hosts.locate(&parsed)).await
    }

    /// Waits for the host's pace alone: for a request that the page makes itself, at an address already admitted.
    pub async fn pace_again(&self, source: &Source, url: &str) -> Result<(), FetchError> {
        let Ok(parsed) = Url::parse(url) else { return Ok(()) };
        let name = host_of(&parsed);
        let host = self.host(&name);
        self.pace(source, &name, &host).await
    }

    /// Tells what became of a request to `url`.
    pub fn report(&self, url: &str, outcome: &RequestOutcome) {
        let Ok(parsed) = Url::parse(url) else { return };
        let host = self.host(&host_of(&parsed));
        lock(&host.state).breaker.note(outcome, Instant::now());
    }

    /// Whether the host has answered nothing for so long that a request which failed is not to be made again at once.
    pub(crate) fn is_silent(&self, url: &str) -> bool {
        let Ok(parsed) = Url::parse(url) else { return false };
        lock(&self.host(&host_of(&parsed)).state).breaker.is_silent()
    }

    /// Whether a key may wait so long because its host asks for it; it counts as waited then.
    pub(crate) fn may_wait(&self, source: &Source, key: &str, wait: Duration) -> bool {
        lock(&self.patience).take(source.name(), key, wait)
    }

    /// A key has ended: what it waited is no matter of the next time.
    pub(crate) fn has_ended(&self, source: &Source, key: &str) {
        lock(&self.patience).forget(source.name(), key);
    }

    /// What robots.txt said so far, each address once, in order.
    pub fn robots_decisions(&self) -> Vec<RobotsDecision> {
        let mut decisions = lock(&self.decisions).clone();
        decisions.sort();
        decisions
    }

    /// Where the hosts really are.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// The door through which every request leaves.
    pub(crate) fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// The hosts that a source, or the project, says are asked.
    pub(crate) fn declared(&self, source: &Source) -> Declared {
        let answers = source.recipe().answering_hosts();
        let own = [source.host()];
        let named = self.hosts.names().map(str::to_owned);
        Declared::new(
            own.into_iter().chain(answers.iter().cloned()).chain(source.egress().iter().cloned()).chain(named),
        )
    }

    /// What time it is: a host may ask us to wait until one.
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Who we say we are.
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut by_host = lock(&self.by_host);
        if let Some(host) = by_host.get(name) {
            return Arc::clone(host);
        }
        let host = Arc::new(Host { state: Mutex::default(), robots: tokio::sync::Mutex::new(None) });
        by_host.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    async fn pace(&self, source: &Source, name: &str, host: &Host) -> Result<(), FetchError> {
        let interval = self.hosts.rate(name).unwrap_or_else(|| source.rate()).interval;
        let share = match self.heartbeat.get() {
            Some(heartbeat) => heartbeat.enter(name).await,
            None => 1,
        };
        let at = {
            let mut state = lock(&host.state);
            let now = Instant::now();
            let at = state.next.map_or(now, |next| next.max(now));
            state.next = Some(at + interval.max(state.crawl_delay) * share);
            at
        };
        if let Some(heartbeat) = self.heartbeat.get() {
            heartbeat.wants(name, at);
        }
        // A pace finer than the timer is no pace.
        if at.saturating_duration_since(Instant::now()) >= Duration::from_millis(1) {
            sleep_until(at).await;
        }
        // Others may have been refused while we waited.
        match lock(&host.state).breaker.refusal(Instant::now()) {
            Some(refusal) => Err(refused(name.to_owned(), refusal)),
            None => Ok(()),
        }
    }

    async fn check_robots(
        &self,
        source: &Source,
        name: &str,
        host: &Host,
        url: &Url,
        really: &Url,
    ) -> Result<(), FetchError> {
        let fetched = match self.robots(source, host, really).await {
            Ok(fetched) => fetched,
            Err(missed) => return self.missed_robots(source, name, host, url, missed),
        };
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        let verdict = fetched.verdict(self.user_agent.split(['/', ' ']).next().unwrap_or_default(), &path);
        if let Some(delay) = fetched.crawl_delay(self.user_agent.split(['/', ' ']).next().unwrap_or_default()) {
            // Who set the host's rate by hand has the last word.
            if self.hosts.rate(name).is_none() {
                lock(&host.state).crawl_delay = delay.min(LONGEST_CRAWL_DELAY);
            }
        }
        let (allowed, rule) = match source.robots() {
            Robots::Ignore { reason } if !verdict.allowed => (true, format!("{}; not obeyed: {reason}", verdict.rule)),
            _ => (verdict.allowed, verdict.rule),
        };
        self.record(RobotsDecision { host: name.to_owned(), url: pattern_of(url), allowed, rule: rule.clone() });
        if allowed { Ok(()) } else { Err(FetchError::RobotsDenied { url: url.to_string(), rule }) }
    }

    /// Nothing was said about the page: who can't ask for the rules doesn't ask for it now (RFC 9309, 2.3.1.4).
    fn missed_robots(
        &self,
        source: &Source,
        name: &str,
        host: &Host,
        url: &Url,
        missed: Missed,
    ) -> Result<(), FetchError> {
        let error = match missed {
            Missed::Unreachable(why) => {
                let reason = format!("its robots.txt could not be read: {why}");
                FetchError::Transient { url: url.to_string(), reason }
            }
            Missed::TooMany(retry_after) => {
                lock(&host.state).breaker.note(&RequestOutcome::TooMany { retry_after }, Instant::now());
                FetchError::Resting { host: name.to_owned(), retry_after }
            }
        };
        let Robots::Ignore { reason } = source.robots() else { return Err(error) };
        let rule = format!("robots.txt could not be read; not obeyed: {reason}");
        self.record(RobotsDecision { host: name.to_owned(), url: pattern_of(url), allowed: true, rule });
        Ok(())
    }

    async fn robots(&self, source: &Source, host: &Host, really: &Url) -> Result<Arc<RobotsAnswer>, Missed> {
        let mut cached = host.robots.lock().await;
        if let Some((at, fetched)) = cached.as_ref() {
            let fresh = if fetched.is_ok() { ROBOTS_FRESH } else { ROBOTS_RETRY };
            if at.elapsed() < fresh {
                return fetched.clone();
            }
        }
        let now = self.now();
        let fetched = match &self.client {
            Some(client) => {
                let patience = |value: &str| retry_after(value, now);
                robots::fetch(client, &self.egress, &self.declared(source), really, &patience).await.map(Arc::new)
            }
            None => Err(Missed::Unreachable("no HTTP client".to_owned())),
        };
        *cached = Some((Instant::now(), fetched.clone()));
        fetched
    }

    /// One decision a host, rule and kind of address: a thousand places are one line.
    fn record(&self, decision: RobotsDecision) {
        let mut decisions = lock(&self.decisions);
        if !decisions.iter().any(|known| {
            (&known.host, known.allowed, &known.rule, &known.url)
                == (&decision.host, decision.allowed, &decision.rule, &decision.url)
        }) && decisions.len() < 1_000
        {
            decisions.push(decision);
        }
    }
}

impl std::fmt::Debug for Politeness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Politeness")
            .field("hosts", &self.hosts)
            .field("user_agent", &self.user_agent)
            .finish_non_exhaustive()
    }
}

fn refused(host: String, refusal: Refusal) -> FetchError {
    match refusal {
        Refusal::Blocked { evidence } => FetchError::Blocked { host, evidence },
        Refusal::Wait(wait) => FetchError::Resting { host, retry_after: Some(wait) },
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// The address with its numbers and its query left out: `/restaurant/*/review`.
fn pattern_of(url: &Url) -> String {
    let steps = url
        .path()
        .split('/')
        .map(|step| if step.bytes().any(|byte| byte.is_ascii_digit() || byte == b'%') { "*" } else { step });
    format!("{}://{}{}", url.scheme(), host_of(url), steps.collect::<Vec<_>>().join("/"))
}

/// A panic elsewhere doesn't make a counter wrong.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pace of a host when neither its setting nor its source says otherwise.
pub const DEFAULT_RATE: Rate = Rate::DEFAULT;

#[cfg(test)]
mod tests;
