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
            matches!(&error, FetchError::RobotsDenied { rule, .. } if rule == "Disallow: /restaurant/*/review"),
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
    assert_eq!(politeness.robots_decisions()[0].rule, "Disallow: /; not obeyed: agreed in writing");
}

#[tokio::test]
async fn a_missing_robots_allows_and_a_broken_one_forbids() {
    let source = source(str::to_owned);
    for (status, allowed) in
        [("404 Not Found", true), ("403 Forbidden", true), ("500 Oops", false), ("503 Busy", false)]
    {
        let (base, _) = server(answer(status, "")).await;
        assert_eq!(at(&base, "1000/s").admit(&source, PAGE).await.is_ok(), allowed, "{status}");
    }
    // Nobody listens there.
    let unused = Url::parse("http://127.0.0.1:9").unwrap();
    assert!(matches!(at(&unused, "1000/s").admit(&source, PAGE).await, Err(FetchError::RobotsDenied { .. })));
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
    politeness.report(PAGE, &Outcome::Blocked { evidence: "서비스 이용이 제한되었습니다".to_owned() });
    let error = politeness.admit(&source, PAGE).await.unwrap_err();
    assert!(
        matches!(&error, FetchError::Blocked { host, evidence } if host == "pcmap.place.naver.com" && evidence.contains("제한")),
        "{error}"
    );
    assert!(politeness.pace_again(&source, PAGE).await.is_err());
}
