//! Pages that the replica does not have: what is loaded, what is half rendered, what only a drawn page shows, a page that is
//! a step ahead of what was taken from it.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A site of one page, whatever the address, that notes what it is asked for.
async fn one_page(html: &'static str) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
                log.lock().unwrap().push(request.clone());
                let (status, body) = if request.starts_with("GET /robots.txt") {
                    ("404 Not Found", "")
                } else if request.starts_with("POST ") {
                    // A page writes its own answers; they come after as many milliseconds as its address ends with.
                    let (head, body) = request.split_once("\r\n\r\n").unwrap_or_default();
                    let wait = head.split(' ').nth(1).and_then(|path| path.rsplit('=').next()?.parse().ok());
                    tokio::time::sleep(Duration::from_millis(wait.unwrap_or(0))).await;
                    ("200 OK", body)
                } else {
                    ("200 OK", html)
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = socket.write_all(head.as_bytes()).await;
                let _ = socket.write_all(body.as_bytes()).await;
            });
        }
    });
    (url, asked)
}

async fn harvest_one_page(html: &'static str) -> (Result<KeyOutput, FetchError>, Vec<String>) {
    let (base, asked) = one_page(html).await;
    let hosts = Hosts::all_at(["pcmap.place.naver.com"], &base, Rate::parse("1000/s").unwrap());
    let fetchers =
        Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock });
    let text = EMBEDDED[1].1.replace("reloads = 4", "reloads = 1").replace("timeout = \"10s\"", "timeout = \"1s\"");
    let source =
        Source::parse(EMBEDDED[1].0, &text.replace("block_urls = [", "block_urls = [\"*/tracker*\", ")).unwrap();
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let fetch = fetchers.get(source.fetch_kind());
    let harvested = harvest(fetch.as_ref(), &source, &Key::new("7"), &envelope, &identity, &|_| {}).await;
    fetchers.close().await;
    let asked = asked.lock().unwrap().clone();
    (harvested, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_never_drawn_is_half_rendered() {
    if !has_browser() {
        return;
    }
    let (harvested, asked) =
        harvest_one_page("<script>window.__APOLLO_STATE__ = {\"ROOT_QUERY\": {}};</script><p>곧 열립니다</p>").await;
    let error = harvested.unwrap_err();
    assert!(
        error.to_string().contains("expected `#_review_list` on the page, found it half rendered with 6 characters"),
        "{error}"
    );
    assert_eq!(
        asked.iter().filter(|request| request.starts_with("GET /restaurant/7/")).count(),
        2,
        "it was opened again once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_only_the_page_shows_is_seen() {
    if !has_browser() {
        return;
    }
    let html = "<script>window.__APOLLO_STATE__ = {\"ROOT_QUERY\": {}}; setTimeout(() => { document.body.innerHTML = '<div>서비스 이용이 제한되었습니다.</div>'; }, 50);</script>";
    let (harvested, _) = harvest_one_page(html).await;
    assert!(matches!(&harvested, Err(FetchError::Blocked { .. })), "{harvested:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_is_needed_is_loaded_and_dialogs_stop_nothing() {
    if !has_browser() {
        return;
    }
    let html = "<style>@font-face { font-family: f; src: url(/f.woff2) } body { font-family: f; background: url(/b.png) }</style>\
        <script>window.__APOLLO_STATE__ = {\"ROOT_QUERY\": {\"visitorReviews({})\": {\"total\": 1, \"items\": [{\"id\": \"r1\", \"body\": \"서비스 이용이 제한되었습니다 라는 글\"}]}}};\
        alert('a'); confirm('b'); print(); window.onbeforeunload = () => 'stay';</script>\
        <ul id=_review_list><li>글<img src=/i.png></li></ul><video src=/v.mp4 autoplay muted preload=auto></video><audio src=/a.mp3 preload=auto></audio>\
        <script src=/tracker.js></script><iframe src=/frame></iframe>";
    let (harvested, asked) = harvest_one_page(html).await;
    let harvest = harvested.unwrap();
    assert_eq!(
        (harvest.fetched, harvest.set_aside, harvest.requests),
        (1, 0, 1),
        "a review that quotes a block page is a review"
    );
    let paths: BTreeSet<&str> =
        asked.iter().filter_map(|request| request.split(' ').nth(1)).filter(|path| *path != "/favicon.ico").collect();
    assert_eq!(paths, BTreeSet::from(["/robots.txt", "/restaurant/7/review/visitor?reviewSort=recent", "/frame"]));
    let page = asked.iter().find(|request| request.starts_with("GET /restaurant/")).unwrap().to_lowercase();
    assert!(page.contains("onggi/0.1") && page.contains("accept-language: ko-kr,ko;q=0.9"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_drawn_before_it_is_taken_is_not_lost() {
    if !has_browser() {
        return;
    }
    // Each click asks twice: for what is known, at once, and for what is new, late. The first is taken for the answer to the
    // click, and the last answer is drawn, its button gone, while the one before it is looked at.
    let html = "<script>window.__APOLLO_STATE__ = {\"ROOT_QUERY\": {\"visitorReviews({})\": {\"total\": 3, \"items\": [{\"id\": \"r1\"}]}}};</script>\
        <div class=place_section><ul id=_review_list><li>r1</ul><div><a href=# id=more>더보기</a></div></div>\
        <script>let page = 1; const ask = (id, after) => fetch('/graphql?getVisitorReviews&after=' + after, { method: 'POST', \
        body: JSON.stringify({ data: { visitorReviews: { total: 3, items: [{ id }] } } }) }).then((answer) => answer.json()); \
        document.getElementById('more').onclick = (event) => { event.preventDefault(); page += 1; const id = 'r' + page; ask('r1', 0); \
        ask(id, 300).then(() => { const item = document.createElement('li'); item.textContent = id; \
        document.getElementById('_review_list').append(item); if (id === 'r3') event.target.remove(); }); };</script>";
    let (harvested, _) = harvest_one_page(html).await;
    let harvest = harvested.unwrap();
    let ids: Vec<_> = texts(&harvest.batch, "review_id").into_iter().flatten().collect();
    assert_eq!(ids, ["r1", "r2", "r3"]);
}
