use std::sync::Arc;

use aws_sdk_sqs::config::{Credentials, Region};
use catalog::aws::SdkConfig;
use services::Aws;

use super::*;
use crate::queue::NO_WORD;
use crate::queue::contract::{Clock, Fixture, dt, of, queue_contract, real_now, source, task};

/// A fresh queue of a local server, and a lake for its notes.
struct OnServer {
    server: &'static Aws,
    queue: String,
    lake: std::sync::OnceLock<Lake>,
    clock: Clock,
}

fn sdk() -> SdkConfig {
    SdkConfig::builder()
        .region(Region::new(services::REGION))
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .credentials_provider(aws_sdk_sqs::config::SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "tests",
        )))
        .build()
}

impl OnServer {
    fn settings(&self) -> SqsSettings {
        SqsSettings {
            endpoint: Some(self.server.endpoint().to_owned()),
            wait: Duration::ZERO,
            settle: Duration::ZERO,
            ..SqsSettings::new(format!("sqs://{}", self.queue))
        }
    }

    async fn queue(&self) -> SqsQueue {
        let lake = if let Some(lake) = self.lake.get() {
            lake.clone()
        } else {
            let lake = Lake::open(&format!("memory://sqs-{}", self.queue), "test").await.unwrap();
            self.lake.get_or_init(|| lake).clone()
        };
        SqsQueue::open(&lake, &sdk(), self.settings()).await.unwrap()
    }
}

impl Fixture for OnServer {
    fn new() -> Option<Self> {
        let server = services::aws()?;
        let (queue, _) = server.queue();
        Some(Self { server, queue, lake: std::sync::OnceLock::new(), clock: Clock::Real })
    }

