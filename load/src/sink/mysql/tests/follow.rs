//! The tables follow their marts: rows, changes, schemas.

use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::testing::{places, reviews, town, unequal};

async fn only_what_changed(server: &services::Mysql) {
    let (world, url) = (World::new().await, server.database());
    let (mut made, written) = town(200, 1_000, 3);
    let version = world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 200);
    assert_eq!(go(&world, &url, &review_sync()).await.upserted, 1_000);
    assert!(go(&world, &url, &place_sync()).await.is_up_to_date());
    let marks = "select relation, project, version, row_count, lake <> '', table_id <> '', content <> '', shape <> '' \
         from _onggi_sync where table_name = 'marts.places'";
    assert_eq!(server.sql(&url, marks), format!("places\ttest\t{version}\t200\t1\t1\t1\t1\n"));
    assert_eq!(tables(server, &url), ["places", "review_texts"]);
    let index = "select index_name, column_name from information_schema.statistics \
         where table_schema = database() and table_name = 'review_texts' order by index_name = 'PRIMARY' desc";
    assert_eq!(server.sql(&url, index), "PRIMARY\treview_id\n_onggi_entity\tplace_id\n");

    made[7].rating = 1.5;
    made[8].summary = None;
    made.remove(100);
    world.put("marts.places", places(&made)).await;
    // Somebody's own value in a column of ours shows which rows were written since.
    server.sql(&url, "update places set category = 'mine'");
    let synced = go(&world, &url, &place_sync()).await;
    assert_eq!((synced.upserted, synced.deleted, synced.unchanged), (2, 1, 197));
    assert_eq!(
        server.sql(&url, "select place_id, rating, embedding is null from places where category <> 'mine' order by 1"),
        "p0007\t1.5\t0\np0008\t4.25\t1\n"
    );
    let found = unequal(&world.lake, &place_sync(), &serving(&world, &url)).await;
    assert_eq!(found[0].different.rows, 197, "what others did is told, whatever the hashes say");
    let (rules, with) = (Rules::default(), serving(&world, &url));
    let repaired = crate::reconcile::repair(&world.lake, &place_sync(), &with, &rules, &|_| {}).await.unwrap();
    assert_eq!((repaired.upserted, repaired.deleted), (197, 0));
    assert_eq!(unequal(&world.lake, &place_sync(), &with).await, []);

    // The same rows at a new version move only the watermark.
    world.put("marts.places", places(&made)).await;
    let synced = go(&world, &url, &place_sync()).await;
    assert_eq!((synced.upserted, synced.deleted, synced.unchanged), (0, 0, 199));
    assert_eq!(unequal(&world.lake, &review_sync(), &with).await, []);

    server.sql(
        &url,
        "delete from places where place_id = 'p0001'; update places set _row_hash = 'x' where place_id = 'p0002'",
    );
    let found = unequal(&world.lake, &place_sync(), &with).await;
    let first = |it: &crate::Differing| it.first.iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        (first(&found[0].missing), first(&found[0].different)),
        (vec!["p0001".to_owned()], vec!["p0002".to_owned()])
    );
}

#[tokio::test]
async fn only_what_changed_is_written() {
    for server in servers() {
        only_what_changed(server).await;
    }
}

#[tokio::test]
async fn a_server_that_takes_no_files_gets_the_same_rows() {
    for server in servers() {
        let server = own(server, "local-infile=OFF");
        let line =
            serving(&World::new().await, &server.database()).sink(SinkKind::Mysql).unwrap().doctor().await.unwrap();
        assert!(line.contains("`local_infile` is off"), "{line}");
        only_what_changed(&server).await;
        types::every_type(&server).await;
    }
}

#[tokio::test]
async fn many_rows_are_read_in_ranges() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        // More than two ranges, and one that ends with a range.
        for rows in [20_000, 8_192 * 2] {
            world.put("marts.places", places(&many(rows, 4.0))).await;
            let all = Rules { allow_deletes: true, ..Rules::default() };
            sync(&world.lake, &place_sync(), &serving(&world, &url), &all, &|_| {}).await.unwrap();
            let found = crate::reconcile::compare(&world.lake, &place_sync(), &serving(&world, &url)).await.unwrap();
            assert!(found[0].is_equal() && found[0].equal == rows as u64, "{found:?}");
        }
    }
}

