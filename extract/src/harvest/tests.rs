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
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        loop {
            let Some(response) = ({
                let mut left = self.0.lock().unwrap();
                if left.is_empty() { None } else { Some(left.remove(0)) }
            }) else {
                return Ok(());
            };
            if on(response) == FetchFlow::Stop {
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
async fn run(source: &Source, key: &Key, responses: Vec<Response>) -> (Result<KeyOutput, FetchError>, usize) {
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

fn ids(harvest: &KeyOutput) -> Vec<String> {
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
    // The site says 1.
    let page = || {
        Response::answer(
            "https://pcmap-api.place.naver.com/graphql",
            json!([{"data": {"visitorReviews": {"total": 1, "items": [review("a")]}}}]),
        )
    };
    let answer = |items: Value| {
        Response::answer("https://u", json!([{"data": {"visitorReviews": {"total": 1, "items": items}}}]))
    };
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
    assert_eq!(ids(&harvest), ["-", "a", "b", "-", "c", "c", "d"]);
    assert_eq!((harvest.fetched, harvest.set_aside, harvest.duplicates, harvest.restated), (7, 4, 3, 1));
    let errors = harvest.batch.column_by_name("_error").unwrap().as_string::<i32>();
    assert!(
        errors.is_null(1) && errors.is_valid(4) && errors.is_null(5),
        "`c` came with other content: both are there"
    );
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
    let with = |since: &str| Key { since: Some(since.to_owned()), ..Key::new("1") };
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
async fn an_answer_of_another_shape_is_no_end() {
    let drifted = || Response::answer("https://u", json!({"data": {"reviews": []}}));
    let why = "expected a list of items at `/data/visitorReviews/items`, found nothing".to_owned();
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), vec![answer(json!([review("a")])), drifted()]).await;
    let harvest = harvest.unwrap();
    let error = FetchError::Unreadable { url: "https://u".to_owned(), reason: why.clone(), body: Bytes::new() };
    assert_eq!((ids(&harvest), harvest.ending), (vec!["a".to_owned()], Ending::Short(error)));
    assert!(harvest.unreadable.is_empty(), "its items name persons: nobody can tell where in it");
    for first in [drifted(), Response::document("https://u", "<html></html>")] {
        let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), vec![first]).await;
        let harvest = harvest.unwrap();
        assert_eq!((harvest.fetched, harvest.requests), (0, 0));
        assert!(
            matches!(&harvest.ending, Ending::Unreadable(why) if why.starts_with("`https://u` can't be read: expected"))
        );
    }
}

/// A plain source of numbered items.
fn plain(more: &str) -> Source {
    with_fields(more, "")
}

