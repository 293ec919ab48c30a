//! The tables follow their marts: rows, changes, schemas, rights.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Int32Type};

use super::*;
use crate::testing::{name, places, reviews, town, unequal};

#[tokio::test]
async fn only_what_changed_is_written() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let (mut made, written) = town(200, 1_000, 3);
    let version = world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 200);
    assert_eq!(go(&world, &url, &review_sync()).await.upserted, 1_000);
    assert!(go(&world, &url, &place_sync()).await.is_up_to_date());
    assert_eq!(
        server.psql(
            &url,
            "select table_name, relation, project, version, rows, keywords from onggi._onggi_sync order by 1"
        ),
        format!("marts.places|places|test|{version}|200|scan\nmarts.review_texts|review_texts|test|0|1000|scan\n")
            .replace(
                "test|0|",
                &format!(
                    "test|{}|",
                    world.lake.table(&name("marts.review_texts")).await.unwrap().snapshot().await.unwrap().version()
                )
            )
    );
    assert_eq!(
        server.psql(
            &url,
            "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum) from pg_attribute
             where attrelid = 'onggi.places'::regclass and attnum > 0"
        ),
        "place_id text, name text, category text, reviews bigint, rating double precision, situations text[], summary text, \
         embedding halfvec(256), _row_hash bytea, _row_text text\n"
    );
    assert_eq!(
        server.psql(&url, "select string_agg(indexname, ', ' order by 1) from pg_indexes where schemaname = 'onggi' and tablename = 'places'"),
        "places_key, places_vector\n"
    );

    let transactions = "select count(distinct xmin::text), count(*) from onggi.places";
    assert_eq!(server.psql(&url, transactions), "1|200\n");
    made[7].rating = 1.5;
    made[8].summary = None;
    made.remove(100);
    world.put("marts.places", places(&made)).await;
    let synced = go(&world, &url, &place_sync()).await;
    assert_eq!((synced.upserted, synced.deleted, synced.unchanged), (2, 1, 197));
    assert_eq!(
        server.psql(
            &url,
            "select place_id, rating, embedding is null from onggi.places
             where xmin::text = (select xmin::text from onggi.places where place_id = 'p0007') order by 1"
        ),
        "p0007|1.5|f\np0008|4.25|t\n",
        "the rows of the second transaction are the two that changed"
    );
    assert_eq!(unequal(&world.lake, &place_sync(), &serving(&world, &url)).await, []);

    // The same rows at a new version move only the watermark.
    world.put("marts.places", places(&made)).await;
    let synced = go(&world, &url, &place_sync()).await;
    assert_eq!((synced.upserted, synced.deleted, synced.unchanged), (0, 0, 199));
    assert_eq!(server.psql(&url, "select count(distinct xmin::text) from onggi.places"), "2\n");

    // Another role of a column: a new table in the old one's place, with the old one's names.
    let other = SyncTarget { texts: vec!["name".into()], ..place_sync() };
    assert_eq!(go(&world, &url, &other).await.upserted, 199);
    assert_eq!(
        server.psql(
            &url,
            "select string_agg(indexname, ', ' order by 1) from pg_indexes where schemaname = 'onggi' and tablename = 'places'"
        ),
        "places_key, places_vector\n"
    );
    assert_eq!(server.psql(&url, "select to_regclass('onggi._new_places') is null"), "t\n");
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 199);

    // What others did to the table is told.
    server.psql(&url, "delete from onggi.places where place_id = 'p0001'; update onggi.places set _row_hash = 'x' where place_id = 'p0002'");
    let found = unequal(&world.lake, &place_sync(), &serving(&world, &url)).await;
    let first = |it: &crate::Differing| it.first.iter().cloned().collect::<Vec<_>>();
    assert_eq!(
        (first(&found[0].missing), first(&found[0].different)),
        (vec!["p0001".to_owned()], vec!["p0002".to_owned()])
    );
}

