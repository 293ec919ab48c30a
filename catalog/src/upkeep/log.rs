//! Entries of a table's log that a checkpoint covers.
//!
//! A reader begins at a checkpoint and goes on with the commits behind it. So what lies before a checkpoint may go, if that
//! checkpoint is whole, and if no version within the time kept lies before it. Whether it is whole is found out by reading it:
//! the library's own clean-up goes by names, and would take away the commits that a damaged checkpoint sums up.

use jiff::Timestamp;
use object_store::ObjectStoreExt;

use crate::Version;
use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::path;
use crate::table::parquet_damage;

use super::Upkeep;
use super::files::{StoredFile, list};

/// What a log's file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogFile {
    Commit(Version),
    /// In one file; one in several, or of another kind, is not ours and is left alone.
    Checkpoint(Version),
}

/// The log files of `table` that may go.
pub(super) async fn find(lake: &Lake, upkeep: &Upkeep, table: &TableName) -> Result<Vec<StoredFile>> {
    let files: Vec<_> =
        list(lake, &path::log(table)).await?.into_iter().filter_map(|it| Some((kind(&it)?, it))).collect();
    let cutoff = upkeep.log_cutoff();
    let Some(from) = kept_from(&files, cutoff) else { return Ok(Vec::new()) };
    let checkpoints = files.iter().filter(|(kind, _)| matches!(kind, LogFile::Checkpoint(version) if *version <= from));
    let mut checkpoints: Vec<_> = checkpoints.collect();
    checkpoints.sort_by_key(|(kind, _)| std::cmp::Reverse(version(*kind)));
    for (kind, checkpoint) in checkpoints {
        let read = async { lake.store().get(&checkpoint.path).await?.bytes().await };
        let bytes = read.await.map_err(|e| {
            Error::store(lake.uri().as_str(), Access::Read, format!("reading `{}`", checkpoint.path), e)
        })?;
        if let Some(damage) = parquet_damage(&bytes) {
            tracing::warn!(%table, checkpoint = %checkpoint.path, damage, "what it sums up is kept");
            continue;
        }
        let base = version(*kind);
        let covered = |(kind, file): &(LogFile, StoredFile)| version(*kind) < base && file.modified < cutoff;
        return Ok(files.iter().filter(|it| covered(it)).map(|(_, file)| file.clone()).collect());
    }
    Ok(Vec::new())
}

/// The first version that must stay readable: the last one before the time kept, which was the newest when it began. `None`
/// if all of them are younger, or if there is nothing.
fn kept_from(files: &[(LogFile, StoredFile)], cutoff: Timestamp) -> Option<Version> {
    let commits = || files.iter().filter(|(kind, _)| matches!(kind, LogFile::Commit(_)));
    let first_kept = commits().filter(|(_, file)| file.modified >= cutoff).map(|(kind, _)| version(*kind)).min();
    let newest = commits().map(|(kind, _)| version(*kind)).max()?;
    match first_kept {
        Some(first) => first.checked_sub(1),
        None => Some(newest),
    }
}

fn version(kind: LogFile) -> Version {
    match kind {
        LogFile::Commit(version) | LogFile::Checkpoint(version) => version,
    }
}

fn kind(file: &StoredFile) -> Option<LogFile> {
    let name = file.path.filename()?;
    let (digits, ending) = name.split_at_checked(20)?;
    let version = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    match ending {
        ".json" => Some(LogFile::Commit(version)),
        ".checkpoint.parquet" => Some(LogFile::Checkpoint(version)),
        _ => None,
    }
}
