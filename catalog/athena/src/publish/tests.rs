use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use catalog::TableSpec;
use serde_json::json;

use super::*;
use crate::testing::sdk;

mod scripted;

/// A lake with three tables, in a folder.
struct Fixture {
    folder: tempfile::TempDir,
    lake: Lake,
}

fn field(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

async fn create(lake: &Lake, name: &str, fields: Vec<Field>) {
    let partitioned = fields.iter().any(|field| field.name() == "dt");
    let schema = Arc::new(Schema::new(fields));
    let spec = TableSpec { name: name.parse().unwrap(), schema, partitioned, stats_columns: Vec::new() };
    lake.create(&spec).await.unwrap();
}

fn places() -> Vec<Field> {
    let list = |kind| DataType::List(Arc::new(Field::new("element", kind, true)));
    vec![
        field("place_id", DataType::Utf8),
        field("reviews", DataType::Int64),
        field("rating", DataType::Float64),
        field("keywords", list(DataType::Utf8)),
        field("embedding", list(DataType::Float32)),
        field("first_visit", DataType::Date32),
    ]
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), "reviews").await.unwrap();
        let raw = vec![field("review_id", DataType::Utf8), field("_fetched_at", utc()), field("dt", DataType::Date32)];
        create(&lake, "raw.reviews", raw).await;
        create(&lake, "marts.places", places()).await;
        create(&lake, "marts.texts", vec![field("body", DataType::Utf8)]).await;
        Self { folder, lake }
    }

    /// The lake as a new process sees it.
    async fn reopen(&mut self) {
        self.lake = Lake::open(self.folder.path().to_str().unwrap(), "reviews").await.unwrap();
    }

    fn table_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn publish(&self, glue: &Glue, options: &PublishOptions) -> Published {
        publish(&self.lake, glue, options).await.unwrap()
    }
}

fn options(prefix: &str) -> PublishOptions {
    PublishOptions {
        project: "reviews".into(),
        database_prefix: prefix.into(),
        location: Some("s3://jar/lake".into()),
        ..PublishOptions::default()
    }
}

