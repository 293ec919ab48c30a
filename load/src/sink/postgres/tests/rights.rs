//! Whose a table is, and what people gave it: lakes, rights, policies, comments, indexes, and readers who don't wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::reconcile::{Compared, compare, repair};
use crate::testing::places;

#[tokio::test]
async fn a_table_that_follows_another_lake_is_refused_until_it_is_adopted() {
    let Some(server) = services::postgres() else { return };
    let (prod, dev, url) = (World::new().await, World::new().await, server.database());
    prod.put("marts.places", places(&many(3, 4.0))).await;
    dev.put("marts.places", places(&many(1, 1.0))).await;
    go(&prod, &url, &place_sync()).await;
    let rows = "select count(*), min(rating) from onggi.places";
    let by = async |rules: &Rules| sync(&dev.lake, &place_sync(), &serving(&dev, &url), rules, &|_| {}).await;
    let error = by(&Rules::default()).await.unwrap_err();
    assert!(told(&error).contains("follows another lake") && told(&error).contains("--adopt"), "{}", told(&error));
    assert!(compare(&dev.lake, &place_sync(), &serving(&dev, &url)).await.is_err());
    assert_eq!(server.psql(&url, rows), "3|4\n", "nothing was touched");
    let adopt = Rules { adopt: true, ..Rules::default() };
    repair(&dev.lake, &place_sync(), &serving(&dev, &url), &adopt, &|_| {}).await.unwrap();
    assert_eq!(server.psql(&url, rows), "1|1\n");
    assert!(by(&Rules::default()).await.unwrap().is_up_to_date());
    assert!(sync(&prod.lake, &place_sync(), &serving(&prod, &url), &Rules::default(), &|_| {}).await.is_err());
}

#[tokio::test]
async fn a_table_that_takes_anothers_place_gets_what_people_gave_that_one() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(20, 4.0))).await;
    let plain = SyncTarget { texts: vec![], ..place_sync() };
    go(&world, &url, &plain).await;
    server.psql(
        &url,
        "do $$ begin create role onggi_app; exception when duplicate_object then null; end $$;
         do $$ begin create role onggi_reader; exception when duplicate_object then null; end $$;
         grant usage on schema onggi to onggi_app, onggi_reader;
         grant select on onggi.places to onggi_app;
         grant select (name, rating) on onggi.places to onggi_reader;
         alter table onggi.places enable row level security;
         create policy \"some rows\" on onggi.places for select to onggi_app using (place_id < 'k00010');
         create policy writers on onggi.places for insert to onggi_app with check (rating > 1);
         comment on table onggi.places is 'it''s ours';
         comment on column onggi.places.name is 'what people call it';
         create index \"By Rating\" on onggi.places (rating desc) where rating > 2;
         alter table onggi.places set (fillfactor = 70)",
    );
    let state = || {
        let as_role = |role: &str, sql: &str| server.psql(&url, &format!("set role {role}; {sql}"));
        [
            as_role("onggi_app", "select count(*) from onggi.places"),
            as_role("onggi_reader", "select count(name) from onggi.places"),
            server.psql(&url, "select policyname, roles, cmd, qual, with_check from pg_policies order by 1"),
            server.psql(
                &url,
                "select obj_description('onggi.places'::regclass), col_description('onggi.places'::regclass, 2)",
            ),
            server.psql(&url, "select indexdef from pg_indexes where indexname = 'By Rating'"),
            server.psql(&url, "select relrowsecurity, reloptions from pg_class where oid = 'onggi.places'::regclass"),
        ]
    };
    let before = state();
    assert!(
        before[0].contains("10") && before[3].contains("it's ours") && before[4].contains("rating DESC"),
        "{before:?}"
    );
    // Another role of a column makes the table anew.
    let oid = "select 'onggi.places'::regclass::oid";
    let old = server.psql(&url, oid);
    go(&world, &url, &place_sync()).await;
    assert_ne!(server.psql(&url, oid), old);
    assert_eq!(state(), before);
    assert_eq!(go(&world, &url, &place_sync()).await.sinks.len(), 0);
    // And again, with names that were taken before.
    go(&world, &url, &plain).await;
    assert_eq!(state(), before);
}

#[tokio::test]
async fn what_a_new_table_cannot_get_refuses_the_swap() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(5, 4.0))).await;
    go(&world, &url, &place_sync()).await;
    let other = SyncTarget { texts: vec![], ..place_sync() };
    for (make, drop, word) in [
        (
            "create function onggi.noted() returns trigger language plpgsql as 'begin return new; end';
             create trigger noted after insert on onggi.places for each row execute function onggi.noted()",
            "drop trigger noted on onggi.places",
            "the trigger noted",
        ),
        ("create view onggi.best as select name from onggi.places", "drop view onggi.best", "the view"),
        (
            "alter table onggi.places add constraint sane check (rating < 9)",
            "alter table onggi.places drop constraint sane",
            "the constraint sane",
        ),
        (
            "create table onggi.visits (place text references onggi.places)",
            "drop table onggi.visits",
            "the constraint visits_place_fkey",
        ),
    ] {
        server.psql(&url, make);
        let error = sync(&world.lake, &other, &serving(&world, &url), &Rules::default(), &|_| {}).await.unwrap_err();
        assert!(told(&error).contains(word) && told(&error).contains("would be lost"), "{}", told(&error));
        // In place, all goes on.
        world.put("marts.places", places(&many(5, 3.0))).await;
        go(&world, &url, &place_sync()).await;
        world.put("marts.places", places(&many(5, 4.0))).await;
        go(&world, &url, &place_sync()).await;
        server.psql(&url, drop);
    }
    assert_eq!(go(&world, &url, &other).await.upserted, 5);
}

