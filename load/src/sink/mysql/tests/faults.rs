//! What can go wrong between us and the server: afterwards the sink is the mart at its watermark, or as it was, and the next sync completes.

use std::process::Command;
use std::time::Duration;

use super::*;
use crate::testing::proxy::{Cut, Proxy};
use crate::testing::{places, unequal};

/// Rows and version of the places, as a reader has them.
fn state(server: &services::Mysql, url: &str) -> String {
    server.sql(url, "select count(*), round(avg(rating)) from places")
}

async fn equal(world: &World, url: &str) {
    assert_eq!(unequal(&world.lake, &place_sync(), &serving(world, url)).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_dies_while_rows_are_sent() {
    for server in servers() {
        let server = server.own();
        let (world, url) = (World::new().await, server.database());
        // Over an empty sink, and over one that has rows.
        for (rows, rating, before) in [(2_000, 4.0, ""), (2_100, 2.0, "2000\t4\n")] {
            world.put("marts.places", places(&many(rows, rating))).await;
            let slow = MysqlOptions { rows_per_second: Some(1_000), ..options(&url) };
            let slow = world.serving().with(Arc::new(Mysql::new(&slow).unwrap()));
            let target = place_sync();
            let kill = async {
                tokio::time::sleep(Duration::from_millis(900)).await;
                tokio::task::block_in_place(|| {
                    server.kill();
                    server.start_again();
                });
                if before.is_empty() { String::new() } else { state(&server, &url) }
            };
            let ((synced, again), held) = tokio::join!(counted(&world, &slow, &target), kill);
            assert_eq!(held, before, "nothing of it is seen");
            assert_eq!(synced.unwrap().upserted, rows as u64);
            assert!(!again.is_empty(), "the sync noticed nothing");
            assert_eq!(tables(&server, &url), ["places"], "what the first try left is gone");
            equal(&world, &url).await;
        }
    }
}

#[tokio::test]
async fn an_end_whose_reply_is_lost_is_decided_by_the_watermark() {
    for server in servers() {
        for cut in [Cut::After, Cut::Before] {
            let (world, url) = (World::new().await, server.database());
            // The rename of a new table, then the COMMIT of one that stands.
            for (last, rating) in [(&b"rename table"[..], 4.0), (&b"commit"[..], 3.0)] {
                let proxy = Proxy::start(server.port(), last, cut, 1).await;
                let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port));
                let through = through.replace("required", "disabled");
                world.put("marts.places", places(&many(50, rating))).await;
                let (synced, again) = counted(&world, &serving(&world, &through), &place_sync()).await;
                assert_eq!(proxy.fired.load(std::sync::atomic::Ordering::SeqCst), 1, "{cut:?}: nothing was cut");
                // Done: it was known to be done. Not done: it was done again.
                assert_eq!(again.is_empty(), cut == Cut::After, "{cut:?}: {again:?}");
                assert_eq!(synced.unwrap().upserted, 50, "{cut:?}");
                equal(&world, &url).await;
                assert_eq!(state(server, &url), format!("50\t{rating}\n"));
                assert_eq!(tables(server, &url), ["places"]);
            }
        }
    }
}

#[tokio::test]
async fn the_loser_of_a_deadlock_tries_again() {
    use mysql_async::prelude::Queryable as _;
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(200, 4.0))).await;
        go(&world, &url, &place_sync()).await;
        let held = crate::sink::mysql::state::lock_name(&database(&url).door, "write", &place_sync().table);
        world.put("marts.places", places(&many(200, 3.0))).await;
        let (target, with) = (place_sync(), serving(&world, &url));
        let mut other = database(&url).door.open().await.unwrap().into_connection();
        // The one that has written less loses, and it must not be this one.
        other.query_drop("create table weight (x int)").await.unwrap();
        other.query_drop("start transaction").await.unwrap();
        let rows = vec!["(1)"; 5_000].join(",");
        other.query_drop(format!("insert into weight values {rows}")).await.unwrap();
        other.query_drop("update places set rating = rating + 1 where place_id = 'k00150'").await.unwrap();
        let intrude = async {
            // The sync waits for that row, with the first ones in its hand.
            let waits = "select count(*) from information_schema.processlist where info like 'insert into `places`%'";
            let mut watch = database(&url).door.open().await.unwrap().into_connection();
            while watch.query_first::<i64, _>(waits).await.unwrap() == Some(0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            other.query_drop("update places set rating = rating + 1 where place_id = 'k00001'").await.unwrap();
            other.query_drop("rollback").await.unwrap();
        };
        let ((synced, again), ()) = tokio::join!(counted(&world, &with, &target), intrude);
        assert_eq!(synced.unwrap().upserted, 200);
        assert!(again.iter().any(|why| why.contains("(1213)")), "{again:?} {held}");
        equal(&world, &url).await;
    }
}

