//! One change of one table.
//!
//! Into a table that stands: changed rows are written into a temporary table, which costs no reader anything, and one transaction at the
//! end writes them over those that are there, removes the rows that are gone, and moves the watermark. A table that is made anew is
//! filled under another name, and comes into its place with its watermark by one rename (see `state.rs`).

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Mysql;
use super::column::MysqlColumn;
use super::connect::{MysqlSession, SHORT};
use super::layout::{MysqlLayout, MysqlPlan, MysqlTable};
use super::lines::{self, LineFeed, MISFIT};
use super::patience::{beside_readers, patiently};
use super::write::{MysqlRows, encode, insert};
use super::{rights, sql, state};
use crate::error::{Error, Result, blocking};
use crate::fault::{Cause, SinkFault};
use crate::sink::{Apply, Rows, Start};
use crate::target::{Cursor, SyncTarget};

mod publish;

/// A change under way.
pub(super) struct MysqlChange {
    sink: Arc<Mysql>,
    layout: Arc<MysqlLayout>,
    standing: MysqlTable,
    /// What this change is called in the watermark, and the build that it makes, where it makes one.
    id: String,
    open: MysqlOpen,
    takes_files: bool,
    /// Where rows are written: the table is made by the first of them.
    made: bool,
    /// Keys of rows that are to go.
    gone: Vec<String>,
    written: u64,
    began: Instant,
}

/// Where the connection is.
enum MysqlOpen {
    Idle(MysqlSession),
    Writing(Writing),
    /// An earlier step failed: nothing can follow it.
    Broken,
}

/// Rows that are being sent, beside which the next ones are made ready. Dropping it cuts the connection.
struct Writing {
    task: JoinHandle<Result<MysqlSession, SinkFault>>,
    /// Where more rows go, if the statement is one that takes a file.
    feed: Option<LineFeed>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writing {
    fn begin(mut session: MysqlSession, table: String, columns: Vec<MysqlColumn>, rows: MysqlRows) -> Self {
        match rows {
            MysqlRows::Lines(lines) => {
                let (feed, file) = lines::begin(lines);
                let task = tokio::spawn(async move {
                    lines::load(&mut session, &sql::load(&table, &columns), file).await?;
                    Ok(session)
                });
                Self { task, feed: Some(feed) }
            }
            MysqlRows::Cells(rows) => {
                let task = tokio::spawn(async move {
                    insert(&mut session, &table, &columns, rows).await?;
                    Ok(session)
                });
                Self { task, feed: None }
            }
        }
    }

    async fn end(mut self) -> Result<MysqlSession, SinkFault> {
        // The end of its file.
        self.feed = None;
        match (&mut self.task).await {
            Ok(done) => done,
            Err(_) => Err(SinkFault::passing("the task that writes was stopped", "run again")),
        }
    }
}

fn broken() -> SinkFault {
    SinkFault::new("an earlier step of this change failed", "run again")
}

impl MysqlChange {
    /// Takes the lock of writers, removes what a killed change left, and finds out what must happen.
    pub(super) async fn begin(
        sink: Arc<Mysql>,
        target: &SyncTarget,
        schema: &SchemaRef,
        start: Start,
    ) -> Result<Self, SinkFault> {
        let layout = MysqlLayout::new(target, schema)?;
        let mut session = sink.door.open().await?;
        state::prepare(&mut session).await?;
        // The session that writes holds it: while this one lives, no other change of this table does anything.
        state::lock(&mut session, &state::lock_name(&sink.door, "write", &target.table), &|| {}).await?;
        let states = state::read(&mut session, &target.table, &layout.table).await?;
        let mut standing = layout.stand(&mut session, states, &sink.project).await?;
        sweep(&mut session, &layout, &standing).await?;
        if start == Start::Anew && matches!(standing.plan, MysqlPlan::Keep { .. }) {
            standing.plan = MysqlPlan::Create { swap: true };
        }
        match &standing.plan {
            MysqlPlan::Create { swap: true } => rights::refuse_bound(&mut session, &layout.table).await?,
            MysqlPlan::Create { swap: false } => {}
            // Before the load: they are null until it ends, which is what readers who know of them see, and nothing to those who don't.
            MysqlPlan::Keep { add, .. } if add.is_empty() => {}
            MysqlPlan::Keep { add, .. } => add_columns(&sink, &mut session, &layout, add).await?,
        }
        Ok(Self {
            takes_files: session.server()?.takes_files,
            id: format!("{:032x}", rand::random::<u128>()),
            layout: Arc::new(layout),
            standing,
            open: MysqlOpen::Idle(session),
            made: false,
            gone: Vec::new(),
            written: 0,
            began: Instant::now(),
            sink,
        })
    }

    fn creates(&self) -> Option<bool> {
        match self.standing.plan {
            MysqlPlan::Create { swap } => Some(swap),
            MysqlPlan::Keep { .. } => None,
        }
    }

    /// The table that a build fills before it takes its place.
    fn fresh(&self) -> String {
        self.layout.aside("new", &self.id)
    }

