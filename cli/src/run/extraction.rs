//! The step that extracts a source: with hands of its own, or by workers that it waits for.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use catalog::run::StepStatus;
use catalog::simulation::{Instant, from_outside, sleep};
use catalog::{CommitInfo, Date};
use extract::heartbeat::{self, Health, Role};
use extract::ledger::Ledger;
use extract::outcome::{KeyOutcome, Outcome};
use extract::plan::{Filing, filing};
use extract::{Extracted, Extractor, Key, Source};
use transform::spans;

use super::{Ended, Request, Runner};
use crate::args::Fetchers;
use crate::clock;
use crate::count::{counted, thousands};
use crate::keys;
use crate::out;
use crate::progress::{Amount, Progress};
use crate::steps::{self, Step};
use crate::wire;

/// How often a run that waits looks whether somebody works, and after which silence it says that nobody does.
const LOOK_EVERY: Duration = Duration::from_secs(3);
const SILENCE: Duration = Duration::from_secs(15);

/// How often it says so.
const SAY_EVERY: Duration = Duration::from_mins(1);

/// Keys that are named of those that did not end as they should.
const NAMED: usize = 5;

impl Runner<'_> {
    pub(super) async fn extract(&self, source: &Source) -> anyhow::Result<Ended> {
        let Request { project, lake, dt, .. } = *self.request;
        let found = from_outside(Box::pin(keys::keys(&self.engine, lake, project, source))).await?;
        let without_key = found.told();
        let keys = found.keys;
        if keys.is_empty() {
            // Models read the table also when nothing is in it.
            let info = CommitInfo { run: self.id.clone(), now: clock::now(), lineage: Vec::new() };
            let unlisted = extract::worker::unlist(lake, source, dt, &info).await?;
            let mut text = "no keys: there is nothing to ask for".to_owned();
            text += &without_key.map_or_else(String::new, |told| format!("; {told}"));
            text += &no_longer_asked(&unlisted).map_or_else(String::new, |told| format!("\n    {told}"));
            return Ok(Ended::new(StepStatus::Unchanged, text));
        }
        if self.request.refetch {
            self.refetch(source, &keys).await?;
        }
        let due = from_outside(Box::pin(extract::worker::due(lake, source, dt, &keys))).await?;
        // What has lost rows, or has left the list, is told by who looks at the table, also on a day on which nothing is due.
        if let (true, Some((newest, next))) = (due.due.is_empty() && !due.lost_is_new && due.unlisted == 0, due.fresh)
            && newest < dt
        {
            let why = format!("not due: fetched on {newest}, due on {next}");
            return Ok(Ended { why: Some(why.clone()), ..Ended::new(StepStatus::Unchanged, why) });
        }
        if let (false, Some((why, hint))) =
            (due.due.is_empty(), does_not_fit(source, dt, self.request.today, self.request.select))
        {
            let why = format!("{why}\n    hint: {hint}");
            return Ok(
                Ended { why: Some(why.clone()), ..Ended::new(StepStatus::Partial, why) }.count("due", due.due.len())
            );
        }
        let extractor = self.extractor().await?;
        let extracted = match self.request.workers {
            Fetchers::Own => extract::extract(&extractor, source, dt, keys).await?,
            Fetchers::External => {
                let watch = tokio::spawn(watch(lake.clone(), Arc::clone(&self.request.progress)));
                let waited = extract::worker::extract_external(&extractor, source, dt, keys).await;
                watch.abort();
                waited?
            }
        };
        if self.cancel.is_cancelled() {
            return Err(extract::Error::Cancelled.into());
        }
        let mut ended = ended(&extracted, source);
        if let Some(told) = without_key {
            ended.text += &format!("\n    {told}");
            ended.why = Some(ended.why.map_or(told.clone(), |why| format!("{why}; {told}")));
        }
        Ok(ended)
    }

    async fn extractor(&self) -> anyhow::Result<Extractor> {
        let made = self.extractor.get_or_try_init(|| self.make_extractor()).await?;
        Ok(made.clone())
    }

    async fn make_extractor(&self) -> anyhow::Result<Extractor> {
        let Request { project, lake, jobs, workers, .. } = *self.request;
        let reporter = self.reporter.clone();
        let hands = wire::Hands {
            id: self.id.clone(),
            role: (workers == Fetchers::Own).then_some(Role::Run),
            jobs,
            cancel: self.cancel.clone(),
            progress: Arc::new(move |it: extract::Progress| {
                let amount = Amount { done: it.done_keys, total: Some(it.total_keys), records: it.records };
                reporter.tell(Step::EXTRACT, amount, "keys");
            }),
        };
        wire::extractor(project, lake, hands).await
    }

    /// Opens what has ended on the run's day, as far as it is asked for again.
    async fn refetch(&self, source: &Source, keys: &[Key]) -> anyhow::Result<()> {
        let Request { lake, dt, .. } = *self.request;
        let listed: HashSet<&str> = keys.iter().map(|key| key.value.as_str()).collect();
        let is_meant = |last: &KeyOutcome| last.dt == dt && listed.contains(last.key.as_str());
        if let Some(table) = lake.find(source.table()).await? {
            let info = CommitInfo { run: self.id.clone(), now: clock::now(), lineage: Vec::new() };
            let ledger = Ledger::open(lake, source, table, dt).await?;
            ledger.reopen(is_meant, "asked for by `run --refetch`", &info).await?;
        }
        Ok(())
    }

    /// Ends what the extraction of this run needed.
    pub(super) async fn close(&mut self) {
        if let Some(extractor) = self.extractor.take() {
            extractor.fetchers.close().await;
            if let Some(heartbeat) = &extractor.heartbeat {
                heartbeat.stop().await;
            }
        }
    }
}

