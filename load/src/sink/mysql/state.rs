//! The watermark of a table: how far it is, which change made it so, and which build of the table it speaks of.
//!
//! A server of this kind ends its transaction at every `create`, `alter` and `rename`. So a watermark that is to come into force with a new
//! table can't be written in the transaction that puts the table in its place: there is none. Instead each table that we make names
//! its build in its comment, a watermark names the build that it is for, and the one that counts is the one whose build the table has. It is
//! written *before* the rename and means nothing yet; the rename, which is atomic, brings table and watermark into force together.
//! A kill before it leaves a table and a watermark that nobody reads, and the next change removes both.

use std::time::Duration;

use catalog::TableName;
use mysql_async::prelude::{FromValue, Queryable as _};
use mysql_async::{Row, Value};

use super::connect::{MysqlPool, MysqlSession, SHORT, within};
use super::sql;
use crate::fault::SinkFault;
use crate::target::{Cursor, SyncTarget};
use rows::content_hash;

/// Raise it when the tables here change: older ones are then built anew.
const FORMAT: i64 = 1;
/// How often a waiting sync looks whether the other one is done.
const LOCK_POLL: Duration = Duration::from_millis(150);
/// How long a sync waits for another before it gives up.
const LOCK_PATIENCE: Duration = Duration::from_hours(2);

/// What the database says about a table of ours.
#[derive(Debug, Clone)]
pub(super) struct MysqlState {
    pub(super) table: String,
    /// Which making of the table it is for.
    pub(super) build: String,
    pub(super) relation: String,
    pub(super) project: String,
    pub(super) cursor: Cursor,
    /// The roles that the rows were written for; `None` when this version cannot read them.
    pub(super) target: Option<SyncTarget>,
    /// Names the change that wrote it: the fence of the next one, and the proof of a commit whose reply was lost.
    pub(super) change: String,
    /// Whether the table that is there is of this build.
    pub(super) is_current: bool,
}

/// A field of a row.
fn field<T: FromValue>(row: &mut Row, at: usize) -> Result<T, SinkFault> {
    row.take_opt(at).and_then(Result::ok).ok_or_else(|| {
        SinkFault::new(
            format!("expected a watermark in `{}`, found something else in its field {}", sql::STATE, at + 1),
            "somebody else wrote there: drop that table, and the next sync makes all anew",
        )
    })
}

impl MysqlState {
    fn of(mut row: Row) -> Result<Self, SinkFault> {
        let row = &mut row;
        let (format, target): (i64, String) = (field(row, 4)?, field(row, 12)?);
        let known = format == FORMAT;
        let version = field(row, 8)?;
        let cursor = Cursor {
            lake: field(row, 6)?,
            table_id: field(row, 7)?,
            version,
            content: field(row, 9)?,
            rows: field(row, 10)?,
            shape: field(row, 11)?,
        };
        Ok(Self {
            table: field(row, 0)?,
            build: field(row, 1)?,
            relation: field(row, 2)?,
            project: field(row, 3)?,
            change: field(row, 5)?,
            cursor: if known { cursor } else { Cursor { version, ..Cursor::default() } },
            target: if known { serde_json::from_str(&target).ok() } else { None },
            is_current: field::<i64>(row, 13)? != 0,
        })
    }

    /// Writes it: over the one of the change `before`, or as the one of a build that nobody sees yet. `false`: somebody else was faster.
    pub(super) async fn write(&self, session: &mut MysqlSession, before: Option<&str>) -> Result<bool, SinkFault> {
        let cursor = &self.cursor;
        let mut values: Vec<Value> = vec![
            self.relation.as_str().into(),
            self.project.as_str().into(),
            FORMAT.into(),
            self.change.as_str().into(),
            cursor.lake.as_str().into(),
            cursor.table_id.as_str().into(),
            cursor.version.into(),
            cursor.content.as_str().into(),
            cursor.rows.into(),
            cursor.shape.as_str().into(),
            serde_json::to_string(&self.target).unwrap_or_default().into(),
            self.table.as_str().into(),
            self.build.as_str().into(),
        ];
        values.extend(before.map(Value::from));
        let statement = if before.is_some() { sql::update_state() } else { sql::insert_state() };
        let connection = session.get()?;
        within(SHORT, connection.exec_drop(statement, values)).await?;
        Ok(connection.affected_rows() == 1)
    }
}

/// Whether the table of watermarks is there.
async fn is_there(session: &mut MysqlSession) -> Result<bool, SinkFault> {
    let query = "select count(*) from information_schema.tables where table_schema = database() and table_name = ?";
    let found: Option<i64> = within(SHORT, session.get()?.exec_first(query, (sql::STATE,))).await?;
    Ok(found == Some(1))
}

/// The watermarks that speak of this table or of this relation.
pub(super) async fn read(
    session: &mut MysqlSession,
    table: &TableName,
    relation: &str,
) -> Result<Vec<MysqlState>, SinkFault> {
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let query = session.get()?.exec(sql::read_state(), (table.to_string(), relation));
    let rows: Vec<Row> = within(SHORT, query).await?;
    rows.into_iter().map(MysqlState::of).collect()
}

/// The watermark that counts for this table.
pub(super) async fn current(session: &mut MysqlSession, table: &TableName) -> Result<Option<MysqlState>, SinkFault> {
    let states = read(session, table, "").await?;
    Ok(states.into_iter().find(|it| it.is_current && it.table == table.to_string()))
}

/// Every watermark of the database that counts.
pub(super) async fn all(session: &mut MysqlSession) -> Result<Vec<MysqlState>, SinkFault> {
    if !is_there(session).await? {
        return Ok(Vec::new());
    }
    let rows: Vec<Row> = within(SHORT, session.get()?.query(sql::all_states())).await?;
    rows.into_iter().map(MysqlState::of).collect()
}

/// Makes the table of watermarks where it is missing.
pub(super) async fn prepare(session: &mut MysqlSession) -> Result<(), SinkFault> {
    if is_there(session).await? {
        return Ok(());
    }
    let statement = sql::create_state(session.server()?.collation());
    session.run(SHORT, &statement).await
}

/// Removes the watermarks of a table but the one of `build`.
pub(super) async fn keep_only(session: &mut MysqlSession, table: &TableName, build: &str) -> Result<(), SinkFault> {
    within(SHORT, session.get()?.exec_drop(sql::delete_states(), (table.to_string(), build))).await
}

/// The name that a lock goes by; they are the whole server's, and at most 64 characters long.
pub(super) fn lock_name(door: &MysqlPool, what: &str, table: &TableName) -> String {
    let parts = [what, door.database(), &table.to_string()];
    format!("onggi {}", &content_hash(parts.map(str::as_bytes))[..40])
}

/// Takes a lock, which is the session's until it ends; says once that it waits.
pub(super) async fn lock(
    session: &mut MysqlSession,
    name: &str,
    waiting: &(dyn Fn() + Send + Sync),
) -> Result<(), SinkFault> {
    let began = tokio::time::Instant::now();
    let mut told = false;
    loop {
        let query = session.get()?.exec_first("select get_lock(?, 0)", (name,));
        let taken: Option<Option<i64>> = within(SHORT, query).await?;
        if taken.flatten() == Some(1) {
            return Ok(());
        }
        if !told {
            waiting();
            told = true;
        }
        if began.elapsed() > LOCK_PATIENCE {
            return Err(SinkFault::passing(
                format!("another sync of this table is not done after {} minutes", LOCK_PATIENCE.as_secs() / 60),
                format!("look for it with `select is_used_lock('{name}')`, which is the id of its connection"),
            ));
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}
