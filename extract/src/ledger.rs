//! What is known of a source's keys: every outcome, and which keys of a day are still to be asked for.
//!
//! The truth is the raw table's log: a commit that lands a key's rows says so in its note. Notes are read as they come, each
//! commit once. Checkpoints do not keep them, so what the log says is copied into the table `ops.outcomes`, with a mark
//! there of how far that has got; what is newer is read from the log. Either may be lost:
//!
//! | lost | what is read instead |
//! |---|---|
//! | `ops.outcomes` | the log, as far back as it goes; before that, which keys have rows in the table |
//! | everything under `_onggi/` | nothing of it is needed |
//! | the raw table, made anew | outcomes carry the id of the table they speak of: keys of another one that had rows are *lost* |
//! | the raw table's newest commits (an older copy was restored) | the numbers of its commits are behind those in `ops.outcomes`: keys in between that had rows are lost |
//! | rows of a day (Delta's `RESTORE`, a removed file) | the log counts fewer rows than the outcomes: keys that miss some are lost |
//!
//! So it is for every day that is looked at, and a key that is lost is open: what can still be had is asked for again, and what
//! can't stays on the list of what is unfinished (`ledger/lost.rs`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use catalog::{CommitInfo, Committed, Date, Head, Lake, Layer, SourceName, Table, TableName, Txn, TxnRule, Version};
use jiff::Span;
use serde_json::{Value, json};

use crate::error::Error;
use crate::outcome::{KeyOutcome, KeyState, Outcome, whole_milliseconds};
use crate::source::Source;
use crate::task::Key;

mod gone;
mod lost;
mod rows;
mod table;
mod unfinished;

pub use lost::lost_with_table;
pub use table::outcomes_table;

/// How far back an open key of an earlier day is looked for, besides the source's own rhythm.
const LEFTOVER_DAYS: i64 = 30;

/// Lost races for `ops.outcomes` before it is left to a later run: nothing hangs on it.
const COPY_TRIES: u32 = 8;

/// The outcomes of one source's keys, as they are now. Made for a process; several may stand at once.
#[derive(Debug)]
pub struct Ledger {
    lake: Lake,
    source: SourceName,
    definition: String,
    /// The column that names an item.
    item: String,
    table: Table,
    table_id: String,
    state: Mutex<LedgerState>,
    /// Held while the log is read on.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct LedgerState {
    keys: HashMap<Date, BTreeMap<String, KeyState>>,
    /// Days before this one were not looked at.
    since: Option<Date>,
    /// The raw table's version up to which notes are known.
    version: Option<Version>,
    /// The number of the newest commit with outcomes.
    mark: Option<i64>,
    /// The number up to which outcomes are copied into `ops.outcomes`.
    copied: Option<i64>,
    /// What is to be copied.
    news: Vec<(i64, KeyOutcome)>,
    /// Keys that were found lost, which the log does not say yet.
    found_lost: Vec<KeyOutcome>,
    /// Keys of a former table that are lost, which the copy does not say yet.
    of_former: Vec<KeyOutcome>,
    /// Whether somebody was told of those.
    is_told: bool,
}

/// What a run of a day has to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueKeys {
    /// Keys to ask for, those first that an earlier day or run left open.
    pub due: Vec<Key>,
    /// How many of them were left open.
    pub leftovers: usize,
    /// Keys that have ended.
    pub ended: usize,
    /// The day on which the newest of those ended, and the first day on which one is due again.
    pub fresh: Option<(Date, Date)>,
    /// How many of those ended on the very day by another definition of the source than today's.
    pub redefined: usize,
    /// Keys of other days whose rows are no longer in the table, by day.
    pub lost: BTreeMap<Date, u64>,
    /// Whether some of all the lost keys are not known as such yet: a run has to say so.
    pub lost_is_new: bool,
    /// Keys that are unfinished and no longer among those of the source: a run has to say so.
    pub unlisted: usize,
}

