//! Which tables are there.

use catalog::{Lake, Snapshot, Table, TableName};

use crate::error::{Error, Result};
use crate::model::Models;

/// The table and its newest snapshot, if it is there. A model's table that was made and never filled is not: its first build did
/// not come to its end, so its rows are not none but unknown.
pub(crate) async fn built(lake: &Lake, models: &Models, name: &TableName) -> Result<Option<(Table, Snapshot)>> {
    let reading = || Error::lake(format!("reading `{name}`"));
    let Some(snapshot) = lake.newest(name).await.map_err(reading())? else { return Ok(None) };
    let unfilled =
        models.get(name).is_some() && snapshot.version() == 0 && snapshot.file_count().map_err(reading())? == 0;
    Ok((!unfilled).then(|| (Table::of(&snapshot), snapshot)))
}

/// Whether a table is there: that of a model once it has been built.
pub async fn is_there(lake: &Lake, models: &Models, name: &TableName) -> Result<bool> {
    Ok(built(lake, models, name).await?.is_some())
}
