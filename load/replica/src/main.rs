//! `onggi-llm-replica`: the replica run by hand, to try a configuration without paying anybody.

use std::io::Write as _;
use std::time::Duration;

use clap::Parser;
use llm_replica::{Fault, LlmReplica, LlmReplicaOptions, RetryAfter, Switches};

/// Answer as a language-model service does, by switch, on 127.0.0.1 until it is interrupted.
///
/// A trouble is written as a share: 0.05 hits one request in twenty, 1x3 the next three.
#[derive(Debug, Parser)]
#[command(name = "onggi-llm-replica", version)]
struct Arguments {
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8_740)]
    port: u16,
    /// All misbehaviour follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The key that every request must carry.
    #[arg(long, default_value = "test-key")]
    key: String,
    /// Numbers in an embedding where a request does not say.
    #[arg(long, default_value_t = 1536)]
    dimensions: usize,
    /// Milliseconds every answer takes.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// Milliseconds it takes longer, at most.
    #[arg(long, default_value_t = 0)]
    jitter: u64,
    /// 429, although there was room.
    #[arg(long, default_value = "0")]
    too_many: Fault,
    /// Seconds that a 429 says; what is needed if not given.
    #[arg(long)]
    retry_after: Option<u64>,
    /// The account is empty after so many paid answers.
    #[arg(long)]
    quota_after: Option<u64>,
    /// 500 and 503.
    #[arg(long, default_value = "0")]
    server_error: Fault,
    /// Answers that are paid and never arrive.
    #[arg(long, default_value = "0")]
    lost_reply: Fault,
    /// Answers whose JSON is cut.
    #[arg(long, default_value = "0")]
    broken_json: Fault,
    /// Summaries of another shape.
    #[arg(long, default_value = "0")]
    wrong_schema: Fault,
    /// The real limit: requests a minute.
    #[arg(long)]
    requests_per_minute: Option<u32>,
    /// The real limit: tokens a minute.
    #[arg(long)]
    tokens_per_minute: Option<u32>,
    /// Seconds for which a batch is under way.
    #[arg(long, default_value_t = 10)]
    batch_delay: u64,
    /// Requests of batches that expire.
    #[arg(long, default_value = "0")]
    batch_expire: Fault,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let switches = Switches {
        latency: Duration::from_millis(arguments.latency),
        jitter: Duration::from_millis(arguments.jitter),
        too_many: arguments.too_many,
        retry_after: arguments.retry_after.map_or(RetryAfter::Exact, RetryAfter::Seconds),
        quota_after: arguments.quota_after,
        server_error: arguments.server_error,
        lost_reply: arguments.lost_reply,
        broken_json: arguments.broken_json,
        wrong_schema: arguments.wrong_schema,
        requests_per_minute: arguments.requests_per_minute,
        tokens_per_minute: arguments.tokens_per_minute,
        batch_delay: Duration::from_secs(arguments.batch_delay),
        batch_expire: arguments.batch_expire,
        batch_shuffle: true,
        ..Switches::default()
    };
    let options = LlmReplicaOptions {
        seed: arguments.seed,
        port: arguments.port,
        key: arguments.key,
        dimensions: arguments.dimensions,
        switches,
    };
    let replica = LlmReplica::start(options).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", replica.url())?;
    tokio::signal::ctrl_c().await?;
    let stats = replica.stats();
    writeln!(
        out,
        "{} requests, {} calls, {} answered, {} paid for, {} tokens in, {} out",
        stats.requests,
        stats.calls,
        stats.answered,
        stats.payments(),
        stats.input_tokens,
        stats.output_tokens
    )?;
    replica.stop().await;
    Ok(())
}
