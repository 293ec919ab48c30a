//! A text beside a number: which of them is meant is decided by the engine, and whether it works by the rows of the day.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Case, InList, InSubquery};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

use super::{each_expression, each_node, name, place};
use crate::explain::SqlProblem;

/// Every place where a text that is not a constant stands beside something that is no text.
pub(crate) fn mixed_types(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let mut found = Vec::new();
    each_expression(plan, |expr, schema| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
            found.extend(mixed(left, schema, right, schema));
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            found.extend(mixed(expr, schema, low, schema).or_else(|| mixed(expr, schema, high, schema)));
        }
        Expr::InList(InList { expr, list, .. }) => {
            found.extend(list.iter().find_map(|item| mixed(expr, schema, item, schema)));
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            let columns = subquery.subquery.schema().columns();
            let other = columns.into_iter().next().map(Expr::Column);
            found.extend(other.and_then(|other| mixed(expr, schema, &other, subquery.subquery.schema())));
        }
        Expr::Case(Case { expr: Some(base), when_then_expr, .. }) => {
            found.extend(when_then_expr.iter().find_map(|(when, _)| mixed(base, schema, when, schema)));
        }
        _ => {}
    });
    each_node(plan, |node| {
        if let LogicalPlan::Join(join) = node {
            let (left_schema, right_schema) = (join.left.schema(), join.right.schema());
            found.extend(join.on.iter().filter_map(|(left, right)| mixed(left, left_schema, right, right_schema)));
        }
    });
    found.dedup();
    found
}

fn compares(op: Operator) -> bool {
    use Operator as O;
    let compares = [O::Eq, O::NotEq, O::Lt, O::LtEq, O::Gt, O::GtEq, O::IsDistinctFrom, O::IsNotDistinctFrom];
    compares.contains(&op) || [O::Plus, O::Minus, O::Multiply, O::Divide, O::Modulo].contains(&op)
}

fn mixed(one: &Expr, one_schema: &DFSchema, two: &Expr, two_schema: &DFSchema) -> Option<SqlProblem> {
    let kinds = (one.get_type(one_schema).ok()?, two.get_type(two_schema).ok()?);
    let (text, other, kind) = match kinds {
        (text, other) if is_text(&text) && other_word(&other).is_some() => (one, two, other),
        (other, text) if is_text(&text) && other_word(&other).is_some() => (two, one, other),
        _ => return None,
    };
    if is_constant(text) {
        return None;
    }
    let (what, word) = (name(text), other_word(&kind)?);
    let at = place(text).or_else(|| place(other));
    let problem = SqlProblem::new(format!("`{what}` is text and stands beside {word}"), at);
    let quoted = if is_constant(other) { "put the value in quotes, or " } else { "" };
    let sql = sql_name(&kind);
    Some(
        problem.with_hint(format!(
            "{quoted}say the cast: `try_cast({what} as {sql})`, which is NULL where the text is none"
        )),
    )
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn other_word(kind: &DataType) -> Option<&'static str> {
    match kind {
        kind if kind.is_numeric() => Some("a number"),
        DataType::Date32 | DataType::Date64 => Some("a date"),
        DataType::Timestamp(..) => Some("a time"),
        DataType::Boolean => Some("a truth value"),
        _ => None,
    }
}

fn sql_name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(..) => "timestamp",
        DataType::Boolean => "boolean",
        kind if kind.is_integer() => "bigint",
        _ => "double",
    }
}

/// Whether it is written out: the planner sees whether such a text is a number, and says so before any row.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Alias(alias) => is_constant(&alias.expr),
        Expr::Cast(cast) => is_constant(&cast.expr),
        Expr::Negative(inner) => is_constant(inner),
        _ => false,
    }
}
