//! The same questions to the folder and to the database.

use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};

use super::*;
use crate::llm::hash_embedding;
use crate::llm::local::Local;
use crate::search::{ReasonKind, Search, tests::corpus};
use crate::sink::postgres::read;
use crate::target::VectorColumn;
use crate::testing::{MODEL, Numbers, name, places, reviews};

async fn both(world: &World, url: &str) -> (Search, Search) {
    let (made, written) = corpus();
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    for (folder, database) in [(place_target(), place_sync()), (review_target(), review_sync())] {
        sync(&world.lake, &folder, &world.serving(), &|_| {}).await.unwrap();
        go(world, url, &database).await;
    }
    (Search::open(world.serving().dir()).unwrap(), Search::on(database(url)))
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
            sync(&world.lake, &folder, &world.serving(), &|_| {}).await.unwrap();
            let database = if vectors { database } else { SyncTarget { vector: None, ..database } };
            go(&world, &url, &database).await;
        }
        let (folder, table) = (Search::open(world.serving().dir()).unwrap(), Search::on(database(&url)));
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
            let (folder, table) = (folder.keyword(part).await.unwrap(), table.keyword(part).await.unwrap());
            assert_eq!(
                serde_json::to_value(&table).unwrap(),
                serde_json::to_value(&folder).unwrap(),
                "{part} by {keywords}"
            );
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
    let error = sync(&world.lake, &place_sync(), &serving(&world, &url), &|_| {}).await.unwrap_err();
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
        let llm = Local::default();
        let one = folder.search(question, 5, &llm).await.unwrap();
        let two = table.search(question, 5, &llm).await.unwrap();
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
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(crate::read::vector_item());
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
