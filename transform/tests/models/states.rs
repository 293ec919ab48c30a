//! How the lake stands against the models: every day, every column, every table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use transform::{Models, spans, state};

use crate::house::{DAY, House, models, name, outside};

async fn standing(house: &House, models: &Models) -> String {
    let schemas: BTreeMap<_, _> =
        ["raw.things"].iter().filter_map(|table| Some((name(table), outside(&name(table))?))).collect();
    let found = state(&house.lake, models, &schemas).await.unwrap();
    let mut lines = Vec::new();
    for table in &found.tables {
        for stale in &table.stale {
            let why = stale.why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            lines.push(format!("{} stale {} ({why})", table.table, spans(&stale.days)));
        }
        if !table.as_of_then.is_empty() {
            lines.push(format!("{} as of then {}", table.table, spans(&table.as_of_then)));
        }
        if !table.differences.is_empty() {
            let word = if table.reshaped { "reshaped" } else { "differs" };
            lines.push(format!("{} {word}: {}", table.table, table.differences.join(", ")));
        }
    }
    lines.extend(found.orphans.iter().map(|orphan| format!("{orphan} is an orphan")));
    lines.join("\n")
}

const DAILY: &str = "-- materialize: partition\nselect id, n from raw.things where dt = $dt";
const BELOW: &str = "-- materialize: partition\nselect sum(n) as n from staging.daily where dt = $dt";
const WEEK: &str =
    "-- materialize: partition\nselect sum(n) as n from staging.daily where dt > $dt - interval '2 days' and dt <= $dt";
const KNOWN: &str = "-- materialize: partition\nselect sum(n) as n from staging.total";
const TOTAL: &str = "-- materialize: table\nselect sum(n) as n from raw.things";

fn project(daily: &str) -> Models {
    models(&[
        ("x/staging/daily.sql", daily),
        ("x/staging/total.sql", TOTAL),
        ("x/marts/below.sql", BELOW),
        ("x/marts/week.sql", WEEK),
        ("x/marts/known.sql", KNOWN),
    ])
}