#[tokio::test]
async fn every_type_arrives_as_itself() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    // What readers of Delta take in a name, and what ends a quoted name where it is pasted.
    let odd = "\"--/*drop*/'";
    let dictionary: arrow::array::DictionaryArray<Int32Type> = [Some("x"), None, Some("x")].into_iter().collect();
    let dictionary = arrow::compute::cast(&dictionary, &DataType::Utf8).unwrap();
    let times = TimestampMicrosecondArray::from(vec![Some(1_790_000_000_123_456), None, Some(0)]).with_timezone("UTC");
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![1, -2, i64::MAX])) as ArrayRef, true),
        (odd, Arc::new(StringArray::from(vec![Some("망원 ' \\ \t\n"), None, Some("")])) as ArrayRef, true),
        ("word", dictionary, true),
        ("at", Arc::new(times) as ArrayRef, true),
        ("day", Arc::new(arrow::array::Date32Array::from(vec![Some(20_000), None, Some(-1)])) as ArrayRef, true),
        ("small", Arc::new(arrow::array::Int16Array::from(vec![Some(-3), None, Some(7)])) as ArrayRef, true),
        ("flag", Arc::new(arrow::array::BooleanArray::from(vec![Some(true), None, Some(false)])) as ArrayRef, true),
        (
            "bytes",
            Arc::new(arrow::array::BinaryArray::from(vec![Some(&b"\0\xff"[..]), None, Some(b"")])) as ArrayRef,
            true,
        ),
    ])
    .unwrap();
    world.put("staging.t", batch).await;
    let target = SyncTarget {
        table: name("staging.t"),
        key: "id".into(),
        texts: vec![],
        title: None,
        vector: None,
        ..place_sync()
    };
    assert_eq!(go(&world, &url, &target).await.upserted, 3);
    assert_eq!(
        server.psql(&url, "set timezone = 'UTC'; select to_json(t) from (select * from onggi.staging_t order by id) t").replace("\\\\x", "x"),
        concat!(
            r#"{"id":-2,"\"--/*drop*/'":null,"word":null,"at":null,"day":null,"small":null,"flag":null,"bytes":null,"_row_hash":"#,
            "H1}\n",
            r#"{"id":1,"\"--/*drop*/'":"망원 ' \\ \t\n","word":"x","at":"2026-09-21T14:13:20.123+00:00","day":"2024-10-04","small":-3,"flag":true,"bytes":"x00ff","_row_hash":"#,
            "H2}\n",
            r#"{"id":9223372036854775807,"\"--/*drop*/'":"","word":"x","at":"1970-01-01T00:00:00+00:00","day":"1969-12-31","small":7,"flag":false,"bytes":"x","_row_hash":"#,
            "H3}\n"
        )
        .split('H')
        .enumerate()
        .map(|(i, part)| {
            // Each hash is what it is.
            let hashes = server.psql(&url, "select '\"x' || encode(_row_hash, 'hex') || '\"' from onggi.staging_t order by id");
            if i == 0 { part.to_owned() } else { format!("{}{}", hashes.lines().nth(i - 1).unwrap(), &part[1..]) }
        })
        .collect::<String>()
    );
    assert_eq!(unequal(&world.lake, &target, &serving(&world, &url)).await, []);
    let text_with_nul = RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef, true),
        ("body", Arc::new(StringArray::from(vec!["a\0b"])) as ArrayRef, true),
    ])
    .unwrap();
    assert_eq!(text_with_nul.column(1).null_count(), 0);
    world.put("staging.nul", text_with_nul).await;
    let target = SyncTarget { table: name("staging.nul"), ..target };
    let error = sync(&world.lake, &target, &serving(&world, &url), &Rules::default(), &|_| {}).await.unwrap_err();
    assert!(told(&error).contains("0x00") && told(&error).contains("NUL"), "{}", told(&error));
    assert_eq!(server.psql(&url, "select to_regclass('onggi.staging_nul') is null"), "t\n");
}

