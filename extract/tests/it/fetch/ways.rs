//! Every way in which a page can make the browser ask somebody (`ways.js`), tried where it is let, so that it is known to ask,
//! and against the trap, where none may arrive.

use std::time::Duration;

use super::egress::{PAGE, Trap, fetchers_at, harvested, plain, site, source_of};
use super::*;

const WAYS: &str = include_str!("ways.js");

/// The hosts of one page: each is some frames, and a frame of another site is a process of the browser.
const HOSTS_A_PAGE: usize = 8;

/// A page that tries all ways with these hosts when it is clicked, of which the first is that one of all, and gives its own last
/// answer when it is done.
fn page(hosts: &str, from: usize) -> String {
    format!(
        "<meta charset=utf-8><div id=list></div><button id=more>more</button><script>{WAYS}\nconst hosts = {hosts};
        const more = document.getElementById('more');
        const done = () => {{ more.remove(); fetch('/api/done'); }};
        more.addEventListener('click', () => {{ tryAll(hosts, {from}); setTimeout(done, 3000); }}, {{ once: true }});</script>"
    )
}

/// What is asked of the pages' own site, and the ids that each of the pages gave.
async fn asked_of_the_site(pages: Vec<String>, places: Vec<String>) -> (Vec<Option<String>>, Vec<String>) {
    let keys = 0..pages.len();
    let (base, asked) = site(move |path| {
        let mut steps = path.split('/').skip(1);
        match (steps.next(), steps.next(), steps.next().and_then(|at| at.parse::<usize>().ok())) {
            _ if path.starts_with("/p?k=") => plain("200 OK", "", &pages[path[5..].parse::<usize>().unwrap()]),
            (Some("api"), ..) => plain("200 OK", "", r#"{"list": [{"id": "own"}]}"#),
            (Some("to"), Some(name), Some(at)) => {
                let host = places.get(at).map(|host| format!("http://{host}")).unwrap_or_default();
                plain("302 Found", &format!("location: {host}/way/{name}\r\n"), "")
            }
            (Some("way"), ..) => plain("200 OK", "access-control-allow-origin: *\r\n", ""),
            _ => plain("404 No", "", ""),
        }
    })
    .await;
    let fetchers = fetchers_at(&base).with_browser_memory(4 << 30);
    let source =
        source_of(&format!("{PAGE}\n[browser.more]\nlist = \"#list\"\nbutton = \"#more\"\ntimeout = \"60s\"")).unwrap();
    let mut ids = Vec::new();
    for key in keys {
        ids.extend(texts(&harvested(&fetchers, &source, &key.to_string()).await.unwrap().batch, "id"));
    }
    // What left last is on its way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    fetchers.close().await;
    let paths =
        asked.lock().unwrap().iter().filter_map(|request| request.split(' ').nth(1).map(str::to_owned)).collect();
    (ids, paths)
}

/// The names of the ways that are heard where they are let.
fn heard_ways() -> Vec<&'static str> {
    let (_, rest) = WAYS.split_once("const WAYS = {").unwrap();
    let (ways, _) = rest.split_once("\n};").unwrap();
    ways.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(": ")).map(|(name, _)| name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_asks_where_it_is_let() {
    if !has_browser() {
        return;
    }
    let (_, asked) = asked_of_the_site(vec![page("[location.host]", 0)], Vec::new()).await;
    let ways = heard_ways();
    assert!(ways.len() >= 30, "{ways:?}");
    let silent: Vec<_> = ways.iter().filter(|way| !asked.contains(&format!("/way/{way}"))).collect();
    assert!(silent.is_empty(), "{silent:?} asked nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_page_asks_for_arrives_there() {
    if !has_browser() {
        return;
    }
    let trap = Trap::set().await;
    let hosts = trap.hosts();
    let pages: Vec<String> = (0..hosts.len())
        .step_by(HOSTS_A_PAGE)
        .map(|from| {
            let some = &hosts[from..hosts.len().min(from + HOSTS_A_PAGE)];
            page(&serde_json::to_string(some).unwrap(), from)
        })
        .collect();
    let own = vec![Some("own".to_owned()); pages.len()];
    let (ids, asked) = asked_of_the_site(pages, hosts.clone()).await;
    assert_eq!(ids, own, "{asked:?}");
    assert_eq!(trap.came(), 0);
    let redirected = asked.iter().filter(|path| path.starts_with("/to/redirected_fetch/")).count();
    assert_eq!(redirected, hosts.len(), "each was redirected there");
}
