//! A table as of one version: immutable, cheap to clone, readable as often as one likes.
//!
//! Looking for the newest version starts from the newest one this lake value has seen, so it costs
//! one listing and the commits that came since. If the log can't be read, nothing older is shown in
//! its place: the error says which file is damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::datasource::TableProvider;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{ident, lit};
use datafusion::scalar::ScalarValue;
use deltalake::DeltaTable;
use deltalake::kernel::LogDataHandler;
use jiff::civil::Date;

use crate::Version;
use crate::cache::LoadedTable;
use crate::day::days_since_epoch;
use crate::entry::EntryId;
use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::schema::DT;
use crate::simulation::at_once;

use super::followed::{self, News};
use super::head::{Head, broken, content_of, day_of, files_id};

/// A table as of one version.
#[derive(Clone)]
pub struct Snapshot {
    head: Head,
    table: Arc<DeltaTable>,
    provider: Arc<dyn TableProvider>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.head.fmt(f)
    }
}

impl Snapshot {
    /// The newest version.
    pub(crate) async fn newest(lake: &Lake, name: &TableName) -> Result<Self> {
        if let Some(known) = lake.cache().newest(name) {
            match followed::news(lake, name, known.version, &known.entry).await {
                News::None => return Self::of(lake, name, known.table, known.provider),
                News::Some => {
                    let mut table = DeltaTable::clone(&known.table);
                    match at_once(table.update_incremental(None)).await {
                        Ok(()) => return Self::keep(lake, name, table).await,
                        // The log is not what it was: look at all of it.
                        Err(error) => tracing::debug!(%name, %error, "reading the whole log again"),
                    }
                }
                News::AnotherLog => {}
            }
            lake.cache().forget(name);
        }
        let mut table = lake.handle(name)?;
        match at_once(table.load()).await {
            Ok(()) => Self::keep(lake, name, table).await,
            Err(error) => Err(broken(lake, name, error).await),
        }
    }

    /// The table as of `version`.
    pub(crate) async fn at(lake: &Lake, name: &TableName, version: Version) -> Result<Self> {
        let newest = Self::newest(lake, name).await?;
        if version == newest.version() {
            return Ok(newest);
        }
        if version > newest.version() {
            return Err(Error::NoSuchVersion { table: name.clone(), version });
        }
        let mut table = lake.handle(name)?;
        match at_once(table.load_version(version)).await {
            Ok(()) if table.version() == Some(version) => Self::new(lake, name, table).await,
            Ok(()) => Err(Error::NoSuchVersion { table: name.clone(), version }),
            Err(error) => Err(broken(lake, name, error).await),
        }
    }

    fn of(lake: &Lake, name: &TableName, table: Arc<DeltaTable>, provider: Arc<dyn TableProvider>) -> Result<Self> {
        let state = table.snapshot().map_err(|e| Error::delta(lake.uri().as_str(), Access::Read, name, e))?.clone();
        let head = Head::with_files(lake.clone(), name.clone(), table.log_store(), state);
        Ok(Self { head, table, provider })
    }

    async fn keep(lake: &Lake, name: &TableName, table: DeltaTable) -> Result<Self> {
        let snapshot = Self::new(lake, name, table).await?;
        if let Some(entry) = EntryId::at(lake, name, snapshot.version()).await {
            let (table, provider) = (Arc::clone(&snapshot.table), Arc::clone(&snapshot.provider));
            lake.cache().remember(name, LoadedTable { table, provider, version: snapshot.version(), entry });
        }
        Ok(snapshot)
    }

    pub(super) async fn new(lake: &Lake, name: &TableName, table: DeltaTable) -> Result<Self> {
        let provider = table.table_provider().with_session(Arc::new(lake.session().state()));
        let provider = at_once(async { provider.build().await }).await;
        let provider = provider.map_err(|e| Error::Read { table: name.clone(), source: e.into() })?;
        Self::of(lake, name, Arc::new(table), Arc::new(provider))
    }

