//! What every sink promises, tested once for all of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tempfile::TempDir;

use futures::TryStreamExt as _;

use super::mysql::{Mysql, MysqlOptions};
use super::postgres::{Postgres, PostgresOptions};
use super::{Apply, Rows, Sink, SinkKind, Start};
use crate::serving::Serving;
use crate::sink::projection::SinkProjection;
use crate::sync::hashed;
use crate::target::{Cursor, SyncTarget};
use crate::testing::{Place, name, place, place_target, places};
use rows::RowHash;

/// Puts the server of a case beside its folder; each time as another process would.
type Open = Arc<dyn Fn(Serving) -> Serving + Send + Sync>;
/// A place that is empty, of its own for each case; `None` where the server is not installed.
type Make = fn() -> Option<Open>;

/// The folder alone.
const FOLDER: Make = || Some(Arc::new(|serving| serving));

fn postgres() -> Option<Open> {
    let options = PostgresOptions {
        url: services::postgres()?.database(),
        schema: "onggi".into(),
        pool: 4,
        rows_per_second: None,
        project: "test".into(),
    };
    Some(Arc::new(move |serving| serving.with(Arc::new(Postgres::new(&options).unwrap()))))
}

fn mysql(server: Option<&services::Mysql>) -> Option<Open> {
    let options = MysqlOptions { url: server?.database(), pool: 4, rows_per_second: None, project: "test".into() };
    Some(Arc::new(move |serving| serving.with(Arc::new(Mysql::new(&options).unwrap()))))
}

/// One sink in a folder or a database of its own, fed with places.
struct Case {
    dir: TempDir,
    make: Make,
    open: Open,
    kind: SinkKind,
    target: SyncTarget,
    schema: SchemaRef,
    projection: SinkProjection,
}

impl Case {
    fn new(kind: SinkKind, make: Make) -> Self {
        let target = place_target();
        let (projection, schema) = Self::part(kind, &target);
        Self { dir: TempDir::new().unwrap(), make, open: make().unwrap(), kind, target, schema, projection }
    }

