//! A mart of 1,000,000 rows into PostgreSQL: the first load beside `psql \copy` of the same rows from a ready file, then a sync with
//! nothing to do, one of the same rows at a new version, one where 1 % changed, one that makes the table anew with texts and another
//! index, and one that brings the first vectors to a table of as many rows; beside each somebody reads, and waits for 100 ms at most.
//!
//! Both sides do the same: a transaction that makes the table, fills it (frozen, as nobody sees it yet), gives it its primary key and
//! analyses it. Ours reads the lake, compares and encodes while it does so; psql's file is ready, in the order of the lake, hashes included.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};
use benches::mart::{self, ROWS, bodies, head, line, median};
use benches::reader::{Reader, Waits};
use benches::{headline, put};
use catalog::Lake;
use load::sink::postgres::{Postgres, PostgresOptions};
use load::{Entity, Rules, Serving, SinkKind, SyncTarget, Synced, VectorColumn};
use services::Postgres as Server;

/// Each side this often, in turn; the median counts.
const ROUNDS: usize = 3;
/// How many rows get a vector where none had one, and of how many numbers.
const FIRST_VECTORS: usize = 10_000;
const DIMENSION: usize = 64;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let Some(server) = services::postgres().map(Server::own) else { return Ok(()) };
    headline("1,000,000 rows of a mart into PostgreSQL");
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    let bodies = bodies().await?;
    let plain = SyncTarget {
        table: "marts.reviews".parse()?,
        key: "review_id".into(),
        sinks: vec![SinkKind::Postgres],
        texts: Vec::new(),
        title: None,
        entity: None,
        vector: None,
    };
    put(&lake, &plain.table, mart::rows(&bodies, 0)?, 1).await?;
    let url = server.database();
    let serving = Serving::new(dir.path().join("serving")).with(Arc::new(Postgres::new(&PostgresOptions {
        url: url.clone(),
        schema: "onggi".into(),
        pool: 4,
        rows_per_second: None,
        project: "bench".into(),
    })?));
    let bench = Bench { dir, server, url, lake, serving, bodies, plain };
    let rate = bench.first_load().await?;
    let longest = bench.later_syncs().await?;
    // A file in the server's own binary format is the roof: nothing is left to be parsed, compared or encoded.
    ensure!(rate >= 0.8, "the first load is at {rate:.2} of psql's rate");
    ensure!(longest.as_millis() <= 100, "a reader waited for {longest:?}");
    Ok(())
}

/// A lake with the mart, and a database.
struct Bench {
    dir: tempfile::TempDir,
    server: Server,
    url: String,
    lake: Lake,
    serving: Serving,
    bodies: Vec<String>,
    plain: SyncTarget,
}

impl Bench {
    async fn sync(&self, target: &SyncTarget) -> anyhow::Result<(Synced, f64)> {
        let began = Instant::now();
        let synced = load::sync(&self.lake, target, &self.serving, &Rules::default(), &|_| {}).await?;
        Ok((synced, began.elapsed().as_secs_f64()))
    }

    /// The same beside somebody who reads a row.
    async fn read_while(&self, target: &SyncTarget, question: &str) -> anyhow::Result<(Synced, f64, Waits)> {
        let mut client = Command::new(self.server.bin().join("psql"));
        client.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", &self.url]);
        let reader = Reader::start(client, question)?;
        let (synced, seconds) = self.sync(target).await?;
        Ok((synced, seconds, reader.end()?))
    }

