//! The laws: what must be true after every run, whatever happened before it.
//!
//! They know the truth from two sides only: what the site remembers to have shown, and what the tables show. How the
//! program keeps its books is none of their business.

use std::collections::{BTreeMap, BTreeSet};

use catalog::Date;
use catalog::run::StepStatus;
use jiff::ToSpan;
use serde_json::Value;

use super::bodies;
use super::files::SHELVES_EVERY;
use super::follow;
use super::how::Ran;
use super::service;
use super::site::List;
use super::tables::{Row, Tables, is_set_aside, item, number, text, time};
use super::truth;
use super::verbs;
use super::world::{Plan, World, day_of};
use crate::exit::Exit;

/// A law by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Law {
    /// What the site showed to a key that ended well is in raw, and what is in raw stays.
    NothingLost,
    /// No item of a list and day landed twice, and a second run of a healthy day does nothing.
    NothingTwice,
    /// Every table is what its SQL says of its parents, or the run or the plan says that it is not.
    NothingStale,
    /// What fails its check is not seen, and nothing below it moves.
    NothingBadPublished,
    /// 0 only if every key that is due has ended well.
    ExitCodeTrue,
    /// A run of a healthy site and project is done.
    HealthyIsDone,
    /// A healthy run, and the days that it calls stale built again, reach the truth.
    ReachesTruth,
    /// A day holds what was fetched on it.
    NoFalseDay,
    /// A run ends.
    Ends,
    /// The lake can be read.
    Readable,
    /// What somebody opens again is asked for.
    AskedAgain,
    /// Who needs a file that is damaged says so.
    DamageIsTold,
    /// Bodies that could not be read are kept as far as the rules go, and no longer.
    BodiesByTheRules,
    /// A run builds what the plan before it says, and nothing else.
    AsPlanned,
    /// A sink is as its mart was at its cursor, and after a sync as it is now.
    SinkAsMart,
    /// A sink is called equal if it is.
    SinkToldTrue,
    /// A sync that would remove too much stops.
    SyncStops,
    /// Nothing is paid for twice, but for answers that were lost.
    PaidOnce,
    /// A day costs no more than its budget.
    BudgetHolds,
    /// A summary that was shown is followed by another one, or stays.
    LastGoodStays,
    /// After a run that is done every summary is of the texts as they are.
    SaidOfNow,
    /// Nothing panics.
    NothingPanics,
}

impl Law {
    /// Its name in words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NothingLost => "nothing lost",
            Self::NothingTwice => "nothing twice",
            Self::NothingStale => "nothing stale without a word",
            Self::NothingBadPublished => "nothing published after a failed check",
            Self::ExitCodeTrue => "exit code true",
            Self::HealthyIsDone => "a healthy run is done",
            Self::ReachesTruth => "a later healthy run reaches the truth",
            Self::NoFalseDay => "a day holds what was fetched on it",
            Self::Ends => "a run ends",
            Self::Readable => "the lake can be read",
            Self::AskedAgain => "what is opened again is asked for",
            Self::DamageIsTold => "a damaged file is told",
            Self::BodiesByTheRules => "unreadable bodies are kept by the rules",
            Self::AsPlanned => "a run does what its plan says",
            Self::SinkAsMart => "a sink is as its mart",
            Self::SinkToldTrue => "what is said of a sink is true",
            Self::SyncStops => "a sync that would remove too much stops, and no other",
            Self::PaidOnce => "nothing is paid for twice",
            Self::BudgetHolds => "a day costs no more than its budget",
            Self::LastGoodStays => "the last good summary stays",
            Self::SaidOfNow => "a summary is of the texts as they are",
            Self::NothingPanics => "nothing panics",
        }
    }
}

/// A law that was broken, and how.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// Which.
    pub law: Law,
    /// What was seen.
    pub how: String,
}

impl Broken {
    /// This law, broken like this.
    pub(super) fn new(law: Law, how: impl Into<String>) -> Self {
        Self { law, how: how.into() }
    }
}

