//! A mart of 1,000,000 rows as the benches of the databases load it, and how they print what it took.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use load::Synced;
use replica::{Replica, ReplicaOptions};

use crate::reader::Waits;

/// Rows of the mart.
pub const ROWS: usize = 1_000_000;
const BATCH: usize = 8_192;

/// Prints the head of the rows of syncs.
pub fn head() {
    println!("   | sync | rows written | deleted | seconds | answers to a reader | longest wait (ms) |");
    println!("   |---|---:|---:|---:|---:|---:|");
}

/// Prints the row of a sync.
pub fn line(what: &str, synced: &Synced, seconds: f64, waits: Waits) {
    let (written, deleted, longest) = (synced.upserted, synced.deleted, waits.longest.as_secs_f64() * 1e3);
    println!("   | {what} | {written} | {deleted} | {seconds:.3} | {} | {longest:.0} |", waits.answers);
}

/// The middle one.
pub fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}

/// What people write: the texts of the replica.
///
/// # Errors
/// If the replica can't start.
pub async fn bodies() -> anyhow::Result<Vec<String>> {
    let site = Replica::start(ReplicaOptions { places: 300, reviews: 20_000, ..ReplicaOptions::default() }).await?;
    let bodies: Vec<String> = site.truth().reviews().map(|review| review.body).filter(|it| !it.is_empty()).collect();
    site.stop().await;
    ensure!(bodies.len() > 10_000);
    Ok(bodies)
}

/// The mart; in its second state each hundredth row has another rating.
///
/// # Errors
/// If a batch can't be made.
pub fn rows(bodies: &[String], state: usize) -> anyhow::Result<Vec<RecordBatch>> {
    let tags = ["음식이 맛있어요", "친절해요", "양이 많아요", "혼밥하기 좋아요", "재료가 신선해요"];
    (0..ROWS)
        .step_by(BATCH)
        .map(|from| {
            let part = from..ROWS.min(from + BATCH);
            let whole = |i: usize| i64::try_from(i).unwrap_or(0);
            let changed = |i: usize| state > 0 && i.is_multiple_of(100);
            let mut lists =
                ListBuilder::new(StringBuilder::new()).with_field(Field::new("element", DataType::Utf8, true));
            for i in part.clone() {
                lists.append_value((0..i % 4).map(|tag| Some(tags[(i + tag) % tags.len()])));
            }
            let columns: Vec<(&str, ArrayRef, bool)> = vec![
                (
                    "review_id",
                    Arc::new(
                        part.clone().map(|i| Some(format!("{:012x}", i * 2_654_435_761))).collect::<StringArray>(),
                    ),
                    true,
                ),
                (
                    "place_id",
                    Arc::new(
                        part.clone().map(|i| Some(format!("{}", 1_000_000 + i % 20_011))).collect::<StringArray>(),
                    ),
                    true,
                ),
                (
                    "rating",
                    Arc::new(
                        part.clone()
                            .map(|i| Some(if changed(i) { 0.5 } else { 1.0 + whole(i % 9) as f64 / 2.0 }))
                            .collect::<Float64Array>(),
                    ),
                    true,
                ),
                (
                    "helpful",
                    Arc::new(part.clone().map(|i| (i % 7 != 0).then(|| whole(i % 101))).collect::<Int64Array>()),
                    true,
                ),
                (
                    "visited_on",
                    Arc::new(part.clone().map(|i| i32::try_from(20_000 + i % 900).ok()).collect::<Date32Array>()),
                    true,
                ),
                (
                    "fetched_at",
                    Arc::new(
                        part.clone()
                            .map(|i| Some(1_790_000_000_000_000 + whole(i) * 1_000))
                            .collect::<TimestampMicrosecondArray>()
                            .with_timezone("UTC"),
                    ),
                    true,
                ),
                ("keywords", Arc::new(lists.finish()), true),
                ("body", Arc::new(part.map(|i| Some(&bodies[i % bodies.len()])).collect::<StringArray>()), true),
            ];
            RecordBatch::try_from_iter_with_nullable(columns).context("a batch of the mart")
        })
        .collect()
}
