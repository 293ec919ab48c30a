//! A page is a stranger's program: what it may do to us, and how it may be read.

use std::time::Instant;

use extract::harvest::Ending;

use super::egress::{PAGE, fetchers_at, harvested, plain, site, source_of};
use super::*;

/// A page that is read by what its answers say; `more` goes into its recipe, `rest` behind it.
fn source(more: &str, rest: &str) -> Source {
    source_of(&format!("{PAGE}\n{more}\n{rest}")).unwrap()
}

fn ids(harvest: &KeyOutput) -> Vec<String> {
    texts(&harvest.batch, "id").into_iter().flatten().collect()
}

const SCROLLED: &str = "<!doctype html><meta charset=utf-8><ul id=list></ul><div id=end style='height:40px'></div><script>
    let p = 0, busy = false;
    async function more() { if (busy) return; busy = true; const items = (await (await fetch('/api?page=' + (++p))).json()).list;
      for (const x of items) { const li = document.createElement('li'); li.style.height = '120px'; li.textContent = x.id; document.getElementById('list').append(li); }
      busy = items.length === 0; }
    more(); new IntersectionObserver((e) => e[0].isIntersecting && more()).observe(document.getElementById('end'));</script>";

/// Ten items a page, so many pages.
fn listing(path: &str, pages: usize) -> Vec<u8> {
    let page: usize = path.rsplit('=').next().and_then(|page| page.parse().ok()).unwrap_or(1);
    let items = if page > pages { 0..0 } else { (page - 1) * 10..page * 10 };
    let items: Vec<String> = items.map(|id| format!("{{\"id\": \"r{id}\"}}")).collect();
    plain("200 OK", "", &format!("{{\"list\": [{}]}}", items.join(",")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_loads_more_at_its_end_is_scrolled_to_its_end() {
    if !has_browser() {
        return;
    }
    let (base, _) =
        site(|path| if path.starts_with("/api") { listing(path, 3) } else { plain("200 OK", "", SCROLLED) }).await;
    let fetchers = fetchers_at(&base);
    let found = harvested(&fetchers, &source("more = \"scroll\"", ""), "a").await.unwrap();
    assert_eq!((ids(&found).len(), found.ending), (30, Ending::Whole));
    // Without a word about it, what the page loads by itself is all.
    let found = harvested(&fetchers, &source("", ""), "a").await.unwrap();
    assert_eq!((ids(&found).len() >= 10, found.ending), (true, Ending::Whole));
    fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_without_an_end_is_cut_and_lands() {
    if !has_browser() {
        return;
    }
    let (base, _) =
        site(
            |path| {
                if path.starts_with("/api") { listing(path, usize::MAX / 100) } else { plain("200 OK", "", SCROLLED) }
            },
        )
        .await;
    let fetchers = fetchers_at(&base);
    let found = harvested(&fetchers, &source("more = \"scroll\"", "[limits]\nanswers = 6"), "a").await.unwrap();
    fetchers.close().await;
    assert!(matches!(&found.ending, Ending::Cut(why) if why.contains("[limits] answers")), "{:?}", found.ending);
    assert_eq!(ids(&found).len(), 50, "the document and five answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_unpacks_to_more_than_is_taken_is_given_up_at_once() {
    if !has_browser() {
        return;
    }
    let bomb = std::process::Command::new("sh")
        .args(["-c", "head -c 100000000 /dev/zero | tr '\\0' ' ' | gzip -c"])
        .output()
        .unwrap()
        .stdout;
    let (base, asked) = site(move |path| {
        if path == "/robots.txt" {
            return plain("404 No", "", "");
        }
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", bomb.len()).into_bytes();
        answer.extend(&bomb);
        answer
    })
    .await;
    let fetchers = fetchers_at(&base);
    let recipe = "max_body_bytes = 1000000";
    let start = Instant::now();
    let found = harvested(&fetchers, &source(recipe, ""), "a").await.unwrap();
    println!("given up after {:?}", start.elapsed());
    fetchers.close().await;
    assert!(
        matches!(&found.ending, Ending::Unreadable(why) if why.contains("at most 1000000 bytes, found more")),
        "{:?}",
        found.ending
    );
    assert_eq!(asked.lock().unwrap().iter().filter(|request| request.starts_with("GET /p?")).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_is_streamed_and_the_page_gets_it_too() {
    if !has_browser() {
        return;
    }
    let big = format!("{{\"list\": [{{\"id\": \"big\", \"t\": \"{}\"}}]}}", "x".repeat(3_000_000));
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
        big.len()
    );
    let html = "<meta charset=utf-8><div id=list></div><script>fetch('/api/big').then((r) => r.json()).then((x) => fetch('/api/' + x.list[0].t.length));</script>";
    let (base, _) = site(move |path| match path {
        "/api/big" => chunked.clone().into_bytes(),
        "/api/3000000" => plain("200 OK", "", "{\"list\": [{\"id\": \"whole\"}]}"),
        path if path.starts_with("/p?") => plain("200 OK", "", html),
        _ => plain("404 No", "", ""),
    })
    .await;
    let fetchers = fetchers_at(&base);
    let found = harvested(&fetchers, &source("more = \"scroll\"", ""), "a").await.unwrap();
    fetchers.close().await;
    assert_eq!(ids(&found), ["big", "whole"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_in_another_character_set_is_read_as_it_was_written() {
    if !has_browser() {
        return;
    }
    let (base, _) = site(|path| {
        if path == "/robots.txt" {
            return plain("404 No", "", "");
        }
        let key = path.rsplit('=').next().unwrap_or_default();
        let kind = if key == "header" { "text/html; charset=euc-kr" } else { "text/html" };
        let meta = if key == "meta" { "<meta charset=euc-kr>" } else { "" };
        // "맛있" in EUC-KR; `broken` has a byte that says nothing in any of them.
        let text: &[u8] = if key == "broken" { b"\xff" } else { b"\xb8\xc0\xc0\xd6" };
        let state =
            b"<div id=list></div><script>window.__S__ = {\"ROOT_QUERY\":{\"list\":{\"items\":[{\"id\":\"".as_slice();
        let body = [meta.as_bytes(), state, text, b"\"}]}}};</script>"].concat();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    })
    .await;
    let fetchers = fetchers_at(&base);
    let source =
        source("[browser.document]\nstate = \"__S__\"\nfield = \"list\"\npath = \"/items\"\ntypename = \"Row\"", "");
    for key in ["header", "meta"] {
        assert_eq!(ids(&harvested(&fetchers, &source, key).await.unwrap()), ["맛있"], "{key}");
    }
    for key in ["none", "broken"] {
        let found = harvested(&fetchers, &source, key).await.unwrap();
        assert!(
            matches!(&found.ending, Ending::Unreadable(why) if why.contains("bytes that are no UTF-8")),
            "{key}: {:?}",
            found.ending
        );
        assert_eq!(found.unreadable.len(), 1, "what came is kept");
    }
    fetchers.close().await;
}

/// A page that writes files, registers a worker whichever way it calls it, and leaves cookies for the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_leaves_nothing_behind() {
    if !has_browser() {
        return;
    }
    let file = format!("onggi-{}.bin", std::process::id());
    let html = format!(
        "<meta charset=utf-8><div id=list></div><a id=a download={file} href=/file>x</a><script>
        document.cookie = 'own=1'; localStorage.setItem('own', 1);
        document.getElementById('a').click();
        const quietly = (what) => {{ try {{ what(); }} catch (e) {{}} }};
        quietly(() => navigator.serviceWorker.register('/sw1.js'));
        quietly(() => ServiceWorkerContainer.prototype.register.call(navigator.serviceWorker, '/sw2.js'));
        const frame = document.createElement('iframe'); document.body.append(frame);
        quietly(() => frame.contentWindow.ServiceWorkerContainer.prototype.register.call(navigator.serviceWorker, '/sw3.js'));
        quietly(() => frame.contentWindow.navigator.serviceWorker.register('/sw4.js'));
        setTimeout(() => fetch('/api/' + (localStorage.getItem('seen') || 'first')).then(() => localStorage.setItem('seen', 'second')), 800);
        </script>"
    );
    let (base, asked) = site(move |path| match path {
        "/file" => plain("200 OK", "content-disposition: attachment\r\n", "evil"),
        "/robots.txt" => plain("404 No", "", ""),
        path if path.starts_with("/p?") => plain("200 OK", "set-cookie: sid=abc\r\n", &html),
        path if path.starts_with("/api/") => plain("200 OK", "", &format!("{{\"list\": [{{\"id\": \"{path}\"}}]}}")),
        _ => plain("200 OK", "", "self.x = 1;"),
    })
    .await;
    let (fetchers, source) = (fetchers_at(&base), source("more = \"scroll\"", ""));
    for key in ["a", "b"] {
        assert_eq!(
            ids(&harvested(&fetchers, &source, key).await.unwrap()),
            ["/api/first"],
            "{key}: it knows nothing of the one before"
        );
    }
    fetchers.close().await;
    let asked = asked.lock().unwrap().clone();
    assert!(asked.iter().any(|request| request.starts_with("GET /file")), "it tried");
    assert!(!asked.iter().any(|request| request.starts_with("GET /sw")), "{asked:?}");
    let pages: Vec<_> = asked.iter().filter(|request| request.starts_with("GET /p?")).collect();
    assert_eq!(pages.len(), 2);
    assert!(!pages[1].to_lowercase().contains("cookie:"), "{}", pages[1]);
    let script = r#"ls -a "$HOME/Downloads" "$PWD" "${TMPDIR:-/tmp}" 2>/dev/null | grep -c "$1""#;
    let found = std::process::Command::new("sh").args(["-c", script, "sh", &file]).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&found).trim(), "0", "no file was written");
}

/// What a page's program has made of the language does not decide what it is asked, nor how much we are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_has_changed_the_language_is_read_and_says_no_more_than_it_may() {
    if !has_browser() {
        return;
    }
    let html = "<meta charset=utf-8><div id=list></div><script>fetch('/api/1').then((r) => r.json());
        const long = 'x'.repeat(50000000), evil = () => { console.log(long); return long; }, bad = () => { throw new Error(long); };
        Promise.prototype.catch = evil; String.prototype.slice = evil; Array.prototype.find = bad; window.MutationObserver = bad;
        document.querySelector = bad; Document.prototype.querySelector = bad; window.setTimeout = bad; Promise.reject(new Error(long));
        window.onerror = null; throw new Error(long);</script>";
    let (base, _) = site(move |path| match path {
        "/api/1" => plain("200 OK", "", "{\"list\": [{\"id\": \"one\"}]}"),
        path if path.starts_with("/p?") => plain("200 OK", "", html),
        _ => plain("404 No", "", ""),
    })
    .await;
    let fetchers = fetchers_at(&base);
    let found = harvested(&fetchers, &source("more = \"scroll\"", ""), "a").await.unwrap();
    assert_eq!((ids(&found), found.ending), (vec!["one".to_owned()], Ending::Whole));
    fetchers.close().await;
}

/// Takes memory, and changes while it does: at first, or after its first answer.
const HOG: &str = "<meta charset=utf-8><div id=list></div><script>const held = [];
        const take = () => { const more = new Uint8Array(32 << 20); for (let at = 0; at < more.length; at += 4096) more[at] = 1; held.push(more); document.getElementById('list').append('.'); setTimeout(take, 20); };
        fetch('/api?page=1').then((r) => r.json()).then(() => { if (FIRST) setTimeout(take, 1500); }); if (!FIRST) take();</script>";

/// One page takes what it can get, beside another that is read meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_takes_all_memory_is_ended_and_the_one_beside_it_goes_on() {
    if !has_browser() || !std::path::Path::new("/proc/self/status").exists() {
        return;
    }
    let (base, _) = site(|path| match path {
        path if path.starts_with("/api") => listing(path, 3),
        "/p?k=late" => plain("200 OK", "", &HOG.replace("FIRST", "true")),
        "/p?k=soon" => {
            plain("200 OK", "", &HOG.replace("FIRST", "false").replace("fetch('/api?page=1')", "new Promise(() => {})"))
        }
        "/robots.txt" => plain("404 No", "", ""),
        _ => plain("200 OK", "", SCROLLED),
    })
    .await;
    let hosts = Hosts::all_at(["site.example"], &base, Rate::parse("10000/s").unwrap());
    let settings = FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 2, now: clock };
    let fetchers = Fetchers::new(settings).with_browser_memory(1200 << 20);
    let scrolled = source("[browser.more]\nscroll = true\ntimeout = \"30s\"", "");
    let well = source("more = \"scroll\"", "");
    let (hog, beside) = tokio::join!(harvested(&fetchers, &scrolled, "late"), harvested(&fetchers, &well, "beside"));
    let (hog, beside) = (hog.unwrap(), beside.unwrap());
    // What came lands.
    assert!(
        matches!(&hog.ending, Ending::Cut(why) if why.contains("1200 MiB of memory, [crawl] browser_mib")),
        "{:?}",
        hog.ending
    );
    assert_eq!((ids(&hog).len(), ids(&beside).len(), beside.ending), (10, 30, Ending::Whole));
    let group = fetchers.browser().process_group().await;
    assert!(group.is_some(), "the browser goes on");
    // Nothing of this one is read before it is too much.
    let slow = source_of(&PAGE.replace("#list", "#never").replace("\"5s\"", "\"60s\"")).unwrap();
    let found = harvested(&fetchers, &slow, "soon").await.unwrap();
    assert!(
        matches!(&found.ending, Ending::Unreadable(why) if why.contains("[crawl] browser_mib")),
        "{:?}",
        found.ending
    );
    assert_eq!(ids(&harvested(&fetchers, &well, "after").await.unwrap()).len(), 30);
    assert_eq!(fetchers.browser().process_group().await, group);
    fetchers.close().await;
}

/// A frame of another site is another program, into which none of our scripts go. It registers a worker that answers for all
/// later pages, opens windows, leaves a cookie and files.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_of_another_site_leaves_nothing_behind_either() {
    if !has_browser() {
        return;
    }
    let file = format!("onggi-frame-{}.bin", std::process::id());
    let frame = format!(
        "<meta charset=utf-8><a id=a download={file} href=/file>x</a><a id=w target=_blank href=/window>y</a><form id=f target=_blank action=/window></form><script>
        document.cookie = 'frame=1'; localStorage.setItem('frame', 1);
        navigator.serviceWorker.register('/sw.js').then(() => fetch('/registered'));
        document.getElementById('a').click(); document.getElementById('w').click(); document.getElementById('f').submit(); window.open('/window');
        new Worker(URL.createObjectURL(new Blob(['self.navigator.serviceWorker && navigator.serviceWorker.register(\"/sw.js\")'])));
        fetch('/frame-is-up');</script>"
    );
    let worker = "addEventListener('install', () => skipWaiting()); addEventListener('activate', (e) => e.waitUntil(clients.claim())); \
        addEventListener('fetch', (e) => e.respondWith(new Response('{\"list\": [{\"id\": \"forged\"}]}'))); fetch('/ran');";
    let (base, asked) = site(move |path| match path {
        "/frame" => plain("200 OK", "set-cookie: sid=frame; SameSite=None\r\n", &frame),
        "/sw.js" => String::from_utf8(plain("200 OK", "", worker)).unwrap().replace("text/html", "text/javascript").into_bytes(),
        "/file" => plain("200 OK", "content-disposition: attachment\r\n", "evil"),
        "/robots.txt" => plain("404 No", "", ""),
        path if path.starts_with("/p?") => {
            let port = path.rsplit('=').next().unwrap_or_default();
            plain("200 OK", "", &format!("<meta charset=utf-8><div id=list></div><iframe src=http://localhost:{port}/frame></iframe><script>setTimeout(() => fetch('/api/own'), 2500)</script>"))
        }
        path if path.starts_with("/api/") => plain("200 OK", "", "{\"list\": [{\"id\": \"own\"}]}"),
        _ => plain("200 OK", "", "x"),
    })
    .await;
    let port = base.port().unwrap();
    let mut hosts = Hosts::all_at(["site.example"], &base, Rate::parse("10000/s").unwrap());
    let place = Url::parse(&format!("http://localhost:{port}")).unwrap();
    hosts.insert("frame.example", extract::politeness::HostSetting { url: Some(place), rate: None }).unwrap();
    let settings = FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock };
    let (fetchers, source) = (Fetchers::new(settings), source("[browser.more]\nscroll = true\ntimeout = \"6s\"", ""));
    for _ in 0..2 {
        let found = harvested(&fetchers, &source, &port.to_string()).await.unwrap();
        assert_eq!(ids(&found), ["own"]);
    }
    fetchers.close().await;
    let asked = asked.lock().unwrap().clone();
    let count = |path: &str| asked.iter().filter(|request| request.starts_with(&format!("GET {path} "))).count();
    assert_eq!((count("/frame"), count("/frame-is-up")), (2, 2), "{asked:?}");
    assert!(count("/sw.js") >= 1 && count("/file") >= 1, "it tried: {asked:?}");
    assert_eq!((count("/ran"), count("/registered"), count("/window")), (0, 0, 0), "{asked:?}");
    let frames: Vec<_> = asked.iter().filter(|request| request.starts_with("GET /frame ")).collect();
    assert!(!frames[1].to_lowercase().contains("cookie:"), "{}", frames[1]);
    let script = r#"ls -a "$HOME/Downloads" "$PWD" "${TMPDIR:-/tmp}" 2>/dev/null | grep -c "$1""#;
    let found = std::process::Command::new("sh").args(["-c", script, "sh", &file]).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&found).trim(), "0", "no file was written");
}
