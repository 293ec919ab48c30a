//! Time and death as tests play them, so that a month of days takes seconds.
//!
//! A test of whole histories can't wait for real minutes and can't kill its own process. A thread that it gives a
//! simulation (`enter`) has a clock of its own, which moves when everybody waits and by no other way, and a process that
//! dies at a write of its choice: from there on its writes never return, and who plays the history drops it.
//!
//! What happens in such a thread hangs on its seed alone, as far as it is ours: identities and waits' jitter come from it, who
//! waits wakes in the order of the clock, and what blocks (the disk, the queue's file) is done before anything else goes on,
//! after a drawn number of turns of the others. Two things stay outside: answers of sockets, which are awaited with the clock
//! standing still and come in the order in which the system delivers them, and what the engine reads on threads of its own
//! while several tasks go on.
//!
//! Everywhere else, and in a build without the feature `failpoints`, [`sleep`] and [`Instant`] are tokio's own.

use std::ops::{Add, Sub};
use std::time::Duration;

use tokio::task::JoinError;

#[cfg(feature = "failpoints")]
pub use played::{
    Death, Life, current_point, died, elapsed, enter, host, leave, live, now, runtime, seed, set_host, set_now, write,
    written,
};
#[cfg(feature = "failpoints")]
pub(crate) use played::{fresh, is_played, of_disk, passed};

/// A moment of the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(tokio::time::Instant);

impl Instant {
    /// This moment.
    pub fn now() -> Self {
        #[cfg(feature = "failpoints")]
        if let Some(instant) = played::instant() {
            return Self(instant);
        }
        Self(tokio::time::Instant::now())
    }

    /// The time since then.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    /// The time since `earlier`; none if that is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_duration_since(earlier.0)
    }

    /// The moment so much earlier, if the clock can show it.
    pub fn checked_sub(self, time: Duration) -> Option<Self> {
        self.0.checked_sub(time).map(Self)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

/// Waits.
pub async fn sleep(time: Duration) {
    #[cfg(feature = "failpoints")]
    if played::sleep(time).await {
        return;
    }
    tokio::time::sleep(time).await;
}

/// Waits until a moment.
pub async fn sleep_until(moment: Instant) {
    sleep(moment.saturating_duration_since(Instant::now())).await;
}

/// Does what blocks off the threads of async work.
///
/// # Errors
/// If it panics, or the runtime is shut down before it begins.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    at_once(tokio::task::spawn_blocking(work)).await
}

/// Awaits what other threads do: in a simulation nothing else goes on meanwhile.
pub async fn at_once<T>(work: impl Future<Output = T>) -> T {
    #[cfg(feature = "failpoints")]
    let work = played::at_once(work);
    work.await
}

/// Awaits what comes from outside of the process, or from threads of the engine: in a simulation the clock stands still until
/// it is there.
pub async fn from_outside<T>(work: impl Future<Output = T>) -> T {
    #[cfg(feature = "failpoints")]
    let _outside = played::Outside::new();
    work.await
}

#[cfg(feature = "failpoints")]
mod played {
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

    /// What other threads do takes less. If it does not, it needs something of this one.
    const AT_ONCE: Duration = Duration::from_millis(500);

    /// So often the disk is idle and nobody goes on before everybody is taken to wait.
    const QUIET: u32 = 6;

    /// Turns that others may have before somebody reaches the disk.
    const TURNS: u64 = 3;

