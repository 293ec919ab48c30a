//! What can happen to a project: the table of operations.
//!
//! **To add one**, write a line in [`OPERATIONS`]: its name in words, how often it is drawn, and a function that does it to
//! the world. The function draws what it needs from its own [`Draw`], so that leaving out other operations changes nothing
//! about this one, and says whether it meant anything now. What it makes true for the laws, it tells the site
//! (`site.rs`: a new [`Condition`]) or the files (`files.rs`: a new member); a law that is new belongs into `laws.rs`.

use catalog::simulation::Draw;
use std::path::Path;

use catalog::simulation::Death;
use jiff::ToSpan;
use serde_json::json;

use super::damage::Part;
use super::how::How;
use super::laws::{Broken, is_mapped};
use super::others;
use super::perform::perform;
use super::served::COPIES;
use super::service::{SPOKEN, Trouble};
use super::serving;
use super::site::Condition;
use super::tables::{BESIDE, READ};
use super::verbs;
use super::world::World;

/// Something that happens.
pub(super) struct Operation {
    /// In words; `ONGGI_WITHOUT` names them.
    pub name: &'static str,
    /// How often it is drawn, beside the others of its kind.
    pub weight: u64,
    /// Runs are drawn apart: each day has one at least.
    pub is_run: bool,
    /// Does it; false if it meant nothing now.
    pub play: fn(&mut World, &mut Draw) -> Result<bool, Broken>,
}

pub(super) const fn run(
    name: &'static str,
    weight: u64,
    play: fn(&mut World, &mut Draw) -> Result<bool, Broken>,
) -> Operation {
    Operation { name, weight, is_run: true, play }
}

const fn change(name: &'static str, weight: u64, play: fn(&mut World, &mut Draw) -> Result<bool, Broken>) -> Operation {
    Operation { name, weight, is_run: false, play }
}

/// The day ends.
pub(super) static NEXT_DAY: Operation = change("the next day comes", 0, |world, draw| {
    world.next_day(draw);
    Ok(true)
});

/// The site mends itself.
pub(super) static WELL: Operation = change("the site is well", 6, |world, draw| sick(world, draw, Condition::Well));

