//! What may be asked, and what is said of the rest.

use transform::Error;

use crate::house::{DAY, House, LATEST, models};

#[tokio::test]
async fn questions_are_answered_and_nothing_else() {
    let house = House::new("questions").await;
    let project = models(&[
        ("x/staging/things.sql", LATEST),
        ("x/staging/seen.sql", "-- materialize: view\nselect id from staging.things where n > 1"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    assert_eq!(house.rows(&project, "select id as key from staging.seen").await, ["b"]);
    assert_eq!(house.rows(&project, "select count(*) from staging.things").await, ["2"]);
    assert_eq!(house.rows(&project, "describe staging.things").await.len(), 5);
    assert!(house.rows(&project, "show tables").await.iter().any(|row| row.contains("staging | seen | VIEW")));
    assert!(house.rows(&project, "explain select * from staging.seen").await.len() > 1);
    let functions = "select routine_name from information_schema.routines where routine_name like 'korean%'";
    assert_eq!(
        house.rows(&project, functions).await,
        ["korean_floor", "korean_money", "korean_number", "korean_visit_date"]
    );

    // As long as a chain may be, on the stack of a test.
    let chain = (0..490).map(|number| format!("id = 'x{number}'")).collect::<Vec<_>>().join(" or ");
    let half = chain.split(" or ").take(240).collect::<Vec<_>>().join(" or ");
    assert!(matches!(
        house.ask(&project, &format!("select id from staging.things where {chain}")).await,
        Err(Error::Sql { .. })
    ));
    assert_eq!(
        house.rows(&project, &format!("select id from staging.things where {half}")).await,
        Vec::<String>::new()
    );

    let mut said = Vec::new();
    for sql in [
        "select * from staging.thing",
        "select * from things",
        "select * from marts.nothing",
        "select idd from staging.things",
        "select korean_numbr(id) from staging.things",
        "select * from staging.things where",
        "drop table staging.things",
        "insert into staging.things select * from staging.things",
        "copy staging.things to 'x.csv'",
        "select * from staging.things where dt = $dt",
        "select cast(id as int) from staging.things",
    ] {
        let Err(error) = house.ask(&project, sql).await else { panic!("{sql} was answered") };
        said.push(format!("{sql}\n  error: {error}\n  hint: {}", error.hint().unwrap_or_else(|| "-".to_owned())));
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    select * from staging.thing
      error: no table `staging.thing`
      hint: did you mean `staging.things`?
    select * from things
      error: no table `things`
      hint: did you mean `staging.things`?
    select * from marts.nothing
      error: no table `marts.nothing`
      hint: there are raw.things, staging.seen, staging.things
    select idd from staging.things
      error: no column `idd`
      hint: did you mean `id`?
    select korean_numbr(id) from staging.things
      error: no function `korean_numbr`
      hint: did you mean `korean_number`?
    select * from staging.things where
      error: expected an expression, found the end
      hint: -
    drop table staging.things
      error: expected a query, found `drop`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    insert into staging.things select * from staging.things
      error: expected a query, found `insert`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    copy staging.things to 'x.csv'
      error: expected a query, found `copy`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    select * from staging.things where dt = $dt
      error: `$dt` has no value here
      hint: write the day: `date '2026-10-01'`
    select cast(id as int) from staging.things
      error: running the query
      hint: -
    ");
}
