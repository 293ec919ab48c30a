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
