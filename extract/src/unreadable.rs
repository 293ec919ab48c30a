//! `ops.unreadable`: what came and could not be read, for people who mend the source file.
//!
//! What an answer holds is not known when it can't be read, so no rule of a source can be applied to it: of a source that has
//! rules for persons nothing is kept ([`crate::harvest::KeptBody`]), of any other the text with personal numbers masked. It
//! is bounded: [`MOST_BODIES`] a source and day, each body by the harvest, and the days by upkeep, which empties those that
//! are over.
//!
//! Nothing hangs on it. A body is kept before its key's outcome lands, in a table of its own: whatever is killed in between,
//! rows are neither lost nor doubled, and a body that could not be kept is told in the log and no error.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Field, Schema, TimeUnit};
use catalog::{CommitInfo, Committed, Date, Lake, SourceName, TableName, TableSpec, Txn, TxnRule, date_of, upkeep};
use futures::TryStreamExt;

use crate::error::{Error, one_line};
use crate::harvest::KeptBody;
use crate::outcome::whole_milliseconds;

/// How many bodies are kept of a source's day.
pub const MOST_BODIES: usize = 20;

/// Lost races for the table before a body is not kept.
const TRIES: u32 = 4;

const COLUMNS: [&str; 8] = ["source", "dt", "key", "at", "run", "url", "reason", "body"];

/// The table that bodies are kept in.
///
/// # Errors
/// Never, as long as its name is one.
pub fn unreadable_table() -> Result<TableSpec, Error> {
    let field = |name: &&str| {
        let kind = match *name {
            "dt" => DataType::Date32,
            "at" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => DataType::Utf8,
        };
        Field::new(*name, kind, true)
    };
    let name: TableName = upkeep::unreadable_table()?;
    let schema = Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()));
    Ok(TableSpec { name, schema, partitioned: true, stats_columns: ["source", "key"].map(str::to_owned).to_vec() })
}

/// The keys of a source, by day from `since` on, of which bodies are kept.
///
/// # Errors
/// If the lake cannot be read.
pub async fn kept(lake: &Lake, source: &SourceName, since: Date) -> Result<BTreeSet<(Date, String)>, Error> {
    let days = read(lake, source, since).await?.days;
    Ok(days.into_iter().flat_map(|(dt, bodies)| bodies.into_iter().map(move |body| (dt, body.key))).collect())
}

/// What names a body within its day: one that comes again is not kept again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct BodyName {
    key: String,
    reason: String,
}

/// What the table has of a source.
#[derive(Debug, Default)]
struct Stored {
    days: BTreeMap<Date, BTreeSet<BodyName>>,
    mark: Option<i64>,
}

/// The bodies of one source, as one process keeps them.
#[derive(Debug)]
pub(crate) struct KeptBodies {
    lake: Lake,
    source: SourceName,
    /// Days that are known to have all that is kept of them: the lake is asked no more.
    full: tokio::sync::Mutex<HashMap<Date, usize>>,
}

impl KeptBodies {
    pub(crate) fn new(lake: &Lake, source: &SourceName) -> Self {
        Self { lake: lake.clone(), source: source.clone(), full: tokio::sync::Mutex::default() }
    }

    /// Keeps what came for a key, as far as there is room. What can't be kept is told and no error.
    pub(crate) async fn keep(&self, dt: Date, key: &str, bodies: &[KeptBody], info: &CommitInfo) {
        if bodies.is_empty() {
            return;
        }
        let mut full = self.full.lock().await;
        if full.get(&dt).is_some_and(|count| *count >= MOST_BODIES) {
            return;
        }
        match self.add(dt, key, bodies, info).await {
            Ok(count) => drop(full.insert(dt, count)),
            Err(error) => {
                tracing::warn!(source = %self.source, key, error = one_line(&error), "an unreadable answer is not kept");
            }
        }
    }

    /// Says how many bodies the day has then.
    async fn add(&self, dt: Date, key: &str, bodies: &[KeptBody], info: &CommitInfo) -> Result<usize, Error> {
        let table = self.lake.create(&unreadable_table()?).await?;
        for _ in 0..TRIES {
            let mut stored = read(&self.lake, &self.source, dt).await?;
            let of_day = stored.days.entry(dt).or_default();
            let name = |body: &KeptBody| BodyName { key: key.to_owned(), reason: body.reason.clone() };
            let room = MOST_BODIES.saturating_sub(of_day.len());
            let new: Vec<&KeptBody> = bodies.iter().filter(|body| !of_day.contains(&name(body))).take(room).collect();
            if new.is_empty() {
                return Ok(of_day.len());
            }
            of_day.extend(new.iter().map(|body| name(body)));
            let count = of_day.len();
            let txn = Txn {
                app_id: app_id(&self.source),
                version: stored.mark.unwrap_or(0) + 1,
                // Two processes that keep at once see each other, so that the bound holds for both together.
                rule: TxnRule::After(stored.mark),
            };
            let batch = rows(&self.source, dt, key, &new, info)?;
            match table.append(vec![batch], txn, info).await? {
                Committed::Done(_) => return Ok(count),
                Committed::Duplicate(_) | Committed::Conflict(_) => {}
            }
        }
        Err(catalog::Error::Contended { table: upkeep::unreadable_table()?, attempts: TRIES }.into())
    }
}

