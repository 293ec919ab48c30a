//! The watermark of a table, in the same database and the same transaction as its rows.

use std::time::Duration;

use catalog::TableName;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::connect::within;
use super::read;
use super::sql::{self, Name, STATE};
use crate::fault::SinkFault;
use crate::target::{Cursor, SyncTarget};
use rows::fingerprint;

/// Raise it when the tables here change: older ones are then built anew.
const FORMAT: i32 = 1;
/// For statements about a few rows.
pub(super) const SHORT: Duration = Duration::from_mins(2);
/// How often a waiting sync looks whether the other one is done.
const LOCK_POLL: Duration = Duration::from_millis(150);
/// How long a sync waits for another before it gives up.
const LOCK_PATIENCE: Duration = Duration::from_hours(2);

/// What the database says about a table of ours.
#[derive(Debug, Clone)]
pub(super) struct PostgresState {
    pub(super) table: String,
    pub(super) relation: String,
    pub(super) project: String,
    pub(super) cursor: Cursor,
    /// The roles that the rows were written for; `None` when this version cannot read them.
    pub(super) target: Option<SyncTarget>,
    /// Names the change that wrote it: the fence of the next one, and the proof of a commit whose reply was lost.
    pub(super) change: String,
    pub(super) rows: i64,
    /// How keywords are found: `pg_bigm`, `pg_trgm`, `scan`.
    pub(super) keywords: String,
}

impl PostgresState {
    fn of(row: &PgRow) -> Result<Self, sqlx::Error> {
        let format: i32 = row.try_get(3)?;
        let target: String = row.try_get(6)?;
        let version: i64 = row.try_get(4)?;
        // An older program wrote a version and a shape, and no more.
        let cursor: Option<String> = row.try_get(10)?;
        let known = cursor.filter(|_| format == FORMAT).and_then(|text| serde_json::from_str(&text).ok());
        Ok(Self {
            table: row.try_get(0)?,
            relation: row.try_get(1)?,
            project: row.try_get(2)?,
            cursor: known.unwrap_or_else(|| Cursor { version: version.cast_unsigned(), ..Cursor::default() }),
            target: if format == FORMAT { serde_json::from_str(&target).ok() } else { None },
            change: row.try_get(7)?,
            rows: row.try_get(8)?,
            keywords: row.try_get(9)?,
        })
    }

    /// Writes it, if the watermark is still the one of `before`. `false`: somebody else was faster.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        schema: &str,
        before: Option<&str>,
    ) -> Result<bool, SinkFault> {
        let statement = if before.is_some() { sql::update_state(schema) } else { sql::insert_state(schema) };
        let target = serde_json::to_string(&self.target).unwrap_or_default();
        let mut query = sqlx::query(statement)
            .bind(&self.table)
            .bind(&self.relation)
            .bind(&self.project)
            .bind(FORMAT)
            .bind(self.cursor.version.cast_signed())
            .bind(&self.cursor.shape)
            .bind(target)
            .bind(&self.change)
            .bind(self.rows)
            .bind(&self.keywords)
            .bind(serde_json::to_string(&self.cursor).unwrap_or_default());
        if let Some(before) = before {
            query = query.bind(before);
        }
        Ok(within(SHORT, query.execute(connection)).await?.rows_affected() == 1)
    }
}

/// Whether the table of watermarks is there.
pub(super) async fn is_there(connection: &mut PgConnection, schema: &str) -> Result<bool, SinkFault> {
    let query = sqlx::query_scalar(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = $1 and c.relname = $2)",
    );
    within(SHORT, query.bind(schema).bind(STATE).fetch_one(connection)).await
}

/// The watermarks that speak of this table or of this relation.
pub(super) async fn read(
    connection: &mut PgConnection,
    schema: &str,
    table: &TableName,
    relation: &str,
) -> Result<Vec<PostgresState>, SinkFault> {
    if !is_there(connection, schema).await? {
        return Ok(Vec::new());
    }
    let query = sqlx::query(sql::read_state(schema)).bind(table.to_string()).bind(relation);
    let rows = within(SHORT, query.fetch_all(connection)).await?;
    Ok(rows.iter().map(PostgresState::of).collect::<Result<_, _>>()?)
}

/// Every watermark of a schema.
pub(super) async fn all(connection: &mut PgConnection, schema: &str) -> Result<Vec<PostgresState>, SinkFault> {
    if !is_there(connection, schema).await? {
        return Ok(Vec::new());
    }
    let rows = within(SHORT, sqlx::query(sql::all_states(schema)).fetch_all(connection)).await?;
    Ok(rows.iter().map(PostgresState::of).collect::<Result<_, _>>()?)
}

/// Makes schema and table of watermarks where they are missing, in a transaction of its own.
pub(super) async fn prepare(connection: &mut PgConnection, schema: &str) -> Result<(), SinkFault> {
    if is_there(connection, schema).await? {
        let columns = read::columns(connection, &Name::new(schema, STATE)).await?;
        if !columns.iter().any(|column| column.name == "cursor") {
            within(SHORT, sqlx::raw_sql(sql::add_cursor(schema)).execute(connection)).await?;
        }
        return Ok(());
    }
    run(connection, "begin").await?;
    let query = sqlx::query("select pg_advisory_xact_lock($1)").bind(key(&["prepare", schema]));
    within(SHORT, query.execute(&mut *connection)).await?;
    let query = sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)").bind(schema);
    if !within(SHORT, query.fetch_one(&mut *connection)).await? {
        within(SHORT, sqlx::raw_sql(sql::create_schema(schema)).execute(&mut *connection)).await?;
    }
    within(SHORT, sqlx::raw_sql(sql::create_state(schema)).execute(&mut *connection)).await?;
    run(connection, "commit").await
}

/// A statement of fixed text.
pub(super) async fn run(connection: &mut PgConnection, statement: &'static str) -> Result<(), SinkFault> {
    within(SHORT, sqlx::raw_sql(statement).execute(connection)).await.map(|_| ())
}

/// Removes the watermark of a table.
pub(super) async fn forget(connection: &mut PgConnection, schema: &str, table: &TableName) -> Result<(), SinkFault> {
    let query = sqlx::query(sql::delete_state(schema)).bind(table.to_string());
    within(SHORT, query.execute(connection)).await.map(|_| ())
}

/// The number that an advisory lock goes by.
pub(super) fn key(parts: &[&str]) -> i64 {
    fingerprint(std::iter::once("onggi").chain(parts.iter().copied()).map(str::as_bytes))
}

/// Takes an advisory lock, for the session or for the open transaction; says once that it waits.
pub(super) async fn lock(
    connection: &mut PgConnection,
    key: i64,
    transaction: bool,
    waiting: &(dyn Fn() + Send + Sync),
) -> Result<(), SinkFault> {
    let began = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let query = if transaction {
            sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        } else {
            sqlx::query_scalar("select pg_try_advisory_lock($1)")
        };
        if within(SHORT, query.bind(key).fetch_one(&mut *connection)).await? {
            return Ok(());
        }
        if !told {
            waiting();
            told = true;
        }
        if began.elapsed() > LOCK_PATIENCE {
            return Err(SinkFault::passing(
                format!("another sync of this table is not done after {} minutes", LOCK_PATIENCE.as_secs() / 60),
                "look for it with `select * from pg_locks where locktype = 'advisory'`",
            ));
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}