/// All outcomes of a day in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaySummary {
    /// Keys by their newest outcome.
    pub keys: BTreeMap<Outcome, u64>,
    /// Rows that landed with those outcomes.
    pub rows: u64,
    /// Rows of them with an `_error`.
    pub set_aside: u64,
    /// Keys whose lists ended before the site's own total, and the items that these miss.
    pub missing: (u64, u64),
    /// Rules for persons that no row of the day has anything of.
    pub unfit: BTreeSet<String>,
}

impl Ledger {
    /// Reads what is known of the days from `since` on. The raw table must be there.
    pub async fn open(lake: &Lake, source: &Source, table: Table, since: Date) -> Result<Arc<Self>, Error> {
        let head = table.head().await?;
        let ledger = Arc::new(Self {
            lake: lake.clone(),
            source: source.name().clone(),
            definition: source.definition(),
            item: source.items().key.clone(),
            table_id: head.table_id().to_owned(),
            table,
            state: Mutex::default(),
            reading: tokio::sync::Mutex::new(()),
        });
        ledger.read_from(since, source.every_days()).await?;
        Ok(ledger)
    }

    /// The hash of what the source's answers are taken for. See [`Source::definition`].
    pub(crate) fn definition(&self) -> &str {
        &self.definition
    }

    /// The name of the source's commits in the raw table's log.
    pub(crate) fn app_id(&self) -> String {
        format!("extract/{}", self.source)
    }

    /// How far the raw table is copied, in the log of `ops.outcomes`.
    fn copy_app_id(&self) -> String {
        format!("outcomes/{}/{}", self.source, self.table_id)
    }

    /// Makes sure that the days from `since` on are known.
    pub(crate) async fn reach(&self, since: Date, every_days: i64) -> Result<(), Error> {
        if self.state().since.is_some_and(|known| known <= first_day(since, every_days)) {
            return Ok(());
        }
        self.read_from(since, every_days).await
    }

    async fn read_from(&self, since: Date, every_days: i64) -> Result<(), Error> {
        let _one = self.reading.lock().await;
        let since = first_day(since, every_days);
        // The copy first: so the table has all that the copy speaks of.
        let stored = table::read(&self.lake, &self.source, &self.table_id, since, &self.copy_app_id()).await?;
        let snapshot = self.table.snapshot().await?;
        let notes = snapshot.head().notes(&self.app_id(), stored.copied).await?;
        let mut state = LedgerState { since: Some(since), copied: stored.copied, ..LedgerState::default() };
        let known = !stored.outcomes.is_empty();
        if stored.copied.is_none() {
            state.of_former = lost::of_former(&self.lake, &self.source, &snapshot).await?;
            for lost in state.of_former.clone() {
                state.news.push((0, lost.clone()));
                state.take(0, lost);
            }
        }
        for (mark, outcome) in stored.outcomes {
            state.take(mark, outcome);
        }
        let told = known || (notes.complete && !notes.notes.is_empty());
        if stored.copied.is_none() && !told {
            // A lake of a time before outcomes, or one that lost them: the rows themselves say which keys were answered.
            for outcome in rows::read(&snapshot, since, &self.definition).await? {
                if state.of_former.iter().any(|lost| (lost.dt, &lost.key) == (outcome.dt, &outcome.key)) {
                    continue;
                }
                state.news.push((0, outcome.clone()));
                state.take(0, outcome);
            }
        }
        for note in notes.notes {
            state.take_in(note.mark, read_note(note.mark, &note.note));
        }
        state.version = Some(snapshot.version());
        state.mark = snapshot.txn(&self.app_id()).await?;
        state.find_lost(&snapshot).await?;
        *self.state() = state;
        Ok(())
    }

