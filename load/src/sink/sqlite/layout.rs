//! A serving table inside the file: its columns, key and index, and how it follows the mart's schema.

use arrow::datatypes::SchemaRef;
use catalog::TableName;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension as _, params_from_iter};

use super::Sqlite;
use super::cell::{HASH, cell_json, cells, declared, quote};
use crate::fault::Cause;
use crate::sink::{Rows, Start};
use crate::target::SyncTarget;
use rows::Kind;

pub(super) fn exists(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    connection
        .query_row("select 1 from sqlite_master where type = 'table' and name = ?1", [table], |_| Ok(()))
        .optional()
        .map(|row| row.is_some())
}

/// A serving table as it should be.
pub(super) struct SqliteLayout {
    pub(super) table: String,
    pub(super) key: String,
    key_is_number: bool,
    entity: Option<String>,
    columns: Vec<(String, &'static str)>,
}

/// A column as it is there.
struct SqliteTable {
    name: String,
    declared: String,
    is_key: bool,
}

impl SqliteLayout {
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

    /// Whether the table can go on with its rows: new columns are added to it and its index is made; any other difference, of a
    /// column, a type or the key, means a new table.
    pub(super) fn fits(&self, connection: &Connection) -> rusqlite::Result<bool> {
        Ok(self.fits_columns(&self.standing(connection)?))
    }

    fn fits_columns(&self, standing: &[SqliteTable]) -> bool {
        let fits = |it: &SqliteTable| {
            let declared = self.columns.iter().any(|(name, declared)| *name == it.name && *declared == it.declared);
            declared && it.is_key == (it.name == self.key)
        };
        !standing.is_empty() && standing.iter().all(fits)
    }

    fn standing(&self, connection: &Connection) -> rusqlite::Result<Vec<SqliteTable>> {
        let sql = "select name, type, pk from pragma_table_info(?1) where name <> '_row_hash'";
        let mut statement = connection.prepare(sql)?;
        let column = |r: &rusqlite::Row<'_>| {
            Ok(SqliteTable { name: r.get(0)?, declared: r.get(1)?, is_key: r.get::<_, i64>(2)? > 0 })
        };
        statement.query_map([&self.table], column)?.collect()
    }

    /// Makes the table as it should be, with the rows that it has where it [fits](Self::fits).
    pub(super) fn migrate(&self, connection: &Connection, start: Start) -> rusqlite::Result<()> {
        let (table, standing) = (quote(&self.table), self.standing(connection)?);
        if start == Start::Existing && self.fits_columns(&standing) {
            for (name, declared) in self.columns.iter().filter(|(name, _)| !standing.iter().any(|it| it.name == *name))
            {
                connection.execute_batch(&format!("alter table {table} add column {} {declared}", quote(name)))?;
            }
        } else {
            let column = |(name, declared): &(String, &str)| {
                let key = if *name == self.key { " primary key not null" } else { "" };
                format!("{} {declared}{key}", quote(name))
            };
            let columns: Vec<String> = self.columns.iter().map(column).collect();
            connection.execute_batch(&format!(
                "drop table if exists {table}; create table {table} ({}, {HASH} text not null)",
                columns.join(", ")
            ))?;
        }
        self.index(connection)
    }

    /// The index over the column that names the entity, and none over one that did.
    fn index(&self, connection: &Connection) -> rusqlite::Result<()> {
        let of = |column: &str| format!("{}_by_{column}", self.table);
        let wanted = self.entity.as_deref().map(of);
        let mut statement = connection
            .prepare("select name from sqlite_master where type = 'index' and tbl_name = ?1 and sql is not null")?;
        let there: Vec<String> = statement.query_map([&self.table], |r| r.get(0))?.collect::<Result<_, _>>()?;
        let ours = of("");
        for name in there.iter().filter(|name| name.starts_with(&ours) && Some(*name) != wanted.as_ref()) {
            connection.execute_batch(&format!("drop index {}", quote(name)))?;
        }
        if let (Some(name), Some(entity)) = (wanted, &self.entity) {
            let (name, table, entity) = (quote(&name), quote(&self.table), quote(entity));
            connection.execute_batch(&format!("create index if not exists {name} on {table} ({entity})"))?;
        }
        Ok(())
    }

    /// How many rows it has.
    pub(super) fn count(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let sql = format!("select count(*) from {}", quote(&self.table));
        connection.query_row(&sql, [], |r| r.get::<_, i64>(0)).map(i64::cast_unsigned)
    }

    pub(super) fn upsert(&self, connection: &Connection, rows: &Rows) -> Result<(), Cause> {
        let schema = rows.batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|f| quote(f.name())).chain([HASH.to_owned()]).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let key = quote(&self.key);
        let set: Vec<String> =
            names.iter().filter(|name| **name != key).map(|name| format!("{name} = excluded.{name}")).collect();
        let sql = format!(
            "insert into {} ({}) values ({marks}) on conflict ({key}) do update set {}",
            quote(&self.table),
            names.join(", "),
            set.join(", ")
        );
        let mut statement = connection.prepare_cached(&sql)?;
        for (row, hash) in rows.hashes.iter().enumerate() {
            let cells = cells(rows, row)?.into_iter().map(|(_, cell)| cell);
            statement.execute(params_from_iter(cells.chain([Cell::Text(hash.to_hex())])))?;
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
