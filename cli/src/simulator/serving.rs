//! What people do to sinks: to their files, their rows and their sections, and with `onggi reconcile`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use catalog::simulation::{self, Death, Draw};
use load::SinkKind;
use rusqlite::Connection;

use super::damage::{bad, files};
use super::follow;
use super::how::How;
use super::laws::{Broken, Law};
use super::operation::{copy, jobs, lose};
use super::perform::perform;
use super::served::{GOODS, TOTALS};
use super::sinks::{Place, There, Touched};
use super::tables::{BESIDE, READ};
use super::verbs::looked_again;
use super::world::{World, global, runtime};
use crate::args::Reconcile;
use crate::exit::{self, Exit};

/// So many writes before its end a run is mostly at its syncs.
const LAST: u64 = 40;

const DATABASE: [Place; 2] = [(SinkKind::Sqlite, GOODS), (SinkKind::Sqlite, TOTALS)];
const INDEX: Place = (SinkKind::Keywords, GOODS);
const VECTORS: Place = (SinkKind::Vectors, GOODS);
pub(super) const ALL: [Place; 4] = [DATABASE[0], DATABASE[1], INDEX, VECTORS];

/// The serving folder of the lake.
pub(super) fn folder(world: &World) -> PathBuf {
    world.in_lake("_onggi/serving")
}

fn database(world: &World) -> PathBuf {
    folder(world).join("serving.sqlite")
}

/// What a file or a folder of the sinks holds.
fn places(world: &World, path: &Path) -> Vec<Place> {
    let is_below = |name: &str| path.starts_with(folder(world).join(name));
    match (is_below("keywords"), is_below("vectors")) {
        (true, _) => vec![INDEX],
        (_, true) => vec![VECTORS],
        _ => DATABASE.to_vec(),
    }
}

fn changed(world: &mut World, places: impl IntoIterator<Item = Place>, how: Option<Touched>) {
    world.sinks.touch(places, how);
    world.quiet = None;
}

/// A run is killed near its end, where it syncs, and another one is made.
pub(super) fn killed(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let death = Death { write: world.written.saturating_sub(draw.below(LAST)).max(1), done: draw.percent(50) };
    perform(world, &How { jobs: jobs(draw), death: Some(death), ..How::default() })?;
    world.pass(i64::try_from(draw.below(200)).unwrap());
    perform(world, &How { jobs: jobs(draw), ..How::default() })
}

/// The database, the index, or all of it is removed.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn removed(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let path = match draw.below(4) {
        0 => database(world),
        1 => folder(world).join("keywords").join(GOODS),
        2 => folder(world).join("vectors").join(GOODS),
        _ => folder(world),
    };
    let places = if path == folder(world) { ALL.to_vec() } else { places(world, &path) };
    let was_there = path.exists();
    if path.is_dir() {
        std::fs::remove_dir_all(&path).unwrap();
    } else {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", path.display()));
        }
    }
    if was_there {
        changed(world, places, None);
    }
    Ok(was_there)
}

/// A file of a sink is cut, emptied, or something else.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn struck(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let mut files = files(&folder(world));
    files.retain(|file| file.extension().is_some_and(|it| it != "lock"));
    files.sort();
    let Some(file) = draw.one(&files) else { return Ok(false) };
    let whole = std::fs::read(file).unwrap();
    let left = bad(&whole, draw);
    if left == whole {
        return Ok(false);
    }
    std::fs::write(file, left).unwrap();
    let places = places(world, file);
    changed(world, places, Some(Touched::File));
    Ok(true)
}

/// Somebody changes, removes or adds a row of the database.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn rows(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let lies = matches!(world.sinks.there.get(&DATABASE[0]), Some(There::Rows(_))) && !world.sinks.is_stale();
    if !lies || world.sinks.touched.get(&DATABASE[0]) == Some(&Touched::File) {
        return Ok(false);
    }
    let which = format!("(select rowid from marts_goods order by rowid limit 1 offset {})", draw.below(40));
    let statement = match draw.below(3) {
        0 => format!("update marts_goods set price = -7 where rowid = {which}"),
        1 => format!("delete from marts_goods where rowid = {which}"),
        _ => "insert or ignore into marts_goods (good, number, name, words, price, _row_hash) \
              values ('nobody made it', 999999, 'thing', 'good', 1, 'x')"
            .to_owned(),
    };
    let done = Connection::open(database(world)).and_then(|connection| connection.execute(&statement, []));
    let done = done.is_ok_and(|rows| rows > 0);
    if done {
        changed(world, [DATABASE[0]], Some(Touched::Rows));
    }
    Ok(done)
}

/// The serving folder is copied aside.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn copied(world: &mut World, _: &mut Draw) -> Result<bool, Broken> {
    let (from, to) = (folder(world), world.folder().join("sinks"));
    if !from.is_dir() {
        return Ok(false);
    }
    let _ = std::fs::remove_dir_all(&to);
    copy(&from, &to);
    world.sinks.copy();
    Ok(true)
}

/// The copy is put back.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn restored(world: &mut World, _: &mut Draw) -> Result<bool, Broken> {
    let (from, to) = (world.folder().join("sinks"), folder(world));
    if !from.is_dir() || !world.in_lake("_onggi").is_dir() {
        return Ok(false);
    }
    let _ = std::fs::remove_dir_all(&to);
    copy(&from, &to);
    world.sinks.restore();
    world.quiet = None;
    Ok(true)
}

