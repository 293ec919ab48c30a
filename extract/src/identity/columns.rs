//! Whether a column holds ids as they came, or their hashes. Both in one column would be of no use to who counts by it, and ids in
//! clear that land beside hashes are what nobody expects of it: so a field that is hashed from today on, or no longer, is
//! refused as another type is. Both are texts to the table, so a mark of its own says of a column that it is hashed.

use arrow::array::AsArray as _;
use catalog::{CommitInfo, Committed, Date, Head, Table, Txn, TxnRule};
use futures::TryStreamExt as _;

use super::MARK;
use crate::error::Error;
use crate::source::{FieldType, Source};

/// Of a column whose ids are hashed.
fn mark(column: &str) -> String {
    format!("{MARK}/hashed/{column}")
}

/// Marks the hashed columns of a source that are not marked yet in its table's log as it was looked at.
pub(super) async fn hold(table: &Table, head: &Head, source: &Source, info: &CommitInfo) -> Result<(), Error> {
    for column in unmarked(table, head, source).await? {
        loop {
            let txn = Txn { app_id: mark(&column), version: 1, rule: TxnRule::After(None) };
            let committed = table.append_noted(Vec::new(), txn, info, Some(serde_json::json!({}))).await?;
            if !matches!(committed, Committed::Conflict(_)) || table.head().await?.txn(&mark(&column)).await?.is_some()
            {
                break;
            }
        }
    }
    Ok(())
}

/// The hashed columns of a source that have no mark. An older program made none: there the ids themselves say what they are.
///
/// # Errors
/// [`Error::OtherHashing`] if a column holds what its field is not.
pub(super) async fn unmarked(table: &Table, head: &Head, source: &Source) -> Result<Vec<String>, Error> {
    // The files of a table are many after some years, and nothing is asked of them as a rule.
    let kept = table.schema();
    // A table in which nothing was ever hashed has no marks of columns.
    let has_marks = head.txn(MARK).await?.is_some();
    let mut unmarked = Vec::new();
    for field in source.fields() {
        let (is_hash, is_text) =
            (field.kind == FieldType::Hash, matches!(field.kind, FieldType::String | FieldType::Id));
        if !(is_hash || (is_text && has_marks)) {
            continue;
        }
        let is_there = kept.index_of(&field.column).is_ok();
        let is_marked = has_marks && head.txn(&mark(&field.column)).await?.is_some();
        if is_hash == is_marked {
            continue;
        }
        // What was declared and never came may be declared anew.
        let found = if is_there { first(table, &field.column).await? } else { None };
        if found.is_some_and(|found| is_a_hash(&found) != is_hash) {
            let (table, column) = (table.name().clone(), field.column.clone());
            return Err(Error::OtherHashing { table, column, is_hash });
        }
        if is_hash {
            unmarked.push(field.column.clone());
        }
    }
    Ok(unmarked)
}

/// Some value of a column.
async fn first(table: &Table, column: &str) -> Result<Option<String>, Error> {
    let mut batches = table.snapshot().await?.scan_where(&[column], Date::MIN, &[]).await?;
    let failed = |error| catalog::Error::reading(table.name(), error);
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let column = batch.column(0);
        let views = column.as_string_view_opt().and_then(|texts| texts.iter().flatten().next());
        let text = views.or_else(|| column.as_string_opt::<i32>().and_then(|texts| texts.iter().flatten().next()));
        if let Some(text) = text {
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}

/// Whether it looks as [`super::IdentityKey::hash`] makes them.
fn is_a_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
