//! The service that summarises for the project of a history, what it was paid, and the laws about both.
//!
//! It is asked over HTTP by the program as any service is, and answers the same words for the same texts. It counts what it did by
//! content, so the law is held against its bill and not against the program's books.

use std::collections::BTreeMap;

use catalog::Date;
use llm_replica::{Fault, LlmReplica, LlmReplicaOptions, Stats, Switches};
use serde_json::Value;

use super::how::Ran;
use super::laws::{Broken, Law};
use super::tables::{Row, Tables, text};
use super::world::World;

/// What is summarised, and where the summaries are.
pub(super) const SPOKEN: [&str; 2] = ["marts.words", "marts.said"];
/// What a token costs, read or written: a day's words cost a few units.
pub(super) const TOKEN: f64 = 0.001;

/// What is wrong with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing.
    None,
    /// Nobody listens.
    Down,
    /// 429 for so many requests.
    Busy(u64),
    /// 5xx for so many requests, before anything was done.
    Fails(u64),
    /// A front gives up waiting for so many answers, which are paid.
    TimesOut(u64),
    /// So many answers are paid and never arrive.
    Loses(u64),
    /// So many answers break off.
    Breaks(u64),
    /// So many answers are none that can be shown.
    Odd(u64),
}

impl Trouble {
    fn switches(self) -> Switches {
        let mut switches = Switches::default();
        match self {
            Self::None | Self::Down => {}
            Self::Busy(times) => switches.too_many = Fault::next(times),
            Self::Fails(times) => switches.server_error = Fault::next(times),
            Self::TimesOut(times) => switches.gateway_timeout = Fault::next(times),
            Self::Loses(times) => switches.lost_reply = Fault::next(times),
            Self::Breaks(times) => switches.broken_json = Fault::next(times),
            Self::Odd(times) => switches.wrong_schema = Fault::next(times),
        }
        switches
    }
}

/// What was spent on a day.
#[derive(Debug, Clone, Copy)]
struct Day {
    date: Date,
    spent: f64,
    /// The most that it could be on that day; none if it had no bound at some time of it.
    budget: Option<f64>,
    /// Whether somebody died in the midst of it, so that nobody can know what was under way.
    unsure: bool,
}

/// The service.
pub(super) struct Service {
    replica: LlmReplica,
    /// Where nobody listens.
    shut: String,
    pub trouble: Trouble,
    /// Answers may be set aside, for a pause.
    pub is_aside: bool,
    /// What had been paid and lost when the lake last lost what it knew of it.
    forgotten: Stats,
    /// Calls that may be paid again, beyond those whose answers were lost: for who died meanwhile, or got what can't be shown.
    again: (u64, u64),
    before: Stats,
    day: Option<Day>,
    /// Which summary was shown of which texts, told how.
    said: BTreeMap<String, String>,
}

impl Service {
    /// One that was never asked. Nobody listens at `shut`.
    pub(super) fn new(shut: &str) -> Self {
        let options = LlmReplicaOptions { dimensions: 8, ..LlmReplicaOptions::default() };
        Self {
            replica: LlmReplica::bind(&options).unwrap(),
            shut: shut.to_owned(),
            trouble: Trouble::None,
            is_aside: false,
            forgotten: Stats::default(),
            again: (0, 0),
            before: Stats::default(),
            day: None,
            said: BTreeMap::new(),
        }
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        if self.trouble == Trouble::Down { &self.shut } else { self.replica.url() }
    }

    /// Answers within the runtime that this is called in.
    pub(super) fn serve(&mut self) {
        self.replica.serve().unwrap();
    }

    /// Another trouble, or none.
    pub(super) fn turn(&mut self, trouble: Trouble) {
        self.trouble = trouble;
        self.replica.set_switches(trouble.switches());
    }

    /// The lake has lost what it knew of answers and costs.
    pub(super) fn disturb(&mut self) {
        self.forgotten = self.replica.stats();
        self.again = (0, 0);
        self.said.clear();
        if let Some(day) = &mut self.day {
            day.unsure = true;
        }
    }

    /// A run begins on this day, with this budget.
    pub(super) fn begin(&mut self, today: Date, budget: Option<f64>) {
        self.before = self.replica.stats();
        match self.day.as_mut().filter(|day| day.date == today) {
            Some(day) => day.budget = day.budget.zip(budget).map(|(one, two)| one.max(two)),
            None => self.day = Some(Day { date: today, spent: 0.0, budget, unsure: false }),
        }
    }

    /// It has ended; `broke_off` with so many calls under way at most.
    pub(super) fn end(&mut self, broke_off: Option<u64>) {
        let now = self.replica.stats();
        let before = &self.before;
        let tokens = (now.input_tokens - before.input_tokens) + (now.output_tokens - before.output_tokens);
        if let Some(day) = &mut self.day {
            day.spent += tokens as f64 * TOKEN;
            day.unsure |= broke_off.is_some();
        }
        self.again.0 += now.odd - before.odd;
        if let Some(calls) = broke_off {
            self.again.0 += calls;
            self.again.1 += kind(&now.paid, EMBEDDING) - kind(&before.paid, EMBEDDING);
        }
        let lost: u64 = now.lost.values().sum::<u64>() - before.lost.values().sum::<u64>();
        self.is_aside |= now.odd > before.odd || lost > 0;
    }

    /// Pays once more for what was paid first, for a test of the laws.
    pub(super) fn pay_again(&mut self) {
        let body = self.replica.requests().into_iter().find(|body| body.get("messages").is_some()).unwrap();
        let url = format!("{}/chat/completions", self.replica.url());
        super::world::runtime().block_on(async {
            self.serve();
            let asked = reqwest::Client::new().post(url).bearer_auth("test-key").json(&body).send().await;
            assert!(asked.unwrap().status().is_success());
        });
    }

