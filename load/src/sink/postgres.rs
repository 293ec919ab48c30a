//! Serving tables, keywords and vectors in one PostgreSQL database.
//!
//! ```text
//! onggi.places         the mart's columns, typed · _row_hash · _row_text (its texts, folded) · embedding halfvec(n)
//! onggi._onggi_sync    one watermark a table: lake version, shape, roles, the change that wrote it
//! ```
//!
//! `marts.places` is the table `places` of the schema; a table of another layer has the layer before it (`staging_reviews`). Rows,
//! deletes, a new table where the schema changed, and the watermark move in **one transaction**; readers never wait for a load.
//!
//! A first load goes by binary COPY into a table that nobody sees yet, and gets its key and indexes at the end. Later changes go by COPY
//! into a temporary table and from there, by key, over the rows that differ. Two syncs of a table take turns by an advisory lock; a
//! watermark that moved meanwhile refuses the change whatever became of the lock. When the reply to a COMMIT is lost, the watermark
//! says whether it took place.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::TableName;

use super::{Apply, Contents, Member, Roles, Rows, Sink, SinkKind, SinkLock, SinkPlace, Start};
use crate::error::{Error, Result};
use crate::fault::SinkFault;
use crate::keys::Hashes;
use crate::target::{Cursor, SyncTarget};
use rows::RowHash;

mod change;
mod connect;
mod contents;
mod copy;
mod encode;
mod extension;
mod fault;
mod layout;
pub(crate) mod read;
mod rights;
mod sql;
mod state;
#[cfg(test)]
mod tests;

use connect::{PostgresPool, PostgresSession, within};
use layout::{PostgresLayout, PostgresPlan};
use state::SHORT;

pub(super) const MEMBER: Member = Member {
    place: SinkPlace::Server("postgres"),
    refused: layout::refused,
    roles: |target, schema| {
        let vector = target.vector.as_ref().map(|it| (&it.column, &it.model));
        let (key, texts, title, entity) = (&target.key, &target.texts, &target.title, &target.entity);
        let text = format!("key={key} texts={texts:?} title={title:?} entity={entity:?} vector={vector:?}");
        Ok(Roles::whole(schema, text))
    },
};

/// How the sink is reached and how hard it may be pushed. It has no printable form: the URL holds a password.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=verify-full&sslrootcert=FILE`
    pub url: String,
    /// The schema that holds the tables; made where it is missing.
    pub schema: String,
    /// Connections at the same time, at most; 2 or more.
    pub pool: u32,
    /// Rows written in a second, at most; none: as fast as the server takes them.
    pub rows_per_second: Option<u32>,
    /// The project's name: tables belong to one project.
    pub project: String,
}

/// A PostgreSQL database that follows marts.
#[derive(Debug)]
pub struct Postgres {
    door: PostgresPool,
    schema: String,
    project: String,
    rows_per_second: Option<u32>,
}

impl Postgres {
    /// Checks the settings. Nothing is connected before the first call.
    ///
    /// # Errors
    /// If the URL is none, or the pool too small. The URL is never part of the message.
    pub fn new(options: &PostgresOptions) -> Result<Self> {
        let refuse = |source| {
            let at = format!("the schema {}", options.schema);
            Error::Sink { sink: SinkKind::Postgres, doing: "setting up", at, source }
        };
        let door = PostgresPool::new(&options.url, options.pool).map_err(refuse)?;
        if options.schema.is_empty() || options.schema.starts_with("pg_") {
            return Err(refuse(SinkFault::new(
                format!("expected a schema's name, found `{}`", options.schema),
                "the default is `onggi`; names with `pg_` are the server's own",
            )));
        }
        Ok(Self {
            door,
            schema: options.schema.clone(),
            project: options.project.clone(),
            rows_per_second: options.rows_per_second.filter(|rate| *rate > 0),
        })
    }

    /// The name that a table has in the schema.
    pub fn table_name(table: &TableName) -> String {
        layout::relation(table)
    }

    fn error(&self, doing: &'static str) -> impl Fn(SinkFault) -> Error + use<> {
        let at = format!("{} (schema {})", self.door.at(), self.schema);
        move |source| Error::Sink { sink: SinkKind::Postgres, doing, at: at.clone(), source }
    }

    /// What a target's table is like; asks the server for pgvector where there is a vector.
    async fn layout(
        &self,
        session: &mut PostgresSession,
        target: &SyncTarget,
        schema: &SchemaRef,
    ) -> Result<PostgresLayout, SinkFault> {
        let vectors = match &target.vector {
            Some(_) => Some(extension::vector(session.get()?).await?),
            None => None,
        };
        PostgresLayout::new(&self.schema, target, schema, vectors)
    }

    async fn state(&self, table: &TableName) -> Result<Option<state::PostgresState>, SinkFault> {
        let mut session = self.door.borrow().await?;
        let states = state::read(session.get()?, &self.schema, table, &layout::relation(table)).await?;
        session.park();
        Ok(states.into_iter().find(|it| it.table == table.to_string() && it.project == self.project))
    }

