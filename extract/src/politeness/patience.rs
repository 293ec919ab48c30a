//! How long one key may wait because its host asks for it.
//!
//! A host that asks everybody to slow down is given its rest by the breaker, and is left alone if it does nothing else. But one
//! address may answer so for ever, while all others are well: then it is that key, and a run must not be held by it. What a key
//! is asked to wait is summed up, and beyond a bound it has failed, until the next run.

use std::collections::HashMap;
use std::time::Duration;

use catalog::SourceName;

/// What one key may wait in a run, all its pages and tries together.
pub(crate) const KEY_PATIENCE: Duration = Duration::from_mins(2);

/// What keys have waited so far. A key that was answered, or given up, begins anew.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<(SourceName, String), Duration>);

impl Patience {
    /// Takes a wait from what a key has left; false if it has not that much.
    pub(super) fn take(&mut self, source: &SourceName, key: &str, wait: Duration) -> bool {
        let waited = self.0.entry((source.clone(), key.to_owned())).or_default();
        let then = waited.saturating_add(wait);
        let is_enough = then <= KEY_PATIENCE;
        if is_enough {
            *waited = then;
        }
        is_enough
    }

    /// A key has ended, in whatever way.
    pub(super) fn forget(&mut self, source: &SourceName, key: &str) {
        self.0.remove(&(source.clone(), key.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_key_waits_for_longer_and_none_for_another(waits in prop::collection::vec((0_usize..3, 0_u64..200), 0..40)) {
            let (mut patience, source) = (Patience::default(), "notes".parse::<SourceName>().unwrap());
            let mut waited = [Duration::ZERO; 3];
            for (key, seconds) in waits {
                let wait = Duration::from_secs(seconds);
                let is_taken = patience.take(&source, &key.to_string(), wait);
                prop_assert_eq!(is_taken, waited[key] + wait <= KEY_PATIENCE);
                if is_taken {
                    waited[key] += wait;
                } else {
                    patience.forget(&source, &key.to_string());
                    waited[key] = Duration::ZERO;
                }
            }
        }
    }
}
