use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use catalog::TableName;

use crate::{ModelFile, Models};

fn columns(table: &TableName) -> Option<SchemaRef> {
    let kinds = [
        ("id", DataType::Utf8),
        ("place", DataType::Utf8),
        ("day", DataType::Date32),
        ("n", DataType::Int64),
        ("r", DataType::Float64),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("dt", DataType::Date32),
    ];
    let known = ["raw.a", "raw.b"].contains(&table.to_string().as_str());
    known.then(|| Arc::new(Schema::new(kinds.map(|(name, kind)| Field::new(name, kind, true)).to_vec())))
}

fn found(head: &str, sql: &str) -> String {
    let file = ModelFile { path: "x/staging/m.sql".to_owned(), text: format!("-- {head}\n{sql}") };
    let found = match Models::parse(vec![file]) {
        Ok(models) => models.check(&columns),
        Err(found) => found,
    };
    let lines = found.iter().map(|it| format!("{}:{} {}", it.line, it.column, it.message));
    lines.collect::<Vec<_>>().join("; ")
}

/// Nothing is found in the right ones, and in each wrong one what is said of it.
fn tells_apart(head: &str, right: &[&str], wrong: &[(&str, impl AsRef<str>)]) {
    for sql in right {
        assert_eq!(found(head, sql), "", "{sql}");
    }
    for (sql, expected) in wrong {
        let found = found(head, sql);
        assert!(found.contains(expected.as_ref()), "{sql}: {found}");
    }
}

