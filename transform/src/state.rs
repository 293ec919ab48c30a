//! How the tables of the lake stand against what the project declares.
//!
//! A run looks at its own day. This looks at all of them: days whose rows would be others today or were never built, tables that nothing makes any more,
//! columns that came, went or changed their type. It is one comparison for everybody who tells of it or acts on it.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use catalog::schema::SchemaDifference;
use catalog::{Date, Lake, Layer, ObjectPath, TableName, TableSpec, path};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::facts::{Facts, OpenTables, changes, content_of_days};
use crate::model::{Model, Models};
use crate::reach::Reach;
use crate::reason::Reason;
use crate::record::{LastBuild, Record, RecordPlace, app_id, parse_record_path};
use crate::shape;
use crate::there::is_there;

/// Records read at the same time.
const AHEAD: usize = 16;

/// How the lake stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LakeState {
    /// The tables that are not as they would be made now: those that no model makes, then those of models in their order.
    pub tables: Vec<TableState>,
    /// Tables, but for those that runs record in, which nothing of the project makes any more.
    pub orphans: Vec<TableName>,
    /// Tables of models that are views now: nothing writes them any more, and other readers still find them.
    pub former: Vec<TableName>,
}

impl LakeState {
    /// Every day that is to be built again, the oldest first, with the models to build.
    pub fn stale_days(&self) -> BTreeMap<Date, BTreeSet<TableName>> {
        let mut days: BTreeMap<Date, BTreeSet<TableName>> = BTreeMap::new();
        for table in &self.tables {
            for day in table.stale.iter().flat_map(|stale| &stale.days) {
                days.entry(*day).or_default().insert(table.table.clone());
            }
        }
        days
    }
}

/// How one table stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableState {
    /// The table.
    pub table: TableName,
    /// Its days that would have other rows if they were built now, by what changed.
    pub stale: Vec<StaleDays>,
    /// Its days that are over and hold what was known on them: a table that they read whole has changed since. They are left as
    /// they are.
    pub as_of_then: Vec<Date>,
    /// Its columns and its split against what is declared, in words.
    pub differences: Vec<String>,
    /// Whether the next build makes all of it anew, in another shape.
    pub reshaped: bool,
    /// Whether it can't take rows of the declaration, and nobody makes it anew: a raw table is never rewritten.
    pub refused: bool,
}

impl TableState {
    fn new(table: TableName) -> Self {
        Self {
            table,
            stale: Vec::new(),
            as_of_then: Vec::new(),
            differences: Vec::new(),
            reshaped: false,
            refused: false,
        }
    }

    fn is_current(&self) -> bool {
        self.stale.is_empty() && self.as_of_then.is_empty() && self.differences.is_empty()
    }
}

/// Days that one reason makes stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StaleDays {
    /// The days, the oldest first.
    pub days: Vec<Date>,
    /// What changed since they were built.
    pub why: Vec<Reason>,
}

