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
mod draw;
#[cfg(feature = "failpoints")]
mod life;
#[cfg(feature = "failpoints")]
mod played;
#[cfg(feature = "failpoints")]
mod process;

#[cfg(feature = "failpoints")]
pub use draw::Draw;
#[cfg(feature = "failpoints")]
pub use life::{Death, Life};
#[cfg(feature = "failpoints")]
pub use played::{elapsed, enter, host, leave, now, runtime, seed, set_host, set_now};
#[cfg(feature = "failpoints")]
pub(crate) use played::{fresh, is_played, of_disk};
#[cfg(feature = "failpoints")]
pub(crate) use process::passed;
#[cfg(feature = "failpoints")]
pub use process::{current_point, died, live, write, written};

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

#[cfg(test)]
#[cfg(feature = "failpoints")]
mod tests;
