//! COPY in both directions: rows in, from a task of its own so that encoding and sending overlap; rows out, a message at a time.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::connect::{PostgresSession, within};
use super::encode::{footer, header};
use super::sql::Sql;
use crate::fault::SinkFault;
use crate::keys::Hashes;
use rows::RowHash;

/// How long the server may take none of our bytes.
const STALL: Duration = Duration::from_mins(5);
/// Encoded parts that wait to be sent: enough that neither side waits for the other.
const QUEUE: usize = 4;
/// The largest message that is sent at once (bytes).
const CHUNK: usize = 256 << 10;

enum Part {
    Rows(Bytes),
    End,
}

/// A COPY under way. Dropping it aborts it, and with it the transaction.
pub(super) struct Copying {
    parts: mpsc::Sender<Part>,
    task: JoinHandle<Result<PostgresSession, SinkFault>>,
}

impl Copying {
    /// Starts it; the connection comes back from [`Copying::finish`].
    pub(super) fn start(session: PostgresSession, statement: Sql) -> Self {
        let (parts, receiver) = mpsc::channel(QUEUE);
        Self { parts, task: tokio::spawn(copy(session, statement, receiver)) }
    }

    /// Queues encoded rows; waits while the server is slower than we are. `false`: the COPY has failed, and `finish` says why.
    pub(super) async fn send(&self, rows: Bytes) -> bool {
        self.parts.send(Part::Rows(rows)).await.is_ok()
    }

    /// All rows were sent.
    pub(super) async fn finish(self) -> Result<PostgresSession, SinkFault> {
        let _ = self.parts.send(Part::End).await;
        match self.task.await {
            Ok(done) => done,
            Err(_) => Err(SinkFault::passing("the task that writes was stopped", "run again")),
        }
    }
}

async fn copy(
    mut session: PostgresSession,
    statement: Sql,
    mut parts: mpsc::Receiver<Part>,
) -> Result<PostgresSession, SinkFault> {
    let mut sink = within(STALL, session.get()?.copy_in_raw(statement.text())).await?;
    within(STALL, sink.send(header())).await?;
    loop {
        match parts.recv().await {
            Some(Part::Rows(rows)) => {
                for at in (0..rows.len()).step_by(CHUNK) {
                    within(STALL, sink.send(rows.slice(at..rows.len().min(at + CHUNK)))).await?;
                }
            }
            Some(Part::End) => break,
            None => {
                let _ = within(STALL, sink.abort("the change was given up")).await;
                return Err(SinkFault::passing("the change was given up", "run again"));
            }
        }
    }
    within(STALL, sink.send(footer())).await?;
    within(STALL, sink.finish()).await?;
    Ok(session)
}

/// Key and hash of every row, by `copy (select key::text, hash …) to stdout`.
pub(super) async fn hashes(connection: &mut PgConnection, statement: &Sql) -> Result<Hashes, SinkFault> {
    let mut rows = Hashes::default();
    let mut copy = CopyRows::start(connection, statement).await?;
    let mut take = |fields: &[Option<&[u8]>]| {
        // A hash that can't be read belongs to a row that is written again.
        let hash = RowHash(fields.get(1).copied().flatten().and_then(|it| it.try_into().ok()).unwrap_or([0; 16]));
        rows.push(key(fields)?, hash);
        Ok(())
    };
    while copy.next(&mut take).await? {}
    Ok(rows)
}

/// The first field of a row: its key.
pub(super) fn key<'a>(fields: &[Option<&'a [u8]>]) -> Result<&'a str, SinkFault> {
    let key = fields.first().copied().flatten().unwrap_or_default();
    std::str::from_utf8(key)
        .map_err(|_| SinkFault::new("expected keys in UTF-8, found another encoding", "drop the table, and run again"))
}

/// What is done with the fields of a row.
type EachRow<'a> = &'a mut (dyn FnMut(&[Option<&[u8]>]) -> Result<(), SinkFault> + Send);

