//! The query engine: DataFusion in this process, with a memory limit and a place to spill.
//!
//! A query opens only the tables that it names, pinned to their newest version, so that a question about one table costs one
//! look at one log. It can ask and nothing else. A panic inside a query is that query's error and nobody else's.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use catalog::{Lake, Snapshot, TableName};
use datafusion::common::DataFusionError;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlanProperties, execute_stream, execute_stream_partitioned};
use datafusion::prelude::SQLOptions;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::explain::no_way;
use crate::lint;
use crate::model::{Model, Models};
use crate::nearest::nearest;
use crate::session::{Base, Options, Session};
use crate::site::{self, CastSite};
use crate::statement::Statement;
use crate::there::{built, is_there};

/// What the engine may use.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Memory for sorts, joins and groups, in bytes; what needs more goes to disk.
    pub memory_bytes: usize,
    /// The folder for what does not fit in memory. It is made when missing; without it queries run in memory only.
    pub spill_dir: PathBuf,
    /// Most bytes in that folder.
    pub spill_bytes: u64,
    /// How many parts of a query run at once.
    pub partitions: usize,
}

impl EngineOptions {
    /// Two GiB of memory, twenty of disk, all cores.
    pub fn new(spill_dir: impl Into<PathBuf>) -> Self {
        Self {
            memory_bytes: 2 << 30,
            spill_dir: spill_dir.into(),
            spill_bytes: 20 << 30,
            partitions: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Runs queries and builds. Clones share one memory limit.
#[derive(Debug, Clone)]
pub struct Engine {
    base: Base,
    partitions: usize,
    memory_bytes: usize,
}

impl Engine {
    /// Sets the limits up. Nothing is read.
    pub fn new(options: &EngineOptions) -> Result<Self> {
        // A query that needs no disk should work where nothing can be written.
        let disk = match std::fs::create_dir_all(&options.spill_dir).and_then(|()| writable(&options.spill_dir)) {
            Ok(()) => DiskManagerMode::Directories(vec![options.spill_dir.clone()]),
            Err(error) => {
                tracing::warn!(dir = %options.spill_dir.display(), %error, "queries can't spill: memory is their only limit");
                DiskManagerMode::Disabled
            }
        };
        let consumers_named = std::num::NonZeroUsize::MIN.saturating_add(4);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(
                FairSpillPool::new(options.memory_bytes),
                consumers_named,
            )))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(disk).with_max_temp_directory_size(options.spill_bytes),
            )
            // Tables are read through their logs; a cached listing would only ever be stale.
            .with_object_list_cache_limit(0)
            .build_arc()
            .map_err(Error::engine)?;
        Ok(Self { base: Base::new(runtime), partitions: options.partitions.max(1), memory_bytes: options.memory_bytes })
    }

    /// Answers one question over the tables of the lake and the views among the models. `explain`, `show` and `describe` are
    /// questions too; anything that writes is refused.
    pub async fn query(&self, lake: &Lake, models: &Models, sql: &str) -> Result<Answer> {
        self.query_with(lake, models, &BTreeMap::new(), sql).await
    }

    /// As [`Engine::query`], with tables that are empty for as long as nothing has made them.
    pub async fn query_with(
        &self,
        lake: &Lake,
        models: &Models,
        coming: &BTreeMap<TableName, SchemaRef>,
        sql: &str,
    ) -> Result<Answer> {
        let statement = Statement::parse(sql).map_err(Error::from)?;
        if let Some(found) = statement.beyond_asking() {
            return Err(Error::NotAQuery { found });
        }
        if statement.uses_dt() {
            return Err(Error::Sql {
                message: "`$dt` has no value here".to_owned(),
                hint: Some("write the day: `date '2026-10-01'`".to_owned()),
            });
        }
        let information_schema = statement.needs_information_schema();
        let mut tables = BTreeSet::new();
        for (name, _) in statement.tables().filter(|(name, _)| !name.starts_with("information_schema.")) {
            match name.parse::<TableName>() {
                Ok(table) => drop(tables.insert(table)),
                Err(_) => return Err(unknown_table(lake, models, name, None).await),
            }
        }
        if information_schema {
            let there = lake.tables().await.map_err(Error::lake("listing its tables"))?;
            tables.extend(there.iter().cloned());
            // A view can be shown when everything below it is there.
            tables.extend(
                models
                    .iter()
                    .filter(|model| models.resolve([model.name().clone()]).0.iter().all(|table| there.contains(table)))
                    .map(|model| model.name().clone()),
            );
        }
        let options = Options { information_schema, ..self.options() };
        let session = self.open_with(lake, models, tables, coming, None, options).await?;
        let what = "the query";
        isolated(what, async {
            let plan = session.plan(statement.plain()).await.map_err(|error| site::asked(&error, &statement, sql))?;
            refuse(&plan)?;
            let casts = site::casts(&plan);
            SQLOptions::new()
                .with_allow_ddl(false)
                .with_allow_dml(false)
                .with_allow_statements(false)
                .verify_plan(&plan)
                .map_err(|error| Error::planning(&error))?;
            let placed = |error| site::placed(Error::query(what, error), None, sql, &casts);
            let physical =
                session.state().create_physical_plan(&plan).await.map_err(|error| match error.find_root() {
                    DataFusionError::NotImplemented(_) | DataFusionError::Internal(_) => no_way(&error).into(),
                    _ => placed(error),
                })?;
            let schema = physical.schema();
            let stream = execute_stream(physical, session.task()).map_err(placed)?;
            let failure = Failure::default();
            let stream = guarded(stream, what, &failure);
            Ok(Answer { schema, stream, failure, sql: sql.to_owned(), casts })
        })
        .await
    }