fn app_id(source: &SourceName) -> String {
    format!("unreadable/{source}")
}

async fn read(lake: &Lake, source: &SourceName, since: Date) -> Result<Stored, Error> {
    let Some(snapshot) = lake.newest(&upkeep::unreadable_table()?).await? else { return Ok(Stored::default()) };
    let mut stored = Stored { mark: snapshot.txn(&app_id(source)).await?, ..Stored::default() };
    let mut batches = snapshot.scan_where(&["dt", "key", "reason"], since, &[("source", source.as_str())]).await?;
    let failed = |error| catalog::Error::reading(snapshot.table(), error);
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let days = batch.column(0).as_primitive::<Date32Type>();
        let (keys, reasons) = (text(batch.column(1))?, text(batch.column(2))?);
        for row in 0..batch.num_rows() {
            let value = |column: &ArrayRef| column.as_string::<i32>().value(row).to_owned();
            let Some(dt) = date_of(days.value(row)) else { continue };
            stored.days.entry(dt).or_default().insert(BodyName { key: value(&keys), reason: value(&reasons) });
        }
    }
    Ok(stored)
}

/// A column as plain text: tables give views.
fn text(column: &ArrayRef) -> Result<ArrayRef, Error> {
    cast(column, &DataType::Utf8).map_err(|source| Error::Unreadable { source })
}

fn rows(
    source: &SourceName,
    dt: Date,
    key: &str,
    bodies: &[&KeptBody],
    info: &CommitInfo,
) -> Result<RecordBatch, Error> {
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; bodies.len()])) };
    let texts = |of: &dyn Fn(&KeptBody) -> String| -> ArrayRef {
        Arc::new(bodies.iter().map(|body| Some(of(body))).collect::<StringArray>())
    };
    let at = whole_milliseconds(info.now).as_microsecond();
    let columns: Vec<ArrayRef> = COLUMNS
        .iter()
        .map(|column| match *column {
            "source" => same(source.as_str()),
            "dt" => Arc::new(Date32Array::from(vec![catalog::days_since_epoch(dt); bodies.len()])),
            "key" => same(key),
            "at" => Arc::new(TimestampMicrosecondArray::from(vec![at; bodies.len()]).with_timezone("UTC")) as ArrayRef,
            "run" => same(info.run.as_str()),
            "url" => texts(&|body| body.url.clone()),
            "reason" => texts(&|body| body.reason.clone()),
            // What is no text in any charset is shown as far as it is one.
            _ => texts(&|body| String::from_utf8_lossy(&body.body).into_owned()),
        })
        .collect();
    RecordBatch::try_new(unreadable_table()?.schema, columns).map_err(|source| Error::Unreadable { source })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use catalog::Timestamp;

    use super::*;

    fn info() -> CommitInfo {
        CommitInfo { run: "r1".parse().unwrap(), now: Timestamp::UNIX_EPOCH, lineage: Vec::new() }
    }

    fn body(reason: &str) -> KeptBody {
        let body = Bytes::from_static(b"<html>closed for today \xff</html>");
        KeptBody { url: "https://site.test/a".to_owned(), reason: reason.to_owned(), body }
    }

    async fn rows_of(lake: &Lake) -> usize {
        let table = lake.find(&upkeep::unreadable_table().unwrap()).await.unwrap().unwrap();
        usize::try_from(table.snapshot().await.unwrap().row_count().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_days_bodies_are_bounded_whoever_keeps_them_and_each_is_kept_once() {
        let lake = Lake::open("memory://kept-bodies", "test").await.unwrap();
        let source: SourceName = "notes".parse().unwrap();
        let (day, next) = (Date::constant(2026, 10, 1), Date::constant(2026, 10, 2));
        let processes = [KeptBodies::new(&lake, &source), KeptBodies::new(&lake, &source)];
        for n in 0..MOST_BODIES {
            let key = format!("k{n:02}");
            for process in &processes {
                process.keep(day, &key, &[body("no JSON")], &info()).await;
            }
            assert_eq!(rows_of(&lake).await, n + 1, "the same answer is kept once");
        }
        for process in &processes {
            process.keep(day, "one more", &[body("no JSON")], &info()).await;
            process.keep(day, "k00", &[body("another reason")], &info()).await;
        }
        assert_eq!(rows_of(&lake).await, MOST_BODIES);
        processes[0].keep(next, "k00", &[body("no JSON"), body("no list")], &info()).await;
        KeptBodies::new(&lake, &"others".parse().unwrap()).keep(day, "k", &[body("x")], &info()).await;
        assert_eq!(rows_of(&lake).await, MOST_BODIES + 3, "each day and source has room of its own");
        let of_next: Vec<_> = kept(&lake, &source, next).await.unwrap().into_iter().collect();
        assert_eq!(of_next, [(next, "k00".to_owned())]);
        assert_eq!(kept(&lake, &source, day).await.unwrap().len(), MOST_BODIES + 1);
    }
}
