//! Batches of one enrichment: what was sent, by whom, and how far each is; all of it in the lake, so that any machine can go on.
//!
//! Each batch is a folder of facts, each written once, create-only, and each before or after the step that it is about:
//!
//! ```text
//! intent   these requests are to be sent as one batch        (before anything is sent)
//! file     the service has them as this file
//! claim-1  this run starts the batch now                     (before the one step that costs)
//! batch    it is this batch at the service
//! over     all that it brought is in the journal
//! given-up requests that failed too often are set aside
//! ```
//!
//! A crash between `claim` and `batch` is the only unclear place. The batch carries the intent's name as metadata, so the service's own
//! list tells whether it was started. Where it was not, and the run that claimed it is over, the next claim starts it.

mod facts;
pub(super) mod take;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use catalog::{Lake, PutNew, RunId, TableName, Timestamp, failpoint, path};
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde::Serialize;
use serde::de::DeserializeOwned;

use facts::{BatchFact, BatchState, Claim, FileFact, GivenUp, Intent, Open, Over};

use super::Context;
use super::journal::Journal;
use super::lease::is_left;
use crate::error::{Error, Result};
use crate::llm::openai::OpenAi;
use crate::llm::openai::batch::{Listed, Told, line};
use crate::llm::{Call, Endpoint, Mode};
use rows::content_hash;

/// How long another machine's claim is believed when nobody can tell whether its run goes on.
const PATIENCE_SECONDS: i64 = 900;
/// How long a batch is waited for. The service promises a day; after this it is ended, and what it brought by then is taken.
const OVERDUE: SignedDuration = SignedDuration::from_hours(48);

/// The batches of one enrichment.
pub(super) struct Batches {
    lake: Lake,
    into: TableName,
    run: RunId,
    now: Timestamp,
    open: Vec<Open>,
    last: u64,
    /// How often a request has failed so far, and why the last time.
    failures: HashMap<String, (u32, Option<String>)>,
}

impl Batches {
    /// Reads how far each is.
    pub(super) async fn open(lake: &Lake, into: &TableName, context: &Context<'_>) -> Result<Self> {
        let mut batches = Self {
            lake: lake.clone(),
            into: into.clone(),
            run: context.run.clone(),
            now: context.now,
            open: Vec::new(),
            last: 0,
            failures: HashMap::new(),
        };
        batches.reload().await?;
        Ok(batches)
    }

    async fn reload(&mut self) -> Result<()> {
        let mut facts: BTreeMap<u64, HashSet<String>> = BTreeMap::new();
        for at in self.lake.objects().list(&path::batches(&self.into)).await? {
            let number = at.as_str().rsplit('/').nth(1).and_then(|it| it.parse().ok());
            if let Some(number) = number {
                facts.entry(number).or_default().insert(at.stem().to_owned());
            }
        }
        self.last = facts.keys().next_back().copied().unwrap_or(0);
        (self.open, self.failures) = (Vec::new(), HashMap::new());
        let read = futures::stream::iter(facts).map(|(n, facts)| self.read(n, facts)).buffered(8);
        let read: Vec<(BatchState, Vec<GivenUp>)> = read.try_collect().await?;
        for (standing, given_up) in read {
            match standing {
                BatchState::Open(open) => self.open.push(open),
                BatchState::Over(over) => self.failed(over),
                BatchState::Nothing => {}
            }
            for key in given_up.into_iter().flat_map(|it| it.keys) {
                self.failures.remove(&key);
            }
        }
        Ok(())
    }

    /// Counts what a batch did not bring.
    fn failed(&mut self, over: Over) {
        for (key, reason) in over.missing {
            let failed = self.failures.entry(key).or_insert((0, None));
            *failed = (failed.0 + 1, reason.or(failed.1.take()));
        }
    }