/// The rows of a binary `copy (select …) to stdout`.
pub(super) struct CopyRows<'c> {
    stream: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    left: Vec<u8>,
    begun: bool,
}

impl<'c> CopyRows<'c> {
    pub(super) async fn start(connection: &'c mut PgConnection, statement: &Sql) -> Result<Self, SinkFault> {
        let stream = within(STALL, connection.copy_out_raw(statement.text())).await?;
        Ok(Self { stream, left: Vec::new(), begun: false })
    }

    /// Calls `each` with the fields of the rows that the next message completes. `false`: that was all.
    pub(super) async fn next(&mut self, each: EachRow<'_>) -> Result<bool, SinkFault> {
        let next = tokio::time::timeout(STALL, self.stream.next()).await;
        let Some(bytes) = next.map_err(|_| SinkFault::passing("the server stopped sending rows", "run again"))? else {
            return Ok(false);
        };
        self.left.extend_from_slice(&bytes?);
        let mut reader = CopyReader { bytes: &self.left, at: 0 };
        if !self.begun {
            self.begun = reader.skip_header();
        }
        let mut fields = Vec::new();
        while self.begun && reader.row(&mut fields) {
            if !fields.is_empty() {
                each(&fields)?;
            }
        }
        let done = reader.at;
        self.left.drain(..done);
        Ok(true)
    }
}

/// Reads whole rows of a binary COPY.
struct CopyReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> CopyReader<'a> {
    fn skip_header(&mut self) -> bool {
        match self.number(15).and_then(|length| usize::try_from(length).ok()) {
            Some(length) if self.bytes.len() >= 19 + length => {
                self.at = 19 + length;
                true
            }
            _ => false,
        }
    }

    fn number(&self, at: usize) -> Option<i32> {
        Some(i32::from_be_bytes(self.bytes.get(at..at + 4)?.try_into().ok()?))
    }

    /// The fields of the next row, a null as `None`; none at all for the footer. `false` when more bytes are needed.
    fn row(&mut self, fields: &mut Vec<Option<&'a [u8]>>) -> bool {
        fields.clear();
        let Some(end) = self.read(fields) else { return false };
        self.at = end;
        true
    }

    fn read(&self, fields: &mut Vec<Option<&'a [u8]>>) -> Option<usize> {
        let count = i16::from_be_bytes(self.bytes.get(self.at..self.at + 2)?.try_into().ok()?);
        let mut at = self.at + 2;
        for _ in 0..count {
            let length = self.number(at)?;
            at += 4;
            // A null is a length of -1.
            let Ok(length) = usize::try_from(length) else {
                fields.push(None);
                continue;
            };
            fields.push(Some(self.bytes.get(at..at + length)?));
            at += length;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whole_and_in_any_cut() {
        let mut bytes = header().to_vec();
        for key in ["a", "", "망원"] {
            bytes.extend_from_slice(&[0, 3]);
            bytes.extend_from_slice(&u32::try_from(key.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&(-1_i32).to_be_bytes());
            bytes.extend_from_slice(&16_u32.to_be_bytes());
            bytes.extend_from_slice(&[7; 16]);
        }
        let whole = bytes.len();
        bytes.extend_from_slice(&footer());
        for cut in 0..=bytes.len() {
            let mut reader = CopyReader { bytes: &bytes[..cut], at: 0 };
            let (mut keys, mut fields) = (Vec::new(), Vec::new());
            if reader.skip_header() {
                while reader.row(&mut fields) {
                    if let [Some(key), null, hash] = fields[..] {
                        assert_eq!((null, hash), (None, Some(&[7; 16][..])));
                        keys.push(key);
                    }
                }
            }
            assert!(cut < whole || keys == ["a".as_bytes(), b"", "망원".as_bytes()], "{cut}: {keys:?}");
        }
    }
}
