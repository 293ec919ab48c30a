//! Each law is broken on purpose, and has to say so: a law that can't be broken holds nobody to anything.

use catalog::simulation::Draw;
use std::collections::BTreeMap;

use catalog::run::StepStatus;
use load::SinkKind;
use serde_json::json;

use super::damage::{Damage, Part};
use super::follow::TOO_MANY;
use super::how::{End, How, Ran};
use super::laws::{self, Broken, Law, Seen};
use super::perform::perform;
use super::served::{GOODS, TOTALS};
use super::sinks::{Place, There};
use super::tables::{Tables, text};
use super::world::World;
use super::{truth, verbs};
use crate::exit::Exit;

/// A run that was as it should be, and what was seen before it and after it.
struct Scene {
    world: World,
    ran: Ran,
    before: Tables,
    after: Tables,
    quiet: bool,
}

/// A way to break a law.
struct Case {
    law: Law,
    what: &'static str,
    sabotage: fn(&mut Scene),
}

const fn case(law: Law, what: &'static str, sabotage: fn(&mut Scene)) -> Case {
    Case { law, what, sabotage }
}

static CASES: &[Case] = &[
    case(Law::NothingLost, "a raw row is gone", |it| it.after.edit("raw.items", |rows| drop(rows.pop()))),
    case(Law::NothingLost, "an item that was shown is nowhere", |it| {
        let mut state = it.world.site.state();
        let lists = state.shown.iter_mut().find(|((list, _), _)| list.0 == "items").unwrap().1;
        for list in lists {
            list.push(json!({ "id": "never landed" }));
        }
    }),
    case(Law::NothingTwice, "a raw row is there twice", |it| {
        it.after.edit("raw.items", |rows| rows.push(rows[0].clone()));
    }),
    case(Law::NothingTwice, "a second run asks", |it| {
        it.quiet = true;
        it.world.site.state().asked = 1;
    }),
    case(Law::LastGoodStays, "a summary is gone", |it| {
        it.after.edit("marts.said", |rows| drop(rows[0].remove("summary")));
    }),
    case(Law::SaidOfNow, "texts are others, and their summary is not", |it| {
        it.after.edit("marts.words", |rows| drop(rows[0].insert("texts".to_owned(), json!(["others"]))));
    }),
    case(Law::SaidOfNow, "a shelf has no summary", |it| {
        it.before.edit("marts.said", Vec::clear);
        it.after.edit("marts.said", |rows| drop(rows.pop()));
    }),
    case(Law::SaidOfNow, "a field is shown that nobody asks for", |it| {
        it.after.edit("marts.said", |rows| drop(rows[0].insert("tone".to_owned(), json!("mild"))));
    }),
    case(Law::NothingStale, "a sum is another one", |it| {
        it.after.edit("marts.totals", |rows| drop(rows[0].insert("total".to_owned(), json!(-1))));
    }),
    case(Law::NothingStale, "a day of a table lacks a row", |it| {
        it.after.edit("marts.daily", |rows| drop(rows.pop()));
    }),
    case(Law::NothingStale, "the newest of an item is not there", |it| {
        it.after.edit("staging.items", |rows| drop(rows.pop()));
    }),
    case(Law::NothingStale, "a table stands for an older day", |it| {
        it.world.asof = Some(it.world.today());
        it.after.edit("marts.asof", |rows| drop(rows[0].insert("day".to_owned(), json!("2026-01-01"))));
    }),
    case(Law::NothingStale, "a table was never made", |it| it.after.forget("marts.top")),
    case(Law::NothingBadPublished, "exit 0 beside a check that fails", |it| it.world.files.item_bound = 1),
    case(Law::NothingBadPublished, "exit 0 beside a check of a view that fails", |it| it.world.files.view_bound = 1),
    case(Law::NothingBadPublished, "a table moves below one that failed", |it| {
        let step = it.ran.steps.get_mut("build:staging.cheap").unwrap();
        step.status = StepStatus::Failed;
        it.ran.exit = Some(Exit::Failed);
        it.before.edit("marts.top", Vec::clear);
    }),
    case(Law::ExitCodeTrue, "exit 0, and a list was never had", |it| it.world.site.state().shown.clear()),
    case(Law::HealthyIsDone, "nothing is wrong, and the run is not done", |it| it.ran.exit = Some(Exit::Partial)),
    case(Law::NoFalseDay, "what was fetched today stands under another day", |it| {
        let mut row = it.after.rows("raw.items")[0].clone();
        row.insert("dt".to_owned(), json!("2026-01-01"));
        it.after.edit("raw.items", |rows| rows.push(row));
    }),
    case(Law::SinkAsMart, "a row of a sink is another", |it| {
        let Some(There::Rows(lying)) = it.world.sinks.there.get_mut(&SEARCHED) else { panic!("goods are searched") };
        lying.lines.as_mut().unwrap().values_mut().next().unwrap().push('!');
    }),
    case(Law::SinkAsMart, "a sink that had rows shows nothing", |it| {
        it.world.sinks.there.insert(STORED, There::Nothing);
    }),
    case(Law::SinkAsMart, "exit 0, and nothing was synced", |it| drop(it.ran.steps.remove("sync:marts.goods"))),
    case(Law::SinkAsMart, "synced, and the mart has one row more", |it| {
        let mut row = it.after.rows(GOODS)[0].clone();
        row.insert("good".to_owned(), json!("one more"));
        it.world.sinks.equal.values_mut().for_each(|equal| *equal = Ok(false));
        it.after.edit(GOODS, |rows| rows.push(row));
        it.ran.exit = Some(Exit::Failed);
        it.ran.steps.get_mut("build:marts.goods").unwrap().status = StepStatus::Partial;
    }),
    case(Law::SinkToldTrue, "a sink that is equal is not called so", |it| {
        it.world.sinks.equal.insert(STORED, Ok(false));
    }),
    case(Law::SinkToldTrue, "nobody names a table that no section asks for", |it| {
        let there = it.world.sinks.there[&STORED].clone();
        it.world.sinks.there.insert((SinkKind::Sqlite, TOTALS), there);
    }),
    case(Law::SyncStops, "a sync stops for nothing", |it| {
        let step = it.ran.steps.get_mut("sync:marts.goods").unwrap();
        (step.status, step.error) = (StepStatus::Failed, Some(format!("{TOO_MANY} 1 of 100 rows")));
        it.ran.exit = Some(Exit::Failed);
    }),
];

