//! Arithmetic and functions of the engine that fail where the engine's own would go on with something wrong or without end.
//!
//! The engine lets integers wrap around, and makes values of any length outside of its memory limit. Here a number that does not
//! fit is an error of the query, and so is a value that is too long.

mod arithmetic;
mod bounded;
mod sum;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use arithmetic::Operation;

/// Puts the functions in the place of the engine's own, and the rule behind its rules.
pub(crate) fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    bounded::replace(builder.scalar_functions().get_or_insert_with(Vec::new));
    sum::replace(builder.aggregate_functions().get_or_insert_with(Vec::new));
    builder.with_analyzer_rule(Arc::new(CheckedOperators))
}

/// Replaces operators on integers and texts by calls that fail.
#[derive(Debug)]
struct CheckedOperators;

impl AnalyzerRule for CheckedOperators {
    fn name(&self) -> &'static str {
        "checked_operators"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan, DataFusionError> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            let mut schema = DFSchema::empty();
            node.inputs().iter().for_each(|input| schema.merge(input.schema()));
            if node.inputs().is_empty() {
                schema.merge(node.schema());
            }
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|part| Ok(checked(part, &schema)))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        })?;
        Ok(rewritten.data)
    }
}

fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = &expr else { return Transformed::no(expr) };
    let (Ok(one), Ok(two)) = (left.get_type(schema), right.get_type(schema)) else { return Transformed::no(expr) };
    let operation = match op {
        Operator::Plus => Operation::Add,
        Operator::Minus => Operation::Subtract,
        Operator::Multiply => Operation::Multiply,
        Operator::StringConcat => {
            return Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(bounded::checker(), vec![expr])));
        }
        _ => return Transformed::no(expr),
    };
    if !one.is_integer() || one != two {
        return Transformed::no(expr);
    }
    let arguments = vec![left.as_ref().clone(), right.as_ref().clone()];
    Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(arithmetic::function(operation), arguments)))
}

#[cfg(test)]
mod tests;