/// A sync that may take a table over from another lake.
async fn adopted(world: &World, serving: &Serving, target: &SyncTarget) -> crate::Result<Synced> {
    sync(&world.lake, target, serving, &Rules { adopt: true, ..Rules::default() }, &|_| {}).await
}

#[tokio::test]
async fn a_new_column_is_added_and_any_other_change_makes_the_table_anew() {
    let Some(server) = services::postgres() else { return };
    let url = server.database();
    let target = SyncTarget { vector: None, texts: vec![], title: None, ..place_sync() };
    // A lake of its own for each: in one, a column may come and not go.
    let put = async |columns: &[&str], extra: Option<(&str, ArrayRef)>| {
        let world = World::new().await;
        let all = places(&many(50, 4.0));
        let part: Vec<_> = columns.iter().map(|c| (*c, all.column_by_name(c).unwrap().clone(), true)).collect();
        let extra = extra.map(|(name, array)| (name, array, true));
        world
            .put("marts.places", RecordBatch::try_from_iter_with_nullable(part.into_iter().chain(extra)).unwrap())
            .await;
        world
    };
    let world = put(&["place_id", "name", "rating"], None).await;
    assert_eq!(adopted(&world, &serving(&world, &url), &target).await.unwrap().upserted, 50);
    server.psql(
        &url,
        "create role reader; grant usage on schema onggi to reader; grant select on onggi.places to reader",
    );
    let oid = || server.psql(&url, "select 'onggi.places'::regclass::oid");
    let first = oid();

    let none: ArrayRef = Arc::new(StringArray::new_null(50));
    let world = put(&["place_id", "name", "rating"], Some(("phone", none))).await;
    let synced = adopted(&world, &serving(&world, &url), &target).await.unwrap();
    assert_eq!((synced.upserted, synced.unchanged), (0, 50), "a column without values rewrites no row");
    assert_eq!(oid(), first);
    assert_eq!(server.psql(&url, "select count(*) from onggi.places where phone is null"), "50\n");

    let phones: ArrayRef = Arc::new((0..50).map(|i| Some(i64::from(i))).collect::<Int64Array>());
    let world = put(&["place_id", "name"], Some(("phone", phones))).await;
    let reading = AtomicBool::new(true);
    let read = AtomicUsize::new(0);
    let readers = async {
        // A reader asks all the while, and never finds the table gone or half.
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await.unwrap();
        while reading.load(Ordering::SeqCst) {
            let count: i64 =
                sqlx::query_scalar("select count(*) from onggi.places").fetch_one(&mut connection).await.unwrap();
            assert_eq!(count, 50);
            read.fetch_add(1, Ordering::SeqCst);
        }
    };
    let write = async {
        let serving = world
            .serving()
            .with(Arc::new(Postgres::new(&PostgresOptions { rows_per_second: Some(50), ..options(&url) }).unwrap()));
        let synced = adopted(&world, &serving, &target).await.unwrap();
        reading.store(false, Ordering::SeqCst);
        synced
    };
    let ((), synced) = tokio::join!(readers, write);
    assert_eq!(synced.upserted, 50);
    assert!(read.load(Ordering::SeqCst) > 20);
    assert_ne!(oid(), first);
    assert_eq!(
        server.psql(&url, "select has_table_privilege('reader', 'onggi.places', 'select')"),
        "t\n",
        "rights go along"
    );
    assert_eq!(
        server.psql(&url, "select indexname from pg_indexes where schemaname = 'onggi' and tablename = 'places'"),
        "places_key\n"
    );
    assert_eq!(unequal(&world.lake, &target, &serving(&world, &url)).await, []);

    // A view on it is not dropped in silence.
    server.psql(&url, "create view v as select name from onggi.places");
    let world = put(&["place_id", "rating"], None).await;
    let error = adopted(&world, &serving(&world, &url), &target).await.unwrap_err();
    assert!(told(&error).contains("the view v would be lost"), "{}", told(&error));
    assert_eq!(server.psql(&url, "select count(*) from v"), "50\n");
    server.psql(&url, "drop view v; drop owned by reader; drop role reader");
    assert_eq!(adopted(&world, &serving(&world, &url), &target).await.unwrap().upserted, 50);
}

