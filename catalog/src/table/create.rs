//! Making tables, in a step of their own.
//!
//! A data write that may also create its table can lose a race and commit without looking at what
//! the winner wrote. So a table is created here and only here, with no retry: of several creators
//! one writes version 0, and the others open what it made and compare.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, MetadataExt as _, StructField, StructType};
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::DeltaOperation;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableError, TableProperty};
use serde_json::json;

use crate::error::{Access, Error, Result, find, is_refused};
use crate::lake::Lake;
use crate::name::TableName;
use crate::schema::{
    DT, SchemaDifference, TableShape, UnfitColumn, describe, differences, split, stored_schema, unfit_columns,
};

use super::Table;
use super::race::{BROKEN_ROUNDS, lost_race, pause};
use super::spec::TableSpec;

/// A log is summed up this often, so that a reader replays no more commits than that; less often where the table has many files.
const CHECKPOINT_EVERY: &str = "10";

/// How often a creator that lost a race looks again. It loses at most once to each other creator.
const ATTEMPTS: u32 = 16;

/// See [`Lake::create`].
pub(crate) async fn create(lake: &Lake, spec: &TableSpec) -> Result<Table> {
    let name = &spec.name;
    let declared = spec.shape()?;
    check(spec, &declared.schema)?;
    let mut broken = 0;
    for _ in 0..ATTEMPTS {
        let Some(table) = lake.find(name).await? else {
            fit(name, declared.schema.fields())?;
            match create_new(lake, spec, &declared.schema).await {
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
        let change = Additive::of(&table, &declared)?;
        if change.is_empty() {
            return Ok(table);
        }
        match evolve(&table, &change).await {
            Err(error) if !lost_race(&error) => broke_off(lake, name, error, &mut broken).await?,
            _ => {}
        }
    }
    Err(Error::Contended { table: name.clone(), attempts: ATTEMPTS })
}

impl TableSpec {
    /// How the table lies if it is made by this. A column of a type that no table keeps is an error.
    pub fn shape(&self) -> Result<TableShape> {
        let schema = Arc::new(stored_schema(&self.name, &self.schema)?);
        Ok(TableShape { schema, partitioned: self.partitioned })
    }
}

impl Table {
    /// How the table lies: what [`crate::schema::differences`] compares with a declaration.
    pub fn shape(&self) -> TableShape {
        TableShape { schema: self.schema(), partitioned: self.is_partitioned() }
    }

    /// How the table is not as it is declared.
    pub fn differences(&self, spec: &TableSpec) -> Result<Vec<SchemaDifference>> {
        Ok(differences(&self.shape(), &spec.shape()?))
    }
}

/// A change of columns that the rows which are there don't notice.
#[derive(Debug, Default)]
pub(super) struct Additive {
    /// New, and nullable whatever is declared: the rows that are there have no value.
    added: Vec<FieldRef>,
    /// Never null so far and no longer declared: new rows have none.
    loosened: Vec<String>,
}

impl Additive {
    /// What a table needs for the declaration's rows to fit in; an error if that would change what is there, or if readers of
    /// Delta would refuse a new column.
    pub(super) fn of(table: &Table, declared: &TableShape) -> Result<Self> {
        let change = additive(table.name(), differences(&table.shape(), declared))?;
        fit(table.name(), &change.added)?;
        Ok(change)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.loosened.is_empty()
    }

    /// The columns that a table has afterwards, in its own order.
    pub(super) fn applied(&self, columns: &Schema) -> Schema {
        let kept = columns.fields().iter().map(|field| {
            let nullable = field.is_nullable() || self.loosened.contains(field.name());
            Arc::new(field.as_ref().clone().with_nullable(nullable))
        });
        Schema::new(kept.chain(self.added.iter().cloned()).collect::<Vec<_>>())
    }

    /// The same of columns as a log keeps them, and which of them are new: somebody else may have added one since.
    fn applied_stored(&self, schema: &StructType) -> Result<(StructType, Vec<StructField>), DeltaTableError> {
        let added = self.added.iter().filter(|field| schema.field(field.name()).is_none());
        let added = added.map(kernel_field).collect::<Result<Vec<_>, _>>()?;
        let kept = schema.fields().cloned().map(|mut field| {
            field.nullable |= self.loosened.contains(field.name());
            field
        });
        Ok((StructType::try_new(kept.chain(added.iter().cloned()))?, added))
    }

    /// The metadata that a table has afterwards.
    pub(super) fn metadata(&self, state: &DeltaTableState) -> Result<Action, DeltaTableError> {
        let (columns, _) = self.applied_stored(&state.schema())?;
        Ok(Action::Metadata(state.metadata().clone().with_schema(&columns)?))
    }
}

/// What is to be done for the declaration's rows to fit in; an error if that would change what is there.
fn additive(table: &TableName, differences: Vec<SchemaDifference>) -> Result<Additive> {
    let mut change = Additive::default();
    for difference in differences {
        match difference {
            SchemaDifference::Added { field } => {
                change.added.push(Arc::new(field.as_ref().clone().with_nullable(true)));
            }
            SchemaDifference::Gone { field } if field.is_nullable() => {}
            SchemaDifference::Gone { field } => change.loosened.push(field.name().clone()),
            SchemaDifference::Retyped { column, stored, declared } => {
                return Err(mismatch(table, &column, stored, declared));
            }
            SchemaDifference::Partitioning { stored, declared } => {
                return Err(mismatch(table, DT, split(stored).to_owned(), split(declared).to_owned()));
            }
        }
    }
    Ok(change)
}

/// Refuses new columns that readers of Delta would refuse. Those that are there have been taken before.
fn fit<'a>(table: &TableName, added: impl IntoIterator<Item = &'a FieldRef>) -> Result<()> {
    let added = Schema::new(added.into_iter().cloned().collect::<Vec<_>>());
    let Some(UnfitColumn { column, problem, hint }) = unfit_columns(&added).into_iter().next() else { return Ok(()) };
    Err(Error::UnfitColumn { table: table.clone(), column, problem, hint })
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

/// What can be seen wrong of a table that is to be made.
pub(super) fn check_new(spec: &TableSpec) -> Result<()> {
    let declared = spec.shape()?;
    check(spec, &declared.schema)?;
    fit(&spec.name, declared.schema.fields())
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
    create_at(handle.log_store(), spec, schema).await.map(drop)
}

/// Makes version 0 of a table, wherever its log lies.
pub(super) async fn create_at(
    log: LogStoreRef,
    spec: &TableSpec,
    schema: &Schema,
) -> Result<DeltaTable, DeltaTableError> {
    let columns = schema.fields().iter().map(kernel_field).collect::<Result<Vec<_>, _>>()?;
    let stats: Vec<_> = spec.stats_columns.iter().filter(|c| !(spec.partitioned && *c == DT)).cloned().collect();
    let stats = if stats.is_empty() {
        (TableProperty::DataSkippingNumIndexedCols, "0".to_owned())
    } else {
        (TableProperty::DataSkippingStatsColumns, stats.join(","))
    };
    CreateBuilder::new()
        .with_log_store(log)
        .with_table_name(spec.name.to_string())
        .with_columns(columns)
        .with_partition_columns(spec.partitioned.then_some(DT))
        .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINT_EVERY))
        .with_configuration_property(stats.0, Some(stats.1))
        .with_commit_properties(properties(3))
        .await
}

/// One commit of new metadata, with no row in it.
async fn evolve(table: &Table, change: &Additive) -> Result<(), DeltaTableError> {
    let snapshot = table.snapshot().await.map_err(|e| DeltaTableError::GenericError { source: e.into() })?;
    let state = snapshot.delta().snapshot()?;
    let schema = state.schema();
    let (_, added) = change.applied_stored(&schema)?;
    let operation = match schema.fields().find(|field| change.loosened.contains(field.name())) {
        Some(column) if added.is_empty() => DeltaOperation::DropColumnNotNull { column: column.clone() },
        _ => DeltaOperation::AddColumn { fields: added },
    };
    CommitBuilder::from(properties(2))
        .with_actions(vec![change.metadata(state)?])
        .build(Some(state as &dyn TableReference), snapshot.delta().log_store(), operation)
        .await
        .map(drop)
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

fn mismatch(table: &TableName, column: &str, expected: String, found: String) -> Error {
    Error::SchemaMismatch { table: table.clone(), column: column.to_owned(), expected, found }
}