    pub(crate) fn options(&self) -> Options {
        let share_bytes = self.memory_bytes / self.partitions / 16;
        Options {
            partitions: self.partitions,
            information_schema: false,
            sort_reserve_bytes: share_bytes.min(10 << 20),
            // A sort can't spill half a batch: of rows of a KiB, a batch should be a small part of what it may hold.
            batch_rows: (share_bytes / 1024).clamp(1024, 8192),
            hash_joins: true,
        }
    }

    /// A session in which `tables` stand at their newest version, views among them expanded.
    pub(crate) async fn open(
        &self,
        lake: &Lake,
        models: &Models,
        tables: BTreeSet<TableName>,
        reader: Option<&Model>,
        options: Options,
    ) -> Result<Session> {
        self.open_with(lake, models, tables, &BTreeMap::new(), reader, options).await
    }

    /// As [`Engine::open`]; tables of `coming` that are not there are empty.
    async fn open_with(
        &self,
        lake: &Lake,
        models: &Models,
        tables: BTreeSet<TableName>,
        coming: &BTreeMap<TableName, SchemaRef>,
        reader: Option<&Model>,
        options: Options,
    ) -> Result<Session> {
        let (stored, views) = models.resolve(tables);
        let mut snapshots = BTreeMap::new();
        let mut empty = Vec::new();
        for name in stored {
            if let Some(schema) = coming.get(&name)
                && !is_there(lake, models, &name).await?
            {
                empty.push((name, Arc::clone(schema)));
                continue;
            }
            let snapshot = Self::newest(lake, models, &name, reader).await?;
            snapshots.insert(name, snapshot);
        }
        self.session_with(snapshots, empty, &views, options).await
    }

    /// The newest version of a table, for a model that reads it or for a question.
    pub(crate) async fn newest(
        lake: &Lake,
        models: &Models,
        name: &TableName,
        reader: Option<&Model>,
    ) -> Result<Snapshot> {
        match built(lake, models, name).await? {
            Some((_, snapshot)) => Ok(snapshot),
            None => Err(unknown_table(lake, models, &name.to_string(), reader).await),
        }
    }

    /// A session over snapshots that are open already.
    pub(crate) async fn session(
        &self,
        snapshots: BTreeMap<TableName, Snapshot>,
        views: &[&Model],
        options: Options,
    ) -> Result<Session> {
        self.session_with(snapshots, Vec::new(), views, options).await
    }

    async fn session_with(
        &self,
        snapshots: BTreeMap<TableName, Snapshot>,
        empty: Vec<(TableName, SchemaRef)>,
        views: &[&Model],
        options: Options,
    ) -> Result<Session> {
        let session = Session::new(&self.base, options).map_err(Error::engine)?;
        for (name, snapshot) in &snapshots {
            let provider = snapshot.provider().await.map_err(Error::lake(format!("reading `{name}`")))?;
            session.add(name, provider).map_err(Error::engine)?;
        }
        for (name, schema) in empty {
            session.add(&name, Arc::new(EmptyTable::new(schema))).map_err(Error::engine)?;
        }
        for view in views {
            let plan = session.plan(view.statement().plain()).await.map_err(|error| Error::planning(&error))?;
            session.add_view(view.name(), plan, view.text()).map_err(Error::engine)?;
        }
        Ok(session)
    }
}

/// Refuses a plan that the engine would answer wrongly.
pub(crate) fn refuse(plan: &LogicalPlan) -> Result<()> {
    lint::wrong_answers(plan).into_iter().next().map_or(Ok(()), |problem| Err(problem.into()))
}