    /// Takes the connection once it is free; after a step that failed there is none.
    async fn take(&mut self) -> Result<MysqlSession, SinkFault> {
        match std::mem::replace(&mut self.open, MysqlOpen::Broken) {
            MysqlOpen::Broken => Err(broken()),
            MysqlOpen::Idle(session) => Ok(session),
            MysqlOpen::Writing(writing) => writing.end().await,
        }
    }

    /// Makes the table, or the one where changed rows wait.
    async fn make(&mut self, session: &mut MysqlSession) -> Result<(), SinkFault> {
        if self.made {
            return Ok(());
        }
        let (collation, layout) = (session.server()?.collation(), &self.layout);
        let statement = if self.creates().is_some() {
            sql::create_table(&self.fresh(), &layout.columns, layout.key(), collation, &self.id)
        } else {
            sql::create_stage(&layout.columns, layout.key(), collation)
        };
        session.run(SHORT, &statement).await?;
        self.made = true;
        Ok(())
    }

    /// Sends encoded rows, no faster than allowed.
    async fn send(&mut self, mut encoded: MysqlRows, rows: u64) -> Result<(), SinkFault> {
        self.hold_back().await;
        encoded = match (&mut self.open, encoded) {
            (MysqlOpen::Writing(Writing { feed: Some(feed), .. }), MysqlRows::Lines(lines)) => {
                match feed.send(lines).await {
                    Ok(()) => {
                        self.written += rows;
                        return Ok(());
                    }
                    Err(back) => MysqlRows::Lines(back),
                }
            }
            (_, encoded) => encoded,
        };
        let mut session = self.take().await?;
        self.make(&mut session).await?;
        let table = if self.creates().is_some() { self.fresh() } else { sql::STAGE.to_owned() };
        let columns = self.layout.sent();
        self.written += rows;
        self.open = MysqlOpen::Writing(Writing::begin(session, table, columns, encoded));
        Ok(())
    }

    /// Waits until the rate allows more.
    async fn hold_back(&self) {
        if let Some(rate) = self.sink.rows_per_second {
            let due = Duration::from_secs_f64(self.written as f64 / f64::from(rate));
            tokio::time::sleep_until(self.began + due).await;
        }
    }

    fn fail(&mut self, doing: &'static str) -> impl Fn(SinkFault) -> Error + use<> {
        self.open = MysqlOpen::Broken;
        self.sink.error(doing)
    }
}

/// Removes the tables and watermarks of changes that ended before their rename, and the tables whose place was taken before they were
/// dropped. Nobody reads any of them.
async fn sweep(session: &mut MysqlSession, layout: &MysqlLayout, standing: &MysqlTable) -> Result<(), SinkFault> {
    super::drop_aside(session, layout).await?;
    let build = standing.state.as_ref().map_or("", |state| state.build.as_str());
    state::keep_only(session, &layout.target.table, build).await
}

/// Adds the columns that are new: at once where the server can, else by writing the table anew beside its readers.
async fn add_columns(
    sink: &Mysql,
    session: &mut MysqlSession,
    layout: &MysqlLayout,
    add: &[MysqlColumn],
) -> Result<(), SinkFault> {
    // What it says where it can't: for this table, for this column, or not once more.
    const NOT_AT_ONCE: [&str; 4] = ["1845", "1846", "4092", "4158"];
    match patiently(&sink.door, session, &sql::add_columns(&layout.table, add, true)).await {
        Err(fault) if fault.code().is_some_and(|code| NOT_AT_ONCE.contains(&code)) => {
            beside_readers(session, &sql::add_columns(&layout.table, add, false)).await
        }
        done => done,
    }
}

#[async_trait]
impl Apply for MysqlChange {
    async fn upsert(&mut self, rows: Rows) -> Result<()> {
        // A bounded rate is held within a batch too.
        let step = self.sink.rows_per_second.map_or(usize::MAX, |rate| (rate as usize / 4).clamp(1, 50_000));
        let all = rows.keys.len();
        let parts = if step < all {
            (0..all).step_by(step).map(|at| rows.slice(at, step.min(all - at))).collect()
        } else {
            vec![rows]
        };
        for part in parts {
            let length = part.keys.len() as u64;
            let (columns, takes_files) = (self.layout.sent(), self.takes_files);
            let encoded = blocking(move || Ok(encode(&columns, &part, takes_files))).await?;
            let encoded = encoded.map_err(|e: Cause| SinkFault::new(e.to_string(), MISFIT));
            let sent = match encoded {
                Ok(encoded) => self.send(encoded, length).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = sent {
                return Err(self.fail("writing")(fault));
            }
        }
        Ok(())
    }

    async fn delete(&mut self, keys: Vec<String>) -> Result<()> {
        if matches!(self.open, MysqlOpen::Broken) {
            return Err(self.fail("writing")(broken()));
        }
        self.gone.extend(keys);
        Ok(())
    }

    async fn commit(mut self: Box<Self>, cursor: Cursor) -> Result<()> {
        self.publish(cursor).await.map_err(|fault| self.fail("committing")(fault))
    }
}
