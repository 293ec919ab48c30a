//! Differences that depend on the types of columns.

use std::collections::HashSet;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::logical_expr::expr::{BinaryExpr, Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator};

use crate::explain::SqlProblem;
use crate::lint::{each_expression, place};

/// Functions after which a number has nothing behind its point.
const WHOLE: [&str; 4] = ["round", "floor", "ceil", "trunc"];

pub(super) fn differences(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let mut found = Vec::new();
    // Calls of `date_trunc` that are cast to a date right away, by where they lie in the plan.
    let mut dated = HashSet::new();
    each_expression(plan, |expr, schema| {
        let problem = match expr {
            Expr::Cast(Cast { expr: inner, field }) | Expr::TryCast(TryCast { expr: inner, field }) => {
                if is_date_trunc(inner) && *field.data_type() == DataType::Date32 {
                    dated.insert(std::ptr::from_ref(inner.as_ref()).addr());
                }
                cast(inner, field.data_type(), schema)
            }
            Expr::ScalarFunction(ScalarFunction { args, .. })
                if is_date_trunc(expr) && !dated.contains(&std::ptr::from_ref(expr).addr()) =>
            {
                let of_date = args.last().is_some_and(|arg| is_date(arg, schema));
                of_date.then_some((
                    "`date_trunc` of a date: a time here, a date in Athena",
                    "write `cast(date_trunc(…) as date)`",
                ))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right })
                if is_date(left, schema) && is_date(right, schema) =>
            {
                Some((
                    "a date less a date: a number of days here, an interval in Athena",
                    "compare with a date instead, as in `a > b - interval '7' day`, or count the days in a model",
                ))
            }
            _ => None,
        };
        found.extend(problem.map(|(message, hint)| SqlProblem::new(message, place(expr)).with_hint(hint)));
    });
    found
}

fn cast(inner: &Expr, to: &DataType, schema: &DFSchema) -> Option<(&'static str, &'static str)> {
    let from = inner.get_type(schema).ok()?;
    let text = matches!(to, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    if to.is_integer() && (from.is_floating() || from.is_decimal()) && !is_whole(inner) {
        return Some((
            "a number with a point that is cast to an integer: cut here, rounded in Athena",
            "say which: `cast(floor(…) as bigint)`, or `round`",
        ));
    }
    if text && from.is_floating() {
        return Some((
            "a double that is cast to a text: `0.1` here, `1.0E-1` in Athena",
            "write how many digits it has: `cast(cast(… as decimal(18, 2)) as varchar)`",
        ));
    }
    if text && matches!(from, DataType::Timestamp(..)) {
        return Some((
            "a time that is cast to a text: it is written in another way in Athena",
            "write `cast(cast(… as date) as varchar)` for its day, or give the time out as it is",
        ));
    }
    None
}

fn is_date(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Date32))
}

fn is_date_trunc(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(ScalarFunction { func, .. }) if func.name() == "date_trunc")
}

fn is_whole(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            // With a number of digits it may leave some behind the point.
            WHOLE.contains(&func.name()) && args.len() == 1
        }
        Expr::Alias(alias) => is_whole(&alias.expr),
        _ => false,
    }
}
