//! Others read the lake: the `deltalake` Python package opens each table, `DuckDB` reads its files, and both count what we count.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{self, Project, Site, text};

const SCRIPT: &str = r#"
import json, sys
import duckdb
from deltalake import DeltaTable

for path in sys.argv[1:]:
    table = DeltaTable(path)
    files = table.file_uris()
    protocol = table.protocol()
    rows = table.to_pyarrow_table().num_rows
    counted = duckdb.sql("select count(*) from read_parquet($files)", params={"files": files}).fetchone()[0] if files else 0
    numbers = {}
    if files:
        for name, kind in duckdb.sql("select column_name, column_type from (describe select * from read_parquet($files))", params={"files": files}).fetchall():
            if kind in ("BIGINT", "DOUBLE"):
                total = duckdb.sql(f'select coalesce(sum("{name}"), 0)::double from read_parquet($files)', params={"files": files}).fetchone()[0]
                numbers[name] = total
    print(json.dumps({"path": path, "rows": rows, "counted": counted, "sums": numbers, "protocol": [protocol.min_reader_version, protocol.min_writer_version]}))
"#;

fn python() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a test looks where the peers were installed")]
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cache")).ok()?;
    let python = PathBuf::from(cache).join("onggi/peers/bin/python");
    let usable = Command::new(&python).args(["-c", "import deltalake, duckdb"]).status().is_ok_and(|it| it.success());
    if !usable {
        println!("skipped: no `deltalake` and `duckdb` for Python at {}; `.ci/peers` installs them", python.display());
    }
    usable.then_some(python)
}

#[test]
fn others_read_the_same_rows() {
    let Some(python) = python() else { return };
    if !support::browser() {
        return;
    }
    let site = Site::new(8, 200);
    let project = Project::new(&site);
    project.run(0);
    let tables = [
        "raw.naver_places",
        "raw.naver_reviews",
        "staging.places",
        "staging.reviews",
        "staging.place_summaries",
        "marts.reviews_daily",
        "marts.place_reviews",
        "marts.places",
        "marts.review_texts",
        "ops.runs",
        "ops.steps",
        "ops.llm_results",
    ];
    let paths = tables.map(|table| project.folder.join("lake").join(table.replace('.', "/")));
    let output = Command::new(python).arg("-c").arg(SCRIPT).args(&paths).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let mut compared = 0;
    for (table, line) in tables.iter().zip(stdout.lines()) {
        let theirs: serde_json::Value = serde_json::from_str(line).unwrap();
        let ours = project.number(&format!("select count(*) from {table}"));
        assert_eq!(theirs["rows"].as_i64(), Some(ours), "{table}: the deltalake package");
        assert_eq!(theirs["counted"].as_i64(), Some(ours), "{table}: DuckDB");
        assert_eq!(theirs["protocol"], serde_json::json!([1, 2]), "{table}");
        for (column, sum) in theirs["sums"].as_object().unwrap() {
            let query = format!("select cast(coalesce(sum(\"{column}\"), 0) as double) as total from {table}");
            let ours = project.sql(&query)[0]["total"].as_f64().unwrap();
            let theirs = sum.as_f64().unwrap();
            assert!((ours - theirs).abs() <= 1e-9 * ours.abs().max(1.0), "{table}.{column}: {ours} and {theirs}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "only {compared} sums");
}