    /// Takes in what commits up to `head` say. Costs the commits that came since the last time.
    pub(crate) async fn catch_up(&self, head: &Head) -> Result<(), Error> {
        let _one = self.reading.lock().await;
        let known = self.state().version;
        let Some(known) = known.filter(|known| *known < head.version()) else { return Ok(()) };
        let notes = head.notes_since(&self.app_id(), known).await?;
        let mut state = self.state();
        for note in notes {
            state.take_in(note.mark, read_note(note.mark, &note.note));
        }
        state.version = Some(head.version());
        Ok(())
    }

    /// The newest outcome of a key's day.
    pub fn get(&self, dt: Date, key: &str) -> Option<KeyState> {
        self.state().keys.get(&dt)?.get(key).cloned()
    }

    /// Whether a task's key is still to be done: nobody closed it since the task was made.
    pub(crate) fn is_wanted(&self, dt: Date, key: &Key) -> bool {
        self.state().keys.get(&dt).and_then(|keys| keys.get(&key.value)).and_then(|state| state.closed) == key.over
    }

    /// Whether a key was asked for on another day than `dt` by a commit with a number above `mark`.
    pub(crate) fn was_asked_since(&self, mark: Option<i64>, key: &str, dt: Date) -> bool {
        let state = self.state();
        let other_days = state.keys.iter().filter(|(day, _)| **day != dt).filter_map(|(_, keys)| keys.get(key));
        let mut news = other_days.filter(|state| mark.is_none_or(|mark| state.mark > mark));
        news.any(|state| !matches!(state.last.outcome, Outcome::Reopened | Outcome::Lost | Outcome::Unlisted))
    }

    /// What of a key's rows is not in the table yet, and how many it has there. Rows are only read for a key that may have some:
    /// one that was asked for on that day before.
    pub(crate) async fn only_new(&self, dt: Date, key: &str, batch: &RecordBatch) -> Result<(RecordBatch, u64), Error> {
        let may_have_rows = self.get(dt, key).is_some_and(|state| state.closed.is_some() || state.last.rows > 0);
        if !may_have_rows {
            return Ok((batch.clone(), 0));
        }
        rows::only_new(&self.table.snapshot().await?, dt, key, &self.item, batch).await
    }

    /// The number of the newest commit with outcomes.
    pub(crate) fn mark(&self) -> Option<i64> {
        self.state().mark
    }

    /// The number of the next commit. Numbers are never given twice, not even after an older copy of the table was restored.
    pub(crate) fn next_mark(&self) -> i64 {
        let state = self.state();
        state.mark.max(state.copied).unwrap_or(0).max(0) + 1
    }

    /// Which of these keys are to be asked for on a day.
    pub fn due(&self, keys: &[Key], dt: Date, every_days: i64) -> DueKeys {
        let state = self.state();
        let first = dt.saturating_sub(Span::new().days(every_days.max(1) - 1));
        let mut due = DueKeys::default();
        let mut later = Vec::new();
        let all_gone = state.are_all_gone(keys, dt);
        for key in crate::task::distinct(keys.to_vec()) {
            let of = |day: Date| state.keys.get(&day).and_then(|keys| keys.get(&key.value));
            let over = of(dt).and_then(|state| state.closed);
            let after = of(dt).filter(|state| state.closed != Some(state.mark)).map(|state| state.mark);
            // Newest first: an outcome after the day asked for says nothing of it.
            let mut days = state.keys.keys().copied().filter(|day| *day <= dt).collect::<Vec<_>>();
            days.sort_unstable_by(|a, b| b.cmp(a));
            let newest = days.iter().find_map(|day| of(*day).map(|state| (*day, state)));
            match newest {
                Some((day, state)) if day >= first && state.is_ended(&self.definition) && !all_gone => {
                    due.ended += 1;
                    due.redefined += usize::from(day == dt && state.last.definition != self.definition);
                    let next = day.saturating_add(Span::new().days(every_days.max(1)));
                    due.fresh = Some(match due.fresh {
                        Some((newest, first)) => (newest.max(day), first.min(next)),
                        None => (day, next),
                    });
                }
                Some((_, state)) if state.last.outcome.is_open() || all_gone => {
                    due.leftovers += 1;
                    due.due.push(Key { over, after, ..key });
                }
                _ => later.push(Key { over, after, ..key }),
            }
        }
        due.due.extend(later);
        due.lost_is_new = !state.found_lost.is_empty() || !state.of_former.is_empty();
        drop(state);
        for lost in self.lost().into_iter().filter(|lost| lost.dt != dt) {
            *due.lost.entry(lost.dt).or_default() += 1;
        }
        due
    }

