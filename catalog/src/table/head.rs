//! The newest state of a table's log: its version, columns, marks and notes, and none of its files.
//!
//! Who only adds rows needs no more. What a snapshot costs grows with the files that the table has, which for a raw table are
//! those of its whole history; what a head costs is one listing, and the commits that came since the last one.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use delta_kernel::table_properties::TableProperties;
use deltalake::DeltaTableError;
use deltalake::kernel::{LogDataHandler, LogicalFileView, Metadata, Protocol, Snapshot as LazyState};
use deltalake::logstore::{LogStore as _, LogStoreRef};
use deltalake::table::state::DeltaTableState;
use jiff::civil::Date;
use object_store::ObjectStore;

use crate::Version;
use crate::digest::PartsHash;
use crate::entry::{Commit, Followed, Recent};
use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::schema::DT;
use crate::simulation::at_once;

use super::log;

/// A table's log as of one version: immutable, cheap to clone.
#[derive(Clone)]
pub struct Head {
    lake: Lake,
    name: TableName,
    version: Version,
    log: LogStoreRef,
    state: State,
    recent: Recent,
}

/// What was read of a log.
#[derive(Clone)]
enum State {
    Lazy(Arc<LazyState>),
    WithFiles(DeltaTableState),
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

impl Head {
    /// Of the newest version.
    pub(crate) async fn newest(lake: &Lake, name: &TableName) -> Result<Self> {
        let log = lake.handle(name)?.log_store();
        let of = |version: Version, state: Arc<LazyState>, recent: Recent| {
            let (lake, name, log) = (lake.clone(), name.clone(), Arc::clone(&log));
            Self { lake, name, version, log, state: State::Lazy(state), recent }
        };
        if let Some(known) = lake.cache().head(name) {
            if let Some(newest) = known.newest(lake, name).await {
                if newest.version != known.version {
                    lake.cache().remember_head(name, &newest);
                }
                return Ok(of(newest.version, newest.state, newest.recent));
            }
            lake.cache().forget(name);
        }
        match at_once(LazyState::try_new(log.as_ref(), None)).await {
            Ok(state) => {
                let state = Arc::new(state);
                if let Some(known) = Followed::begin(lake, name, Arc::clone(&state)).await {
                    lake.cache().remember_head(name, &known);
                }
                Ok(of(state.version(), state, Recent::default()))
            }
            Err(error) => Err(broken(lake, name, error).await),
        }
    }

    /// Of a version whose files were read too.
    pub(super) fn with_files(lake: Lake, name: TableName, log: LogStoreRef, state: DeltaTableState) -> Self {
        let version = state.version();
        Self { lake, name, version, log, state: State::WithFiles(state), recent: Recent::default() }
    }

    /// The table's name.
    pub fn table(&self) -> &TableName {
        &self.name
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Delta's own id of the table: another one if the table was removed and made again.
    pub fn table_id(&self) -> &str {
        self.metadata().id()
    }

    /// [`Head::txn`] by replaying the whole log: the library keeps nothing between two calls.
    pub(super) async fn replay_txn(&self, app_id: &str) -> Result<Option<i64>> {
        let replayed = async {
            let state = match &self.state {
                State::WithFiles(state) => state.clone(),
                State::Lazy(_) => self.load().await?,
            };
            at_once(state.transaction_version(self.log.as_ref(), app_id)).await
        };
        match replayed.await {
            Ok(found) => Ok(found),
            Err(error) => Err(broken(&self.lake, &self.name, error).await),
        }
    }

    /// What was left out when the log was read.
    async fn load(&self) -> Result<DeltaTableState, DeltaTableError> {
        if let Some(known) = self.lake.cache().newest(&self.name).filter(|known| known.version == self.version) {
            return known.table.snapshot().cloned();
        }
        at_once(DeltaTableState::try_new(self.log.as_ref(), Some(self.version))).await
    }

    /// An entry of the log that was read on the way to this version.
    pub(super) fn recent(&self, version: Version) -> Option<&Arc<Commit>> {
        self.recent.get(&version)
    }

    pub(super) fn lake(&self) -> &Lake {
        &self.lake
    }

    /// The table's log.
    pub(super) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// The store from the table's folder.
    pub(super) fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store(None)
    }

    /// What the library commits on, where the files were read too.
    pub(super) fn state_with_files(&self) -> Option<&DeltaTableState> {
        match &self.state {
            State::Lazy(_) => None,
            State::WithFiles(state) => Some(state),
        }
    }

    pub(super) fn metadata(&self) -> &Metadata {
        match &self.state {
            State::Lazy(state) => state.metadata(),
            State::WithFiles(state) => state.metadata(),
        }
    }

    pub(super) fn protocol(&self) -> &Protocol {
        match &self.state {
            State::Lazy(state) => state.protocol(),
            State::WithFiles(state) => state.protocol(),
        }
    }

    /// The columns as they are kept.
    pub(super) fn stored_schema(&self) -> SchemaRef {
        match &self.state {
            State::Lazy(state) => state.arrow_schema(),
            State::WithFiles(state) => state.snapshot().arrow_schema(),
        }
    }

    pub(super) fn is_partitioned(&self) -> bool {
        !self.metadata().partition_columns().is_empty()
    }

    pub(super) fn properties(&self) -> &TableProperties {
        match &self.state {
            State::Lazy(state) => state.table_properties(),
            State::WithFiles(state) => state.table_config(),
        }
    }

    /// What the log says of the table's files; an error where they were not read.
    pub(super) fn views(&self) -> Result<LogDataHandler<'_>> {
        let read = match &self.state {
            State::Lazy(_) => Err(DeltaTableError::NotInitializedWithFiles("a head".into())),
            State::WithFiles(state) => state.snapshot().try_log_data(),
        };
        read.map_err(|error| Error::delta(self.lake.uri().as_str(), Access::Read, &self.name, error))
    }

    /// Which rows the table shows, of one day or of all; see the snapshot's own.
    pub(super) fn content_id(&self, day: Option<Date>) -> Result<String> {
        let files = self.views()?;
        let files = files.iter().filter(|view| day.is_none() || day_of(&view.partition_values_map()) == day);
        Ok(self.id_of(files.map(|view| content_of(&view)).collect()))
    }

    /// One id of some files of the table.
    pub(super) fn id_of(&self, mut files: Vec<String>) -> String {
        files.sort_unstable();
        let mut hash = PartsHash::new();
        std::iter::once(self.table_id()).chain(files.iter().map(String::as_str)).for_each(|part| hash.part(part));
        hash.short_hex()
    }
}

/// One id of files, by their names: those that a writer gives are never given again.
pub(super) fn files_id<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = paths.map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
    names.sort_unstable();
    let mut hash = PartsHash::new();
    for name in names {
        hash.part(name);
    }
    hash.short_hex()
}

/// The day a file's rows belong to, by its partition values.
pub(crate) fn day_of(partition: &HashMap<String, Option<String>>) -> Option<Date> {
    partition.get(DT)?.as_deref()?.parse().ok()
}

/// What tells a file from every other one.
pub(super) fn content_of(file: &LogicalFileView) -> String {
    format!("{} {} {}", file.path(), file.size(), file.modification_time())
}

/// What to say of a log that can't be read.
pub(super) async fn broken(lake: &Lake, name: &TableName, error: DeltaTableError) -> Error {
    match log::diagnose(lake, name).await {
        Some(damage) => damage,
        None => Error::delta(lake.uri().as_str(), Access::Read, name, error),
    }
}
