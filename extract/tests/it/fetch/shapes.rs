//! Sites of other shapes: where documents have their items, and how a page is made to load more.

use extract::harvest::Ending;

use super::egress::{fetchers_at, harvested, plain, site, source_of};
use super::*;

/// A source for the browser; `rest` goes into its recipe.
fn source(rest: &str) -> Source {
    let head = "fetch = \"browser\"\n[browser]\nurl = \"https://site.example/p?k={key}\"\nready = \"#list\"\nready_timeout = \"10s\"\nreloads = 0";
    source_of(&format!("{head}\n{rest}")).unwrap()
}

fn ids(harvest: &KeyOutput) -> Vec<String> {
    texts(&harvest.batch, "id").into_iter().flatten().collect()
}

fn named(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|id| format!("r{id}")).collect()
}

fn items(range: std::ops::Range<u32>) -> String {
    let items: Vec<String> = range.map(|id| format!("{{\"@type\": \"Row\", \"id\": \"r{id}\"}}")).collect();
    format!("[{}]", items.join(", "))
}

/// The number behind the last `=` of an address.
fn page_of(path: &str) -> u32 {
    path.rsplit('=').next().and_then(|page| page.parse().ok()).unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_of_a_document_alone_are_read_whatever_holds_them() {
    if !has_browser() {
        return;
    }
    let list = items(0..3);
    let html = format!(
        "<!doctype html><meta charset=utf-8><ul id=list></ul><script>window.__STATE__ = {{\"rows\": {{\"n\": 5, \"list\": {list}}}}};</script>
        <script type='application/json' id=data>{{\"rows\": {list}}}</script><script type='application/ld+json'>{{\"@graph\": {list}}}</script>"
    );
    let (base, asked) =
        site(move |path| if path.starts_with("/p?") { plain("200 OK", "", &html) } else { plain("404 No", "", "") })
            .await;
    let fetchers = fetchers_at(&base);
    for (document, short) in [
        ("state = \"__STATE__\"\npath = \"/rows/list\"\ntotal = \"/rows/n\"", 2),
        ("script = \"data\"\npath = \"/rows\"", 0),
        ("linked_data = \"Row\"", 0),
    ] {
        let found = harvested(&fetchers, &source(&format!("[browser.document]\n{document}")), "a").await.unwrap();
        assert_eq!((ids(&found), found.short, &found.ending), (named(0..3), short, &Ending::Whole), "{document}");
    }
    // What is not there is told, and is no empty list.
    let wrong = source("[browser.document]\nscript = \"data\"\npath = \"/row\"");
    let found = harvested(&fetchers, &wrong, "a").await.unwrap();
    let why = "expected a list of items at `/row`, found nothing";
    assert!(matches!(&found.ending, Ending::Unreadable(told) if told.contains(why)), "{:?}", found.ending);
    let kept: Vec<_> = found.unreadable.iter().map(|kept| String::from_utf8_lossy(&kept.body).into_owned()).collect();
    assert!(kept.len() == 1 && kept[0].contains("window.__STATE__") && found.unreadable[0].reason.contains(why));
    fetchers.close().await;
    assert_eq!(asked.lock().unwrap().iter().filter(|request| request.starts_with("GET /p?")).count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_what_its_status_says() {
    if !has_browser() {
        return;
    }
    let html =
        format!("<!doctype html><ul id=list></ul><script type='application/json' id=data>{}</script>", items(0..3));
    let statuses = [
        ("203 Changed", "Ok((Whole, 3))"),
        ("204 No Content", "Ok((Whole, 0))"),
        ("202 Accepted", "it answered 202, which is not ready yet"),
        ("206 Partial Content", "Unreadable(\"`https://site.example/p?k=3` can't be read: it answered 206, a part of"),
        ("400 Bad Request", "Unreadable(\"`https://site.example/p?k=4` can't be read: it answered 400; "),
        ("503 Busy", "Transient"),
        ("410 Gone", "Gone(\"`https://site.example/p?k=6` is gone: it answered 410; "),
    ];
    let answer = move |path: &str| match statuses.get(page_of(path) as usize) {
        Some((status, _)) if path.starts_with("/p?") => {
            plain(status, "", if *status == "204 No Content" { "" } else { &html })
        }
        _ => plain("404 No", "", ""),
    };
    let (base, _) = site(answer).await;
    let fetchers = fetchers_at(&base);
    for (key, (status, expected)) in statuses.iter().enumerate() {
        let source = source("[browser.document]\nscript = \"data\"\npath = \"\"");
        let found = harvested(&fetchers, &source, &key.to_string()).await;
        let found = format!("{:?}", found.map(|found| (found.ending, found.fetched)));
        assert!(found.contains(expected), "{status}: {found}");
    }
    fetchers.close().await;
}

/// A list of three pages with a link from each to the next. How the last one ends, its key says.
fn linked(path: &str) -> Vec<u8> {
    if path == "/robots.txt" {
        return plain("200 OK", "", "User-agent: *\nDisallow: /*page=2&k=forbidden\n");
    }
    let key = path.rsplit_once("k=").map_or("", |(_, key)| key.split('&').next().unwrap_or_default());
    let page =
        path.split_once("page=").map_or(1, |(_, page)| page.split('&').next().unwrap_or_default().parse().unwrap());
    let next = match (key, page) {
        (_, 1 | 2) | ("endless", _) => page + 1,
        ("gone", 3) => 4,
        ("same", 3) => 3,
        _ => 0,
    };
    if page > 3 && key == "gone" {
        return plain("404 Not Found", "", "no such page");
    }
    let link = match (key, next) {
        (_, 0) => "<a class=next aria-disabled=true href=/p?page=9>next</a>".to_owned(),
        ("head", _) => format!("<link rel=next href='/p?page={next}&k={key}'>"),
        ("window", _) => format!("<a class=next target=_blank href='/p?page={next}&k={key}'>next</a>"),
        ("script", _) => format!(
            "<button class=next onclick=\"setTimeout(() => location = '/p?page={next}&k={key}', 50)\">next</button>"
        ),
        _ => format!("<a class=other href=/other>next</a><a class=next href='/p?page={next}&k={key}'>next</a>"),
    };
    let list = items((page - 1) * 10..page * 10);
    let html = format!(
        "<!doctype html><meta charset=utf-8><ul id=list></ul>{link}<script id=data type=application/json>{list}</script>"
    );
    plain("200 OK", "", &html)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_on_where_its_next_link_leads() {
    if !has_browser() {
        return;
    }
    let (base, asked) = site(linked).await;
    let fetchers = fetchers_at(&base);
    let recipe = "[browser.document]\nscript = \"data\"\npath = \"\"\n[browser.more]\nnext = \".next, link[rel=next]\"";
    // The last has no way on, leads to nothing, or to itself.
    for key in ["plain", "gone", "same", "head", "window", "script"] {
        let found = harvested(&fetchers, &source(recipe), key).await.unwrap();
        assert_eq!((ids(&found), &found.ending), (named(0..30), &Ending::Whole), "{key}");
        let urls = texts(&found.batch, "_url");
        assert!(urls[29].as_ref().unwrap().starts_with("https://site.example/p?page=3"), "{key}: {:?}", urls[29]);
    }
    let bounded = source(&format!("{recipe}\n[limits]\nanswers = 5"));
    let found = harvested(&fetchers, &bounded, "endless").await.unwrap();
    assert!(matches!(&found.ending, Ending::Cut(why) if why.contains("[limits] answers")), "{:?}", found.ending);
    assert_eq!(ids(&found), named(0..50));
    let found = harvested(&fetchers, &source(recipe), "forbidden").await.unwrap();
    let rule = "cut after 1 answer: robots.txt does not allow ";
    assert!(matches!(&found.ending, Ending::Refused(why) if why.starts_with(rule)), "{:?}", found.ending);
    assert_eq!(ids(&found), named(0..10));
    fetchers.close().await;
    assert!(!asked.lock().unwrap().iter().any(|request| request.contains("page=2&k=forbidden")), "it was not asked");
}

/// A page whose button puts the next ten in the place of the last: `next`, and the same behind `more` where it adds them.
fn scripted(adds: bool) -> String {
    let first = if adds { "" } else { "list.textContent = '';" };
    format!(
        "<!doctype html><meta charset=utf-8><ul id=list></ul><button id=on>on</button><script>
        const list = document.getElementById('list'), on = document.getElementById('on'); let page = 0;
        const load = async () => {{ on.disabled = true; const rows = await (await fetch('/api?page=' + ++page)).json(); {first}
          for (const row of rows.list) {{ const li = document.createElement('li'); li.textContent = row.id; list.append(li); }}
          if (page < 4) on.disabled = false; else if ({adds}) on.remove(); }};
        on.onclick = load; load();</script>"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_button_replaces_the_list_or_makes_it_longer() {
    if !has_browser() {
        return;
    }
    for (adds, more) in [(false, "next = \"#on\""), (true, "list = \"#list\"\nbutton = \"#on\"")] {
        let (base, _) = site(move |path| match path {
            path if path.starts_with("/p?") => plain("200 OK", "", &scripted(adds)),
            path if path.starts_with("/api") => {
                let page = page_of(path);
                plain("200 OK", "", &format!("{{\"list\": {}}}", items((page - 1) * 10..page * 10)))
            }
            _ => plain("404 No", "", ""),
        })
        .await;
        let fetchers = fetchers_at(&base);
        let found = harvested(&fetchers, &source(&format!("response = \"*/api*\"\n[browser.more]\n{more}")), "a").await;
        fetchers.close().await;
        let found = found.unwrap();
        assert_eq!((ids(&found), &found.ending), (named(0..40), &Ending::Whole), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_told_the_language_of_its_source() {
    if !has_browser() {
        return;
    }
    let html = "<meta charset=utf-8><div id=list></div><script>fetch('/api?' + [navigator.language, new Intl.NumberFormat().resolvedOptions().locale, (1.5).toLocaleString()].join('_'))</script>";
    let (base, asked) = site(move |path| match path {
        path if path.starts_with("/p?") => plain("200 OK", "", html),
        path if path.starts_with("/api") => plain("200 OK", "", "{\"list\": []}"),
        _ => plain("404 No", "", ""),
    })
    .await;
    let fetchers = fetchers_at(&base);
    harvested(&fetchers, &source("response = \"*/api*\"\nlanguage = \"de-DE,de;q=0.9\""), "a").await.unwrap();
    fetchers.close().await;
    let asked = asked.lock().unwrap().clone();
    let of = |path: &str| asked.iter().find(|request| request.starts_with(path)).unwrap().to_ascii_lowercase();
    assert!(of("GET /p?").contains("accept-language: de-de,de;q=0.9"), "{asked:?}");
    assert!(of("GET /api?").contains("/api?de-de_de-de_1,5 "), "{asked:?}");
}
