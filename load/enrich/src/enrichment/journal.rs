//! What was paid for, from the moment that the reply is here.
//!
//! Every reply becomes a small object in the lake at once, before anybody looks at it. When the answers that it belongs to are
//! complete they are gathered into `ops.llm_results`, many in one commit, and the objects go. So a kill costs at most the replies
//! that were under way, and a summary of many parts keeps the parts that it has.
//!
//! Texts are held in memory, for they may be asked for by more than one answer. Vectors are not: a hundred thousand of them would be a
//! gigabyte. Only their keys are held, and who wants them reads their objects back, one by one.
//!
//! Each object has a number in its run. What is added to `ops.costs` says up to which number it counts; that number is below
//! every reply that is still being written, so none is counted twice or passed over.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use catalog::{CommitInfo, Date, Lake, ObjectPath, RunId, TableName, failpoint, path};
use futures::{StreamExt, TryStreamExt};

pub(super) use entry::Kept;
use entry::{Entry, read};

use super::{AnswerKind, Context, Spent};
use crate::costs::{CostRow, Costs, Days};
use crate::error::{Error, Result};
use crate::llm::{Call, Content, Mode, Usage};

/// Objects that are read at the same time.
const READERS: usize = 16;

/// An entry's place and what of it nobody has used yet.
#[derive(Debug)]
struct Stored {
    at: ObjectPath,
    run: RunId,
    dt: Date,
    seq: u64,
    row: CostRow,
    counted: bool,
    left: HashSet<String>,
}

#[derive(Debug, Default)]
struct JournalState {
    /// What was written, and why something was not.
    texts: HashMap<String, Content>,
    /// The keys of vectors, which are in their objects.
    vectors: HashSet<String>,
    entries: Vec<Stored>,
    /// Numbers given to replies that are being written.
    writing: BTreeSet<u64>,
    last: u64,
    /// Calls whose reply never came: paid, perhaps, and nothing to show.
    lost: Vec<CostRow>,
    spent: Spent,
}

/// The journal of one table's enrichment.
pub(super) struct Journal {
    lake: Lake,
    into: TableName,
    run: RunId,
    dt: Date,
    state: Mutex<JournalState>,
}

impl Journal {
    /// Reads what earlier runs left.
    pub(super) async fn open(lake: &Lake, into: &TableName, run: &RunId, dt: Date) -> Result<Self> {
        let paths = lake.objects().list(&path::llm_replies(into)).await?;
        let mut found = futures::stream::iter(paths).map(|at| read(lake, at)).buffered(READERS);
        let mut state = JournalState::default();
        while let Some(object) = found.try_next().await? {
            let Some((at, entry)) = object else { continue };
            if entry.run == *run {
                state.last = state.last.max(entry.seq);
            }
            state.take(at, entry);
        }
        Ok(Self { lake: lake.clone(), into: into.clone(), run: run.clone(), dt, state: Mutex::new(state) })
    }

    /// Numbers of this run begin after those that `ops.costs` counts already: the same run may come here twice.
    pub(super) async fn begin(&self, costs: &Costs) -> Result<()> {
        let counted = costs.counted(&self.run, &self.step()).await?;
        let mut state = self.lock();
        state.last = state.last.max(counted);
        Ok(())
    }

    /// What a call's answer says, unless it is a vector.
    pub(super) fn find(&self, key: &str) -> Option<Content> {
        self.lock().texts.get(key).cloned()
    }

    /// Whether an answer is here, of whatever kind.
    pub(super) fn knows(&self, key: &str) -> bool {
        let state = self.lock();
        state.texts.contains_key(key) || state.vectors.contains(key)
    }

    /// The objects with vectors that are wanted and that nobody has used yet.
    pub(super) fn holding(&self, wanted: impl Fn(&str) -> bool) -> Vec<ObjectPath> {
        let state = self.lock();
        let holds = |it: &&Stored| it.left.iter().any(|key| wanted(key) && state.vectors.contains(key));
        state.entries.iter().filter(holds).map(|it| it.at.clone()).collect()
    }