    async fn read(&self, n: u64, facts: HashSet<String>) -> Result<(BatchState, Vec<GivenUp>)> {
        let mut given_up = Vec::new();
        for name in facts.iter().filter(|fact| fact.starts_with("given-up-")) {
            given_up.extend(self.fact::<GivenUp>(n, name).await?);
        }
        if facts.contains("over") {
            let over = self.fact(n, "over").await?;
            return Ok((over.map_or(BatchState::Nothing, BatchState::Over), given_up));
        }
        let Some(intent) = self.fact::<Intent>(n, "intent").await? else { return Ok((BatchState::Nothing, given_up)) };
        let claims = facts.iter().filter_map(|fact| fact.strip_prefix("claim-")?.parse().ok()).max().unwrap_or(0);
        let file = self.fact::<FileFact>(n, "file").await?.map(|it| it.file);
        let batch = self.fact::<BatchFact>(n, "batch").await?.map(|it| it.batch);
        Ok((BatchState::Open(Open { n, intent, file, claims, batch }), given_up))
    }

    async fn fact<T: DeserializeOwned>(&self, n: u64, name: &str) -> Result<Option<T>> {
        let at = path::batch(&self.into, n, name);
        let Some(bytes) = self.lake.objects().get(&at).await? else { return Ok(None) };
        let fact = serde_json::from_slice(&bytes);
        fact.map(Some).map_err(|source| Error::Journal { object: at.to_string(), source: source.into() })
    }

    /// Writes a fact, once; the first writer's stands.
    async fn put<T: Serialize + Sync>(&self, n: u64, name: &str, fact: &T) -> Result<PutNew> {
        let at = path::batch(&self.into, n, name);
        let bytes = serde_json::to_vec(fact)
            .map_err(|source| Error::Journal { object: at.to_string(), source: source.into() })?;
        Ok(self.lake.objects().put_new(&at, Bytes::from(bytes)).await?)
    }

    /// The requests whose answers come later: those that the service has.
    pub(super) fn covered(&self) -> HashSet<String> {
        let sent = self.open.iter().filter(|it| it.batch.is_some() || it.claims > 0);
        sent.flat_map(|it| it.intent.keys.iter().cloned()).collect()
    }

    /// How many batches are under way, and for how many answers.
    pub(super) fn under_way(&self) -> (u64, u64) {
        let sent = self.open.iter().filter(|it| it.batch.is_some() || it.claims > 0);
        sent.fold((0, 0), |(count, keys), it| (count + 1, keys + it.intent.keys.len() as u64))
    }

    /// What the batches under way cost at most: it is spent already, although no answer says so yet.
    pub(super) fn promised(&self) -> f64 {
        let sent = self.open.iter().filter(|it| it.batch.is_some() || it.claims > 0);
        sent.map(|it| it.intent.most).sum()
    }

    /// Looks at every batch under way and takes what is finished, in any order. Answers with what the service refused as a whole.
    pub(super) async fn collect(&mut self, openai: &OpenAi, journal: &Journal) -> Result<Option<Error>> {
        let mut complaint = None;
        for mut open in std::mem::take(&mut self.open) {
            if open.batch.is_none() && open.claims > 0 {
                self.find(openai, &mut open).await?;
            }
            let Some(id) = open.batch.clone() else {
                self.open.push(open);
                continue;
            };
            let Some(told) = self.told(openai, &open, &id).await? else {
                self.open.push(open);
                continue;
            };
            let over = self.take(openai, journal, &open, &told).await?;
            if told.status == "failed" {
                let said = told.complaint().unwrap_or_else(|| "no reason given".to_owned());
                let message = format!("the service refused batch `{id}` as a whole: {said}");
                complaint = Some(Error::Model { model: open.intent.model.clone(), message, retryable: true });
            }
            let _ = self.put(open.n, "over", &over).await?;
            self.failed(over);
            failpoint!("llm.over.after");
        }
        self.give_up(openai, journal).await?;
        Ok(complaint)
    }

    /// A batch that nothing more will come of; `None` while it is under way.
    async fn told(&self, openai: &OpenAi, open: &Open, id: &str) -> Result<Option<Told>> {
        let model = &open.intent.model;
        let mut told = openai.batch(model, id).await?;
        let age = self.now.duration_since(open.intent.at);
        if told.as_ref().is_some_and(|it| !it.is_over()) && age > OVERDUE {
            tracing::warn!(batch = %id, "a batch is overdue and is ended; what it did not bring is asked for again");
            if told.as_ref().is_some_and(|it| it.status != "cancelling") {
                told = openai.cancel_batch(model, id).await.inspect_err(|error| tracing::warn!(%error)).unwrap_or(told);
            }
            told = told.filter(|it| it.is_over() || age <= 2 * OVERDUE);
        }
        // What the service has forgotten brings nothing.
        let told = told.unwrap_or_else(|| Told::forgotten(id));
        Ok(told.is_over().then_some(told))
    }

