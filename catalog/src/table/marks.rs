//! One look at a log answers for all that is asked of it.
//!
//! The library replays the log, newest checkpoint included, for each mark that it is asked for: a day of tasks would read
//! all of it again for each task. Here what was found is kept, and brought up to a newer snapshot by reading the commits in
//! between, each once.

use std::collections::HashMap;

use crate::cache::KnownMarks;
use crate::error::Result;

use super::followed::FOLLOWED;
use super::head::Head;
use super::notes;

impl Head {
    /// The mark that the newest commit of a piece of work left, if any.
    pub async fn txn(&self, app_id: &str) -> Result<Option<i64>> {
        find(self, app_id).await
    }
}

async fn find(head: &Head, app_id: &str) -> Result<Option<i64>> {
    let (cache, table_id, version) = (head.lake().cache(), head.table_id().to_owned(), head.version());
    let known = cache.marks(head.table()).filter(|known| known.table_id == table_id);
    let mut known = match known {
        // An older snapshot than the one that is kept: nothing is known of the time between.
        Some(known) if known.version > version => return head.replay_txn(app_id).await,
        Some(known) if version - known.version <= FOLLOWED => known,
        _ => KnownMarks { table_id, version, marks: HashMap::new() },
    };
    for newer in known.version + 1..=version {
        let Some(commit) = notes::read(head, newer).await? else {
            known.marks.clear();
            break;
        };
        for (name, mark) in &commit.txns {
            known.marks.insert(name.clone(), Some(*mark));
        }
    }
    known.version = version;
    let found = if let Some(found) = known.marks.get(app_id) {
        *found
    } else {
        let found = head.replay_txn(app_id).await?;
        known.marks.insert(app_id.to_owned(), found);
        found
    };
    cache.keep_marks(head.table(), known);
    Ok(found)
}
