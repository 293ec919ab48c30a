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
    assert_eq!(project.run(0)["synced"], 3);
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
