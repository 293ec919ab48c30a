//! `onggi reconcile`: sinks as their marts, then with rows changed behind our back, then mended.

use serde_json::{Value, json};

use crate::support::{Project, last_object, text};

const DISHES: &str = "select * from (values ('gukbap', '국밥', 9000), ('mandu', '만두', 7000), ('naengmyeon', '냉면', 11000)) \
    as t(dish, name, price)";

/// A project of one model that needs no source, synced to these sinks.
fn project(sinks: &str, more: &str) -> Project {
    let project = Project::unpointed();
    for folder in ["sources", "sql"] {
        std::fs::remove_dir_all(project.folder.join(folder)).unwrap();
        std::fs::create_dir_all(project.folder.join(folder)).unwrap();
    }
    std::fs::create_dir_all(project.folder.join("sql/marts")).unwrap();
    let model = format!("-- materialize: table\n-- key: dish\n{DISHES}");
    std::fs::write(project.folder.join("sql/marts/menu.sql"), model).unwrap();
    let configuration = format!(
        "[project]\nname = \"menu\"\ntimezone = \"Asia/Seoul\"\nsources = \"sources\"\nmodels = \"sql\"\n\
         [identity]\nkey = \"file:.onggi/identity.key\"\n\
         [sync.\"marts.menu\"]\nkey = \"dish\"\nsinks = {sinks}\ntext = [\"name\"]\n{more}"
    );
    std::fs::write(project.folder.join("onggi.toml"), configuration).unwrap();
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
    json!({ "table": "marts.menu", "sink": sink, "equal": equal, "missing": missing, "extra": extra,
        "different": different })
}

/// Equal; changed by `spoil`, which deletes one row, adds one and marks one otherwise; told, and mended.
fn told_and_mended(project: &Project, sink: &str, others: &[Value], spoil: impl FnOnce()) {
    assert_eq!(reconcile(project).0, Some(1), "nothing was built");
    project.run(0);
    let equal = [&[counts(sink, 3, 0, 0, 0)], others].concat();
    assert_eq!(reconcile(project), (Some(0), equal.clone()));

    spoil();
    let spoilt = [&[counts(sink, 1, 1, 1, 1)], others].concat();
    assert_eq!(reconcile(project), (Some(1), spoilt.clone()));
    let said = text(&project.onggi(&["reconcile"]));
    for part in [
        "missing in marts.menu, ",
        ": mandu\n",
        ": pizza\n",
        ": gukbap\n",
        "error: expected every sink to be as its mart, found 3 rows that are not",
        "hint: `onggi reconcile --mend` writes the rows that differ",
    ] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    // A run goes by the cursors, and they say that all is done.
    assert_eq!(project.run(0)["synced"], 0);
    assert_eq!(reconcile(project), (Some(1), spoilt));

    let mended = project.onggi(&["reconcile", "--mend"]);
    assert!(mended.status.success(), "{}", text(&mended));
    let line = format!("mended marts.menu in {sink}: 2 written, 1 deleted");
    assert!(text(&mended).contains(&line), "{}", text(&mended));
    assert_eq!(reconcile(project), (Some(0), equal));
    assert_eq!(last_object(&project.onggi(&["run", "--json", "--quiet"]))["synced"], 0);
}

#[test]
fn a_row_changed_in_the_embedded_database_is_told_and_mended() {
    let project = project("[\"sqlite\", \"keywords\"]", "");
    told_and_mended(&project, "sqlite", &[counts("keywords", 3, 0, 0, 0)], || {
        let file = project.folder.join("lake/_onggi/serving/serving.sqlite");
        let database = rusqlite::Connection::open(file).unwrap();
        database
            .execute_batch(
                "delete from marts_menu where dish = 'mandu';
                 insert into marts_menu (dish, name, price, _row_hash) values ('pizza', '피자', 1, 'x');
                 update marts_menu set price = 1, _row_hash = 'x' where dish = 'gukbap'",
            )
            .unwrap();
    });
    let file = project.folder.join("lake/_onggi/serving/serving.sqlite");
    let database = rusqlite::Connection::open(file).unwrap();
    let price: i64 =
        database.query_row("select price from marts_menu where dish = 'gukbap'", [], |row| row.get(0)).unwrap();
    assert_eq!(price, 9000);
}

#[test]
fn a_row_changed_in_postgres_is_told_and_mended() {
    let Some(server) = services::postgres() else { return };
    let url = server.database();
    let mut project = project("[\"postgres\"]", "[postgres]\nurl = \"env:ONGGI_POSTGRES\"\nschema = \"serving\"\n");
    project.env.push(("ONGGI_POSTGRES", url.clone()));
    told_and_mended(&project, "postgres", &[], || {
        server.psql(
            &url,
            "delete from serving.menu where dish = 'mandu';
             insert into serving.menu (dish, name, price, _row_hash) values ('pizza', '피자', 1, '\\x00');
             update serving.menu set price = 1, _row_hash = '\\x00' where dish = 'gukbap'",
        );
    });
    assert_eq!(server.psql(&url, "select price from serving.menu where dish = 'gukbap'").trim(), "9000");
}
