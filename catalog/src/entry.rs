//! What is known of a log's entries, as it is kept between two looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use deltalake::kernel::Snapshot as LazyState;
use object_store::ObjectMeta;
use serde_json::Value;

use crate::Version;

/// What tells one file at an address from another that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryId {
    size: u64,
    e_tag: Option<String>,
}

impl From<&ObjectMeta> for EntryId {
    fn from(meta: &ObjectMeta) -> Self {
        Self { size: meta.size, e_tag: meta.e_tag.clone() }
    }
}

/// The transactions of one commit, and its note.
pub(crate) struct Commit {
    pub(crate) txns: Vec<(String, i64)>,
    pub(crate) note: Value,
    /// Whether it says what the table's columns, properties or protocol are.
    pub(crate) reshapes: bool,
    /// The file it was read from.
    pub(crate) entry: EntryId,
}

impl Commit {
    /// The mark that it left for a piece of work.
    pub(crate) fn mark(&self, app_id: &str) -> Option<i64> {
        self.txns.iter().find(|(name, _)| name == app_id).map(|(_, version)| *version)
    }
}

/// The entries that were read last, by version.
pub(crate) type Recent = Arc<BTreeMap<Version, Arc<Commit>>>;

/// The newest version of a log that is known.
#[derive(Clone)]
pub(crate) struct Followed {
    /// Columns and properties, of this version or of an older one that had the same.
    pub(crate) state: Arc<LazyState>,
    pub(crate) version: Version,
    /// The entry of that version.
    pub(crate) entry: EntryId,
    pub(crate) recent: Recent,
}
