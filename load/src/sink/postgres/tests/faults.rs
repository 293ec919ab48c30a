//! What can go wrong between us and the server: afterwards the sink is the mart at its watermark, or as it was, and the next sync completes.

use std::process::Command;
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection};

use super::*;
use crate::testing::proxy::{Cut, POSTGRES_COMMIT, Proxy};
use crate::testing::{places, unequal};

/// Rows and version of the places, as a reader has them.
fn state(server: &services::Postgres, url: &str) -> String {
    server.psql(url, "select (select count(*) from onggi.places), (select round(avg(rating)) from onggi.places), (select rows from onggi._onggi_sync)")
}

async fn equal(world: &World, url: &str) {
    assert_eq!(unequal(&world.lake, &place_sync(), &serving(world, url)).await, []);
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_copy() {
    let Some(server) = services::postgres().map(services::Postgres::own) else { return };
    let (world, url) = (World::new().await, server.database());
    // Over an empty sink, and over one that has rows.
    for (rows, before) in [(2_000, ""), (2_100, "2000|4|2000\n")] {
        world.put("marts.places", places(&many(rows, if before.is_empty() { 4.0 } else { 2.0 }))).await;
        let slow = PostgresOptions { rows_per_second: Some(1_000), ..options(&url) };
        let slow = world.serving().with(Arc::new(Postgres::new(&slow).unwrap()));
        let target = place_sync();
        let kill = async {
            // In the middle: a part of the rows has been sent.
            let copied = "select count(*) from pg_stat_progress_copy where bytes_processed > 30000";
            let began = std::time::Instant::now();
            while server.psql(&url, copied).trim() == "0" {
                assert!(began.elapsed().as_secs() < 30, "no COPY was seen");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            server.kill();
            server.start_again();
            if before.is_empty() {
                server.psql(&url, "select coalesce(to_regclass('onggi.places')::text, '')").trim().to_owned()
            } else {
                state(&server, &url)
            }
        };
        let ((synced, again), held) = tokio::join!(counted(&world, &slow, &target), kill);
        assert_eq!(held, before, "nothing of it is seen");
        assert_eq!(synced.unwrap().upserted, rows as u64);
        assert!(!again.is_empty(), "the sync noticed nothing");
        equal(&world, &url).await;
    }
}

#[tokio::test]
async fn a_commit_whose_reply_is_lost_is_decided_by_the_watermark() {
    let Some(server) = services::postgres() else { return };
    for cut in [Cut::After, Cut::Before] {
        let (world, url) = (World::new().await, server.database());
        let proxy = Proxy::start(server.port(), POSTGRES_COMMIT, cut, 2).await;
        let cut_url = url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port));
        let through = serving(&world, &cut_url);
        for rating in [4.0, 3.0] {
            world.put("marts.places", places(&many(50, rating))).await;
            let fired = proxy.fired.load(std::sync::atomic::Ordering::SeqCst);
            let (synced, again) = counted(&world, &through, &place_sync()).await;
            assert_eq!(synced.unwrap().upserted, 50, "{cut:?}");
            assert!(
                proxy.fired.load(std::sync::atomic::Ordering::SeqCst) > fired || cut == Cut::Before,
                "{cut:?}: nothing was cut"
            );
            // Done: it was known to be done. Not done: it was done again.
            assert_eq!(again.is_empty(), cut == Cut::After || fired == 2, "{cut:?}: {again:?}");
            equal(&world, &url).await;
            assert_eq!(state(server, &url), format!("50|{rating}|50\n"));
        }
        assert_eq!(proxy.fired.load(std::sync::atomic::Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn the_loser_of_a_deadlock_tries_again() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(2, 4.0))).await;
    go(&world, &url, &place_sync()).await;
    world.put("marts.places", places(&many(2, 3.0))).await;
    let (target, with) = (place_sync(), serving(&world, &url));
    let intruder = async {
        let mut other = PgConnection::connect(&url).await.unwrap();
        other.execute("set deadlock_timeout = '60s'").await.unwrap();
        other.execute("begin; update onggi.places set reviews = reviews where place_id = 'k00001'").await.unwrap();
        let mut watch = PgConnection::connect(&url).await.unwrap();
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'onggi' and wait_event_type = 'Lock'";
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watch).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        other.execute("update onggi.places set reviews = reviews where place_id = 'k00000'").await.unwrap();
        other.execute("commit").await.unwrap();
    };
    // The sync may begin only when the other holds its row.
    let delayed = async {
        let mut watch = PgConnection::connect(&url).await.unwrap();
        let idle = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
        while sqlx::query_scalar::<_, i64>(idle).fetch_one(&mut watch).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        counted(&world, &with, &target).await
    };
    let ((synced, again), ()) = tokio::join!(delayed, intruder);
    assert_eq!(synced.unwrap().upserted, 2);
    assert!(again.iter().any(|why| why.contains("40P01")), "{again:?}");
    equal(&world, &url).await;
}

