//! The replica against its own word.

use serde_json::{Value, json};

use axum::http::HeaderMap;

use super::state::http_date;
use super::*;
use crate::switches::{Fault, RetryAfter};

async fn replica(switches: Switches) -> LlmReplica {
    LlmReplica::start(LlmReplicaOptions { switches, ..LlmReplicaOptions::default() }).await.unwrap()
}

async fn post_to(replica: &LlmReplica, path: &str, body: &Value) -> (u16, HeaderMap, String) {
    let request = reqwest::Client::new().post(format!("{}{path}", replica.url())).bearer_auth("test-key").json(body);
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.text().await.unwrap())
}

fn chat_body() -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "국물이 진해요" }] })
}

#[tokio::test]
async fn the_key_is_asked_for() {
    let replica = replica(Switches::default()).await;
    let answer = reqwest::Client::new().post(format!("{}/embeddings", replica.url())).json(&json!({})).send().await;
    assert_eq!(answer.unwrap().status(), 401);
    assert_eq!((replica.stats().unauthorised, replica.stats().payments()), (1, 0));
}

#[tokio::test]
async fn the_same_prompt_is_answered_alike_and_paid_each_time() {
    let replica = replica(Switches::default()).await;
    let (status, _, first) = post_to(&replica, "/chat/completions", &chat_body()).await;
    let (_, _, second) = post_to(&replica, "/chat/completions", &chat_body()).await;
    assert_eq!(status, 200);
    let content = |text: &str| serde_json::from_str::<Value>(text).unwrap()["choices"][0]["message"]["content"].clone();
    assert_eq!(content(&first), content(&second));
    assert_eq!(replica.stats().payments(), 2);
    assert_eq!(replica.stats().paid_too_often().len(), 1);
}

#[tokio::test]
async fn embeddings_are_unit_vectors_in_both_encodings() {
    use base64::Engine as _;
    let replica = replica(Switches::default()).await;
    let ask =
        |encoding: &str| json!({ "model": "e", "input": ["하나", "둘"], "dimensions": 8, "encoding_format": encoding });
    let (_, _, floats) = post_to(&replica, "/embeddings", &ask("float")).await;
    let (_, _, base64) = post_to(&replica, "/embeddings", &ask("base64")).await;
    let floats: Value = serde_json::from_str(&floats).unwrap();
    let base64: Value = serde_json::from_str(&base64).unwrap();
    let bytes =
        base64::engine::general_purpose::STANDARD.decode(base64["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let decoded: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|it| f32::from_le_bytes(*it)).collect();
    let listed: Vec<f32> = serde_json::from_value(floats["data"][1]["embedding"].clone()).unwrap();
    assert_eq!(decoded, listed);
    assert!((decoded.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
}

#[tokio::test]
async fn the_real_limit_holds_and_says_when_to_come_back() {
    let switches = Switches { requests_per_minute: Some(30), retry_after: RetryAfter::Date(2), ..Switches::default() };
    let replica = replica(switches).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(post_to(&replica, "/chat/completions", &chat_body()).await);
    }
    assert_eq!(statuses.iter().filter(|it| it.0 == 200).count(), 3, "a tenth of a minute's worth");
    let refused = statuses.iter().find(|it| it.0 == 429).unwrap();
    assert!(refused.1["retry-after"].to_str().unwrap().ends_with("GMT"), "{:?}", refused.1);
    assert_eq!(replica.stats().limited, 2);
}

#[tokio::test]
async fn a_lost_reply_was_paid_for() {
    let replica = replica(Switches { lost_reply: Fault::next(1), ..Switches::default() }).await;
    let request = reqwest::Client::new().post(format!("{}/chat/completions", replica.url())).bearer_auth("test-key");
    // The connection may close before the head or after it.
    let whole = match request.json(&chat_body()).send().await {
        Ok(response) => response.text().await.is_ok(),
        Err(_) => false,
    };
    assert!(!whole);
    let (status, ..) = post_to(&replica, "/chat/completions", &chat_body()).await;
    assert_eq!((status, replica.stats().payments(), replica.stats().dropped), (200, 2, 1));
    assert!(replica.stats().paid_too_often().is_empty(), "a loss excuses one payment");
}

#[tokio::test]
async fn a_batch_expires_in_part_and_what_was_done_is_returned_and_paid() {
    let switches =
        Switches { batch_expire: Fault::next(2), batch_shuffle: true, batch_polls: 1, ..Switches::default() };
    let replica = replica(switches).await;
    let lines: Vec<String> = (0..6)
        .map(|i| {
            let body = json!({ "model": "e", "input": format!("글 {i}") });
            json!({ "custom_id": format!("k{i}"), "method": "POST", "url": "/v1/embeddings", "body": body }).to_string()
        })
        .collect();
    // The form is written by hand: the client's own forms are a feature that this crate does not ask for.
    let form = format!(
        "--b\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--b--\r\n",
        lines.join("\n")
    );
    let client = reqwest::Client::new();
    let upload = client.post(format!("{}/files", replica.url())).bearer_auth("test-key");
    let upload = upload.header("content-type", "multipart/form-data; boundary=b").body(form);
    let file: Value = serde_json::from_str(&upload.send().await.unwrap().text().await.unwrap()).unwrap();
    let create = json!({ "input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": { "a": "b" } });
    let (_, _, batch) = post_to(&replica, "/batches", &create).await;
    let id = serde_json::from_str::<Value>(&batch).unwrap()["id"].as_str().unwrap().to_owned();
    let get = |path: String| {
        let request = client.get(format!("{}{path}", replica.url())).bearer_auth("test-key");
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let look = || async { serde_json::from_str::<Value>(&get(format!("/batches/{id}")).await).unwrap() };
    assert_eq!(look().await["status"], "in_progress");
    let done = look().await;
    assert_eq!(done["status"], "expired");
    let output = get(format!("/files/{}/content", done["output_file_id"].as_str().unwrap())).await;
    let errors = get(format!("/files/{}/content", done["error_file_id"].as_str().unwrap())).await;
    assert_eq!((output.lines().count(), errors.lines().count()), (4, 2));
    assert!(errors.contains("batch_expired"));
    assert_eq!((replica.stats().payments(), replica.stats().batch_unpaid), (4, 2));
    let listed: Value = serde_json::from_str(&get("/batches?limit=1".to_owned()).await).unwrap();
    assert_eq!(listed["data"][0]["metadata"]["a"], "b");
}

#[test]
fn dates_are_those_of_http() {
    assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(http_date(1_709_210_096), "Thu, 29 Feb 2024 12:34:56 GMT");
}
