//! Asking for summaries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{FutureExt, StreamExt};

use super::{Asking, Final, Work};
use crate::enrichment::cache::{Answer, AnswerRow, Basis, RowContent};
use crate::enrichment::gateway::{EntityGateway, Shared};
use crate::enrichment::{Progress, Row};
use crate::error::{Error, Result};
use crate::llm::{AnswerKind, Refusal, RefusalKind, Summarised, Verdict, Written};

impl Work<'_> {
    /// Asks for every summary that is due. One that fails for reasons of its own is set aside; one that fails for everybody's ends
    /// the asking.
    pub(super) async fn summaries(&mut self, rows: &[Row], asking: &Asking) -> Result<()> {
        let mut seen = HashSet::new();
        let missing: Vec<(&str, &Row)> = rows
            .iter()
            .filter_map(|row| Some((row.summary_key.as_deref()?, row)))
            .filter(|(key, _)| self.is_due(key, AnswerKind::Summary) && seen.insert((*key).to_owned()))
            .collect();
        let reused = |row: &&Row| row.summary_key.as_ref().is_some_and(|key| self.known.contains_key(key));
        self.done.reused += rows.iter().filter(reused).count() as u64;
        let total = missing.len() as u64;
        self.needed += total;
        let parts = self.parts(&missing).await?;
        let (openai, prompt) = (self.job.openai, &self.job.enrichment.prompt);
        let (journal, stop) = (Arc::clone(&self.journal), AtomicBool::new(false));
        let shared = Shared {
            openai,
            journal: &journal,
            lease: self.job.lease,
            stop: &stop,
            given_up: &asking.given_up,
            parts: &parts,
            covered: &asking.covered,
            noted: &asking.noted,
        };
        let mut asked = Vec::with_capacity(missing.len());
        for (key, row) in missing {
            let counter = EntityGateway::new(&shared);
            let ask = async move { (key, row, openai.summary(&row.texts, prompt, &counter).await, counter.used()) };
            asked.push(ask.boxed());
        }
        let mut answers = futures::stream::iter(asked).buffer_unordered(openai.jobs());
        let (mut failed, mut done) = (None, 0);
        while let Some((key, row, summarised, used)) = answers.next().await {
            let summarised = match summarised {
                Ok(Some(summarised)) => summarised,
                Ok(None) => continue,
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    match error {
                        Error::Budget { .. } => self.out_of_budget = true,
                        error => failed = failed.or(Some(error)),
                    }
                    continue;
                }
            };
            done += 1;
            (self.job.context.progress)(Progress { kind: AnswerKind::Summary, done, total });
            self.summarised(key, row, summarised, (&parts, used));
            if let Err(error) = self.gather_many().await {
                stop.store(true, Ordering::Relaxed);
                failed = failed.or(Some(error));
            }
        }
        drop(answers);
        failed.map_or(Ok(()), Err)
    }

    /// The parts that the lake has of the summaries that are asked for: of a text that did not change nothing is asked again.
    async fn parts(&self, missing: &[(&str, &Row)]) -> Result<HashMap<String, String>> {
        let openai = self.job.openai;
        let in_parts = missing.iter().filter(|(_, row)| !openai.fits(&row.texts));
        let entities: HashSet<String> = in_parts.map(|(_, row)| row.key.clone()).collect();
        self.cache.parts(&entities).await
    }

    /// Takes what came of a summary.
    fn summarised(
        &mut self,
        key: &str,
        row: &Row,
        summarised: Summarised,
        (had, used): (&HashMap<String, String>, Vec<String>),
    ) {
        let Summarised { verdict, given, used: rests_on, left_out, parts } = summarised;
        let entity = row.key.clone();
        self.answered += 1;
        let new_parts = parts.into_iter().filter(|(key, _)| !had.contains_key(key));
        let mut rows: Vec<AnswerRow> = new_parts
            .map(|(key, text)| AnswerRow {
                kind: AnswerKind::Part,
                key,
                entity: entity.clone(),
                said: RowContent::Answer(Answer { text: Some(text), ..Answer::default() }),
            })
            .collect();
        let refusal = match verdict {
            Verdict::Written(Written { summary, fields }) => {
                self.done.summarised += 1;
                let basis = Some(Basis { used: rests_on, given });
                let answer = Answer { text: Some(summary), fields, basis, ..Answer::default() };
                self.known.insert(key.to_owned(), answer.clone());
                let (key, said) = (key.to_owned(), RowContent::Answer(answer));
                rows.push(AnswerRow { kind: AnswerKind::Summary, key, entity: entity.clone(), said });
                left_out.filter(|_| rests_on < given).map(|why| {
                    let reason = format!("it rests on {rests_on} of {given} texts, the others were refused: {why}");
                    Refusal::new(RefusalKind::Partial, reason)
                })
            }
            Verdict::SetAside(refusal) => Some(refusal),
        };
        rows.extend(refusal.map(|refusal| self.set_aside(AnswerKind::Summary, key, &entity, refusal)));
        self.finals.push(Final { rows, used });
    }
}
