//! A serving table inside the file: its columns, how it follows the mart's schema, how a value becomes a cell and comes back.

use arrow::datatypes::SchemaRef;
use catalog::TableName;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::Sqlite;
use crate::error::Cause;
use crate::sink::Rows;
use crate::target::SyncTarget;
use crate::value::{Kind, Value};

/// The column that says what a row was made from.
pub(super) const HASH: &str = "_row_hash";

pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .query_row("select 1 from sqlite_master where type = 'table' and name = ?1", [table], |_| Ok(()))
        .optional()
        .map(|row| row.is_some())
}

/// What must happen to the table before rows can be written.
#[derive(Debug, PartialEq)]
pub(super) enum Migration {
    None,
    Add(Vec<(String, &'static str)>),
    Create,
}

/// A serving table as it should be.
pub(super) struct Layout {
    pub(super) table: String,
    pub(super) key: String,
    key_is_number: bool,
    entity: Option<String>,
    columns: Vec<(String, &'static str)>,
}

impl Layout {
    pub(super) fn new(target: &SyncTarget, schema: &SchemaRef) -> Self {
        let columns: Vec<(String, &'static str)> = schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), declared(&Kind::of(field.data_type()))))
            .collect();
        Self {
            table: Sqlite::table_name(&target.table),
            key: target.key.clone(),
            key_is_number: columns.iter().any(|(name, declared)| *name == target.key && *declared == "INTEGER"),
            entity: target.entity.as_ref().map(|e| e.column.clone()),
            columns,
        }
    }

    /// New columns are added; any other difference means a new table, in the same transaction as its rows.
    pub(super) fn migration(&self, connection: &Connection) -> rusqlite::Result<Migration> {
        let mut statement =
            connection.prepare("select name, type from pragma_table_info(?1) where name <> '_row_hash'")?;
        let held: Vec<(String, String)> =
            statement.query_map([&self.table], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
        if held.is_empty()
            || held.iter().any(|(name, declared)| !self.columns.iter().any(|(n, d)| n == name && d == declared))
        {
            return Ok(Migration::Create);
        }
        let new: Vec<_> =
            self.columns.iter().filter(|(name, _)| !held.iter().any(|(n, _)| n == name)).cloned().collect();
        Ok(if new.is_empty() { Migration::None } else { Migration::Add(new) })
    }

    pub(super) fn migrate(&self, connection: &Connection) -> rusqlite::Result<()> {
        let table = quote(&self.table);
        match self.migration(connection)? {
            Migration::None => {}
            Migration::Add(columns) => {
                for (name, declared) in columns {
                    connection.execute_batch(&format!("alter table {table} add column {} {declared}", quote(&name)))?;
                }
            }
            Migration::Create => {
                let columns: Vec<String> = self
                    .columns
                    .iter()
                    .map(|(name, declared)| {
                        format!(
                            "{} {declared}{}",
                            quote(name),
                            if *name == self.key { " primary key not null" } else { "" }
                        )
                    })
                    .collect();
                connection.execute_batch(&format!(
                    "drop table if exists {table}; create table {table} ({}, {HASH} text not null)",
                    columns.join(", ")
                ))?;
                if let Some(entity) = &self.entity {
                    let index = quote(&format!("{}_by_{entity}", self.table));
                    connection.execute_batch(&format!("create index {index} on {table} ({})", quote(entity)))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn upsert(&self, connection: &Connection, rows: &Rows) -> Result<(), Cause> {
        let schema = rows.batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| quote(f.name())).collect();
        let marks = vec!["?"; names.len() + 1].join(", ");
        let sql =
            format!("insert or replace into {} ({}, {HASH}) values ({marks})", quote(&self.table), names.join(", "));
        let mut statement = connection.prepare_cached(&sql)?;
        for (row, hash) in rows.hashes.iter().enumerate() {
            let mut cells = Vec::with_capacity(names.len() + 1);
            for column in rows.batch.columns() {
                cells.push(cell(&Value::of(column, row)?));
            }
            cells.push(Cell::Text(hash.to_hex()));
            statement.execute(params_from_iter(cells))?;
        }
        Ok(())
    }

    pub(super) fn delete(&self, connection: &Connection, keys: &[String]) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&format!(
            "delete from {} where {} = ?1",
            quote(&self.table),
            quote(&self.key)
        ))?;
        for key in keys {
            statement.execute([self.key_cell(key)])?;
        }
        Ok(())
    }

    fn key_cell(&self, key: &str) -> Cell {
        match key.parse::<i64>() {
            Ok(number) if self.key_is_number => Cell::Integer(number),
            _ => Cell::Text(key.to_owned()),
        }
    }
}

fn declared(kind: &Kind) -> &'static str {
    match kind {
        Kind::Bool | Kind::Int => "INTEGER",
        Kind::Float => "REAL",
        Kind::Bytes => "BLOB",
        Kind::List(_) => "JSON_TEXT",
        Kind::Text | Kind::Date | Kind::Time | Kind::Other(_) => "TEXT",
    }
}

/// A value as a cell; nothing is rounded: what an `INTEGER` cannot hold goes in as text.
fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(b) => Cell::Integer(i64::from(*b)),
        Value::Int(n) => i64::try_from(*n).map_or_else(|_| Cell::Text(n.to_string()), Cell::Integer),
        Value::Float(f) => Cell::Real(*f),
        Value::Text(t) | Value::Other(t) => Cell::Text(t.clone()),
        Value::Bytes(b) => Cell::Blob(b.clone()),
        Value::Date(_) | Value::Time(_) => value.moment().map_or(Cell::Null, Cell::Text),
        Value::Vector(_) | Value::List(_) => Cell::Text(value.to_json().to_string()),
    }
}

/// A cell as JSON; the text of a list becomes a list again.
fn cell_json(cell: Cell, declared: &str) -> serde_json::Value {
    match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Integer(n) => n.into(),
        Cell::Real(f) => f.into(),
        Cell::Text(t) if declared == "JSON_TEXT" => serde_json::from_str(&t).unwrap_or(serde_json::Value::String(t)),
        Cell::Text(t) => t.into(),
        Cell::Blob(b) => crate::value::hex(&b).into(),
    }
}

/// The row with this key, as column → value, in the order of the table.
pub(crate) fn row(
    connection: &Connection,
    table: &TableName,
    key_column: &str,
    key: &str,
) -> rusqlite::Result<Option<serde_json::Map<String, serde_json::Value>>> {
    let name = Sqlite::table_name(table);
    if !exists(connection, &name)? {
        return Ok(None);
    }
    let mut types = connection.prepare_cached("select name, type from pragma_table_info(?1)")?;
    let types: Vec<(String, String)> =
        types.query_map([&name], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    let columns: Vec<&(String, String)> = types.iter().filter(|(name, _)| name != HASH).collect();
    let Some((_, key_type)) = columns.iter().find(|(name, _)| name == key_column) else { return Ok(None) };
    let key = match key.parse::<i64>() {
        Ok(number) if key_type == "INTEGER" => Cell::Integer(number),
        _ => Cell::Text(key.to_owned()),
    };
    let list: Vec<String> = columns.iter().map(|(name, _)| quote(name)).collect();
    let mut statement = connection.prepare_cached(&format!(
        "select {} from {} where {} = ?1",
        list.join(", "),
        quote(&name),
        quote(key_column)
    ))?;
    statement
        .query_row([key], |r| {
            columns
                .iter()
                .enumerate()
                .map(|(i, (name, declared))| Ok((name.clone(), cell_json(r.get(i)?, declared))))
                .collect()
        })
        .optional()
}
