//! Windows within the memory limit.
//!
//! A window over whole partitions keeps all rows that it is given, and the engine does not count them. Here what goes into such a
//! window is counted against the limit as long as it is kept, so that a window that is too large is an error of its query.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, replace_children_if_necessary,
};
use futures::StreamExt;

/// The rule that counts. It stands behind all others.
#[derive(Debug)]
pub(crate) struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if !node.is::<WindowAggExec>() {
                return Ok(Transformed::no(node));
            }
            let counted = |input: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
                Arc::new(Counted { input: Arc::clone(input) })
            };
            let inputs = node.children().into_iter().map(counted).collect();
            replace_children_if_necessary(node, inputs).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Gives its rows on, and counts them until the last one has gone.
#[derive(Debug)]
struct Counted {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let kept = MemoryConsumer::new(format!("Window[{partition}]")).register(context.memory_pool());
        let rows = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            // Once as they came, and once more when they are put together.
            kept.try_grow(2 * batch.get_array_memory_size())?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), rows)))
    }
}

#[cfg(test)]
mod tests {
    use catalog::Lake;

    use crate::engine::{Engine, EngineOptions};
    use crate::error::Error;
    use crate::model::Models;

    #[tokio::test]
    async fn a_window_over_more_than_memory_holds_is_an_error_of_its_query() {
        let dir = tempfile::tempdir().unwrap();
        let options = EngineOptions { memory_bytes: 32 << 20, partitions: 2, ..EngineOptions::new(dir.path()) };
        let engine = Engine::new(&options).unwrap();
        let lake = Lake::open("memory://windows", "test").await.unwrap();
        let ask = async |rows: u32| -> Result<(), Error> {
            let numbers = format!("(select unnest(range(0, {rows})) as v)");
            let sql = format!(
                "select max(s), count(*) from (select sum(a.v) over () as s from {numbers} a cross join {numbers} b)"
            );
            engine.query(&lake, &Models::default(), &sql).await?.collect().await.map(drop)
        };
        ask(200).await.unwrap();
        let error = ask(4_000).await.unwrap_err();
        assert!(matches!(error, Error::Exhausted { .. }), "{error:?}");
        // The next query has the memory again.
        ask(200).await.unwrap();
    }
}