/// The lake is made anew, or is an older copy, and its sinks are what they were.
pub(super) fn lake_below(world: &mut World, from: Option<&Path>) -> Result<bool, Broken> {
    // That lake may be of a day before the raw table was made, or have none.
    if world.files.has_other_types() || !folder(world).is_dir() || from.is_some_and(|from| !from.is_dir()) {
        return Ok(false);
    }
    let aside = world.folder().join("aside");
    let _ = std::fs::remove_dir_all(&aside);
    std::fs::rename(folder(world), &aside).unwrap();
    let touched = world.sinks.touched.clone();
    lose(world, "")?;
    world.sinks.touched = touched;
    if let Some(from) = from {
        copy(from, &world.in_lake(""));
        let _ = std::fs::remove_dir_all(folder(world));
    }
    std::fs::create_dir_all(world.in_lake("_onggi")).unwrap();
    std::fs::rename(&aside, folder(world)).unwrap();
    for table in READ.into_iter().chain(BESIDE) {
        world.tables.forget(table);
    }
    world.asof = None;
    world.lost_rows |= from.is_none();
    changed(world, [], None);
    Ok(true)
}

/// `onggi reconcile`.
pub(super) fn reconcile(world: &mut World, args: &Reconcile) -> anyhow::Result<Exit> {
    world.sinks.begin();
    simulation::live(simulation::Life::default());
    let runtime = runtime();
    let ended = runtime.block_on(crate::verb::reconcile::reconcile(&global(world.folder()), args));
    runtime.shutdown_timeout(Duration::from_secs(20));
    ended
}

/// Its words: none of them.
pub(super) const NOTHING: Reconcile =
    Reconcile { repair: false, adopt: false, allow_deletes: false, drop_orphans: false };

/// `onggi reconcile --repair`, `--drop-orphans`, or both: who says that all is well is right, and else says why.
pub(super) fn reconciled(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    if !looked_again(world)? || !world.damage.now().is_empty() || !folder(world).is_dir() {
        return Ok(false);
    }
    let (repair, drop_orphans) = (draw.percent(70), draw.percent(50));
    let args = Reconcile { repair, drop_orphans, allow_deletes: repair && draw.percent(50), ..NOTHING };
    let ended = reconcile(world, &args);
    let after = world.look().map_err(|error| Broken::new(Law::Readable, format!("{error:#}")))?;
    match ended {
        Ok(exit) => {
            follow::all_equal(world, &after)
                .map_err(|how| Broken::new(Law::SinkToldTrue, format!("reconcile: {exit:?}: {how}")))?;
            // It has read all that lies there.
            world.sinks.touched.clear();
        }
        Err(error) if follow::all_equal(world, &after).is_ok() && world.sinks.touched.is_empty() => {
            let how = format!("all is equal, and reconcile says: {}", exit::render(&error));
            return Err(Broken::new(Law::SinkToldTrue, how));
        }
        Err(_) => {}
    }
    follow::always(world, &after)?;
    follow::heal(world);
    world.tables = after;
    Ok(true)
}

/// Removes what an error says is damaged; false if it says no such thing.
fn deleted(world: &mut World, hint: &str) -> bool {
    let damaged = hint.split_once("when ").and_then(|(_, rest)| rest.split_once(" is damaged, delete it"));
    let Some(path) = damaged.map(|(path, _)| PathBuf::from(path)) else { return false };
    let places = places(world, &path);
    let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    changed(world, places, None);
    removed.is_ok()
}

/// Runs and mends until nobody has anything more to say, by the ways out that are named and no others.
pub(super) fn mended(world: &mut World) -> Result<(), Broken> {
    for _ in 0..6 {
        perform(world, &How::default())?;
        let [ran] = world.ran.as_slice() else { continue };
        let failed = ran.steps.values().find(|step| step.id.starts_with("sync:") && step.error.is_some());
        let Some((error, hint)) = failed.map(|step| (step.error.clone(), step.hint.clone().unwrap_or_default())) else {
            break;
        };
        if hint.contains("--allow-deletes") {
            perform(world, &How { allow_deletes: true, ..How::default() })?;
        } else if !deleted(world, &hint) {
            let how = format!("a sync fails and names no way out: {error:?}, hint: {hint}");
            return Err(Broken::new(Law::ReachesTruth, how));
        }
    }
    let mut args = NOTHING;
    for _ in 0..6 {
        let Err(error) = reconcile(world, &args) else {
            world.sinks.touched.clear();
            let after = world.look().map_err(|error| Broken::new(Law::Readable, format!("{error:#}")))?;
            follow::always(world, &after)?;
            return follow::reached(world, &after);
        };
        let hint = exit::hint(&error).unwrap_or_default();
        let before = args.clone();
        args.allow_deletes |= hint.contains("--allow-deletes");
        args.repair |= hint.contains("--repair") || args.allow_deletes;
        args.drop_orphans |= hint.contains("--drop-orphans");
        let is_same = (before.repair, before.drop_orphans, before.allow_deletes)
            == (args.repair, args.drop_orphans, args.allow_deletes);
        if is_same && !deleted(world, &hint) {
            let how = format!("reconcile names no way out: {}", exit::render(&error));
            return Err(Broken::new(Law::ReachesTruth, how));
        }
    }
    Err(Broken::new(Law::ReachesTruth, "reconcile is never done"))
}