    /// A day in numbers.
    pub fn summary(&self, dt: Date) -> DaySummary {
        let state = self.state();
        let mut summary = DaySummary::default();
        let mut unfit: Option<BTreeSet<String>> = None;
        for last in state.keys.get(&dt).into_iter().flat_map(BTreeMap::values).map(|state| &state.last) {
            *summary.keys.entry(last.outcome).or_default() += 1;
            summary.rows += last.rows;
            summary.set_aside += last.set_aside;
            summary.missing.0 += u64::from(last.missing > 0);
            summary.missing.1 = summary.missing.1.saturating_add(last.missing);
            // What has no rows says nothing of them.
            if last.rows > 0 {
                let of_key: BTreeSet<String> = last.unfit.iter().cloned().collect();
                unfit = Some(match unfit {
                    None => of_key,
                    Some(known) => known.intersection(&of_key).cloned().collect(),
                });
            }
        }
        summary.unfit = unfit.unwrap_or_default();
        summary
    }

    /// The newest outcomes of all days that are known, by day and key.
    pub fn outcomes(&self) -> Vec<KeyOutcome> {
        let state = self.state();
        let mut days: Vec<_> = state.keys.iter().collect();
        days.sort_unstable_by_key(|(day, _)| **day);
        days.into_iter().flat_map(|(_, keys)| keys.values().map(|state| state.last.clone())).collect()
    }

    /// Opens keys again that have ended, so that the next run asks for them. Says which did.
    pub async fn reopen(
        &self,
        which: impl Fn(&KeyOutcome) -> bool,
        why: &str,
        info: &CommitInfo,
    ) -> Result<Vec<KeyOutcome>, Error> {
        self.catch_up(&self.table.head().await?).await?;
        let chosen: Vec<KeyOutcome> = self.outcomes().into_iter().filter(which).collect();
        let again: Vec<KeyOutcome> = chosen
            .iter()
            .filter(|last| !last.outcome.is_open())
            .map(|last| reopened(last.clone(), why, info))
            .collect();
        self.say(&again, info).await?;
        self.copy(info).await?;
        Ok(chosen)
    }

    /// Outcomes with a number above `mark`.
    pub(crate) fn since(&self, mark: Option<i64>) -> Vec<KeyOutcome> {
        let state = self.state();
        let newer = |state: &&KeyState| mark.is_none_or(|mark| state.mark > mark);
        state.keys.values().flat_map(BTreeMap::values).filter(newer).map(|state| state.last.clone()).collect()
    }

    /// Commits outcomes, and the rows that belong to them. [`Committed::Conflict`] if somebody came first: catch up, look
    /// again which keys are still wanted, and come again.
    pub(crate) async fn commit(
        &self,
        batches: Vec<RecordBatch>,
        outcomes: &[KeyOutcome],
        info: &CommitInfo,
    ) -> Result<Committed, Error> {
        let (before, mark) = (self.mark(), self.next_mark());
        let txn = Txn { app_id: self.app_id(), version: mark, rule: TxnRule::After(before) };
        let committed = self.table.append_noted(batches, txn, info, Some(note(outcomes))).await?;
        if let Committed::Done(_) = committed {
            self.state().take_in(mark, outcomes.to_vec());
        }
        Ok(committed)
    }

