//! Which parts are searched, what counts as an answer, and what happens when a part is away.

use arrow::array::RecordBatch;

use super::*;
use crate::kind::SinkKind;
use crate::target::VectorColumn;
use crate::testing::{MODEL, name};
use enrich::llm::hash_embedding;
use enrich::{Embedding, Llm, Model, Summary};

/// An embedder whose model no index was made with.
#[derive(Default)]
pub(super) struct Other(Local);

#[async_trait::async_trait]
impl Llm for Other {
    fn summariser(&self) -> &Model {
        self.0.summariser()
    }
    fn embedder(&self) -> &Model {
        self.0.summariser()
    }
    fn dimension(&self) -> usize {
        self.0.dimension()
    }
    async fn summarise(&self, texts: &[String]) -> enrich::Result<Summary> {
        self.0.summarise(texts).await
    }
    async fn embed(&self, texts: &[String]) -> enrich::Result<Vec<Embedding>> {
        self.0.embed(texts).await
    }
}

/// An embedder that does not answer.
struct Refusing(std::sync::atomic::AtomicUsize, Local);

#[async_trait::async_trait]
impl Llm for Refusing {
    fn summariser(&self) -> &Model {
        self.1.summariser()
    }
    fn embedder(&self) -> &Model {
        self.1.embedder()
    }
    fn dimension(&self) -> usize {
        self.1.dimension()
    }
    async fn summarise(&self, texts: &[String]) -> enrich::Result<Summary> {
        self.1.summarise(texts).await
    }
    async fn embed(&self, texts: &[String]) -> enrich::Result<Vec<Embedding>> {
        if self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            let message = "the service\nis not there".to_owned();
            return Err(enrich::Error::Model { model: "m".to_owned(), message, retryable: true });
        }
        self.1.embed(texts).await
    }
}

#[tokio::test]
async fn an_embedder_that_is_away_leaves_the_answer_by_words_and_a_note() {
    let (made, written) = corpus();
    let (_world, search) = opened(&made, &written).await;
    let question = "비 오는 날 혼자 먹기 좋은 국밥";
    let refusing = QueryEmbedder::new(Arc::new(Refusing(0.into(), Local::default())));
    for embedder in [&QueryEmbedder::away("no key"), &refusing] {
        let answer = search.search(question, 5, embedder).await.unwrap();
        assert_eq!(answer.hits[0].key, "x-rain");
        assert!(answer.hits.iter().flat_map(|it| &it.reasons).all(|it| it.kind != ReasonKind::Vector));
        assert_eq!(answer.notes.len(), 1, "{:?}", answer.notes);
        assert!(answer.notes[0].starts_with("answered by words alone") && !answer.notes[0].contains('\n'));
    }
    // It is asked again, and what it answers is kept: it is asked once for each question.
    for _ in 0..3 {
        let answer = search.search(question, 5, &refusing).await.unwrap();
        assert!(answer.notes.is_empty() && answer.hits[0].reasons.iter().any(|it| it.kind == ReasonKind::Vector));
    }
    assert_eq!(refusing.model(), Some(MODEL.to_owned()));
}

#[tokio::test]
async fn a_question_is_embedded_once_in_a_process() {
    let (made, written) = corpus();
    let (_world, search) = opened(&made, &written).await;
    let counting = Arc::new(Refusing(1.into(), Local::default()));
    let embedder = QueryEmbedder::new(Arc::clone(&counting) as Arc<dyn Llm>);
    for question in ["국밥", "국밥", "혼밥", "국밥"] {
        search.search(question, 5, &embedder).await.unwrap();
    }
    assert_eq!(counting.0.load(std::sync::atomic::Ordering::SeqCst) - 1, 2);
}

