//! Whole syncs, from a table in a lake to what readers see.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;
use crate::reconcile::{compare, repair};
use crate::serving::serving_hash;
use crate::testing::{Place, World, place, place_target, places, review_target, reviews, town, unequal};

mod over_time;

async fn go(world: &World, target: &SyncTarget) -> Synced {
    sync(&world.lake, target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap()
}

fn named(differing: &crate::Differing) -> Vec<&str> {
    differing.first.iter().map(String::as_str).collect()
}

fn two() -> Vec<Place> {
    vec![place("a", "망원국밥", "국밥", &["혼밥"], "국물이 진해요."), place("b", "연남커피", "커피", &[], "")]
}

#[tokio::test]
async fn a_sync_makes_every_sink_equal_and_the_second_reads_nothing() {
    let world = World::new().await;
    let version = world.put("marts.places", places(&two())).await;
    let first = go(&world, &place_target()).await;
    assert_eq!(
        (first.version, first.upserted, first.deleted, first.unchanged),
        (version, 5, 0, 0),
        "a place without a vector is in two sinks"
    );
    assert_eq!(
        first.sinks.iter().map(|s| (s.sink, s.upserted)).collect::<Vec<_>>(),
        [(SinkKind::Sqlite, 2), (SinkKind::Keywords, 2), (SinkKind::Vectors, 1)]
    );
    assert_eq!(unequal(&world.lake, &place_target(), &world.serving()).await, []);
    let second = go(&world, &place_target()).await;
    assert!(second.is_up_to_date());
}

#[tokio::test]
async fn the_same_rows_at_a_new_version_move_only_the_cursor() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let mut turned = two();
    turned.reverse();
    let version = world.put("marts.places", places(&turned)).await;
    let second = go(&world, &place_target()).await;
    assert_eq!((second.version, second.upserted, second.deleted, second.unchanged), (version, 0, 0, 5));
    assert!(go(&world, &place_target()).await.is_up_to_date());
}

#[tokio::test]
async fn only_the_sinks_that_care_are_written() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let mut changed = two();
    changed[0].rating = 3.0;
    world.put("marts.places", places(&changed)).await;
    let synced = go(&world, &place_target()).await;
    assert_eq!(
        synced.sinks.iter().map(|s| s.upserted).collect::<Vec<_>>(),
        [1, 0, 0],
        "a rating is neither searched nor embedded"
    );
    changed[0].summary = None;
    world.put("marts.places", places(&changed)).await;
    let synced = go(&world, &place_target()).await;
    assert_eq!(
        synced.sinks.iter().map(|s| (s.upserted, s.deleted)).collect::<Vec<_>>(),
        [(1, 0), (1, 0), (0, 1)],
        "without a vector it leaves the vectors"
    );
    world.put("marts.places", places(&changed[..1])).await;
    let synced = go(&world, &place_target()).await;
    assert_eq!(synced.sinks.iter().map(|s| s.deleted).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(unequal(&world.lake, &place_target(), &world.serving()).await, []);
}

#[tokio::test]
async fn a_deleted_folder_comes_back_the_same() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let serving = world.serving();
    let hash = serving_hash(serving.dir()).await.unwrap();
    for gone in ["", "keywords", "vectors/marts.places/index-1.usearch", "serving.sqlite"] {
        let path = serving.dir().join(gone);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        assert_ne!(serving_hash(serving.dir()).await.unwrap(), hash, "{gone}");
        assert!(!go(&world, &place_target()).await.is_up_to_date(), "{gone}");
        assert_eq!(serving_hash(serving.dir()).await.unwrap(), hash, "{gone}");
    }
}

#[tokio::test]
async fn another_role_of_a_column_is_a_new_sync() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let target = SyncTarget { texts: vec!["name".into()], ..place_target() };
    let synced = go(&world, &target).await;
    assert_eq!(synced.sinks.iter().map(|s| (s.sink, s.upserted)).collect::<Vec<_>>(), [(SinkKind::Keywords, 2)]);
    assert!(go(&world, &target).await.is_up_to_date());
}

