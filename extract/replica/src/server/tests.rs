//! Whole crawls over HTTP, and each switch thrown and counted.

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Value, json};

use super::*;
use crate::options::Sizes;
use crate::switches::{Arrivals, Block, Fault, Paging, Robots};

async fn start(sizes: &[u64], switches: Switches) -> Replica {
    Replica::start(ReplicaOptions { sizes: Sizes::Explicit(sizes.to_vec()), switches, ..Default::default() })
        .await
        .unwrap()
}

fn first_place(replica: &Replica) -> String {
    replica.truth().places().next().unwrap().id
}

async fn get(replica: &Replica, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("{}{path}", replica.url())).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn operation(place: &str, page: u64, size: u64, after: Option<&str>) -> Value {
    json!({ "operationName": "getVisitorReviews", "variables": { "input": { "businessId": place, "page": page, "size": size, "after": after } }, "query": "query getVisitorReviews { x }" })
}

async fn post(client: &Client, replica: &Replica, body: &Value) -> reqwest::Result<reqwest::Response> {
    client.post(format!("{}/graphql", replica.url())).json(body).send().await
}

/// One page of reviews, or nothing if this attempt failed.
async fn page(client: &Client, replica: &Replica, place: &str, number: u64, after: Option<&str>) -> Option<Value> {
    let answer = post(client, replica, &json!([operation(place, number, 10, after)])).await.ok()?;
    let text = answer.error_for_status().ok()?.text().await.ok()?;
    let mut answer: Value = serde_json::from_str(&text).ok()?;
    let reviews = answer[0]["data"]["visitorReviews"].take();
    reviews.is_object().then_some(reviews)
}

/// Pages through a place as a patient crawler does: five attempts a page, ends at two empty pages.
async fn harvest(client: &Client, replica: &Replica, place: &str) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    let (mut number, mut empties, mut attempts) = (1, 0, 0);
    let mut after: Option<String> = None;
    while empties < 2 && attempts < 5 {
        let Some(answer) = page(client, replica, place, number, after.as_deref()).await else {
            attempts += 1;
            continue;
        };
        attempts = 0;
        number += 1;
        let items = answer["items"].as_array().unwrap();
        empties = if items.is_empty() { empties + 1 } else { 0 };
        after = items.last().and_then(|item| item["cursor"].as_str()).map(str::to_owned).or(after);
        found.extend(items.iter().cloned());
    }
    found
}