/// What the laws look at beside the world.
pub(super) struct Seen<'a> {
    /// The lake before the run.
    pub before: &'a Tables,
    /// The lake after it.
    pub after: &'a Tables,
    /// Whether site and files were well before it and after it.
    pub healthy: bool,
    /// The last run was done, and nothing was touched since.
    pub quiet: bool,
}

/// What must be true of the lake at any time, also after a kill.
pub(super) fn always(world: &World, seen: &Seen<'_>) -> Result<(), Broken> {
    if let Some((table, why)) = seen.after.broken().iter().find(|(table, _)| !world.is_damaged_table(table)) {
        return Err(Broken::new(Law::Readable, format!("{table}: {why}")));
    }
    for table in ["raw.shelves", "raw.items"] {
        raw_stays(table, seen)?;
        nothing_twice(table, seen.after)?;
        no_false_day(world, table, seen)?;
    }
    for table in ["raw.notes", "marts.notes"] {
        raw_stays(table, seen)?;
        nothing_twice(table, seen.after)?;
    }
    follow::always(world, seen.after)?;
    service::always(world, seen.before, seen.after)?;
    bodies::by_the_rules(world, seen.after)
}

/// What must be true after a run that ended by itself.
pub(super) fn after_run(world: &World, ran: &Ran, seen: &Seen<'_>, is_stale_run: bool) -> Result<(), Broken> {
    quiet_does_nothing(world, ran, seen)?;
    let today = ran.dt == world.today() && ran.whole && !is_stale_run;
    verbs::damage_is_told(world, ran, seen.after.broken())?;
    let of_keys = ["raw.shelves", "raw.items", "staging.shelves"];
    if today && ran.is_done() && of_keys.iter().all(|table| !seen.after.broken().contains_key(table)) {
        keys_are_done(world, ran, seen.after)?;
    }
    if seen.after.broken().is_empty() {
        checks_hold(world, ran, seen)?;
    }
    if ran.report.is_some() {
        truth::nothing_stale(world, ran, seen)?;
    }
    follow::after_run(world, ran, seen.after)?;
    service::after_run(world, ran, seen.after)?;
    if today && seen.healthy && !was_refused_today(world) && !ran.is_done() && !follow::excuse(world, ran) {
        return Err(Broken::new(Law::HealthyIsDone, trouble(ran)));
    }
    Ok(())
}

/// Whether the site said on this day of a list that there is none, or that it may not be had: the day is partial then, also when
/// all is well again.
pub(super) fn was_refused_today(world: &World) -> bool {
    let (state, today) = (world.site.state(), world.today());
    state.denied.contains(&today) || state.gone.iter().any(|(_, day)| *day == today)
}

/// Why a run is not done, in its own words.
pub(super) fn trouble(ran: &Ran) -> String {
    let steps = ran.steps.values().filter_map(|step| {
        let why = step.error.as_ref().or(step.why.as_ref())?;
        Some(format!("{} {}: {why}", step.id, step.status))
    });
    let begins: Vec<String> = ran.error.iter().cloned().chain(steps).collect();
    format!("exit {:?}: {}", ran.exit, begins.join("; "))
}

fn days(rows: &[Row]) -> impl Iterator<Item = (&Row, Option<Date>)> {
    rows.iter().map(|row| (row, text(row, "dt").parse().ok()))
}

fn counted(rows: &[Row]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        // A column that came later is no other row.
        let name = ["_key", "note", "dt", "_payload", "_error", "_task", "_fetched_at"].map(|column| text(row, column));
        *counts.entry(name.join(" | ")).or_insert(0) += 1;
    }
    counts
}

fn raw_stays(table: &str, seen: &Seen<'_>) -> Result<(), Broken> {
    let after = counted(seen.after.rows(table));
    for (row, count) in counted(seen.before.rows(table)) {
        if after.get(&row).copied().unwrap_or_default() < count {
            return Err(Broken::new(Law::NothingLost, format!("{table} had and has no more: {row}")));
        }
    }
    Ok(())
}

