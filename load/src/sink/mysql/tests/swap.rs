//! A table that takes another's place, beside those who read it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;

use super::*;
use crate::testing::places;

/// A connection as a reader has it.
async fn reader(url: &str) -> mysql_async::Conn {
    database(url).door.open().await.unwrap().into_connection()
}

/// Asks until `ended`, and says how often, the longest wait, and how many tables it saw.
async fn ask(url: &str, ended: &AtomicBool) -> (usize, Duration, usize) {
    let mut connection = reader(url).await;
    let (mut asked, mut longest, mut seen) = (0, Duration::ZERO, std::collections::BTreeSet::new());
    while !ended.load(Ordering::SeqCst) {
        let began = Instant::now();
        let found: Option<(i64, Option<f64>, Option<f64>)> =
            connection.query_first("select count(*), min(rating), max(rating) from places").await.unwrap();
        longest = longest.max(began.elapsed());
        let (count, least, most) = found.unwrap();
        assert_eq!((count, least), (400, most), "an empty, half or mixed table was seen");
        seen.insert(most.unwrap().to_bits());
        asked += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (asked, longest, seen.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_one_table_or_the_other_and_wait_for_neither() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(400, 1.0))).await;
        go(&world, &url, &place_sync()).await;
        let ended = AtomicBool::new(false);
        let target = place_sync();
        let write = async {
            for rating in 2..=6 {
                // In turn: the rows of a table that stands, and a table in its place.
                let entity = review_sync().entity.filter(|_| rating % 2 == 0);
                world.put("marts.places", places(&many(400, f64::from(rating)))).await;
                let target = SyncTarget { entity, ..target.clone() };
                assert_eq!(go(&world, &url, &target).await.upserted, 400);
            }
            ended.store(true, Ordering::SeqCst);
        };
        let ((), (asked, longest, seen), (others, ..)) = tokio::join!(write, ask(&url, &ended), ask(&url, &ended));
        assert!(asked > 5 && others > 5 && seen >= 2, "{asked} {others} {seen}");
        // Without a lock that is held: whatever a busy machine adds is less.
        assert!(longest < Duration::from_secs(3), "a reader waited {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_who_does_not_end_holds_up_the_swap_and_no_other_reader() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(400, 1.0))).await;
        go(&world, &url, &place_sync()).await;
        world.put("marts.places", places(&many(400, 2.0))).await;
        // A transaction that has read the table holds it until it ends.
        let mut slow = reader(&url).await;
        slow.query_drop("start transaction").await.unwrap();
        slow.query_drop("select count(*) from places").await.unwrap();
        let (ended, anew) = (AtomicBool::new(false), SyncTarget { entity: review_sync().entity, ..place_sync() });
        let began = Instant::now();
        let write = async {
            assert_eq!(go(&world, &url, &anew).await.upserted, 400);
            ended.store(true, Ordering::SeqCst);
            began.elapsed()
        };
        let hold = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            slow.query_drop("commit").await.unwrap();
        };
        let (took, (asked, longest, _), ()) = tokio::join!(write, ask(&url, &ended), hold);
        assert!(took >= Duration::from_secs(3), "the swap did not wait for who reads: {took:?}");
        // A try of 50 ms, and what it takes to end it, also on a busy machine: behind a try that nobody ends it would be all of it.
        assert!(asked > 5 && longest < took / 2, "{asked} questions, the longest {longest:?} of {took:?}");
    }
}
