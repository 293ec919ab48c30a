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

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{
    CommitInfo, Committed, Date, Lake, ObjectPath, RunId, Scope, TableName, Timestamp, Txn, TxnRule, Version,
    days_since_epoch,
};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::ViewTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, col, lit};

use crate::aside::{self, Count};
use crate::asked::asked_again;
use crate::check;
use crate::engine::{Engine, Failure, isolated, refuse, start};
use crate::error::{Error, Result, Seen};
use crate::facts::{Facts, OpenTables, When, referenced};
use crate::guard::{of_numbers, of_one_day};
use crate::merge::{self, Extent};
use crate::model::{Model, Models};
use crate::reason::{Action, Reason};
use crate::record::{Record, app_id, day_of, record_path, view_record_path};
use crate::session::{Options, Session};
use crate::shape;
use crate::site::{self, CastSite};
use crate::statement::Days;
use crate::verify::output_schema;

use rows::{Fresh, Place, Rows, discard};

/// How often a build looks again when another run changed the table under it.
const ATTEMPTS: usize = 4;

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
    /// It stands for a newer day than the one that was asked for, and keeps it.
    Newer {
        /// The table's version.
        version: Version,
        /// The day it stands for.
        day: Date,
    },
    /// Its day is over and stays as it was known then.
    AsKnownThen {
        /// The table's version.
        version: Version,
    },
    /// New rows are visible.
    Built {
        /// Since this version.
        version: Version,
        /// How many were written.
        rows: u64,
        /// How many were left out, as the model's head says.
        set_aside: u64,
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
    /// The day on which this happens, where the project is.
    pub today: Date,
    /// Whether a day that is over is made again with what is known now.
    pub renew: bool,
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
            let facts = self.gather(model, &OpenTables::new()).await?;
            if !model.materialization().is_stored() {
                return self.check_view(model, &facts).await;
            }
            let (action, why) = facts.decide(&self.when());
            match (action, &facts.table) {
                (Action::Keep, Some((_, snapshot))) => {
                    return Ok(match why.as_slice() {
                        [Reason::NewerDay(day)] => Outcome::Newer { version: snapshot.version(), day: *day },
                        [Reason::AsKnownThen] => Outcome::AsKnownThen { version: snapshot.version() },
                        _ => Outcome::Unchanged { version: snapshot.version(), checks: 0 },
                    });
                }
                (Action::Recheck, Some((_, snapshot))) => {
                    let version = snapshot.version();
                    self.check_stored(model, &facts).await?;
                    let record = facts.rechecked();
                    let files = snapshot.files_id(day_of(model, self.dt));
                    let files = files.map_err(Error::lake(format!("reading `{name}`")))?;
                    let kept = self.keep_record(model, &record, &files).await?;
                    self.drop_old_record(model, &facts, &kept).await;
                    return Ok(Outcome::Unchanged { version, checks: model.checks().len() });
                }
                _ => {}
            }
            // A view is no table that a failed check could keep from being read: so whoever reads it looks whether it holds.
            let (_, of_checks) = self.models.resolve(referenced(model));
            for view in facts.views.iter().copied().chain(of_checks) {
                let below = self.gather(view, &facts.parents).await?;
                self.check_view(view, &below).await?;
            }
            tracing::info!(model = %name, why = ?why, "building");
            if let Some(outcome) = self.rebuild(model, &facts, why).await? {
                return Ok(outcome);
            }
            tracing::info!(model = %name, "another run changed the table: looking again");
        }
        Err(Error::Contended { model: name.clone() })
    }

    fn when(&self) -> When {
        When { dt: self.dt, today: self.today, now: self.now, renew: self.renew }
    }

    async fn gather(&self, model: &Model, pinned: &OpenTables) -> Result<Facts<'_>> {
        Facts::gather(self.lake, self.models, model, self.dt, &BTreeSet::new(), pinned).await
    }

    /// Makes the rows again. `None`: another run committed meanwhile.
    async fn rebuild(&self, model: &Model, facts: &Facts<'_>, why: Vec<Reason>) -> Result<Option<Outcome>> {
        let mut options = self.engine.options();
        let written = match self.write(model, facts, options).await {
            // Parts that run at once share the memory, and a join that keeps one side of it can't spill.
            Err(Error::Exhausted { .. }) => {
                tracing::warn!(model = %model.name(), "out of memory: trying again part by part, with joins that can spill");
                (options.partitions, options.hash_joins) = (1, false);
                self.write(model, facts, options).await
            }
            other => other,
        };
        let Fresh { rows, reshaped, set_aside } = match written {
            Ok(fresh) => fresh,
            Err(error @ Error::Query { .. }) => {
                let casts = casts(model, facts, self.dt).await.unwrap_or_default();
                return Err(site::placed(error, Some(model.path()), model.text(), &casts));
            }
            Err(error) => return Err(error),
        };
        catalog::failpoint!("transform.written.after");
        let failures = match self.checked(model, &rows).await {
            Ok(failures) => failures,
            Err(error) => {
                rows.discard(model).await;
                return Err(error);
            }
        };
        let seen = if facts.mark.is_some() || reshaped.is_some() { Seen::Former } else { Seen::Nothing };
        // Made anew are all days, and any of them may have the rows.
        let day = day_of(model, self.dt).filter(|_| reshaped.is_none());
        if let Err(error) = fail_on(model, day, seen, failures) {
            rows.discard(model).await;
            return Err(error);
        }
        catalog::failpoint!("transform.check.after");
        let about = || Error::lake(format!("building `{}`", model.name()));
        let kept = self.keep_record(model, &facts.record, &rows.files_id(day_of(model, self.dt))).await?;
        let others = self.other_days(model, facts, &rows, reshaped.iter().flatten().copied()).await?;
        let count = rows.count();
        let (table, written) = match rows {
            Rows::Written(table, written) => (table, written.marked(others)),
            Rows::Draft(draft) => {
                let written = draft.create().await.map_err(about())?;
                (self.lake.table(model.name()).await.map_err(about())?, written)
            }
        };
        // The commit sees whoever came after the writing began; this sees whoever came before.
        let newest = table.snapshot().await.map_err(about())?;
        if newest.txn(&app_id(model, self.dt)).await.map_err(about())? != facts.mark {
            discard(model, written).await;
            return Ok(None);
        }
        catalog::failpoint!("transform.commit.before");
        let rows = count;
        let scope = day_of(model, self.dt).filter(|_| reshaped.is_none()).map_or(Scope::All, Scope::Day);
        // The mark of rows that somebody changed says that they are there: it counts for nothing then.
        let rule = if facts.rows_changed { TxnRule::After(facts.mark) } else { TxnRule::Equal };
        let txn = Txn { app_id: app_id(model, self.dt), version: facts.record.mark(), rule };
        let lineage = facts.record.parents.iter().map(|(name, read)| (name.clone(), read.version)).collect();
        let info = CommitInfo { run: self.run.clone(), now: self.now, lineage };
        let outcome = match written.replace(scope, txn, &info).await.map_err(about())? {
            Committed::Done(version) => Outcome::Built { version, rows, set_aside, checks: model.checks().len(), why },
            Committed::Duplicate(version) => Outcome::Unchanged { version, checks: 0 },
            Committed::Conflict(_) => return Ok(None),
        };
        catalog::failpoint!("transform.commit.after");
        self.drop_old_record(model, facts, &kept).await;
        Ok(Some(outcome))
    }

    /// The marks of the other days that a table in another shape is made of, whose records it keeps: each of them is built, too.
    async fn other_days(
        &self,
        model: &Model,
        facts: &Facts<'_>,
        rows: &Rows,
        days: impl Iterator<Item = Date>,
    ) -> Result<Vec<(String, i64)>> {
        let mut marks = Vec::new();
        for dt in days.filter(|day| *day != self.dt) {
            let of_day = Builder { dt, ..*self };
            let facts = of_day.gather(model, &facts.parents).await?;
            of_day.keep_record(model, &facts.record, &rows.files_id(Some(dt))).await?;
            marks.push((app_id(model, dt), facts.record.mark()));
        }
        Ok(marks)
    }

    /// Runs the query and writes its rows where nobody sees them.
    async fn write(&self, model: &Model, facts: &Facts<'_>, options: Options) -> Result<Fresh> {
        let what = format!("the query of `{}`", model.name());
        let about = || Error::lake(format!("making `{}`", model.name()));
        let snapshots = facts.parents.iter().map(|(name, (_, snapshot))| (name.clone(), snapshot.clone())).collect();
        let session = self.engine.session(snapshots, &facts.views, options).await?;
        let failure = Failure::default();
        let count = Count::default();
        let (place, streams, reshaped) = isolated(&what, async {
            let plan = self.plan_rows(model, facts, &session, &count).await?;
            let spec = shape::spec(model, &output_schema(model, plan.schema().as_arrow()));
            if let Some((table, snapshot)) = &facts.table
                && shape::breaks(&spec, table).map_err(about())?
            {
                tracing::info!(model = %model.name(), "making it anew, in another shape");
                count.reset();
                let days = snapshot.days().await.map_err(about())?;
                let by_day = model.materialization().is_by_day();
                let days: BTreeSet<Date> = days.into_iter().filter(|_| by_day).chain([self.dt]).collect();
                let streams = self.all_days(model, facts, &session, (&failure, &count), &days).await?;
                return Ok((Place::Reshaped(table.clone(), spec), streams, Some(days)));
            }
            let place = match &facts.table {
                Some((table, _)) => Place::There(table.clone(), spec),
                None => Place::New(spec),
            };
            Ok((place, self.start_day(model, &session, &plan, &failure).await?, None))
        })
        .await?;
        let streams = streams.into_iter().map(|stream| of_numbers(stream, model.name(), &failure)).collect();
        let rows = place.write(self.lake, streams).await;
        let rows = rows.map_err(|error| {
            failure.take().unwrap_or_else(|| Error::lake(format!("writing `{}`", model.name()))(error))
        })?;
        Ok(Fresh { rows, reshaped, set_aside: count.get() })
    }

    /// The rows of the build's day; for a model that has no days, all of them.
    async fn start_day(
        &self,
        model: &Model,
        session: &Session,
        plan: &LogicalPlan,
        failure: &Failure,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let streams = start(session, plan, &format!("the query of `{}`", model.name()), failure).await?;
        Ok(match day_of(model, self.dt) {
            Some(day) => streams.into_iter().map(|stream| of_one_day(stream, model.name(), day, failure)).collect(),
            None => streams,
        })
    }

    /// The rows of every day that the table has, and of the build's own: a table that takes another shape is made anew whole.
    async fn all_days(
        &self,
        model: &Model,
        facts: &Facts<'_>,
        session: &Session,
        (failure, count): (&Failure, &Count),
        days: &BTreeSet<Date>,
    ) -> Result<Vec<SendableRecordBatchStream>> {
        let mut streams = Vec::new();
        for dt in days {
            let builder = Builder { dt: *dt, ..*self };
            let plan = builder.plan_rows(model, facts, session, count).await?;
            streams.extend(builder.start_day(model, session, &plan, failure).await?);
        }
        Ok(streams)
    }

    /// The plan that gives the table's rows, keys first.
    async fn plan_rows(
        &self,
        model: &Model,
        facts: &Facts<'_>,
        session: &Session,
        count: &Count,
    ) -> Result<LogicalPlan> {
        let planning = |error| Error::planning(&error);
        let plan = if let Some((by, order)) = model.materialization().merges() {
            let mut extent = merge::extent(model, facts).await?;
            let mut fresh = session.plan(model.statement().on(&extent.days())).await.map_err(planning)?;
            if let (Extent::Added(_), Some((table, _))) = (&extent, &facts.table) {
                let spec = shape::spec(model, &output_schema(model, fresh.schema().as_arrow()));
                if shape::breaks(&spec, table).map_err(Error::lake(format!("making `{}`", model.name())))? {
                    extent = Extent::Everything;
                    fresh = session.plan(model.statement().on(&extent.days())).await.map_err(planning)?;
                }
            }
            tracing::debug!(model = %model.name(), ?extent, "merging");
            refuse(&fresh)?;
            let fresh = aside::leave_out(model, fresh, session, count).await.map_err(planning)?;
            let schema = fresh.schema().as_arrow().clone();
            session.add_private(merge::FRESH, Arc::new(ViewTable::new(fresh, None))).map_err(planning)?;
            if let (Extent::Added(_), Some((_, snapshot))) = (&extent, &facts.table) {
                merge::add_existing(session, snapshot, &schema).await?;
            }
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let statement = merge::statement(by, order, &columns, &extent)?;
            session.plan(statement.plain()).await.map_err(planning)?
        } else {
            let plan = session.plan(model.statement().on(&Days::One(self.dt))).await.map_err(planning)?;
            refuse(&plan)?;
            aside::leave_out(model, plan, session, count).await.map_err(planning)?
        };
        let columns = shape::keys_first(model, plan.schema().as_arrow());
        let mut list: Vec<Expr> = columns.iter().map(|name| col(Column::from_name(name))).collect();
        if let Some(day) = day_of(model, self.dt)
            && !columns.iter().any(|name| name == "dt")
        {
            list.push(lit(ScalarValue::Date32(Some(days_since_epoch(day)))).alias("dt"));
        }
        LogicalPlanBuilder::from(plan).project(list).and_then(LogicalPlanBuilder::build).map_err(planning)
    }

    /// Runs the checks on rows that nobody sees yet.
    async fn checked(&self, model: &Model, rows: &Rows) -> Result<Vec<crate::CheckFailure>> {
        if model.checks().is_empty() {
            return Ok(Vec::new());
        }
        let session = self.open_referenced(model).await?;
        let provider = match rows {
            Rows::Written(_, written) => written.provider(),
            Rows::Draft(draft) => draft.provider(),
        };
        let provider = provider.map_err(Error::lake(format!("checking `{}`", model.name())))?;
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
                let frame = session.context().read_table(asked_again(provider)).and_then(|frame| frame.filter(of_day));
                frame.map_err(|error| Error::query(&what, error))?.into_view()
            }
            None => provider,
        };
        session.add(model.name(), provider).map_err(Error::engine)?;
        fail_on(model, day_of(model, self.dt), Seen::Bad, check::run(&session, model).await?)
    }

    /// Runs a view's checks over the tables as they were looked at, unless they held for exactly these already.
    async fn check_view(&self, view: &Model, facts: &Facts<'_>) -> Result<Outcome> {
        if view.checks().is_empty() || facts.decide_view().0 == Action::Keep {
            return Ok(Outcome::View { checks: 0 });
        }
        let mut snapshots: BTreeMap<_, _> =
            facts.parents.iter().map(|(name, (_, snapshot))| (name.clone(), snapshot.clone())).collect();
        let (stored, views) = self.models.resolve(referenced(view).into_iter().chain([view.name().clone()]));
        for name in stored.into_iter().filter(|name| !facts.parents.contains_key(name)) {
            let snapshot = Engine::newest(self.lake, self.models, &name, Some(view)).await?;
            snapshots.insert(name, snapshot);
        }
        let session = self.engine.session(snapshots, &views, self.engine.options()).await?;
        fail_on(view, None, Seen::View, check::run(&session, view).await?)?;
        self.put_record(view, &view_record_path(view), &facts.record).await?;
        Ok(Outcome::View { checks: view.checks().len() })
    }

    /// A session with the tables that the model's checks look into.
    async fn open_referenced(&self, model: &Model) -> Result<Session> {
        self.engine.open(self.lake, self.models, referenced(model), Some(model), self.engine.options()).await
    }

    /// Records a build whose rows lie in `files`. Says where.
    async fn keep_record(&self, model: &Model, record: &Record, files: &str) -> Result<ObjectPath> {
        let path = record_path(model, self.dt, record.mark(), &record.checks, files);
        self.put_record(model, &path, record).await?;
        Ok(path)
    }

    async fn put_record(&self, model: &Model, path: &ObjectPath, record: &Record) -> Result<()> {
        // A record is plain data: it always has a JSON form.
        let bytes = serde_json::to_vec(record).unwrap_or_default();
        let about = Error::lake(format!("recording the build of `{}`", model.name()));
        self.lake.objects().put(path, bytes.into()).await.map_err(about)
    }

    /// The record of a build that is no longer there tells nobody anything. Losing this step costs a small file.
    async fn drop_old_record(&self, model: &Model, facts: &Facts<'_>, kept: &ObjectPath) {
        if let Some(old) = facts.last_path.as_ref().filter(|old| *old != kept)
            && let Err(error) = self.lake.objects().delete(old).await
        {
            tracing::debug!(model = %model.name(), %error, "an old record stays");
        }
    }
}

fn fail_on(model: &Model, dt: Option<Date>, seen: Seen, failures: Vec<crate::CheckFailure>) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(Error::CheckFailed { model: model.name().clone(), dt, seen, failures })
}

/// The casts of a model's query, to say which one failed.
async fn casts(model: &Model, facts: &Facts<'_>, dt: Date) -> datafusion::common::Result<Vec<CastSite>> {
    let session = Session::for_planning()?;
    for (name, (_, snapshot)) in &facts.parents {
        session.add(name, Arc::new(EmptyTable::new(snapshot.schema())))?;
    }
    for view in &facts.views {
        let plan = session.plan(view.statement().plain()).await?;
        session.add_view(view.name(), plan, view.text())?;
    }
    Ok(site::casts(&session.plan(model.statement().on(&Days::One(dt))).await?))
}