    /// Whether the table can go on with its rows.
    async fn find_fit(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<bool, SinkFault> {
        let mut session = self.door.borrow().await?;
        let fits = self.plan(&mut session, target, schema).await?.1;
        session.park();
        Ok(fits)
    }

    /// What the table should be like, and whether the one that is there can go on with its rows.
    async fn plan(
        &self,
        session: &mut PostgresSession,
        target: &SyncTarget,
        schema: &SchemaRef,
    ) -> Result<(PostgresLayout, bool), SinkFault> {
        let layout = self.layout(session, target, schema).await?;
        let connection = session.get()?;
        let states = state::read(connection, &self.schema, &target.table, &layout.table.name).await?;
        let standing = layout.stand(connection, states, &self.project).await?;
        Ok((layout, matches!(standing.plan, PostgresPlan::Keep { .. })))
    }

    async fn find_hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes, SinkFault> {
        let mut session = self.door.open().await?;
        let (layout, fits) = self.plan(&mut session, target, schema).await?;
        if !fits {
            return Ok(Hashes::default());
        }
        let connection = session.get()?;
        state::run(connection, "set statement_timeout = 0").await?;
        let rows = copy::hashes(connection, &sql::copy_hashes(&layout.table, layout.key())).await?;
        session.end().await;
        Ok(rows)
    }

    /// Removes a table and its watermark, which must be this project's.
    async fn drop_table(&self, table: &TableName) -> Result<(), SinkFault> {
        if self.state(table).await?.is_none() {
            return Ok(());
        }
        let mut session = self.door.open().await?;
        let connection = session.get()?;
        state::run(connection, "begin").await?;
        let name = sql::Name::new(&self.schema, layout::relation(table));
        if !read::columns(connection, &name).await?.is_empty() {
            change::exclusively(connection, &name).await?;
            within(SHORT, sqlx::raw_sql(sql::drop_table(&name)).execute(&mut *connection)).await?;
        }
        state::forget(connection, &self.schema, table).await?;
        state::run(connection, "commit").await?;
        session.end().await;
        Ok(())
    }
}

#[async_trait]
impl Sink for Arc<Postgres> {
    fn kind(&self) -> SinkKind {
        SinkKind::Postgres
    }

    fn describe(&self) -> String {
        format!("tables in {} (schema {})", self.door.at(), self.schema)
    }

    async fn targets(&self) -> Result<Vec<TableName>> {
        let find = async {
            let mut session = self.door.borrow().await?;
            let states = state::all(session.get()?, &self.schema).await?;
            session.park();
            Ok(states)
        };
        let states = find.await.map_err(self.error("reading"))?;
        let ours = states.iter().filter(|it| it.project == self.project);
        Ok(ours.filter_map(|it| it.table.parse().ok()).collect())
    }

    async fn cursor(&self, table: &TableName) -> Result<Option<Cursor>> {
        let find = async {
            let Some(state) = self.state(table).await? else { return Ok(None) };
            let mut session = self.door.borrow().await?;
            let name = sql::Name::new(&self.schema, layout::relation(table));
            let there = !read::columns(session.get()?, &name).await?.is_empty();
            session.park();
            Ok(there.then_some(state.cursor))
        };
        find.await.map_err(self.error("reading"))
    }

    async fn lock(&self, table: &TableName, waiting: &(dyn Fn() + Send + Sync)) -> Result<Option<Box<dyn SinkLock>>> {
        let take = async {
            let mut session = self.door.open().await?;
            let connection = session.get()?;
            // It does nothing for as long as the load takes, and that is its work.
            state::run(connection, "set idle_session_timeout = 0").await?;
            let key = state::key(&["sync", &self.schema, &table.to_string()]);
            state::lock(connection, key, false, waiting).await?;
            Ok(session)
        };
        let session = take.await.map_err(self.error("locking a table of"))?;
        Ok(Some(Box::new(PostgresLock(session))))
    }

    async fn hashes(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<Hashes> {
        self.find_hashes(target, schema).await.map_err(self.error("reading"))
    }

    async fn fits(&self, target: &SyncTarget, schema: &SchemaRef) -> Result<bool> {
        self.find_fit(target, schema).await.map_err(self.error("reading"))
    }

    async fn contents(&self, table: &TableName) -> Result<Contents> {
        let state = self.state(table).await.map_err(self.error("reading"))?;
        match state.and_then(|state| state.target) {
            Some(target) => contents::read(self, &target).await.map_err(self.error("reading")),
            None => Ok(Box::pin(futures::stream::empty())),
        }
    }

    fn stored(&self, target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>> {
        contents::stored(target, rows).map_err(|e| Error::row(&target.table, e))
    }

    async fn begin(&self, target: &SyncTarget, schema: &SchemaRef, start: Start) -> Result<Box<dyn Apply>> {
        let change = change::PostgresChange::begin(Arc::clone(self), target, schema, start).await;
        Ok(Box::new(change.map_err(self.error("preparing"))?))
    }

    fn database(&self) -> Option<Self> {
        Some(Self::clone(self))
    }

    async fn forget(&self, table: &TableName) -> Result<()> {
        self.drop_table(table).await.map_err(self.error("removing a table of"))
    }

    async fn doctor(&self) -> Result<String> {
        let look = async {
            let mut session = self.door.borrow().await?;
            let report = extension::report(session.get()?, &self.schema).await?;
            session.park();
            Ok(report)
        };
        let report = look.await.map_err(self.error("checking"))?;
        Ok(format!("{} (schema {}): {report}", self.door.at(), self.schema))
    }
}

/// The advisory lock of a table, held by a session of its own.
struct PostgresLock(PostgresSession);

#[async_trait]
impl SinkLock for PostgresLock {
    async fn release(self: Box<Self>) {
        self.0.end().await;
    }
}
