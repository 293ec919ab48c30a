//! Rows that landed and are no longer in the raw table.
//!
//! Two things tell of them. Of a table that was restored to an older copy, or that lost files, the log counts fewer rows of a
//! day than its outcomes do; rows are read of such days only. Of a table that was removed and made anew the log knows nothing,
//! but `ops.outcomes` has the outcomes of the former one, under its id.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use catalog::{CommitInfo, Committed, Date, Lake, Snapshot, SourceName};

use super::{Ledger, LedgerState, rows, table};
use crate::error::Error;
use crate::outcome::{KeyOutcome, KeyState, Outcome, whole_milliseconds};

/// Keys that landed, by day, and how many rows their table had of them.
type LandedKeys = BTreeMap<Date, BTreeMap<String, KeyOutcome>>;

impl Ledger {
    /// Says in the table's log which keys were found lost when the ledger was opened, so that those of the run's day are asked
    /// for again. Gives all that are new, also those that only the copy says: those of a table that was made anew.
    pub(crate) async fn say_lost(&self, info: &CommitInfo) -> Result<Vec<KeyOutcome>, Error> {
        loop {
            self.catch_up(&self.table.head().await?).await?;
            let (found, former) = {
                let state = self.state();
                (state.found_lost.clone(), state.of_former.clone())
            };
            // Somebody else may have said so meanwhile, or have brought them again.
            let still =
                found.into_iter().filter(|lost| self.get(lost.dt, &lost.key).is_some_and(|it| it.last == *lost));
            let said: Vec<KeyOutcome> =
                still.map(|lost| KeyOutcome { at: whole_milliseconds(info.now), ..lost }).collect();
            if said.is_empty() || matches!(self.commit(Vec::new(), &said, info).await?, Committed::Done(_)) {
                {
                    let mut state = self.state();
                    state.found_lost.clear();
                    state.is_told = true;
                }
                return Ok(said.into_iter().chain(former).collect());
            }
        }
    }

    /// Keys of all days that are known whose rows are no longer in the table, by day and key.
    pub fn lost(&self) -> Vec<KeyOutcome> {
        self.outcomes().into_iter().filter(|last| last.outcome == Outcome::Lost).collect()
    }
}

impl LedgerState {
    /// Finds the keys of which `snapshot` has fewer rows than landed, and knows them as lost from here on.
    pub(super) async fn find_lost(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let counted = snapshot.rows_by_day()?;
        let mut found = Vec::new();
        for (dt, keys) in &self.keys {
            let has_rows = |state: &&KeyState| state.last.rows > 0;
            let landed: u64 = keys.values().map(|state| state.last.rows).sum();
            // Closed by commits that the table no longer has: an older copy of it was restored.
            let is_behind = keys.values().filter(has_rows).any(|state| state.mark > self.mark.unwrap_or(0));
            let rows = counted.get(dt).copied().unwrap_or_default();
            if landed == 0 || (rows >= landed && !is_behind) {
                continue;
            }
            let there = if counted.contains_key(dt) { rows::count(snapshot, *dt).await? } else { HashMap::new() };
            for state in keys.values().filter(has_rows) {
                let there = there.get(&state.last.key).copied().unwrap_or_default();
                if there < state.last.rows && state.last.outcome != Outcome::Lost {
                    found.push((state.mark, lost(&state.last, there)));
                }
            }
        }
        for (mark, lost) in found {
            self.found_lost.push(lost.clone());
            self.take(mark, lost);
        }
        Ok(())
    }
}

/// What the outcomes of tables that are gone say of rows which `snapshot` does not have.
pub(super) async fn of_former(lake: &Lake, source: &SourceName, snapshot: &Snapshot) -> Result<Vec<KeyOutcome>, Error> {
    let former = former_rows(lake, source, Some(snapshot.table_id())).await?;
    let days: BTreeSet<Date> = snapshot.rows_by_day()?.into_keys().collect();
    let mut found = Vec::new();
    for (dt, keys) in former {
        let there = if days.contains(&dt) { rows::count(snapshot, dt).await? } else { HashMap::new() };
        let of = |had: &KeyOutcome| there.get(&had.key).copied().unwrap_or_default();
        found.extend(keys.values().filter(|had| of(had) < had.rows).map(|had| lost(had, of(had))));
    }
    Ok(found)
}

/// The keys of a source whose rows are lost because its table is not there at all, by day and key.
///
/// # Errors
/// If `ops.outcomes` can't be read.
pub async fn lost_with_table(lake: &Lake, source: &SourceName) -> Result<Vec<KeyOutcome>, Error> {
    let former = former_rows(lake, source, None).await?;
    Ok(former.values().flat_map(BTreeMap::values).map(|had| lost(had, 0)).collect())
}

/// What landed in the tables that a source had before `present`. Raw tables only grow: the most that any outcome counts is what
/// the table had.
async fn former_rows(lake: &Lake, source: &SourceName, present: Option<&str>) -> Result<LandedKeys, Error> {
    let mut landed = LandedKeys::new();
    for outcome in table::read_former(lake, source, present).await? {
        let rows = if outcome.outcome == Outcome::Lost { outcome.rows + 1 } else { outcome.rows };
        let known = landed.get(&outcome.dt).and_then(|keys| keys.get(&outcome.key)).map_or(0, |known| known.rows);
        if rows > known {
            let keys = landed.entry(outcome.dt).or_default();
            keys.insert(outcome.key.clone(), KeyOutcome { rows, ..outcome });
        }
    }
    Ok(landed)
}

/// What is known of a key of whose rows the table has only so many.
fn lost(had: &KeyOutcome, there: u64) -> KeyOutcome {
    let why = match there {
        0 => "its rows are no longer in the table".to_owned(),
        there => format!("{} of its {} rows are no longer in the table", had.rows - there, had.rows),
    };
    KeyOutcome { outcome: Outcome::Lost, rows: there, set_aside: 0, missing: 0, why: Some(why), ..had.clone() }
}
