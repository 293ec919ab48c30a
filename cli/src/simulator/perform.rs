//! A run of the project, held against the laws.

use super::bodies;
use super::follow;
use super::how::{End, How, Ran};
use super::laws::{self, Broken, Law, Seen};
use super::service;
use super::truth;
use super::verbs::looked_again;
use super::world::World;
use crate::exit::Exit;

/// Runs the project and holds what came of it against the laws.
pub(super) fn perform(world: &mut World, how: &How) -> Result<bool, Broken> {
    looked_again(world)?;
    // Longer than a task of a dead process is hidden from others.
    world.pass(11);
    // Who finds that rows of earlier days are gone says so, and is not done.
    let was_healthy = world.is_healthy() && world.damage.now().is_empty() && !world.lost_rows;
    let quiet = world.quiet == Some(world.today()) && how.is_plain();
    let end = world.run(how);
    let after = match world.look() {
        Ok(after) => after,
        Err(error) => return unopened(world, &end, &error),
    };
    let was_stopped = world.was_stopped();
    let healthy = was_healthy && world.is_healthy() && !was_stopped;
    let seen = Seen { before: &world.tables, after: &after, healthy, quiet };
    laws::always(world, &seen)?;
    (world.was_killed, world.quiet) = (false, None);
    world.ran = if let End::Ran(ran) = &end { ran.clone() } else { Vec::new() };
    match end {
        End::Endless => {
            let said = world.said.lock().unwrap().join("\n");
            return Err(Broken::new(Law::Ends, format!("after hours of its own time it still went on\n{said}")));
        }
        End::Killed(point) => {
            world.was_killed = true;
            world.points.push(point.unwrap_or("before the first point"));
        }
        End::Ran(ran) => {
            for ran in &ran {
                laws::after_run(world, ran, &seen, how.stale)?;
                bodies::are_kept(world, how, ran, &after)?;
                if was_stopped && ran.is_done() {
                    return Err(Broken::new(Law::ExitCodeTrue, "exit 0 of a run that was told to stop"));
                }
            }
            for ran in &ran {
                service::remember(world, ran, &after);
            }
            if how.stale || !how.select.is_empty() {
                // It says nothing about today's keys.
                world.stands_for(truth::asof_day(&after));
                follow::heal(world);
                world.tables = after;
                return Ok(true);
            }
            world.is_open = !ran.iter().all(Ran::is_done);
            world.is_damaged &= world.is_open;
            let for_today = ran.iter().all(|ran| ran.dt == world.today());
            world.lost_rows &= world.is_open || !for_today;
            let is_whole = world.damage.now().is_empty();
            world.quiet = (!world.is_open && for_today && is_whole).then_some(world.today());
            world.stands_for(truth::asof_day(&after));
        }
    }
    follow::heal(world);
    world.tables = after;
    Ok(true)
}

/// The lake can't be opened: so it was for the run, which says so, or it is the run's fault.
pub(super) fn unopened(world: &mut World, end: &End, error: &anyhow::Error) -> Result<bool, Broken> {
    if !world.damage.is_below(&world.in_lake("_onggi")) {
        return Err(Broken::new(Law::Readable, format!("{error:#}")));
    }
    if let End::Ran(ran) = end
        && let Some(ran) = ran.iter().find(|ran| ran.is_done())
    {
        return Err(Broken::new(Law::DamageIsTold, format!("exit 0 on {}, and the lake can't be opened", ran.dt)));
    }
    (world.quiet, world.is_open) = (None, true);
    Ok(true)
}

/// A file that nobody needs today is needed by somebody some day: who finds it cut is not done, that day or any other, until it
/// is whole again.
#[test]
fn a_run_whose_upkeep_finds_a_file_cut_is_not_done() {
    super::in_threads(1, &|| {
        let mut world = World::new();
        let exit = |world: &mut World| match world.run(&How::default()) {
            End::Ran(ran) => (ran[0].exit, ran[0].told.join("\n")),
            _ => panic!("it ends by itself"),
        };
        assert_eq!(exit(&mut world).0, Some(Exit::Done));
        let of_day = world.in_lake("marts/daily/dt=2026-10-01");
        let file =
            super::damage::files(&of_day).into_iter().find(|file| file.extension().is_some_and(|it| it == "parquet"));
        let file = file.unwrap();
        let whole = std::fs::read(&file).unwrap();
        world.pass(24 * 60);
        assert_eq!(exit(&mut world).0, Some(Exit::Done));
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        world.pass(24 * 60);
        for _ in 0..2 {
            let (exit, told) = exit(&mut world);
            assert_eq!(exit, Some(Exit::Partial), "{told}");
            assert!(told.contains("marts.daily: `marts/daily/dt=2026-10-01/"), "{told}");
        }
        std::fs::write(&file, whole).unwrap();
        assert_eq!(exit(&mut world).0, Some(Exit::Done));
    });
}
