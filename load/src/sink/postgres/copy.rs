//! COPY in both directions: rows in, from a task of its own so that encoding and sending overlap; keys and hashes out.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::connect::{Session, within};
use super::encode::{footer, header};
use super::fault::Fault;
use super::sql::Sql;
use crate::keys::Hashes;
use crate::value::RowHash;

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
    task: JoinHandle<Result<Session, Fault>>,
}

impl Copying {
    /// Starts it; the connection comes back from [`Copying::finish`].
    pub(super) fn start(session: Session, statement: Sql) -> Self {
        let (parts, receiver) = mpsc::channel(QUEUE);
        Self { parts, task: tokio::spawn(copy(session, statement, receiver)) }
    }

    /// Queues encoded rows; waits while the server is slower than we are. `false`: the COPY has failed, and `finish` says why.
    pub(super) async fn send(&self, rows: Bytes) -> bool {
        self.parts.send(Part::Rows(rows)).await.is_ok()
    }

    /// All rows were sent.
    pub(super) async fn finish(self) -> Result<Session, Fault> {
        let _ = self.parts.send(Part::End).await;
        match self.task.await {
            Ok(done) => done,
            Err(_) => Err(Fault::passing("the task that writes was stopped", "run again")),
        }
    }
}

async fn copy(mut session: Session, statement: Sql, mut parts: mpsc::Receiver<Part>) -> Result<Session, Fault> {
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
                return Err(Fault::passing("the change was given up", "run again"));
            }
        }
    }
    within(STALL, sink.send(footer())).await?;
    within(STALL, sink.finish()).await?;
    Ok(session)
}

/// Key and hash of every row, by `copy (select key::text, hash …) to stdout`.
pub(super) async fn hashes(connection: &mut PgConnection, statement: &Sql) -> Result<Hashes, Fault> {
    let mut stream = within(STALL, connection.copy_out_raw(statement.text())).await?;
    let mut rows = Hashes::default();
    let mut left: Vec<u8> = Vec::new();
    let mut begun = false;
    loop {
        let next = tokio::time::timeout(STALL, stream.next()).await;
        let Some(bytes) = next.map_err(|_| Fault::passing("the server stopped sending rows", "run again"))? else {
            break;
        };
        left.extend_from_slice(&bytes?);
        let mut reader = Reader { bytes: &left, at: 0 };
        if !begun {
            begun = reader.skip_header();
        }
        while begun && let Some(row) = reader.row() {
            if let Some((key, hash)) = row {
                let key = std::str::from_utf8(key).map_err(|_| {
                    Fault::new("expected keys in UTF-8, found another encoding", "drop the table, and run again")
                })?;
                rows.push(key, hash);
            }
        }
        let done = reader.at;
        left.drain(..done);
    }
    Ok(rows)
}

/// Reads whole rows of a binary COPY.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip_header(&mut self) -> bool {
        let extension = self.number(15);
        match extension {
            Some(length) if self.bytes.len() >= 19 + length => {
                self.at = 19 + length;
                true
            }
            _ => false,
        }
    }

    fn number(&self, at: usize) -> Option<usize> {
        let bytes: [u8; 4] = self.bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(i32::from_be_bytes(bytes)).ok()
    }

    /// The next row; `Some(None)` for the footer, `None` when more bytes are needed.
    #[expect(clippy::option_option, reason = "three answers, each of which its one caller takes apart at once")]
    fn row(&mut self) -> Option<Option<(&'a [u8], RowHash)>> {
        let count = self.bytes.get(self.at..self.at + 2)?;
        if count == [0xff, 0xff] {
            self.at += 2;
            return Some(None);
        }
        let key_length = self.number(self.at + 2)?;
        let key_at = self.at + 6;
        let key = self.bytes.get(key_at..key_at + key_length)?;
        let hash_length = self.number(key_at + key_length)?;
        let hash_at = key_at + key_length + 4;
        let hash = self.bytes.get(hash_at..hash_at + hash_length)?;
        // A hash that can't be read belongs to a row that is written again.
        let hash = RowHash(hash.try_into().unwrap_or([0; 16]));
        self.at = hash_at + hash_length;
        Some(Some((key, hash)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whole_and_in_any_cut() {
        let mut bytes = header().to_vec();
        for key in ["a", "", "망원"] {
            bytes.extend_from_slice(&[0, 2]);
            bytes.extend_from_slice(&u32::try_from(key.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(&16_u32.to_be_bytes());
            bytes.extend_from_slice(&[7; 16]);
        }
        let whole = bytes.len();
        bytes.extend_from_slice(&footer());
        for cut in 0..=bytes.len() {
            let mut reader = Reader { bytes: &bytes[..cut], at: 0 };
            let mut keys: Vec<&[u8]> = Vec::new();
            if reader.skip_header() {
                while let Some(row) = reader.row() {
                    keys.extend(row.map(|(key, hash)| {
                        assert_eq!(hash, RowHash([7; 16]));
                        key
                    }));
                }
            }
            assert!(cut < whole || keys == ["a".as_bytes(), b"", "망원".as_bytes()], "{cut}: {keys:?}");
        }
    }
}
