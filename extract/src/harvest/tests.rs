use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray};
use async_trait::async_trait;
use serde_json::{Value, json};

use super::*;
use crate::source::EMBEDDED;

/// Hands over what it was given, one after the other.
struct Scripted(Mutex<Vec<Response>>);

#[async_trait]
impl Fetch for Scripted {
    async fn fetch(
        &self,
        _: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> Flow + Send),
    ) -> Result<(), FetchError> {
        loop {
            let Some(response) = ({
                let mut left = self.0.lock().unwrap();
                if left.is_empty() { None } else { Some(left.remove(0)) }
            }) else {
                return Ok(());
            };
            if on(response) == Flow::Stop {
                return Ok(());
            }
        }
    }
}

const REVIEWS: &str = "naver_reviews.toml";
const PLACES: &str = "naver_places.toml";

fn source(name: &str) -> Source {
    let (file, text) = EMBEDDED.into_iter().find(|(file, _)| *file == name).unwrap();
    Source::parse(file, text).unwrap()
}

#[expect(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn answer(items: Value) -> Response {
    Response::answer(
        "https://pcmap-api.place.naver.com/graphql",
        json!([{"data": {"visitorReviews": {"total": 100, "items": items}}}]),
    )
}

fn review(id: &str) -> Value {
    json!({"id": id, "body": format!("review {id}"), "representativeVisitDateTime": "2026-09-13T04:38:00Z"})
}

fn document(items: &[Value]) -> Response {
    let state = json!({"ROOT_QUERY": {"visitorReviews({})": {"items": items, "total": 3}}});
    Response::document(
        "https://pcmap.place.naver.com/restaurant/1/review",
        format!("<script>window.__APOLLO_STATE__ = {state};</script>"),
    )
}

/// (harvest, how many responses were left)
async fn run(source: &Source, key: &Key, responses: Vec<Response>) -> (Result<Harvest, FetchError>, usize) {
    let fetch = Scripted(Mutex::new(responses));
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: || Timestamp::UNIX_EPOCH };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let told = AtomicU64::new(0);
    let progress = |records: u64| told.store(records, Ordering::SeqCst);
    let harvested = harvest(&fetch, source, key, &envelope, &identity, &progress).await;
    if let Ok(harvest) = &harvested {
        assert_eq!(told.load(Ordering::SeqCst), harvest.fetched);
        assert_eq!(harvest.batch.num_rows() as u64, harvest.fetched);
    }
    let left = fetch.0.lock().unwrap().len();
    (harvested, left)
}

fn ids(harvest: &Harvest) -> Vec<String> {
    harvest.batch.column(0).as_string::<i32>().iter().map(|id| id.unwrap_or("-").to_owned()).collect()
}

#[tokio::test]
async fn documents_and_answers_are_merged_by_key() {
    let responses = vec![
        document(&[review("a"), review("b")]),
        answer(json!([review("a"), review("b")])),
        answer(json!([review("b"), review("c"), review("d")])),
        answer(json!([])),
    ];
    let (harvest, left) = run(&source(REVIEWS), &Key::new("1"), responses).await;
    let harvest = harvest.unwrap();
    assert_eq!(
        (ids(&harvest), harvest.duplicates, harvest.requests, harvest.set_aside, left),
        (vec!["a".into(), "b".into(), "c".into(), "d".into()], 3, 4, 0, 0)
    );
}

#[tokio::test]
async fn two_responses_with_nothing_new_are_the_end() {
    let page = || answer(json!([review("a")]));
    let (harvest, left) = run(&source(REVIEWS), &Key::new("1"), vec![page(), page(), answer(json!([])), page()]).await;
    assert_eq!((harvest.unwrap().requests, left), (3, 1));
    // One is not, and a document is no response of that kind.
    let (harvest, left) = run(
        &source(REVIEWS),
        &Key::new("1"),
        vec![document(&[]), page(), page(), answer(json!([review("b")])), page()],
    )
    .await;
    assert_eq!((ids(&harvest.unwrap()), left), (vec!["a".into(), "b".into()], 0));
}

#[tokio::test]
async fn a_page_that_is_opened_again_is_read_to_its_end() {
    let first = || vec![document(&[review("a")]), answer(json!([review("b")])), answer(json!([review("c")]))];
    let mut responses = first();
    responses.extend(first());
    responses.push(answer(json!([review("d")])));
    let (harvest, left) = run(&source(REVIEWS), &Key::new("1"), responses).await;
    let harvest = harvest.unwrap();
    assert_eq!((ids(&harvest).concat(), harvest.duplicates, left), ("abcd".to_owned(), 3, 0));
}