/// A file system of a few megabytes in the place of a database's folder; gone with the test.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(dir: std::path::PathBuf, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&dir).output();
        if mounted.is_ok_and(|it| it.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: a full disk needs a small file system, and only root may mount one");
        None
    }

    fn grow(&self, megabytes: u32) {
        let size = format!("remount,size={megabytes}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_publishes_nothing() {
    for server in servers() {
        let server = server.own();
        let (world, url) = (World::new().await, server.database());
        let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        let Some(disk) = Small::mount(server.data().join(database), 8) else { return };
        world.put("marts.places", places(&many(100, 4.0))).await;
        go(&world, &url, &place_sync()).await;
        let before = state(&server, &url);
        let anew = SyncTarget { entity: review_sync().entity, ..place_sync() };
        let long: Vec<Place> =
            many(30_000, 2.0).into_iter().map(|it| Place { name: "긴 이름 ".repeat(60) + &it.id, ..it }).collect();
        world.put("marts.places", places(&long)).await;
        // Once over the rows of an old table, once into a new one.
        for target in [&place_sync(), &anew] {
            let (failed, again) = counted(&world, &serving(&world, &url), target).await;
            let error = told(&failed.unwrap_err());
            assert!(error.contains("free some space"), "{error}");
            assert_eq!((again.len(), state(&server, &url)), (0, before.clone()));
        }
        disk.grow(600);
        assert_eq!(go(&world, &url, &place_sync()).await.upserted, 30_000);
        equal(&world, &url).await;
        drop(server);
    }
}

#[tokio::test]
async fn what_is_refused_is_told_with_a_way_out_and_without_the_password() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(2, 4.0))).await;
        let database = url.rsplit('/').next().unwrap().to_owned();
        let name = database.split('?').next().unwrap();
        let poor = format!("poor_{}", name.rsplit('_').next().unwrap());
        server
            .sql(&url, &format!("create user {poor} identified by 'poor-canary'; grant select on {name}.* to {poor}"));
        let free = services::guard::free_port();
        let (port, secret) = (server.port(), "canary");
        let tls = if server.is_mariadb() { "does not support TLS" } else { "no trusted TLS connection" };
        for (url, expected, hint) in [
            (format!("mysql://onggi:{secret}@127.0.0.1:{port}/{database}"), "(1045)", "check user and password"),
            (
                format!("mysql://nobody:{secret}@127.0.0.1:{port}/{database}"),
                "the mysql sink at",
                "check user and password",
            ),
            (url.replace(name, "nothing"), "(1049)", "create the database"),
            (format!("mysql://{poor}:poor-{secret}@127.0.0.1:{port}/{database}"), "(1142)", "the user needs"),
            (url.split('?').next().unwrap().to_owned(), tls, "ssl-ca"),
        ] {
            let (failed, again) = counted(&world, &serving(&world, &url), &place_sync()).await;
            let error = failed.unwrap_err();
            assert!(told(&error).contains(expected) && told(&error).contains(hint), "{}", told(&error));
            assert!(again.is_empty() && !error.is_retryable(), "{}", told(&error));
            let all = format!("{error:?} {}", told(&error));
            assert!(!all.contains("canary") && !all.contains(services::PASSWORD), "{all}");
        }
        let sink = |url: &str| serving(&world, url).sink(SinkKind::Mysql).unwrap();
        let doctor = sink(&format!("mysql://{poor}:poor-{secret}@127.0.0.1:{port}/{database}")).doctor().await;
        assert!(told(&doctor.unwrap_err()).contains("the user needs"));
        // A server that is not there may come back: it is waited for, and then told.
        let away = sink(&format!("mysql://onggi:{secret}@127.0.0.1:{free}/x?ssl-mode=disabled"));
        let error = away.cursor(&place_sync().table).await.unwrap_err();
        assert!(error.is_retryable() && told(&error).contains("start the server"), "{}", told(&error));
        let line = sink(&url).doctor().await.unwrap();
        let (who, how) = if server.is_mariadb() { ("MariaDB 1", "not encrypted") } else { ("MySQL ", "TLSv1.") };
        assert!(line.contains(who) && line.contains(how) && line.contains("load data local infile"), "{line}");
        assert!(tables(server, &url).is_empty(), "what the doctor tried is gone");
        server.sql(&url, &format!("drop user {poor}"));
    }
}

#[tokio::test]
async fn a_server_that_only_reads_is_told() {
    for server in servers() {
        let server = server.own();
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(2, 4.0))).await;
        let all = if server.is_mariadb() {
            "revoke read only admin, super on *.* from onggi; set global read_only = 1"
        } else {
            "set global super_read_only = 1"
        };
        server.sql(&url, all);
        let error =
            sync(&world.lake, &place_sync(), &serving(&world, &url), &Rules::default(), &|_| {}).await.unwrap_err();
        assert!(told(&error).contains("(1290)") && told(&error).contains("primary"), "{}", told(&error));
    }
}
