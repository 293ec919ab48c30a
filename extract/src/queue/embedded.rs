//! The queue of one machine: a SQLite file that several processes share.
//!
//! The hard part is that any of them may be killed at any moment. Every method is one `BEGIN IMMEDIATE` transaction, so a
//! kill leaves all of it or nothing; a message whose holder is a dead process of this machine is freed by the next
//! receive (see [`Process`]); and a file that SQLite can't read is set aside as `….corrupt` and begun anew, because all
//! that it held is planned again from the lake.
//!
//! Times in it are those of this machine's clock, which may be set back: a process whose clock was ahead must not make the next
//! one wait as long as it was. So the file remembers how late it has been, and who finds it earlier moves all waits along (see
//! [`keep_time`]): they are durations.
//!
//! The file is in WAL mode with `synchronous = normal`: a commit survives the process, and after a power cut the last
//! ones may be missing, which is again nothing but work planned twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use catalog::run::Process;
use catalog::{Date, SourceName, Timestamp};
use rusqlite::types::{Type, Value};
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Row, Transaction, TransactionBehavior, params, params_from_iter,
};

use super::{
    Counts, DeadLetter, Message, NO_WORD, Queue, ReceiptHandle, ReceiptState, ReceiveOptions, Release, TaskFilter,
    later,
};
use crate::error::Error;
use crate::task::{Task, TaskId};

/// How long a method waits while other processes write. Writes take milliseconds; this is for a disk that hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// `user_version` of the file. A step per version is kept in [`MIGRATIONS`].
const VERSION: i64 = 3;

/// From version n to n + 1.
const MIGRATIONS: [&str; 3] = [
    "
    create table message (
        sent           integer primary key autoincrement,
        source         text    not null,
        dt             text    not null,
        task           text    not null,
        keys           text    not null,            -- JSON
        visible_at     integer not null,            -- microseconds since 1970
        receives       integer not null default 0,
        token          text,                        -- of the newest receipt handle
        holder_machine text,
        holder_pid     integer,
        holder_started integer,
        error          text,                        -- the last one
        dead_at        integer,                     -- microseconds since 1970
        unique (source, dt, task)
    ) strict;
    create index message_in_order on message (source, dt, dead_at, receives, sent);
",
    "
    create table clock (
        seen integer not null                       -- microseconds since 1970: the latest time that was told
    ) strict;
",
    "
    create index message_of_all on message (dead_at, receives, sent);
    create index message_held on message (holder_machine) where token is not null and dead_at is null;
",
];

/// A clock is set right by less than this all the time, and it is not worth a write to be more exact.
const CLOCK_DRIFT: Duration = Duration::from_secs(1);

/// A queue in a SQLite file. Clones share the connection; other processes open the file for themselves.
#[derive(Clone, Debug)]
pub struct EmbeddedQueue(Arc<SharedConnection>);

#[derive(Debug)]
struct SharedConnection {
    file: PathBuf,
    me: Process,
    connection: Mutex<Connection>,
}

impl EmbeddedQueue {
    /// Opens the file, creating it and its folder if need be. A file that is no queue any more is set aside.
    pub async fn open(file: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::open_as(file.into(), Process::current()).await
    }

    async fn open_as(file: PathBuf, me: Process) -> Result<Self, Error> {
        blocking(move || {
            let connection = open_or_begin_anew(&file)?;
            Ok(Self(Arc::new(SharedConnection { file, me, connection: Mutex::new(connection) })))
        })
        .await
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.0.file
    }

