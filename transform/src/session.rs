//! A DataFusion session of our own making: four schemas, our functions, nothing that is not needed.
//!
//! Each build and each query has its own session over tables pinned to versions, so none can see another's tables or settings.
//! What they share is the runtime: one memory pool, one spill quota.

use std::sync::{Arc, LazyLock, OnceLock};

use catalog::{Layer, TableName};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider, TableProvider,
};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::ViewTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Parsed;

use crate::asked::asked_again;
use crate::checked;
use crate::extent;
use crate::function;
use crate::rules;

/// The catalog that `layer.name` is looked up in.
const CATALOG: &str = "lake";
/// The schema of names without a layer, which has no tables.
const NO_LAYER: &str = "main";

/// The engine's own functions and rules together with ours, put together once.
static BASE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut builder = SessionStateBuilder::new().with_config(SessionConfig::new()).with_default_features();
    builder.scalar_functions().get_or_insert_with(Vec::new).extend(function::udfs());
    rules::install(checked::install(builder)).build()
});

/// What sessions that only plan are copied from.
static PLANNER: LazyLock<Base> = LazyLock::new(|| Base::new(Arc::new(RuntimeEnv::default())));

/// What the sessions of one runtime are copied from: to put a state together costs many times what a copy does.
#[derive(Debug, Clone)]
pub(crate) struct Base(Arc<SessionState>);

impl Base {
    pub(crate) fn new(runtime: Arc<RuntimeEnv>) -> Self {
        let state = SessionStateBuilder::new_from_existing(BASE.clone())
            .with_config(config(Options::PLAN_ONLY))
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
            .build();
        Self(Arc::new(state))
    }
}

/// The settings of a session.
fn config(options: Options) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, NO_LAYER)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(options.information_schema)
        .with_target_partitions(options.partitions)
        .with_batch_size(options.batch_rows);
    config.options_mut().sql_parser.collect_spans = true;
    config.options_mut().execution.sort_spill_reservation_bytes = options.sort_reserve_bytes;
    config.options_mut().optimizer.prefer_hash_join = options.hash_joins;
    config
}

/// Raised when a rule or a function of the engine that this crate replaces begins to answer differently.
const RULES: u32 = 4;

/// What the engine's answers depend on beside statement and rows: part of every mark.
static ANSWERS: LazyLock<String> = LazyLock::new(|| {
    let options = SessionConfig::new();
    let mut settings: Vec<String> = options
        .options()
        .entries()
        .into_iter()
        .filter(|entry| {
            entry.key.starts_with("datafusion.sql_parser.") || entry.key == "datafusion.execution.time_zone"
        })
        .filter(|entry| entry.key != "datafusion.sql_parser.collect_spans")
        .map(|entry| format!("{}={}", entry.key, entry.value.unwrap_or_default()))
        .collect();
    settings.sort();
    format!("datafusion {}, rules {RULES}, {}", datafusion::DATAFUSION_VERSION, settings.join(", "))
});

/// The version of the query engine, and the settings that change its answers.
pub(crate) fn answers() -> &'static str {
    &ANSWERS
}

/// The table as the engine looks it up.
fn reference(name: &TableName) -> TableReference {
    TableReference::partial(name.layer().as_str(), name.name())
}

/// What differs between sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// How many parts of a plan run at once.
    pub(crate) partitions: usize,
    /// Whether `information_schema` is there.
    pub(crate) information_schema: bool,
    /// What a sort keeps free for merging what it spilled, in bytes; the engine's own 10 MiB are too much of a small limit.
    pub(crate) sort_reserve_bytes: usize,
    /// Rows of one batch.
    pub(crate) batch_rows: usize,
    /// Whether joins keep one side in memory, which is fast, or sort both, which can spill.
    pub(crate) hash_joins: bool,
}

impl Options {
    /// For planning without running.
    pub(crate) const PLAN_ONLY: Self = Self {
        partitions: 1,
        information_schema: false,
        sort_reserve_bytes: 10 << 20,
        batch_rows: 8192,
        hash_joins: true,
    };
}

/// One session and the tables in it.
pub(crate) struct Session {
    state: SessionState,
    task: OnceLock<Arc<TaskContext>>,
}

impl Session {
    pub(crate) fn new(base: &Base, options: Options) -> Result<Self> {
        let mut state = SessionState::clone(&base.0);
        *state.config_mut() = config(options);
        let lake = MemoryCatalogProvider::new();
        for schema in Layer::ALL.iter().map(|layer| layer.as_str()).chain([NO_LAYER]) {
            lake.register_schema(schema, Arc::new(MemorySchemaProvider::new()) as Arc<dyn SchemaProvider>)?;
        }
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(lake));
        state.register_catalog_list(Arc::new(catalogs));
        // From here on `now()` is this moment: one for all of a statement.
        state.mark_start_execution();
        Ok(Self { state, task: OnceLock::new() })
    }

    /// A session that plans and never runs.
    pub(crate) fn for_planning() -> Result<Self> {
        Self::new(&PLANNER, Options::PLAN_ONLY)
    }

    /// What statements are planned with.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }

    /// What plans run with.
    pub(crate) fn task(&self) -> Arc<TaskContext> {
        Arc::clone(self.task.get_or_init(|| self.state.task_ctx()))
    }

    /// The session as the engine's own interface to frames, over the same tables.
    pub(crate) fn context(&self) -> SessionContext {
        SessionContext::new_with_state(self.state.clone())
    }

    fn schema(&self, reference: TableReference) -> Result<Arc<dyn SchemaProvider>> {
        self.state.schema_for_ref(reference)
    }

    /// Whether the table was added.
    pub(crate) fn has(&self, name: &TableName) -> bool {
        self.schema(reference(name)).is_ok_and(|schema| schema.table_exist(name.name()))
    }

    /// Makes `provider` the table of that name.
    pub(crate) fn add(&self, name: &TableName, provider: Arc<dyn TableProvider>) -> Result<()> {
        self.schema(reference(name))?.register_table(name.name().to_owned(), asked_again(provider)).map(drop)
    }

    /// Makes a table of no layer, or another one of that name, for statements that this crate writes itself.
    pub(crate) fn add_private(&self, name: &str, provider: Arc<dyn TableProvider>) -> Result<()> {
        let schema = self.schema(TableReference::partial(NO_LAYER, name))?;
        // A statement may be planned again, over other rows.
        schema.deregister_table(name)?;
        schema.register_table(name.to_owned(), asked_again(provider)).map(drop)
    }

    /// Makes the plan a view of that name.
    pub(crate) fn add_view(&self, name: &TableName, plan: LogicalPlan, sql: &str) -> Result<()> {
        self.add(name, Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
    }

    /// Plans a statement over the tables that were added, unless that would grow beyond all measure.
    pub(crate) async fn plan(&self, statement: Parsed) -> Result<LogicalPlan> {
        let plan = self.state.statement_to_plan(statement).await?;
        extent::admit(&plan)?;
        Ok(plan)
    }
}
