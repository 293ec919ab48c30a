//! What is read out of a statement, put into it, and refused.

use super::*;

fn tables(sql: &str) -> Vec<String> {
    Statement::parse(sql).unwrap().tables().map(|(name, at)| format!("{name}@{}:{}", at.line, at.column)).collect()
}

#[test]
fn tables_are_found_wherever_they_stand() {
    let cases: &[(&str, &[&str])] = &[
        ("select 1", &[]),
        ("select * from raw.a", &["raw.a@1:15"]),
        ("-- head\nselect *\nfrom RAW.A as x", &["raw.a@3:6"]),
        (
            "select * from raw.a join raw.b using (id) where id in (select id from raw.c)",
            &["raw.a@1:15", "raw.b@1:26", "raw.c@1:71"],
        ),
        (
            "with t as (select * from raw.a), u as (select * from t) select * from u, raw.b",
            &["raw.a@1:26", "raw.b@1:74"],
        ),
        ("with t as (select * from t) select * from t", &["t@1:26"]),
        ("(with t as (select 1) select * from t) union all (select * from t)", &["t@1:65"]),
        ("with recursive n as (select 1 as i union all select i + 1 from n where i < 9) select * from n", &[]),
        ("select (select max(x) from raw.b) from raw.a", &["raw.b@1:28", "raw.a@1:40"]),
        ("select * from generate_series(1, 3)", &[]),
        ("explain select * from raw.a", &["raw.a@1:23"]),
        ("select 'from raw.z' from raw.a -- from raw.y", &["raw.a@1:26"]),
    ];
    for (sql, expected) in cases {
        assert_eq!(tables(sql), *expected, "{sql}");
    }
}

#[test]
fn comments_case_and_space_mean_nothing() {
    let normal = |sql: &str| Statement::parse(sql).unwrap().normal;
    assert_eq!(normal("-- a\nSELECT  a,b FROM raw.T /* x */ ;"), normal("select a , b\nfrom raw.t"));
    assert_ne!(normal("select 'A' from raw.t"), normal("select 'a' from raw.t"));
    assert_ne!(normal("select \"A\" from raw.t"), normal("select a from raw.t"));
}

#[test]
fn the_day_is_put_in() {
    let statement = Statement::parse("select $dt as d from raw.a x where x.dt = $dt and $dt > y").unwrap();
    assert_eq!(
        statement.on(&Days::One("2026-10-01".parse().unwrap())).to_string(),
        "SELECT DATE '2026-10-01' AS d FROM raw.a x WHERE x.dt = DATE '2026-10-01' AND DATE '2026-10-01' > y"
    );
    assert_eq!(statement.dt_beyond_equality(), Some(Position { line: 1, column: 8 }));
    assert_eq!(statement.dt_equalities(), 1);
    let statement = Statement::parse("with t as (select * from raw.a where $dt = dt) select * from t").unwrap();
    assert_eq!(statement.dt_beyond_equality(), None);
    let days = vec!["2026-10-01".parse().unwrap(), "2026-10-02".parse().unwrap()];
    assert_eq!(
        statement.on(&Days::Each(days)).to_string(),
        "WITH t AS (SELECT * FROM raw.a WHERE dt IN (DATE '2026-10-01', DATE '2026-10-02')) SELECT * FROM t"
    );
    assert_eq!(
        statement.on(&Days::All).to_string(),
        "WITH t AS (SELECT * FROM raw.a WHERE dt IS NOT NULL) SELECT * FROM t"
    );
}

