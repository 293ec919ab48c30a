//! `onggi catalog publish` and `onggi sql --athena` as a person types them, against an AWS double.

mod api;
mod doctor;
mod trino;

use std::process::{Child, Output, Stdio};

use serde_json::{Value, json};
use services::Aws;

use crate::shapes;
use crate::support::{Project, last_object, text};

/// A project of two models that need no source, whose lake is said to be on S3.
fn project(aws: &Aws, prefix: &str) -> Project {
    let mut project = Project::own(&format!(
        "[athena]\ndatabase_prefix = \"{prefix}\"\nlocation = \"s3://jar/lake\"\noutput = \"s3://jar/results/\"\n\
         endpoint = \"{0}\"\nglue_endpoint = \"{0}\"\n",
        aws.endpoint()
    ));
    for (model, sql) in [
        ("staging/dishes", "-- materialize: table\n-- key: dish\nselect '국밥' as dish, 9000 as price"),
        ("marts/menu", "-- materialize: table\n-- key: dish\nselect dish, price from staging.dishes"),
    ] {
        project.put(&format!("sql/{model}.sql"), sql);
    }
    project.env = vec![
        ("AWS_ACCESS_KEY_ID", services::ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", services::SECRET_KEY.to_owned()),
        ("AWS_REGION", services::REGION.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    project
}

/// `onggi catalog publish --json` that must end with this exit code.
fn publish(project: &Project, options: &[&str], code: i32) -> Value {
    let output = project.onggi(&[&["catalog", "publish", "--json"], options].concat());
    shapes::hold("catalog", &output);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    last_object(&output)
}

#[test]
fn a_new_column_in_a_model_updates_its_table_in_glue_and_no_other() {
    let Some(aws) = services::aws() else { return };
    let project = project(aws, "menu_");
    project.run(0);
    let would = publish(&project, &["--dry-run"], 0);
    assert_eq!((would["dry_run"].as_bool(), would["created"].as_array().unwrap().len()), (Some(true), 4));
    let first = publish(&project, &[], 0);
    assert_eq!(first["databases"], json!(["menu_staging", "menu_marts", "menu_ops"]));
    assert_eq!(first["created"], json!(["menu_staging.dishes", "menu_marts.menu", "menu_ops.runs", "menu_ops.steps"]));
    let second = publish(&project, &[], 0);
    assert_eq!((&second["created"], &second["updated"]), (&json!([]), &json!([])));
    assert_eq!(second["unchanged"].as_array().unwrap().len(), 4);

    project.replace("sql/marts/menu.sql", "dish, price", "dish, price, price * 2 as for_two");
    project.run(0);
    let third = publish(&project, &[], 0);
    let change = json!([{ "table": "menu_marts.menu", "changes": ["new column for_two bigint"] }]);
    assert_eq!((&third["updated"], third["unchanged"].as_array().unwrap().len()), (&change, 3));

    std::fs::remove_dir_all(project.folder.join("lake/marts/menu")).unwrap();
    let gone = project.onggi(&["catalog", "publish"]);
    assert!(text(&gone).contains("menu_marts.menu is no longer in the lake: `--prune` removes it"), "{}", text(&gone));
    assert_eq!(publish(&project, &["--prune"], 0)["removed"], json!(["menu_marts.menu"]));
}

#[test]
fn a_lake_in_a_bucket_is_published_under_its_own_url() {
    let (Some(aws), Some(s3)) = (services::aws(), services::s3()) else { return };
    let project = project(aws, "bucket_");
    let bucket = s3.bucket();
    let lake = format!("[lake]\nuri = \"s3://{bucket}/lake\"\nendpoint = \"{}\"", s3.endpoint());
    project.replace("onggi.toml", "[identity]", &format!("{lake}\n[identity]"));
    project.replace("onggi.toml", "location = \"s3://jar/lake\"\n", "");
    project.run(0);
    assert_eq!(publish(&project, &[], 0)["created"].as_array().unwrap().len(), 4);
    let named = json!({ "DatabaseName": "bucket_marts", "Name": "menu" });
    let table = &call(aws, "glue", "AWSGlue.GetTable", &named)["Table"];
    let location = format!("s3://{bucket}/lake/marts/menu/");
    assert_eq!(table["StorageDescriptor"]["Location"], location);
    assert_eq!(table["StorageDescriptor"]["SerdeInfo"]["Parameters"]["path"], location);
    assert_eq!(publish(&project, &[], 0)["unchanged"].as_array().unwrap().len(), 4);
}

#[test]
fn what_cannot_be_published_is_told_and_the_rest_is_published() {
    let Some(aws) = services::aws() else { return };
    let project = project(aws, "shared_");
    project.run(0);
    publish(&project, &[], 0);

    // Another project of the same account, with the same names and one of its own, a view, and a table of another program.
    let other = self::project(aws, "shared_");
    other.replace("onggi.toml", "name = \"test\"", "name = \"other\"");
    let model =
        |name: &str, sql: &str| std::fs::write(other.folder.join(format!("sql/marts/{name}.sql")), sql).unwrap();
    model("own", "-- materialize: table\nselect 1 as n");
    model("seen", "-- materialize: view\nselect n from marts.own");
    other.run(0);
    let log = other.folder.join("lake/staging/visits/_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    let field = json!({ "name": "seen_at", "type": "timestamp_ntz", "nullable": true, "metadata": {} });
    let schema = json!({ "type": "struct", "fields": [field] }).to_string();
    let protocol = json!({ "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"] });
    let metadata = json!({ "id": "6f1f2f6e-0000-4000-8000-000000000000", "format": { "provider": "parquet", "options": {} },
        "schemaString": schema, "partitionColumns": [], "configuration": {}, "createdTime": 0 });
    let lines = format!("{}\n{}\n", json!({ "protocol": protocol }), json!({ "metaData": metadata }));
    std::fs::write(log.join("00000000000000000000.json"), lines).unwrap();

    let published = publish(&other, &[], 3);
    assert_eq!(published["created"], json!(["shared_marts.own"]));
    assert_eq!(published["views"], json!(["marts.seen"]));
    let taken: Vec<&Value> = published["foreign"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(taken, ["shared_staging.dishes", "shared_marts.menu", "shared_ops.runs", "shared_ops.steps"]);
    assert_eq!(published["refused"][0]["column"], "seen_at");
    let said = text(&other.onggi(&["catalog", "publish", "--prune"]));
    for part in [
        "error: table staging.visits, column `seen_at`: Athena does not read timestamp without time zone",
        "hint: write `arrow_cast(seen_at, 'Timestamp(Microsecond, Some(\"UTC\"))') as seen_at` in the model",
        "error: table marts.menu: `shared_marts.menu` in Glue belongs to the project `test`",
        "left out      marts.seen is a view",
        "unchanged 1 · removed 0 · columns refused 1 · names taken 4",
    ] {
        assert!(said.contains(part), "`{part}` is not in\n{said}");
    }
    assert_eq!(
        publish(&project, &[], 0)["unchanged"].as_array().unwrap().len(),
        4,
        "the other project changed something"
    );
}

#[test]
fn wrong_places_are_told_with_a_way_out() {
    let Some(aws) = services::aws() else { return };
    let mut project = project(aws, "wrong_");
    project.run(0);
    let says = |project: &Project, arguments: &[&str], code: i32, parts: &[&str]| {
        let output = project.onggi(arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        for part in parts {
            assert!(text(&output).contains(part), "`{part}` is not in\n{}", text(&output));
        }
    };
    says(&project, &["sql", "--athena", "drop table marts.menu"], 2, &["expected a query, found `drop`"]);
    says(&project, &["sql", "--format", "parquet", "select 1"], 2, &["--output rows.parquet"]);
    says(&project, &["sql", "--json", "--format", "csv", "select 1"], 2, &["contradict"]);
    project.replace("onggi.toml", "location = \"s3://jar/lake\"\n", "");
    says(&project, &["catalog", "publish"], 2, &["Athena reads S3 only", "file:///"]);
    project.replace("onggi.toml", "database_prefix = \"wrong_\"", "database_prefix = \"Wrong-\"");
    says(&project, &["catalog", "publish"], 2, &["onggi.toml:9:", "Wrong-", "hint:"]);
    project.replace("onggi.toml", "Wrong-", "wrong_");
    project.env.retain(|(name, _)| *name != "AWS_REGION");
    project.env.push(("AWS_CONFIG_FILE", "/nowhere".to_owned()));
    says(&project, &["sql", "--athena", "select 1"], 2, &["expected a region", "AWS_REGION"]);
}

#[test]
fn rows_here_are_written_in_every_format() {
    let Some(aws) = services::aws() else { return };
    let project = project(aws, "formats_");
    project.run(0);
    let query = "select dish, price, [price, null] as both from marts.menu";
    let output = project.onggi(&["sql", "--format", "csv", query]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "dish,price,both\n국밥,9000,\"[9000,null]\"\n");
    let output = project.onggi(&["sql", "--json", query]);
    let json = String::from_utf8(output.stdout).unwrap();
    assert_eq!(json, "{\"dish\":\"국밥\",\"price\":9000,\"both\":[9000,null]}\n");
    let file = project.folder.join("rows.parquet");
    let output = project.onggi(&["sql", "--output", file.to_str().unwrap(), query]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output));
    assert_eq!(&std::fs::read(&file).unwrap()[..4], b"PAR1");
    assert!(text(&output).contains("1 rows are in"), "{}", text(&output));
    let output = project.onggi(&["sql", "--output", "/nowhere/rows.csv", query]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

/// The double's own switches.
fn switch(aws: &Aws, path: &str, body: &Value) {
    let url = format!("{}/moto-api/{path}", aws.endpoint());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sent = runtime.block_on(reqwest::Client::new().post(url).json(body).send()).unwrap();
    assert!(sent.status().is_success(), "{path}: {}", sent.status());
}

/// The answer that the next query gets.
fn prepare(aws: &Aws) {
    let cell = |text: Option<&str>| text.map_or(json!({}), |text| json!({ "VarCharValue": text }));
    let rows: Vec<Value> = [[Some("dish"), Some("price")], [Some("국밥"), Some("9000")], [None, Some("12000")]]
        .map(|row| json!({ "Data": row.map(cell) }))
        .into();
    let columns = [("dish", "varchar"), ("price", "bigint")].map(|(name, kind)| json!({ "Name": name, "Type": kind }));
    let body = json!({ "region": services::REGION, "results": [{ "rows": rows, "column_info": columns }] });
    switch(aws, "static/athena/query-results", &body);
}

/// How the double's queries move on: at once, or only when they are looked at so often.
fn progression(aws: &Aws, transition: &Value) {
    let moves = json!({ "model_name": "athena::execution", "transition": transition });
    switch(aws, "state-manager/set-transition", &moves);
}

const QUERY: &str = "select dish, price from menu_marts.menu";

// One test, since the double's queries share one line of answers and one pace.
#[test]
fn athena_is_asked_watched_and_interrupted() {
    let Some(aws) = services::aws() else { return };
    let project = project(aws, "asked_");
    prepare(aws);
    progression(aws, &json!({ "progression": "manual", "times": 1 }));
    let output = project.onggi(&["sql", "--athena", QUERY]);
    assert!(output.status.success(), "{}", text(&output));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(stdout.contains("| 국밥 | 9000  |") && stdout.contains("12000"), "{stdout}");
    assert!(stderr.contains("athena: succeeded") && stderr.contains("0.0 kB scanned, $0.000050"), "{stderr}");

    progression(aws, &json!({ "progression": "immediate" }));
    prepare(aws);
    let output = project.onggi(&["sql", "--athena", "--quiet", "--format", "csv", QUERY]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "dish,price\n국밥,9000\n,12000\n", "{}", text(&output));
    assert!(output.stderr.is_empty(), "{}", text(&output));
    prepare(aws);
    let output = project.onggi(&["sql", "--athena", "--json", QUERY]);
    let rows = "{\"dish\":\"국밥\",\"price\":9000}\n{\"dish\":null,\"price\":12000}\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), rows, "{}", text(&output));
    prepare(aws);
    let file = project.folder.join("menu.parquet");
    let output = project.onggi(&["sql", "--athena", "--output", file.to_str().unwrap(), QUERY]);
    assert!(text(&output).contains("2 rows are in"), "{}", text(&output));
    assert_eq!(&std::fs::read(&file).unwrap()[..4], b"PAR1");

    // A query that never moves on is stopped when the person who asked has had enough.
    progression(aws, &json!({ "progression": "manual", "times": 100_000 }));
    for signal in ["-INT", "-TERM"] {
        let output = interrupted(&project, signal);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("interrupted: the query was stopped in Athena"), "{}", text(&output));
        let said = text(&output);
        assert!(said.contains("is charged: 0.0 kB by the last look, $0.000050"), "{said}");
        let id = said.split_once("in Athena (").unwrap().1.split_once(')').unwrap().0;
        assert_eq!(state(aws, id), "CANCELLED");
        assert!(!project.folder.join("never.csv").exists() && !project.folder.join("never.csv.part").exists());
    }
    progression(aws, &json!({ "progression": "immediate" }));
}

/// The query under way, and then a signal.
fn interrupted(project: &Project, signal: &str) -> Output {
    let file = project.folder.join("never.csv");
    let mut command = project.command(&["sql", "--athena", "--output", file.to_str().unwrap(), QUERY]);
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its first line says that the query is under way.
    let mut first = [0; 7];
    std::io::Read::read_exact(child.stderr.as_mut().unwrap(), &mut first).unwrap();
    assert_eq!(&first, b"athena:");
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

/// A query's state, asked of the double itself.
fn state(aws: &Aws, id: &str) -> String {
    let answer = call(aws, "athena", "AmazonAthena.GetQueryExecution", &json!({ "QueryExecutionId": id }));
    answer["QueryExecution"]["Status"]["State"].as_str().unwrap_or_default().to_owned()
}

/// What the double answers to an operation, past our own client.
fn call(aws: &Aws, service: &str, operation: &str, body: &Value) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let scope = format!("Credential={}/20260101/{}/{service}/aws4_request", services::ACCESS_KEY, services::REGION);
        let request = reqwest::Client::new()
            .post(aws.endpoint())
            .header("x-amz-target", operation)
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=x"))
            .body(body.to_string());
        request.send().await.unwrap().json().await.unwrap()
    })
}
