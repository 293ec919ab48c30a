//! The end of a change: key and indexes of a new table, the watermark, COMMIT, and what follows when its reply is lost.

use std::sync::Arc;
use std::time::Duration;

use catalog::failpoint;
use sqlx::postgres::PgConnection;

use super::{PostgresChange, exclusively, writers};
use crate::fault::SinkFault;
use crate::sink::counted;
use crate::sink::postgres::connect::{PostgresSession, within};
use crate::sink::postgres::extension::build;
use crate::sink::postgres::layout::{LONG, PostgresPlan};
use crate::sink::postgres::rights;
use crate::sink::postgres::sql::{self, Name};
use crate::sink::postgres::state::{self, PostgresState, SHORT};
use crate::target::Cursor;

/// Links of a node, and how many are looked at while building: measured in the pgvector test and bench.
const HNSW: (u32, u32) = (16, 128);
/// How often a lost COMMIT is asked about, and how long between two tries at first.
const QUESTIONS: u32 = 8;
/// What to do about a table whose rows are not as many as they should be.
const RECOUNT: &str = "somebody else writes to the table: `onggi reconcile` says where, and `onggi reconcile --repair` makes it as its mart";
const QUESTION_EVERY: Duration = Duration::from_millis(250);

impl PostgresChange {
    pub(super) async fn index_vectors(
        &self,
        connection: &mut PgConnection,
        table: &Name,
        name: &str,
    ) -> Result<(), SinkFault> {
        let (Some(vector), Some(schema)) = (&self.layout.target.vector, &self.layout.vectors) else { return Ok(()) };
        let class = Name::new(schema, "halfvec_cosine_ops");
        build(connection, sql::vector_index(table, name, &vector.column, &class, HNSW), LONG).await
    }

    /// Key and indexes of a table that was just filled.
    async fn index(&mut self, connection: &mut PgConnection) -> Result<(), SinkFault> {
        let (table, swap) = (self.goal(), self.creates() == Some(true));
        let layout = Arc::clone(&self.layout);
        let name = |of: &str| if swap { layout.index_name(&format!("new_{of}")) } else { layout.index_name(of) };
        give_memory(connection).await?;
        build(connection, sql::add_key(&table, &name("key"), layout.key()), LONG).await?;
        if let Some(entity) = &layout.target.entity {
            build(connection, sql::index(&table, &name("entity"), &entity.column), LONG).await?;
        }
        if let Some(class) = self.keywords.class().filter(|_| layout.has_texts()) {
            build(connection, sql::text_index(&table, &name("text"), class), LONG).await?;
        }
        if let Some(n) = self.dimension {
            if self.standing.dimension.is_none()
                && let Some(column) = layout.vector_column(n)
            {
                within(LONG, sqlx::raw_sql(sql::alter_type(&table, &column)).execute(&mut *connection)).await?;
            }
            self.index_vectors(connection, &table, &name("vector")).await?;
        }
        within(LONG, sqlx::raw_sql(sql::analyze(&table)).execute(&mut *connection)).await?;
        Ok(())
    }

    /// Puts the new table in the old one's place, with all that people gave that one. From the lock to the COMMIT readers wait: nothing
    /// long is done in between.
    async fn swap(&self, connection: &mut PgConnection) -> Result<(), SinkFault> {
        let (fresh, layout) = (self.goal(), &self.layout);
        rights::refuse_bound(connection, &layout.table).await?;
        let mut indexes = rights::carry(connection, layout, &fresh).await?;
        exclusively(connection, &layout.table).await?;
        within(SHORT, sqlx::raw_sql(sql::drop_table(&layout.table)).execute(&mut *connection)).await?;
        within(SHORT, sqlx::raw_sql(sql::rename_table(&fresh, &layout.table.name)).execute(&mut *connection)).await?;
        let made = [
            ("key", true),
            ("entity", layout.target.entity.is_some()),
            ("text", layout.has_texts() && self.keywords.class().is_some()),
            ("vector", self.dimension.is_some()),
        ];
        let ours = made.into_iter().filter(|(_, made)| *made);
        indexes
            .extend(ours.map(|(of, _)| (fresh.beside(layout.index_name(&format!("new_{of}"))), layout.index_name(of))));
        for (index, name) in indexes {
            within(SHORT, sqlx::raw_sql(sql::rename_index(&index, &name)).execute(&mut *connection)).await?;
        }
        Ok(())
    }