#[test]
fn what_is_too_deep_is_refused_and_not_planned() {
    let long = format!("select {}", vec!["1"; 3_000].join(" + "));
    assert!(Statement::parse(&long).unwrap_err().message.contains("at most 500 operators"));
    let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    assert!(Statement::parse(&nested).unwrap_err().message.contains("nested deeper"));
    let unions = vec!["select 1"; 1_000].join(" union all ");
    assert!(Statement::parse(&unions).unwrap_err().message.contains("at most 200 joins"));
    let list = format!("select {} from raw.a", vec!["a + 1"; 1_000].join(", "));
    assert!(Statement::parse(&list).is_ok());
    let values = |count: usize| (0..count).map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
    let of_list = |count| Statement::parse(&format!("select 1 from raw.a where id in ({}) and b", values(count)));
    assert!(of_list(10_000).is_ok());
    assert!(of_list(10_001).unwrap_err().message.contains("at most 10000 values"));
    let rows = vec!["('a', 1)"; 40_000].join(", ");
    assert!(
        Statement::parse(&format!("select 1 from raw.a where id in (select v from (values {rows}) as t(v, n))"))
            .is_ok()
    );
}

/// Each link of a chain is a level of the plan, whatever it is made of and whatever stands between the links.
#[test]
fn every_chain_is_counted() {
    let chain = |first: &str, link: &str, count: usize| format!("select {first}{} from raw.a", link.repeat(count));
    for link in [
        " + 1",
        " || a",
        " and a",
        " or a",
        " = a",
        " is null",
        " is not null",
        " like 'a'",
        " ilike 'a'",
        " not like 'a'",
        " similar to 'a'",
        " between 1 and 2",
        " in (1)",
        " not in (1, 2)",
        " at time zone 'UTC'",
        "::int",
        "[1]",
        " -> 'a'",
        " ->> 'a'",
        " @> a",
        " & 1",
        " << 1",
        " ^ 2",
        " div 2",
        " xor a",
        " ~ 'a'",
        " collate \"C\"",
        " <=> a",
        " + coalesce(a, b)",
        " or f(a, b, (c + d))",
        " + case when a then b else c end",
        " + [1, 2][1]",
    ] {
        let found = Statement::parse(&chain("a", link, 2_000)).unwrap_err().message;
        assert!(found.contains("at most 500 operators") || found.contains("expected end"), "{link}: {found}");
        assert!(extent::of_tokens(&tokens(&chain("a", link, 100))).is_ok(), "{link}");
    }
    let fields = format!("select (a){} from raw.a", ".b".repeat(2_000));
    assert!(Statement::parse(&fields).unwrap_err().message.contains("at most 500 operators"));
    let froms =
        format!("select 1 from {}", (0..1_000).map(|it| format!("raw.a as t{it}")).collect::<Vec<_>>().join(", "));
    assert!(Statement::parse(&froms).unwrap_err().message.contains("at most 200 joins"));
    // What stands side by side is no chain.
    let wide = format!(
        "select {} from raw.a where a in ({}) order by {}",
        vec!["coalesce(a, b, 1) + 1 as c"; 3_000].join(", "),
        vec!["a + 1"; 3_000].join(", "),
        vec!["a is not null"; 3_000].join(", ")
    );
    assert!(extent::of_tokens(&tokens(&wide)).is_ok());
}

#[test]
fn parts_that_grow_with_each_other_are_refused() {
    type Body<'b> = &'b dyn Fn(usize) -> String;
    let parts = |count: usize, body: &dyn Fn(usize) -> String| {
        let parts: Vec<String> = (1..count).map(|it| format!("a{it} as ({})", body(it - 1))).collect();
        format!("with a0 as (select 1 as x), {} select * from a{}", parts.join(", "), count - 1)
    };
    let doubling: [Body<'_>; 5] = [
        &|it| format!("select a.x from a{it} as a cross join a{it} as b"),
        &|it| format!("select * from a{it} union all select * from a{it}"),
        &|it| format!("select (select max(x) from a{it}) + (select min(x) from a{it}) as x"),
        &|it| format!("select x from a{it} where x in (select x from a{it})"),
        &|it| format!("select * from a{it} order by (select max(x) from a{it})"),
    ];
    for body in doubling {
        let found = Statement::parse(&parts(64, body)).unwrap_err().message;
        assert!(found.contains("tables are read"), "{}: {found}", body(1));
        assert!(Statement::parse(&parts(8, body)).is_ok(), "{}", body(1));
    }
    let one_by_one = |it: usize| format!("select x + 1 as x from a{it}");
    assert!(Statement::parse(&parts(100, &one_by_one)).is_ok());
    assert!(Statement::parse(&parts(1_000, &one_by_one)).unwrap_err().message.contains("in a row"));
    // A name that is made again inside is the inner one, and ends with its query.
    let shadowed = "with a as (select 1 as x) select * from (with a as (select x from a) select * from a) as b, a";
    assert!(Statement::parse(shadowed).is_ok());
    // Parts within parts are read once, however deep they are.
    let nested = (0..20).fold("select 1 as x".to_owned(), |inner, _| format!("with a as ({inner}) select * from a"));
    assert!(Statement::parse(&nested).is_ok());
}

