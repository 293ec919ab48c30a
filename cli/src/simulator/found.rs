//! Histories that broke a law once, made small. They keep the laws now, and are played again by every test.

use super::history::{Step, play};
use super::last::AT_LAST;
use super::operation::{NEXT_DAY, OPERATIONS, Operation, WELL};
use super::tally::Tally;

/// What was found, and the steps that showed it.
const FOUND: &[(&str, &str)] = &[
    (
        "a mart whose rows another program had doubled was taken for one that a sink equals",
        "run today 1; another program adds rows to a built table 1852274617260073566; run today 2",
    ),
    (
        "a worker filed what a site showed under the day of a run that was killed days before",
        "run today 1; the next day comes 1; run killed 15; the next day comes 2; the next day comes 3; \
         run whose tasks a worker does 1",
    ),
    (
        "what somebody restored was taken for the doing of the upkeep after it",
        "run today 1; the lake is copied 1; the lake is restored 1; an upkeep by hand 1",
    ),
    (
        "a table that somebody restored was taken for one that a run moved below a step that failed",
        "run today 1; the lake is copied 1; a check is added that fails 1; \
         a built table is restored from the lake's copy 4; run today 1",
    ),
    (
        "a run that is stopped hands back what it holds, and the next one goes on at once",
        "run that is stopped, then run 1; the next day comes 1; run that is stopped, then run 2",
    ),
    (
        "two projects on one lake leave each other alone",
        "run of another project on the lake 1; run today 1; an upkeep by hand 1; the next day comes 1; \
         run killed 15; run of another project on the lake 2; run today 2; a healthy run at last 1",
    ),
    (
        "a sync took rows under another key for rows that are gone, and stopped",
        "run today 1; the key of goods is another column 1; run today 2; a healthy run at last 1",
    ),
    (
        "a sink that no sync moves was called laid out for other roles",
        "run today 1; names are searched, or not any more 1; names head what is found, or not any more 1; run today 2; \
         a healthy run at last 1",
    ),
];

/// Steps as text: the name of each and its seed, separated by `;`.
pub(super) fn text(steps: &[Step]) -> String {
    let words: Vec<String> = steps.iter().map(|step| format!("{} {}", step.operation.name, step.seed)).collect();
    words.join("; ")
}

/// Steps from their text.
pub(super) fn steps(text: &str) -> Vec<Step> {
    let step = |words: &str| {
        let (name, seed) = words.trim().rsplit_once(' ').unwrap();
        Step { operation: operation(name), seed: seed.parse().unwrap() }
    };
    text.split(';').map(step).collect()
}

fn operation(name: &str) -> &'static Operation {
    let mut all = OPERATIONS.iter().chain([&NEXT_DAY, &WELL, &AT_LAST]);
    all.find(|operation| operation.name == name).unwrap_or_else(|| panic!("no operation is called `{name}`"))
}

#[test]
fn what_was_found_once_keeps_the_laws() {
    let play_all = || {
        for (what, text) in FOUND {
            if let Some((place, broken)) = play(&steps(text), &mut Tally::default()) {
                panic!("{what}: step {place} breaks a law: {}: {}", broken.law.name(), broken.how);
            }
        }
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new().stack_size(16 << 20).spawn_scoped(scope, play_all).unwrap().join().unwrap();
    });
}

#[test]
fn steps_are_read_as_they_are_written() {
    let written = "run today 7; the next day comes 18446744073709551615; an upkeep by hand 0";
    assert_eq!(text(&steps(written)), written);
}
