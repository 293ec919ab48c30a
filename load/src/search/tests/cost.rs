//! What a question costs: as much as what is shown, however much there is.

use super::*;
use crate::kind::SinkKind;

/// `entities` places and for each of them texts, all with the same words in them.
async fn world_of(entities: usize, texts_each: usize) -> (World, Search) {
    let world = World::new().await;
    let made: Vec<Place> = (0..entities)
        .map(|i| place(&format!("p{i:05}"), &format!("가게 {i}"), "가게", &[], "조용한 가게예요."))
        .collect();
    let body = |at: usize, i: usize| {
        // The first ones are mentioned more often than the others, which have the grams of it and not the word.
        let more = if at < 10 || i == 0 { "국밥집이 맛있어요" } else { "국밥 밥집 집이 맛있어요" };
        format!("{more}. {i}번째")
    };
    let written: Vec<Review> = (0..entities)
        .flat_map(|at| (0..texts_each).map(move |i| (at, i)))
        .map(|(at, i)| (format!("r{at:05}-{i:03}"), format!("p{at:05}"), body(at, i)))
        .collect();
    world.put("marts.places", places(&made)).await;
    world.put("marts.review_texts", reviews(&written)).await;
    for target in [place_target(), review_target()] {
        sync(&world.lake, &target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    }
    let search = open(&world);
    (world, search)
}

async fn read(search: &Search) -> u64 {
    search.opened.corpus().await.unwrap().texts.iter().map(corpus::Texts::documents_read).sum()
}

#[tokio::test]
async fn the_texts_that_are_read_follow_what_is_shown_and_not_what_there_is() {
    let mut read_of: Vec<[u64; 4]> = Vec::new();
    for entities in [200, 2_000] {
        let (_world, search) = world_of(entities, 8).await;
        let mut counts = [0; 4];
        // A short part is known by its grams alone; a longer one has to be looked at.
        for (at, part) in ["국", "국밥집이"].into_iter().enumerate() {
            let before = read(&search).await;
            let answer = search.keyword(part, Some(3)).await.unwrap();
            let keys: Vec<(&str, u64)> = answer.hits.iter().map(|it| (it.key.as_str(), it.rows)).collect();
            assert_eq!(keys, [("p00000", 8), ("p00001", 8), ("p00002", 8)], "{part}");
            assert_eq!(answer.total, entities as u64, "{part}");
            counts[at] = read(&search).await - before;
        }
        for (at, question) in ["국", "국밥집이 맛있어요 조용한"].into_iter().enumerate() {
            let before = read(&search).await;
            assert_eq!(search.search(question, 3, &local()).await.unwrap().hits.len(), 3, "{question}");
            counts[at + 2] = read(&search).await - before;
        }
        read_of.push(counts);
    }
    println!("documents read: {read_of:?} of 1,800 and of 18,000");
    assert_eq!(read_of[0], read_of[1], "ten times as many texts hold the words");
    // Three entities with eight texts and a row of their own each, once to find a sentence and once for its title.
    assert!(read_of[0][0] <= 30 && read_of[0].iter().all(|count| *count <= 400), "{read_of:?}");
}

#[tokio::test]
async fn few_candidates_in_a_large_index_are_asked_one_by_one_and_answer_the_same() {
    let (mut made, mut written) = town(3, 8_000, 5);
    made.push(place("rare", "드문 집", "가게", &[], "드문 말이 있어요."));
    for i in 0..4 {
        written.push((format!("rare-{i}"), "rare".to_owned(), format!("쥬토피아 {i}")));
    }
    written.push(("other".to_owned(), made[1].id.clone(), "쥬 토피아".to_owned()));
    let (_world, search) = opened(&made, &written).await;
    for part in ["쥬", "쥬토피아", "토피"] {
        let found: BTreeMap<String, u64> =
            search.keyword(part, Some(9)).await.unwrap().hits.into_iter().map(|it| (it.key, it.rows)).collect();
        assert_eq!(found, scan(&made, &written, part), "{part}");
    }
    assert!(read(&search).await < 60, "{}", read(&search).await);
}

#[tokio::test]
async fn what_was_deleted_is_not_counted() {
    let (world, _) = world_of(20, 8).await;
    let fewer: Vec<Review> =
        (0..3).map(|i| (format!("r00001-00{i}"), "p00001".to_owned(), "국밥집이 좋아요".to_owned())).collect();
    world.put("marts.review_texts", reviews(&fewer)).await;
    sync(&world.lake, &review_target(), &world.serving(), &Rules { allow_deletes: true, ..Rules::default() }, &|_| {})
        .await
        .unwrap();
    let hits = open(&world).keyword("국밥", Some(5)).await.unwrap().hits;
    assert_eq!(hits.iter().map(|it| (it.key.as_str(), it.rows)).collect::<Vec<_>>(), [("p00001", 3)]);
}

#[tokio::test]
async fn rows_are_read_in_the_state_that_they_were_opened_in() {
    let (made, written) = corpus();
    let (world, search) = opened(&made, &written).await;
    let category = |hits: &[Hit]| hits.iter().find(|it| it.key == "x-rain").map(|it| it.fields["category"].clone());
    let before = search.search("국밥", 5, &local()).await.unwrap();
    let changed: Vec<Place> = made.iter().map(|it| Place { category: "바뀐 국밥".to_owned(), ..it.clone() }).collect();
    world.put("marts.places", places(&changed)).await;
    sync(&world.lake, &place_target(), &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    let after = search.search("국밥", 5, &local()).await.unwrap();
    assert_eq!(category(&before.hits), Some("국밥".into()));
    assert_eq!(category(&after.hits), Some("국밥".into()), "columns and texts are of one state");
    assert_eq!(category(&open(&world).search("국밥", 60, &local()).await.unwrap().hits), Some("바뀐 국밥".into()));
}

#[tokio::test]
async fn sinks_at_different_versions_are_told() {
    let (made, written) = corpus();
    let (world, search) = opened(&made, &written).await;
    assert!(search.search("국밥", 1, &local()).await.unwrap().notes.is_empty());
    world.put("marts.places", places(&made[..3])).await;
    let only = SyncTarget { sinks: vec![SinkKind::Sqlite], ..place_target() };
    sync(&world.lake, &only, &world.serving(), &Rules { allow_deletes: true, ..Rules::default() }, &|_| {})
        .await
        .unwrap();
    let notes = open(&world).search("국밥", 1, &local()).await.unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("`marts.places` are at different versions"), "{notes:?}");
}