fn with_fields(more: &str, fields: &str) -> Source {
    let text = format!(
        "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n{more}\n[http]\nurl = \"https://a.example/l?p={{page}}\"\n\
         [items]\npath = \"/list\"\ntotal = \"/total\"\nkey = \"id\"\n[fields]\nid = {{ path = \"/id\", type = \"id\", required = true }}\n\
         price = {{ path = \"/price\", type = \"int64\" }}\n{fields}\n"
    );
    Source::parse("rows.toml", &text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn text(body: &str) -> Response {
    Response::text("https://a.example/l?p=1", body)
}

fn column(harvest: &KeyOutput, name: &str) -> Vec<String> {
    let column = harvest.batch.column_by_name(name).unwrap().as_string::<i32>();
    column.iter().map(|text| text.unwrap_or("-").to_owned()).collect()
}

/// Hands over a page, if there is one, and fails.
struct Failing(Option<&'static str>, FetchError);

#[async_trait]
impl Fetch for Failing {
    async fn fetch(
        &self,
        _: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        if let Some(page) = self.0 {
            assert_ne!(on(text(page)), FetchFlow::Stop);
        }
        Err(self.1.clone())
    }
}

#[tokio::test]
async fn whatever_fails_later_what_came_is_there() {
    let (url, reason) = (|| "https://a.example".to_owned(), || "why".to_owned());
    let unreadable =
        |body: &'static [u8]| FetchError::Unreadable { url: url(), reason: reason(), body: Bytes::from_static(body) };
    // (the failure, the ending of a key of which nothing came, of one of which a page came; none: an error)
    let short = |error: &FetchError| Some(Ending::Short(error.clone()));
    let transient = FetchError::Transient { url: url(), reason: reason() };
    let blocked = FetchError::Blocked { host: url(), evidence: reason() };
    let limited = FetchError::RateLimited { host: url(), retry_after: None };
    let gone = FetchError::Gone { url: url(), reason: "404".to_owned() };
    let denied = FetchError::RobotsDenied { url: url(), rule: "Disallow: / (line 2)".to_owned() };
    let permanent = FetchError::Permanent { url: url(), reason: reason() };
    let said = |error: &FetchError| error.to_string();
    let cases = [
        (transient.clone(), None, short(&transient)),
        (blocked.clone(), None, short(&blocked)),
        (limited.clone(), None, short(&limited)),
        (FetchError::NoBrowser { tried: reason() }, None, short(&FetchError::NoBrowser { tried: reason() })),
        (FetchError::Cancelled, None, short(&FetchError::Cancelled)),
        (gone.clone(), Some(Ending::Gone(said(&gone))), short(&gone)),
        (
            denied.clone(),
            Some(Ending::Refused(said(&denied))),
            Some(Ending::Refused(format!("cut after 1 answer: {}", said(&denied)))),
        ),
        (permanent.clone(), Some(Ending::Unreadable(said(&permanent))), short(&permanent)),
        (unreadable(b"body"), Some(Ending::Unreadable(said(&unreadable(b"")))), short(&unreadable(b""))),
        (FetchError::Cut { why: reason() }, Some(Ending::Cut(reason())), Some(Ending::Cut(reason()))),
    ];
    let (source, key) = (plain(""), Key::new("a"));
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: || Timestamp::UNIX_EPOCH };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    for (error, nothing, page) in cases {
        let of = async |first| {
            let fetch = Failing(first, error.clone());
            harvest(&fetch, &source, &key, &envelope, &identity, &|_| {}).await
        };
        match (of(None).await, nothing) {
            (Ok(harvest), Some(ending)) => {
                assert_eq!((harvest.batch.num_rows(), harvest.ending), (0, ending), "{error:?}");
                let kept: Vec<_> = harvest.unreadable.iter().map(|kept| kept.body.as_ref()).collect();
                let expected =
                    if matches!(error, FetchError::Unreadable { .. }) { vec![b"body".as_ref()] } else { vec![] };
                assert_eq!(kept, expected, "{error:?}");
            }
            (Err(found), None) => assert_eq!(found, error),
            (found, _) => panic!("{error:?}: {found:?}"),
        }
        let harvest = of(Some(r#"{"list": [{"id": 1}, {"id": 2}], "total": 3}"#)).await.unwrap();
        assert_eq!((ids(&harvest), Some(harvest.ending)), (vec!["1".to_owned(), "2".to_owned()], page), "{error:?}");
    }
}

#[tokio::test]
async fn an_item_is_its_bytes_and_its_id_its_digits() {
    let page = r#"{"list": [
        {"id":100000000000000000001,"price":1,"price":2,"w":1.10,"big":123456789012345678901234567890,"e":1e5} ,
        {"id":100000000000000000002, "t":"\u00e9\/ \ud83d"},{"id":3,"x":1e400}], "total": 3}"#;
    let (harvest, _) = run(&plain(""), &Key::new("a"), vec![text(page)]).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), ["100000000000000000001", "100000000000000000002", "3"]);
    assert_eq!(
        column(&harvest, "_payload"),
        [
            r#"{"id":100000000000000000001,"price":1,"price":2,"w":1.10,"big":123456789012345678901234567890,"e":1e5}"#,
            r#"{"id":100000000000000000002, "t":"\u00e9\/ \ud83d"}"#,
            r#"{"id":3,"x":1e400}"#,
        ]
    );
    assert_eq!((harvest.duplicates, harvest.set_aside, harvest.short, harvest.ending), (0, 0, 0, Ending::Whole));
}