    /// Runs one transaction off the async threads.
    async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>, &Process) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let mut connection = inner.connection.lock().unwrap_or_else(PoisonError::into_inner);
            let done = (|| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let value = work(&transaction, &inner.me)?;
                transaction.commit()?;
                Ok(value)
            })();
            done.map_err(|source| Error::Queue { file: inner.file.clone(), source })
        })
        .await
    }

    /// Runs one statement on the message whose newest receipt is `handle`; its own values are `?5` and on.
    async fn with_held(
        &self,
        handle: &ReceiptHandle,
        statement: &'static str,
        values: Vec<Value>,
    ) -> Result<ReceiptState, Error> {
        let place = [handle.source.to_string(), handle.dt.to_string(), handle.task.to_string(), handle.token.clone()];
        self.transact(move |transaction, _| {
            let sql = format!("{statement} where source = ?1 and dt = ?2 and task = ?3 and token = ?4");
            let values = params_from_iter(place.into_iter().map(Value::from).chain(values));
            let changed = transaction.prepare_cached(&sql)?.execute(values)?;
            Ok(if changed == 1 { ReceiptState::Current } else { ReceiptState::Stale })
        })
        .await
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn send(&self, tasks: &[Task], now: Timestamp) -> Result<usize, Error> {
        let tasks = tasks.to_vec();
        self.transact(move |transaction, _| {
            keep_time(transaction, now)?;
            let mut insert = transaction.prepare_cached(
                "insert into message (source, dt, task, keys, visible_at) values (?1, ?2, ?3, ?4, ?5)
                 on conflict (source, dt, task) do nothing",
            )?;
            let mut new = 0;
            for task in &tasks {
                let keys = serde_json::to_string(&task.keys)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
                let (source, dt) = (task.source.to_string(), task.dt.to_string());
                new += insert.execute(params![source, dt, task.id.as_str(), keys, now.as_microsecond()])?;
            }
            Ok(new)
        })
        .await
    }

    async fn receive(
        &self,
        of: &TaskFilter,
        options: &ReceiveOptions,
        now: Timestamp,
    ) -> Result<Option<Message>, Error> {
        let (of, options) = (FilterText::from(of), *options);
        self.transact(move |transaction, me| {
            keep_time(transaction, now)?;
            let at = now.as_microsecond();
            free_messages_of_the_dead(transaction, me, &of, at)?;
            let meant = of.meant();
            let bury = format!(
                "update message set dead_at = ?3, token = null
                 where {meant} and dead_at is null and receives >= ?4 and visible_at <= ?3"
            );
            transaction.prepare_cached(&bury)?.execute(params![of.source, of.dt, at, options.max_receives])?;
            let take = format!(
                "update message
                 set receives = receives + 1, visible_at = ?4, token = lower(hex(randomblob(16))),
                     holder_machine = ?5, holder_pid = ?6, holder_started = ?7
                 where sent = (select sent from message where {meant} and dead_at is null and visible_at <= ?3
                               order by receives, sent limit 1)
                 returning source, dt, task, keys, receives, token"
            );
            let next = transaction
                .prepare_cached(&take)?
                .query_row(
                    params![
                        of.source,
                        of.dt,
                        at,
                        later(now, options.visibility_timeout),
                        me.place().unwrap_or_default(),
                        me.pid,
                        i64::try_from(me.started).unwrap_or(i64::MAX)
                    ],
                    |row| {
                        let task = task(row)?;
                        let receipt_handle = ReceiptHandle {
                            source: task.source.clone(),
                            dt: task.dt,
                            task: task.id.clone(),
                            token: row.get("token")?,
                        };
                        Ok(Message { task, receipt_handle, receive_count: row.get("receives")? })
                    },
                )
                .optional()?;
            Ok(next)
        })
        .await
    }

    async fn change_visibility(
        &self,
        handle: &ReceiptHandle,
        timeout: Duration,
        now: Timestamp,
    ) -> Result<ReceiptState, Error> {
        self.with_held(handle, "update message set visible_at = ?5", vec![later(now, timeout).into()]).await
    }

    async fn release(&self, message: &Message, release: &Release, now: Timestamp) -> Result<ReceiptState, Error> {
        let statement = "update message set visible_at = ?5, token = null, error = coalesce(?6, error), receives = max(receives - ?7, 0)";
        let error = release.error.clone().map_or(Value::Null, Value::from);
        self.with_held(
            &message.receipt_handle,
            statement,
            vec![later(now, release.after).into(), error, i64::from(release.uncounted).into()],
        )
        .await
    }

    async fn delete(&self, handle: &ReceiptHandle) -> Result<ReceiptState, Error> {
        self.with_held(handle, "delete from message", Vec::new()).await
    }

    async fn counts(&self, of: &TaskFilter, now: Timestamp) -> Result<Counts, Error> {
        let of = FilterText::from(of);
        self.transact(move |transaction, _| {
            keep_time(transaction, now)?;
            let count = format!(
                "select count(*) filter (where dead_at is null and visible_at <= ?3),
                        count(*) filter (where dead_at is null and visible_at > ?3),
                        count(*) filter (where dead_at is not null)
                 from message where {}",
                of.meant()
            );
            transaction.prepare_cached(&count)?.query_row(params![of.source, of.dt, now.as_microsecond()], |row| {
                let count = |column| row.get(column).map(|count: u32| count as usize);
                Ok(Counts { visible: count(0)?, in_flight: count(1)?, dead: count(2)? })
            })
        })
        .await
    }

    async fn dead_letters(&self, of: &TaskFilter, _now: Timestamp) -> Result<Vec<DeadLetter>, Error> {
        let of = FilterText::from(of);
        self.transact(move |transaction, _| {
            let mut select = transaction.prepare_cached(&format!(
                "select source, dt, task, keys, receives, coalesce(error, ?3) as error, dead_at from message
                 where {} and dead_at is not null order by source, dt, task",
                of.meant()
            ))?;
            let rows = select.query_map(params![of.source, of.dt, NO_WORD], |row| {
                let dead_at = Timestamp::from_microsecond(row.get("dead_at")?).map_err(|error| unreadable(6, error))?;
                Ok(DeadLetter {
                    task: task(row)?,
                    receive_count: row.get("receives")?,
                    error: row.get("error")?,
                    dead_at,
                })
            })?;
            rows.collect()
        })
        .await
    }

    async fn redrive(&self, letters: &[DeadLetter], now: Timestamp) -> Result<usize, Error> {
        let tasks: Vec<Task> = letters.iter().map(|letter| letter.task.clone()).collect();
        self.transact(move |transaction, _| {
            let mut update = transaction.prepare_cached(
                "update message set dead_at = null, receives = 0, visible_at = ?4
                 where source = ?1 and dt = ?2 and task = ?3 and dead_at is not null",
            )?;
            let mut redriven = 0;
            for task in &tasks {
                let (source, dt) = (task.source.to_string(), task.dt.to_string());
                redriven += update.execute(params![source, dt, task.id.as_str(), now.as_microsecond()])?;
            }
            Ok(redriven)
        })
        .await
    }
}

