//! `window.__APOLLO_STATE__`: entities by `Type:id`, references instead of nesting, and a root whose keys carry the
//! arguments they were asked with. A review without an id can't be an entity and stands in its list, as Apollo has it.

use serde_json::{Map, Value, json};

use crate::place::Place;

/// The state of a review tab.
pub(super) fn reviews(place: &Place, total: u64, items: Vec<Value>, size: u64) -> Value {
    let mut state = Map::new();
    let mut root = place_entities(&mut state, place, total);
    let references: Vec<Value> = items.into_iter().map(|item| normalise(&mut state, item)).collect();
    let input = json!({ "input": { "bookingBusinessId": Value::Null, "businessId": place.id, "businessType": place.category.path, "cidList": ["220036"], "getReactions": true, "getUserStats": true,
                                   "includeContent": true, "includeReceiptPhotos": true, "isPhotoUsed": false, "item": "0", "page": 1, "size": size, "sort": "recent" } });
    root.insert(format!("visitorReviews({input})"), json!({ "__typename": "VisitorReviewsResult", "total": total, "items": references, "starDistribution": Value::Null }));
    let stats = format!("VisitorReviewStatsResult:{}", place.id);
    state.insert(stats.clone(), json!({ "__typename": "VisitorReviewStatsResult", "id": place.id, "name": place.name, "review": { "__typename": "VisitorReviewStats", "avgRating": 0, "totalCount": total, "scores": [] }, "visitorReviewsTotal": total, "ratingReviewsTotal": total / 30 }));
    root.insert(
        format!(
            "visitorReviewStats({})",
            json!({ "input": { "businessId": place.id, "businessType": place.category.path } })
        ),
        json!({ "__ref": stats }),
    );
    finish(state, root)
}

/// The state of the tab a place opens with.
pub(super) fn home(place: &Place, total: u64) -> Value {
    let mut state = Map::new();
    let root = place_entities(&mut state, place, total);
    finish(state, root)
}

/// The state of a list.
pub(super) fn list(query: &str, total: usize, items: Vec<Value>) -> Value {
    let mut state = Map::new();
    let references: Vec<Value> = items
        .into_iter()
        .map(|item| {
            let key = format!("RestaurantListSummary:{}", item.get("id").and_then(Value::as_str).unwrap_or_default());
            state.insert(key.clone(), item);
            json!({ "__ref": key })
        })
        .collect();
    let input = json!({ "restaurantListInput": { "deviceType": "pcmap", "display": 50, "isPcmap": true, "query": query, "start": 1 } });
    let mut root = query_root();
    root.insert(
        format!("restaurants({input})"),
        json!({ "__typename": "RestaurantListResult", "total": total, "items": references }),
    );
    finish(state, root)
}

fn query_root() -> Map<String, Value> {
    Map::from_iter([("__typename".to_owned(), json!("Query"))])
}

fn place_entities(state: &mut Map<String, Value>, place: &Place, total: u64) -> Map<String, Value> {
    let base = format!("PlaceDetailBase:{}", place.id);
    state.insert(base.clone(), place.to_detail(total));
    let menus = place.menu_entities();
    let references: Vec<Value> = menus.iter().map(|(key, _)| json!({ "__ref": key })).collect();
    state.extend(menus);
    let mut root = query_root();
    let input = json!({ "input": { "deviceType": "pcmap", "id": place.id, "isNx": false } });
    root.insert(
        format!("placeDetail({input})"),
        json!({ "__typename": "PlaceDetail", "base": { "__ref": base }, "menus": references }),
    );
    root
}

/// Puts the author, and the review itself where it has an id, among the entities; what is left in the list is returned.
fn normalise(state: &mut Map<String, Value>, mut review: Value) -> Value {
    if let Some(author) = review.get_mut("author")
        && let Some(id) = author.get("id").and_then(Value::as_str)
    {
        let key = format!("VisitorReviewAuthor:{id}");
        state.insert(key.clone(), author.take());
        *author = json!({ "__ref": key });
    }
    let Some(id) = review.get("id").and_then(Value::as_str) else { return review };
    let key = format!("VisitorReview:{id}");
    state.insert(key.clone(), review);
    json!({ "__ref": key })
}

fn finish(mut state: Map<String, Value>, root: Map<String, Value>) -> Value {
    state.insert("ROOT_QUERY".to_owned(), Value::Object(root));
    Value::Object(state)
}
