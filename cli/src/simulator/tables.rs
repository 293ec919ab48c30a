//! The tables of the lake as a reader sees them, read back through the engine; those whose log did not move are not read
//! again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use catalog::Lake;
use jiff::Timestamp;
use serde_json::{Map, Value};
use transform::{Engine, Models};

use super::served::SERVED;
use super::service::SPOKEN;

/// A row: its columns that have a value.
pub(super) type Row = Map<String, Value>;

/// Those that are read.
pub(super) const READ: [&str; 10] = [
    "raw.shelves",
    "raw.items",
    "staging.shelves",
    "staging.items",
    "marts.daily",
    "marts.totals",
    "marts.asof",
    "marts.cheap",
    "marts.top",
    "marts.goods",
];

/// Those that are read beside them: nobody's data, another project's, and what a model says of the first.
pub(super) const BESIDE: [&str; 5] = ["ops.unreadable", "raw.notes", "marts.notes", SPOKEN[0], SPOKEN[1]];

/// What stood in a table's log: names, sizes and times of its files.
type Log = Vec<(String, u64, Option<SystemTime>)>;

/// A table, as it was seen.
#[derive(Debug, Clone, Default)]
struct SeenTable {
    log: Log,
    rows: Vec<Row>,
    /// What a cursor calls this state, of tables that are served.
    content: Option<String>,
}

/// The rows of each table that is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    seen: BTreeMap<&'static str, SeenTable>,
    /// Those that are there and can't be read, and why. Their rows are those that were seen last.
    broken: BTreeMap<&'static str, String>,
    /// Somebody touched the lake's files since they were read.
    touched: bool,
}

impl Tables {
    /// Reads what changed since `before`.
    ///
    /// # Errors
    /// If there is no engine to read with.
    pub(super) async fn read(folder: &Path, lake: &Lake, engine: &Engine, before: &Self) -> anyhow::Result<Self> {
        let none = Models::parse(Vec::new()).map_err(|_| anyhow::anyhow!("no models are no problem"))?;
        let mut tables = Self::default();
        for name in READ.into_iter().chain(BESIDE) {
            let log = log(&folder.join("lake").join(name.replace('.', "/")).join("_delta_log"));
            if log.is_empty() {
                continue;
            }
            let known = before.seen.get(name);
            if let Some(known) = known.filter(|known| known.log == log) {
                tables.seen.insert(name, known.clone());
                continue;
            }
            match rows(lake, engine, &none, name).await {
                Ok((rows, content)) => {
                    tables.seen.insert(name, SeenTable { log, rows, content });
                }
                Err(error) => {
                    let rows = known.map(|known| known.rows.clone()).unwrap_or_default();
                    tables.seen.insert(name, SeenTable { rows, ..SeenTable::default() });
                    tables.broken.insert(name, format!("{error:#}"));
                }
            }
        }
        Ok(tables)
    }

    /// Those that are there and can't be read, and why.
    pub(super) fn broken(&self) -> &BTreeMap<&'static str, String> {
        &self.broken
    }

    /// Looks at each table again, also at those whose log does not move.
    pub(super) fn read_again(&mut self) {
        self.touched = true;
        for seen in self.seen.values_mut() {
            seen.log.clear();
        }
    }

    /// Whether somebody touched the lake's files since they were read, so that what they are now is nobody's doing.
    pub(super) fn are_touched(&self) -> bool {
        self.touched
    }

    /// The rows of a table; none if it is not there.
    pub(super) fn rows(&self, name: &str) -> &[Row] {
        self.seen.get(name).map_or(&[], |seen| &seen.rows)
    }

    /// What a cursor calls the state of a table that is served; `None` if that is not there.
    pub(super) fn content(&self, name: &str) -> Option<String> {
        self.seen.get(name)?.content.clone()
    }

    /// All rows, sorted, but for the moments in them.
    pub(super) fn in_words(&self) -> String {
        let row = |row: &Row| {
            let lasting = row.iter().filter(|(_, value)| !value.as_str().is_some_and(is_moment));
            Value::Object(lasting.map(|(name, value)| (name.clone(), value.clone())).collect()).to_string()
        };
        let table = |(name, seen): (&&str, &SeenTable)| {
            let mut rows: Vec<String> = seen.rows.iter().map(row).collect();
            rows.sort_unstable();
            format!("{name}\n{}", rows.join("\n"))
        };
        self.seen.iter().map(table).collect::<Vec<_>>().join("\n")
    }

    /// Whether a table is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.seen.contains_key(name)
    }

    /// Changes what was seen of a table, for a test of the laws.
    pub(super) fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Vec<Row>)) {
        edit(&mut self.seen.get_mut(name).unwrap().rows);
    }

    /// Forgets a table.
    pub(super) fn forget(&mut self, name: &str) {
        self.touched = true;
        self.seen.remove(name);
    }
}

async fn rows(lake: &Lake, engine: &Engine, none: &Models, name: &str) -> anyhow::Result<(Vec<Row>, Option<String>)> {
    let answer = engine.query(lake, none, &format!("select * from {name}")).await;
    let rows = in_json(&answer.with_context(|| format!("reading {name}"))?.collect().await?)?;
    let content =
        if SERVED.contains(&name) { Some(lake.snapshot(&name.parse()?).await?.content_id(None)?) } else { None };
    Ok((rows, content))
}

/// Rows as JSON.
pub(super) fn in_json(batches: &[RecordBatch]) -> anyhow::Result<Vec<Row>> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    let text = String::from_utf8(writer.into_inner())?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn log(folder: &Path) -> Log {
    let Ok(entries) = std::fs::read_dir(folder) else { return Log::new() };
    let mut log: Log = entries
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), meta.len(), meta.modified().ok()))
        })
        .collect();
    log.sort();
    log
}

/// Whether a text is a moment, and not only a day.
fn is_moment(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

/// A column as text; empty if it has no value.
pub(super) fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A column as a number, whole or not; 0 if it has no value.
pub(super) fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
}

/// A value in words: 5 and 5.0 are the same.
pub(super) fn plain(row: &Row, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_f64().unwrap_or_default().to_string(),
        Some(other) => other.to_string(),
        None => "-".to_owned(),
    }
}

/// A column as a time.
pub(super) fn time(row: &Row, column: &str) -> Timestamp {
    text(row, column).parse().unwrap_or(Timestamp::MIN)
}

/// Whether a record was set aside.
pub(super) fn is_set_aside(row: &Row) -> bool {
    !text(row, "_error").is_empty()
}

/// The item that a raw record holds, as the site served it.
pub(super) fn item(row: &Row) -> Option<Value> {
    serde_json::from_str(text(row, "_payload")).ok()
}
