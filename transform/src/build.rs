//! Building one model: rows, then checks, then one commit that readers see.
//!
//! 1. what went into the last build and what would go into this one → nothing to do, or why there is
//! 2. the query runs over parents pinned to the versions that were looked at, and writes files that nobody sees
//! 3. the checks run on exactly those files; if they find anything, the files are thrown away and readers keep what they had
//! 4. the record of what went in, then the commit, which carries the fingerprint
//!
//! A process that is killed in between leaves files that nobody sees and perhaps a record that nobody looks for; the next build
//! starts from 1 and ends in the same rows. Two builds at once end as one: the second finds the fingerprint of the first, or finds that
//! the table moved under it and looks again.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Date32Type, Schema};
use catalog::{
    CommitInfo, Committed, Date, Lake, RunId, Scope, Table, TableName, TableSpec, Timestamp, Txn, TxnRule, Version,
    WriteOptions, Written, date_of, days_since_epoch,
};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::ViewTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

use crate::check;
use crate::engine::{Engine, Failure, isolated, start};
use crate::error::{Error, Result};
use crate::merge::{self, Extent};
use crate::model::{Check, Materialization, Model, Models};
use crate::plan::{Action, Facts, Reason, app_id, day_of, record_path};
use crate::session::{Options, Session};
use crate::statement::Days;
use crate::verify::output_schema;

/// How often a build looks again when another run changed the table under it.
const ATTEMPTS: usize = 4;
/// A text longer than an id makes statistics large and prunes nothing: these endings are ids.
const SHORT_TEXTS: [&str; 4] = ["_id", "_hash", "_key", "_type"];

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A view stores nothing; its checks, if it has any, passed.
    View {
        /// How many checks ran.
        checks: usize,
    },
    /// Nothing changed, so nothing was built.
    Unchanged {
        /// The table's version.
        version: Version,
        /// How many checks ran: some when the checks themselves changed.
        checks: usize,
    },
    /// New rows are visible.
    Built {
        /// Since this version.
        version: Version,
        /// How many were written.
        rows: u64,
        /// How many checks they passed.
        checks: usize,
        /// What made it necessary.
        why: Vec<Reason>,
    },
}

/// Builds models of one project in one run.
#[derive(Debug, Clone, Copy)]
pub struct Builder<'a> {
    /// What runs the queries.
    pub engine: &'a Engine,
    /// Where tables are.
    pub lake: &'a Lake,
    /// All models of the project.
    pub models: &'a Models,
    /// The day that `$dt` stands for.
    pub dt: Date,
    /// The run, for the commits.
    pub run: &'a RunId,
    /// The time, for the commits.
    pub now: Timestamp,
}

