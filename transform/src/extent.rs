//! How large a plan is when all that it shares is written out.
//!
//! A view that is read twice, or a filter above a column that is computed from columns that are computed, costs a plan little: its
//! parts are shared. The rules that make it run write all of them out, and of thirty levels that each double the one below no
//! memory holds the result. So a plan is measured as it will be written out, part by part and without writing it out.

use std::collections::HashMap;
use std::rc::Rc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Most operators of a plan.
const MAX_PARTS: u64 = 10_000;
/// Most levels of operators.
const MAX_LEVELS: usize = 1_000;
/// Most terms of one condition, when each column in it is what it is computed from.
const MAX_TERMS: u64 = 50_000;

/// Refuses a plan that would become too large.
pub(crate) fn admit(plan: &LogicalPlan) -> Result<()> {
    Measure::default().of(plan, 0).map(drop)
}

/// What is known of a part of a plan.
struct PlanExtent {
    parts: u64,
    /// Of each column, how many terms it is computed from.
    terms: Vec<u64>,
    /// Whether each of them is one term.
    plain: bool,
}

#[derive(Default)]
struct Measure {
    /// Parts that were measured already, by where they are.
    known: HashMap<*const LogicalPlan, Rc<PlanExtent>>,
}

impl Measure {
    fn of(&mut self, plan: &LogicalPlan, level: usize) -> Result<Rc<PlanExtent>> {
        if level > MAX_LEVELS {
            return plan_err!(
                "the query is more than {MAX_LEVELS} steps deep when its views and `with` parts are put in"
            );
        }
        let place = std::ptr::from_ref(plan);
        if let Some(known) = self.known.get(&place) {
            return Ok(Rc::clone(known));
        }
        let mut parts = 1_u64;
        let mut inputs = Vec::new();
        for input in plan.inputs() {
            let extent = self.of(input, level + 1)?;
            parts = parts.saturating_add(extent.parts);
            inputs.push((input, extent));
        }
        plan.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Some(query) = subquery(part) {
                    parts = parts.saturating_add(self.of(query, level + 1)?.parts);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if parts > MAX_PARTS {
            return plan_err!(
                "the query has {parts} steps when its views and `with` parts are put in, and {MAX_PARTS} can be planned"
            );
        }
        let terms = terms(plan, &inputs)?;
        let plain = terms.iter().all(|terms| *terms == 1);
        let extent = Rc::new(PlanExtent { parts, terms, plain });
        self.known.insert(place, Rc::clone(&extent));
        Ok(extent)
    }
}

fn subquery(expr: &Expr) -> Option<&LogicalPlan> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
        Expr::Exists(exists) => Some(&exists.subquery.subquery),
        Expr::InSubquery(inside) => Some(&inside.subquery.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery.subquery),
        _ => None,
    }
}

/// Of each column of `plan`, how many terms a condition on it would have below. Fails for a condition of too many.
fn terms(plan: &LogicalPlan, inputs: &[(&LogicalPlan, Rc<PlanExtent>)]) -> Result<Vec<u64>> {
    let count = |expr: &Expr| -> Result<u64> {
        let mut terms = 0_u64;
        expr.apply(|part| {
            terms = terms.saturating_add(match part {
                Expr::Column(column) => terms_of(column, inputs),
                Expr::Alias(_) => 0,
                _ => 1,
            });
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(terms)
    };
    let admitted = |expr: &Expr| match count(expr)? {
        terms if terms > MAX_TERMS => {
            plan_err!("a condition has {terms} terms when its columns are written out, and {MAX_TERMS} can be planned")
        }
        _ => Ok(()),
    };
    let columns = plan.schema().fields().len();
    let mut terms = match plan {
        LogicalPlan::Projection(projection) => projection.expr.iter().map(count).collect::<Result<Vec<_>>>()?,
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.iter().map(count).collect::<Result<Vec<_>>>()?,
        LogicalPlan::Union(_) => {
            let of_column = |place| inputs.iter().filter_map(|(_, it)| it.terms.get(place)).max().copied();
            (0..columns).map(|place| of_column(place).unwrap_or(1)).collect()
        }
        _ => inputs.iter().flat_map(|(_, it)| it.terms.iter().copied()).collect(),
    };
    if let LogicalPlan::Filter(filter) = plan {
        admitted(&filter.predicate)?;
    }
    if let LogicalPlan::Join(join) = plan {
        join.filter.iter().chain(join.on.iter().flat_map(|(left, right)| [left, right])).try_for_each(admitted)?;
    }
    terms.resize(columns, 1);
    Ok(terms)
}

fn terms_of(column: &Column, inputs: &[(&LogicalPlan, Rc<PlanExtent>)]) -> u64 {
    let found = inputs.iter().filter_map(|(input, extent)| {
        if extent.plain {
            return None;
        }
        extent.terms.get(input.schema().maybe_index_of_column(column)?).copied()
    });
    found.max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use crate::session::Session;
    use crate::statement::Statement;

    async fn planned(session: &Session, sql: &str) -> Result<(), String> {
        let statement = Statement::parse(sql).map_err(|problem| problem.message)?;
        let plan = session.plan(statement.plain()).await.map_err(|error| error.to_string())?;
        // What is let through is really planned, too.
        session.context().state().create_physical_plan(&plan).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    #[tokio::test]
    async fn views_that_double_one_another_are_refused_and_a_few_are_not() {
        let session = Session::for_planning().unwrap();
        let mut refused = None;
        for level in 0..30 {
            let sql = match level {
                0 => "select 1 as x".to_owned(),
                _ => format!("select a.x from staging.v{0} as a cross join staging.v{0} as b", level - 1),
            };
            match session.plan(Statement::parse(&sql).unwrap().plain()).await {
                Ok(plan) => {
                    let name = format!("staging.v{level}").parse().unwrap();
                    session.add_view(&name, plan, &sql).unwrap();
                }
                Err(error) => {
                    refused = Some((level, error.to_string()));
                    break;
                }
            }
        }
        let (level, message) = refused.unwrap();
        assert!(level > 6, "a few levels are fine: {level}");
        assert!(message.contains("can be planned"), "{message}");
    }

    #[tokio::test]
    async fn a_condition_on_what_is_computed_again_and_again_is_refused_and_the_columns_are_not() {
        let session = Session::for_planning().unwrap();
        let chain = |levels: usize, end: &str| {
            let parts: Vec<String> =
                (1..levels).map(|it| format!("a{it} as (select x + x as x from a{})", it - 1)).collect();
            format!(
                "with a0 as (select v as x from (values (1), (2)) as t(v)), {} select x from a{} {end}",
                parts.join(", "),
                levels - 1
            )
        };
        for end in ["where x > 1", "join (values (1)) as u(y) on x = y", "join (values (1)) as u(y) on x < y and x > 0"]
        {
            let message = planned(&session, &chain(30, end)).await.unwrap_err();
            assert!(message.contains("terms when its columns are written out"), "{end}: {message}");
            planned(&session, &chain(8, end)).await.unwrap();
        }
        let grouped =
            chain(30, "").replace("select x from a29", "select x from (select x from a29 group by x) where x > 1");
        assert!(
            planned(&session, &grouped).await.unwrap_err().contains("terms"),
            "a group key is what it is computed from"
        );
    }
}
