//! What is known about a model's last build and its next, without reading a row, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use catalog::{Date, Lake, ObjectPath, PartsHash, Snapshot, Table, TableName, Timestamp};
use jiff::ToSpan;
use jiff::tz::TimeZone;

use crate::engine::unknown_table;
use crate::error::{Error, Result};
use crate::model::{Check, Model, Models};
use crate::reach::{Reach, reaches};
use crate::reason::{Action, Reason};
use crate::record::{FoundRecord, LastBuild, ReadTable, Record, app_id, day_of, read_record, view_record_path};
use crate::shape;
use crate::there::built;

/// The day of a build, and when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// The day that `$dt` stands for.
    pub dt: Date,
    /// The day on which it happens, where the project is.
    pub today: Date,
    /// The moment.
    pub now: Timestamp,
    /// Whether a day that is over is made again with what is known now, also where nothing else of it changed.
    pub renew: bool,
}

/// Open tables and their newest snapshots.
pub(crate) type OpenTables = BTreeMap<TableName, (Table, Snapshot)>;

/// Everything about a model's last build and its next that can be known without reading a row.
pub(crate) struct Facts<'a> {
    pub(crate) record: Record,
    /// The tables it reads, views looked through, and their newest snapshots.
    pub(crate) parents: OpenTables,
    /// How far into each table that is split by day the query reaches.
    pub(crate) reaches: BTreeMap<TableName, Reach>,
    pub(crate) views: Vec<&'a Model>,
    /// The table it makes, if it is there.
    pub(crate) table: Option<(Table, Snapshot)>,
    /// The mark of the last build.
    pub(crate) mark: Option<i64>,
    /// What went into it.
    pub(crate) last: LastBuild,
    /// Where that is recorded.
    pub(crate) last_path: Option<ObjectPath>,
    /// Whether the rows that are there are known to be others than those of that build.
    pub(crate) rows_changed: bool,
}

impl<'a> Facts<'a> {
    /// Looks at the logs of the model's table and of those it reads. Tables in `coming` may be missing: they are left out. Tables
    /// in `pinned` stand as they do there.
    pub(crate) async fn gather(
        lake: &Lake,
        models: &'a Models,
        model: &Model,
        dt: Date,
        coming: &BTreeSet<TableName>,
        pinned: &OpenTables,
    ) -> Result<Self> {
        let (stored, views) = models.resolve(model.parents().iter().cloned());
        let mut parents = OpenTables::new();
        for name in stored {
            match open(lake, models, &name, pinned).await? {
                Some(found) => drop(parents.insert(name, found)),
                None if coming.contains(&name) => {}
                None => return Err(unknown_table(lake, models, &name.to_string(), Some(model)).await),
            }
        }
        let schemas: BTreeMap<_, _> =
            parents.iter().map(|(name, (_, snapshot))| (name.clone(), snapshot.schema())).collect();
        let is_split = |name: &TableName| parents.get(name).is_some_and(|(table, _)| table.is_partitioned());
        let reaches = reaches(model, &views, &schemas, is_split).await;
        let mut record = Record::new(model, &views, dt);
        for (name, (_, snapshot)) in &parents {
            let reach = reaches.get(name).copied().filter(|_| record.dt.is_some()).unwrap_or(Reach::ALL);
            let content = content_in(snapshot, reach, dt).map_err(Error::lake(format!("reading `{name}`")))?;
            let columns = takes_all_columns(model, &views).then(|| columns_hash(&snapshot.schema()));
            let version = snapshot.version();
            let whole = reach.is_all();
            let asks = whole && record.has_day() && is_split(name);
            let of_day = asks.then(|| content_in(snapshot, Reach::DAY, dt)).transpose();
            let of_day = of_day.map_err(Error::lake(format!("reading `{name}`")))?;
            record.parents.insert(name.clone(), ReadTable { version, content, columns, whole, of_day });
        }
        record.checked = checked(lake, models, model, pinned).await?;
        let LastFacts { table, mark, found } = last_build(lake, model, dt).await?;
        let FoundRecord { last, path: last_path, of_other_files: rows_changed } = found;
        Ok(Self { record, parents, reaches, views, table, mark, last, last_path, rows_changed })
    }

    /// What to do, and why, at this time.
    pub(crate) fn decide(&self, when: &When) -> (Action, Vec<Reason>) {
        decide(&self.record, self.mark, (&self.last, self.rows_changed), when)
    }

    /// What is known of the rows that are there, once they passed the checks as they are now.
    pub(crate) fn rechecked(&self) -> Record {
        let now = &self.record;
        match (self.last.record(), self.mark) {
            (Some(last), Some(mark)) if last.mark() == mark => {
                Record { checks: now.checks.clone(), checked: now.checked.clone(), ..last.clone() }
            }
            _ => now.clone(),
        }
    }

    /// Whether a view's checks have to run, and why.
    pub(crate) fn decide_view(&self) -> (Action, Vec<Reason>) {
        let Some(last) = self.last.record() else { return (Action::Recheck, vec![Reason::NeverChecked]) };
        let mut reasons = self.record.reasons_since(last);
        reasons.extend(self.record.recheck_since(last));
        if reasons.is_empty() && last.mark() == self.record.mark() {
            return (Action::Keep, vec![Reason::UpToDate]);
        }
        (Action::Recheck, reasons)
    }
}