#[tokio::test]
async fn one_item_that_can_not_be_read_is_one_row_with_its_text() {
    let deep = format!("{{\"id\": 4, \"d\": {}{}}}", "[".repeat(300), "]".repeat(300));
    let bad = [r#"{"id": 2, "x": NaN}"#, r#"{"id": 3, "t": "a\qb", "call": "010-1234-5678"}"#, &deep, "", "7"];
    let page = format!("{{\"list\": [{{\"id\": 1}}, {}, {{\"id\": 5}}]}}", bad.join(", "));
    let (harvest, _) = run(&plain(""), &Key::new("a"), vec![text(&page)]).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), ["1", "-", "-", "-", "-", "-", "5"]);
    assert_eq!((harvest.fetched, harvest.set_aside), (7, 5));
    let payloads = column(&harvest, "_payload");
    assert_eq!(payloads[1..6], [bad[0], &bad[1].replace("010-1234-5678", "[phone]"), bad[2], bad[3], bad[4]]);
    let errors = column(&harvest, "_error");
    assert!(
        errors[1].starts_with("expected an item to be JSON: expected a value at byte 15, found `N`"),
        "{}",
        errors[1]
    );
    // Where a rule says what must not be kept, nobody can tell where in it that is.
    let hidden = plain("[identity]\ndrop = [\"/name\"]");
    let (harvest, _) =
        run(&hidden, &Key::new("a"), vec![text(r#"{"list": [{"id": 2, "name": "kim", "x": NaN}]}"#)]).await;
    assert_eq!(column(&harvest.unwrap(), "_payload"), ["null"]);
}

#[tokio::test]
async fn the_same_name_with_other_content_is_not_the_same_item() {
    let pages = vec![
        text(r#"{"list": [{"id": 1, "price": 10}, {"id": 2, "price": 20}], "total": 3}"#),
        text(r#"{"list": [{"price": 20, "id": 2}, {"id": 1, "price": 11}], "total": 3}"#),
        text(r#"{"list": [{"id": 3, "price": 30}], "total": 3}"#),
        text(r#"{"list": [{"id": 4, "price": 40}], "total": 3}"#),
    ];
    let (harvest, left) = run(&plain(""), &Key::new("a"), pages).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), ["1", "2", "1", "3"], "what came twice is no third of three");
    assert_eq!((harvest.duplicates, harvest.restated, harvest.short, left), (1, 1, 0, 1));
}

#[tokio::test]
async fn a_list_may_have_the_shape_of_what_is_in_it() {
    // Services that turn XML into JSON write one as itself, and none as an empty text.
    let cases = [
        (r#"{"list": {"id": 1}, "total": 1}"#, Ok(1)),
        (r#"{"list": "", "total": 0}"#, Ok(0)),
        (r#"{"list": ""}"#, Ok(0)),
        (r#"{"list": null, "total": "0"}"#, Ok(0)),
        (r#"{"list": [], "total": 0}"#, Ok(0)),
        (r#"{"list": "", "total": 2}"#, Err("found a text")),
        (r#"{"list": {"0": {"id": 1}}}"#, Err("found an object")),
        (r#"{"list": "later"}"#, Err("found a text")),
        (r#"{"result": {"code": 22, "message": "quota"}}"#, Err("found nothing")),
        (r#"{"list": [1,"#, Err("expected JSON")),
    ];
    for (page, expected) in cases {
        let (harvest, _) = run(&plain(""), &Key::new("a"), vec![text(page)]).await;
        let harvest = harvest.unwrap();
        match expected {
            Ok(rows) => {
                assert_eq!((harvest.fetched, harvest.set_aside, &harvest.ending), (rows, 0, &Ending::Whole), "{page}");
            }
            Err(part) => {
                assert!(
                    matches!(&harvest.ending, Ending::Unreadable(why) if why.contains(part)),
                    "{page}: {:?}",
                    harvest.ending
                );
                assert_eq!(harvest.unreadable.len(), 1, "{page}");
                assert_eq!(harvest.unreadable[0].body, page.as_bytes());
            }
        }
    }
    let mut nested = plain("");
    nested.items.path = crate::source::Pointer::parse("/list/item").unwrap();
    for (page, rows) in [(r#"{"list": {"item": {"id": 1}}, "total": 1}"#, 1), (r#"{"list": "", "total": 0}"#, 0)] {
        let (harvest, _) = run(&nested, &Key::new("a"), vec![text(page)]).await;
        assert_eq!(harvest.unwrap().fetched, rows, "{page}");
    }
}

#[tokio::test]
async fn a_bound_cuts_the_list_and_what_came_lands() {
    let page = |from: u32| {
        let items: Vec<String> = (from..from + 10).map(|id| format!("{{\"id\": {id}}}")).collect();
        text(&format!("{{\"list\": [{}]}}", items.join(",")))
    };
    let pages = || (0..40).map(|at| page(at * 10)).collect::<Vec<_>>();
    for (limits, rows, why) in [
        ("records = 25", 25, "[limits] records"),
        ("answers = 3", 30, "[limits] answers"),
        ("bytes = 1000", 0, "[limits] bytes"),
        ("time = \"1ms\"", 0, "[limits] time"),
    ] {
        let mut source = plain(&format!("[limits]\n{limits}"));
        if limits.starts_with("time") {
            source.limits.time = std::time::Duration::ZERO;
        }
        let (harvest, left) = run(&source, &Key::new("a"), pages()).await;
        let harvest = harvest.unwrap();
        assert!(matches!(&harvest.ending, Ending::Cut(found) if found.contains(why)), "{limits}: {:?}", harvest.ending);
        assert!(
            harvest.fetched > 0 && left > 0 && (rows == 0 || harvest.fetched == rows),
            "{limits}: {}",
            harvest.fetched
        );
    }
}

#[tokio::test]
async fn numbers_of_a_site_add_up_to_nothing_that_breaks() {
    let page = format!("{{\"list\": [{{\"id\": 1}}], \"total\": {}}}", u64::MAX);
    let (harvest, _) = run(&plain(""), &Key::new("a"), vec![text(&page)]).await;
    assert_eq!(harvest.unwrap().short, u64::MAX - 1);
}

#[tokio::test]
async fn a_page_that_repeats_itself_goes_on_while_its_total_is_not_reached() {
    let again = || answer(json!([review("a")]));
    let mut responses = vec![again(), again(), again(), again()];
    responses.push(answer(json!([review("b")])));
    let (harvest, left) = run(&source(REVIEWS), &Key::new("1"), responses).await;
    assert_eq!((ids(&harvest.unwrap()), left), (vec!["a".to_owned(), "b".to_owned()], 0));
    // And it ends.
    let (harvest, left) = run(&source(REVIEWS), &Key::new("1"), (0..100).map(|_| again()).collect()).await;
    assert_eq!((harvest.unwrap().ending, left), (Ending::Whole, 100 - 1 - IDLE_RESPONSES_OF_A_PAGE as usize));
}

mod alike;
mod landed;