    /// What a sink takes of a target.
    fn part(kind: SinkKind, target: &SyncTarget) -> (SinkProjection, SchemaRef) {
        let all = places(&[]).schema();
        let projection = target.projection(kind, &all).unwrap();
        let fields: Vec<_> = all.fields().iter().filter(|f| projection.columns.contains(f.name())).cloned().collect();
        (projection, Arc::new(arrow::datatypes::Schema::new(fields)))
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Opened anew each time, as another process would.
    fn sink(&self) -> Arc<dyn Sink> {
        let serving = (self.open)(Serving::new(self.path()));
        serving.sink(self.kind).unwrap()
    }

    fn rows(&self, rows: &[Place]) -> Rows {
        hashed(&places(rows), &self.projection, &self.target.table, &self.target.key).unwrap()
    }

    /// Where the sink is with so many rows at a version.
    fn cursor(&self, version: u64, rows: usize) -> Cursor {
        let (lake, table_id, content) = ("lake".into(), "table".into(), format!("content {version}"));
        Cursor { lake, table_id, version, content, rows: rows as u64, shape: self.projection.shape.clone() }
    }

    async fn begin(&self, upserts: &[Place], deletes: &[&str]) -> Box<dyn Apply> {
        let mut apply = self.sink().begin(&self.target, &self.schema, Start::Existing).await.unwrap();
        if !upserts.is_empty() {
            apply.upsert(self.rows(upserts)).await.unwrap();
        }
        if !deletes.is_empty() {
            apply.delete(deletes.iter().map(|k| (*k).to_owned()).collect()).await.unwrap();
        }
        apply
    }

    async fn apply(&self, upserts: &[Place], deletes: &[&str], version: u64) {
        let mut keys: std::collections::BTreeSet<String> = self
            .sink()
            .hashes(&self.target, &self.schema)
            .await
            .unwrap()
            .iter()
            .map(|(key, _)| key.to_owned())
            .collect();
        keys.extend(upserts.iter().map(|it| it.id.clone()));
        keys.retain(|key| !deletes.contains(&key.as_str()));
        self.begin(upserts, deletes).await.commit(self.cursor(version, keys.len())).await.unwrap();
    }

    /// Key and content of each row, in the order of the keys.
    async fn contents(&self) -> Vec<(String, RowHash)> {
        let mut parts = self.sink().contents(&self.target.table).await.unwrap();
        let mut rows = Vec::new();
        while let Some(part) = parts.try_next().await.unwrap() {
            rows.extend(part.iter().map(|(key, hash)| (key.to_owned(), hash)));
        }
        rows.sort();
        rows
    }

    /// Keys with hashes, the content in order, and the version.
    async fn state(&self) -> (BTreeMap<String, RowHash>, Vec<(String, RowHash)>, Option<u64>) {
        let sink = self.sink();
        let hashes = sink
            .hashes(&self.target, &self.schema)
            .await
            .unwrap()
            .iter()
            .map(|(key, hash)| (key.to_owned(), hash))
            .collect();
        (hashes, self.contents().await, sink.cursor(&self.target.table).await.unwrap().map(|c| c.version))
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

/// What lies there is what the sink says that it would keep of each row.
async fn what_is_stored_is_known_beforehand(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let rows = case.rows(&three());
    let stored = case.sink().stored(&case.target, &rows).unwrap();
    let expected: Vec<(String, RowHash)> = rows.keys.iter().map(str::to_owned).zip(stored).collect();
    assert_eq!(case.contents().await, expected);
    assert!(case.sink().fits(&case.target, &case.schema).await.unwrap());
}

/// A change whose rows are not as many as its cursor says leaves nothing that passes for the truth.
async fn a_wrong_count_is_refused(case: &Case) {
    case.apply(&three()[..2], &[], 1).await;
    let open = case.begin(&three()[2..], &[]).await;
    let error = open.commit(case.cursor(2, 7)).await.unwrap_err();
    let told = format!("{error:?}");
    assert!(told.contains("expected 7 rows at the end of the change, found 3"), "{told}");
    assert_ne!(case.sink().cursor(&case.target.table).await.unwrap().map(|it| it.version), Some(2));
    case.apply(&three(), &[], 3).await;
    assert_eq!(case.state().await.0, case.expected(&three()));
}

/// Nothing that was there is left of a table that is begun anew, and readers have the old one until then.
async fn a_change_that_starts_anew_replaces_everything(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let before = case.state().await;
    let mut anew = case.sink().begin(&case.target, &case.schema, Start::Anew).await.unwrap();
    anew.upsert(Rows { replaces: vec![false], ..case.rows(&three()[..1]) }).await.unwrap();
    assert_eq!(case.state().await, before);
    anew.commit(case.cursor(2, 1)).await.unwrap();
    assert_eq!(case.state().await.0, case.expected(&three()[..1]));
}

/// A target gets other roles or another key: a change goes on with the rows that the sink told of and no others, and readers have the
/// old ones until then.
async fn a_target_gets_other_roles(kind: SinkKind, make: Make) {
    let others: [fn(&mut SyncTarget); 4] = [
        |it| it.title = None,
        |it| it.texts.truncate(1),
        |it| it.key = "name".to_owned(),
        |it| it.vector.as_mut().unwrap().model = "another@1".to_owned(),
    ];
    for (number, other) in others.into_iter().enumerate() {
        let mut case = Case::new(kind, make);
        case.apply(&three(), &[], 1).await;
        let (before, shape) = (case.contents().await, case.projection.shape.clone());
        other(&mut case.target);
        (case.projection, case.schema) = Case::part(kind, &case.target);
        // What no sync would move is right as it is.
        let fits = case.sink().fits(&case.target, &case.schema).await.unwrap();
        assert_eq!(fits, case.projection.shape == shape, "{number}");
        let held = case.sink().hashes(&case.target, &case.schema).await.unwrap();
        let held: BTreeMap<String, RowHash> = held.iter().map(|(key, hash)| (key.to_owned(), hash)).collect();
        let all = [three(), vec![place("d", "넷째", "국밥", &[], "맛있어요 정말로.")]].concat();
        let rows = case.rows(&all);
        let missing = |at: &usize| held.get(&rows.keys[*at]) != Some(&rows.hashes[*at]);
        let missing: Vec<Place> = (0..all.len()).filter(missing).map(|at| all[at].clone()).collect();
        let gone: Vec<&str> =
            held.keys().map(String::as_str).filter(|key| !rows.keys.iter().any(|it| it == *key)).collect();
        let open = case.begin(&missing, &gone).await;
        assert_eq!(case.contents().await, before, "{number}: a reader never sees half");
        open.commit(case.cursor(2, all.len())).await.unwrap();
        let stored = case.sink().stored(&case.target, &rows).unwrap();
        let mut expected: Vec<(String, RowHash)> = rows.keys.iter().map(str::to_owned).zip(stored).collect();
        expected.sort();
        assert_eq!(case.contents().await, expected, "{number}");
        assert!(case.sink().fits(&case.target, &case.schema).await.unwrap(), "{number}");
    }
}

async fn a_table_is_forgotten_whole(case: &Case) {
    case.sink().forget(&case.target.table).await.unwrap();
    case.apply(&three(), &[], 1).await;
    case.sink().forget(&case.target.table).await.unwrap();
    an_empty_sink_says_so(case).await;
    case.apply(&three()[..1], &[], 2).await;
    assert_eq!(case.state().await.0, case.expected(&three()[..1]));
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
    let other = Case::new(case.kind, case.make);
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
    let mut apply = case.sink().begin(&case.target, &case.schema, Start::Existing).await.unwrap();
    for part in rows.chunks(70) {
        apply.upsert(case.rows(part)).await.unwrap();
    }
    apply.commit(case.cursor(1, rows.len())).await.unwrap();
    assert_eq!(case.state().await.0, case.expected(&rows));
}

async fn two_tables_stay_apart(case: &Case) {
    case.apply(&three(), &[], 1).await;
    let other = SyncTarget { table: name("marts.others"), ..case.target.clone() };
    let mut apply = case.sink().begin(&other, &case.schema, Start::Existing).await.unwrap();
    apply.upsert(case.rows(&three()[..1])).await.unwrap();
    apply.commit(case.cursor(5, 1)).await.unwrap();
    assert_eq!(case.sink().hashes(&other, &case.schema).await.unwrap().len(), 1);
    assert_eq!(case.state().await.0.len(), 3);
    assert_eq!(case.sink().targets().await.unwrap(), [name("marts.others"), name("marts.places")]);
}

/// A commit of tantivy writes the deletions of a segment under a name that the next commit after a kill has too.
#[tokio::test]
async fn what_a_killed_commit_left_is_in_nobodys_way() {
    let case = Case::new(SinkKind::Keywords, FOLDER);
    // So many that their segment is not merged for one row that goes.
    let many: Vec<Place> = (0..300).map(|n| place(&format!("p{n}"), "국밥집", "국밥", &[], "따뜻하다")).collect();
    case.apply(&many, &[], 1).await;
    let folder = case.path().join("keywords").join(case.target.table.to_string());
    let files = || -> BTreeMap<std::path::PathBuf, Vec<u8>> {
        let paths = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path());
        paths.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    };
    let before = files();
    case.apply(&[], &["p7"], 2).await;
    let expected = case.state().await;
    // As it was before the commit, but for the files that it had written by then and the list of them.
    for (path, bytes) in before.iter().filter(|(path, _)| !path.ends_with(".managed.json")) {
        std::fs::write(path, bytes).unwrap();
    }
    let is_left =
        |path: &&std::path::PathBuf| !before.contains_key(*path) && path.extension().is_some_and(|it| it == "del");
    assert!(files().keys().any(|path| is_left(&path)), "{:?}", files().keys());
    case.apply(&[], &["p7"], 2).await;
    assert_eq!(case.state().await, expected);
}

/// Every file of the sink is overwritten, one after another; each time it is seen, and a change that starts anew fills it again.
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
    let whole = Case::new(kind, FOLDER);
    whole.apply(&three(), &[], 1).await;
    let expected = whole.state().await.1;
    // What SQLite and tantivy lock with, and what SQLite has not written back yet, hold nothing of a table by themselves.
    let holds = |file: &std::path::PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        !name.contains(".lock") && !name.ends_with("-shm") && !name.ends_with("-wal") && name != ".managed.json"
    };
    let names: Vec<std::path::PathBuf> = files(&whole)
        .into_iter()
        .filter(holds)
        .map(|file| file.strip_prefix(whole.path()).unwrap().to_owned())
        .collect();
    assert!(!names.is_empty());
    for (at, name) in names.iter().enumerate() {
        let case = Case::new(kind, FOLDER);
        case.apply(&three(), &[], 1).await;
        let mut there: Vec<std::path::PathBuf> = files(&case).into_iter().filter(holds).collect();
        let file = there.swap_remove(at.min(there.len() - 1));
        let length = std::fs::metadata(&file).unwrap().len();
        // Shorter, and of the same length: a file that only looks like itself is none.
        for garbage in [b"this is not what was here".to_vec(), vec![0x55; usize::try_from(length).unwrap()]] {
            std::fs::write(&file, garbage).unwrap();
            let told = format!("{} after {}", file.display(), name.display());
            assert!(!case.sink().fits(&case.target, &case.schema).await.unwrap(), "{told}");
            let mut anew = case.sink().begin(&case.target, &case.schema, Start::Anew).await.unwrap();
            anew.upsert(Rows { replaces: vec![false; 3], ..case.rows(&three()) }).await.unwrap();
            anew.commit(case.cursor(2, 3)).await.unwrap();
            assert_eq!(case.state().await.1, expected, "{told}");
            if !file.exists() {
                break;
            }
        }
    }
    // A sync that only goes on sees what costs nothing to see.
    for name in ["meta.json", "manifest.json", "serving.sqlite", "keys-1.jsonl", "index-1.usearch"] {
        let case = Case::new(kind, FOLDER);
        case.apply(&three(), &[], 1).await;
        let Some(file) = files(&case).into_iter().find(|f| f.ends_with(name)) else { continue };
        std::fs::write(&file, b"this is not what was here").unwrap();
        assert_eq!(case.sink().cursor(&case.target.table).await.unwrap(), None, "{name}");
        assert!(case.sink().hashes(&case.target, &case.schema).await.unwrap().is_empty(), "{name}");
        case.apply(&three(), &[], 2).await;
        assert_eq!(case.state().await.1, expected, "{name}");
    }
}

