use serde_json::{Value, json};

use super::*;
use crate::source::{CacheRecipe, DocumentRecipe, EMBEDDED, Recipe};

fn reviews() -> Source {
    Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap()
}

fn document_recipe() -> DocumentRecipe {
    let Recipe::Browser(recipe) = reviews().recipe().clone() else { panic!("a browser source") };
    recipe.document.unwrap()
}

fn parsed(page: &Page<'_>) -> Vec<Json> {
    let item = |item: &Item<'_>| match item {
        Item::Raw(text) | Item::Embedded(text) => Json::parse(text).unwrap(),
        Item::Joined(item) => item.clone(),
    };
    page.items.iter().map(item).collect()
}

fn ids(page: &Page<'_>) -> Vec<String> {
    parsed(page).iter().map(|item| item.get("id").and_then(Json::as_str).unwrap_or("-").to_owned()).collect()
}

#[test]
fn answers_are_read_in_every_form() {
    let one = json!({"data": {"visitorReviews": {"total": 2, "items": [{"id": "a"}, {"id": "b"}]}}});
    let cases = [
        (one.clone(), vec!["a", "b"], Some(2)),
        (json!([one]), vec!["a", "b"], Some(2)),
        (
            json!([{"data": {"visitorReviewStats": {}}}, one, {"data": {"visitorReviews": {"total": "1,002", "items": [{"id": "c"}]}}}]),
            vec!["a", "b", "c"],
            Some(1002),
        ),
        (json!({"data": {"visitorReviews": {"total": 0, "items": []}}}), vec![], Some(0)),
        (json!({"data": {"visitorReviews": {"total": 0, "items": null}}}), vec![], Some(0)),
        (json!({"data": {"visitorReviews": {"items": [null, "x", {"id": "a"}]}}}), vec!["-", "-", "a"], None),
    ];
    for (answer, expected, total) in cases {
        let (source, text) = (reviews(), answer.to_string());
        let page = in_answer(&source, &text).unwrap();
        assert_eq!((ids(&page), page.total), (expected.iter().map(ToString::to_string).collect(), total), "{answer}");
    }
}

#[test]
fn an_answer_without_its_list_is_never_an_empty_page() {
    let shape =
        |found: &str| Unreadable::Shape { path: "/data/visitorReviews/items".to_owned(), found: found.to_owned() };
    let cases = [
        (json!({"data": {"reviews": {"items": []}}}), shape("nothing")),
        (json!({"data": {"visitorReviews": {"items": {"0": {}}}}}), shape("an object")),
        (json!({"data": {"visitorReviews": {"total": 5, "items": null}}}), shape("nothing")),
        (json!({"data": "x"}), shape("a text")),
        (json!([]), shape("an empty batch")),
        (json!(7), shape("a number")),
        (json!({"data": null, "errors": [{"message": "internal"}]}), Unreadable::Refused("internal".to_owned())),
    ];
    for (answer, expected) in cases {
        assert_eq!(in_answer(&reviews(), &answer.to_string()), Err(expected), "{answer}");
    }
}

#[test]
fn garbage_is_garbage() {
    let deep = "[".repeat(100_000);
    for text in ["", "  \n", "<html>", r#"{"a": "#, r#"{"a": "\ud83"#, &deep] {
        assert!(matches!(in_answer(&reviews(), text), Err(Unreadable::Garbage { .. })), "{}", excerpt(text, 20));
    }
}