#[tokio::test]
async fn readers_do_not_wait_while_a_column_is_added_and_rows_are_loaded() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let rows = many(400, 4.0);
    world.put("marts.places", places(&rows)).await;
    go(&world, &url, &place_sync()).await;
    let slow = PostgresOptions { rows_per_second: Some(100), ..options(&url) };
    let slow = world.serving().with(Arc::new(Postgres::new(&slow).unwrap()));
    let batch = places(&rows);
    let more: arrow::array::ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["02-123"; rows.len()]));
    let schema = batch.schema();
    let columns = schema.fields().iter().map(|it| it.name().clone()).zip(batch.columns().to_vec());
    let wider = arrow::array::RecordBatch::try_from_iter_with_nullable(
        columns.chain([("phone".to_owned(), more)]).map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    // The table is made again, as it is where a model gets a column that it never had.
    let world = world.without("marts.places").await;
    world.put("marts.places", wider).await;
    let (synced, asked) =
        read_while(server, &url, "400", sync(&world.lake, &place_sync(), &slow, &Rules::default(), &|_| {})).await;
    assert_eq!(synced.upserted, 400);
    assert!(asked > 2, "{asked} questions while it was loaded");
}

/// Asks for the number of places again and again until the sync has ended; also how often it was asked.
async fn read_while(
    server: &services::Postgres,
    url: &str,
    rows: &str,
    synced: impl Future<Output = crate::Result<Synced>>,
) -> (Synced, usize) {
    let (ended, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        let done = synced.await;
        ended.store(true, Ordering::SeqCst);
        done.unwrap()
    };
    let read = async {
        while !ended.load(Ordering::SeqCst) {
            // Far less than the load takes, and more than any statement on a busy machine.
            let told = server.psql(url, "set lock_timeout = '2s'; select count(*) from onggi.places");
            assert!(told.ends_with(&format!("{rows}\n")), "{told}");
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (synced, ()) = tokio::join!(load, read);
    (synced, asked.load(Ordering::SeqCst))
}

#[tokio::test]
async fn readers_do_not_wait_while_a_standing_table_gets_its_first_vectors() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let without: Vec<Place> = many(600, 4.0).into_iter().map(|place| Place { summary: None, ..place }).collect();
    world.put("marts.places", places(&without)).await;
    go(&world, &url, &place_sync()).await;
    server.psql(
        &url,
        "do $$ begin create role onggi_reader; exception when duplicate_object then null; end $$;
         grant select (place_id, embedding) on onggi.places to onggi_reader;
         comment on column onggi.places.embedding is 'what it''s near to'",
    );
    let state = "select a.attacl, col_description(a.attrelid, a.attnum) from pg_attribute a
        where attrelid = 'onggi.places'::regclass and attname = 'embedding'";
    let (before, kind) = (
        server.psql(&url, state),
        "select format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = 'onggi.places'::regclass and attname = 'embedding'",
    );
    assert!(before.contains("onggi_reader") && before.contains("near to"), "{before}");
    assert_eq!(server.psql(&url, kind), "halfvec\n");
    // Of the rows that change, the first slices have no vector either.
    let changed = |(at, place): (usize, Place)| match at {
        0..150 => Place { rating: 3.0, ..place },
        150..400 => Place { summary: Some(format!("{at}번째 집")), ..place },
        _ => place,
    };
    world.put("marts.places", places(&without.into_iter().enumerate().map(changed).collect::<Vec<_>>())).await;
    let slow = PostgresOptions { rows_per_second: Some(100), ..options(&url) };
    let slow = world.serving().with(Arc::new(Postgres::new(&slow).unwrap()));
    let (synced, asked) =
        read_while(server, &url, "600", sync(&world.lake, &place_sync(), &slow, &Rules::default(), &|_| {})).await;
    assert_eq!((synced.upserted, synced.unchanged), (400, 200));
    assert!(asked > 2, "{asked} questions while it was loaded");
    assert_eq!((server.psql(&url, kind), server.psql(&url, state)), ("halfvec(256)\n".to_owned(), before));
    let count = "select count(*) filter (where rating = 3), count(embedding) from onggi.places";
    assert_eq!(server.psql(&url, count), "150|250\n");
    let index = "select count(*) from pg_indexes where indexname = 'places_vector'";
    assert_eq!(server.psql(&url, index), "1\n");
    assert!(go(&world, &url, &place_sync()).await.is_up_to_date());
    let compared = compare(&world.lake, &place_sync(), &serving(&world, &url)).await.unwrap();
    assert!(compared.iter().all(Compared::is_equal), "{compared:?}");
}