/// A file system of its own, of a few megabytes; gone with the test.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(megabytes: u32) -> Option<Self> {
        let dir = tempfile::TempDir::new().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|it| it.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: a full disk needs a small file system, and only root may mount one");
        None
    }

    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(self.0.path()).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_publishes_nothing() {
    let Some(server) = services::postgres().map(services::Postgres::own) else { return };
    let Some(disk) = Small::mount(16) else { return };
    let folder = disk.0.path().join("space");
    std::fs::create_dir(&folder).unwrap();
    let (world, url) = (World::new().await, server.database());
    server.psql(&url, &format!("create tablespace small location '{}'", folder.display()));
    let database = url.rsplit('/').next().unwrap();
    let settings = format!(
        "alter database {database} set default_tablespace = small; alter database {database} set temp_tablespaces = small"
    );
    server.psql(&url, &settings);
    world.put("marts.places", places(&many(100, 4.0))).await;
    go(&world, &url, &place_sync()).await;
    let before = state(&server, &url);
    // Once into the stage of an old table, once into a new one.
    let rebuilt = SyncTarget { texts: vec!["name".into()], ..place_sync() };
    let long: Vec<Place> =
        many(30_000, 2.0).into_iter().map(|it| Place { name: "긴 이름 ".repeat(60) + &it.id, ..it }).collect();
    world.put("marts.places", places(&long)).await;
    for target in [&place_sync(), &rebuilt] {
        let (failed, again) = counted(&world, &serving(&world, &url), target).await;
        let error = told(&failed.unwrap_err());
        assert!(error.contains("53100") && error.contains("free some space"), "{error}");
        assert_eq!((again.len(), state(&server, &url)), (0, before.clone()));
    }
    disk.grow(400);
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 30_000);
    equal(&world, &url).await;
    drop(server);
}

#[tokio::test]
async fn what_is_refused_is_told_with_a_way_out_and_without_the_password() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(2, 4.0))).await;
    let database = url.rsplit('/').next().unwrap().to_owned();
    server.psql(
        &url,
        "do $$ begin create role poor login password 'poor-canary'; exception when duplicate_object then null; end $$",
    );
    let free = services::guard::free_port();
    let (port, secret) = (server.port(), "canary");
    for (url, expected, hint) in [
        (format!("postgres://onggi:{secret}@127.0.0.1:{port}/{database}"), "28P01", "check user and password"),
        (format!("postgres://nobody:{secret}@127.0.0.1:{port}/{database}"), "28P01", "check user and password"),
        (url.replace(&database, "nothing"), "3D000", "create the database"),
        (format!("postgres://poor:poor-{secret}@127.0.0.1:{port}/{database}"), "42501", "needs `create`"),
        (format!("{url}?sslmode=verify-full"), "does not support TLS", "sslmode"),
    ] {
        let target = SyncTarget { vector: None, ..place_sync() };
        let (failed, again) = counted(&world, &serving(&world, &url), &target).await;
        let error = failed.unwrap_err();
        assert!(told(&error).contains(expected) && told(&error).contains(hint), "{}", told(&error));
        assert!(again.is_empty() && !error.is_retryable());
        assert!(
            !format!("{error:?} {}", told(&error)).contains("canary") && !told(&error).contains(services::PASSWORD),
            "{error:?}"
        );
    }
    let sink = serving(&world, &format!("postgres://poor:poor-canary@127.0.0.1:{port}/{database}"))
        .sink(SinkKind::Postgres)
        .unwrap();
    let error = sink.doctor().await.unwrap_err();
    assert!(told(&error).contains("may not create one") && told(&error).contains("create schema"), "{}", told(&error));
    // A server that is not there may come back: it is waited for, and then told.
    let error = serving(&world, &format!("postgres://onggi:{secret}@127.0.0.1:{free}/x"))
        .sink(SinkKind::Postgres)
        .unwrap()
        .cursor(&place_sync().table)
        .await
        .unwrap_err();
    assert!(error.is_retryable() && told(&error).contains("start the server"), "{}", told(&error));
    let line = serving(&world, &url).sink(SinkKind::Postgres).unwrap().doctor().await.unwrap();
    assert!(
        line.contains("PostgreSQL 1") && line.contains("not encrypted") && line.contains("keywords by reading"),
        "{line}"
    );
    server.psql(&url, &format!("alter database {database} set default_transaction_read_only = on"));
    let target = SyncTarget { vector: None, ..place_sync() };
    let error = sync(&world.lake, &target, &serving(&world, &url), &Rules::default(), &|_| {}).await.unwrap_err();
    assert!(told(&error).contains("25006") && told(&error).contains("primary"), "{}", told(&error));
}
