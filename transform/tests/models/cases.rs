//! The models that come along, on rows in and rows out.

use std::path::Path;

use serde_json::Value;
use transform::{Error, ModelFile, Models, Outcome, templates};

use crate::house::{DAY, House, outside};

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
