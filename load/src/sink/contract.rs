//! What every sink promises, tested once for all of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::TempDir;

use super::postgres::{Postgres, PostgresOptions};
use super::{Apply, Rows, Sink};
use crate::serving::Serving;
use crate::sync::hashed;
use crate::target::{Cursor, SinkKind, SyncTarget, Wanted};
use crate::testing::{Place, name, place, place_target, places};
use crate::value::RowHash;

/// One sink in a folder or a database of its own, fed with places.
struct Case {
    dir: TempDir,
    database: Option<String>,
    kind: SinkKind,
    target: SyncTarget,
    schema: SchemaRef,
    wanted: Wanted,
}

impl Case {
    fn new(kind: SinkKind) -> Self {
        let target = place_target();
        let all = places(&[]).schema();
        let wanted = target.wanted(kind, &all).unwrap();
        let fields: Vec<_> = all.fields().iter().filter(|f| wanted.columns.contains(f.name())).cloned().collect();
        let database = (kind == SinkKind::Postgres).then(|| services::postgres().unwrap().database());
        Self {
            dir: TempDir::new().unwrap(),
            database,
            kind,
            target,
            schema: Arc::new(arrow::datatypes::Schema::new(fields)),
            wanted,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opened anew each time, as another process would.
    fn sink(&self) -> Arc<dyn Sink> {
        let serving = Serving::new(self.path());
        let serving = match &self.database {
            Some(url) => serving.with_postgres(Arc::new(
                Postgres::new(&PostgresOptions {
                    url: url.clone(),
                    schema: "onggi".into(),
                    pool: 4,
                    rows_per_second: None,
                    project: "test".into(),
                })
                .unwrap(),
            )),
            None => serving,
        };
        serving.sink(self.kind).unwrap()
    }

    fn rows(&self, rows: &[Place]) -> Rows {
        hashed(&places(rows), &self.wanted, &self.target.table, &self.target.key).unwrap()
    }

    fn cursor(&self, version: u64) -> Cursor {
        Cursor { version, shape: self.wanted.shape.clone() }
    }

    async fn begin(&self, upserts: &[Place], deletes: &[&str]) -> Box<dyn Apply> {
        let mut apply = self.sink().begin(&self.target, &self.schema).await.unwrap();
        if !upserts.is_empty() {
            apply.upsert(self.rows(upserts)).await.unwrap();
        }
        if !deletes.is_empty() {
            apply.delete(deletes.iter().map(|k| (*k).to_owned()).collect()).await.unwrap();
        }
        apply
    }

    async fn apply(&self, upserts: &[Place], deletes: &[&str], version: u64) {
        self.begin(upserts, deletes).await.commit(self.cursor(version)).await.unwrap();
    }

    /// Keys with hashes, the content in order, and the version.
    async fn state(&self) -> (BTreeMap<String, RowHash>, Vec<String>, Option<u64>) {
        let sink = self.sink();
        let hashes = sink
            .hashes(&self.target, &self.schema)
            .await
            .unwrap()
            .iter()
            .map(|(key, hash)| (key.to_owned(), hash))
            .collect();
        let mut content = sink.content(&self.target.table).await.unwrap();
        content.sort();
        (hashes, content, sink.cursor(&self.target.table).await.unwrap().map(|c| c.version))
    }

    fn expected(&self, rows: &[Place]) -> BTreeMap<String, RowHash> {
        let rows = self.rows(rows);
        rows.keys.iter().map(str::to_owned).zip(rows.hashes).collect()
    }
}

fn three() -> Vec<Place> {
    vec![
        place("a", "망원국밥", "국밥", &["혼밥"], "국물이 진해요. 혼자 가기 좋아요."),
        place("b", "'; drop table marts_places; --", "커피", &[], "조용한 카페예요."),
        place("c", "떡볶이\"집\"", "분식", &["데이트", "친목"], "매워요 하지만 맛있어요."),
    ]
}

async fn an_empty_sink_says_so(case: &Case) {
    assert_eq!(case.state().await, (BTreeMap::new(), Vec::new(), None));
    assert!(case.sink().targets().await.unwrap().is_empty());
    case.sink().doctor().await.unwrap();
}

async fn applied_twice_is_applied_once(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let once = case.state().await;
    assert_eq!((&once.0, once.1.len(), once.2), (&case.expected(&three()), 3, Some(1)));
    case.apply(&three(), &[], 1).await;
    assert_eq!(case.state().await, once);
    assert_eq!(case.sink().targets().await.unwrap(), [name("marts.places")]);
}

async fn rows_change_and_go(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let mut changed = three()[1].clone();
    changed.name = "새 이름".into();
    changed.summary = Some("새 요약입니다. 커피가 진해요.".into());
    case.apply(&[changed.clone()], &["a", "never there"], 2).await;
    let left = [changed, three()[2].clone()];
    let state = case.state().await;
    assert_eq!((&state.0, state.1.len(), state.2), (&case.expected(&left), 2, Some(2)));
    // The way there leaves no trace.
    let other = Case::new(case.kind);
    other.apply(&left, &[], 9).await;
    assert_eq!(other.state().await.1, state.1);
    case.apply(&[], &["b", "c"], 3).await;
    assert_eq!(case.state().await, (BTreeMap::new(), Vec::new(), Some(3)));
    case.apply(&three(), &[], 4).await;
    assert_eq!(case.state().await.0, case.expected(&three()));
}

async fn a_change_that_is_not_committed_never_was(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let before = case.state().await;
    let open = case.begin(&[place("d", "넷째", "국밥", &[], "맛있어요 정말로.")], &["a"]).await;
    assert_eq!(case.state().await, before, "a reader never sees half");
    drop(open);
    assert_eq!(case.state().await, before);
    case.apply(&[place("d", "넷째", "국밥", &[], "맛있어요 정말로.")], &["a"], 2).await;
    let after = case.state().await;
    assert_eq!((after.0.len(), after.2), (3, Some(2)));
}

async fn the_cursor_moves_alone(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let before = case.state().await;
    case.apply(&[], &[], 7).await;
    let after = case.state().await;
    assert_eq!((after.0, after.1, after.2), (before.0, before.1, Some(7)));
}

async fn many_batches_are_one_change(case: &Case) {
    let rows: Vec<Place> = (0..300)
        .map(|i| place(&format!("k{i}"), &format!("집 {i}"), "국밥", &[], &format!("요약 글 번호 {i} 입니다.")))
        .collect();
    let mut apply = case.sink().begin(&case.target, &case.schema).await.unwrap();
    for part in rows.chunks(70) {
        apply.upsert(case.rows(part)).await.unwrap();
    }
    apply.commit(case.cursor(1)).await.unwrap();
    assert_eq!(case.state().await.0, case.expected(&rows));
}

async fn two_tables_stay_apart(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let other = SyncTarget { table: name("marts.others"), ..case.target.clone() };
    let mut apply = case.sink().begin(&other, &case.schema).await.unwrap();
    apply.upsert(case.rows(&three()[..1])).await.unwrap();
    apply.commit(case.cursor(5)).await.unwrap();
    assert_eq!(case.sink().hashes(&other, &case.schema).await.unwrap().len(), 1);
    assert_eq!(case.state().await.0.len(), 3);
    assert_eq!(case.sink().targets().await.unwrap(), [name("marts.others"), name("marts.places")]);
}

/// Every file of the sink is overwritten, one after another; each time the next change finds an empty sink and fills it.
async fn a_damaged_file_is_built_again(kind: SinkKind) {
    let files = |case: &Case| -> Vec<std::path::PathBuf> {
        let mut stack = vec![case.path().to_owned()];
        let mut found = Vec::new();
        while let Some(dir) = stack.pop() {
            for entry in std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()) {
                if entry.is_dir() { stack.push(entry) } else { found.push(entry) }
            }
        }
        found.sort();
        found
    };
    let whole = Case::new(kind);
    whole.apply(&three(), &[], 1).await;
    let expected = whole.state().await.1;
    for name in ["meta.json", "manifest.json", "serving.sqlite", "keys-1.jsonl"] {
        let case = Case::new(kind);
        case.apply(&three(), &[], 1).await;
        let Some(file) = files(&case).into_iter().find(|f| f.ends_with(name)) else { continue };
        std::fs::write(&file, b"this is not what was here").unwrap();
        assert_eq!(case.sink().cursor(&case.target.table).await.unwrap(), None, "{name}");
        assert!(case.sink().hashes(&case.target, &case.schema).await.unwrap().is_empty(), "{name}");
        case.apply(&three(), &[], 2).await;
        assert_eq!(case.state().await.1, expected, "{name}");
    }
}

async fn contract(kind: SinkKind) {
    an_empty_sink_says_so(&Case::new(kind)).await;
    applied_twice_is_applied_once(&Case::new(kind)).await;
    rows_change_and_go(&Case::new(kind)).await;
    a_change_that_is_not_committed_never_was(&Case::new(kind)).await;
    the_cursor_moves_alone(&Case::new(kind)).await;
    many_batches_are_one_change(&Case::new(kind)).await;
    two_tables_stay_apart(&Case::new(kind)).await;
    if kind.is_embedded() {
        a_damaged_file_is_built_again(kind).await;
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    contract(SinkKind::Sqlite).await;
}

#[tokio::test]
async fn keywords_keep_the_contract() {
    contract(SinkKind::Keywords).await;
}

#[tokio::test]
async fn vectors_keep_the_contract() {
    contract(SinkKind::Vectors).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    if services::postgres().is_some() {
        contract(SinkKind::Postgres).await;
    }
}

#[tokio::test]
async fn sqlite_can_be_read_by_others_and_follows_the_schema() {
    let case = Case::new(SinkKind::Sqlite);
    case.apply(&three(), &[], 1).await;
    let file = case.path().join("serving.sqlite");
    let open = || rusqlite::Connection::open_with_flags(&file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let reader = open();
    let sql = "select name, rating, json_extract(situations, '$[0]'), typeof(embedding) from marts_places where place_id = 'a'";
    let row: (String, f64, String, String) =
        reader.query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))).unwrap();
    assert_eq!(row, ("망원국밥".into(), 4.25, "혼밥".into(), "text".into()));

