//! A log that is known is followed by its next entries, instead of being listed again.
//!
//! The versions of a log have no gaps, so the next one either lies there or nothing came: two requests, however long the
//! log is. A listing grows with it, and each hand of a day's work looks several times for each commit.
//!
//! That the log is still the one that is known is told by its newest known entry: a table that was removed and made anew, or
//! restored from an older copy, has another file there, or none. Old entries go oldest first when a log is cleaned, so
//! where that one lies the next ones do too.

use std::sync::Arc;

use deltalake::kernel::Snapshot as LazyState;
use object_store::ObjectStoreExt;

use crate::Version;
use crate::entry::{EntryId, Followed, Recent};
use crate::lake::Lake;
use crate::name::TableName;
use crate::path;

use super::notes;

/// More entries than these are read by the library, which begins at a checkpoint. As many are kept.
pub(super) const FOLLOWED: Version = 64;

impl EntryId {
    /// Of the entry that made a version. `None` if it can't be looked at: then the log is not followed.
    pub(super) async fn at(lake: &Lake, name: &TableName, version: Version) -> Option<Self> {
        lake.store().head(&path::commit(name, version)).await.ok().as_ref().map(Self::from)
    }
}

impl Followed {
    /// From what the library read; see [`EntryId::at`].
    pub(super) async fn begin(lake: &Lake, name: &TableName, state: Arc<LazyState>) -> Option<Self> {
        let version = state.version();
        let entry = EntryId::at(lake, name, version).await?;
        Some(Self { state, version, entry, recent: Recent::default() })
    }

    /// Up to the newest version. `None` if only the library can tell: the log is another one or can't be read, its table
    /// has changed its shape, or too much came.
    pub(super) async fn newest(&self, lake: &Lake, name: &TableName) -> Option<Self> {
        let mut newest = self.clone();
        while let Some(commit) = notes::read_entry(lake, name, newest.version + 1).await.ok()? {
            if commit.reshapes || newest.version - self.version == FOLLOWED {
                return None;
            }
            newest.version += 1;
            newest.entry = commit.entry.clone();
            let recent = Arc::make_mut(&mut newest.recent);
            recent.insert(newest.version, Arc::new(commit));
            while recent.len() as Version > FOLLOWED {
                recent.pop_first();
            }
        }
        // Last, so that what was read before belongs to the log that has this entry.
        (EntryId::at(lake, name, self.version).await? == self.entry).then_some(newest)
    }
}

/// What came to a log since a version that is known.
pub(super) enum News {
    None,
    Some,
    /// It is not the log that was known, or it can't be told.
    AnotherLog,
}

/// Looks at a log whose version `version` was made by `entry` when it was read.
pub(super) async fn news(lake: &Lake, name: &TableName, version: Version, entry: &EntryId) -> News {
    let next = lake.store().head(&path::commit(name, version + 1)).await;
    // Last, as above.
    if EntryId::at(lake, name, version).await.as_ref() != Some(entry) {
        return News::AnotherLog;
    }
    match next {
        Ok(_) => News::Some,
        Err(object_store::Error::NotFound { .. }) => News::None,
        Err(_) => News::AnotherLog,
    }
}
