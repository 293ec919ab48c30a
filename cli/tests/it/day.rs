//! One day from the site to the search, and the same day again.

use std::collections::BTreeSet;
use std::time::Duration;

use replica::{Arrivals, Fault, ReplicaOptions, Switches};
use serde_json::Value;

use crate::support::{self, Project, Site, last_object, text};

const KEYS: [&str; 13] = [
    "run",
    "dt",
    "status",
    "fetched",
    "landed",
    "set_aside",
    "built",
    "unchanged",
    "checks",
    "summarised",
    "embedded",
    "synced",
    "seconds",
];

/// Everything the site would ever serve is in `staging.reviews`, once each, and what it spoilt is set aside.
fn assert_complete(site: &Site, project: &Project, report: &Value) {
    let truth = site.replica.truth();
    let rows = project.sql("select review_id from staging.reviews");
    let found: BTreeSet<String> = rows.iter().map(|row| row["review_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(found.len(), rows.len(), "a review is there twice");
    let sound = truth.sound_ids();
    let missing: Vec<_> = sound.difference(&found).take(3).collect();
    let extra: Vec<_> = found.difference(&sound).take(3).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:?}, too many {extra:?}");
    assert_eq!(report["set_aside"].as_u64(), Some(truth.spoilt()), "{report}");
    let landed = report["landed"].as_u64().unwrap() + report["set_aside"].as_u64().unwrap();
    assert_eq!(report["fetched"].as_u64(), Some(landed));
}

#[test]
fn a_day_is_done_once_and_found_again() {
    if !support::browser() {
        return;
    }
    let site = Site::with(ReplicaOptions {
        places: 20,
        reviews: 600,
        switches: Switches { spoilt: 0.03, ..Switches::default() },
        ..ReplicaOptions::default()
    });
    let project = Project::new(&site);
    let first = project.run(0);
    let names: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, KEYS);
    assert_eq!(first["status"], "done");
    assert_complete(&site, &project, &first);
    assert_eq!(project.number("select count(*) from marts.places"), 20);

    let pages = site.replica.stats().pages();
    let second = project.run(0);
    for name in ["fetched", "landed", "set_aside", "built", "summarised", "embedded", "synced"] {
        assert_eq!(second[name], 0, "{name} in {second}");
    }
    assert_eq!(site.replica.stats().pages(), pages, "the second run asked the site for something");

    search_finds(&project);
    nobody_is_recognisable(&site, &project);
    runs_are_recorded(&project);
    the_lake_is_the_truth(&site, &project);
}

