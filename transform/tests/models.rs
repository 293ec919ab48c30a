//! Models over a small lake: what builds do to tables, and what the models that come along make of rows.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed expectation ends a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use catalog::{CommitInfo, Date, Lake, Table, TableName, TableSpec, Txn, TxnRule};
use serde_json::{Value, json};
use transform::{Action, Builder, Engine, EngineOptions, Error, ModelFile, Models, Outcome, plan, templates};

const DAY: &str = "2026-10-01";

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

fn schema(columns: &[(&str, &str)]) -> SchemaRef {
    let kind = |text: &str| match text {
        "text" => DataType::Utf8,
        "int" => DataType::Int64,
        "float" => DataType::Float64,
        "date" => DataType::Date32,
        "time" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "texts" => DataType::new_list(DataType::Utf8, true),
        "floats" => DataType::new_list(DataType::Float32, true),
        other => panic!("no type {other}"),
    };
    Arc::new(Schema::new(columns.iter().map(|(name, text)| Field::new(*name, kind(text), true)).collect::<Vec<_>>()))
}

const ENVELOPE: [(&str, &str); 7] = [
    ("_key", "text"),
    ("_payload", "text"),
    ("_error", "text"),
    ("_task", "text"),
    ("_url", "text"),
    ("_fetched_at", "time"),
    ("dt", "date"),
];

/// The tables that sources and the enrichment bring.
fn outside(table: &TableName) -> Option<SchemaRef> {
    let mut columns = match table.to_string().as_str() {
        "raw.naver_places" => vec![
            ("place_id", "text"),
            ("name", "text"),
            ("category", "text"),
            ("road_address", "text"),
            ("address", "text"),
            ("area", "text"),
            ("x", "float"),
            ("y", "float"),
            ("visitor_reviews", "int"),
            ("blog_reviews", "int"),
            ("rating", "float"),
            ("micro_reviews", "texts"),
        ],
        "raw.naver_reviews" => vec![
            ("review_id", "text"),
            ("place_id", "text"),
            ("author_hash", "text"),
            ("rating", "float"),
            ("body", "text"),
            ("visited", "text"),
            ("created", "text"),
            ("visited_at", "time"),
            ("visit_count", "int"),
            ("view_count", "int"),
            ("origin_type", "text"),
            ("keyword_codes", "texts"),
            ("keywords", "texts"),
            ("situations", "texts"),
            ("tags", "texts"),
            ("media_count", "int"),
            ("reply_body", "text"),
            ("reply_created", "text"),
        ],
        "raw.things" => vec![("id", "text"), ("n", "int"), ("words", "texts")],
        "staging.place_summaries" => {
            return Some(schema(&[
                ("place_id", "text"),
                ("summary", "text"),
                ("summary_key", "text"),
                ("embedding", "floats"),
                ("embedding_key", "text"),
                ("model", "text"),
            ]));
        }
        _ => return None,
    };
    columns.extend(ENVELOPE);
    Some(schema(&columns))
}

/// A lake of its own for each test, and an engine.
struct House {
    lake: Lake,
    engine: Engine,
    commits: AtomicU32,
    _dir: Option<tempfile::TempDir>,
}

impl House {
    async fn new(test: &str) -> Self {
        Self::at(&format!("memory://{test}"), None).await
    }

