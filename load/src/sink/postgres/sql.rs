//! Every statement that this sink sends, and the one place where a name becomes SQL.
//!
//! A name of a schema, table, column or extension goes through [`quote`] and nowhere else; a value is always a parameter. So a column
//! called `"; drop table x; --` is a column with an odd name.

use std::fmt;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

mod ask;

pub(super) use ask::{
    Form, about, copy_contents, copy_hashes, count, entities, get, holds, mentions, most_mentioned, nearest, row,
    rows_about, touch_vectors,
};

/// Text of a statement, which only this module can make.
#[derive(Debug, Clone)]
pub(super) struct Sql(String);

impl SqlSafeStr for Sql {
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(self.0).into_sql_str()
    }
}

impl Sql {
    /// For `copy_in_raw`, which takes text.
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// An identifier as SQL has it.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text that finds `part` anywhere, for `LIKE`.
pub(super) fn like(part: &str) -> String {
    let mut pattern = String::with_capacity(part.len() + 2);
    pattern.push('%');
    for c in part.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A schema's table, index, type or operator class. `Display` is its SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Name {
    pub(super) fn new(schema: &str, name: impl Into<String>) -> Self {
        Self { schema: schema.to_owned(), name: name.into() }
    }

    /// Another one in the same schema.
    pub(super) fn beside(&self, name: impl Into<String>) -> Self {
        Self::new(&self.schema, name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quote(&self.schema), quote(&self.name))
    }
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Type {
    /// One of the server's own, as `format_type` spells it.
    Plain(String),
    /// pgvector's, in the schema of the extension; without a dimension until one is known.
    HalfVec { schema: String, dimension: Option<usize> },
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(name) => f.write_str(name),
            Self::HalfVec { schema, dimension: None } => write!(f, "{}", Name::new(schema, "halfvec")),
            Self::HalfVec { schema, dimension: Some(n) } => write!(f, "{}({n})", Name::new(schema, "halfvec")),
        }
    }
}

/// A column of a serving table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) is: Type,
}

/// The table of watermarks.
pub(super) const STATE: &str = "_onggi_sync";
/// The column that says what a row was made from.
pub(super) const HASH: &str = "_row_hash";
/// The column that a keyword search reads: every text of the row, folded.
pub(super) const TEXT: &str = "_row_text";
/// Where changed rows wait for their merge.
const STAGE: &str = "pg_temp._onggi_stage";

fn list(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

pub(super) fn create_schema(schema: &str) -> Sql {
    Sql(format!("create schema {}", quote(schema)))
}

pub(super) fn create_extension(name: &str) -> Sql {
    Sql(format!("create extension if not exists {}", quote(name)))
}

pub(super) fn create_state(schema: &str) -> Sql {
    let state = Name::new(schema, STATE);
    Sql(format!(
        "create table if not exists {state} (
            table_name text primary key,
            relation text not null unique,
            project text not null,
            format integer not null,
            version bigint not null,
            shape text not null,
            target text not null,
            change text not null,
            rows bigint not null,
            keywords text not null,
            cursor text,
            synced_at timestamptz not null
        )"
    ))
}

/// The cursor of a watermark, also where an older program made the table and nobody has written it since.
const CURSOR: &str = "to_jsonb(state) ->> 'cursor'";

/// What a table of watermarks of an older program lacks.
pub(super) fn add_cursor(schema: &str) -> Sql {
    Sql(format!("alter table {} add column if not exists cursor text", Name::new(schema, STATE)))
}

pub(super) fn delete_state(schema: &str) -> Sql {
    Sql(format!("delete from {} where table_name = $1", Name::new(schema, STATE)))
}

pub(super) fn read_state(schema: &str) -> Sql {
    let state = Name::new(schema, STATE);
    Sql(format!(
        "select table_name, relation, project, format, version, shape, target, change, rows, keywords, {CURSOR}
         from {state} as state where table_name = $1 or relation = $2"
    ))
}

pub(super) fn all_states(schema: &str) -> Sql {
    let state = Name::new(schema, STATE);
    Sql(format!(
        "select table_name, relation, project, format, version, shape, target, change, rows, keywords, {CURSOR}
         from {state} as state order by table_name"
    ))
}

/// A watermark that was not there.
pub(super) fn insert_state(schema: &str) -> Sql {
    let state = Name::new(schema, STATE);
    Sql(format!(
        "insert into {state}
            (table_name, relation, project, format, version, shape, target, change, rows, keywords, cursor, synced_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, now()) on conflict do nothing"
    ))
}

/// A watermark that must still be the one that was read.
pub(super) fn update_state(schema: &str) -> Sql {
    let state = Name::new(schema, STATE);
    Sql(format!(
        "update {state} set relation = $2, project = $3, format = $4, version = $5, shape = $6, target = $7,
            change = $8, rows = $9, keywords = $10, cursor = $11, synced_at = now()
         where table_name = $1 and change = $12"
    ))
}

pub(super) fn create_table(table: &Name, columns: &[Column], key: &str, texts: bool) -> Sql {
    Sql(format!("create table {table} ({})", definition(columns, key, texts)))
}

