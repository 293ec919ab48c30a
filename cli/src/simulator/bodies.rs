//! `ops.unreadable` against what the site served: bodies that nobody could read, bounded, and gone when their days are over.

use std::collections::{BTreeMap, BTreeSet};

use extract::unreadable::MOST_BODIES;
use jiff::ToSpan;

use super::how::{How, Ran};
use super::laws::{Broken, Law, trouble};
use super::tables::{Tables, text};
use super::world::World;

const TABLE: &str = "ops.unreadable";

fn broken(how: impl Into<String>) -> Broken {
    Broken::new(Law::BodiesByTheRules, how)
}

/// Each body was served for its key as one that can't be read, no reason twice, and no more a day than are kept.
pub(super) fn by_the_rules(world: &World, after: &Tables) -> Result<(), Broken> {
    let state = world.site.state();
    let mut of_day: BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for row in after.rows(TABLE) {
        let [source, dt, key, reason, body] = ["source", "dt", "key", "reason", "body"].map(|column| text(row, column));
        let served = state.spoilt.get(&(source.to_owned(), key.to_owned()));
        if !served.is_some_and(|served| served.contains(body)) {
            return Err(broken(format!("a body of {source} {key} on {dt} was never served: {body}")));
        }
        if !of_day.entry((source, dt)).or_default().insert((key, reason)) {
            return Err(broken(format!("a body of {source} {key} on {dt} is kept twice: {reason}")));
        }
    }
    match of_day.iter().find(|(_, bodies)| bodies.len() > MOST_BODIES) {
        Some(((source, dt), bodies)) => Err(broken(format!("{} bodies of {source} on {dt}", bodies.len()))),
        None => Ok(()),
    }
}

/// Of keys that came to nothing because nobody could read what came, something is kept for people.
pub(super) fn are_kept(world: &World, how: &How, ran: &Ran, after: &Tables) -> Result<(), Broken> {
    let state = world.site.state();
    let spoils = state.condition.spoils() && state.only.is_none();
    let plain = how.is_plain() && how.hosts.len() < 2 && how.workers.is_empty();
    if !spoils || !plain || state.asked == 0 || ran.report.is_none() || !world.damage.now().is_empty() {
        return Ok(());
    }
    let dt = ran.dt.to_string();
    if after.rows(TABLE).iter().any(|row| text(row, "dt") == dt) {
        return Ok(());
    }
    Err(broken(format!("{} lists could not be read on {dt}, and no body is kept: {}", state.asked, trouble(ran))))
}

/// After an upkeep that keeps so many days none is left that is over.
pub(super) fn are_gone(world: &World, after: &Tables, keep_days: u16) -> Result<(), Broken> {
    // A day of any time zone that touches the time kept is kept.
    let first = world.today() - (i64::from(keep_days) + 2).days();
    match after.rows(TABLE).iter().map(|row| text(row, "dt")).find(|dt| *dt < first.to_string().as_str()) {
        Some(dt) => Err(broken(format!("an upkeep on {} that keeps {keep_days} days left {dt}", world.today()))),
        None => Ok(()),
    }
}
