//! The laws about sinks: each is as its mart, or somebody says that it is not.

use std::collections::BTreeSet;

use catalog::run::StepStatus;
use load::SinkKind;

use super::how::Ran;
use super::laws::{Broken, Law};
use super::served::{SERVED, Section};
use super::sinks::{Lines, Lying, There, Touched, lines};
use super::tables::{Row, Tables};
use super::world::World;

/// A sink of fewer rows may lose any share of them.
const FEW: usize = 50;

/// What a sync says that stops before it removes too much.
pub(super) const TOO_MANY: &str = "a sync would remove";

fn name(kind: SinkKind, table: &str) -> String {
    format!("{table} in {kind}")
}

/// What must be true of the sinks at any time, also after a kill.
pub(super) fn always(world: &World, after: &Tables) -> Result<(), Broken> {
    if world.sinks.is_stale() {
        return Ok(());
    }
    at_their_cursors(world)?;
    told(world, after)
}

/// What was touched and is whole again is nobody's doing any more.
pub(super) fn heal(world: &mut World) {
    if world.sinks.is_stale() {
        return;
    }
    let healed = world.sinks.touched.iter().filter(|(place, how)| match how {
        Touched::Rows => matches!(beside_its_cursor(world, place.0, place.1), Beside::Same),
        Touched::File => world.sinks.equal.get(place) == Some(&Ok(true)),
    });
    let healed: Vec<_> = healed.map(|(place, _)| *place).collect();
    world.sinks.touched.retain(|place, _| !healed.contains(place));
}

/// A sink beside the rows that its cursor names.
enum Beside {
    /// Nobody knows what it shows, or what those rows were.
    Unknown,
    /// It shows those.
    Same,
    /// It shows others.
    Other(String),
}

fn beside_its_cursor(world: &World, kind: SinkKind, table: &'static str) -> Beside {
    let Some(There::Rows(Lying { cursor, lines: Some(is), made_for: Some(made_for) })) =
        world.sinks.there.get(&(kind, table))
    else {
        return Beside::Unknown;
    };
    let Some(rows) = world.sinks.known(table, cursor) else { return Beside::Unknown };
    let must = lines(kind, rows, key(table, made_for.by_number), made_for);
    if cursor.rows != is.len() as u64 {
        return Beside::Other(format!("its cursor says {} rows, and it has {}", cursor.rows, is.len()));
    }
    if *is == must { Beside::Same } else { Beside::Other(difference(is, &must)) }
}

fn key(table: &str, by_number: bool) -> &'static str {
    match (table, by_number) {
        ("marts.totals", _) => "shelf",
        (_, true) => "number",
        (_, false) => "good",
    }
}

fn difference(is: &Lines, must: &Lines) -> String {
    let only = |one: &Lines, other: &Lines| {
        let lines = one.iter().filter(|(key, line)| other.get(*key) != Some(line)).map(|(_, line)| line.clone());
        lines.take(3).collect::<Vec<_>>().join(", ")
    };
    format!("it has [{}] and should have [{}]", only(is, must), only(must, is))
}

/// Whoever was not touched by others shows the mart as it was at the state that its cursor names.
fn at_their_cursors(world: &World) -> Result<(), Broken> {
    for ((kind, table), there) in &world.sinks.there {
        if world.sinks.touched.contains_key(&(*kind, *table)) {
            continue;
        }
        let before = world.sinks.before.as_ref().and_then(|before| before.get(&(*kind, *table)));
        let is_asked = world.files.served.asks_for(*kind, table);
        if let (There::Nothing, Some(There::Rows(_)), true) = (there, before, is_asked) {
            let how = format!("{} was readable, and shows nothing any more", name(*kind, table));
            return Err(Broken::new(Law::SinkAsMart, how));
        }
        if let There::Unreadable(why) = there {
            return Err(Broken::new(Law::SinkAsMart, format!("{} can't be read: {why}", name(*kind, table))));
        }
        if let Beside::Other(difference) = beside_its_cursor(world, *kind, table) {
            let how = format!("{} is not as the mart was at its cursor: {difference}", name(*kind, table));
            return Err(Broken::new(Law::SinkAsMart, how));
        }
    }
    Ok(())
}

