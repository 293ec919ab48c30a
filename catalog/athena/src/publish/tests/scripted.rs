//! What the double can't play: the exact requests, pages, throttling, lost races, missing rights.

use serde_json::{Value, json};

use super::*;
use crate::testing::Double;

/// A scripted Glue without any database, and one where making things works.
async fn scripted() -> (Double, Glue) {
    let double = Double::start().await;
    let glue = Glue::new(&double.sdk(), None).unwrap();
    (double, glue)
}

#[tokio::test]
async fn a_table_in_glue_is_exactly_this() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    double.says("CreateDatabase", json!({})).says("CreateTable", json!({}));
    let published = fixture.publish(&glue, &options("demo_")).await;
    assert_eq!(published.databases, ["demo_raw", "demo_marts"]);
    assert_eq!(published.created, ["demo_raw.reviews", "demo_marts.places", "demo_marts.texts"]);
    assert!(published.is_complete());

    let column = |name: &str, kind: &str| json!({ "Name": name, "Type": kind });
    let table = |location: &str, name: &str, columns: Vec<Value>, keys: Vec<Value>, database: &str| {
        json!({
            "DatabaseName": database,
            "TableInput": {
                "Name": name,
                "TableType": "EXTERNAL_TABLE",
                "Parameters": {
                    "EXTERNAL": "TRUE",
                    "classification": "delta",
                    "onggi.project": "reviews",
                    "spark.sql.sources.provider": "delta",
                    "table_type": "DELTA",
                },
                "PartitionKeys": keys,
                "StorageDescriptor": {
                    "Columns": columns,
                    "Location": location,
                    "InputFormat": "org.apache.hadoop.mapred.SequenceFileInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveSequenceFileOutputFormat",
                    "SerdeInfo": {
                        "SerializationLibrary": "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
                        "Parameters": { "serialization.format": "1", "path": location },
                    },
                },
            },
        })
    };
    let raw = [column("review_id", "string"), column("_fetched_at", "timestamp")].to_vec();
    let marts = [
        column("place_id", "string"),
        column("reviews", "bigint"),
        column("rating", "double"),
        column("keywords", "array<string>"),
        column("embedding", "array<float>"),
        column("first_visit", "date"),
    ];
    let asked = double.asked("CreateTable");
    assert_eq!(asked[0], table("s3://jar/lake/raw/reviews/", "reviews", raw, vec![column("dt", "date")], "demo_raw"));
    assert_eq!(asked[1], table("s3://jar/lake/marts/places/", "places", marts.to_vec(), vec![], "demo_marts"));
    assert_eq!(asked.len(), 3);
    let database = json!({ "DatabaseInput": {
        "Name": "demo_raw",
        "Description": "The layer raw of the lake of `reviews`",
        "Parameters": { "onggi.project": "reviews" },
    } });
    assert_eq!(double.asked("CreateDatabase")[0], database);
    assert!(!double.operations().iter().any(|it| it.contains("Partition")), "{:?}", double.operations());
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    let published = fixture.publish(&glue, &PublishOptions { dry_run: true, ..options("") }).await;
    assert_eq!(published.databases, ["raw", "marts"]);
    assert_eq!(published.created, ["raw.reviews", "marts.places", "marts.texts"]);
    assert!(double.operations().iter().all(|operation| operation == "GetTables"));
}

