//! Rules of the engine, held back where they answer wrongly.
//!
//! - A join that takes NULL for equal to NULL, as `is not distinct from` makes it, must not be given further equalities to look
//!   up, nor be merged with other joins: of those, NULL is not equal to NULL.
//! - A condition is handed down through operators by the names of its columns. Where two columns have one name, as the two sides
//!   of most joins have, it would ask the first of them.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{HashSet, JoinType, NullEquality, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

/// Puts the rules that hold back in the place of those that they hold, and `last` behind all others.
pub(crate) fn install(
    builder: SessionStateBuilder,
    last: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
) -> SessionStateBuilder {
    let mut logical = Optimizer::new().rules;
    for rule in logical.iter_mut().filter(|rule| rule.name() == "extract_equijoin_predicate") {
        *rule = Arc::new(KeepNullEqual(Arc::clone(rule)));
    }
    for rule in logical.iter_mut().filter(|rule| rule.name() == "eliminate_cross_join") {
        *rule = Arc::new(MergeEqual(Arc::clone(rule)));
    }
    let mut physical = PhysicalOptimizer::new().rules;
    for rule in physical.iter_mut().filter(|rule| rule.name().starts_with("FilterPushdown")) {
        *rule = Arc::new(WhereNamesDiffer(Arc::clone(rule)));
    }
    physical.push(last);
    builder.with_optimizer_rules(logical).with_physical_optimizer_rules(physical)
}

/// A rule that leaves joins alone whose keys take NULL for equal to NULL.
#[derive(Debug)]
struct KeepNullEqual(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for KeepNullEqual {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        match &plan {
            LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty() => {
                Ok(Transformed::no(plan))
            }
            _ => self.0.rewrite(plan, config),
        }
    }
}

/// A rule that merges joins, for plans without such a one.
#[derive(Debug)]
struct MergeEqual(Arc<dyn OptimizerRule + Send + Sync>);

impl OptimizerRule for MergeEqual {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let takes_null_for_equal = plan.exists(|node| {
            Ok(matches!(node, LogicalPlan::Join(join)
                if join.null_equality == NullEquality::NullEqualsNull && join.join_type == JoinType::Inner))
        })?;
        if takes_null_for_equal { Ok(Transformed::no(plan)) } else { self.0.rewrite(plan, config) }
    }
}

/// A rule for the parts of a plan in which no operator gives two columns of one name.
#[derive(Debug)]
struct WhereNamesDiffer(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for WhereNamesDiffer {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let (plan, differ) = self.within(plan, config)?;
        if differ { self.0.optimize(plan, config) } else { Ok(plan) }
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

impl WhereNamesDiffer {
    /// The plan, and whether names differ in all of it: then nothing was done yet. Where they do not, the rule has had its way
    /// with the parts below.
    fn within(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<(Arc<dyn ExecutionPlan>, bool)> {
        let children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
        let mut parts = Vec::with_capacity(children.len());
        for child in children {
            parts.push(self.within(child, config)?);
        }
        let schema = plan.schema();
        let mut names = HashSet::new();
        if parts.iter().all(|(_, differ)| *differ) && schema.fields().iter().all(|field| names.insert(field.name())) {
            return Ok((plan, true));
        }
        let parts: Result<Vec<_>> = parts
            .into_iter()
            .map(|(part, differ)| if differ { self.0.optimize(part, config) } else { Ok(part) })
            .collect();
        Ok((replace_children_if_necessary(plan, parts?)?, false))
    }
}
