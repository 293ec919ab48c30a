//! Rows that are set aside: left out of a model's table, and counted.
//!
//! One odd record of a site should not keep all others from being built. What its model's head says under `set_aside` is decided
//! for each row before anything else is done with it; the row stays where it came from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use datafusion::common::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::lit;

use crate::check;
use crate::model::Model;
use crate::session::Session;

/// How many rows were set aside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts from nothing: what was planned is planned again.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The plan without the rows that its model sets aside. They are counted by a question of their own: how often the plan itself
/// is asked for a row is the engine's business.
pub(crate) async fn leave_out(
    model: &Model,
    plan: LogicalPlan,
    session: &Session,
    set_aside: &Count,
) -> Result<LogicalPlan> {
    let Some(condition) = check::set_aside(model) else { return Ok(plan) };
    let condition = session.state().create_logical_expr(&condition, plan.schema())?;
    let broken = LogicalPlanBuilder::from(plan.clone()).filter(Expr::IsTrue(Box::new(condition.clone())))?;
    let broken = broken.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?;
    let counted = session.context().execute_logical_plan(broken).await?.collect().await?;
    let rows = counted.iter().filter_map(|batch| batch.column(0).as_primitive_opt::<Int64Type>());
    let rows: i64 = rows.flat_map(|column| column.iter().flatten()).sum();
    set_aside.0.fetch_add(rows.unsigned_abs(), Ordering::Relaxed);
    // A condition that is not known for a row sets nothing aside.
    LogicalPlanBuilder::from(plan).filter(Expr::IsNotTrue(Box::new(condition)))?.build()
}
