//! The database sink against real servers.

use std::sync::Arc;

use crate::kind::SinkKind;
use crate::serving::Serving;
use crate::sink::postgres::{Postgres, PostgresOptions};
use crate::sync::{Rules, SyncProgress, Synced, sync};
use crate::target::SyncTarget;
use crate::testing::{Place, World, place, place_target, review_target};

mod answers;
mod faults;
mod follow;
mod rights;
mod tls;

fn options(url: &str) -> PostgresOptions {
    PostgresOptions {
        url: url.to_owned(),
        schema: "onggi".into(),
        pool: 4,
        rows_per_second: None,
        project: "test".into(),
    }
}

fn database(url: &str) -> Arc<Postgres> {
    Arc::new(Postgres::new(&options(url)).unwrap())
}

fn serving(world: &World, url: &str) -> Serving {
    world.serving().with(database(url))
}

fn place_sync() -> SyncTarget {
    SyncTarget { sinks: vec![SinkKind::Postgres], ..place_target() }
}

fn review_sync() -> SyncTarget {
    SyncTarget { sinks: vec![SinkKind::Postgres], ..review_target() }
}

async fn go(world: &World, url: &str, target: &SyncTarget) -> Synced {
    sync(&world.lake, target, &serving(world, url), &Rules::default(), &|_| {}).await.unwrap()
}

/// A sync that tells how often it began again.
async fn counted(world: &World, serving: &Serving, target: &SyncTarget) -> (crate::Result<Synced>, Vec<String>) {
    let again = std::sync::Mutex::new(Vec::new());
    let progress = |it| {
        if let SyncProgress::Again { why } = it {
            again.lock().unwrap().push(why);
        }
    };
    let done = sync(&world.lake, target, serving, &Rules::default(), &progress).await;
    (done, again.into_inner().unwrap())
}

fn many(count: usize, rating: f64) -> Vec<Place> {
    (0..count)
        .map(|i| {
            let mut made = place(&format!("k{i:05}"), &format!("집 {i}"), "국밥", &["혼밥"], "");
            made.rating = rating;
            made
        })
        .collect()
}

/// An error with its cause, as people see both, and its hint.
fn told(error: &crate::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    format!("{error}: {cause} | {}", error.hint().unwrap_or_default())
}
