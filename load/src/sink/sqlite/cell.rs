//! How a value becomes a cell and comes back, and the hash of what lies in a row.
//!
//! What `SQLite` would change in silence is refused, with the row's key: NaN (it keeps NULL), an integer of more than 64 bits (it
//! rounds), a time that has no text. A decimal of up to 15 digits is a number, which sorts and adds up; a longer one is text, since no
//! number here holds it.

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use crate::fault::Cause;
use crate::sink::Rows;
use rows::{Kind, RowHash, Value};

/// The column that says what a row was made from.
pub(super) const HASH: &str = "_row_hash";

/// A name as SQL takes it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Digits that a double holds whatever they are (IEEE 754).
const MAX_DIGITS: u8 = 15;
/// Part of every hash of what lies in a row.
const SEED: &str = "sqlite";

/// The type that a column is declared with.
pub(super) fn declared(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool | Kind::Int => "INTEGER",
        Kind::Float => "REAL",
        Kind::Decimal(digits, _) if *digits <= MAX_DIGITS => "NUMERIC",
        Kind::Bytes => "BLOB",
        Kind::List(_) | Kind::Struct(_) | Kind::Map(..) => "JSON_TEXT",
        Kind::Text | Kind::Date | Kind::Time | Kind::Decimal(..) | Kind::Other(_) => "TEXT",
    }
}

/// A value as a cell of a column of its kind.
pub(super) fn cell(value: &Value, kind: &Kind) -> Result<Cell, Cause> {
    Ok(match value {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Integer(i64::from(*b)),
        Value::Int(n) => match i64::try_from(*n) {
            Ok(n) => Cell::Integer(n),
            Err(_) => return Err(format!("expected an integer of 64 bits with a sign, found {n}").into()),
        },
        Value::Float(f) if f.is_nan() => return Err("expected a number, found NaN, which SQLite keeps as null".into()),
        Value::Float(f) => Cell::Real(*f),
        Value::Decimal(digits) if declared(kind) == "NUMERIC" => number(digits.parse()?),
        Value::Text(t) | Value::Decimal(t) | Value::Other(t) => Cell::Text(t.clone()),
        Value::Bytes(b) => Cell::Blob(b.clone()),
        Value::Date(_) | Value::Time(_) => match value.moment() {
            Some(text) => Cell::Text(text),
            None => return Err(format!("expected a time of the years -9999 to 9999, found {value:?}").into()),
        },
        Value::Vector(_) | Value::List(_) | Value::Struct(_) | Value::Map(_) => {
            Cell::Text(value.to_stored_json()?.to_string())
        }
    })
}

/// A number as a column declared `NUMERIC` keeps it: whole ones as integers.
#[expect(clippy::cast_possible_truncation, reason = "a decimal of 15 digits fits")]
fn number(number: f64) -> Cell {
    if number.fract() == 0.0 && number.abs() < 1e15 { Cell::Integer(number as i64) } else { Cell::Real(number) }
}

/// The cells of a row with the names of their columns; an error names the row and the column.
pub(super) fn cells(rows: &Rows, row: usize) -> Result<Vec<(String, Cell)>, Cause> {
    let schema = rows.batch.schema();
    let of = |(field, column): (&arrow::datatypes::FieldRef, &arrow::array::ArrayRef)| {
        let found = cell(&Value::of(column, row)?, &Kind::of(field.data_type()));
        let found = found.map_err(|e| format!("`{}` of `{}`: {e}", field.name(), &rows.keys[row]))?;
        Ok((field.name().clone(), found))
    };
    schema.fields().iter().zip(rows.batch.columns()).map(of).collect()
}

/// What [`contents`] says of this row where it lies as it should.
pub(super) fn stored(rows: &Rows, row: usize) -> Result<RowHash, Cause> {
    let mut cells = cells(rows, row)?;
    cells.push((HASH.to_owned(), Cell::Text(rows.hashes[row].to_hex())));
    Ok(hash(cells))
}

/// Calls `each` with the key of every row of a table and the hash of its cells, until it says `false`.
pub(super) fn contents(
    connection: &Connection,
    table: &str,
    mut each: impl FnMut(&str, RowHash) -> bool,
) -> rusqlite::Result<()> {
    let mut keys = connection.prepare("select name from pragma_table_info(?1) where pk = 1")?;
    let Some(key) = keys.query_map([table], |r| r.get::<_, String>(0))?.next().transpose()? else { return Ok(()) };
    let sql = format!("select cast({} as text), * from {}", quote(&key), quote(table));
    let mut statement = connection.prepare(&sql)?;
    let names: Vec<String> = statement.column_names().skip(1).map(str::to_owned).collect();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let cells = names.iter().enumerate().map(|(at, name)| Ok((name.clone(), row.get::<_, Cell>(at + 1)?)));
        let cells = cells.collect::<rusqlite::Result<Vec<_>>>()?;
        if !each(&row.get::<_, String>(0)?, hash(cells)) {
            break;
        }
    }
    Ok(())
}

fn hash(cells: Vec<(String, Cell)>) -> RowHash {
    let mut cells: Vec<(String, Value)> = cells.into_iter().map(|(name, cell)| (name, value(cell))).collect();
    cells.sort_by(|one, other| one.0.cmp(&other.0));
    RowHash::of(SEED, cells.iter().map(|(name, value)| (name.as_str(), value)))
}

fn value(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(n) => Value::Int(n.into()),
        Cell::Real(f) => Value::Float(f),
        Cell::Text(t) => Value::Text(t),
        Cell::Blob(b) => Value::Bytes(b),
    }
}

/// A cell as JSON; the text of a list becomes a list again.
pub(super) fn cell_json(cell: Cell, declared: &str) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Integer(n) => n.into(),
        Cell::Real(f) => f.into(),
        Cell::Text(t) if declared == "JSON_TEXT" => serde_json::from_str(&t).unwrap_or(serde_json::Value::String(t)),
        Cell::Text(t) => t.into(),
        Cell::Blob(b) => hex::encode(b).into(),
    }
}
