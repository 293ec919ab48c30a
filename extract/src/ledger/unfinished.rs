//! Keys that did not end as they should, and what becomes of them when the source no longer has them.
//!
//! A run asks for the keys that its source has. One that was left open and has left the list, or is no longer found by the query,
//! would stay unfinished for ever: so the first run that sees it says that it is *unlisted*. What landed of it stays, and its
//! outcome says what it was before. A key that comes back has not ended, and is asked for.

use std::collections::{BTreeMap, HashSet};

use catalog::{CommitInfo, Committed, Date};

use super::Ledger;
use crate::error::Error;
use crate::outcome::{KeyOutcome, Outcome, whole_milliseconds};
use crate::task::Key;

impl Ledger {
    /// Keys whose newest outcome up to `today` left them open or cut them; beside them those that another day has open by
    /// somebody's word, or whose rows are no longer in the table. By day and key. A run that was filed under a later day, or whose
    /// clock was ahead, says nothing of today.
    pub fn unfinished(&self, today: Date) -> Vec<KeyOutcome> {
        let (mut newest, mut all) = (BTreeMap::new(), self.lost());
        for outcome in self.outcomes() {
            let is_open = outcome.outcome.is_open() && outcome.outcome != Outcome::Lost;
            if (outcome.dt > today && is_open) || outcome.outcome == Outcome::Reopened {
                all.push(outcome);
            } else if outcome.dt <= today {
                newest.insert(outcome.key.clone(), outcome);
            }
        }
        let is_unfinished = |last: &KeyOutcome| last.outcome.is_open() || last.outcome == Outcome::Cut;
        all.extend(newest.into_values().filter(is_unfinished).filter(|last| last.outcome != Outcome::Lost));
        all.sort_by(|a, b| (a.dt, &a.key).cmp(&(b.dt, &b.key)));
        all
    }

    /// Those of the unfinished keys that are not among these, which are all that the source has. Rows that were lost are no
    /// matter of the list: they are told until they are there again.
    pub(crate) fn unlisted(&self, keys: &[Key], today: Date) -> Vec<KeyOutcome> {
        let listed: HashSet<&str> = keys.iter().map(|key| key.value.as_str()).collect();
        let mut unfinished = self.unfinished(today);
        unfinished.retain(|last| last.outcome != Outcome::Lost && !listed.contains(last.key.as_str()));
        unfinished
    }

    /// Says of these keys in the table's log that nobody asks for them any more.
    pub(crate) async fn say_unlisted(
        &self,
        keys: &[Key],
        today: Date,
        info: &CommitInfo,
    ) -> Result<Vec<KeyOutcome>, Error> {
        loop {
            self.catch_up(&self.table.head().await?).await?;
            let said: Vec<KeyOutcome> =
                self.unlisted(keys, today).into_iter().map(|last| unlisted(last, info)).collect();
            if said.is_empty() || matches!(self.commit(Vec::new(), &said, info).await?, Committed::Done(_)) {
                return Ok(said);
            }
        }
    }
}

/// A key that the source no longer has. What landed of it counts as before.
fn unlisted(last: KeyOutcome, info: &CommitInfo) -> KeyOutcome {
    let before = last.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let why = format!("the source no longer has this key; it was {}{before}", last.outcome);
    KeyOutcome { outcome: Outcome::Unlisted, why: Some(why), at: whole_milliseconds(info.now), ..last }
}