    // A reader in the middle of a question keeps its answer while a sync commits.
    reader.execute_batch("begin; select count(*) from marts_places").unwrap();
    let count = |c: &rusqlite::Connection| {
        c.query_row("select count(*) from marts_places", [], |r| r.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(count(&reader), 3);
    case.apply(&[], &["a"], 2).await;
    assert_eq!((count(&reader), count(&open())), (3, 2));
    reader.execute_batch("commit").unwrap();
    assert_eq!(count(&reader), 2);

    // A new column is added in place; a column that goes means a new table, filled in the same step.
    let batch = places(&three());
    let more = RecordBatch::try_from_iter_with_nullable(
        batch.schema().fields().iter().zip(batch.columns()).map(|(f, c)| (f.name().clone(), c.clone(), true)).chain([
            (
                "phone".to_owned(),
                Arc::new(arrow::array::StringArray::from(vec![None::<&str>; 3])) as arrow::array::ArrayRef,
                true,
            ),
        ]),
    )
    .unwrap();
    let held = case.sink().hashes(&case.target, &more.schema()).await.unwrap();
    assert_eq!(held.len(), 2, "an added column asks for no row again");
    case.sink().begin(&case.target, &more.schema()).await.unwrap().commit(case.cursor(3)).await.unwrap();
    assert_eq!(
        open().query_row("select count(*) from marts_places where phone is null", [], |r| r.get::<_, i64>(0)).unwrap(),
        2
    );
    let fewer: SchemaRef = Arc::new(arrow::datatypes::Schema::new(batch.schema().fields()[..3].to_vec()));
    assert!(case.sink().hashes(&case.target, &fewer).await.unwrap().is_empty(), "a new table asks for every row");
}

#[tokio::test]
async fn a_vector_of_another_length_is_refused() {
    let case = Case::new(SinkKind::Vectors);
    case.apply(&three(), &[], 1).await;
    let before = case.state().await;
    let mut list =
        arrow::array::ListBuilder::new(arrow::array::Float32Builder::new()).with_field(crate::read::vector_item());
    list.append_value([Some(1.0), Some(2.0)]);
    list.append_value([Some(f32::NAN), Some(2.0)]);
    let keys: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x", "y"]));
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("place_id", keys, true),
        ("embedding", Arc::new(list.finish()) as _, true),
    ])
    .unwrap();
    let rows = hashed(&batch, &case.wanted, &case.target.table, "place_id").unwrap();
    let mut apply = case.sink().begin(&case.target, &case.schema).await.unwrap();
    assert!(apply.upsert(rows).await.is_err());
    assert!(apply.commit(case.cursor(2)).await.is_err(), "a change with a failed step can't be committed");
    assert_eq!(case.state().await, before);
}
