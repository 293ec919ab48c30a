//! What builds do to tables.

use std::collections::BTreeSet;

use transform::{Builder, Engine, EngineOptions, Models, Outcome, When, plan};

use crate::house::{DAILY, DAY, House, LATEST, Thing, day, models, name, now};

#[tokio::test]
async fn latest_does_not_depend_on_the_order_in_which_days_arrive() {
    let models = models(&[("x/staging/things.sql", LATEST)]);
    let days: [(&str, &[Thing]); 3] = [
        // `tie` has the same time on two days: the other columns decide, whichever came first.
        (
            "2026-09-29",
            &[
                ("a", 1, "2026-09-29T00:00:00Z"),
                ("b", 1, "2026-09-29T00:00:00Z"),
                ("tie", 9, "2026-09-29T00:00:00Z"),
                ("a", 2, "2026-09-29T01:00:00Z"),
            ],
        ),
        (
            "2026-09-30",
            &[("a", 3, "2026-09-30T00:00:00Z"), ("c", 3, "2026-09-30T00:00:00Z"), ("tie", 7, "2026-09-29T00:00:00Z")],
        ),
        ("2026-10-01", &[("b", 4, "2026-09-28T00:00:00Z"), ("d", 4, "2026-10-01T00:00:00Z")]),
    ];
    let mut answers = BTreeSet::new();
    for (case, order) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].iter().enumerate() {
        for built_between in [true, false] {
            let house = House::new(&format!("latest-{case}-{built_between}")).await;
            for place in order {
                house.things(days[*place].0, days[*place].1).await;
                if built_between {
                    house.build(&models, "staging.things", days[*place].0).await.unwrap();
                }
            }
            house.build(&models, "staging.things", DAY).await.unwrap();
            answers.insert(house.rows(&models, "select id, n, words, at, dt from staging.things").await);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    insta::assert_snapshot!(answers.first().unwrap().join("\n"), @r"
    a | 3 | [a, w3] | 2026-09-30T00:00:00Z | 2026-09-30
    b | 1 | [b, w1] | 2026-09-29T00:00:00Z | 2026-09-29
    c | 3 | [c, w3] | 2026-09-30T00:00:00Z | 2026-09-30
    d | 4 | [d, w4] | 2026-10-01T00:00:00Z | 2026-10-01
    tie | 9 | [tie, w9] | 2026-09-29T00:00:00Z | 2026-09-29
    ");
}

#[tokio::test]
async fn a_second_build_finds_nothing_to_do() {
    let house = House::new("twice").await;
    let models = models(&[
        ("x/staging/things.sql", LATEST),
        ("x/staging/daily.sql", DAILY),
        ("x/staging/seen.sql", "-- materialize: view\nselect id, n from staging.things where n > 0"),
        ("x/marts/total.sql", "-- materialize: table\nselect count(*) as n from staging.seen"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    let first = house.build_all(&models, DAY).await;
    assert!(matches!(first["staging.things"], Outcome::Built { rows: 2, checks: 2, .. }), "{first:?}");
    assert!(matches!(first["staging.seen"], Outcome::View { checks: 0 }), "{first:?}");
    assert!(matches!(first["marts.total"], Outcome::Built { rows: 1, .. }), "{first:?}");
    let second = house.build_all(&models, DAY).await;
    assert!(
        second.values().all(|it| matches!(it, Outcome::Unchanged { checks: 0, .. } | Outcome::View { .. })),
        "{second:?}"
    );

    // Another day's raw rows: the merge reads only them, and what hangs on it is built again through the view.
    house.things("2026-10-02", &[("b", 5, "2026-10-02T00:00:00Z"), ("c", 5, "2026-10-02T00:00:00Z")]).await;
    let third = house.build_all(&models, "2026-10-02").await;
    assert!(matches!(&third["staging.things"], Outcome::Built { rows: 3, .. }), "{third:?}");
    assert!(matches!(&third["marts.total"], Outcome::Built { .. }), "{third:?}");
    assert_eq!(house.rows(&models, "select id, n from staging.things").await, ["a | 1", "b | 5", "c | 5"]);
    assert_eq!(
        house.rows(&models, "select dt, id, n from staging.daily").await,
        ["2026-10-01 | a | 1", "2026-10-01 | b | 2", "2026-10-02 | b | 5", "2026-10-02 | c | 5"]
    );
    assert_eq!(house.rows(&models, "select n from marts.total").await, ["3"]);
}

#[tokio::test]
async fn a_changed_query_makes_all_rows_again_and_may_change_the_columns() {
    let house = House::new("changed").await;
    let before = models(&[("x/staging/things.sql", LATEST)]);
    house.things("2026-09-30", &[("a", 1, "2026-09-30T00:00:00Z")]).await;
    house.build(&before, "staging.things", "2026-09-30").await.unwrap();
    house.things(DAY, &[("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build(&before, "staging.things", DAY).await.unwrap();
    // `words` goes, `twice` comes: both days are read again.
    let after = models(&[(
        "x/staging/things.sql",
        "-- materialize: latest by id order by at\nselect id, n, n * 2 as twice, _fetched_at as at, dt from raw.things where dt = $dt",
    )]);
    assert!(matches!(house.build(&after, "staging.things", DAY).await.unwrap(), Outcome::Built { rows: 2, .. }));
    assert_eq!(
        house.rows(&after, "select id, twice, words is null from staging.things").await,
        ["a | 2 | true", "b | 4 | true"]
    );
    house.things(DAY, &[("b", 5, "2026-10-01T05:00:00Z")]).await;
    house.build(&after, "staging.things", DAY).await.unwrap();
    assert_eq!(house.rows(&after, "select id, twice from staging.things").await, ["a | 2", "b | 10"]);
}

#[tokio::test]
async fn a_row_of_another_day_is_an_error() {
    let house = House::new("wrong-day").await;
    let project = models(&[("x/staging/daily.sql", "-- materialize: partition\nselect id, dt from raw.things")]);
    house.things("2026-09-30", &[("a", 1, "2026-09-30T00:00:00Z")]).await;
    let error = house.build(&project, "staging.daily", DAY).await.unwrap_err();
    assert_eq!(error.to_string(), "expected every `dt` of `staging.daily` to be 2026-10-01, found 2026-09-30");
    // The day of the rows themselves is fine.
    assert!(matches!(
        house.build(&project, "staging.daily", "2026-09-30").await.unwrap(),
        Outcome::Built { rows: 1, .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_at_once_end_as_one() {
    let house = House::on_disk().await;
    let project = models(&[("x/staging/things.sql", LATEST), ("x/staging/daily.sql", DAILY)]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    for table in ["staging.things", "staging.daily"] {
        let builds = (0..4).map(|_| house.build(&project, table, DAY));
        let outcomes: Vec<_> = futures::future::join_all(builds).await.into_iter().map(Result::unwrap).collect();
        let built = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Built { .. })).count();
        assert_eq!(built, 1, "{outcomes:?}");
        assert_eq!(house.rows(&project, &format!("select id, n from {table}")).await, ["a | 1", "b | 2"]);
    }
}

#[tokio::test]
async fn little_memory_spills_and_gives_the_same_rows() {
    let house = House::new("spill").await;
    let project = models(&[("x/staging/things.sql", LATEST)]);
    let rows: Vec<(String, i64)> =
        (0..80_000).map(|number| (format!("id{:06} {}", number % 60_000, "long ".repeat(20)), number)).collect();
    let rows: Vec<(&str, i64, &str)> = rows.iter().map(|(id, n)| (id.as_str(), *n, "2026-10-01T00:00:00Z")).collect();
    house.things(DAY, &rows).await;
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::new(&EngineOptions { memory_bytes: 32 << 20, partitions: 2, ..EngineOptions::new(dir.path()) })
            .unwrap();
    let (run, now) = ("r1".parse().unwrap(), "2026-10-01T00:00:00Z".parse().unwrap());
    let (dt, today, renew) = (day(DAY), day(DAY), false);
    let outcome = Builder { engine: &engine, lake: &house.lake, models: &project, dt, today, renew, run: &run, now }
        .build(&name("staging.things"))
        .await;
    assert!(matches!(outcome, Ok(Outcome::Built { rows: 60_000, .. })), "{outcome:?}");
    assert_eq!(house.rows(&project, "select count(*), sum(n) from staging.things").await, ["60000 | 2999970000"]);
}

#[test]
fn work_may_move_between_threads() {
    fn sends<T: Send>(_: impl FnOnce(&'static House, &'static Models, &'static Builder<'static>) -> T) {}
    sends(|_, _, builder| builder.build(Box::leak(Box::new(name("staging.a")))));
    sends(|house, models, _| house.engine.query(&house.lake, models, "select 1"));
    sends(|house, models, _| {
        let when = When { dt: day(DAY), today: day(DAY), now: now(), renew: false };
        plan(&house.lake, models, Box::leak(Box::default()), Box::leak(Box::new(when)), Box::leak(Box::default()))
    });
}
