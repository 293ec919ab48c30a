//! The clock of a simulation, and what hangs on it: who waits, what the disk does, and chance.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use uuid::Uuid;

use super::draw::Draw;
use super::life::Life;

/// What other threads do takes less. If it does not, it needs something of this one.
const AT_ONCE: Duration = Duration::from_millis(500);

/// So often the disk is idle and nobody goes on before everybody is taken to wait.
const QUIET: u32 = 6;

/// Turns that others may have before somebody reaches the disk.
const TURNS: u64 = 3;

/// The simulation of a thread.
pub(super) struct Played {
    begin: tokio::time::Instant,
    base: Timestamp,
    pub(super) elapsed: Duration,
    host: Option<String>,
    pub(super) life: Life,
    pub(super) born: Duration,
    pub(super) writes: u64,
    pub(super) dead: bool,
    pub(super) told: Arc<Notify>,
    pub(super) point: Option<&'static str>,
    /// What chance gives next, and how many identities it gave.
    chance: Draw,
    identities: u64,
    /// Who waits, by the moment at which it wakes and the order in which they lay down.
    sleepers: BTreeMap<(Duration, u64), Waker>,
    slept: u64,
    /// How much is awaited that comes from outside.
    outside: usize,
    /// How much is awaited with everything else standing still.
    alone: usize,
    /// How often in a row the disk was seen to be idle and nobody did anything after it.
    quiet: u32,
}

thread_local! {
    static PLAYED: RefCell<Option<Played>> = const { RefCell::new(None) };
}

/// Does something with the simulation of this thread, if it has one.
pub(super) fn with<T>(work: impl FnOnce(&mut Played) -> T) -> Option<T> {
    let work = |it: &mut Played| {
        it.quiet = 0;
        work(it)
    };
    PLAYED.try_with(|played| played.try_borrow_mut().ok()?.as_mut().map(work)).ok().flatten()
}

/// Gives this thread a clock that shows `now`.
pub fn enter(now: Timestamp) {
    let played = Played {
        begin: tokio::time::Instant::now(),
        base: now,
        elapsed: Duration::ZERO,
        host: None,
        life: Life::default(),
        born: Duration::ZERO,
        writes: 0,
        dead: false,
        told: Arc::default(),
        point: None,
        chance: Draw::new(0),
        identities: 0,
        sleepers: BTreeMap::new(),
        slept: 0,
        outside: 0,
        alone: 0,
        quiet: 0,
    };
    PLAYED.set(Some(played));
}

/// Gives this thread the real clock again.
pub fn leave() {
    PLAYED.set(None);
}

/// Chance goes on from here.
pub fn seed(seed: u64) {
    with(|it| it.chance = Draw::new(seed));
}

/// A runtime whose waits move the simulated clock: whenever nobody has anything else to do, the one that wakes first does.
///
/// # Errors
/// If the system gives none.
pub fn runtime() -> std::io::Result<Runtime> {
    // One thread for what blocks: it is done in the order in which it is asked for.
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).on_thread_park(idle).build()
}

/// The runtime has nothing to do.
fn idle() {
    let quiet = PLAYED.with_borrow_mut(|played| {
        let it = played.as_mut().filter(|it| it.outside == 0 && !it.sleepers.is_empty())?;
        it.quiet += 1;
        Some(it.quiet)
    });
    match quiet {
        None => {}
        // Whoever waited for the disk goes first, and so does who waits for those.
        Some(..QUIET) => {
            let (done, is_done) = std::sync::mpsc::channel();
            drop(tokio::task::spawn_blocking(move || done.send(())));
            let _ = is_done.recv_timeout(AT_ONCE);
            drop(tokio::spawn(std::future::ready(())));
        }
        Some(_) => {
            let first = with(|it| {
                let ((wakes, _), first) = it.sleepers.pop_first()?;
                it.elapsed = it.elapsed.max(wakes);
                Some(first)
            });
            if let Some(first) = first.flatten() {
                first.wake();
            }
        }
    }
}