fn nothing_twice(table: &str, after: &Tables) -> Result<(), Broken> {
    let mut rows: Vec<&Row> = after.rows(table).iter().filter(|row| !text(row, "_payload").is_empty()).collect();
    rows.sort_by_key(|row| time(row, "_fetched_at"));
    let mut said: BTreeMap<Vec<&str>, String> = BTreeMap::new();
    for row in rows {
        // What is mapped otherwise is another row, and so is what an item says again after it had said something else.
        let mut item = row.clone();
        item.retain(|column, _| !["_task", "_url", "_fetched_at"].contains(&column.as_str()));
        let now = Value::Object(item).to_string();
        // What has no name has nothing but what it says: two that say the same may be two.
        let name = text(row, "id");
        if name.is_empty() {
            continue;
        }
        let of = vec![name, text(row, "_key"), text(row, "note"), text(row, "dt")];
        if said.insert(of, now.clone()).as_ref() == Some(&now) {
            return Err(Broken::new(Law::NothingTwice, format!("{table}: {now}")));
        }
    }
    Ok(())
}

fn no_false_day(world: &World, table: &str, seen: &Seen<'_>) -> Result<(), Broken> {
    let before = counted(seen.before.rows(table));
    for (row, dt) in days(seen.after.rows(table)) {
        let fetched = day_of(time(row, "_fetched_at"));
        let Some(dt) = dt else { continue };
        // A run that goes on over midnight is still that day's.
        if dt == fetched || dt.tomorrow().is_ok_and(|next| next == fetched) || world.named.contains(&dt) {
            continue;
        }
        if !counted(std::slice::from_ref(row)).keys().any(|name| before.contains_key(name)) {
            let how = format!("{table}: fetched on {fetched}, filed under {dt}: {}", text(row, "_payload"));
            return Err(Broken::new(Law::NoFalseDay, how));
        }
    }
    Ok(())
}

fn quiet_does_nothing(world: &World, ran: &Ran, seen: &Seen<'_>) -> Result<(), Broken> {
    if !seen.quiet {
        return Ok(());
    }
    let asked = world.site.state().asked;
    let Some(report) = &ran.report else { return Ok(()) };
    let (asked_of_model, was_aside) = (world.service.asked(), world.service.is_aside);
    if report.fetched != 0
        || report.built != 0
        || report.synced != 0
        || asked != 0
        || (asked_of_model != 0 && !was_aside)
    {
        let how = format!(
            "a second run asked for {asked} lists and {asked_of_model} answers: {}\n{}",
            report.line(),
            ran.told.join("\n")
        );
        return Err(Broken::new(Law::NothingTwice, how));
    }
    Ok(())
}

/// Each key that is due ended well: its whole list is in raw, or there was none, or it may not be had.
fn keys_are_done(world: &World, ran: &Ran, after: &Tables) -> Result<(), Broken> {
    let shelves: BTreeSet<String> =
        after.rows("staging.shelves").iter().map(|row| text(row, "shelf").to_owned()).collect();
    let sources = [("shelves", SHELVES_EVERY, world.files.areas.iter().cloned().collect()), ("items", 1, shelves)];
    for (source, every, keys) in sources {
        let raw = landed(after.rows(&format!("raw.{source}")));
        for key in keys {
            let list = (source.to_owned(), key);
            let mut lost = None;
            let mut ended = false;
            for age in 0..every {
                let day = ran.dt - age.days();
                match ended_well(world, &list, day, &raw) {
                    Ended::Well => ended = true,
                    Ended::Lost(item) => lost = Some(item),
                    Ended::Open => {}
                }
            }
            if !ended {
                let key = &list.1;
                return Err(match lost {
                    Some(item) => Broken::new(Law::NothingLost, format!("{source} of {key} on {}: {item}", ran.dt)),
                    None => Broken::new(
                        Law::ExitCodeTrue,
                        format!(
                            "exit 0 on {}, and the list {source} of {key} was not had: {}",
                            ran.dt,
                            ran.told.join("\n")
                        ),
                    ),
                });
            }
        }
    }
    Ok(())
}

/// The items in raw by key and day.
type Landed = BTreeMap<(String, String), Vec<Value>>;

