//! What a person reads before anything runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::support::{Project, last_object, text};

/// A command's output with what differs between machines taken out.
fn shown(project: &Project, arguments: &[&str]) -> String {
    let output = project.onggi(arguments);
    let real = project.folder.canonicalize().unwrap().display().to_string();
    text(&output).replace(&real, "[PROJECT]").replace(&project.folder.display().to_string(), "[PROJECT]")
}

#[test]
fn help_teaches() {
    let project = Project::unpointed();
    let help = shown(&project, &["--help"]);
    for word in [
        "demo",
        "init",
        "doctor",
        "plan",
        "run",
        "status",
        "check",
        "sql",
        "search",
        "reconcile",
        "worker",
        "retry",
        "upkeep",
        "catalog",
        "Exit codes",
    ] {
        assert!(help.contains(word), "{word} is not in the help:\n{help}");
    }
    for verb in ["demo", "run", "sql", "search", "reconcile", "worker", "retry", "upkeep", "catalog"] {
        let help = shown(&project, &["help", verb]);
        assert!(help.contains("onggi") && help.contains("--lake"), "{help}");
    }
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let project = Project::unpointed();
    for arguments in [&["rum"][..], &["run", "--dt", "yesterday"], &["run", "--jobs", "0"], &[]] {
        let output = project.onggi(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}\n{}", text(&output));
    }
}

#[test]
fn a_new_project_is_right_and_plans_its_first_day() {
    let project = Project::unpointed();
    let checked = project.onggi(&["check"]);
    assert!(checked.status.success(), "{}", text(&checked));
    let today = crate::support::today().to_string();
    insta::assert_snapshot!(shown(&project, &["plan", "--dt", &today]).replace(&today, "[TODAY]"));
}

#[test]
fn an_empty_lake_says_what_to_do() {
    let project = Project::unpointed();
    insta::assert_snapshot!(shown(&project, &["status"]));
    insta::assert_snapshot!(shown(&project, &["sql", "select count(*) from staging.reviews"]));
    insta::assert_snapshot!(shown(&project, &["search", "국밥"]));
}

/// Who looks makes nothing: neither a lake where there is none nor one where somebody mistyped its name.
#[test]
fn reading_makes_no_lake() {
    let project = Project::unpointed();
    let lake = project.folder.join("mistyped/lake").display().to_string();
    let cases: [(&[&str], i32); 9] = [
        (&["sql", "show tables"], 1),
        (&["search", "국밥"], 1),
        (&["reconcile"], 1),
        (&["status"], 0),
        (&["plan"], 0),
        (&["run", "--dry-run"], 0),
        (&["check"], 0),
        (&["doctor"], 0),
        (&["status", "--json"], 0),
    ];
    for (arguments, code) in cases {
        let output = project.onggi(&[&["--lake", &lake], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{}", text(&output));
        assert!(!project.folder.join("mistyped").exists(), "{arguments:?} made a lake");
        let told = text(&output);
        assert_eq!(told.contains("mistyped/lake/`, found none"), code != 0, "{arguments:?}\n{told}");
    }
}

/// A lake that is named can be asked from anywhere, with no project; and is refused to a project that it does not belong to.
#[test]
fn a_lake_that_is_named_needs_no_project() {
    let temp = tempfile::tempdir().unwrap();
    let project = empty(&temp.path().join("one"));
    project.run(0);
    let lake = project.folder.join("lake").display().to_string();
    let ask = |from: &Project| from.onggi(&["--lake", &lake, "sql", "--json", "select count(*) as runs from ops.runs"]);
    let elsewhere = Project::at(temp.path().join("elsewhere"));
    let output = ask(&elsewhere);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(last_object(&output)["runs"], 1);
    let output = ask(&empty(&temp.path().join("another")));
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("`one`"), "{}", text(&output));
}

/// What is wrong in the files of a project is told with its place to programs, too; and so is a wrong command line.
#[test]
fn errors_are_objects_with_their_places() {
    let project = Project::unpointed();
    project.append("sql/reviews/staging/places.sql", ", nothing_of_this");
    let output = project.onggi(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let told = last_object(&output);
    let problem = &told["problems"][0];
    assert!(problem["file"].as_str().unwrap().ends_with("sql/reviews/staging/places.sql"), "{told}");
    assert!(problem["line"].as_u64().unwrap() > 1 && problem["column"].as_u64().unwrap() >= 1, "{told}");
    assert!(!problem["message"].as_str().unwrap().is_empty(), "{told}");
    let told = last_object(&project.onggi(&["--json", "rum"]));
    assert!(told["error"].as_str().unwrap().contains("rum"), "{told}");
}

/// A statement is asked whole, whatever its length.
#[test]
fn a_long_statement_is_asked_whole() {
    let temp = tempfile::tempdir().unwrap();
    let project = empty(&temp.path().join("one"));
    project.run(0);
    let file = temp.path().join("long.sql");
    std::fs::write(&file, format!("select 1 as n{} union all select 2", " ".repeat(3 << 20))).unwrap();
    let input = std::fs::File::open(file).unwrap();
    let output = project.command(&["sql", "--json", "-"]).stdin(input).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 2, "{}", text(&output));
}

/// A run that is told to stop ends in the middle of a step, whatever the step does, and says what to do.
#[test]
fn a_signal_ends_a_step_in_its_middle() {
    // Some million million rows.
    let endless = "-- materialize: table\nwith numbers as (select unnest(range(1, 2000000)) as n)\n\
         select sum(a.n * b.n % 7) as n from numbers as a cross join numbers as b\n";
    for signal in ["-INT", "-TERM"] {
        let temp = tempfile::tempdir().unwrap();
        let project = empty(&temp.path().join("one"));
        std::fs::create_dir(project.folder.join("sql/marts")).unwrap();
        std::fs::write(project.folder.join("sql/marts/endless.sql"), endless).unwrap();
        let mut run = project.command(&["run"]);
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !has_begun(&project) {
            assert_eq!(child.try_wait().unwrap(), None, "it ended before the step began");
            std::thread::yield_now();
        }
        let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("error: stopped\nhint: run again to go on"), "{}", text(&output));
        assert_eq!(project.number("select count(*) as n from ops.runs where status = 'failed'"), 1);
    }
}

