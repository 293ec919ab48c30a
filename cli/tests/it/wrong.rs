//! Wrong use: each mistake is one clear error with a way out, the right exit code, and nothing lost.

use replica::{Fault, ReplicaOptions, Switches};

use crate::support::{self, Project, Site, text};

/// Runs a command that must fail like this; what it printed, with the folder taken out.
fn fails(project: &Project, arguments: &[&str], code: i32) -> String {
    let output = project.onggi(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let real = project.folder.canonicalize().unwrap().display().to_string();
    let shown = stderr.replace(&project.folder.display().to_string(), "[PROJECT]").replace(&real, "[PROJECT]");
    assert!(shown.contains("error:"), "{shown}");
    shown
}

#[test]
fn a_misspelt_key_in_the_configuration() {
    let project = Project::unpointed();
    project.replace("onggi.toml", "timezone", "timezome");
    insta::assert_snapshot!(fails(&project, &["run"], 2));
}

#[test]
fn a_misspelt_key_in_a_source() {
    let project = Project::unpointed();
    project.replace("sources/naver_reviews.toml", "every = ", "evry = ");
    insta::assert_snapshot!(fails(&project, &["check"], 2));
}

#[test]
fn an_unknown_column_in_a_model() {
    let project = Project::unpointed();
    project.replace("sql/reviews/marts/review_texts.sql", "body", "boddy");
    insta::assert_snapshot!(fails(&project, &["check"], 2));
}

#[test]
fn a_cycle() {
    let project = Project::unpointed();
    std::fs::write(project.folder.join("sql/reviews/staging/one.sql"), "select * from staging.two").unwrap();
    std::fs::write(project.folder.join("sql/reviews/staging/two.sql"), "select * from staging.one").unwrap();
    insta::assert_snapshot!(fails(&project, &["check"], 2));
}

#[test]
fn no_project_here() {
    let project = Project::unpointed();
    std::fs::remove_file(project.folder.join("onggi.toml")).unwrap();
    insta::assert_snapshot!(fails(&project, &["run"], 2));
}

#[test]
fn no_chromium() {
    let site = Site::new(3, 30);
    let project = Project::new(&site);
    project.replace("onggi.toml", "jobs = 2", "chromium = \"/nowhere/chromium\"\njobs = 2");
    let shown = fails(&project, &["run"], 1);
    assert!(shown.contains("no Chromium could be started"), "{shown}");
    assert!(shown.contains("hint: install one"), "{shown}");
    // What needs no browser is done and kept.
    assert_eq!(project.number("select count(*) from staging.places"), 3);
}

#[test]
fn an_unwritable_lake() {
    let project = Project::unpointed();
    // A file where the folder should be keeps even the superuser out.
    std::fs::write(project.folder.join("blocked"), "").unwrap();
    project.replace("onggi.toml", "uri = \"lake\"", "uri = \"blocked/lake\"");
    let shown = fails(&project, &["run"], 1);
    assert!(shown.contains("hint:"), "{shown}");
}

#[test]
fn a_second_project_in_the_same_lake() {
    let first = Project::unpointed();
    let lake = first.folder.join("lake").display().to_string();
    // With nothing to fetch from.
    let output = first.onggi(&["run", "--select", "marts.places"]);
    assert!(first.folder.join("lake/_onggi/lake.json").is_file(), "{}", text(&output));
    let second = Project::unpointed();
    second.replace("onggi.toml", "name = \"test\"", "name = \"other\"");
    let shown = fails(&second, &["--lake", &lake, "status"], 2);
    assert!(shown.contains("`test`") && shown.contains("hint:"), "{shown}");
}

#[test]
fn a_field_of_another_type_is_told_before_a_run() {
    let site = Site::new(3, 30);
    let project = Project::new(&site);
    let output = project.onggi(&["run", "--select", "naver_places", "--quiet"]);
    assert!(output.status.success(), "{}", text(&output));
    let field = "rating = { path = \"/visitorReviewScore\", type = \"float64\"";
    project.replace("sources/naver_places.toml", field, &field.replace("float64", "string"));
    project.replace("sql/reviews/staging/places.sql", "    rating,", "    cast(rating as double) as rating,");
    let shown = fails(&project, &["check"], 2);
    assert!(shown.contains("raw.naver_places") && shown.contains("hint: give"), "{shown}");
    let plan = text(&project.onggi(&["plan"]));
    assert!(plan.contains("raw.naver_places: `rating` was float64 and is utf8: refused"), "{plan}");
    // The way out that it names leads out, and what the field held stays readable.
    project.replace("sources/naver_places.toml", "rating = {", "stars = {");
    project.replace("sql/reviews/staging/places.sql", "cast(rating as double)", "cast(stars as double)");
    let output = project.onggi(&["check"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("`rating` is no longer declared"), "{}", text(&output));
}

#[test]
fn a_torn_commit_file() {
    if !support::browser() {
        return;
    }
    let site = Site::new(3, 30);
    let project = Project::new(&site);
    project.run(0);
    let log = project.folder.join("lake/staging/reviews/_delta_log/00000000000000000001.json");
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, &whole[..whole.len() / 2]).unwrap();
    let shown = fails(&project, &["sql", "select count(*) from staging.reviews"], 1);
    assert!(shown.contains("staging.reviews") && shown.contains("00000000000000000001.json"), "{shown}");
    assert!(shown.contains("hint:"), "{shown}");
    std::fs::write(&log, whole).unwrap();
    assert_eq!(project.number("select count(*) from staging.reviews"), 30);
}

#[test]
fn a_site_that_answers_garbage_for_ever() {
    if !support::browser() {
        return;
    }
    let switches = Switches { garbage: Fault::always(1.0), ..Switches::default() };
    let site = Site::with(ReplicaOptions { places: 3, reviews: 60, switches, ..ReplicaOptions::default() });
    let project = Project::new(&site);
    let output = project.onggi(&["run", "--json"]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", text(&output));
    let report = support::last_object(&output);
    // Nothing vanishes: every key is a record with its reason, or a dead letter.
    let set_aside = report["set_aside"].as_i64().unwrap();
    assert!(set_aside > 0 || report["status"] == "partial", "{report}");
    site.replica.set_switches(Switches::default());
}

#[test]
fn an_empty_site() {
    let switches = Switches { empty: true, ..Switches::default() };
    let site = Site::with(ReplicaOptions { places: 3, reviews: 30, switches, ..ReplicaOptions::default() });
    let project = Project::new(&site);
    let report = project.run(0);
    assert_eq!(report["fetched"], 0, "{report}");
    assert_eq!(project.number("select count(*) from staging.places"), 0);
}

#[test]
fn a_step_that_is_not_there() {
    let project = Project::unpointed();
    insta::assert_snapshot!(fails(&project, &["run", "--dt", "2026-10-01", "--select", "marts.placess"], 2));
}

#[test]
fn a_key_that_nothing_was_hashed_with_is_not_missed() {
    let project = Project::unpointed();
    // A day that is over: nothing is asked for, and the tables are there afterwards.
    let output = project.onggi(&["run", "--quiet", "--dt", "2020-01-01"]);
    assert_ne!(output.status.code(), Some(0), "{}", text(&output));
    assert!(project.folder.join("lake").exists());
    std::fs::remove_file(project.folder.join(".onggi/identity.key")).unwrap();
    for verb in ["check", "plan"] {
        let output = project.onggi(&[verb]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

#[test]
fn a_secret_that_is_not_there_and_a_file_in_another_encoding() {
    let project = Project::own("");
    project.put(
        "sources/rows.toml",
        "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n[secrets]\nTOKEN = \"env:ONGGI_NOT_THERE\"\n\
         [http]\nurl = \"https://rows.example/l?key={key}&api_key={secret:TOKEN}\"\n[items]\npath = \"/list\"\nkey = \"id\"\n\
         [fields]\nid = { path = \"/id\", type = \"id\" }\n",
    );
    let output = project.onggi(&["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("expects `TOKEN` at env:ONGGI_NOT_THERE, found nothing"), "{}", text(&output));
    std::fs::write(project.folder.join("onggi.toml"), b"# caf\xe9\n").unwrap();
    assert!(fails(&project, &["check"], 2).contains("onggi.toml` in UTF-8"));
}
