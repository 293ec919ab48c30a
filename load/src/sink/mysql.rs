//! Serving tables in one MySQL or MariaDB database.
//!
//! ```text
//! places         the mart's columns, typed · _row_hash · its comment names the build that filled it
//! _onggi_sync    one watermark a table and build: lake, version, content, shape, roles, the change that wrote it
//! ```
//!
//! `marts.places` is the table `places` of the database; a table of another layer has the layer before it (`staging_reviews`). Rows,
//! deletes and the watermark of a table that stands move in **one transaction**. A new table, where there was none or the schema changed,
//! comes into its place together with its watermark by **one rename**, which this kind of server has instead of a transaction for
//! such a thing: `state.rs` says how. Readers have one of the two, and wait no longer than they notice.
//!
//! Rows travel by `load data local infile`, from memory, where the server takes that, else as rows of bound cells. Two syncs of a table
//! take turns by a lock of the server; the session that writes holds one of its own, so that nothing is written after it is lost.
//!
//! No question is answered here: a table's texts and vectors are columns as all others, a vector as a JSON list.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::TableName;
use futures::TryStreamExt as _;
use mysql_async::Value;
use mysql_async::prelude::Queryable as _;

use super::{Apply, Contents, Member, Roles, Rows, Sink, SinkKind, SinkLock, SinkPlace, Start};
use crate::error::{Error, Result};
use crate::fault::SinkFault;
use crate::keys::Hashes;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

mod cell;
mod change;
mod column;
mod connect;
mod contents;
mod doctor;
mod fault;
mod layout;
mod lines;
mod patience;
mod rights;
mod sql;
mod state;
#[cfg(test)]
mod tests;
mod write;

use connect::{LONG, MysqlPool, MysqlSession, SHORT, within};
use layout::{MysqlLayout, MysqlPlan};

pub(super) const MEMBER: Member = Member {
    place: SinkPlace::Server("mysql"),
    refused: layout::refused,
    // What texts and vectors are to a search is nothing to this one.
    roles: |target, schema| Ok(Roles::whole(schema, format!("key={} entity={:?}", target.key, target.entity))),
};

/// How the sink is reached and how hard it may be pushed. It has no printable form: the URL holds a password.
#[derive(Clone)]
pub struct MysqlOptions {
    /// `mysql://user:password@host:port/database?ssl-mode=verify_identity&ssl-ca=FILE`
    pub url: String,
    /// Connections at the same time, at most; 3 or more.
    pub pool: u32,
    /// Rows written in a second, at most; none: as fast as the server takes them.
    pub rows_per_second: Option<u32>,
    /// The project's name: tables belong to one project.
    pub project: String,
}

/// A MySQL or MariaDB database that follows marts.
pub struct Mysql {
    door: MysqlPool,
    project: String,
    rows_per_second: Option<u32>,
}

impl fmt::Debug for Mysql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mysql").field(&self.door).finish()
    }
}

impl Mysql {
    /// Checks the settings. Nothing is connected before the first call.
    ///
    /// # Errors
    /// If the URL is none, or the pool too small. The URL is never part of the message.
    pub fn new(options: &MysqlOptions) -> Result<Self> {
        let door = MysqlPool::new(&options.url, options.pool).map_err(|source| {
            let at = "the database of `[mysql]`".to_owned();
            Error::Sink { sink: SinkKind::Mysql, doing: "setting up", at, source }
        })?;
        Ok(Self {
            door,
            project: options.project.clone(),
            rows_per_second: options.rows_per_second.filter(|rate| *rate > 0),
        })
    }

    /// The name that a table has in the database.
    pub fn table_name(table: &TableName) -> String {
        layout::relation(table)
    }

    fn error(&self, doing: &'static str) -> impl Fn(SinkFault) -> Error + use<> {
        let at = self.door.at().to_owned();
        move |source| Error::Sink { sink: SinkKind::Mysql, doing, at: at.clone(), source }
    }

    async fn state(&self, table: &TableName) -> Result<Option<state::MysqlState>, SinkFault> {
        let mut session = self.door.borrow().await?;
        let state = state::current(&mut session, table).await?;
        session.park();
        Ok(state.filter(|it| it.project == self.project))
    }

    /// What the table should be like, and whether the one that is there can go on with its rows.
    async fn plan(
        &self,
        session: &mut MysqlSession,
        target: &SyncTarget,
        schema: &SchemaRef,
    ) -> Result<(MysqlLayout, bool), SinkFault> {
        let layout = MysqlLayout::new(target, schema)?;
        let states = state::read(session, &target.table, &layout.table).await?;
        let standing = layout.stand(session, states, &self.project).await?;
        Ok((layout, matches!(standing.plan, MysqlPlan::Keep { .. })))
    }

    async fn find_hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes, SinkFault> {
        let mut session = self.door.open().await?;
        let (layout, fits) = self.plan(&mut session, target, schema).await?;
        let mut rows = Hashes::default();
        if fits {
            let connection = session.get()?;
            let query = connection.query_stream::<(Value, Value), _>(sql::hashes(&layout.table, layout.key()));
            let mut stream = within(LONG, query).await?;
            while let Some((key, hash)) = within(SHORT, stream.try_next()).await? {
                // A hash that can't be read belongs to a row that is written again.
                let hash = match &hash {
                    Value::Bytes(bytes) => bytes.as_slice().try_into().unwrap_or([0; 16]),
                    _ => [0; 16],
                };
                match key {
                    Value::Bytes(bytes) => rows.push(&String::from_utf8_lossy(&bytes), RowHash(hash)),
                    Value::Int(number) => rows.push(&number.to_string(), RowHash(hash)),
                    Value::UInt(number) => rows.push(&number.to_string(), RowHash(hash)),
                    _ => {
                        return Err(SinkFault::new(
                            "expected a key of text or a whole number, found another",
                            "run again",
                        ));
                    }
                }
            }
        }
        session.end().await;
        Ok(rows)
    }

