//! A place that people and programs read from, kept equal to a mart.
//!
//! The promise of every sink: rows, their hashes and the cursor move **together or not at all**, and a reader sees the state before or
//! the state after, never between. How it is kept differs: one transaction in `SQLite` and in `Postgres`, a transaction or a rename in
//! MySQL, the payload of a commit in tantivy, the rename of a manifest beside usearch files. `sink/contract.rs` holds all of them to it.
//!
//! [`SinkKind`] lists the kinds; the one file of each says in its `Member` what it takes of a target and how a folder of ours is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use catalog::TableName;
use futures::stream::BoxStream;

use crate::error::{Error, Result};
use crate::fault::SinkFault;
use crate::keys::{Hashes, Keys};
use crate::kind::SinkKind;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

#[cfg(test)]
mod contract;
pub(crate) mod document;
pub mod keywords;
pub mod mysql;
pub(crate) mod parts;
pub mod postgres;
pub(crate) mod projection;
pub mod sqlite;
pub mod vectors;

/// What the file of a kind says of it.
pub(crate) const fn member(kind: SinkKind) -> &'static Member {
    match kind {
        SinkKind::Sqlite => &sqlite::MEMBER,
        SinkKind::Keywords => &keywords::MEMBER,
        SinkKind::Vectors => &vectors::MEMBER,
        SinkKind::Postgres => &postgres::MEMBER,
        SinkKind::Mysql => &mysql::MEMBER,
    }
}

/// Whether the sinks of a target can have a table of these columns: known before any of them is asked.
///
/// # Errors
/// [`Error::Config`] with the first name that one of them refuses.
pub fn can_have(target: &SyncTarget, schema: &Schema) -> Result<()> {
    let schema = Arc::new(schema.clone());
    let refused = target.sinks.iter().find_map(|kind| (member(*kind).refused)(target, &schema));
    refused.map_or(Ok(()), |fault| Err(target.config(fault.to_string(), fault.hint().unwrap_or_default())))
}

/// One kind of sink, as the rest of this crate needs to know it.
pub(crate) struct Member {
    /// Where it is.
    pub(crate) place: SinkPlace,
    /// Why it can't have a table of these columns, if it can't: known before it is asked.
    pub(crate) refused: fn(&SyncTarget, &SchemaRef) -> Option<SinkFault>,
    /// What it takes of a target whose columns are there.
    pub(crate) roles: fn(&SyncTarget, &Schema) -> Result<Roles>,
}

/// Where a kind of sink is.
pub(crate) enum SinkPlace {
    /// In the serving folder, and how it is opened there. Nothing is touched before the first call.
    Folder(fn(&Path) -> Arc<dyn Sink>),
    /// On a server, and how the section of onggi.toml is called that says where.
    Server(&'static str),
}

/// What a sink takes of a target.
pub(crate) struct Roles {
    /// The columns beside the key.
    pub(crate) columns: Vec<String>,
    /// Rows where this column is null are not for this sink.
    pub(crate) required: Option<String>,
    /// What each column is to it: part of every row hash.
    pub(crate) text: String,
}

impl Roles {
    /// Of a sink that keeps whole rows.
    pub(crate) fn whole(schema: &Schema, text: String) -> Self {
        Self { columns: schema.fields().iter().map(|field| field.name().clone()).collect(), required: None, text }
    }
}

/// Rows to be written, with the key and the hash of each.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The columns that the sink wants, no others.
    pub batch: RecordBatch,
    /// As many as rows.
    pub keys: Keys,
    /// As many as rows.
    pub hashes: Vec<RowHash>,
    /// Whether the sink may hold a row of this key, which is then replaced; as many as rows.
    pub replaces: Vec<bool>,
}

impl Rows {
    /// Some of them, without a copy of the columns.
    pub(crate) fn slice(&self, from: usize, length: usize) -> Self {
        Self {
            batch: self.batch.slice(from, length),
            keys: self.keys.slice(from..from + length),
            hashes: self.hashes[from..from + length].to_vec(),
            replaces: self.replaces[from..from + length].to_vec(),
        }
    }
}

/// A table that one sync has to itself. Dropping it gives it back, at the latest when the connection is seen to be gone.
#[async_trait]
pub trait SinkLock: Send {
    /// Gives it back now.
    async fn release(self: Box<Self>);
}

/// What a change begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The rows that are there, where they are laid out for the target: those that [`Sink::hashes`] told of.
    Existing,
    /// Nothing: whatever is there is replaced.
    Anew,
}

/// What lies in a sink, in parts: the key of each row with a hash of all that a reader can see of it.
pub type Contents = BoxStream<'static, Result<Hashes>>;

