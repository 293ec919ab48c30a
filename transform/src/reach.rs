//! Which days of its parents a query reads, proved from the plan that the engine makes of it.
//!
//! The query is planned for days that no project has, and the optimizer pushes its conditions down to the scans, as far as they
//! hold there. Where every scan of a parent is bounded by `dt`, at the same distance from the day in each of the plans, no other
//! day of it can enter the rows. Whatever can't be proved counts as: all days.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{Date, PartsHash, TableName, days_since_epoch};
use datafusion::catalog::{Session as EngineSession, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, LogicalPlan, Operator, TableProviderFilterPushDown, TableType,
};
use datafusion::physical_plan::ExecutionPlan;

use crate::memo::{self, Memo};
use crate::model::Model;
use crate::session::Session;
use crate::statement::Days;

/// Days before the first one of any project and after the last, in months and years of different lengths, so that neither a bound
/// by the calendar nor one by a fixed date lies at the same distance from all of them.
const PROBES: [Date; 3] =
    [jiff::civil::date(1688, 8, 11), jiff::civil::date(1803, 3, 19), jiff::civil::date(2259, 12, 30)];

/// What was proved, for who asks the same again.
static PROVED: Memo<Arc<BTreeMap<TableName, Reach>>> = Memo::new(256);

/// The days of a parent that are read, counted from the day of the build. None is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach {
    first: Option<i32>,
    last: Option<i32>,
}

impl Reach {
    /// Every day.
    pub(crate) const ALL: Self = Self { first: None, last: None };
    /// The day of the build and no other.
    pub(crate) const DAY: Self = Self { first: Some(0), last: Some(0) };

    /// Whether it depends on the day of the build at all.
    pub(crate) fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// Whether a build of `dt` reads `day`.
    pub(crate) fn contains(self, dt: Date, day: Date) -> bool {
        let distance = days_since_epoch(day) - days_since_epoch(dt);
        self.first.is_none_or(|first| distance >= first) && self.last.is_none_or(|last| distance <= last)
    }

    /// The bounds that are the same in both.
    fn as_in(self, other: Self) -> Self {
        let same = |one: Option<i32>, two: Option<i32>| one.filter(|_| one == two);
        Self { first: same(self.first, other.first), last: same(self.last, other.last) }
    }

    /// The smallest reach that covers both.
    fn with(self, other: Self) -> Self {
        Self {
            first: self.first.zip(other.first).map(|(a, b)| a.min(b)),
            last: self.last.zip(other.last).map(|(a, b)| a.max(b)),
        }
    }
}

/// The reach of a query into each of the tables that are split by day. `schemas` are the columns of all stored tables that it
/// reads, views looked through; those in `split` are split by day.
pub(crate) async fn reaches(
    model: &Model,
    views: &[&Model],
    schemas: &BTreeMap<TableName, SchemaRef>,
    split: impl Fn(&TableName) -> bool,
) -> BTreeMap<TableName, Reach> {
    let days: Vec<&TableName> = schemas.keys().filter(|name| split(name)).collect();
    if days.is_empty() || !model.uses_dt() {
        return days.into_iter().map(|name| (name.clone(), Reach::ALL)).collect();
    }
    let key = key(model, views, schemas);
    let found = if let Some(known) = PROVED.get(&key) {
        known
    } else {
        // A query that can't be planned is reported where it is built.
        let found = Arc::new(proved(model, views, schemas).await.unwrap_or_default());
        PROVED.keep(key, Arc::clone(&found));
        found
    };
    days.into_iter().map(|name| (name.clone(), found.get(name).copied().unwrap_or(Reach::ALL))).collect()
}

/// All that the proof hangs on.
fn key(model: &Model, views: &[&Model], schemas: &BTreeMap<TableName, SchemaRef>) -> memo::Key {
    let mut hash = PartsHash::new();
    for model in std::iter::once(&model).chain(views) {
        hash.part(model.name().to_string());
        hash.part(model.text());
    }
    hash.part("tables");
    for (name, schema) in schemas {
        hash.part(name.to_string());
        memo::columns(&mut hash, Some(schema));
    }
    hash.finish()
}

