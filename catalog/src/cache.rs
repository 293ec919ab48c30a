//! What an open lake remembers of its tables, so that the next look reads only what came after it.
//!
//! Nothing here knows the lake: a lake keeps these, and must not keep itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::datasource::TableProvider;
use deltalake::DeltaTable;

use crate::Version;
use crate::entry::{EntryId, Followed};
use crate::name::TableName;

/// What was read of tables' logs.
#[derive(Default)]
pub(crate) struct TableCache {
    /// The newest version seen of each.
    newest: Mutex<HashMap<TableName, LoadedTable>>,
    /// The newest state of their logs, without the files.
    heads: Mutex<HashMap<TableName, Followed>>,
    marks: Mutex<HashMap<TableName, KnownMarks>>,
    /// From which version on the log of each is to be summed up again, where this process did it last.
    checkpoints: Mutex<HashMap<TableName, Version>>,
}

/// A table as of one version, read from its log.
#[derive(Clone)]
pub(crate) struct LoadedTable {
    pub(crate) table: Arc<DeltaTable>,
    pub(crate) provider: Arc<dyn TableProvider>,
    pub(crate) version: Version,
    /// The entry of its log that made this version.
    pub(crate) entry: EntryId,
}

/// The marks of a table's commits that were asked for.
#[derive(Debug, Clone)]
pub(crate) struct KnownMarks {
    pub(crate) table_id: String,
    /// The version they are of.
    pub(crate) version: Version,
    /// Also that there is none.
    pub(crate) marks: HashMap<String, Option<i64>>,
}

impl TableCache {
    pub(crate) fn newest(&self, name: &TableName) -> Option<LoadedTable> {
        lock(&self.newest).get(name).cloned()
    }

    /// Keeps it if it is the newest seen.
    pub(crate) fn remember(&self, name: &TableName, loaded: LoadedTable) {
        let mut newest = lock(&self.newest);
        if newest.get(name).is_none_or(|kept| kept.version < loaded.version) {
            newest.insert(name.clone(), loaded);
        }
    }

    /// Its log is another one, or can't be followed.
    pub(crate) fn forget(&self, name: &TableName) {
        lock(&self.newest).remove(name);
        lock(&self.heads).remove(name);
        lock(&self.marks).remove(name);
        lock(&self.checkpoints).remove(name);
    }

    pub(crate) fn next_checkpoint(&self, name: &TableName) -> Option<Version> {
        lock(&self.checkpoints).get(name).copied()
    }

    pub(crate) fn plan_checkpoint(&self, name: &TableName, version: Version) {
        lock(&self.checkpoints).insert(name.clone(), version);
    }

    pub(crate) fn head(&self, name: &TableName) -> Option<Followed> {
        lock(&self.heads).get(name).cloned()
    }

    /// Keeps it if it is the newest seen.
    pub(crate) fn remember_head(&self, name: &TableName, head: &Followed) {
        let mut heads = lock(&self.heads);
        if heads.get(name).is_none_or(|kept| kept.version < head.version) {
            heads.insert(name.clone(), head.clone());
        }
    }

    pub(crate) fn marks(&self, table: &TableName) -> Option<KnownMarks> {
        lock(&self.marks).get(table).cloned()
    }

    /// Keeps what is newer, and adds to what is as new.
    pub(crate) fn keep_marks(&self, table: &TableName, known: KnownMarks) {
        let mut all = lock(&self.marks);
        match all.get_mut(table) {
            Some(kept) if kept.table_id == known.table_id && kept.version > known.version => {}
            Some(kept) if kept.table_id == known.table_id && kept.version == known.version => {
                kept.marks.extend(known.marks);
            }
            _ => drop(all.insert(table.clone(), known)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
