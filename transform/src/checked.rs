//! Arithmetic and functions of the engine that fail where the engine's own would go on with something wrong or without end.
//!
//! The engine lets integers wrap around, and makes values of any length outside of its memory limit. Here a number that does not
//! fit is an error of the query, and so is a value that is too long. NaN stands behind all numbers, however it is looked at.

/// What an aggregate that stands in the place of the engine's own, its `inner`, leaves to that. No order of rows changes it.
macro_rules! of_the_engine {
    () => {
        fn name(&self) -> &str {
            self.inner.name()
        }

        fn signature(&self) -> &datafusion::logical_expr::Signature {
            self.inner.signature()
        }

        fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
            self.inner.return_type(kinds)
        }

        fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
            self.inner.coerce_types(kinds)
        }

        fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
            datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
        }

        fn reverse_expr(&self) -> datafusion::logical_expr::ReversedUDAF {
            datafusion::logical_expr::ReversedUDAF::Identical
        }

        fn documentation(&self) -> Option<&datafusion::logical_expr::Documentation> {
            self.inner.documentation()
        }
    };
}

mod arithmetic;
mod bounded;
mod extreme;
mod single;
mod sum;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr::{BinaryExpr, Case, Cast, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use arithmetic::Operation;
use single::Single;

/// Functions that answer NaN where there is no number.
const MAY_BE_NAN: [&str; 9] = ["sqrt", "ln", "log", "log2", "log10", "power", "acos", "asin", "acosh"];

/// Puts the functions in the place of the engine's own, and the rule behind its rules.
pub(crate) fn install(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    bounded::replace(builder.scalar_functions().get_or_insert_with(Vec::new));
    let aggregates = builder.aggregate_functions().get_or_insert_with(Vec::new);
    sum::replace(aggregates);
    extreme::replace(aggregates);
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

/// A condition by cases, made so that it stays one: the engine would make `and` and `or` of it, which ask a case of rows that are
/// none of its own, and there a division fails that the case was to keep from them.
fn one_by_one(case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let answers = || case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
    let is_condition = answers().any(|answer| answer.get_type(schema).is_ok_and(|kind| kind == DataType::Boolean));
    let may_fail = answers().any(|answer| {
        let fails = |part: &Expr| matches!(part, Expr::BinaryExpr(_) | Expr::ScalarFunction(_) | Expr::Cast(_));
        answer.exists(|part| Ok(fails(part) && part.any_column_refs())).unwrap_or(true)
    });
    if !is_condition || !may_fail {
        return Transformed::no(Expr::Case(case));
    }
    let number = |expr: Box<Expr>| Box::new(Expr::Cast(Cast::new(expr, DataType::Int8)));
    let Case { expr, when_then_expr, else_expr } = case;
    let when_then_expr = when_then_expr.into_iter().map(|(when, then)| (when, number(then))).collect();
    let case = Case { expr, when_then_expr, else_expr: else_expr.map(number) };
    Transformed::yes(Expr::Cast(Cast::new(Box::new(Expr::Case(case)), DataType::Boolean)))
}

fn checked(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Expr::Case(case) = expr {
        return one_by_one(case, schema);
    }
    let (left, op, right) = match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => (left.as_ref(), *op, right.as_ref()),
        Expr::Negative(inner) => match negated(inner, schema) {
            Some(negated) => return Transformed::yes(negated),
            None => return one_nan(expr, schema),
        },
        Expr::ScalarFunction(function) if MAY_BE_NAN.contains(&function.name()) => return one_nan(expr, schema),
        _ => return Transformed::no(expr),
    };
    let (Ok(one), Ok(two)) = (left.get_type(schema), right.get_type(schema)) else { return Transformed::no(expr) };
    let integers = one.is_integer() && one == two;
    let operation = match op {
        Operator::Plus if integers => Operation::Add,
        Operator::Minus if integers => Operation::Subtract,
        Operator::Multiply if integers => Operation::Multiply,
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            return one_nan(expr, schema);
        }
        Operator::StringConcat => return Transformed::yes(call(bounded::checker(), vec![expr])),
        Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight if integers => {
            let places = call(single::function(Single::Places), vec![right.clone()]);
            let shift = BinaryExpr { left: Box::new(left.clone()), op, right: Box::new(places) };
            return Transformed::yes(Expr::BinaryExpr(shift));
        }
        _ => return Transformed::no(expr),
    };
    Transformed::yes(call(arithmetic::function(operation), vec![left.clone(), right.clone()]))
}

/// The number, except that there is one NaN.
fn one_nan(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if expr.get_type(schema).is_ok_and(|kind| kind.is_floating()) {
        Transformed::yes(call(single::function(Single::OneNan), vec![expr]))
    } else {
        Transformed::no(expr)
    }
}

/// The negative of an integer: what is left of zero when it is taken away, for the smallest has none.
fn negated(inner: &Expr, schema: &DFSchema) -> Option<Expr> {
    let kind = inner.get_type(schema).ok().filter(DataType::is_signed_integer)?;
    let zero = Expr::Literal(ScalarValue::new_zero(&kind).ok()?, None);
    Some(call(arithmetic::function(Operation::Subtract), vec![zero, inner.clone()]))
}

fn call(function: Arc<ScalarUDF>, arguments: Vec<Expr>) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(function, arguments))
}

#[cfg(test)]
mod tests;