    /// Removes a table and its watermarks, which must be this project's.
    async fn drop_table(&self, table: &TableName) -> Result<(), SinkFault> {
        if self.state(table).await?.is_none() {
            return Ok(());
        }
        let mut session = self.door.open().await?;
        state::lock(&mut session, &state::lock_name(&self.door, "write", table), &|| {}).await?;
        patience::patiently(&self.door, &mut session, &sql::drop_table(&layout::relation(table))).await?;
        state::keep_only(&mut session, table, "").await?;
        session.end().await;
        Ok(())
    }
}

/// Drops the tables beside a table that lie under names of its builds, whatever anybody wrote into their comments.
async fn drop_aside(session: &mut MysqlSession, layout: &MysqlLayout) -> Result<(), SinkFault> {
    let query =
        "select table_name from information_schema.tables where table_schema = database() and table_type = 'BASE TABLE'
         and (locate(?, table_name) = 1 or locate(?, table_name) = 1)";
    let begins = (layout.aside_prefix("new"), layout.aside_prefix("old"));
    let left: Vec<String> = within(SHORT, session.get()?.exec(query, begins)).await?;
    for table in left {
        session.run(LONG, &sql::drop_table(&table)).await?;
    }
    Ok(())
}

/// A key as it is bound: a number as one, so that the server compares numbers and finds them by their index.
fn key(key: &str, is_number: bool) -> Value {
    match (key.parse::<i64>(), key.parse::<u64>()) {
        (Ok(number), _) if is_number => number.into(),
        (_, Ok(number)) if is_number => number.into(),
        _ => key.into(),
    }
}

#[async_trait]
impl Sink for Arc<Mysql> {
    fn kind(&self) -> SinkKind {
        SinkKind::Mysql
    }

    fn describe(&self) -> String {
        format!("tables in {}", self.door.at())
    }

    async fn targets(&self) -> Result<Vec<TableName>> {
        let find = async {
            let mut session = self.door.borrow().await?;
            let states = state::all(&mut session).await?;
            session.park();
            Ok(states)
        };
        let states = find.await.map_err(self.error("reading"))?;
        let ours = states.iter().filter(|it| it.project == self.project);
        Ok(ours.filter_map(|it| it.table.parse().ok()).collect())
    }

    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>> {
        let state = self.state(table).await.map_err(self.error("reading"))?;
        Ok(state.map(|state| state.cursor))
    }

    async fn lock(&self, table: &TableName, waiting: &(dyn Fn() + Send + Sync)) -> Result<Option<Box<dyn SinkLock>>> {
        let take = async {
            let mut session = self.door.open().await?;
            // It does nothing for as long as the load takes, and that is its work.
            session.run(SHORT, "set wait_timeout = 172800").await?;
            state::lock(&mut session, &state::lock_name(&self.door, "sync", table), waiting).await?;
            Ok(session)
        };
        let session = take.await.map_err(self.error("locking a table of"))?;
        Ok(Some(Box::new(MysqlLock(session))))
    }

    async fn hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes> {
        self.find_hashes(target, schema).await.map_err(self.error("reading"))
    }

    async fn fits(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<bool> {
        let find = async {
            let mut session = self.door.borrow().await?;
            let fits = self.plan(&mut session, target, schema).await?.1;
            session.park();
            Ok(fits)
        };
        find.await.map_err(self.error("reading"))
    }

    async fn contents(&self, table: &TableName) -> Result<Contents> {
        let state = self.state(table).await.map_err(self.error("reading"))?;
        match state.and_then(|state| Some((state.target.clone()?, state))) {
            Some((target, state)) => contents::read(self, state, &target).await.map_err(self.error("reading")),
            None => Ok(Box::pin(futures::stream::empty())),
        }
    }

    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>> {
        contents::stored(target, rows).map_err(|e| Error::row(&target.table, e))
    }

    async fn begin(&self, target: &SyncTarget, schema: &SchemaRef, start: Start) -> Result<Box<dyn Apply>> {
        let change = change::MysqlChange::begin(Arc::clone(self), target, schema, start).await;
        Ok(Box::new(change.map_err(self.error("preparing"))?))
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        self.drop_table(table).await.map_err(self.error("removing a table of"))
    }

    async fn doctor(&self) -> Result<String> {
        let look = async {
            let mut session = self.door.open().await?;
            let report = doctor::report(&mut session).await?;
            session.end().await;
            Ok(report)
        };
        let report = look.await.map_err(self.error("checking"))?;
        Ok(format!("{}: {report}", self.door.at()))
    }
}

/// The lock of a table, held by a session of its own.
struct MysqlLock(MysqlSession);

#[async_trait]
impl SinkLock for MysqlLock {
    async fn release(self: Box<Self>) {
        self.0.end().await;
    }
}
