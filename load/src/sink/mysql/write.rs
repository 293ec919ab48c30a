//! Rows to the server: as one file that never was one, where the server takes files from its clients, else as rows of bound cells.

use mysql_async::Value;
use mysql_async::prelude::Queryable as _;

use super::cell::Cells;
use super::column::MysqlColumn;
use super::connect::{MysqlSession, within};
use super::lines::{Lines, STALL, kept};
use super::sql;
use crate::fault::{Cause, SinkFault};
use crate::sink::Rows;

/// What one statement binds, at most: cells (`max_prepared_stmt` counts them in 16 bits), rows, and bytes, which is a quarter of the
/// smallest `max_allowed_packet` that a server has by itself.
const MAX_CELLS: usize = u16::MAX as usize;
const MAX_ROWS: usize = 500;
const MAX_BYTES: usize = 4 << 20;

/// Rows on their way.
pub(super) enum MysqlRows {
    /// Lines of a file.
    Lines(Lines),
    /// Cells to be bound.
    Cells(Vec<Vec<Value>>),
}

/// Rows as the server takes them.
pub(super) fn encode(columns: &[MysqlColumn], rows: &Rows, takes_files: bool) -> Result<MysqlRows, Cause> {
    let cells = Cells::new(rows, columns)?;
    if takes_files {
        return Ok(MysqlRows::Lines(Lines(cells.lines()?.into(), rows.keys.len() as u64)));
    }
    Ok(MysqlRows::Cells((0..rows.keys.len()).map(|row| cells.bound(row)).collect::<Result<_, _>>()?))
}

/// Writes cells into a table that has none of their keys.
pub(super) async fn insert(
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
    let expected = rows.len() as u64;
    let cells: Vec<Value> = rows.into_iter().flatten().collect();
    let connection = session.get()?;
    within(STALL, connection.exec_drop(statement, cells)).await?;
    kept(expected, connection.affected_rows())
}