/// Makes sure that files can be made in a folder, by making one: what its mode says is not the last word, as in a folder of
/// somebody else, or of a file system that is read only.
fn writable(dir: &std::path::Path) -> std::io::Result<()> {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    std::fs::write(&probe, [])?;
    match std::fs::remove_file(&probe) {
        // Another engine of this process looked at the same moment.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The error for a table that is not there, with the nearest one that is.
pub(crate) async fn unknown_table(lake: &Lake, models: &Models, name: &str, reader: Option<&Model>) -> Error {
    let hint = if name.parse().is_ok_and(|table| models.get(&table).is_some()) {
        Some(format!("it has not been built yet: `onggi run --select +{name}` builds it"))
    } else {
        let mut known: BTreeSet<String> = models.iter().map(|model| model.name().to_string()).collect();
        known.extend(lake.tables().await.unwrap_or_default().iter().map(ToString::to_string));
        let bare = ["marts", "staging", "raw", "ops"].iter().find_map(|layer| known.get(&format!("{layer}.{name}")));
        match bare.map(String::as_str).or_else(|| nearest(name, known.iter().map(String::as_str))) {
            Some(meant) => Some(format!("did you mean `{meant}`?")),
            None if reader.is_some() => Some("it is the table of a source that has not run yet".to_owned()),
            None if known.is_empty() => Some("the lake is empty: `onggi run` fills it".to_owned()),
            None => Some(format!("there are {}", known.into_iter().take(12).collect::<Vec<_>>().join(", "))),
        }
    };
    Error::NoSuchTable { table: name.to_owned(), model: reader.map(|model| model.name().clone()), hint }
}

/// The rows of an answer, as they come.
pub struct Answer {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    failure: Failure,
    /// What was asked, to say where it failed.
    sql: String,
    casts: Vec<CastSite>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Answer {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next rows; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.stream.next().await?;
        Some(next.map_err(|error| {
            let error = self.failure.take().unwrap_or_else(|| Error::query("the query", error));
            site::placed(error, None, &self.sql, &self.casts)
        }))
    }

    /// All rows at once.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }
}

/// The first error of a group of streams, kept as our own: what reads the streams may wrap it in words of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    pub(crate) fn take(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps `error` if it is the first, and gives the stream something to end with.
    pub(crate) fn keep(&self, error: Error) -> DataFusionError {
        let message = error.to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        DataFusionError::Execution(message)
    }
}

/// The stream, except that a panic in it is an error of it.
pub(crate) fn guarded(stream: SendableRecordBatchStream, what: &str, failure: &Failure) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let (what, failure) = (what.to_owned(), failure.clone());
    let stream = AssertUnwindSafe(stream).catch_unwind().map(move |next| match next {
        Ok(Ok(batch)) => Ok(batch),
        Ok(Err(error)) => Err(failure.keep(Error::query(what.clone(), error))),
        Err(panic) => Err(failure.keep(Error::Panicked { what: what.clone(), panic: panic_text(panic.as_ref()) })),
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}

/// The answer of `work`, except that a panic in it is an error.
pub(crate) async fn isolated<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| Err(Error::Panicked { what: what.to_owned(), panic: panic_text(panic.as_ref()) }))
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}

/// Starts a plan: one stream for each of its parts.
pub(crate) async fn start(
    session: &Session,
    plan: &LogicalPlan,
    what: &str,
    failure: &Failure,
) -> Result<Vec<SendableRecordBatchStream>> {
    let physical = session.state().create_physical_plan(plan).await.map_err(|error| Error::query(what, error))?;
    tracing::debug!(what, parts = physical.output_partitioning().partition_count(), "running");
    let streams = execute_stream_partitioned(physical, session.task()).map_err(|error| Error::query(what, error))?;
    Ok(streams.into_iter().map(|stream| guarded(stream, what, failure)).collect())
}

/// Runs a statement of this crate's own and gives its rows.
pub(crate) async fn rows(session: &Session, sql: &str, what: &str) -> Result<Vec<RecordBatch>> {
    let failure = Failure::default();
    isolated(what, async {
        let statement = Statement::parse(sql).map_err(Error::from)?;
        let plan = session.plan(statement.plain()).await.map_err(|error| Error::query(what, error))?;
        let physical = session.state().create_physical_plan(&plan).await.map_err(|error| Error::query(what, error))?;
        let stream = execute_stream(physical, session.task()).map_err(|error| Error::query(what, error))?;
        guarded(stream, what, &failure)
            .try_collect::<Vec<_>>()
            .await
            .map_err(|error| failure.take().unwrap_or_else(|| Error::query(what, error)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_the_error_of_its_query() {
        let schema = Arc::new(Schema::empty());
        let stream = futures::stream::iter([1, 2]).map(|number| match number {
            1 => Ok(RecordBatch::new_empty(Arc::new(Schema::empty()))),
            _ => panic!("offset overflow"),
        });
        let failure = Failure::default();
        let mut stream = guarded(Box::pin(RecordBatchStreamAdapter::new(schema, stream)), "the query", &failure);
        assert!(stream.next().await.unwrap().is_ok());
        assert!(stream.next().await.unwrap().is_err());
        assert!(stream.next().await.is_none());
        let error = failure.take().unwrap();
        assert_eq!(error.to_string(), "running the query panicked: offset overflow");

        let error = isolated::<()>("planning", async { panic!("{} terms", 2_000) }).await.unwrap_err();
        assert_eq!(error.to_string(), "running planning panicked: 2000 terms");
    }

    #[test]
    fn what_only_looks_writable_is_known() {
        let folder = tempfile::tempdir().unwrap();
        writable(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        // Its mode lets the owner write, and nobody can.
        let kernel = std::path::Path::new("/sys/kernel");
        if kernel.is_dir() {
            assert!(writable(kernel).is_err());
        }
    }

    #[test]
    fn an_engine_starts_where_nothing_can_be_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Engine::new(&EngineOptions::new(file.path().join("below a file"))).is_ok());
    }
}
