use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use catalog::TableName;

use crate::{ModelFile, Models};

fn found(sql: &str) -> Vec<String> {
    let kinds = [
        ("id", DataType::Utf8),
        ("name", DataType::Utf8),
        ("day", DataType::Date32),
        ("n", DataType::Int64),
        ("r", DataType::Float64),
        ("d", DataType::Decimal128(10, 2)),
        ("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
        ("words", DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))),
    ];
    let schema = Arc::new(Schema::new(kinds.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
    let analyses = [ModelFile { path: "sql/analyses/q.sql".to_owned(), text: sql.to_owned() }];
    let schemas = |table: &TableName| (table.to_string() == "raw.a").then(|| Arc::clone(&schema));
    assert_eq!(Models::default().check_analyses(&analyses, &schemas), [], "{sql}");
    let found = Models::default().check_portable(&analyses, &schemas);
    assert!(found.iter().all(|found| found.hint.is_some()), "{sql}");
    found.iter().map(|found| format!("{}:{} {}", found.line, found.column, found.message)).collect()
}

/// What differs, what is said of it, and how to say which is meant.
const CASES: [(&str, &str, &[&str]); 17] = [
    (
        "select n from raw.a order by n desc limit 3",
        "1:30 `order by n desc`: NULL comes first here and last in Athena",
        &[
            "select n from raw.a order by n desc nulls last",
            "select n from raw.a order by n desc nulls first",
            "select n from raw.a order by n",
            "select id, count(*) as c from raw.a group by id order by c desc, 2 desc, count(*) desc",
        ],
    ),
    (
        "select id,\n row_number() over (order by r desc) as place from raw.a",
        "2:30 `order by r desc`",
        &["select row_number() over (order by r desc nulls last) as place from raw.a"],
    ),
    (
        "select array_agg(id order by day desc) as ids from raw.a",
        "1:30 `order by day desc`",
        &["select array_agg(id order by day desc nulls last) as ids from raw.a"],
    ),
    (
        "select concat('a', name) as c from raw.a",
        "1:8 `concat` of what may be NULL: it is empty here and makes all NULL in Athena",
        &["select concat('a', coalesce(name, '')) as c, 'a' || name as d from raw.a"],
    ),
    (
        "select greatest(n, 1) as c from raw.a",
        "1:8 `greatest` of what may be NULL",
        &["select greatest(coalesce(n, 0), 1) as c, least(1, coalesce(n, 2)) as d from raw.a"],
    ),
    (
        "select cast(r as bigint) as c from raw.a",
        "1:13 a number with a point that is cast to an integer",
        &["select cast(floor(r) as bigint) as c, cast(round(r) as bigint) as e, cast(id as bigint) as f from raw.a"],
    ),
    (
        "select cast(d as integer) as c from raw.a",
        "1:13 a number with a point that is cast to an integer",
        &["select cast(round(d) as integer) as c from raw.a"],
    ),
    (
        "select cast(r as varchar) as c from raw.a",
        "1:13 a double that is cast to a text",
        &["select cast(cast(r as decimal(18, 2)) as varchar) as c, cast(n as varchar) as e from raw.a"],
    ),
    (
        "select cast(at as varchar) as c from raw.a",
        "1:13 a time that is cast to a text",
        &["select cast(cast(at as date) as varchar) as c from raw.a"],
    ),
    (
        "select regexp_replace(name, '[0-9]', 'x') as c from raw.a",
        "1:8 `regexp_replace`: the first match is replaced here, and every match in Athena",
        &["select regexp_replace(name, '^[0-9]+', '') as c, regexp_replace(name, '[0-9]+$', '') as e from raw.a"],
    ),
    (
        "select extract(dow from day) as c from raw.a",
        "1:25 the day of the week: Sunday is 0 here and 7 in Athena",
        &["select extract(dow from day) % 7 as c, extract(month from day) as e from raw.a"],
    ),
    (
        "select date_trunc('month', day) as c from raw.a",
        "1:28 `date_trunc` of a date: a time here, a date in Athena",
        &["select cast(date_trunc('month', day) as date) as c, date_trunc('month', at) as e from raw.a"],
    ),
    (
        "select day - date '2026-10-01' as c from raw.a",
        "1:8 a date less a date: a number of days here, an interval in Athena",
        &["select id from raw.a where day > date '2026-10-01' - interval '7' day"],
    ),
    (
        "select split_part(name, ' ', 2) as c from raw.a",
        "1:8 `split_part`: a part that is not there is empty here, and NULL in Athena",
        &["select nullif(split_part(name, ' ', 2), '') as c, coalesce(split_part(name, ' ', 2), '') as e from raw.a"],
    ),
    (
        "select id from raw.a where name like 'a\\_b%'",
        "1:28 `like` with a backslash",
        &["select id from raw.a where name like 'a\\_b%' escape '\\' or name like 'a_b%'"],
    ),
    (
        "select substr(name, -2) as c from raw.a",
        "`substr` from a place that may be before the first",
        &[
            "select substr(name, 2) as c, substring(name, strpos(name, ' ') + 1) as e, substr(name, greatest(coalesce(n, 1), 1), 2) as f from raw.a",
        ],
    ),
    (
        "select words[2] as c from raw.a",
        "1:8 an item of a list: one that is not there is NULL here, and an error in Athena",
        &[
            "select case when cardinality(words) >= 2 then words[2] end as c from raw.a",
            "select words[2] as c from raw.a where cardinality(words) >= 2",
        ],
    ),
];

#[test]
fn what_athena_answers_otherwise_is_found_until_it_says_which_is_meant() {
    for (sql, expected, instead) in CASES {
        let wrong = found(sql);
        assert_eq!(wrong.len(), 1, "{sql}: {wrong:?}");
        assert!(wrong[0].contains(expected), "{sql}: {wrong:?}");
        for sql in instead {
            assert_eq!(found(sql), [""; 0], "{sql}");
        }
    }
}

#[test]
fn it_is_found_wherever_it_stands_and_as_often() {
    let sql = "with t as (select split_part(name, ' ', 1) as c, n from raw.a)\n\
               select c, (select max(split_part(id, '-', 2)) from raw.a) as m from t\n\
               where n in (select cast(r as bigint) from raw.a)\n\
               order by c desc";
    let found = found(sql);
    let places: Vec<&str> = found.iter().filter_map(|found| found.split(' ').next()).collect();
    assert_eq!(places, ["1:19", "2:23", "3:25", "4:10"], "{found:?}");
}

#[test]
fn a_statement_that_is_not_planned_here_is_read_by_its_words() {
    let sql = "select date_diff('day', first_day, last_day) as d from raw.elsewhere order by d desc";
    let models = Models::default();
    let analyses = [ModelFile { path: "q".to_owned(), text: sql.to_owned() }];
    let found = models.check_portable(&analyses, &|_| None);
    assert_eq!(found.len(), 1);
    assert!(found[0].message.contains("`order by d desc`"));
}
