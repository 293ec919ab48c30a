//! Time and death as tests play them, so that a month of days takes seconds.
//!
//! A test of whole histories can't wait for real minutes and can't kill its own process. A thread that it gives a
//! simulation (`enter`) has a clock of its own, which moves when somebody waits and by no other way, and a process that
//! dies at a write of its choice: from there on its writes never return, and who plays the history drops it.
//!
//! Everywhere else, and in a build without the feature `failpoints`, [`sleep`] and [`Instant`] are tokio's own.

use std::ops::{Add, Sub};
use std::time::Duration;

#[cfg(feature = "failpoints")]
pub(crate) use played::passed;
#[cfg(feature = "failpoints")]
pub use played::{
    Death, Life, current_point, died, elapsed, enter, host, leave, live, now, set_host, set_now, write, written,
};

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

#[cfg(feature = "failpoints")]
mod played {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::time::Duration;

    use jiff::Timestamp;
    use tokio::sync::Notify;

    /// Simulated time of a wait in a moment of real time, and the longest that one really waits.
    const FASTER: u32 = 1_000;
    const LONGEST: Duration = Duration::from_millis(200);

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
    }

    thread_local! {
        static PLAYED: RefCell<Option<Played>> = const { RefCell::new(None) };
    }

    fn with<T>(work: impl FnOnce(&mut Played) -> T) -> Option<T> {
        PLAYED.with_borrow_mut(|played| played.as_mut().map(work))
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
        };
        PLAYED.set(Some(played));
    }

    /// Gives this thread the real clock again.
    pub fn leave() {
        PLAYED.set(None);
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
        with(|it| {
            it.dead = true;
            it.told.notify_waiters();
            it.told.notify_one();
        });
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
        let done = work.await;
        if let Some((_, true)) = fate {
            die();
            return std::future::pending().await;
        }
        done
    }

    pub(super) fn instant() -> Option<tokio::time::Instant> {
        with(|it| it.begin + it.elapsed)
    }

    /// Whether there is a clock to wait by.
    pub(super) async fn sleep(time: Duration) -> bool {
        let Some(wakes) = with(|it| it.elapsed.saturating_add(time)) else { return false };
        tokio::time::sleep((time / FASTER).min(LONGEST)).await;
        let overdue = with(|it| {
            it.elapsed = it.elapsed.max(wakes);
            it.life.patience.is_some_and(|patience| it.elapsed.saturating_sub(it.born) > patience)
        });
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

        #[tokio::test]
        async fn waits_move_the_clock_and_setting_it_moves_no_wait() {
            enter(start());
            let begun = super::super::Instant::now();
            super::super::sleep(Duration::from_mins(10)).await;
            assert!(now().unwrap().duration_since(start()) >= jiff::SignedDuration::from_mins(10));
            set_now(start());
            assert!(now().unwrap().duration_since(start()) < jiff::SignedDuration::from_secs(1));
            assert!(begun.elapsed() >= Duration::from_mins(10));
            leave();
            assert!(now().is_none());
        }

        #[tokio::test]
        async fn the_last_write_of_a_process_never_returns() {
            enter(start());
            for done in [false, true] {
                live(Life { death: Some(Death { write: 2, done }), patience: None });
                let mut written = Vec::new();
                let work = async {
                    for number in 1..=3 {
                        write(async { written.push(number) }).await;
                    }
                };
                tokio::select! {
                    () = work => panic!("it lives"),
                    () = died() => {}
                }
                assert_eq!(written, if done { vec![1, 2] } else { vec![1] });
            }
            leave();
        }

        #[tokio::test]
        async fn who_waits_for_too_long_is_ended() {
            enter(start());
            live(Life { death: None, patience: Some(Duration::from_mins(5)) });
            tokio::select! {
                () = super::super::sleep(Duration::from_mins(6)) => panic!("it lives"),
                () = died() => {}
            }
            leave();
        }
    }
}