    /// Says that the day might cost no more than this, for a test of the laws.
    pub(super) fn bound(&mut self, budget: Option<f64>) {
        if let Some(day) = &mut self.day {
            day.budget = budget;
        }
    }

    /// How often it was asked in the last run.
    pub(super) fn asked(&self) -> u64 {
        self.replica.stats().requests - self.before.requests
    }

    /// Nothing was paid for twice, and no day cost more than it might.
    fn bill(&self) -> Result<(), Broken> {
        let now = self.replica.stats();
        let of = |counts: &BTreeMap<String, u64>, key: &str| counts.get(key).copied().unwrap_or(0);
        let mut twice: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
        for (key, paid) in &now.paid {
            let paid = paid - of(&self.forgotten.paid, key);
            let lost = of(&now.lost, key) - of(&self.forgotten.lost, key);
            let (kind, _) = key.split_once(':').unwrap();
            let entry = twice.entry(kind).or_default();
            entry.0 += paid.saturating_sub(1 + lost);
            entry.1.extend((paid > 1 + lost).then_some(key.as_str()));
        }
        for (kind, may) in [(CHAT, self.again.0), (EMBEDDING, self.again.1)] {
            let (paid, which) = twice.get(kind).cloned().unwrap_or_default();
            if paid > may {
                let how = format!("{paid} answers of {kind} were paid again, and {may} may have been: {which:?}");
                return Err(Broken::new(Law::PaidOnce, how));
            }
        }
        match self.day {
            Some(Day { date, spent, budget: Some(budget), unsure: false }) if spent > budget => {
                Err(Broken::new(Law::BudgetHolds, format!("{spent} were spent on {date}, of {budget}")))
            }
            _ => Ok(()),
        }
    }
}

const CHAT: &str = "chat";
const EMBEDDING: &str = "embedding";

fn kind(counts: &BTreeMap<String, u64>, kind: &str) -> u64 {
    counts.iter().filter(|(key, _)| key.starts_with(kind)).map(|(_, count)| count).sum()
}

/// What must be true at any time, also after a kill: of the bill, and of what is shown.
pub(super) fn always(world: &World, before: &Tables, after: &Tables) -> Result<(), Broken> {
    world.service.bill()?;
    let [words, said] = SPOKEN;
    if before.are_touched() || [words, said].iter().any(|table| after.broken().contains_key(table)) {
        return Ok(());
    }
    let shown = by_shelf(after.rows(said));
    for (shelf, row) in by_shelf(before.rows(said)) {
        let is_there = by_shelf(after.rows(words)).contains_key(shelf);
        let is_shown = shown.get(shelf).is_some_and(|row| !text(row, "summary").is_empty());
        if is_there && !text(row, "summary").is_empty() && !is_shown {
            return Err(Broken::new(Law::LastGoodStays, format!("shelf {shelf} had a summary, and has none")));
        }
    }
    Ok(())
}

/// Whether every summary must be of the texts as they are.
fn is_done(world: &World, ran: &Ran, after: &Tables) -> bool {
    let is_readable = SPOKEN.iter().all(|table| !after.broken().contains_key(table));
    ran.is_done() && ran.whole && ran.dt == world.today() && is_readable
}

/// What must be true after a run that is done: every summary is of the texts as they are, told as the project tells it.
pub(super) fn after_run(world: &World, ran: &Ran, after: &Tables) -> Result<(), Broken> {
    if !is_done(world, ran, after) {
        return Ok(());
    }
    let [words, said] = SPOKEN;
    let (spoken, shown) = (by_shelf(after.rows(words)), by_shelf(after.rows(said)));
    let stale = |how: String| Err(Broken::new(Law::SaidOfNow, how));
    if shown.keys().ne(spoken.keys()) {
        return stale(format!("shelves {:?} are told of, and there are {:?}", shown.keys(), spoken.keys()));
    }
    for (shelf, row) in spoken {
        let summary = text(shown[shelf], "summary");
        if summary.is_empty() || shown[shelf].get("embedding").is_none_or(Value::is_null) {
            return stale(format!("exit 0, and shelf {shelf} has no summary or no vector"));
        }
        if !world.files.is_tone(shown[shelf].get("tone")) {
            return stale(format!("shelf {shelf} has another field than is asked for: {:?}", shown[shelf].get("tone")));
        }
        let texts = texts(world, row);
        if let Some((other, _)) = world.service.said.iter().find(|(of, it)| *it == summary && **of != texts) {
            return stale(format!("shelf {shelf} has the summary of other texts: {other} and {texts}"));
        }
    }
    Ok(())
}

/// Remembers what such a run showed.
pub(super) fn remember(world: &mut World, ran: &Ran, after: &Tables) {
    if !is_done(world, ran, after) {
        return;
    }
    world.service.is_aside = false;
    let [words, said] = SPOKEN;
    let shown = by_shelf(after.rows(said));
    for (shelf, row) in by_shelf(after.rows(words)) {
        let (texts, summary) = (texts(world, row), text(shown[shelf], "summary").to_owned());
        world.service.said.insert(texts, summary);
    }
}

fn texts(world: &World, row: &Row) -> String {
    format!("{} {}", world.files.told_as(), row.get("texts").unwrap_or(&Value::Null))
}

fn by_shelf(rows: &[Row]) -> BTreeMap<&str, &Row> {
    rows.iter().map(|row| (text(row, "shelf"), row)).collect()
}
