//! What checks keep from being read.

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
      select id, count(*) as copies from staging.daily where id is not null group by id having count(*) > 1
      +----+--------+
      | id | copies |
      +----+--------+
      | a  | 2      |
      +----+--------+
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