    async fn open(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue().await)
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

queue_contract!(OnServer);

const SHORT: ReceiveOptions = ReceiveOptions { visibility_timeout: Duration::from_secs(1), max_receives: 3 };

#[tokio::test]
async fn what_sqs_moved_by_itself_is_found_noted_and_sent_again() {
    let Some(server) = OnServer::new() else { return };
    let queue = server.queue().await;
    queue.send(&[task("a")], real_now()).await.unwrap();
    for _ in 0..5 {
        assert!(queue.receive(&of(), &SHORT, real_now()).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(1200)).await;
    }
    assert!(queue.receive(&of(), &SHORT, real_now()).await.unwrap().is_none(), "five receives are all it has");
    let dead = queue.dead_letters(&of(), real_now()).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((&dead[0].task, dead[0].error.as_str()), (&task("a"), NO_WORD));
    assert_eq!(queue.dead_letters(&of(), real_now()).await.unwrap(), dead, "looking changes nothing");
    assert_eq!(queue.redrive(&dead, real_now()).await.unwrap(), 1);
    assert!(queue.dead_letters(&of(), real_now()).await.unwrap().is_empty());
    assert_eq!(queue.receive(&of(), &SHORT, real_now()).await.unwrap().unwrap().receive_count, 1);
}

#[tokio::test]
async fn a_message_that_is_no_task_is_set_aside_with_its_reason_and_the_next_one_comes() {
    let Some(server) = OnServer::new() else { return };
    let queue = server.queue().await;
    queue.send_texts(&["hello".to_owned(), "{\"onggi\":9}".to_owned()]).await.unwrap();
    queue.send(&[task("a")], real_now()).await.unwrap();
    let found = queue.receive(&of(), &SHORT, real_now()).await.unwrap();
    assert_eq!(found.unwrap().task, task("a"));
    let url = queue.dead_url.clone().unwrap();
    let ask = queue.client.receive_message().queue_url(&url).max_number_of_messages(10).message_attribute_names("All");
    let letters = ask.send().await.unwrap().messages.unwrap_or_default();
    assert!(!letters.is_empty(), "what was met on the way is there");
    for letter in &letters {
        let error = letter.message_attributes().unwrap()["error"].string_value().unwrap();
        assert!(error.contains("expected a task"), "{error}");
    }
    assert!(queue.dead_letters(&TaskFilter::all(), real_now()).await.unwrap().is_empty(), "it is nobody's task");
}

#[tokio::test]
async fn past_its_deadline_a_message_is_lost_without_asking() {
    let Some(server) = OnServer::new() else { return };
    let queue = server.queue().await;
    queue.send(&[task("a")], real_now()).await.unwrap();
    let message = queue.receive(&of(), &SHORT, real_now()).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // Nobody has it by now and the service would let us; but somebody may be about to take it.
    let handle = &message.receipt_handle;
    assert_eq!(queue.change_visibility(handle, Duration::from_secs(9), real_now()).await.unwrap(), ReceiptState::Stale);
    assert!(queue.receive(&of(), &SHORT, real_now()).await.unwrap().is_some());
}

#[tokio::test]
async fn more_tasks_than_a_request_takes_are_sent_and_noted_by_day() {
    let Some(server) = OnServer::new() else { return };
    let queue = server.queue().await;
    let tasks: Vec<Task> = (0..23).map(|n| task(&n.to_string())).collect();
    assert_eq!(queue.send(&tasks, real_now()).await.unwrap(), 23);
    assert_eq!(queue.send(&tasks, real_now()).await.unwrap(), 0);
    assert_eq!(queue.counts(&of(), real_now()).await.unwrap(), Counts { visible: 23, in_flight: 0, dead: 0 });
    let note = catalog::path::sent(&source(), dt());
    assert!(server.lake.get().unwrap().objects().get(&note).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_wrong_with_a_queue_is_said_with_a_way_out() {
    let Some(server) = OnServer::new() else { return };
    let lake = Lake::open("memory://sqs-wrong", "test").await.unwrap();
    let open = async |settings: SqsSettings| SqsQueue::open(&lake, &sdk(), settings).await.unwrap_err();

    let missing = open(SqsSettings { uri: "sqs://nobody-made-it".into(), ..server.settings() }).await;
    let hint = missing.hint().unwrap();
    assert!(hint.contains("create-queue --queue-name nobody-made-it") && !missing.is_retryable(), "{missing}: {hint}");

    // A port that nobody listens on: bound, then given up.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = Some(format!("http://127.0.0.1:{port}"));
    let unreachable = open(SqsSettings { endpoint, ..server.settings() }).await;
    assert!(unreachable.is_retryable() && unreachable.hint().unwrap().contains("endpoint"), "{unreachable}");

    let nobody = SdkConfig::builder()
        .region(Region::new(services::REGION))
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .build();
    let unsigned = SqsQueue::open(&lake, &nobody, server.settings()).await.unwrap_err();
    assert!(unsigned.hint().unwrap().contains("credentials"), "{unsigned}: {:?}", unsigned.hint());

    for uri in ["sqs://team/q", "sqs://tasks.fifo", "https://sqs/1/q"] {
        let named = open(SqsSettings { uri: uri.into(), ..server.settings() }).await;
        assert!(matches!(named, Error::QueueUri { .. }) && named.hint().is_some(), "{named}");
    }
}

/// A service that takes batches in part: of each batch the second entry is refused the first `refusals` times.
async fn refuses_the_second_entry(refusals: usize) -> (String, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let batches: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&batches);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4096];
                let count = stream.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..count]);
                let text = String::from_utf8_lossy(&request).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let head = head.to_ascii_lowercase();
                let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse::<usize>();
                if body.len() >= length.unwrap() {
                    break (head, body.to_owned());
                }
            };
            let answer = if head.contains("amazonsqs.getqueueurl") {
                "{\"QueueUrl\":\"http://queue/1/q\"}".to_owned()
            } else if head.contains("amazonsqs.sendmessagebatch") {
                let mut seen = seen.lock().unwrap();
                let refuses = body.contains("\"1\"") && seen.len() < refusals;
                seen.push(body);
                let refused = "{\"Id\":\"1\",\"SenderFault\":false,\"Code\":\"InternalError\",\"Message\":\"not now\"}";
                format!("{{\"Successful\":[],\"Failed\":[{}]}}", if refuses { refused } else { "" })
            } else {
                "{}".to_owned()
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{answer}",
                answer.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (endpoint, batches)
}

#[tokio::test]
async fn what_a_batch_did_not_take_is_sent_again_alone_and_reported_in_the_end() {
    let lake = Lake::open("memory://sqs-batches", "test").await.unwrap();
    let texts: Vec<String> = (0..3).map(|n| format!("text {n}")).collect();
    for (refusals, requests) in [(0, 1), (2, 3), (usize::MAX, 4)] {
        let (endpoint, batches) = refuses_the_second_entry(refusals).await;
        let settings = SqsSettings { endpoint: Some(endpoint), ..SqsSettings::new("sqs://q") };
        let queue = SqsQueue::open(&lake, &sdk(), settings).await.unwrap();
        assert!(!queue.has_dead_letter_queue());
        let sent = queue.send_texts(&texts).await;
        let batches = batches.lock().unwrap().clone();
        assert_eq!(batches.len(), requests, "{refusals} refusals");
        assert!(texts.iter().all(|text| batches[0].contains(text)));
        for again in &batches[1..] {
            assert!(again.contains("text 1") && !again.contains("text 0") && !again.contains("text 2"), "{again}");
        }
        match sent {
            Ok(()) => assert_ne!(refusals, usize::MAX),
            Err(error) => {
                assert_eq!(refusals, usize::MAX, "{error}");
                assert!(crate::error::one_line(&error).contains("not now"), "{error}");
            }
        }
    }
}
