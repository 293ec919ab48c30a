//! A mart of 1,000,000 rows into PostgreSQL: the first load beside `psql \copy` of the same rows from a ready file, then a sync with
//! nothing to do, one of the same rows at a new version, and one where 1 % changed.
//!
//! Both sides do the same: a transaction that makes the table, fills it (frozen, as nobody sees it yet), gives it its primary key and
//! analyses it. Ours reads the lake, compares and encodes while it does so; psql's file is ready, in the order of the lake, hashes included.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use benches::mart::{ROWS, bodies, line, median, rows};
use benches::{headline, put};
use catalog::{Lake, TableName};
use load::{Postgres, PostgresOptions, Rules, Serving, SinkKind, SyncTarget, Synced};
use services::Postgres as Server;

/// Each side this often, in turn; the median counts.
const ROUNDS: usize = 3;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let Some(server) = services::postgres().map(Server::own) else { return Ok(()) };
    headline("1,000,000 rows of a mart into PostgreSQL");
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    let table: TableName = "marts.reviews".parse()?;
    let bodies = bodies().await?;
    put(&lake, &table, rows(&bodies, 0)?, 1).await?;

    let url = server.database();
    let serving = Serving::new(dir.path().join("serving")).with(Arc::new(Postgres::new(&PostgresOptions {
        url: url.clone(),
        schema: "onggi".into(),
        pool: 4,
        rows_per_second: None,
        project: "bench".into(),
    })?));
    let target = SyncTarget {
        table: table.clone(),
        key: "review_id".into(),
        sinks: vec![SinkKind::Postgres],
        texts: Vec::new(),
        title: None,
        entity: None,
        vector: None,
    };
    let sync = async || -> anyhow::Result<(Synced, f64)> {
        let began = Instant::now();
        let synced = load::sync(&lake, &target, &serving, &Rules::default(), &|_| {}).await?;
        Ok((synced, began.elapsed().as_secs_f64()))
    };

    // The files of the peer come from a sync, so that both write the same rows.
    sync().await?;
    let (binary, csv) = (dir.path().join("rows.bin"), dir.path().join("rows.csv"));
    for (file, format) in [(&binary, "binary"), (&csv, "csv")] {
        psql(&server, &url, &[&format!("\\copy onggi.reviews to '{}' with (format {format})", file.display())])?;
    }
    server.psql(&url, "create schema peer; create table peer.shape (like onggi.reviews including defaults)");
    let (mut ours, mut by_binary, mut by_csv) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        server.psql(&url, "drop schema onggi cascade");
        server.psql(&url, "checkpoint");
        let (synced, seconds) = sync().await?;
        ensure!(synced.upserted == ROWS as u64, "{synced:?}");
        ours.push(seconds);
        by_binary.push(copy(&server, &url, &binary, "binary")?);
        by_csv.push(copy(&server, &url, &csv, "csv")?);
    }
    let same = "select count(*), bit_xor(('x' || left(md5(t::text), 15))::bit(60)::bigint) from";
    ensure!(
        server.psql(&url, &format!("{same} onggi.reviews t")) == server.psql(&url, &format!("{same} peer.reviews t")),
        "both sides hold the same rows"
    );
    let (ours, binary, csv) = (median(ours), median(by_binary), median(by_csv));
    let rate = |seconds: f64| ROWS as f64 / seconds;
    println!("   | first load of 1,000,000 rows | seconds | rows/s | beside csv | beside binary |");
    println!("   |---|---:|---:|---:|---:|");
    for (what, seconds) in [
        ("onggi sync, lake to PostgreSQL", ours),
        ("psql \\copy, csv file", csv),
        ("psql \\copy, file in the server's binary format", binary),
    ] {
        println!(
            "   | {what} | {seconds:.2} | {:.0} | {:.2} | {:.2} |",
            rate(seconds),
            csv / seconds,
            binary / seconds
        );
    }

    println!("   | sync | rows written | deleted | seconds |");
    println!("   |---|---:|---:|---:|");
    let (synced, seconds) = sync().await?;
    ensure!(synced.is_up_to_date());
    line("nothing changed", &synced, seconds);
    ensure!(seconds <= 0.2, "nothing to do took {seconds:.2}s");
    put(&lake, &table, rows(&bodies, 0)?, 2).await?;
    let (synced, seconds) = sync().await?;
    ensure!((synced.upserted, synced.deleted, synced.unchanged) == (0, 0, ROWS as u64), "{synced:?}");
    line("the same rows at a new version", &synced, seconds);
    put(&lake, &table, rows(&bodies, 1)?, 3).await?;
    let (synced, seconds) = sync().await?;
    ensure!((synced.upserted, synced.deleted) == (ROWS as u64 / 100, 0), "{synced:?}");
    line("1 % changed", &synced, seconds);
    let written = server.psql(&url, "select count(*) from onggi.reviews group by xmin::text order by 1 limit 1");
    ensure!(written.trim() == (ROWS / 100).to_string(), "the server says {written} rows were written");
    // A file in the server's own binary format is the roof: nothing is left to be parsed, compared or encoded.
    ensure!(binary / ours >= 0.8, "the first load is at {:.2} of psql's rate", binary / ours);
    Ok(())
}

/// What psql takes for the same, from a ready file.
fn copy(server: &Server, url: &str, file: &Path, format: &str) -> anyhow::Result<f64> {
    server.psql(url, "drop table if exists peer.reviews");
    server.psql(url, "checkpoint");
    let began = Instant::now();
    psql(
        server,
        url,
        &[
            "create table peer.reviews (like peer.shape)",
            &format!("\\copy peer.reviews from '{}' with (format {format}, freeze)", file.display()),
            "alter table peer.reviews add primary key (review_id)",
            "analyze peer.reviews",
        ],
    )?;
    Ok(began.elapsed().as_secs_f64())
}

/// Runs psql's commands in one transaction.
fn psql(server: &Server, url: &str, commands: &[&str]) -> anyhow::Result<()> {
    let mut psql = Command::new(server.bin().join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1", url]);
    for command in commands {
        psql.args(["-c", command]);
    }
    let output = psql.output()?;
    ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
