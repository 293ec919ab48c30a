//! Publishing what is known, and saying what is missing.

use std::collections::{BTreeMap, HashMap};

use catalog::{CommitInfo, Timestamp, Txn, TxnRule};

use super::{Job, Work};
use crate::enrichment::batches::Batches;
use crate::enrichment::cache::Answer;
use crate::enrichment::published::{self, Shown};
use crate::enrichment::{Enriched, Outcome, Row, Wait, replace};
use crate::error::Result;
use crate::llm::{AnswerKind, RefusalKind};
use rows::fingerprint;

/// What the answers of the rows lack.
#[derive(Debug, Default)]
struct Lacks {
    /// Entities with an answer that was not to be had yet.
    missing: u64,
    set_aside: BTreeMap<RefusalKind, u64>,
    why: Option<String>,
    first: Option<Timestamp>,
}

impl Work<'_> {
    /// Replaces the result table by what is known, and says what is missing.
    pub(super) async fn publish(mut self, rows: &[Row], batches: &Batches) -> Result<Enriched> {
        let Job { llm, enrichment, context, .. } = *self.job;
        let lacks = self.lacks(rows);
        self.done.spent = self.journal.spent();
        self.done.wait = (lacks.missing > 0).then(|| self.waits_for(batches));
        (self.done.set_aside, self.done.set_aside_for, self.done.asked_again_at) =
            (lacks.set_aside, lacks.why, lacks.first);
        if !self.job.lease.confirm().await? {
            // Another run took over: what was answered is kept, and it is for that run to show it.
            self.done.wait = Some(Wait::AnotherRun { run: self.job.lease.holder().await? });
            return Ok(self.done);
        }
        let shown: Vec<Shown> = rows.iter().map(|row| self.published.next(row, &self.known, llm)).collect();
        let is_whole = lacks.missing == 0 && self.done.set_aside.is_empty();
        let print = if is_whole { self.job.print } else { partial_print(self.job.print, &shown, &self.known) };
        if self.job.before.txn(&self.job.app_id).await? != Some(print) {
            let batch = published::batch(&shown, &self.known, enrichment, llm)?;
            let lineage = vec![(enrichment.from.clone(), self.job.from.version())];
            let info = CommitInfo { run: context.run.clone(), now: context.now, lineage };
            let txn = Txn { app_id: self.job.app_id.clone(), version: print, rule: TxnRule::Equal };
            self.done.outcome =
                Outcome::Built(replace((self.job.into, &enrichment.table_spec()), &batch, txn, &info).await?);
        }
        if lacks.missing == 0 {
            self.journal.clear().await?;
            batches.clear().await?;
        }
        Ok(self.done)
    }

    fn lacks(&self, rows: &[Row]) -> Lacks {
        let mut lacks = Lacks::default();
        for row in rows {
            let mut is_missing = false;
            let keys = [(&row.summary_key, AnswerKind::Summary), (&row.embedding_key, AnswerKind::Embedding)];
            for (key, kind) in keys {
                let Some(key) = key.as_ref().filter(|key| self.is_lacking(key)) else { continue };
                match self.aside.get(&self.aside_key(key, kind)) {
                    // One that is due and was not answered in this run waits for what the others wait for.
                    Some(aside) if !aside.is_due(self.job.context.now) => {
                        *lacks.set_aside.entry(aside.refusal.kind).or_default() += 1;
                        lacks.why.get_or_insert_with(|| aside.refusal.reason.clone());
                        let at = aside.due_at();
                        lacks.first = Some(lacks.first.map_or(at, |first| first.min(at)));
                    }
                    Some(_) => is_missing = true,
                    None => is_missing |= !self.known.contains_key(key),
                }
            }
            lacks.missing += u64::from(is_missing);
        }
        lacks
    }

    fn waits_for(&self, batches: &Batches) -> Wait {
        let (open, answers) = batches.under_way();
        match (self.out_of_budget, self.job.openai.budget().limit()) {
            (true, Some(budget)) => Wait::Budget { budget, answered: self.answered, of: self.needed, batches: open },
            _ => Wait::Batches { batches: open, answers, answered: self.answered, of: self.needed },
        }
    }
}

/// The mark of an incomplete table: another one for each set of answers, so that no progress is no new version.
fn partial_print(print: i64, shown: &[Shown], known: &HashMap<String, Answer>) -> i64 {
    let mut parts = vec!["partial".to_owned(), print.to_string()];
    for row in shown {
        let basis = row.summary_key.as_ref().and_then(|key| known.get(key)).and_then(|answer| answer.basis);
        let used = basis.map_or_else(String::new, |it| format!("{} of {}", it.used, it.given));
        let keys = [&row.summary_key, &row.embedding_key].map(|key| key.clone().unwrap_or_default());
        parts.extend([row.entity.clone(), used]);
        parts.extend(keys);
    }
    fingerprint(parts.iter().map(String::as_bytes))
}
