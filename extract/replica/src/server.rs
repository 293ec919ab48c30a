//! The server: what a request goes through, from being counted to being answered, or not.
//!
//! Order of events: count it → is access limited? → is the place poisoned? → does a trouble hit this attempt? → wait →
//! make the answer → let reviews arrive → send, slowly or in part where a switch says so. The lock is held for counting
//! and deciding only, never while an answer is made or sent.

mod graphql;
mod pages;
mod send;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::faults::{self, Call, Verdict};
use crate::options::ReplicaOptions;
use crate::stats::Stats;
use crate::switches::{BlockSpan, Switches};
use crate::truth::Truth;
use crate::world::World;

/// How long `stop` waits for answers that are under way.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running replica. It ends when it is stopped or dropped.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use replica::{Fault, Replica, ReplicaOptions, Switches};
///
/// let replica = Replica::start(ReplicaOptions { places: 3, reviews: 40, ..Default::default() }).await?;
/// assert_eq!(replica.truth().total(), 40);
/// replica.set_switches(Switches { too_many: Fault::once(0.1), ..Default::default() });
/// println!("{}/robots.txt", replica.url());
/// replica.stop().await;
/// # Ok::<(), replica::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Replica {
    shared: Arc<Shared>,
    url: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Replica {
    /// Builds the world of `options` and serves it on 127.0.0.1.
    pub async fn start(options: ReplicaOptions) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let switches = options.switches.clone();
        // Reading files and dealing places may take a while: not on the threads that answer.
        let built = tokio::task::spawn_blocking(move || World::build(&options)).await;
        let world = built.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()))?;
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(listen)?);
        let shared = Arc::new(Shared::new(world, switches));
        let (stop, stopped) = oneshot::channel::<()>();
        let app = router(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            // Small answers must not wait for more to send with them.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            let serve = axum::serve(listener, app).with_graceful_shutdown(async {
                let _ = stopped.await;
            });
            let _ = serve.await;
        });
        Ok(Self { shared, url, stop, task })
    }

    /// Where it is: `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has been asked so far.
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats.clone()
    }

    /// What it would ever serve, as of now.
    pub fn truth(&self) -> Truth {
        let state = self.shared.lock();
        Truth::new(Arc::clone(&self.shared.world), &state.added, state.switches.clone())
    }

    /// How it misbehaves now.
    pub fn switches(&self) -> Switches {
        self.shared.lock().switches.clone()
    }

    /// Changes how it misbehaves. Attempts and requests are counted anew from here; [`Replica::stats`] goes on.
    pub fn set_switches(&self, switches: Switches) {
        let mut state = self.shared.lock();
        state.switches = switches;
        state.attempts.clear();
        state.fetches = 0;
        state.blocked_since = None;
    }

    /// New reviews arrive at a place: they are the first of its list, and its pages shift.
    pub fn add_reviews(&self, place: &str, reviews: u64) -> Result<()> {
        let index = self.shared.world.expect_place(place)?;
        self.shared.lock().added[index] += reviews;
        Ok(())
    }

    /// Search words that together reach every place, although a list ends at [`Switches::list_cap`].
    pub fn search_words(&self) -> Vec<String> {
        let cap = self.switches().list_cap;
        self.shared.world.search_words(cap)
    }

    /// Stops listening; answers under way get half a second.
    pub async fn stop(self) {
        drop(self.stop);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(PATIENCE, self.task).await.is_err() {
            abort.abort();
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/robots.txt", get(pages::robots))
        .route("/graphql", post(graphql::answer))
        .route("/restaurant/list", get(pages::list))
        .route("/{kind}/{id}/home", get(pages::home))
        .route("/{kind}/{id}/review", get(pages::reviews))
        .route("/{kind}/{id}/review/visitor", get(pages::reviews))
        .route("/pic/{name}", get(pages::picture))
        .fallback(pages::unknown)
        .with_state(shared)
}

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) world: Arc<World>,
    state: Mutex<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shared({} places)", self.world.places.len())
    }
}