/// An extraction as a step ends.
fn ended(extracted: &Extracted, source: &Source) -> Ended {
    let status = match () {
        () if extracted.is_partial() => StepStatus::Partial,
        () if extracted.tasks == 0 => StepStatus::Unchanged,
        () => StepStatus::Done,
    };
    let mut text = match extracted.fetched {
        0 if status == StepStatus::Unchanged => "all fetched already".to_owned(),
        fetched => format!("{} records", thousands(fetched)),
    };
    if extracted.set_aside > 0 {
        text += &format!(", {} set aside", thousands(extracted.set_aside));
    }
    if extracted.duplicates > 0 {
        text += &format!(", {} seen twice", thousands(extracted.duplicates));
    }
    if extracted.short_keys > 0 {
        text += &format!(", {}", short(extracted.short_keys, extracted.short_items));
    }
    let mut why = Vec::new();
    for (host, evidence) in &extracted.blocked {
        why.push(format!("blocked by `{host}`: {evidence}"));
    }
    why.extend(extracted.left_to.iter().map(|left| {
        let keys = counted(left.keys, "key");
        format!("{keys} left to run {} of {}, which has taken them on: run again when it has ended", left.run, left.dt)
    }));
    why.extend(extracted.excess.clone());
    why.extend(lost(&extracted.without_rows));
    why.extend(extracted.open.iter().take(NAMED).map(told));
    if extracted.open.len() > NAMED {
        why.push(format!("and {} more; `onggi retry` lists them", thousands((extracted.open.len() - NAMED) as u64)));
    }
    for reason in why.iter().chain(&no_longer_asked(&extracted.unlisted)).chain(&extracted.notice) {
        text += &format!("\n    {reason}");
    }
    let open = extracted.open.first().map(|first| hint(first.outcome).to_owned());
    let way_out = extracted.without_rows.keys().next().map(|day| lost_hint(*day, source));
    text += &open.or(way_out).map_or_else(String::new, |hint| format!("\n    hint: {hint}"));
    let mut ended = Ended::new(status, text)
        .count("fetched", extracted.fetched)
        .count("landed", extracted.landed)
        .count("set_aside", extracted.set_aside)
        .count("duplicates", extracted.duplicates)
        .count("short_keys", extracted.short_keys)
        .count("short_items", extracted.short_items)
        .count("requests", extracted.requests)
        .count("open_keys", extracted.open.len())
        .count("lost_keys", extracted.without_rows.values().sum::<u64>())
        .count("robots_denied", extracted.robots.iter().filter(|it| !it.allowed).count());
    ended.why = (!why.is_empty()).then(|| why.join("; "));
    ended
}

