//! Publishing what is known, and saying what is missing.

use std::collections::HashMap;

use catalog::{CommitInfo, Snapshot, Txn, TxnRule};
use futures::StreamExt;

use super::{Job, Work};
use crate::enrich::batches::Batches;
use crate::enrich::cache::Answer;
use crate::enrich::{Enriched, Outcome, Row, Wait, replace, result};
use crate::error::{Error, Result};
use crate::llm::Llm;
use crate::read;
use crate::value::{Value, fingerprint};

impl Work<'_> {
    /// Replaces the result table by what is known, and says what is missing.
    pub(super) async fn publish(mut self, mut rows: Vec<Row>, batches: &Batches) -> Result<Enriched> {
        let Job { llm, openai, enrichment, context, .. } = *self.job;
        let unanswered = |row: &Row, known: &HashMap<String, Answer>| {
            let summary = row.summary_key.as_ref().is_some_and(|key| !known.contains_key(key));
            (summary, row.embedding_key.as_ref().is_some_and(|key| !known.contains_key(key)))
        };
        let missing = rows.iter().filter(|row| unanswered(row, &self.known) != (false, false)).count() as u64;
        self.done.spent = self.journal.spent();
        let open = batches.under_way();
        if missing > 0 {
            self.done.wait = Some(match (self.out_of_budget, openai.till().budget()) {
                (true, Some(budget)) => {
                    Wait::Budget { budget, answered: self.answered, of: self.wanted, batches: open.0 }
                }
                _ => Wait::Batches { batches: open.0, answers: open.1, answered: self.answered, of: self.wanted },
            });
            let last = last(self.job.held, &enrichment.key, &models(llm)).await?;
            for row in &mut rows {
                if unanswered(row, &self.known).0 {
                    (row.summary_key, row.embedding_key) = last.get(&row.key).cloned().unwrap_or_default();
                }
            }
        }
        let print = if missing == 0 { self.job.print } else { partial_print(self.job.print, &rows, &self.known) };
        let batch = result(&rows, &self.known, &enrichment.key, llm)?;
        let lineage = vec![(enrichment.from.clone(), self.job.from.version())];
        let info = CommitInfo { run: context.run.clone(), now: context.now, lineage };
        let txn = Txn { app_id: self.job.app_id.clone(), version: print, rule: TxnRule::Equal };
        self.done.outcome = Outcome::Built(replace(self.job.into, &batch, txn, &info).await?);
        if missing == 0 {
            self.journal.clear().await?;
            batches.clear().await?;
        }
        Ok(self.done)
    }
}

fn models(llm: &dyn Llm) -> String {
    format!("{} {}", llm.summariser().id(), llm.embedder().id())
}

/// The mark of an incomplete table: another one for each set of answers, so that no progress is no new version.
fn partial_print(print: i64, rows: &[Row], known: &HashMap<String, Answer>) -> i64 {
    let mut parts = vec!["partial".to_owned(), print.to_string()];
    for row in rows {
        parts.push(row.key.clone());
        let keys = [&row.summary_key, &row.embedding_key];
        parts.extend(keys.into_iter().flatten().filter(|key| known.contains_key(*key)).cloned());
    }
    fingerprint(parts.iter().map(String::as_bytes))
}

/// The keys that each entity had last time, where the same models gave its answers: others' vectors are no neighbours.
async fn last(held: &Snapshot, key: &str, models: &str) -> Result<HashMap<String, (Option<String>, Option<String>)>> {
    let table = held.table();
    let mut last = HashMap::new();
    let mut stream = held.scan(Some(&[key, "summary_key", "embedding_key", "model"])).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| Error::arrow(table, error))?;
        for row in 0..batch.num_rows() {
            let text = |name: &str| -> Result<Option<String>> {
                Ok(match read::value(&batch, name, row, table)? {
                    Value::Text(text) => Some(text),
                    _ => None,
                })
            };
            if text("model")?.as_deref() == Some(models)
                && let Some(entity) = text(key)?
            {
                last.insert(entity, (text("summary_key")?, text("embedding_key")?));
            }
        }
    }
    Ok(last)
}