async fn contract(kind: SinkKind, make: Make) {
    if make().is_none() {
        return;
    }
    an_empty_sink_says_so(&Case::new(kind, make)).await;
    applied_twice_is_applied_once(&Case::new(kind, make)).await;
    rows_change_and_go(&Case::new(kind, make)).await;
    a_change_that_is_not_committed_never_was(&Case::new(kind, make)).await;
    the_cursor_moves_alone(&Case::new(kind, make)).await;
    many_batches_are_one_change(&Case::new(kind, make)).await;
    two_tables_stay_apart(&Case::new(kind, make)).await;
    what_is_stored_is_known_beforehand(&Case::new(kind, make)).await;
    a_wrong_count_is_refused(&Case::new(kind, make)).await;
    a_change_that_starts_anew_replaces_everything(&Case::new(kind, make)).await;
    a_table_is_forgotten_whole(&Case::new(kind, make)).await;
    a_target_gets_other_roles(kind, make).await;
    if kind.is_embedded() {
        a_damaged_file_is_built_again(kind).await;
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    contract(SinkKind::Sqlite, FOLDER).await;
}

#[tokio::test]
async fn keywords_keep_the_contract() {
    contract(SinkKind::Keywords, FOLDER).await;
}

#[tokio::test]
async fn vectors_keep_the_contract() {
    contract(SinkKind::Vectors, FOLDER).await;
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    contract(SinkKind::Postgres, postgres).await;
}

#[tokio::test]
async fn mysql_keeps_the_contract() {
    contract(SinkKind::Mysql, || mysql(services::mysql())).await;
}

#[tokio::test]
async fn mariadb_keeps_the_contract() {
    contract(SinkKind::Mysql, || mysql(services::mariadb())).await;
}

#[tokio::test]
async fn sqlite_can_be_read_by_others_and_follows_the_schema() {
    let case = Case::new(SinkKind::Sqlite, FOLDER);
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
    let change = case.sink().begin(&case.target, &more.schema(), Start::Existing).await.unwrap();
    change.commit(case.cursor(3, 2)).await.unwrap();
    assert_eq!(
        open().query_row("select count(*) from marts_places where phone is null", [], |r| r.get::<_, i64>(0)).unwrap(),
        2
    );
    let fewer: SchemaRef = Arc::new(arrow::datatypes::Schema::new(batch.schema().fields()[..3].to_vec()));
    assert!(case.sink().hashes(&case.target, &fewer).await.unwrap().is_empty(), "a new table asks for every row");
}

#[tokio::test]
async fn a_vector_of_another_length_is_refused() {
    let case = Case::new(SinkKind::Vectors, FOLDER);
    case.apply(&three(), &[], 1).await;
    let before = case.state().await;
    for vector in [vec![1.0, 2.0], vec![f32::NAN; 256], vec![]] {
        let mut list =
            arrow::array::ListBuilder::new(arrow::array::Float32Builder::new()).with_field(rows::read::vector_item());
        list.append_value(vector.iter().copied().map(Some));
        let keys: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["x"]));
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("place_id", keys, true),
            ("embedding", Arc::new(list.finish()) as _, true),
        ])
        .unwrap();
        let rows = hashed(&batch, &case.projection, &case.target.table, "place_id").unwrap();
        let mut apply = case.sink().begin(&case.target, &case.schema, Start::Existing).await.unwrap();
        let error = apply.upsert(rows).await.unwrap_err().to_string();
        assert!(error.contains("for `x`") && error.contains("expected"), "{error}");
        assert!(apply.commit(case.cursor(2, 4)).await.is_err(), "a change with a failed step can't be committed");
        assert_eq!(case.state().await, before);
    }
    // Another embedder is another index.
    let other = SyncTarget {
        vector: Some(crate::target::VectorColumn { column: "embedding".into(), model: "two@1".into() }),
        ..case.target.clone()
    };
    let mut apply = case.sink().begin(&other, &case.schema, Start::Existing).await.unwrap();
    apply.upsert(case.rows(&three()[..1])).await.unwrap();
    apply.commit(case.cursor(3, 1)).await.unwrap();
    assert_eq!(case.contents().await.len(), 1);
}
