//! A process of a simulation: it lives, writes, and dies at a write of the test's choice.

use std::sync::Arc;

use super::life::Life;
use super::played::{die, of_disk, with};

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

/// A failpoint was passed.
pub(crate) fn passed(point: &'static str) {
    with(|it| it.point = Some(point));
}
