//! The newest row of each key, over all days: how a `latest` model is kept up without reading all days again.
//!
//! Rows are in a total order: the order column first, then every other column, so that of any set of rows with one key exactly
//! one wins, whatever the order in which they came. The winner of a union is the winner of the winners. That is why merging the
//! days one by one, all at once, twice, or in any order gives the same table.
//!
//! What has to be read again follows from the log of the one parent that is read by day: the days of the files that were added
//! since the version that was merged last. If a file has left that log (a day was rewritten), or anything else changed, all
//! days are merged anew.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use catalog::{Date, Snapshot, TableName};
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, cast, col};

use crate::asked::asked_again;
use crate::check::quoted;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::model::Model;
use crate::reach::Reach;
use crate::session::Session;
use crate::statement::{Days, Statement};

/// The names under which the two sides of a merge stand in the session.
pub(crate) const FRESH: &str = "fresh";
pub(crate) const EXISTING: &str = "existing";

/// Which days of the parent are merged, and whether into what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Every day, into an empty table.
    Everything,
    /// These days, into what is there.
    Added(Vec<Date>),
}

impl Extent {
    pub(crate) fn days(&self) -> Days {
        match self {
            Self::Everything => Days::All,
            Self::Added(days) => Days::Each(days.clone()),
        }
    }
}

/// What has to be merged, given how the last build was made.
pub(crate) async fn extent(model: &Model, facts: &Facts<'_>) -> Result<Extent> {
    let Some((driver, last)) = driver(model, facts).zip(facts.last.record()) else { return Ok(Extent::Everything) };
    if facts.rows_changed {
        return Ok(Extent::Everything);
    }
    let mut same = last.clone();
    if let Some(read) = facts.record.parents.get(&driver) {
        same.parents.insert(driver.clone(), read.clone());
    }
    let (Some(read), Some((table, now))) = (last.parents.get(&driver), facts.parents.get(&driver)) else {
        return Ok(Extent::Everything);
    };
    let same_columns = facts.record.parents.get(&driver).is_some_and(|now| now.columns == read.columns);
    if same.mark() != facts.record.mark() || !same_columns || read.version > now.version() {
        return Ok(Extent::Everything);
    }
    // A version that the log no longer has can't be compared with, nor one that is another table's of the same name.
    let Ok(before) = table.snapshot_at(read.version).await else { return Ok(Extent::Everything) };
    let about = || Error::lake(format!("reading `{driver}`"));
    if before.content_id(None).map_err(about())? != read.content {
        return Ok(Extent::Everything);
    }
    let (old, new) = (paths(&before).map_err(about())?, paths(now).map_err(about())?);
    Ok(days_added(&old, &new).map_or(Extent::Everything, Extent::Added))
}

/// The parent that is read by day: the only one that is split by day, where the query says `column = $dt` once and is proved to
/// read no other day of it.
fn driver(model: &Model, facts: &Facts<'_>) -> Option<TableName> {
    let mut split = facts.reaches.iter();
    let (one, more) = (split.next()?, split.next());
    let by_day = *one.1 == Reach::DAY && model.statement().dt_equalities() == 1;
    (more.is_none() && by_day && model.parents().contains(one.0)).then(|| one.0.clone())
}

fn paths(snapshot: &Snapshot) -> catalog::Result<BTreeSet<String>> {
    Ok(snapshot.file_paths()?.into_iter().collect())
}

/// The days of the files that came, if no file went.
fn days_added(old: &BTreeSet<String>, new: &BTreeSet<String>) -> Option<Vec<Date>> {
    if !old.is_subset(new) {
        return None;
    }
    let days: Option<BTreeSet<Date>> = new
        .difference(old)
        .map(|path| path.split('/').find_map(|part| part.strip_prefix("dt="))?.parse().ok())
        .collect();
    Some(days?.into_iter().collect())
}

/// The statement that keeps the winners: of the fresh rows alone, or of the fresh rows and what is there.
pub(crate) fn statement(by: &[String], order: &str, columns: &[&str], extent: &Extent) -> Result<Statement> {
    let list = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let keys = by.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let mut ranks = vec![format!("{} desc nulls last", quoted(order))];
    ranks.extend(
        columns
            .iter()
            .filter(|column| **column != order && !by.iter().any(|key| key == *column))
            .map(|column| format!("{} desc nulls last", quoted(column))),
    );
    let winners = |rows: &str| {
        format!(
            "select {list} from (select {list}, row_number() over (partition by {keys} order by {}) as \"rank of row\" from {rows}) where \"rank of row\" = 1",
            ranks.join(", ")
        )
    };
    let sql = match extent {
        Extent::Everything => winners(FRESH),
        Extent::Added(_) => {
            // What is there is read past, not sorted: only keys that came again compete.
            let on = by.iter().map(|key| format!("e.{0} = f.{0}", quoted(key))).collect::<Vec<_>>().join(" and ");
            let there = columns.iter().map(|column| format!("e.{}", quoted(column))).collect::<Vec<_>>().join(", ");
            let touched = format!("select {there} from {EXISTING} as e left semi join {FRESH} as f on {on}");
            let untouched = format!("select {there} from {EXISTING} as e left anti join {FRESH} as f on {on}");
            format!("{untouched} union all {}", winners(&format!("(select {list} from {FRESH} union all {touched})")))
        }
    };
    Statement::parse(&sql).map_err(Error::from)
}

/// What is there, with the columns and types of the fresh rows.
pub(crate) async fn add_existing(session: &Session, snapshot: &Snapshot, fresh: &Schema) -> Result<()> {
    let what = format!("what is in `{}`", snapshot.table());
    let provider = snapshot.provider().await.map_err(Error::lake(format!("reading `{}`", snapshot.table())))?;
    let columns: Vec<Expr> = fresh
        .fields()
        .iter()
        .map(|field| cast(col(Column::from_name(field.name())), field.data_type().clone()).alias(field.name()))
        .collect();
    let view = session
        .context()
        .read_table(asked_again(provider))
        .and_then(|frame| frame.select(columns))
        .map_err(|error| Error::query(&what, error))?;
    session.add_private(EXISTING, view.into_view()).map_err(|error| Error::query(&what, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    #[test]
    fn only_added_files_make_days() {
        let old = set(&["raw/a/dt=2026-10-01/1.parquet"]);
        let cases: [(&[&str], Option<&[&str]>); 4] = [
            (&["raw/a/dt=2026-10-01/1.parquet"], Some(&[])),
            (
                &["raw/a/dt=2026-10-01/1.parquet", "raw/a/dt=2026-10-02/2.parquet", "raw/a/dt=2026-10-01/3.parquet"],
                Some(&["2026-10-01", "2026-10-02"]),
            ),
            (&["raw/a/dt=2026-10-02/2.parquet"], None),
            (&["raw/a/dt=2026-10-01/1.parquet", "raw/a/2.parquet"], None),
        ];
        for (new, expected) in cases {
            let expected = expected.map(|days| days.iter().map(|day| day.parse().unwrap()).collect::<Vec<Date>>());
            assert_eq!(days_added(&old, &set(new)), expected, "{new:?}");
        }
    }
}