#[tokio::test]
async fn only_a_lake_on_s3_and_only_one_with_tables_is_published() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    let mut wrong = options("");
    wrong.location = None;
    let error = publish(&fixture.lake, &glue, &wrong).await.unwrap_err();
    assert!(error.to_string().starts_with("Athena reads S3 only, and the lake is at file:///"), "{error}");
    assert!(error.hint().unwrap().contains("[lake]"));
    for location in ["s3a://jar/lake", "https://jar.s3.amazonaws.com/"] {
        wrong.location = Some(location.into());
        let error = publish(&fixture.lake, &glue, &wrong).await.unwrap_err();
        assert!(matches!(error, Error::NotOnS3 { .. }), "{location}: {error}");
    }
    for location in ["s3:///lake", "s3://jar//lake", "s3://jar/my%20lake", "s3://jar/우리"] {
        wrong.location = Some(location.into());
        let error = publish(&fixture.lake, &glue, &wrong).await.unwrap_err();
        assert!(matches!(error, Error::OddLocation { .. }), "{location}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let empty = Lake::open(folder.path().to_str().unwrap(), "reviews").await.unwrap();
    let error = publish(&empty, &glue, &PublishOptions { prune: true, ..options("") }).await.unwrap_err();
    assert!(matches!(error, Error::EmptyLake { .. }), "{error}");
    assert!(double.operations().is_empty(), "{:?}", double.operations());
}

/// What Glue would answer about a table that is as `a_table_in_glue_is_exactly_this` made it.
fn as_made(input: &Value) -> Value {
    let mut table = input["TableInput"].clone();
    table["VersionId"] = json!("7");
    table
}

#[tokio::test]
async fn throttling_passes_and_every_page_is_read() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    double.says("CreateDatabase", json!({}));
    double.fails("CreateTable", "ThrottlingException", "Rate exceeded");
    double.fails("CreateTable", "ThrottlingException", "Rate exceeded").says("CreateTable", json!({}));
    fixture.publish(&glue, &options("")).await;
    let made = double.asked("CreateTable");
    assert_eq!(made.len(), 5, "two of five were throttled");

    let (double, glue) = scripted().await;
    double.says("GetTables", json!({ "TableList": [as_made(&made[2])] }));
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    double.fails("GetTables", "ThrottlingException", "Rate exceeded");
    double.says("GetTables", json!({ "TableList": [as_made(&made[3])], "NextToken": "more" }));
    double.says("GetTables", json!({ "TableList": [as_made(&made[4])] }));
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    let published = fixture.publish(&glue, &options("")).await;
    assert_eq!(published.unchanged, ["raw.reviews", "marts.places", "marts.texts"]);
    let asked = double.asked("GetTables");
    assert_eq!(asked.iter().filter(|it| it["NextToken"] == "more").count(), 1);
    assert_eq!(asked.len(), 6);
}

#[tokio::test]
async fn two_that_publish_at_once_end_in_one_table() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    double.fails("GetTables", "EntityNotFoundException", "Database not found.");
    double.fails("CreateDatabase", "AlreadyExistsException", "Database already exists.");
    double.says("CreateTable", json!({}));
    fixture.publish(&glue, &options("")).await;
    let made = double.asked("CreateTable");

    // The other one was faster with the first table, and changes it while it is corrected.
    let (double, glue) = scripted().await;
    double.fails("GetTables", "EntityNotFoundException", "Database not found.").says("CreateDatabase", json!({}));
    double.fails("CreateTable", "AlreadyExistsException", "Table already exists.").says("CreateTable", json!({}));
    let mut other = as_made(&made[0]);
    other["StorageDescriptor"]["Columns"] = json!([]);
    double.says("GetTable", json!({ "Table": other })).says("GetTable", json!({ "Table": as_made(&made[0]) }));
    double.fails("UpdateTable", "ConcurrentModificationException", "Update table failed.");
    let published = fixture.publish(&glue, &options("")).await;
    assert_eq!(published.unchanged, ["raw.reviews"]);
    assert_eq!(published.created, ["marts.places", "marts.texts"]);
    assert_eq!(double.asked("UpdateTable").len(), 1);

    // Somebody who never stops is an error in the end, not an endless loop.
    let (double, glue) = scripted().await;
    double.says("GetTables", json!({ "TableList": [other] }));
    double.says("GetTable", json!({ "Table": other }));
    double.fails("UpdateTable", "ConcurrentModificationException", "Update table failed.");
    let error = publish(&fixture.lake, &glue, &options("")).await.unwrap_err();
    assert!(error.to_string().contains("others kept changing the table"), "{error}");
}

#[tokio::test]
async fn a_missing_right_is_named() {
    let fixture = Fixture::new().await;
    let (double, glue) = scripted().await;
    let message = "User: arn:aws:sts::1:assumed-role/batch is not authorized to perform: glue:GetTables on resource: x";
    double.fails("GetTables", "AccessDeniedException", message);
    let error = publish(&fixture.lake, &glue, &options("")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("listing the tables of `raw` (glue:GetTables): AccessDeniedException: {message}")
    );
    assert!(error.hint().unwrap().contains("right"), "{:?}", error.hint());
    assert_eq!(double.operations().len(), 1, "a refusal was tried again");
}
