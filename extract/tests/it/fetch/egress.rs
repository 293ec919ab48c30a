//! Nothing leaves for where it must not: every way out is tried against a trap on this machine, in every spelling of an
//! address that leads there, and beside it the addresses of neighbours and of a cloud's own service.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use extract::harvest::Ending;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Counts who comes, with a connection or a datagram, and answers what would be taken for data.
pub(super) struct Trap {
    port: u16,
    came: Arc<AtomicUsize>,
}

const CAUGHT: &str = r#"{"list": [{"id": "caught"}]}"#;

impl Trap {
    pub(super) async fn set() -> Self {
        let came = Arc::new(AtomicUsize::new(0));
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let listeners = [Some(listener), TcpListener::bind(format!("[::1]:{port}")).await.ok()];
        for listener in listeners.into_iter().flatten() {
            let came = Arc::clone(&came);
            tokio::spawn(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    came.fetch_add(1, Ordering::SeqCst);
                    let _ = socket.read(&mut [0; 4096]).await;
                    let _ = socket.write_all(&plain("200 OK", "access-control-allow-origin: *\r\n", CAUGHT)).await;
                }
            });
        }
        let sockets = ["0.0.0.0", "[::1]"].map(|at| format!("{at}:{port}"));
        for socket in sockets {
            let (came, Ok(socket)) = (Arc::clone(&came), tokio::net::UdpSocket::bind(socket).await) else { continue };
            tokio::spawn(async move {
                while socket.recv_from(&mut [0; 2048]).await.is_ok() {
                    came.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { port, came }
    }

    pub(super) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Everything that leads to it, and to others whom a site must not reach.
    pub(super) fn hosts(&self) -> Vec<String> {
        let own = [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "127.0.0.2",
            "127.255.255.254",
            "2130706433",
            "0x7f000001",
            "0x7f.0.0.1",
            "0x7F.0x0.0x0.0x1",
            "0177.0.0.1",
            "017700000001",
            "0177.0x0.0.1",
            "127.0.0.1.",
            "%31%32%37.0.0.1",
            "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
            "127\u{3002}0\u{3002}0\u{3002}1",
            "0",
            "0.0.0.0",
            "0x0",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "\u{24db}ocalhost",
            "loc%61lhost",
            "ip6-localhost",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "a@127.0.0.1",
            "site.example@127.0.0.1",
            "a:b@localhost",
        ];
        let others = [
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "[fe80::1]",
            "[fd00:ec2::254]",
        ];
        let own = own.iter().map(|host| format!("{host}:{}", self.port));
        own.chain(others.map(|host| format!("{host}:80"))).collect()
    }
}

pub(super) fn plain(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A site that answers by path, and what it was asked for.
pub(super) async fn site(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                let read = socket.read(&mut buffer).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                log.lock().unwrap().push(request.clone());
                let _ = socket.write_all(&answer(&path)).await;
            });
        }
    });
    (url, asked)
}

pub(super) fn fetchers_at(base: &Url) -> Fetchers {
    let hosts = Hosts::all_at(["site.example"], base, Rate::parse("10000/s").unwrap());
    Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock })
}

pub(super) fn source_of(head: &str) -> Result<Source, String> {
    let text = format!(
        "name = \"rows\"\nevery = \"1d\"\nrate = \"10000/s\"\nkeys.list = [\"a\"]\n{head}\n[items]\npath = \"/list\"\nkey = \"id\"\n\
         [fields]\nid = {{ path = \"/id\", type = \"id\" }}\n"
    );
    Source::parse("rows.toml", &text).map_err(|problems| problems[0].message.clone())
}

pub(super) async fn harvested(fetchers: &Fetchers, source: &Source, key: &str) -> Result<KeyOutput, FetchError> {
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    harvest(fetchers.get(source.fetch_kind()).as_ref(), source, &Key::new(key), &envelope, &identity, &|_| {}).await
}

#[tokio::test]
async fn a_source_that_names_such_a_host_asks_nobody() {
    let trap = Trap::set().await;
    let hosts = trap.hosts();
    assert!(hosts.len() >= 40, "{}", hosts.len());
    let unused = Url::parse("http://127.0.0.1:9").unwrap();
    for host in hosts {
        // Who names a user in an address is not even read.
        let head = format!(
            "fetch = \"http\"\nrobots = {{ ignore = \"test\" }}\n[http]\nurl = \"http://{host}/l?k={{key}}\"\ntimeout = \"2s\""
        );
        if let Ok(source) = source_of(&head) {
            let found = harvested(&fetchers_at(&unused), &source, "a").await;
            assert!(!matches!(&found, Ok(harvest) if harvest.fetched > 0), "{host}");
        }
        assert_eq!(trap.came(), 0, "{host}");
    }
}

