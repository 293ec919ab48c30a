//! The same statements here, in DuckDB and in PostgreSQL. Where they are known to differ, the tables say what each answers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use arrow::json::writer::{JsonArray, WriterBuilder};
use serde_json::Value;
use transform::Models;

use crate::house::House;

const SCRIPT: &str = r#"
import datetime, decimal, json, sys
import duckdb

def plain(value):
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value

answers = []
for sql in json.load(sys.stdin):
    try:
        answer = duckdb.sql(sql)
        answers.append([[plain(value) for value in row] for row in answer.fetchall()])
    except Exception as error:
        answers.append("error")
json.dump(answers, sys.stdout)
"#;

/// The tables that the statements speak of.
const TABLES: &str = "with
a(id, area, n, r, day) as (values
    (1, 'x', 10, 1.5, date '2026-10-01'),
    (2, 'x', 20, null, date '2026-10-02'),
    (3, 'y', null, 0.25, date '2026-10-31'),
    (4, null, 40, -2.0, null),
    (5, 'y', 20, 1.5, date '2027-01-01')),
b(id, area, m, t) as (values
    (1, 'x', 1, '국밥 한 그릇'),
    (2, 'y', null, ''),
    (6, 'x', 3, null),
    (7, null, 4, 'A_b%c')),
l(id, words) as (values (1, ['b', 'a', 'b']), (2, []), (3, null)) ";

