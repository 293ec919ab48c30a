//! Reading a table's log by hand: to know our own commit again, and to name the file that is damaged.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};

use crate::Version;
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::path;
use crate::store::read_commit;

/// The version, of those after `after` up to `newest`, whose commit carries `mark`.
pub(crate) async fn find_mark(
    lake: &Lake,
    name: &TableName,
    mark: &str,
    after: Version,
    newest: Version,
) -> Result<Option<Version>> {
    for version in (after + 1..=newest).rev() {
        let at = path::commit(name, version);
        let read = async { lake.store().get(&at).await?.bytes().await };
        let bytes = read.await.map_err(|e| lake.read_failed(format!("reading `{at}`"), e))?;
        if read_commit(&bytes).is_ok_and(|note| note.mark.as_deref() == Some(mark)) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Names the file that makes a log unreadable, if it is one that can be told.
pub(crate) async fn diagnose(lake: &Lake, name: &TableName) -> Option<Error> {
    let folder = path::log(name);
    let listed: Vec<_> = lake.store().list(Some(&folder)).map_ok(|meta| meta.location).try_collect().await.ok()?;
    if listed.is_empty() {
        return Some(Error::NoSuchTable(name.clone()));
    }
    let damaged = |file: &Path, detail: String, hint: String| {
        Some(Error::Damaged { what: format!("table {name}"), file: file.to_string(), detail, hint })
    };
    let mut commits = BTreeSet::new();
    let mut checkpoints = BTreeSet::new();
    for file in &listed {
        let filename = file.filename().unwrap_or_default();
        let version = filename.get(..20).and_then(|digits| digits.parse::<Version>().ok());
        match version {
            Some(version) if filename.len() == 25 && file.extension() == Some("json") => drop(commits.insert(version)),
            Some(version) if file.extension() == Some("parquet") => {
                let bytes = read(lake, file).await?;
                if let Some(detail) = parquet_damage(&bytes) {
                    return damaged(file, detail, checkpoint_hint(commits_from_zero(&listed)));
                }
                checkpoints.insert(version);
            }
            _ if filename == "_last_checkpoint" => {
                let bytes = read(lake, file).await?;
                if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
                    return damaged(
                        file,
                        error.to_string(),
                        "delete it: it only points at the newest checkpoint".into(),
                    );
                }
            }
            _ => {}
        }
    }
    for version in &commits {
        let file = path::commit(name, *version);
        let bytes = read(lake, &file).await?;
        if let Err(detail) = read_commit(&bytes) {
            return damaged(&file, detail, commit_hint(*version, &commits));
        }
    }
    let start = checkpoints.last().copied();
    let first_needed = start.map_or(0, |version| version + 1);
    let newest = commits.last().copied().or(start)?;
    let gap = (first_needed..newest).find(|version| !commits.contains(version))?;
    damaged(
        &path::commit(name, gap),
        format!("it is missing, though versions up to {newest} are there"),
        "restore the file from a backup: the versions after it can't be read without it".into(),
    )
}

/// A file as it is, also a torn commit.
async fn read(lake: &Lake, file: &Path) -> Option<Bytes> {
    let meta = lake.store().head(file).await.ok()?;
    if meta.size == 0 {
        return Some(Bytes::new());
    }
    // A range passes the check of whole commits.
    let options = GetOptions::default().with_range(Some(0..meta.size));
    lake.store().get_opts(file, options).await.ok()?.bytes().await.ok()
}

pub(crate) fn parquet_damage(bytes: &[u8]) -> Option<String> {
    const MAGIC: &[u8] = b"PAR1";
    if bytes.len() >= 12 && bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC) {
        let read =
            parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes))
                .and_then(parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::build)
                .map_err(|e| e.to_string())
                .and_then(|mut batches| batches.try_for_each(|b| b.map(drop)).map_err(|e| e.to_string()));
        return read.err();
    }
    Some("it is no Parquet file".into())
}

/// Whether the log still has every commit from version 0.
fn commits_from_zero(listed: &[Path]) -> bool {
    let commits: BTreeSet<Version> =
        listed.iter().filter_map(|file| file.filename()?.strip_suffix(".json")?.parse().ok()).collect();
    commits.iter().copied().eq(0..commits.len() as Version)
}

fn checkpoint_hint(rebuildable: bool) -> String {
    if rebuildable {
        "delete this checkpoint and `_last_checkpoint` beside it: every commit is still there to be read instead".into()
    } else {
        "restore the file from a backup: the commits it sums up are gone".into()
    }
}

fn commit_hint(version: Version, commits: &BTreeSet<Version>) -> String {
    if commits.last() == Some(&version) {
        "if its run never ended, move the file out of the folder and run again; else restore it from a backup".into()
    } else {
        "restore the file from a backup: the versions after it can't be read without it".into()
    }
}
