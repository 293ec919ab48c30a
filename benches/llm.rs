//! Summaries from a service on a busy day: 300 ms an answer, 5 % refused with 429, 2 % failed with 5xx, 1 % of the answers cut in the
//! middle, and a real limit on requests a minute. How much of the limit becomes answers, what is paid for twice, and what a second run
//! asks. Beside it the client that most programs take, async-openai with its own way of trying again, so many calls at a time: it is
//! handed the very requests that ours sent.
//!
//! A request that fails takes of the limit too. So 92 in 100 are all that can become answers, but for the head start that the service
//! allows at first: its bucket holds a tenth of a minute.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use benches::{headline, put};
use catalog::{Lake, TableName, Timestamp};
use enrich::llm::openai::Settings;
use enrich::{Enriched, Enrichment, OpenAi, Outcome};
use futures::StreamExt as _;
use llm_replica::{Fault, LlmReplica, LlmReplicaOptions, RetryAfter, Stats, Switches};
use serde_json::Value;

const PLACES: usize = 1_300;
/// Requests a minute: about a minute's worth of places.
const LIMIT: u32 = 1_200;
/// What the service lets through at the start, in minutes.
const HEAD_START: f64 = 0.1;
/// What the issue asks for, of the limit.
const ENOUGH: f64 = 0.9;
/// Calls under way at the same time: just enough for the limit at 300 ms an answer, and plenty.
const AT_ONCE: [usize; 2] = [8, 32];

/// How one side fared.
struct Fared {
    name: String,
    seconds: f64,
    answers: usize,
    errors: usize,
    stats: Stats,
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        headline("1,300 summaries from a service with 5 % 429, 2 % 5xx, 1 % cut JSON, 300 ms, 1,200 requests a minute");
        for (says, retry_after) in
            [("`retry-after-ms`", RetryAfter::Exact), ("`Retry-After: 1`", RetryAfter::Seconds(1))]
        {
            case(says, retry_after).await?;
        }
        Ok(())
    })
}

async fn case(says: &str, retry_after: RetryAfter) -> anyhow::Result<()> {
    let (ours, bodies) = onggi(retry_after).await?;
    let mut sides = vec![ours];
    for at_once in AT_ONCE {
        sides.push(peer(retry_after, &bodies, at_once).await?);
    }
    println!(
        "   | a 429 says {says} | seconds | answers | calls that ended as errors | answers a minute, of the limit | let through, of what the limit allows | paid | paid twice |"
    );
    println!("   |---|---:|---:|---:|---:|---:|---:|---:|");
    for side in &sides {
        println!("{side}");
    }
    Ok(())
}

impl Fared {
    /// Answers a minute as a share of the limit.
    fn share(&self) -> f64 {
        self.answers as f64 / (self.seconds / 60.0) / f64::from(LIMIT)
    }

    /// Requests that the service let through, of those that it would have.
    fn let_through(&self) -> f64 {
        (self.stats.calls - self.stats.limited) as f64 / (f64::from(LIMIT) * (self.seconds / 60.0 + HEAD_START))
    }

    /// Summaries that were paid for.
    fn paid(&self) -> u64 {
        self.stats.paid.iter().filter(|(content, _)| content.starts_with("chat:")).map(|(_, times)| times).sum()
    }
}

impl std::fmt::Display for Fared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "   | {} | {:.1} | {} | {} | {:.2} | {:.2} | {} | {} |",
            self.name,
            self.seconds,
            self.answers,
            self.errors,
            self.share(),
            self.let_through(),
            self.paid(),
            self.stats.paid_too_often().len()
        )
    }
}

async fn service(retry_after: RetryAfter) -> anyhow::Result<LlmReplica> {
    let switches = Switches {
        latency: Duration::from_millis(300),
        too_many: Fault::rate(0.05),
        server_error: Fault::rate(0.02),
        broken_json: Fault::rate(0.01),
        requests_per_minute: Some(LIMIT),
        retry_after,
        ..Switches::default()
    };
    Ok(LlmReplica::start(LlmReplicaOptions { switches, ..LlmReplicaOptions::default() }).await?)
}

