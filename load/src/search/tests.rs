//! Questions to a small town.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::error::Error;
use crate::sync::{Rules, sync};
use crate::target::SyncTarget;
use crate::testing::{Place, Review, World, place, place_target, places, review_target, reviews, town};
use enrich::Local;
use rows::text::fold;

mod cost;
pub(crate) mod parts;

/// The words of a project in Korean, as its configuration has them.
pub(crate) fn korean() -> QueryWords {
    let related = [
        ("비오는날", ["비 올 때", "비올때", "장마"].as_slice()),
        ("추운날", &["쌀쌀", "겨울"]),
        ("혼자", &["혼밥", "혼술", "1인석"]),
        ("혼밥", &["혼자", "1인석"]),
        ("데이트", &["연인", "커플"]),
        ("조용", &["차분", "한적"]),
    ];
    let related = related.map(|(word, others)| (word, others.iter().map(|it| (*it).to_owned()).collect()));
    let particles = [
        "에서는",
        "에서",
        "으로",
        "이랑",
        "하는",
        "하게",
        "을",
        "를",
        "은",
        "는",
        "이",
        "가",
        "에",
        "의",
        "와",
        "과",
        "도",
        "서",
        "랑",
        "한",
    ];
    QueryWords::default()
        .with_frame(["먹기", "가기", "갈", "좋은", "맛집", "식당", "추천", "근처", "어디"])
        .with_weak(["오는", "날", "때", "곳", "집", "데", "한", "그", "이"])
        .with_particles(particles)
        .with_related(related)
        .joining_short(true)
}

/// A search over these targets, with the words of a project in Korean.
pub(crate) fn settings(targets: impl IntoIterator<Item = SyncTarget>) -> SearchSettings {
    let targets = targets.into_iter().map(SearchedTarget::new).collect();
    SearchSettings { targets, words: korean(), ..SearchSettings::default() }
}

/// The embedder that made the vectors of these tests.
pub(crate) fn local() -> QueryEmbedder {
    QueryEmbedder::new(Arc::new(Local::default()))
}

/// A search of a folder.
fn open(world: &World) -> Search {
    Search::open(&world.serving(), settings([place_target(), review_target()])).unwrap()
}

/// A town of 60 places and 1,500 everyday reviews, and a few places that questions are about.
pub(crate) fn corpus() -> (Vec<Place>, Vec<Review>) {
    let (mut made, mut written) = town(60, 1_500, 11);
    let mut add = |place: Place, bodies: &[&str]| {
        for (i, body) in bodies.iter().enumerate() {
            written.push((format!("{}-{i}", place.id), place.id.clone(), (*body).to_owned()));
        }
        made.push(place);
    };
    add(
        place("x-rain", "망원 순대국", "국밥", &["혼밥", "비 오는 날"], "국물이 진하고 혼자 먹기 좋아요."),
        &[
            "비 오는 날 혼자 국밥 먹으러 왔어요. 국물이 진합니다",
            "비오는날 생각나는 국밥집이에요",
            "혼밥하기 편해요 국밥 최고",
            "깍두기가 맛있어요",
        ],
    );
    add(
        place("x-soup", "연남 국밥", "국밥", &["가족외식"], "국밥 양이 많고 가족과 가기 좋아요."),
        &["국밥 양이 많아요", "가족과 왔어요 국밥이 푸짐합니다", "주차가 편해요"],
    );
    add(
        place("x-alone", "혼밥식당", "덮밥", &["혼밥"], "혼자 가기 좋은 덮밥집이에요."),
        &["혼자 먹기 좋아요", "1인석이 많아요", "덮밥이 맛있어요"],
    );
    add(
        place("x-quiet", "서교 서재", "카페", &["데이트"], "조용하고 차분한 카페예요. 책 읽기 좋습니다."),
        &["조용해서 데이트하기 좋아요", "커피가 진해요"],
    );
    (made, written)
}