/// Whether a sink shows the newest rows of its mart, laid out as is asked for now; why not.
pub(super) fn differs(world: &World, kind: SinkKind, table: &'static str, after: &Tables) -> Option<String> {
    let served = &world.files.served;
    let Some(There::Rows(lying)) = world.sinks.there.get(&(kind, table)) else {
        return Some("there is nothing, or nothing that can be read".to_owned());
    };
    let Some(is) = &lying.lines else { return Some("it was made for other words or another key".to_owned()) };
    let key = key(table, served.by_number);
    let is_laid_out = lying.made_for.as_ref().is_some_and(|it| it.by_number == served.by_number || key == "shelf");
    if !is_laid_out || !after.has(table) {
        return Some("its key is another one, or there is no mart".to_owned());
    }
    let rows = after.rows(table);
    let keys: BTreeSet<String> = rows.iter().filter_map(|row| row.get(key)).map(ToString::to_string).collect();
    if keys.len() < rows.len() {
        return Some("its mart has a key twice, which no sink can".to_owned());
    }
    let must = lines(kind, rows, key, served);
    (*is != must).then(|| difference(is, &must))
}

/// `onggi reconcile` calls a sink equal if it is, and only then; and it knows every table that nobody asks for.
fn told(world: &World, after: &Tables) -> Result<(), Broken> {
    let (sinks, served) = (&world.sinks, &world.files.served);
    for Section { table, kinds, .. } in served.sections() {
        if after.broken().contains_key(table) {
            continue;
        }
        for kind in kinds {
            let said = sinks.equal.get(&(kind, table));
            let difference = differs(world, kind, table, after);
            let is_damaged = sinks.touched.get(&(kind, table)) == Some(&Touched::File);
            let how = match (said, difference) {
                (Some(Ok(true)), Some(difference)) => format!("called equal: {difference}"),
                (said, None) if said != Some(&Ok(true)) && !is_damaged => format!("equal, and said is {said:?}"),
                _ => continue,
            };
            return Err(Broken::new(Law::SinkToldTrue, format!("{} is {how}", name(kind, table))));
        }
    }
    let asked = |kind: SinkKind, table: &str| served.asks_for(kind, table);
    if let Some((kind, table)) = sinks.orphans.iter().find(|(kind, table)| asked(*kind, table)) {
        return Err(Broken::new(Law::SinkToldTrue, format!("{} is called an orphan", name(*kind, table))));
    }
    for ((kind, table), there) in &sinks.there {
        let is_orphan = matches!(there, There::Rows(_)) && !asked(*kind, table);
        let is_touched = sinks.touched.contains_key(&(*kind, *table));
        if is_orphan && !is_touched && !sinks.orphans.contains(&(*kind, (*table).to_owned())) {
            return Err(Broken::new(
                Law::SinkToldTrue,
                format!("{} is an orphan that nobody names", name(*kind, table)),
            ));
        }
    }
    Ok(())
}

fn is_fine(status: StepStatus) -> bool {
    [StepStatus::Done, StepStatus::Unchanged].contains(&status)
}

/// After a run: a sync that is done has made its sinks as the mart, and one that would remove too much has stopped.
pub(super) fn after_run(world: &World, ran: &Ran, after: &Tables) -> Result<(), Broken> {
    if world.sinks.is_stale() || ran.report.is_none() {
        return Ok(());
    }
    for Section { table, kinds, .. } in world.files.served.sections() {
        let id = format!("sync:{table}");
        let Some(step) = ran.steps.get(&id) else {
            if ran.is_done() && ran.whole {
                return Err(Broken::new(Law::SinkAsMart, format!("exit 0, and {table} was not synced")));
            }
            continue;
        };
        let all_did = world.ran.iter().all(|ran| ran.steps.get(&id).is_none_or(|step| is_fine(step.status)));
        for kind in &kinds {
            let touched = world.sinks.touched.get(&(*kind, table));
            if !is_fine(step.status) || !all_did || after.broken().contains_key(table) || !after.has(table) {
                continue;
            }
            if touched.is_none()
                && let Some(difference) = differs(world, *kind, table, after)
            {
                let how = format!("{} was synced ({}): {difference}", name(*kind, table), step.status);
                return Err(Broken::new(Law::SinkAsMart, how));
            }
        }
        if world.ran.len() == 1 {
            stops(world, ran, table, &kinds, after)?;
        }
    }
    Ok(())
}