/// What changes.
pub(crate) struct State {
    pub(crate) switches: Switches,
    pub(crate) stats: Stats,
    /// Reviews that arrived since the start, by place.
    pub(crate) added: Vec<u64>,
    attempts: HashMap<Call, u32>,
    /// Pages and GraphQL requests since the switches were set.
    fetches: u64,
    blocked_since: Option<Instant>,
    in_flight: u64,
    /// Answered pages of reviews, and reviews that the switch let arrive, by place.
    answered: HashMap<usize, (u32, u32)>,
}

/// How a request is to be answered.
pub(crate) struct Admission {
    pub(crate) verdict: Verdict,
    pub(crate) attempt: u32,
    pub(crate) switches: Switches,
    pub(crate) delay: Duration,
    pub(crate) flight: InFlight,
}

/// Counts a request as under way until it is dropped.
pub(crate) struct InFlight(Arc<Shared>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.lock().in_flight -= 1;
    }
}

impl Shared {
    fn new(world: World, switches: Switches) -> Self {
        let state = State {
            switches,
            stats: Stats::default(),
            added: vec![0; world.places.len()],
            attempts: HashMap::new(),
            fetches: 0,
            blocked_since: None,
            in_flight: 0,
            answered: HashMap::new(),
        };
        Self { world: Arc::new(world), state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // Counters stay usable after a panic in a test.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a page or a GraphQL request and decides how it is answered. `count` adds to the statistics.
    pub(crate) fn admit(self: &Arc<Self>, call: &Call, count: impl FnOnce(&mut Stats)) -> Admission {
        let mut state = self.lock();
        state.stats.requests += 1;
        count(&mut state.stats);
        state.in_flight += 1;
        state.stats.peak_in_flight = state.stats.peak_in_flight.max(state.in_flight);
        let (verdict, attempt) = state.decide(self.world.seed, call);
        state.note(verdict);
        let switches = state.switches.clone();
        let delay = faults::delay(self.world.seed, &switches, call, attempt);
        drop(state);
        Admission { verdict, attempt, switches, delay, flight: InFlight(Arc::clone(self)) }
    }

    /// A page of reviews of a place was answered: perhaps new ones arrive now.
    pub(crate) fn answered(&self, index: usize) {
        let mut state = self.lock();
        let Some(arrivals) = state.switches.arrivals else { return };
        let (pages, arrived) = state.answered.entry(index).or_default();
        *pages += 1;
        if arrivals.every > 0 && pages.is_multiple_of(arrivals.every) {
            let more = arrivals.reviews.min(arrivals.limit.saturating_sub(*arrived));
            *arrived += more;
            state.added[index] += u64::from(more);
            state.stats.arrived += u64::from(more);
        }
    }
}

impl State {
    /// How often this was asked before; asking counts.
    pub(crate) fn attempt(&mut self, call: &Call) -> u32 {
        let attempts = self.attempts.entry(call.clone()).or_default();
        *attempts += 1;
        *attempts - 1
    }

    fn decide(&mut self, seed: u64, call: &Call) -> (Verdict, u32) {
        self.fetches += 1;
        if self.is_blocked() {
            return (Verdict::Blocked, 0);
        }
        let attempt = self.attempt(call);
        if self.switches.poisoned.contains(&call.key) {
            return (Verdict::Poisoned, attempt);
        }
        (faults::decide(seed, &self.switches, call, attempt), attempt)
    }

    fn is_blocked(&mut self) -> bool {
        let Some(block) = self.switches.block else { return false };
        if self.fetches <= block.after {
            return false;
        }
        match block.span {
            BlockSpan::Forever => true,
            BlockSpan::Requests(requests) => self.fetches <= block.after.saturating_add(requests),
            BlockSpan::For(span) => {
                let now = Instant::now();
                now.duration_since(*self.blocked_since.get_or_insert(now)) < span
            }
        }
    }

    fn note(&mut self, verdict: Verdict) {
        let stats = &mut self.stats;
        match verdict {
            Verdict::Serve => {}
            Verdict::Blocked => stats.blocked += 1,
            Verdict::Poisoned => stats.poisoned += 1,
            Verdict::TooMany => stats.too_many += 1,
            Verdict::ServerError(_) => stats.server_errors += 1,
            Verdict::HalfRendered => stats.half_rendered += 1,
            Verdict::Garbage => stats.garbage += 1,
            Verdict::Cut => stats.cut += 1,
            Verdict::Slow => stats.slow += 1,
        }
    }
}

#[cfg(test)]
mod tests;
