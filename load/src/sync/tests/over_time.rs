//! What happens to a sink between the days: other keys, other tables, other lakes, empty marts, damage, what is no longer asked for.

use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field};

use super::*;
use crate::reconcile::{drop_orphan, orphans};
use crate::testing::name;

fn dishes(rows: &[(i64, &str, i64)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>()) as ArrayRef, true),
        ("dish", Arc::new(rows.iter().map(|r| Some(r.1)).collect::<StringArray>()) as ArrayRef, true),
        ("price", Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Int64Array>()) as ArrayRef, true),
    ])
    .unwrap()
}

fn dish_target(key: &str, sinks: &[SinkKind]) -> SyncTarget {
    SyncTarget {
        table: name("marts.menu"),
        key: key.into(),
        sinks: sinks.to_vec(),
        texts: vec!["dish".into()],
        title: None,
        entity: None,
        vector: None,
    }
}

fn sqlite(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.serving().dir().join("serving.sqlite")).unwrap()
}

fn many_dishes(count: i64) -> RecordBatch {
    let names: Vec<String> = (0..count).map(|i| format!("dish {i}")).collect();
    dishes(&names.iter().zip(0..).map(|(name, i)| (i, name.as_str(), 1)).collect::<Vec<_>>())
}

#[tokio::test]
async fn another_key_is_another_table_and_loses_no_row() {
    let world = World::new().await;
    world.put("marts.menu", dishes(&[(1, "gukbap", 9), (2, "mandu", 7)])).await;
    let sinks = [SinkKind::Sqlite, SinkKind::Keywords];
    go(&world, &dish_target("dish", &sinks)).await;
    let four = [(1, "gukbap", 9), (2, "gukbap", 8), (3, "mandu", 7), (4, "mandu", 6)];
    world.put("marts.menu", dishes(&four)).await;
    let target = dish_target("id", &sinks);
    let synced = go(&world, &target).await;
    assert_eq!(synced.sinks.iter().map(|it| it.upserted).collect::<Vec<_>>(), [4, 4]);
    assert_eq!(unequal(&world.lake, &target, &world.serving()).await, []);
    let rows: i64 = sqlite(&world).query_row("select count(*) from marts_menu", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 4);
}

#[tokio::test]
async fn an_entity_that_comes_later_has_its_index() {
    let world = World::new().await;
    world.put("marts.menu", dishes(&[(1, "gukbap", 9)])).await;
    let target = dish_target("id", &[SinkKind::Sqlite]);
    go(&world, &target).await;
    let entity = crate::target::Entity { column: "dish".into(), table: name("marts.dishes") };
    let with = SyncTarget { entity: Some(entity), ..target.clone() };
    let indexes = || -> i64 {
        let sql = "select count(*) from sqlite_master where type = 'index' and name = 'marts_menu_by_dish'";
        sqlite(&world).query_row(sql, [], |r| r.get(0)).unwrap()
    };
    world.put("marts.menu", dishes(&[(1, "gukbap", 8)])).await;
    go(&world, &with).await;
    assert_eq!(indexes(), 1);
    world.put("marts.menu", dishes(&[(1, "gukbap", 7)])).await;
    go(&world, &target).await;
    assert_eq!(indexes(), 0);
}

#[tokio::test]
async fn a_table_that_was_made_again_is_another_one_at_the_same_version() {
    let world = World::new().await;
    let target = dish_target("dish", &[SinkKind::Sqlite, SinkKind::Keywords]);
    let first = world.put("marts.menu", dishes(&[(1, "gukbap", 9)])).await;
    go(&world, &target).await;
    let world = world.without("marts.menu").await;
    let again = world.put("marts.menu", dishes(&[(1, "naengmyeon", 1)])).await;
    assert_eq!(first, again);
    assert_eq!(go(&world, &target).await.upserted, 2);
    assert_eq!(unequal(&world.lake, &target, &world.serving()).await, []);
    // The lake's id may be lost with all that is beside its tables.
    std::fs::remove_file(world.dir.path().join("lake/_onggi/lake-id.json")).unwrap();
    assert_eq!(go(&world, &target).await.upserted, 0);
    assert!(go(&world, &target).await.is_up_to_date());
}

