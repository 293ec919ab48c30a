//! Notes stand exactly where their rows stand, and marks are known without replaying the log.

use serde_json::json;

use super::*;

fn landing(after: Option<i64>, version: i64) -> Txn {
    Txn { app_id: "extract/t".into(), version, rule: TxnRule::After(after) }
}

#[tokio::test]
async fn notes_are_read_back_to_what_is_known() {
    let lake = Lake::open("memory://notes", "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    for mark in 1..=25_i64 {
        let rows = if mark % 3 == 0 { Vec::new() } else { vec![rows(&[mark], Some(DAY))] };
        let before = (mark > 1).then(|| mark - 1);
        let note = Some(json!({ "mark": mark }));
        let done = table.append_noted(rows, landing(before, mark), &info(), note).await.unwrap();
        assert!(matches!(done, Committed::Done(_)), "{mark}: {done:?}");
        // Others commit in between.
        let _ = table.append(vec![super::rows(&[100 + mark], Some(DAY))], task(&mark.to_string(), 1), &info()).await;
    }
    let snapshot = table.snapshot().await.unwrap();
    for known in [None, Some(0), Some(7), Some(24), Some(25), Some(99)] {
        let notes = snapshot.head().notes("extract/t", known).await.unwrap();
        let expected: Vec<i64> = (1..=25).filter(|mark| known.is_none_or(|known| *mark > known)).collect();
        assert!(notes.complete);
        assert_eq!(notes.notes.iter().map(|note| note.mark).collect::<Vec<_>>(), expected, "above {known:?}");
        assert!(notes.notes.iter().all(|note| note.note == json!({ "mark": note.mark })));
    }
    let since = notes_versions(&snapshot).await;
    let later = snapshot.head().notes_since("extract/t", since[20]).await.unwrap();
    assert_eq!(later.iter().map(|note| note.mark).collect::<Vec<_>>(), [22, 23, 24, 25]);
    assert!(snapshot.head().notes("nobody", None).await.unwrap().notes.is_empty());
}

async fn notes_versions(snapshot: &Snapshot) -> Vec<Version> {
    snapshot.head().notes("extract/t", None).await.unwrap().notes.iter().map(|note| note.version).collect()
}

#[tokio::test]
async fn what_is_made_on_top_of_a_mark_is_made_on_no_other() {
    let lake = Lake::open("memory://after", "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    let put = |id: i64, txn: Txn| {
        let table = table.clone();
        async move { table.append_noted(vec![rows(&[id], Some(DAY))], txn, &info(), None).await.unwrap() }
    };
    assert!(matches!(put(1, landing(None, 1)).await, Committed::Done(_)));
    for stale in [landing(None, 2), landing(Some(7), 8), landing(Some(0), 2)] {
        assert!(matches!(put(2, stale).await, Committed::Conflict(_)));
    }
    assert!(matches!(put(3, landing(Some(1), 9)).await, Committed::Done(_)));
    assert_eq!(rows_of(&lake, "raw.t", &["id"]).await, ["r1", "r3"]);
}

#[tokio::test]
async fn a_mark_is_the_same_by_the_kept_answer_and_by_the_whole_log() {
    let lake = Lake::open("memory://marks", "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    for round in 0..90_i64 {
        let id = (round % 7).to_string();
        let _ = table.append(vec![rows(&[round], Some(DAY))], task(&id, round), &info()).await.unwrap();
        let snapshot = table.snapshot().await.unwrap();
        for asked in ["0", "3", "6", "never"] {
            let app_id = task(asked, 0).app_id;
            assert_eq!(
                snapshot.txn(&app_id).await.unwrap(),
                snapshot.head().replay_txn(&app_id).await.unwrap(),
                "{app_id} in round {round}"
            );
        }
    }
}

#[tokio::test]
async fn contents_are_told_apart_and_columns_are_none() {
    let lake = Lake::open("memory://contents", "demo").await.unwrap();
    let table = lake.create(&spec("raw.t", true)).await.unwrap();
    let _ = table.append(vec![rows(&[1], Some(DAY))], task("a", 1), &info()).await.unwrap();
    let of = |snapshot: &Snapshot| [None, Some(DAY), Some(NEXT)].map(|day| snapshot.content_id(day).unwrap());
    let first = of(&table.snapshot().await.unwrap());
    let mut wider = spec("raw.t", true);
    let mut fields: Vec<_> = wider.schema.fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("new", DataType::Utf8, true));
    wider.schema = Arc::new(Schema::new(fields));
    let table = lake.create(&wider).await.unwrap();
    let _ = table.append(Vec::new(), task("empty", 1), &info()).await.unwrap();
    assert_eq!(of(&table.snapshot().await.unwrap()), first, "neither a column nor an empty commit is a row");
    let _ = table.append(vec![rows(&[2], Some(NEXT))], task("b", 1), &info()).await.unwrap();
    let second = of(&table.snapshot().await.unwrap());
    assert_ne!(second[0], first[0]);
    assert_eq!(second[1], first[1], "the day before is what it was");
    assert_ne!(second[2], first[2]);
}