    /// The head of its log.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The table's name.
    pub fn table(&self) -> &TableName {
        self.head.table()
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The columns as [`Snapshot::provider`] gives them: `dt` included, strings as views.
    pub fn schema(&self) -> SchemaRef {
        self.provider.schema()
    }

    /// See [`Head::txn`].
    pub async fn txn(&self, app_id: &str) -> Result<Option<i64>> {
        self.head.txn(app_id).await
    }

    /// See [`Head::table_id`].
    pub fn table_id(&self) -> &str {
        self.head.table_id()
    }

    /// The table for DataFusion, pinned to this version.
    pub fn provider(&self) -> impl Future<Output = Result<Arc<dyn TableProvider>>> + Send + use<> {
        ready(Ok(Arc::clone(&self.provider)))
    }

    /// Reads rows without SQL: all columns, or the named ones in that order.
    pub async fn scan(&self, columns: Option<&[&str]>) -> Result<SendableRecordBatchStream> {
        let failed =
            |e: datafusion::error::DataFusionError| Error::Read { table: self.table().clone(), source: e.into() };
        let frame = self.head.lake().session().read_table(Arc::clone(&self.provider)).map_err(failed)?;
        let frame = match columns {
            Some(columns) => frame.select_columns(columns).map_err(failed)?,
            None => frame,
        };
        frame.execute_stream().await.map_err(failed)
    }

    /// [`Snapshot::scan`] of the rows from the day `from` on in which each of these text columns has this value.
    pub async fn scan_where(
        &self,
        columns: &[&str],
        from: Date,
        equal: &[(&str, &str)],
    ) -> Result<SendableRecordBatchStream> {
        let failed =
            |e: datafusion::error::DataFusionError| Error::Read { table: self.table().clone(), source: e.into() };
        let mut filter = ident(DT).gt_eq(lit(ScalarValue::Date32(Some(days_since_epoch(from)))));
        for (column, value) in equal {
            filter = filter.and(ident(*column).eq(lit(*value)));
        }
        let frame = self.head.lake().session().read_table(Arc::clone(&self.provider)).map_err(failed)?;
        let frame = frame.filter(filter).and_then(|frame| frame.select_columns(columns)).map_err(failed)?;
        frame.execute_stream().await.map_err(failed)
    }

    /// [`Snapshot::scan`] of the rows of these days: the files of other days are not opened.
    pub async fn scan_days(&self, columns: &[&str], days: &BTreeSet<Date>) -> Result<SendableRecordBatchStream> {
        let failed =
            |e: datafusion::error::DataFusionError| Error::Read { table: self.table().clone(), source: e.into() };
        let days = days.iter().map(|day| lit(ScalarValue::Date32(Some(days_since_epoch(*day))))).collect();
        let frame = self.head.lake().session().read_table(Arc::clone(&self.provider)).map_err(failed)?;
        let frame = frame.filter(ident(DT).in_list(days, false)).and_then(|frame| frame.select_columns(columns));
        frame.map_err(failed)?.execute_stream().await.map_err(failed)
    }

    /// The days it has rows of, sorted; empty for a table without days.
    pub fn days(&self) -> impl Future<Output = Result<Vec<Date>>> + Send + use<> {
        ready(self.views().map(|views| {
            let days: BTreeSet<_> = views.iter().filter_map(|view| day_of(&view.partition_values_map())).collect();
            days.into_iter().collect()
        }))
    }

    /// The number of rows, from the log.
    pub fn row_count(&self) -> Result<u64> {
        Ok(self.views()?.iter().map(|view| view.num_records().unwrap_or(0) as u64).sum())
    }

    /// The number of rows of one day, from the log.
    pub fn rows_of(&self, day: Date) -> Result<u64> {
        let views = self.views()?;
        let of_day = views.iter().filter(|view| day_of(&view.partition_values_map()) == Some(day));
        Ok(of_day.map(|view| view.num_records().unwrap_or(0) as u64).sum())
    }

    /// The number of rows of each day that has any, from the log.
    pub fn rows_by_day(&self) -> Result<BTreeMap<Date, u64>> {
        let mut days = BTreeMap::new();
        for view in self.views()?.iter() {
            if let Some(day) = day_of(&view.partition_values_map()) {
                *days.entry(day).or_default() += view.num_records().unwrap_or(0) as u64;
            }
        }
        Ok(days)
    }

    /// The number of files, from the log.
    pub fn file_count(&self) -> Result<usize> {
        Ok(self.views()?.num_files())
    }

    /// The size of its files, from the log.
    pub fn bytes(&self) -> Result<u64> {
        Ok(self.views()?.iter().map(|view| u64::try_from(view.size()).unwrap_or(0)).sum())
    }

    /// Its files, from the lake's root, sorted: for readers that are no part of this program.
    pub fn file_paths(&self) -> Result<Vec<String>> {
        let folder = crate::path::table(self.table());
        let mut paths: Vec<_> = self.views()?.iter().map(|view| format!("{folder}/{}", view.path())).collect();
        paths.sort_unstable();
        Ok(paths)
    }

    /// The bytes of each of its files, as its log says, by their paths from the lake's root.
    pub(crate) fn file_sizes(&self) -> Result<Vec<(String, u64)>> {
        let folder = crate::path::table(self.table());
        let size = |bytes| u64::try_from(bytes).unwrap_or_default();
        Ok(self.views()?.iter().map(|view| (format!("{folder}/{}", view.path()), size(view.size()))).collect())
    }

    /// Which rows it shows, of one day or of all: 128 bits in hexadecimal, made of Delta's own id of the table and of the names,
    /// sizes and times of its files. Files are never changed and their names are random, so two contents are never the same by
    /// chance: not those of a table that was removed and made again, nor of one that was restored from a copy and went another
    /// way. A commit that adds no row (a new column, an empty day) leaves it as it was.
    pub fn content_id(&self, day: Option<Date>) -> Result<String> {
        self.head.content_id(day)
    }

    /// [`Snapshot::content_id`] of each day that it has rows of, from one look at its files.
    pub fn content_ids(&self) -> Result<BTreeMap<Date, String>> {
        let mut days: BTreeMap<Date, Vec<String>> = BTreeMap::new();
        for view in self.views()?.iter() {
            if let Some(day) = day_of(&view.partition_values_map()) {
                days.entry(day).or_default().push(content_of(&view));
            }
        }
        Ok(days.into_iter().map(|(day, files)| (day, self.head.id_of(files))).collect())
    }

    /// Which files hold the rows, of one day or of all: the id that [`Written::files_id`] gave before they were committed, as
    /// long as nobody else took them away or added others.
    ///
    /// [`Written::files_id`]: super::Written::files_id
    pub fn files_id(&self, day: Option<Date>) -> Result<String> {
        let views = self.views()?;
        let paths: Vec<String> = views
            .iter()
            .filter(|view| day.is_none() || day_of(&view.partition_values_map()) == day)
            .map(|view| view.path().to_string())
            .collect();
        Ok(files_id(paths.iter().map(String::as_str)))
    }

    /// [`Snapshot::files_id`] of each day that it has files of, from one look at them.
    pub fn files_ids(&self) -> Result<BTreeMap<Date, String>> {
        let mut days: BTreeMap<Date, Vec<String>> = BTreeMap::new();
        for view in self.views()?.iter() {
            if let Some(day) = day_of(&view.partition_values_map()) {
                days.entry(day).or_default().push(view.path().to_string());
            }
        }
        Ok(days.into_iter().map(|(day, paths)| (day, files_id(paths.iter().map(String::as_str)))).collect())
    }

    /// The smallest reader and writer version that Delta's protocol asks for.
    pub fn protocol(&self) -> Result<(i32, i32)> {
        let protocol = self.head.protocol();
        Ok((protocol.min_reader_version(), protocol.min_writer_version()))
    }

    pub(crate) fn delta(&self) -> &DeltaTable {
        &self.table
    }

    /// The columns as they are kept.
    pub(crate) fn stored_schema(&self) -> SchemaRef {
        self.head.stored_schema()
    }

    pub(crate) fn is_partitioned(&self) -> bool {
        self.head.is_partitioned()
    }

    /// What the log says of its files.
    fn views(&self) -> Result<LogDataHandler<'_>> {
        self.head.views()
    }
}