/// The reach into every table that is read, as far as it is the same on all days that are tried.
async fn proved(
    model: &Model,
    views: &[&Model],
    schemas: &BTreeMap<TableName, SchemaRef>,
) -> Result<BTreeMap<TableName, Reach>, DataFusionError> {
    let session = Session::for_planning()?;
    for (name, schema) in schemas {
        session.add(name, Arc::new(Columns(Arc::clone(schema))))?;
    }
    for view in views {
        let plan = session.plan(view.statement().plain()).await?;
        session.add_view(view.name(), plan, view.text())?;
    }
    let [first, others @ ..] = PROBES;
    let mut found = reaches_on(model, &session, first).await?;
    for probe in others {
        let here = reaches_on(model, &session, probe).await?;
        found = found
            .into_iter()
            .filter_map(|(name, reach)| here.get(&name).map(|other| (name, reach.as_in(*other))))
            .collect();
    }
    Ok(found)
}

async fn reaches_on(
    model: &Model,
    session: &Session,
    day: Date,
) -> Result<BTreeMap<TableName, Reach>, DataFusionError> {
    let plan = session.plan(model.statement().on(&Days::One(day))).await?;
    let plan = session.state().optimize(&plan)?;
    let mut found: BTreeMap<TableName, Reach> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(name) =
                format!("{}.{}", scan.table_name.schema().unwrap_or_default(), scan.table_name.table()).parse()
        {
            let reach = bounds(&scan.filters, day);
            found.entry(name).and_modify(|before| *before = before.with(reach)).or_insert(reach);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// What the conditions of a scan say of `dt`. All of them hold, so each can only narrow it.
fn bounds(filters: &[Expr], day: Date) -> Reach {
    let mut reach = Reach::ALL;
    for condition in filters.iter().flat_map(split_conjunction) {
        let (first, last) = match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (distance(right, day), distance(left, day)) {
                (Some(at), _) if is_dt(left) => of_operator(*op, at),
                (_, Some(at)) if is_dt(right) => op.swap().map_or((None, None), |op| of_operator(op, at)),
                _ => (None, None),
            },
            Expr::Between(Between { expr, negated: false, low, high }) if is_dt(expr) => {
                (distance(low, day), distance(high, day))
            }
            _ => (None, None),
        };
        reach.first = reach.first.max(first);
        reach.last = match (reach.last, last) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }
    reach
}

fn of_operator(op: Operator, at: i32) -> (Option<i32>, Option<i32>) {
    match op {
        Operator::Eq => (Some(at), Some(at)),
        Operator::GtEq => (Some(at), None),
        Operator::Gt => (Some(at.saturating_add(1)), None),
        Operator::LtEq => (None, Some(at)),
        Operator::Lt => (None, Some(at.saturating_sub(1))),
        _ => (None, None),
    }
}

fn is_dt(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == "dt")
}

/// How many days a date lies behind the day of the build.
fn distance(expr: &Expr, day: Date) -> Option<i32> {
    match expr {
        Expr::Literal(ScalarValue::Date32(Some(date)), _) => date.checked_sub(days_since_epoch(day)),
        _ => None,
    }
}

/// Columns without rows, which take every condition that the planner hands down.
#[derive(Debug)]
struct Columns(SchemaRef);

