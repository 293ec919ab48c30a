//! What commits say besides their rows.
//!
//! A note stands in the commit itself, so it is there exactly if the rows are. Checkpoints don't keep it: who needs it for
//! longer than the log lives copies it into a table, and says by the mark of a commit how far it has got.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::Version;
use crate::entry::{Commit, EntryId};
use crate::error::Result;
use crate::lake::Lake;
use crate::name::TableName;
use crate::path;

use super::head::Head;

/// The key of a note in a commit's info.
pub(super) const KEY: &str = "elt.note";

/// Commits read at the same time.
const AHEAD: usize = 16;

/// What one commit said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The commit's mark for its piece of work: its transaction's version.
    pub mark: i64,
    /// The table's version that it made.
    pub version: Version,
    /// The note; null if the commit has a mark and none.
    pub note: Value,
}

/// What the commits of a piece of work said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes {
    /// The oldest first.
    pub notes: Vec<Note>,
    /// Whether the log reached back to the mark that was asked for, or to the table's first version.
    pub complete: bool,
}

/// One line of a commit file, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NoteLine {
    txn: Option<TxnAction>,
    meta_data: Option<IgnoredAny>,
    protocol: Option<IgnoredAny>,
    #[serde(rename = "commitInfo")]
    info: Option<Info>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxnAction {
    app_id: String,
    version: i64,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "elt.note", default)]
    note: Value,
}

impl Head {
    /// The notes that commits of `app_id` left, those with a mark above `after`, the oldest first. The log is read from its
    /// newest commit back to the first one that is known, so this costs what is new.
    pub async fn notes(&self, app_id: &str, after: Option<i64>) -> Result<Notes> {
        back_to(self, app_id, after).await
    }

    /// The notes that commits of `app_id` left after the table's version `since`, the oldest first.
    pub async fn notes_since(&self, app_id: &str, since: Version) -> Result<Vec<Note>> {
        self::since(self, app_id, since).await
    }
}

async fn back_to(head: &Head, app_id: &str, after: Option<i64>) -> Result<Notes> {
    let mut notes = Vec::new();
    let versions = futures::stream::iter((0..=head.version()).rev());
    let mut commits = std::pin::pin!(
        versions
            .map(|version| async move { Ok::<_, crate::Error>((version, read(head, version).await?)) })
            .buffered(AHEAD)
    );
    while let Some((version, commit)) = commits.try_next().await? {
        // The log was cleaned up to here.
        let Some(commit) = commit else { return Ok(ordered(notes, false)) };
        let Some(mark) = commit.mark(app_id) else { continue };
        if after.is_some_and(|after| mark <= after) {
            return Ok(ordered(notes, true));
        }
        notes.push(Note { mark, version, note: commit.note.clone() });
    }
    Ok(ordered(notes, true))
}

fn ordered(mut notes: Vec<Note>, complete: bool) -> Notes {
    notes.reverse();
    Notes { notes, complete }
}

async fn since(head: &Head, app_id: &str, since: Version) -> Result<Vec<Note>> {
    let versions = futures::stream::iter(since + 1..=head.version());
    let commits = versions.map(|version| async move { Ok::<_, crate::Error>((version, read(head, version).await?)) });
    let commits: Vec<_> = commits.buffered(AHEAD).try_collect().await?;
    let note = |(version, commit): (Version, Option<Arc<Commit>>)| {
        let commit = commit?;
        Some(Note { mark: commit.mark(app_id)?, version, note: commit.note.clone() })
    };
    Ok(commits.into_iter().filter_map(note).collect())
}

/// A commit of the table; `None` if the log no longer has it.
pub(super) async fn read(head: &Head, version: Version) -> Result<Option<Arc<Commit>>> {
    if let Some(known) = head.recent(version) {
        return Ok(Some(Arc::clone(known)));
    }
    Ok(read_entry(head.lake(), head.table(), version).await?.map(Arc::new))
}

/// An entry of a table's log; `None` if the log has none of this version.
pub(super) async fn read_entry(lake: &Lake, name: &TableName, version: Version) -> Result<Option<Commit>> {
    let at = path::commit(name, version);
    let found = async {
        let found = lake.store().get(&at).await?;
        Ok((EntryId::from(&found.meta), found.bytes().await?))
    };
    let (entry, bytes) = match found.await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(lake.read_failed(format!("reading `{at}`"), error)),
    };
    let mut commit = Commit { txns: Vec::new(), note: Value::Null, reshapes: false, entry };
    // The store has checked that every line is an action; one of a form that is not known here has nothing for us.
    for line in bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<NoteLine>(line).ok()) {
        commit.reshapes |= line.meta_data.is_some() || line.protocol.is_some();
        commit.txns.extend(line.txn.map(|txn| (txn.app_id, txn.version)));
        if let Some(info) = line.info {
            commit.note = info.note;
        }
    }
    Ok(Some(commit))
}
