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

use crate::window::CountWindows;

/// Puts the rules that hold back in the place of those that they hold, and one of ours behind all others.
pub(crate) fn install(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut logical = Optimizer::new().rules;
    for rule in &mut logical {
        let leaves: fn(&LogicalPlan) -> bool = match rule.name() {
            "extract_equijoin_predicate" => takes_null_for_equal,
            "eliminate_cross_join" => is_above_such_a_join,
            _ => continue,
        };
        *rule = Arc::new(Held { rule: Arc::clone(rule), leaves });
    }
    let mut physical = PhysicalOptimizer::new().rules;
    for rule in physical.iter_mut().filter(|rule| rule.name().starts_with("FilterPushdown")) {
        *rule = Arc::new(WhereNamesDiffer(Arc::clone(rule)));
    }
    physical.push(Arc::new(CountWindows));
    builder.with_optimizer_rules(logical).with_physical_optimizer_rules(physical)
}

/// Whether it is a join whose keys take NULL for equal to NULL.
fn takes_null_for_equal(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull && !join.on.is_empty())
}

/// Whether a rule that merges inner joins would find such a one.
fn is_above_such_a_join(plan: &LogicalPlan) -> bool {
    let inner = |node: &LogicalPlan| matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner);
    plan.exists(|node| Ok(takes_null_for_equal(node) && inner(node))).unwrap_or(true)
}

/// A rule that leaves some plans alone.
#[derive(Debug)]
struct Held {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    leaves: fn(&LogicalPlan) -> bool,
}

impl OptimizerRule for Held {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if (self.leaves)(&plan) { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
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