#[test]
fn what_the_engine_answers_wrongly_is_refused() {
    let right = [
        "select id from raw.a where id not in (select id from raw.b)",
        "select id from raw.a as a where not exists (select 1 from raw.b as b where b.id = a.id and b.place = a.place)",
        "select id from raw.a as a where id in (select id from raw.b as b where b.place = a.place)",
        "select id, a.n from raw.a as a join raw.b as b using (id)",
        "select id, a.n from raw.a as a left join raw.b as b using (id)",
        "select coalesce(a.id, b.id) as id from raw.a as a full join raw.b as b on a.id = b.id",
        "select cast(at at time zone 'Asia/Seoul' as date) as day, date_bin(interval '1 day', at) as bin from raw.a",
        "select to_local_time(at at time zone 'Asia/Seoul') as wall from raw.a",
        "select cast(at as timestamp) as wall from raw.a",
        "select id from raw.a where id in (select id from raw.b) or n = 1",
        "select id from raw.a where n = 1 and (id in (select id from raw.b) or (n = 2 and id in (select id from raw.b)))",
        "select id from raw.a where n = 1 and id not in (select id from raw.b) and not (id in (select id from raw.b))",
        "select id from raw.a where (n is not distinct from 1) and n > 2 or (n is distinct from 3)",
        "select id from raw.a where n > 2 and n is not distinct from 1",
        "select id from raw.a except select id from raw.b",
        "select id from raw.a intersect select id from raw.b",
        "select a.id from raw.a as a left anti join raw.b as b on a.id = b.id",
        "select id from raw.a where at > timestamp '2026-01-01' + interval '7 days' and day - interval '1 month' < dt",
        "select id, count(*) as c from raw.a where at - at < at - timestamp '2026-01-01' group by id order by id",
    ];
    let spans = "intervals are compared";
    let wrong = [
        (
            "select id from raw.a as a where id not in (select id from raw.b as b where b.place = a.place)",
            "2:33 `not in` of a subquery",
        ),
        ("select id, a.n from raw.a as a full join raw.b as b using (id)", "`full join … using (id)`"),
        ("select id, a.n from raw.a as a right join raw.b as b using (id)", "`right join … using (id)`"),
        (
            "select cast(at at time zone 'Asia/Seoul' as timestamp) as wall from raw.a",
            "2:13 a time in a zone that is cast",
        ),
        (
            "select cast(date_bin(interval '1 day', at at time zone 'Asia/Seoul') as date) as bin from raw.a",
            "`date_bin` of a time in a zone",
        ),
        ("select id from raw.a where 99 not in (select n from raw.b)", "`not in` of a subquery, of a value"),
        ("select id from raw.a where $dt not in (select day from raw.b)", "`not in` of a subquery, of a value"),
        ("select id from raw.a where id not in (select id from raw.b) or n = 1", "`not in` of a subquery inside"),
        ("select id from raw.a where not (id in (select id from raw.b) and n = 1)", "`in` of a subquery inside"),
        ("select id from raw.a where (id in (select id from raw.b)) is null", "`in` of a subquery inside"),
        ("select id from raw.a where coalesce(id in (select id from raw.b), true)", "`in` of a subquery inside"),
        ("select id, id in (select id from raw.b) as there from raw.a", "`in` of a subquery inside"),
        (
            "select id from raw.a where case when id not in (select id from raw.b) then true else false end",
            "`not in` of",
        ),
        (
            "select id from raw.a as a where not (id in (select id from raw.b as b where b.place = a.place))",
            "`not in` of a subquery that speaks",
        ),
        (
            "select id from raw.a as a where a.n <= (select min(b.n) from raw.b as b where b.id < a.id)",
            "the engine has no way to run this query",
        ),
        (
            "select id, exists (select 1 from raw.b as b where b.id = a.id) as there from raw.a as a",
            "the engine has no way to run this query",
        ),
        ("select id from raw.a where n is not distinct from 1 and n > 2", "2:28 `is distinct from` takes"),
        ("select id from raw.a where n is distinct from 1 or n > 2", "`is distinct from` takes"),
        ("select id from raw.a except all select id from raw.b", "`except all`"),
        ("select id from raw.a intersect all select id from raw.b", "`intersect all`"),
        ("select id from (select id, n from raw.a except all select id, n from raw.b)", "`except all`"),
        ("select id from raw.a where at - timestamp '2026-01-01' > interval '20 days'", spans),
        (
            "select id from raw.a where interval '25 hours' > case when n > 1 then interval '1 day' else interval '25 hours' end",
            spans,
        ),
        (
            "select id from raw.a where case when n > 1 then interval '1 day' else interval '25 hours' end between interval '1 day' and interval '1 month'",
            spans,
        ),
        (
            "select id from raw.a where case when n > 1 then interval '1 day' else interval '25 hours' end in (interval '1 day')",
            spans,
        ),
        ("select id from raw.a order by case when n > 1 then interval '1 day' else interval '25 hours' end", spans),
        (
            "select id from (select id, max(case when n > 1 then interval '1 day' else interval '25 hours' end) as m from raw.a group by id)",
            spans,
        ),
        (
            "select count(*) as c from raw.a group by case when n > 1 then interval '1 day' else interval '25 hours' end",
            spans,
        ),
        (
            "select id from (select distinct id, case when n > 1 then interval '1 day' else interval '25 hours' end as i from raw.a)",
            spans,
        ),
    ];
    tells_apart("materialize: table", &right, &wrong);
}

#[test]
fn a_text_beside_a_number_is_refused() {
    let right = [
        "select id from raw.a where place = '101' and n = '5' and day = '2026-10-01' and at > '2026-10-01'",
        "select id from raw.a where try_cast(place as bigint) = 101",
        "select coalesce(place, cast(n as text)) as c, place || n as d from raw.a",
        "select id from raw.a where place in ('1', '2') and n in (1, 2) and day between '2026-10-01' and $dt",
        "select case place when '1' then 1 else 2 end as c from raw.a",
    ];
    let wrong = [
        "select id from raw.a where place = 101",
        "select id from raw.a where 101 < place",
        "select id from raw.a where place = n",
        "select id from raw.a where place > day",
        "select id from raw.a where place <> at",
        "select id from raw.a where place in (1, 2)",
        "select id from raw.a where place in (select n from raw.b)",
        "select id from raw.a where place between 1 and 2",
        "select id from raw.a where place between '1' and n",
        "select a.id from raw.a as a join raw.b as b on a.place = b.n",
        "select a.id from raw.a as a left join raw.b as b on a.id = b.id and a.n = b.place",
        "select case place when 1 then 1 else 2 end as c from raw.a",
        "select id from raw.a group by id, place having max(place) = 4",
        "select id from (select id, place from raw.a union all select id, id as place from raw.b) where place = 1.5",
        "select id from raw.a as a where exists (select 1 from raw.b as b where b.n = a.place)",
    ];
    tells_apart("materialize: table", &right, &wrong.map(|sql| (sql, "is text and stands beside")));
    assert_eq!(
        found("materialize: table", "select id\nfrom raw.a\nwhere place = 101"),
        "4:7 `place` is text and stands beside a number"
    );
}