#[tokio::test]
async fn a_sync_that_would_empty_a_sink_stops_before_any_of_them() {
    let world = World::new().await;
    let target = dish_target("id", &[SinkKind::Sqlite, SinkKind::Keywords]);
    let serving = world.serving();
    world.put("marts.menu", many_dishes(100)).await;
    go(&world, &target).await;
    let hash = serving_hash(serving.dir()).await.unwrap();
    let by = async |rules: &Rules| sync(&world.lake, &target, &serving, rules, &|_| {}).await;
    for left in [0, 79] {
        world.put("marts.menu", many_dishes(left)).await;
        let error = by(&Rules::default()).await.unwrap_err();
        let told = error.to_string();
        let expected = format!("would remove {} of 100 rows from the sqlite sink, more than 20 %", 100 - left);
        assert!(told.contains(&expected), "{told}");
        assert!(error.hint().unwrap().contains("--allow-deletes"));
        assert_eq!(serving_hash(serving.dir()).await.unwrap(), hash, "nothing of it is published");
    }
    // Another layout is no way around it.
    let other = SyncTarget { key: "dish".into(), ..target.clone() };
    assert!(sync(&world.lake, &other, &serving, &Rules::default(), &|_| {}).await.is_err());
    assert_eq!(by(&Rules { max_deleted: 0.21, ..Rules::default() }).await.unwrap().deleted, 42);
    world.put("marts.menu", many_dishes(0)).await;
    assert!(by(&Rules::default()).await.is_err());
    assert_eq!(by(&Rules { allow_deletes: true, ..Rules::default() }).await.unwrap().deleted, 158);
    // A handful may go.
    world.put("marts.menu", many_dishes(49)).await;
    go(&world, &target).await;
    world.put("marts.menu", many_dishes(1)).await;
    assert_eq!(go(&world, &target).await.deleted, 96);
}

/// One column of one row beside its key.
async fn stored(world: &World, column: ArrayRef) -> Result<Synced> {
    let key: ArrayRef = Arc::new(StringArray::from(vec!["k"; column.len()]));
    let keys: ArrayRef = if column.len() == 1 {
        key
    } else {
        Arc::new((0..column.len()).map(|i| Some(format!("k{i}"))).collect::<StringArray>())
    };
    let batch = RecordBatch::try_from_iter_with_nullable([("id", keys, true), ("value", column, true)]).unwrap();
    world.put("marts.menu", batch).await;
    let target = SyncTarget { texts: vec![], ..dish_target("id", &[SinkKind::Sqlite]) };
    let synced = sync(&world.lake, &target, &world.serving(), &Rules::default(), &|_| {}).await?;
    assert_eq!(unequal(&world.lake, &target, &world.serving()).await, []);
    Ok(synced)
}

#[tokio::test]
async fn what_sqlite_would_change_in_silence_is_refused_with_its_key() {
    let world = World::new().await;
    let Err(error) = stored(&world, Arc::new(Float64Array::from(vec![f64::NAN]))).await else {
        panic!("expected NaN to be refused")
    };
    let told = format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
    assert!(told.contains("`value` of `k`") && told.contains("found NaN"), "{told}");
}

#[tokio::test]
async fn decimals_sort_as_numbers_and_none_is_rounded() {
    let world = World::new().await;
    let short = Decimal128Array::from(vec![950, 1_050, 10_000, -5]).with_precision_and_scale(9, 2).unwrap();
    stored(&world, Arc::new(short)).await.unwrap();
    let sql = "select group_concat(value, ' ') from (select value from marts_menu order by value)";
    assert_eq!(sqlite(&world).query_row(sql, [], |r| r.get::<_, String>(0)).unwrap(), "-0.05 9.5 10.5 100");
    let world = World::new().await;
    let long = Decimal128Array::from(vec![12_345_678_901_234_567_890_i128]).with_precision_and_scale(20, 2).unwrap();
    stored(&world, Arc::new(long)).await.unwrap();
    let text: String = sqlite(&world).query_row("select value from marts_menu", [], |r| r.get(0)).unwrap();
    assert_eq!(text, "123456789012345678.90");
}

