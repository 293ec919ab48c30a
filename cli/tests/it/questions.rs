//! The questions of `sql/analyses/`: each is answered by the engine in this program, and written so that Athena would answer it too.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{self, Project, Site, text};

/// What keeps each statement out of one of the two dialects; `None` if nothing can be said here.
fn wrong(statements: &[(&str, &str)]) -> Option<Vec<Vec<String>>> {
    let python = services::python()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/dialects.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String =
        statements.iter().map(|(name, sql)| json!({ "name": name, "sql": sql }).to_string() + "\n").collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), statements.len());
    Some(answers.into_iter().map(|answer| serde_json::from_value(answer["wrong"].clone()).unwrap()).collect())
}

#[test]
fn every_question_is_in_both_dialects() {
    let Some(found) = wrong(transform::analyses()) else { return };
    for ((path, _), found) in transform::analyses().iter().zip(found) {
        assert!(found.is_empty(), "{path}: {found:#?}");
    }
}

#[test]
fn what_is_in_one_dialect_only_is_found() {
    // The twin of the test above. Each is good SQL for one of the two engines, or looks like it.
    let cases = [
        ("a cast of Postgres", "select body::text as body from staging.reviews", "Trino would write"),
        ("a function of DataFusion", "select array_to_string(keywords, ', ') as k from marts.places", "not known"),
        ("a function of Onggi", "select strip_markup(name) as name from marts.places", "not known to Trino"),
        (
            "a function of Trino",
            "select date_diff('day', first_visit, last_visit) as d from marts.places",
            "not known to be shared",
        ),
        ("rows of a list", "select unnest(keywords) as keyword from marts.places", "not known"),
        ("an interval of Postgres", "select dt - interval '7 days' as d from marts.reviews_daily", "Trino would write"),
        (
            "a filter of windows",
            "select name from marts.places qualify row_number() over (order by name) = 1",
            "no Trino",
        ),
        (
            "a number that is a decimal",
            "select avg(case when rating > 4 then 1.0 end) as r from marts.places",
            "decimal in Trino",
        ),
        ("no SQL", "select name from where", "no Trino"),
        ("more than a question", "drop table marts.places", "not one query"),
        ("two questions", "select 1 as a; select 2 as b", "not one query"),
    ];
    let statements: Vec<(&str, &str)> = cases.iter().map(|(name, sql, _)| (*name, *sql)).collect();
    let Some(found) = wrong(&statements) else { return };
    for ((name, _, expected), found) in cases.iter().zip(found) {
        assert!(found.iter().any(|it| it.starts_with(expected)), "{name}: {found:#?}");
    }
}

#[test]
fn every_question_is_in_the_project_and_has_a_head() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../sql/analyses");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("sql/analyses/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    files.sort();
    assert_eq!(files, transform::analyses().iter().map(|(path, _)| *path).collect::<Vec<_>>());
    for (path, sql) in transform::analyses() {
        let head: Vec<&str> = sql.lines().take_while(|line| line.starts_with("--")).collect();
        assert!(head[0].contains('?'), "{path} begins with no question");
        assert!(head.iter().any(|line| line.starts_with("-- tables: ")), "{path}");
        assert!(head.iter().any(|line| line.contains(&format!("onggi sql - < {path}"))), "{path}");
    }
}

#[test]
fn every_question_has_an_answer() {
    if !support::browser() {
        return;
    }
    let site = Site::new(12, 400);
    let project = Project::new(&site);
    project.run(0);
    let mut answered = 0;
    for (path, sql) in transform::analyses() {
        let rows = asked(&project, sql);
        println!("{path}: {rows} rows");
        answered += usize::from(rows > 0);
    }
    // Where no rating fell and no place is hidden, no row is an answer.
    assert!(answered >= transform::analyses().len() - 2, "only {answered} questions had rows");
}

/// A question read from standard input, as its head says; how many rows answer it.
fn asked(project: &Project, sql: &str) -> usize {
    let mut command = project.command(&["sql", "--json", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sql.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{sql}\n{}", text(&output));
    String::from_utf8(output.stdout).unwrap().lines().count()
}

#[test]
fn a_question_that_is_wrong_is_found_and_keeps_nothing_from_being_done() {
    let project = Project::unpointed();
    project.replace("sql/analyses/hidden_gems.sql", "rating >= 4", "ratting >= 4");
    project.replace("sql/analyses/slow_steps.sql", "from ops.runs", "from ops.run");
    let checked = project.onggi(&["check"]);
    assert_eq!(checked.status.code(), Some(2), "{}", text(&checked));
    let said = text(&checked);
    assert!(said.contains("hidden_gems.sql:28:7: no column `ratting`"), "{said}");
    assert!(said.contains("did you mean `rating`?"), "{said}");
    assert!(said.contains("slow_steps.sql:8:10: no table `ops.run`"), "{said}");
    let planned = project.onggi(&["plan", "--dt", "2026-10-01"]);
    assert!(planned.status.success(), "{}", text(&planned));
    assert!(!text(&planned).contains("analyses"), "a question was taken for a model: {}", text(&planned));
}

#[test]
fn where_there_is_an_athena_a_question_says_what_it_means_in_both() {
    let project = Project::unpointed();
    let gems = "sql/analyses/hidden_gems.sql";
    project.replace(gems, "rating desc nulls last", "rating desc");
    // Nobody asks it elsewhere.
    let checked = project.onggi(&["check"]);
    assert!(checked.status.success(), "{}", text(&checked));
    project.append("onggi.toml", "\n[athena]\noutput = \"s3://jar/results/\"\n");
    let checked = project.onggi(&["check"]);
    assert_eq!(checked.status.code(), Some(2), "{}", text(&checked));
    let said = text(&checked);
    assert!(said.contains("hidden_gems.sql:32:10: `order by rating desc`: NULL comes first here"), "{said}");
    assert!(said.contains("write `desc nulls last`"), "{said}");
    // All others say it already.
    project.replace(gems, "rating desc", "rating desc nulls last");
    let checked = project.onggi(&["check"]);
    assert!(checked.status.success(), "{}", text(&checked));
}