    /// Which write of a process is its last.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Death {
        /// From 1.
        pub write: u64,
        /// Whether that write is still done, unknown to who asked for it.
        pub done: bool,
    }

    /// What a process may do before it ends.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct Life {
        /// Where it is killed.
        pub death: Option<Death>,
        /// How long it may take, in simulated time.
        pub patience: Option<Duration>,
    }

    struct Played {
        begin: tokio::time::Instant,
        base: Timestamp,
        elapsed: Duration,
        host: Option<String>,
        life: Life,
        born: Duration,
        writes: u64,
        dead: bool,
        told: Arc<Notify>,
        point: Option<&'static str>,
        /// What chance gives next, and how many identities it gave.
        chance: u64,
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

    impl Played {
        /// The next of a stream of numbers (`SplitMix64`).
        fn draw(&mut self) -> u64 {
            self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut it = self.chance;
            it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            it ^ (it >> 31)
        }
    }

    thread_local! {
        static PLAYED: RefCell<Option<Played>> = const { RefCell::new(None) };
    }

    fn with<T>(work: impl FnOnce(&mut Played) -> T) -> Option<T> {
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
            chance: 0,
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
        with(|it| it.chance = seed);
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
            random[2..].copy_from_slice(&it.draw().to_be_bytes());
            uuid::Builder::from_unix_timestamp_millis(u64::try_from(millisecond).unwrap_or_default(), &random)
                .into_uuid()
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

    /// A new process begins.
    pub fn live(life: Life) {
        with(|it| {
            (it.life, it.born, it.writes, it.dead, it.point) = (life, it.elapsed, 0, false, None);
            it.told = Arc::default();
        });
    }

    /// Returns when the process is dead.
    pub async fn died() {
        let Some(told) = with(|it| Arc::clone(&it.told)) else { return std::future::pending().await };
        while with(|it| it.dead) == Some(false) {
            told.notified().await;
        }
    }

    /// How many writes the process has begun.
    pub fn written() -> u64 {
        with(|it| it.writes).unwrap_or_default()
    }

    /// The failpoint that was passed last.
    pub fn current_point() -> Option<&'static str> {
        with(|it| it.point).flatten()
    }

    pub(crate) fn passed(point: &'static str) {
        with(|it| it.point = Some(point));
    }

    fn die() {
        let told = with(|it| {
            it.dead = true;
            Arc::clone(&it.told)
        });
        if let Some(told) = told {
            told.notify_waiters();
            told.notify_one();
        }
    }

    /// A write to the lake. It never returns if the process dies of it.
    pub async fn write<T>(work: impl Future<Output = T>) -> T {
        let fate = with(|it| {
            it.writes += 1;
            let last = it.life.death.filter(|death| death.write == it.writes);
            (it.dead || last.is_some_and(|death| !death.done), last.is_some())
        });
        if let Some((true, _)) = fate {
            die();
            return std::future::pending().await;
        }
        let done = of_disk(work).await;
        if let Some((_, true)) = fate {
            die();
            return std::future::pending().await;
        }
        done
    }

    /// Asks the disk for something, after a few turns of whoever else has something to do.
    pub(crate) async fn of_disk<T>(work: impl Future<Output = T>) -> T {
        for _ in 0..with(|it| if it.alone > 0 { 0 } else { it.draw() % TURNS }).unwrap_or_default() {
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

    #[cfg(test)]
    mod tests {
        use super::*;

        fn start() -> Timestamp {
            Timestamp::from_second(1_790_000_000).unwrap()
        }

        #[test]
        fn waits_move_the_clock_and_setting_it_moves_no_wait() {
            enter(start());
            let begun = super::super::Instant::now();
            runtime().unwrap().block_on(super::super::sleep(Duration::from_mins(10)));
            assert!(now().unwrap().duration_since(start()) >= jiff::SignedDuration::from_mins(10));
            set_now(start());
            assert!(now().unwrap().duration_since(start()) < jiff::SignedDuration::from_secs(1));
            assert!(begun.elapsed() >= Duration::from_mins(10));
            leave();
            assert!(now().is_none());
        }

        #[test]
        fn the_last_write_of_a_process_never_returns() {
            enter(start());
            for done in [false, true] {
                live(Life { death: Some(Death { write: 2, done }), patience: None });
                let mut written = Vec::new();
                let work = async {
                    for number in 1..=3 {
                        write(async { written.push(number) }).await;
                    }
                };
                runtime().unwrap().block_on(async {
                    tokio::select! {
                        () = work => panic!("it lives"),
                        () = died() => {}
                    }
                });
                assert_eq!(written, if done { vec![1, 2] } else { vec![1] });
            }
            leave();
        }

        #[test]
        fn who_waits_for_too_long_is_ended() {
            enter(start());
            live(Life { death: None, patience: Some(Duration::from_mins(5)) });
            runtime().unwrap().block_on(async {
                tokio::select! {
                    () = super::super::sleep(Duration::from_mins(6)) => panic!("it lives"),
                    () = died() => {}
                }
            });
            leave();
        }

        #[test]
        fn who_waits_wakes_in_the_order_of_the_clock_and_nobody_while_something_comes_from_outside() {
            let play = || {
                enter(start());
                seed(7);
                let woken = std::sync::Mutex::new(Vec::new());
                let waits = |minutes| {
                    let woken = &woken;
                    async move {
                        super::super::sleep(Duration::from_mins(minutes)).await;
                        of_disk(std::future::ready(())).await;
                        woken.lock().unwrap().push((minutes, fresh().unwrap()));
                    }
                };
                let answered = super::super::from_outside(async {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    elapsed()
                });
                let all = async { tokio::join!(answered, waits(3), waits(1), waits(2), super::super::blocking(|| 5)) };
                let (answered, .., blocked) = runtime().unwrap().block_on(all);
                assert_eq!((answered, blocked.unwrap()), (Duration::ZERO, 5));
                leave();
                woken.into_inner().unwrap()
            };
            let woken = play();
            assert_eq!(woken.iter().map(|(minutes, _)| *minutes).collect::<Vec<_>>(), [1, 2, 3]);
            assert_eq!(woken, play());
        }
    }
}