const STORED: Place = (SinkKind::Sqlite, GOODS);
const SEARCHED: Place = (SinkKind::Keywords, GOODS);

/// The first law that is broken.
fn verdict(it: &Scene) -> Result<(), Broken> {
    let seen = Seen { before: &it.before, after: &it.after, healthy: true, quiet: it.quiet };
    laws::always(&it.world, &seen)?;
    laws::after_run(&it.world, &it.ran, &seen, false)
}

/// Two runs of a healthy day, of which the second is looked at.
fn scene() -> Scene {
    let mut world = World::new();
    perform(&mut world, &How::default()).unwrap();
    let End::Ran(mut ran) = world.run(&How::default()) else { panic!("it was killed by nobody") };
    let (before, after) = (world.tables.clone(), world.look().unwrap());
    Scene { world, ran: ran.remove(0), before, after, quiet: false }
}

fn laws_are_broken() {
    let mut it = scene();
    let (ran, before, after, files) = (it.ran.clone(), it.before.clone(), it.after.clone(), it.world.files.clone());
    let sinks = it.world.sinks.clone();
    let shown = it.world.site.state().shown.clone();
    let mut found: BTreeMap<&str, (Law, Option<Law>)> = BTreeMap::new();
    for case in CASES {
        verdict(&it).unwrap();
        (case.sabotage)(&mut it);
        found.insert(case.what, (case.law, verdict(&it).err().map(|broken| broken.law)));
        (it.ran, it.before, it.after, it.quiet) = (ran.clone(), before.clone(), after.clone(), false);
        (it.world.files, it.world.asof, it.world.sinks) = (files.clone(), None, sinks.clone());
        let mut state = it.world.site.state();
        (state.shown, state.asked) = (shown.clone(), 0);
    }
    for (what, (law, broken)) in found {
        assert_eq!(broken, Some(law), "{what}");
    }

    it.world.service.bound(Some(0.01));
    assert_eq!(verdict(&it).unwrap_err().law, Law::BudgetHolds);
    it.world.service.bound(None);
    it.world.service.pay_again();
    assert_eq!(verdict(&it).unwrap_err().law, Law::PaidOnce);
    it.world.service.disturb();
    verdict(&it).unwrap();

    it.after.edit("marts.cheap", Vec::clear);
    assert_eq!(truth::reached(&it.world, &it.after).unwrap_err().law, Law::ReachesTruth);
    it.after = after;
    it.world.quiet = Some(it.world.today());
    it.world.site.state().asked_for.clear();
    let key = text(&it.after.rows("raw.items")[0], "_key").to_owned();
    assert_eq!(verbs::asked_again(&it.world, [key]).unwrap_err().law, Law::AskedAgain);

    // A plan that says nothing of what a run builds, and one that promises what the run leaves.
    let mut plan = it.world.plan().unwrap();
    laws::as_planned(&plan, &it.ran).unwrap();
    it.ran.steps.get_mut("build:marts.totals").unwrap().counts.insert("built".to_owned(), 1);
    assert_eq!(laws::as_planned(&plan, &it.ran).unwrap_err().law, Law::AsPlanned);
    it.ran = ran;
    let line = plan.steps.iter_mut().find(|line| line["name"] == "marts.totals").unwrap();
    (line["action"], line["why"]) = (json!("build"), json!("sql changed"));
    assert_eq!(laws::as_planned(&plan, &it.ran).unwrap_err().law, Law::AsPlanned);

    // A damage that is known makes a table unreadable with good reason, and a run that is done although it reads it lies.
    let raw = it.world.in_lake("raw/items");
    let struck = (0..200).any(|seed| {
        let lake = it.world.in_lake("");
        let file = it.world.damage.strike(&lake, Part::NewestEntry, &mut Draw::new(seed));
        let is_raw = file.is_some_and(|file| file.starts_with(&raw));
        if !is_raw {
            it.world.damage.restore();
        }
        is_raw
    });
    assert!(struck);
    it.world.tables.read_again();
    it.after = it.world.look().unwrap();
    assert_eq!(verdict(&it).unwrap_err().law, Law::DamageIsTold);
    it.world.damage = Damage::default();
    assert_eq!(verdict(&it).unwrap_err().law, Law::Readable);
}

#[test]
fn each_law_can_be_broken() {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(16 << 20);
        thread.spawn_scoped(scope, laws_are_broken).unwrap().join().unwrap();
    });
}
