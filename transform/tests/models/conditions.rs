//! A condition keeps the rows for which it is true and no others, wherever it stands and whatever a table says of it.
//!
//! What a condition is of a row is asked as a column, which no table ever sees, so that no rule that hands conditions down can be
//! wrong in both answers.

use arrow::array::{Array, AsArray};
use serde_json::json;
use transform::Models;

use crate::house::{DAY, House, models};

const NEXT: &str = "2026-10-02";

/// Conditions on `id`, `n` and `dt`, many of which are not known of any row.
const CONDITIONS: &[&str] = &[
    "null",
    "id = null",
    "id <> null",
    "id in (null)",
    "id not in (null)",
    "id in ('y', null)",
    "id not in ('y', null)",
    "not (id in ('y', null))",
    "not (n in (1, null))",
    "n not in (1, 2, 3, 4, 5, null)",
    "n between null and 3",
    "n between 1 and null",
    "n not between 1 and null",
    "n not between null and 3",
    "id = null and n = 1",
    "id = null or n = 1",
    "not (id = null and n = 1)",
    "n = 1 and null",
    "n = 1 and (null or n = 1)",
    "id like null",
    "nullif(n, 1) = 2",
    "case when n = 1 then null else true end",
    "case when dt = date '2026-10-01' then null else true end",
    "dt = null",
    "dt <> null",
    "dt in (null)",
    "dt in (date '2026-10-01', null)",
    "dt not in (date '2026-10-01', null)",
    "not (dt in (date '2026-10-01', null))",
    "dt = date '2026-10-01' or null",
    "dt = date '2026-10-01' and null",
    "not (dt = date '2026-10-01' or null)",
    "dt between null and date '2026-10-02'",
    "dt between date '2026-10-02' and null",
    "dt > null or dt = date '2026-10-02'",
    "coalesce(dt, date '2000-01-01') = date '2026-10-01'",
    "nullif(dt, date '2026-10-01') = date '2026-10-02'",
    "dt is distinct from null",
    "(dt = null) is not true",
    "(n = 1) is null",
    "n is distinct from null",
    "n = (select null)",
    "extract(day from dt) = 2",
    "cast(dt as varchar) like '%-01'",
    "dt = date '2026-10-01'",
    "dt <> date '2026-10-01'",
    "dt is null",
    "n <> 1",
    "n in (1, 2)",
    "false",
    "true",
];

async fn filled() -> (House, Models) {
    let house = House::new("conditions").await;
    let mut lines = Vec::new();
    for (dt, rows) in [(DAY, ["x", "y"]), (NEXT, ["z", "w"])] {
        for (place, id) in rows.iter().enumerate() {
            lines.push(json!({"id": id, "n": place + 1, "_key": format!("{dt}-{id}"), "dt": dt}).to_string());
        }
        lines.push(json!({"id": null, "n": 1, "_key": format!("{dt}-none"), "dt": dt}).to_string());
        lines.push(json!({"id": "v", "n": null, "_key": format!("{dt}-v"), "dt": dt}).to_string());
    }
    house.land("raw.things", &lines.join("\n")).await;
    let columns = "select _key, id, n, dt from raw.things";
    let project = models(&[
        ("x/staging/whole.sql", &format!("-- materialize: table\n{columns}")),
        ("x/staging/daily.sql", &format!("-- materialize: partition\n{columns} where dt = $dt")),
        ("x/staging/seen.sql", &format!("-- materialize: view\n{columns} where n is distinct from 77")),
    ]);
    house.build_all(&project, DAY).await;
    house.build_all(&project, NEXT).await;
    (house, project)
}

/// The keys of the rows of which the condition is true, asked as a column.
async fn true_of(house: &House, project: &Models, table: &str, condition: &str) -> Vec<String> {
    let batches = house.ask(project, &format!("select _key, ({condition}) as it from {table}")).await.unwrap();
    let mut keys = Vec::new();
    for batch in &batches {
        let key = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
        let it = arrow::compute::cast(batch.column(1), &arrow::datatypes::DataType::Boolean).unwrap();
        let (key, it) = (key.as_string::<i32>(), it.as_boolean());
        keys.extend(
            (0..batch.num_rows())
                .filter(|row| it.is_valid(*row) && it.value(*row))
                .map(|row| key.value(row).to_owned()),
        );
    }
    keys.sort();
    keys
}

#[tokio::test]
async fn a_condition_keeps_what_it_is_true_of() {
    let (house, project) = filled().await;
    let mut wrong = Vec::new();
    for table in ["raw.things", "staging.whole", "staging.daily", "staging.seen"] {
        for condition in CONDITIONS {
            let expected = true_of(&house, &project, table, condition).await;
            let places = [
                ("where", format!("select _key from {table} where {condition}")),
                ("where, with another", format!("select _key from {table} where _key is not null and ({condition})")),
                ("the negative of its negative", format!("select _key from {table} where not (not ({condition}))")),
                ("through a subquery", format!("select _key from (select * from {table}) where {condition}")),
                (
                    "through a union",
                    format!(
                        "select distinct _key from (select * from {table} union all select * from {table}) where {condition}"
                    ),
                ),
                ("having", format!("select _key from {table} group by _key, id, n, dt having {condition}")),
                (
                    "filter",
                    format!(
                        "select k from (select _key as k, count(*) filter (where {condition}) as m from {table} group by _key) where m > 0"
                    ),
                ),
                ("case", format!("select _key from {table} where case when {condition} then true else false end")),
                ("join", format!("select _key from {table} join (values (1)) as one(u) on u = 1 and ({condition})")),
                (
                    "left join",
                    format!(
                        "select _key from (values (1)) as one(u) left join {table} on u = 1 and ({condition}) where _key is not null"
                    ),
                ),
                ("in", format!("select _key from {table} where _key in (select _key from {table} where {condition})")),
            ];
            for (place, sql) in &places {
                let found = match house.ask(&project, sql).await {
                    Ok(_) => house.rows(&project, sql).await,
                    Err(error) => vec![format!("{error} {error:?}")],
                };
                if found != expected {
                    wrong.push(format!("{table}, {place}: {condition}\n  expected {expected:?}\n  found    {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// What a condition leaves out is no row of a model either, nor one that its checks see.
#[tokio::test]
async fn models_and_their_checks_keep_what_a_condition_is_true_of() {
    let (house, project) = filled().await;
    for condition in CONDITIONS {
        let expected = true_of(&house, &project, "staging.whole", condition).await;
        // The check finds every row for which the condition is not true, so none may be there.
        let sql = format!(
            "-- materialize: table\n-- check: accepted(it, 'yes')\nselect _key, case when ({condition}) then 'yes' else 'no' end as it from staging.whole where {condition}"
        );
        let files = [
            ("x/staging/whole.sql", "-- materialize: table\nselect _key, id, n, dt from raw.things".to_owned()),
            ("x/marts/kept.sql", sql),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let both = models(&files);
        if let Err(error) = house.build(&both, "marts.kept", DAY).await {
            panic!("{condition}: {error}");
        }
        assert_eq!(house.rows(&both, "select _key from marts.kept").await, expected, "{condition}");
    }
}