/// The whole step, lake and embeddings included; then what it sent.
async fn onggi(retry_after: RetryAfter) -> anyhow::Result<(Fared, Vec<Value>)> {
    let service = service(retry_after).await?;
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    let table: TableName = "marts.place_reviews".parse()?;
    put(&lake, &table, vec![places()?], 1).await?;

    let began = Instant::now();
    let done = enrich(&lake, &service, "first").await?;
    let seconds = began.elapsed().as_secs_f64();
    let stats = service.stats();
    let all = PLACES as u64;
    ensure!((done.summarised, done.embedded, done.aside()) == (all, all, 0) && done.wait.is_none(), "{done:?}");
    ensure!(stats.too_many > 0 && stats.server_errors > 0 && stats.broken > 0, "no trouble: {stats:?}");
    ensure!(stats.paid_too_often().is_empty(), "paid twice: {:?}", stats.paid_too_often());
    let fared = Fared { name: "onggi run".to_owned(), seconds, answers: PLACES, errors: 0, stats };
    ensure!(fared.share() >= ENOUGH, "{:.3} of the limit", fared.share());

    // Again with nothing new, and again after the table was written anew with the same rows.
    let again = enrich(&lake, &service, "second").await?;
    ensure!(matches!(again.outcome, Outcome::Unchanged(_)), "{again:?}");
    put(&lake, &table, vec![places()?], 2).await?;
    let anew = enrich(&lake, &service, "third").await?;
    ensure!((anew.summarised, anew.embedded, anew.reused) == (0, 0, 2 * all), "{anew:?}");
    let more = service.stats().requests - fared.stats.requests;
    ensure!(more == 0, "a second run asked {more} times");
    println!("   onggi run again, and once more after the same rows were written anew: {more} calls");

    let mut seen = BTreeSet::new();
    let bodies: Vec<Value> = service
        .requests()
        .into_iter()
        .filter(|body| body.get("messages").is_some() && seen.insert(body.to_string()))
        .collect();
    ensure!(bodies.len() == PLACES, "{} requests", bodies.len());
    service.stop().await;
    Ok((fared, bodies))
}

async fn enrich(lake: &Lake, service: &LlmReplica, run: &str) -> anyhow::Result<Enriched> {
    let openai = OpenAi::new(Settings {
        dimensions: 8,
        output_tokens: 200,
        requests_per_minute: Some(LIMIT),
        ..Settings::new(service.url(), "test-key", "small", "embed")
    })?;
    let enrichment = Enrichment {
        into: "staging.place_summaries".parse()?,
        from: "marts.place_reviews".parse()?,
        key: "place_id".into(),
        texts: "summary_texts".into(),
        prompt: enrich::Prompt::default(),
    };
    let context = enrich::Context {
        run: run.parse()?,
        dt: "2026-10-01".parse()?,
        today: "2026-10-01".parse()?,
        now: Timestamp::UNIX_EPOCH,
        batch: 64,
        jobs: 2,
        progress: &|_| {},
    };
    Ok(enrich::enrich(lake, &enrichment, &openai, &context).await?)
}

/// The same requests by async-openai's client, which tries a call again up to three times and honours `Retry-After`.
async fn peer(retry_after: RetryAfter, bodies: &[Value], at_once: usize) -> anyhow::Result<Fared> {
    let service = service(retry_after).await?;
    let client = Client::with_config(OpenAIConfig::new().with_api_base(service.url()).with_api_key("test-key"));
    let began = Instant::now();
    let calls = bodies.iter().map(|body| {
        let client = &client;
        async move {
            let answer: Result<Value, OpenAIError> = client.chat().create_byot(body).await;
            answer.is_ok_and(|it| it.pointer("/choices/0/message/content").is_some())
        }
    });
    let answers =
        futures::stream::iter(calls).buffer_unordered(at_once).filter(|it| std::future::ready(*it)).count().await;
    let seconds = began.elapsed().as_secs_f64();
    let stats = service.stats();
    service.stop().await;
    ensure!(u64::try_from(answers)? == stats.answered, "{answers} answers of {}", stats.answered);
    let name = format!("async-openai, {at_once} at once");
    Ok(Fared { name, seconds, answers, errors: bodies.len() - answers, stats })
}

/// Places with two reviews each.
fn places() -> anyhow::Result<RecordBatch> {
    let keys: ArrayRef = Arc::new((0..PLACES).map(|place| Some(format!("p{place:04}"))).collect::<StringArray>());
    let mut texts = ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
    for place in 0..PLACES {
        texts.append_value([
            Some(format!("{place}번 집은 국물이 진하고 친절해요")),
            Some(format!("{place}번 집에 또 갈게요")),
        ]);
    }
    let columns: [(&str, ArrayRef, bool); 2] =
        [("place_id", keys, true), ("summary_texts", Arc::new(texts.finish()), true)];
    RecordBatch::try_from_iter_with_nullable(columns).context("a batch of places")
}
