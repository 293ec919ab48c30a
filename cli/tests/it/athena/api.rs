//! As much of Athena's API as a question needs, in front of a real Trino: what is asked is parsed, planned and answered by the engine
//! that Athena is made of, and travels as Athena sends it.
//!
//! Operations, members and states are those of its API reference; values are texts in Athena's forms (an array is `[a, b]`, a row
//! `{a=1}`, a null no text at all), pages hold at most 1,000 rows, and the first one begins with the columns' names.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use services::{TRINO_CATALOG, Trino};

/// The most rows of a page, the line of names among them.
const PAGE: usize = 1_000;
/// How long the engine is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A query and what became of it.
#[derive(Default)]
struct Query {
    statement: String,
    state: &'static str,
    reason: Option<String>,
    columns: Vec<Value>,
    rows: Vec<Value>,
    scanned: u64,
    ran: Duration,
    is_stopped: bool,
}

/// The queries of one account.
type Queries = Arc<Mutex<HashMap<String, Query>>>;

/// The API, for as long as the process lives.
pub(crate) struct AthenaApi {
    url: String,
    queries: Queries,
}

impl AthenaApi {
    /// Begins to answer for this Trino.
    pub(crate) fn start(trino: &Trino) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let queries = Queries::default();
        let (all, endpoint) = (Arc::clone(&queries), trino.endpoint().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, endpoint) = (Arc::clone(&all), endpoint.clone());
                std::thread::spawn(move || serve(&stream, &all, &endpoint));
            }
        });
        Self { url, queries }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What became of the queries, in no order.
    pub(crate) fn states(&self) -> Vec<&'static str> {
        self.queries.lock().unwrap().values().map(|query| query.state).collect()
    }
}

/// One request a connection.
fn serve(mut stream: &TcpStream, queries: &Queries, endpoint: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut operation) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "x-amz-target" => value.trim().trim_start_matches("AmazonAthena.").clone_into(&mut operation),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: Value = serde_json::from_slice(&body).ok()?;
    let (status, answer) = match answered(&operation, &request, queries, endpoint) {
        Ok(answer) => (200, answer),
        Err(message) => (400, json!({ "__type": "InvalidRequestException", "Message": message })),
    };
    let (answer, kind) = (answer.to_string(), "application/x-amz-json-1.1");
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status} so\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
    )
    .ok()
}

fn answered(operation: &str, request: &Value, queries: &Queries, endpoint: &str) -> Result<Value, String> {
    if operation == "StartQueryExecution" {
        let statement = request["QueryString"].as_str().ok_or("no QueryString")?.to_owned();
        // The same request sent again is the same query.
        let id = request["ClientRequestToken"].as_str().ok_or("no ClientRequestToken")?.to_owned();
        let mut all = queries.lock().unwrap();
        if !all.contains_key(&id) {
            all.insert(id.clone(), Query { statement, state: "QUEUED", ..Query::default() });
            let (queries, id, endpoint) = (Arc::clone(queries), id.clone(), endpoint.to_owned());
            std::thread::spawn(move || run(&queries, &id, &endpoint));
        }
        return Ok(json!({ "QueryExecutionId": id }));
    }
    let id = request["QueryExecutionId"].as_str().ok_or("no QueryExecutionId")?;
    let mut all = queries.lock().unwrap();
    let query = all.get_mut(id).ok_or_else(|| format!("QueryExecution {id} was not found"))?;
    match operation {
        "GetQueryExecution" => Ok(execution(id, query)),
        "StopQueryExecution" => {
            query.is_stopped = true;
            Ok(json!({}))
        }
        "GetQueryResults" if query.state == "SUCCEEDED" => page(query, request),
        "GetQueryResults" => Err(format!("Query did not finish successfully. Final query state: {}", query.state)),
        other => Err(format!("no operation {other}")),
    }
}

fn execution(id: &str, query: &Query) -> Value {
    let kind = if is_ddl(query) { "DDL" } else { "DML" };
    let ran = u64::try_from(query.ran.as_millis()).unwrap_or(u64::MAX);
    json!({ "QueryExecution": {
        "QueryExecutionId": id, "Query": query.statement, "StatementType": kind,
        "Status": { "State": query.state, "StateChangeReason": query.reason },
        "Statistics": { "DataScannedInBytes": query.scanned, "EngineExecutionTimeInMillis": ran },
    } })
}

/// Such an answer has no line of names above its rows.
fn is_ddl(query: &Query) -> bool {
    query.statement.to_lowercase().starts_with("show")
}

