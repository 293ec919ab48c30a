//! Making tables, in a step of their own.
//!
//! A data write that may also create its table can lose a race and commit without looking at what
//! the winner wrote. So a table is created here and only here, with no retry: of several creators
//! one writes version 0, and the others open what it made and compare.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::kernel::{StructField, transaction::TransactionError};
use deltalake::operations::create::CreateBuilder;
use deltalake::{DeltaTableError, TableProperty};
use serde_json::json;

use crate::error::{Access, Error, Result, find, is_refused};
use crate::lake::Lake;
use crate::name::TableName;
use crate::schema::{DT, describe, missing_columns, stored_schema};

use super::commit::{BROKEN_ROUNDS, pause};
use super::{Table, TableSpec};

/// A commit summary is written this often, so that a reader never replays more commits than that.
const CHECKPOINT_EVERY: &str = "10";

/// How often a creator that lost a race looks again. It loses at most once to each other creator.
const ATTEMPTS: u32 = 16;

/// See [`Lake::create`].
pub(crate) async fn create(lake: &Lake, spec: &TableSpec) -> Result<Table> {
    let name = &spec.name;
    let wanted = stored_schema(name, &spec.schema)?;
    check(spec, &wanted)?;
    let mut broken = 0;
    for _ in 0..ATTEMPTS {
        let Some(table) = lake.find(name).await? else {
            match create_new(lake, spec, &wanted).await {
                Ok(()) => continue,
                Err(error) if lost_race(&error) => continue,
                // Created, but the look at it afterwards failed; the next round says why.
                Err(_) if lake.has_log(name).await? => continue,
                Err(error) => {
                    broke_off(lake, name, error, &mut broken).await?;
                    continue;
                }
            }
        };
        if table.partitioned != spec.partitioned {
            let say = |partitioned: bool| if partitioned { "split by day" } else { "in one piece" }.to_owned();
            return Err(mismatch(name, DT, say(table.partitioned), say(spec.partitioned)));
        }
        let missing = missing_columns(name, &table.schema, &wanted)?;
        if missing.is_empty() {
            return Ok(table);
        }
        match add_columns(&table, &missing).await {
            Err(error) if !lost_race(&error) => broke_off(lake, name, error, &mut broken).await?,
            _ => {}
        }
    }
    Err(Error::Contended { table: name.clone(), attempts: ATTEMPTS })
}

/// A creation or a change of columns that failed. If it was the store that broke off, the next look at the table
/// decides, a few times; nothing of it can be there twice.
async fn broke_off(lake: &Lake, name: &TableName, error: DeltaTableError, broken: &mut u32) -> Result<()> {
    let open = find::<object_store::Error>(&error).is_some() && !is_refused(&error);
    if !open {
        return Err(Error::delta(lake.uri().as_str(), Access::Write, name, error));
    }
    *broken += 1;
    if *broken >= BROKEN_ROUNDS {
        return Err(Error::Unknown { table: name.clone(), source: error.into() });
    }
    tokio::time::sleep(pause(*broken)).await;
    Ok(())
}

/// What can be seen wrong before anything is written.
fn check(spec: &TableSpec, schema: &Schema) -> Result<()> {
    let name = &spec.name;
    if spec.partitioned {
        match schema.field_with_name(DT) {
            Ok(field) if field.data_type() == &DataType::Date32 => {}
            Ok(field) => return Err(mismatch(name, DT, "date".into(), describe(field.data_type()))),
            Err(_) => return Err(mismatch(name, DT, "a date column to split by".into(), "no such column".into())),
        }
    }
    for column in &spec.stats_columns {
        if schema.field_with_name(column).is_err() {
            return Err(mismatch(name, column, "a column to keep statistics of".into(), "no such column".into()));
        }
    }
    Ok(())
}

async fn create_new(lake: &Lake, spec: &TableSpec, schema: &Schema) -> Result<(), DeltaTableError> {
    let handle = lake.handle(&spec.name).map_err(|e| DeltaTableError::GenericError { source: e.into() })?;
    let columns = schema.fields().iter().map(kernel_field).collect::<Result<Vec<_>, _>>()?;
    let stats: Vec<_> = spec.stats_columns.iter().filter(|c| !(spec.partitioned && *c == DT)).cloned().collect();
    let stats = if stats.is_empty() {
        (TableProperty::DataSkippingNumIndexedCols, "0".to_owned())
    } else {
        (TableProperty::DataSkippingStatsColumns, stats.join(","))
    };
    CreateBuilder::new()
        .with_log_store(handle.log_store())
        .with_table_name(spec.name.to_string())
        .with_columns(columns)
        .with_partition_columns(spec.partitioned.then_some(DT))
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_EVERY))
        .with_configuration_property(stats.0, Some(stats.1))
        .with_commit_properties(properties(3))
        .await
        .map(drop)
}

async fn add_columns(table: &Table, missing: &[FieldRef]) -> Result<(), DeltaTableError> {
    let snapshot = table.snapshot().await.map_err(|e| DeltaTableError::GenericError { source: e.into() })?;
    let fields = missing.iter().map(kernel_field).collect::<Result<Vec<_>, _>>()?;
    snapshot.delta().clone().add_columns().with_fields(fields).with_commit_properties(properties(2)).await.map(drop)
}

/// No retry, no log clean-up, and the number of actions for [`crate::store::read_commit`].
fn properties(actions: usize) -> CommitProperties {
    CommitProperties::default()
        .with_max_retries(0)
        .with_cleanup_expired_logs(Some(false))
        .with_metadata([("elt.actions".to_owned(), json!(actions))])
}

fn kernel_field(field: &FieldRef) -> Result<StructField, DeltaTableError> {
    Arc::as_ref(field).try_into_kernel().map_err(DeltaTableError::from)
}

/// Whether another writer committed first.
pub(crate) fn lost_race(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::VersionAlreadyExists(_) => true,
        DeltaTableError::Transaction { source } => matches!(
            source,
            TransactionError::MaxCommitAttempts(_)
                | TransactionError::CommitConflict(_)
                | TransactionError::VersionAlreadyExists(_)
        ),
        // The creator's own check found a table that was not there a moment ago.
        other => other.to_string().contains("already exists"),
    }
}

fn mismatch(table: &TableName, column: &str, expected: String, found: String) -> Error {
    Error::SchemaMismatch { table: table.clone(), column: column.to_owned(), expected, found }
}
