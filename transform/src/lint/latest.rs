//! What a `latest` model may do with the rows of a day.
//!
//! Its days are read together or one after the other, as it happens. That gives the same rows only if each row comes from rows of
//! its own day: so nothing that looks at several rows, or counts them, may stand at or above the level at which the day is chosen.

use catalog::Date;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// What stands above the place where `day` is chosen, and makes its rows depend on other days.
pub(crate) fn latest(plan: &LogicalPlan, day: Date) -> Option<&'static str> {
    match chosen(plan, day) {
        Chosen::Nowhere => None,
        Chosen::Somewhere { forbidden } => forbidden,
    }
}

/// Whether the day is chosen at a place of the plan or below it, and what stands above that which must not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Nowhere,
    Somewhere { forbidden: Option<&'static str> },
}

fn chosen(node: &LogicalPlan, day: Date) -> Chosen {
    let mut found = Chosen::Nowhere;
    let mut add = |more: Option<&'static str>| {
        let before = if let Chosen::Somewhere { forbidden } = found { forbidden } else { None };
        found = Chosen::Somewhere { forbidden: before.or(more) };
    };
    let _ = node.apply_expressions(|expr| {
        expr.apply(|part| {
            if speaks_of(part, day) {
                add(match node {
                    LogicalPlan::Filter(_) => None,
                    LogicalPlan::Join(join) if join.join_type == JoinType::Inner => None,
                    LogicalPlan::Join(_) => Some("an outer join"),
                    _ => Some("a column"),
                });
            }
            let inner = match part {
                Expr::Exists(exists) => Some(&exists.subquery),
                Expr::InSubquery(found) => Some(&found.subquery),
                Expr::ScalarSubquery(subquery) => Some(subquery),
                _ => None,
            };
            if inner.is_some_and(|inner| chosen(&inner.subquery, day) != Chosen::Nowhere) {
                add(Some("a subquery"));
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    for (place, input) in node.inputs().into_iter().enumerate() {
        if let Chosen::Somewhere { forbidden } = chosen(input, day) {
            add(forbidden.or_else(|| forbids(node, place)));
        }
    }
    found
}

fn forbids(node: &LogicalPlan, input: usize) -> Option<&'static str> {
    match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Repartition(_) => None,
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => None,
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => None,
            JoinType::Left | JoinType::LeftAnti if input == 0 => None,
            JoinType::Right | JoinType::RightAnti if input == 1 => None,
            _ => Some("an outer join"),
        },
        LogicalPlan::Aggregate(_) => Some("an aggregate"),
        LogicalPlan::Window(_) => Some("a window function"),
        LogicalPlan::Distinct(_) => Some("a `distinct`"),
        LogicalPlan::Limit(_) | LogicalPlan::Sort(_) => Some("a `limit`"),
        _ => Some("what looks at several rows"),
    }
}

/// Whether it is the day: as a constant, or as the cast of its text that the planner makes of `date '…'`.
fn speaks_of(expr: &Expr, day: Date) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Date32(Some(found)), _) => *found == catalog::days_since_epoch(day),
        Expr::Literal(
            ScalarValue::Utf8(Some(found)) | ScalarValue::Utf8View(Some(found)) | ScalarValue::LargeUtf8(Some(found)),
            _,
        ) => *found == day.to_string(),
        _ => false,
    }
}