async fn open(
    lake: &Lake,
    models: &Models,
    name: &TableName,
    pinned: &OpenTables,
) -> Result<Option<(Table, Snapshot)>> {
    if let Some(found) = pinned.get(name) {
        return Ok(Some(found.clone()));
    }
    built(lake, models, name).await
}

/// What the tables hold that the model's checks look into. One that is not there is missed by the check itself.
async fn checked(
    lake: &Lake,
    models: &Models,
    model: &Model,
    pinned: &OpenTables,
) -> Result<BTreeMap<TableName, String>> {
    let (stored, views) = models.resolve(referenced(model));
    let mut contents: BTreeMap<_, _> = views.iter().map(|view| (view.name().clone(), view.rows_hash())).collect();
    for name in stored {
        if let Some((_, snapshot)) = open(lake, models, &name, pinned).await? {
            let content = snapshot.content_id(None).map_err(Error::lake(format!("reading `{name}`")))?;
            contents.insert(name, content);
        }
    }
    Ok(contents)
}

/// The tables that the model's checks look into, itself left out.
pub(crate) fn referenced(model: &Model) -> BTreeSet<TableName> {
    let checks = model.checks();
    let tables = checks.iter().filter_map(|check| match check {
        Check::References { table, .. } => Some(table.clone()),
        _ => None,
    });
    tables.filter(|table| table != model.name()).collect()
}

/// What a table holds of the days that are read.
pub(crate) fn content_in(snapshot: &Snapshot, reach: Reach, dt: Date) -> catalog::Result<String> {
    match reach {
        Reach::ALL => snapshot.content_id(None),
        Reach::DAY => snapshot.content_id(Some(dt)),
        _ => Ok(content_of_days(&snapshot.content_ids()?, reach, dt)),
    }
}

/// The same from the contents of all days, which a caller that looks at many days reads once.
pub(crate) fn content_of_days(days: &BTreeMap<Date, String>, reach: Reach, dt: Date) -> String {
    let mut hash = PartsHash::new();
    for (day, content) in days.iter().filter(|(day, _)| reach.contains(dt, **day)) {
        hash.part(format!("{day} {content}"));
    }
    hash.short_hex()
}

/// Whether a query means whatever columns its tables have.
pub(crate) fn takes_all_columns(model: &Model, views: &[&Model]) -> bool {
    std::iter::once(model).chain(views.iter().copied()).any(|model| model.statement().takes_all_columns())
}

pub(crate) fn columns_hash(schema: &SchemaRef) -> String {
    let mut hash = PartsHash::new();
    for field in schema.fields() {
        hash.part(field.name());
        hash.part(field.data_type().to_string());
    }
    hash.short_hex()
}

/// What is known of the last build.
struct LastFacts {
    /// The model's table, if it is there.
    table: Option<(Table, Snapshot)>,
    mark: Option<i64>,
    found: FoundRecord,
}

async fn last_build(lake: &Lake, model: &Model, dt: Date) -> Result<LastFacts> {
    let about = || Error::lake(format!("reading `{}`", model.name()));
    let found = |last| FoundRecord { last, path: None, of_other_files: false };
    if !model.materialization().is_stored() {
        let bytes = lake.objects().get(&view_record_path(model)).await.map_err(about())?;
        return Ok(LastFacts { table: None, mark: None, found: found(LastBuild::parse(bytes.as_deref())) });
    }
    let Some(snapshot) = lake.newest(model.name()).await.map_err(about())? else {
        return Ok(LastFacts { table: None, mark: None, found: found(LastBuild::Lost) });
    };
    let table = Table::of(&snapshot);
    let mark = snapshot.txn(&app_id(model, dt)).await.map_err(about())?;
    let found = match mark {
        Some(mark) => {
            let day = day_of(model, dt);
            let files = snapshot.files_id(day).map_err(about())?;
            let mut found = read_record(lake, model, dt, mark, &files).await.map_err(about())?;
            let no_files = day.is_some() && files == snapshot.files_id(Some(Date::MIN)).map_err(about())?;
            found.of_other_files |=
                found.path.is_none() && (no_files || table.is_partitioned() != shape::is_partitioned(model));
            found
        }
        None => found(LastBuild::Lost),
    };
    Ok(LastFacts { table: Some((table, snapshot)), mark, found })
}

/// The last day that it can be anywhere at this time: a table that stands for a later one was built for it by mistake.
fn last_day(now: Timestamp) -> Date {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.checked_add(1.day()).unwrap_or(today)
}

