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

/// Each fits, and their sum doesn't.
const DECIMALS: &str = "(select cast(text as decimal(38, 0)) as d, g from (values
    ('99999999999999999999999999999999999999', 'a'), ('1', 'a'), ('99999999999999999999999999999999999998', 'a')) as v(text, g)) as t";

#[tokio::test]
async fn integers_that_do_not_fit_are_errors_and_others_are_right() {
    let right = [
        ("select 1 + 2 * 3 - 4", "3"),
        // A case keeps its rows from what would fail of them, also where it is a condition.
        (
            "select id from (values (1, 0), (2, 5), (3, null), (4, 20)) as t(id, n) where case when n <> 0 then 10 / n > 1 else id > 0 end",
            "1; 2; 3",
        ),
        (
            "select id from (values (1, 'x'), (2, '5'), (3, null)) as t(id, s) where case when s in ('5', '6') then cast(s as int) > 1 end",
            "2",
        ),
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
        // Beside another one, so that it is not made a sum of groups.
        ("select sum(distinct n), count(distinct m) from (values (1, 1), (1, 2), (5, 2), (null, 3)) as t(n, m)", "6 3"),
        (
            "select g, sum(distinct n), count(*) from (values (1, 'a'), (1, 'a'), (4, 'b'), (cast(null as int), 'c')) as t(n, g) group by g",
            "a 1 2; b 4 1; c  1",
        ),
        (
            "select sum(distinct n) over (order by m rows between 1 preceding and current row) from (values (1, 1), (1, 2), (5, 3)) as t(n, m)",
            "1; 1; 6",
        ),
        (
            "select sum(d), sum(distinct d), avg(d) from (values (cast('1.50' as decimal(10, 2))), (cast('1.50' as decimal(10, 2))), (null)) as t(d)",
            "3.00 1.50 1.500000",
        ),
        ("select sum(i) from (values (interval '2 months'), (interval '1 day'), (null)) as t(i)", "2 mons 1 days"),
        ("select sum(b - a) from (values (timestamp '2026-10-01', timestamp '2026-10-03')) as t(a, b)", "PT172800S"),
        ("select -n, -(-n) from (values (5), (null), (-7)) as t(n)", " ; -5 5; 7 -7"),
        ("select 1 << 62, 4 >> 1, n << 1 from (values (3)) as t(n)", "4611686018427387904 2 6"),
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
        format!("select sum(distinct n) from {NUMBERS} where n > 0"),
        format!("select sum(distinct n), count(distinct g) from {NUMBERS} where n > 0"),
        format!("select g, sum(distinct n), count(*) from {NUMBERS} group by g"),
        format!("select sum(distinct n) filter (where n > 0) from {NUMBERS}"),
        format!("select sum(distinct n) over (order by g) from {NUMBERS} where n > 0"),
        format!("select sum(distinct n) over () from {NUMBERS} where n > 0"),
        format!("select sum(d) from {DECIMALS}"),
        format!("select sum(distinct d), count(distinct g) from {DECIMALS}"),
        format!("select g, sum(d) from {DECIMALS} group by g"),
        format!("select sum(d) over (order by g) from {DECIMALS}"),
        format!("select sum(d + 0) over () from {DECIMALS}"),
        "select sum(i) from (values (interval '2147483647 months'), (interval '1 month')) as t(i)".to_owned(),
        "select g, sum(i) from (values (interval '2147483647 months', 1), (interval '1 month', 1)) as t(i, g) group by g".to_owned(),
        "select sum(b - a) from (values (timestamp '1700-01-01', timestamp '1900-01-01'), (timestamp '1800-01-01', timestamp '2000-01-01')) as t(a, b)".to_owned(),
        "select -n from (values (-9223372036854775807 - 1)) as t(n)".to_owned(),
        "select -n from (values (cast(-128 as tinyint))) as t(n)".to_owned(),
        "select 1 << 64".to_owned(),
        "select 1 << n from (values (-1)) as t(n)".to_owned(),
        "select cast(1 as int) >> cast(32 as int)".to_owned(),
    ];
    for sql in wrong {
        let error = answer(&sql).await.unwrap_err();
        assert!(error.contains("does not fit"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn nan_stands_behind_all_numbers_however_it_is_looked_at() {
    let made = ["'NaN'::double", "0.0 / 0.0", "-(0.0 / 0.0)", "z / z", "z % z", "1 / z - 1 / z", "1 / z * z"];
    for nan in made {
        let some = format!(
            "(select g, case i when 2 then {nan} else r end as r, i from (values (1, 0.5, 1, 0.0), (1, 9.0, 2, 0.0), (1, 2.5, 3, 0.0), (1, 1.0, 4, 0.0)) as v(g, r, i, z)) as t"
        );
        let cases = [
            (format!("select min(r), max(r) from {some}"), "0.5 NaN"),
            (format!("select g, min(r), max(r) from {some} group by g"), "1 0.5 NaN"),
            (format!("select g, min(r), max(r) filter (where i <> 2) from {some} group by g"), "1 0.5 2.5"),
            (format!("select max(cast(r as real)), min(cast(r as real)) from {some} group by g"), "NaN 0.5"),
            (format!("select i from {some} where r > 5"), "2"),
            (format!("select i from {some} where r between 0 and 5"), "1; 3; 4"),
            (format!("select i from {some} order by r desc limit 1"), "2"),
            (format!("select i from {some} order by r limit 1"), "1"),
            (
                format!(
                    "select max(r) over (order by i rows between 1 preceding and current row) from {some} order by i limit 1"
                ),
                "0.5",
            ),
        ];
        for (sql, expected) in cases {
            assert_eq!(answer(&sql).await, Ok(expected.to_owned()), "{nan}: {sql}");
        }
    }
    let others = "select g, min(r), max(r) from (values (1, 0.5), (1, null), (2, null), (3, -1.0), (3, 'inf'::double)) as t(g, r) group by g";
    assert_eq!(answer(others).await.as_deref(), Ok("1 0.5 0.5; 2  ; 3 -1.0 inf"));
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
        ("select length(regexp_replace(repeat('a ', 500000), '\\s+', ' ', 'g'))", "1000000"),
        (
            "select array_length(array_repeat(array_repeat('ab', 100), 100)), array_length(array_resize([1], 1000, 7))",
            "100 1000",
        ),
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
        "select length(regexp_replace(repeat('x', 10000), '[a-z]', repeat('y', 10000), 'g'))",
        "select length(regexp_replace(repeat('x', 1000000), '(.*)', repeat('\\1', 1000)))",
        "select cardinality(array_repeat(array_repeat(array_repeat(1, 1000), 1000), 1000))",
        "select cardinality(array_repeat(array_repeat('', 1000000), 1000))",
        "select cardinality(array_resize(['a'], 1000000, repeat('x', 1000)))",
        "select length(concat(repeat('x', 10000000), repeat('x', 10000000)))",
        doubled.as_str(),
    ];
    for sql in wrong {
        let error = answer(sql).await.unwrap_err();
        assert!(error.contains("would make"), "{sql}: {error}");
    }
}
