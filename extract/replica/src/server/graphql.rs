//! `POST /graphql`: an object, or an array of them (Apollo's batch); the answer mirrors the form.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::Shared;
use super::send::{Answer, JSON, plain, send, whole};
use crate::faults::{self, Call, Kind};
use crate::stats::count;
use crate::switches::{Paging, Switches};

/// The site sends at most so many reviews a page.
const MAX_SIZE: u64 = 100;

/// One operation of a request.
struct Operation {
    name: String,
    variables: Value,
    call: Call,
}

impl Operation {
    fn read(value: &Value) -> Option<Self> {
        let variables = value.get("variables").cloned().unwrap_or(Value::Null);
        let query = value.get("query").and_then(Value::as_str).unwrap_or_default();
        let named = value.get("operationName").and_then(Value::as_str);
        let name = named.or_else(|| first_name(query))?.to_owned();
        let input = input(&variables);
        let text = |field: &str| input.get(field).map(as_text).unwrap_or_default();
        let call = match name.as_str() {
            "getVisitorReviews" => {
                Call { kind: Kind::Reviews, key: text("businessId"), page: number(input, "page", 1).max(1) }
            }
            "getRestaurants" => {
                Call { kind: Kind::Restaurants, key: text("query"), page: number(input, "start", 1).max(1) }
            }
            "getVisitorReviewStats" => Call {
                kind: Kind::Statistics,
                key: as_text(variables.get("id").or_else(|| input.get("businessId")).unwrap_or(&Value::Null)),
                page: 0,
            },
            _ => Call { kind: Kind::Other, key: name.clone(), page: 0 },
        };
        Some(Self { name, variables, call })
    }
}

/// `getX` of `query getX($input: …)`.
fn first_name(query: &str) -> Option<&str> {
    let rest = query.trim_start().strip_prefix("query")?.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    (end > 0).then(|| &rest[..end])
}

/// `variables.input`, `variables.restaurantListInput`, or the variables themselves.
fn input(variables: &Value) -> &Value {
    variables.get("input").or_else(|| variables.get("restaurantListInput")).unwrap_or(variables)
}

fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| if value.is_null() { String::new() } else { value.to_string() }, str::to_owned)
}

/// A number, also where it comes as a text.
fn number(input: &Value, field: &str, default: u64) -> u64 {
    let value = input.get(field);
    value.and_then(Value::as_u64).or_else(|| value.and_then(Value::as_str)?.parse().ok()).unwrap_or(default)
}

pub(super) async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let asked: Option<Value> = serde_json::from_slice(&body).ok();
    let batch = asked.as_ref().is_some_and(Value::is_array);
    let values = match asked {
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
        None => Vec::new(),
    };
    let operations: Option<Vec<Operation>> = values.iter().map(Operation::read).collect();
    let Some((first, operations)) = operations.as_deref().and_then(|all| Some((all.first()?, all))) else {
        let mut state = shared.lock();
        state.stats.requests += 1;
        state.stats.graphql += 1;
        state.stats.unknown += 1;
        return whole(StatusCode::BAD_REQUEST, plain("expected a GraphQL operation or an array of them"));
    };
    let admission = shared.admit(&first.call, |stats| {
        stats.graphql += 1;
        for operation in operations {
            count(&mut stats.operations, operation.name.clone());
            let key = (operation.call.key.clone(), operation.call.page);
            match operation.call.kind {
                Kind::Reviews => count(&mut stats.review_calls, key),
                Kind::Restaurants => count(&mut stats.list_calls, key),
                _ => {}
            }
        }
    });
    let switches = admission.switches.clone();
    let first_attempt = admission.attempt;
    send(admission, || {
        let mut answers: Vec<Value> = Vec::with_capacity(operations.len());
        for (n, operation) in operations.iter().enumerate() {
            let attempt = if n == 0 { first_attempt } else { shared.lock().attempt(&operation.call) };
            answers.push(element(&shared, &switches, operation, attempt));
        }
        let whole = if batch { Value::Array(answers) } else { answers.pop().unwrap_or(Value::Null) };
        Answer { content_type: JSON, body: whole.to_string() }
    })
    .await
}

/// The answer to one operation.
fn element(shared: &Shared, switches: &Switches, operation: &Operation, attempt: u32) -> Value {
    let field = match operation.call.kind {
        Kind::Reviews => "visitorReviews",
        Kind::Restaurants => "restaurants",
        Kind::Statistics => "visitorReviewStats",
        _ => {
            shared.lock().stats.unknown += 1;
            return json!({ "errors": [{ "message": format!("unknown operation {}", operation.name), "extensions": { "code": "GRAPHQL_VALIDATION_FAILED" } }] });
        }
    };
    if faults::errors_instead(shared.world.seed, switches, &operation.call, attempt) {
        shared.lock().stats.partial_errors += 1;
        return json!({ "errors": [{ "message": "upstream request timed out", "path": [field], "extensions": { "code": "INTERNAL_SERVER_ERROR" } }], "data": { field: Value::Null } });
    }
    let input = input(&operation.variables);
    let data = match operation.call.kind {
        Kind::Restaurants => restaurants(shared, switches, &operation.call, number(input, "display", 50).clamp(1, 100)),
        kind => match shared.world.find(&operation.call.key).filter(|_| !switches.empty) {
            None => Value::Null,
            Some(index) if kind == Kind::Statistics => statistics(shared, index),
            Some(index) => {
                let size = number(input, "size", number(input, "display", 10)).clamp(1, MAX_SIZE);
                let after = input.get("after").and_then(Value::as_str).filter(|_| switches.paging == Paging::Cursor);
                let page = review_page(shared, switches, index, operation.call.page, size, after);
                shared.answered(index);
                page
            }
        },
    };
    json!({ "data": { field: data } })
}

