//! One change of one table, in one transaction.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::Postgres;
use super::connect::{PostgresSession, within};
use super::copy::Copying;
use super::encode::{PostgresRows, encode};
use super::extension::{self, KeywordIndexKind};
use super::layout::{LONG, PostgresLayout, PostgresPlan, PostgresTable};
use super::rights;
use super::sql::{self, Column, Name};
use super::state::{self, SHORT};
use crate::error::{Error, Result, blocking};
use crate::fault::{Cause, SinkFault};
use crate::sink::{Apply, Rows, Start};
use crate::target::{Cursor, SyncTarget};

/// How many changed rows are staged before they are merged.
const SLICE: u64 = 200_000;
/// How many keys are deleted by one statement.
const DELETES: usize = 10_000;
/// What the server says of a lock that it did not get in time (`SQLSTATE`, `lock_not_available`).
const LOCKED: &str = "55P03";
/// How long a table that others read is tried for, and how long they have it to themselves between two tries.
const PATIENCE: Duration = Duration::from_mins(10);
const BETWEEN: Duration = Duration::from_millis(200);

mod publish;

/// A change under way.
pub(super) struct PostgresChange {
    sink: Arc<Postgres>,
    layout: Arc<PostgresLayout>,
    standing: PostgresTable,
    keywords: KeywordIndexKind,
    /// What this change is called in the watermark.
    id: String,
    open: PostgresOpen,
    /// Length of the vectors that were sent.
    dimension: Option<usize>,
    /// Where rows are written: the table is made by the first of them.
    made: bool,
    staged: u64,
    written: u64,
    began: Instant,
}

/// Where the connection is.
enum PostgresOpen {
    Idle(PostgresSession),
    Copying(Copying),
    /// An earlier step failed: nothing can follow it.
    Broken,
}

impl PostgresChange {
    /// Opens the transaction, takes the lock of writers, and finds out what must happen.
    pub(super) async fn begin(
        sink: Arc<Postgres>,
        target: &SyncTarget,
        schema: &SchemaRef,
        start: Start,
    ) -> Result<Self, SinkFault> {
        let mut session = sink.door.open().await?;
        state::prepare(session.get()?, &sink.schema).await?;
        let layout = sink.layout(&mut session, target, schema).await?;
        let connection = session.get()?;
        let keywords =
            if layout.has_texts() { extension::keywords(connection, true).await? } else { KeywordIndexKind::Scan };
        // Before the load: a column takes a lock that no reader gets past, and a load takes long.
        add_columns(connection, &sink, &layout).await?;
        // A load takes as long as it takes; whether the server still answers is watched from here.
        state::run(connection, "begin; set local statement_timeout = 0; set local synchronous_commit = on").await?;
        state::lock(connection, writers(&sink.schema, &layout), true, &|| {}).await?;
        let states = state::read(connection, &sink.schema, &target.table, &layout.table.name).await?;
        let mut standing = layout.stand(connection, states, &sink.project).await?;
        if start == Start::Anew && matches!(standing.plan, PostgresPlan::Keep { .. }) {
            standing = PostgresTable { plan: PostgresPlan::Create { swap: true }, dimension: None, ..standing };
        }
        if let PostgresPlan::Create { swap } = &standing.plan {
            if *swap {
                rights::refuse_bound(connection, &layout.table).await?;
            }
            if layout.has_texts() {
                tracing::info!(table = %layout.table, "{}", keywords.describe());
            }
        }
        Ok(Self {
            id: format!("{:032x}", rand::random::<u128>()),
            layout: Arc::new(layout),
            standing,
            keywords,
            open: PostgresOpen::Idle(session),
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
            PostgresPlan::Create { swap } => Some(swap),
            PostgresPlan::Keep { .. } => None,
        }
    }

    /// The table that rows are written to.
    fn goal(&self) -> Name {
        if self.creates() == Some(true) { self.layout.fresh() } else { self.layout.table.clone() }
    }

    /// Takes the connection; after a step that failed there is none.
    fn take(&mut self) -> Result<PostgresOpen, SinkFault> {
        match std::mem::replace(&mut self.open, PostgresOpen::Broken) {
            PostgresOpen::Broken => Err(SinkFault::new("an earlier step of this change failed", "run again")),
            open => Ok(open),
        }
    }

    /// Makes the table, or the one where changed rows wait.
    async fn make(&mut self, session: &mut PostgresSession) -> Result<(), SinkFault> {
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
            sql::create_stage(&self.layout.columns, self.layout.key(), self.layout.has_texts())
        };
        within(SHORT, sqlx::raw_sql(statement).execute(connection)).await?;
        self.made = true;
        Ok(())
    }

    /// Sends encoded rows, no faster than allowed.
    async fn send(&mut self, encoded: PostgresRows, rows: u64) -> Result<(), SinkFault> {
        if let Some(found) = encoded.dimension {
            let expected = *self.dimension.get_or_insert(self.standing.dimension.unwrap_or(found));
            if found != expected {
                return Err(SinkFault::new(
                    format!("expected vectors of {expected} numbers, found {found}"),
                    "one embedder makes one length: give the new one a name of its own",
                ));
            }
        }
        self.hold_back().await;
        let copying = match self.take()? {
            PostgresOpen::Copying(copying) => copying,
            PostgresOpen::Idle(mut session) => {
                self.make(&mut session).await?;
                let columns = self.layout.sent();
                let statement = match self.creates() {
                    Some(_) => sql::copy_new(&self.goal(), &columns),
                    None => sql::copy_stage(&columns),
                };
                Copying::start(session, statement)
            }
            PostgresOpen::Broken => return Ok(()),
        };
        if !copying.send(encoded.bytes).await {
            copying.finish().await?;
            return Err(SinkFault::passing("the server ended the COPY", "run again"));
        }
        self.open = PostgresOpen::Copying(copying);
        self.staged += rows;
        self.written += rows;
        let slice = self.sink.rows_per_second.map_or(SLICE, |rate| u64::from(rate).min(SLICE));
        if self.creates().is_none() && self.staged >= slice && !self.may_get_first_vectors() {
            let session = self.settle().await?;
            self.open = PostgresOpen::Idle(session);
        }
        Ok(())
    }

