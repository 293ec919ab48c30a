//! Statements that nobody may be reading beside, without holding up those who read.
//!
//! Such a statement waits for every transaction that has touched the table, and while it waits, all who come after it wait too. The
//! server measures that wait in whole seconds (`lock_wait_timeout`), which readers would notice. So it is ended from another connection
//! after a twentieth of one, readers pass, and it is tried again.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use tokio::time::Instant;

use super::connect::{LONG, MysqlPool, MysqlSession, SHORT, within};
use super::fault::{INTERRUPTED, LOCKED};
use crate::fault::SinkFault;

/// How long readers may be held up by one try.
const TRY: Duration = Duration::from_millis(50);
/// How long they have the table to themselves between two tries, and for how long in all it is tried.
const BETWEEN: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_mins(10);

fn is_held(fault: &SinkFault) -> bool {
    matches!(fault.code(), Some(INTERRUPTED | LOCKED))
}

/// Runs a statement that is quick once nobody reads.
///
/// # Errors
/// If somebody holds the table for minutes.
pub(super) async fn patiently(door: &MysqlPool, session: &mut MysqlSession, statement: &str) -> Result<(), SinkFault> {
    // Opened before readers are held up, and not meanwhile.
    let mut other = door.borrow().await?;
    let end = format!("kill query {}", session.get()?.id());
    // Should the other connection fail.
    session.run(SHORT, "set lock_wait_timeout = 1").await?;
    let began = Instant::now();
    loop {
        let done = {
            let connection = session.get()?;
            let run = connection.query_drop(statement);
            tokio::pin!(run);
            if let Ok(done) = tokio::time::timeout(TRY, &mut run).await {
                done.map_err(SinkFault::from)
            } else {
                other.run(SHORT, &end).await?;
                within(SHORT, run).await
            }
        };
        // It may have come too late, and then ends the next statement instead.
        let _ = session.run(SHORT, "do 0").await;
        match done {
            Ok(()) => break,
            Err(fault) if is_held(&fault) && began.elapsed() < PATIENCE => tokio::time::sleep(BETWEEN).await,
            Err(fault) => return Err(fault),
        }
    }
    other.park();
    session.run(SHORT, "set lock_wait_timeout = 60").await
}

/// Runs a statement that takes long beside readers, and needs the table to itself at its beginning and end alone. It can't be ended
/// and begun again each time, so that readers may be held up for a second, which is the least that the server knows.
///
/// # Errors
/// If somebody holds the table for minutes.
pub(super) async fn beside_readers(session: &mut MysqlSession, statement: &str) -> Result<(), SinkFault> {
    session.run(SHORT, "set lock_wait_timeout = 1").await?;
    let began = Instant::now();
    loop {
        match session.run(LONG, statement).await {
            Ok(()) => break,
            Err(fault) if is_held(&fault) && began.elapsed() < PATIENCE => tokio::time::sleep(BETWEEN).await,
            Err(fault) => return Err(fault),
        }
    }
    session.run(SHORT, "set lock_wait_timeout = 60").await
}
