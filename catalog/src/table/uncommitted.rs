//! Reads files that no commit names yet, with the columns and types the table will show.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use deltalake::kernel::Add;
use object_store::ObjectStore;
use object_store::path::Path;

use crate::day::days_since_epoch;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::schema::DT;

use super::head::day_of;
use super::snapshot::Snapshot;

/// Uncommitted files as a table.
#[derive(Debug)]
pub(crate) struct UncommittedFiles {
    /// The columns in the table's order.
    schema: SchemaRef,
    /// The columns in the files' order, `dt` last.
    files_schema: TableSchema,
    files: Vec<PartitionedFile>,
    store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
}

impl UncommittedFiles {
    pub(crate) fn new(lake: &Lake, columns: &Snapshot, adds: &[Add]) -> Result<Self> {
        let failed =
            |e: Box<dyn std::error::Error + Send + Sync>| Error::Read { table: columns.table().clone(), source: e };
        let (root, prefix) = lake.root_store();
        let table = crate::path::table(columns.table());
        let folder: Path = prefix.parts().chain(table.parts()).collect();
        let url = lake.uri();
        let store_url = ObjectStoreUrl::parse(format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default()))
            .map_err(|e| failed(e.into()))?;
        let schema = columns.schema();
        let partitioned = columns.is_partitioned();
        let in_files: Vec<_> = schema.fields().iter().filter(|f| !(partitioned && f.name() == DT)).cloned().collect();
        let partition = partitioned.then(|| Arc::new(Field::new(DT, DataType::Date32, true)));
        let files_schema = TableSchema::builder(Arc::new(Schema::new(in_files)))
            .with_table_partition_cols(partition.into_iter().collect::<Vec<_>>())
            .build();
        let mut files = Vec::with_capacity(adds.len());
        for add in adds {
            let location = Path::parse(format!("{folder}/{}", add.path)).map_err(|e| failed(e.into()))?;
            let mut file = PartitionedFile::new("file", u64::try_from(add.size).unwrap_or(0));
            file.object_meta.location = location;
            let day = partitioned.then(|| ScalarValue::Date32(day_of(&add.partition_values).map(days_since_epoch)));
            files.push(file.with_partition_values(day.into_iter().collect()));
        }
        Ok(Self { schema, files_schema, files, store: Arc::clone(root), store_url })
    }

    /// The place of each of the table's columns in the files' order.
    fn in_files_order(&self, projection: Option<&Vec<usize>>) -> DataFusionResult<Vec<usize>> {
        let all = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        wanted.iter().map(|i| Ok(self.files_schema.table_schema().index_of(self.schema.field(*i).name())?)).collect()
    }
}

#[async_trait]
impl TableProvider for UncommittedFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if self.files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(self.schema.project(columns)?),
                None => self.schema(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let runtime = state.runtime_env();
        if runtime.object_store(&self.store_url).is_err() {
            runtime.register_object_store(self.store_url.as_ref(), Arc::clone(&self.store));
        }
        let source = Arc::new(ParquetSource::new(self.files_schema.clone()));
        let groups = FileGroup::new(self.files.clone()).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_projection_indices(Some(self.in_files_order(projection)?))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
