//! One change of one table, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::failpoint;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::connect::{Session, within};
use super::copy::Copying;
use super::encode::{Encoded, encode};
use super::extension::{self, Keywords, build};
use super::fault::Fault;
use super::layout::{self, LONG, Layout, Plan, Standing};
use super::sql::{self, Name};
use super::state::{self, SHORT, State};
use super::Postgres;
use crate::error::{Cause, Error, Result, blocking};
use crate::sink::{Apply, Rows};
use crate::target::{Cursor, SyncTarget};

/// How many changed rows are staged before they are merged.
const SLICE: u64 = 200_000;
/// How many keys are deleted by one statement.
const DELETES: usize = 10_000;
/// Links of a node, and how many are looked at while building: measured in the pgvector test and bench.
const HNSW: (u32, u32) = (16, 128);
/// How often a lost COMMIT is asked about, and how long between two tries at first.
const QUESTIONS: u32 = 8;
const QUESTION_EVERY: Duration = Duration::from_millis(250);

/// A change under way.
pub(super) struct Change {
    sink: Arc<Postgres>,
    layout: Arc<Layout>,
    standing: Standing,
    keywords: Keywords,
    /// What this change is called in the watermark.
    id: String,
    open: Open,
    /// Length of the vectors that were sent.
    dimension: Option<usize>,
    /// Where rows are written: the table is made by the first of them.
    made: bool,
    staged: u64,
    written: u64,
    began: Instant,
}

/// Where the connection is.
enum Open {
    Idle(Session),
    Copying(Copying),
    /// An earlier step failed: nothing can follow it.
    Broken,
}

impl Change {
    /// Opens the transaction, takes the lock of writers, and finds out what must happen.
    pub(super) async fn begin(sink: Arc<Postgres>, target: &SyncTarget, schema: &SchemaRef) -> Result<Self, Fault> {
        let mut session = sink.door.open().await?;
        state::prepare(session.get()?, &sink.schema).await?;
        let layout = sink.layout(&mut session, target, schema).await?;
        let connection = session.get()?;
        let keywords =
            if layout.has_texts() { extension::keywords(connection, true).await? } else { Keywords::Scan };
        // A load takes as long as it takes; whether the server still answers is watched from here.
        state::run(connection, "begin; set local statement_timeout = 0; set local synchronous_commit = on").await?;
        state::lock(connection, writers(&sink.schema, &layout), true, &|| {}).await?;
        let states = state::read(connection, &sink.schema, &target.table, &layout.table.name).await?;
        let standing = layout.stand(connection, states, &sink.project).await?;
        if let Plan::Keep { add } = &standing.plan {
            for column in add {
                within(SHORT, sqlx::raw_sql(sql::add_column(&layout.table, column)).execute(&mut *connection)).await?;
            }
        } else if layout.has_texts() {
            tracing::info!(table = %layout.table, "{}", keywords.describe());
        }
        Ok(Self {
            id: format!("{:032x}", rand::random::<u128>()),
            layout: Arc::new(layout),
            standing,
            keywords,
            open: Open::Idle(session),
            dimension: None,
            made: false,
            staged: 0,
            written: 0,
            began: Instant::now(),
            sink,
        })
    }

    fn creates(&self) -> Option<bool> {
        match self.standing.plan {
            Plan::Create { swap } => Some(swap),
            Plan::Keep { .. } => None,
        }
    }

    /// The table that rows are written to.
    fn goal(&self) -> Name {
        if self.creates() == Some(true) { self.layout.fresh() } else { self.layout.table.clone() }
    }

    /// Takes the connection; after a step that failed there is none.
    fn take(&mut self) -> Result<Open, Fault> {
        match std::mem::replace(&mut self.open, Open::Broken) {
            Open::Broken => Err(Fault::new("an earlier step of this change failed", "run again")),
            open => Ok(open),
        }
    }

    /// Makes the table, or the one where changed rows wait.
    async fn make(&mut self, session: &mut Session) -> Result<(), Fault> {
        if self.made {
            return Ok(());
        }
        let connection = session.get()?;
        let statement = if self.creates().is_some() {
            let mut columns = self.layout.columns.clone();
            let vector = self.dimension.and_then(|n| self.layout.vector_column(n));
            if let Some(vector) = vector
                && let Some(column) = columns.iter_mut().find(|column| column.name == vector.name)
            {
                *column = vector;
            }
            self.standing.dimension = self.dimension;
            sql::create_table(&self.goal(), &columns, self.layout.key(), self.layout.has_texts())
        } else {
            sql::create_stage(&self.layout.table)
        };
        within(SHORT, sqlx::raw_sql(statement).execute(connection)).await?;
        self.made = true;
        Ok(())
    }

