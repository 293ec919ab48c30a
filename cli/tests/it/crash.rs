//! Killed anywhere, run again: the lake and its sinks are as if nothing had happened.
//!
//! Every named point is armed once in a child process, which kills itself there with SIGKILL; the log that it leaves
//! proves that the point was really reached. Then the run is repeated and everything a reader can see is compared with an
//! undisturbed run of the same day.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use catalog::failpoint;

use crate::support::{self, Project, Site, text};

const PLACES: usize = 6;
const REVIEWS: u64 = 90;

#[test]
fn killed_at_every_point_and_run_again_the_lake_is_the_same() {
    if !support::browser() {
        return;
    }
    let site = Site::new(PLACES, REVIEWS);
    let whole = Project::new(&site);
    whole.run(0);
    let expected = whole.contents();

    // What comes after extraction starts from a lake that has landed, so that those cases need no browser.
    let landed = Project::new(&site);
    let output = landed.onggi(&["run", "--quiet", "--select", "+naver_reviews"]);
    assert!(output.status.success(), "{}", text(&output));

    let mut fired = 0;
    // The points of paid models are reached only with one: `llm.rs` kills there; those of databases in `load/tests/`.
    let elsewhere = ["llm.", "load.postgres.", "load.mysql."];
    let embedded = |name: &&&str| elsewhere.iter().all(|part| !name.starts_with(part));
    for name in failpoint::NAMES.iter().filter(embedded) {
        let extraction = name.starts_with("extract.");
        let project = if extraction { Project::new(&site) } else { landed.copy() };
        let before = site.replica.stats().review_pages;
        kill_at(&project, name);
        fired += 1;
        project.run(0);
        assert_same(name, &expected, &project.contents());
        if extraction {
            assert_little_was_fetched_twice(name, &site, &before);
        }
    }
    assert!(fired >= 20, "only {fired} points");
}

/// Runs the day with one point armed; it must die there and nowhere else.
fn kill_at(project: &Project, name: &str) {
    let log = project.folder.join("fired.log");
    let output = project
        .command(&["run", "--quiet"])
        .env("ONGGI_FAILPOINT", format!("{name}:1:{}", log.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.signal(), Some(9), "{name} was not reached\n{}", text(&output));
    assert_eq!(firings(&log), vec![name.to_owned()], "{name}");
}

fn firings(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn assert_same(name: &str, expected: &[(String, Vec<String>)], found: &[(String, Vec<String>)]) {
    for ((table, expected), (_, found)) in expected.iter().zip(found) {
        if let Some(row) = found.iter().find(|row| !expected.contains(row)) {
            panic!("{name}: {table} has a row that an undisturbed run has not: {row}");
        }
        assert_eq!(expected, found, "{name}: {table}");
    }
}

/// One key at most was under way when the process died, for each of the tasks fetched at the same time.
fn assert_little_was_fetched_twice(name: &str, site: &Site, before: &BTreeMap<String, u64>) {
    let after = site.replica.stats().review_pages;
    let pages = |place: &String| after[place] - before.get(place).copied().unwrap_or(0);
    let twice: Vec<_> = after.keys().filter(|place| pages(place) > 1).collect();
    assert!(twice.len() <= 2, "{name}: fetched twice: {twice:?}");
    assert!(after.keys().all(|place| pages(place) <= 2), "{name}: {after:?}");
}

#[test]
fn two_runs_of_a_day_at_once_are_one() {
    if !support::browser() {
        return;
    }
    let site = Site::new(PLACES, REVIEWS);
    let alone = Project::new(&site);
    alone.run(0);
    let both = Project::new(&site);
    let spawn = || {
        let mut command = both.command(&["run", "--json", "--quiet"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (spawn(), spawn());
    for run in [first, second] {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }
    assert_same("two at once", &alone.contents(), &both.contents());
    let landed = both.number("select count(*) from raw.naver_reviews");
    assert_eq!(landed, both.number("select count(distinct review_id) from raw.naver_reviews"));
}
