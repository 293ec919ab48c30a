//! A real Trino, the engine behind Athena, reads every table of a lake, and answers what we answer.
//!
//! It is no reader of Delta like the others: it skips files by the log's statistics, which hold times cut to milliseconds, while it
//! rounds the times that it reads. A time with microseconds is then in no file that it looks into, and its row is lost in silence.

use std::time::Instant;

use serde_json::{Value, json};
use services::{TRINO_CATALOG, Trino};

use crate::support::{self, Project, Site};

/// A question's columns with their types, and its rows.
pub(crate) struct Answer {
    columns: Vec<(String, String)>,
    pub(crate) rows: Vec<Vec<Value>>,
}

/// Asks as its own clients do: one request with the statement, then one for each part of the answer.
pub(crate) fn ask(trino: &Trino, statement: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("{}/v1/statement", trino.endpoint())).body(statement.to_owned());
        let request = request.header("X-Trino-User", "test").header("X-Trino-Catalog", TRINO_CATALOG);
        let mut answer: Value = request.send().await.unwrap().json().await.unwrap();
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        loop {
            assert!(answer.get("error").is_none(), "{statement}\n{}", answer["error"]["message"]);
            if let Some(found) = answer["columns"].as_array() {
                let of = |column: &Value, part: &str| column[part].as_str().unwrap().to_owned();
                columns = found.iter().map(|column| (of(column, "name"), of(column, "type"))).collect();
            }
            let part = answer["data"].as_array().into_iter().flatten();
            rows.extend(part.map(|row| row.as_array().unwrap().clone()));
            let Some(next) = answer["nextUri"].as_str() else { return Answer { columns, rows } };
            answer = client.get(next).send().await.unwrap().json().await.unwrap();
        }
    })
}

/// The tables of a lake, as the folders stand there: a new one is read without being named here.
pub(crate) fn tables(project: &Project) -> Vec<(String, String)> {
    let names = |folder: &std::path::Path| {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let lake = project.folder.join("lake");
    let schemas = names(&lake).into_iter().filter(|schema| schema != "_onggi");
    schemas
        .flat_map(|schema| names(&lake.join(&schema)).into_iter().map(move |table| (schema.clone(), table)))
        .collect()
}

/// A time as one moment, whichever way it is written; any other value as it is.
fn moment(value: &Value) -> Value {
    let written =
        value.as_str().map(|text| text.strip_suffix(" UTC").map_or(text.to_owned(), |time| format!("{time}Z")));
    let parsed = written.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    parsed.map_or(value.clone(), |time| json!({ "microseconds": time.as_microsecond() }))
}

fn ours(project: &Project, statement: &str) -> Vec<Vec<Value>> {
    let rows = project.sql(statement).into_iter();
    rows.map(|row| row.as_object().unwrap().values().cloned().collect()).collect()
}

/// It takes about 25 s: 9 s until Trino is up, 10 s for its answers about 13 tables, the rest is the lake.
#[test]
fn a_real_trino_reads_every_table_as_we_do() {
    let began = Instant::now();
    if !support::browser() {
        return;
    }
    let Some(trino) = services::trino() else { return };
    let site = Site::new(6, 120);
    let project = Project::new(&site);
    project.run(0);
    let lake = project.folder.canonicalize().unwrap().join("lake");
    let tables = tables(&project);
    for schema in ["raw", "staging", "marts", "ops"] {
        assert!(tables.iter().any(|(found, _)| found == schema), "no table of {schema} among {tables:?}");
        ask(&trino, &format!("create schema {schema}"));
    }
    let read = Instant::now();
    let (mut columns, mut times) = (0, 0);
    for (schema, table) in &tables {
        let name = format!("{schema}.{table}");
        let folder = lake.join(schema).join(table);
        ask(&trino, &format!("call system.register_table('{schema}', '{table}', 'local://{}')", folder.display()));
        let shape = ask(&trino, &format!("select * from {name} limit 0")).columns;
        columns += shape.len();
        // Names of its own for each value: the columns of an answer in JSON may not repeat.
        let values = shape.iter().enumerate().map(|(at, (column, _))| {
            format!(", count(\"{column}\") as n{at}, min(\"{column}\") as low{at}, max(\"{column}\") as high{at}")
        });
        let summary = format!("select count(*) as n{} from {name}", values.collect::<String>());
        let theirs = ask(&trino, &summary).rows.remove(0);
        let found = ours(&project, &summary).remove(0);
        assert_eq!((theirs.len(), found.len()), (1 + 3 * shape.len(), 1 + 3 * shape.len()), "{name}");
        assert!(name == "ops.llm_results" || theirs[0].as_i64() > Some(0), "{name} is empty");
        for (at, (theirs, ours)) in theirs.iter().zip(&found).enumerate() {
            let what = at.checked_sub(1).map_or("rows", |at| shape[at / 3].0.as_str());
            assert_eq!(moment(theirs), moment(ours), "{name}: {what} ({})", ["max", "count", "min"][at % 3]);
        }
        // The newest row is found by its own time, as a value and as a question.
        for (column, _) in shape.iter().filter(|(_, kind)| kind.starts_with("timestamp")) {
            let newest =
                format!("select count(*) as n from {name} where \"{column}\" = (select max(\"{column}\") from {name})");
            let at = shape.iter().position(|(name, _)| name == column).unwrap();
            if found[at * 3 + 1].as_i64() == Some(0) {
                continue;
            }
            let theirs = ask(&trino, &newest).rows[0][0].as_i64().unwrap();
            assert!(theirs > 0, "{name}: Trino finds no row with the newest {column}");
            assert_eq!(Some(theirs), ours(&project, &newest)[0][0].as_i64(), "{name}.{column}");
            times += 1;
        }
    }
    assert!(tables.len() >= 12 && columns > 100 && times >= 8, "{} tables, {columns} columns, {times}", tables.len());
    println!(
        "Trino read {} tables ({columns} columns, {times} times): started in {:.1} s, read in {:.1} s, {:.1} s in all",
        tables.len(),
        trino.started_in().as_secs_f64(),
        read.elapsed().as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
}
