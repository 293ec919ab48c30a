//! What is known of a log is what a look at all of it says, whatever happened to it meanwhile.

use std::fs;
use std::path::Path as FsPath;

use proptest::prelude::*;

use super::*;

/// What happens between two looks.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Rows, and marks, in so many commits.
    Appended(u8),
    /// Rows in the place of all others.
    Replaced,
    /// The columns are others.
    Reshaped,
    /// The table is removed and made anew, with so many commits.
    MadeAnew(u8),
    /// Its folder is copied away.
    Kept,
    /// Its folder is as it was when it was kept.
    Restored,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (1_u8..4).prop_map(Event::Appended),
        1 => Just(Event::Appended(70)),
        2 => Just(Event::Replaced),
        1 => Just(Event::Reshaped),
        2 => (0_u8..6).prop_map(Event::MadeAnew),
        2 => Just(Event::Kept),
        3 => Just(Event::Restored),
    ]
}

fn copy(from: &FsPath, to: &FsPath) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Another process's work on the table.
struct Others<'a> {
    uri: String,
    folder: &'a FsPath,
    /// So that each mark is another one.
    commits: i64,
}

impl Others<'_> {
    async fn table(&self) -> Table {
        Lake::open(&self.uri, "demo").await.unwrap().table(&name("staging.t")).await.unwrap()
    }

    async fn append(&mut self, commits: u8) {
        let table = self.table().await;
        for _ in 0..commits {
            self.commits += 1;
            let id = (self.commits % 3).to_string();
            let note = Some(serde_json::json!({ "mark": self.commits }));
            let _ = table.append_noted(Vec::new(), task(&id, self.commits), &info(), note).await.unwrap();
        }
    }

    async fn happen(&mut self, event: Event) {
        let (table, kept) = (self.folder.join("lake/staging/t"), self.folder.join("kept"));
        let replace = Txn { app_id: "build/all".into(), version: self.commits + 1, rule: TxnRule::Equal };
        match event {
            Event::Appended(commits) => self.append(commits).await,
            Event::Replaced => {
                self.commits += 1;
                let table = self.table().await;
                let day = table.is_partitioned().then_some(DAY);
                let written = write(&table, vec![rows(&[self.commits], day)]).await;
                let _ = written.replace(Scope::All, replace, &info()).await.unwrap();
            }
            Event::Reshaped => {
                self.commits += 1;
                let spec = TableSpec { partitioned: self.commits % 2 == 0, ..spec("staging.t", self.commits % 2 == 0) };
                let day = spec.partitioned.then_some(DAY);
                let (table, rows) = (self.table().await, vec![rows(&[self.commits], day)]);
                let written = table.write_reshaped(&spec, vec![stream(rows)], &WriteOptions::default()).await.unwrap();
                let _ = written.replace(Scope::All, replace, &info()).await.unwrap();
            }
            Event::MadeAnew(commits) => {
                fs::remove_dir_all(&table).unwrap();
                let _ = Lake::open(&self.uri, "demo").await.unwrap().create(&spec("staging.t", true)).await.unwrap();
                self.append(commits).await;
            }
            Event::Kept => {
                let _ = fs::remove_dir_all(&kept);
                copy(&table, &kept);
            }
            Event::Restored if kept.exists() => {
                fs::remove_dir_all(&table).unwrap();
                copy(&kept, &table);
            }
            Event::Restored => {}
        }
    }
}

/// All that is asked of a log.
async fn said(head: &Head) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut marks = Vec::new();
    for id in ["0", "1", "2", "never"] {
        marks.push(head.txn(&task(id, 0).app_id).await.unwrap());
    }
    let notes = head.notes_since(&task("1", 0).app_id, head.version().saturating_sub(5)).await.unwrap();
    (head.version(), head.table_id().to_owned(), head.stored_schema(), marks, notes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_that_is_followed_is_the_log_that_lies_there(
        history in prop::collection::vec((event(), any::<bool>(), any::<bool>()), 1..14),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let uri = format!("file://{}/lake", folder.path().display());
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let mine = Lake::open(&uri, "demo").await.unwrap();
            let table = mine.create(&spec("staging.t", true)).await.unwrap();
            let mut others = Others { uri: uri.clone(), folder: folder.path(), commits: 0 };
            for (event, head, snapshot) in history {
                others.happen(event).await;
                let fresh = others.table().await.snapshot().await.unwrap();
                if head {
                    let followed = table.head().await.unwrap();
                    prop_assert_eq!(said(&followed).await, said(fresh.head()).await, "after {:?}", event);
                }
                if snapshot {
                    let followed = table.snapshot().await.unwrap();
                    prop_assert_eq!(said(followed.head()).await, said(fresh.head()).await, "after {:?}", event);
                    prop_assert_eq!(followed.content_id(None).unwrap(), fresh.content_id(None).unwrap());
                }
            }
            Ok(())
        })?;
    }
}
