//! Taking what a finished batch brought.

use std::collections::{BTreeMap, HashSet};

use catalog::failpoint;

use super::Batches;
use super::facts::{GivenUp, Intent, Open, Over};
use crate::enrichment::Spent;
use crate::enrichment::journal::{Journal, Kept};
use crate::error::Result;
use crate::llm::openai::OpenAi;
use crate::llm::openai::batch::{self, Answered, Told};
use crate::llm::{AnswerKind, Content, Mode, Refusal, RefusalKind};
use rows::content_hash;

/// Lines of an answer file that are kept in one object.
pub(in crate::enrichment) const LINES: usize = 500;
/// Batches that a request may fail in before its text is set aside.
const FAILURES: u32 = 3;

impl Batches {
    /// Everything that a finished batch brought goes into the journal; what is known already is left out.
    pub(super) async fn take(&self, openai: &OpenAi, journal: &Journal, open: &Open, told: &Told) -> Result<Over> {
        let Intent { model, kind, keys, .. } = &open.intent;
        let asked: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let mut missing: BTreeMap<&str, Option<String>> = keys.iter().map(|key| (key.as_str(), None)).collect();
        let mut lines: Vec<Kept> = Vec::new();
        let mut spent = Spent::default();
        let mut answered = 0;
        for file in [&told.output_file_id, &told.error_file_id].into_iter().flatten() {
            let Some(mut answers) = openai.answers(model, file).await? else {
                tracing::warn!(batch = %told.id, %file, "the service has these answers no more; they are asked for again");
                continue;
            };
            while let Some(found) = answers.next().await? {
                for Answered { key, outcome } in found.into_iter().filter(|it| asked.contains(it.key.as_str())) {
                    let reply = match outcome {
                        Ok(reply) => reply,
                        Err(reason) => {
                            if let Some(known) = missing.get_mut(key.as_str()) {
                                *known = Some(reason);
                            }
                            continue;
                        }
                    };
                    missing.remove(key.as_str());
                    answered += 1;
                    if journal.knows(&key) {
                        continue;
                    }
                    let cost = openai.cost(model, reply.usage, Mode::Batch);
                    spent.add(reply.usage, cost);
                    lines.extend(Kept::new(&key, reply.content));
                    if lines.len() >= LINES {
                        keep(journal, *kind, model, std::mem::take(&mut lines), std::mem::take(&mut spent)).await?;
                    }
                }
            }
            if answers.unread > 0 {
                let (batch, lines) = (&told.id, answers.unread);
                tracing::warn!(%batch, lines, "lines of a batch can't be read; they are asked for again");
            }
        }
        if !lines.is_empty() {
            keep(journal, *kind, model, lines, spent).await?;
        }
        failpoint!("llm.lines.after");
        let missing = missing.into_iter().map(|(key, reason)| (key.to_owned(), reason)).collect();
        Ok(Over { status: told.status.clone(), answered, missing })
    }

    /// A request that the service refused, or that failed for its own reason in several batches, is not sent again in this run: its
    /// text is set aside. How often it failed is counted anew from then on.
    pub(super) async fn give_up(&mut self, openai: &OpenAi, journal: &Journal) -> Result<()> {
        let hopeless = |(key, (times, reason)): (&String, &(u32, Option<String>))| {
            let reason = reason.as_deref().filter(|it| *it != "batch_expired")?;
            let batches = if *times == 1 { "a batch".to_owned() } else { format!("{times} batches") };
            let said = format!("the service failed it in {batches}: {reason}");
            let is_over = *times >= FAILURES || batch::is_refused(reason);
            (is_over && !journal.knows(key)).then(|| (key.clone(), said))
        };
        let hopeless: Vec<(String, String)> = self.failures.iter().filter_map(hopeless).collect();
        if hopeless.is_empty() {
            return Ok(());
        }
        let refused = |said: &str| Content::Refused(Refusal::new(RefusalKind::Failed, said));
        let kept = hopeless.iter().flat_map(|(key, said)| Kept::new(key, refused(said))).collect();
        let model = openai.priced_model(AnswerKind::Summary);
        keep(journal, AnswerKind::Summary, model, kept, Spent::default()).await?;
        let keys: Vec<String> = hopeless.into_iter().map(|(key, _)| key).collect();
        let name = format!("given-up-{}", &content_hash(keys.iter().map(String::as_bytes))[..16]);
        let _ = self.put(self.last, &name, &GivenUp { keys: keys.clone() }).await?;
        for key in &keys {
            self.failures.remove(key);
        }
        Ok(())
    }
}

async fn keep(journal: &Journal, kind: AnswerKind, model: &str, lines: Vec<Kept>, spent: Spent) -> Result<()> {
    journal.keep_all(kind, model, Mode::Batch, lines, spent.usage, spent.cost).await
}
