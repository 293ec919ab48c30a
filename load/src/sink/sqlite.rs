//! Serving tables in one `SQLite` file, for whatever reads SQL: `marts.places` is the table `marts_places`.
//!
//! Columns come from the mart's schema: integers, reals, text; dates and times as text; lists, structs and maps as JSON text (declared
//! `JSON_TEXT`). `_row_hash` says what each row was made from, `_onggi_sync` how far each table is. Rows, hashes, cursor and, where the schema
//! changed, the new table move in **one transaction**. The file is in WAL mode, so readers read on while a sync writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{TableName, failpoint};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::parts::parts;
use super::{Apply, Contents, Member, Roles, Rows, Sink, SinkKind, SinkPlace, Start, counted};
use crate::error::{Error, Result, blocking};
use crate::fault::SinkFault;
use crate::keys::Hashes;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

pub(crate) mod cell;
pub(crate) mod layout;

use cell::{HASH, quote};
use layout::{SqliteLayout, exists};

pub(super) const MEMBER: Member = Member {
    place: SinkPlace::Folder(|dir| Arc::new(Sqlite::new(path(dir)))),
    refused,
    roles: |target, schema| Ok(Roles::whole(schema, format!("key={}", target.key))),
};

/// Why a table of these columns can't be in a file, if it can't.
fn refused(_: &SyncTarget, fields: &SchemaRef) -> Option<SinkFault> {
    let names: Vec<String> = fields.fields().iter().map(|field| field.name().to_lowercase()).collect();
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
    if let Some((at, _)) = twice {
        let message = format!(
            "expected columns that differ in more than upper and lower case, found `{}` twice",
            fields.field(at).name()
        );
        return Some(SinkFault::new(message, "rename one of them in the model"));
    }
    let own = names.iter().find(|name| matches!(name.as_str(), "rowid" | "oid" | "_rowid_"))?;
    let message = format!("expected no column of SQLite's own, found `{own}`");
    Some(SinkFault::new(message, "every table of SQLite has one of that name: give it another in the model"))
}

/// How long a statement waits for another writer before it fails (milliseconds).
const BUSY_TIMEOUT_MS: u64 = 10_000;

/// Cursors of older programs: without a shape, so that each table is compared once more.
const OLD_CURSORS: &str = "begin immediate;
     insert or ignore into _onggi_sync select table_name, json_object('version', version, 'shape', '') from _onggi_cursor;
     drop table _onggi_cursor; commit";

