//! The end of a history: everything is as it should be for a week and a day, and then nothing may be wrong any more.

use serde_json::json;

use super::how::How;
use super::operation::{Operation, is_odd, run};
use super::perform::perform;
use super::served::COPIES;
use super::service::Trouble;
use super::serving;
use super::site::Condition;
use super::truth;

/// Everything is as it should be for a week and a day.
pub(super) static AT_LAST: Operation = run("a healthy run at last", 0, |world, _| {
    {
        let mut state = world.site.state();
        (state.condition, state.only) = (Condition::Well, None);
        for (number, item) in state.lists.values_mut().flatten().filter(|item| is_odd(item)).enumerate() {
            item["price"] = json!(7);
            if item["id"].is_null() {
                item["id"] = json!(format!("found{number}"));
            }
        }
    }
    world.service.turn(Trouble::None);
    world.edit(|files| {
        (files.price_is_float, files.name_is_hash) = (false, false);
        (files.item_bound, files.view_bound) = (1_000_000, 1_000_000);
        files.served.copies = COPIES;
        files.budget = None;
    });
    world.damage.restore();
    world.quiet = None;
    world.pass(8 * 24 * 60);
    perform(world, &How::default())?;
    perform(world, &How::default())?;
    perform(world, &How { stale: true, ..How::default() })?;
    truth::reached(world, &world.tables)?;
    serving::mended(world)?;
    Ok(true)
});
