//! A DataFusion session of our own making: four schemas, our functions, nothing that is not needed.
//!
//! Each build and each query has its own session over tables pinned to versions, so none can see another's tables or settings.
//! What they share is the runtime: one memory pool, one spill quota.

use std::sync::{Arc, LazyLock};

use catalog::{Layer, TableName};
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::{Result, TableReference};
use datafusion::datasource::ViewTable;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Parsed;

use crate::checked;
use crate::function;

/// The catalog that `layer.name` is looked up in.
const CATALOG: &str = "lake";
/// The schema of names without a layer, which has no tables.
const NO_LAYER: &str = "main";

/// The engine's own functions and rules together with ours, put together once: sessions are copied from it.
static BASE: LazyLock<SessionState> = LazyLock::new(|| {
    let mut builder = SessionStateBuilder::new().with_config(SessionConfig::new()).with_default_features();
    builder.scalar_functions().get_or_insert_with(Vec::new).extend(function::udfs());
    checked::install(builder).build()
});

/// Raised when a rule or a function of the engine that this crate replaces begins to answer differently.
const RULES: u32 = 1;

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
    context: SessionContext,
}

impl Session {
    pub(crate) fn new(runtime: Arc<RuntimeEnv>, options: Options) -> Result<Self> {
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, NO_LAYER)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(options.information_schema)
            .with_target_partitions(options.partitions)
            .with_batch_size(options.batch_rows);
        config.options_mut().sql_parser.collect_spans = true;
        config.options_mut().execution.sort_spill_reservation_bytes = options.sort_reserve_bytes;
        config.options_mut().optimizer.prefer_hash_join = options.hash_joins;
        let state = SessionStateBuilder::new_from_existing(BASE.clone())
            .with_config(config)
            .with_runtime_env(runtime)
            .with_catalog_list(Arc::new(datafusion::catalog::MemoryCatalogProviderList::new()))
            .build();
        let lake = MemoryCatalogProvider::new();
        for schema in Layer::ALL.iter().map(|layer| layer.as_str()).chain([NO_LAYER]) {
            lake.register_schema(schema, Arc::new(MemorySchemaProvider::new()) as Arc<dyn SchemaProvider>)?;
        }
        let context = SessionContext::new_with_state(state);
        context.register_catalog(CATALOG, Arc::new(lake));
        Ok(Self { context })
    }

    /// A session that plans and never runs.
    pub(crate) fn for_planning() -> Result<Self> {
        Self::new(Arc::new(RuntimeEnv::default()), Options::PLAN_ONLY)
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Whether the table was added.
    pub(crate) fn has(&self, name: &TableName) -> bool {
        self.context.table_exist(reference(name)).unwrap_or(false)
    }

    /// Makes `provider` the table of that name.
    pub(crate) fn add(&self, name: &TableName, provider: Arc<dyn TableProvider>) -> Result<()> {
        self.context.register_table(reference(name), provider).map(drop)
    }

    /// Makes a table of no layer, or another one of that name, for statements that this crate writes itself.
    pub(crate) fn add_private(&self, name: &str, provider: Arc<dyn TableProvider>) -> Result<()> {
        let reference = TableReference::partial(NO_LAYER, name);
        // A statement may be planned again, over other rows.
        self.context.deregister_table(reference.clone())?;
        self.context.register_table(reference, provider).map(drop)
    }

    /// Makes the plan a view of that name.
    pub(crate) fn add_view(&self, name: &TableName, plan: LogicalPlan, sql: &str) -> Result<()> {
        self.add(name, Arc::new(ViewTable::new(plan, Some(sql.to_owned()))))
    }

    /// Plans a statement over the tables that were added.
    pub(crate) async fn plan(&self, statement: Parsed) -> Result<LogicalPlan> {
        self.context.state().statement_to_plan(statement).await
    }
}