/// Statements with one answer. What is sorted is sorted by both.
const ALIKE: &[&str] = &[
    "select count(*), count(n), count(distinct n), sum(n), min(n), max(n) from a",
    "select area, count(*), sum(n), avg(r) from a group by area",
    "select area, sum(n) from a group by area having sum(n) > 25",
    "select count(*) filter (where n > 15), sum(n) filter (where area = 'x') from a",
    "select a.id, b.m from a join b on a.id = b.id",
    "select a.id, b.m from a left join b on a.id = b.id and b.m is not null",
    "select coalesce(a.id, b.id), a.n, b.m from a full join b on a.id = b.id",
    "select a.id, b.id from a join b using (area) where b.m > 0",
    "select id from a where id in (select id from b)",
    "select id from a where id not in (select id from b)",
    "select id from a where n not in (select m from b)",
    "select id from a where area not in ('x')",
    "select id from a where not exists (select 1 from b where b.id = a.id)",
    "select id, (select max(m) from b where b.area = a.area) from a",
    "select id from a where n = (select max(n) from a)",
    "select id from a where n is distinct from 20",
    "select id, n between 10 and 20, n in (10, null), n = null from a",
    // What is not known of a row does not keep it.
    "select id from a where area not in ('y', null)",
    "select id from a where not (area in ('y', null))",
    "select id from a where area in ('y', null)",
    "select id from a where n between null and 30",
    "select id from a where n not between 15 and null",
    "select id from a where area = null and n = 10",
    "select id from a where area = null or n = 10",
    "select id from a where not (area = null or n = 10)",
    "select id from a where day not in (date '2026-10-01', null)",
    "select id from a where case when n = 10 then null else true end",
    "select id from a where nullif(n, 10) = 20",
    "select area, count(*) from a group by area having count(*) not in (1, null)",
    // Both sides of a join have columns of one name, and conditions of their own below it.
    "select a.id, b.id from (select * from a where n > 5) a right join (select * from b where m > 0) b on a.area = b.area where a.id is null or a.id < b.id",
    "select a.id, b.id from (select * from a where n > 5) a right join (select * from b where m > 0) b on a.area = b.area where b.id < a.id or b.id > 100",
    "select a.id, b.id from (select * from a where n > 5) a right join (select * from b where m > 0) b on a.area = b.area where coalesce(a.id, -1) < coalesce(b.id, -1)",
    "select a.id, b.id from (select * from a where n > 5) a left join (select * from b where m > 0) b on a.area = b.area where b.id is null or b.id < a.id",
    "select a.id, b.id from (select * from a where n > 5) a full join (select * from b where m > 0) b on a.area = b.area where a.id is null or b.id is null or b.id < a.id",
    "select a.id, b.id from a join b on a.area = b.area order by b.id, a.id limit 2",
    // NULL is equal to NULL where that is said, and nowhere else.
    "select a.id, b.id from a join b on a.area is not distinct from b.area",
    "select a.id, b.id from a join b on a.area is not distinct from b.area where a.n = b.m",
    "select a.id, b.id from a left join b on (a.area is not distinct from b.area) and a.n = b.m",
    "select a.id, b.id, l.id from a join b on (a.area is not distinct from b.area) join l on l.id = a.id where b.m = a.id",
    "select a.id, b.id from a join b on a.area is not distinct from b.area where a.n = b.m or a.id = b.id",
    "select id from a where (n is not distinct from 20) and r > 1",
    "select id from (values (1, 0), (2, 5), (3, null)) t(id, n) where case when n <> 0 then 10 / n > 1 else false end",
    "select id, case when n <> 0 then 10 / n > 1 when n = 0 then null else true end from (values (1, 0), (2, 5), (3, null)) t(id, n)",
    // Rows are compared value by value.
    "select id from a where (id, n) = (2, 20) or (n, id) <> (20, 5)",
    "select id from a where (area, n) in (('x', 10), ('y', 20))",
    "select id from a where (id, n) < (3, 30) and n is not null",
    "select id from a where (area, n) >= ('x', 20) and area is not null and n is not null",
    // What is left out goes by the order that was said, whatever is done with the rest.
    "select id from (select id from a order by id desc limit 99 offset 2) v order by id",
    "select sum(id) from (select id from a order by n desc nulls last, id limit 99 offset 2) v",
    "select string_agg(area, ',' order by id) from (select id, area from a order by id desc limit 99 offset 1) v",
    "select v.id, b.m from (select id from a order by id desc limit 99 offset 3) v join b on v.id = b.id",
    "select area, count(*) from (select area from a order by id desc limit 99 offset 2) v group by area",
    // Members of what may hold NULL.
    "select id from a where n in (select m from b) or area = 'x'",
    "select id from a where id not in (select m from b where m is not null) and n > 5",
    "select a.id, b.id from a left join b on a.id = b.id and b.m not in (2, null)",
    "select a.id, b.id from a join b on a.id = b.id and (b.m = null or b.m = 1)",
    "select id from a where exists (select 1 from b where b.id = a.id and b.m not in (2, null))",
    "select id from a where id in (select id from b where m between null and 3)",
    "select count(*) filter (where n not in (10, null)) from a",
    "select id, case when n > 15 then 'big' when n is null then 'none' else 'small' end from a",
    "select id, coalesce(n, -1), nullif(n, 20) from a",
    "select id, n % 3, -n % 7, n * r, n - r from a",
    "select round(2.5), round(-2.5), round(1.2345, 2), floor(-1.5), ceil(-1.5), abs(-3)",
    "select id, row_number() over (partition by area order by id), rank() over (order by n nulls last) from a",
    "select id, sum(n) over (order by id rows between 1 preceding and current row) from a",
    "select id, lag(n) over (order by id), lead(n, 2, 0) over (order by id), first_value(n) over (order by id) from a",
    "select id, sum(n) over (partition by area order by id), count(*) over () from a",
    "select id from a order by n desc nulls last, id limit 3",
    "select id from a order by n nulls first, id limit 2 offset 1",
    "select id, n from a union select id, m from b",
    "select id from a union all select id from b",
    "select id from a intersect select id from b",
    "select id from a except select id from b",
    "select distinct area from a",
    "select area, day, sum(n) from a group by grouping sets ((area), (day), ())",
    "select lower('ABC'), upper('abc'), length('국밥'), substr('국밥집', 2, 1), trim('  x '), replace('aXbX', 'X', 'y')",
    "select id, t like '%밥%', t like 'A\\_b%' escape '\\', t is null, length(t) from b",
    "select strpos('abc', 'c'), left('abc', 2), right('abc', 2), reverse('abc'), lpad('7', 3, '0'), starts_with('abc', 'ab')",
    "select 'a' || 'b', 'a' || null, concat('a', null, 'b'), concat_ws('-', 'a', null, 'b')",
    "select extract(year from day), extract(month from day), extract(dow from day), extract(doy from day) from a",
    "select cast(date_trunc('month', day) as date), cast(date_trunc('week', day) as date) from a",
    "select cast(day + interval '1 month' as date), cast(day - interval '10 days' as date) from a",
    "select cast('12' as int), cast('2026-10-01' as date), cast(true as int), try_cast('x' as int)",
    "select array_agg(n order by id) from a where n is not null",
    "select string_agg(area, ',' order by id) from a",
    "select id, words[1], words[9] from l where id = 1",
    "select unnest(words) from l",
    "select median(n), stddev(n), var_pop(n) from a",
    "select bool_and(n > 5), bool_or(n > 30) from a",
    "select greatest(1, null, 3), least(2, null)",
    "select 7 / 2.0, 7.0 / 2",
    "select id from a where r > 1 or n > 30",
    "select not (null and false), null or true, null and true is null",
    "select max(n) from a where id > 99",
    "select sum(n), count(*) from a where id > 99",
    "select area, count(*) from a where id > 99 group by area",
    "select x.id, y.id from a as x, a as y where x.n = y.n and x.id < y.id",
    "select area, sum(distinct n), count(distinct r) from a group by area",
    "select sum(cast(r as decimal(10, 2))), sum(distinct cast(r as decimal(10, 2))), avg(cast(r as decimal(10, 2))) from a",
    "select id, -n, -(-n), abs(-n) from a",
    // What is written out keeps its digits.
    "select cast(cast(12345678901234567890.12 as decimal(30, 2)) as varchar)",
    "select cast(cast(-0.7 as decimal(38, 20)) as varchar), cast(cast((0.07) as decimal(38, 20)) as varchar)",
    "select cast(12345678901234567890.12 as decimal(30, 2)) - 12345678901234567890 = cast('0.12' as decimal(30, 2))",
    "select 1 << 3, 256 >> 4, cast(1 as bigint) << 40",
    "select id, sum(n) over (order by id rows between 1 preceding and 1 following), min(r) over (order by id) from a",
    // NaN stands behind all numbers, and one is like the other.
    "select g, min(x) = 0.5, max(x) > 5 from (values (1, 0.5), (1, cast('NaN' as double precision)), (1, 2.5), (1, 1.0)) \
     as t(g, x) group by g",
    "select min(x) = 0.5, max(x) > 5 from (values (0.5), (cast('NaN' as double precision)), (1.0)) as t(x)",
    "select id, x > 5, x = x from (values (1, cast('NaN' as double precision)), (2, 1.0), (3, null)) as t(id, x)",
    "select id from (values (1, cast('NaN' as double precision)), (2, 1.0), (3, -1.0)) as t(id, x) order by x desc limit 1",
];

