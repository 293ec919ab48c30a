//! Kill the process at every failpoint of this crate, run again, and compare with a run that nobody disturbed.
//!
//! A child is this same test binary, told by its environment what to do; it dies by SIGKILL inside the library. Each case counts
//! that its failpoint really fired.

#[cfg(test)]
mod kill {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::{Command, ExitStatus};
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
    use arrow::datatypes::{DataType, Field};
    use catalog::{
        CommitInfo, Lake, RunId, Scope, TableName, TableSpec, Timestamp, Txn, TxnRule, WriteOptions, failpoint,
    };
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use enrich::{Context, Enrichment, Local, enrich};
    use futures::TryStreamExt as _;
    use load::sink::postgres::{Postgres, PostgresOptions};
    use load::{
        Entity, Rules, Search, SearchSettings, Serving, SinkKind, SyncTarget, VectorColumn, compare, serving_hash, sync,
    };
    use rows::Value;
    use tempfile::TempDir;

    fn name(text: &str) -> TableName {
        text.parse().unwrap()
    }

    fn run() -> RunId {
        "20261001t000000-0001".parse().unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// Reviews of a day: on the second day some are new, some changed, and a place is gone.
    fn day(number: i64) -> Vec<(String, String, String)> {
        let mut rows = Vec::new();
        for place in 0..12 {
            if number == 2 && place == 3 {
                continue;
            }
            for review in 0..4 + number {
                let edited = if number == 2 && place % 4 == 0 && review == 0 {
                    "다시 가 보니 아쉬웠어요."
                } else {
                    "또 가고 싶어요."
                };
                let body = format!("{place}번 집은 국물이 진하고 {review}번째 방문도 좋았어요. {edited}");
                rows.push((format!("r{place}-{review}"), format!("p{place}"), body));
            }
        }
        rows
    }

    async fn put(lake: &Lake, table: &str, version: i64, batch: RecordBatch) {
        let spec =
            TableSpec { name: name(table), schema: batch.schema(), partitioned: false, stats_columns: Vec::new() };
        let table = lake.create(&spec).await.unwrap();
        let txn = Txn { app_id: "build/test".into(), version, rule: TxnRule::Equal };
        if table.snapshot().await.unwrap().txn(&txn.app_id).await.unwrap() == Some(version) {
            return;
        }
        let stream = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)])));
        let written = table.write(vec![stream], &WriteOptions::default()).await.unwrap();
        let info = CommitInfo { run: run(), now: now(), lineage: Vec::new() };
        let _ = written.replace(Scope::All, txn, &info).await.unwrap();
    }

    fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(values.map(Some).collect::<StringArray>())
    }

    async fn scan(lake: &Lake, table: &str) -> Vec<RecordBatch> {
        let Some(table) = lake.find(&name(table)).await.unwrap() else { return Vec::new() };
        table.snapshot().await.unwrap().scan(None).await.unwrap().try_collect().await.unwrap()
    }

    /// The folder, and the database where there is a server.
    fn serving(dir: &Path, database: Option<&str>) -> Serving {
        let serving = Serving::new(dir.join("serving"));
        let Some(url) = database else { return serving };
        let options = PostgresOptions {
            url: url.to_owned(),
            schema: "onggi".into(),
            pool: 2,
            rows_per_second: None,
            project: "crash".into(),
        };
        serving.with(Arc::new(Postgres::new(&options).unwrap()))
    }

    /// Everything that this crate does in a run.
    async fn work(dir: &Path, number: i64, database: Option<&str>) {
        let lake = Lake::open(dir.join("lake").to_str().unwrap(), "crash").await.unwrap();
        let rows = day(number);
        let columns = [
            ("review_id", texts(rows.iter().map(|r| r.0.as_str())), true),
            ("place_id", texts(rows.iter().map(|r| r.1.as_str())), true),
            ("body", texts(rows.iter().map(|r| r.2.as_str())), true),
        ];
        put(&lake, "marts.review_texts", number, RecordBatch::try_from_iter_with_nullable(columns).unwrap()).await;
        let mut keys: Vec<&str> = rows.iter().map(|r| r.1.as_str()).collect();
        keys.dedup();
        let mut list = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
        for key in &keys {
            list.append_value(rows.iter().filter(|r| r.1 == *key).map(|r| Some(&r.2)));
        }
        let columns =
            [("place_id", texts(keys.into_iter()), true), ("summary_texts", Arc::new(list.finish()) as ArrayRef, true)];
        put(&lake, "marts.place_reviews", number, RecordBatch::try_from_iter_with_nullable(columns).unwrap()).await;

        let enrichment = Enrichment {
            into: name("staging.place_summaries"),
            from: name("marts.place_reviews"),
            key: "place_id".into(),
            texts: "summary_texts".into(),
            prompt: enrich::Prompt::default(),
        };
        let context = Context {
            run: run(),
            dt: jiff::civil::date(2026, 10, 1),
            today: jiff::civil::date(2026, 10, 1),
            now: now(),
            batch: 5,
            jobs: 2,
            progress: &|_| {},
        };
        enrich(&lake, &enrichment, &Local::default(), &context).await.unwrap();
        let summaries = scan(&lake, "staging.place_summaries").await;
        put(&lake, "marts.places", number, arrow::compute::concat_batches(&summaries[0].schema(), &summaries).unwrap())
            .await;
        let serving = serving(dir, database);
        for target in targets(database) {
            sync(&lake, &target, &serving, &Rules::default(), &|_| {}).await.unwrap();
        }
    }

    fn targets(database: Option<&str>) -> [SyncTarget; 2] {
        let postgres = database.map(|_| SinkKind::Postgres);
        let vector = VectorColumn { column: "embedding".into(), model: "local-hash-ngram-256@1".into() };
        let entity = Entity { column: "place_id".into(), table: name("marts.places") };
        [
            SyncTarget {
                table: name("marts.places"),
                key: "place_id".into(),
                sinks: SinkKind::EMBEDDED.into_iter().chain(postgres).collect(),
                texts: vec!["summary".into()],
                title: Some("place_id".into()),
                entity: None,
                vector: Some(vector),
            },
            SyncTarget {
                table: name("marts.review_texts"),
                key: "review_id".into(),
                sinks: [SinkKind::Keywords].into_iter().chain(postgres).collect(),
                texts: vec!["body".into()],
                title: None,
                entity: Some(entity),
                vector: None,
            },
        ]
    }

    /// What must be the same whatever happened on the way.
    async fn state(dir: &Path, database: Option<&str>) -> Vec<String> {
        let lake = Lake::open(dir.join("lake").to_str().unwrap(), "crash").await.unwrap();
        let mut lines = vec![serving_hash(&dir.join("serving")).await.unwrap()];
        for (table, columns) in [
            (
                "staging.place_summaries",
                &["place_id", "summary_key", "embedding_key", "model", "summary", "embedding"][..],
            ),
            ("ops.llm_results", &["content_key", "kind", "model", "entity", "text", "vector"][..]),
        ] {
            for batch in scan(&lake, table).await {
                for row in 0..batch.num_rows() {
                    let cells = columns
                        .iter()
                        .map(|c| Value::of(batch.column_by_name(c).unwrap(), row).unwrap().to_json().to_string());
                    lines.push(format!("{table} {}", cells.collect::<Vec<_>>().join(" ")));
                }
            }
        }
        let serving = serving(dir, database);
        for target in targets(database) {
            for sink in compare(&lake, &target, &serving).await.unwrap() {
                assert!(sink.is_equal(), "a sink differs from its mart: {sink:?}");
            }
            if database.is_some() {
                let mut rows = serving.sink(SinkKind::Postgres).unwrap().contents(&target.table).await.unwrap();
                while let Some(part) = rows.try_next().await.unwrap() {
                    lines.extend(
                        part.iter().map(|(key, hash)| format!("postgres {} {key} {}", target.table, hash.to_hex())),
                    );
                }
            }
        }
        lines.sort();
        lines
    }

    /// Runs `work` in a process of its own, with a failpoint armed.
    fn child(dir: &Path, number: i64, database: Option<&str>, armed: Option<(&str, u32)>) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kill::the_child", "--ignored", "--nocapture"]);
        command.env("CRASH_DIR", dir).env("CRASH_DAY", number.to_string());
        command.envs(database.map(|url| ("CRASH_DATABASE", url)));
        if let Some((point, nth)) = armed {
            command.env("CRASH_POINT", point).env("CRASH_NTH", nth.to_string());
        }
        command.stdout(std::process::Stdio::null()).status().unwrap()
    }

    #[test]
    #[ignore = "run by the other test of this file"]
    #[expect(clippy::disallowed_methods, reason = "the parent speaks to its child through the environment")]
    fn the_child() {
        let Ok(dir) = std::env::var("CRASH_DIR") else { return };
        let number = std::env::var("CRASH_DAY").unwrap().parse().unwrap();
        if let Ok(point) = std::env::var("CRASH_POINT") {
            let nth = std::env::var("CRASH_NTH").unwrap().parse().unwrap();
            failpoint::arm(&point, nth, Some(Path::new(&dir).join("fired"))).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let database = std::env::var("CRASH_DATABASE").ok();
        runtime.block_on(work(Path::new(&dir), number, database.as_deref()));
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    /// A database that is like another one, which nobody uses.
    fn database_like(server: &services::Postgres, other: &str) -> String {
        let url = server.database();
        let name = |url: &str| url.rsplit('/').next().unwrap().to_owned();
        server.psql(&server.url("postgres"), &format!("drop database {}", name(&url)));
        // The server may still be saying goodbye to a child that has ended.
        let gone = format!("select count(*) from pg_stat_activity where datname = '{}'", name(other));
        while server.psql(&server.url("postgres"), &gone).trim() != "0" {}
        server.psql(&server.url("postgres"), &format!("create database {} template {}", name(&url), name(other)));
        url
    }

    #[tokio::test]
    async fn killed_anywhere_and_run_again_everything_is_as_if_never_killed() {
        let server = services::postgres();
        let calm = TempDir::new().unwrap();
        let calm_database = server.map(services::Postgres::database);
        let calm_database = calm_database.as_deref();
        assert!(child(calm.path(), 1, calm_database, None).success());
        let first = TempDir::new().unwrap();
        copy(calm.path(), first.path());
        let first_database = server.zip(calm_database).map(|(server, calm)| database_like(server, calm));
        let after_one = state(calm.path(), calm_database).await;
        assert!(child(calm.path(), 2, calm_database, None).success());
        let after_two = state(calm.path(), calm_database).await;
        assert_ne!(after_one, after_two);

        // Those of MySQL are tried in `crash_mysql.rs`.
        let is_ours = |point: &&str| point.starts_with("load.") && !point.starts_with("load.mysql.");
        let points = failpoint::NAMES.iter().copied().filter(is_ours);
        let points: Vec<&str> =
            points.filter(|point| server.is_some() || !point.starts_with("load.postgres.")).collect();
        assert!(points.len() >= 15);
        let mut fired = 0;
        for point in points {
            for (number, expected, nth) in [(1, &after_one, 1), (2, &after_two, 1), (1, &after_one, 2)] {
                let dir = TempDir::new().unwrap();
                let database = match (server, &first_database) {
                    (Some(server), Some(first)) if number == 2 => Some(database_like(server, first)),
                    (server, _) => server.map(services::Postgres::database),
                };
                let database = database.as_deref();
                if number == 2 {
                    copy(first.path(), dir.path());
                }
                let killed = child(dir.path(), number, database, Some((point, nth)));
                // Some points are passed once in a run.
                if nth == 2 && killed.success() {
                    continue;
                }
                assert_eq!(killed.signal(), Some(9), "{point}, hit {nth}, day {number}: {killed}");
                assert_eq!(std::fs::read_to_string(dir.path().join("fired")).unwrap(), format!("{point}\n"));
                fired += 1;
                let searched = targets(None).map(load::search::SearchedTarget::new).to_vec();
                let settings = SearchSettings { targets: searched, ..SearchSettings::default() };
                let search = Search::open(&Serving::new(dir.path().join("serving")), settings).unwrap();
                assert!(
                    number == 1 || search.keyword("국물", None).await.unwrap().hits.len() >= 11,
                    "{point}: a reader sees a whole state, old or new"
                );
                drop(search);
                assert!(
                    child(dir.path(), number, database, None).success(),
                    "{point}, hit {nth}, day {number}: the next run must succeed"
                );
                assert_eq!(&state(dir.path(), database).await, expected, "{point}, hit {nth}, day {number}");
            }
        }
        println!("{fired} kills");
        assert!(fired >= 38, "{fired}");
    }
}