#[tokio::test]
async fn spoilt_items_land_once_with_their_reason() {
    let spoilt = json!({"body": "no id", "__typename": "VisitorReview", "reply": null});
    let responses = vec![
        document(&[spoilt.clone(), review("a")]),
        answer(
            json!([{"body": "no id"}, review("a"), {"id": "b", "visitCount": "여러 번"}, null, {"id": "c", "rating": "x"}]),
        ),
        answer(json!([{"id": "c", "rating": 4.5}])),
        answer(json!([{"id": "c", "rating": "x"}, review("d")])),
    ];
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), responses).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), ["-", "a", "b", "-", "c", "d"]);
    assert_eq!((harvest.fetched, harvest.set_aside, harvest.duplicates), (6, 3, 4));
    let errors = harvest.batch.column_by_name("_error").unwrap().as_string::<i32>();
    assert!(errors.is_null(1) && errors.is_null(4), "the form of `c` that can be mapped wins");
    assert_eq!(errors.value(3), "expected an item to be an object, found null");
}

#[tokio::test]
async fn a_watermark_stops_at_a_response_that_is_older_as_a_whole() {
    let at = |id: &str, day: &str| json!({"id": id, "representativeVisitDateTime": format!("{day}T00:00:00Z")});
    let responses = || {
        vec![
            answer(json!([at("a", "2026-09-20"), at("b", "2024-01-01")])),
            answer(json!([at("c", "2026-08-02"), at("d", "2020-01-01")])),
            answer(json!([at("e", "2026-07-01"), {"id": "f"}])),
            answer(json!([at("g", "2026-07-01"), at("h", "2026-06-01")])),
            answer(json!([at("i", "2026-05-01")])),
        ]
    };
    let with = |since: &str| Key { value: "1".to_owned(), since: Some(since.to_owned()) };
    // 30 days of overlap: everything before 2026-08-01 is old; a page with an item of unknown age isn't.
    for (key, left) in [
        (with("2026-08-31"), 1),
        (with("2026-08-31T00:00:00Z"), 1),
        (with("2026-08-31 00:00:00"), 1),
        (with("soon"), 0),
        (Key::new("1"), 0),
    ] {
        assert_eq!(run(&source(REVIEWS), &key, responses()).await.1, left, "{key:?}");
    }
}

#[tokio::test]
async fn a_list_that_ends_before_its_total_is_counted_and_one_that_was_stopped_is_not() {
    let pages = || vec![answer(json!([review("a"), review("b")])), answer(json!([])), answer(json!([]))];
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), pages()).await;
    assert_eq!(harvest.unwrap().short, 98, "the site says 100");
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), vec![document(&[review("a"), review("b")])]).await;
    assert_eq!(harvest.unwrap().short, 1, "the site says 3");
    let more: Vec<Value> = ["a", "b", "c", "d"].map(review).into();
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), vec![document(&more)]).await;
    assert_eq!(harvest.unwrap().short, 0, "more than the site says");
    // What is older than the watermark was not asked for.
    let since = Key { since: Some("2026-12-30".to_owned()), ..Key::new("1") };
    let (harvest, left) = run(&source(REVIEWS), &since, pages()).await;
    assert_eq!((harvest.unwrap().short, left), (0, 2));
}

#[tokio::test]
async fn a_plain_list_stops_at_its_total_and_not_at_repeated_items() {
    let page = |ids: &[&str], total: u64| {
        let items: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "name": "집", "visitorReviewCount": "1,821"})).collect();
        Response::answer(
            "https://pcmap-api.place.naver.com/graphql",
            json!({"data": {"restaurants": {"total": total, "items": items}}}),
        )
    };
    let (harvest, left) = run(
        &source(PLACES),
        &Key::new("망원동"),
        vec![page(&["1", "2"], 3), page(&["2"], 3), page(&["3"], 3), page(&["4"], 3)],
    )
    .await;
    assert_eq!((ids(&harvest.unwrap()), left), (vec!["1".into(), "2".into(), "3".into()], 1));
    let (harvest, left) = run(&source(PLACES), &Key::new("없음"), vec![page(&[], 0), page(&[], 0)]).await;
    assert_eq!((harvest.unwrap().fetched, left), (0, 1));
}

#[tokio::test]
async fn an_answer_of_another_shape_is_an_error_and_not_the_end() {
    let drifted = Response::answer("https://u", json!({"data": {"reviews": []}}));
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), vec![answer(json!([review("a")])), drifted]).await;
    assert_eq!(
        harvest.unwrap_err(),
        FetchError::Permanent {
            url: "https://u".to_owned(),
            reason: "expected a list of items at `/data/visitorReviews/items`, found nothing".to_owned()
        }
    );
    let (harvest, _) =
        run(&source(REVIEWS), &Key::new("1"), vec![Response::document("https://u", "<html></html>")]).await;
    assert!(matches!(harvest, Err(FetchError::Transient { .. })));
}