#[tokio::test]
async fn bad_keys_publish_nothing() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let hash = serving_hash(world.serving().dir()).await.unwrap();
    let twice = [two(), two()].concat();
    world.put("marts.places", places(&twice)).await;
    let error = sync(&world.lake, &place_target(), &world.serving(), &Rules::default(), &|_| {}).await.unwrap_err();
    assert_eq!(error.to_string(), "`marts.places`: expected each key once, found `a` twice");
    assert_eq!(serving_hash(world.serving().dir()).await.unwrap(), hash);
    world.put("marts.places", places(&[place("", "이름", "국밥", &[], "")])).await;
    assert!(sync(&world.lake, &place_target(), &world.serving(), &Rules::default(), &|_| {}).await.is_err());
    assert_eq!(serving_hash(world.serving().dir()).await.unwrap(), hash);
}

#[tokio::test]
async fn two_syncs_at_once_take_turns() {
    let world = World::new().await;
    let (made, written) = town(30, 500, 3);
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    let serving = world.serving();
    let held = serving.lock(&|| {}).await.unwrap();
    let waited = AtomicUsize::new(0);
    let progress = |p| {
        if p == SyncProgress::Waiting {
            waited.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (target, texts) = (place_target(), review_target());
    let rules = Rules::default();
    let both = async {
        tokio::join!(
            sync(&world.lake, &target, &serving, &rules, &progress),
            sync(&world.lake, &target, &serving, &rules, &progress),
            sync(&world.lake, &texts, &serving, &rules, &progress)
        )
    };
    let release = async {
        while waited.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(held);
    };
    let ((one, two, three), ()) = tokio::join!(both, release);
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.is_up_to_date(), !two.is_up_to_date(), "one did the work, the other found it done");
    assert_eq!(three.unwrap().upserted, 500);
    assert_eq!(unequal(&world.lake, &target, &serving).await, []);
    assert_eq!(unequal(&world.lake, &texts, &serving).await, []);
}

#[tokio::test]
async fn a_sink_that_was_touched_by_others_is_told() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    go(&world, &place_target()).await;
    let file = world.serving().dir().join("serving.sqlite");
    rusqlite::Connection::open(file)
        .unwrap()
        .execute_batch("delete from marts_places where place_id = 'a'; update marts_places set _row_hash = 'x'")
        .unwrap();
    let found = unequal(&world.lake, &place_target(), &world.serving()).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].sink, named(&found[0].missing), named(&found[0].different)),
        (SinkKind::Sqlite, vec!["a"], vec!["b"])
    );
    assert!(go(&world, &place_target()).await.is_up_to_date(), "a sync goes by the cursors alone");
    let mended = repair(&world.lake, &place_target(), &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    assert_eq!(
        mended.sinks.iter().map(|it| (it.sink, it.upserted, it.deleted, it.unchanged)).collect::<Vec<_>>(),
        [(SinkKind::Sqlite, 2, 0, 0), (SinkKind::Keywords, 0, 0, 2), (SinkKind::Vectors, 0, 0, 1)]
    );
    let compared = compare(&world.lake, &place_target(), &world.serving()).await.unwrap();
    assert_eq!(
        compared.iter().map(|it| (it.equal, it.is_equal())).collect::<Vec<_>>(),
        [(2, true), (2, true), (1, true)]
    );
}

#[tokio::test]
async fn twenty_thousand_reviews_take_seconds_and_then_milliseconds() {
    let world = World::new().await;
    let (made, written) = town(200, 20_000, 7);
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    let start = Instant::now();
    go(&world, &place_target()).await;
    let synced = go(&world, &review_target()).await;
    assert_eq!(synced.upserted, 20_000);
    let first = start.elapsed();
    let start = Instant::now();
    assert!(go(&world, &place_target()).await.is_up_to_date());
    assert!(go(&world, &review_target()).await.is_up_to_date());
    println!("first sync {first:?}, second {:?}", start.elapsed());
    let start = Instant::now();
    let search =
        crate::Search::open(&world.serving(), crate::search::tests::settings([place_target(), review_target()]))
            .unwrap();
    let opened = start.elapsed();
    let found = search.keyword("요", None).await.unwrap().hits;
    let keyword = start.elapsed().checked_sub(opened).unwrap();
    let question = "친구와 조용한 분위기에서 먹기 좋은 파스타";
    let hits = search.search(question, 10, &crate::search::tests::local()).await.unwrap().hits;
    println!(
        "open {opened:?}, keyword in every text {keyword:?}, question {:?}",
        start.elapsed().saturating_sub(opened + keyword)
    );
    assert_eq!((found.len(), hits.len()), (200, 10));
    assert!(first.as_secs() < 60, "far above what it takes, so that a busy machine does not fail it: {first:?}");
}
