//! The end of a change: a transaction or a rename, and what follows when its reply is lost.

use std::sync::Arc;
use std::time::Duration;

use catalog::failpoint;
use mysql_async::Value;
use mysql_async::prelude::Queryable as _;

use super::MysqlChange;
use crate::fault::SinkFault;
use crate::sink::counted;
use crate::sink::mysql::connect::{LONG, MysqlSession, SHORT, within};
use crate::sink::mysql::layout::MysqlPlan;
use crate::sink::mysql::patience::{beside_readers, patiently};
use crate::sink::mysql::state::{self, MysqlState};
use crate::sink::mysql::{drop_aside, key, rights, sql};
use crate::target::Cursor;

/// How many keys are deleted by one statement.
const DELETES: usize = 1_000;
/// How often a lost reply is asked about, and how long between two tries at first.
const QUESTIONS: u32 = 8;
const QUESTION_EVERY: Duration = Duration::from_millis(250);
/// What to do about a table whose rows are not as many as they should be.
const RECOUNT: &str = "somebody else writes to the table: `onggi reconcile` says where, and `onggi reconcile --repair` makes it as its mart";

impl MysqlChange {
    /// Makes everything visible, or nothing.
    pub(super) async fn publish(&mut self, cursor: Cursor) -> Result<(), SinkFault> {
        let mut session = self.take().await?;
        let lost = match self.creates() {
            Some(swap) => self.replace(&mut session, cursor, swap).await?,
            None => self.merge(&mut session, cursor).await?,
        };
        failpoint!("load.mysql.after");
        let Some(lost) = lost else {
            // What took place did so, whether or not the old table can be dropped now: the next change tries again.
            if let Err(fault) = drop_aside(&mut session, &self.layout).await {
                tracing::warn!(table = %self.layout.table, error = %fault, "the table that was replaced is not dropped yet");
            }
            session.end().await;
            return Ok(());
        };
        drop(session);
        tracing::warn!(table = %self.layout.table, error = %lost, "the reply to the end of a change was lost; asking the watermark");
        self.ask(lost).await
    }

    async fn count(&self, session: &mut MysqlSession, table: &str, cursor: &Cursor) -> Result<(), SinkFault> {
        let rows: Option<u64> = within(LONG, session.get()?.query_first(sql::count(table))).await?;
        counted(rows.unwrap_or(0), cursor).map_err(|message| SinkFault::new(message, RECOUNT))
    }

    fn state(&self, cursor: Cursor, build: String) -> MysqlState {
        MysqlState {
            table: self.layout.target.table.to_string(),
            build,
            relation: self.layout.table.clone(),
            project: self.sink.project.clone(),
            cursor,
            target: Some(self.layout.target.clone()),
            change: self.id.clone(),
            is_current: true,
        }
    }

    /// Puts a new table in its place, together with its watermark. An error that is given back is one of the rename's reply.
    async fn replace(
        &mut self,
        session: &mut MysqlSession,
        cursor: Cursor,
        swap: bool,
    ) -> Result<Option<SinkFault>, SinkFault> {
        self.make(session).await?;
        let (layout, fresh) = (Arc::clone(&self.layout), self.fresh());
        for part in self.gone.chunks(DELETES) {
            self.hold_back().await;
            delete(session, &fresh, layout.key(), layout.key_is_number(), part).await?;
        }
        if let Some(entity) = &layout.target.entity {
            session.run(LONG, &sql::add_index(&fresh, &entity.column)).await?;
        }
        if self.gone.is_empty() {
            // Nobody else knows its name, and each statement has said how many rows it kept.
            counted(self.written, &cursor).map_err(|message| SinkFault::new(message, RECOUNT))?;
        } else {
            self.count(session, &fresh, &cursor).await?;
        }
        if swap {
            rights::refuse_bound(session, &layout.table).await?;
            rights::carry(session, &layout.table, &fresh).await?;
        }
        let _: Vec<mysql_async::Row> = within(LONG, session.get()?.query(sql::analyze(&fresh))).await?;
        failpoint!("load.mysql.written");
        if !self.state(cursor, self.id.clone()).write(session, None).await? {
            return Err(SinkFault::passing("the watermark was not written", "run again"));
        }
        failpoint!("load.mysql.before");
        let old = layout.aside("old", &self.id);
        let statement = if swap {
            sql::rename(&[(&layout.table, &old), (&fresh, &layout.table)])
        } else {
            sql::rename(&[(&fresh, &layout.table)])
        };
        unless_lost(patiently(&self.sink.door, session, &statement).await)
    }

    /// Writes what waits over the rows that are there, in one transaction. An error that is given back is one of the COMMIT's reply.
    async fn merge(&mut self, session: &mut MysqlSession, cursor: Cursor) -> Result<Option<SinkFault>, SinkFault> {
        let layout = Arc::clone(&self.layout);
        let table = &layout.table;
        if let (MysqlPlan::Keep { index: true, .. }, Some(entity)) = (&self.standing.plan, &layout.target.entity) {
            beside_readers(session, &sql::add_index(table, &entity.column)).await?;
        }
        failpoint!("load.mysql.written");
        session.run(SHORT, "start transaction").await?;
        if self.made {
            session.run(LONG, &sql::merge(table, &layout.sent(), layout.key())).await?;
        }
        for part in self.gone.chunks(DELETES) {
            self.hold_back().await;
            delete(session, table, layout.key(), layout.key_is_number(), part).await?;
        }
        let before = self.standing.state.clone();
        let before = before.ok_or_else(|| SinkFault::passing("the watermark is gone", "run again"))?;
        // A change of nothing has counted already.
        if self.made || !self.gone.is_empty() || before.cursor.rows != cursor.rows {
            self.count(session, table, &cursor).await?;
        }
        if !self.state(cursor, before.build).write(session, Some(&before.change)).await? {
            return Err(SinkFault::passing("another sync wrote this table meanwhile", "run again"));
        }
        failpoint!("load.mysql.before");
        unless_lost(session.run(SHORT, "commit").await)
    }

    /// Whether what the server did not answer took place: the watermark decides.
    async fn ask(&self, lost: SinkFault) -> Result<(), SinkFault> {
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
            format!("whether the change took place is not known yet: {lost}"),
            "the next sync reads the watermark and goes on from the truth",
        ))
    }

    /// Whether the watermark that counts is of this change. Waits until the server has ended its session, and so what it was at.
    async fn is_published(&self) -> Result<bool, SinkFault> {
        let mut session = self.sink.door.open().await?;
        let table = &self.layout.target.table;
        state::lock(&mut session, &state::lock_name(&self.sink.door, "write", table), &|| {}).await?;
        let now = state::current(&mut session, table).await?;
        session.end().await;
        Ok(now.is_some_and(|now| now.change == self.id))
    }
}

/// What the server refuses is an error; what it did not answer may have taken place.
fn unless_lost(done: Result<(), SinkFault>) -> Result<Option<SinkFault>, SinkFault> {
    match done {
        Ok(()) => Ok(None),
        Err(fault) if fault.code().is_none() => Ok(Some(fault)),
        // A server that stops may say so after it has done what it was told.
        Err(fault) if fault.is_retryable() => Ok(Some(fault)),
        Err(fault) => Err(fault),
    }
}

async fn delete(
    session: &mut MysqlSession,
    table: &str,
    column: &str,
    is_number: bool,
    keys: &[String],
) -> Result<(), SinkFault> {
    let values: Vec<Value> = keys.iter().map(|it| key(it, is_number)).collect();
    within(LONG, session.get()?.exec_drop(sql::delete(table, column, keys.len()), values)).await
}
