//! A small lake with what sources bring, an engine, and the models that the tests write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::array_value_to_string;
use catalog::{CommitInfo, Date, Lake, Table, TableName, TableSpec, Timestamp, Txn, TxnRule};
use serde_json::json;
use transform::{Action, Builder, Engine, EngineOptions, Error, ModelFile, Models, Outcome, When, plan};

pub(crate) const DAY: &str = "2026-10-01";

pub(crate) fn day(text: &str) -> Date {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> TableName {
    text.parse().unwrap()
}

/// When everything in these tests happens.
pub(crate) fn now() -> Timestamp {
    "2026-10-05T00:00:00Z".parse().unwrap()
}

pub(crate) fn schema(columns: &[(&str, &str)]) -> SchemaRef {
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

pub(crate) const ENVELOPE: [(&str, &str); 7] = [
    ("_key", "text"),
    ("_payload", "text"),
    ("_error", "text"),
    ("_task", "text"),
    ("_url", "text"),
    ("_fetched_at", "time"),
    ("dt", "date"),
];

/// The tables that sources and the enrichment bring.
pub(crate) fn outside(table: &TableName) -> Option<SchemaRef> {
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
pub(crate) struct House {
    pub(crate) lake: Lake,
    pub(crate) engine: Engine,
    commits: AtomicU32,
    _dir: Option<tempfile::TempDir>,
}

impl House {
    pub(crate) async fn new(test: &str) -> Self {
        Self::at(&format!("memory://{test}"), None).await
    }

    pub(crate) async fn on_disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uri = dir.path().join("lake").to_str().unwrap().to_owned();
        Self::at(&uri, Some(dir)).await
    }

    pub(crate) async fn at(uri: &str, dir: Option<tempfile::TempDir>) -> Self {
        let spill = std::env::temp_dir().join("onggi-transform-tests");
        let options = EngineOptions { memory_bytes: 256 << 20, partitions: 2, ..EngineOptions::new(spill) };
        Self {
            lake: Lake::open(uri, "test").await.unwrap(),
            engine: Engine::new(&options).unwrap(),
            commits: AtomicU32::new(0),
            _dir: dir,
        }
    }

    /// The same lake as another process finds it.
    pub(crate) async fn opened_again(self, root: &std::path::Path) -> Self {
        let lake = Lake::open(root.to_str().unwrap(), "test").await.unwrap();
        Self { lake, ..self }
    }

    pub(crate) async fn table(&self, table: &str) -> Table {
        let table = name(table);
        let schema = outside(&table).unwrap();
        let partitioned = schema.field_with_name("dt").is_ok();
        self.lake.create(&TableSpec { name: table, schema, partitioned, stats_columns: Vec::new() }).await.unwrap()
    }

    /// Appends rows, written as JSON, to a table of a source.
    pub(crate) async fn land(&self, table: &str, lines: &str) {
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

    pub(crate) async fn things(&self, dt: &str, rows: &[Thing<'_>]) {
        let line = |(id, n, at): &Thing<'_>| {
            json!({"id": id, "n": n, "words": [id, format!("w{n}")], "_fetched_at": at, "dt": dt}).to_string()
        };
        let lines = rows.iter().map(line).collect::<Vec<_>>().join("\n");
        self.land("raw.things", &lines).await;
    }

    pub(crate) async fn build(&self, models: &Models, table: &str, dt: &str) -> transform::Result<Outcome> {
        self.build_on(models, table, dt, (dt, false)).await
    }

    /// A build of a day on another one, which may make it anew.
    pub(crate) async fn build_on(
        &self,
        models: &Models,
        table: &str,
        dt: &str,
        (today, renew): (&str, bool),
    ) -> transform::Result<Outcome> {
        let run = "r1".parse().unwrap();
        let (dt, today) = (day(dt), day(today));
        Builder { engine: &self.engine, lake: &self.lake, models, dt, today, renew, run: &run, now: now() }
            .build(&name(table))
            .await
    }

    pub(crate) async fn build_all(&self, models: &Models, dt: &str) -> BTreeMap<String, Outcome> {
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

    pub(crate) async fn ask(&self, models: &Models, sql: &str) -> transform::Result<Vec<RecordBatch>> {
        self.engine.query(&self.lake, models, sql).await?.collect().await
    }

    /// The rows of an answer as text, in order.
    pub(crate) async fn rows(&self, models: &Models, sql: &str) -> Vec<String> {
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

    pub(crate) async fn why(&self, models: &Models, dt: &str, coming: &[&str]) -> Vec<String> {
        let names: BTreeSet<_> = models.iter().map(|model| model.name().clone()).collect();
        let coming = coming.iter().map(|table| name(table)).collect();
        let when = When { dt: day(dt), today: day(dt), now: now(), renew: false };
        let planned = plan(&self.lake, models, &names, &when, &coming).await.unwrap();
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

pub(crate) fn models(files: &[(&str, &str)]) -> Models {
    let files =
        files.iter().map(|(path, text)| ModelFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect();
    Models::parse(files).map_err(Error::Models).unwrap()
}

/// An id, a number, and when it was fetched.
pub(crate) type Thing<'a> = (&'a str, i64, &'a str);

pub(crate) const LATEST: &str = "-- materialize: latest by id order by at\n-- key: id\nselect n, id, words, _fetched_at as at, dt from raw.things where dt = $dt";
pub(crate) const DAILY: &str =
    "-- materialize: partition\n-- key: id\n-- check: between(n, 0, 100)\nselect id, n from raw.things where dt = $dt";
