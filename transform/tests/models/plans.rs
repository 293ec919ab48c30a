//! What a plan says before anything is built.

use crate::house::{DAY, House, LATEST, models};

#[tokio::test]
async fn a_plan_says_why() {
    let house = House::new("why").await;
    let total = "-- materialize: table\n-- check: between(n, 0, 100)\nselect count(*) as n from staging.seen";
    let seen = "-- materialize: view\nselect id, nfc(id) as same from staging.things";
    let all = |things: &str, seen: &str, total: &str| {
        models(&[("x/staging/things.sql", things), ("x/staging/seen.sql", seen), ("x/marts/total.sql", total)])
    };
    let project = all(LATEST, seen, total);
    let mut said = vec![house.why(&project, DAY, &[]).await];
    said.push(house.why(&project, DAY, &["raw.things"]).await);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    said.push(house.why(&project, DAY, &[]).await);
    house.build_all(&project, DAY).await;
    said.push(house.why(&project, DAY, &[]).await);
    said.push(house.why(&project, DAY, &["raw.things"]).await);
    let described = all(&format!("-- In other words.\n{LATEST} -- as ever"), seen, total);
    said.push(house.why(&described, DAY, &[]).await);
    said.push(house.why(&all(LATEST, "-- materialize: view\nselect id from staging.things", total), DAY, &[]).await);
    said.push(house.why(&all(LATEST, seen, &total.replace("100", "50")), DAY, &[]).await);
    said.push(house.why(&all(LATEST, seen, &total.replace("count(*)", "count(id)")), DAY, &[]).await);
    house.things(DAY, &[("b", 1, "2026-10-01T00:00:00Z")]).await;
    said.push(house.why(&project, DAY, &[]).await);
    insta::assert_snapshot!(said.iter().map(|lines| lines.join("\n")).collect::<Vec<_>>().join("\n\n"), @r"
    staging.things blocked: raw.things is not there
    staging.seen keep: a view stores nothing
    marts.total blocked: staging.things is not there

    staging.things build: never built, raw.things will change
    staging.seen keep: a view stores nothing
    marts.total build: never built, staging.things will change

    staging.things build: never built
    staging.seen keep: a view stores nothing
    marts.total build: never built, staging.things will change

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total keep: up to date

    staging.things build: raw.things will change
    staging.seen keep: a view stores nothing
    marts.total build: staging.things will change

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total keep: up to date

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total build: view staging.seen changed

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total recheck: checks changed

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total build: sql changed

    staging.things build: raw.things changed
    staging.seen keep: a view stores nothing
    marts.total build: staging.things will change
    ");
}

/// "sql changed" is said of no model whose SQL is the same.
#[tokio::test]
async fn a_table_that_was_lost_is_what_changed() {
    let house = House::on_disk().await;
    let below = "-- materialize: table\nselect count(*) as n from staging.things";
    let daily = "-- materialize: partition\nselect count(*) as n from staging.things where dt = $dt";
    let project =
        models(&[("x/staging/things.sql", LATEST), ("x/marts/below.sql", below), ("x/marts/daily.sql", daily)]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    let folder = house.lake.local_dir().unwrap();
    let root = folder.ancestors().find(|folder| folder.join("staging/things").is_dir()).unwrap();
    std::fs::remove_dir_all(root.join("staging/things")).unwrap();
    let house = house.opened_again(root).await;
    assert_eq!(
        house.why(&project, DAY, &[]).await,
        [
            "staging.things build: never built",
            "marts.below build: staging.things will change",
            "marts.daily build: staging.things will change"
        ]
    );
    house.build(&project, "staging.things", DAY).await.unwrap();
    assert_eq!(
        house.why(&project, DAY, &[]).await,
        [
            "staging.things keep: up to date",
            "marts.below build: staging.things changed",
            "marts.daily build: staging.things changed"
        ]
    );
}
