//! What a person reads before anything runs.

use crate::support::{Project, text};

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