/// Texts about places, with vectors of their own.
pub(crate) fn with_vectors(written: &[Review]) -> RecordBatch {
    use arrow::array::{Array as _, Float32Builder, ListBuilder};
    let plain = reviews(written);
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(rows::read::vector_item());
    for (_, _, body) in written {
        vectors.append_value(hash_embedding::embed(body).into_iter().map(Some));
    }
    let vectors = vectors.finish();
    assert_eq!(vectors.len(), plain.num_rows());
    let mut columns: Vec<(String, arrow::array::ArrayRef, bool)> = plain
        .schema()
        .fields()
        .iter()
        .zip(plain.columns())
        .map(|(field, column)| (field.name().clone(), Arc::clone(column), true))
        .collect();
    columns.push(("embedding".to_owned(), Arc::new(vectors), true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test]
async fn texts_that_are_near_are_reasons_for_what_they_are_about_and_no_answers() {
    let (made, written) = corpus();
    let question = "혼밥하기 편해요 국밥 최고";
    for sinks in [vec![SinkKind::Keywords, SinkKind::Vectors], vec![SinkKind::Sqlite, SinkKind::Vectors]] {
        let world = World::new().await;
        world.put("marts.places", places(&made)).await;
        world.put("marts.review_texts", with_vectors(&written)).await;
        let vector = Some(VectorColumn { column: "embedding".into(), model: MODEL.into() });
        let about = SyncTarget { sinks, vector, ..review_target() };
        let own = SyncTarget { vector: None, sinks: vec![SinkKind::Sqlite, SinkKind::Keywords], ..place_target() };
        for target in [&own, &about] {
            sync(&world.lake, target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
        }
        let search = Search::open(&world.serving(), settings([own, about])).unwrap();
        let hits = search.search(question, 40, &local()).await.unwrap().hits;
        assert!(hits.iter().all(|hit| hit.table == name("marts.places")), "{hits:#?}");
        let keys: std::collections::BTreeSet<&str> = hits.iter().map(|hit| hit.key.as_str()).collect();
        assert_eq!(keys.len(), hits.len(), "each entity once");
        let best = hits.iter().find(|hit| hit.key == "x-rain").unwrap();
        let near = best.reasons.iter().find(|it| it.kind == ReasonKind::Vector).unwrap();
        assert_eq!((near.from.to_string().as_str(), near.from_key.as_str()), ("marts.review_texts", "x-rain-2"));
        assert!(near.score > 0.9, "the best of its texts: {near:?}");
    }
}

#[tokio::test]
async fn vectors_of_texts_that_nobody_knows_the_subject_of_are_left_out_and_told() {
    let (made, written) = corpus();
    let (world, _) = opened(&made, &written).await;
    world.put("marts.review_texts", with_vectors(&written)).await;
    let vector = Some(VectorColumn { column: "embedding".into(), model: MODEL.into() });
    let about = SyncTarget { sinks: vec![SinkKind::Vectors], vector, ..review_target() };
    sync(&world.lake, &about, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    let search = Search::open(&world.serving(), settings([place_target(), about])).unwrap();
    let answer = search.search("혼밥하기 편해요 국밥 최고", 40, &local()).await.unwrap();
    assert!(answer.hits.iter().all(|hit| hit.table == name("marts.places")));
    assert!(answer.notes.len() == 1 && answer.notes[0].contains("add `sqlite` to its sinks"), "{:?}", answer.notes);
}

#[tokio::test]
async fn what_is_configured_no_more_is_not_searched() {
    let (made, written) = corpus();
    let (world, _) = opened(&made, &written).await;
    let asked = |targets: Vec<SyncTarget>| {
        let search = Search::open(&world.serving(), settings(targets)).unwrap();
        async move {
            let keyword = search.keyword("푸짐", None).await.unwrap().hits.len();
            (keyword, search.search("푸짐합니다", 5, &local()).await.unwrap().hits)
        }
    };
    let (keyword, hits) = asked(vec![place_target(), review_target()]).await;
    assert!(keyword == 1 && hits.iter().any(|it| it.reasons.iter().any(|it| it.kind == ReasonKind::Keyword)));
    // The target is gone, or only its sink.
    let (keyword, hits) = asked(vec![place_target()]).await;
    assert!(keyword == 0 && hits.iter().flat_map(|it| &it.reasons).all(|it| it.kind == ReasonKind::Vector));
    let without = SyncTarget { sinks: vec![SinkKind::Sqlite], ..review_target() };
    assert_eq!(asked(vec![place_target(), without]).await.0, 0);
    let (keyword, hits) = asked(Vec::new()).await;
    assert!(keyword == 0 && hits.is_empty());
}

#[tokio::test]
async fn only_the_columns_that_are_searched_count_and_each_as_much_as_is_said() {
    let world = World::new().await;
    let made = [
        place("a", "은하수", "카페", &["별"], "별이 보이는 우주 이야기예요."),
        place("b", "우주 이야기", "카페", &["별"], "은하수가 보여요."),
        place("c", "다른 곳", "식당", &["우주 이야기"], "아무것도 없어요."),
    ];
    world.put("marts.places", places(&made)).await;
    let target = SyncTarget { vector: None, sinks: vec![SinkKind::Keywords], ..place_target() };
    sync(&world.lake, &target, &world.serving(), &Rules::default(), &|_| {}).await.unwrap();
    let keys = |columns: &[(&str, f64)], part: &'static str| {
        let columns = columns.iter().map(|(column, weight)| ((*column).to_owned(), *weight)).collect();
        let searched = SearchedTarget { columns, ..SearchedTarget::new(target.clone()) };
        let settings = SearchSettings { targets: vec![searched], words: korean(), ..SearchSettings::default() };
        let search = Search::open(&world.serving(), settings).unwrap();
        async move {
            let found = search.search(part, 9, &local()).await.unwrap().hits;
            let mut exact: Vec<String> =
                search.keyword(part, None).await.unwrap().hits.into_iter().map(|it| it.key).collect();
            exact.sort();
            (found.into_iter().map(|it| it.key).collect::<Vec<_>>(), exact)
        }
    };
    for part in ["우주", "우주 이야기"] {
        let (found, exact) = keys(&[("name", 1.0), ("summary", 1.0)], part).await;
        assert_eq!(
            (found, exact.as_slice()),
            (vec!["a".to_owned(), "b".to_owned()], ["a", "b"].map(str::to_owned).as_slice())
        );
        let (found, _) = keys(&[("name", 5.0), ("summary", 1.0)], part).await;
        assert_eq!(found, ["b", "a"], "a name counts for more");
        let (found, _) = keys(&[("name", 1.0), ("summary", 5.0)], part).await;
        assert_eq!(found, ["a", "b"]);
        let (found, exact) = keys(&[("situations", 1.0)], part).await;
        assert_eq!((found.as_slice(), exact.as_slice()), (["c".to_owned()].as_slice(), ["c".to_owned()].as_slice()));
    }
}
