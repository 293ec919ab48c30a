//! Every way in which a page can make the browser ask somebody (`ways.js`), tried where it is let, so that it is known to ask,
//! and against the trap, where none may arrive.

use std::time::Duration;

use super::egress::{PAGE, Trap, fetchers_at, harvested, plain, site, source_of};
use super::*;

const WAYS: &str = include_str!("ways.js");

/// A page that tries all ways with these hosts and asks for its own last answer when it is done.
fn page(hosts: &str) -> String {
    format!(
        "<meta charset=utf-8><div id=list></div><script>{WAYS}\nconst hosts = {hosts};
        addEventListener('load', () => {{ tryAll(hosts); setTimeout(() => fetch('/api/done'), 5000); }});</script>"
    )
}

/// What is asked of the page's own site.
async fn asked_of_the_site(html: String, places: Vec<String>) -> (KeyOutput, Vec<String>) {
    let (base, asked) = site(move |path| {
        let mut steps = path.split('/').skip(1);
        match (steps.next(), steps.next(), steps.next().and_then(|at| at.parse::<usize>().ok())) {
            _ if path.starts_with("/p?") => plain("200 OK", "", &html),
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
    // Dozens of sites in one page are dozens of processes.
    let fetchers = fetchers_at(&base).with_browser_memory(8 << 30);
    let source = source_of(&format!("{}\n[browser.more]\nscroll = true\ntimeout = \"20s\"", PAGE.replace("5s", "60s")));
    let found = harvested(&fetchers, &source.unwrap(), "a").await.unwrap();
    // What left last is on its way.
    tokio::time::sleep(Duration::from_millis(300)).await;
    fetchers.close().await;
    let paths =
        asked.lock().unwrap().iter().filter_map(|request| request.split(' ').nth(1).map(str::to_owned)).collect();
    (found, paths)
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
    let (_, asked) = asked_of_the_site(page("[location.host]"), Vec::new()).await;
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
    let list: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    let (found, asked) = asked_of_the_site(page(&format!("[{}]", list.join(","))), hosts.clone()).await;
    assert_eq!(texts(&found.batch, "id"), [Some("own".to_owned())], "{asked:?}");
    assert_eq!(trap.came(), 0);
    let redirected = asked.iter().filter(|path| path.starts_with("/to/redirected_fetch/")).count();
    assert_eq!(redirected, hosts.len(), "each was redirected there");
}
