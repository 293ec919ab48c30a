//! Plain requests: the list of places.

use std::time::Duration;

use extract::harvest::Ending;
use replica::{Block, BlockSpan, Fault, Robots};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn places(switches: Switches) -> (Site, Result<KeyOutput, FetchError>) {
    let options = ReplicaOptions { places: 120, reviews: 1_200, switches, ..Default::default() };
    let site = Site::with(options, str::to_owned).await;
    let harvest = site.harvest(&site.places, "서울 맛집").await;
    (site, harvest)
}

fn ids(harvest: &KeyOutput) -> BTreeSet<String> {
    texts(&harvest.batch, "place_id").into_iter().flatten().collect()
}

#[tokio::test]
async fn a_list_is_read_to_its_total() {
    let (site, harvest) = places(Switches::default()).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), site.replica.truth().place_ids());
    assert_eq!((harvest.fetched, harvest.set_aside, harvest.duplicates, harvest.requests), (120, 0, 0, 3));
    assert_eq!(site.replica.stats().graphql, 3);
    assert_eq!(site.told.lock().unwrap().as_slice(), [50, 100, 120]);
    let urls: BTreeSet<_> = texts(&harvest.batch, "_url").into_iter().flatten().collect();
    assert_eq!(
        urls,
        BTreeSet::from(["https://pcmap-api.place.naver.com/graphql".to_owned()]),
        "as the source names it, wherever it was"
    );
    let decisions = site.fetchers.robots_decisions();
    assert_eq!(decisions.len(), 1);
    assert!(decisions[0].allowed);
}

#[tokio::test]
async fn a_list_without_places_is_empty() {
    let (_, harvest) = places(Switches { empty: true, ..Default::default() }).await;
    assert_eq!(harvest.unwrap().fetched, 0);
}

#[tokio::test]
async fn a_list_that_ends_before_its_total_ends() {
    let (site, harvest) = places(Switches { list_cap: Some(60), ..Default::default() }).await;
    assert_eq!(harvest.unwrap().fetched, 60);
    assert_eq!(site.replica.stats().graphql, 4, "two pages, and two with nothing");
}

#[tokio::test]
async fn troubles_that_pass_lose_nothing() {
    let cases = [
        ("429", Switches { too_many: Fault::times(0.7, 2), ..Default::default() }),
        ("5xx", Switches { server_error: Fault::times(0.7, 2), ..Default::default() }),
        ("garbage", Switches { garbage: Fault::times(0.7, 2), ..Default::default() }),
        ("cut", Switches { cut: Fault::times(0.7, 2), ..Default::default() }),
        ("errors", Switches { partial_errors: Fault::times(0.7, 2), ..Default::default() }),
        ("slow", Switches { slow: Fault::once(1.0), slow_for: Duration::from_millis(300), ..Default::default() }),
    ];
    for (name, switches) in cases {
        let (site, harvest) = places(switches).await;
        let harvest = harvest.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ids(&harvest), site.replica.truth().place_ids(), "{name}");
        let stats = site.replica.stats();
        let fired =
            stats.too_many + stats.server_errors + stats.garbage + stats.cut + stats.partial_errors + stats.slow;
        assert!(fired > 0, "{name} did not happen");
    }
}

#[tokio::test]
async fn troubles_that_stay_are_told_with_evidence() {
    let cases = [
        (Switches { server_error: Fault::always(1.0), ..Default::default() }, "could not be fetched: it answered 50"),
        (Switches { garbage: Fault::always(1.0), ..Default::default() }, "can't be read: expected JSON, found"),
        (
            Switches { partial_errors: Fault::always(1.0), ..Default::default() },
            "it refused: upstream request timed out",
        ),
        (Switches { cut: Fault::always(1.0), ..Default::default() }, "the answer broke off"),
    ];
    for (switches, expected) in cases {
        let (site, harvest) = places(switches).await;
        let told = match harvest {
            Err(error) => error.to_string(),
            Ok(KeyOutput { ending: Ending::Unreadable(why), fetched: 0, .. }) => why,
            Ok(harvest) => panic!("{:?}", harvest.ending),
        };
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains(site.replica.url()), "the real address stays out of it: {told}");
        assert_eq!(site.replica.stats().graphql, 4, "one try and three more");
    }
}

#[tokio::test]
async fn a_host_that_asks_for_long_patience_is_given_it() {
    let switches = Switches { too_many: Fault::always(1.0), retry_after: 120, ..Default::default() };
    let (site, harvest) = places(switches).await;
    let expected = FetchError::RateLimited {
        host: "pcmap-api.place.naver.com".to_owned(),
        retry_after: Some(Duration::from_mins(2)),
    };
    assert_eq!(harvest.unwrap_err(), expected);
    assert_eq!(site.replica.stats().graphql, 1);
}

