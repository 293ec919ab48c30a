//! Keys that the site does not have.

use catalog::Date;

use super::{Ledger, LedgerState};
use crate::outcome::{KeyState, Outcome};
use crate::task::{Key, distinct};

impl Ledger {
    /// Whether the site said of every one of these keys that it does not exist, the last time it was asked. Then it is not the
    /// keys: the address is wrong, or what it should have is late.
    pub(crate) fn are_all_gone(&self, keys: &[Key], dt: Date) -> bool {
        self.state().are_all_gone(keys, dt)
    }

    /// Those of these keys of which the site said on this day for the first time that it does not have them. One that was known
    /// to be gone before is nothing new, unless it was looked for elsewhere since.
    pub(crate) fn newly_gone(&self, keys: &[Key], dt: Date) -> Vec<String> {
        let state = self.state();
        distinct(keys.to_vec()).into_iter().map(|key| key.value).filter(|key| state.is_newly_gone(key, dt)).collect()
    }

    /// Those of these keys that robots.txt forbade on this day, or the rest of whose lists it forbade.
    pub(crate) fn refused(&self, keys: &[Key], dt: Date) -> Vec<String> {
        let state = self.state();
        let of = |key: &String| state.keys.get(&dt).and_then(|keys| keys.get(key));
        let is_refused = |key: &String| of(key).is_some_and(|state| state.last.outcome == Outcome::Refused);
        distinct(keys.to_vec()).into_iter().map(|key| key.value).filter(is_refused).collect()
    }
}

impl LedgerState {
    pub(super) fn are_all_gone(&self, keys: &[Key], dt: Date) -> bool {
        let newest = |key: &Key| {
            let days = self.keys.iter().filter(|(day, keys)| **day <= dt && keys.contains_key(&key.value));
            days.max_by_key(|(day, _)| **day).and_then(|(_, keys)| keys.get(&key.value))
        };
        let is_gone = |key: &Key| newest(key).is_some_and(|state| state.last.outcome == Outcome::Gone);
        !keys.is_empty() && keys.iter().all(is_gone)
    }

    fn is_newly_gone(&self, key: &str, dt: Date) -> bool {
        let gone = self.keys.get(&dt).and_then(|keys| keys.get(key)).filter(|it| it.last.outcome == Outcome::Gone);
        let Some(gone) = gone else { return false };
        let mut before: Vec<(Date, &KeyState)> = self
            .keys
            .iter()
            .filter(|(day, _)| **day < dt)
            .filter_map(|(day, keys)| keys.get(key).map(|state| (*day, state)))
            .filter(|(_, state)| state.last.outcome.says_whether_it_is_there())
            .collect();
        before.sort_unstable_by_key(|(day, _)| *day);
        let known = before.last().map(|(_, state)| &state.last);
        !known.is_some_and(|last| last.outcome == Outcome::Gone && last.definition == gone.last.definition)
    }
}