    /// Sends what was noted, in as few batches as the bounds allow. Answers whether the budget left something out.
    pub(super) async fn submit(&mut self, openai: &OpenAi, noted: Vec<Call>) -> Result<bool> {
        let mut calls: HashMap<String, Call> = noted.into_iter().map(|call| (call.key.clone(), call)).collect();
        let mut short = self.resume(openai, &mut calls).await?;
        let mut groups: BTreeMap<(Endpoint, String), Vec<Call>> = BTreeMap::new();
        for call in calls.into_values() {
            groups.entry((call.endpoint, call.model.clone())).or_default().push(call);
        }
        for calls in groups.into_values() {
            let mut calls = calls;
            // The same requests in the same order whoever sends them.
            calls.sort_by(|a, b| a.key.cmp(&b.key));
            while !calls.is_empty() {
                let (lines, count, enough) = fill(openai, &calls)?;
                short |= !enough;
                if count == 0 {
                    break;
                }
                let rest = calls.split_off(count);
                self.start(openai, &calls, lines).await?;
                calls = rest;
                if short {
                    break;
                }
            }
        }
        Ok(short)
    }

    /// Intents that never became a batch: theirs are the first requests that are sent now.
    async fn resume(&mut self, openai: &OpenAi, calls: &mut HashMap<String, Call>) -> Result<bool> {
        let mut short = false;
        for mut open in std::mem::take(&mut self.open) {
            if open.batch.is_some() || open.claims > 0 {
                // A batch under way, or a claim that may become one.
                self.open.push(open);
                continue;
            }
            let bodies: Option<Vec<Call>> = open.intent.keys.iter().map(|key| calls.get(key).cloned()).collect();
            let Some(bodies) = bodies else {
                // Its texts have changed since. Unless somebody is at it, it is over before it began.
                if self.is_left(&open.intent.run, open.intent.at).await? {
                    let over = Over { status: "abandoned".to_owned(), answered: 0, missing: Vec::new() };
                    let _ = self.put(open.n, "over", &over).await?;
                } else {
                    open.intent.keys.iter().for_each(|key| drop(calls.remove(key)));
                }
                continue;
            };
            for call in &bodies {
                calls.remove(&call.key);
            }
            if !openai.budget().take(bodies.iter().map(|call| openai.cost_at_most(call, Mode::Batch)).sum()) {
                short = true;
                self.open.push(open);
                continue;
            }
            if open.file.is_none() {
                let lines = bodies.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n") + "\n";
                self.upload(openai, &mut open, lines).await?;
            }
            self.create(openai, &mut open).await?;
            self.open.push(open);
        }
        Ok(short)
    }

    /// A new batch, from its intent to its name at the service.
    async fn start(&mut self, openai: &OpenAi, calls: &[Call], lines: String) -> Result<()> {
        let Some(first) = calls.first() else { return Ok(()) };
        let keys: Vec<String> = calls.iter().map(|call| call.key.clone()).collect();
        let n = self.last + 1;
        let number = n.to_string();
        let parts = keys.iter().map(String::as_str).chain([number.as_str(), self.run.as_str()]);
        let intent = Intent {
            id: content_hash(parts.map(str::as_bytes))[..32].to_owned(),
            kind: first.kind,
            model: first.model.clone(),
            endpoint: first.endpoint,
            keys,
            run: self.run.clone(),
            at: self.now,
            most: calls.iter().map(|call| openai.cost_at_most(call, Mode::Batch)).sum(),
        };
        self.last = n;
        if self.put(n, "intent", &intent).await? == PutNew::Existed {
            // Another machine is sending at this moment: what it takes, it takes; the rest waits for the next run.
            return Ok(());
        }
        failpoint!("llm.intent.after");
        let mut open = Open { n, intent, file: None, claims: 0, batch: None };
        self.upload(openai, &mut open, lines).await?;
        self.create(openai, &mut open).await?;
        self.open.push(open);
        Ok(())
    }

