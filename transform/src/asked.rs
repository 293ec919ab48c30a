//! Tables whose word is not taken for what they filter.
//!
//! A table may claim that a condition which was handed down to it holds for every row that it gives, and the engine then asks it
//! no more. The lake's tables claim that of every condition that names nothing but `dt`, so also of one that names no column at
//! all: the `null` that is left of `s not in ('y', null)`. They only leave out files by it, though, and keep a file of which they
//! can't tell. So here a condition is always a help and never a promise: each row is asked again.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::{Constraints, Result, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

/// The table, except that every condition is asked of every row that it gives.
pub(crate) fn asked_again(table: Arc<dyn TableProvider>) -> Arc<dyn TableProvider> {
    // A view is no more than its plan, and the tables in that are asked.
    if table.get_logical_plan().is_some() { table } else { Arc::new(AskedAgain(table)) }
}

#[derive(Debug)]
struct AskedAgain(Arc<dyn TableProvider>);

#[async_trait::async_trait]
impl TableProvider for AskedAgain {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn constraints(&self) -> Option<&Constraints> {
        self.0.constraints()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }

    async fn scan_with_args<'a>(&self, state: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
        self.0.scan_with_args(state, args).await
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let claimed = self.0.supports_filters_pushdown(filters)?.into_iter();
        Ok(claimed
            .map(|claim| match claim {
                TableProviderFilterPushDown::Exact => TableProviderFilterPushDown::Inexact,
                other => other,
            })
            .collect())
    }

    fn statistics(&self) -> Option<Statistics> {
        self.0.statistics()
    }
}
