//! The same statements here and in DuckDB. Where the two are known to differ, the table says what each answers.

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
];

/// Statements whose answers are known to differ: ours and theirs.
const DIFFERENT: &[(&str, &str, &str)] = &[
    // Two integers divide to an integer here, as in PostgreSQL and Trino.
    ("select 7 / 2", "[[3]]", "[[3.5]]"),
    // A cast to an integer cuts here; DuckDB, PostgreSQL and Trino round.
    ("select cast(1.6 as int)", "[[1]]", "[[2]]"),
    // Numbers with a point are doubles here; DuckDB takes them for decimals.
    ("select 0.1 + 0.2 = 0.3", "[[false]]", "[[true]]"),
];

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

#[tokio::test]
async fn the_same_statements_have_the_same_answers() {
    let Some(python) = python() else { return };
    let house = House::new("peers").await;
    let models = Models::default();
    let all = ALIKE.iter().copied().chain(DIFFERENT.iter().map(|(sql, ..)| *sql));
    let statements: Vec<String> = all.map(|sql| format!("{TABLES}{sql}")).collect();
    let answers = theirs(&python, &statements);
    let mut wrong = Vec::new();
    for (place, (statement, theirs)) in statements.iter().zip(&answers).enumerate() {
        let ours = ours(&house, &models, statement).await;
        let (found, expected) = (comparable(&ours), comparable(theirs));
        let sql = &statement[TABLES.len()..];
        match place.checked_sub(ALIKE.len()).map(|place| DIFFERENT[place]) {
            None if found == expected && ours != "error" => {}
            None => wrong.push(format!("{sql}\n  ours   {ours}\n  theirs {theirs}")),
            Some((_, known, other)) if (ours.to_string().as_str(), theirs.to_string().as_str()) == (known, other) => {}
            Some(_) => wrong.push(format!("{sql} is known to differ otherwise\n  ours   {ours}\n  theirs {theirs}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), statements.len(), wrong.join("\n"));
}
