//! `onggi sql --athena` from the command to a real engine and back: an API like Athena's in front of a Trino that reads the lake.

use std::process::Stdio;

use serde_json::{Value, json};

use super::api::AthenaApi;
use crate::support::{Project, text};
use crate::trino::{ask, tables};

/// Each kind of value that a model may have, a table of more than two pages, and a list.
const MODELS: [(&str, &str); 3] = [
    (
        "marts/kinds",
        "-- materialize: table\n-- key: id\n\
         select 1 as id, '국밥, \"맵게\"' as name, 9007199254740993 as big, 1.5 as half, true as open, date '2026-10-01' as day, \
         arrow_cast('2026-10-01T03:04:05Z', 'Timestamp(Microsecond, Some(\"UTC\"))') as at, cast('12.50' as decimal(10, 2)) as price, \
         make_array('비', '혼자') as tags \
         union all select 2, '', -1, -0.25, false, date '1969-12-31', null, null, null",
    ),
    (
        "marts/many",
        "-- materialize: table\n-- key: n\nselect value as n, concat('row ', value) as name from generate_series(1, 2500)",
    ),
    ("staging/nothing", "-- materialize: table\nselect 1 as n where false"),
];

fn rows(project: &Project, arguments: &[&str], statement: &str) -> Vec<Value> {
    let output = project.onggi(&[&["sql", "--json"], arguments, &[statement]].concat());
    assert!(output.status.success(), "{statement}\n{}", text(&output));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn athenas_engine_answers_what_we_answer() {
    let Some(trino) = services::trino() else { return };
    let api = AthenaApi::start(&trino);
    let mut project = Project::own(&format!(
        "[athena]\ndatabase_prefix = \"shop_\"\nlocation = \"s3://jar/lake\"\noutput = \"s3://jar/results/\"\nendpoint = \"{}\"\n",
        api.url()
    ));
    for (model, sql) in MODELS {
        project.put(&format!("sql/{model}.sql"), sql);
    }
    project.env = vec![
        ("AWS_ACCESS_KEY_ID", services::ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", services::SECRET_KEY.to_owned()),
        ("AWS_REGION", services::REGION.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    project.run(0);
    let lake = project.folder.canonicalize().unwrap().join("lake");
    for (schema, table) in tables(&project) {
        ask(&trino, &format!("create schema if not exists shop_{schema}"));
        let folder = lake.join(&schema).join(&table);
        ask(&trino, &format!("call system.register_table('shop_{schema}', '{table}', 'local://{}')", folder.display()));
    }

    // What Athena sends as a text of its own form is left out here and looked at below.
    for statement in [
        "select id, name, big, half, open, day, price from marts.kinds order by id",
        "select count(*) as n, sum(n) as sum, min(name) as first from marts.many",
        "select n, name from marts.many order by n",
        "select n from staging.nothing",
        "select k.name, m.name as other from marts.kinds k join marts.many m on m.n = k.id order by k.id",
    ] {
        let theirs = statement.replace("marts.", "shop_marts.").replace("staging.", "shop_staging.");
        let (theirs, ours) = (rows(&project, &["--athena"], &theirs), rows(&project, &[], statement));
        assert_eq!(theirs, ours, "{statement}");
    }
    let odd = rows(&project, &["--athena"], "select at, tags from shop_marts.kinds order by id");
    assert_eq!(odd[0], json!({ "at": "2026-10-01 03:04:05.000 UTC", "tags": "[비, 혼자]" }));
    assert_eq!(odd[1], json!({ "at": null, "tags": null }));
    let shown = rows(&project, &["--athena"], "show tables from shop_marts");
    assert_eq!(shown.len(), 2, "{shown:?}");

    // The engine's own words, with the place that it names marked in the statement.
    let wrong = project.onggi(&["sql", "--athena", "select name,\n  prise\nfrom shop_marts.kinds"]);
    let told = text(&wrong);
    assert_eq!(wrong.status.code(), Some(1), "{told}");
    assert!(told.contains("COLUMN_NOT_FOUND: line 2:3: Column 'prise' cannot be resolved"), "{told}");
    assert!(told.contains("  2 |   prise\n    |   ^"), "{told}");

    stopped(&project, &api, &trino);
}

/// A question that would go on for long ends in the engine when the person who asked has had enough.
fn stopped(project: &Project, api: &AthenaApi, trino: &services::Trino) {
    let long = "select count(*) as n from shop_marts.many a, shop_marts.many b, shop_marts.many c, shop_marts.many d \
                where a.n + b.n + c.n + d.n = 17";
    let mut child =
        project.command(&["sql", "--athena", long]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while !api.states().contains(&"RUNNING") {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        a_moment();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    assert!(text(&output).contains("interrupted: the query was stopped in Athena"), "{}", text(&output));
    while !api.states().contains(&"CANCELLED") {
        a_moment();
    }
    let running = "select count(*) from system.runtime.queries where state = 'RUNNING' and query like '%a.n + b.n%' \
                   and query not like '%runtime%'";
    // The engine ends what was cancelled when it comes to it.
    let is_over = (0..1_200).any(|_| {
        let is_over = ask(trino, running).rows[0][0] == json!(0);
        if !is_over {
            a_moment();
        }
        is_over
    });
    assert!(is_over, "the engine works for nobody");
}

#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn a_moment() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}
