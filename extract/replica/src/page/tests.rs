//! Pages are read back as a crawler reads them: the state by its braces, the items by their hooks.

use jiff::civil::date;

use super::*;
use crate::options::{ReplicaOptions, Sizes};
use crate::world::World;

/// The value after `name = ` in a script: up to the brace that closes it, whatever follows.
fn state_of(html: &str, name: &str) -> Value {
    let start = html.find(&format!("window.{name} = ")).expect("the state is there") + name.len() + 10;
    let mut values = serde_json::Deserializer::from_str(&html[start..]).into_iter::<Value>();
    values.next().expect("a value").expect("it is JSON")
}

fn world(reviews: u64) -> World {
    World::build(&ReplicaOptions {
        sizes: Sizes::Explicit(vec![reviews]),
        today: date(2026, 10, 1),
        ..Default::default()
    })
    .unwrap()
}

fn first_page(world: &World) -> Vec<Value> {
    let place = &world.places[0];
    (place.reviews.saturating_sub(10)..place.reviews)
        .rev()
        .map(|number| world.review(0, number).to_json(place, world.today, false))
        .collect()
}

#[test]
fn the_document_holds_the_first_reviews_as_state_and_as_items() {
    let world = world(35);
    let items = first_page(&world);
    let html = reviews(&world.places[0], 35, items.clone(), false);
    let state = state_of(&html, "__APOLLO_STATE__");
    let root = state["ROOT_QUERY"].as_object().unwrap();
    let (key, answer) = root.iter().find(|(key, _)| key.starts_with("visitorReviews(")).unwrap();
    let arguments: Value =
        serde_json::from_str(key.strip_prefix("visitorReviews(").unwrap().strip_suffix(')').unwrap()).unwrap();
    assert_eq!(arguments["input"]["businessId"], json!(world.places[0].id));
    assert_eq!(answer["total"], 35);
    let found: Vec<Value> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|reference| {
            let mut review = state[reference["__ref"].as_str().unwrap()].clone();
            let author = state[review["author"]["__ref"].as_str().unwrap()].clone();
            review["author"] = author;
            review
        })
        .collect();
    assert_eq!(found, items, "followed references give what GraphQL sends");
    assert_eq!(html.matches("<li class=\"place_apply_pui").count(), 10);
    assert_eq!(state_of(&html, "__PLACE_STATE__")["total"], 35);
}

#[test]
fn the_button_is_the_last_of_its_class_below_the_list() {
    let world = world(35);
    let html = reviews(&world.places[0], 35, first_page(&world), false);
    let body = html.split("<script>").next().unwrap();
    let buttons: Vec<_> = body.match_indices("class=\"fvwqf\"").map(|(at, _)| at).collect();
    assert_eq!(buttons.len(), 3);
    let list = body.find("id=\"_review_list\"").unwrap();
    assert!(buttons[1] < list && list < buttons[2]);
    assert!(body[..list].contains("메뉴 더보기") && body[..list].contains("정보 더보기"));
}

#[test]
fn few_reviews_need_no_button() {
    let world = world(7);
    let html = reviews(&world.places[0], 7, first_page(&world), false);
    let body = html.split("<script>").next().unwrap();
    assert_eq!(body.matches("class=\"fvwqf\"").count(), 2);
    assert_eq!(body.matches("<li class=\"place_apply_pui").count(), 7);
}

#[test]
fn a_review_without_an_id_stands_in_the_list_itself() {
    let world = world(3);
    let mut items = first_page(&world);
    crate::Spoilt::MissingId.apply(items[1].as_object_mut().unwrap());
    let state = state_of(&reviews(&world.places[0], 3, items, false), "__APOLLO_STATE__");
    let answer =
        state["ROOT_QUERY"].as_object().unwrap().iter().find(|(key, _)| key.starts_with("visitorReviews(")).unwrap().1;
    assert!(answer["items"][1].get("__ref").is_none());
    assert_eq!(answer["items"][1]["__typename"], "VisitorReview");
    assert!(answer["items"][1]["author"]["__ref"].is_string());
}

#[test]
fn text_cannot_break_out_of_the_page() {
    let world = world(1);
    let mut items = first_page(&world);
    items[0]["body"] = json!("</script><b>}; \"' &amp; :}");
    let html = reviews(&world.places[0], 1, items, false);
    assert_eq!(html.matches("</script>").count(), 2);
    let state = state_of(&html, "__APOLLO_STATE__");
    let review = state.as_object().unwrap().values().find(|entity| entity["__typename"] == "VisitorReview").unwrap();
    assert_eq!(review["body"], "</script><b>}; \"' &amp; :}");
}

#[test]
fn the_block_page_and_the_half_page_are_known_by_their_content() {
    assert!(blocked().contains("서비스 이용이 제한되었습니다.") && blocked().contains("과도한 접근 요청으로"));
    assert!(!half_rendered().contains("_review_list") && !half_rendered().contains("__APOLLO_STATE__"));
}

#[test]
fn a_list_page_has_rows_and_state() {
    let world = World::build(&ReplicaOptions { places: 30, reviews: 300, ..Default::default() }).unwrap();
    let items: Vec<Value> = world.places.iter().take(20).map(|place| place.to_list_item(place.reviews)).collect();
    let html = list("맛집", 30, items);
    assert_eq!(html.matches("class=\"place_bluelink").count(), 20);
    assert_eq!(state_of(&html, "__APOLLO_STATE__").as_object().unwrap().len(), 21);
}
