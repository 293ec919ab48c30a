use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use serde_json::{Value, json};

use super::*;
use crate::testing::{Double, post, sdk};

fn settings() -> AthenaSettings {
    AthenaSettings { output: Some("s3://jar/athena-results/".into()), ..AthenaSettings::default() }
}

async fn scripted() -> (Double, Athena) {
    let double = Double::start().await;
    double.says("StartQueryExecution", json!({ "QueryExecutionId": "q-1" })).says("StopQueryExecution", json!({}));
    let athena = Athena::new(&double.sdk(), None, settings()).unwrap();
    (double, athena)
}

fn execution(state: &str, scanned: i64) -> Value {
    json!({ "QueryExecution": {
        "QueryExecutionId": "q-1",
        "StatementType": "DML",
        "Status": { "State": state },
        "Statistics": { "DataScannedInBytes": scanned, "QueryQueueTimeInMillis": 120, "EngineExecutionTimeInMillis": 900 },
    } })
}

fn failed(reason: &str) -> Value {
    let mut answer = execution("FAILED", 0);
    answer["QueryExecution"]["Status"]["StateChangeReason"] = json!(reason);
    answer
}

fn page(rows: &[[Option<&str>; 2]], next: Option<&str>) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let data: Vec<Value> =
                row.iter().map(|it| it.map_or(json!({}), |text| json!({ "VarCharValue": text }))).collect();
            json!({ "Data": data })
        })
        .collect();
    let columns =
        [("name", "varchar"), ("reviews", "bigint")].map(|(name, kind)| json!({ "Name": name, "Type": kind }));
    let mut answer = json!({ "ResultSet": { "Rows": rows, "ResultSetMetadata": { "ColumnInfo": columns } } });
    if let Some(next) = next {
        answer["NextToken"] = json!(next);
    }
    answer
}

async fn all(mut rows: Rows) -> Vec<(Option<String>, Option<i64>)> {
    let mut found = Vec::new();
    while let Some(batch) = rows.next().await {
        let batch = batch.unwrap();
        let (names, numbers) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        found.extend(names.iter().map(|it| it.map(str::to_owned)).zip(numbers));
    }
    found
}

#[tokio::test]
async fn a_query_is_started_watched_and_read_page_by_page() {
    let (double, athena) = scripted().await;
    double.says("GetQueryExecution", execution("QUEUED", 0)).says("GetQueryExecution", execution("RUNNING", 5_000_000));
    double.says("GetQueryExecution", execution("SUCCEEDED", 12_400_000));
    double.says(
        "GetQueryResults",
        page(&[[Some("name"), Some("reviews")], [Some("골목국밥집"), Some("28")]], Some("two")),
    );
    double.says("GetQueryResults", page(&[[None, Some("7")], [Some(""), None]], Some("three")));
    double.says("GetQueryResults", page(&[[Some("name"), None]], None));

    let mut execution = athena.start(" select name, reviews from marts.places ;\n").await.unwrap();
    assert_eq!(execution.id(), "q-1");
    let mut seen = Vec::new();
    let rows = execution.wait(|progress| seen.push(*progress)).await.unwrap();
    assert_eq!(seen.iter().map(|it| it.state.as_str()).collect::<Vec<_>>(), ["queued", "running", "succeeded"]);
    let last = seen.last().unwrap();
    assert_eq!((last.scanned_bytes, last.queued.as_millis(), last.ran.as_millis()), (12_400_000, 120, 900));
    assert!((last.cost - 0.000_065).abs() < 1e-9, "13 MB of a terabyte at 5.00: {}", last.cost);

    assert_eq!(double.asked("GetQueryResults").len(), 1, "pages are read when they are wanted");
    let text = |text: &str| Some(text.to_owned());
    let expected = [(text("골목국밥집"), Some(28)), (None, Some(7)), (text(""), None), (text("name"), None)];
    assert_eq!(all(rows).await, expected);
    let tokens: Vec<Value> = double.asked("GetQueryResults").iter().map(|it| it["NextToken"].clone()).collect();
    assert_eq!(tokens, [Value::Null, json!("two"), json!("three")]);

    let asked = &double.asked("StartQueryExecution")[0];
    assert_eq!(asked["QueryString"], "select name, reviews from marts.places");
    assert_eq!(asked["WorkGroup"], "primary");
    assert_eq!(asked["ResultConfiguration"], json!({ "OutputLocation": "s3://jar/athena-results/" }));
    assert_eq!(asked["QueryExecutionContext"], json!({ "Catalog": "AwsDataCatalog" }));
    assert!(asked["ClientRequestToken"].as_str().unwrap().len() >= 32);
    drop(execution);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(double.asked("StopQueryExecution").is_empty(), "a query that ended was stopped");
}

