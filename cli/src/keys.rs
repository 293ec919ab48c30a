//! The keys that a source is split by: those of its file, or what a question to the lake finds.

use std::collections::BTreeSet;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use catalog::Lake;
use extract::source::{Keys, NO_KEY_HINT};
use extract::{Key, Source};
use transform::Engine;

use crate::count::counted;
use crate::exit::Failure;
use crate::project::Project;
use crate::steps;

/// The keys of a source.
#[derive(Debug, Default)]
pub(crate) struct SourceKeys {
    /// What is asked for.
    pub keys: Vec<Key>,
    /// Rows of its query that have no key: nothing can be asked for them.
    pub nulls: u64,
}

impl SourceKeys {
    /// What is to be told of rows without a key.
    pub(crate) fn told(&self) -> Option<String> {
        (self.nulls > 0)
            .then(|| format!("the query of its keys has {} without a key (NULL)", counted(self.nulls, "row")))
    }
}

/// The keys of a source: those of its file, or what its query finds in the lake.
///
/// # Errors
/// If the query cannot be answered, or all of its keys would get the same answer.
pub(crate) async fn keys(
    engine: &Engine,
    lake: &Lake,
    project: &Project,
    source: &Source,
) -> anyhow::Result<SourceKeys> {
    let sql = match source.keys() {
        Keys::List(keys) => {
            let keys = keys.iter().map(|key| Key::new(key.as_str())).collect();
            return Ok(SourceKeys { keys, nulls: 0 });
        }
        Keys::Query(sql) => sql,
    };
    let asking = || format!("asking the lake for the keys of `{}`", source.name());
    // What is made of its own records is not there before the first of them.
    let schemas = steps::schemas(project);
    let mut coming = project.models.schemas(&|name| schemas.get(name).cloned());
    coming.extend(schemas);
    let own = steps::made_of(project, source.table());
    coming.retain(|table, _| own.contains(table));
    let answer = engine.query_with(lake, &project.models, &coming, sql).await.with_context(asking)?;
    let batches = answer.collect().await.with_context(asking)?;
    let (mut keys, mut nulls) = (Vec::new(), 0);
    for batch in &batches {
        let Some(values) = text(batch, transform::KEY)? else {
            let message =
                format!("expected a column `{}` in the keys of `{}`, found none", transform::KEY, source.name());
            return Err(Failure::usage(message, "name what the source is asked by: `select place_id as key`").into());
        };
        let since = text(batch, transform::SINCE)?;
        nulls += values.null_count() as u64;
        for row in (0..batch.num_rows()).filter(|row| !values.is_null(*row)) {
            let mut key = Key::new(values.as_string::<i32>().value(row));
            let since = since.as_ref().filter(|since| !since.is_null(row));
            key.since = since.map(|since| since.as_string::<i32>().value(row).to_owned());
            keys.push(key);
        }
    }
    let different = keys.iter().map(|key| &key.value).collect::<BTreeSet<_>>().len();
    if different > 1 && !source.asks_by_key() {
        let name = source.name();
        let message =
            format!("expected `{{key}}` in what `{name}` asks, since there are {different} keys, found it nowhere");
        return Err(Failure::usage(message, NO_KEY_HINT).into());
    }
    Ok(SourceKeys { keys, nulls })
}

/// A column as text, if there is one of this name.
fn text(batch: &RecordBatch, column: &str) -> anyhow::Result<Option<ArrayRef>> {
    let column = batch.column_by_name(column);
    Ok(column.map(|column| arrow::compute::cast(column, &DataType::Utf8)).transpose()?)
}