/// One page of reviews, newest first.
fn review_page(shared: &Shared, switches: &Switches, index: usize, page: u64, size: u64, after: Option<&str>) -> Value {
    let (total, items) = shared.reviews(switches, index, page, size, after);
    json!({
        "__typename": "VisitorReviewsResult",
        "total": total,
        "items": items,
        "starDistribution": Value::Null,
        "hideProductSelectBox": true,
        "showRecommendationSort": true,
        "itemReviewStats": Value::Null,
        "reactionTypes": Value::Null,
    })
}

impl Shared {
    /// What the site would call the total, and the reviews of one page as it sends them.
    pub(super) fn reviews(
        &self,
        switches: &Switches,
        index: usize,
        page: u64,
        size: u64,
        after: Option<&str>,
    ) -> (u64, Vec<Value>) {
        let place = &self.world.places[index];
        let there = place.reviews + self.lock().added[index];
        // A cursor names the last review that was seen: the next are those below its number.
        let seen = after.and_then(|cursor| u64::from_str_radix(cursor.split('.').next()?, 16).ok());
        let top =
            seen.map_or_else(|| there.saturating_sub((page - 1).saturating_mul(size)), |number| number.min(there));
        let (mut spoilt, mut drifted) = (0, 0);
        let items: Vec<Value> = (top.saturating_sub(size)..top)
            .rev()
            .map(|number| {
                let old = self.world.drifted(index, number, switches.drift);
                let mut item = self.world.review(index, number).to_json(place, self.world.today, old);
                drifted += u64::from(old);
                if let (Some(how), Some(fields)) =
                    (self.world.spoilt(index, number, switches.spoilt), item.as_object_mut())
                {
                    how.apply(fields);
                    spoilt += 1;
                }
                item
            })
            .collect();
        let mut state = self.lock();
        state.stats.reviews_sent += items.len() as u64;
        state.stats.spoilt_sent += spoilt;
        state.stats.drifted_sent += drifted;
        (there + switches.inflated_total, items)
    }

    /// The places a search finds, as the list sends them: from `start` (1 is the first), and how many there are.
    pub(super) fn restaurants(
        &self,
        switches: &Switches,
        query: &str,
        start: u64,
        display: u64,
    ) -> (usize, Vec<Value>) {
        if switches.empty {
            return (0, Vec::new());
        }
        let added = self.lock().added.clone();
        let found: Vec<usize> =
            (0..self.world.places.len()).filter(|index| self.world.places[*index].matches(query)).collect();
        let end =
            switches.list_cap.map_or(found.len(), |cap| usize::try_from(cap).unwrap_or(usize::MAX).min(found.len()));
        let from = usize::try_from(start.saturating_sub(1)).unwrap_or(usize::MAX).min(end);
        let to = from.saturating_add(usize::try_from(display).unwrap_or(50)).min(end);
        let item = |index: &usize| {
            let place = &self.world.places[*index];
            place.to_list_item(place.reviews + added[*index])
        };
        (found.len(), found[from..to].iter().map(item).collect())
    }
}

fn restaurants(shared: &Shared, switches: &Switches, call: &Call, display: u64) -> Value {
    let (total, items) = shared.restaurants(switches, &call.key, call.page, display);
    json!({
        "__typename": "RestaurantListResult",
        "total": total,
        "items": items,
        "restaurantCategory": "restaurant",
        "queryString": call.key,
        "siteSort": "relativity",
        "location": { "sasX": "126.9784", "sasY": "37.5666" },
        "selectedFilter": {},
    })
}

/// Counts over all reviews of a place, made on demand.
fn statistics(shared: &Shared, index: usize) -> Value {
    let place = &shared.world.places[index];
    let total = place.reviews + shared.lock().added[index];
    let mut details: Vec<(&str, &str, u64)> = Vec::new();
    let (mut votes, mut voters, mut pictured) = (0_u64, 0_u64, 0_u64);
    for number in 0..total {
        let review = shared.world.review(index, number);
        votes += review.keywords.len() as u64;
        voters += u64::from(!review.keywords.is_empty());
        pictured += u64::from(review.pictures > 0);
        for (code, name) in review.keywords {
            match details.iter_mut().find(|(known, _, _)| *known == code) {
                Some((_, _, count)) => *count += 1,
                None => details.push((code, name, 1)),
            }
        }
    }
    details.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));
    let details: Vec<Value> = details.iter().map(|(code, name, count)| json!({ "category": "food", "code": code, "iconCode": code, "displayName": name, "count": count, "previousRank": Value::Null })).collect();
    json!({
        "__typename": "VisitorReviewStatsResult",
        "id": place.id,
        "name": place.name,
        "review": { "avgRating": 0, "totalCount": total, "scores": [], "starDistribution": Value::Null, "imageReviewCount": pictured, "authorCount": 0 },
        "analysis": { "themes": [{ "code": "taste", "label": "맛", "count": total / 2 }], "menus": place.menus.iter().map(|menu| json!({ "label": menu, "count": total / 9 })).collect::<Vec<_>>(),
                      "votedKeyword": { "totalCount": votes, "reviewCount": voters, "userCount": voters, "details": details } },
        "visitorReviewsTotal": total,
        "ratingReviewsTotal": total / 30,
    })
}
