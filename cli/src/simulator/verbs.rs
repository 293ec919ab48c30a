//! What people do to a lake beside running its days, and who else works on a run's tasks.

use catalog::simulation::Draw;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use catalog::{RunId, simulation};
use extract::Cancel;
use extract::heartbeat::Role;
use extract::worker::Until;

use super::bodies;
use super::damage::files;
use super::how::{How, Ran};
use super::laws::{self, Broken, Law, Seen, trouble};
use super::operation::jobs;
use super::perform::perform;
use super::tables::{READ, Tables, text};
use super::world::{World, global, runtime};
use crate::args::{Retry, Upkeep};
use crate::exit::{self, Exit};
use crate::verb::check;
use crate::{clock, wire};

/// A worker beside a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hand {
    /// The machine; this one if none.
    pub host: Option<String>,
    /// Whether it begins with the project's files as they were before the last edit, until it fails.
    pub is_older: bool,
}

/// Works until it is stopped, and begins again where it fails, as something that looks after it would.
pub(super) async fn work(folder: PathBuf, hand: Hand, stop: Cancel, said: Arc<Mutex<Vec<String>>>) {
    let older = folder.join("older");
    let mut project = if hand.is_older && older.is_dir() { older } else { folder.clone() };
    while !stop.is_cancelled() {
        // Whatever it fails of, the run that waits is what the laws look at.
        let ended = once(&project, &folder.join("lake"), &stop).await;
        project.clone_from(&folder);
        if let Err(error) = ended {
            said.lock().unwrap().push(format!("{error:#}"));
            simulation::sleep(Duration::from_mins(1)).await;
        }
    }
}

async fn once(project: &Path, lake: &Path, stop: &Cancel) -> anyhow::Result<()> {
    let mut global = global(project);
    global.lake = Some(lake.display().to_string());
    let project = check::checked(&global)?;
    let lake = wire::lake(&project, &global).await?;
    let hands = wire::Hands {
        id: RunId::at(clock::now()),
        role: Some(Role::Worker),
        jobs: 2,
        cancel: stop.clone(),
        progress: Arc::new(|_| {}),
    };
    let extractor = wire::extractor(&project, &lake, hands).await?;
    let worked = extract::worker::work(&extractor, Until::Stopped).await;
    extractor.fetchers.close().await;
    if let Some(heartbeat) = &extractor.heartbeat {
        heartbeat.stop().await;
    }
    worked?;
    Ok(())
}

/// Looks at the lake as it is now: what was damaged, restored or lost since the last look is no doing of what comes next. False
/// if it can't be opened because of a damage.
pub(super) fn looked_again(world: &mut World) -> Result<bool, Broken> {
    if !world.tables.are_touched() && !world.sinks.is_stale() {
        return Ok(true);
    }
    match world.look() {
        Ok(now) => {
            laws::always(world, &Seen { before: &world.tables, after: &now, healthy: false, quiet: false })?;
            world.tables = now;
            Ok(true)
        }
        Err(_) if world.damage.is_below(&world.in_lake("_onggi")) => Ok(false),
        Err(error) => Err(Broken::new(Law::Readable, format!("{error:#}"))),
    }
}