fn page(query: &Query, request: &Value) -> Result<Value, String> {
    let number = |name: &str| request[name].as_u64().and_then(|it| usize::try_from(it).ok());
    let token =
        request["NextToken"].as_str().map(str::parse::<usize>).transpose().map_err(|error| error.to_string())?;
    let names =
        json!({ "Data": query.columns.iter().map(|it| json!({ "VarCharValue": it["Name"] })).collect::<Vec<_>>() });
    let above = (!is_ddl(query)).then_some(&names);
    let all: Vec<&Value> = above.into_iter().chain(&query.rows).collect();
    let from = token.unwrap_or(0).min(all.len());
    let to = (from + number("MaxResults").unwrap_or(PAGE).min(PAGE)).min(all.len());
    let next = (to < all.len()).then(|| to.to_string());
    let set = json!({ "Rows": all[from..to], "ResultSetMetadata": { "ColumnInfo": query.columns } });
    Ok(json!({ "ResultSet": set, "NextToken": next }))
}

/// Has the statement answered by Trino, part by part.
fn run(queries: &Queries, id: &str, endpoint: &str) {
    let with = |act: &dyn Fn(&mut Query)| act(queries.lock().unwrap().get_mut(id).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let statement = queries.lock().unwrap()[id].statement.clone();
        let began = Instant::now();
        let asked = async || -> Value {
            let request = client.post(format!("{endpoint}/v1/statement")).body(statement.clone());
            let request = request.header("X-Trino-User", "test").header("X-Trino-Catalog", TRINO_CATALOG);
            request.send().await.unwrap().json().await.unwrap()
        };
        let mut answer = asked().await;
        with(&|query| query.state = "RUNNING");
        loop {
            let end = |state: &'static str, reason: Option<String>| {
                with(&|query| (query.state, query.reason, query.ran) = (state, reason.clone(), began.elapsed()));
            };
            if let Some(error) = answer.get("error") {
                let part = |name: &str| error[name].as_str().unwrap_or_default();
                // The engine's only node announces itself when it comes to it, on a busy machine seconds after it answers.
                if part("errorName") == "NO_NODES_AVAILABLE" && began.elapsed() < PATIENCE {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    answer = asked().await;
                    continue;
                }
                return end("FAILED", Some(format!("{}: {}", part("errorName"), part("message"))));
            }
            let columns = answer["columns"].as_array().cloned().unwrap_or_default();
            let rows: Vec<Value> = answer["data"].as_array().into_iter().flatten().map(row).collect();
            let scanned = answer["stats"]["physicalInputBytes"].as_u64().unwrap_or(0);
            with(&|query| {
                if query.columns.is_empty() {
                    query.columns = columns.iter().map(column).collect();
                }
                query.rows.extend(rows.iter().cloned());
                query.scanned = query.scanned.max(scanned);
            });
            let Some(next) = answer["nextUri"].as_str().map(str::to_owned) else { return end("SUCCEEDED", None) };
            if queries.lock().unwrap()[id].is_stopped {
                client.delete(&next).send().await.unwrap();
                return end("CANCELLED", Some("Query cancelled by user".to_owned()));
            }
            answer = client.get(&next).send().await.unwrap().json().await.unwrap();
        }
    });
}

/// A column with the type's name alone, and the digits of a decimal.
fn column(column: &Value) -> Value {
    let whole = column["type"].as_str().unwrap_or_default();
    let (kind, inner) = whole.split_once('(').map_or((whole, ""), |(kind, inner)| (kind, inner));
    let digits: Vec<u64> = inner.split([',', ')']).filter_map(|it| it.trim().parse().ok()).collect();
    let kind = if whole.ends_with("with time zone") { "timestamp with time zone" } else { kind };
    let digit = |at: usize| digits.get(at).copied().unwrap_or(0);
    json!({ "Name": column["name"], "Type": kind, "Precision": digit(0), "Scale": digit(1) })
}

fn row(row: &Value) -> Value {
    let cell = |value: &Value| written(value).map_or(json!({}), |text| json!({ "VarCharValue": text }));
    json!({ "Data": row.as_array().into_iter().flatten().map(cell).collect::<Vec<_>>() })
}

/// A value as Athena writes it; nothing for a null.
fn written(value: &Value) -> Option<String> {
    let inner = |value: &Value| written(value).unwrap_or_else(|| "null".to_owned());
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(", "))),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}={}", inner(value)));
            Some(format!("{{{}}}", members.collect::<Vec<_>>().join(", ")))
        }
        other => Some(other.to_string()),
    }
}