fn landed(rows: &[Row]) -> Landed {
    let mut landed = Landed::new();
    for row in rows {
        let place = (text(row, "_key").to_owned(), text(row, "dt").to_owned());
        landed.entry(place).or_default().extend(item(row));
    }
    landed
}

enum Ended {
    Well,
    /// The list was shown whole, and this item of it is nowhere.
    Lost(String),
    Open,
}

fn ended_well(world: &World, list: &List, day: Date, raw: &Landed) -> Ended {
    let state = world.site.state();
    let place = (list.clone(), day);
    if state.gone.contains(&place) || state.denied.contains(&day) {
        return Ended::Well;
    }
    let none = Vec::new();
    let there = raw.get(&(list.1.clone(), day.to_string())).unwrap_or(&none);
    let mut lost = Ended::Open;
    for shown in state.shown.get(&place).into_iter().flatten() {
        match shown.iter().find(|item| !there.contains(item)) {
            None => return Ended::Well,
            Some(item) if !there.is_empty() => lost = Ended::Lost(item.to_string()),
            Some(_) => {}
        }
    }
    lost
}

/// The tables below a step.
fn below(step: &str) -> &'static [&'static str] {
    match step {
        "build:staging.items" => &["marts.totals", "marts.asof", "marts.cheap", "marts.top", "marts.goods"],
        "build:staging.cheap" => &["marts.cheap", "marts.top"],
        "build:marts.cheap" => &["marts.top"],
        _ => &[],
    }
}

fn checks_hold(world: &World, ran: &Ran, seen: &Seen<'_>) -> Result<(), Broken> {
    let broken = |how: String| Err(Broken::new(Law::NothingBadPublished, how));
    let bound = |bound: i64| move |row: &&Row| number(row, "price") > bound as f64;
    let items = seen.after.rows("staging.items");
    let cheap = world.files.cheap_below as f64;
    let bad_item = items.iter().find(bound(world.files.item_bound));
    let bad_view = items.iter().filter(|row| number(row, "price") < cheap).find(bound(world.files.view_bound));
    for (step, bad) in [("build:staging.items", bad_item), ("build:staging.cheap", bad_view)] {
        let Some(bad) = bad else { continue };
        // A run of the stale days looks at those, and says no more.
        if ran.exit == Some(Exit::Done) && ran.whole {
            return broken(format!("{step}: exit 0, and its check fails on {}", Value::Object(bad.clone())));
        }
        for table in below(step) {
            if seen.after.has(table) && seen.before.rows(table) != seen.after.rows(table) {
                return broken(format!("{table} changed below {step}, whose check fails; {}", trouble(ran)));
            }
        }
    }
    for step in ran.steps.keys().filter(|step| ran.failed(step)) {
        for table in below(step) {
            if seen.before.rows(table) != seen.after.rows(table) {
                return broken(format!("{table} changed below {step}, which failed; {}", trouble(ran)));
            }
        }
    }
    Ok(())
}

/// Each model was built if the plan says so, and only then.
pub(super) fn as_planned(plan: &Plan, ran: &Ran) -> Result<(), Broken> {
    for line in &plan.steps {
        let word = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        // What a sync writes hangs on what lies there.
        let Some(step) = ran.steps.get(&format!("build:{}", word("name"))).filter(|_| word("step") != "sync") else {
            continue;
        };
        let (planned, built) = (word("action"), step.counts.contains_key("built"));
        // What a table that is only to come will hold is not known before.
        let is_sure =
            planned == "build" && !word("why").contains("will change") && step.status == StepStatus::Unchanged;
        if built && planned != "build" || is_sure {
            let how = format!(
                "{}: the plan says `{planned}` ({}), and the run {} it: {}",
                word("name"),
                word("why"),
                if built { "builds" } else { "keeps" },
                step.why.as_deref().unwrap_or("no word of why"),
            );
            return Err(Broken::new(Law::AsPlanned, how));
        }
    }
    Ok(())
}

/// Whether a raw record says why it could not be mapped.
pub(super) fn is_mapped(row: &Row) -> bool {
    !is_set_aside(row)
}