/// Compares the lake with the models. `schemas` knows the tables that no model makes, and all that it knows is declared.
/// `today` is the day on which somebody looks: a day that is over stays as it was known then.
pub async fn state(
    lake: &Lake,
    models: &Models,
    schemas: &BTreeMap<TableName, SchemaRef>,
    today: Date,
) -> Result<LakeState> {
    let there: BTreeSet<TableName> =
        lake.tables().await.map_err(Error::lake("listing its tables"))?.into_iter().collect();
    let is_stored = |name: &TableName| models.get(name).is_some_and(|model| model.materialization().is_stored());
    let orphans = there
        .iter()
        .filter(|name| matches!(name.layer(), Layer::Raw | Layer::Staging | Layer::Marts))
        .filter(|name| !is_stored(name) && !schemas.contains_key(name))
        .cloned();
    let (former, orphans) = orphans.partition(|name| models.get(name).is_some());
    let mut state = LakeState { tables: Vec::new(), orphans, former };
    let listed = lake.objects().list(&path::states("builds")).await.map_err(Error::lake("listing its builds"))?;
    let mut records: BTreeMap<TableName, Records> = BTreeMap::new();
    for (name, day, place) in listed.iter().filter_map(parse_record_path) {
        records.entry(name).or_default().entry(day).or_default().push(place);
    }
    for (name, schema) in schemas.iter().filter(|(name, _)| there.contains(*name) && models.get(name).is_none()) {
        let mut found = TableState::new(name.clone());
        compare_given(lake, schema, &mut found).await?;
        state.tables.extend(Some(found).filter(|found| !found.is_current()));
    }
    let declared = models.schemas(&|name| schemas.get(name).cloned());
    for model in models.iter().filter(|model| is_stored(model.name())) {
        let (stored, _) = models.resolve(model.parents().iter().cloned());
        let mut found = TableState::new(model.name().clone());
        if let Some(schema) = declared.get(model.name()) {
            compare_shape(lake, model, schema, &mut found).await?;
        }
        // What it reads is not there: nothing could be built, so nothing can be said of its days.
        if !found.reshaped && model.materialization().is_by_day() && all_there(lake, models, &stored).await? {
            let records = records.remove(model.name()).unwrap_or_default();
            days(lake, models, model, (&records, today), &mut found).await?;
        }
        state.tables.extend(Some(found).filter(|found| !found.is_current()));
    }
    Ok(state)
}

/// The records of a model's builds, by day.
type Records = BTreeMap<Date, Vec<RecordPlace>>;

