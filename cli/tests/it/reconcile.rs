//! `onggi reconcile`: sinks as their marts, then with rows changed behind our back, then repaired.

use serde_json::{Value, json};

use crate::support::{Project, text};

const DISHES: &str = "select * from (values ('gukbap', '국밥', 9000), ('mandu', '만두', 7000), ('naengmyeon', '냉면', 11000)) \
    as t(dish, name, price)";

/// A project of one model that needs no source, synced to these sinks.
fn project(sinks: &str, more: &str) -> Project {
    let project =
        Project::own(&format!("[sync.\"marts.menu\"]\nkey = \"dish\"\nsinks = {sinks}\ntext = [\"name\"]\n{more}"));
    project.put("sql/marts/menu.sql", &format!("-- materialize: table\n-- key: dish\n{DISHES}"));
    project
}

/// What `onggi reconcile --json` says of each sink, with its exit code.
fn reconcile(project: &Project) -> (Option<i32>, Vec<Value>) {
    let output = project.onggi(&["reconcile", "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    (output.status.code(), objects.filter(|it| it["sink"].is_string()).collect())
}

fn counts(sink: &str, equal: u64, missing: u64, extra: u64, different: u64) -> Value {
    json!({ "table": "marts.menu", "sink": sink, "fits": true, "equal": equal, "missing": missing, "extra": extra,
        "different": different })
}

/// Equal; changed by `change`, which runs a statement in the sink: one row deleted, one added, one marked otherwise; told, and
/// repaired. Then the sink's table is gone altogether, and a run makes it again.
fn told_and_repaired(project: &Project, sink: &str, others: &[Value], change: impl Fn(&str)) {
    assert_eq!(reconcile(project).0, Some(1), "nothing was built");
    project.run(0);
    let equal = [&[counts(sink, 3, 0, 0, 0)], others].concat();
    assert_eq!(reconcile(project), (Some(0), equal.clone()));

    change("delete from MENU where dish = 'mandu'");
    change("insert into MENU (dish, name, price, _row_hash) values ('pizza', '피자', 1, 'x')");
    change("update MENU set price = 1, _row_hash = 'x' where dish = 'gukbap'");
    let spoilt = [&[counts(sink, 1, 1, 1, 1)], others].concat();
    assert_eq!(reconcile(project), (Some(1), spoilt.clone()));
    let said = text(&project.onggi(&["reconcile"]));
    for part in [
        "missing in marts.menu, ",
        ": mandu\n",
        ": pizza\n",
        ": gukbap\n",
        "error: expected every sink to be as its mart, found 3 rows that are not",
        "hint: `onggi reconcile --repair` writes the rows that differ",
    ] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    // A run goes by the cursors, and they say that all is done.
    assert_eq!(project.run(0)["synced"], 0);
    assert_eq!(reconcile(project), (Some(1), spoilt));

    let repaired = project.onggi(&["reconcile", "--repair"]);
    assert!(repaired.status.success(), "{}", text(&repaired));
    let line = format!("repaired marts.menu in {sink}: 2 written, 1 deleted");
    assert!(text(&repaired).contains(&line), "{}", text(&repaired));
    assert_eq!(reconcile(project), (Some(0), equal.clone()));
    assert_eq!(project.run(0)["synced"], 0);

    // A value that was changed while its row's hash was left alone is as wrong as any other.
    change("update MENU set price = 1 where dish <> 'gukbap'");
    assert_eq!(reconcile(project), (Some(1), [&[counts(sink, 1, 0, 0, 2)], others].concat()));
    assert!(project.onggi(&["reconcile", "--mend"]).status.success(), "the word that it was called by is still known");
    assert_eq!(reconcile(project), (Some(0), equal.clone()));
    change("drop table MENU");
    let planned = text(&project.onggi(&["plan"]));
    assert!(planned.contains(&format!("changed rows go to {sink}, not at its newest version")), "{planned}");
    assert_eq!(project.run(0)["synced"], 3);
    assert!(text(&project.onggi(&["plan"])).contains("nothing is to be done"));
    assert_eq!(reconcile(project), (Some(0), equal));
}

#[test]
fn a_row_changed_in_the_embedded_database_is_told_and_repaired() {
    let project = project("[\"sqlite\", \"keywords\"]", "");
    let open = || rusqlite::Connection::open(project.folder.join("lake/_onggi/serving/serving.sqlite")).unwrap();
    told_and_repaired(&project, "sqlite", &[counts("keywords", 3, 0, 0, 0)], |statement| {
        open().execute_batch(&statement.replace("MENU", "marts_menu")).unwrap();
    });
    let price = "select price from marts_menu where dish = 'gukbap'";
    assert_eq!(open().query_row(price, [], |row| row.get::<_, i64>(0)).unwrap(), 9000);
}

#[test]
fn a_row_changed_in_postgres_is_told_and_repaired() {
    let Some(server) = services::postgres() else { return };
    let url = server.database();
    let section = "[postgres]\nurl = \"env:ONGGI_POSTGRES\"\nschema = \"serving\"\n";
    let mut project = project("[\"postgres\"]", section);
    project.env.push(("ONGGI_POSTGRES", url.clone()));
    told_and_repaired(&project, "postgres", &[], |statement| {
        server.psql(&url, &statement.replace("MENU", "serving.menu"));
    });
    assert_eq!(server.psql(&url, "select price from serving.menu where dish = 'gukbap'").trim(), "9000");
}

/// A menu of as many dishes, so many that a sync may not remove any share of them.
const LONG: &str =
    "select 'd' || n as dish, 'dish ' || n as name, n as price from generate_series(1, 100) as t(n) where n <= COUNT";

fn serve(project: &Project, count: u64) {
    serve_by("dish", project, count);
}

fn serve_by(key: &str, project: &Project, count: u64) {
    let model = format!("-- materialize: table\n-- key: {key}\n{}", LONG.replace("COUNT", &count.to_string()));
    std::fs::write(project.folder.join("sql/marts/menu.sql"), model).unwrap();
}

/// What a command says, which ends with this code.
fn says(project: &Project, arguments: &[&str], code: i32) -> String {
    let output = project.onggi(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
    text(&output)
}

/// A sync that would remove too much ends with 1 and shows what it showed; the word lets it, in a run and in a repair.
fn too_much_goes_by_word(project: &Project, sinks: &[&str]) {
    let equal = |rows: u64| sinks.iter().map(|sink| counts(sink, rows, 0, 0, 0)).collect::<Vec<_>>();
    serve(project, 100);
    project.run(0);
    assert_eq!(reconcile(project), (Some(0), equal(100)));

    serve(project, 0);
    let said = says(project, &["run"], 1);
    for part in [
        &format!("`marts.menu`: a sync would remove 100 of 100 rows from the {} sink, more than 20 %", sinks[0]),
        "`onggi run --allow-deletes` lets them",
    ] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    let extra: Vec<Value> = sinks.iter().map(|sink| counts(sink, 0, 0, 100, 0)).collect();
    assert_eq!(reconcile(project), (Some(1), extra.clone()), "it shows what it showed");
    // Whoever runs again is told again.
    project.run(1);
    assert_eq!(reconcile(project), (Some(1), extra));
    says(project, &["run", "--allow-deletes"], 0);
    assert_eq!(reconcile(project), (Some(0), equal(0)));

    serve(project, 100);
    project.run(0);
    serve(project, 50);
    says(project, &["run"], 1);
    let said = says(project, &["reconcile", "--repair"], 1);
    assert!(said.contains("a sync would remove 50 of 100 rows"), "{said}");
    assert!(says(project, &["reconcile", "--allow-deletes"], 2).contains("--repair"));
    says(project, &["reconcile", "--repair", "--allow-deletes"], 0);
    assert_eq!(reconcile(project), (Some(0), equal(50)));
    // A share that always may go.
    project.replace("onggi.toml", "key = \"dish\"", "key = \"dish\"\nmax_deleted = 1.0");
    serve(project, 0);
    project.run(0);
    assert_eq!(reconcile(project), (Some(0), equal(0)));
}

#[test]
fn a_sync_that_would_remove_too_much_stops_until_it_is_let() {
    too_much_goes_by_word(&project("[\"sqlite\", \"keywords\"]", ""), &["sqlite", "keywords"]);
}

/// A project with a database, and that.
fn on_postgres() -> Option<(Project, &'static services::Postgres, String)> {
    let server = services::postgres()?;
    let url = server.database();
    let mut project = project("[\"postgres\"]", "[postgres]\nurl = \"env:ONGGI_POSTGRES\"\nschema = \"serving\"\n");
    project.env.push(("ONGGI_POSTGRES", url.clone()));
    Some((project, server, url))
}

#[test]
fn a_sync_that_would_remove_too_much_of_postgres_stops_until_it_is_let() {
    let Some((project, ..)) = on_postgres() else { return };
    too_much_goes_by_word(&project, &["postgres"]);
}

/// The key of a row is another column: no row goes for that, and readers have the old rows until the new ones are there.
#[test]
fn another_key_removes_nothing() {
    let project = project("[\"sqlite\", \"keywords\"]", "");
    serve(&project, 100);
    project.run(0);
    serve_by("name", &project, 100);
    project.replace("onggi.toml", "key = \"dish\"", "key = \"name\"");
    assert_eq!(reconcile(&project).0, Some(1));
    assert_eq!(project.run(0)["synced"], 200);
    assert_eq!(reconcile(&project), (Some(0), vec![counts("sqlite", 100, 0, 0, 0), counts("keywords", 100, 0, 0, 0)]));
}

/// A lake of another id is refused by a server until somebody says that the table is to follow it.
#[test]
fn another_lake_is_adopted_by_word() {
    let Some((mut project, server, url)) = on_postgres() else { return };
    serve(&project, 100);
    project.run(0);
    let rows = || server.psql(&url, "select count(*) from serving.menu").trim().to_owned();
    serve(&project, 70);
    project.env.push(("ONGGI_LAKE", project.folder.join("other").display().to_string()));
    for command in [&["run"][..], &["reconcile"], &["reconcile", "--repair"]] {
        let said = says(&project, command, 1);
        assert!(said.contains("its table for `marts.menu` follows another lake ("), "{said}");
        assert!(said.contains("`onggi reconcile --repair --adopt` makes it do so"), "{said}");
    }
    assert_eq!(rows(), "100");
    // Who lets it follow another lake lets no rows go by that.
    let said = says(&project, &["reconcile", "--repair", "--adopt"], 1);
    assert!(said.contains("a sync would remove 30 of 100 rows"), "{said}");
    says(&project, &["reconcile", "--repair", "--adopt", "--allow-deletes"], 0);
    assert_eq!(rows(), "70");
    project.run(0);
    assert_eq!(reconcile(&project), (Some(0), vec![counts("postgres", 70, 0, 0, 0)]));
    project.env.pop();
    let said = says(&project, &["run"], 1);
    assert!(said.contains("follows another lake"), "{said}");
}

#[test]
fn a_table_that_no_section_asks_for_is_named_and_goes_by_word() {
    let project = project("[\"sqlite\", \"keywords\"]", "");
    project.run(0);
    let said = |arguments: &[&str], code| says(&project, arguments, code);
    let objects = |arguments: &[&str]| -> Vec<Value> {
        let output = project.onggi(arguments);
        let lines = String::from_utf8(output.stdout).unwrap();
        let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.filter(|it| it["orphan"] == true).collect()
    };
    for verb in ["plan", "status"] {
        assert!(!said(&[verb], 0).contains("orphaned"), "{verb}");
        assert_eq!(objects(&[verb, "--json"]), [] as [Value; 0]);
    }
    let orphan = |sink: &str| json!({ "table": "marts.menu", "sink": sink, "orphan": true });
    project.replace("onggi.toml", "sinks = [\"sqlite\", \"keywords\"]", "sinks = [\"sqlite\"]");
    let line = |sink: &str| {
        format!(
            "orphaned: marts.menu in {sink}, which no [sync] section asks for: it is neither synced nor searched; \
             `onggi reconcile --drop-orphans` removes it\n"
        )
    };
    for verb in ["plan", "status"] {
        let said = said(&[verb], 0);
        assert!(said.contains(&line("keywords")) && !said.contains(&line("sqlite")), "{verb}: {said}");
        assert_eq!(objects(&[verb, "--json"]), [orphan("keywords")]);
    }
    assert_eq!(objects(&["reconcile", "--json"]), [orphan("keywords")]);
    let told = said(&["reconcile"], 1);
    assert!(told.contains("expected no table in a sink that no [sync] section asks for, found 1 table"), "{told}");
    // A run leaves it, and what is asked for again is no orphan.
    project.run(0);
    assert_eq!(said(&["reconcile"], 1), told);
    project.replace("onggi.toml", "sinks = [\"sqlite\"]", "sinks = [\"sqlite\", \"keywords\"]");
    said(&["reconcile"], 0);
    project.replace("onggi.toml", "sinks = [\"sqlite\", \"keywords\"]", "sinks = [\"sqlite\"]");
    assert!(said(&["reconcile", "--drop-orphans"], 0).contains("removed marts.menu from keywords"));
    assert!(!project.folder.join("lake/_onggi/serving/keywords/marts.menu").exists());
    for verb in ["plan", "status", "reconcile"] {
        assert!(!said(&[verb], 0).contains("orphaned"), "{verb}");
    }
}