    /// Whether the table stands without a vector, and none has come so far. Until one does or the change ends nothing is written to the
    /// table: what gives its column a length must not find a lock of ours.
    fn may_get_first_vectors(&self) -> bool {
        let vectors = self.layout.target.vector.is_some() && self.layout.vectors.is_some();
        vectors && self.standing.dimension.is_none() && self.dimension.is_none()
    }

    /// Waits until the rate allows more.
    async fn hold_back(&self) {
        if let Some(rate) = self.sink.rows_per_second {
            let due = Duration::from_secs_f64(self.written as f64 / f64::from(rate));
            tokio::time::sleep_until(self.began + due).await;
        }
    }

    /// Ends a COPY under way and merges what was staged.
    async fn settle(&mut self) -> Result<PostgresSession, SinkFault> {
        let mut session = match self.take()? {
            PostgresOpen::Copying(copying) => copying.finish().await?,
            PostgresOpen::Idle(session) => session,
            PostgresOpen::Broken => return Err(SinkFault::new("an earlier step of this change failed", "run again")),
        };
        if self.creates().is_none() && self.staged > 0 {
            let connection = session.get()?;
            let table = &self.layout.table;
            if self.standing.dimension.is_none()
                && let Some(n) = self.dimension
                && let Some(column) = self.layout.vector_column(n)
            {
                give_length(&self.sink, table, &column).await?;
                self.standing.dimension = Some(n);
                if let PostgresPlan::Keep { index, .. } = &mut self.standing.plan {
                    index.push("vector");
                }
            }
            let merge = sql::merge(table, &self.layout.sent(), self.layout.key());
            within(LONG, sqlx::raw_sql(merge).execute(&mut *connection)).await?;
            within(SHORT, sqlx::raw_sql(sql::clear_stage()).execute(connection)).await?;
        }
        self.staged = 0;
        Ok(session)
    }

    async fn remove(&mut self, keys: &[String]) -> Result<(), SinkFault> {
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
        self.open = PostgresOpen::Idle(session);
        Ok(())
    }

    fn fail(&mut self, doing: &'static str) -> impl Fn(SinkFault) -> Error + use<> {
        self.open = PostgresOpen::Broken;
        self.sink.error(doing)
    }
}

/// Adds the columns that are new, in a transaction that is over before the load begins. They are null until it ends, which is what
/// readers who know of them see, and nothing to those who don't.
async fn add_columns(connection: &mut PgConnection, sink: &Postgres, layout: &PostgresLayout) -> Result<(), SinkFault> {
    let target = &layout.target.table;
    let states = state::read(connection, &sink.schema, target, &layout.table.name).await?;
    let standing = layout.stand(connection, states, &sink.project).await?;
    let PostgresPlan::Keep { add, .. } = standing.plan else { return Ok(()) };
    if add.is_empty() {
        return Ok(());
    }
    state::run(connection, "begin").await?;
    exclusively(connection, &layout.table).await?;
    for column in &add {
        within(SHORT, sqlx::raw_sql(sql::add_column(&layout.table, column)).execute(&mut *connection)).await?;
    }
    state::run(connection, "commit").await
}

/// Gives a column of vectors, in which there are none, the length of those that are about to come: in a transaction of its own, which is
/// over before they are written. The column is made again, which touches no row; to alter its type would write all of them.
async fn give_length(sink: &Postgres, table: &Name, column: &Column) -> Result<(), SinkFault> {
    let mut session = sink.door.open().await?;
    let connection = session.get()?;
    state::run(connection, "begin").await?;
    let carried = rights::of_column(connection, table, &column.name).await?;
    exclusively(connection, table).await?;
    for statement in [sql::drop_column(table, &column.name), sql::add_column(table, column)].into_iter().chain(carried)
    {
        within(SHORT, sqlx::raw_sql(statement).execute(&mut *connection)).await?;
    }
    state::run(connection, "commit").await?;
    session.end().await;
    Ok(())
}

/// Keeps everybody from the table until the open transaction ends. Who waits for such a lock holds up all who come after: so it waits no
/// longer than readers notice, lets them pass, and tries again.
///
/// # Errors
/// If somebody holds the table for minutes.
pub(super) async fn exclusively(connection: &mut PgConnection, table: &Name) -> Result<(), SinkFault> {
    let began = Instant::now();
    loop {
        state::run(connection, "savepoint taking; set local lock_timeout = '50ms'").await?;
        let taken = within(SHORT, sqlx::raw_sql(sql::lock_table(table)).execute(&mut *connection)).await;
        match taken {
            Ok(_) => return state::run(connection, "release savepoint taking; set local lock_timeout = '60s'").await,
            Err(fault) if fault.code() == Some(LOCKED) && began.elapsed() < PATIENCE => {
                state::run(connection, "rollback to savepoint taking; release savepoint taking").await?;
                tokio::time::sleep(BETWEEN).await;
            }
            Err(fault) => return Err(fault),
        }
    }
}

/// The lock that a transaction holds from its beginning to its end.
fn writers(schema: &str, layout: &PostgresLayout) -> i64 {
    state::key(&["write", schema, &layout.target.table.to_string()])
}

#[async_trait]
impl Apply for PostgresChange {
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
            let encoded =
                encoded.map_err(|e: Cause| SinkFault::new(e.to_string(), "correct the model, and check its column"));
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