    async fn on_disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("lake").to_str().unwrap().to_owned();
        Self::at(&uri, Some(dir)).await
    }

    async fn at(uri: &str, dir: Option<tempfile::TempDir>) -> Self {
        let spill = std::env::temp_dir().join("onggi-transform-tests");
        let options = EngineOptions { memory_bytes: 256 << 20, partitions: 2, ..EngineOptions::new(spill) };
        Self {
            lake: Lake::open(uri, "test").await.unwrap(),
            engine: Engine::new(&options).unwrap(),
            commits: AtomicU32::new(0),
            _dir: dir,
        }
    }

    async fn table(&self, table: &str) -> Table {
        let table = name(table);
        let schema = outside(&table).unwrap();
        let partitioned = schema.field_with_name("dt").is_ok();
        self.lake.create(&TableSpec { name: table, schema, partitioned, stats_columns: Vec::new() }).await.unwrap()
    }

    /// Appends rows, written as JSON, to a table of a source.
    async fn land(&self, table: &str, lines: &str) {
        let table = self.table(table).await;
        let mut decoder = arrow::json::ReaderBuilder::new(outside(table.name()).unwrap())
            .with_batch_size(1 << 20)
            .build_decoder()
            .unwrap();
        assert_eq!(decoder.decode(lines.as_bytes()).unwrap(), lines.len());
        let Some(batch) = decoder.flush().unwrap() else { return };
        let number = self.commits.fetch_add(1, Ordering::Relaxed);
        let txn = Txn { app_id: format!("test/{number}"), version: 1, rule: TxnRule::AtLeast };
        let info = CommitInfo {
            run: "r1".parse().unwrap(),
            now: "2026-10-01T00:00:00Z".parse().unwrap(),
            lineage: Vec::new(),
        };
        let _ = table.append(vec![batch], txn, &info).await.unwrap();
    }

    async fn things(&self, dt: &str, rows: &[Thing<'_>]) {
        let line = |(id, n, at): &Thing<'_>| {
            json!({"id": id, "n": n, "words": [id, format!("w{n}")], "_fetched_at": at, "dt": dt}).to_string()
        };
        let lines = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        self.land("raw.things", &lines).await;
    }

    async fn build(&self, models: &Models, table: &str, dt: &str) -> transform::Result<Outcome> {
        let run = "r1".parse().unwrap();
        let now = "2026-10-01T00:00:00Z".parse().unwrap();
        Builder { engine: &self.engine, lake: &self.lake, models, dt: day(dt), run: &run, now }
            .build(&name(table))
            .await
    }

    async fn build_all(&self, models: &Models, dt: &str) -> BTreeMap<String, Outcome> {
        let mut outcomes = BTreeMap::new();
        for model in models.iter() {
            let outcome = self.build(models, &model.name().to_string(), dt).await;
            outcomes.insert(
                model.name().to_string(),
                outcome.unwrap_or_else(|error| panic!("{}: {error} {error:?}", model.name())),
            );
        }
        outcomes
    }

    async fn ask(&self, models: &Models, sql: &str) -> transform::Result<Vec<RecordBatch>> {
        self.engine.query(&self.lake, models, sql).await?.collect().await
    }

    /// The rows of an answer as text, in order.
    async fn rows(&self, models: &Models, sql: &str) -> Vec<String> {
        let batches = self.ask(models, sql).await.unwrap_or_else(|error| panic!("{sql}: {error} {error:?}"));
        let mut rows: Vec<String> = batches
            .iter()
            .flat_map(|batch| {
                (0..batch.num_rows()).map(|row| {
                    batch
                        .columns()
                        .iter()
                        .map(|column| array_value_to_string(column, row).unwrap())
                        .collect::<Vec<_>>()
                        .join(" | ")
                })
            })
            .collect();
        rows.sort();
        rows
    }

    async fn why(&self, models: &Models, dt: &str, coming: &[&str]) -> Vec<String> {
        let names: BTreeSet<_> = models.iter().map(|model| model.name().clone()).collect();
        let coming = coming.iter().map(|table| name(table)).collect();
        let planned = plan(&self.lake, models, &names, day(dt), &coming).await.unwrap();
        planned
            .iter()
            .map(|it| {
                let why = it.why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                format!(
                    "{} {}: {why}",
                    it.model,
                    match it.action {
                        Action::Build => "build",
                        Action::Recheck => "recheck",
                        Action::Keep => "keep",
                        Action::Blocked => "blocked",
                    }
                )
            })
            .collect()
    }
}

