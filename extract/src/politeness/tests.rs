use std::time::Duration;

use super::*;
use crate::source::EMBEDDED;

/// Answers every request with the same bytes and counts them.
async fn server(answer: &'static str) -> (Url, Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (url, count)
}

fn answer(status: &str, body: &str) -> &'static str {
    Box::leak(
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
            .into_boxed_str(),
    )
}

fn source(edit: impl Fn(&str) -> String) -> Source {
    Source::parse("t.toml", &edit(EMBEDDED[1].1)).unwrap()
}

const PAGE: &str = "https://pcmap.place.naver.com/restaurant/1001/review/visitor?reviewSort=recent";

fn at(base: &Url, per_second: &str) -> Politeness {
    Politeness::new(
        Hosts::all_at(["pcmap.place.naver.com"], base, Rate::parse(per_second).unwrap()),
        "Onggi/0.1 (+https://onggi.example)",
        || Timestamp::UNIX_EPOCH,
    )
}

#[tokio::test]
async fn robots_is_read_once_obeyed_and_recorded() {
    let (base, count) = server(answer("200 OK", "User-agent: Onggi\nDisallow: /restaurant/*/review\n")).await;
    let politeness = at(&base, "1000/s");
    let source = source(str::to_owned);
    for id in [1001, 1002] {
        let url = PAGE.replace("1001", &id.to_string());
        let error = politeness.admit(&source, &url).await.unwrap_err();
        assert!(
            matches!(&error, FetchError::RobotsDenied { rule, .. } if rule == "Disallow: /restaurant/*/review (line 2)"),
            "{error}"
        );
    }
    assert_eq!(
        politeness.admit(&source, "https://pcmap.place.naver.com/restaurant/1001/home").await.unwrap().as_str(),
        format!("{base}restaurant/1001/home")
    );
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
    let decisions = politeness.robots_decisions();
    let short: Vec<(&str, bool)> = decisions.iter().map(|decision| (decision.url.as_str(), decision.allowed)).collect();
    assert_eq!(
        short,
        [
            ("https://pcmap.place.naver.com/restaurant/*/home", true),
            ("https://pcmap.place.naver.com/restaurant/*/review/visitor", false)
        ]
    );
}

#[tokio::test]
async fn a_source_may_ignore_it_with_a_reason() {
    let (base, _) = server(answer("200 OK", "User-agent: *\nDisallow: /\n")).await;
    let politeness = at(&base, "1000/s");
    let source = source(|text| text.replace("robots = \"obey\"", "robots = { ignore = \"agreed in writing\" }"));
    politeness.admit(&source, PAGE).await.unwrap();
    assert_eq!(politeness.robots_decisions()[0].rule, "Disallow: / (line 2); not obeyed: agreed in writing");
}

