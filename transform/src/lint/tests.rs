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
    ];
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
