use super::*;
use crate::steps;

const CONFIG: &str = r#"[project]
name = "case"
timezone = "Asia/Seoul"
sources = "sources"
models = "sql"

[identity]
key = "file:.onggi/identity.key"
"#;

const SOURCE: &str = r#"name = "rows"
fetch = "http"
every = "1d"
rate = "100/s"

[keys]
QUERY

[http]
url = "https://site.example/list?k={key}"

[items]
path = "/list"
key = "id"

[fields]
id = { path = "/id", type = "id", required = true }
at = { path = "/at", type = "timestamp" }
"#;

const ROWS: &str =
    "-- materialize: latest by id order by at\n-- key: id\nselect id, at, dt from raw.rows where dt = $dt";

/// A project of one source and some models.
fn project(query: &str, sections: &str, models: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("onggi.toml", &format!("{CONFIG}{sections}"));
    write("sources/rows.toml", &SOURCE.replace("QUERY", query));
    for (path, text) in models {
        write(&format!("sql/{path}"), text);
    }
    let project = Project::read(folder.path(), None).unwrap_or_else(|error| panic!("{error:?}"));
    (folder, project)
}

fn found(query: &str, sections: &str, models: &[(&str, &str)]) -> String {
    let (folder, project) = project(query, sections, models);
    let problems = problems(&project, &steps::schemas(&project));
    let real = format!("{}/", folder.path().display());
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").replace(&real, "")
}

const SYNC: &str = "\n[sync.\"marts.m\"]\nkey = \"id\"\nsinks = [\"sqlite\"]\n";

#[test]
fn what_a_run_would_stumble_over_is_found_before() {
    let models = [("h/staging/rows.sql", ROWS)];
    let mart = |head: &str, columns: &str| {
        [
            ("h/staging/rows.sql", ROWS.to_owned()),
            ("h/marts/m.sql", format!("-- materialize: table\n{head}select {columns} from staging.rows")),
        ]
    };
    let with_mart = |head: &str, columns: &str| {
        let files = mart(head, columns);
        found("list = [\"a\"]", SYNC, &files.each_ref().map(|(path, text)| (*path, text.as_str())))
    };
    let cases = [
        // A source may go on from what it has already.
        (found("query = \"select 'a' as key, (select max(at) from staging.rows) as since\"", "", &models), ""),
        (found("query = \"select id as key from raw.rows\"", "", &models), ""),
        (found("list = [\"a\"]", "", &models), ""),
        (with_mart("-- key: id\n", "id, at"), ""),
        (
            found("query = \"select id as key from staging.rows where dt = $dt\"", "", &models),
            "sources/rows.toml:7:56: `$dt` has no value here",
        ),
        (found("query = \"select id as key from staging.rows order by at, id limit 10\"", "", &models), ""),
        (
            found("query = \"select id as key from staging.rows limit 10\"", "", &models),
            "sources/rows.toml:7:51: `limit` without `order by` finds other keys each time",
        ),
        (
            found("query = \"select id as key from staging.rows where at < now()\"", "", &models),
            "sources/rows.toml:7:56: `now` answers differently each time",
        ),
        (
            found("query = \"select id as key from staging.nothing\"", "", &models),
            "sources/rows.toml:7:32: no table `staging.nothing`",
        ),
        (
            found("query = \"\"\"select id as key\nfrom staging.rows\nwhere idd > '1'\"\"\"", "", &models),
            "sources/rows.toml:9:7: no column `idd`",
        ),
        (with_mart("", "id, at"), "onggi.toml:11:7: expected `id` to be the key of `marts.m`, which declares no key"),
        (
            with_mart("-- key: at, id\n", "id, at"),
            "onggi.toml:11:7: expected `id` to be the key of `marts.m`, which declares `at, id`",
        ),
        (
            found("list = [\"a\"]", SYNC, &models),
            "onggi.toml:10:7: expected a table that the project makes, found `marts.m`",
        ),
    ];
    for (place, (found, expected)) in cases.iter().enumerate() {
        assert_eq!(found, expected, "case {place}");
    }
}

/// What is built again makes what is below it stale: models and syncs, and no site is asked and no answer paid for.
#[test]
fn what_is_below_stale_days_follows_them_without_asking_anybody() {
    let table = |from: &str| format!("-- materialize: table\n-- key: id\nselect id from {from}");
    let files = [
        ("h/staging/rows.sql", ROWS.to_owned()),
        ("h/staging/daily.sql", "-- materialize: partition\nselect id from raw.rows where dt = $dt".to_owned()),
        ("h/staging/seen.sql", "-- materialize: view\n-- check: not_null(id)\nselect id from staging.daily".to_owned()),
        ("h/marts/m.sql", table("staging.seen")),
        ("h/marts/other.sql", table("staging.rows")),
        ("h/marts/answers.sql", table("staging.summaries")),
    ];
    let enrich = "\n[enrich.\"staging.summaries\"]\nfrom = \"marts.m\"\nkey = \"id\"\ntexts = \"id\"\n";
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
    let (_folder, project) = project("list = [\"a\"]", &format!("{SYNC}{enrich}"), &files);
    let below =
        |models: &[&str]| steps::below(&project, &models.iter().map(|name| name.parse().unwrap()).collect()).unwrap();
    assert_eq!(below(&["staging.daily"]), ["staging.seen", "marts.m", "sync:marts.m"]);
    assert_eq!(below(&["staging.rows"]), ["marts.other"]);
    assert_eq!(below(&["marts.other"]), [""; 0]);
    assert_eq!(below(&[]), [""; 0]);
}

#[test]
fn the_order_is_that_of_a_run() {
    let enrich = "\n[enrich.\"staging.summaries\"]\nfrom = \"staging.rows\"\nkey = \"id\"\ntexts = \"id\"\n";
    let circle = ROWS.replace("where dt = $dt", "where dt = $dt and id not in (select id from staging.summaries)");
    let found = found("list = [\"a\"]", enrich, &[("h/staging/rows.sql", &circle)]);
    assert!(
        found.contains("the project has no order: a cycle: staging.rows → staging.summaries → staging.rows"),
        "{found}"
    );
    assert!(found.starts_with("onggi.toml:"), "{found}");
    let (_folder, project) = project(
        "query = \"select 'a' as key, (select max(at) from staging.rows) as since\"",
        "",
        &[("h/staging/rows.sql", ROWS)],
    );
    let order: Vec<String> = steps::plan(&project, &[]).unwrap().iter().map(|placed| placed.step.id()).collect();
    assert_eq!(order, ["rows", "staging.rows"]);
}

#[test]
fn a_part_of_a_name_is_no_host() {
    let text = "url = \"https://Films.example/list\"\nhosts = [\"*.img.example\"]";
    for (host, is) in [
        ("films.example", true),
        ("FILMS.example", true),
        ("a.img.example", true),
        ("ilms.example", false),
        ("films.exampl", false),
        ("film.example", false),
        ("img.example", false),
        ("a.example", false),
    ] {
        assert_eq!(speaks_of(text, host), is, "{host}");
    }
}