/// A [`TaskFilter`] as SQL takes it.
struct FilterText {
    source: Option<String>,
    dt: Option<String>,
}

impl FilterText {
    /// Which messages are meant, with `?1` for the source and `?2` for the day. One text a filter, and not one for all, so that
    /// an index can be used: what a receive costs must not grow with the messages that wait.
    fn meant(&self) -> &'static str {
        match (&self.source, &self.dt) {
            (Some(_), Some(_)) => "source = ?1 and dt = ?2",
            (Some(_), None) => "source = ?1 and ?2 is null",
            (None, Some(_)) => "?1 is null and dt = ?2",
            (None, None) => "?1 is null and ?2 is null",
        }
    }
}

impl From<&TaskFilter> for FilterText {
    fn from(of: &TaskFilter) -> Self {
        Self { source: of.source.as_ref().map(ToString::to_string), dt: of.dt.map(|dt| dt.to_string()) }
    }
}

/// Moves what waits along if the clock was set back since somebody looked at it.
fn keep_time(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    let at = now.as_microsecond();
    let seen: Option<i64> =
        transaction.prepare_cached("select max(seen) from clock")?.query_row([], |row| row.get(0))?;
    let back = seen.map_or(0, |seen| seen.saturating_sub(at));
    let drift = i64::try_from(CLOCK_DRIFT.as_micros()).unwrap_or(i64::MAX);
    if seen.is_some() && back.abs() <= drift {
        return Ok(());
    }
    if back > 0 {
        let moved =
            transaction.execute("update message set visible_at = visible_at - ?1 where visible_at > ?2", [back, at])?;
        tracing::warn!(
            seconds = back / 1_000_000,
            moved,
            "the clock was set back: what waits in the queue is moved along"
        );
    }
    transaction.execute("delete from clock", [])?;
    transaction.execute("insert into clock (seen) values (?1)", [at])?;
    Ok(())
}