impl Builder<'_> {
    /// Brings one model up to date; what it reads must be already.
    pub async fn build(&self, name: &TableName) -> Result<Outcome> {
        let model = self.models.require(name)?;
        catalog::failpoint!("transform.build.before");
        for _ in 0..ATTEMPTS {
            let facts = Facts::gather(self.lake, self.models, model, self.dt, &BTreeSet::new()).await?;
            if *model.materialization() == Materialization::View {
                return self.check_view(model).await;
            }
            let (action, why) = facts.decide();
            match (action, &facts.table) {
                (Action::Keep, Some((_, snapshot))) => {
                    return Ok(Outcome::Unchanged { version: snapshot.version(), checks: 0 });
                }
                (Action::Recheck, Some((_, snapshot))) => {
                    let version = snapshot.version();
                    self.check_stored(model, &facts).await?;
                    self.keep_record(model, &facts).await?;
                    return Ok(Outcome::Unchanged { version, checks: model.checks().len() });
                }
                _ => {}
            }
            tracing::info!(model = %name, why = ?why, "building");
            if let Some(outcome) = self.rebuild(model, &facts, why).await? {
                return Ok(outcome);
            }
            tracing::info!(model = %name, "another run changed the table: looking again");
        }
        Err(Error::Contended { model: name.clone() })
    }

    /// Makes the rows again. `None`: another run committed meanwhile.
    async fn rebuild(&self, model: &Model, facts: &Facts<'_>, why: Vec<Reason>) -> Result<Option<Outcome>> {
        let mut options = self.engine.options();
        let (table, written) = match self.write(model, facts, options).await {
            // Parts that run at once share the memory, and a join that keeps one side of it can't spill.
            Err(Error::Exhausted { .. }) => {
                tracing::warn!(model = %model.name(), "out of memory: trying again part by part, with joins that can spill");
                (options.partitions, options.hash_joins) = (1, false);
                self.write(model, facts, options).await?
            }
            other => other?,
        };
        catalog::failpoint!("transform.written.after");
        let failures = match self.checked(model, &written).await {
            Ok(failures) => failures,
            Err(error) => {
                discard(model, written).await;
                return Err(error);
            }
        };
        if !failures.is_empty() {
            discard(model, written).await;
            return Err(Error::CheckFailed { model: model.name().clone(), dt: day_of(model, self.dt), failures });
        }
        catalog::failpoint!("transform.check.after");
        // The commit sees whoever came after the writing began; this sees whoever came before.
        let about = || Error::lake(format!("building `{}`", model.name()));
        let newest = table.snapshot().await.map_err(about())?;
        if newest.txn(&app_id(model, self.dt)).await.map_err(about())? != facts.mark {
            discard(model, written).await;
            return Ok(None);
        }
        self.keep_record(model, facts).await?;
        catalog::failpoint!("transform.commit.before");
        let rows = written.rows();
        let scope = day_of(model, self.dt).map_or(Scope::All, Scope::Day);
        let txn = Txn { app_id: app_id(model, self.dt), version: facts.record.fingerprint(), rule: TxnRule::Equal };
        let lineage = facts.record.parents.iter().map(|(name, version)| (name.clone(), *version)).collect();
        let info = CommitInfo { run: self.run.clone(), now: self.now, lineage };
        let outcome = match written.replace(scope, txn, &info).await.map_err(about())? {
            Committed::Done(version) => Outcome::Built { version, rows, checks: model.checks().len(), why },
            Committed::Duplicate(version) => Outcome::Unchanged { version, checks: 0 },
            Committed::Conflict(_) => return Ok(None),
        };
        catalog::failpoint!("transform.commit.after");
        self.drop_old_record(model, facts).await;
        Ok(Some(outcome))
    }

    /// Runs the query and writes its rows where nobody sees them.
    async fn write(&self, model: &Model, facts: &Facts<'_>, options: Options) -> Result<(Table, Written)> {
        let what = format!("the query of `{}`", model.name());
        let snapshots = facts.parents.iter().map(|(name, (_, snapshot))| (name.clone(), snapshot.clone())).collect();
        let session = self.engine.session(snapshots, &facts.views, options).await?;
        let failure = Failure::default();
        let (table, streams) = isolated(&what, async {
            let plan = self.plan_rows(model, facts, &session).await?;
            let spec = spec(
                model,
                &output_schema(model, plan.schema().as_arrow()),
                facts.table.as_ref().map(|(table, _)| table),
            );
            let table = self.lake.create(&spec).await.map_err(Error::lake(format!("making `{}`", model.name())))?;
            let streams = start(&session, &plan, &what, &failure).await?;
            Ok((table, streams))
        })
        .await?;
        let streams = match day_of(model, self.dt) {
            Some(day) => streams.into_iter().map(|stream| of_one_day(stream, model.name(), day, &failure)).collect(),
            None => streams,
        };
        let written = table.write(streams, &WriteOptions::default()).await;
        let written = written.map_err(|error| {
            failure.take().unwrap_or_else(|| Error::lake(format!("writing `{}`", model.name()))(error))
        })?;
        Ok((table, written))
    }

    /// The plan that gives the table's rows, keys first.
    async fn plan_rows(&self, model: &Model, facts: &Facts<'_>, session: &Session) -> Result<LogicalPlan> {
        let planning = |error| Error::planning(&error);
        let plan = match model.materialization() {
            Materialization::Latest { by, order } => {
                let extent = merge::extent(model, facts).await?;
                tracing::debug!(model = %model.name(), ?extent, "merging");
                let fresh = session.plan(model.statement().on(&extent.days())).await.map_err(planning)?;
                let schema = fresh.schema().as_arrow().clone();
                session
                    .add_private(merge::FRESH, std::sync::Arc::new(ViewTable::new(fresh, None)))
                    .map_err(planning)?;
                if let (Extent::Added(_), Some((_, snapshot))) = (&extent, &facts.table) {
                    merge::add_existing(session, snapshot, &schema).await?;
                }
                let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let statement = merge::statement(by, order, &columns, &extent)?;
                session.plan(statement.plain()).await.map_err(planning)?
            }
            _ => session.plan(model.statement().on(&Days::One(self.dt))).await.map_err(planning)?,
        };
        let columns = keys_first(model, plan.schema().as_arrow());
        let mut list: Vec<Expr> = columns.iter().map(|name| col(Column::from_name(name))).collect();
        if let Some(day) = day_of(model, self.dt)
            && !columns.iter().any(|name| name == "dt")
        {
            list.push(lit(ScalarValue::Date32(Some(days_since_epoch(day)))).alias("dt"));
        }
        LogicalPlanBuilder::from(plan).project(list).and_then(LogicalPlanBuilder::build).map_err(planning)
    }

    /// Runs the checks on rows that nobody sees yet.
    async fn checked(&self, model: &Model, written: &Written) -> Result<Vec<crate::CheckFailure>> {
        if model.checks().is_empty() {
            return Ok(Vec::new());
        }
        let session = self.open_referenced(model).await?;
        let provider = written.provider().map_err(Error::lake(format!("checking `{}`", model.name())))?;
        session.add(model.name(), provider).map_err(Error::engine)?;
        check::run(&session, model).await
    }

    /// Runs the checks on the rows that are there: all of them, or those of the day.
    async fn check_stored(&self, model: &Model, facts: &Facts<'_>) -> Result<()> {
        let Some((_, snapshot)) = &facts.table else { return Ok(()) };
        let session = self.open_referenced(model).await?;
        let about = || Error::lake(format!("checking `{}`", model.name()));
        let provider = snapshot.provider().await.map_err(about())?;
        let what = format!("the checks of `{}`", model.name());
        let provider = match day_of(model, self.dt) {
            Some(day) => {
                let of_day = col("dt").eq(lit(ScalarValue::Date32(Some(days_since_epoch(day)))));
                let frame = session.context().read_table(provider).and_then(|frame| frame.filter(of_day));
                frame.map_err(|error| Error::query(&what, error))?.into_view()
            }
            None => provider,
        };
        session.add(model.name(), provider).map_err(Error::engine)?;
        self.fail_on(model, check::run(&session, model).await?)
    }

    async fn check_view(&self, model: &Model) -> Result<Outcome> {
        let checks = model.checks().len();
        if checks > 0 {
            let mut tables = referenced(model);
            tables.insert(model.name().clone());
            let session = self.engine.open(self.lake, self.models, tables, Some(model), self.engine.options()).await?;
            self.fail_on(model, check::run(&session, model).await?)?;
        }
        Ok(Outcome::View { checks })
    }

    fn fail_on(&self, model: &Model, failures: Vec<crate::CheckFailure>) -> Result<()> {
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::CheckFailed { model: model.name().clone(), dt: day_of(model, self.dt), failures })
    }

    /// A session with the tables that the model's checks look into.
    async fn open_referenced(&self, model: &Model) -> Result<Session> {
        self.engine.open(self.lake, self.models, referenced(model), Some(model), self.engine.options()).await
    }

    async fn keep_record(&self, model: &Model, facts: &Facts<'_>) -> Result<()> {
        let path = record_path(model, self.dt, facts.record.fingerprint());
        // A record is plain data: it always has a JSON form.
        let bytes = serde_json::to_vec(&facts.record).unwrap_or_default();
        self.lake
            .objects()
            .put(&path, bytes.into())
            .await
            .map_err(Error::lake(format!("recording the build of `{}`", model.name())))
    }

    /// The record of a build that is no longer there tells nobody anything. Losing this step costs a small file.
    async fn drop_old_record(&self, model: &Model, facts: &Facts<'_>) {
        if let Some(mark) = facts.mark.filter(|mark| *mark != facts.record.fingerprint())
            && let Err(error) = self.lake.objects().delete(&record_path(model, self.dt, mark)).await
        {
            tracing::debug!(model = %model.name(), %error, "an old record stays");
        }
    }
}

