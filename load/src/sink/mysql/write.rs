//! Rows to the server: as one file that never was one, where the server takes files from its clients, else as rows of bound cells.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, InfileData, Value};

use super::cell::Cells;
use super::column::MysqlColumn;
use super::connect::{MysqlSession, within};
use super::sql;
use crate::fault::{Cause, SinkFault};
use crate::sink::Rows;

/// How long the server may take for some thousand rows.
const STALL: Duration = Duration::from_mins(10);
/// The largest part of a file that is sent at once (bytes).
const CHUNK: usize = 256 << 10;
/// What one statement binds, at most: cells (`max_prepared_stmt` counts them in 16 bits), rows, and bytes, which is a quarter of the
/// smallest `max_allowed_packet` that a server has by itself.
const MAX_CELLS: usize = u16::MAX as usize;
const MAX_ROWS: usize = 500;
const MAX_BYTES: usize = 4 << 20;

/// Rows on their way.
pub(super) enum MysqlRows {
    /// Lines of a file, and how many.
    Lines(Bytes, u64),
    /// Cells to be bound.
    Cells(Vec<Vec<Value>>),
}

/// Rows as the server takes them.
pub(super) fn encode(columns: &[MysqlColumn], rows: &Rows, takes_files: bool) -> Result<MysqlRows, Cause> {
    let cells = Cells::new(rows, columns)?;
    if takes_files {
        return Ok(MysqlRows::Lines(cells.lines()?.into(), rows.keys.len() as u64));
    }
    Ok(MysqlRows::Cells((0..rows.keys.len()).map(|row| cells.bound(row)).collect::<Result<_, _>>()?))
}

/// Writes them into a table that has none of their keys.
pub(super) async fn write(
    session: &mut MysqlSession,
    table: &str,
    columns: &[MysqlColumn],
    rows: MysqlRows,
) -> Result<(), SinkFault> {
    match rows {
        MysqlRows::Lines(lines, count) => load(session, &sql::load(table, columns), lines, count).await,
        MysqlRows::Cells(rows) => insert(session, table, columns, rows).await,
    }
}

async fn load(session: &mut MysqlSession, statement: &str, lines: Bytes, count: u64) -> Result<(), SinkFault> {
    let connection = session.get()?;
    // Whatever file the server asks for, it gets these bytes: nothing of this machine.
    connection.set_infile_handler(async move {
        let parts = (0..lines.len()).step_by(CHUNK).map(move |at| Ok(lines.slice(at..lines.len().min(at + CHUNK))));
        Ok(stream::iter(parts).boxed() as InfileData)
    });
    within(STALL, connection.query_drop(statement)).await?;
    let written = connection.affected_rows();
    // A row of a client's file that does not fit is changed or left out with a warning, whatever the mode.
    if connection.get_warnings() == 0 && written == count {
        return Ok(());
    }
    Err(SinkFault::new(
        format!("expected {count} rows to be kept as they are, found {written}: {}", warnings(connection).await?),
        "correct the model, and check its column",
    ))
}

async fn warnings(connection: &mut Conn) -> Result<String, SinkFault> {
    let said: Vec<(String, u32, String)> = within(STALL, connection.query("show warnings limit 3")).await?;
    let said: Vec<String> = said.into_iter().map(|(_, code, message)| format!("{message} ({code})")).collect();
    Ok(said.join("; "))
}

async fn insert(
    session: &mut MysqlSession,
    table: &str,
    columns: &[MysqlColumn],
    rows: Vec<Vec<Value>>,
) -> Result<(), SinkFault> {
    let most = (MAX_CELLS / columns.len().max(1)).clamp(1, MAX_ROWS);
    let (mut part, mut bytes) = (Vec::with_capacity(most), 0);
    for row in rows {
        let length = row.iter().map(size).sum::<usize>();
        if part.len() == most || (!part.is_empty() && bytes + length > MAX_BYTES) {
            send(session, table, columns, std::mem::take(&mut part)).await?;
            bytes = 0;
        }
        bytes += length;
        part.push(row);
    }
    if part.is_empty() { Ok(()) } else { send(session, table, columns, part).await }
}

fn size(value: &Value) -> usize {
    if let Value::Bytes(bytes) = value { bytes.len() } else { 8 }
}

async fn send(
    session: &mut MysqlSession,
    table: &str,
    columns: &[MysqlColumn],
    rows: Vec<Vec<Value>>,
) -> Result<(), SinkFault> {
    let statement = sql::insert(table, columns, rows.len());
    let cells: Vec<Value> = rows.into_iter().flatten().collect();
    within(STALL, session.get()?.exec_drop(statement, cells)).await
}