/// All that is drawn.
pub(super) static OPERATIONS: &[Operation] = &[
    run("run today", 10, |world, draw| perform(world, &How { jobs: jobs(draw), ..How::default() })),
    run("run again at once", 3, |world, draw| {
        perform(world, &How { jobs: jobs(draw), ..How::default() })?;
        perform(world, &How { jobs: jobs(draw), ..How::default() })
    }),
    run("run killed at a write, then run", 4, |world, draw| {
        let death = Death { write: 1 + draw.below(90), done: draw.percent(50) };
        perform(world, &How { jobs: jobs(draw), death: Some(death), ..How::default() })?;
        world.pass(i64::try_from(draw.below(200)).unwrap());
        perform(world, &How { jobs: jobs(draw), ..How::default() })
    }),
    run("run killed at a request, then run", 2, |world, draw| {
        let deadly = Some(1 + draw.below(12));
        perform(world, &How { jobs: jobs(draw), deadly, ..How::default() })?;
        world.pass(i64::try_from(draw.below(200)).unwrap());
        perform(world, &How { jobs: jobs(draw), ..How::default() })
    }),
    run("run killed", 2, |world, draw| {
        let death = Death { write: 1 + draw.below(90), done: draw.percent(50) };
        perform(world, &How { jobs: jobs(draw), death: Some(death), ..How::default() })
    }),
    run("two runs at once", 2, |world, draw| {
        perform(world, &How { jobs: jobs(draw), hosts: vec![None, None], ..How::default() })
    }),
    run("two runs at once in containers", 2, |world, draw| {
        let hosts = ["c1", "c2"].map(|host| Some(host.to_owned())).into();
        perform(world, &How { jobs: jobs(draw), hosts, ..How::default() })
    }),
    run("run in another container", 2, |world, draw| {
        let host = Some(format!("c{}", draw.below(5)));
        perform(world, &How { jobs: jobs(draw), hosts: vec![host], ..How::default() })
    }),
    run("run of the stale days", 2, |world, _| perform(world, &How { stale: true, ..How::default() })),
    run("run for another day", 2, |world, draw| {
        let days = i64::try_from(1 + draw.below(5)).unwrap();
        let dt = if draw.percent(85) { world.today() - days.days() } else { world.today() + days.days() };
        perform(world, &How { jobs: jobs(draw), dt: Some(dt), ..How::default() })
    }),
    run("run for an old day by name", 2, verbs::old_day_by_name),
    run("run that asks again for all", 2, verbs::refetch),
    run("a key is opened again, then run", 2, verbs::retry_key),
    run("run whose tasks a worker does", 3, |world, draw| verbs::external(world, draw, false)),
    run("run whose tasks a worker with older files does", 2, |world, draw| verbs::external(world, draw, true)),
    run("two runs and a worker in containers", 1, |world, draw| {
        let hosts = ["c1", "c2"].map(|host| Some(host.to_owned())).into();
        let workers = vec![verbs::Hand { host: Some("w1".to_owned()), is_older: false }];
        perform(world, &How { jobs: jobs(draw), hosts, workers, ..How::default() })
    }),
    run("a plan, then run", 4, verbs::as_planned),
    run("run that is stopped", 2, others::stopped),
    run("run that is stopped, then run", 2, others::stopped_then_run),
    run("run of another project on the lake", 3, others::other_project),
    run("run killed in a sync, then run", 3, serving::killed),
    run("run that may remove any rows of sinks", 2, |world, draw| {
        perform(world, &How { jobs: jobs(draw), allow_deletes: true, ..How::default() })
    }),
    change("sinks are reconciled", 3, serving::reconciled),
    change("keys are opened again", 2, verbs::retry_some),
    change("an upkeep by hand", 2, verbs::upkeep),
    // The site.
    change("the site is down", 2, |world, draw| sick(world, draw, Condition::Down)),
    change("robots.txt answers 503", 2, |world, draw| sick(world, draw, Condition::RobotsFails)),
    change("robots.txt breaks off", 1, |world, draw| sick(world, draw, Condition::RobotsBreaksOff)),
    change("robots.txt denies", 1, |world, draw| sick(world, draw, Condition::RobotsDenies)),
    change("lists are 404", 2, |world, draw| sick(world, draw, Condition::Gone)),
    change("lists are 503", 2, |world, draw| sick(world, draw, Condition::Unavailable)),
    change("second pages are 503", 2, |world, draw| sick(world, draw, Condition::FailsLater)),
    change("second pages are 404", 2, |world, draw| sick(world, draw, Condition::GoneLater)),
    change("429 for a while", 2, |world, draw| {
        let times = u32::try_from(1 + draw.below(30)).unwrap();
        let kind = if draw.percent(50) { Condition::Busy(times) } else { Condition::BusyFor(times) };
        sick(world, draw, kind)
    }),
    change("answers are no JSON", 2, |world, draw| sick(world, draw, Condition::Garbage)),
    change("an error with the status 200", 2, |world, draw| sick(world, draw, Condition::ErrorWith200)),
    change("a member is renamed", 2, |world, draw| sick(world, draw, Condition::Renamed)),
    change("404 behind the last page", 2, |world, draw| sick(world, draw, Condition::EndsWith404)),
    change("an item comes while paged", 2, |world, draw| sick(world, draw, Condition::GrowsWhilePaged)),
    change("an item goes while paged", 2, |world, draw| sick(world, draw, Condition::ShrinksWhilePaged)),
    change("answers break off", 1, |world, draw| sick(world, draw, Condition::CutShort)),
    change("robots.txt is garbage", 1, |world, draw| sick(world, draw, Condition::RobotsGarbage)),
    change("robots.txt is gone", 1, |world, draw| sick(world, draw, Condition::RobotsGone)),
    // What it holds.
    change("an item is restated", 4, |world, draw| {
        on_item(world, draw, |item, draw| {
            item["price"] = json!(1 + draw.below(1_000));
        })
    }),
    change("an item turns odd", 1, |world, draw| on_item(world, draw, |item, _| item["price"] = json!("ask us"))),
    change("an item loses its key", 1, |world, draw| on_item(world, draw, |item, _| item["id"] = json!(null))),
    change("items are inserted", 4, |world, draw| {
        let Some(list) = draw.one(&world.item_lists()).cloned() else { return Ok(false) };
        for _ in 0..=draw.below(4) {
            let item = world.item();
            let mut state = world.site.state();
            let items = state.lists.entry(list.clone()).or_default();
            let place = usize::try_from(draw.below(items.len() as u64 + 1)).unwrap();
            items.insert(place, item);
        }
        Ok(true)
    }),
    change("an item is deleted", 2, |world, draw| {
        let Some(list) = draw.one(&world.item_lists()).cloned() else { return Ok(false) };
        Ok(world.site.state().lists.get_mut(&list).and_then(Vec::pop).is_some())
    }),
    change("a list is emptied", 1, |world, draw| {
        let Some(list) = draw.one(&world.item_lists()).cloned() else { return Ok(false) };
        world.site.state().lists.insert(list, Vec::new());
        Ok(true)
    }),
    change("a shelf is added", 2, |world, draw| {
        let Some(area) = draw.one(&world.files.areas).cloned() else { return Ok(false) };
        world.add_shelf(&area);
        Ok(true)
    }),
    change("a shelf is taken away", 1, |world, draw| {
        let Some(area) = draw.one(&world.files.areas).cloned() else { return Ok(false) };
        let list = ("shelves".to_owned(), area);
        Ok(world.site.state().lists.get_mut(&list).and_then(Vec::pop).is_some())
    }),
    // The project's files.
    change("an area has another name", 1, |world, draw| {
        let Some(old) = draw.one(&world.files.areas).cloned() else { return Ok(false) };
        let new = world.name("area");
        {
            let mut state = world.site.state();
            let shelves = state.lists.remove(&("shelves".to_owned(), old.clone())).unwrap_or_default();
            state.lists.insert(("shelves".to_owned(), new.clone()), shelves);
        }
        touch(world, |files| files.areas.iter_mut().filter(|area| **area == old).for_each(|area| area.clone_from(&new)))
    }),
    change("an area is added", 1, |world, _| {
        let area = world.name("area");
        world.add_shelf(&area);
        touch(world, |files| files.areas.push(area))
    }),
    change("an area is removed", 1, |world, _| {
        let many = world.files.areas.len() > 1;
        if many { touch(world, |files| drop(files.areas.pop())) } else { Ok(false) }
    }),
    change("`per_task` changes", 2, |world, draw| {
        let size = usize::try_from(1 + draw.below(4)).unwrap();
        touch(world, |files| files.per_task = size)
    }),
    change("a field is added", 1, |world, _| touch(world, |files| files.stars = files.stars.or(Some("stars")))),
    change("a field is removed", 1, |world, _| touch(world, |files| files.stars = None)),
    change("a field is renamed", 1, |world, _| {
        touch(world, |files| files.stars = files.stars.map(|old| if old == "stars" { "points" } else { "stars" }))
    }),
    change("a field has another type", 1, |world, _| retype(world, |files| files.price_is_float = true)),
    change("a field becomes a hash", 1, |world, _| retype(world, |files| files.name_is_hash = true)),
    change("fields have their types again", 2, |world, _| {
        touch(world, |files| (files.price_is_float, files.name_is_hash) = (false, false))
    }),
    change("the SQL of a staging model changes", 1, |world, _| {
        touch(world, |files| files.names_upper = !files.names_upper)
    }),
    change("the SQL of a partition changes", 1, |world, _| {
        touch(world, |files| files.daily_doubled = !files.daily_doubled)
    }),
    change("a partition is kept as a table, or a table as a partition", 2, |world, _| {
        touch(world, |files| files.daily_whole = !files.daily_whole)
    }),
    change("the SQL of a view changes", 1, |world, _| {
        touch(world, |files| files.cheap_below = if files.cheap_below == 500 { 400 } else { 500 })
    }),
    change("a column of a table comes or goes", 1, |world, _| {
        touch(world, |files| files.totals_wide = !files.totals_wide)
    }),
    change("a check is added that fails", 1, |world, _| touch(world, |files| files.item_bound = 1)),
    change("a check of a view is added that fails", 1, |world, _| touch(world, |files| files.view_bound = 1)),
    change("the checks are as before", 3, |world, _| {
        touch(world, |files| (files.item_bound, files.view_bound) = (1_000_000, 1_000_000))
    }),
    // What is served.
    change("goods are not served, or again", 2, |world, _| serve(world, |it| it.goods = !it.goods)),
    change("totals are served, or not any more", 2, |world, _| serve(world, |it| it.totals = !it.totals)),
    change("goods are searched, or not any more", 2, |world, _| serve(world, |it| it.keywords = !it.keywords)),
    change("goods have vectors, or not any more", 2, |world, _| serve(world, |it| it.vectors = !it.vectors)),
    change("the key of goods is another column", 2, |world, _| serve(world, |it| it.by_number = !it.by_number)),
    change("names are searched, or not any more", 1, |world, _| serve(world, |it| it.names = !it.names)),
    change("names head what is found, or not any more", 1, |world, _| serve(world, |it| it.titled = !it.titled)),
    change("`max_deleted` changes", 1, |world, draw| {
        let share = [0, 20, 60, 100][usize::try_from(draw.below(4)).unwrap()];
        serve(world, |it| it.may_lose = share)
    }),
    change("the mart of goods is empty, or halved", 2, |world, draw| {
        let copies = i64::try_from(2 * draw.below(2)).unwrap();
        serve(world, |it| it.copies = copies)
    }),
    change("the mart of goods is whole again", 3, |world, _| serve(world, |it| it.copies = COPIES)),
    // The sinks.
    change("files of sinks are removed", 2, serving::removed),
    change("a file of a sink is damaged", 2, serving::struck),
    change("a row of a sink is another, gone, or new", 3, serving::rows),
    change("the sinks are copied", 2, serving::copied),
    change("the sinks are restored", 2, serving::restored),
    change("the lake is restored below its sinks", 1, |world, _| {
        let from = world.folder().join("whole");
        serving::lake_below(world, Some(&from))
    }),
    change("the lake is made anew below its sinks", 1, |world, _| serving::lake_below(world, None)),
    // The model.
    change("the model is away", 1, |world, _| turn(world, Trouble::Down)),
    change("the model is busy", 1, |world, draw| turn(world, Trouble::Busy(1 + draw.below(20)))),
    change("the model fails", 1, |world, draw| turn(world, Trouble::Fails(1 + draw.below(20)))),
    change("a front of the model gives up", 1, |world, draw| turn(world, Trouble::TimesOut(1 + draw.below(6)))),
    change("answers of the model are lost", 1, |world, draw| turn(world, Trouble::Loses(1 + draw.below(6)))),
    change("answers of the model break off", 1, |world, draw| turn(world, Trouble::Breaks(1 + draw.below(6)))),
    change("answers of the model are odd", 1, |world, draw| turn(world, Trouble::Odd(1 + draw.below(8)))),
    change("the model is well", 7, |world, _| turn(world, Trouble::None)),
    change("the model may cost little, or anything", 3, |world, draw| {
        let budget = [None, None, Some(1.0), Some(3.0)][usize::try_from(draw.below(4)).unwrap()];
        touch(world, |files| files.budget = budget)
    }),
    change("the model is told something else", 1, |world, draw| {
        let told = u8::try_from(draw.below(3)).unwrap();
        touch(world, |files| files.told = told)
    }),
    // The lake.
    change("`_onggi` is lost", 1, |world, _| lose(world, "_onggi")),
    change("the plans are lost", 1, |world, _| lose(world, "_onggi/plans")),
    change("the state is lost", 1, |world, _| lose(world, "_onggi/state")),
    change("the queue is lost", 1, |world, _| lose(world, "_onggi/queue.sqlite")),
    change("a built table is lost", 2, |world, draw| {
        let Some(table) = draw.one(&BUILT) else { return Ok(false) };
        lose(world, table)
    }),
    change("another program adds rows to a built table", 2, others::other_program),
    change("a raw table is lost", 1, |world, _| {
        // Made anew, it would have the other type, and the old one would be the one that is refused.
        if world.files.has_other_types() {
            return Ok(false);
        }
        let was_there = lose(world, "raw/items")?;
        world.tables.forget("raw.items");
        world.lost_rows |= was_there;
        Ok(was_there)
    }),
    change("a raw table is copied", 1, |world, _| {
        let (from, to) = (world.in_lake("raw/items"), world.folder().join("copy"));
        let _ = std::fs::remove_dir_all(&to);
        world.has_copy = from.is_dir() && world.damage.now().is_empty();
        if world.has_copy {
            copy(&from, &to);
        }
        Ok(world.has_copy)
    }),
    change("a raw table is restored", 2, |world, _| {
        if world.has_copy {
            lose(world, "raw/items")?;
            copy(&world.folder().join("copy"), &world.in_lake("raw/items"));
            world.tables.forget("raw.items");
            world.lost_rows = true;
        }
        Ok(world.has_copy)
    }),
    change("the lake is copied", 3, |world, _| {
        let (from, to) = (world.in_lake(""), world.folder().join("whole"));
        let _ = std::fs::remove_dir_all(&to);
        // Of a damaged lake nobody keeps a copy to go back to.
        let is_whole = from.is_dir() && world.damage.now().is_empty();
        if is_whole {
            copy(&from, &to);
            world.sinks.copy();
        }
        Ok(is_whole)
    }),
    change("the lake is restored", 2, |world, _| {
        let from = world.folder().join("whole");
        // That copy may be of a day before the raw table was made.
        if world.files.has_other_types() {
            return Ok(false);
        }
        if from.is_dir() {
            lose(world, "")?;
            copy(&from, &world.in_lake(""));
            for table in READ.into_iter().chain(BESIDE) {
                world.tables.forget(table);
            }
            world.sinks.restore();
            world.asof = None;
        }
        Ok(from.is_dir())
    }),
    change("a built table is restored from the lake's copy", 2, |world, draw| {
        let Some(table) = draw.one(&BUILT) else { return Ok(false) };
        let from = world.folder().join("whole").join(table);
        if from.is_dir() {
            lose(world, table)?;
            copy(&from, &world.in_lake(table));
        }
        Ok(from.is_dir())
    }),
    change("a file of rows is damaged", 2, |world, draw| strike(world, draw, Part::Data)),
    change("the newest entry of a log is damaged", 1, |world, draw| strike(world, draw, Part::NewestEntry)),
    change("a file of a log is damaged", 1, |world, draw| strike(world, draw, Part::Log)),
    change("a file under `_onggi` is damaged", 2, |world, draw| strike(world, draw, Part::House)),
    change("what is damaged is restored", 9, |world, _| {
        let was_damaged = world.damage.restore();
        if was_damaged {
            world.quiet = None;
            world.tables.read_again();
        }
        Ok(was_damaged)
    }),
    // The clock.
    change("the clock is ahead", 1, |world, draw| {
        world.pass(60 * i64::try_from(1 + draw.below(30)).unwrap());
        world.quiet = None;
        Ok(true)
    }),
    change("the clock is behind", 1, |world, draw| {
        world.pass(-60 * i64::try_from(1 + draw.below(30)).unwrap());
        world.quiet = None;
        Ok(true)
    }),
];

