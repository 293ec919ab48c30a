//! What tokens cost, and how much of it a run may spend.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::sync::Notify;

use super::{Mode, Usage};
use crate::error::{Error, Result};

/// What a million tokens of a model cost.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Tokens read.
    pub input: f64,
    /// Tokens written; embeddings write none.
    #[serde(default)]
    pub output: f64,
    /// What a batch costs of it: 0.5 is half.
    #[serde(default = "half")]
    pub batch: f64,
}

fn half() -> f64 {
    0.5
}

impl Price {
    /// The cost of what was used.
    pub fn cost(&self, usage: Usage, mode: Mode) -> f64 {
        let factor = if mode == Mode::Batch { self.batch } else { 1.0 };
        (usage.input_tokens as f64 * self.input + usage.output_tokens as f64 * self.output) / 1e6 * factor
    }
}

/// Prices by the model's name.
pub type Prices = BTreeMap<String, Price>;

/// What a run may spend, has spent, and has promised to calls under way.
///
/// A call reserves what it costs at most before it is sent; so the sum of what was spent and what may still come never exceeds the
/// budget, however many calls are under way.
#[derive(Debug)]
pub struct Till {
    budget: Option<f64>,
    state: Mutex<State>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct State {
    spent: f64,
    reserved: f64,
    under_way: u32,
}

/// A part of the budget, held for a call. Dropped unsettled, it goes back.
#[derive(Debug)]
pub struct Reserved<'a> {
    till: &'a Till,
    amount: f64,
    settled: bool,
}

impl Till {
    /// A till with this much in it; without end if not given.
    pub fn new(budget: Option<f64>) -> Self {
        Self { budget, state: Mutex::default(), settled: Notify::new() }
    }

    /// What the run may spend in all.
    pub fn budget(&self) -> Option<f64> {
        self.budget
    }

    /// What was spent so far.
    pub fn spent(&self) -> f64 {
        self.lock().spent
    }

    /// Holds `amount`. Where it does not fit, it waits for calls under way, which mostly cost less than was held for them.
    ///
    /// # Errors
    /// [`Error::Budget`] when nothing is under way any more and it still does not fit.
    pub async fn reserve(&self, amount: f64) -> Result<Reserved<'_>> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Registered before the look, so that a settling in between is not missed.
            settled.as_mut().enable();
            {
                let mut state = self.lock();
                match self.budget {
                    Some(budget) if state.spent + state.reserved + amount > budget => {
                        if state.under_way == 0 {
                            return Err(Error::Budget { budget, spent: state.spent });
                        }
                    }
                    _ => {
                        state.reserved += amount;
                        state.under_way += 1;
                        return Ok(Reserved { till: self, amount, settled: false });
                    }
                }
            }
            settled.await;
        }
    }

    /// Spends at once, if it fits.
    pub fn take(&self, amount: f64) -> bool {
        let mut state = self.lock();
        if self.budget.is_some_and(|budget| state.spent + state.reserved + amount > budget) {
            return false;
        }
        state.spent += amount;
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// The call is over and cost this much.
    pub fn settle(mut self, cost: f64) {
        self.settled = true;
        self.close(cost);
    }

    fn close(&self, cost: f64) {
        let mut state = self.till.lock();
        state.reserved = (state.reserved - self.amount).max(0.0);
        state.under_way -= 1;
        state.spent += cost;
        drop(state);
        self.till.settled.notify_waiters();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.close(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn tokens_cost_by_the_million() {
        let price = Price { input: 0.05, output: 0.40, batch: 0.5 };
        let usage = Usage { calls: 1, input_tokens: 2_000_000, output_tokens: 1_000_000 };
        assert!((price.cost(usage, Mode::Interactive) - 0.50).abs() < 1e-12);
        assert!((price.cost(usage, Mode::Batch) - 0.25).abs() < 1e-12);
    }

    #[tokio::test]
    async fn many_calls_at_once_never_spend_more_than_the_budget() {
        let till = Arc::new(Till::new(Some(1.0)));
        let calls = (0..100).map(|_| {
            let till = Arc::clone(&till);
            tokio::spawn(async move {
                let Ok(held) = till.reserve(0.03).await else { return false };
                tokio::task::yield_now().await;
                held.settle(0.02);
                true
            })
        });
        let answered = futures::future::join_all(calls).await.into_iter().filter(|it| *it.as_ref().unwrap()).count();
        assert!(till.spent() <= 1.0, "{}", till.spent());
        assert_eq!(answered, 49, "as long as what a call may cost still fits");
    }

    #[tokio::test]
    async fn what_is_not_settled_goes_back() {
        let till = Till::new(Some(1.0));
        drop(till.reserve(0.9).await.unwrap());
        assert!(till.reserve(0.9).await.is_ok());
        assert!(matches!(till.reserve(1.5).await.unwrap_err(), Error::Budget { .. }));
    }
}
