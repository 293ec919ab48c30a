//! How the lake stands against the models: every day, every column, every table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use transform::{Models, Outcome, spans, state};

use crate::house::{DAY, House, day, models, name, outside};

async fn standing(house: &House, models: &Models) -> String {
    let schemas: BTreeMap<_, _> =
        ["raw.things"].iter().filter_map(|table| Some((name(table), outside(&name(table))?))).collect();
    let found = state(&house.lake, models, &schemas, day(DAY)).await.unwrap();
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
    lines.extend(found.former.iter().map(|table| format!("{table} is a view now")));
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
        let days = state(&house.lake, models, &schemas, day(DAY)).await.unwrap().stale_days();
        if days.is_empty() {
            return;
        }
        for (day, tables) in days {
            for table in tables {
                house.build_on(models, &table.to_string(), &day.to_string(), (DAY, false)).await.unwrap();
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
    let found = state(&house.lake, &none, &schemas, day(DAY)).await.unwrap();
    let [table] = &found.tables[..] else { panic!("{found:?}") };
    assert!(table.refused && !table.reshaped);
    assert_eq!(table.differences, ["`n` was int64 and is utf8", "`words` is no longer declared (list<utf8>)"]);
    let gone = state(&house.lake, &none, &BTreeMap::new(), day(DAY)).await.unwrap();
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

/// A day that is over holds what was known on it. It is made anew for another formula, for other rows of its own, and for who names
/// it; a plan says the same as a build does.
#[tokio::test]
async fn a_day_that_is_over_stays_as_it_was_known() {
    let house = House::new("over").await;
    let project = |known: &str| models(&[("x/staging/total.sql", TOTAL), ("x/marts/known.sql", known)]);
    let before = project(KNOWN);
    for (dt, n) in [("2026-09-30", 2), (DAY, 3)] {
        house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&before, dt).await;
    }
    let known = "select dt, n from marts.known";
    let (then, over) = (["2026-09-30 | 2", "2026-10-01 | 5"], "2026-09-30");
    assert_eq!(standing(&house, &before).await, "marts.known as of then 2026-09-30");
    let kept = house.build_on(&before, "marts.known", over, (DAY, false)).await.unwrap();
    assert!(matches!(kept, Outcome::AsKnownThen { .. }), "{kept:?}");
    assert_eq!(house.rows(&before, known).await, then);
    // On the day itself the newest counts.
    house.things(DAY, &[("more", 10, "2026-10-01T00:00:00Z")]).await;
    house.build(&before, "staging.total", DAY).await.unwrap();
    let said = standing(&house, &before).await;
    assert_eq!(said, "marts.known stale 2026-10-01 (staging.total changed)\nmarts.known as of then 2026-09-30");
    rebuild_stale(&house, &before).await;
    assert_eq!(house.rows(&before, known).await, ["2026-09-30 | 2", "2026-10-01 | 15"]);
    // Another formula makes it stale, and who names it has it made of what is known now.
    let after = project(&KNOWN.replace("sum(n)", "sum(n) + 100"));
    let said = standing(&house, &after).await;
    assert_eq!(said, "marts.known stale 2026-09-30..2026-10-01 (sql changed)");
    let renewed = house.build_on(&before, "marts.known", over, (DAY, true)).await.unwrap();
    assert!(matches!(renewed, Outcome::Built { .. }), "{renewed:?}");
    assert_eq!(house.rows(&before, known).await, ["2026-09-30 | 15", "2026-10-01 | 15"]);
    assert_eq!(standing(&house, &before).await, "");
}

/// Rows of a day that come late belong into that day, also where the query reads other days of the same table.
#[tokio::test]
async fn late_rows_of_a_day_make_it_stale_whatever_else_it_reads() {
    let house = House::new("late").await;
    let since = "-- materialize: partition
-- key: id
\
                 select $dt as dt, t.id, t.n - y.n as more from raw.things t \
                 left join raw.things y on y.id = t.id and y.dt = t.dt - interval '1 day' where t.dt = $dt";
    let project = models(&[("x/marts/since.sql", since)]);
    for (dt, n) in [("2026-09-29", 1), ("2026-09-30", 2), (DAY, 3)] {
        house.things(dt, &[("a", n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&project, dt).await;
    }
    assert_eq!(standing(&house, &project).await, "marts.since as of then 2026-09-29..2026-09-30");
    house.things("2026-09-30", &[("b", 7, "2026-10-01T00:00:00Z")]).await;
    let said = standing(&house, &project).await;
    // Today is made of what is known now in any case.
    assert!(said.starts_with("marts.since stale 2026-09-30..2026-10-01 (raw.things changed)"), "{said}");
    let built = house.build_on(&project, "marts.since", "2026-09-30", (DAY, false)).await.unwrap();
    assert!(matches!(built, Outcome::Built { .. }), "{built:?}");
    let rows = house.rows(&project, "select dt, id, more from marts.since").await;
    assert_eq!(rows, ["2026-09-29 | a | ", "2026-09-30 | a | 1", "2026-09-30 | b | ", "2026-10-01 | a | 1"]);
}

/// A check is tried on every day: a day whose rows have not passed it is open until they do, however its rows came to be there.
#[tokio::test]
async fn a_new_check_opens_the_days_that_it_was_not_tried_on() {
    let house = House::new("new-check").await;
    let project = |checks: &str| {
        let head = |sql: &str| sql.replace("partition\n", &format!("partition\n{checks}"));
        models(&[
            ("x/staging/daily.sql", &head(DAILY)),
            ("x/staging/total.sql", TOTAL),
            ("x/marts/known.sql", &head(KNOWN)),
        ])
    };
    let before = project("");
    for (dt, n) in [("2026-09-29", 1), ("2026-09-30", 2), (DAY, 3)] {
        house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&before, dt).await;
    }
    let quiet = "marts.known as of then 2026-09-29..2026-09-30";
    assert_eq!(standing(&house, &before).await, quiet);
    let wide = project("-- check: between(n, 0, 100)\n");
    let open = "staging.daily stale 2026-09-29..2026-10-01 (checks changed)\n\
                marts.known stale 2026-09-29..2026-10-01 (checks changed)\n";
    assert_eq!(standing(&house, &wide).await, format!("{open}{quiet}"));
    house.build(&wide, "staging.daily", DAY).await.unwrap();
    assert!(standing(&house, &wide).await.starts_with("staging.daily stale 2026-09-29..2026-09-30 (checks changed)"));
    rebuild_stale(&house, &wide).await;
    assert_eq!(standing(&house, &wide).await, quiet);
    // It only looked: what was known on a day is what is there.
    let known = ["2026-09-29 | 1", "2026-09-30 | 3", "2026-10-01 | 6"];
    assert_eq!(house.rows(&wide, "select dt, n from marts.known").await, known);
    // One that a day breaks keeps that day open, and says that readers see it.
    let narrow = project("-- check: between(n, 2, 100)\n");
    for table in ["staging.daily", "marts.known"] {
        for (day, passes) in [("2026-09-29", false), ("2026-09-30", true), (DAY, true)] {
            let built = house.build_on(&narrow, table, day, (DAY, false)).await;
            assert_eq!(built.is_ok(), passes, "{table} {day}: {built:?}");
            if let Err(error) = built {
                let hint = error.hint().unwrap();
                assert!(hint.starts_with("readers see these rows of 2026-09-29: the check is newer"), "{hint}");
            }
        }
    }
    let open = "staging.daily stale 2026-09-29 (checks changed)\nmarts.known stale 2026-09-29 (checks changed)\n";
    assert_eq!(standing(&house, &narrow).await, format!("{open}{quiet}"));
    // The same checks as before were passed before.
    assert_eq!(standing(&house, &before).await, quiet);
}

#[tokio::test]
async fn a_table_that_became_a_view_is_named_as_that() {
    let house = House::new("former").await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    let kept = |how: &str| models(&[("x/staging/total.sql", &TOTAL.replace("table", how))]);
    house.build_all(&kept("table"), DAY).await;
    assert_eq!(standing(&house, &kept("table")).await, "");
    assert_eq!(standing(&house, &kept("view")).await, "staging.total is a view now");
    assert_eq!(standing(&house, &models(&[])).await, "staging.total is an orphan");
}

/// The rows of a model that is made in an empty lake.
async fn from_nothing(test: &str, model: &Models, days: &[(&str, i64)]) -> Vec<String> {
    let house = House::new(test).await;
    for (dt, n) in days {
        house.things(dt, &[(dt, *n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(model, dt).await;
    }
    house.rows(model, "select id, n from staging.m").await
}

#[tokio::test]
async fn a_model_that_was_kept_in_another_way_meanwhile_is_made_anew() {
    let partition = "-- materialize: partition\nselect id, n from raw.things where dt = $dt";
    let table = "-- materialize: table\nselect id, n + 100 as n from raw.things where dt = $dt";
    let latest = "-- materialize: latest by id order by at\nselect id, n + 200 as n, _fetched_at as at from raw.things where dt = $dt";
    let view = "-- materialize: view\nselect id, n + 300 as n from raw.things";
    let days = [("2026-09-29", 1), ("2026-09-30", 2), (DAY, 3)];
    let kinds = [("partition", partition), ("table", table), ("latest", latest), ("view", view)];
    for (one, first) in kinds {
        for (two, second) in kinds.iter().filter(|(two, _)| *two != one) {
            let what = format!("{one} to {two} and back");
            let (first, second) = (models(&[("x/staging/m.sql", first)]), models(&[("x/staging/m.sql", second)]));
            let house = House::new(&format!("kinds-{one}-{two}")).await;
            for (dt, n) in days {
                house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
                house.build_all(&first, dt).await;
            }
            house.build_all(&second, DAY).await;
            house.build_all(&first, DAY).await;
            rebuild_stale(&house, &first).await;
            let expected = from_nothing(&format!("kinds-{one}-{two}-anew"), &first, &days).await;
            assert_eq!(house.rows(&first, "select id, n from staging.m").await, expected, "{what}");
            let again = house.build_all(&first, DAY).await;
            assert!(
                matches!(again["staging.m"], Outcome::Unchanged { .. } | Outcome::View { .. }),
                "{what}: {again:?}"
            );
        }
    }
}

#[tokio::test]
async fn rows_that_somebody_else_changed_are_made_anew() {
    let models = models(&[
        ("x/staging/day.sql", "-- materialize: partition\nselect id, n from raw.things where dt = $dt"),
        ("x/staging/all.sql", "-- materialize: table\nselect id, n from raw.things"),
        (
            "x/staging/last.sql",
            "-- materialize: latest by id order by at\nselect id, n, _fetched_at as at from raw.things where dt = $dt",
        ),
    ]);
    let house = House::new("foreign-rows").await;
    for (dt, n) in [("2026-09-30", 2), (DAY, 3)] {
        house.things(dt, &[(dt, n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&models, dt).await;
    }
    let mut before = Vec::new();
    for table in ["staging.day", "staging.all", "staging.last"] {
        before.push(house.rows(&models, &format!("select * from {table}")).await);
        // Another program takes all rows away.
        let held = house.lake.table(&name(table)).await.unwrap();
        let written = held.write(Vec::new(), &catalog::WriteOptions::default()).await.unwrap();
        let txn = catalog::Txn { app_id: "somebody".into(), version: 1, rule: catalog::TxnRule::Equal };
        let info = catalog::CommitInfo { run: "r9".parse().unwrap(), now: crate::house::now(), lineage: Vec::new() };
        let _ = written.replace(catalog::Scope::All, txn, &info).await.unwrap();
    }
    let why = house.why(&models, DAY, &[]).await;
    assert!(why.iter().all(|line| line.contains("its rows are not those that were built")), "{why:?}");
    insta::assert_snapshot!(standing(&house, &models).await, @"staging.day stale 2026-09-30..2026-10-01 (its rows are not those that were built)");
    house.build_all(&models, DAY).await;
    rebuild_stale(&house, &models).await;
    for (table, before) in ["staging.day", "staging.all", "staging.last"].iter().zip(before) {
        assert_eq!(house.rows(&models, &format!("select * from {table}")).await, before, "{table}");
    }
    assert!(house.build_all(&models, DAY).await.values().all(|it| matches!(it, Outcome::Unchanged { .. })));
}

/// A mark of a build stays in the log when its rows go: where a table is kept in another way for a while and then as before, the
/// mark says that the rows are there, and whether they are is to be seen without the records, too.
#[tokio::test]
async fn a_mark_of_a_time_before_the_table_was_kept_in_another_way_says_nothing() {
    const WHOLE: &str = "-- materialize: table\nselect dt, id, n from raw.things";
    const SPLIT: &str = "-- materialize: partition\nselect $dt as dt, id, n from raw.things where dt = $dt";
    for (first, then) in [(WHOLE, SPLIT), (SPLIT, WHOLE)] {
        for lost in [false, true] {
            let house = House::new("kept_in_another_way").await;
            let days = ["2026-09-30", DAY];
            for dt in days {
                house.things(dt, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
            }
            // Of the way between, one day alone is built.
            for (sql, days) in [(first, &days[..]), (then, &days[1..]), (first, &days[1..])] {
                let models = models(&[("x/staging/daily.sql", sql)]);
                for dt in days {
                    house.build(&models, "staging.daily", dt).await.unwrap();
                }
                if lost {
                    house.lake.objects().delete_prefix(&catalog::path::states("builds")).await.unwrap();
                }
            }
            let models = models(&[("x/staging/daily.sql", first)]);
            house.build(&models, "staging.daily", DAY).await.unwrap();
            rebuild_stale(&house, &models).await;
            let rows = house.rows(&models, "select dt, id from staging.daily order by dt").await;
            assert_eq!(rows.len(), days.len(), "{first}, without records: {lost}: {rows:?}");
            assert_eq!(standing(&house, &models).await, "", "{first}, without records: {lost}");
        }
    }
}
