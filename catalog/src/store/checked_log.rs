//! A commit file is read whole or not at all.
//!
//! A commit cut at the end of a line is still valid JSON, line by line, and a reader would show a
//! table that never was. Our commits carry the number of their lines (`elt.actions`), and this
//! wrapper counts them on every read, so that no layer above can be shown a torn one. Commits of
//! other writers have no count; their lines must at least be JSON.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{Error, GetOptions, GetResult, GetResultPayload, ObjectStore, Result};
use serde::Deserialize;

use super::forward::forward;

/// What a whole commit says about itself.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct CommitNote {
    /// The number of lines it was written with, if it is ours.
    #[serde(rename = "elt.actions")]
    pub(crate) actions: Option<usize>,
    /// The mark of one attempt, by which a writer knows its own commit again.
    #[serde(rename = "elt.commit")]
    pub(crate) mark: Option<String>,
}

/// Reads a commit file, or says what is wrong with it.
pub(crate) fn read_commit(bytes: &[u8]) -> std::result::Result<CommitNote, String> {
    #[derive(Deserialize)]
    struct CommitLine {
        #[serde(rename = "commitInfo")]
        info: Option<CommitNote>,
    }
    let mut note = CommitNote::default();
    let mut lines = 0;
    for (n, line) in bytes.split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let line: CommitLine =
            serde_json::from_slice(line).map_err(|e| format!("line {} is not an action: {e}", n + 1))?;
        lines += 1;
        note = line.info.unwrap_or(note);
    }
    match note.actions {
        _ if lines == 0 => Err("it is empty".to_owned()),
        Some(expected) if expected != lines => Err(format!("expected {expected} actions, found {lines}")),
        _ => Ok(note),
    }
}

/// A store that hands out commit files only after [`read_commit`] found them whole.
#[derive(Debug)]
pub(crate) struct CheckedLog<S: ?Sized> {
    inner: Arc<S>,
}

impl<S: ObjectStore> CheckedLog<S> {
    pub(crate) fn new(inner: Arc<S>) -> Self {
        Self { inner }
    }
}

/// `…/_delta_log/00000000000000000007.json`
fn is_commit(location: &Path) -> bool {
    let mut parts = location.as_ref().rsplit('/');
    let name = parts.next().and_then(|name| name.strip_suffix(".json")).unwrap_or_default();
    name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit()) && parts.next() == Some("_delta_log")
}

impl<S: ObjectStore> fmt::Display for CheckedLog<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckedLog({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ObjectStore> ObjectStore for CheckedLog<S> {
    forward!(
        put_opts,
        put_multipart_opts,
        get_ranges,
        delete_stream,
        list,
        list_with_offset,
        list_with_delimiter,
        copy_opts,
        rename_opts
    );

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let whole = options.range.is_none() && !options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !whole || !is_commit(location) {
            return Ok(result);
        }
        let (meta, range, attributes) = (result.meta.clone(), result.range.clone(), result.attributes.clone());
        let bytes = result.bytes().await?;
        read_commit(&bytes).map_err(|detail| Error::Generic {
            store: "CheckedLog",
            source: format!("`{location}` is damaged: {detail}").into(),
        })?;
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    #[test]
    fn a_commit_is_whole_or_damaged() {
        let whole = concat!(
            r#"{"commitInfo":{"operation":"WRITE","elt.actions":2,"elt.commit":"m"}}"#,
            "\n",
            r#"{"add":{"path":"a","size":1}}"#
        );
        let note = read_commit(whole.as_bytes()).unwrap();
        assert_eq!(note, CommitNote { actions: Some(2), mark: Some("m".into()) });
        let cut_at_line = whole.split('\n').next().unwrap();
        assert_eq!(read_commit(cut_at_line.as_bytes()).unwrap_err(), "expected 2 actions, found 1");
        assert!(read_commit(&whole.as_bytes()[..whole.len() - 3]).unwrap_err().starts_with("line 2 is not"));
        assert_eq!(read_commit(b"").unwrap_err(), "it is empty");
        assert_eq!(read_commit(b"\n\n").unwrap_err(), "it is empty");
        assert!(read_commit(b"\0\0\0\0").is_err());
        assert!(read_commit(b"[]").is_err());
        assert_eq!(read_commit(br#"{"add":{"path":"a"}}"#).unwrap(), CommitNote::default(), "others' commits pass");
    }

    #[tokio::test]
    async fn every_cut_of_a_commit_is_seen() {
        let store = CheckedLog::new(Arc::new(InMemory::new()));
        let path = Path::from("t/_delta_log/00000000000000000001.json");
        let whole = r#"{"commitInfo":{"elt.actions":3}}
{"add":{"path":"a"}}
{"txn":{"appId":"x","version":1}}"#;
        for cut in 0..whole.len() {
            store.put(&path, whole.as_bytes()[..cut].to_vec().into()).await.unwrap();
            assert!(store.get(&path).await.is_err(), "cut at {cut}");
        }
        store.put(&path, whole.as_bytes().to_vec().into()).await.unwrap();
        assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), whole);
    }

    #[test]
    fn only_commits_are_checked() {
        assert!(is_commit(&Path::from("l/raw/t/_delta_log/00000000000000000001.json")));
        for other in ["t/_delta_log/_last_checkpoint", "t/00000000000000000001.json", "t/_delta_log/1.json"] {
            assert!(!is_commit(&Path::from(other)), "{other}");
        }
    }
}