#[tokio::test]
async fn a_block_page_stops_the_host() {
    let switches = Switches { block: Some(Block { after: 1, span: BlockSpan::Forever }), ..Default::default() };
    let (site, harvest) = places(switches).await;
    let harvest = harvest.unwrap();
    assert_eq!(harvest.fetched, 50, "what came before it is there");
    let Ending::Short(error) = &harvest.ending else { panic!("{:?}", harvest.ending) };
    assert!(matches!(error, FetchError::Blocked { host, .. } if host == "pcmap-api.place.naver.com"), "{error}");
    let asked = site.replica.stats().graphql;
    assert!(matches!(site.harvest(&site.places, "국밥").await, Err(FetchError::Blocked { .. })));
    assert_eq!(site.replica.stats().graphql, asked, "nobody asks again");
}

#[tokio::test]
async fn robots_is_obeyed() {
    let (site, harvest) = places(Switches { robots: Robots::Deny("/graphql".to_owned()), ..Default::default() }).await;
    let harvest = harvest.unwrap();
    assert!(
        matches!(&harvest.ending, Ending::Refused(rule) if rule.contains("Disallow: /graphql (line ")),
        "{:?}",
        harvest.ending
    );
    assert_eq!((harvest.fetched, site.replica.stats().graphql), (0, 0));
    assert!(!site.fetchers.robots_decisions()[0].allowed);
    // Who could not ask was told nothing.
    let (_, harvest) = places(Switches { robots: Robots::Status(503), ..Default::default() }).await;
    assert!(matches!(harvest, Err(FetchError::Transient { .. })));
    let (_, harvest) = places(Switches { robots: Robots::Status(404), ..Default::default() }).await;
    assert!(harvest.is_ok());
}

/// A server that gives one raw answer to everything but robots.txt.
async fn raw(answer: Vec<u8>) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = vec![0; 65_536];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            let robots = buffer[..read].starts_with(b"GET /robots.txt");
            let robots_answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec();
            let _ = socket.write_all(if robots { &robots_answer } else { &answer }).await;
            let _ = socket.shutdown().await;
        }
    });
    url
}

async fn from_raw(answer: Vec<u8>) -> Result<Ending, FetchError> {
    let base = raw(answer).await;
    let hosts = Hosts::all_at(["pcmap-api.place.naver.com"], &base, Rate::parse("1000/s").unwrap());
    let fetchers =
        Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock });
    let source = Source::parse(
        EMBEDDED[0].0,
        &EMBEDDED[0]
            .1
            .replace("max_body_bytes = 16777216", "max_body_bytes = 100000")
            .replace("timeout = \"20s\"", "timeout = \"1s\""),
    )
    .unwrap();
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let fetch = fetchers.get(source.fetch_kind());
    let harvest = harvest(fetch.as_ref(), &source, &Key::new("국밥"), &envelope, &identity, &|_| {}).await?;
    assert_eq!(harvest.fetched, 0);
    Ok(harvest.ending)
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    // 100 MB of blanks in 97 KB of gzip, made by whoever has gzip.
    let bomb = std::process::Command::new("sh")
        .args(["-c", "head -c 100000000 /dev/zero | tr '\\0' ' ' | gzip -c"])
        .output()
        .unwrap()
        .stdout;
    assert!(bomb.len() < 200_000);
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bomb.len()).into_bytes();
    answer.extend(bomb);
    let ending = from_raw(answer).await.unwrap();
    assert!(
        matches!(&ending, Ending::Unreadable(why) if why.contains("at most 100000 bytes, found more")),
        "{ending:?}"
    );
}

/// Why a key is not had of a server at `base` that is given 200 ms for an answer.
async fn impatient(base: &Url) -> FetchError {
    let hosts = Hosts::all_at(["pcmap-api.place.naver.com"], base, Rate::parse("1000/s").unwrap());
    let fetchers =
        Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock });
    let source =
        Source::parse(EMBEDDED[0].0, &EMBEDDED[0].1.replace("timeout = \"20s\"", "timeout = \"200ms\"")).unwrap();
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let fetch = fetchers.get(source.fetch_kind());
    harvest(fetch.as_ref(), &source, &Key::new("국밥"), &envelope, &identity, &|_| {}).await.unwrap_err()
}

