//! The end of a change: key and indexes of a new table, the watermark, COMMIT, and what follows when its reply is lost.

use std::sync::Arc;
use std::time::Duration;

use catalog::failpoint;
use sqlx::postgres::PgConnection;

use super::{Change, writers};
use crate::sink::postgres::connect::{Session, within};
use crate::sink::postgres::extension::build;
use crate::sink::postgres::fault::Fault;
use crate::sink::postgres::layout::{self, LONG};
use crate::sink::postgres::sql::{self, Name};
use crate::sink::postgres::state::{self, SHORT, State};
use crate::target::Cursor;

/// Links of a node, and how many are looked at while building: measured in the pgvector test and bench.
const HNSW: (u32, u32) = (16, 128);
/// How often a lost COMMIT is asked about, and how long between two tries at first.
const QUESTIONS: u32 = 8;
const QUESTION_EVERY: Duration = Duration::from_millis(250);

impl Change {
    pub(super) async fn index_vectors(
        &self,
        connection: &mut PgConnection,
        table: &Name,
        name: &str,
    ) -> Result<(), Fault> {
        let (Some(vector), Some(schema)) = (&self.layout.target.vector, &self.layout.vectors) else { return Ok(()) };
        let class = Name::new(schema, "halfvec_cosine_ops");
        build(connection, sql::vector_index(table, name, &vector.column, &class, HNSW), LONG).await
    }

    /// Key and indexes of a table that was just filled.
    async fn index(&mut self, connection: &mut PgConnection) -> Result<(), Fault> {
        let (table, swap) = (self.goal(), self.creates() == Some(true));
        let layout = Arc::clone(&self.layout);
        let name = |of: &str| if swap { layout.index_name(&format!("new_{of}")) } else { layout.index_name(of) };
        // The server's own setting where that is larger.
        state::run(
            connection,
            "select set_config('maintenance_work_mem', '262144kB', true)
             where (select setting::bigint from pg_settings where name = 'maintenance_work_mem') < 262144",
        )
        .await?;
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
        if swap {
            layout::grants(connection, &layout.table, &table).await?;
            within(SHORT, sqlx::raw_sql(sql::drop_table(&layout.table)).execute(&mut *connection)).await?;
            within(SHORT, sqlx::raw_sql(sql::rename_table(&table, &layout.table.name)).execute(&mut *connection))
                .await?;
            let made = [
                ("key", true),
                ("entity", layout.target.entity.is_some()),
                ("text", layout.has_texts() && self.keywords.class().is_some()),
                ("vector", self.dimension.is_some()),
            ];
            for (of, _) in made.into_iter().filter(|(_, made)| *made) {
                let rename = sql::rename_index(&table.beside(name(of)), &layout.index_name(of));
                within(SHORT, sqlx::raw_sql(rename).execute(&mut *connection)).await?;
            }
        }
        Ok(())
    }

    /// Another way of finding keywords has come or gone since the table was made.
    async fn follow_keywords(&self, connection: &mut PgConnection) -> Result<(), Fault> {
        let before = self.standing.state.as_ref().map_or("scan", |state| state.keywords.as_str());
        if !self.layout.has_texts() || before == self.keywords.name() {
            return Ok(());
        }
        let (table, name) = (&self.layout.table, self.layout.index_name("text"));
        within(SHORT, sqlx::raw_sql(sql::drop_index(&table.beside(&name))).execute(&mut *connection)).await?;
        if let Some(class) = self.keywords.class() {
            build(connection, sql::text_index(table, &name, class), LONG).await?;
        }
        Ok(())
    }

    /// Everything but the COMMIT.
    pub(super) async fn finish(&mut self, cursor: Cursor) -> Result<Session, Fault> {
        let mut session = self.settle().await?;
        if self.creates().is_some() {
            self.make(&mut session).await?;
            self.index(session.get()?).await?;
        } else {
            self.follow_keywords(session.get()?).await?;
        }
        let connection = session.get()?;
        let count = sqlx::query_scalar(sql::count(&self.layout.table));
        let before = self.standing.state.as_ref();
        // An empty change has counted already.
        let rows = match before {
            Some(state) if self.written == 0 && self.creates().is_none() => state.rows,
            _ => within(LONG, count.fetch_one(&mut *connection)).await?,
        };
        let state = State {
            table: self.layout.target.table.to_string(),
            relation: self.layout.table.name.clone(),
            project: self.sink.project.clone(),
            cursor,
            target: Some(self.layout.target.clone()),
            change: self.id.clone(),
            rows,
            keywords: self.keywords.name().to_owned(),
        };
        if !state.write(connection, &self.sink.schema, before.map(|it| it.change.as_str())).await? {
            return Err(Fault::passing("another sync wrote this table meanwhile", "run again"));
        }
        Ok(session)
    }

    /// COMMIT; when its reply is lost, the watermark decides.
    pub(super) async fn publish(&self, mut session: Session) -> Result<(), Fault> {
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
        Err(Fault::passing(
            format!("whether the change was committed is not known yet: {lost}"),
            "the next sync reads the watermark and goes on from the truth",
        ))
    }

    /// Whether the watermark is of this change. Waits until the server has ended its transaction.
    async fn is_published(&self) -> Result<bool, Fault> {
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
