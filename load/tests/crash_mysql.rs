//! Kill the process at every failpoint of the sink in MySQL and MariaDB, look at it as a reader does, run again, and compare with the mart.
//!
//! A child is this same test binary, told by its environment what to do; it dies by SIGKILL inside the library.

#[cfg(test)]
mod kill {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::process::{Command, ExitStatus};
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
    use catalog::{
        CommitInfo, Lake, RunId, Scope, TableName, TableSpec, Timestamp, Txn, TxnRule, WriteOptions, failpoint,
    };
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use load::sink::mysql::{Mysql, MysqlOptions};
    use load::{Rules, Serving, SinkKind, SyncTarget, compare, sync};
    use tempfile::TempDir;

    const POINTS: [&str; 3] = ["load.mysql.written", "load.mysql.before", "load.mysql.after"];
    const ROWS: i64 = 3_000;

    fn name() -> TableName {
        "marts.places".parse().unwrap()
    }

    /// A row keeps, changes or loses its place from day to day, and says which day it is from.
    fn day(number: i64) -> RecordBatch {
        let ids = || (0..ROWS).filter(|id| (id + number) % 7 != 0);
        let keys: ArrayRef = Arc::new(ids().map(|id| Some(format!("p{id}"))).collect::<StringArray>());
        let days: ArrayRef = Arc::new(ids().map(|id| if id % 3 == 0 { number } else { 0 }).collect::<Int64Array>());
        let owners: ArrayRef = Arc::new(ids().map(|id| Some(format!("o{}", id % 10))).collect::<StringArray>());
        let columns = [("place_id", keys, true), ("day", days, true), ("owner", owners, true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    async fn put(lake: &Lake, version: i64) {
        let batch = day(version);
        let spec = TableSpec { name: name(), schema: batch.schema(), partitioned: false, stats_columns: Vec::new() };
        let table = lake.create(&spec).await.unwrap();
        let txn = Txn { app_id: "build/test".into(), version, rule: TxnRule::Equal };
        if table.snapshot().await.unwrap().txn(&txn.app_id).await.unwrap() == Some(version) {
            return;
        }
        let stream = Box::pin(RecordBatchStreamAdapter::new(batch.schema(), futures::stream::iter([Ok(batch)])));
        let written = table.write(vec![stream], &WriteOptions::default()).await.unwrap();
        let run: RunId = "20261001t000000-0001".parse().unwrap();
        let info = CommitInfo { run, now: Timestamp::from_second(1_790_000_000).unwrap(), lineage: Vec::new() };
        let _ = written.replace(Scope::All, txn, &info).await.unwrap();
    }

    /// On the third day the rows are about somebody: a table with another role, which is made anew.
    fn target(number: i64) -> SyncTarget {
        let entity = load::Entity { column: "owner".into(), table: "marts.owners".parse().unwrap() };
        SyncTarget {
            table: name(),
            key: "place_id".into(),
            sinks: vec![SinkKind::Mysql],
            texts: Vec::new(),
            title: None,
            entity: (number == 3).then_some(entity),
            vector: None,
        }
    }

    fn serving(dir: &Path, url: &str) -> Serving {
        let options = MysqlOptions { url: url.to_owned(), pool: 3, rows_per_second: None, project: "crash".into() };
        Serving::new(dir.join("serving")).with(Arc::new(Mysql::new(&options).unwrap()))
    }

    async fn work(dir: &Path, number: i64, url: &str) {
        let lake = Lake::open(dir.join("lake").to_str().unwrap(), "crash").await.unwrap();
        put(&lake, number).await;
        let rules = Rules { allow_deletes: true, ..Rules::default() };
        sync(&lake, &target(number), &serving(dir, url), &rules, &|_| {}).await.unwrap();
    }

    fn child(dir: &Path, number: i64, url: &str, armed: Option<&str>) -> ExitStatus {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kill::the_child", "--ignored", "--nocapture"]);
        command.env("CRASH_DIR", dir).env("CRASH_DAY", number.to_string()).env("CRASH_DATABASE", url);
        command.envs(armed.map(|point| ("CRASH_POINT", point)));
        command.stdout(std::process::Stdio::null()).status().unwrap()
    }

    #[test]
    #[ignore = "run by the other test of this file"]
    #[expect(clippy::disallowed_methods, reason = "the parent speaks to its child through the environment")]
    fn the_child() {
        let Ok(dir) = std::env::var("CRASH_DIR") else { return };
        let number = std::env::var("CRASH_DAY").unwrap().parse().unwrap();
        if let Ok(point) = std::env::var("CRASH_POINT") {
            failpoint::arm(&point, 1, Some(Path::new(&dir).join("fired"))).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(work(Path::new(&dir), number, &std::env::var("CRASH_DATABASE").unwrap()));
    }

    /// Which day a reader sees, who must see all of it: the watermark of the table that is there says so.
    fn seen(server: &services::Mysql, url: &str) -> i64 {
        let there =
            "select count(*) from information_schema.tables where table_schema = database() and table_name = 'places'";
        if server.sql(url, there).trim() == "0" {
            return 0;
        }
        let found = server.sql(url, "select max(day), count(*), sum(day > 0) from places");
        let found: Vec<usize> = found.split_whitespace().map(|cell| cell.parse().unwrap()).collect();
        let number = i64::try_from(found[0]).unwrap();
        let rows = day(number);
        let changed = (0..ROWS).filter(|id| (id + number) % 7 != 0 && id % 3 == 0).count();
        assert_eq!((found[1], found[2]), (rows.num_rows(), changed), "half a day is seen");
        number
    }

    #[tokio::test]
    async fn killed_anywhere_a_reader_sees_a_whole_day_and_the_next_run_ends_it() {
        for server in [services::mysql(), services::mariadb()].into_iter().flatten() {
            assert!(POINTS.iter().all(|point| failpoint::NAMES.contains(point)));
            let known = failpoint::NAMES.iter().filter(|point| point.starts_with("load.mysql.")).count();
            assert_eq!(known, POINTS.len(), "a point is not tried");
            for point in POINTS {
                let (dir, url) = (TempDir::new().unwrap(), server.database());
                // A first load, a change of a table that stands, and a table in another's place.
                for number in 1..=3 {
                    let killed = child(dir.path(), number, &url, Some(point));
                    assert_eq!(killed.signal(), Some(9), "{point}, day {number}: {killed}");
                    assert_eq!(std::fs::read_to_string(dir.path().join("fired")).unwrap(), format!("{point}\n"));
                    std::fs::remove_file(dir.path().join("fired")).unwrap();
                    let expected = if point == "load.mysql.after" { number } else { number - 1 };
                    assert_eq!(seen(server, &url), expected, "{point}, day {number}");
                    assert!(
                        child(dir.path(), number, &url, None).success(),
                        "{point}, day {number}: the next run must succeed"
                    );
                    assert_eq!(seen(server, &url), number);
                    let lake = Lake::open(dir.path().join("lake").to_str().unwrap(), "crash").await.unwrap();
                    let found = compare(&lake, &target(number), &serving(dir.path(), &url)).await.unwrap();
                    assert!(found[0].is_equal(), "{point}, day {number}: {found:?}");
                    let marks = server.sql(&url, "select count(*) from _onggi_sync s join information_schema.tables t \
                        on t.table_schema = database() and t.table_name = s.relation and t.table_comment = concat('onggi ', s.build)");
                    assert_eq!(marks.trim(), "1", "one watermark counts");
                }
                let number = 4;
                assert!(child(dir.path(), number, &url, None).success());
                let left = "select table_name from information_schema.tables \
                    where table_schema = database() and table_name <> '_onggi_sync'";
                let found = server.sql(&url, left);
                assert_eq!(found, "places\n", "{point}: what a kill left goes with the next change");
            }
        }
    }
}