#[tokio::test]
async fn a_start_that_is_throttled_is_the_same_start() {
    let double = Double::start().await;
    double.fails("StartQueryExecution", "TooManyRequestsException", "Rate exceeded");
    double.says("StartQueryExecution", json!({ "QueryExecutionId": "q-1" })).says("StopQueryExecution", json!({}));
    let athena = Athena::new(&double.sdk(), None, settings()).unwrap();
    let execution = athena.start("select 1").await.unwrap();
    let asked = double.asked("StartQueryExecution");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0]["ClientRequestToken"], asked[1]["ClientRequestToken"]);
    execution.stop().await.unwrap();
}

#[tokio::test]
async fn a_failure_is_told_in_full_with_its_place() {
    let (double, athena) = scripted().await;
    double.says(
        "GetQueryExecution",
        failed("COLUMN_NOT_FOUND: line 2:8: Column 'nam' cannot be resolved or requester is not authorized"),
    );
    let mut execution = athena.start("-- who\nselect nam from marts.places").await.unwrap();
    let error = execution.wait(|_| ()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "query q-1 failed in Athena: COLUMN_NOT_FOUND: line 2:8: Column 'nam' cannot be resolved or requester is not \
         authorized\n  2 | select nam from marts.places\n    |        ^"
    );
    assert!(error.hint().unwrap().contains("describe"), "{:?}", error.hint());

    let (double, athena) = scripted().await;
    double.says("GetQueryExecution", failed("GENERIC_INTERNAL_ERROR: out of luck"));
    let error = athena.start("select 1").await.unwrap().wait(|_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), "query q-1 failed in Athena: GENERIC_INTERNAL_ERROR: out of luck");
}

#[test]
fn the_mark_stands_below_its_column() {
    let statement = "select 1,\n'국밥' as x, y from t";
    assert_eq!(
        excerpt(statement, "SYNTAX_ERROR: line 2:12: no y"),
        "\n  2 | '국밥' as x, y from t\n    |              ^"
    );
    for reason in ["no place", "line 9:1: beyond the end", "line x:1", "line 0:0: none"] {
        assert_eq!(excerpt(statement, reason), "", "{reason}");
    }
}

#[tokio::test]
async fn a_limit_of_the_workgroup_is_told() {
    let (double, athena) = scripted().await;
    let mut answer = execution("CANCELLED", 90_000_000);
    answer["QueryExecution"]["Status"]["StateChangeReason"] =
        json!("Query cancelled! : Bytes scanned limit was exceeded");
    double.says("GetQueryExecution", answer);
    let error = athena.start("select 1").await.unwrap().wait(|_| ()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "query q-1 was stopped in Athena: Query cancelled! : Bytes scanned limit was exceeded"
    );
    assert!(error.hint().unwrap().contains("limit"));
}

#[tokio::test]
async fn what_nobody_waits_for_is_stopped() {
    // The caller goes away while it waits.
    let (double, athena) = scripted().await;
    double.says("GetQueryExecution", execution("RUNNING", 0));
    let waiting = tokio::spawn(async move {
        let mut execution = athena.start("select 1").await.unwrap();
        execution.wait(|_| ()).await
    });
    double.until_asked("GetQueryExecution").await;
    waiting.abort();
    double.until_asked("StopQueryExecution").await;
    assert_eq!(double.asked("StopQueryExecution")[0]["QueryExecutionId"], "q-1");

    // The caller goes away before the service has said under which id the query runs.
    let (double, athena) = scripted().await;
    let mut start = Box::pin(athena.start("select 1"));
    assert!(futures::poll!(&mut start).is_pending());
    drop(start);
    double.until_asked("StopQueryExecution").await;

    // The caller says so.
    let (double, athena) = scripted().await;
    athena.start("select 1").await.unwrap().stop().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(double.asked("StopQueryExecution").len(), 1);
}