#[test]
fn a_latest_model_takes_the_rows_of_a_day_as_they_are() {
    let right = [
        "select id, n, at from raw.a where dt = $dt",
        "select id, n, at from (select id, n, at from raw.a where $dt = dt and n > 1) order by n",
        "with d as (select * from raw.a where dt = $dt) select d.id, d.n, d.at from d left join raw.b as b on d.id = b.id",
        "select id, n, at from raw.a where dt = $dt union all select id, n, at from raw.b where dt = $dt",
        "select a.id, a.n, a.at from raw.a as a join (select id, count(*) as c from raw.b group by id) as b on a.id = b.id where a.dt = $dt",
        "select id, n, at from raw.a where dt = $dt and id in (select id from raw.b)",
        "select id, n, at from raw.a",
        "select id, count(*) as n, max(at) as at from raw.a group by id",
    ];
    let wrong = [
        ("select id, count(*) as n, max(at) as at from raw.a where dt = $dt group by id", "an aggregate"),
        ("select id, at, sum(n) over (partition by id) as n from raw.a where dt = $dt", "a window function"),
        ("select distinct id, n, at from raw.a where dt = $dt", "a `distinct`"),
        ("select id, n, at from raw.a where dt = $dt order by n limit 5", "a `limit`"),
        ("select id, n, at from raw.a where dt = $dt union select id, n, at from raw.b where dt = $dt", "a `distinct`"),
        (
            "with d as (select * from raw.a where dt = $dt) select id, max(n) as n, max(at) as at from d group by id",
            "an aggregate",
        ),
        (
            "select b.id, d.n, b.at from raw.b as b left join (select * from raw.a where dt = $dt) as d on d.id = b.id",
            "an outer join",
        ),
        ("select id, n, at from raw.b where id not in (select id from raw.a where dt = $dt)", "a subquery"),
        ("select id, n, at, dt = $dt as today from raw.a", "a column"),
    ];
    let wrong = wrong.map(|(sql, part)| (sql, format!("{part} with `$dt` in it")));
    tells_apart("materialize: latest by id order by at", &right, &wrong);
}

#[test]
fn what_a_table_can_not_keep_is_refused() {
    let cases = [
        (
            "select 4.5 as \"평균 별점\"",
            "2:15 column `평균 별점`: expected a name that readers of Delta take, found ' ' in it",
        ),
        (
            "select 1 as \"합계(원)\"",
            "2:13 column `합계(원)`: expected a name that readers of Delta take, found '(' in it",
        ),
        (
            "select 1 as \"N\", 2 as n",
            "2:13 column `n`: expected names that differ in more than their case, found `N` too",
        ),
        (
            "select at at time zone 'Asia/Seoul' as kst from raw.a",
            "2:40 column `kst`: expected a type that Delta keeps, found timestamp(ns, \"asia/seoul\")",
        ),
        (
            "select interval '1 day' as i",
            "2:28 column `i`: expected a type that Delta keeps, found interval(monthdaynano)",
        ),
        ("select id from staging.m", "2:16 `staging.m` reads itself"),
        ("select \"방문자가\" from (select 1 as \"방문자가\")", ""),
    ];
    for (sql, expected) in cases {
        assert_eq!(found("materialize: table", sql), expected, "{sql}");
    }
}
