//! What the sinks cost as a mart grows, each in a process of its own, whose CPU time and peak memory are told:
//!
//! - a first load of 1, 3 and 9 million short texts into the keyword index, and a sync of the same rows at a new version;
//! - comparing 250,000 and 1,000,000 rows with what lies in a SQLite, row by row;
//! - one changed text among 20,000, in SQLite and the keyword index, over a sync with nothing to do;
//! - one changed vector among 300,000: how much of the index is written.
//!
//! There is no peer here that does the same: the bounds are those of a machine that does more than serve.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field};
use benches::{cpu, headline, put};
use catalog::{Lake, TableName};
use load::{Rules, Serving, SinkKind, SyncTarget, VectorColumn};

const BATCH: usize = 8_192;
const TABLE: &str = "marts.texts";
const DIMENSIONS: usize = 64;
const MOST_TEXTS: usize = 9_000_000;

/// Peak of the own memory of a first load of the largest mart (bytes).
const LOAD_MEMORY: u64 = 1 << 30;
/// Peak of the own memory of a comparison of 1,000,000 rows (bytes).
const COMPARE_MEMORY: u64 = 150_000_000;
/// CPU time of a sync of the same rows at a new version, over that of their first load, of the largest mart.
const SAME_ROWS: f64 = 0.05;
/// CPU seconds of one changed text, over a sync with nothing to do.
const ONE_TEXT: f64 = 0.3;
/// Bytes written for one changed vector, over those of the index.
const ONE_VECTOR: f64 = 0.02;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--of") {
        let [what, dir] = &args[at + 1..at + 3] else { bail!("expected what to do, and where") };
        return runtime.block_on(child(what, Path::new(dir)));
    }
    runtime.block_on(async {
        keywords().await?;
        comparison().await?;
        one_text().await?;
        one_vector().await
    })
}

/// What a process that did one thing has used.
struct Used {
    cpu: f64,
    wall: f64,
    peak: u64,
}

/// Does one thing in a process of its own.
fn apart(what: &str, dir: &Path) -> anyhow::Result<Used> {
    let output = Command::new(std::env::current_exe()?).args(["--of", what]).arg(dir).output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
    let numbers: Vec<&str> = said.split_ascii_whitespace().collect();
    let [cpu, wall, peak] = numbers[..] else { bail!("expected three numbers, found {said:?}") };
    Ok(Used { cpu: cpu.parse()?, wall: wall.parse()?, peak: peak.parse()? })
}

async fn child(what: &str, dir: &Path) -> anyhow::Result<()> {
    let lake = Lake::open(&dir.join("lake").display().to_string(), "bench").await?;
    let serving = Serving::new(dir.join("serving"));
    let (doing, sinks) = what.split_once(' ').context("expected what to do of which sinks")?;
    let sinks: Result<Vec<SinkKind>, String> = sinks.split(',').map(str::parse).collect();
    let sinks = sinks.map_err(anyhow::Error::msg)?;
    let vector = VectorColumn { column: "embedding".into(), model: "bench".into() };
    let target = SyncTarget {
        table: TABLE.parse()?,
        key: "id".into(),
        texts: sinks.contains(&SinkKind::Keywords).then(|| "body".to_owned()).into_iter().collect(),
        title: None,
        entity: None,
        vector: sinks.contains(&SinkKind::Vectors).then_some(vector),
        sinks,
    };
    let (began, most) = (Instant::now(), watched());
    if doing == "compare" {
        for compared in load::compare(&lake, &target, &serving).await? {
            ensure!(compared.is_equal(), "{compared:?}");
        }
    } else {
        let upserted: u64 = doing.parse().context("expected how many rows are written")?;
        let synced = load::sync(&lake, &target, &serving, &Rules::default(), &|_| {}).await?;
        ensure!(synced.upserted == upserted, "expected {upserted} rows to be written: {synced:?}");
    }
    println!("{} {} {}", cpu()?, began.elapsed().as_secs_f64(), most.load(Ordering::Relaxed));
    Ok(())
}