#[tokio::test]
async fn wrong_settings_are_told_with_a_way_out() {
    let cases = [
        ("InvalidRequestException", "WorkGroup analysts is not found.", "`workgroup`"),
        ("InvalidRequestException", "No output location provided. An output location is required", "output ="),
        ("AccessDeniedException", "not authorized to perform: athena:StartQueryExecution", "right"),
    ];
    for (code, message, way_out) in cases {
        let double = Double::start().await;
        double.fails("StartQueryExecution", code, message);
        let athena = Athena::new(&double.sdk(), None, settings()).unwrap();
        let error = athena.start("select 1").await.unwrap_err();
        assert_eq!(error.to_string(), format!("starting the query (athena:StartQueryExecution): {code}: {message}"));
        assert!(error.hint().unwrap().contains(way_out), "{:?}", error.hint());
    }
    let nowhere = sdk("http://127.0.0.1:9", "us-east-1");
    let error = Athena::new(&nowhere, None, settings()).unwrap().start("select 1").await.unwrap_err();
    assert_eq!(error.to_string(), "starting the query (athena:StartQueryExecution) got no answer");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("io error: client error (Connect)") && cause.contains("refused"), "{cause}");
    assert!(error.hint().unwrap().contains("network"), "{:?}", error.hint());
    let mut config = nowhere.to_builder();
    config.set_region(None);
    assert!(matches!(Athena::new(&config.build(), None, settings()), Err(Error::NoRegion)));
}

#[test]
fn only_questions_are_sent() {
    for fine in [
        "select 1",
        " (select 1) union (select 2)",
        "WITH x as (select 1) select * from x",
        "-- why\n/* and */ show tables",
    ] {
        assert!(asks(fine).is_ok(), "{fine}");
    }
    for wrong in [
        "drop table marts.places",
        "-- select\ncreate table x as select 1",
        "unload (select 1) to 's3://x'",
        "insert into x select 1",
        "",
        "-- nothing",
    ] {
        assert!(matches!(asks(wrong), Err(Error::NotAQuery { .. })), "{wrong}");
    }
}

#[tokio::test]
async fn an_answer_of_the_double_is_read() {
    let Some(aws) = services::aws() else { return };
    // A region of its own: the double keeps one line of prepared answers for each.
    let region = "eu-north-1";
    let names = ["name", "reviews"].map(|name| json!({ "VarCharValue": name }));
    let columns =
        [("name", "varchar"), ("reviews", "bigint")].map(|(name, kind)| json!({ "Name": name, "Type": kind }));
    let rows = [
        json!({ "Data": names }),
        json!({ "Data": [{ "VarCharValue": "국밥집" }, {}] }),
        json!({ "Data": [{}, { "VarCharValue": "3" }] }),
    ];
    let prepared = json!({ "region": region, "results": [{ "rows": rows, "column_info": columns }] });
    let status = post(aws.endpoint(), "/moto-api/static/athena/query-results", &prepared).await;
    assert!(status.contains("201"), "{status}");

    let athena = Athena::new(&sdk(aws.endpoint(), region), None, settings()).unwrap();
    let mut states = Vec::new();
    let mut execution = athena.start("select name, reviews from marts.places").await.unwrap();
    let rows = execution.wait(|progress| states.push(progress.state)).await.unwrap();
    assert_eq!(states.last(), Some(&State::Succeeded));
    assert_eq!(all(rows).await, [(Some("국밥집".to_owned()), None), (None, Some(3))]);

    // Nothing prepared: an answer without rows is an answer.
    let rows = athena.start("select 1 where false").await.unwrap().wait(|_| ()).await.unwrap();
    assert!(all_is_empty(rows).await);
    let missing =
        Athena::new(&sdk(aws.endpoint(), region), None, AthenaSettings { workgroup: "nobody".into(), ..settings() });
    assert!(missing.unwrap().start("select 1").await.is_err());
}

async fn all_is_empty(mut rows: Rows) -> bool {
    while let Some(batch) = rows.next().await {
        if batch.unwrap().num_rows() > 0 {
            return false;
        }
    }
    true
}
