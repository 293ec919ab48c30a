//! `in` of a subquery where NULL is told from false: the engine answers such a question with true or false alone, unless it is a
//! condition of its own that rows have to meet.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{BinaryExpr, Case, InSubquery};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator};

use super::{each_node, place};
use crate::explain::SqlProblem;

/// How an answer is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Rows that do not meet it go: NULL counts as false, and the engine sees to that.
    Condition,
    /// A part of one, where NULL counts as false as well.
    Part,
    /// In any other way.
    Other,
}

/// Every `in` of a subquery whose NULL would count as false where it does not.
pub(super) fn unknown_members(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let mut found = Vec::new();
    each_node(plan, |node| match node {
        LogicalPlan::Filter(filter) => walk(&filter.predicate, Use::Condition, &mut found),
        _ => {
            for expr in node.expressions() {
                walk(&expr, Use::Other, &mut found);
            }
        }
    });
    found
}

fn walk(expr: &Expr, used: Use, found: &mut Vec<SqlProblem>) {
    match expr {
        Expr::Alias(alias) => walk(&alias.expr, used, found),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            walk(left, used, found);
            walk(right, used, found);
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let part = if used == Use::Condition { Use::Part } else { used };
            walk(left, part, found);
            walk(right, part, found);
        }
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(inside) => member(expr, inside, !inside.negated, used, found),
            inner => walk(inner, Use::Other, found),
        },
        Expr::InSubquery(inside) => member(expr, inside, inside.negated, used, found),
        Expr::Case(Case { expr: None, when_then_expr, else_expr }) => {
            for (when, then) in when_then_expr {
                walk(when, Use::Part, found);
                walk(then, Use::Other, found);
            }
            if let Some(otherwise) = else_expr {
                walk(otherwise, Use::Other, found);
            }
        }
        other => {
            let _ = other.apply_children(|child| {
                walk(child, Use::Other, found);
                Ok(TreeNodeRecursion::Continue)
            });
        }
    }
}

fn member(expr: &Expr, inside: &InSubquery, negated: bool, used: Use, found: &mut Vec<SqlProblem>) {
    walk(&inside.expr, Use::Other, found);
    let correlated = !inside.subquery.outer_ref_columns.is_empty();
    // Of a column the engine looks whether there is a NULL, and of a value that is written out it does not.
    let constant = inside.expr.column_refs().is_empty();
    let right = match used {
        Use::Condition => !(negated && (correlated || constant)),
        Use::Part => !negated,
        Use::Other => false,
    };
    if !right {
        let (word, hint) = if negated { ("not in", "not exists") } else { ("in", "exists") };
        let message = if negated && correlated {
            "`not in` of a subquery that speaks of the row outside".to_owned()
        } else if negated && constant && used == Use::Condition {
            "`not in` of a subquery, of a value that no row has".to_owned()
        } else {
            format!("`{word}` of a subquery inside another condition or value: the engine takes NULL for false there")
        };
        let problem = SqlProblem::new(message, place(expr));
        found.push(problem.with_hint(format!(
            "a NULL in it would count as no match; write `{hint} (select … where …)`, or make it a condition of its own"
        )));
    }
}
