//! What a build would do, and why: decided from what is known about the last one.
//!
//! A build leaves two things: its fingerprint, in the table's log with the rows it made, and a [`Record`] of what went into that
//! fingerprint, beside the lake's tables. The fingerprint alone decides; the record says which part of it changed. A lost record
//! costs an explanation, and for a `latest` model a full merge, never a wrong row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use catalog::{Date, Lake, ObjectPath, Snapshot, Table, TableName, Version, path};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::unknown_table;
use crate::error::{Error, Result};
use crate::function;
use crate::model::{Materialization, Model, Models};

/// What went into the rows of one build: of a table, or of one day of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Hash of the query, the materialization and the key.
    pub(crate) sql: String,
    /// Hash of the checks that the rows passed. No part of the fingerprint: other checks make no other rows.
    pub(crate) checks: String,
    /// The version of our functions, if the query calls any.
    pub(crate) functions: Option<u32>,
    /// Hashes of the views that the query looks through.
    pub(crate) views: BTreeMap<TableName, String>,
    /// The versions of the tables that were read.
    pub(crate) parents: BTreeMap<TableName, Version>,
    /// The day that `$dt` stood for. None for a `latest` model, which merges every day that it has not seen.
    pub(crate) dt: Option<Date>,
}

impl Record {
    pub(crate) fn new(model: &Model, views: &[&Model], parents: BTreeMap<TableName, Version>, dt: Date) -> Self {
        let ours: BTreeSet<&str> = crate::functions().iter().map(|function| function.name).collect();
        let calls = |model: &Model| model.statement().calls().any(|name| ours.contains(name));
        let daily = match model.materialization() {
            Materialization::Partition => true,
            Materialization::Latest { .. } => false,
            Materialization::View | Materialization::Table => model.uses_dt(),
        };
        Self {
            sql: model.rows_hash(),
            checks: model.checks_hash(),
            functions: (calls(model) || views.iter().any(|view| calls(view))).then_some(function::VERSION),
            views: views.iter().map(|view| (view.name().clone(), view.rows_hash())).collect(),
            parents,
            dt: daily.then_some(dt),
        }
    }

    /// 63 bits that are the same exactly when the same rows would be made.
    pub(crate) fn fingerprint(&self) -> i64 {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update(part.len().to_le_bytes());
            hash.update(part.as_bytes());
        };
        add(&self.sql);
        add(&self.functions.map_or_else(String::new, |version| version.to_string()));
        add(&self.dt.map_or_else(String::new, |day| day.to_string()));
        for (name, view) in &self.views {
            add(&format!("view {name} {view}"));
        }
        for (name, version) in &self.parents {
            add(&format!("table {name} {version}"));
        }
        let digest = hash.finalize();
        let bytes = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        i64::try_from(bytes >> 1).unwrap_or(i64::MAX)
    }

    /// What changed since `before`.
    pub(crate) fn reasons_since(&self, before: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.sql != before.sql {
            reasons.push(Reason::SqlChanged);
        }
        // A query that calls a function for the first time is another query, and says so.
        if self.functions.zip(before.functions).is_some_and(|(now, then)| now != then) {
            reasons.push(Reason::FunctionsChanged);
        }
        for name in self.views.keys().chain(before.views.keys()).collect::<BTreeSet<_>>() {
            if self.sql == before.sql && self.views.get(name) != before.views.get(name) {
                reasons.push(Reason::ViewChanged(name.clone()));
            }
        }
        for (name, version) in &self.parents {
            if before.parents.get(name).is_some_and(|read| read != version) {
                reasons.push(Reason::NewVersion(name.clone()));
            }
        }
        if let (Some(day), Some(other)) = (self.dt, before.dt)
            && day != other
        {
            reasons.push(Reason::OtherDay(other));
        }
        reasons
    }
}

/// Why something is built, or left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// There is no such table, or no such day of it.
    NeverBuilt,
    /// The query, the materialization or the key is another.
    SqlChanged,
    /// A function that it calls answers differently now.
    FunctionsChanged,
    /// A view that it reads through is another.
    ViewChanged(TableName),
    /// The checks are others: the rows are looked at again.
    ChecksChanged,
    /// A table that it reads has changed.
    NewVersion(TableName),
    /// A table that it reads will have changed by then.
    WillChange(TableName),
    /// A table that it reads is not there, and nothing of this run makes it.
    Missing(TableName),
    /// It holds the state of another day.
    OtherDay(Date),
    /// It was built, and what went into it is no longer known.
    RecordLost,
    /// Nothing changed.
    UpToDate,
    /// A view stores nothing.
    NothingStored,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverBuilt => f.write_str("never built"),
            Self::SqlChanged => f.write_str("sql changed"),
            Self::FunctionsChanged => f.write_str("functions changed"),
            Self::ViewChanged(view) => write!(f, "view {view} changed"),
            Self::ChecksChanged => f.write_str("checks changed"),
            Self::NewVersion(table) => write!(f, "{table} has a new version"),
            Self::WillChange(table) => write!(f, "{table} will change"),
            Self::Missing(table) => write!(f, "{table} is not there"),
            Self::OtherDay(day) => write!(f, "it was built for {day}"),
            Self::RecordLost => f.write_str("the record of its last build is lost"),
            Self::UpToDate => f.write_str("up to date"),
            Self::NothingStored => f.write_str("a view stores nothing"),
        }
    }
}