#[tokio::test]
async fn a_missing_robots_allows_and_one_that_can_not_be_had_says_nothing() {
    let source = source(str::to_owned);
    let cases = [
        ("404 Not Found", "", "allowed"),
        ("403 Forbidden", "", "allowed"),
        ("500 Oops", "", "it answered 500"),
        ("503 Busy", "", "it answered 503"),
        ("202 Accepted", "", "it answered 202, which is not ready yet"),
        ("206 Partial Content", "User-agent: *\nAllow: /", "it answered 206, a part of an answer"),
        ("204 No Content", "", "allowed"),
        ("203 Changed", "User-agent: *\nAllow: /", "allowed"),
        ("429 Slow\r\nretry-after: 7", "", "limited"),
        ("301 Moved\r\nlocation: /robots.txt", "", "too many redirects"),
        ("301 Moved\r\nlocation: http://169.254.169.254/latest", "", "it redirects: "),
        ("301 Moved\r\nlocation: http://127.0.0.1:1/robots.txt", "", "it redirects: "),
        ("301 Moved\r\nlocation: http://elsewhere.example/", "", "it redirects: `elsewhere.example` is no host"),
        ("301 Moved", "", "it redirects to nowhere"),
    ];
    for (status, body, expected) in cases {
        let (base, _) = server(answer(status, body)).await;
        let politeness = at(&base, "1000/s");
        let found = match politeness.admit(&source, PAGE).await {
            Ok(_) => "allowed".to_owned(),
            Err(FetchError::Transient { reason, .. }) => reason,
            Err(FetchError::Resting { retry_after: Some(wait), .. }) if wait.as_secs() == 7 => "limited".to_owned(),
            Err(error) => panic!("{status}: {error}"),
        };
        assert!(found.contains(expected), "{status}: {found}");
        // It is no verdict: nothing is recorded of what was not learned.
        assert_eq!(politeness.robots_decisions().len(), usize::from(expected == "allowed"), "{status}");
    }
    // Nobody listens there.
    let unused = Url::parse("http://127.0.0.1:9").unwrap();
    let politeness = at(&unused, "1000/s");
    assert!(matches!(politeness.admit(&source, PAGE).await, Err(FetchError::Transient { .. })));
    // Who ignores the rules need not know them.
    let ignoring = self::source(|text| text.replace("robots = \"obey\"", "robots = { ignore = \"agreed\" }"));
    assert!(politeness.admit(&ignoring, PAGE).await.is_ok());
    assert_eq!(politeness.robots_decisions()[0].rule, "robots.txt could not be read; not obeyed: agreed");
}

/// A server that is ill, and then well.
#[tokio::test]
async fn a_robots_that_could_not_be_had_is_asked_for_again() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        for status in ["503 Busy", "404 Not Found"] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    let (politeness, source) = (at(&base, "1000/s"), source(str::to_owned));
    assert!(politeness.admit(&source, PAGE).await.is_err());
    tokio::time::sleep(ROBOTS_RETRY).await;
    assert!(politeness.admit(&source, PAGE).await.is_ok());
}

#[tokio::test]
async fn everybody_keeps_one_pace() {
    let (base, _) = server(answer("404 Not Found", "")).await;
    let politeness = Arc::new(at(&base, "20/s"));
    let source = Arc::new(source(str::to_owned));
    politeness.admit(&source, PAGE).await.unwrap();
    let start = Instant::now();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (politeness, source) = (Arc::clone(&politeness), Arc::clone(&source));
            tokio::spawn(async move { politeness.admit(&source, PAGE).await.map(|_| ()) })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(290), "six requests at 20/s took {elapsed:?}");
}

#[tokio::test]
async fn a_crawl_delay_slows_us_unless_a_setting_says_otherwise() {
    let (base, _) = server(answer("200 OK", "User-agent: *\nCrawl-delay: 0.2\n")).await;
    let source = source(|text| text.replace("rate = \"1/s\"", "rate = \"1000/s\""));
    let mut hosts = Hosts::new();
    hosts.insert("pcmap.place.naver.com", HostSetting { url: Some(base.clone()), rate: None }).unwrap();
    let took = async |politeness: Politeness| {
        politeness.admit(&source, PAGE).await.unwrap();
        let start = Instant::now();
        politeness.admit(&source, PAGE).await.unwrap();
        start.elapsed()
    };
    assert!(took(Politeness::new(hosts, "Onggi/0.1", || Timestamp::UNIX_EPOCH)).await >= Duration::from_millis(190));
    assert!(took(at(&base, "1000/s")).await < Duration::from_millis(190));
}

#[tokio::test]
async fn a_block_page_stops_the_host_for_everybody() {
    let (base, _) = server(answer("404 Not Found", "")).await;
    let politeness = at(&base, "1000/s");
    let source = source(str::to_owned);
    politeness.admit(&source, PAGE).await.unwrap();
    politeness.report(PAGE, &RequestOutcome::Blocked { evidence: "서비스 이용이 제한되었습니다".to_owned() });
    let error = politeness.admit(&source, PAGE).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Blocked { host, evidence } if host == "pcmap.place.naver.com" && evidence.contains("제한")),
        "{error}"
    );
    assert!(politeness.pace_again(&source, PAGE).await.is_err());
}