async fn all_there(lake: &Lake, models: &Models, tables: &BTreeSet<TableName>) -> Result<bool> {
    for name in tables {
        if !is_there(lake, models, name).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Compares the columns of a table that no model makes. How it is split is not declared in the project's files.
async fn compare_given(lake: &Lake, schema: &SchemaRef, found: &mut TableState) -> Result<()> {
    let name = found.table.clone();
    let about = || Error::lake(format!("reading `{name}`"));
    let Some(table) = lake.find(&name).await.map_err(about())? else { return Ok(()) };
    let partitioned = table.is_partitioned();
    let spec =
        TableSpec { name: name.clone(), schema: SchemaRef::clone(schema), partitioned, stats_columns: Vec::new() };
    let differences = table.differences(&spec).map_err(about())?;
    let breaks = differences.iter().any(SchemaDifference::is_breaking);
    // To what sources brought rows are only added; every other table is written whole by whoever makes it.
    (found.refused, found.reshaped) = (breaks && name.layer() == Layer::Raw, breaks && name.layer() != Layer::Raw);
    found.differences = differences.iter().map(ToString::to_string).collect();
    Ok(())
}

/// Compares columns and split.
async fn compare_shape(lake: &Lake, model: &Model, schema: &SchemaRef, found: &mut TableState) -> Result<()> {
    let about = || Error::lake(format!("reading `{}`", model.name()));
    let Some(table) = lake.find(model.name()).await.map_err(about())? else { return Ok(()) };
    let differences = table.differences(&shape::spec(model, schema)).map_err(about())?;
    found.reshaped = differences.iter().any(SchemaDifference::is_breaking);
    found.differences = differences.iter().map(ToString::to_string).collect();
    Ok(())
}

/// Compares each day that was built with what would be built now. A table that is not there has no day that was built.
async fn days(
    lake: &Lake,
    models: &Models,
    model: &Model,
    (records, today): (&Records, Date),
    found: &mut TableState,
) -> Result<()> {
    let about = || Error::lake(format!("reading `{}`", model.name()));
    let snapshot = lake.newest(model.name()).await.map_err(about())?;
    let (mut with_rows, mut files, mut no_files) = (BTreeSet::new(), BTreeMap::new(), String::new());
    if let Some(snapshot) = &snapshot {
        with_rows.extend(snapshot.days().await.map_err(about())?);
        files = snapshot.files_ids().map_err(about())?;
        no_files = snapshot.files_id(Some(Date::MIN)).map_err(about())?;
    }
    // What is read does not hang on the day; which of its contents is, is looked up day by day.
    let some_day = with_rows.iter().chain(records.keys()).next().copied().unwrap_or_default();
    let facts = Facts::gather(lake, models, model, some_day, &BTreeSet::new(), &OpenTables::new()).await?;
    let contents = by_day(&facts)?;
    let mut stale = Vec::new();
    // A day that a parent has and that nobody built: its run was killed before, or the table was lost and made anew.
    let of_parents = contents.iter().filter(|(name, _)| facts.reaches.get(*name) == Some(&Reach::DAY));
    let of_parents = of_parents.flat_map(|(_, days)| days.keys());
    let (checks, none) = (model.checks_hash(), Vec::new());
    for day in with_rows.iter().chain(records.keys()).chain(of_parents).collect::<BTreeSet<_>>() {
        let mark = match &snapshot {
            Some(snapshot) => snapshot.txn(&app_id(model, *day)).await.map_err(about())?,
            None => None,
        };
        let now = on(&facts, &contents, *day)?;
        let of_day = records.get(day).unwrap_or(&none);
        let Some(then) = mark else {
            stale.push((*day, Open::Never));
            continue;
        };
        let of_build = || of_day.iter().filter(|place| place.mark == then);
        let has_files = files.contains_key(day);
        let files = files.get(day).unwrap_or(&no_files);
        let of_rows: Vec<&RecordPlace> = of_build().filter(|place| place.is_of(files)).collect();
        let rows_changed = of_rows.is_empty() && of_build().next().is_some();
        // Which checks an older program's rows passed stands in its record alone.
        let tried = model.checks().is_empty()
            || of_rows.iter().any(|place| place.checks.as_ref().is_none_or(|passed| *passed == checks));
        let as_then = *day < today && now.is_as_of_then(then);
        match (now.is_of(then) || as_then, of_rows.first()) {
            (true, None) if rows_changed => {
                stale.push((*day, Open::RowsChanged));
                continue;
            }
            (true, Some(_)) if !tried => stale.push((*day, Open::Untried)),
            (true, Some(place)) if place.checks.is_none() && !model.checks().is_empty() => {
                stale.push((*day, Open::Perhaps(place.path.clone())));
            }
            // Its mark may be of a time before the table was kept in another way.
            (true, None) if !has_files => stale.push((*day, Open::Unknown)),
            (true, None) if !as_then && !model.checks().is_empty() => stale.push((*day, Open::Unknown)),
            (true, _) => {}
            (false, _) => {
                let place = of_rows.first().copied().or_else(|| of_build().next());
                stale.push((*day, Open::Changed(place.map(|place| place.path.clone()), Box::new(now))));
            }
        }
        if as_then {
            found.as_of_then.push(*day);
        }
    }
    let checks = &checks;
    let reasons: Vec<(Date, Vec<Reason>)> = futures::stream::iter(stale)
        .map(|(day, open)| async move {
            let read = |path: ObjectPath| async move {
                let bytes = lake.objects().get(&path).await.map_err(about())?;
                Ok::<_, Error>(LastBuild::parse(bytes.as_deref()))
            };
            let why = match open {
                Open::Never => vec![Reason::NeverBuilt],
                Open::Untried => vec![Reason::ChecksChanged],
                Open::Unknown => vec![Reason::RecordLost],
                Open::RowsChanged => vec![Reason::RowsChanged],
                Open::Perhaps(path) => match read(path).await? {
                    LastBuild::Known(record) if record.checks == *checks => Vec::new(),
                    _ => vec![Reason::ChecksChanged],
                },
                Open::Changed(path, now) => {
                    let last = match path {
                        Some(path) => read(path).await?,
                        None => LastBuild::Lost,
                    };
                    own_reasons(&now, &last)
                }
            };
            Ok::<_, Error>((day, why))
        })
        .buffered(AHEAD)
        .try_collect()
        .await?;
    let mut grouped: BTreeMap<Vec<Reason>, Vec<Date>> = BTreeMap::new();
    for (day, why) in reasons.into_iter().filter(|(_, why)| !why.is_empty()) {
        grouped.entry(why).or_default().push(day);
    }
    found.stale = grouped.into_iter().map(|(why, days)| StaleDays { days, why }).collect();
    found.stale.sort_by(|one, two| one.days.cmp(&two.days));
    Ok(())
}

/// A day that is to be looked at again.
enum Open {
    /// Nobody built it.
    Never,
    /// Its rows are as they would be made, and passed other checks.
    Untried,
    /// It has other rows than those of its build.
    RowsChanged,
    /// Its rows are as they would be made, and nothing is known of the checks that they passed.
    Unknown,
    /// Its rows are as they would be made, and their record says which checks they passed.
    Perhaps(ObjectPath),
    /// It would have other rows: its record, and what would go in now.
    Changed(Option<ObjectPath>, Box<Record>),
}

/// What changed, without the tables that are read whole where anything else did.
fn own_reasons(now: &Record, last: &LastBuild) -> Vec<Reason> {
    let whole = |name: &TableName| now.parents.get(name).is_some_and(|read| read.whole);
    let all = changes(now, last);
    let own = all.iter().filter(|reason| !matches!(reason, Reason::ParentChanged(name) if whole(name)));
    let own: Vec<Reason> = own.cloned().collect();
    if own.is_empty() { all } else { own }
}

/// What each parent that is read by day, or whose own day counts, holds, day by day.
fn by_day(facts: &Facts<'_>) -> Result<BTreeMap<TableName, BTreeMap<Date, String>>> {
    let counts = |name: &TableName| facts.record.parents.get(name).is_some_and(|read| read.of_day.is_some());
    let asked = facts.reaches.iter().filter(|(name, reach)| !reach.is_all() || counts(name));
    asked
        .filter_map(|(name, _)| facts.parents.get_key_value(name))
        .map(|(name, (_, snapshot))| {
            let days = snapshot.content_ids().map_err(Error::lake(format!("reading `{name}`")))?;
            Ok((name.clone(), days))
        })
        .collect()
}

/// What would go into a build of a day.
fn on(facts: &Facts<'_>, contents: &BTreeMap<TableName, BTreeMap<Date, String>>, day: Date) -> Result<Record> {
    let mut record = Record { dt: Some(day), ..facts.record.clone() };
    for (name, days) in contents {
        let (Some(read), Some(reach), Some((_, snapshot))) =
            (record.parents.get_mut(name), facts.reaches.get(name), facts.parents.get(name))
        else {
            continue;
        };
        let of_day = || match days.get(&day) {
            Some(content) => Ok(content.clone()),
            None => snapshot.content_id(Some(day)).map_err(Error::lake(format!("reading `{name}`"))),
        };
        match *reach {
            Reach::ALL => read.of_day = Some(of_day()?),
            Reach::DAY => read.content = of_day()?,
            reach => read.content = content_of_days(days, reach, day),
        }
    }
    Ok(record)
}

/// Days in words: neighbours are one span.
pub fn spans(days: &[Date]) -> String {
    let mut spans: Vec<(Date, Date)> = Vec::new();
    for day in days {
        match spans.last_mut() {
            Some((_, last)) if last.tomorrow().is_ok_and(|next| next == *day) => *last = *day,
            _ => spans.push((*day, *day)),
        }
    }
    let word =
        |(first, last): &(Date, Date)| if first == last { first.to_string() } else { format!("{first}..{last}") };
    spans.iter().map(word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_span() {
        let day = |text: &str| -> Date { text.parse().unwrap() };
        let days = ["2026-09-29", "2026-09-30", "2026-10-01", "2026-10-03", "2026-10-05", "2026-10-06"].map(day);
        assert_eq!(spans(&days), "2026-09-29..2026-10-01, 2026-10-03, 2026-10-05..2026-10-06");
        assert_eq!(spans(&[]), "");
    }
}
