//! The tables of the lake as a reader sees them, read back through the engine; those whose log did not move are not read
//! again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use arrow::json::LineDelimitedWriter;
use catalog::Lake;
use jiff::Timestamp;
use serde_json::{Map, Value};
use transform::{Engine, Models};

/// A row: its columns that have a value.
pub(super) type Row = Map<String, Value>;

/// Those that are read.
pub(super) const READ: [&str; 9] = [
    "raw.shelves",
    "raw.items",
    "staging.shelves",
    "staging.items",
    "marts.daily",
    "marts.totals",
    "marts.asof",
    "marts.cheap",
    "marts.top",
];

/// What stood in a table's log: names, sizes and times of its files.
type Log = Vec<(String, u64, Option<SystemTime>)>;

/// The rows of each table that is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables(BTreeMap<&'static str, (Log, Vec<Row>)>);

impl Tables {
    /// Reads what changed since `before`.
    ///
    /// # Errors
    /// If a table is there and can't be read.
    pub(super) async fn read(folder: &Path, lake: &Lake, engine: &Engine, before: &Self) -> anyhow::Result<Self> {
        let none = Models::parse(Vec::new()).map_err(|_| anyhow::anyhow!("no models are no problem"))?;
        let mut tables = Self::default();
        for name in READ {
            let log = log(&folder.join("lake").join(name.replace('.', "/")).join("_delta_log"));
            if log.is_empty() {
                continue;
            }
            if let Some((same, rows)) = before.0.get(name)
                && *same == log
            {
                tables.0.insert(name, (log, rows.clone()));
                continue;
            }
            let answer = engine.query(lake, &none, &format!("select * from {name}")).await;
            let batches = answer.with_context(|| format!("reading {name}"))?.collect().await?;
            let mut writer = LineDelimitedWriter::new(Vec::new());
            for batch in &batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            let text = String::from_utf8(writer.into_inner())?;
            let rows = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
            tables.0.insert(name, (log, rows));
        }
        Ok(tables)
    }

    /// The rows of a table; none if it is not there.
    pub(super) fn rows(&self, name: &str) -> &[Row] {
        self.0.get(name).map_or(&[], |(_, rows)| rows)
    }

    /// Whether a table is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Forgets a table.
    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
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

/// A column as text; empty if it has no value.
pub(super) fn text<'r>(row: &'r Row, column: &str) -> &'r str {
    row.get(column).and_then(Value::as_str).unwrap_or_default()
}

/// A column as a number, whole or not; 0 if it has no value.
pub(super) fn number(row: &Row, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or_default()
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
