//! How an extraction is told to stop: an interrupt, a lost lease, a blocked host.
//!
//! A `Cancel` is raised once and stays raised; whoever waits on it wakes, also one who starts to wait later.

use std::sync::Arc;

use tokio::sync::watch;

/// A flag that is raised once. Clones share it.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<watch::Sender<bool>>);

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// Not raised yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Raises it.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was raised.
    pub fn is_cancelled(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is raised.
    pub async fn cancelled(&self) {
        let mut seen = self.0.subscribe();
        // The sender lives in `self`, so the wait ends only by the flag.
        let _ = seen.wait_for(|raised| *raised).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_raised_for_those_who_come_late() {
        let cancel = Cancel::new();
        let early = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        early.await.unwrap();
        cancel.cancelled().await;
        assert!(cancel.is_cancelled());
    }
}
