//! A run that is told to stop, and another project that writes into the same lake.

use super::files::{NOTES, OTHER};
use super::how::{End, How};
use super::laws::{self, Broken, Law, Seen, trouble};
use super::operation::{BUILT, jobs};
use super::perform::{perform, unopened};
use super::tables::{READ, item, text};
use super::verbs::{looked_again, moved};
use super::world::{World, global, runtime};
use crate::project::Project;
use crate::wire;
use catalog::simulation::Draw;
use catalog::{CommitInfo, RunId, Txn, TxnRule};
use futures::TryStreamExt;

/// A run that is told to stop at some request.
pub(super) fn stopped(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let stop = Some(1 + draw.below(10));
    perform(world, &How { jobs: jobs(draw), stop, ..How::default() })
}

/// It hands back what it holds: who goes on need not wait until it counts as dead.
pub(super) fn stopped_then_run(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    stopped(world, draw)?;
    // What passes before each run is longer than that.
    world.pass(-10);
    perform(world, &How { jobs: jobs(draw), ..How::default() })
}

/// Another program of Delta adds rows to a table that a model makes: rows that are there, once more.
pub(super) fn other_program(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    let Some(name) = draw.one(&BUILT).copied() else { return Ok(false) };
    if !world.in_lake(name).is_dir() || !world.damage.now().is_empty() {
        return Ok(false);
    }
    catalog::simulation::live(catalog::simulation::Life::default());
    let (runtime, times) = (runtime(), i64::try_from(draw.number() >> 2).unwrap());
    let added = runtime.block_on(async {
        let global = global(world.folder());
        let lake = wire::lake(&Project::open(&global)?, &global).await?;
        // One that was killed while it was made is there for nobody.
        let Some(table) = lake.find(&name.replace('/', ".").parse()?).await? else { return anyhow::Ok(false) };
        let rows: Vec<_> = table.snapshot().await?.scan(None).await?.try_collect().await?;
        let txn = Txn { app_id: "another program".to_owned(), version: times, rule: TxnRule::Equal };
        let info = CommitInfo { run: RunId::at(world.now()), now: world.now(), lineage: Vec::new() };
        let there = rows.iter().any(|batch| batch.num_rows() > 0);
        if there {
            let _ = table.append(rows, txn, &info).await?;
        }
        Ok(there)
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(20));
    let added = added.map_err(|error| Broken::new(Law::Readable, format!("{name}: {error:#}")))?;
    if added {
        world.quiet = None;
        world.tables.read_again();
    }
    Ok(added)
}

/// A run of the other project: it does what is its own, and changes nothing else.
pub(super) fn other_project(world: &mut World, draw: &mut Draw) -> Result<bool, Broken> {
    if !looked_again(world)? {
        return Ok(true);
    }
    world.files.write_other(&world.folder().join(OTHER), world.site.url());
    let healthy = world.is_healthy() && world.damage.now().is_empty() && !laws::was_refused_today(world);
    world.pass(11);
    let end = world.run(&How { jobs: jobs(draw), other: true, ..How::default() });
    let after = match world.look() {
        Ok(after) => after,
        Err(error) => return unopened(world, &end, &error),
    };
    world.quiet = None;
    laws::always(world, &Seen { before: &world.tables, after: &after, healthy, quiet: false })?;
    let not_its_own: Vec<&'static str> = READ.into_iter().filter(|table| *table != "raw.shelves").collect();
    if let Some(table) = moved(world, &after, &not_its_own) {
        return Err(Broken::new(Law::NothingLost, format!("a run of another project changed {table}")));
    }
    let today = world.today().to_string();
    if let End::Ran(ran) = &end {
        for ran in ran {
            if healthy && !ran.is_done() {
                return Err(Broken::new(Law::HealthyIsDone, format!("the other project: {}", trouble(ran))));
            }
            for note in NOTES.iter().filter(|_| healthy) {
                let there: Vec<_> = after.rows("raw.notes").iter().filter(|row| text(row, "dt") == today).collect();
                let there: Vec<_> =
                    there.into_iter().filter(|row| text(row, "_key") == *note).filter_map(item).collect();
                let state = world.site.state();
                let items = state.lists.get(&("notes".to_owned(), (*note).to_owned()));
                if let Some(item) = items.into_iter().flatten().find(|item| !there.contains(item)) {
                    return Err(Broken::new(Law::NothingLost, format!("notes of {note} on {today}: {item}")));
                }
            }
        }
    }
    world.tables = after;
    Ok(true)
}