/// A join that gives no thread back until it ends: nobody who works hears a signal.
#[test]
fn a_signal_ends_what_hears_none_and_a_second_one_ends_it_at_once() {
    let deaf = "-- materialize: table\nselect count(*) as n from unnest(range(1, 4000000)) as a(n) \
         cross join unnest(range(1, 4000000)) as b(n) where a.n % 7 = b.n % 11 and a.n * b.n % 13 = 5\n";
    for signals in [1, 2] {
        let temp = tempfile::tempdir().unwrap();
        let project = empty(&temp.path().join("one"));
        std::fs::create_dir(project.folder.join("sql/marts")).unwrap();
        std::fs::write(project.folder.join("sql/marts/deaf.sql"), deaf).unwrap();
        let mut run = project.command(&["run"]);
        let mut child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !has_begun(&project) {
            assert_eq!(child.try_wait().unwrap(), None, "it ended before the step began");
            std::thread::yield_now();
        }
        for _ in 0..signals {
            let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
            assert!(sent.success());
        }
        let output = child.wait_with_output().unwrap();
        // Stopped where it still heard it, else ended.
        assert!(matches!(output.status.code(), Some(1 | 130)), "{:?} {}", output.status, text(&output));
        assert!(project.onggi(&["status"]).status.success());
    }
}

#[test]
fn a_project_and_a_lake_may_be_named_from_beside() {
    let temp = tempfile::tempdir().unwrap();
    empty(&temp.path().join("one"));
    std::fs::create_dir(temp.path().join("two")).unwrap();
    let beside = Project::at(temp.path().join("two/../one"));
    let run = beside.onggi(&["run"]);
    assert!(run.status.success(), "{}", text(&run));
    assert!(text(&run).contains("/one/lake"), "{}", text(&run));
    let lake = temp.path().join("two/../one/lake").display().to_string();
    let asked = beside.onggi(&["sql", "--lake", &lake, "select count(*) from ops.runs"]);
    assert!(asked.status.success(), "{}", text(&asked));
    let made = temp.path().join("two/../three/lake").display().to_string();
    let other = beside.onggi(&["run", "--lake", &made]);
    assert!(other.status.success() && temp.path().join("three/lake").is_dir(), "{}", text(&other));
}

#[test]
fn a_log_filter_that_is_none_is_refused() {
    for filter in ["garbage=x=y", "extact=debug", "extract=loud", "info,nobody"] {
        let output = Project::unpointed().onggi(&["--log", filter, "check"]);
        assert_eq!(output.status.code(), Some(2), "{filter}: {}", text(&output));
        assert!(text(&output).contains("expected a level"), "{}", text(&output));
    }
    for filter in ["info", "extract=debug", "warn,enrich=trace", "off", "load::sink=info", ""] {
        let output = Project::unpointed().onggi(&["--log", filter, "check"]);
        assert_eq!(output.status.code(), Some(0), "{filter}: {}", text(&output));
    }
}

/// A project with nothing in it.
fn empty(folder: &Path) -> Project {
    let project = Project::at(folder.to_owned());
    let output = project.onggi(&["init", "--template", "empty"]);
    assert!(output.status.success(), "{}", text(&output));
    project
}

/// Whether a step of a run has begun.
fn has_begun(project: &Project) -> bool {
    let below = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let events = below(project.folder.join("lake/_onggi/runs")).flat_map(below);
    events.filter_map(|event| std::fs::read_to_string(event).ok()).any(|text| text.contains("step_started"))
}