    /// The first load beside psql's, whose rate is 1 where the file is in the server's binary format.
    async fn first_load(&self) -> anyhow::Result<f64> {
        let Self { dir, server, url, plain, .. } = self;
        // The files of the peer come from a sync, so that both write the same rows.
        self.sync(plain).await?;
        let (binary, csv) = (dir.path().join("rows.bin"), dir.path().join("rows.csv"));
        for (file, format) in [(&binary, "binary"), (&csv, "csv")] {
            psql(server, url, &[&format!("\\copy onggi.reviews to '{}' with (format {format})", file.display())])?;
        }
        server.psql(url, "create schema peer; create table peer.shape (like onggi.reviews including defaults)");
        let (mut ours, mut by_binary, mut by_csv) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            server.psql(url, "drop schema onggi cascade");
            server.psql(url, "checkpoint");
            let (synced, seconds) = self.sync(plain).await?;
            ensure!(synced.upserted == ROWS as u64, "{synced:?}");
            ours.push(seconds);
            by_binary.push(copy(server, url, &binary, "binary")?);
            by_csv.push(copy(server, url, &csv, "csv")?);
        }
        let same = "select count(*), bit_xor(('x' || left(md5(t::text), 15))::bit(60)::bigint) from";
        ensure!(
            server.psql(url, &format!("{same} onggi.reviews t")) == server.psql(url, &format!("{same} peer.reviews t")),
            "both sides hold the same rows"
        );
        let (ours, binary, csv) = (median(ours), median(by_binary), median(by_csv));
        println!("   | first load of 1,000,000 rows | seconds | rows/s | beside csv | beside binary |");
        println!("   |---|---:|---:|---:|---:|");
        for (what, seconds) in [
            ("onggi sync, lake to PostgreSQL", ours),
            ("psql \\copy, csv file", csv),
            ("psql \\copy, file in the server's binary format", binary),
        ] {
            let (rate, by_csv, by_binary) = (ROWS as f64 / seconds, csv / seconds, binary / seconds);
            println!("   | {what} | {seconds:.2} | {rate:.0} | {by_csv:.2} | {by_binary:.2} |");
        }
        Ok(binary / ours)
    }

    /// What follows the first load, and the longest that a reader waited.
    async fn later_syncs(&self) -> anyhow::Result<Duration> {
        let Self { server, url, lake, bodies, plain, .. } = self;
        head();
        let question = "select rating from onggi.reviews where review_id = '000000000000'";
        let (synced, seconds) = self.sync(plain).await?;
        ensure!(synced.is_up_to_date());
        line("nothing changed", &synced, seconds, Waits::default());
        ensure!(seconds <= 0.2, "nothing to do took {seconds:.2}s");
        put(lake, &plain.table, mart::rows(bodies, 0)?, 2).await?;
        let (synced, seconds, waits) = self.read_while(plain, question).await?;
        ensure!((synced.upserted, synced.deleted, synced.unchanged) == (0, 0, ROWS as u64), "{synced:?}");
        line("the same rows at a new version", &synced, seconds, waits);
        put(lake, &plain.table, mart::rows(bodies, 1)?, 3).await?;
        let (synced, seconds, changed) = self.read_while(plain, question).await?;
        ensure!((synced.upserted, synced.deleted) == (ROWS as u64 / 100, 0), "{synced:?}");
        line("1 % changed", &synced, seconds, changed);
        let written = server.psql(url, "select count(*) from onggi.reviews group by xmin::text order by 1 limit 1");
        ensure!(written.trim() == (ROWS / 100).to_string(), "the server says {written} rows were written");
        let searched = SyncTarget {
            texts: vec!["body".into(), "keywords".into()],
            entity: Some(Entity { column: "place_id".into(), table: "marts.places".parse()? }),
            ..plain.clone()
        };
        let (synced, seconds, anew) = self.read_while(&searched, question).await?;
        ensure!(synced.upserted == ROWS as u64, "{synced:?}");
        line("made anew, with texts and the index of entities", &synced, seconds, anew);

        let near = SyncTarget {
            table: "marts.near".parse()?,
            key: "id".into(),
            vector: Some(VectorColumn { column: "embedding".into(), model: "bench".into() }),
            ..plain.clone()
        };
        put(lake, &near.table, vectors(0)?, 1).await?;
        self.sync(&near).await?;
        put(lake, &near.table, vectors(FIRST_VECTORS)?, 2).await?;
        let (synced, seconds, first) =
            self.read_while(&near, "select id from onggi.near where id = '000000000000'").await?;
        ensure!(synced.upserted == FIRST_VECTORS as u64, "{synced:?}");
        let made = server.psql(url, "select count(embedding) from onggi.near");
        ensure!(made.trim() == FIRST_VECTORS.to_string(), "{made}");
        line(
            &format!("the first {FIRST_VECTORS} vectors of {DIMENSION} numbers, with their index"),
            &synced,
            seconds,
            first,
        );
        Ok([waits, changed, anew, first].map(|it| it.longest).into_iter().max().unwrap_or_default())
    }
}

/// A mart of 1,000,000 rows of which the first so many have vectors.
fn vectors(first: usize) -> anyhow::Result<Vec<RecordBatch>> {
    let part = |from: usize| {
        let ids = (from..from + 10_000).map(|i| Some(format!("{i:012}")));
        let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(rows::read::vector_item());
        for i in from..from + 10_000 {
            if i < first {
                vectors.append_value((0..DIMENSION).map(|at| Some(((i * 31 + at * 17) % 101) as f32 - 50.5)));
            } else {
                vectors.append_null();
            }
        }
        let columns: [(&str, ArrayRef, bool); 2] =
            [("id", Arc::new(ids.collect::<StringArray>()), true), ("embedding", Arc::new(vectors.finish()), true)];
        RecordBatch::try_from_iter_with_nullable(columns).context("a batch of vectors")
    };
    (0..ROWS).step_by(10_000).map(part).collect()
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
