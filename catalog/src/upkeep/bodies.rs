//! Answers that could not be read, of days that are over.
//!
//! Their rows go in one commit a day; the files go like those of any other day that was replaced, when no kept version names
//! them. So nobody who reads the table meanwhile notices, and bytes are counted where they are freed.

use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::error::Result;
use crate::lake::Lake;
use crate::name::RunId;
use crate::table::{CommitInfo, Committed, Scope, Table, Txn, TxnRule, WriteOptions};

use super::{Leftover, Upkeep, UpkeepWork, unreadable_table};

/// Empties the days that are over, each by itself.
pub(super) async fn free(work: &mut UpkeepWork<'_>) {
    let (lake, upkeep) = (work.lake, work.upkeep);
    match find(lake, upkeep).await {
        Ok(None) => {}
        Ok(Some((table, days))) => {
            for (day, rows) in days {
                let emptied = if upkeep.dry_run { Ok(()) } else { empty(&table, day, upkeep).await };
                match emptied {
                    Ok(()) => work.freed.entry(Leftover::UnreadableBodies).or_default().0 += rows,
                    Err(error) => work.leave(&format!("{} of {day}", table.name()), &error),
                }
            }
        }
        Err(error) => work.leave(&Leftover::UnreadableBodies.to_string(), &error),
    }
}

/// The days of the table that are older than what is kept, and how many rows each has.
async fn find(lake: &Lake, upkeep: &Upkeep) -> Result<Option<(Table, Vec<(Date, u64)>)>> {
    let Some(snapshot) = lake.newest(&unreadable_table()?).await? else { return Ok(None) };
    // A day of any time zone that touches the time kept is kept.
    let first = upkeep.cutoff().to_zoned(TimeZone::UTC).date().yesterday().unwrap_or(Date::MIN);
    let days = snapshot.days().await?.into_iter().filter(|day| *day < first);
    let days = days.map(|day| Ok((day, snapshot.rows_of(day)?))).collect::<Result<Vec<_>>>()?;
    Ok(Some((Table::of(&snapshot), days)))
}

async fn empty(table: &Table, day: Date, upkeep: &Upkeep) -> Result<()> {
    let nothing = RecordBatchStreamAdapter::new(table.schema(), futures::stream::empty());
    let nothing: SendableRecordBatchStream = Box::pin(nothing);
    let written = table.write(vec![nothing], &WriteOptions::default()).await?;
    let txn =
        Txn { app_id: format!("upkeep/unreadable/{day}"), version: upkeep.now.as_microsecond(), rule: TxnRule::Equal };
    let info = CommitInfo { run: RunId::at(upkeep.now), now: upkeep.now, lineage: Vec::new() };
    match written.replace(Scope::Day(day), txn, &info).await? {
        // Another upkeep was as fast: the day is empty.
        Committed::Done(_) | Committed::Duplicate(_) | Committed::Conflict(_) => Ok(()),
    }
}
