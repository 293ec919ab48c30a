//! What a task costs beside itself: a day of 100, 1,000 and 10,000 tasks, one key and one row each, from a site that answers
//! at once, with 2 and 8 jobs, on a lake on disk. What is measured is this process's CPU time for each task: it should not grow with
//! the commits that the day already has.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use benches::{cpu, headline};
use catalog::{Date, Lake, Timestamp};
use extract::fetch::{Fetch, FetchFlow, FetchRequest, FetchSettings, Fetchers, Response, USER_AGENT};
use extract::identity::IdentityKey;
use extract::politeness::Hosts;
use extract::queue::EmbeddedQueue;
use extract::worker::extract_with;
use extract::{Cancel, Extractor, FetchError, Key, Source, Tuning};
use serde_json::json;

const DAY: Date = Date::constant(2026, 10, 1);

/// What the issue asks for: the CPU time of a task at the largest day, over that at the smallest.
const GROWTH: f64 = 1.2;

/// The source of the worker's tests, with one key a task.
fn source() -> anyhow::Result<Source> {
    let text = include_str!("../extract/tests/it/worker/notes.toml").replace("per_task = 2", "per_task = 1");
    Source::parse("notes.toml", &text).map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

struct Site;

#[async_trait]
impl Fetch for Site {
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        let key = request.key.value.as_str();
        let _ = on(Response::answer(format!("https://site.test/{key}"), json!({"items": [{"id": key}]})));
        Ok(())
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap_or_default()
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        headline("a day of 100, 1,000 and 10,000 tasks of one row: CPU time a task");
        for jobs in [2, 8] {
            let mut smallest = None;
            for tasks in [100, 1_000, 10_000] {
                let (cpu, wall, commits) = day(tasks, jobs).await?;
                let each = cpu / f64::from(tasks);
                let first = *smallest.get_or_insert(each);
                println!(
                    "   {tasks:>6} tasks, {jobs} jobs: {cpu:.2} CPU-s ({:.2} ms a task, {:.2} of the smallest day's), {wall:.1} s, {commits} commits",
                    each * 1e3,
                    each / first
                );
                ensure!(
                    tasks < 10_000 || each <= GROWTH * first,
                    "a task costs {:.2} times what it costs on a small day, more than {GROWTH}",
                    each / first
                );
            }
        }
        Ok(())
    })
}

async fn day(tasks: u32, jobs: usize) -> anyhow::Result<(f64, f64, u64)> {
    let folder = tempfile::tempdir()?;
    let lake = Lake::open(folder.path().to_str().context("a folder with an odd name")?, "bench").await?;
    let queue = Arc::new(EmbeddedQueue::open(folder.path().join("queue.sqlite")).await?);
    let source = source()?;
    let ctx = Extractor {
        lake: lake.clone(),
        queue,
        sources: Arc::from([source.clone()]),
        fetchers: Arc::new(Fetchers::new(FetchSettings {
            hosts: Hosts::new(),
            user_agent: USER_AGENT.to_owned(),
            chromium: None,
            tabs: 1,
            now,
        })),
        identity: IdentityKey::from_bytes(b"made up for a bench, 32 bytes at least")?,
        run: "bench".parse()?,
        now,
        jobs,
        seed: 1,
        progress: Arc::new(|_| {}),
        cancel: Cancel::new(),
        heartbeat: None,
        tuning: Tuning::default(),
    };
    let fetch: Arc<dyn Fetch> = Arc::new(Site);
    let keys: Vec<Key> = (0..tasks).map(|n| Key::new(format!("k{n:05}"))).collect();
    let (began, before) = (Instant::now(), cpu()?);
    let extracted = extract_with(&ctx, &source, &fetch, DAY, keys).await?;
    let (used, wall) = (cpu()? - before, began.elapsed().as_secs_f64());
    ensure!(extracted.landed == u64::from(tasks), "expected {tasks} rows, found {}", extracted.landed);
    let commits = lake.table(source.table()).await?.snapshot().await?.version();
    Ok((used, wall, commits))
}