fn tokens(sql: &str) -> Vec<TokenWithSpan> {
    Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap()
}

#[test]
fn a_syntax_error_has_a_place() {
    let wrong = Statement::parse("select a\nfrm raw.a where").unwrap_err();
    assert_eq!(
        (wrong.message.as_str(), wrong.place),
        ("expected end of statement, found raw", Some(Position { line: 2, column: 5 }))
    );
    let wrong = Statement::parse("select 'a").unwrap_err();
    assert_eq!(wrong.place, Some(Position { line: 1, column: 8 }));
    assert_eq!(Statement::parse("select 1; select 2").unwrap_err().message, "expected one statement, found several");
}

#[test]
fn only_questions_are_questions() {
    for sql in [
        "select 1",
        "explain select 1",
        "explain analyze select 1",
        "show tables",
        "describe raw.a",
        "with t as (select 1) select * from t",
    ] {
        assert_eq!(Statement::parse(sql).unwrap().beyond_asking(), None, "{sql}");
    }
    for sql in [
        "insert into raw.a values (1)",
        "drop table raw.a",
        "create table a as select 1",
        "copy raw.a to 'x'",
        "set a = 1",
        "explain insert into raw.a select 1",
    ] {
        assert!(Statement::parse(sql).unwrap().beyond_asking().is_some(), "{sql}");
    }
}