#[tokio::test]
async fn a_robots_that_redirects_there_asks_nobody_and_is_no_verdict() {
    let trap = Trap::set().await;
    for host in trap.hosts() {
        let location = format!("location: http://{host}/robots.txt\r\n");
        let (base, asked) = site(move |_| plain("302 Found", &location, "")).await;
        let source = source_of("fetch = \"http\"\n[http]\nurl = \"https://site.example/l?k={key}\"").unwrap();
        let found = harvested(&fetchers_at(&base), &source, "a").await;
        assert!(matches!(&found, Err(FetchError::Transient { .. })), "{host}: {found:?}");
        assert_eq!((trap.came(), asked.lock().unwrap().len()), (0, 1), "{host}");
    }
}

#[tokio::test]
async fn an_answer_that_redirects_there_is_none() {
    let trap = Trap::set().await;
    for host in trap.hosts() {
        let location = format!("location: http://{host}/l\r\n");
        let (base, _) =
            site(
                move |path| {
                    if path == "/robots.txt" { plain("404 No", "", "") } else { plain("302 Found", &location, "") }
                },
            )
            .await;
        let source = source_of("fetch = \"http\"\n[http]\nurl = \"https://site.example/l?k={key}\"").unwrap();
        let found = harvested(&fetchers_at(&base), &source, "a").await.unwrap();
        assert!(matches!(&found.ending, Ending::Unreadable(_)), "{host}: {:?}", found.ending);
        assert_eq!(trap.came(), 0, "{host}");
    }
}

pub(super) const PAGE: &str = "fetch = \"browser\"\n[browser]\nurl = \"https://site.example/p?k={key}\"\nresponse = \"*/api*\"\nready = \"#list\"\nready_timeout = \"5s\"\nreloads = 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_redirects_there_is_not_followed() {
    if !has_browser() {
        return;
    }
    let trap = Trap::set().await;
    let hosts = trap.hosts();
    let places = hosts.clone();
    let (base, _) = site(move |path| match path.strip_prefix("/p?k=").and_then(|at| at.parse::<usize>().ok()) {
        Some(at) => plain("302 Found", &format!("location: http://{}/\r\n", places[at]), ""),
        None => plain("404 No", "", ""),
    })
    .await;
    let (fetchers, source) = (fetchers_at(&base), source_of(PAGE).unwrap());
    for (at, host) in hosts.iter().enumerate() {
        let found = harvested(&fetchers, &source, &at.to_string()).await;
        assert!(!matches!(&found, Ok(harvest) if harvest.fetched > 0), "{host}: {found:?}");
        assert_eq!(trap.came(), 0, "{host}: {found:?}");
    }
    fetchers.close().await;
}

/// What a moved host's own page asks of that host by its name goes where it was moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_page_asks_of_a_moved_host_goes_where_it_was_moved() {
    if !has_browser() {
        return;
    }
    let html = "<meta charset=utf-8><div id=list></div><script>fetch('https://api.site.example/api/1').then((r) => r.json()); \
        fetch('https://other.example/api/2').catch(() => {}); fetch('http://api.site.example/api/3');</script>";
    let (base, asked) = site(move |path| match path {
        path if path.starts_with("/p?") => plain("200 OK", "", html),
        path if path.starts_with("/api/") => {
            plain("200 OK", "access-control-allow-origin: *\r\n", &format!("{{\"list\": [{{\"id\": \"{path}\"}}]}}"))
        }
        _ => plain("404 No", "", ""),
    })
    .await;
    let hosts = Hosts::all_at(["site.example", "api.site.example"], &base, Rate::parse("10000/s").unwrap());
    let fetchers =
        Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock });
    let source = source_of(&format!("{PAGE}\nresponse_hosts = [\"api.site.example\"]")).unwrap();
    let found = harvested(&fetchers, &source, "a").await.unwrap();
    fetchers.close().await;
    let ids: BTreeSet<_> = texts(&found.batch, "id").into_iter().flatten().collect();
    assert_eq!(ids, BTreeSet::from(["/api/1".to_owned(), "/api/3".to_owned()]), "{:?}", asked.lock().unwrap());
}