/// The first of these tables whose rows are not those that were seen before, though both times it could be read.
pub(super) fn moved(world: &World, after: &Tables, of: &[&'static str]) -> Option<&'static str> {
    let is_broken = |table: &str| [&world.tables, after].iter().any(|tables| tables.broken().contains_key(table));
    of.iter().copied().find(|table| !is_broken(table) && after.rows(table) != world.tables.rows(table))
}

/// `onggi retry`, and that it changes no row.
fn retry(world: &mut World, args: &Retry) -> Result<bool, Broken> {
    if !looked_again(world)? {
        return Ok(true);
    }
    let runtime = runtime();
    simulation::live(simulation::Life::default());
    world.damage.moment(world.now());
    let ended = runtime.block_on(crate::verb::retry::retry(&global(world.folder()), args));
    runtime.shutdown_timeout(Duration::from_secs(20));
    world.quiet = None;
    match ended {
        Ok(Exit::Done) => {}
        // Who can't read the lake says so.
        Err(_) if !world.damage.now().is_empty() => return Ok(true),
        Ok(exit) => return Err(Broken::new(Law::ExitCodeTrue, format!("retry: exit {exit:?}"))),
        Err(error) => return Err(Broken::new(Law::HealthyIsDone, format!("retry: {}", exit::render(&error)))),
    }
    let after = world.look().map_err(|error| Broken::new(Law::Readable, format!("{error:#}")))?;
    if let Some(table) = moved(world, &after, &["raw.shelves", "raw.items"]) {
        return Err(Broken::new(Law::NothingLost, format!("retry changed rows of {table}")));
    }
    world.tables = after;
    Ok(true)
}

const NOTHING: Retry = Retry {
    failed: false,
    unreadable: false,
    set_aside: false,
    cut: false,
    refused: false,
    gone: false,
    empty: false,
    key: Vec::new(),
    source: None,
    dt: None,
};

/// `onggi retry` with one of its selections, and no run after it.
pub(super) fn retry_some(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let mut args = NOTHING;
    for flag in [
        &mut args.failed,
        &mut args.unreadable,
        &mut args.set_aside,
        &mut args.cut,
        &mut args.refused,
        &mut args.gone,
        &mut args.empty,
    ] {
        *flag = draw.percent(40);
    }
    args.source = [None, "items".parse().ok(), "shelves".parse().ok()][usize::try_from(draw.below(3)).unwrap()].clone();
    if draw.percent(20) {
        args.dt = Some(world.today() - jiff::Span::new().days(1));
    }
    retry(world, &args)
}

/// `onggi retry --key` of a key that has landed today, and a run: it is asked for again, if the run can ask.
pub(super) fn retry_key(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let today = world.today().to_string();
    let there = |name: &str, column: &str, dt: Option<&str>| {
        let rows = world.tables.rows(name).iter().filter(|row| dt.is_none_or(|dt| text(row, "dt") == dt));
        rows.map(|row| text(row, column).to_owned()).collect::<std::collections::BTreeSet<String>>()
    };
    let shelves = there("staging.shelves", "shelf", None);
    let landed: Vec<String> = there("raw.items", "_key", Some(&today)).intersection(&shelves).cloned().collect();
    let Some(key) = draw.one(&landed).cloned() else { return Ok(false) };
    retry(world, &Retry { key: vec![key.clone()], source: "items".parse().ok(), ..NOTHING })?;
    perform(world, &How { jobs: jobs(draw), ..How::default() })?;
    asked_again(world, [key])
}

/// `onggi plan`, and a run at once: it builds what was planned, and nothing else.
pub(super) fn as_planned(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    if !looked_again(world)? || !world.damage.now().is_empty() {
        return Ok(false);
    }
    // As long as a task of a dead process is hidden, others take it for somebody's.
    world.pass(11);
    let day = world.today();
    // Somebody else is at the lake, or it is not to be opened: the run says so too.
    let Ok(plan) = world.plan() else { return perform(world, &How { jobs: jobs(draw), ..How::default() }) };
    perform(world, &How { jobs: jobs(draw), ..How::default() })?;
    let [ran] = world.ran.as_slice() else { return Ok(true) };
    if ran.dt != day || ran.report.is_none() {
        return Ok(true);
    }
    laws::as_planned(&plan, ran)?;
    Ok(true)
}

/// `onggi run --refetch`: every key is asked for again, and what the site shows now lands.
pub(super) fn refetch(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let healthy = world.is_healthy() && world.damage.now().is_empty();
    perform(world, &How { jobs: jobs(draw), refetch: true, ..How::default() })?;
    if !healthy || !world.is_healthy() || world.is_open {
        return Ok(true);
    }
    let shelves = world.tables.rows("staging.shelves").iter().map(|row| text(row, "shelf").to_owned());
    let shelves: Vec<String> = shelves.collect();
    asked_again(world, shelves)
}

/// Each of these keys of items was asked for by the last run, if that was done.
pub(super) fn asked_again(world: &World, keys: impl IntoIterator<Item = String>) -> Result<bool, Broken> {
    if world.is_open || world.quiet.is_none() {
        return Ok(true);
    }
    let state = world.site.state();
    for key in keys {
        if !state.asked_for.contains(&("items".to_owned(), key.clone())) {
            return Err(Broken::new(Law::AskedAgain, format!("key {key} was to be asked for again, and was not")));
        }
        // What was shown last is what is in the lake.
        let place = (("items".to_owned(), key.clone()), world.today());
        let there: Vec<serde_json::Value> = world
            .tables
            .rows("raw.items")
            .iter()
            .filter(|row| text(row, "_key") == key && text(row, "dt") == world.today().to_string())
            .filter_map(super::tables::item)
            .collect();
        let shown = state.shown.get(&place).and_then(|shown| shown.last());
        if let Some(item) = shown.into_iter().flatten().find(|item| !there.contains(item)) {
            let how = format!("items of {key} were asked for again, and this one is nowhere: {item}");
            return Err(Broken::new(Law::NothingLost, how));
        }
    }
    Ok(true)
}

/// A run for an old day whose source is named: what the site shows now is filed under that day, because somebody says so.
pub(super) fn old_day_by_name(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let dt = world.today() - jiff::Span::new().days(i64::try_from(1 + draw.below(4)).unwrap());
    world.named.insert(dt);
    let select = vec![["items", "items+"][usize::try_from(draw.below(2)).unwrap()].to_owned()];
    perform(world, &How { jobs: jobs(draw), dt: Some(dt), select, ..How::default() })
}

/// `onggi upkeep`, dry or not: a dry one touches nothing, and the other takes nothing that anybody reads.
pub(super) fn upkeep(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    if !looked_again(world)? {
        return Ok(true);
    }
    let lake = world.in_lake("");
    world.damage.age(&lake);
    let keep_days = [1, 2, 7][usize::try_from(draw.below(3)).unwrap()];
    let sizes = || -> Vec<(u64, PathBuf)> {
        files(&lake).into_iter().map(|file| (std::fs::metadata(&file).unwrap().len(), file)).collect()
    };
    let before = sizes();
    for dry_run in [true, false] {
        let runtime = runtime();
        simulation::live(simulation::Life::default());
        let ended =
            runtime.block_on(crate::verb::upkeep::upkeep(&global(world.folder()), &Upkeep { keep_days, dry_run }));
        runtime.shutdown_timeout(Duration::from_secs(20));
        match ended {
            Ok(Exit::Done) => {}
            _ if !world.damage.now().is_empty() => {}
            Ok(exit) => return Err(Broken::new(Law::HealthyIsDone, format!("upkeep: exit {exit:?}"))),
            Err(error) => return Err(Broken::new(Law::HealthyIsDone, format!("upkeep: {}", exit::render(&error)))),
        }
        // The queue's file moves when it is looked at.
        let is_queue =
            |file: &Path| file.file_name().is_some_and(|name| name.to_string_lossy().contains("queue.sqlite"));
        let left: std::collections::BTreeSet<(u64, PathBuf)> = sizes().into_iter().collect();
        if dry_run && let Some((_, file)) = before.iter().find(|it| !left.contains(it) && !is_queue(&it.1)) {
            return Err(Broken::new(Law::NothingLost, format!("a dry upkeep changed {}", file.display())));
        }
    }
    world.tables.read_again();
    let after = world.look().map_err(|error| Broken::new(Law::Readable, format!("after an upkeep: {error:#}")))?;
    if let Some((table, why)) = after.broken().iter().find(|(table, _)| !world.is_damaged_table(table)) {
        return Err(Broken::new(Law::Readable, format!("after an upkeep: {table}: {why}")));
    }
    let kept: Vec<&'static str> = READ.into_iter().chain(["raw.notes", "marts.notes"]).collect();
    if let Some(table) = moved(world, &after, &kept) {
        return Err(Broken::new(Law::NothingLost, format!("an upkeep changed the rows of {table}")));
    }
    if world.damage.now().is_empty() {
        bodies::are_gone(world, &after, keep_days)?;
    }
    world.tables = after;
    Ok(true)
}

/// A run whose tasks are done by workers beside it.
pub(super) fn external(world: &mut World, draw: &mut Draw, is_older: bool) -> Result<bool, Broken> {
    let older = world.folder().join("older");
    if older.is_dir() {
        // Where the site is, is no matter of the project's age.
        std::fs::copy(world.folder().join("onggi.toml"), older.join("onggi.toml")).unwrap();
    }
    let mut workers = vec![Hand { host: draw.percent(50).then(|| "w1".to_owned()), is_older }];
    if draw.percent(30) {
        workers.push(Hand { host: Some("w2".to_owned()), is_older: false });
    }
    perform(world, &How { workers, ..How::default() })
}

/// Of runs that are done, each table that can't be read because of a damage was of no use to them.
pub(super) fn damage_is_told(world: &World, ran: &Ran, broken: &BTreeMap<&'static str, String>) -> Result<(), Broken> {
    let needed = |table: &str| world.damage.is_below(&world.in_lake(&table.replace('.', "/")).join("_delta_log"));
    if ran.is_done()
        && ran.whole
        && let Some((table, why)) = broken.iter().find(|(table, _)| needed(table))
    {
        let how = format!("exit 0, and the log of {table} is damaged: {why}; {}", trouble(ran));
        return Err(Broken::new(Law::DamageIsTold, how));
    }
    Ok(())
}