fn models(files: &[(&str, &str)]) -> Models {
    let files =
        files.iter().map(|(path, text)| ModelFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    Models::parse(files).map_err(Error::Models).unwrap()
}

/// An id, a number, and when it was fetched.
type Thing<'a> = (&'a str, i64, &'a str);

const LATEST: &str = "-- materialize: latest by id order by at\n-- key: id\nselect n, id, words, _fetched_at as at, dt from raw.things where dt = $dt";
const DAILY: &str =
    "-- materialize: partition\n-- key: id\n-- check: between(n, 0, 100)\nselect id, n from raw.things where dt = $dt";

#[tokio::test]
async fn latest_does_not_depend_on_the_order_in_which_days_arrive() {
    let models = models(&[("x/staging/things.sql", LATEST)]);
    let days: [(&str, &[Thing]); 3] = [
        // `tie` has the same time on two days: the other columns decide, whichever came first.
        (
            "2026-09-29",
            &[
                ("a", 1, "2026-09-29T00:00:00Z"),
                ("b", 1, "2026-09-29T00:00:00Z"),
                ("tie", 9, "2026-09-29T00:00:00Z"),
                ("a", 2, "2026-09-29T01:00:00Z"),
            ],
        ),
        (
            "2026-09-30",
            &[("a", 3, "2026-09-30T00:00:00Z"), ("c", 3, "2026-09-30T00:00:00Z"), ("tie", 7, "2026-09-29T00:00:00Z")],
        ),
        ("2026-10-01", &[("b", 4, "2026-09-28T00:00:00Z"), ("d", 4, "2026-10-01T00:00:00Z")]),
    ];
    let mut answers = BTreeSet::new();
    for (case, order) in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].iter().enumerate() {
        for built_between in [true, false] {
            let house = House::new(&format!("latest-{case}-{built_between}")).await;
            for place in order {
                house.things(days[*place].0, days[*place].1).await;
                if built_between {
                    house.build(&models, "staging.things", days[*place].0).await.unwrap();
                }
            }
            house.build(&models, "staging.things", DAY).await.unwrap();
            answers.insert(house.rows(&models, "select id, n, words, at, dt from staging.things").await);
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    insta::assert_snapshot!(answers.first().unwrap().join("\n"), @r"
    a | 3 | [a, w3] | 2026-09-30T00:00:00Z | 2026-09-30
    b | 1 | [b, w1] | 2026-09-29T00:00:00Z | 2026-09-29
    c | 3 | [c, w3] | 2026-09-30T00:00:00Z | 2026-09-30
    d | 4 | [d, w4] | 2026-10-01T00:00:00Z | 2026-10-01
    tie | 9 | [tie, w9] | 2026-09-29T00:00:00Z | 2026-09-29
    ");
}

#[tokio::test]
async fn a_second_build_finds_nothing_to_do() {
    let house = House::new("twice").await;
    let models = models(&[
        ("x/staging/things.sql", LATEST),
        ("x/staging/daily.sql", DAILY),
        ("x/staging/seen.sql", "-- materialize: view\nselect id, n from staging.things where n > 0"),
        ("x/marts/total.sql", "-- materialize: table\nselect count(*) as n from staging.seen"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    let first = house.build_all(&models, DAY).await;
    assert!(matches!(first["staging.things"], Outcome::Built { rows: 2, checks: 2, .. }), "{first:?}");
    assert!(matches!(first["staging.seen"], Outcome::View { checks: 0 }), "{first:?}");
    assert!(matches!(first["marts.total"], Outcome::Built { rows: 1, .. }), "{first:?}");
    let second = house.build_all(&models, DAY).await;
    assert!(
        second.values().all(|it| matches!(it, Outcome::Unchanged { checks: 0, .. } | Outcome::View { .. })),
        "{second:?}"
    );

    // Another day's raw rows: the merge reads only them, and what hangs on it is built again through the view.
    house.things("2026-10-02", &[("b", 5, "2026-10-02T00:00:00Z"), ("c", 5, "2026-10-02T00:00:00Z")]).await;
    let third = house.build_all(&models, "2026-10-02").await;
    assert!(matches!(&third["staging.things"], Outcome::Built { rows: 3, .. }), "{third:?}");
    assert!(matches!(&third["marts.total"], Outcome::Built { .. }), "{third:?}");
    assert_eq!(house.rows(&models, "select id, n from staging.things").await, ["a | 1", "b | 5", "c | 5"]);
    assert_eq!(
        house.rows(&models, "select dt, id, n from staging.daily").await,
        ["2026-10-01 | a | 1", "2026-10-01 | b | 2", "2026-10-02 | b | 5", "2026-10-02 | c | 5"]
    );
    assert_eq!(house.rows(&models, "select n from marts.total").await, ["3"]);
}

#[tokio::test]
async fn a_plan_says_why() {
    let house = House::new("why").await;
    let total = "-- materialize: table\n-- check: between(n, 0, 100)\nselect count(*) as n from staging.seen";
    let seen = "-- materialize: view\nselect id, nfc(id) as same from staging.things";
    let all = |things: &str, seen: &str, total: &str| {
        models(&[("x/staging/things.sql", things), ("x/staging/seen.sql", seen), ("x/marts/total.sql", total)])
    };
    let project = all(LATEST, seen, total);
    let mut said = vec![house.why(&project, DAY, &[]).await];
    said.push(house.why(&project, DAY, &["raw.things"]).await);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    said.push(house.why(&project, DAY, &[]).await);
    house.build_all(&project, DAY).await;
    said.push(house.why(&project, DAY, &[]).await);
    said.push(house.why(&project, DAY, &["raw.things"]).await);
    let described = all(&format!("-- In other words.\n{LATEST} -- as ever"), seen, total);
    said.push(house.why(&described, DAY, &[]).await);
    said.push(house.why(&all(LATEST, "-- materialize: view\nselect id from staging.things", total), DAY, &[]).await);
    said.push(house.why(&all(LATEST, seen, &total.replace("100", "50")), DAY, &[]).await);
    said.push(house.why(&all(LATEST, seen, &total.replace("count(*)", "count(id)")), DAY, &[]).await);
    house.things(DAY, &[("b", 1, "2026-10-01T00:00:00Z")]).await;
    said.push(house.why(&project, DAY, &[]).await);
    insta::assert_snapshot!(said.iter().map(|lines| lines.join("\n")).collect::<Vec<_>>().join("\n\n"), @r"
    staging.things blocked: raw.things is not there
    staging.seen keep: a view stores nothing
    marts.total blocked: staging.things is not there

    staging.things build: never built, raw.things will change
    staging.seen keep: a view stores nothing
    marts.total build: never built, staging.things will change

    staging.things build: never built
    staging.seen keep: a view stores nothing
    marts.total build: never built, staging.things will change

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total keep: up to date

    staging.things build: raw.things will change
    staging.seen keep: a view stores nothing
    marts.total build: staging.things will change

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total keep: up to date

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total build: view staging.seen changed

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total recheck: checks changed

    staging.things keep: up to date
    staging.seen keep: a view stores nothing
    marts.total build: sql changed

    staging.things build: raw.things has a new version
    staging.seen keep: a view stores nothing
    marts.total build: staging.things will change
    ");
}

#[tokio::test]
async fn a_failed_check_shows_the_rows_and_publishes_nothing() {
    let house = House::on_disk().await;
    let project = models(&[
        ("x/staging/daily.sql", DAILY),
        ("x/marts/total.sql", "-- materialize: table\nselect sum(n) as n from staging.daily"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    let before = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();

    let bad: Vec<(String, i64)> = (0..7).map(|number| (format!("z{number}"), 101 + number)).collect();
    let mut rows: Vec<(&str, i64, &str)> =
        bad.iter().map(|(id, n)| (id.as_str(), *n, "2026-10-01T00:00:00Z")).collect();
    rows.push(("a", 3, "2026-10-01T00:00:00Z"));
    house.things(DAY, &rows).await;
    let error = house.build(&project, "staging.daily", DAY).await.unwrap_err();
    assert!(matches!(error, Error::CheckFailed { .. }));
    insta::assert_snapshot!(error.to_string(), @r"
    2 checks of `staging.daily` failed for 2026-10-01
    between(n, 0, 100) found 7 bad rows
      select id, n from staging.daily where n not between 0 and 100
      +----+-----+
      | id | n   |
      +----+-----+
      | z0 | 101 |
      | z1 | 102 |
      | z2 | 103 |
      | z3 | 104 |
      | z4 | 105 |
      +----+-----+
    unique(id) found 1 bad row
      select id, count(*) as copies from staging.daily where id is not null group by id having count(*) > 1
      +----+--------+
      | id | copies |
      +----+--------+
      | a  | 2      |
      +----+--------+
    ");
    assert_eq!(
        error.hint().unwrap(),
        "nothing was published: readers still see the former `staging.daily`; correct the model, the check or what it reads, and run again"
    );
    assert_eq!(
        house.rows(&project, "select id, n, dt from staging.daily").await,
        ["a | 1 | 2026-10-01", "b | 2 | 2026-10-01"]
    );
    let after = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();
    assert_eq!(before, after);
    assert!(matches!(house.build(&project, "marts.total", DAY).await.unwrap(), Outcome::Unchanged { .. }));
    // Another day is not held up by it.
    house.things("2026-10-02", &[("c", 3, "2026-10-02T00:00:00Z")]).await;
    assert!(matches!(
        house.build(&project, "staging.daily", "2026-10-02").await.unwrap(),
        Outcome::Built { rows: 1, .. }
    ));
}

#[tokio::test]
async fn other_checks_look_again_and_build_nothing() {
    let house = House::new("recheck").await;
    let project = |checks: &str| {
        models(&[(
            "x/staging/daily.sql",
            &format!("-- materialize: partition\n-- check: {checks}\nselect id, n from raw.things where dt = $dt"),
        )])
    };
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("a", 2, "2026-10-01T00:00:00Z")]).await;
    house.things("2026-10-02", &[("b", 200, "2026-10-02T00:00:00Z")]).await;
    house.build(&project("not_null(id)"), "staging.daily", DAY).await.unwrap();
    house.build(&project("not_null(id)"), "staging.daily", "2026-10-02").await.unwrap();
    let version = house.lake.table(&name("staging.daily")).await.unwrap().snapshot().await.unwrap().version();
    // Only the rows of the day are looked at again: 200 is of the other one.
    assert_eq!(
        house.build(&project("between(n, 1, 9)"), "staging.daily", DAY).await.unwrap(),
        Outcome::Unchanged { version, checks: 1 }
    );
    assert_eq!(
        house.build(&project("between(n, 1, 9)"), "staging.daily", DAY).await.unwrap(),
        Outcome::Unchanged { version, checks: 0 }
    );
    assert!(matches!(house.build(&project("unique(id)"), "staging.daily", DAY).await, Err(Error::CheckFailed { .. })));
    assert!(matches!(
        house.build(&project("references(id, raw.things)"), "staging.daily", DAY).await,
        Ok(Outcome::Unchanged { checks: 1, .. })
    ));
}

#[tokio::test]
async fn a_changed_query_makes_all_rows_again_and_may_change_the_columns() {
    let house = House::new("changed").await;
    let before = models(&[("x/staging/things.sql", LATEST)]);
    house.things("2026-09-30", &[("a", 1, "2026-09-30T00:00:00Z")]).await;
    house.build(&before, "staging.things", "2026-09-30").await.unwrap();
    house.things(DAY, &[("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build(&before, "staging.things", DAY).await.unwrap();
    // `words` goes, `twice` comes: both days are read again.
    let after = models(&[(
        "x/staging/things.sql",
        "-- materialize: latest by id order by at\nselect id, n, n * 2 as twice, _fetched_at as at, dt from raw.things where dt = $dt",
    )]);
    assert!(matches!(house.build(&after, "staging.things", DAY).await.unwrap(), Outcome::Built { rows: 2, .. }));
    assert_eq!(
        house.rows(&after, "select id, twice, words is null from staging.things").await,
        ["a | 2 | true", "b | 4 | true"]
    );
    house.things(DAY, &[("b", 5, "2026-10-01T05:00:00Z")]).await;
    house.build(&after, "staging.things", DAY).await.unwrap();
    assert_eq!(house.rows(&after, "select id, twice from staging.things").await, ["a | 2", "b | 10"]);
}

#[tokio::test]
async fn a_row_of_another_day_is_an_error() {
    let house = House::new("wrong-day").await;
    let project = models(&[("x/staging/daily.sql", "-- materialize: partition\nselect id, dt from raw.things")]);
    house.things("2026-09-30", &[("a", 1, "2026-09-30T00:00:00Z")]).await;
    let error = house.build(&project, "staging.daily", DAY).await.unwrap_err();
    assert_eq!(error.to_string(), "expected every `dt` of `staging.daily` to be 2026-10-01, found 2026-09-30");
    // The day of the rows themselves is fine.
    assert!(matches!(
        house.build(&project, "staging.daily", "2026-09-30").await.unwrap(),
        Outcome::Built { rows: 1, .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_at_once_end_as_one() {
    let house = House::on_disk().await;
    let project = models(&[("x/staging/things.sql", LATEST), ("x/staging/daily.sql", DAILY)]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    for table in ["staging.things", "staging.daily"] {
        let builds = (0..4).map(|_| house.build(&project, table, DAY));
        let outcomes: Vec<_> = futures::future::join_all(builds).await.into_iter().map(Result::unwrap).collect();
        let built = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Built { .. })).count();
        assert_eq!(built, 1, "{outcomes:?}");
        assert_eq!(house.rows(&project, &format!("select id, n from {table}")).await, ["a | 1", "b | 2"]);
    }
}

#[tokio::test]
async fn questions_are_answered_and_nothing_else() {
    let house = House::new("questions").await;
    let project = models(&[
        ("x/staging/things.sql", LATEST),
        ("x/staging/seen.sql", "-- materialize: view\nselect id from staging.things where n > 1"),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    house.build_all(&project, DAY).await;
    assert_eq!(house.rows(&project, "select id as key from staging.seen").await, ["b"]);
    assert_eq!(house.rows(&project, "select count(*) from staging.things").await, ["2"]);
    assert_eq!(house.rows(&project, "describe staging.things").await.len(), 5);
    assert!(house.rows(&project, "show tables").await.iter().any(|row| row.contains("staging | seen | VIEW")));
    assert!(house.rows(&project, "explain select * from staging.seen").await.len() > 1);
    let functions = "select routine_name from information_schema.routines where routine_name like 'korean%'";
    assert_eq!(
        house.rows(&project, functions).await,
        ["korean_floor", "korean_money", "korean_number", "korean_visit_date"]
    );

    // As long as a chain may be, on the stack of a test.
    let chain = (0..490).map(|number| format!("id = 'x{number}'")).collect::<Vec<_>>().join(" or ");
    let half = chain.split(" or ").take(240).collect::<Vec<_>>().join(" or ");
    assert!(matches!(
        house.ask(&project, &format!("select id from staging.things where {chain}")).await,
        Err(Error::Sql { .. })
    ));
    assert_eq!(
        house.rows(&project, &format!("select id from staging.things where {half}")).await,
        Vec::<String>::new()
    );

    let mut said = Vec::new();
    for sql in [
        "select * from staging.thing",
        "select * from things",
        "select * from marts.nothing",
        "select idd from staging.things",
        "select korean_numbr(id) from staging.things",
        "select * from staging.things where",
        "drop table staging.things",
        "insert into staging.things select * from staging.things",
        "copy staging.things to 'x.csv'",
        "select * from staging.things where dt = $dt",
        "select cast(id as int) from staging.things",
    ] {
        let Err(error) = house.ask(&project, sql).await else { panic!("{sql} was answered") };
        said.push(format!("{sql}\n  error: {error}\n  hint: {}", error.hint().unwrap_or_else(|| "-".to_owned())));
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    select * from staging.thing
      error: no table `staging.thing`
      hint: did you mean `staging.things`?
    select * from things
      error: no table `things`
      hint: did you mean `staging.things`?
    select * from marts.nothing
      error: no table `marts.nothing`
      hint: there are raw.things, staging.seen, staging.things
    select idd from staging.things
      error: no column `idd`
      hint: did you mean `id`?
    select korean_numbr(id) from staging.things
      error: no function `korean_numbr`
      hint: did you mean `korean_number`?
    select * from staging.things where
      error: expected an expression, found the end
      hint: -
    drop table staging.things
      error: expected a query, found `drop`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    insert into staging.things select * from staging.things
      error: expected a query, found `insert`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    copy staging.things to 'x.csv'
      error: expected a query, found `copy`
      hint: `select`, `explain`, `show` and `describe` are understood; tables are written by models
    select * from staging.things where dt = $dt
      error: `$dt` has no value here
      hint: write the day: `date '2026-10-01'`
    select cast(id as int) from staging.things
      error: running the query
      hint: -
    ");
}

#[tokio::test]
async fn little_memory_spills_and_gives_the_same_rows() {
    let house = House::new("spill").await;
    let project = models(&[("x/staging/things.sql", LATEST)]);
    let rows: Vec<(String, i64)> =
        (0..80_000).map(|number| (format!("id{:06} {}", number % 60_000, "long ".repeat(20)), number)).collect();
    let rows: Vec<(&str, i64, &str)> = rows.iter().map(|(id, n)| (id.as_str(), *n, "2026-10-01T00:00:00Z")).collect();
    house.things(DAY, &rows).await;
    let dir = tempfile::tempdir().unwrap();
    let engine =
        Engine::new(&EngineOptions { memory_bytes: 32 << 20, partitions: 2, ..EngineOptions::new(dir.path()) })
            .unwrap();
    let (run, now) = ("r1".parse().unwrap(), "2026-10-01T00:00:00Z".parse().unwrap());
    let outcome = Builder { engine: &engine, lake: &house.lake, models: &project, dt: day(DAY), run: &run, now }
        .build(&name("staging.things"))
        .await;
    assert!(matches!(outcome, Ok(Outcome::Built { rows: 60_000, .. })), "{outcome:?}");
    assert_eq!(house.rows(&project, "select count(*), sum(n) from staging.things").await, ["60000 | 2999970000"]);
}

/// Every folder of `sql/reviews/tests` is a case: the rows of `in/` are landed, all models are built, and each table of `out/` must
/// have exactly the rows there. An expected row names the columns that the case is about.
#[tokio::test]
async fn the_models_make_of_rows_what_their_cases_say() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/reviews/tests");
    let files = templates()
        .iter()
        .map(|(path, text)| ModelFile { path: (*path).to_owned(), text: (*text).to_owned() })
        .collect();
    let project = Models::parse(files).map_err(Error::Models).unwrap();
    assert_eq!(project.check(&outside), [], "the models hold together");
    let mut seen = 0;
    for case in std::fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        seen += 1;
        let label = case.file_name().unwrap().to_str().unwrap().to_owned();
        let house = House::new(&format!("case-{label}")).await;
        for table in project.external_tables() {
            house.table(&table.to_string()).await;
        }
        for (table, lines) in jsonl(&case.join("in")) {
            house.land(&table, &lines).await;
        }
        house.build_all(&project, DAY).await;
        for (table, lines) in jsonl(&case.join("out")) {
            let mut expected: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let columns: Vec<String> = expected[0].as_object().unwrap().keys().cloned().collect();
            let batches = house.ask(&project, &format!("select {} from {table}", columns.join(", "))).await.unwrap();
            let mut writer = arrow::json::writer::WriterBuilder::new()
                .with_explicit_nulls(true)
                .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
            writer.write_batches(&batches.iter().collect::<Vec<_>>()).unwrap();
            writer.finish().unwrap();
            let text = String::from_utf8(writer.into_inner()).unwrap();
            let mut found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let by_text = |row: &Value| row.to_string();
            expected.sort_by_key(by_text);
            found.sort_by_key(by_text);
            let show = |rows: &[Value]| rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
            assert_eq!(show(&found), show(&expected), "{label}: {table}");
        }
        let again = house.build_all(&project, DAY).await;
        assert!(again.values().all(|it| matches!(it, Outcome::Unchanged { .. })), "{label}: {again:?}");
    }
    assert!(seen >= 2, "no cases were found");
}

fn jsonl(folder: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .iter()
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[test]
fn work_may_move_between_threads() {
    fn sends<T: Send>(_: impl FnOnce(&'static House, &'static Models, &'static Builder<'static>) -> T) {}
    sends(|_, _, builder| builder.build(Box::leak(Box::new(name("staging.a")))));
    sends(|house, models, _| house.engine.query(&house.lake, models, "select 1"));
    sends(|house, models, _| plan(&house.lake, models, Box::leak(Box::default()), day(DAY), Box::leak(Box::default())));
}