async fn keywords() -> anyhow::Result<()> {
    headline("short texts into the keyword index");
    println!(
        "   | rows | first load: seconds | CPU-s | peak MiB | the same rows at a new version: CPU-s | of the first | peak MiB |"
    );
    println!("   |---:|---:|---:|---:|---:|---:|---:|");
    for rows in [1_000_000, 3_000_000, MOST_TEXTS] {
        let (dir, lake) = place().await?;
        put(&lake, &TABLE.parse::<TableName>()?, texts(rows, None)?, 1).await?;
        let first = apart(&format!("{rows} keywords"), dir.path())?;
        put(&lake, &TABLE.parse::<TableName>()?, texts(rows, None)?, 2).await?;
        let again = apart("0 keywords", dir.path())?;
        let share = again.cpu / first.cpu;
        println!(
            "   | {rows} | {:.1} | {:.1} | {} | {:.1} | {:.1} % | {} |",
            first.wall,
            first.cpu,
            mib(first.peak),
            again.cpu,
            share * 100.0,
            mib(again.peak)
        );
        ensure!(first.peak <= LOAD_MEMORY, "a first load of {rows} texts takes {} MiB", mib(first.peak));
        // A small load has fewer segments to merge, and a start that counts.
        ensure!(
            rows < MOST_TEXTS || share <= SAME_ROWS,
            "the same rows cost {:.1} % of their first load",
            share * 100.0
        );
    }
    Ok(())
}

async fn comparison() -> anyhow::Result<()> {
    headline("comparing what lies in a SQLite, row by row");
    println!("   | rows | seconds | CPU-s | peak MiB |");
    println!("   |---:|---:|---:|---:|");
    for rows in [250_000, 1_000_000] {
        let (dir, lake) = place().await?;
        put(&lake, &TABLE.parse::<TableName>()?, texts(rows, None)?, 1).await?;
        apart(&format!("{rows} sqlite"), dir.path())?;
        let used = apart("compare sqlite", dir.path())?;
        println!("   | {rows} | {:.1} | {:.1} | {} |", used.wall, used.cpu, mib(used.peak));
        ensure!(used.peak <= COMPARE_MEMORY, "comparing {rows} rows takes {} MiB", mib(used.peak));
    }
    Ok(())
}

async fn one_text() -> anyhow::Result<()> {
    const ROWS: usize = 20_000;
    headline("one changed text among 20,000");
    let (dir, lake) = place().await?;
    put(&lake, &TABLE.parse::<TableName>()?, texts(ROWS, None)?, 1).await?;
    apart(&format!("{} sqlite,keywords", 2 * ROWS), dir.path())?;
    let idle = apart("0 sqlite,keywords", dir.path())?;
    put(&lake, &TABLE.parse::<TableName>()?, texts(ROWS, Some(ROWS / 2))?, 2).await?;
    let changed = apart("2 sqlite,keywords", dir.path())?;
    println!("   nothing changed: {:.2} CPU-s; one text: {:.2} CPU-s", idle.cpu, changed.cpu);
    ensure!(changed.cpu - idle.cpu <= ONE_TEXT, "one text costs {:.2} CPU-s more", changed.cpu - idle.cpu);
    Ok(())
}

async fn one_vector() -> anyhow::Result<()> {
    const ROWS: usize = 300_000;
    headline("one changed vector among 300,000");
    let (dir, lake) = place().await?;
    put(&lake, &TABLE.parse::<TableName>()?, vectors(ROWS, None)?, 1).await?;
    let first = apart(&format!("{ROWS} vectors"), dir.path())?;
    let folder = dir.path().join("serving");
    let (_, whole) = files(&folder)?;
    put(&lake, &TABLE.parse::<TableName>()?, vectors(ROWS, Some(ROWS / 2))?, 2).await?;
    let before = written(&folder)?;
    let changed = apart("1 vectors", dir.path())?;
    let after = written(&folder)?;
    let bytes: u64 = after.iter().filter(|file| !before.contains(file)).map(|(_, _, size)| size).sum();
    let share = bytes as f64 / whole as f64;
    println!(
        "   first load: {:.1} s, {:.1} CPU-s, {} MiB peak, {} MiB of files; one vector: {:.2} CPU-s, {bytes} bytes in files that are new or changed, {:.2} % of the index",
        first.wall,
        first.cpu,
        mib(first.peak),
        mib(whole),
        changed.cpu,
        share * 100.0
    );
    ensure!(share <= ONE_VECTOR, "one vector writes {:.1} % of the index", share * 100.0);
    Ok(())
}