/// Makes visible what a process of this machine held when it died.
fn free_messages_of_the_dead(
    transaction: &Transaction<'_>,
    me: &Process,
    of: &FilterText,
    at: i64,
) -> rusqlite::Result<()> {
    // Where processes can't be told apart, nobody is known to be dead and all messages wait for their timeouts.
    let Some(place) = me.place() else { return Ok(()) };
    let mut select = transaction.prepare_cached(&format!(
        "select distinct holder_pid, holder_started from message indexed by message_held
         where {} and dead_at is null and visible_at > ?3 and token is not null and holder_machine = ?4",
        of.meant()
    ))?;
    let holders = select.query_map(params![of.source, of.dt, at, place], |row| {
        let started: i64 = row.get(1)?;
        Ok(Process { pid: row.get(0)?, started: u64::try_from(started).unwrap_or_default(), ..me.clone() })
    })?;
    for holder in holders {
        let holder = holder?;
        if holder != *me && holder.is_gone() {
            let started = i64::try_from(holder.started).unwrap_or(i64::MAX);
            let freed = transaction.execute(
                "update message set visible_at = ?1, token = null
                 where token is not null and dead_at is null
                   and holder_machine = ?2 and holder_pid = ?3 and holder_started = ?4",
                params![at, place, holder.pid, started],
            )?;
            tracing::info!(pid = holder.pid, freed, "took back the messages of a process that is gone");
        }
    }
    Ok(())
}

fn task(row: &Row<'_>) -> rusqlite::Result<Task> {
    let (source, dt, keys): (String, String, String) = (row.get("source")?, row.get("dt")?, row.get("keys")?);
    let source = source.parse::<SourceName>().map_err(|error| unreadable(0, error))?;
    let dt = dt.parse::<Date>().map_err(|error| unreadable(1, error))?;
    let keys = serde_json::from_str(&keys).map_err(|error| unreadable(3, error))?;
    Ok(Task { source, dt, id: TaskId::from_stored(row.get("task")?), keys })
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// One process at a time opens the file, so that two of them don't set it aside twice, the second time a good one.
fn open_or_begin_anew(file: &Path) -> Result<Connection, Error> {
    let at = |source| Error::QueueFolder { file: file.to_owned(), source };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(at)?;
    }
    let lock = fs::File::create(with_suffix(file, ".lock")).map_err(at)?;
    lock.lock().map_err(at)?;
    match connect(file) {
        Err(Error::Queue { source, .. }) if is_damaged(&source) => {
            let aside = with_suffix(file, ".corrupt");
            tracing::warn!(file = %file.display(), aside = %aside.display(), error = %source, "the queue can't be read: set aside, begun anew");
            fs::rename(file, &aside).map_err(at)?;
            for rest in ["-wal", "-shm"] {
                match fs::remove_file(with_suffix(file, rest)) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(error)),
                    _ => {}
                }
            }
            connect(file)
        }
        done => done,
    }
}

fn connect(file: &Path) -> Result<Connection, Error> {
    let at = |source| Error::Queue { file: file.to_owned(), source };
    let mut connection = Connection::open(file).map_err(at)?;
    let prepared = (|| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "normal")?;
        let sound: String = connection.query_row("pragma quick_check(1)", [], |row| row.get(0))?;
        if sound != "ok" {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
                Some(sound),
            ));
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.query_row("pragma user_version", [], |row| row.get(0))?;
        if let Some(steps) = usize::try_from(found).ok().and_then(|found| MIGRATIONS.get(found..)) {
            for step in steps {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        Ok(found)
    })();
    match prepared {
        Ok(found) if (0..=VERSION).contains(&found) => Ok(connection),
        Ok(found) => Err(Error::QueueVersion { file: file.to_owned(), expected: VERSION, found }),
        Err(source) => Err(at(source)),
    }
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Runs what blocks where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match catalog::simulation::blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(Error::Cancelled),
        },
    }
}

#[cfg(test)]
mod tests;