/// A serving store.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Which one.
    fn kind(&self) -> SinkKind;

    /// Where it is, for people.
    fn describe(&self) -> String;

    /// The tables of this project that it holds.
    async fn targets(&self) -> Result<Vec<TableName>>;

    /// How far it has come with a table; `None` when it holds nothing of it (or nothing that can be read).
    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>>;

    /// Takes a table for one sync; waits while another has it, and says so once. `None` where a lock of the folder does this.
    async fn lock(&self, _table: &TableName, _waiting: &(dyn Fn() + Send + Sync)) -> Result<Option<Box<dyn SinkLock>>> {
        Ok(None)
    }

    /// Whether what it holds is whole, and laid out for this target and schema. It reads what it must to know: a sync does not ask.
    async fn fits(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<bool>;

    /// Key and hash of every row that it would keep for this target and schema. Empty when it must be built anew.
    async fn hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes>;

    /// What really lies there: all cells are read and hashed, together with the hash that stands beside them. An error where
    /// something lies there that can't be read.
    async fn contents(&self, table: &TableName) -> Result<Contents>;

    /// What [`Sink::contents`] says of each of these rows where they lie as they should. An error names a row that it can't keep.
    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>>;

    /// Starts a change. Nothing is visible before [`Apply::commit`]; dropping it leaves everything as it was, unless that was damaged.
    /// One change at a time.
    async fn begin(&self, target: &SyncTarget, schema: &SchemaRef, on: Start) -> Result<Box<dyn Apply>>;

    /// The database that questions can be put to, where it is one.
    fn database(&self) -> Option<Arc<postgres::Postgres>> {
        None
    }

    /// Removes a table and all that is kept about it. One that is not there is fine.
    async fn forget(&self, table: &TableName) -> Result<()>;

    /// Whether it works, in one line; an error says why not.
    async fn doctor(&self) -> Result<String>;
}

/// A change under way.
#[async_trait]
pub trait Apply: Send {
    /// Writes rows, in place of those with the same keys.
    async fn upsert(&mut self, rows: Rows) -> Result<()>;

    /// Removes rows. A key that is not there is fine.
    async fn delete(&mut self, keys: Vec<String>) -> Result<()>;

    /// Makes everything visible at once, together with the cursor, and durable. Refused where the rows are not as many as the
    /// cursor says.
    async fn commit(self: Box<Self>, cursor: Cursor) -> Result<()>;
}

/// The folder of the keyword indexes.
pub(crate) fn keywords_dir(serving: &Path) -> PathBuf {
    serving.join("keywords")
}

/// The folder of the vector indexes.
pub(crate) fn vectors_dir(serving: &Path) -> PathBuf {
    serving.join("vectors")
}

/// The folder of one table inside a sink that keeps one per table.
pub(crate) fn table_dir(root: &Path, table: &TableName) -> PathBuf {
    root.join(table.to_string())
}

/// The tables that have a folder under `root`.
pub(crate) fn table_dirs(root: &Path) -> Result<Vec<TableName>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("listing", root, e)),
    };
    let mut tables: Vec<TableName> = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
    tables.sort();
    Ok(tables)
}

/// Removes the folder of a table: out of its name first, so that what is left of an interrupted removal is no table.
pub(crate) fn forget_dir(root: &Path, table: &TableName) -> Result<()> {
    let (dir, aside) = (table_dir(root, table), root.join(format!("removed {table}")));
    let remove = |dir: &Path| match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", dir, e)),
        _ => Ok(()),
    };
    remove(&aside)?;
    match std::fs::rename(&dir, &aside) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("removing", dir, e)),
        Ok(()) => remove(&aside),
    }
}

/// Refuses a change whose rows are not as many as they should be: then the sink would not be as its mart, whatever the reason.
pub(crate) fn counted(found: u64, cursor: &Cursor) -> Result<(), String> {
    if found == cursor.rows {
        return Ok(());
    }
    Err(format!("expected {} rows at the end of the change, found {found}; nothing of it was published", cursor.rows))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};

    use super::*;

    #[test]
    fn names_that_a_sink_can_not_have_are_told_before_it_is_asked() {
        let long = "n".repeat(64);
        let of = |sink: SinkKind, names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
            let target = SyncTarget {
                table: "marts.rooms".parse().unwrap(),
                key: names[0].to_owned(),
                sinks: vec![sink],
                texts: vec![],
                title: None,
                entity: None,
                vector: None,
            };
            can_have(&target, &Schema::new(fields)).map_err(|error| error.to_string())
        };
        for sink in SinkKind::ALL {
            assert_eq!(of(sink, &["id", &long[..63]]), Ok(()));
        }
        for (sink, names, word) in [
            (SinkKind::Postgres, ["id", long.as_str()], "at most 63 bytes"),
            (SinkKind::Postgres, ["id", "ctid"], "the server's own"),
            (SinkKind::Sqlite, ["id", "rowid"], "SQLite's own"),
            (SinkKind::Sqlite, ["id", "ID"], "upper and lower case"),
            (SinkKind::Mysql, ["id", "Id"], "upper and lower case"),
            (SinkKind::Mysql, ["id", "price "], "no blank at the end"),
        ] {
            assert!(of(sink, &names).unwrap_err().contains(word), "{sink:?} {names:?}");
            assert_eq!(of(SinkKind::Keywords, &names), Ok(()), "{names:?}");
        }
    }
}