/// The tables that the model's checks look into, itself left out.
fn referenced(model: &Model) -> BTreeSet<TableName> {
    let checks = model.checks();
    let tables = checks.iter().filter_map(|check| match check {
        Check::References { table, .. } => Some(table.clone()),
        _ => None,
    });
    tables.filter(|table| table != model.name()).collect()
}

async fn discard(model: &Model, written: Written) {
    if let Err(error) = written.discard().await {
        tracing::warn!(model = %model.name(), %error, "files that nobody sees could not be removed");
    }
}

/// The query's columns: what names a row comes first, so that readers find it and files have statistics of it.
fn keys_first(model: &Model, query: &Schema) -> Vec<String> {
    let key = model.key();
    let (mut first, rest): (Vec<_>, Vec<_>) =
        query.fields().iter().map(|field| field.name().clone()).partition(|name| key.contains(&name.as_str()));
    first.sort_by_key(|name| key.iter().position(|column| column == name));
    first.into_iter().chain(rest).collect()
}

/// The table a model is kept in. A column that the model no longer has stays in the table, empty: older versions have it.
fn spec(model: &Model, wanted: &Schema, kept: Option<&Table>) -> TableSpec {
    let order = keys_first(model, wanted);
    let mut fields: Vec<_> = order.iter().filter_map(|name| wanted.field_with_name(name).ok().cloned()).collect();
    if let Some(kept) = kept {
        let gone: Vec<_> = kept
            .schema()
            .fields()
            .iter()
            .filter(|field| wanted.field_with_name(field.name()).is_err())
            .map(|field| field.as_ref().clone())
            .collect();
        fields.extend(gone);
    }
    let key = model.key();
    let short = |name: &str, kind: &DataType| match kind {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => {
            key.contains(&name) || SHORT_TEXTS.iter().any(|ending| name.ends_with(ending))
        }
        DataType::Date32 | DataType::Boolean | DataType::Timestamp(..) => true,
        other => other.is_numeric(),
    };
    let stats_columns = fields
        .iter()
        .filter(|field| short(field.name(), field.data_type()))
        .map(|field| field.name().clone())
        .collect();
    TableSpec {
        name: model.name().clone(),
        schema: std::sync::Arc::new(Schema::new(fields)),
        partitioned: *model.materialization() == Materialization::Partition,
        stats_columns,
    }
}

/// The rows, except that one of another day is an error.
fn of_one_day(
    stream: SendableRecordBatchStream,
    model: &TableName,
    day: Date,
    failure: &Failure,
) -> SendableRecordBatchStream {
    let schema = stream.schema();
    let (model, failure, wanted) = (model.clone(), failure.clone(), days_since_epoch(day));
    let stream = stream.map(move |batch| {
        let batch = batch?;
        let Some(days) = batch.column_by_name("dt").and_then(|days| days.as_primitive_opt::<Date32Type>()) else {
            return Ok(batch);
        };
        let other = (0..days.len()).find(|row| days.is_null(*row) || days.value(*row) != wanted);
        match other {
            None => Ok(batch),
            Some(row) => {
                let found = if days.is_null(row) { None } else { date_of(days.value(row)) };
                let found = found.map_or_else(|| "null".to_owned(), |day| day.to_string());
                Err(failure.keep(Error::WrongDay { model: model.clone(), expected: day, found }))
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, stream))
}