/// What is done about a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its rows are made again.
    Build,
    /// Its rows stay and are checked again.
    Recheck,
    /// Nothing.
    Keep,
    /// It can't be built: something that it reads is missing.
    Blocked,
}

/// What a run would do about one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// The model.
    pub model: TableName,
    /// The day, for a model that has days.
    pub dt: Option<Date>,
    /// What would be done.
    pub action: Action,
    /// Why.
    pub why: Vec<Reason>,
}

/// Everything about a model's last build and its next that can be known without reading a row.
pub(crate) struct Facts<'a> {
    pub(crate) record: Record,
    /// The tables it reads, views looked through, and their newest snapshots.
    pub(crate) parents: BTreeMap<TableName, (Table, Snapshot)>,
    pub(crate) views: Vec<&'a Model>,
    /// The table it makes, if it is there.
    pub(crate) table: Option<(Table, Snapshot)>,
    /// The fingerprint of the last build.
    pub(crate) mark: Option<i64>,
    /// What went into it, if that is still known.
    pub(crate) last: Option<Record>,
}

/// The mark of a model's builds in its table's log: one for each day that is built by itself.
pub(crate) fn app_id(model: &Model, dt: Date) -> String {
    format!("build/{}/{}", model.name(), day_of(model, dt).map_or_else(|| "-".to_owned(), |day| day.to_string()))
}

/// The day whose partition is built, for a model that is kept by day.
pub(crate) fn day_of(model: &Model, dt: Date) -> Option<Date> {
    (*model.materialization() == Materialization::Partition).then_some(dt)
}

/// Where the record of a build lies.
pub(crate) fn record_path(model: &Model, dt: Date, fingerprint: i64) -> ObjectPath {
    let day = day_of(model, dt).map_or_else(|| "-".to_owned(), |day| day.to_string());
    path::state("builds", &format!("{}~{day}~{fingerprint:016x}", model.name()))
}

impl<'a> Facts<'a> {
    /// Looks at the logs of the model's table and of those it reads. Tables in `coming` may be missing: they are left out.
    pub(crate) async fn gather(
        lake: &Lake,
        models: &'a Models,
        model: &Model,
        dt: Date,
        coming: &BTreeSet<TableName>,
    ) -> Result<Self> {
        let (stored, views) = models.resolve(model.parents().iter().cloned());
        let mut parents = BTreeMap::new();
        for name in stored {
            match lake.find(&name).await.map_err(Error::lake(format!("opening `{name}`")))? {
                Some(table) => {
                    let snapshot = table.snapshot().await.map_err(Error::lake(format!("reading `{name}`")))?;
                    parents.insert(name, (table, snapshot));
                }
                None if coming.contains(&name) => {}
                None => return Err(unknown_table(lake, models, &name.to_string(), Some(model)).await),
            }
        }
        let versions = parents.iter().map(|(name, (_, snapshot))| (name.clone(), snapshot.version())).collect();
        let record = Record::new(model, &views, versions, dt);
        let (mut table, mut mark, mut last) = (None, None, None);
        if *model.materialization() != Materialization::View
            && let Some(found) =
                lake.find(model.name()).await.map_err(Error::lake(format!("opening `{}`", model.name())))?
        {
            let about = || Error::lake(format!("reading `{}`", model.name()));
            let snapshot = found.snapshot().await.map_err(about())?;
            mark = snapshot.txn(&app_id(model, dt)).await.map_err(about())?;
            if let Some(mark) = mark {
                let bytes = lake.objects().get(&record_path(model, dt, mark)).await.map_err(about())?;
                last = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            }
            table = Some((found, snapshot));
        }
        Ok(Self { record, parents, views, table, mark, last })
    }

    /// What to do, and why.
    pub(crate) fn decide(&self) -> (Action, Vec<Reason>) {
        decide(&self.record, self.mark, self.last.as_ref())
    }
}