/// Keys that were unfinished and that the source no longer has, in a few words.
fn no_longer_asked(unlisted: &[KeyOutcome]) -> Option<String> {
    let keys: BTreeSet<&str> = unlisted.iter().map(|last| last.key.as_str()).collect();
    let names = keys.iter().take(NAMED).map(|key| format!("`{}`", out::one_line(key))).collect::<Vec<_>>().join(", ");
    let more = keys.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {} more", thousands(more as u64)) } else { String::new() };
    let count = counted(keys.len() as u64, "unfinished key");
    (!keys.is_empty())
        .then(|| format!("{count} no longer asked for, since the source does not have them any more: {names}{more}"))
}

/// What to do about a key that did not end as it should.
fn hint(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Cut => "raise the bound in the source file: its keys are asked for again then",
        Outcome::Unreadable => {
            "compare the source file with what the site sends; the next run asks again, as the file is by then"
        }
        _ => "the next run asks again for what is open",
    }
}

/// Keys of other days that have lost their rows, in a few words.
pub(crate) fn lost(lost: &BTreeMap<Date, u64>) -> Option<String> {
    let days: Vec<Date> = lost.keys().copied().collect();
    let keys = counted(lost.values().sum(), "key");
    (!days.is_empty())
        .then(|| format!("rows of {keys} of {} are no longer in the table; `onggi retry` lists them", spans(&days)))
}

/// What to do about rows of a day that is over.
fn lost_hint(day: Date, source: &Source) -> String {
    format!(
        "put the table's folder back from a copy of the lake that has them; or `onggi run --dt {day} --select {}` files what the source answers now under that day",
        source.name()
    )
}

/// What the site counts and did not show, in a few words.
pub(crate) fn short(keys: u64, items: u64) -> String {
    format!("{} ended {} before the site's own total", counted(keys, "key"), counted(items, "item"))
}

/// A key that did not end as it should, in one line.
pub(crate) fn told(last: &KeyOutcome) -> String {
    let why = last.why.as_ref().map_or_else(String::new, |why| format!(": {}", out::one_line(why)));
    format!("key `{}` {}{why}", out::one_line(&last.key), last.outcome)
}

/// Why what a source answers now can't be filed under a day, and the way out. Who names the source has it filed all the same.
pub(crate) fn does_not_fit(source: &Source, dt: Date, today: Date, select: &[String]) -> Option<(String, String)> {
    let name = source.name().to_string();
    let what = match filing(source.fetch_kind(), dt, today) {
        _ if steps::is_named(select, &name) => return None,
        Filing::Fits => return None,
        Filing::Past => "is over",
        Filing::Future => "has not come",
    };
    let why = format!("not fetched: {dt} {what}, and the source answers with the present");
    Some((why, format!("`--select {name}` files what it answers now under {dt}")))
}

/// Says so when nobody works on what is waited for, and what somebody leaves alone.
async fn watch(lake: catalog::Lake, progress: Arc<Progress>) {
    let mut heard = Instant::now();
    let mut said: Option<Instant> = None;
    let mut told = Vec::new();
    loop {
        sleep(LOOK_EVERY).await;
        // Who can't look says nothing; the run itself will say why.
        let Ok(workers) = heartbeat::workers(&lake, clock::now()).await else { continue };
        let living: Vec<_> = workers.iter().filter(|worker| worker.health == Health::Lives).collect();
        for note in living.iter().flat_map(|worker| &worker.record.notes) {
            if !told.contains(note) {
                progress.line(&format!("  a worker says: {note}"));
                told.push(note.clone());
            }
        }
        if !living.is_empty() {
            (heard, said) = (Instant::now(), None);
        } else if heard.elapsed() >= SILENCE && said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            let seconds = heard.elapsed().as_secs();
            progress.line(&format!(
                "  no worker has shown a sign of life for {seconds}s; start one with `onggi worker`. Ctrl-C leaves the tasks in the queue"
            ));
            said = Some(Instant::now());
        }
    }
}