/// A fresh identity, if this thread has a simulation: the same in each play of a history.
pub(crate) fn fresh() -> Option<Uuid> {
    with(|it| {
        it.identities += 1;
        let millisecond = (it.base + it.elapsed).as_millisecond();
        let mut random = [0; 10];
        random[..2].copy_from_slice(&it.identities.to_be_bytes()[6..]);
        random[2..].copy_from_slice(&it.chance.number().to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(millisecond).unwrap_or_default(), &random).into_uuid()
    })
}

/// What the clock shows, if this thread has one. No two looks see the same millisecond.
pub fn now() -> Option<Timestamp> {
    with(|it| {
        it.elapsed += Duration::from_millis(1);
        it.base + it.elapsed
    })
}

/// Sets the clock, as somebody does who sets it right or wrong; waits are not disturbed.
pub fn set_now(now: Timestamp) {
    with(|it| it.base = now - it.elapsed);
}

/// How much time has passed since the thread has its clock, however that was set.
pub fn elapsed() -> Duration {
    with(|it| it.elapsed).unwrap_or_default()
}

/// Names the machine on which processes run from now on; `None` is the real one.
pub fn set_host(host: Option<String>) {
    with(|it| it.host = host);
}

/// The machine, if it is not the real one.
pub fn host() -> Option<String> {
    with(|it| it.host.clone()).flatten()
}

/// The process is dead.
pub(super) fn die() {
    let told = with(|it| {
        it.dead = true;
        Arc::clone(&it.told)
    });
    if let Some(told) = told {
        told.notify_waiters();
        told.notify_one();
    }
}

/// Asks the disk for something, after a few turns of whoever else has something to do.
pub(crate) async fn of_disk<T>(work: impl Future<Output = T>) -> T {
    for _ in 0..with(|it| if it.alone > 0 { 0 } else { it.chance.below(TURNS) }).unwrap_or_default() {
        tokio::task::yield_now().await;
    }
    at_once(work).await
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) async fn at_once<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(tokio::task::unconstrained(work));
    poll_fn(|context| {
        if is_played() {
            let _alone = Alone::new();
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let begun = std::time::Instant::now();
            while let Some(left) = AT_ONCE.checked_sub(begun.elapsed())
                && with(|it| it.dead) == Some(false)
            {
                if let Poll::Ready(done) = work.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Poll::Ready(done);
                }
                std::thread::park_timeout(left);
            }
        }
        work.as_mut().poll(context)
    })
    .await
}

/// Whether this thread has a simulation.
pub(crate) fn is_played() -> bool {
    with(|_| ()).is_some()
}

/// Everything else stands still.
struct Alone;

impl Alone {
    fn new() -> Self {
        with(|it| it.alone += 1);
        Self
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        with(|it| it.alone = it.alone.saturating_sub(1));
    }
}

/// Something is awaited that comes from outside.
pub(super) struct Outside;

impl Outside {
    pub(super) fn new() -> Self {
        with(|it| it.outside += 1);
        Self
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        with(|it| it.outside = it.outside.saturating_sub(1));
    }
}

pub(super) fn instant() -> Option<tokio::time::Instant> {
    with(|it| it.begin + it.elapsed)
}

/// A wait.
struct Sleep {
    place: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        let (wakes, _) = self.place;
        // What was there before is dropped out here, and whatever it holds with it.
        let waits = with(|it| (it.elapsed < wakes).then(|| it.sleepers.insert(self.place, waker)));
        if waits.flatten().is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let _gone = with(|it| it.sleepers.remove(&self.place));
    }
}

/// Whether there is a clock to wait by.
pub(super) async fn sleep(time: Duration) -> bool {
    let place = with(|it| {
        it.slept += 1;
        (it.elapsed.saturating_add(time), it.slept)
    });
    let Some(place) = place else { return false };
    Sleep { place }.await;
    let overdue = with(|it| it.life.patience.is_some_and(|patience| it.elapsed.saturating_sub(it.born) > patience));
    if overdue == Some(true) {
        die();
        return std::future::pending().await;
    }
    true
}
