//! Checks: queries that return the rows which should not be there.
//!
//! They run on rows that nobody sees yet, under the table's own name, so the query in a message is one that a person can put to
//! `onggi sql` as it stands. Everything that can be said of one row alone is counted in one pass over the table.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;

use catalog::TableName;

use crate::engine::rows;
use crate::error::{CheckFailure, Error, Result};
use crate::model::{Check, Model};
use crate::session::Session;

/// Most bad rows that a message shows.
const SHOWN_ROWS: usize = 5;

/// A name as SQL writes it, whatever it is.
pub(crate) fn quoted(name: &str) -> String {
    let plain = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !RESERVED.contains(&name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Words that SQL would not take for a name.
const RESERVED: [&str; 24] = [
    "all", "and", "as", "by", "case", "cast", "end", "from", "group", "having", "in", "is", "join", "limit", "not",
    "null", "offset", "on", "or", "order", "select", "table", "union", "where",
];

fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// What is true of a bad row, when that can be said of the row alone.
fn condition(check: &Check) -> Option<String> {
    match check {
        Check::NotNull(column) => Some(format!("{} is null", quoted(column))),
        Check::Between(column, low, high) => Some(format!("{} not between {low} and {high}", quoted(column))),
        Check::Length(column, low, high) => {
            Some(format!("character_length({}) not between {low} and {high}", quoted(column)))
        }
        Check::Accepted(column, values) => Some(format!("{} not in ({})", quoted(column), values.join(", "))),
        Check::Unique(_) | Check::References { .. } => None,
    }
}

/// What is true of a row that is set aside; None if none is.
pub(crate) fn set_aside(model: &Model) -> Option<String> {
    let conditions: Vec<String> = model.set_aside().iter().filter_map(condition).map(|it| format!("({it})")).collect();
    (!conditions.is_empty()).then(|| conditions.join(" or "))
}

/// The query that returns the bad rows of `table`: of each its key and what was checked.
pub(crate) fn bad_rows(check: &Check, table: &TableName, key: &[&str]) -> String {
    let mut shown: Vec<&str> = key.to_vec();
    shown.extend(check.columns().into_iter().filter(|column| !key.contains(column)));
    match check {
        Check::Unique(columns) => {
            let list = quoted_list(columns.iter().map(String::as_str));
            let present = columns
                .iter()
                .map(|column| format!("{} is not null", quoted(column)))
                .collect::<Vec<_>>()
                .join(" and ");
            format!(
                "select {list}, count(*) as copies from {table} where {present} group by {list} having count(*) > 1"
            )
        }
        Check::References { column, table: other_table, other } => {
            let list = shown.iter().map(|name| format!("_row.{}", quoted(name))).collect::<Vec<_>>().join(", ");
            let (column, other) = (quoted(column), quoted(other));
            format!(
                "select {list} from {table} as _row where _row.{column} is not null and not exists (select 1 from {other_table} as _other where _other.{other} = _row.{column})"
            )
        }
        _ => format!("select {} from {table} where {}", quoted_list(shown), condition(check).unwrap_or_default()),
    }
}

/// Runs a model's checks over the table of its name in the session, and gives those that found something.
pub(crate) async fn run(session: &Session, model: &Model) -> Result<Vec<CheckFailure>> {
    let (checks, key, table) = (model.checks(), model.key(), model.name());
    // Of a table that is split by day a build makes one of them, or all in another shape: each is looked at by itself.
    let by_day = model.materialization().is_by_day();
    let checks: Vec<(Check, Check)> = checks.into_iter().map(|check| (of_each_day(&check, by_day), check)).collect();
    let what = format!("the checks of `{table}`");
    let mut counts: Vec<u64> = vec![0; checks.len()];
    let alone: Vec<(usize, String)> =
        checks.iter().enumerate().filter_map(|(place, (check, _))| Some((place, condition(check)?))).collect();
    if !alone.is_empty() {
        let list = alone
            .iter()
            .map(|(place, condition)| format!("count(*) filter (where {condition}) as c{place}"))
            .collect::<Vec<_>>()
            .join(", ");
        let found = rows(session, &format!("select {list} from {table}"), &what).await?;
        for (column, (place, _)) in alone.iter().enumerate() {
            counts[*place] = first_number(&found, column)?;
        }
    }
    for (place, (check, _)) in checks.iter().enumerate().filter(|(_, (check, _))| condition(check).is_none()) {
        let found = rows(session, &format!("select count(*) from ({})", bad_rows(check, table, &key)), &what).await?;
        counts[place] = first_number(&found, 0)?;
    }
    let mut failures = Vec::new();
    for ((check, said), count) in checks.iter().zip(counts).filter(|(_, count)| *count > 0) {
        let sql = bad_rows(check, table, &key);
        let found = rows(session, &format!("{sql}{} limit {SHOWN_ROWS}", order(check, &key)), &what).await?;
        let table = pretty_format_batches(&found).map_or_else(|error| error.to_string(), |table| table.to_string());
        failures.push(CheckFailure { check: said.to_string(), sql, count, rows: table });
    }
    Ok(failures)
}

/// What no two rows of a day agree in, where a table is split by day.
fn of_each_day(check: &Check, by_day: bool) -> Check {
    match check {
        Check::Unique(columns) if by_day && !columns.iter().any(|column| column == "dt") => {
            Check::Unique(columns.iter().cloned().chain(["dt".to_owned()]).collect())
        }
        other => other.clone(),
    }
}

/// Bad rows are shown in order, so that the message is the same each time.
fn order(check: &Check, key: &[&str]) -> String {
    let shown = match check {
        Check::Unique(columns) => columns.len() + 1,
        _ => key.len() + check.columns().iter().filter(|column| !key.contains(column)).count(),
    };
    format!(" order by {}", (1..=shown).map(|place| place.to_string()).collect::<Vec<_>>().join(", "))
}

fn first_number(batches: &[RecordBatch], column: usize) -> Result<u64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let number =
        batch.and_then(|batch| batch.column(column).as_primitive_opt::<Int64Type>()).map(|numbers| numbers.value(0));
    number
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| Error::Sql { message: "expected a count, found something else".to_owned(), hint: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queries_are_ones_a_person_would_write() {
        let table: TableName = "staging.reviews".parse().unwrap();
        let cases = [
            (Check::NotNull("a".into()), "select id, a from staging.reviews where a is null"),
            (Check::NotNull("id".into()), "select id from staging.reviews where id is null"),
            (
                Check::Between("rating".into(), "0".into(), "5".into()),
                "select id, rating from staging.reviews where rating not between 0 and 5",
            ),
            (
                Check::Length("body".into(), "1".into(), "9".into()),
                "select id, body from staging.reviews where character_length(body) not between 1 and 9",
            ),
            (
                Check::Accepted("order".into(), vec!["'x'".into(), "'y'".into()]),
                "select id, \"order\" from staging.reviews where \"order\" not in ('x', 'y')",
            ),
            (
                Check::Unique(vec!["a".into(), "b".into()]),
                "select a, b, count(*) as copies from staging.reviews where a is not null and b is not null group by a, b having count(*) > 1",
            ),
            (
                Check::References { column: "p".into(), table: "staging.places".parse().unwrap(), other: "id".into() },
                "select _row.id, _row.p from staging.reviews as _row where _row.p is not null and not exists (select 1 from staging.places as _other where _other.id = _row.p)",
            ),
        ];
        for (check, expected) in cases {
            assert_eq!(bad_rows(&check, &table, &["id"]), expected);
        }
    }
}