fn ids(items: &[Value]) -> BTreeSet<String> {
    items.iter().filter_map(|item| item["id"].as_str()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_crawl_harvests_exactly_the_truth() {
    let replica = Replica::start(ReplicaOptions { places: 12, reviews: 400, ..Default::default() }).await.unwrap();
    let client = Client::new();
    let (status, text) = get(&replica, "/restaurant/list?query=%EB%A7%9B%EC%A7%91").await;
    assert!(status == 200 && text.contains("_pcmap_list_scroll_container"));
    let asked = json!({ "operationName": "getRestaurants", "variables": { "restaurantListInput": { "query": "맛집", "start": 1, "display": 50 } }, "query": "" });
    let list: Value = post(&client, &replica, &asked).await.unwrap().json().await.unwrap();
    assert_eq!(list["data"]["restaurants"]["total"], 12);
    let places = ids(list["data"]["restaurants"]["items"].as_array().unwrap());
    assert_eq!(places, replica.truth().place_ids());
    let mut found = Vec::new();
    for place in &places {
        found.extend(harvest(&client, &replica, place).await);
    }
    assert_eq!(found.len(), 400);
    assert_eq!(ids(&found), replica.truth().sound_ids());
    let stats = replica.stats();
    assert_eq!(stats.reviews_sent, 400);
    assert_eq!(stats.operations["getVisitorReviews"], stats.graphql - 1);
    assert_eq!(stats.list_calls[&("맛집".to_owned(), 1)], 1);
    assert!(stats.drifted_sent > 0 && stats.peak_in_flight == 1);
    replica.stop().await;
}

/// A trouble's name, how it is switched on, and what counts it.
type Case = (&'static str, Switches, fn(&Stats) -> u64);

#[tokio::test]
async fn every_trouble_that_can_be_survived_is_survived_and_counted() {
    let client = Client::new();
    let quick = Switches { slow_for: Duration::from_millis(30), ..Switches::default() };
    let cases: Vec<Case> = vec![
        ("too many", Switches { too_many: Fault::once(0.3), ..quick.clone() }, |stats| stats.too_many),
        ("server error", Switches { server_error: Fault::times(0.3, 3), ..quick.clone() }, |stats| stats.server_errors),
        ("garbage", Switches { garbage: Fault::once(0.3), ..quick.clone() }, |stats| stats.garbage),
        ("cut", Switches { cut: Fault::once(0.3), ..quick.clone() }, |stats| stats.cut),
        ("slow", Switches { slow: Fault::once(0.3), ..quick.clone() }, |stats| stats.slow),
        ("partial errors", Switches { partial_errors: Fault::once(0.3), ..quick.clone() }, |stats| {
            stats.partial_errors
        }),
        ("inflated", Switches { inflated_total: 40, ..quick.clone() }, |_| 1),
        (
            "latency",
            Switches { latency: Duration::from_millis(2), jitter: Duration::from_millis(2), ..quick.clone() },
            |_| 1,
        ),
        (
            "block",
            Switches { block: Some(Block { after: 5, span: BlockSpan::Requests(4) }), ..quick.clone() },
            |stats| stats.blocked,
        ),
        (
            "short block",
            Switches { block: Some(Block { after: 5, span: BlockSpan::For(Duration::ZERO) }), ..quick.clone() },
            |stats| stats.blocked + 1,
        ),
        ("drift", Switches { drift: 0.5, ..quick.clone() }, |stats| stats.drifted_sent),
        ("cursor", Switches { paging: Paging::Cursor, ..quick.clone() }, |_| 1),
    ];
    for (name, switches, counted) in cases {
        let replica = start(&[173], switches.clone()).await;
        let place = first_place(&replica);
        let found = harvest(&client, &replica, &place).await;
        assert_eq!(found.len(), 173, "{name}");
        assert_eq!(ids(&found), replica.truth().sound_ids(), "{name}");
        assert!(counted(&replica.stats()) > 0, "{name}");
        replica.stop().await;
    }
}

#[tokio::test]
async fn arrivals_shift_pages_and_lose_nothing() {
    let arrivals = Some(Arrivals { every: 2, reviews: 3, limit: 9 });
    let replica = start(&[95], Switches { arrivals, ..Default::default() }).await;
    let before = replica.truth().sound_ids();
    let found = harvest(&Client::new(), &replica, &first_place(&replica)).await;
    assert!(found.len() > ids(&found).len(), "items come twice");
    assert!(ids(&found).is_superset(&before));
    assert_eq!(replica.stats().arrived, 9);
    assert_eq!(replica.truth().reviews().filter(|review| review.arrived).count(), 9);
    replica.set_switches(Switches { paging: Paging::Cursor, ..Default::default() });
    replica.add_reviews(&first_place(&replica), 5).unwrap();
    assert_eq!(ids(&harvest(&Client::new(), &replica, &first_place(&replica)).await), replica.truth().sound_ids());
    assert_eq!(replica.truth().total(), 95 + 9 + 5);
    assert!(replica.add_reviews("0", 1).is_err());
}

#[tokio::test]
async fn spoilt_items_are_exactly_those_the_truth_names() {
    let replica = start(&[300], Switches { spoilt: 0.1, ..Default::default() }).await;
    let found = harvest(&Client::new(), &replica, &first_place(&replica)).await;
    let is_spoilt = |item: &&Value| {
        item.get("id").is_none()
            || item["rating"].is_string()
            || item["body"].is_number()
            || item["visitCount"].is_string()
            || item["representativeVisitDateTime"].as_str().is_some_and(|time| time.contains("-13-"))
    };
    let truth = replica.truth();
    assert_eq!(found.iter().filter(is_spoilt).count() as u64, truth.spoilt());
    assert_eq!(truth.reviews().filter(|review| review.spoilt.is_some()).count() as u64, truth.spoilt());
    assert!((15..50).contains(&truth.spoilt()));
    assert_eq!(replica.stats().spoilt_sent, truth.spoilt());
    let kinds: BTreeSet<_> = truth.reviews().filter_map(|review| review.spoilt).collect();
    assert_eq!(kinds.len(), crate::Spoilt::ALL.len());
    let sound: Vec<Value> = found.iter().filter(|item| !is_spoilt(item)).cloned().collect();
    assert_eq!(ids(&sound), truth.sound_ids());
}

#[tokio::test]
async fn an_answer_has_the_form_of_its_question() {
    let replica = start(&[25, 7], Switches::default()).await;
    let client = Client::new();
    let places: Vec<String> = replica.truth().places().map(|place| place.id).collect();
    let one: Value = post(&client, &replica, &operation(&places[0], 1, 50, None)).await.unwrap().json().await.unwrap();
    assert_eq!(one["data"]["visitorReviews"]["items"].as_array().unwrap().len(), 25);
    assert!(one["data"]["visitorReviews"]["starDistribution"].is_null());
    let batch: Value =
        post(&client, &replica, &json!([operation(&places[0], 3, 10, None), operation(&places[1], 1, 10, None)]))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
    assert_eq!([0, 1].map(|n| batch[n]["data"]["visitorReviews"]["items"].as_array().unwrap().len()), [5, 7]);
    let stats: Value = post(
        &client,
        &replica,
        &json!([{ "operationName": "getVisitorReviewStats", "variables": { "id": places[0] }, "query": "" }]),
    )
    .await
    .unwrap()
    .json()
    .await
    .unwrap();
    assert_eq!(stats[0]["data"]["visitorReviewStats"]["visitorReviewsTotal"], 25);
    let unknown: Value =
        post(&client, &replica, &json!({ "query": "query IntrospectionQuery { __schema { types { name } } }" }))
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
    assert!(unknown["errors"].is_array() && unknown.get("data").is_none());
    assert_eq!(post(&client, &replica, &json!(7)).await.unwrap().status(), 400);
    let stranger: Value = post(&client, &replica, &operation("1", 1, 10, None)).await.unwrap().json().await.unwrap();
    assert!(stranger["data"]["visitorReviews"].is_null());
}

#[tokio::test]
async fn access_is_limited_by_content_and_not_by_status() {
    let replica =
        start(&[50], Switches { block: Some(Block { after: 2, span: BlockSpan::Forever }), ..Default::default() })
            .await;
    let place = first_place(&replica);
    let path = format!("/restaurant/{place}/review/visitor");
    for _ in 0..2 {
        assert!(get(&replica, &path).await.1.contains("_review_list"));
    }
    let (status, text) = get(&replica, &path).await;
    assert!(status == 200 && text.contains("서비스 이용이 제한되었습니다.") && !text.contains("_review_list"));
    assert!(page(&Client::new(), &replica, &place, 1, None).await.is_none());
    assert_eq!(get(&replica, "/robots.txt").await.0, 200);
    assert_eq!(replica.stats().blocked, 2);
    replica.set_switches(Switches::default());
    assert!(get(&replica, &path).await.1.contains("_review_list"));
}

#[tokio::test]
async fn a_429_says_when_to_come_back() {
    let replica = start(&[5], Switches { too_many: Fault::always(1.0), retry_after: 7, ..Default::default() }).await;
    let answer = post(&Client::new(), &replica, &operation(&first_place(&replica), 1, 10, None)).await.unwrap();
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test]
async fn a_half_rendered_page_is_whole_at_the_next_attempt() {
    let replica = start(&[30], Switches { half_rendered: Fault::once(1.0), ..Default::default() }).await;
    let path = format!("/place/{}/home", first_place(&replica));
    assert!(!get(&replica, &path).await.1.contains("PlaceDetailBase"));
    assert!(get(&replica, &path).await.1.contains("PlaceDetailBase"));
    assert_eq!(replica.stats().half_rendered, 1);
    assert_eq!(replica.stats().home_pages.values().sum::<u64>(), 2);
}

#[tokio::test]
async fn a_poisoned_place_and_an_empty_site() {
    let replica = start(&[20, 30], Switches::default()).await;
    let places: Vec<String> = replica.truth().places().map(|place| place.id).collect();
    replica.set_switches(Switches { poisoned: BTreeSet::from([places[0].clone()]), ..Default::default() });
    assert_eq!(get(&replica, &format!("/restaurant/{}/review/visitor", places[0])).await.0, 500);
    assert_eq!(replica.truth().total(), 30);
    assert_eq!(ids(&harvest(&Client::new(), &replica, &places[1]).await), replica.truth().sound_ids());
    assert_eq!(replica.stats().poisoned, 1);
    replica.set_switches(Switches { empty: true, ..Default::default() });
    let asked = json!([{ "operationName": "getRestaurants", "variables": { "restaurantListInput": { "query": "맛집" } }, "query": "" }]);
    let list: Value = post(&Client::new(), &replica, &asked).await.unwrap().json().await.unwrap();
    assert_eq!(list[0]["data"]["restaurants"]["total"], 0);
    assert_eq!(replica.truth().places().count(), 0);
    assert_eq!(get(&replica, &format!("/restaurant/{}/home", places[1])).await.0, 404);
}

#[tokio::test]
async fn a_list_ends_at_its_cap_unless_that_is_lifted() {
    let replica = Replica::start(ReplicaOptions { places: 420, reviews: 420, ..Default::default() }).await.unwrap();
    let client = Client::new();
    let ask = async |start: u64| -> Value {
        let asked = json!([{ "operationName": "getRestaurants", "variables": { "restaurantListInput": { "query": "서울 맛집", "start": start, "display": 70 } }, "query": "" }]);
        post(&client, &replica, &asked).await.unwrap().json::<Value>().await.unwrap()[0]["data"]["restaurants"].take()
    };
    assert_eq!(ask(281).await["items"].as_array().unwrap().len(), 20);
    assert_eq!(ask(301).await["items"].as_array().unwrap().len(), 0);
    assert_eq!(ask(301).await["total"], 420);
    assert!(replica.search_words().len() > 1);
    replica.set_switches(Switches { list_cap: None, ..Default::default() });
    assert_eq!(ask(351).await["items"].as_array().unwrap().len(), 70);
    assert_eq!(replica.search_words(), ["맛집"]);
}

#[tokio::test]
async fn robots_says_what_the_switch_says() {
    let replica = start(&[5], Switches::default()).await;
    for (robots, expected) in [
        (Robots::AllowAll, (200, "Allow: /")),
        (Robots::Deny("/graphql".to_owned()), (200, "Disallow: /graphql")),
        (Robots::Status(404), (404, "")),
        (Robots::Status(500), (500, "")),
        (Robots::Text("User-agent: onggi\nDisallow: /".to_owned()), (200, "User-agent: onggi")),
    ] {
        replica.set_switches(Switches { robots, ..Default::default() });
        let (status, text) = get(&replica, "/robots.txt").await;
        assert_eq!(status, expected.0);
        assert!(text.contains(expected.1));
    }
    assert_eq!(replica.stats().robots, 5);
    assert_eq!(replica.stats().fetches(), 0);
}

#[tokio::test]
async fn pictures_are_counted_and_strangers_are_not_found() {
    let replica = start(&[5], Switches::default()).await;
    let picture = reqwest::get(format!("{}/pic/a-0.png", replica.url())).await.unwrap();
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert!(picture.bytes().await.unwrap().len() > 50_000);
    for path in ["/restaurant/1/home", "/nothing", "/restaurant/1/review/visitor"] {
        assert_eq!(get(&replica, path).await.0, 404);
    }
    assert_eq!((replica.stats().pictures, replica.stats().unknown, replica.stats().requests), (1, 3, 4));
}

#[tokio::test]
async fn a_heavy_place_has_all_its_reviews() {
    let replica = Replica::start(ReplicaOptions::heavy(5_000)).await.unwrap();
    let answer = page(&Client::new(), &replica, &first_place(&replica), 500, None).await.unwrap();
    assert_eq!((answer["total"].as_u64(), answer["items"].as_array().unwrap().len()), (Some(5_000), 10));
    assert_eq!(replica.truth().sound_ids().len(), 5_000);
}

#[tokio::test]
async fn a_taken_port_is_one_clear_error() {
    let replica = start(&[1], Switches::default()).await;
    let port: u16 = replica.url().rsplit(':').next().unwrap().parse().unwrap();
    let error = Replica::start(ReplicaOptions { port, ..ReplicaOptions::heavy(1) }).await.unwrap_err();
    assert_eq!(error.to_string(), format!("listening on 127.0.0.1:{port}"));
    assert!(error.is_retryable() && error.hint().is_some());
    let url = replica.url().to_owned();
    replica.stop().await;
    assert!(reqwest::get(format!("{url}/robots.txt")).await.is_err());
}
