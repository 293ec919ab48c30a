//! A mart of 1,000,000 rows into MySQL and into MariaDB: the first load beside `load data local infile` of the same rows from a ready
//! file, then a sync with nothing to do, one of the same rows at a new version, one where 1 % changed, and one that makes the table anew;
//! beside each somebody reads, and waits for 100 ms at most.
//!
//! Both sides make the table with its key, fill it and analyse it. Ours reads the lake, compares and encodes while it does so; the
//! client's file is ready, in the order of the lake and of the key, hashes included.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::ensure;
use benches::mart::{ROWS, bodies, head, line, median, rows};
use benches::reader::{Reader, Waits};
use benches::{headline, put};
use catalog::{Lake, TableName};
use load::sink::mysql::{Mysql, MysqlOptions};
use load::{Entity, Rules, Serving, SinkKind, SyncTarget, Synced};
use services::Mysql as Server;

/// Each side this often, in turn; the median counts.
const ROUNDS: usize = 3;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let bodies = bodies().await?;
        for server in [services::mysql(), services::mariadb()].into_iter().flatten() {
            run(&server.own(), &bodies).await?;
        }
        Ok(())
    })
}

async fn run(server: &Server, bodies: &[String]) -> anyhow::Result<()> {
    let name = if server.is_mariadb() { "MariaDB" } else { "MySQL" };
    headline(&format!("1,000,000 rows of a mart into {name}"));
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    let table: TableName = "marts.reviews".parse()?;
    put(&lake, &table, rows(bodies, 0)?, 1).await?;

    let url = server.database();
    let options = MysqlOptions { url: url.clone(), pool: 4, rows_per_second: None, project: "bench".into() };
    let serving = Serving::new(dir.path().join("serving")).with(Arc::new(Mysql::new(&options)?));
    let plain = SyncTarget {
        table: table.clone(),
        key: "review_id".into(),
        sinks: vec![SinkKind::Mysql],
        texts: Vec::new(),
        title: None,
        entity: None,
        vector: None,
    };
    let sync_of = async |target: &SyncTarget| -> anyhow::Result<(Synced, f64)> {
        let began = Instant::now();
        let synced = load::sync(&lake, target, &serving, &Rules::default(), &|_| {}).await?;
        Ok((synced, began.elapsed().as_secs_f64()))
    };
    let sync = async || sync_of(&plain).await;
    // The same beside somebody who reads a row of it.
    let read_while = async |target: &SyncTarget| -> anyhow::Result<(Synced, f64, Waits)> {
        let mut client = server.client(&url);
        client.arg("--unbuffered");
        let reader = Reader::start(client, "select rating from reviews where review_id = '000000000000'")?;
        let (synced, seconds) = sync_of(target).await?;
        Ok((synced, seconds, reader.end()?))
    };

    // The file of the peer comes from a sync, so that both write the same rows.
    sync().await?;
    let file = std::env::temp_dir().join(format!("onggi-bench-mysql-{}.tsv", std::process::id()));
    let columns = "review_id, place_id, rating, helpful, visited_on, fetched_at, keywords, body";
    let export = format!(
        "select {columns}, hex(_row_hash) from reviews into outfile '{}' character set utf8mb4",
        file.display()
    );
    server.sql(&url, &export);
    server.sql(&url, "create table peer_shape like reviews");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        server.sql(&url, "drop table reviews, _onggi_sync");
        let (synced, seconds) = sync().await?;
        ensure!(synced.upserted == ROWS as u64, "{synced:?}");
        ours.push(seconds);
        theirs.push(load(server, &url, columns, &file));
    }
    std::fs::remove_file(&file)?;
    let texts = columns.split(", ").map(|column| format!("cast({column} as char) collate utf8mb4_bin"));
    let row = texts.chain(["hex(_row_hash)".to_owned()]).collect::<Vec<_>>().join(", ");
    let same =
        |table: &str| server.sql(&url, &format!("select count(*), sum(crc32(concat_ws('|', {row}))) from {table}"));
    ensure!(same("reviews") == same("peer"), "both sides hold the same rows");
    let (ours, theirs) = (median(ours), median(theirs));
    println!("   | first load of 1,000,000 rows | seconds | rows/s | beside `load data` |");
    println!("   |---|---:|---:|---:|");
    for (what, seconds) in [("onggi sync, lake to the server", ours), ("load data local infile, ready file", theirs)] {
        println!("   | {what}, {name} | {seconds:.2} | {:.0} | {:.2} |", ROWS as f64 / seconds, theirs / seconds);
    }

    head();
    let (synced, seconds) = sync().await?;
    ensure!(synced.is_up_to_date());
    line("nothing changed", &synced, seconds, Waits::default());
    ensure!(seconds <= 0.2, "nothing to do took {seconds:.2}s");
    put(&lake, &table, rows(bodies, 0)?, 2).await?;
    let (synced, seconds, waits) = read_while(&plain).await?;
    ensure!((synced.upserted, synced.deleted, synced.unchanged) == (0, 0, ROWS as u64), "{synced:?}");
    line("the same rows at a new version", &synced, seconds, waits);
    put(&lake, &table, rows(bodies, 1)?, 3).await?;
    let (synced, seconds, waits) = read_while(&plain).await?;
    ensure!((synced.upserted, synced.deleted) == (ROWS as u64 / 100, 0), "{synced:?}");
    line("1 % changed", &synced, seconds, waits);
    let mut longest = waits.longest;
    let about = SyncTarget {
        entity: Some(Entity { column: "place_id".into(), table: "marts.places".parse()? }),
        ..plain.clone()
    };
    let (synced, seconds, waits) = read_while(&about).await?;
    ensure!(synced.upserted == ROWS as u64, "{synced:?}");
    line("made anew, with the index of entities", &synced, seconds, waits);
    longest = longest.max(waits.longest);
    ensure!(longest.as_millis() <= 100, "a reader waited for {longest:?}");
    let bound = if server.is_mariadb() { 0.7 } else { 0.8 };
    ensure!(theirs / ours >= bound, "the first load is at {:.2} of the rate of `load data`", theirs / ours);
    Ok(())
}

/// What the server's own client takes for the same, from a ready file.
fn load(server: &Server, url: &str, columns: &str, file: &Path) -> f64 {
    server.sql(url, "drop table if exists peer");
    let began = Instant::now();
    server.sql(
        url,
        &format!(
            "create table peer like peer_shape; load data local infile '{}' into table peer character set utf8mb4 \
             ({columns}, @hash) set _row_hash = unhex(@hash); analyze table peer",
            file.display()
        ),
    );
    began.elapsed().as_secs_f64()
}