#[tokio::test]
async fn statuses_lead_to_the_right_next_action() {
    let answer = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into_bytes()
    };
    let url = "`https://pcmap-api.place.naver.com/graphql`";
    let ending = |status: &'static str, body: &'static str| from_raw(answer(status, body));
    assert_eq!(
        ending("404 Not Found", "gone, call 010-1234-5678").await,
        Ok(Ending::Gone(format!("{url} is gone: it answered 404; 24 bytes of text")))
    );
    for (to, expected) in [
        ("http://169.254.169.254/", "302, a redirect to the host `169.254.169.254` (if the list is there now"),
        ("/list/v2?p=1", "a redirect to somewhere on the same host (if"),
        ("https://me:pw@pcmap-api.place.naver.com/x", "a redirect to somewhere on the same host (if"),
        ("http://[nowhere/\u{1b}[31m", "a redirect to what is no address (if"),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let found = from_raw(answer.into_bytes()).await;
        let told = match found {
            Ok(Ending::Unreadable(why)) => why,
            // A header that HTTP does not allow is no answer at all.
            Err(error) => error.to_string(),
            Ok(other) => panic!("{to:?}: {other:?}"),
        };
        assert!(told.contains(expected) || to.contains('\u{1b}'), "{to:?}: {told}");
        assert!(!told.contains(['\u{1b}', '\n']) && !told.contains("me:pw"), "{to:?}: {told}");
    }
    let found = ending("200 OK", "{\"data\": {\"places\": []}}").await.unwrap();
    let shape = "expected a list of items at `/data/restaurants|restaurantList/items`, found nothing";
    assert!(matches!(&found, Ending::Unreadable(why) if why.contains(shape)), "{found:?}");
    let error = ending("403 Forbidden", "no").await.unwrap_err();
    assert!(matches!(&error, FetchError::Transient { .. }), "{error}");
    // A list is one only if it is whole, whatever stands in the answer.
    let list = "{\"data\": {\"restaurants\": {\"items\": [], \"total\": 0}}}";
    for (status, body, expected) in [
        ("200 OK", list, "Ok(Whole)"),
        ("201 Created", list, "Ok(Whole)"),
        ("203 Non-Authoritative Information", list, "Ok(Whole)"),
        ("204 No Content", "", "Ok(Whole)"),
        ("205 Reset Content", "", "Ok(Whole)"),
        ("202 Accepted", list, "Err(Transient { url: _, reason: \"it answered 202, which is not ready yet; "),
        ("206 Partial Content", list, "can't be read: it answered 206, a part of an answer that nobody asked for; "),
        ("226 IM Used", list, "can't be read: it answered 226, a part of an answer that nobody asked for; "),
    ] {
        let found = format!("{:?}", ending(status, body).await);
        let found = found.replace(&format!("{:?}", url.trim_matches('`')), "_");
        assert!(found.contains(expected), "{status}: {found}");
    }
    let error = ending("403 Forbidden", "<p>과도한 접근 요청으로 서비스 이용이 제한되었습니다.</p>").await.unwrap_err();
    assert!(matches!(&error, FetchError::Blocked { .. }), "{error}");
}

/// Interim answers without end: whoever polls them has no time to look at the clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_always_about_to_answer_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                if buffer[..read].starts_with(b"GET /robots.txt") {
                    let none = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    let _ = socket.write_all(none).await;
                    return;
                }
                let hints = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".repeat(500);
                while socket.write_all(&hints).await.is_ok() {}
            });
        }
    });
    let error = impatient(&base).await;
    assert!(matches!(&error, FetchError::Transient { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_never_ends_its_answer_is_left() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = vec![0; 65_536];
            let read = socket.read(&mut buffer).await.unwrap_or(0);
            if buffer[..read].starts_with(b"GET /robots.txt") {
                let _ =
                    socket.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            } else {
                let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{").await;
                open.push(socket);
            }
        }
    });
    let error = impatient(&base).await;
    assert!(matches!(&error, FetchError::Transient { reason, .. } if reason == "no answer within 0.2 s"), "{error}");
}

#[tokio::test]
async fn a_host_that_answers_nothing_is_asked_for_each_key_once() {
    let switches = Switches { server_error: Fault::always(1.0), ..Default::default() };
    let site =
        Site::with(ReplicaOptions { places: 10, reviews: 10, switches, ..Default::default() }, str::to_owned).await;
    for key in 0..20 {
        let error = site.harvest(&site.places, &format!("key {key}")).await.unwrap_err();
        assert!(matches!(error, FetchError::Transient { .. }), "{error}");
    }
    assert_eq!(site.replica.stats().graphql, 3 * 4 + 17, "three keys with all their tries, then it is the host");
}

#[tokio::test]
async fn a_site_that_gives_fewer_than_it_is_asked_for_is_asked_for_what_follows() {
    let (base, asked) = egress::site(|path| {
        let offset = path.split("o=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<usize>().ok());
        let Some(offset) = offset else { return egress::plain("404 No", "", "") };
        let list: Vec<_> = (offset..7.min(offset + 2)).map(|id| serde_json::json!({"id": id.to_string()})).collect();
        egress::plain("200 OK", "", &serde_json::json!({"list": list}).to_string())
    })
    .await;
    let source = egress::source_of(
        "fetch = \"http\"\nrobots = { ignore = \"test\" }\n[http]\n\
         url = \"https://site.example/l?k={key}&o={offset}&n={size}\"\npage_size = 5",
    );
    let found = egress::harvested(&egress::fetchers_at(&base), &source.unwrap(), "a").await.unwrap();
    assert_eq!((found.fetched, found.duplicates), (7, 0));
    let pages = asked.lock().unwrap().iter().filter(|request| request.contains("/l?")).count();
    assert_eq!(pages, 5, "the last one makes sure");
}