    /// The vectors of an object by their keys; none if the object is gone.
    pub(super) async fn vectors(&self, at: ObjectPath) -> Result<Vec<(String, Vec<f32>)>> {
        let Some((_, entry)) = read(&self.lake, at).await? else { return Ok(Vec::new()) };
        let vectors = entry.answers.into_iter().filter_map(|kept| match kept.content() {
            Content::Vectors(mut vectors) => Some((kept.key, vectors.pop()?)),
            _ => None,
        });
        Ok(vectors.collect())
    }

    /// What the run spent so far, as the replies say.
    pub(super) fn spent(&self) -> Spent {
        self.lock().spent
    }

    /// Keeps a reply, durably when it returns.
    pub(super) async fn keep(
        &self,
        call: &Call,
        mode: Mode,
        content: Content,
        usage: Usage,
        cost: Option<f64>,
    ) -> Result<()> {
        let answers = match content {
            Content::Vectors(vectors) => call
                .parts
                .iter()
                .zip(vectors)
                .flat_map(|(key, vector)| Kept::new(key, Content::Vectors(vec![vector])))
                .collect(),
            other => Kept::new(&call.key, other),
        };
        self.keep_all(call.kind, &call.model, mode, answers, usage, cost).await
    }

    /// Keeps many replies of one batch in one object. What is known already is not kept, and not counted, again.
    pub(super) async fn keep_all(
        &self,
        kind: AnswerKind,
        model: &str,
        mode: Mode,
        answers: Vec<Kept>,
        usage: Usage,
        cost: Option<f64>,
    ) -> Result<()> {
        let seq = {
            let mut state = self.lock();
            state.last += 1;
            let seq = state.last;
            state.writing.insert(seq);
            seq
        };
        let at = path::llm_reply(&self.into, &self.run, seq);
        let entry = Entry {
            run: self.run.clone(),
            dt: self.dt,
            seq,
            mode,
            kind,
            model: model.to_owned(),
            usage,
            cost,
            answers,
        };
        let bytes = serde_json::to_vec(&entry)
            .map_err(|source| Error::Journal { object: at.to_string(), source: source.into() });
        let put = match bytes {
            Ok(bytes) => self.lake.objects().put_new(&at, bytes.into()).await.map_err(Error::from),
            Err(error) => Err(error),
        };
        let mut state = self.lock();
        state.writing.remove(&seq);
        let _ = put?;
        state.spent.add(usage, cost);
        state.take(at, entry);
        Ok(())
    }

    /// A reply never came, and may have been paid.
    pub(super) fn lose(&self, call: &Call, mode: Mode, cost: Option<f64>) {
        let mut state = self.lock();
        let usage = call.estimate;
        state.spent.add(usage, cost);
        state.lost.push(CostRow { model: call.model.clone(), kind: call.kind, mode, usage, cost });
    }

