use arrow::util::display::array_value_to_string;

use crate::session::Session;
use crate::statement::Statement;

async fn answer(sql: &str) -> Result<String, String> {
    let session = Session::for_planning().map_err(|error| error.to_string())?;
    let statement = Statement::parse(sql).map_err(|problem| problem.message)?;
    let plan = session.plan(statement.plain()).await.map_err(|error| error.to_string())?;
    let frame = session.context().execute_logical_plan(plan).await.map_err(|error| error.to_string())?;
    let batches = frame.collect().await.map_err(|error| error.to_string())?;
    let rows = batches.iter().flat_map(|batch| {
        (0..batch.num_rows()).map(move |row| {
            let values = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
            values.collect::<Vec<_>>().join(" ")
        })
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    Ok(rows.join("; "))
}

const NUMBERS: &str = "(values (9223372036854775807, 'a'), (1, 'a'), (-5, 'b'), (null, 'c')) as t(n, g)";

#[tokio::test]
async fn integers_that_do_not_fit_are_errors_and_others_are_right() {
    let right = [
        ("select 1 + 2 * 3 - 4", "3"),
        ("select n * 2 + 1, n - 1 from (values (1), (null), (-7)) as t(n)", " ; -13 -8; 3 0"),
        ("select sum(n) from (values (1), (2), (null)) as t(n)", "3"),
        ("select sum(n) from (values (1)) as t(n) where n > 5", ""),
        (
            "select g, sum(n) from (values (1, 'a'), (2, 'a'), (4, 'b'), (cast(null as int), 'c')) as t(n, g) group by g",
            "a 3; b 4; c ",
        ),
        ("select sum(n) filter (where n > 1) from (values (1), (2), (5)) as t(n)", "7"),
        ("select sum(distinct n) from (values (1), (1), (5)) as t(n)", "6"),
        (
            "select sum(n) over (order by n rows between 1 preceding and current row) from (values (1), (2), (5)) as t(n)",
            "1; 3; 7",
        ),
        ("select sum(r) from (values (1.5), (2.5)) as t(r)", "4.0"),
        (
            "select sum(n), avg(n), count(n) from (values (9223372036854775807), (-9223372036854775807)) as t(n)",
            "0 0.0 2",
        ),
        (
            "select n + 1 as m, count(*) from (values (1), (1), (2)) as t(n) group by n + 1 having n + 1 > 2 order by n + 1",
            "3 1",
        ),
        ("select 'a' || 'b' || g from (values ('c')) as t(g)", "abc"),
        ("select date '2026-10-01' + interval '1 day'", "2026-10-02"),
    ];
    for (sql, expected) in right {
        assert_eq!(answer(sql).await, Ok(expected.to_owned()), "{sql}");
    }
    let wrong = [
        "select 9223372036854775807 + 1".to_owned(),
        "select -9223372036854775807 - 2".to_owned(),
        format!("select n * 2 from {NUMBERS}"),
        format!("select n + 1 from {NUMBERS}"),
        format!("select sum(n) from {NUMBERS} where n > 0"),
        format!("select g, sum(n) from {NUMBERS} group by g"),
        format!("select sum(n) over (order by g) from {NUMBERS}"),
        format!("select count(*) from {NUMBERS} where n + 1 > 0"),
        format!("select g from {NUMBERS} group by g having sum(n) > 0"),
    ];
    for sql in wrong {
        let error = answer(&sql).await.unwrap_err();
        assert!(error.contains("does not fit"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn no_function_makes_a_value_without_end() {
    let right = [
        ("select length(repeat('ab', 1000))", "2000"),
        // The same value for all rows is one value.
        ("select max(length(repeat('x', 1000000))) from range(0, 3000)", "1000000"),
        ("select lpad('7', 3, '0') || rpad('7', 3, '0')", "007700"),
        ("select cardinality(range(10)), cardinality(generate_series(1, 10, 3))", "10 4"),
        ("select replace('aXbX', 'X', 'yy'), concat('a', null, 'b'), concat_ws('-', 'a', 'b')", "ayybyy ab a-b"),
        ("select regexp_replace('aXb', 'X', 'y')", "ayb"),
        (
            "select repeat(g, n) from (values ('a', 2), (null, 9000000000), ('b', null), ('c', -1)) as t(g, n)",
            "; ; ; aa",
        ),
    ];
    for (sql, expected) in right {
        assert_eq!(answer(sql).await, Ok(expected.to_owned()), "{sql}");
    }
    let doubled = (0..13).fold("select 'x' as v".to_owned(), |sql, level| {
        format!("select v || v || v || v as v from ({sql}) as t{level}")
    });
    let wrong = [
        "select length(repeat('x', 2000000000))",
        "select length(repeat(g, 1000000000)) from (values ('a'), ('b')) as t(g)",
        "select length(lpad('x', 2000000000))",
        "select length(rpad('x', 2000000000, 'ab'))",
        "select cardinality(range(0, 9000000000))",
        "select cardinality(generate_series(1, 9000000000))",
        "select cardinality(array_repeat(1, 2000000000))",
        "select length(replace(repeat('x', 1000000), 'x', repeat('y', 1000000)))",
        "select length(concat(repeat('x', 10000000), repeat('x', 10000000)))",
        doubled.as_str(),
    ];
    for sql in wrong {
        let error = answer(sql).await.unwrap_err();
        assert!(error.contains("would make"), "{sql}: {error}");
    }
}