/// The columns of a table as `create table` has them.
fn definition(columns: &[Column], key: &str, texts: bool) -> String {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|column| {
            let collation =
                if column.name == key && column.is == Type::Plain("text".into()) { " collate \"C\"" } else { "" };
            let null = if column.name == key { " not null" } else { "" };
            format!("{} {}{collation}{null}", quote(&column.name), column.is)
        })
        .collect();
    parts.push(format!("{HASH} bytea not null"));
    if texts {
        parts.push(format!("{TEXT} text"));
    }
    parts.join(", ")
}

pub(super) fn add_column(table: &Name, column: &Column) -> Sql {
    Sql(format!("alter table {table} add column {} {}", quote(&column.name), column.is))
}

pub(super) fn alter_type(table: &Name, column: &Column) -> Sql {
    Sql(format!("alter table {table} alter column {} type {}", quote(&column.name), column.is))
}

/// Takes a column away that is made again with its length.
pub(super) fn drop_column(table: &Name, column: &str) -> Sql {
    Sql(format!("alter table {table} drop column {}", quote(column)))
}

/// Rows into a table that this transaction made: nobody else sees it, so its rows can be frozen as they are written.
pub(super) fn copy_new(table: &Name, columns: &[String]) -> Sql {
    Sql(format!("copy {table} ({}) from stdin with (format binary, freeze)", list(columns)))
}

/// Not `like` the table: who makes one like another holds a lock on that one until the transaction ends.
pub(super) fn create_stage(columns: &[Column], key: &str, texts: bool) -> Sql {
    Sql(format!("create temporary table _onggi_stage ({}) on commit drop", definition(columns, key, texts)))
}

pub(super) fn copy_stage(columns: &[String]) -> Sql {
    Sql(format!("copy {STAGE} ({}) from stdin with (format binary)", list(columns)))
}

/// Writes the staged rows over those with their keys, in the order of the keys.
pub(super) fn merge(table: &Name, columns: &[String], key: &str) -> Sql {
    let set: Vec<String> =
        columns.iter().filter(|c| *c != key).map(|c| format!("{0} = excluded.{0}", quote(c))).collect();
    let columns = list(columns);
    let key = quote(key);
    Sql(format!(
        "insert into {table} ({columns}) select {columns} from {STAGE} order by {key}
         on conflict ({key}) do update set {}",
        set.join(", ")
    ))
}

pub(super) fn clear_stage() -> Sql {
    Sql(format!("truncate {STAGE}"))
}

pub(super) fn delete(table: &Name, key: &str, key_type: &Type) -> Sql {
    Sql(format!("delete from {table} where {} = any ($1::text[]::{key_type}[])", quote(key)))
}

pub(super) fn add_key(table: &Name, constraint: &str, key: &str) -> Sql {
    Sql(format!("alter table {table} add constraint {} primary key ({})", quote(constraint), quote(key)))
}

pub(super) fn index(table: &Name, index: &str, column: &str) -> Sql {
    Sql(format!("create index {} on {table} ({})", quote(index), quote(column)))
}

/// `class` is `gin_bigm_ops` or `gin_trgm_ops`.
pub(super) fn text_index(table: &Name, index: &str, class: &Name) -> Sql {
    Sql(format!("create index {} on {table} using gin ({TEXT} {class})", quote(index)))
}

pub(super) fn vector_index(table: &Name, index: &str, column: &str, class: &Name, (m, ef): (u32, u32)) -> Sql {
    Sql(format!(
        "create index {} on {table} using hnsw ({} {class}) with (m = {m}, ef_construction = {ef})",
        quote(index),
        quote(column)
    ))
}

pub(super) fn drop_index(index: &Name) -> Sql {
    Sql(format!("drop index if exists {index}"))
}

pub(super) fn drop_table(table: &Name) -> Sql {
    Sql(format!("drop table if exists {table}"))
}

pub(super) fn rename_table(table: &Name, to: &str) -> Sql {
    Sql(format!("alter table {table} rename to {}", quote(to)))
}

pub(super) fn rename_index(index: &Name, to: &str) -> Sql {
    Sql(format!("alter index {index} rename to {}", quote(to)))
}

/// A statement that the server wrote itself, with its own quoting.
pub(super) fn by_server(statement: String) -> Sql {
    Sql(statement)
}

/// Nobody reads or writes the table until the transaction ends.
pub(super) fn lock_table(table: &Name) -> Sql {
    Sql(format!("lock table {table} in access exclusive mode"))
}

pub(super) fn analyze(table: &Name) -> Sql {
    Sql(format!("analyze {table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name() {
        let odd = "a\"; drop table x; --";
        assert_eq!(quote(odd), "\"a\"\"; drop table x; --\"");
        assert_eq!(Name::new("s\"", "t").to_string(), "\"s\"\"\".\"t\"");
        let column = Column { name: odd.into(), is: Type::Plain("text".into()) };
        assert_eq!(
            create_table(&Name::new("s", "t"), &[column], odd, false).text(),
            "create table \"s\".\"t\" (\"a\"\"; drop table x; --\" text collate \"C\" not null, _row_hash bytea not null)"
        );
    }

    #[test]
    fn a_pattern_has_no_wildcard_but_its_ends() {
        assert_eq!(like("100%_\\"), "%100\\%\\_\\\\%");
    }
}