/// Statements that have no answer: it would not fit.
const REFUSED: &[&str] = &[
    "select 9223372036854775807 + 1",
    "select x * 2 from (select 9223372036854775807 as x) as t",
    "select -x from (select cast(-9223372036854775807 - 1 as bigint) as x) as t",
    "select abs(x) from (select cast(-9223372036854775807 - 1 as bigint) as x) as t",
    "select cast(x as int) from (select 3000000000 as x) as t",
    "select cast(x as bigint) from (select cast(1e30 as double precision) as x) as t",
    "select cast(t as int) from b where id = 1",
    "select cast(99999.5 as decimal(5, 1))",
];

/// Statements whose answers are known to differ from DuckDB's: ours and theirs.
const UNLIKE_DUCKDB: &[(&str, &str, &str)] = &[
    // A NULL in a row is unknown here, as in PostgreSQL; in DuckDB it is the largest value.
    (
        "select id, (n, id) < (20, 4) from a",
        "[[1,true],[2,true],[3,null],[4,false],[5,false]]",
        "[[1,true],[2,true],[3,false],[4,false],[5,false]]",
    ),
    ("select id from a where (area, n) not in (('x', 10), ('y', null))", "[[2]]", "[[2],[4],[5]]"),
    // Two integers divide to an integer here, as in PostgreSQL and Trino.
    ("select 7 / 2", "[[3]]", "[[3.5]]"),
    // A cast to an integer cuts here; DuckDB, PostgreSQL and Trino round.
    ("select cast(1.6 as int)", "[[1]]", "[[2]]"),
    // Numbers with a point are doubles here; DuckDB takes them for decimals.
    ("select 0.1 + 0.2 = 0.3", "[[false]]", "[[true]]"),
    // A sum that is too large is an error here; DuckDB and PostgreSQL make a wider number of it.
    ("select sum(distinct x) from (values (9223372036854775807), (1)) as t(x)", "\"error\"", "[[9223372036854775808]]"),
];