async fn opened(made: &[Place], written: &[Review]) -> (World, Search) {
    let world = World::new().await;
    world.put("marts.places", places(made)).await;
    world.put("marts.review_texts", reviews(written)).await;
    for target in [place_target(), review_target()] {
        sync(&world.lake, &target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    }
    let search = open(&world);
    (world, search)
}

#[tokio::test]
async fn a_rainy_day_alone_finds_the_soup_that_people_wrote_about() {
    let (made, written) = corpus();
    let (_world, search) = opened(&made, &written).await;
    let hits = search.search("비 오는 날 혼자 먹기 좋은 국밥", 5, &local()).await.unwrap().hits;
    let keys: Vec<&str> = hits.iter().map(|h| h.key.as_str()).collect();
    assert_eq!(keys[0], "x-rain", "{hits:#?}");
    assert!(keys[..3].contains(&"x-soup") && keys[..3].contains(&"x-alone"), "{keys:?}");
    let best = &hits[0];
    assert_eq!(best.title, "망원 순대국");
    assert_eq!(best.fields["category"], "국밥");
    assert_eq!(best.fields["situations"], serde_json::json!(["혼밥", "비 오는 날"]));
    assert!(!best.fields.contains_key("embedding"));
    for term in ["국밥", "혼자", "비 오는 날"] {
        let reason = best
            .reasons
            .iter()
            .find(|r| r.kind == ReasonKind::Keyword && r.term == term)
            .unwrap_or_else(|| panic!("no reason for {term}: {best:#?}"));
        assert!(reason.sentence.contains(term) && reason.score > 0.0, "{reason:?}");
    }
    assert!(best.reasons.iter().any(|r| r.kind == ReasonKind::Tag && r.sentence == "비 오는 날"));
    let near = best.reasons.iter().find(|r| r.kind == ReasonKind::Vector).unwrap();
    assert_eq!(near.sentence, "국물이 진하고 혼자 먹기 좋아요.");
    assert!(near.score > 0.1);
    let review = best.reasons.iter().find(|r| r.term == "국밥").unwrap();
    assert_eq!(
        (review.from.to_string().as_str(), review.from_key.as_str()),
        ("marts.review_texts", "x-rain-0"),
        "{review:?}"
    );
    // The same question gives the same answer.
    let again = search.search("비 오는 날 혼자 먹기 좋은 국밥", 5, &local()).await.unwrap().hits;
    assert_eq!(serde_json::to_string(&hits).unwrap(), serde_json::to_string(&again).unwrap());
}

#[tokio::test]
async fn other_questions_find_their_places() {
    let (made, written) = corpus();
    let (_world, search) = opened(&made, &written).await;
    for (question, expected) in
        [("조용한 카페에서 데이트", "x-quiet"), ("가족이랑 국밥", "x-soup"), ("혼밥 덮밥", "x-alone")]
    {
        let hits = search.search(question, 3, &local()).await.unwrap().hits;
        assert_eq!(hits[0].key, expected, "{question}: {:?}", hits.iter().map(|h| &h.title).collect::<Vec<_>>());
    }
    assert!(matches!(search.search("?!", 3, &local()).await, Err(Error::EmptyQuery { .. })));
}

/// What a keyword search must find, by reading every text.
fn scan(made: &[Place], written: &[Review], part: &str) -> BTreeMap<String, u64> {
    let needle = fold(part);
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for place in made {
        let own = [&place.name, &place.category]
            .into_iter()
            .chain(&place.tags)
            .chain(&place.summary)
            .any(|t| fold(t).contains(&needle));
        if own {
            *found.entry(place.id.clone()).or_default() += 1;
        }
    }
    for (_, place, body) in written {
        if fold(body).contains(&needle) {
            *found.entry(place.clone()).or_default() += 1;
        }
    }
    found
}

#[tokio::test]
async fn a_keyword_finds_every_place_that_has_it_and_no_other() {
    use unicode_normalization::UnicodeNormalization;
    let (mut made, mut written) = corpus();
    made.push(place("x-case", "Café DE Onggi", "카페", &[], "Wi-Fi 100% 됩니다; 'drop table' 아님"));
    written.push(("x-nfd".into(), "x-case".into(), "맛있는 국수".nfd().collect()));
    let (_world, search) = opened(&made, &written).await;
    let loose: String = "국수".nfd().collect();
    for part in [
        "국",
        "국밥",
        "국수",
        &loose,
        "밥국",
        "café de",
        "CAFÉ",
        "100%",
        "'drop",
        "진하고 혼자",
        "요",
        "집 1",
        "없는말",
        " ",
        "1호",
        "\\",
        "*",
    ] {
        if part.trim().is_empty() {
            assert!(search.keyword(part, None).await.is_err());
            continue;
        }
        let answer = search.keyword(part, None).await.unwrap();
        assert!(answer.is_total_exact && answer.total == answer.hits.len() as u64, "{part}");
        let found: BTreeMap<String, u64> = answer.hits.into_iter().map(|h| (h.key, h.rows)).collect();
        assert_eq!(found, scan(&made, &written, part), "{part}");
    }
    let hits = search.keyword("국", None).await.unwrap().hits;
    let rain = hits.iter().find(|h| h.key == "x-rain").unwrap();
    assert!(rain.own && rain.sentence.contains('국') && rain.title == "망원 순대국");
    assert!(hits.windows(2).all(|pair| pair[0].rows >= pair[1].rows));
}

#[tokio::test]
async fn a_folder_that_is_not_there_answers_nothing() {
    let dir = tempfile::TempDir::new().unwrap();
    let never = Serving::new(dir.path().join("never"));
    let search = Search::open(&never, settings([place_target(), review_target()])).unwrap();
    assert!(search.keyword("국", None).await.unwrap().hits.is_empty());
    assert!(search.search("국밥", 5, &local()).await.unwrap().hits.is_empty());
}

#[tokio::test]
async fn a_search_keeps_its_state_while_a_sync_writes_the_next() {
    let (made, written) = corpus();
    let (world, search) = opened(&made, &written).await;
    let before = search.search("국밥", 3, &local()).await.unwrap().hits;
    world.put("marts.places", places(&[place("new", "새집", "국밥", &[], "국밥이 맛있어요.")])).await;
    world.put("marts.review_texts", reviews(&[])).await;
    for target in [place_target(), review_target()] {
        sync(&world.lake, &target, &world.serving(), &Rules { allow_deletes: true, ..Rules::default() }, &|_| {})
            .await
            .unwrap();
    }
    let keys = |hits: &[Hit]| hits.iter().map(|h| h.key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&search.search("국밥", 3, &local()).await.unwrap().hits), keys(&before));
    assert_eq!(keys(&open(&world).search("국밥", 3, &local()).await.unwrap().hits), ["new"]);
}

#[tokio::test]
async fn vectors_of_another_model_are_left_alone() {
    let (made, written) = corpus();
    let (_world, search) = opened(&made, &written).await;
    let other = QueryEmbedder::new(Arc::new(parts::Other::default()));
    let answer = search.search("국밥", 3, &other).await.unwrap();
    assert!(answer.notes[0].contains("local-lexrank-mmr@"), "{:?}", answer.notes);
    let hits = answer.hits;
    assert!(!hits.is_empty());
    assert!(hits.iter().flat_map(|h| &h.reasons).all(|r| r.kind != ReasonKind::Vector));
}
