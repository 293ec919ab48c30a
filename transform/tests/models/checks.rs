//! What checks keep from being read.

use std::collections::BTreeMap;

use transform::{Error, Outcome};

use crate::house::{DAILY, DAY, House, models, name};

#[tokio::test]
async fn a_failed_check_shows_the_rows_and_publishes_nothing() {
    let house = House::on_disk().await;
    let project = models(&[
        ("x/staging/daily.sql", DAILY),
        ("x/marts/total.sql", "-- materialize: table\nselect sum(n) as n from staging.daily"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    let before = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();

    let bad: Vec<(String, i64)> = (0..7).map(|number| (format!("z{number}"), 101 + number)).collect();
    let mut rows: Vec<(&str, i64, &str)> =
        bad.iter().map(|(id, n)| (id.as_str(), *n, "2026-10-01T00:00:00Z")).collect();
    rows.push(("a", 3, "2026-10-01T00:00:00Z"));
    house.things(DAY, &rows).await;
    let error = house.build(&project, "staging.daily", DAY).await.unwrap_err();
    assert!(matches!(error, Error::CheckFailed { .. }));
    insta::assert_snapshot!(error.to_string(), @r"
    2 checks of `staging.daily` failed for 2026-10-01
    between(n, 0, 100) found 7 bad rows
      select id, n from staging.daily where n not between 0 and 100
      +----+-----+
      | id | n   |
      +----+-----+
      | z0 | 101 |
      | z1 | 102 |
      | z2 | 103 |
      | z3 | 104 |
      | z4 | 105 |
      +----+-----+
    unique(id) found 1 bad row
      select id, dt, count(*) as copies from staging.daily where id is not null and dt is not null group by id, dt having count(*) > 1
      +----+------------+--------+
      | id | dt         | copies |
      +----+------------+--------+
      | a  | 2026-10-01 | 2      |
      +----+------------+--------+
    ");
    assert_eq!(
        error.hint().unwrap(),
        "nothing was published: readers still see the former `staging.daily`; correct the model, the check or what it reads, and run again"
    );
    assert_eq!(
        house.rows(&project, "select id, n, dt from staging.daily").await,
        ["a | 1 | 2026-10-01", "b | 2 | 2026-10-01"]
    );
    let after = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();
    assert_eq!(before, after);
    assert!(matches!(house.build(&project, "marts.total", DAY).await.unwrap(), Outcome::Unchanged { .. }));
    // Another day is not held up by it.
    house.things("2026-10-02", &[("c", 3, "2026-10-02T00:00:00Z")]).await;
    assert!(matches!(
        house.build(&project, "staging.daily", "2026-10-02").await.unwrap(),
        Outcome::Built { rows: 1, .. }
    ));
}

#[tokio::test]
async fn other_checks_look_again_and_build_nothing() {
    let house = House::new("recheck").await;
    let project = |checks: &str| {
        models(&[(
            "x/staging/daily.sql",
            &format!("-- materialize: partition\n-- check: {checks}\nselect id, n from raw.things where dt = $dt"),
        )])
    };
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("a", 2, "2026-10-01T00:00:00Z")]).await;
    house.things("2026-10-02", &[("b", 200, "2026-10-02T00:00:00Z")]).await;
    house.build(&project("not_null(id)"), "staging.daily", DAY).await.unwrap();
    house.build(&project("not_null(id)"), "staging.daily", "2026-10-02").await.unwrap();
    let version = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();
    // Only the rows of the day are looked at again: 200 is of the other one.
    assert_eq!(
        house.build(&project("between(n, 1, 9)"), "staging.daily", DAY).await.unwrap(),
        Outcome::Unchanged { version, checks: 1 }
    );
    assert_eq!(
        house.build(&project("between(n, 1, 9)"), "staging.daily", DAY).await.unwrap(),
        Outcome::Unchanged { version, checks: 0 }
    );
    assert!(matches!(house.build(&project("unique(id)"), "staging.daily", DAY).await, Err(Error::CheckFailed { .. })));
    assert!(matches!(
        house.build(&project("references(id, raw.things)"), "staging.daily", DAY).await,
        Ok(Outcome::Unchanged { checks: 1, .. })
    ));
}

#[tokio::test]
async fn one_odd_row_is_set_aside_and_counted() {
    let house = House::new("aside").await;
    let head = "-- set_aside: between(n, 0, 100), length(id, 1, 3)\n-- check: between(n, 0, 100)";
    let project = models(&[
        (
            "x/staging/things.sql",
            &format!(
                "-- materialize: latest by id order by at\n{head}\nselect id, n, _fetched_at as at from raw.things where dt = $dt"
            ),
        ),
        (
            "x/staging/daily.sql",
            &format!("-- materialize: partition\n{head}\nselect id, n from raw.things where dt = $dt"),
        ),
    ]);
    let first =
        [("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z"), ("long", 3, "2026-10-01T00:00:00Z")];
    house.things(DAY, &first).await;
    for table in ["staging.things", "staging.daily"] {
        let outcome = house.build(&project, table, DAY).await.unwrap();
        assert!(matches!(outcome, Outcome::Built { rows: 2, set_aside: 1, .. }), "{table}: {outcome:?}");
    }
    // An odd row does not push a good one of its key out.
    house.things(DAY, &[("a", 1000, "2026-10-01T05:00:00Z"), ("", 5, "2026-10-01T05:00:00Z")]).await;
    let outcome = house.build(&project, "staging.things", DAY).await.unwrap();
    assert!(matches!(outcome, Outcome::Built { rows: 2, set_aside: 3, .. }), "{outcome:?}");
    assert_eq!(house.rows(&project, "select id, n from staging.things").await, ["a | 1", "b | 2"]);
}

#[tokio::test]
async fn a_nan_is_refused_where_it_would_be_stored() {
    let house = House::new("nan").await;
    let project = models(&[(
        "x/marts/r.sql",
        "-- materialize: table\nselect id, r / r as r from (values ('1', 0.0), ('2', 1.0)) as t(id, r)",
    )]);
    let error = house.build(&project, "marts.r", DAY).await.unwrap_err();
    assert_eq!(error.to_string(), "expected a number in column `r` of `marts.r`, found NaN");
    assert!(error.hint().unwrap().contains("nullif"));
}

#[tokio::test]
async fn a_table_takes_another_shape_as_a_whole() {
    let house = House::new("reshaped").await;
    let project = |daily: &str, total: &str| models(&[("x/staging/daily.sql", daily), ("x/marts/total.sql", total)]);
    // Its key names a row of a day, and is there on each.
    let daily = "-- materialize: partition\n-- key: id\nselect id, n from raw.things where dt = $dt";
    let total = "-- materialize: table\nselect sum(n) as n from staging.daily";
    let before = project(daily, total);
    for (dt, n) in [("2026-09-30", 1), (DAY, 2)] {
        house.things(dt, &[("a", n, "2026-10-01T00:00:00Z")]).await;
        house.build_all(&before, dt).await;
    }
    // Another type, and the other split: each in one commit that has every day.
    let typed =
        project(&daily.replace("id, n", "id, cast(n as double) / 2 as n"), &total.replace("table", "partition"));
    house.build_all(&typed, DAY).await;
    assert_eq!(
        house.rows(&typed, "select dt, id, n from staging.daily").await,
        ["2026-09-30 | a | 0.5", "2026-10-01 | a | 1.0"]
    );
    assert_eq!(house.rows(&typed, "select dt, n from marts.total").await, ["2026-10-01 | 1.5"]);
    let again = house.build_all(&typed, DAY).await;
    assert!(again.values().all(|it| matches!(it, Outcome::Unchanged { .. })), "{again:?}");
    // The days that were made with it are built, and nobody calls them stale.
    let given = BTreeMap::new();
    let state = transform::state(&house.lake, &typed, &given, DAY.parse().unwrap()).await.unwrap();
    assert_eq!(state.stale_days(), BTreeMap::new());
    let again = house.build_all(&typed, "2026-09-30").await;
    assert!(matches!(again["staging.daily"], Outcome::Unchanged { .. }), "{again:?}");
    // What is set aside on the way is counted once.
    let aside = format!("-- set_aside: between(n, 0, 1)\n{}", daily.replace("id, n", "id, cast(n as bigint) as n"));
    let outcome = house.build(&project(&aside, total), "staging.daily", DAY).await.unwrap();
    assert!(matches!(outcome, Outcome::Built { rows: 1, set_aside: 1, .. }), "{outcome:?}");
    // What breaks a check may be of any of its days.
    let checked = format!("-- check: between(n, 2, 9)\n{}", daily.replace("id, n", "id, cast(n as varchar) as n"));
    let checked = project(&checked.replace("between(n, 2, 9)", "accepted(n, '2')"), total);
    let error = house.build(&checked, "staging.daily", DAY).await.unwrap_err();
    assert!(error.to_string().starts_with("1 check of `staging.daily` failed\n"), "{error}");
    assert!(error.hint().unwrap().contains("still see the former"), "{error:?}");
}

/// "Could not" is not "nothing there": a first build that fails leaves nothing that could be read, and says so.
#[tokio::test]
async fn a_first_build_that_fails_leaves_no_table() {
    let reader = "-- materialize: table\nselect count(*) as n from staging.first";
    let failing = [
        ("check", "-- check: between(n, 0, 1)\n", "id, n"),
        ("unique", "-- check: unique(n)\n", "id, 7 as n"),
        ("cast", "", "cast(id as int) as n, id"),
        ("overflow", "", "n * 9223372036854775807 as n, id"),
        ("not a number", "", "cast('NaN' as double) as n, id"),
    ];
    for (number, how) in ["table", "partition", "latest by id order by n"].into_iter().enumerate() {
        for (place, (why, head, columns)) in failing.into_iter().enumerate() {
            let house = House::new(&format!("first-{number}-{place}")).await;
            house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
            let project = |head: &str, columns: &str| {
                let sql = format!("-- materialize: {how}\n{head}select {columns} from raw.things where dt = $dt");
                models(&[("x/staging/first.sql", &sql), ("x/marts/reader.sql", reader)])
            };
            let broken = project(head, columns);
            let error = house.build(&broken, "staging.first", DAY).await.unwrap_err();
            let hint = error.hint().unwrap_or_default();
            assert!(!hint.contains("former"), "{how}, {why}: {hint}");
            assert!(house.lake.find(&name("staging.first")).await.unwrap().is_none(), "{how}, {why}");
            let blocked = house.why(&broken, DAY, &[]).await;
            assert!(blocked.iter().any(|line| line.starts_with("staging.first build: never built")), "{blocked:?}");
            let asked = house.ask(&broken, "select * from staging.first").await.unwrap_err();
            assert_eq!(asked.to_string(), "no table `staging.first`", "{how}, {why}");
            assert!(asked.hint().unwrap().starts_with("it has not been built yet"));
            house.build(&broken, "marts.reader", DAY).await.unwrap_err();
            // Once it is right, it is there.
            house.build_all(&project("", "id, n"), DAY).await;
            assert_eq!(house.rows(&broken, "select n from marts.reader").await, ["2"], "{how}, {why}");
        }
    }
}

/// A table that was made and never filled, as a build leaves it that was killed in between, is no table yet.
#[tokio::test]
async fn a_table_that_was_never_filled_is_not_there() {
    let house = House::new("unfilled").await;
    let project = models(&[
        ("x/staging/daily.sql", DAILY),
        ("x/marts/reader.sql", "-- materialize: table\nselect count(*) as n from staging.daily"),
    ]);
    let schema = crate::house::schema(&[("id", "text"), ("n", "int"), ("dt", "date")]);
    let daily = name("staging.daily");
    let spec = catalog::TableSpec { name: daily.clone(), schema, partitioned: true, stats_columns: Vec::new() };
    house.lake.create(&spec).await.unwrap();
    assert!(!transform::is_there(&house.lake, &project, &daily).await.unwrap());
    let asked = house.ask(&project, "select count(*) from staging.daily").await.unwrap_err();
    assert!(asked.hint().unwrap().starts_with("it has not been built yet"), "{asked}");
    house.build(&project, "marts.reader", DAY).await.unwrap_err();
    // No rows are another thing.
    house.things("2026-09-01", &[]).await;
    house.table("raw.things").await;
    house.build_all(&project, DAY).await;
    assert_eq!(house.rows(&project, "select n from marts.reader").await, ["0"]);
}

/// On a day that has never been built there is no former table to speak of, though other days are there.
#[tokio::test]
async fn the_hint_of_a_failed_check_says_what_readers_see() {
    let house = House::new("seen").await;
    let project = models(&[("x/staging/daily.sql", DAILY)]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    house.things("2026-10-02", &[("b", 1000, "2026-10-02T00:00:00Z")]).await;
    let error = house.build(&project, "staging.daily", "2026-10-02").await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("nothing was published: `staging.daily` has no rows of 2026-10-02 yet;"), "{hint}");
}

#[tokio::test]
async fn a_build_that_fails_adds_no_column() {
    let house = House::new("failed-columns").await;
    house.things(DAY, &[("a", 0, "2026-10-01T00:00:00Z")]).await;
    let kinds = ["table", "partition", "latest by id order by at"];
    for (at, kind) in kinds.iter().enumerate() {
        let table = format!("staging.t{at}");
        let path = format!("x/staging/t{at}.sql");
        let of = |head: &str, columns: &str| {
            let text = format!(
                "-- materialize: {kind}\n{head}select id, _fetched_at as at{columns} from raw.things where dt = $dt"
            );
            models(&[(path.as_str(), text.as_str())])
        };
        let columns = async || {
            let schema = house.lake.table(&name(&table)).await.unwrap().schema();
            schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
        };
        house.build(&of("", ""), &table, DAY).await.unwrap();
        let before = columns().await;
        for failing in [of("", ", 10 / n as typo"), of("-- check: between(bad, 5, 6)\n", ", n as bad")] {
            assert!(house.build(&failing, &table, DAY).await.is_err(), "{kind}");
            assert_eq!(columns().await, before, "{kind}");
        }
        let done = house.build(&of("-- check: between(n, 0, 0)\n", ", n"), &table, DAY).await.unwrap();
        assert!(matches!(done, Outcome::Built { .. }), "{kind}: {done:?}");
        assert_eq!(columns().await, [before, vec!["n".to_owned()]].concat(), "{kind}");
    }
}

#[tokio::test]
async fn a_day_that_is_no_longer_selected_is_a_column_as_any_other() {
    let house = House::new("dt_dropped").await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    for (table, kind) in [("staging.whole", "table"), ("staging.newest", "latest by id order by at")] {
        let project = |columns: &str| {
            let sql = format!("-- materialize: {kind}\nselect {columns} from raw.things where dt = $dt");
            models(&[(&format!("x/{}.sql", table.replace('.', "/")), &sql)])
        };
        house.build(&project("id, n, _fetched_at as at, dt"), table, DAY).await.unwrap();
        let outcome = house.build(&project("id, n + 1 as n, _fetched_at as at"), table, DAY).await.unwrap();
        assert!(matches!(outcome, Outcome::Built { rows: 1, .. }), "{kind}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_reference_is_checked_whatever_the_columns_are_called() {
    let house = House::new("references_t").await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    let project = |key: &str| {
        models(&[
            (
                "x/staging/o.sql",
                &format!("-- materialize: table\nselect {key} as id, n as t, n as o from raw.things where dt = $dt"),
            ),
            (
                "x/staging/kept.sql",
                "-- materialize: table\n-- check: references(id, staging.o)\nselect id, n as t, n as o from raw.things where dt = $dt",
            ),
        ])
    };
    house.build_all(&project("id"), DAY).await;
    let lacking = project("nullif(id, 'b')");
    house.build(&lacking, "staging.o", DAY).await.unwrap();
    let error = house.build(&lacking, "staging.kept", DAY).await.unwrap_err();
    assert!(matches!(error, Error::CheckFailed { .. }), "{error}");
}