/// The same of PostgreSQL's.
const UNLIKE_POSTGRES: &[(&str, &str, &str)] = &[
    ("select cast(1.6 as int)", "[[1]]", "[[2]]"),
    ("select 0.1 + 0.2 = 0.3", "[[false]]", "[[true]]"),
    // Nothing is left of a shift beyond the bits, or it begins again: here it is an error.
    ("select cast(1 as bigint) << 64", "\"error\"", "[[1]]"),
    ("select cast(1.5 as double precision) / 0", "[[null]]", "\"error\""),
];

/// What PostgreSQL has no word for.
const NOT_IN_POSTGRES: [&str; 2] = ["median(", "try_cast("];

fn python() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test looks where the peers were installed")]
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cache")).ok()?;
    let python = PathBuf::from(cache).join("onggi/peers/bin/python");
    let usable = Command::new(&python).args(["-c", "import duckdb"]).status().is_ok_and(|it| it.success());
    #[expect(clippy::print_stdout, reason = "a test says that it skips")]
    if !usable {
        println!("skipped: no `duckdb` for Python at {}; `.ci/peers` installs it", python.display());
    }
    usable.then_some(python)
}

/// What DuckDB answers, statement by statement.
fn theirs(python: &Path, statements: &[String]) -> Vec<Value> {
    let mut child =
        Command::new(python).args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = serde_json::to_vec(statements).unwrap();
    child.stdin.take().unwrap().write_all(&input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

async fn ours(house: &House, models: &Models, sql: &str) -> Value {
    let Ok(batches) = house.ask(models, sql).await else { return Value::from("error") };
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let mut columns = Vec::new();
    for batch in &batches {
        // Columns of one name would be one member of a JSON object.
        columns = (0..batch.num_columns()).map(|place| format!("c{place}")).collect();
        writer.write(&batch.renamed(&columns)).unwrap();
    }
    writer.finish().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&writer.into_inner()).unwrap_or_default();
    let row = |row: &Value| columns.iter().map(|column| row[column].clone()).collect::<Value>();
    rows.iter().map(row).collect()
}

trait Renamed {
    fn renamed(&self, names: &[String]) -> Self;
}

impl Renamed for arrow::array::RecordBatch {
    fn renamed(&self, names: &[String]) -> Self {
        let fields = self
            .schema()
            .fields()
            .iter()
            .zip(names)
            .map(|(field, name)| field.as_ref().clone().with_name(name))
            .collect::<Vec<_>>();
        Self::try_new(std::sync::Arc::new(arrow::datatypes::Schema::new(fields)), self.columns().to_vec()).unwrap()
    }
}

/// Rows without an order, numbers as far as they are the same in both.
fn comparable(answer: &Value) -> Vec<String> {
    fn plain(value: &Value) -> String {
        match value {
            Value::Number(number) => format!("{:.9e}", number.as_f64().unwrap_or(f64::NAN) + 0.0),
            Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
            other => other.to_string(),
        }
    }
    let mut rows: Vec<String> = match answer {
        Value::Array(rows) => rows.iter().map(plain).collect(),
        other => vec![other.to_string()],
    };
    rows.sort();
    rows
}

/// What PostgreSQL answers to a statement that has as many columns as ours; none asks whether there is a row.
fn of_postgres(server: &services::Postgres, url: &str, sql: &str, columns: usize) -> Value {
    let names = (0..columns).map(|place| format!("c{place}")).collect::<Vec<_>>().join(", ");
    let (tables, sql) = (TABLES.replace("[]", "cast(array[] as text[])").replace("['b'", "array['b'"), sql);
    let question = if columns == 0 {
        format!("select case when count(*) = 0 then '[]' else '[[]]' end from ({tables}{sql}) as q")
    } else {
        format!("select coalesce(json_agg(json_build_array({names})), '[]') from ({tables}{sql}) as q({names})")
    };
    let mut psql = Command::new(server.bin().join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", url, "-c", &question]);
    let output = psql.output().unwrap();
    if !output.status.success() {
        return Value::from("error");
    }
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is wrong with the answers to one statement, if anything.
fn differ(sql: &str, ours: &Value, theirs: &Value, expected: Expected) -> Option<String> {
    let is = |found: &Value, text: &str| *found == serde_json::from_str::<Value>(text).unwrap();
    let right = match expected {
        Expected::Alike => comparable(ours) == comparable(theirs) && ours != "error",
        Expected::Refused => ours == "error" && theirs == "error",
        Expected::Known(our, their) => is(ours, our) && is(theirs, their),
    };
    (!right).then(|| format!("{sql}\n  ours   {ours}\n  theirs {theirs}"))
}

#[derive(Clone, Copy)]
enum Expected {
    Alike,
    Refused,
    Known(&'static str, &'static str),
}

fn cases(unlike: &'static [(&'static str, &'static str, &'static str)]) -> Vec<(&'static str, Expected)> {
    let alike = ALIKE.iter().map(|sql| (*sql, Expected::Alike));
    let refused = REFUSED.iter().map(|sql| (*sql, Expected::Refused));
    let known = unlike.iter().map(|(sql, ours, theirs)| (*sql, Expected::Known(ours, theirs)));
    alike.chain(refused).chain(known).collect()
}

#[tokio::test]
async fn duckdb_gives_the_same_answers() {
    let Some(python) = python() else { return };
    let house = House::new("peers").await;
    let models = Models::default();
    let cases = cases(UNLIKE_DUCKDB);
    let statements: Vec<String> = cases.iter().map(|(sql, _)| format!("{TABLES}{sql}")).collect();
    let answers = theirs(&python, &statements);
    let mut wrong = Vec::new();
    for ((statement, (sql, expected)), theirs) in statements.iter().zip(&cases).zip(&answers) {
        let ours = ours(&house, &models, statement).await;
        wrong.extend(differ(sql, &ours, theirs, *expected));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[tokio::test]
async fn postgres_gives_the_same_answers() {
    let Some(server) = services::postgres() else { return };
    let url = server.database();
    let house = House::new("peers-postgres").await;
    let models = Models::default();
    let mut cases = cases(UNLIKE_POSTGRES);
    cases.retain(|(sql, _)| !NOT_IN_POSTGRES.iter().any(|word| sql.contains(word)));
    let mut wrong = Vec::new();
    for (sql, expected) in &cases {
        let ours = ours(&house, &models, &format!("{TABLES}{sql}")).await;
        let columns = match &ours {
            Value::Array(rows) => rows.first().and_then(Value::as_array).map_or(0, Vec::len),
            _ => 1,
        };
        wrong.extend(differ(sql, &ours, &of_postgres(server, &url, sql, columns), *expected));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