async fn place() -> anyhow::Result<(tempfile::TempDir, Lake)> {
    let dir = tempfile::TempDir::new()?;
    let lake = Lake::open(&dir.path().join("lake").display().to_string(), "bench").await?;
    Ok((dir, lake))
}

/// Short texts of few words, as reviews are; one of them is another.
fn texts(rows: usize, changed: Option<usize>) -> anyhow::Result<Vec<RecordBatch>> {
    const WORDS: [&str; 12] =
        ["국물이", "진해요", "조용한", "창가", "자리", "혼밥", "주차", "넓어요", "친절한", "사장님", "다시", "올게요"];
    let body = |row: usize| {
        let mut seed = row as u64 + if changed == Some(row) { u64::from(u32::MAX) } else { 0 };
        let words: Vec<&str> = (0..6)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                WORDS[(seed >> 33) as usize % WORDS.len()]
            })
            .collect();
        format!("{} {row}", words.join(" "))
    };
    batches(rows, |part| vec![("body", Arc::new(part.map(|row| Some(body(row))).collect::<StringArray>()) as ArrayRef)])
}

/// Vectors of length 1; one of them is another.
fn vectors(rows: usize, changed: Option<usize>) -> anyhow::Result<Vec<RecordBatch>> {
    let vector = |row: usize| {
        let mut seed = row as u64 + if changed == Some(row) { u64::from(u32::MAX) } else { 0 };
        let vector: Vec<f32> = (0..DIMENSIONS)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
            })
            .collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.into_iter().map(|x| x / length).collect::<Vec<f32>>()
    };
    batches(rows, |part| {
        let values: Float32Array = part.flat_map(vector).collect::<Vec<_>>().into();
        let item = Arc::new(Field::new("element", DataType::Float32, true));
        let size = i32::try_from(DIMENSIONS).unwrap_or_default();
        let list = FixedSizeListArray::new(item, size, Arc::new(values), None);
        let lists = arrow::compute::cast(&list, &DataType::new_list(DataType::Float32, true));
        vec![("embedding", lists.unwrap_or_else(|_| Arc::new(list)))]
    })
}

/// Rows with a key and what `of` gives for each range of them.
fn batches(
    rows: usize,
    of: impl Fn(std::ops::Range<usize>) -> Vec<(&'static str, ArrayRef)>,
) -> anyhow::Result<Vec<RecordBatch>> {
    let starts = (0..rows).step_by(BATCH);
    let batch = |from: usize| {
        let part = from..rows.min(from + BATCH);
        let ids: StringArray = part.clone().map(|row| Some(format!("r{row:08}"))).collect();
        let mut columns: Vec<(&str, ArrayRef, bool)> = vec![("id", Arc::new(ids), true)];
        columns.extend(of(part).into_iter().map(|(name, column)| (name, column, true)));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    };
    starts.map(batch).collect()
}

/// The files of a folder, at any depth, and their bytes.
fn files(folder: &Path) -> anyhow::Result<(usize, u64)> {
    let files = written(folder)?;
    Ok((files.len(), files.iter().map(|(_, _, size)| size).sum()))
}

/// The files of a folder, at any depth: path, last change, bytes.
fn written(folder: &Path) -> anyhow::Result<Vec<(std::path::PathBuf, std::time::SystemTime, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let (path, meta) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        if meta.is_dir() {
            found.extend(written(&path)?);
        } else {
            found.push((path, meta.modified()?, meta.len()));
        }
    }
    Ok(found)
}

/// The memory that this process holds of its own (bytes). Pages of files that it maps are the system's to take back.
fn own_memory() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// The most of it that is seen from now on.
fn watched() -> Arc<AtomicU64> {
    let most = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&most);
    std::thread::spawn(move || {
        while let Ok(now) = own_memory() {
            seen.fetch_max(now, Ordering::Relaxed);
            pause(Duration::from_millis(10));
        }
    });
    most
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own looks now and then")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