#[tokio::test]
async fn what_belongs_to_others_is_left_alone() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(3, 4.0))).await;
    server.psql(&url, "create schema onggi; create table onggi.places (mine int); insert into onggi.places values (1)");
    let refused = async |target: &SyncTarget, options: PostgresOptions| {
        let serving = world.serving().with(Arc::new(Postgres::new(&options).unwrap()));
        told(&sync(&world.lake, target, &serving, &Rules::default(), &|_| {}).await.unwrap_err())
    };
    let error = refused(&place_sync(), options(&url)).await;
    assert!(error.contains("is not ours") && error.contains("another schema"), "{error}");
    assert_eq!(server.psql(&url, "select mine from onggi.places"), "1\n");
    server.psql(&url, "drop table onggi.places; create view onggi.places as select 1 as x");
    assert!(refused(&place_sync(), options(&url)).await.contains("no plain table"));
    server.psql(&url, "drop view onggi.places");
    go(&world, &url, &place_sync()).await;

    let error = refused(&place_sync(), PostgresOptions { project: "another".into(), ..options(&url) }).await;
    assert!(error.contains("kept by the project `test`"), "{error}");
    world.put("marts.staging_x", places(&many(1, 4.0))).await;
    world.put("staging.x", places(&many(1, 4.0))).await;
    go(&world, &url, &SyncTarget { table: name("staging.x"), ..place_sync() }).await;
    let error = refused(&SyncTarget { table: name("marts.staging_x"), ..place_sync() }, options(&url)).await;
    assert!(error.contains("would both be the table"), "{error}");

    // A watermark that was lost: the table is ours by its hashes, and is made anew.
    server.psql(&url, "drop table onggi._onggi_sync");
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 3);
    server.psql(&url, "drop schema onggi cascade");
    assert_eq!(go(&world, &url, &place_sync()).await.upserted, 3);
}

#[tokio::test]
async fn two_syncs_take_turns_and_a_moved_watermark_refuses_a_change() {
    let Some(server) = services::postgres() else { return };
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

    let sink = serving(&world, &url).sink(SinkKind::Postgres).unwrap();
    let schema = places(&[]).schema();
    let apply = sink.begin(&target, &schema, crate::sink::Start::Existing).await.unwrap();
    server.psql(&url, "update onggi._onggi_sync set change = 'somebody else'");
    let cursor = crate::target::Cursor { version: 9, rows: 300, shape: "x".into(), ..crate::target::Cursor::default() };
    let error = apply.commit(cursor).await.unwrap_err();
    assert!(error.is_retryable() && told(&error).contains("meanwhile"), "{}", told(&error));
    assert_eq!(server.psql(&url, "select count(*) from onggi._onggi_sync where version = 9"), "0\n");
}

#[tokio::test]
async fn the_rate_is_held() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(600, 4.0))).await;
    let slow = PostgresOptions { rows_per_second: Some(400), ..options(&url) };
    let serving = world.serving().with(Arc::new(Postgres::new(&slow).unwrap()));
    for (rating, expected) in [(4.0, 600), (3.0, 600)] {
        world.put("marts.places", places(&many(600, rating))).await;
        let began = std::time::Instant::now();
        assert_eq!(
            sync(&world.lake, &place_sync(), &serving, &Rules::default(), &|_| {}).await.unwrap().upserted,
            expected
        );
        let seconds = began.elapsed().as_secs_f64();
        assert!((1.2..30.0).contains(&seconds), "600 rows at 400 a second took {seconds}");
    }
}
