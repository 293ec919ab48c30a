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
        "select -t.n as n from staging.things t order by t.n",
        "select id from staging.things fetch first 2 rows only",
        "select n * interval '1 day' from staging.things",
        "select t.id, (select count(*) from staging.things s where s.n < t.n) from staging.things t",
        "select rank() over (order by now() - timestamp '2026-01-01') from staging.things",
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
      error: running the query (line 1, column 13): column `id`: `a` is no int
      hint: `try_cast(id as int)` is NULL where a value is none, and `where try_cast(id as int) is null` finds them
    select -t.n as n from staging.things t order by t.n
      error: column `n` is in more than one table
      hint: `order by` says a column that the answer has another `n` beside: name that one otherwise, or sort in a query around this one
    select id from staging.things fetch first 2 rows only
      error: `fetch` is not understood here (line 1, column 31)
      hint: write `limit 10`
    select n * interval '1 day' from staging.things
      error: a span of time can't be multiplied or divided
      hint: write it whole: `interval '3 days'`, and of a column `cast(n || ' days' as interval)`
    select t.id, (select count(*) from staging.things s where s.n < t.n) from staging.things t
      error: the engine has no way to run this query: a subquery speaks of the row outside
      hint: write it as a join or with `group by`: a subquery that speaks of the row outside is taken in `where`, in `exists` and `in`, and as a value where it compares with `=` alone
    select rank() over (order by now() - timestamp '2026-01-01') from staging.things
      error: the engine has no way to run this query: a window can't be ordered by a span of time
      hint: order by its seconds: `extract(epoch from a) - extract(epoch from b)`
    ");
}

/// No word of the engine reaches who asks: each failure says what is wrong with which value, call or column, where, and a way out.
#[tokio::test]
async fn failures_are_told_in_the_words_of_sql() {
    let house = House::new("failures").await;
    let project = models(&[("x/staging/things.sql", LATEST)]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    let cases = [
        ("select cast('abc' as int)", "running the query (line 1, column 13): `abc` is no int"),
        (
            "select id,\n  cast(id as int) as n from staging.things",
            "running the query (line 2, column 8): column `id`: `",
        ),
        ("select date '2026-13-01'", "`2026-13-01` is no date"),
        (
            "select timestamp '9999-12-31T23:59:59'",
            "is out of range: a `timestamp` reaches from 1677-09-21 to 2262-04-11",
        ),
        ("select cast(12345.678 as decimal(4, 1))", "does not fit into"),
        ("select n / (n - n) from staging.things", "a number is divided by zero"),
        ("select n * 9223372036854775807 from staging.things", "`*` of bigint: the answer does not fit"),
        ("select sum(id) from staging.things", "`sum` can't take text"),
        ("select date_trunc('day', n) from staging.things", "`date_trunc` can't take a bigint"),
        ("select date_trunc('foo', dt) from staging.things", "nsupported date_trunc granularity: 'foo'"),
        ("select abs(id) from staging.things", "`abs` takes a number, and has text"),
        ("select korean_number(id, 1) from staging.things", "`korean_number` takes 1 argument, and has 2"),
        ("select id, n as id from staging.things", "two columns have the name `id`"),
        ("select * from (select id, n as id from staging.things)", "two columns have the name `id`"),
        ("select id, count(*) from staging.things", "column `id` is not in `group by`"),
        ("select id from staging.things where n", "`where n` is no condition: it is a bigint"),
        ("select n + true from staging.things", "arithmetic expression bigint + boolean"),
        ("select id from staging.things limit -1", "LIMIT must be >= 0"),
        ("select cast(true as date)", "a boolean can't be cast to date"),
        ("select id from staging.things where regexp_like(id, '(')", "the pattern `(` can't be read: unclosed group"),
        ("select (select n from staging.things) as x", "calar subquery returned more than one row"),
        ("select n from staging.things having n > 1", "HAVING clause references"),
    ];
    for (sql, expected) in cases {
        let Err(error) = house.ask(&project, sql).await else { panic!("{sql} was answered") };
        assert!(std::error::Error::source(&error).is_none(), "{sql}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(expected), "{sql}: {text}");
        for raw in ["rror:", "Utf8", "Int64", "Optimizer", "caused by", "0:0", "DataFusion", "DataType"] {
            assert!(!text.contains(raw), "{sql}: {text}");
        }
    }
}

/// What would fail on every day is found before any run, at its place in the file.
#[tokio::test]
async fn what_fails_on_every_day_is_found_by_a_check() {
    let cases = [
        ("select sum(id) as n from raw.things", "x/staging/m.sql:2:8: `sum` can't take text"),
        ("select id,\n  n as id from raw.things", "x/staging/m.sql:3:8: two columns have the name `id`"),
        (
            "select a.id, b.id from raw.things as a join raw.things as b on a.n = b.n",
            "x/staging/m.sql:2:16: two columns have the name `id`",
        ),
        ("select *, n from raw.things", "x/staging/m.sql:2:1: two columns have the name `n`"),
        (
            "select id, timestamp '9999-12-31T23:59:59' as t from raw.things",
            "x/staging/m.sql:2:22: the time `9999-12-31 23:59:59` is out of range",
        ),
        ("select id, cast('x' as int) as n from raw.things", "x/staging/m.sql:2:17: `x` is no int"),
        ("select id, date '2026-13-01' as d from raw.things", "x/staging/m.sql:2:17: `2026-13-01` is no date"),
    ];
    for (sql, expected) in cases {
        let project = models(&[("x/staging/m.sql", &format!("-- materialize: table\n{sql}"))]);
        let found: Vec<String> = project.check(&crate::house::outside).iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1, "{sql}: {found:?}");
        assert!(found[0].starts_with(expected), "{sql}: {found:?}");
        assert!(!found[0].contains(":0:0"), "{found:?}");
    }
    let text = "-- materialize: table\nselect id from '/etc/passwd'".to_owned();
    let file = transform::ModelFile { path: "x/staging/m.sql".to_owned(), text };
    let found = transform::Models::parse(vec![file]).unwrap_err();
    assert_eq!(found[0].to_string(), "x/staging/m.sql:2:16: `/etc/passwd` is no name for a table");
    // What goes some centuries back from the day is no fault.
    for sql in [
        "select id, cast($dt - interval '30 years' as timestamp) as t from raw.things",
        "select id, try_cast('x' as int) as n, cast('9999-12-31T23:59:59' as timestamp(6)) as t from raw.things",
    ] {
        let project = models(&[("x/staging/m.sql", &format!("-- materialize: table\n{sql}"))]);
        assert_eq!(project.check(&crate::house::outside), [], "{sql}");
    }
}