    /// Another way of finding keywords has come or gone since the table was made.
    async fn follow_keywords(&self, connection: &mut PgConnection) -> Result<(), SinkFault> {
        let before = self.standing.state.as_ref().map_or("scan", |state| state.keywords.as_str());
        if !self.layout.has_texts() || before == self.keywords.name() {
            return Ok(());
        }
        // The new one first: taking the old one away locks out readers until the transaction ends.
        let (table, name) = (&self.layout.table, self.layout.index_name("text"));
        let fresh = self.layout.index_name("new_text");
        if let Some(class) = self.keywords.class() {
            build(connection, sql::text_index(table, &fresh, class), LONG).await?;
        }
        exclusively(connection, table).await?;
        within(SHORT, sqlx::raw_sql(sql::drop_index(&table.beside(&name))).execute(&mut *connection)).await?;
        if self.keywords.class().is_some() {
            let rename = sql::rename_index(&table.beside(fresh), &name);
            within(SHORT, sqlx::raw_sql(rename).execute(&mut *connection)).await?;
        }
        Ok(())
    }

    /// Makes the indexes of a table that stands and has lost them, or got its first vectors. Writers wait for it, readers don't.
    async fn follow_indexes(&self, connection: &mut PgConnection) -> Result<(), SinkFault> {
        let PostgresPlan::Keep { index, .. } = &self.standing.plan else { return Ok(()) };
        if !index.is_empty() {
            give_memory(connection).await?;
        }
        for of in index {
            let (table, name) = (&self.layout.table, self.layout.index_name(of));
            match (*of, &self.layout.target.entity) {
                ("entity", Some(entity)) => build(connection, sql::index(table, &name, &entity.column), LONG).await?,
                ("vector", _) => self.index_vectors(connection, table, &name).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Everything but the COMMIT.
    pub(super) async fn finish(&mut self, cursor: Cursor) -> Result<PostgresSession, SinkFault> {
        let mut session = self.settle().await?;
        if self.creates().is_some() {
            self.make(&mut session).await?;
            self.index(session.get()?).await?;
        }
        let connection = session.get()?;
        let count = sqlx::query_scalar(sql::count(&self.goal()));
        let before = self.standing.state.clone();
        // An empty change has counted already.
        let rows = match &before {
            Some(state) if self.written == 0 && self.creates().is_none() => state.rows,
            _ => within(LONG, count.fetch_one(&mut *connection)).await?,
        };
        counted(rows.cast_unsigned(), &cursor).map_err(|message| SinkFault::new(message, RECOUNT))?;
        match self.creates() {
            Some(true) => self.swap(connection).await?,
            Some(false) => {}
            None => {
                self.follow_indexes(connection).await?;
                self.follow_keywords(connection).await?;
            }
        }
        let state = PostgresState {
            table: self.layout.target.table.to_string(),
            relation: self.layout.table.name.clone(),
            project: self.sink.project.clone(),
            cursor,
            target: Some(self.layout.target.clone()),
            change: self.id.clone(),
            rows,
            keywords: self.keywords.name().to_owned(),
        };
        if !state.write(connection, &self.sink.schema, before.as_ref().map(|it| it.change.as_str())).await? {
            return Err(SinkFault::passing("another sync wrote this table meanwhile", "run again"));
        }
        Ok(session)
    }

    /// COMMIT; when its reply is lost, the watermark decides.
    pub(super) async fn publish(&self, mut session: PostgresSession) -> Result<(), SinkFault> {
        failpoint!("load.postgres.before");
        let lost = state::run(session.get()?, "commit").await.err();
        failpoint!("load.postgres.after");
        let Some(lost) = lost else {
            session.end().await;
            return Ok(());
        };
        drop(session);
        tracing::warn!(table = %self.layout.table, error = %lost, "the reply to a COMMIT was lost; asking the watermark");
        let mut wait = QUESTION_EVERY;
        for _ in 0..QUESTIONS {
            match self.is_published().await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(lost),
                Err(fault) if fault.is_retryable() => tokio::time::sleep(wait).await,
                Err(fault) => return Err(fault),
            }
            wait *= 2;
        }
        Err(SinkFault::passing(
            format!("whether the change was committed is not known yet: {lost}"),
            "the next sync reads the watermark and goes on from the truth",
        ))
    }

    /// Whether the watermark is of this change. Waits until the server has ended its transaction.
    async fn is_published(&self) -> Result<bool, SinkFault> {
        let mut session = self.sink.door.open().await?;
        let connection = session.get()?;
        state::run(connection, "begin").await?;
        state::lock(connection, writers(&self.sink.schema, &self.layout), true, &|| {}).await?;
        let table = &self.layout.target.table;
        let states = state::read(connection, &self.sink.schema, table, &self.layout.table.name).await?;
        session.end().await;
        Ok(states.iter().any(|state| state.change == self.id))
    }
}

/// Memory for the building of indexes in this transaction: the server's own setting where that is larger.
async fn give_memory(connection: &mut PgConnection) -> Result<(), SinkFault> {
    let enough = "select set_config('maintenance_work_mem', '262144kB', true)
        where (select setting::bigint from pg_settings where name = 'maintenance_work_mem') < 262144";
    state::run(connection, enough).await
}