/// The file with all serving tables.
#[derive(Debug, Clone)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// Nothing is touched before the first call.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The name of a table inside the file.
    pub fn table_name(table: &TableName) -> String {
        table.to_string().replace('.', "_")
    }

    fn error(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::sink(SinkKind::Sqlite, doing, path.clone(), source)
    }

    /// Read-only; `None` when there is no file yet, or none that can be read.
    pub(crate) fn read(&self) -> Result<Option<Connection>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(
                &self.path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
            connection.query_row("select count(*) from sqlite_master", [], |_| Ok(()))?;
            Ok(connection)
        };
        match open() {
            Ok(connection) => Ok(Some(connection)),
            Err(e) if is_damaged(&e) => Ok(None),
            Err(e) => Err(self.error("opening")(e)),
        }
    }

    /// Read-only, in one transaction for as long as the connection lives: what it reads is of one state, whatever a sync writes meanwhile.
    pub(crate) fn read_state(&self) -> Result<Option<Connection>> {
        let Some(connection) = self.read()? else { return Ok(None) };
        // A transaction has its state from its first read on.
        let begin = "begin; select count(*) from sqlite_master";
        connection.execute_batch(begin).map_err(self.error("opening"))?;
        Ok(Some(connection))
    }

    fn write(&self) -> Result<Connection> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| Error::io("creating", dir, e))?;
        }
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&self.path)?;
            connection.busy_timeout(std::time::Duration::from_millis(BUSY_TIMEOUT_MS))?;
            connection.query_row("pragma journal_mode = wal", [], |_| Ok(()))?;
            connection.execute_batch(
                "pragma synchronous = full;
                 create table if not exists _onggi_sync (table_name text primary key, cursor text not null)",
            )?;
            if exists(&connection, "_onggi_cursor")? {
                connection.execute_batch(OLD_CURSORS)?;
            }
            Ok(connection)
        };
        match open() {
            Err(e) if is_damaged(&e) => {
                self.remove()?;
                open()
            }
            opened => opened,
        }
        .map_err(self.error("opening"))
    }

    /// Removes a file that is damaged.
    fn remove(&self) -> Result<()> {
        tracing::warn!(path = %self.path.display(), "the serving database is damaged and is built again from the lake");
        for end in ["", "-wal", "-shm"] {
            let mut file = self.path.clone().into_os_string();
            file.push(end);
            match std::fs::remove_file(&file) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("removing", file, e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether its pages hang together. Reads all of them.
fn is_whole(connection: &Connection) -> rusqlite::Result<bool> {
    match connection.query_row("pragma quick_check(1)", [], |r| r.get::<_, String>(0)) {
        Ok(answer) => Ok(answer == "ok"),
        Err(e) if is_damaged(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

#[async_trait]
impl Sink for Sqlite {
    fn kind(&self) -> SinkKind {
        SinkKind::Sqlite
    }

    fn describe(&self) -> String {
        format!("serving tables in {}", self.path.display())
    }

    async fn targets(&self) -> Result<Vec<TableName>> {
        let this = self.clone();
        blocking(move || {
            let Some(connection) = this.read()? else { return Ok(Vec::new()) };
            let find = || -> rusqlite::Result<Vec<String>> {
                if !exists(&connection, "_onggi_sync")? {
                    return Ok(Vec::new());
                }
                let mut statement = connection.prepare("select table_name from _onggi_sync order by 1")?;
                statement.query_map([], |r| r.get(0))?.collect()
            };
            let names = find().map_err(this.error("reading"))?;
            Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }

    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>> {
        let (this, table) = (self.clone(), table.clone());
        blocking(move || {
            let Some(connection) = this.read()? else { return Ok(None) };
            cursor(&connection, &table).map_err(this.error("reading"))
        })
        .await
    }

    async fn fits(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<bool> {
        let (this, layout) = (self.clone(), SqliteLayout::new(target, schema));
        blocking(move || match this.read()? {
            Some(connection) => {
                let fits = || Ok(is_whole(&connection)? && layout.fits(&connection)?);
                fits().map_err(this.error("reading"))
            }
            None => Ok(false),
        })
        .await
    }

    async fn hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes> {
        let (this, layout) = (self.clone(), SqliteLayout::new(target, schema));
        blocking(move || {
            let Some(connection) = this.read()? else { return Ok(Hashes::default()) };
            let find = || -> rusqlite::Result<Hashes> {
                let mut held = Hashes::default();
                if !layout.fits(&connection)? {
                    return Ok(held);
                }
                let sql = format!("select cast({} as text), {HASH} from {}", quote(&layout.key), quote(&layout.table));
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let (key, hash): (String, String) = (row.get(0)?, row.get(1)?);
                    // A hash that can't be read belongs to a row that is written again.
                    held.push(&key, RowHash::from_hex(&hash).unwrap_or(RowHash([0; 16])));
                }
                Ok(held)
            };
            find().map_err(this.error("reading"))
        })
        .await
    }

    async fn contents(&self, table: &TableName) -> Result<Contents> {
        let (this, name) = (self.clone(), Self::table_name(table));
        Ok(parts(move |parts| match this.read()? {
            Some(connection) => {
                cell::contents(&connection, &name, |key, hash| parts.push(key, hash)).map_err(this.error("reading"))
            }
            None => Ok(()),
        }))
    }

    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>> {
        let refuse = |e: crate::fault::Cause| Error::row(&target.table, e);
        (0..rows.keys.len()).map(|row| cell::stored(rows, row).map_err(refuse)).collect()
    }

    async fn begin(&self, target: &SyncTarget, schema: &SchemaRef, start: Start) -> Result<Box<dyn Apply>> {
        let (this, layout, table) = (self.clone(), SqliteLayout::new(target, schema), target.table.clone());
        blocking(move || {
            let mut connection = this.write()?;
            if start == Start::Anew && !is_whole(&connection).map_err(this.error("checking"))? {
                // Its other tables are damaged with it, and come back at their next sync.
                drop(connection);
                this.remove()?;
                connection = this.write()?;
            }
            connection
                .execute_batch("begin immediate")
                .and_then(|()| layout.migrate(&connection, start))
                .map_err(this.error("preparing"))?;
            let open = Some((connection, layout));
            Ok(Box::new(SqliteChange { sink: this, table, open }) as Box<dyn Apply>)
        })
        .await
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        let (this, table) = (self.clone(), table.clone());
        blocking(move || {
            if this.read()?.is_none() {
                return Ok(());
            }
            let connection = this.write()?;
            let forget = || -> rusqlite::Result<()> {
                connection.execute_batch("begin immediate")?;
                connection.execute("delete from _onggi_sync where table_name = ?1", [table.to_string()])?;
                connection.execute_batch(&format!("drop table if exists {}; commit", quote(&Self::table_name(&table))))
            };
            forget().map_err(this.error("removing a table of"))
        })
        .await
    }

    async fn doctor(&self) -> Result<String> {
        let this = self.clone();
        blocking(move || {
            let connection = this.write()?;
            let answer: String =
                connection.query_row("pragma quick_check", [], |r| r.get(0)).map_err(this.error("checking"))?;
            Ok(format!("{}: {answer}", this.describe()))
        })
        .await
    }
}

/// An open transaction; it ends with its connection.
struct SqliteChange {
    sink: Sqlite,
    table: TableName,
    open: Option<(Connection, SqliteLayout)>,
}

impl SqliteChange {
    async fn work(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Connection, &SqliteLayout) -> Result<(), crate::fault::Cause> + Send + 'static,
    ) -> Result<()> {
        let path = self.sink.path.clone();
        let Some((connection, layout)) = self.open.take() else {
            return Err(Error::sink(SinkKind::Sqlite, doing, path, "an earlier step of this change failed"));
        };
        let open = blocking(move || match work(&connection, &layout) {
            Ok(()) => Ok((connection, layout)),
            Err(source) => Err(Error::sink(SinkKind::Sqlite, doing, path, source)),
        })
        .await?;
        self.open = Some(open);
        Ok(())
    }
}

#[async_trait]
impl Apply for SqliteChange {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        self.work("writing", move |connection, layout| layout.upsert(connection, &rows)).await
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        self.work("writing", move |connection, layout| Ok(layout.delete(connection, &keys)?)).await
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        let table = self.table.to_string();
        self.work("committing", move |connection, layout| {
            counted(layout.count(connection)?, &cursor)?;
            connection.execute(
                "insert or replace into _onggi_sync (table_name, cursor) values (?1, ?2)",
                (table, serde_json::to_string(&cursor)?),
            )?;
            failpoint!("load.sqlite.before");
            connection.execute_batch("commit")?;
            failpoint!("load.sqlite.after");
            Ok(())
        })
        .await
    }
}

/// How far a table has come, as this connection sees it.
pub(crate) fn cursor(connection: &Connection, table: &TableName) -> rusqlite::Result<Option<Cursor>> {
    if !exists(connection, "_onggi_sync")? || !exists(connection, &Sqlite::table_name(table))? {
        return Ok(None);
    }
    let sql = "select cursor from _onggi_sync where table_name = ?1";
    let found: Option<String> = connection.query_row(sql, [table.to_string()], |row| row.get(0)).optional()?;
    Ok(found.and_then(|cursor| serde_json::from_str(&cursor).ok()))
}

/// Where the file lies in a serving folder.
pub(crate) fn path(serving: &Path) -> PathBuf {
    serving.join("serving.sqlite")
}
