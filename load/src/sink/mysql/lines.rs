//! One file for the server out of many batches: a `load data` whose lines come while it runs.
//!
//! A statement for each batch would be a transaction for each, with its own flush of the server's log. A statement that waits for its
//! lines, though, is given up by the server after `net_read_timeout` (30 s by itself), so one that gets none for a while is ended, and the
//! next lines begin another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, InfileData};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connect::{MysqlSession, silent, within};
use crate::fault::SinkFault;

/// How long a statement waits for more lines.
const IDLE: Duration = Duration::from_secs(5);
/// How long the server may take nothing and say nothing.
pub(super) const STALL: Duration = Duration::from_mins(10);
/// The largest part of a file that is sent at once (bytes).
const CHUNK: usize = 256 << 10;
/// Rows of one statement, at most: what the server rolls back where it is killed.
const MOST_ROWS: u64 = 1 << 20;

/// What to do about a row that is not kept as it is.
pub(super) const MISFIT: &str = "correct the model, and check its column";

/// Rows as lines of a file, and how many.
#[derive(Debug)]
pub(super) struct Lines(pub(super) Bytes, pub(super) u64);

/// Where lines are handed to the statement that runs.
pub(super) struct LineFeed {
    lines: mpsc::Sender<Lines>,
    rows: u64,
}

/// What a statement reads: the lines that it began with, and those that are fed.
pub(super) struct LineFile {
    first: Lines,
    more: mpsc::Receiver<Lines>,
}

/// A file that begins with these lines.
pub(super) fn begin(first: Lines) -> (LineFeed, LineFile) {
    let (lines, more) = mpsc::channel(1);
    (LineFeed { lines, rows: first.1 }, LineFile { first, more })
}

impl LineFeed {
    /// Hands lines over, once there is room. They come back where the statement takes no more: it has enough, it waited too long, or it
    /// failed, which whoever ends it learns.
    pub(super) async fn send(&mut self, lines: Lines) -> Result<(), Lines> {
        if self.rows >= MOST_ROWS {
            return Err(lines);
        }
        self.rows += lines.1;
        self.lines.send(lines).await.map_err(|back| back.0)
    }
}

/// Runs the statement on the file, to the end of it.
pub(super) async fn load(session: &mut MysqlSession, statement: &str, file: LineFile) -> Result<(), SinkFault> {
    let connection = session.get()?;
    let (rows, parts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (counted, sent) = (Arc::clone(&rows), Arc::clone(&parts));
    let more = stream::unfold(file.more, async |mut more| {
        let next = if let Ok(next) = timeout(IDLE, more.recv()).await {
            next
        } else {
            // What was handed over before it is closed still comes.
            more.close();
            more.recv().await
        };
        next.map(|lines| (lines, more))
    });
    // Whatever file the server asks for, it gets these bytes: nothing of this machine.
    connection.set_infile_handler(async move {
        let batches = stream::iter([file.first]).chain(more);
        let parts = batches.flat_map(move |Lines(lines, count)| {
            counted.fetch_add(count, Ordering::Relaxed);
            let sent = Arc::clone(&sent);
            stream::iter((0..lines.len()).step_by(CHUNK).map(move |at| {
                sent.fetch_add(1, Ordering::Relaxed);
                Ok(lines.slice(at..lines.len().min(at + CHUNK)))
            }))
        });
        Ok(parts.boxed() as InfileData)
    });
    watched(connection.query_drop(statement), &parts).await?;
    let (written, count) = (connection.affected_rows(), rows.load(Ordering::Relaxed));
    // A row of a client's file that does not fit is changed or left out with a warning, whatever the mode.
    if connection.get_warnings() == 0 {
        return kept(count, written);
    }
    Err(SinkFault::new(
        format!("expected {count} rows to be kept as they are, found {written}: {}", warnings(connection).await?),
        MISFIT,
    ))
}

/// Holds a statement to the rows that it was given.
pub(super) fn kept(expected: u64, found: u64) -> Result<(), SinkFault> {
    if found == expected {
        return Ok(());
    }
    Err(SinkFault::new(format!("expected {expected} rows to be kept as they are, found {found}"), MISFIT))
}

/// Waits as long as parts are taken.
async fn watched(
    what: impl Future<Output = Result<(), mysql_async::Error>>,
    parts: &AtomicU64,
) -> Result<(), SinkFault> {
    let mut what = std::pin::pin!(what);
    let mut before = 0;
    loop {
        if let Ok(done) = timeout(STALL, &mut what).await {
            return done.map_err(SinkFault::from);
        }
        let now = parts.load(Ordering::Relaxed);
        if now == before {
            return Err(silent(STALL));
        }
        before = now;
    }
}

async fn warnings(connection: &mut Conn) -> Result<String, SinkFault> {
    let said: Vec<(String, u32, String)> = within(STALL, connection.query("show warnings limit 3")).await?;
    let said: Vec<String> = said.into_iter().map(|(_, code, message)| format!("{message} ({code})")).collect();
    Ok(said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: u64) -> Lines {
        Lines(Bytes::from_static(b"x\n"), rows)
    }

    #[tokio::test]
    async fn lines_come_back_where_a_statement_takes_no_more() {
        let (mut feed, mut file) = begin(lines(1));
        feed.send(lines(2)).await.unwrap();
        assert_eq!(file.more.recv().await.unwrap().1, 2);
        drop(file);
        assert_eq!(feed.send(lines(3)).await.unwrap_err().1, 3, "it ended");
        let (mut feed, _file) = begin(lines(MOST_ROWS));
        assert_eq!(feed.send(lines(4)).await.unwrap_err().1, 4, "it has enough");
    }
}