/// The decision itself, from what was found: of the last build, what went in, and whether somebody changed its rows since.
pub(crate) fn decide(
    now: &Record,
    mark: Option<i64>,
    (last, rows_changed): (&LastBuild, bool),
    when: &When,
) -> (Action, Vec<Reason>) {
    let Some(mark) = mark else { return (Action::Build, vec![Reason::NeverBuilt]) };
    if now.stands_for_day
        && let Some(stands) = Record::day_of_mark(mark).or_else(|| last.day())
        && now.dt.is_some_and(|dt| stands > dt)
        && stands <= last_day(when.now)
    {
        return (Action::Keep, vec![Reason::NewerDay(stands)]);
    }
    if rows_changed && (now.is_of(mark) || now.is_as_of_then(mark)) {
        let why = if *last == LastBuild::Lost { Reason::RecordLost } else { Reason::RowsChanged };
        return (Action::Build, vec![why]);
    }
    if now.is_of(mark) {
        let Some(last) = last.record() else { return (Action::Recheck, vec![Reason::RecordLost]) };
        let reasons = now.recheck_since(last);
        if reasons.is_empty() {
            return (Action::Keep, vec![Reason::UpToDate]);
        }
        return (Action::Recheck, reasons);
    }
    if when.dt < when.today && !when.renew && !now.stands_for_day && now.dt.is_some() && now.is_as_of_then(mark) {
        let untried = last.record().is_some_and(|last| last.checks != now.checks);
        return if untried {
            (Action::Recheck, vec![Reason::ChecksChanged])
        } else {
            (Action::Keep, vec![Reason::AsKnownThen])
        };
    }
    (Action::Build, changes(now, last))
}

/// What changed since the last build, if its mark is another.
pub(crate) fn changes(now: &Record, last: &LastBuild) -> Vec<Reason> {
    let reasons = match last {
        LastBuild::Known(last) => now.reasons_since(last),
        LastBuild::Older(_) => vec![Reason::OlderProgram],
        LastBuild::Lost => vec![Reason::RecordLost],
    };
    if reasons.is_empty() { vec![Reason::ReadOtherwise] } else { reasons }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(dt: &str, stands_for_day: bool) -> Record {
        let text = "-- materialize: table\nselect 1 as a where $dt is not null".to_owned();
        let file = crate::ModelFile { path: "x/staging/a.sql".to_owned(), text };
        let models = Models::parse(vec![file]).unwrap();
        let record = Record::new(models.iter().next().unwrap(), &[], dt.parse().unwrap());
        Record { stands_for_day, ..record }
    }

    #[test]
    fn the_decision_follows_from_mark_record_and_day() {
        let (old, day, next) = ("2026-10-01", "2026-10-02", "2026-10-03");
        let known = |record: &Record| LastBuild::Known(Box::new(record.clone()));
        let date = |text: &str| -> Date { text.parse().unwrap() };
        let (stands, plain) = (record(day, true), record(day, false));
        let changed = Record { sql: "other".into(), ..plain.clone() };
        let cases = [
            (&plain, None, LastBuild::Lost, Action::Build, "never built"),
            (&plain, Some(plain.mark()), known(&plain), Action::Keep, "up to date"),
            (&plain, Some(plain.mark()), LastBuild::Lost, Action::Recheck, "the record of its last build is lost"),
            (&plain, Some(7), LastBuild::Lost, Action::Build, "the record of its last build is lost"),
            (&plain, Some(7), LastBuild::Older(None), Action::Build, "made by an older program"),
            (&plain, Some(changed.mark()), known(&changed), Action::Build, "sql changed"),
            // A table that stands for a day: an older day leaves it, a newer one takes it over.
            (
                &stands,
                Some(record(old, true).mark()),
                known(&record(old, true)),
                Action::Build,
                "it was built for 2026-10-01",
            ),
            (
                &stands,
                Some(record(next, true).mark()),
                LastBuild::Lost,
                Action::Keep,
                "it stands for 2026-10-03, which is newer",
            ),
            (
                &stands,
                Some(7),
                LastBuild::Older(Some(date(next))),
                Action::Keep,
                "it stands for 2026-10-03, which is newer",
            ),
            (&stands, Some(7), LastBuild::Older(Some(date(old))), Action::Build, "made by an older program"),
            // A day that has not come anywhere was a mistake.
            (
                &stands,
                Some(record("2026-10-05", true).mark()),
                known(&record("2026-10-05", true)),
                Action::Build,
                "it was built for 2026-10-05",
            ),
        ];
        for (now, mark, last, action, why) in cases {
            let at = "2026-10-03T00:00:00Z".parse().unwrap();
            let when = When { dt: now.dt.unwrap(), today: date("2026-10-03"), now: at, renew: false };
            let (found, reasons) = decide(now, mark, (&last, false), &when);
            let text = reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            assert_eq!((found, text.as_str()), (action, why));
            // Rows that are others are made again, whatever else would have left them as they are; an older day takes nothing over.
            let (found, reasons) = decide(now, mark, (&last, true), &when);
            let expected = match &last {
                _ if mark != Some(now.mark()) => (action, reasons.clone()),
                // Without a record nobody knows that the rows were others.
                LastBuild::Lost => (Action::Build, vec![Reason::RecordLost]),
                _ => (Action::Build, vec![Reason::RowsChanged]),
            };
            assert_eq!((found, reasons), expected);
        }
    }
}