    /// Sends encoded rows, no faster than allowed.
    async fn send(&mut self, encoded: Encoded, rows: u64) -> Result<(), Fault> {
        if let Some(found) = encoded.dimension {
            let expected = *self.dimension.get_or_insert(self.standing.dimension.unwrap_or(found));
            if found != expected {
                return Err(Fault::new(
                    format!("expected vectors of {expected} numbers, found {found}"),
                    "one embedder makes one length: give the new one a name of its own",
                ));
            }
        }
        self.hold_back().await;
        let copying = match self.take()? {
            Open::Copying(copying) => copying,
            Open::Idle(mut session) => {
                self.make(&mut session).await?;
                let columns = self.layout.sent();
                let statement = match self.creates() {
                    Some(_) => sql::copy_new(&self.goal(), &columns),
                    None => sql::copy_stage(&columns),
                };
                Copying::start(session, statement)
            }
            Open::Broken => return Ok(()),
        };
        if !copying.send(encoded.bytes).await {
            copying.finish().await?;
            return Err(Fault::passing("the server ended the COPY", "run again"));
        }
        self.open = Open::Copying(copying);
        self.staged += rows;
        self.written += rows;
        let slice = self.sink.rows_per_second.map_or(SLICE, |rate| u64::from(rate).min(SLICE));
        if self.creates().is_none() && self.staged >= slice {
            let session = self.settle().await?;
            self.open = Open::Idle(session);
        }
        Ok(())
    }

    /// Waits until the rate allows more.
    async fn hold_back(&self) {
        if let Some(rate) = self.sink.rows_per_second {
            let due = Duration::from_secs_f64(self.written as f64 / f64::from(rate));
            tokio::time::sleep_until(self.began + due).await;
        }
    }

    /// Ends a COPY under way and merges what was staged.
    async fn settle(&mut self) -> Result<Session, Fault> {
        let mut session = match self.take()? {
            Open::Copying(copying) => copying.finish().await?,
            Open::Idle(session) => session,
            Open::Broken => return Err(Fault::new("an earlier step of this change failed", "run again")),
        };
        if self.creates().is_none() && self.staged > 0 {
            let connection = session.get()?;
            let table = &self.layout.table;
            if self.standing.dimension.is_none()
                && let Some(n) = self.dimension
                && let Some(column) = self.layout.vector_column(n)
            {
                within(LONG, sqlx::raw_sql(sql::alter_type(table, &column)).execute(&mut *connection)).await?;
                self.standing.dimension = Some(n);
                self.index_vectors(connection, table, &self.layout.index_name("vector")).await?;
            }
            let merge = sql::merge(table, &self.layout.sent(), self.layout.key());
            within(LONG, sqlx::raw_sql(merge).execute(&mut *connection)).await?;
            within(SHORT, sqlx::raw_sql(sql::clear_stage()).execute(connection)).await?;
        }
        self.staged = 0;
        Ok(session)
    }

    async fn remove(&mut self, keys: &[String]) -> Result<(), Fault> {
        let mut session = self.settle().await?;
        if self.creates().is_none() || self.made {
            let delete = sql::delete(&self.goal(), self.layout.key(), &self.layout.key_type());
            for part in keys.chunks(DELETES) {
                self.hold_back().await;
                let query = sqlx::query(delete.clone()).bind(part);
                within(LONG, query.execute(session.get()?)).await?;
                self.written += part.len() as u64;
            }
        }
        self.open = Open::Idle(session);
        Ok(())
    }

    async fn index_vectors(&self, connection: &mut PgConnection, table: &Name, name: &str) -> Result<(), Fault> {
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
            within(SHORT, sqlx::raw_sql(sql::rename_table(&table, &layout.table.name)).execute(&mut *connection)).await?;
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
    async fn finish(&mut self, cursor: Cursor) -> Result<Session, Fault> {
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
    async fn publish(&self, mut session: Session) -> Result<(), Fault> {
        failpoint!("load.postgres.before");
        let lost = match state::run(session.get()?, "commit").await {
            Ok(()) => None,
            Err(fault) => Some(fault),
        };
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

    fn fail(&mut self, doing: &'static str) -> impl Fn(Fault) -> Error + use<> {
        self.open = Open::Broken;
        self.sink.error(doing)
    }
}

/// The lock that a transaction holds from its beginning to its end.
fn writers(schema: &str, layout: &Layout) -> i64 {
    state::key(&["write", schema, &layout.target.table.to_string()])
}

#[async_trait]
impl Apply for Change {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        // A bounded rate is held within a batch too.
        let step = self.sink.rows_per_second.map_or(usize::MAX, |rate| (rate as usize / 4).clamp(1, 50_000));
        let all = rows.keys.len();
        let parts = if step < all {
            (0..all).step_by(step).map(|at| rows.slice(at, step.min(all - at))).collect()
        } else {
            vec![rows]
        };
        for part in parts {
            let length = part.keys.len();
            let layout = Arc::clone(&self.layout);
            let encoded = blocking(move || Ok(encode(&layout, &part))).await?;
            let encoded = encoded.map_err(|e: Cause| Fault::new(e.to_string(), "correct the model, and check its column"));
            let sent = match encoded {
                Ok(encoded) => self.send(encoded, length as u64).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = sent {
                return Err(self.fail("writing")(fault));
            }
        }
        Ok(())
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        match self.remove(&keys).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.fail("writing")(fault)),
        }
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        let published = match self.finish(cursor).await {
            Ok(session) => self.publish(session).await,
            Err(fault) => Err(fault),
        };
        published.map_err(|fault| self.fail("committing")(fault))
    }
}