    /// Commits outcomes that have no rows, as often as it takes.
    pub(crate) async fn say(&self, outcomes: &[KeyOutcome], info: &CommitInfo) -> Result<(), Error> {
        if outcomes.is_empty() {
            return Ok(());
        }
        loop {
            self.catch_up(&self.table.head().await?).await?;
            if let Committed::Done(_) = self.commit(Vec::new(), outcomes, info).await? {
                return Ok(());
            }
        }
    }

    /// Copies into `ops.outcomes` what is not there yet. What can't be copied now is copied by a later run.
    pub(crate) async fn copy(&self, info: &CommitInfo) -> Result<(), Error> {
        for _ in 0..COPY_TRIES {
            let (news, mark, copied) = {
                let state = self.state();
                // A run has to say what is lost before the copy takes it for known.
                let news = if state.of_former.is_empty() || state.is_told { state.news.clone() } else { Vec::new() };
                (news, state.mark.max(state.copied).unwrap_or(0), state.copied)
            };
            if news.is_empty() {
                return Ok(());
            }
            let txn = Txn { app_id: self.copy_app_id(), version: mark, rule: TxnRule::After(copied) };
            match table::append(&self.lake, &self.source, &self.table_id, &news, txn, info).await? {
                Committed::Conflict(_) => {
                    let since = self.state().since.unwrap_or(info.now.to_zoned(jiff::tz::TimeZone::UTC).date());
                    self.read_from(since, 1).await?;
                }
                Committed::Done(_) | Committed::Duplicate(_) => {
                    let mut state = self.state();
                    state.copied = Some(mark);
                    state.news.retain(|(of, _)| *of > mark);
                    state.of_former.clear();
                    return Ok(());
                }
            }
        }
        tracing::warn!(source = %self.source, "ops.outcomes is busy: what this run did is copied by the next one");
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, LedgerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LedgerState {
    fn take(&mut self, mark: i64, outcome: KeyOutcome) {
        let keys = self.keys.entry(outcome.dt).or_default();
        let before = keys.remove(&outcome.key);
        let key = outcome.key.clone();
        keys.insert(key, KeyState::fold(before, mark, outcome));
    }

    /// Takes in what one commit said, once: who commits knows it already when it reads the log again.
    fn take_in(&mut self, mark: i64, outcomes: Vec<KeyOutcome>) {
        if self.mark.is_some_and(|known| mark <= known) {
            return;
        }
        self.mark = Some(mark);
        for outcome in outcomes {
            self.news.push((mark, outcome.clone()));
            self.take(mark, outcome);
        }
    }
}

fn read_note(mark: i64, note: &Value) -> Vec<KeyOutcome> {
    let outcomes = note.get("outcomes").cloned().unwrap_or_default();
    serde_json::from_value(outcomes).unwrap_or_else(|error| {
        if note.is_null() {
            tracing::debug!(mark, %error, "a commit without outcomes");
        } else {
            // A newer program's: its rows are there, and asking once more is the safe side.
            tracing::warn!(mark, %error, "the outcomes of a commit can't be read");
        }
        Vec::new()
    })
}

fn note(outcomes: &[KeyOutcome]) -> Value {
    json!({ "outcomes": outcomes })
}

/// A key that is to be asked for again.
pub(crate) fn reopened(last: KeyOutcome, why: &str, info: &CommitInfo) -> KeyOutcome {
    let why = Some(why.to_owned());
    KeyOutcome {
        outcome: Outcome::Reopened,
        rows: 0,
        set_aside: 0,
        missing: 0,
        why,
        unfit: Vec::new(),
        at: whole_milliseconds(info.now),
        ..last
    }
}

/// The first day whose outcomes matter to a run of the day `since`.
fn first_day(since: Date, every_days: i64) -> Date {
    since.saturating_sub(Span::new().days(every_days.max(LEFTOVER_DAYS)))
}

/// The name of the table that all outcomes are copied into.
fn name() -> Result<TableName, Error> {
    Ok(TableName::new(Layer::Ops, "outcomes")?)
}

#[cfg(test)]
mod tests;