async fn rebuild_stale(house: &House, models: &Models) {
    let schemas = [(name("raw.things"), outside(&name("raw.things")).unwrap())].into();
    loop {
        let days = state(&house.lake, models, &schemas).await.unwrap().stale_days();
        if days.is_empty() {
            return;
        }
        for (day, tables) in days {
            for table in tables {
                house.build(models, &table.to_string(), &day.to_string()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn days_that_would_be_others_today_are_known_and_built_again() {
    let house = House::new("stale-days").await;
    let before = project(DAILY);
    for (dt, n) in [("2026-09-29", 1), ("2026-09-30", 2), (DAY, 3)] {
        house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&before, dt).await;
    }
    let mut said = vec![format!("built day by day:\n{}", standing(&house, &before).await)];
    house.things("2026-09-29", &[("late", 10, "2026-10-01T00:00:00Z")]).await;
    said.push(format!("rows of the first day:\n{}", standing(&house, &before).await));
    house.build(&before, "staging.daily", "2026-09-29").await.unwrap();
    said.push(format!("its own table built:\n{}", standing(&house, &before).await));
    rebuild_stale(&house, &before).await;
    said.push(format!("all built:\n{}", standing(&house, &before).await));
    assert_eq!(
        house.rows(&before, "select dt, n from marts.week").await,
        ["2026-09-29 | 11", "2026-09-30 | 13", "2026-10-01 | 5"]
    );
    let after = project(&DAILY.replace("id, n", "id, n * 2 as n"));
    house.build_all(&after, DAY).await;
    said.push(format!("another formula, the newest day built:\n{}", standing(&house, &after).await));
    // What says why may be lost; that they are stale may not.
    house.lake.objects().delete_prefix(&catalog::path::states("builds")).await.unwrap();
    said.push(format!("without the records:\n{}", standing(&house, &after).await));
    rebuild_stale(&house, &after).await;
    said.push(format!("all built:\n{}", standing(&house, &after).await));
    assert_eq!(
        house.rows(&after, "select dt, n from marts.week").await,
        ["2026-09-29 | 22", "2026-09-30 | 26", "2026-10-01 | 10"]
    );
    insta::assert_snapshot!(said.join("\n\n"), @r"
    built day by day:
    marts.known as of then 2026-09-29..2026-09-30

    rows of the first day:
    staging.daily stale 2026-09-29 (raw.things changed)
    marts.known as of then 2026-09-29..2026-09-30

    its own table built:
    marts.below stale 2026-09-29 (staging.daily changed)
    marts.week stale 2026-09-29..2026-09-30 (staging.daily changed)
    marts.known as of then 2026-09-29..2026-09-30

    all built:
    marts.known as of then 2026-09-29..2026-09-30

    another formula, the newest day built:
    staging.daily stale 2026-09-29..2026-09-30 (sql changed)
    marts.known as of then 2026-09-29..2026-09-30

    without the records:
    staging.daily stale 2026-09-29..2026-09-30 (the record of its last build is lost)
    marts.known as of then 2026-09-29..2026-09-30

    all built:
    marts.known as of then 2026-09-29..2026-09-30
    ");
}

#[tokio::test]
async fn a_model_that_is_new_has_all_days_of_what_it_reads_to_build() {
    let house = House::new("new-model").await;
    for (dt, n) in [("2026-09-29", 1), (DAY, 3)] {
        house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
    }
    let daily = models(&[("x/staging/daily.sql", DAILY), ("x/marts/below.sql", BELOW)]);
    assert_eq!(standing(&house, &daily).await, "staging.daily stale 2026-09-29, 2026-10-01 (never built)");
    house.build(&daily, "staging.daily", "2026-09-29").await.unwrap();
    let said = standing(&house, &daily).await;
    assert_eq!(said, "staging.daily stale 2026-10-01 (never built)\nmarts.below stale 2026-09-29 (never built)");
    rebuild_stale(&house, &daily).await;
    assert_eq!(standing(&house, &daily).await, "");
    assert_eq!(house.rows(&daily, "select dt, n from marts.below").await, ["2026-09-29 | 1", "2026-10-01 | 3"]);
}

#[tokio::test]
async fn a_table_that_no_model_makes_is_compared_and_never_made_anew() {
    let house = House::new("given").await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    let none = models(&[]);
    let mut fields: Vec<_> = outside(&name("raw.things")).unwrap().fields().iter().cloned().collect();
    fields.retain(|field| field.name() != "words");
    let position = fields.iter().position(|field| field.name() == "n").unwrap();
    fields[position] = Arc::new(Field::new("n", DataType::Utf8, true));
    let schemas = [(name("raw.things"), Arc::new(Schema::new(fields)))].into();
    let found = state(&house.lake, &none, &schemas).await.unwrap();
    let [table] = &found.tables[..] else { panic!("{found:?}") };
    assert!(table.refused && !table.reshaped);
    assert_eq!(table.differences, ["`n` was int64 and is utf8", "`words` is no longer declared (list<utf8>)"]);
    let gone = state(&house.lake, &none, &BTreeMap::new()).await.unwrap();
    assert_eq!((gone.tables.len(), gone.orphans), (0, vec![name("raw.things")]));
}

#[tokio::test]
async fn columns_splits_and_tables_are_compared() {
    let house = House::new("shapes").await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    let table = |sql: &str| format!("-- materialize: table\n{sql}");
    let all = |kept: &str, typed: &str, split: &str| {
        models(&[("x/staging/kept.sql", kept), ("x/staging/typed.sql", typed), ("x/staging/split.sql", split)])
    };
    let before = all(
        &table("select id, n from raw.things"),
        &table("select id, n from raw.things"),
        &table("select id, n from raw.things"),
    );
    house.build_all(&before, DAY).await;
    assert_eq!(standing(&house, &before).await, "");
    let after = all(
        &table("select id, n as m from raw.things"),
        &table("select id, cast(n as double) as n from raw.things"),
        DAILY,
    );
    insta::assert_snapshot!(standing(&house, &after).await, @r"
    staging.kept differs: `m` is new (int64), `n` is no longer declared (int64)
    staging.split reshaped: the table was in one piece and is split by day, `dt` is new (date)
    staging.typed reshaped: `n` was int64 and is float64
    ");
    let fewer = models(&[("x/staging/kept.sql", &table("select id, n from raw.things"))]);
    insta::assert_snapshot!(standing(&house, &fewer).await, @r"
    staging.split is an orphan
    staging.typed is an orphan
    ");
}
