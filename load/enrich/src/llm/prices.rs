//! What tokens cost, and how much of it may be spent in a day.

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

/// What may be spent in a day, has been spent of it, and is promised to calls under way.
///
/// The day is everybody's: what other runs have spent is added up from the lake before anything is asked ([`Budget::add_up`]).
/// A call reserves what it costs at most before it is sent; so the sum of what was spent and what may still come never exceeds the
/// budget, however many calls are under way.
#[derive(Debug)]
pub struct Budget {
    limit: Option<f64>,
    state: Mutex<SpendingState>,
    settled: Notify,
}

#[derive(Debug, Default)]
struct SpendingState {
    spent: f64,
    /// Spent by other runs of the day.
    others: f64,
    /// What batches cost at most that an earlier run sent, by the table that they are for.
    promised: BTreeMap<String, f64>,
    reserved: f64,
    under_way: u32,
}

/// A part of the budget, held for a call. Dropped unsettled, it goes back.
#[derive(Debug)]
pub struct Reserved<'a> {
    budget: &'a Budget,
    amount: f64,
    settled: bool,
}

impl Budget {
    /// So much in all; without end if not given.
    pub fn new(limit: Option<f64>) -> Self {
        Self { limit, state: Mutex::default(), settled: Notify::new() }
    }

    /// What may be spent in a day in all.
    pub fn limit(&self) -> Option<f64> {
        self.limit
    }

    /// What this run spent so far.
    pub fn spent(&self) -> f64 {
        self.lock().spent
    }

    /// What other runs of the day have spent, and what the batches of a table cost at most that are under way.
    pub fn add_up(&self, others: f64, table: &str, batches: f64) {
        let mut state = self.lock();
        state.others = others;
        state.promised.insert(table.to_owned(), batches);
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
                match self.limit {
                    Some(budget) if state.committed() + amount > budget => {
                        if state.under_way == 0 {
                            return Err(Error::Budget { budget, spent: state.committed() - state.reserved });
                        }
                    }
                    _ => {
                        state.reserved += amount;
                        state.under_way += 1;
                        return Ok(Reserved { budget: self, amount, settled: false });
                    }
                }
            }
            settled.await;
        }
    }

    /// Spends at once, if it fits.
    pub fn take(&self, amount: f64) -> bool {
        let mut state = self.lock();
        if self.limit.is_some_and(|budget| state.committed() + amount > budget) {
            return false;
        }
        state.spent += amount;
        true
    }

    fn lock(&self) -> MutexGuard<'_, SpendingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpendingState {
    /// What the day costs already, if calls under way cost what they cost at most.
    fn committed(&self) -> f64 {
        self.spent + self.others + self.promised.values().sum::<f64>() + self.reserved
    }
}

impl Reserved<'_> {
    /// The call is over and cost this much.
    pub fn settle(mut self, cost: f64) {
        self.settled = true;
        self.close(cost);
    }

    fn close(&self, cost: f64) {
        let mut state = self.budget.lock();
        state.reserved = (state.reserved - self.amount).max(0.0);
        state.under_way -= 1;
        state.spent += cost;
        drop(state);
        self.budget.settled.notify_waiters();
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
        let budget = Arc::new(Budget::new(Some(1.0)));
        let calls = (0..100).map(|_| {
            let budget = Arc::clone(&budget);
            tokio::spawn(async move {
                let Ok(held) = budget.reserve(0.03).await else { return false };
                tokio::task::yield_now().await;
                held.settle(0.02);
                true
            })
        });
        let answered = futures::future::join_all(calls).await.into_iter().filter(|it| *it.as_ref().unwrap()).count();
        assert!(budget.spent() <= 1.0, "{}", budget.spent());
        assert_eq!(answered, 49, "as long as what a call may cost still fits");
    }

    #[tokio::test]
    async fn what_others_spent_is_spent() {
        let budget = Budget::new(Some(1.0));
        budget.add_up(0.5, "a", 0.2);
        budget.add_up(0.5, "b", 0.1);
        assert!(
            matches!(budget.reserve(0.3).await.unwrap_err(), Error::Budget { spent, .. } if (spent - 0.8).abs() < 1e-9)
        );
        assert!(!budget.take(0.3) && budget.take(0.1));
        budget.add_up(0.2, "a", 0.0);
        assert!(budget.reserve(0.5).await.is_ok(), "it is the sum of now, not of every look");
    }

    #[tokio::test]
    async fn what_is_not_settled_goes_back() {
        let budget = Budget::new(Some(1.0));
        drop(budget.reserve(0.9).await.unwrap());
        assert!(budget.reserve(0.9).await.is_ok());
        assert!(matches!(budget.reserve(1.5).await.unwrap_err(), Error::Budget { .. }));
    }
}