/// A sync stops where it would remove too much, and nowhere else.
fn stops(world: &World, ran: &Ran, table: &'static str, kinds: &[SinkKind], after: &Tables) -> Result<(), Broken> {
    let Some(step) = ran.steps.get(&format!("sync:{table}")) else { return Ok(()) };
    let stopped = step.error.as_ref().is_some_and(|error| error.contains(TOO_MANY));
    let Some(counted) = kinds.iter().map(|kind| goes(world, *kind, table, after)).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let share = world.files.served.may_lose as f64 / 100.0;
    let is_much = counted.iter().any(|(goes, of)| *of >= FEW && *goes as f64 > share * *of as f64);
    if stopped && (!is_much || ran.may_delete) {
        let how = format!("{table}: {} of rows go of {counted:?}: {:?}", share, step.error);
        return Err(Broken::new(Law::SyncStops, how));
    }
    if is_fine(step.status) && is_much && !ran.may_delete {
        let how = format!("{table}: synced, and of the rows of its sinks so many are gone: {counted:?}");
        return Err(Broken::new(Law::SyncStops, how));
    }
    Ok(())
}

/// How many rows of a sink go with the newest state of its mart, and of how many; `None` if nobody knows.
fn goes(world: &World, kind: SinkKind, table: &'static str, after: &Tables) -> Option<(usize, usize)> {
    let sinks = &world.sinks;
    if sinks.touched.contains_key(&(kind, table)) || after.broken().contains_key(table) {
        return None;
    }
    let There::Rows(Lying { cursor, made_for, .. }) = sinks.before.as_ref()?.get(&(kind, table))? else {
        return Some((0, 0));
    };
    let (was, is) = (key(table, made_for.as_ref()?.by_number), key(table, world.files.served.by_number));
    let keys = |rows: &[Row], key| -> Vec<String> { lines(kind, rows, key, &world.files.served).into_keys().collect() };
    let (old, new) = (keys(sinks.known(table, cursor)?, was), keys(after.rows(table), is));
    let fewer = old.len().saturating_sub(new.len());
    // Under another key each row has another name, and none of them is gone.
    let gone = if was == is { old.iter().filter(|key| new.binary_search(key).is_err()).count() } else { 0 };
    Some((gone.max(fewer), old.len()))
}

/// Whether all that a run left undone are syncs that stopped, or that could not work with a file that somebody damaged.
pub(super) fn excuse(world: &World, ran: &Ran) -> bool {
    let is_damaged = world.sinks.touched.values().any(|how| *how == Touched::File);
    let mut open = ran.steps.values().filter(|step| !is_fine(step.status)).peekable();
    ran.error.is_none()
        && open.peek().is_some()
        && open.all(|step| {
            let error = step.error.as_deref().unwrap_or_default();
            step.id.starts_with("sync:") && (is_damaged || error.contains(TOO_MANY))
        })
}

/// After everything that could be mended was: each sink is as its mart, and there are no others.
pub(super) fn reached(world: &World, after: &Tables) -> Result<(), Broken> {
    all_equal(world, after).map_err(|how| Broken::new(Law::ReachesTruth, how))
}

/// Whether each sink is as its mart, and there are no others; what is not so.
pub(super) fn all_equal(world: &World, after: &Tables) -> Result<(), String> {
    for Section { table, kinds, .. } in world.files.served.sections() {
        for kind in kinds {
            if let Some(difference) = differs(world, kind, table, after) {
                return Err(format!("{}: {difference}", name(kind, table)));
            }
        }
    }
    let served = &world.files.served;
    for table in SERVED {
        for ((kind, _), there) in world.sinks.there.iter().filter(|((_, of), _)| *of == table) {
            if matches!(there, There::Rows(_)) && !served.asks_for(*kind, table) {
                return Err(format!("{} is still there", name(*kind, table)));
            }
        }
    }
    Ok(())
}