    /// Adds to `ops.costs` what is not counted there yet: of this run, and of runs that died before they could.
    pub(super) async fn count(&self, costs: &Costs, context: &Context<'_>) -> Result<()> {
        let step = self.step();
        let (due, lost, safe) = {
            let mut state = self.lock();
            let lost = std::mem::take(&mut state.lost);
            if !lost.is_empty() {
                // What was lost has no object; it takes a number of its own.
                state.last += 1;
            }
            let safe = state.writing.first().map_or(state.last, |first| first - 1);
            let mut due: BTreeMap<String, Due> = BTreeMap::new();
            for stored in state.entries.iter().filter(|it| !it.counted && (it.run != self.run || it.seq <= safe)) {
                let due = due.entry(stored.run.to_string()).or_insert_with(|| Due {
                    run: stored.run.clone(),
                    dt: stored.dt,
                    rows: Vec::new(),
                    last: 0,
                });
                due.last = due.last.max(stored.seq);
                due.rows.push((stored.seq, stored.row.clone()));
            }
            (due, lost, safe)
        };
        let mut lost = Some(lost);
        let mut all: Vec<Due> = due.into_values().collect();
        if !all.iter().any(|it| it.run == self.run) && lost.as_ref().is_some_and(|it| !it.is_empty()) {
            all.push(Due { run: self.run.clone(), dt: self.dt, rows: Vec::new(), last: safe });
        }
        let info = CommitInfo { run: context.run.clone(), now: context.now, lineage: Vec::new() };
        for due in all {
            let counted = costs.counted(&due.run, &step).await?;
            let mut rows: Vec<CostRow> =
                due.rows.iter().filter(|(seq, _)| *seq > counted).map(|(_, row)| row.clone()).collect();
            let mut last = due.last;
            if due.run == self.run {
                let lost = lost.take().unwrap_or_default();
                if safe > counted {
                    rows.extend(lost);
                } else {
                    // Their number is behind a reply that is still being written: the next time.
                    self.lock().lost.extend(lost);
                }
                last = safe;
            }
            if !rows.is_empty() {
                failpoint!("llm.costs.before");
                let days = Days { dt: due.dt, spent_on: context.today };
                costs.add(&due.run, &step, days, last, &summed(rows), &info).await?;
                failpoint!("llm.costs.after");
            }
            for stored in &mut self.lock().entries {
                if stored.run == due.run && stored.seq <= last {
                    stored.counted = true;
                }
            }
        }
        Ok(())
    }

    /// The answers that needed these replies are in `ops.llm_results`: objects of which nothing is left are deleted.
    pub(super) async fn used(&self, keys: &[String]) -> Result<()> {
        let free = {
            let mut state = self.lock();
            for stored in &mut state.entries {
                for key in keys {
                    stored.left.remove(key);
                }
            }
            let mut free = Vec::new();
            state.entries.retain(|stored| {
                let done = stored.counted && stored.left.is_empty();
                if done {
                    free.push(stored.at.clone());
                }
                !done
            });
            free
        };
        self.delete(free).await
    }

    /// Nothing is missing any more: what is left belongs to texts that have changed since.
    pub(super) async fn clear(&self) -> Result<()> {
        let all = self.lock().entries.drain(..).map(|stored| stored.at).collect();
        self.delete(all).await
    }

    async fn delete(&self, paths: Vec<ObjectPath>) -> Result<()> {
        let objects = self.lake.objects();
        futures::stream::iter(paths)
            .map(|at| async move { objects.delete(&at).await })
            .buffer_unordered(READERS)
            .try_collect::<()>()
            .await?;
        Ok(())
    }

    fn step(&self) -> String {
        format!("enrich:{}", self.into)
    }

    fn lock(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be added for one run.
struct Due {
    run: RunId,
    dt: Date,
    rows: Vec<(u64, CostRow)>,
    last: u64,
}

impl JournalState {
    fn take(&mut self, at: ObjectPath, entry: Entry) {
        let Entry { run, dt, seq, mode, kind, model, usage, cost, answers } = entry;
        let left = answers.iter().map(|kept| kept.key.clone()).collect();
        for kept in answers {
            if kept.is_vector() {
                self.vectors.insert(kept.key);
            } else {
                self.texts.entry(kept.key.clone()).or_insert_with(|| kept.content());
            }
        }
        let row = CostRow { model, kind, mode, usage, cost };
        self.entries.push(Stored { at, run, dt, seq, row, counted: false, left });
    }
}

/// One row for each model, kind and mode.
fn summed(rows: Vec<CostRow>) -> Vec<CostRow> {
    let mut sums: Vec<CostRow> = Vec::new();
    for row in rows {
        match sums.iter_mut().find(|it| (&it.model, it.kind, it.mode) == (&row.model, row.kind, row.mode)) {
            Some(sum) => {
                sum.usage += row.usage;
                sum.cost = match (sum.cost, row.cost) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                };
            }
            None => sums.push(row),
        }
    }
    sums
}