/// The decision itself, from what was found.
fn decide(now: &Record, mark: Option<i64>, last: Option<&Record>) -> (Action, Vec<Reason>) {
    let Some(mark) = mark else { return (Action::Build, vec![Reason::NeverBuilt]) };
    if mark == now.fingerprint() {
        return match last {
            Some(last) if last.checks == now.checks => (Action::Keep, vec![Reason::UpToDate]),
            Some(_) => (Action::Recheck, vec![Reason::ChecksChanged]),
            None => (Action::Recheck, vec![Reason::RecordLost]),
        };
    }
    let reasons = last.map_or_else(|| vec![Reason::RecordLost], |last| now.reasons_since(last));
    (Action::Build, if reasons.is_empty() { vec![Reason::SqlChanged] } else { reasons })
}

/// What a build of these models on a day would do, in order. `coming` are the tables that earlier steps of the run will change.
pub async fn plan(
    lake: &Lake,
    models: &Models,
    names: &BTreeSet<TableName>,
    dt: Date,
    coming: &BTreeSet<TableName>,
) -> Result<Vec<Planned>> {
    let mut changing = coming.clone();
    let mut planned = Vec::new();
    for model in models.iter().filter(|model| names.contains(model.name())) {
        let (stored, _) = models.resolve(model.parents().iter().cloned());
        let mut entry =
            Planned { model: model.name().clone(), dt: day_of(model, dt), action: Action::Keep, why: Vec::new() };
        if *model.materialization() == Materialization::View {
            entry.why.push(Reason::NothingStored);
            planned.push(entry);
            continue;
        }
        let mut missing = Vec::new();
        for name in stored.iter().filter(|name| !changing.contains(name)) {
            if lake.find(name).await.map_err(Error::lake(format!("opening `{name}`")))?.is_none() {
                missing.push(Reason::Missing(name.clone()));
            }
        }
        if missing.is_empty() {
            let facts = Facts::gather(lake, models, model, dt, &changing).await?;
            (entry.action, entry.why) = facts.decide();
            let will: Vec<Reason> = stored
                .iter()
                .filter(|name| changing.contains(name))
                .map(|name| Reason::WillChange(name.clone()))
                .collect();
            if !will.is_empty() {
                entry.why.retain(|reason| {
                    !matches!(reason, Reason::UpToDate | Reason::ChecksChanged)
                        && !matches!(reason, Reason::NewVersion(name) if changing.contains(name))
                });
                entry.why.extend(will);
                entry.action = Action::Build;
            }
        } else {
            entry.action = Action::Blocked;
            entry.why = missing;
        }
        if entry.action == Action::Build {
            changing.insert(model.name().clone());
        }
        planned.push(entry);
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            sql: "s".into(),
            checks: "c".into(),
            functions: Some(1),
            views: [("staging.v".parse().unwrap(), "v".to_owned())].into(),
            parents: [("raw.a".parse().unwrap(), 3), ("raw.b".parse().unwrap(), 4)].into(),
            dt: Some("2026-10-01".parse().unwrap()),
        }
    }

    #[test]
    fn each_change_has_its_reason_and_its_fingerprint() {
        type Change = fn(&mut Record);
        let changes: [(Change, Action, &str); 7] = [
            (|_| {}, Action::Keep, "up to date"),
            (|it| it.checks = "d".into(), Action::Recheck, "checks changed"),
            (|it| it.sql = "t".into(), Action::Build, "sql changed"),
            (|it| it.functions = Some(2), Action::Build, "functions changed"),
            (
                |it| drop(it.views.insert("staging.v".parse().unwrap(), "w".into())),
                Action::Build,
                "view staging.v changed",
            ),
            (
                |it| it.parents = [("raw.a".parse().unwrap(), 3), ("raw.b".parse().unwrap(), 5)].into(),
                Action::Build,
                "raw.b has a new version",
            ),
            (|it| it.dt = Some("2026-10-02".parse().unwrap()), Action::Build, "it was built for 2026-10-01"),
        ];
        let before = record();
        for (change, action, why) in changes {
            let mut now = record();
            change(&mut now);
            let (found, reasons) = decide(&now, Some(before.fingerprint()), Some(&before));
            let text = reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            assert_eq!((found, text.as_str()), (action, why));
            assert_eq!(now.fingerprint() == before.fingerprint(), action != Action::Build, "{why}");
        }
        assert_eq!(decide(&before, None, None), (Action::Build, vec![Reason::NeverBuilt]));
        assert_eq!(decide(&before, Some(7), None), (Action::Build, vec![Reason::RecordLost]));
        assert_eq!(decide(&before, Some(before.fingerprint()), None), (Action::Recheck, vec![Reason::RecordLost]));
    }

    #[test]
    fn a_fingerprint_is_stable_and_has_63_bits() {
        assert_eq!(record().fingerprint(), record().fingerprint());
        assert!(record().fingerprint() > 0);
    }
}