/// The folders of tables that are built.
pub(super) const BUILT: [&str; 10] = [
    "staging/shelves",
    "staging/items",
    "marts/daily",
    "marts/totals",
    "marts/asof",
    "marts/cheap",
    "marts/top",
    "marts/goods",
    "marts/words",
    "marts/said",
];

/// Whether an item is none that can be mapped: without a key, or with a price that is no number.
pub(super) fn is_odd(item: &serde_json::Value) -> bool {
    item["id"].is_null() || item["price"].is_string()
}

pub(super) fn jobs(draw: &mut Draw) -> usize {
    usize::try_from(1 + draw.below(3)).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
fn sick(world: &mut World, draw: &mut Draw, condition: Condition) -> Result<bool, Broken> {
    let keys: Vec<String> = world.site.state().lists.keys().map(|(_, key)| key.clone()).collect();
    let of_lists = !matches!(
        condition,
        Condition::Well
            | Condition::Down
            | Condition::RobotsFails
            | Condition::RobotsBreaksOff
            | Condition::RobotsDenies
            | Condition::Busy(_)
            | Condition::BusyFor(_)
    );
    {
        let mut state = world.site.state();
        state.condition = condition;
        state.only = draw.one(&keys).filter(|_| of_lists && draw.clone().percent(40)).cloned();
    }
    world.write_files();
    Ok(true)
}

#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
fn on_item(
    world: &mut World,
    draw: &mut Draw,
    change: impl FnOnce(&mut serde_json::Value, &mut Draw),
) -> Result<bool, Broken> {
    let Some(list) = draw.one(&world.item_lists()).cloned() else { return Ok(false) };
    let mut state = world.site.state();
    let items = state.lists.entry(list).or_default();
    let place = draw.below(items.len().max(1) as u64);
    let Some(item) = items.get_mut(usize::try_from(place).unwrap()) else { return Ok(false) };
    change(item, draw);
    Ok(true)
}

/// Edits the project's files, if that changes any.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
fn touch(world: &mut World, edit: impl FnOnce(&mut super::files::Files)) -> Result<bool, Broken> {
    let before = world.files.clone();
    world.edit(edit);
    let changed = before != world.files;
    if changed {
        before.write(&world.folder().join("older"), world.site.url(), world.service.url());
        world.quiet = None;
    }
    Ok(changed)
}

/// Another trouble of the model, or none.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
fn turn(world: &mut World, trouble: Trouble) -> Result<bool, Broken> {
    world.service.turn(trouble);
    world.write_files();
    Ok(true)
}

/// Edits what is served, if that changes anything.
fn serve(world: &mut World, edit: impl FnOnce(&mut super::served::Served)) -> Result<bool, Broken> {
    touch(world, |files| edit(&mut files.served))
}

/// Edits the type of a field that has landed, which is refused until it is as it was.
fn retype(world: &mut World, edit: impl FnOnce(&mut super::files::Files)) -> Result<bool, Broken> {
    let has_landed = world.in_lake("raw/items").is_dir() && world.tables.rows("raw.items").iter().any(is_mapped);
    if has_landed { touch(world, edit) } else { Ok(false) }
}

/// Takes something away from the lake.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
pub(super) fn lose(world: &mut World, path: &str) -> Result<bool, Broken> {
    let at = world.in_lake(path);
    let was_there = at.exists();
    if at.is_dir() {
        std::fs::remove_dir_all(&at).unwrap();
    } else {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", at.display()));
        }
    }
    if was_there {
        world.quiet = None;
        world.is_damaged = true;
    }
    if path.is_empty() || path == "_onggi" {
        world.sinks.touch(serving::ALL, None);
    }
    if path == "marts/asof" {
        world.asof = None;
    }
    // What is known of answers and costs lies there.
    if ["", "_onggi", "_onggi/state"].contains(&path) {
        world.service.disturb();
    }
    if let Some(table) =
        READ.iter().chain(&SPOKEN).find(|table| table.replace('.', "/") == path && !table.starts_with("raw."))
    {
        world.tables.forget(table);
    }
    Ok(was_there)
}

/// Damages a file.
#[expect(clippy::unnecessary_wraps, reason = "operations have one form")]
fn strike(world: &mut World, draw: &mut Draw, part: Part) -> Result<bool, Broken> {
    let lake = world.in_lake("");
    let struck = world.damage.strike(&lake, part, draw).is_some();
    if struck {
        world.service.disturb();
        world.quiet = None;
        world.tables.read_again();
    }
    Ok(struck)
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
