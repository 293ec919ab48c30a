//! Spans of time in an order: the engine compares their months, then their days, then the rest, each for itself, so that 25 hours
//! come before one day, and a difference of two times, which has hours alone, is never longer than a day.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, BinaryExpr, Case, InList, ScalarFunction, WindowFunction,
};
use datafusion::logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, Operator};

use super::{each_expression, each_node, place};
use crate::explain::SqlProblem;
use crate::position::Position;

/// Every place where intervals are compared, sorted or told apart.
pub(super) fn ordered_intervals(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let mut found = Vec::new();
    each_expression(plan, |expr, schema| {
        let compared: Vec<&Expr> = match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if orders(*op) => vec![left, right],
            Expr::Between(Between { expr, low, high, .. }) => vec![expr, low, high],
            Expr::InList(InList { expr, list, .. }) => std::iter::once(expr.as_ref()).chain(list).collect(),
            Expr::InSubquery(inside) => vec![&inside.expr],
            Expr::Case(Case { expr: Some(base), .. }) => vec![base],
            Expr::ScalarFunction(ScalarFunction { func, args })
                if ["greatest", "least", "nullif"].contains(&func.name()) =>
            {
                args.iter().collect()
            }
            Expr::AggregateFunction(AggregateFunction { func, params })
                if ["min", "max", "median"].contains(&func.name())
                    || params.distinct
                    || !params.order_by.is_empty() =>
            {
                params.args.iter().chain(params.order_by.iter().map(|sort| &sort.expr)).collect()
            }
            Expr::WindowFunction(window) => keys_of(window),
            _ => Vec::new(),
        };
        found.extend(interval_in(&compared, schema));
    });
    each_node(plan, |node| {
        let keys: Vec<&Expr> = match node {
            LogicalPlan::Sort(sort) => sort.expr.iter().map(|sort| &sort.expr).collect(),
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().collect(),
            LogicalPlan::Join(join) => join.on.iter().map(|(left, _)| left).collect(),
            LogicalPlan::Distinct(Distinct::On(on)) => on.on_expr.iter().collect(),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let spans = input.schema().fields().iter().any(|field| is_interval(field.data_type()));
                found.extend(spans.then(|| problem(None)));
                return;
            }
            _ => return,
        };
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        found.extend(interval_in(&keys, &schema));
    });
    found
}

fn keys_of(window: &WindowFunction) -> Vec<&Expr> {
    window.params.partition_by.iter().chain(window.params.order_by.iter().map(|sort| &sort.expr)).collect()
}

fn orders(op: Operator) -> bool {
    use Operator as O;
    [O::Eq, O::NotEq, O::Lt, O::LtEq, O::Gt, O::GtEq, O::IsDistinctFrom, O::IsNotDistinctFrom].contains(&op)
}

fn interval_in(compared: &[&Expr], schema: &DFSchema) -> Option<SqlProblem> {
    let spans = compared.iter().any(|expr| expr.get_type(schema).is_ok_and(|kind| is_interval(&kind)));
    spans.then(|| problem(compared.iter().find_map(|expr| place(expr))))
}

fn is_interval(kind: &DataType) -> bool {
    matches!(kind, DataType::Interval(_))
}

fn problem(at: Option<Position>) -> SqlProblem {
    let message = "intervals are compared, and the engine compares their months, days and hours each for itself";
    SqlProblem::new(message, at)
        .with_hint("compare times: `a > b + interval '7 days'` instead of `a - b > interval '7 days'`")
}
