//! Stale days: what a plan says of them, and what a run of them says of everything else.

use serde_json::Value;

use super::how::{End, How, Ran};
use super::in_threads;
use super::world::{World, runtime};
use crate::args::{Fetchers, Global, RunArgs};
use crate::exit::Exit;
use crate::{lake_state, wire};

fn ran(world: &mut World, stale: bool) -> Ran {
    match world.run(&How { stale, ..How::default() }) {
        End::Ran(mut ran) if ran.len() == 1 => ran.remove(0),
        _ => panic!("one run ends by itself"),
    }
}

/// What `onggi plan --stale` says: days, names and actions.
fn planned(world: &World) -> Vec<[String; 3]> {
    let runtime = runtime();
    let lines = runtime.block_on(async {
        let folder = world.folder().to_owned();
        let global = Global { project: folder, config: None, lake: None, json: false, quiet: true, log: String::new() };
        let project = crate::verb::check::checked(&global)?;
        let lake = wire::lake(&project, &global).await?;
        let state = lake_state::look(&project, &lake).await?;
        let args = RunArgs {
            dt: None,
            select: Vec::new(),
            dry_run: false,
            refetch: false,
            allow_deletes: false,
            stale: true,
            jobs: None,
            workers: Fetchers::Own,
        };
        crate::verb::plan::planned(&project, &lake, &state, world.today(), &args).await
    });
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let lines = lines.unwrap().into_iter().map(|line| serde_json::to_value(line).unwrap());
    lines.map(|line| ["dt", "name", "action"].map(|name| text(&line, name))).collect()
}

fn left_alone(ran: &Ran) -> Vec<&String> {
    ran.told.iter().filter(|line| line.starts_with("not looked at")).collect()
}

#[test]
fn stale_days_are_planned_as_they_are_built_and_the_rest_is_not_passed_over_in_silence() {
    in_threads(1, &|| {
        let mut world = World::new();
        for _ in 0..2 {
            assert_eq!(ran(&mut world, false).exit, Some(Exit::Done));
            world.pass(24 * 60);
        }
        assert_eq!(ran(&mut world, false).exit, Some(Exit::Done));
        assert_eq!(planned(&world), [] as [[String; 3]; 0]);
        world.edit(|files| files.daily_doubled = true);
        let build = |day: &str| [day, "marts.daily", "build"].map(str::to_owned);
        assert_eq!(planned(&world), ["2026-10-01", "2026-10-02", "2026-10-03"].map(build));
        let stale = ran(&mut world, true);
        assert_eq!((stale.exit, left_alone(&stale)), (Some(Exit::Done), Vec::new()), "{:?}", stale.told);
        assert_eq!(planned(&world), [] as [[String; 3]; 0]);
        // A check that fails belongs to no stale day.
        world.edit(|files| files.item_bound = 1);
        world.pass(24 * 60);
        assert_eq!(ran(&mut world, false).exit, Some(Exit::Failed));
        let stale = ran(&mut world, true);
        let told = left_alone(&stale);
        assert_eq!((stale.exit, told.len()), (Some(Exit::Done), 1), "{:?}", stale.told);
        assert!(told[0].contains("build staging.items ("), "{told:?}");
    });
}
