//! Damage: action × place × who looks. Never a silent older version, always the file's name.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

struct Damaged {
    _dir: tempfile::TempDir,
    uri: String,
    /// Saw the table when it was whole.
    warm: Lake,
}

impl Damaged {
    /// A table of `commits` appends.
    async fn new(commits: i64) -> Self {
        let (dir, uri) = folder();
        let warm = Lake::open(&uri, "demo").await.unwrap();
        let table = warm.create(&spec("raw.t", true)).await.unwrap();
        for id in 1..=commits {
            let _ = table.append(vec![rows(&[id], Some(DAY))], task(&format!("{id}"), 1), &info()).await.unwrap();
        }
        Self { _dir: dir, uri, warm }
    }

    fn log(&self, file: &str) -> PathBuf {
        Path::new(&self.uri).join("raw/t/_delta_log").join(file)
    }

    fn commit(&self, version: u64) -> PathBuf {
        self.log(&format!("{version:020}.json"))
    }

    /// Who comes new to the table must be told.
    async fn told(&self) -> Error {
        let fresh = Lake::open(&self.uri, "demo").await.unwrap();
        let error = fresh.table(&name("raw.t")).await.unwrap_err();
        assert!(fresh.create(&spec("raw.t", true)).await.is_err(), "creating does not paper over it");
        error
    }
}

fn assert_names(error: &Error, file: &str, hint: &str) {
    assert!(matches!(error, Error::Damaged { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("table raw.t: `raw/t/_delta_log/") && text.contains(file), "{text}");
    assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
}

#[tokio::test]
async fn a_torn_newest_commit() {
    let lake = Damaged::new(2).await;
    let whole = fs::read(lake.commit(2)).unwrap();
    let line = whole.iter().position(|b| *b == b'\n').unwrap();
    for cut in [0, 5, line, line + 1, whole.len() - 1] {
        fs::write(lake.commit(2), &whole[..cut]).unwrap();
        assert_names(&lake.told().await, "00000000000000000002.json", "run again");
    }
    fs::write(lake.commit(2), vec![0; whole.len()]).unwrap();
    assert_names(&lake.told().await, "00000000000000000002.json", "run again");
    fs::write(lake.commit(2), &whole).unwrap();
    assert_eq!(rows_of(&lake.warm, "raw.t", &["n"]).await, ["1", "2"]);
}

#[tokio::test]
async fn a_torn_commit_that_comes_after_what_was_seen() {
    let lake = Damaged::new(2).await;
    let table = lake.warm.table(&name("raw.t")).await.unwrap();
    fs::write(lake.commit(3), "{\"commitInfo\":{\"elt.actions\":3}}").unwrap();
    let error = table.snapshot().await.unwrap_err();
    assert_names(&error, "00000000000000000003.json", "move the file");
    let error = table.append(vec![rows(&[9], Some(DAY))], task("9", 1), &info()).await.unwrap_err();
    assert_names(&error, "00000000000000000003.json", "move the file");
    fs::remove_file(lake.commit(3)).unwrap();
    let done = table.append(vec![rows(&[9], Some(DAY))], task("9", 1), &info()).await.unwrap();
    assert_eq!(done, Committed::Done(3), "nothing was lost");
}

#[tokio::test]
async fn a_torn_or_missing_older_commit() {
    let lake = Damaged::new(3).await;
    let whole = fs::read(lake.commit(1)).unwrap();
    fs::write(lake.commit(1), &whole[..whole.len() / 2]).unwrap();
    assert_names(&lake.told().await, "00000000000000000001.json", "backup");
    fs::remove_file(lake.commit(1)).unwrap();
    let error = lake.told().await;
    assert_names(&error, "00000000000000000001.json", "backup");
    assert!(error.to_string().contains("missing"), "{error}");
}

#[tokio::test]
async fn a_garbage_checkpoint() {
    let lake = Damaged::new(10).await;
    let file = "00000000000000000009.checkpoint.parquet";
    let whole = fs::read(lake.log(file)).unwrap();
    let mut holed = whole.clone();
    let middle = holed.len() / 2;
    holed[4..middle].fill(0);
    for garbage in [Vec::new(), b"garbage".to_vec(), whole[..whole.len() - 9].to_vec(), holed] {
        fs::write(lake.log(file), garbage).unwrap();
        assert_names(&lake.told().await, file, "every commit is still there");
    }
    // What the hint says works.
    fs::remove_file(lake.log(file)).unwrap();
    fs::remove_file(lake.log("_last_checkpoint")).unwrap();
    let fresh = Lake::open(&lake.uri, "demo").await.unwrap();
    assert_eq!(rows_of(&fresh, "raw.t", &["n"]).await.len(), 10);
}

#[tokio::test]
async fn a_garbage_pointer_to_the_checkpoint_is_either_overcome_or_named() {
    let lake = Damaged::new(11).await;
    fs::write(lake.log("_last_checkpoint"), "{").unwrap();
    let fresh = Lake::open(&lake.uri, "demo").await.unwrap();
    match fresh.table(&name("raw.t")).await {
        Ok(_) => assert_eq!(rows_of(&fresh, "raw.t", &["n"]).await.len(), 11),
        Err(error) => assert_names(&error, "_last_checkpoint", "delete it"),
    }
}

#[tokio::test]
async fn a_missing_or_garbage_data_file() {
    let lake = Damaged::new(2).await;
    let snapshot = lake.warm.table(&name("raw.t")).await.unwrap().snapshot().await.unwrap();
    let file = Path::new(&lake.uri).join(&snapshot.file_paths().unwrap()[0]);
    let whole = fs::read(&file).unwrap();
    for garbage in [None, Some(&whole[..whole.len() / 2])] {
        match garbage {
            None => fs::remove_file(&file).unwrap(),
            Some(bytes) => fs::write(&file, bytes).unwrap(),
        }
        let fresh = Lake::open(&lake.uri, "demo").await.unwrap();
        let snapshot = fresh.table(&name("raw.t")).await.unwrap().snapshot().await.unwrap();
        let read: Result<Vec<RecordBatch>, String> = match snapshot.scan(None).await {
            Ok(stream) => stream.try_collect().await.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert!(read.is_err(), "rows are never left out in silence");
    }
}
