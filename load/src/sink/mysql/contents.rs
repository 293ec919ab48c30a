//! What really lies in a table, row by row, and what should: both sides in the same bytes, hashed.
//!
//! Rows are read in ranges of keys, each by a statement of its own, so that neither this program nor the server holds more than a range,
//! and a swap need not wait until all is read. A watermark that moved meanwhile says that two tables were read as one.

use std::sync::Arc;

use futures::stream;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Row, Value};

use super::Mysql;
use super::cell::{Cells, compared, compared_float};
use super::column::MysqlColumn;
use super::connect::{LONG, MysqlSession, within};
use super::layout::{self, MysqlLayout};
use super::sql;
use super::state::{self, MysqlState};
use crate::error::Result;
use crate::fault::{Cause, SinkFault};
use crate::keys::Hashes;
use crate::sink::{Contents, Rows};
use crate::target::SyncTarget;
use rows::{RowHash, Value as Cell};

/// Part of every hash.
const SEED: &str = "mysql";
/// Rows of a range.
const ROWS: usize = 8_192;

/// A table that is read.
struct Reading {
    sink: Arc<Mysql>,
    session: MysqlSession,
    state: MysqlState,
    columns: Vec<MysqlColumn>,
    key: String,
    after: Option<String>,
    ended: bool,
}

/// Reads the table of a watermark.
pub(super) async fn read(sink: &Arc<Mysql>, state: MysqlState, target: &SyncTarget) -> Result<Contents, SinkFault> {
    let mut session = sink.door.open().await?;
    let mut columns = layout::held(&mut session, &state.relation).await?.unwrap_or_default();
    if !columns.iter().any(|column| column.name == target.key) {
        return Ok(Box::pin(stream::empty()));
    }
    columns.sort_by(|one, other| one.name.cmp(&other.name));
    let key = target.key.clone();
    let reading = Reading { sink: Arc::clone(sink), session, state, columns, key, after: None, ended: false };
    Ok(Box::pin(stream::unfold(reading, async |mut reading| {
        if reading.ended {
            return None;
        }
        let part = reading.next().await;
        reading.ended |= part.is_err();
        Some((part.map_err(reading.sink.error("reading")), reading))
    })))
}

impl Reading {
    /// The next range.
    async fn next(&mut self) -> Result<Hashes, SinkFault> {
        let statement = sql::contents(&self.state.relation, &self.key, &self.columns, self.after.is_some(), ROWS);
        let is_number = self.columns.iter().any(|column| column.name == self.key && column.is_number());
        let after: Vec<Value> = self.after.iter().map(|key| super::key(key, is_number)).collect();
        let rows: Vec<Row> = within(LONG, self.session.get()?.exec(statement, after)).await?;
        let mut part = Hashes::default();
        self.ended = rows.len() < ROWS;
        let columns = self.columns.as_slice();
        for row in rows {
            let mut cells = row.unwrap().into_iter();
            let key = match cells.next() {
                Some(Value::Bytes(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => String::new(),
            };
            let cells = columns.iter().zip(cells).map(|(column, value)| (column.name.as_str(), there(column, value)));
            part.push(&key, hash(cells));
            self.after = Some(key);
        }
        if self.ended {
            let table =
                self.state.table.parse().map_err(|_| SinkFault::new("expected a table's name", "drop the table"))?;
            let now = state::current(&mut self.session, &table).await?;
            if now.is_none_or(|now| now.change != self.state.change) {
                return Err(SinkFault::passing("a sync changed the table while it was read", "run again"));
            }
        }
        Ok(part)
    }
}

/// The bytes that the server gave for a cell, as they are compared.
fn there(column: &MysqlColumn, value: Value) -> Option<Vec<u8>> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(compared(column.form(), &bytes)),
        Value::Float(f) => Some(compared_float(f64::from(f))),
        Value::Double(f) => Some(compared_float(f)),
        other => Some(other.as_sql(true).into_bytes()),
    }
}

fn hash<'a>(cells: impl Iterator<Item = (&'a str, Option<Vec<u8>>)>) -> RowHash {
    let cells: Vec<(&str, Cell)> = cells.map(|(name, bytes)| (name, bytes.map_or(Cell::Null, Cell::Bytes))).collect();
    RowHash::of(SEED, cells.iter().map(|(name, value)| (*name, value)))
}

/// What [`read`] says of each of these rows where they lie as they should.
pub(super) fn stored(target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>, Cause> {
    let mut columns = MysqlLayout::new(target, &rows.batch.schema())?.sent();
    columns.sort_by(|one, other| one.name.cmp(&other.name));
    let cells = Cells::new(rows, &columns)?;
    let mut text = Vec::new();
    let mut of = |row| {
        let mut found = Vec::with_capacity(columns.len());
        for (at, column) in columns.iter().enumerate() {
            text.clear();
            let there = cells.write(row, at, &mut text)?;
            found.push((column.name.as_str(), there.then(|| compared(column.form(), &text))));
        }
        Ok(hash(found.into_iter()))
    };
    (0..rows.keys.len()).map(&mut of).collect()
}
