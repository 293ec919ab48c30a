//! The same questions to the folder and to the database.

use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};

use super::*;
use crate::search::tests::parts::with_vectors;
use crate::search::tests::{corpus, local, settings};
use crate::search::{ReasonKind, Search};
use crate::sink::postgres::read;
use crate::target::VectorColumn;
use crate::testing::{MODEL, Numbers, name, places, reviews};
use enrich::llm::hash_embedding;

async fn both(world: &World, url: &str) -> (Search, Search) {
    let (made, written) = corpus();
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    for (folder, database) in [(place_target(), place_sync()), (review_target(), review_sync())] {
        sync(&world.lake, &folder, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
        go(world, url, &database).await;
    }
    let folder = Search::open(&world.serving(), settings([place_target(), review_target()])).unwrap();
    (folder, Search::open(&serving(world, url), settings([place_sync(), review_sync()])).unwrap())
}

#[tokio::test]
async fn a_keyword_finds_the_same_everywhere() {
    let with =
        [services::postgres().map(|s| (s, "scan", true)), services::postgres_trgm().map(|s| (s, "pg_trgm", false))];
    for (server, keywords, vectors) in with.into_iter().flatten() {
        let (world, url) = (World::new().await, server.database());
        let (made, written) = corpus();
        world.put("marts.places", places(&made)).await;
        world.put("marts.review_texts", reviews(&written)).await;
        for (folder, database) in [(place_target(), place_sync()), (review_target(), review_sync())] {
            sync(&world.lake, &folder, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
            let database = if vectors { database } else { SyncTarget { vector: None, ..database } };
            go(&world, &url, &database).await;
        }
        let folder = Search::open(&world.serving(), settings([place_target(), review_target()])).unwrap();
        let table = Search::open(&serving(&world, &url), settings([place_sync(), review_sync()])).unwrap();
        assert_eq!(server.psql(&url, "select distinct keywords from onggi._onggi_sync").trim(), keywords);
        for part in [
            "국",
            "국밥",
            "밥국",
            "진하고 혼자",
            "요",
            "집 1",
            "없는말",
            "100%",
            "_",
            "\\",
            "'",
            "맛있어요 조금",
            "비오는날",
        ] {
            for limit in [None, Some(3)] {
                let one = folder.keyword(part, limit).await.unwrap();
                let two = table.keyword(part, limit).await.unwrap();
                assert_eq!(
                    serde_json::to_value(&two.hits).unwrap(),
                    serde_json::to_value(&one.hits).unwrap(),
                    "{part} by {keywords}"
                );
                assert!(two.is_total_exact && two.total <= one.total, "{part}: {} {}", two.total, one.total);
                assert!(!one.is_total_exact || one.total == two.total, "{part}: {} {}", two.total, one.total);
            }
        }
        if keywords == "pg_trgm" {
            assert_eq!(
                server.psql(
                    &url,
                    "select string_agg(indexname, ', ' order by 1) from pg_indexes where indexdef like '%gin_trgm_ops%'"
                ),
                "places_text, review_texts_text\n"
            );
        }
    }
}

#[tokio::test]
async fn a_server_without_pgvector_says_what_is_missing() {
    let Some(server) = services::postgres_trgm() else { return };
    let (world, url) = (World::new().await, server.database());
    world.put("marts.places", places(&many(2, 4.0))).await;
    let error = sync(&world.lake, &place_sync(), &serving(&world, &url), &Rules::default(), &|_| {}).await.unwrap_err();
    assert!(
        told(&error).contains("0.8.4 or newer, the server has none")
            && told(&error).contains("create extension vector"),
        "{}",
        told(&error)
    );
}

#[tokio::test]
async fn a_question_is_answered_the_same_from_both() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let (folder, table) = both(&world, &url).await;
    for question in ["비 오는 날 혼자 먹기 좋은 국밥", "조용한 카페에서 데이트", "가족이랑 국밥", "혼밥 덮밥"]
    {
        let one = folder.search(question, 5, &local()).await.unwrap().hits;
        let two = table.search(question, 5, &local()).await.unwrap().hits;
        assert_eq!(
            one.iter().map(|h| (&h.table, &h.key, &h.title)).collect::<Vec<_>>(),
            two.iter().map(|h| (&h.table, &h.key, &h.title)).collect::<Vec<_>>(),
            "{question}"
        );
        for (one, two) in one.iter().zip(&two) {
            assert_eq!(one.fields, two.fields, "{question}");
            // A vector of 16 bits may change places with its neighbour.
            assert!((one.score - two.score).abs() < 2e-3, "{question}: {} {}", one.score, two.score);
            assert_eq!(one.reasons.len(), two.reasons.len());
            for (one, two) in one.reasons.iter().zip(&two.reasons) {
                assert_eq!(
                    (one.kind, &one.term, &one.sentence, one.rows),
                    (two.kind, &two.term, &two.sentence, two.rows)
                );
                let tolerance = if one.kind == ReasonKind::Vector { 2e-3 } else { 1e-9 };
                assert!((one.score - two.score).abs() < tolerance, "{question}: {one:?} {two:?}");
            }
        }
    }
}

#[tokio::test]
async fn texts_in_the_database_are_reasons_for_what_they_are_about_wherever_that_is() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let (made, written) = corpus();
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", with_vectors(&written)).await;
    let vector = Some(VectorColumn { column: "embedding".into(), model: MODEL.into() });
    let about = SyncTarget { vector, ..review_sync() };
    go(&world, &url, &about).await;
    for own in [SyncTarget { vector: None, ..place_target() }, SyncTarget { vector: None, ..place_sync() }] {
        let sinks = own.sinks.iter().filter(|kind| **kind != SinkKind::Vectors).copied().collect();
        let own = SyncTarget { sinks, ..own };
        go(&world, &url, &own).await;
        let search = Search::open(&serving(&world, &url), settings([own.clone(), about.clone()])).unwrap();
        let hits = search.search("혼밥하기 편해요 국밥 최고", 40, &local()).await.unwrap().hits;
        assert!(hits.len() > 5 && hits.iter().all(|hit| hit.table == name("marts.places")), "{hits:#?}");
        let best = hits.iter().find(|hit| hit.key == "x-rain").unwrap();
        assert_eq!((best.title.as_str(), &best.fields["category"]), ("망원 순대국", &"국밥".into()));
        let near = best.reasons.iter().find(|it| it.kind == ReasonKind::Vector).unwrap();
        assert_eq!((near.from.to_string().as_str(), near.from_key.as_str()), ("marts.review_texts", "x-rain-2"));
        let rows =
            |hits: Vec<crate::search::KeywordHit>| hits.iter().map(|it| (it.key.clone(), it.rows)).collect::<Vec<_>>();
        let found = rows(search.keyword("국밥", Some(2)).await.unwrap().hits);
        assert_eq!(found, [("x-rain".to_owned(), 4), ("x-soup".to_owned(), 3)]);
        // What is taken off the configuration is in the database still, and not searched.
        let fewer = Search::open(&serving(&world, &url), settings([own])).unwrap();
        assert_eq!(rows(fewer.keyword("국밥", Some(2)).await.unwrap().hits)[0].1, 1);
        assert!(fewer.keyword("푸짐", None).await.unwrap().hits.is_empty());
    }
}