#[test]
fn the_answer_itself_may_be_the_list() {
    let mut source = reviews();
    source.items.path = crate::source::Pointer::parse("").unwrap();
    assert_eq!(ids(&in_answer(&source, r#" [{"id": "a"}, {"id": "b"}] "#).unwrap()), ["a", "b"]);
}

/// Six kilobytes of references that mean more than any memory holds, and long texts that are referred to often.
#[test]
fn what_references_expand_to_is_bounded() {
    let refs = |name: &str| vec![json!({"__ref": name}); 10];
    let mut laughs = serde_json::Map::new();
    for level in 0..30 {
        laughs.insert(format!("A:{level}"), json!({"x": refs(&format!("A:{}", level + 1))}));
    }
    laughs.insert("ROOT_QUERY".to_owned(), json!({"visitorReviews": {"items": [{"__ref": "A:0"}]}}));
    let long =
        json!({"A": {"t": "x".repeat(1_000_000)}, "ROOT_QUERY": {"visitorReviews": {"items": vec![refs("A"); 1000]}}});
    let many = json!({"ROOT_QUERY": {"visitorReviews": {"items": vec![0; 600_000]}}});
    for state in [Value::from(laughs), long, many] {
        let html = format!("<script>window.__APOLLO_STATE__ = {state};</script>");
        assert!(matches!(in_document(&document_recipe(), &html), Err(Unreadable::TooMuch { .. })));
    }
}

/// Beginnings that never end: a scan to the end for each of them would take hours.
#[test]
fn many_states_that_never_end_are_given_up() {
    let html = "__APOLLO_STATE__={".repeat(400_000);
    assert!(matches!(in_document(&document_recipe(), &html), Err(Unreadable::Garbage { .. })));
}

#[test]
fn a_document_gives_items_of_the_same_shape_as_an_answer() {
    let html = r#"<html><body><div>__APOLLO_STATE__ = is only text here</div><script>
      window.__LOCALE__ = {"a": "}"};
      window.__APOLLO_STATE__ = {"VisitorReviewAuthor:u1":{"__typename":"VisitorReviewAuthor","id":"u1","nickname":"kim"},
        "VisitorReview:r1":{"__typename":"VisitorReview","id":"r1","body":"brace } and \"quote\" \\","author":{"__ref":"VisitorReviewAuthor:u1"},"media({\"size\":1})":[{"type":"image"}],"self":{"__ref":"VisitorReview:r1"}},
        "VisitorReview:r2":{"__typename":"VisitorReview","id":"r2","author":{"__ref":"VisitorReviewAuthor:gone"}},
        "VisitorReview:other":{"__typename":"VisitorReview","id":"other"},
        "ROOT_QUERY":{"__typename":"Query","visitorReviews({\"input\":{\"businessId\":\"1\"}})":{"total":31,"items":[{"__ref":"VisitorReview:r1"},{"__ref":"VisitorReview:r2"}]},"visitorReviewStats({})":{"items":[{"id":"no"}]}}};
      window.__PLACE_STATE__ = {}; function f() { return "}}}"; }
    </script></body></html>"#;
    let page = in_document(&document_recipe(), html).unwrap();
    assert_eq!(page.total, Some(31));
    assert_eq!(
        parsed(&page),
        [
            json!({"__typename": "VisitorReview", "id": "r1", "body": "brace } and \"quote\" \\", "author": {"__typename": "VisitorReviewAuthor", "id": "u1", "nickname": "kim"}, "media": [{"type": "image"}],
                "self": null}),
            json!({"__typename": "VisitorReview", "id": "r2", "author": null}),
        ]
        .map(Json::from)
    );
}

#[test]
fn without_a_list_in_the_root_query_the_entries_of_the_type_are_taken() {
    let html = r#"<script>window.__APOLLO_STATE__={"VisitorReview:r1":{"id":"r1"},"VisitorReviewAuthor:u1":{"id":"u1"},"x":{"__typename":"VisitorReview","id":"r2"},"ROOT_QUERY":{}}</script>"#;
    let mut found = ids(&in_document(&document_recipe(), html).unwrap());
    found.sort();
    assert_eq!(found, ["r1", "r2"]);
}

#[test]
fn a_document_without_its_state_is_not_an_empty_one() {
    for html in [
        "<html></html>",
        "<script>window.__APOLLO_STATE__ = {\"a\": \"</script>",
        "<script>window.__APOLLO_STATE__ = undefined</script>",
        "<script>window.__APOLLO_STATE__ = {a: 1}</script>",
    ] {
        assert!(matches!(in_document(&document_recipe(), html), Err(Unreadable::Garbage { .. })), "{html}");
    }
}

#[test]
fn a_block_page_is_known_by_what_it_shows() {
    let phrases = vec!["서비스 이용이 제한되었습니다".to_owned()];
    assert!(block_phrase(&phrases, "<div class=\"z9fuG\">서비스 이용이 제한되었습니다.</div>").is_some());
    assert!(block_phrase(&phrases, "<SCRIPT>var t = '서비스 이용이 제한되었습니다';</SCRIPT><p>ok</p>").is_none());
    assert!(block_phrase(&phrases, "<script>x</script><b>서비스 이용이 제한되었습니다</b><script>open").is_some());
    assert!(block_phrase(&phrases, "맛있어요").is_none());
}

#[test]
fn two_forms_of_one_item_have_one_fingerprint() {
    let one = json!({"body": "x", "__typename": "R", "n": {"a": 1, "b": null}, "l": [1, 2]});
    let other = json!({"l": [1, 2], "n": {"__typename": "N", "a": 1}, "body": "x", "reply": null});
    let fingerprint = |value: &Value| fingerprint(&Json::from(value.clone()));
    assert_eq!(fingerprint(&one), fingerprint(&other));
    for different in [
        json!({"body": "y", "n": {"a": 1}, "l": [1, 2]}),
        json!({"body": "x", "n": {"a": 1}, "l": [12]}),
        json!({"body": "x", "n": {"a": "1"}, "l": [1, 2]}),
    ] {
        assert_ne!(fingerprint(&one), fingerprint(&different), "{different}");
    }
}

/// Saved pages are not part of the project; where they lie beside it they are read.
#[test]
fn saved_pages_are_read() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/naver_place_pages");
    let Ok(blocked) = std::fs::read_to_string(folder.join("review_visitor_BLOCKED_20260527.html")) else {
        println!("skipped: no saved pages in {}", folder.display());
        return;
    };
    let phrases = reviews().recipe().blocked().to_vec();
    assert!(block_phrase(&phrases, &blocked).is_some());
    let DocumentRecipe::Cache(cache) = document_recipe() else { panic!("a cache") };
    let recipe = DocumentRecipe::Cache(CacheRecipe { typename: "FsasReview".to_owned(), ..cache });
    for name in ["place-1265317185.html", "place-1716926393-home_test-html-source.html"] {
        let html = std::fs::read_to_string(folder.join(name)).unwrap();
        assert!(block_phrase(&phrases, &html).is_none(), "{name}");
        // A home tab carries no visitor reviews, but blog reviews in the same cache.
        assert_eq!(in_document(&document_recipe(), &html).unwrap().items.len(), 0, "{name}");
        let page = in_document(&recipe, &html).unwrap();
        assert!(!page.items.is_empty(), "{name}");
        assert!(
            parsed(&page).iter().all(|item| item.get("__typename").and_then(Json::as_str) == Some("FsasReview")),
            "{name}"
        );
    }
}
