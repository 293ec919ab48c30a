//! The database sink against real servers, MySQL and MariaDB.

use std::sync::Arc;

use crate::kind::SinkKind;
use crate::serving::Serving;
use crate::sink::mysql::{Mysql, MysqlOptions};
use crate::sync::{Rules, SyncProgress, Synced, sync};
use crate::target::SyncTarget;
use crate::testing::{Place, World, place, place_target, review_target};

mod faults;
mod follow;
mod others;
mod swap;
mod tls;
mod types;

/// Both servers, where they are installed.
fn servers() -> Vec<&'static services::Mysql> {
    [services::mysql(), services::mariadb()].into_iter().flatten().collect()
}

/// A server of one's own with other settings.
fn own(server: &services::Mysql, settings: &str) -> services::Mysql {
    let own = server.own();
    own.kill();
    let before = std::fs::read_to_string(own.settings()).unwrap();
    std::fs::write(own.settings(), format!("{before}{settings}\n")).unwrap();
    own.start_again();
    own
}

fn options(url: &str) -> MysqlOptions {
    MysqlOptions { url: url.to_owned(), pool: 4, rows_per_second: None, project: "test".into() }
}

fn database(url: &str) -> Arc<Mysql> {
    Arc::new(Mysql::new(&options(url)).unwrap())
}

fn serving(world: &World, url: &str) -> Serving {
    world.serving().with(database(url))
}

fn place_sync() -> SyncTarget {
    SyncTarget { sinks: vec![SinkKind::Mysql], ..place_target() }
}

fn review_sync() -> SyncTarget {
    SyncTarget { sinks: vec![SinkKind::Mysql], ..review_target() }
}

async fn go(world: &World, url: &str, target: &SyncTarget) -> Synced {
    sync(&world.lake, target, &serving(world, url), &Rules::default(), &|_| {}).await.unwrap()
}

/// A sync that takes over what another lake left there.
async fn adopted(world: &World, serving: &Serving, target: &SyncTarget) -> crate::Result<Synced> {
    sync(&world.lake, target, serving, &Rules { adopt: true, ..Rules::default() }, &|_| {}).await
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

/// The tables of a database, but for the watermarks.
fn tables(server: &services::Mysql, url: &str) -> Vec<String> {
    let query = "select table_name from information_schema.tables where table_schema = database() and table_name <> '_onggi_sync' order by 1";
    server.sql(url, query).lines().map(str::to_owned).collect()
}
