//! The real limit: a bucket that fills evenly and holds a minute's worth.

use tokio::time::Instant;

/// A bucket of requests or of tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    level: f64,
    at: Instant,
    per_minute: u32,
}

impl Bucket {
    /// A bucket that starts with a tenth of a minute: a caller may begin briskly, not with everything at once.
    pub(crate) fn new(per_minute: u32, now: Instant) -> Self {
        Self { level: f64::from(per_minute) / 10.0, at: now, per_minute }
    }

    /// For how much a minute.
    pub(crate) fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Takes `amount`, or says after how many seconds it would be there.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> Result<(), f64> {
        let rate = f64::from(self.per_minute) / 60.0;
        let filled = self.level + now.duration_since(self.at).as_secs_f64() * rate;
        self.level = filled.min(f64::from(self.per_minute));
        self.at = now;
        if self.level >= amount {
            self.level -= amount;
            return Ok(());
        }
        Err((amount - self.level) / rate)
    }
}