/// A prefix that no other test of this process uses, since they share one double.
fn fresh() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("p{}_", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn double() -> Option<Glue> {
    let aws = services::aws()?;
    Some(Glue::new(&sdk(aws.endpoint(), "us-east-1"), Some(aws.endpoint())).unwrap())
}

async fn in_glue(glue: &Glue, database: &str, table: &str) -> Table {
    let answer = glue.client.get_table().database_name(database).name(table).send().await.unwrap();
    answer.table.unwrap()
}

#[tokio::test]
async fn the_second_time_changes_nothing_and_a_new_column_exactly_its_table() {
    let Some(glue) = double() else { return };
    let (fixture, options) = (Fixture::new().await, options(&fresh()));
    let first = fixture.publish(&glue, &options).await;
    assert_eq!(first.created.len(), 3);
    let marts = format!("{}marts", options.database_prefix);
    let before = (in_glue(&glue, &marts, "places").await, in_glue(&glue, &marts, "texts").await);

    let second = fixture.publish(&glue, &options).await;
    assert_eq!((second.unchanged.len(), second.is_complete()), (3, true));
    assert!(second.created.is_empty() && second.updated.is_empty() && second.databases.is_empty(), "{second:?}");
    let after = (in_glue(&glue, &marts, "places").await, in_glue(&glue, &marts, "texts").await);
    assert_eq!(before, after, "the second pass wrote something");

    let wider = [places(), vec![field("score", DataType::Float64)]].concat();
    create(&fixture.lake, "marts.places", wider).await;
    let third = fixture.publish(&glue, &options).await;
    let changed = Changed { name: format!("{marts}.places"), changes: vec!["new column score double".to_owned()] };
    assert_eq!((third.updated, third.unchanged.len()), (vec![changed], 2));
    let updated = in_glue(&glue, &marts, "places").await;
    let columns = updated.storage_descriptor().unwrap().columns();
    assert_eq!(columns.last().map(|it| (it.name(), it.r#type())), Some(("score", Some("double"))));
    assert_eq!(in_glue(&glue, &marts, "texts").await, before.1);
    let fourth = fixture.publish(&glue, &options).await;
    assert!(fourth.updated.is_empty() && fourth.unchanged.len() == 3, "{fourth:?}");
}

#[tokio::test]
async fn what_others_add_to_a_table_is_no_difference_and_stays() {
    let Some(glue) = double() else { return };
    let (fixture, options) = (Fixture::new().await, options(&fresh()));
    fixture.publish(&glue, &options).await;
    let marts = format!("{}marts", options.database_prefix);
    // A person describes the table and a column, a crawler leaves its marks.
    let table = in_glue(&glue, &marts, "places").await;
    let storage = table.storage_descriptor().unwrap();
    let mut columns = storage.columns().to_vec();
    columns[1].comment = Some("how many".to_owned());
    let mut parameters = table.parameters().unwrap().clone();
    parameters.insert("transient_lastDdlTime".to_owned(), "1".to_owned());
    let mut described = storage.clone();
    described.columns = Some(columns);
    described.compressed = true;
    let input = aws_sdk_glue::types::TableInput::builder()
        .name("places")
        .description("what is served")
        .table_type("EXTERNAL_TABLE")
        .set_parameters(Some(parameters))
        .storage_descriptor(described)
        .build()
        .unwrap();
    glue.client.update_table().database_name(&marts).table_input(input).send().await.unwrap();
    assert_eq!(fixture.publish(&glue, &options).await.unchanged.len(), 3);

    create(&fixture.lake, "marts.places", [places(), vec![field("score", DataType::Float64)]].concat()).await;
    assert_eq!(fixture.publish(&glue, &options).await.updated.len(), 1);
    let table = in_glue(&glue, &marts, "places").await;
    assert_eq!(table.description(), Some("what is served"));
    assert_eq!(table.parameters().unwrap()["transient_lastDdlTime"], "1");
    assert_eq!(table.storage_descriptor().unwrap().columns()[1].comment(), Some("how many"));
}

#[tokio::test]
async fn only_what_is_ours_is_removed_and_only_when_asked() {
    let Some(glue) = double() else { return };
    let (mut fixture, mut options) = (Fixture::new().await, options(&fresh()));
    fixture.publish(&glue, &options).await;
    let marts = format!("{}marts", options.database_prefix);
    for (name, owner) in [("by_hand", None), ("theirs", Some("videos"))] {
        let parameters = owner.map(|owner| [(OWNER.to_owned(), str::to_owned(owner))].into());
        let input = aws_sdk_glue::types::TableInput::builder().name(name).set_parameters(parameters).build().unwrap();
        glue.client.create_table().database_name(&marts).table_input(input).send().await.unwrap();
    }
    std::fs::remove_dir_all(fixture.table_dir("marts/texts")).unwrap();
    fixture.reopen().await;

    let gone = fixture.publish(&glue, &options).await;
    assert_eq!((&gone.gone, gone.removed.len()), (&vec![format!("{marts}.texts")], 0));
    options.prune = true;
    options.dry_run = true;
    let would = fixture.publish(&glue, &options).await;
    assert_eq!(would.removed, [format!("{marts}.texts")]);
    in_glue(&glue, &marts, "texts").await;
    options.dry_run = false;
    assert_eq!(fixture.publish(&glue, &options).await.removed, [format!("{marts}.texts")]);
    let left = glue.tables(&marts).await.unwrap().unwrap();
    assert_eq!(left.keys().map(String::as_str).collect::<Vec<_>>(), ["by_hand", "places", "theirs"]);
    assert!(fixture.publish(&glue, &options).await.removed.is_empty());
}

#[tokio::test]
async fn a_name_that_is_taken_is_left_alone_and_the_rest_is_published() {
    let Some(glue) = double() else { return };
    let (fixture, options) = (Fixture::new().await, options(&fresh()));
    let marts = format!("{}marts", options.database_prefix);
    glue.create_database(&marts, Layer::Marts, "videos").await.unwrap();
    let input = aws_sdk_glue::types::TableInput::builder().name("places").parameters(OWNER, "videos").build().unwrap();
    glue.client.create_table().database_name(&marts).table_input(input).send().await.unwrap();
    let before = in_glue(&glue, &marts, "places").await;

    let published = fixture.publish(&glue, &options).await;
    assert_eq!(published.created.len(), 2);
    assert!(!published.is_complete());
    let said = format!("table marts.places: `{marts}.places` in Glue belongs to the project `videos`");
    assert_eq!(published.foreign.iter().map(ToString::to_string).collect::<Vec<_>>(), [said]);
    assert_eq!(in_glue(&glue, &marts, "places").await, before);
}

#[tokio::test]
async fn a_type_that_athena_does_not_read_keeps_its_table_out_and_no_other() {
    let Some(glue) = double() else { return };
    let (mut fixture, options) = (Fixture::new().await, options(&fresh()));
    // Written by another program: this one keeps no such type.
    let log = fixture.table_dir("staging/visits/_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    let schema = json!({ "type": "struct", "fields": [
        { "name": "place_id", "type": "string", "nullable": true, "metadata": {} },
        { "name": "seen_at", "type": "timestamp_ntz", "nullable": true, "metadata": {} },
    ] });
    let actions = [
        json!({ "protocol": { "minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"] } }),
        json!({ "metaData": { "id": "6f1f2f6e-0000-4000-8000-000000000000", "format": { "provider": "parquet", "options": {} },
            "schemaString": schema.to_string(), "partitionColumns": [], "configuration": {}, "createdTime": 0 } }),
    ];
    let lines = actions.map(|action| action.to_string()).join("\n");
    std::fs::write(log.join("00000000000000000000.json"), lines).unwrap();
    fixture.reopen().await;

    let published = fixture.publish(&glue, &options).await;
    assert_eq!(published.created.len(), 3);
    let refused = Refused {
        table: "staging.visits".parse().unwrap(),
        column: "seen_at".into(),
        kind: "timestamp without time zone (microseconds)".into(),
        instead: "arrow_cast(seen_at, 'Timestamp(Microsecond, Some(\"UTC\"))') as seen_at".into(),
    };
    assert_eq!(published.refused, [refused]);
    let said = published.refused[0].to_string();
    assert_eq!(
        said,
        "table staging.visits, column `seen_at`: Athena does not read timestamp without time zone (microseconds)"
    );
}