#[test]
fn what_the_engine_passes_over_is_refused_with_its_place() {
    let cases = [
        ("select g, count(*) from raw.a group by g with rollup", "1:47 `with rollup`"),
        ("select g, count(*) from raw.a group by g with cube", "1:47 `with cube`"),
        ("select g, count(*) from raw.a group by all with totals", "1:49 `with totals`"),
        ("select id from raw.a tablesample bernoulli (10)", "1:22 `tablesample`"),
        ("select id from (select * from raw.a) as a tablesample (10)", "1:43 `tablesample`"),
        ("select id from raw.a where id in (select id from raw.b tablesample (10 percent))", "1:56 `tablesample`"),
        ("select id from raw.a prewhere n > 1", "1:22 `prewhere`"),
        ("select id from raw.a start with n = 1 connect by prior id = n", "1:39 `connect`"),
        ("select id from raw.a for update", "1:22 `for`"),
        ("select id from raw.a with (nolock)", "1:22 `with`"),
        ("select id from raw.a settings max_threads = 1", "1:22 `settings`"),
        ("select id from raw.a partition (p0)", "1:22 `partition`"),
        ("select id from raw.a fetch first 2 rows only", "1:22 `fetch`"),
        ("select id from (select id from raw.a order by id offset 2)", "1:50 `offset`"),
        ("select top 2 id from raw.a", "1:8 `top`"),
        ("select id into raw.b from raw.a", "1:11 `into`"),
        ("from raw.a", "1:1 `from`"),
        ("select id from raw.a sort by id", "1:22 `sort`"),
        ("select id from raw.a cluster by id", "1:22 `cluster`"),
        ("select id, u from raw.a, unnest(l) as t(u)", "1:26 `unnest`"),
        ("select id, u from raw.a cross join unnest(raw.a.l) as t(u)", "1:36 `unnest`"),
        ("select u from unnest([1, 2]) with ordinality as t(u, n)", "1:35 `with ordinality`"),
        ("select * from raw.a pivot (sum(n) for g in ('a', 'b'))", "1:21 `pivot`"),
        ("select id from raw.a where id rlike 'a'", "1:31 `rlike`"),
        ("select id from raw.a where id like any ('a', 'b')", "1:36 `any`"),
        ("select id collate \"C\" from raw.a", "1:11 `collate`"),
        ("select 1 in unnest([1])", "`in unnest`"),
        ("select id from raw.a where (id, n) in (select id, n from raw.b)", "`in`"),
        ("select case (id, n) when (1, 2) then 1 end from raw.a", "1:8 `case`"),
        ("select quantile(0.5)(n) from raw.a", "1:8 `two pairs of parentheses`"),
        ("select lower(distinct id) from raw.a", "1:8 `distinct`"),
        ("select lower(id) filter (where n > 1) from raw.a", "1:8 `filter`"),
        ("select abs(n) over () from raw.a", "1:8 `over`"),
        ("select row_number() filter (where n > 1) over (order by id) from raw.a", "1:8 `filter`"),
    ];
    for (sql, expected) in cases {
        let problem = Statement::parse(sql).expect_err(sql);
        let place = problem.place.map_or_else(String::new, |at| format!("{}:{} ", at.line, at.column));
        let found = format!("{place}{}", problem.message);
        assert!(found.contains(expected) && problem.hint.is_some(), "{sql}: {found}");
    }
    let right = [
        "select g, count(*) filter (where n > 1) from raw.a group by rollup (g)",
        "select sum(distinct n), max(n) over (), first_value(n) ignore nulls over (order by id) from raw.a",
        "select string_agg(id, ',' order by id), approx_percentile_cont(0.5) within group (order by n) from raw.a",
        "with a as (select 1 as n) select * exclude (n) from a as b(n) order by 1 limit 3 offset 1",
        "select u from unnest([1, 2]) as t(u)",
    ];
    for sql in right {
        assert_eq!(Statement::parse(sql).err(), None, "{sql}");
    }
}

#[test]
fn rows_are_compared_value_by_value() {
    let cases = [
        ("(a, b) = (1, 2)", "((a = 1 AND b = 2))"),
        ("(a, b) <> (1, 2)", "((a <> 1 OR b <> 2))"),
        ("(a, b) < (1, 2)", "((a < 1 OR (a = 1 AND (b < 2))))"),
        ("((a, b)) >= (1, 2)", "((a > 1 OR (a = 1 AND (b >= 2))))"),
        ("(a, b, c) > (1, 2, 3)", "((a > 1 OR (a = 1 AND (b > 2 OR (b = 2 AND (c > 3))))))"),
        ("(a, b) in ((1, 2), (3, 4))", "((((a = 1 AND b = 2) OR (a = 3 AND b = 4))))"),
        ("(a, b) not in ((1, 2))", "(NOT ((a = 1 AND b = 2)))"),
        ("(a, b) is not distinct from (1, 2)", "((a IS NOT DISTINCT FROM 1 AND b IS NOT DISTINCT FROM 2))"),
        ("a = 1", "a = 1"),
    ];
    for (condition, expected) in cases {
        let statement = Statement::parse(&format!("select 1 from raw.a where {condition}")).unwrap();
        assert_eq!(statement.plain().to_string(), format!("SELECT 1 FROM raw.a WHERE {expected}"), "{condition}");
    }
    for wrong in ["(a, b) = (1, 2, 3)", "(a, b) = c", "(a, b) in (c)", "(a, b) = (select 1, 2)"] {
        let problem = Statement::parse(&format!("select 1 from raw.a where {wrong}")).expect_err(wrong);
        assert!(problem.message.starts_with("a row"), "{wrong}: {}", problem.message);
    }
    // A list of many rows is no chain of as many levels.
    let many: Vec<String> = (0..9_000).map(|n| format!("({n}, {n})")).collect();
    assert!(Statement::parse(&format!("select 1 from raw.a where (a, b) in ({})", many.join(", "))).is_ok());
}