    async fn upload(&self, openai: &OpenAi, open: &mut Open, lines: String) -> Result<()> {
        let name = format!("{}-{:05}.jsonl", self.into, open.n);
        let file = openai.upload(&open.intent.model, &name, lines).await?;
        failpoint!("llm.upload.after");
        let fact = FileFact { file };
        open.file = match self.put(open.n, "file", &fact).await? {
            PutNew::Created => Some(fact.file),
            PutNew::Existed => self.fact::<FileFact>(open.n, "file").await?.map(|it| it.file),
        };
        Ok(())
    }

    /// Starts the batch, if nobody else claims to.
    async fn create(&self, openai: &OpenAi, open: &mut Open) -> Result<()> {
        let Some(file) = open.file.clone() else { return Ok(()) };
        let claim = Claim { run: self.run.clone(), at: self.now };
        open.claims += 1;
        if self.put(open.n, &format!("claim-{}", open.claims), &claim).await? == PutNew::Existed {
            return Ok(());
        }
        failpoint!("llm.claim.after");
        let Intent { id, model, endpoint, .. } = &open.intent;
        let created = openai.create_batch(model, *endpoint, &file, id).await?;
        failpoint!("llm.create.after");
        let Some(batch) = created else {
            // The reply was lost: the service's own list knows.
            return self.find(openai, open).await;
        };
        self.named(open, batch).await
    }

    async fn named(&self, open: &mut Open, batch: String) -> Result<()> {
        let fact = BatchFact { batch };
        open.batch = match self.put(open.n, "batch", &fact).await? {
            PutNew::Created => Some(fact.batch),
            PutNew::Existed => self.fact::<BatchFact>(open.n, "batch").await?.map(|it| it.batch),
        };
        failpoint!("llm.batch.after");
        Ok(())
    }

    /// A batch was claimed and nobody wrote its name down. The service knows whether it was started; if it was not, and the claim's
    /// run is over, it is started now.
    async fn find(&self, openai: &OpenAi, open: &mut Open) -> Result<()> {
        let Some(claim) = self.fact::<Claim>(open.n, &format!("claim-{}", open.claims)).await? else { return Ok(()) };
        // The first claim is the oldest: the batch may be its.
        let first = self.fact::<Claim>(open.n, "claim-1").await?.map_or(claim.at, |it| it.at.min(claim.at));
        match openai.batch_of(&open.intent.model, &open.intent.id, first).await? {
            Listed::Found(told) => return self.named(open, told.id).await,
            // It may have been started: to start it again may pay for it again.
            Listed::Unknown => return Ok(()),
            Listed::Absent => {}
        }
        if claim.run == self.run && claim.at == self.now {
            // Our own, just now: the list may lag behind. The next run looks again.
            return Ok(());
        }
        if self.is_left(&claim.run, claim.at).await? {
            if openai.mode() == Mode::Batch {
                return Box::pin(self.create(openai, open)).await;
            }
            // Nobody wants batches any more, and this one never was.
            let over = Over { status: "abandoned".to_owned(), answered: 0, missing: Vec::new() };
            let _ = self.put(open.n, "over", &over).await?;
            open.claims = 0;
        }
        Ok(())
    }

    async fn is_left(&self, run: &RunId, at: Timestamp) -> Result<bool> {
        is_left(&self.lake, run, at, (&self.run, self.now), PATIENCE_SECONDS).await
    }

    /// Everything is answered: the facts of finished batches go.
    pub(super) async fn clear(&self) -> Result<()> {
        if self.under_way().0 == 0 {
            Ok(self.lake.objects().delete_prefix(&path::batches(&self.into)).await?)
        } else {
            Ok(())
        }
    }
}

/// The lines of the next batch, how many requests they are, and whether the budget allowed all that the bounds do.
fn fill(openai: &OpenAi, calls: &[Call]) -> Result<(String, usize, bool)> {
    let limits = openai.batch_limits();
    let (mut lines, mut count) = (String::new(), 0);
    for call in calls.iter().take(limits.requests) {
        let line = line(call)?;
        if count > 0 && lines.len() + line.len() + 1 > limits.bytes {
            break;
        }
        if !openai.budget().take(openai.cost_at_most(call, Mode::Batch)) {
            return Ok((lines, count, false));
        }
        lines += &line;
        lines.push('\n');
        count += 1;
    }
    Ok((lines, count, true))
}