#[tokio::test]
async fn a_new_column_is_added_and_any_other_change_makes_the_table_anew() {
    for server in servers() {
        let url = server.database();
        let target = SyncTarget { vector: None, texts: vec![], title: None, ..place_sync() };
        // A lake of its own for each: in one, a column may come and not go.
        let put = async |columns: &[&str], extra: Option<(&str, ArrayRef)>| {
            let world = World::new().await;
            let all = places(&many(50, 4.0));
            let part: Vec<_> = columns.iter().map(|c| (*c, all.column_by_name(c).unwrap().clone(), true)).collect();
            let extra = extra.map(|(name, array)| (name, array, true));
            let batch = RecordBatch::try_from_iter_with_nullable(part.into_iter().chain(extra)).unwrap();
            world.put("marts.places", batch).await;
            world
        };
        let world = put(&["place_id", "name", "rating"], None).await;
        assert_eq!(adopted(&world, &serving(&world, &url), &target).await.unwrap().upserted, 50);
        let build = || {
            server.sql(&url, "select table_comment from information_schema.tables where table_schema = database() and table_name = 'places'")
        };
        let first = build();
        let none: ArrayRef = Arc::new(StringArray::new_null(50));
        let world = put(&["place_id", "name", "rating"], Some(("phone", none))).await;
        let synced = adopted(&world, &serving(&world, &url), &target).await.unwrap();
        assert_eq!((synced.upserted, synced.unchanged), (0, 50), "a column without values rewrites no row");
        assert_eq!(
            (build(), server.sql(&url, "select count(*) from places where phone is null")),
            (first.clone(), "50\n".into())
        );
        let phones: ArrayRef = Arc::new((0..50).map(|i| Some(i64::from(i))).collect::<Int64Array>());
        let world = put(&["place_id", "name"], Some(("phone", phones))).await;
        assert_eq!(adopted(&world, &serving(&world, &url), &target).await.unwrap().upserted, 50);
        assert_ne!(build(), first);
        assert_eq!(tables(server, &url), ["places"], "the old table is gone");
        assert_eq!(
            server.sql(&url, "select count(*) from _onggi_sync where table_name = 'marts.places'"),
            "2\n",
            "the old watermark means nothing"
        );
        assert_eq!(unequal(&world.lake, &target, &serving(&world, &url)).await, []);
        adopted(&put(&["place_id"], None).await, &serving(&world, &url), &target).await.unwrap();
        assert_eq!(
            server.sql(&url, "select count(*) from _onggi_sync where table_name = 'marts.places'"),
            "2\n",
            "and goes with the next change"
        );
    }
}

#[tokio::test]
async fn two_syncs_take_turns_and_a_moved_watermark_refuses_a_change() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(300, 4.0))).await;
        let waited = AtomicUsize::new(0);
        let progress = |p| {
            if p == SyncProgress::Waiting {
                waited.fetch_add(1, Ordering::SeqCst);
            }
        };
        let (target, one) = (place_sync(), database(&url));
        let held = crate::sink::Sink::lock(&one, &target.table, &|| {}).await.unwrap().unwrap();
        let (first, second) = (serving(&world, &url), serving(&world, &url));
        let rules = Rules::default();
        let both = async {
            tokio::join!(
                sync(&world.lake, &target, &first, &rules, &progress),
                sync(&world.lake, &target, &second, &rules, &progress)
            )
        };
        let release = async {
            while waited.load(Ordering::SeqCst) < 2 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            held.release().await;
        };
        let ((first, second), ()) = tokio::join!(both, release);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.is_up_to_date(), !second.is_up_to_date(), "one did the work, the other found it done");

        let sink = serving(&world, &url).sink(SinkKind::Mysql).unwrap();
        let schema = places(&[]).schema();
        let apply = sink.begin(&target, &schema, crate::sink::Start::Existing).await.unwrap();
        server.sql(&url, "update _onggi_sync set change_id = 'somebody else'");
        let cursor = crate::target::Cursor { version: 9, rows: 300, ..crate::target::Cursor::default() };
        let error = apply.commit(cursor).await.unwrap_err();
        assert!(error.is_retryable() && told(&error).contains("meanwhile"), "{}", told(&error));
        assert_eq!(server.sql(&url, "select count(*) from _onggi_sync where version = 9"), "0\n");
    }
}

#[tokio::test]
async fn the_rate_is_held() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        world.put("marts.places", places(&many(300, 4.0))).await;
        let slow = MysqlOptions { rows_per_second: Some(200), ..options(&url) };
        let slow = world.serving().with(Arc::new(Mysql::new(&slow).unwrap()));
        let began = std::time::Instant::now();
        sync(&world.lake, &place_sync(), &slow, &Rules::default(), &|_| {}).await.unwrap();
        assert!(began.elapsed().as_secs_f64() > 1.0, "{:?}", began.elapsed());
    }
}