#[tokio::test]
async fn nested_values_are_documents_and_every_part_of_them_counts() {
    let world = World::new().await;
    let with = |note: Option<&str>| -> ArrayRef {
        let notes: ArrayRef = Arc::new(StringArray::from(vec![note]));
        let more: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        Arc::new(StructArray::from(vec![
            (Arc::new(Field::new("note", DataType::Utf8, true)), notes),
            (Arc::new(Field::new("more", DataType::Utf8, true)), more),
        ]))
    };
    let told = || -> String { sqlite(&world).query_row("select value from marts_menu", [], |r| r.get(0)).unwrap() };
    stored(&world, with(None)).await.unwrap();
    assert_eq!(told(), r#"{"note":null,"more":"x"}"#);
    assert_eq!(stored(&world, with(Some(""))).await.unwrap().upserted, 1);
    assert_eq!(told(), r#"{"note":"","more":"x"}"#);
}

/// Writes other bytes of the same length into the first file that `finds`.
fn spoil(dir: &std::path::Path, finds: impl Fn(&str) -> bool) {
    let files = std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path());
    let file = files.into_iter().find(|it| finds(it.file_name().unwrap().to_str().unwrap())).unwrap();
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::write(&file, vec![0x55; usize::try_from(length).unwrap()]).unwrap();
}

#[tokio::test]
async fn an_index_of_garbage_is_never_equal_and_a_repair_makes_it_again() {
    let world = World::new().await;
    let (made, _) = town(60, 0, 3);
    world.put("marts.places", places(&made)).await;
    go(&world, &place_target()).await;
    let (serving, target) = (world.serving(), place_target());
    let hash = serving_hash(serving.dir()).await.unwrap();
    let folder = |kind: &str| serving.dir().join(kind).join("marts.places");
    let spoilings: [(&str, &dyn Fn()); 3] = [
        ("vectors", &|| spoil(&folder("vectors"), |name| name.starts_with("index-"))),
        ("keywords", &|| spoil(&folder("keywords"), |name| name.contains(".store"))),
        ("sqlite", &|| {
            sqlite(&world).execute_batch("update marts_places set rating = 1 where place_id = 'p0007'").unwrap();
        }),
    ];
    for (kind, spoil) in spoilings {
        spoil();
        let found = unequal(&world.lake, &target, &serving).await;
        assert_eq!(found.iter().map(|it| it.sink.name()).collect::<Vec<_>>(), [kind]);
        repair(&world.lake, &target, &serving, &Rules::default(), &|_| {}).await.unwrap();
        assert_eq!(unequal(&world.lake, &target, &serving).await, [], "{kind}");
        assert_eq!(serving_hash(serving.dir()).await.unwrap(), hash, "{kind}");
    }
}

#[tokio::test]
async fn a_changed_vector_writes_a_small_segment() {
    let world = World::new().await;
    let (mut made, _) = town(2_000, 0, 3);
    world.put("marts.places", places(&made)).await;
    let target = SyncTarget { sinks: vec![SinkKind::Vectors], ..place_target() };
    go(&world, &target).await;
    let bytes = || -> BTreeMap<String, u64> {
        let files = std::fs::read_dir(world.serving().dir().join("vectors/marts.places")).unwrap().map(Result::unwrap);
        files.map(|it| (it.file_name().into_string().unwrap(), it.metadata().unwrap().len())).collect()
    };
    let whole = bytes();
    for round in 0..20_usize {
        made[round * 7].summary = Some(format!("새로운 요약 {round} 입니다."));
        made[round].name = "이름만".into();
        world.put("marts.places", places(&made)).await;
        let before = bytes();
        assert_eq!(go(&world, &target).await.upserted, 1);
        let written: u64 = bytes().iter().filter(|(name, _)| !before.contains_key(*name)).map(|(_, bytes)| bytes).sum();
        assert!(written * 20 < whole.values().sum::<u64>(), "{written} of {whole:?}");
        assert_eq!(unequal(&world.lake, &target, &world.serving()).await, [], "{round}");
    }
    let files = bytes();
    assert!(files.keys().filter(|name| name.starts_with("index-")).count() <= 10, "{files:?}");
    // Most of them change: what is dead is not kept.
    for (at, place) in made.iter_mut().enumerate() {
        place.summary = Some(format!("모두 새로운 요약 {at} 입니다."));
    }
    world.put("marts.places", places(&made)).await;
    go(&world, &target).await;
    world.put("marts.places", places(&made[1..])).await;
    go(&world, &target).await;
    assert_eq!(unequal(&world.lake, &target, &world.serving()).await, []);
    assert!(bytes().values().sum::<u64>() < 3 * whole.values().sum::<u64>(), "{:?}", bytes());
}

#[tokio::test]
async fn what_nobody_asks_for_is_an_orphan_until_it_is_dropped() {
    let world = World::new().await;
    world.put("marts.places", places(&two())).await;
    world.put("marts.menu", dishes(&[(1, "gukbap", 9)])).await;
    let menu = dish_target("id", &[SinkKind::Sqlite, SinkKind::Keywords]);
    go(&world, &place_target()).await;
    go(&world, &menu).await;
    let serving = world.serving();
    let fewer = SyncTarget { sinks: vec![SinkKind::Sqlite], ..menu.clone() };
    assert_eq!(orphans(&world.lake, &serving, &[place_target(), menu]).await.unwrap(), []);
    let found = orphans(&world.lake, &serving, &[fewer]).await.unwrap();
    let told: Vec<String> = found.iter().map(|it| format!("{} {}", it.sink, it.table)).collect();
    assert_eq!(told, ["sqlite marts.places", "keywords marts.menu", "keywords marts.places", "vectors marts.places"]);
    for orphan in &found {
        drop_orphan(&serving, orphan, &|| {}).await.unwrap();
    }
    assert_eq!(orphans(&world.lake, &serving, &[dish_target("id", &[SinkKind::Sqlite])]).await.unwrap(), []);
    let tables: i64 = sqlite(&world)
        .query_row("select count(*) from sqlite_master where type = 'table' and name = 'marts_places'", [], |r| {
            r.get(0)
        })
        .unwrap();
    assert_eq!(tables, 0);
    // Asked for again, it comes back whole.
    go(&world, &place_target()).await;
    assert_eq!(unequal(&world.lake, &place_target(), &serving).await, []);
}