#[tokio::test]
async fn only_the_columns_that_are_searched_count_in_the_database_too() {
    let Some(server) = services::postgres_trgm() else { return };
    let (world, url) = (World::new().await, server.database());
    let (made, _) = corpus();
    world.put("marts.places", places(&made)).await;
    let target = SyncTarget { vector: None, ..place_sync() };
    go(&world, &url, &target).await;
    let keys = |columns: &[&str]| {
        let mut settings = settings([target.clone()]);
        settings.targets[0].columns.retain(|column, _| columns.contains(&column.as_str()));
        let search = Search::open(&serving(&world, &url), settings).unwrap();
        async move {
            let keys = |hits: Vec<String>| hits.into_iter().filter(|key| key.starts_with('x')).collect::<Vec<_>>();
            let exact = search.keyword("국밥", None).await.unwrap();
            let hits = search.search("국밥", 9, &local()).await.unwrap().hits;
            let mut found = keys(hits.into_iter().map(|it| it.key).collect());
            found.sort();
            (keys(exact.hits.into_iter().map(|it| it.key).collect()), found)
        }
    };
    let both = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        (keys.clone(), keys)
    };
    assert_eq!(keys(&["name"]).await, both(&["x-soup"]));
    assert_eq!(keys(&["name", "category"]).await, both(&["x-rain", "x-soup"]));
}

/// Short texts, no two alike.
fn texts(count: usize, seed: u64) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let words = [
        "국물이 진해요",
        "조용한 분위기",
        "혼자 가기 좋아요",
        "주차가 편해요",
        "파스타가 맛있어요",
        "디저트 카페",
        "매운 떡볶이",
        "신선한 회",
        "가족 모임",
        "데이트하기 좋은",
        "가성비 좋은 점심",
        "늦게까지 하는 술집",
        "숯불 삼겹살",
        "비 오는 날 파전",
        "아이와 함께",
        "전망 좋은 루프탑",
    ];
    (0..count)
        .map(|i| {
            let parts: Vec<&str> = (0..3 + numbers.below(4)).map(|_| numbers.pick(&words)).collect();
            format!("{} {}호점 {}", parts.join(". "), i % 977, numbers.below(1_000_000))
        })
        .collect()
}

#[tokio::test]
async fn nearest_by_the_graph_are_the_nearest() {
    let Some(server) = services::postgres() else { return };
    let (world, url) = (World::new().await, server.database());
    let all: Vec<Vec<f32>> = texts(3_000, 5).iter().map(|text| hash_embedding::embed(text)).collect();
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(rows::read::vector_item());
    for vector in &all {
        vectors.append_value(vector.iter().copied().map(Some));
    }
    let ids: ArrayRef = Arc::new((0..all.len()).map(|i| Some(format!("v{i}"))).collect::<StringArray>());
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("id", ids, true),
        ("embedding", Arc::new(vectors.finish()) as _, true),
    ]);
    world.put("marts.vectors", batch.unwrap()).await;
    let target = SyncTarget {
        table: name("marts.vectors"),
        key: "id".into(),
        texts: vec![],
        title: None,
        vector: Some(VectorColumn { column: "embedding".into(), model: MODEL.into() }),
        ..place_sync()
    };
    go(&world, &url, &target).await;
    let sink = database(&url);
    let tables = read::tables(&sink).await.unwrap();
    let (mut right, mut asked) = (0, 0);
    for question in texts(60, 99) {
        let question = hash_embedding::embed(&question);
        let mut exact: Vec<f32> = all.iter().map(|vector| hash_embedding::cosine(&question, vector)).collect();
        exact.sort_by(|a, b| b.total_cmp(a));
        let found = tables[0].nearest(&question, 10).await.unwrap();
        assert_eq!(found.len(), 10);
        // Of several that are equally near any will do; 16 bits are good for three digits.
        right += found.iter().filter(|(_, cosine)| *cosine >= exact[9] - 1e-3).count();
        asked += 10;
    }
    read::end(&tables).await;
    assert!(right * 100 >= asked * 95, "{right} of {asked}");
}
