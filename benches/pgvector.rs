//! 100,000 places by meaning in PostgreSQL: how many of the ten nearest by the graph are the ten nearest by an exact scan, over 200 questions.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use benches::{headline, put};
use catalog::{Lake, TableName};
use enrich::{Llm as _, Local};
use load::sink::postgres::{Postgres, PostgresOptions};
use load::{Rules, Serving, SinkKind, SyncTarget, VectorColumn};
use replica::{Replica, ReplicaOptions};

const PLACES: usize = 100_000;
const QUESTIONS: usize = 200;
const NEAREST: usize = 10;
const BATCH: usize = 5_000;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let Some(server) = services::postgres() else { return Ok(()) };
    headline("100,000 places by meaning in PostgreSQL (halfvec, HNSW), 200 questions");
    let (places, questions) = texts().await?;
    let llm = Local::default();
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    let table: TableName = "marts.places".parse()?;
    let mut batches = Vec::new();
    for (at, part) in places.chunks(BATCH).enumerate() {
        let item = Arc::new(Field::new("element", DataType::Float32, true));
        let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(item);
        for embedding in llm.embed(part).await? {
            vectors.append_value(embedding.vector.into_iter().map(Some));
        }
        let ids: ArrayRef =
            Arc::new((0..part.len()).map(|i| Some(format!("p{:06}", at * BATCH + i))).collect::<StringArray>());
        let texts: ArrayRef = Arc::new(part.iter().map(Some).collect::<StringArray>());
        let columns =
            [("place_id", ids, true), ("summary", texts, true), ("embedding", Arc::new(vectors.finish()) as _, true)];
        batches.push(RecordBatch::try_from_iter_with_nullable(columns)?);
    }
    put(&lake, &table, batches, 1).await?;

    let url = server.database();
    let postgres = Arc::new(Postgres::new(&PostgresOptions {
        url: url.clone(),
        schema: "onggi".into(),
        pool: 4,
        rows_per_second: None,
        project: "bench".into(),
    })?);
    let serving = Serving::new(dir.path().join("serving")).with(Arc::clone(&postgres));
    let target = SyncTarget {
        table: table.clone(),
        key: "place_id".into(),
        sinks: vec![SinkKind::Postgres],
        texts: Vec::new(),
        title: None,
        entity: None,
        vector: Some(VectorColumn { column: "embedding".into(), model: llm.embedder().id() }),
    };
    let began = Instant::now();
    let synced = load::sync(&lake, &target, &serving, &Rules::default(), &|_| {}).await?;
    ensure!(synced.upserted == PLACES as u64);
    println!("   first load with its graph: {:.1}s", began.elapsed().as_secs_f64());

    let mut right = 0;
    let (mut graph, mut exact) = (0.0, 0.0);
    for vector in llm.embed(&questions).await? {
        let began = Instant::now();
        let found = postgres.nearest(&table, &vector.vector, NEAREST).await?;
        graph += began.elapsed().as_secs_f64();
        let numbers: Vec<String> = vector.vector.iter().map(ToString::to_string).collect();
        let began = Instant::now();
        let scanned = server.psql(&url, &format!(
            "set enable_indexscan = off; select place_id, 1 - (embedding <=> '[{}]') from onggi.places order by embedding <=> '[{0}]' limit {NEAREST}",
            numbers.join(",")
        ));
        exact += began.elapsed().as_secs_f64();
        let last: f32 = scanned.lines().last().and_then(|it| it.split_once('|')).context("an answer")?.1.parse()?;
        ensure!(found.len() == NEAREST);
        // Of places that are equally near any will do.
        right += found.iter().filter(|(_, cosine)| *cosine >= last - 1e-6).count();
    }
    let recall = right as f64 / (QUESTIONS * NEAREST) as f64;
    println!(
        "   | 200 questions, 10 nearest | the same as an exact scan | a question by the graph | by an exact scan (psql) |"
    );
    println!("   |---|---:|---:|---:|");
    println!(
        "   | halfvec(256), 100,000 rows | {:.1} % | {:.1} ms | {:.1} ms |",
        recall * 100.0,
        graph / QUESTIONS as f64 * 1e3,
        exact / QUESTIONS as f64 * 1e3
    );
    ensure!(recall >= 0.95, "{right} of {} are the nearest", QUESTIONS * NEAREST);
    Ok(())
}

/// The demo's places blown up: what the replica's visitors write, three sentences a place, no two places alike; and questions in their words.
async fn texts() -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let site = Replica::start(ReplicaOptions { places: 200, reviews: 20_000, ..ReplicaOptions::default() }).await?;
    let truth = site.truth();
    let places: Vec<(String, String)> = truth.places().map(|it| (it.category, it.area)).collect();
    let bodies: Vec<String> = truth.reviews().map(|it| it.body).filter(|it| !it.is_empty()).collect();
    site.stop().await;
    let sentences: Vec<&str> = bodies.iter().flat_map(|body| rows::text::sentences(body)).collect();
    ensure!(sentences.len() > 1_000);
    let pick = |i: usize, step: usize| sentences[(i * step + step / 3) % sentences.len()];
    let summary = |i: usize| {
        let (category, area) = &places[i % places.len()];
        format!("{category} {area}. {} {} {}", pick(i, 7_919), pick(i, 104_729), pick(i, 1_299_709))
    };
    let question = |i: usize| format!("{} {}", places[i % places.len()].0, pick(i * 31 + 17, 15_485_863));
    Ok(((0..PLACES).map(summary).collect(), (0..QUESTIONS).map(question).collect()))
}