#[async_trait::async_trait]
impl TableProvider for Columns {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>, DataFusionError> {
        Ok(vec![TableProviderFilterPushDown::Exact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn EngineSession,
        _: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        Err(DataFusionError::Internal("a table that is only planned with has no rows".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::{ModelFile, Models};

    async fn reach_of(sql: &str) -> String {
        let files = [
            ("x/marts/m.sql", format!("-- materialize: partition\n{sql}")),
            ("x/staging/v.sql", "-- materialize: view\nselect id, dt, n from raw.a where n > 0".to_owned()),
        ];
        let files = files.map(|(path, text)| ModelFile { path: path.to_owned(), text });
        let models = Models::parse(files.into()).unwrap();
        let model = models.get(&"marts.m".parse().unwrap()).unwrap();
        let (stored, views) = models.resolve(model.parents().iter().cloned());
        let columns = [("id", DataType::Utf8), ("n", DataType::Int64), ("dt", DataType::Date32)];
        let schema = Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
        let schemas = stored.into_iter().map(|name| (name, Arc::clone(&schema))).collect();
        let found = reaches(model, &views, &schemas, |name| name.to_string() != "staging.whole").await;
        let text = |bound: Option<i32>| bound.map_or_else(|| "*".to_owned(), |days| days.to_string());
        let found = found.iter().map(|(name, reach)| format!("{name} {}..{}", text(reach.first), text(reach.last)));
        found.collect::<Vec<_>>().join(", ")
    }

    #[tokio::test]
    async fn only_what_is_proved_is_a_bound() {
        let cases = [
            ("select id from raw.a where dt = $dt", "raw.a 0..0"),
            ("select id from raw.a where $dt = dt and n > 1", "raw.a 0..0"),
            ("select id from staging.v where dt = $dt", "raw.a 0..0"),
            ("with d as (select * from raw.a where dt = $dt) select count(*) as n from d", "raw.a 0..0"),
            ("select dt, count(*) as n from raw.a group by dt having dt = $dt", "raw.a 0..0"),
            (
                "select id from (select id, dt from raw.a union all select id, dt from raw.b) where dt = $dt",
                "raw.a 0..0, raw.b 0..0",
            ),
            ("select id from raw.a where dt > $dt - interval '7 days' and dt <= $dt", "raw.a -6..0"),
            ("select id from raw.a where dt between $dt - interval '1 day' and $dt", "raw.a -1..0"),
            ("select id from raw.a where dt <= $dt", "raw.a *..0"),
            (
                "select a.id from raw.a as a join raw.b as b on a.id = b.id and b.dt = $dt where a.dt = $dt",
                "raw.a 0..0, raw.b 0..0",
            ),
            (
                "select id from raw.a where dt = $dt and id in (select id from raw.b where dt = $dt)",
                "raw.a 0..0, raw.b 0..0",
            ),
            (
                "select id from raw.a where dt = $dt union all select id from raw.a where dt = $dt - interval '1 day'",
                "raw.a -1..0",
            ),
            // What reads more, or may read more on some day, reads all.
            ("select id from raw.a", "raw.a *..*"),
            ("select id from raw.a where dt = $dt or n = 1", "raw.a *..*"),
            ("select id from raw.a where dt = $dt union all select id from raw.a", "raw.a *..*"),
            ("select a.id from raw.a as a join raw.a as b on a.id = b.id where a.dt = $dt", "raw.a *..*"),
            ("select id from raw.a where dt = $dt and n > (select avg(n) from raw.a)", "raw.a *..*"),
            ("select id, n from (select id, dt, count(*) over () as n from raw.a) where dt = $dt", "raw.a *..*"),
            ("select id from raw.a where dt = date '2026-10-01' and $dt is not null", "raw.a *..*"),
            ("select id from raw.a where dt = greatest($dt, date '2026-10-01')", "raw.a *..*"),
            ("select id from raw.a where dt >= $dt - interval '1 month' and dt <= $dt", "raw.a *..0"),
            ("select id from raw.a where dt >= date_trunc('month', $dt) and dt <= $dt", "raw.a *..0"),
            ("select $dt as dt, id from staging.whole", ""),
        ];
        for (sql, expected) in cases {
            assert_eq!(reach_of(sql).await, expected, "{sql}");
        }
    }
}