/// Every place whose text has the syllable, and no other; the best answers to a question carry their reasons.
fn search_finds(project: &Project) {
    let output = project.onggi(&["search", "--json", "--keyword", "국"]);
    assert!(output.status.success(), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let found: BTreeSet<String> = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["key"].as_str().unwrap().to_owned())
        .collect();
    let expected: BTreeSet<String> = project
        .sql(
            "select place_id from marts.places where name like '%국%' or category like '%국%' or area like '%국%' \
             or summary like '%국%' or array_to_string(keywords, ' ') like '%국%' or array_to_string(situations, ' ') like '%국%' \
             union select place_id from marts.review_texts where body like '%국%'",
        )
        .iter()
        .map(|row| row["place_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, expected);

    let output = project.onggi(&["search", "--json", "비 오는 날 혼자 먹기 좋은 국밥"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let hits: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!hits.is_empty());
    for hit in &hits {
        let reason = &hit["reasons"][0];
        assert!(reason["score"].as_f64().unwrap() > 0.0 && !reason["sentence"].as_str().unwrap().is_empty(), "{hit}");
    }
}

/// No name, picture, phone number or address of a person is anywhere in the lake's tables.
fn nobody_is_recognisable(site: &Site, project: &Project) {
    let mut lake = String::new();
    for table in ["raw.naver_reviews", "staging.reviews", "marts.place_reviews", "marts.places", "marts.review_texts"] {
        for row in project.sql(&format!("select * from {table}")) {
            lake += &row.to_string();
        }
    }
    let mut looked_for = 0;
    for review in site.replica.truth().reviews() {
        for secret in review.identity.iter().chain(&review.contacts) {
            looked_for += 1;
            assert!(!lake.contains(secret.as_str()), "`{secret}` of review {} is in the lake", review.id);
        }
    }
    assert!(looked_for > 100, "only {looked_for} things to look for");
}

/// Everything beside the tables is deleted – queue, plans, records, indexes – and one run brings it back without asking the
/// site for anything.
fn the_lake_is_the_truth(site: &Site, project: &Project) {
    let before = project.contents();
    let pages = site.replica.stats().pages();
    std::fs::remove_dir_all(project.folder.join("lake/_onggi")).unwrap();
    let report = project.run(0);
    assert_eq!((&report["fetched"], &report["embedded"]), (&Value::from(0), &Value::from(0)), "{report}");
    assert!(report["synced"].as_u64() > Some(0), "{report}");
    assert_eq!(site.replica.stats().pages(), pages);
    assert_eq!(before, project.contents());
}

fn runs_are_recorded(project: &Project) {
    assert_eq!(project.number("select count(*) from ops.runs where status = 'done'"), 2);
    assert!(project.number("select count(*) from ops.steps") >= 20);
    let output = project.onggi(&["status"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("naver_reviews") && stdout.contains("done"), "{stdout}");
    let plan = project.onggi(&["plan"]);
    assert!(String::from_utf8(plan.stdout).unwrap().contains("nothing is to be done"));
}

#[test]
fn whatever_a_crawler_can_survive_nothing_is_lost() {
    if !support::browser() {
        return;
    }
    let calm = Switches::default();
    let cases: Vec<(&str, Switches)> = vec![
        ("latency", Switches { latency: Duration::from_millis(20), jitter: Duration::from_millis(20), ..calm.clone() }),
        ("arrivals", Switches { arrivals: Some(Arrivals { every: 3, reviews: 1, limit: 4 }), ..calm.clone() }),
        ("the first page twice", Switches { resend_first: true, ..calm.clone() }),
        ("too many requests", Switches { too_many: Fault::once(0.2), retry_after: 1, ..calm.clone() }),
        ("half-rendered pages", Switches { half_rendered: Fault::once(0.5), ..calm.clone() }),
        ("server errors", Switches { server_error: Fault::once(0.2), ..calm.clone() }),
        ("cut answers", Switches { cut: Fault::once(0.2), ..calm.clone() }),
        ("garbage once", Switches { garbage: Fault::once(0.2), ..calm.clone() }),
        ("an inflated total", Switches { inflated_total: 25, ..calm.clone() }),
        ("spoilt and drifted items", Switches { spoilt: 0.1, drift: 0.5, ..calm.clone() }),
    ];
    for (name, switches) in cases {
        let arrivals = switches.arrivals.is_some();
        let site = Site::with(ReplicaOptions { places: 4, reviews: 100, switches, ..ReplicaOptions::default() });
        let before = site.replica.truth();
        let project = Project::new(&site);
        let output = project.onggi(&["run", "--json", "--quiet"]);
        // More than 5 % of the records set aside is a site that has changed: the run says so.
        let expected = if name == "spoilt and drifted items" { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(expected), "{name}\n{}", text(&output));
        if arrivals {
            // What arrives behind the crawl is the next day's; what was there is all here.
            let rows = project.sql("select review_id from staging.reviews");
            let found: BTreeSet<String> =
                rows.iter().map(|row| row["review_id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(found.len(), rows.len());
            let missing: Vec<_> = before.sound_ids().difference(&found).cloned().collect();
            assert!(missing.is_empty(), "{name}: {missing:?}");
            continue;
        }
        println!("{name}: {:?}", site.replica.stats());
        assert_complete(&site, &project, &last_object(&output));
        // A total that counts too much is told, and is no failure.
        let told = "4 keys ended 100 items before the site's own total";
        let status = text(&project.onggi(&["status"]));
        assert_eq!(status.contains(told), name == "an inflated total", "{name}: {status}");
        assert!(name == "an inflated total" || !status.contains("before the site's own total"), "{name}: {status}");
    }
}

#[test]
fn a_block_page_ends_the_run_as_partial_and_the_next_run_goes_on() {
    if !support::browser() {
        return;
    }
    let site = Site::with(ReplicaOptions { places: 6, reviews: 120, ..ReplicaOptions::default() });
    let project = Project::new(&site);
    let listed = project.onggi(&["run", "--quiet", "--select", "+staging.places"]);
    assert!(listed.status.success(), "{}", text(&listed));
    let block = replica::Block { after: 6, span: replica::BlockSpan::Forever };
    site.replica.set_switches(Switches { block: Some(block), ..Switches::default() });
    let partial = project.run(3);
    assert_eq!(partial["status"], "partial");
    let status = project.onggi(&["status", "--last", "1"]);
    assert!(text(&status).contains("blocked by"), "{}", text(&status));
    site.replica.set_switches(Switches::default());
    project.run(0);
    let sound = site.replica.truth().sound_ids().len();
    assert_eq!(project.number("select count(*) from staging.reviews"), i64::try_from(sound).unwrap());
}

#[test]
fn a_check_that_fails_publishes_nothing() {
    if !support::browser() {
        return;
    }
    let site = Site::new(4, 60);
    let project = Project::new(&site);
    project.run(0);
    let before = project.sql("select * from marts.places order by place_id");
    project.replace(
        "sql/reviews/marts/place_reviews.sql",
        "-- materialize: table",
        "-- materialize: table\n-- check: between(reviews, 1000000, 2000000)",
    );
    project.replace("sql/reviews/marts/place_reviews.sql", "select", "select 1 as added,");
    let output = project.onggi(&["run", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let shown = text(&output);
    for part in ["between(reviews, 1000000, 2000000)", "bad rows", "nothing was published", "skipped"] {
        assert!(shown.contains(part), "`{part}` is not in\n{shown}");
    }
    assert_eq!(before, project.sql("select * from marts.places order by place_id"));
}
