//! The keys that a source is split by: those of its file, or what a question to the lake finds.

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use catalog::Lake;
use extract::source::Keys;
use extract::{Key, Source};
use transform::Engine;

use crate::project::Project;
use crate::steps;
use crate::verb::check;

/// The keys of a source: those of its file, or what its query finds in the lake.
///
/// # Errors
/// If the query cannot be answered.
pub(crate) async fn keys(engine: &Engine, lake: &Lake, project: &Project, source: &Source) -> anyhow::Result<Vec<Key>> {
    let sql = match source.keys() {
        Keys::List(keys) => return Ok(keys.iter().map(|key| Key::new(key.as_str())).collect()),
        Keys::Query(sql) => sql,
    };
    let asking = || format!("asking the lake for the keys of `{}`", source.name());
    // What is made of its own records is not there before the first of them.
    let schemas = check::schemas(project);
    let mut coming = project.models.schemas(&|name| schemas.get(name).cloned());
    coming.extend(schemas);
    let own = steps::made_of(project, source.table());
    coming.retain(|table, _| own.contains(table));
    let answer = engine.query_with(lake, &project.models, &coming, sql).await.with_context(asking)?;
    let batches = answer.collect().await.with_context(asking)?;
    let mut keys = Vec::new();
    for batch in &batches {
        let values = text(batch, 0)?;
        let since = if batch.num_columns() > 1 { Some(text(batch, 1)?) } else { None };
        for row in (0..batch.num_rows()).filter(|row| !values.is_null(*row)) {
            let mut key = Key::new(values.as_string::<i32>().value(row));
            let since = since.as_ref().filter(|since| !since.is_null(row));
            key.since = since.map(|since| since.as_string::<i32>().value(row).to_owned());
            keys.push(key);
        }
    }
    Ok(keys)
}

fn text(batch: &RecordBatch, column: usize) -> anyhow::Result<ArrayRef> {
    Ok(arrow::compute::cast(batch.column(column), &DataType::Utf8)?)
}
