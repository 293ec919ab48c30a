//! One place with 5,000 reviews: does the last hundred cost what the first did? And beside it what a naive script pays, which
//! reads the page's text after every click.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use benches::{between, group_memory, headline, python};
use catalog::Timestamp;
use extract::fetch::{FetchSettings, Fetchers, USER_AGENT};
use extract::harvest::{Envelope, harvest};
use extract::identity::IdentityKey;
use extract::politeness::Hosts;
use extract::source::{EMBEDDED, FetchKind, Rate};
use extract::{Key, Source};
use replica::{Replica, ReplicaOptions};

const REVIEWS: u64 = 5_000;
/// What the issue of growing pages is judged by: the last stretch against an early one of the same length.
const EARLY: (u64, u64) = (500, 1_000);
const LATE: (u64, u64) = (4_500, 5_000);

/// What a crawl of the heavy place took.
struct Crawl {
    total: Duration,
    early: Duration,
    late: Duration,
    memory_early: u64,
    memory_end: u64,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        headline("one place with 5,000 reviews, a click a page of ten");
        let site = Replica::start(ReplicaOptions::heavy(REVIEWS)).await?;
        let place = site.truth().place_ids().into_iter().next().context("the site has a place")?;
        let ours = onggi(&site, &place).await?;
        print("onggi", &ours);
        match python() {
            Some(python) => {
                let theirs = playwright(&python, site.url(), &place)?;
                print("naive Playwright", &theirs);
                println!(
                    "   whole harvest, naive / onggi: {:.1}",
                    theirs.total.as_secs_f64() / ours.total.as_secs_f64()
                );
            }
            None => println!("   no peer: `.ci/peers bench` installs Playwright"),
        }
        site.stop().await;
        Ok(())
    })
}

fn print(name: &str, crawl: &Crawl) {
    println!(
        "   {name:<17} {:>6.1} s in all · reviews {}-{}: {:.2} s · {}-{}: {:.2} s · ratio {:.2} · browser memory {} MiB at 1,000, {} MiB at the end, ratio {:.2}",
        crawl.total.as_secs_f64(),
        EARLY.0 + 1,
        EARLY.1,
        crawl.early.as_secs_f64(),
        LATE.0 + 1,
        LATE.1,
        crawl.late.as_secs_f64(),
        crawl.late.as_secs_f64() / crawl.early.as_secs_f64(),
        crawl.memory_early >> 20,
        crawl.memory_end >> 20,
        crawl.memory_end as f64 / crawl.memory_early as f64
    );
}

async fn onggi(site: &Replica, place: &str) -> anyhow::Result<Crawl> {
    let (file, text) = EMBEDDED[1];
    let source = Source::parse(file, text).map_err(|wrong| anyhow::anyhow!("{wrong:?}"))?;
    let rate = Rate { interval: Duration::from_micros(1) };
    let hosts = Hosts::all_at(["pcmap.place.naver.com", "pcmap-api.place.naver.com"], &site.url().parse()?, rate);
    let fetchers = Fetchers::new(FetchSettings {
        hosts,
        user_agent: USER_AGENT.to_owned(),
        chromium: None,
        tabs: 1,
        now: || Timestamp::UNIX_EPOCH,
    });
    let fetch = fetchers.get(FetchKind::Browser);
    let identity = IdentityKey::from_bytes(b"a bench has nobody to hide")?;
    let envelope = Envelope { task: "bench".to_owned(), dt: "2026-10-01".parse()?, now: || Timestamp::UNIX_EPOCH };
    let started = Instant::now();
    let marks = Mutex::new(Vec::new());
    let browser = fetchers.browser().clone();
    let (early_seen, early) = tokio::sync::oneshot::channel();
    let early_seen = Mutex::new(Some(early_seen));
    let memory = tokio::spawn(async move {
        let _ = early.await;
        browser.process_group().await.map_or(0, group_memory)
    });
    let harvested = harvest(fetch.as_ref(), &source, &Key::new(place), &envelope, &identity, &|records| {
        if let Ok(mut marks) = marks.lock() {
            marks.push((records, started.elapsed()));
        }
        if records >= EARLY.1
            && let Ok(mut seen) = early_seen.lock()
            && let Some(seen) = seen.take()
        {
            let _ = seen.send(());
        }
    })
    .await?;
    let total = started.elapsed();
    let memory_end = fetchers.browser().process_group().await.map_or(0, group_memory);
    fetchers.close().await;
    ensure!(harvested.fetched == REVIEWS, "expected {REVIEWS} reviews, found {}", harvested.fetched);
    let marks = marks.into_inner().unwrap_or_default();
    Ok(Crawl {
        total,
        early: between(&marks, EARLY.0, EARLY.1).context("early marks")?,
        late: between(&marks, LATE.0, LATE.1).context("late marks")?,
        memory_early: memory.await?,
        memory_end,
    })
}

/// What one writes first: click, wait for the list to grow, read the text of every item again.
const SCRIPT: &str = include_str!("naive_crawl.py");

fn playwright(python: &std::path::Path, url: &str, place: &str) -> anyhow::Result<Crawl> {
    let page = format!("{url}/restaurant/{place}/review/visitor?reviewSort=recent");
    let chromium = Command::new("sh").args(["-c", "command -v chromium || command -v google-chrome"]).output()?;
    let chromium = String::from_utf8(chromium.stdout)?.trim().to_owned();
    let output = Command::new(python).args(["-c", SCRIPT, &page, &chromium, &REVIEWS.to_string()]).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(found["reviews"] == REVIEWS, "expected {REVIEWS} reviews, found {}", found["reviews"]);
    let marks: Vec<(u64, Duration)> = found["marks"]
        .as_array()
        .context("marks")?
        .iter()
        .filter_map(|mark| Some((mark[0].as_u64()?, Duration::from_secs_f64(mark[1].as_f64()?))))
        .collect();
    Ok(Crawl {
        total: Duration::from_secs_f64(found["total"].as_f64().context("total")?),
        early: between(&marks, EARLY.0, EARLY.1).context("early marks")?,
        late: between(&marks, LATE.0, LATE.1).context("late marks")?,
        memory_early: found["memory_early"].as_u64().unwrap_or(0),
        memory_end: found["memory_end"].as_u64().unwrap_or(0),
    })
}
