//! What a plan would answer wrongly, or fail on by the data of some day: found before it runs.
//!
//! It looks at plans as the statement was written, before types are made to fit: afterwards nobody can tell a cast that was asked
//! for from one that was slipped in.

mod intervals;
mod latest;
mod membership;
mod portable;
mod types;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinConstraint, JoinType, NullEquality};
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::explain::SqlProblem;
use crate::position::Position;

use intervals::ordered_intervals;
pub(crate) use latest::latest;
use membership::unknown_members;
pub(crate) use portable::portable;
pub(crate) use types::mixed_types;

/// Where the engine is known to answer otherwise than SQL says, and what to write instead.
pub(crate) fn wrong_answers(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let mut found = Vec::new();
    each_expression(plan, |expr, schema| {
        if let Expr::Cast(Cast { expr: inner, field }) = expr
            && matches!(field.data_type(), DataType::Timestamp(_, None))
            && is_zoned(inner, schema)
        {
            let problem = SqlProblem::new(
                "a time in a zone that is cast to one without: the engine gives the clock of UTC",
                place(expr),
            );
            found.push(problem.with_hint("the clock of the zone is `to_local_time(column at time zone '…')`, its day `cast(column at time zone '…' as date)`"));
        }
        if let Expr::ScalarFunction(ScalarFunction { func, args }) = expr
            && func.name() == "date_bin"
            && args.iter().any(|arg| is_zoned(arg, schema))
        {
            let problem = SqlProblem::new(
                "`date_bin` of a time in a zone: the engine begins its bins at midnight in UTC",
                place(expr),
            );
            found.push(
                problem.with_hint("write `date_bin(…, to_local_time(column at time zone '…'))`, or `date_trunc`"),
            );
        }
    });
    found.extend(ordered_intervals(plan));
    found.extend(unknown_members(plan));
    each_node(plan, |node| {
        if let LogicalPlan::Join(join) = node
            && join.null_equality == NullEquality::NullEqualsNull
            && matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
            && !matches!(*join.left, LogicalPlan::Distinct(_))
        {
            let word = if join.join_type == JoinType::LeftAnti { "except" } else { "intersect" };
            let at = join.on.iter().find_map(|(left, right)| place(left).or_else(|| place(right)));
            let problem = SqlProblem::new(format!("`{word} all`: the engine does not count how often a row comes"), at);
            found.push(problem.with_hint(format!(
                "write `{word}`, or number equal rows on both sides: `row_number() over (partition by a, b) as n`, then `{word}`"
            )));
        }
        if let LogicalPlan::Join(join) = node
            && join.join_constraint == JoinConstraint::Using
            && matches!(join.join_type, JoinType::Full | JoinType::Right)
        {
            let key = join.on.first().map(|(left, _)| name(left)).unwrap_or_default();
            let kind = if join.join_type == JoinType::Full { "full" } else { "right" };
            let at = join.on.iter().find_map(|(left, right)| place(left).or_else(|| place(right)));
            let problem = SqlProblem::new(
                format!(
                    "`{kind} join … using ({key})`: the engine forgets `{key}` of rows that only the right side has"
                ),
                at,
            );
            found.push(problem.with_hint(format!(
                "write `on a.{key} = b.{key}`, and `coalesce(a.{key}, b.{key}) as {key}` in the list"
            )));
        }
    });
    found.dedup();
    found
}

/// Every node, those of subqueries too.
fn each_node(plan: &LogicalPlan, mut look: impl FnMut(&LogicalPlan)) {
    let _ = plan.apply_with_subqueries(|node| {
        look(node);
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Every expression with its parts, and the columns that it can speak of.
fn each_expression(plan: &LogicalPlan, mut look: impl FnMut(&Expr, &DFSchema)) {
    each_node(plan, |node| {
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        let _ = node.apply_expressions(|expr| {
            expr.apply(|part| {
                look(part, &schema);
                Ok(TreeNodeRecursion::Continue)
            })
        });
    });
}

fn is_zoned(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Timestamp(_, Some(zone))) if !is_utc(&zone))
}

/// Whether a zone is the one in which tables keep their times.
fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "+00")
}

/// Where the first column of an expression was written.
pub(crate) fn place(expr: &Expr) -> Option<Position> {
    let mut found = None;
    let _ = expr.apply(|part| {
        if let Expr::Column(column) = part
            && let Some(span) = column.spans.first()
        {
            found = Some(Position::new(span.start.line, span.start.column));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// What a person calls an expression.
pub(crate) fn name(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        Expr::Cast(cast) => name(&cast.expr),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
