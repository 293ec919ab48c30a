//! The items that a document carries: in a cache of its page's program (`items/state.rs`), as plain JSON in a script, or as
//! linked data for whoever reads it.
//!
//! What is plain is only cut, as an answer is, so that one item that can't be parsed spoils no other.

use super::script::{scripts, variable};
use super::{Item, Page, Unreadable, count, describe, state};
use crate::json::{Cut, Json, cut};
use crate::source::{DocumentRecipe, FoundText, StatePlace, StateRecipe};

/// How deep linked data is looked for in each other: each level is looked through once more.
const MOST_LEVELS: usize = 16;

/// The items that a document carries.
pub(crate) fn in_document<'h>(recipe: &DocumentRecipe, html: &'h str) -> Result<Page<'h>, Unreadable> {
    match recipe {
        DocumentRecipe::Cache(recipe) => state::in_cache(recipe, html),
        DocumentRecipe::State(recipe) => in_state(recipe, html),
        DocumentRecipe::LinkedData { kind } => in_linked_data(kind, html),
    }
}

fn garbage(expected: &'static str, found: impl Into<String>) -> Unreadable {
    Unreadable::Garbage { expected, found: found.into() }
}

fn in_state<'h>(recipe: &StateRecipe, html: &'h str) -> Result<Page<'h>, Unreadable> {
    const EXPECTED: &str = "a document with its state in a script";
    let text = match &recipe.place {
        StatePlace::Variable(name) => variable(html, name, &['{', '['])?,
        StatePlace::Script(id) => {
            let script = scripts(html).find(|script| script.attribute("id") == Some(id.as_str()));
            script.ok_or_else(|| garbage(EXPECTED, "none"))?.text
        }
    };
    let broken = |why: String| garbage(EXPECTED, format!("one that is no JSON: {why}"));
    let total = match recipe.total.as_ref().map(|total| total.find_text(text)).transpose().map_err(broken)? {
        Some(FoundText::One(total)) => count(total),
        _ => None,
    };
    let found = recipe.path.find_text(text).map_err(broken)?;
    let shape = || Unreadable::Shape { path: recipe.path.to_string(), found: describe(&found) };
    let items = match &found {
        FoundText::One(list) => match cut(list).map_err(broken)? {
            Cut::List(items) => items,
            Cut::Object(_) | Cut::Scalar(_) => return Err(shape()),
        },
        FoundText::Absent | FoundText::Null if total == Some(0) => Vec::new(),
        FoundText::Absent | FoundText::Null | FoundText::Wrong(_) => return Err(shape()),
    };
    Ok(Page { items: items.into_iter().map(Item::Embedded).collect(), total })
}

/// What is of a type, wherever it lies: linked data is a vocabulary and has no shape of a site's own. A document that has
/// linked data and nothing of that type has none.
fn in_linked_data<'h>(kind: &str, html: &'h str) -> Result<Page<'h>, Unreadable> {
    const EXPECTED: &str = "a document with linked data in a script";
    let is_linked_data = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/ld+json")
    };
    let mut page = Page::default();
    let (mut is_there, mut broken) = (false, None);
    for script in scripts(html).filter(|script| script.attribute("type").is_some_and(is_linked_data)) {
        match collect(kind, script.text, 0, &mut page.items) {
            Ok(()) => is_there = true,
            Err(why) => broken = Some(format!("some that is no JSON: {why}")),
        }
    }
    match broken {
        // What is missing may stand in the broken one.
        Some(why) if page.items.is_empty() => Err(garbage(EXPECTED, why)),
        _ if is_there => Ok(page),
        _ => Err(garbage(EXPECTED, "none")),
    }
}

fn collect<'h>(kind: &str, text: &'h str, level: usize, items: &mut Vec<Item<'h>>) -> Result<(), String> {
    if level > MOST_LEVELS {
        return Ok(());
    }
    let inner: Vec<&str> = match cut(text)? {
        Cut::Scalar(_) => return Ok(()),
        Cut::List(elements) => elements,
        Cut::Object(members) => {
            if members.iter().any(|(name, value)| *name == "\"@type\"" && is_of(kind, value)) {
                items.push(Item::Embedded(text.trim()));
                return Ok(());
            }
            members.into_iter().map(|(_, value)| value).collect()
        }
    };
    inner
        .into_iter()
        .filter(|value| value.starts_with(['{', '[']))
        .try_for_each(|value| collect(kind, value, level + 1, items))
}

/// `"Review"`, `["Thing", "Review"]`, `"schema:Review"`, `"https://schema.org/Review"`
fn is_of(kind: &str, value: &str) -> bool {
    let is_one = |value: &Json| value.as_str().and_then(|name| name.rsplit(['/', ':', '#']).next()) == Some(kind);
    match Json::parse(value) {
        Ok(Json::List(kinds)) => kinds.iter().any(is_one),
        Ok(value) => is_one(&value),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Pointer;

    fn plain(place: StatePlace, path: &str, total: Option<&str>) -> DocumentRecipe {
        let pointer = |text: &str| Pointer::parse(text).unwrap();
        DocumentRecipe::State(StateRecipe { place, path: pointer(path), total: total.map(pointer) })
    }

    fn read<'h>(recipe: &DocumentRecipe, html: &'h str) -> Result<(Vec<&'h str>, Option<u64>), String> {
        let page = in_document(recipe, html).map_err(|why| why.to_string())?;
        let raw = page.items.iter().map(|item| match item {
            Item::Embedded(text) => *text,
            other => panic!("{other:?}"),
        });
        Ok((raw.collect(), page.total))
    }

    #[test]
    fn plain_json_is_read_from_a_variable_or_a_script_of_its_own() {
        let variable = |name: &str| StatePlace::Variable(name.to_owned());
        let script = |id: &str| StatePlace::Script(id.to_owned());
        let html = r#"<script>window.__STATE__ = {"list": {"count": "1,002", "items": [{"id": 1}, {"id": NaN}]}}; go();</script>
            <script id="__DATA__" type="application/json">{"props": {"items": [{"id": "<b>"}], "none": null, "n": 0, "text": "x"}}</script>
            <script id=all type=application/json> [{"id": 7}, 8] </script><script id=bad>{"props": </script>"#;
        let none = "expected a document with its state in a script, found none";
        let broken = "expected a document with its state in a script, found one that is no JSON: expected the end of what opens at byte 0, found the end of the text";
        for (place, path, total, expected) in [
            // An item that can't be parsed is one; it spoils no other.
            (
                variable("__STATE__"),
                "/list/items",
                Some("/list/count"),
                Ok((vec![r#"{"id": 1}"#, r#"{"id": NaN}"#], Some(1002))),
            ),
            (script("__DATA__"), "/props/items", None, Ok((vec![r#"{"id": "<b>"}"#], None))),
            (script("__DATA__"), "/props/gone|items", Some("/props/gone"), Ok((vec![r#"{"id": "<b>"}"#], None))),
            (script("all"), "", None, Ok((vec![r#"{"id": 7}"#, "8"], None))),
            (script("__DATA__"), "/props/none", Some("/props/n"), Ok((vec![], Some(0)))),
            (script("__DATA__"), "/props/none", None, Err("expected a list of items at `/props/none`, found nothing")),
            (script("__DATA__"), "/props/gone", None, Err("expected a list of items at `/props/gone`, found nothing")),
            (script("__DATA__"), "/props", None, Err("expected a list of items at `/props`, found an object")),
            (
                script("__DATA__"),
                "/props/text/items",
                None,
                Err("expected a list of items at `/props/text/items`, found a text"),
            ),
            (script("other"), "", None, Err(none)),
            (variable("__DATA__"), "", None, Err(none)),
            (script("bad"), "/props", None, Err(broken)),
        ] {
            let recipe = plain(place, path, total);
            assert_eq!(read(&recipe, html), expected.map_err(str::to_owned), "{recipe:?}");
        }
    }

    #[test]
    fn linked_data_is_found_by_its_type_wherever_it_lies() {
        let of = |kind: &str| DocumentRecipe::LinkedData { kind: kind.to_owned() };
        let html = r#"<script type="application/ld+json">{"@context": "https://schema.org", "@graph": [
              {"@type": "Product", "name": "a", "review": [{"@type": "Review", "id": 1}, {"@type": ["Thing", "schema:Review"], "id": 2}]},
              {"@type": "https://schema.org/Review", "id": 3, "itemReviewed": {"@type": "Review", "id": "inner"}}]}</script>
            <script type='application/LD+JSON; charset=utf-8'>[{"@type": "Review", "id": 4}, {"@type": "Reviewer", "id": 5}]</script>
            <script>{"@type": "Review", "id": "no data"}</script>"#;
        let (found, total) = read(&of("Review"), html).unwrap();
        let ids: Vec<_> = found.iter().map(|item| Json::parse(item).unwrap().get("id").unwrap().to_string()).collect();
        assert_eq!((ids, total), (["1", "2", "3", "4"].map(str::to_owned).to_vec(), None));
        assert_eq!(read(&of("Recipe"), html).unwrap(), (vec![], None));
        let none = "expected a document with linked data in a script, found none";
        assert_eq!(read(&of("Review"), "<script>{}</script>").unwrap_err(), none);
        let cut = r#"<script type="application/ld+json">{"@type": </script>"#;
        assert!(read(&of("Review"), cut).unwrap_err().contains("some that is no JSON"));
        // Levels without end cost no more than text.
        let deep = format!("<script type=application/ld+json>{}1{}</script>", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(read(&of("Review"), &deep).unwrap(), (vec![], None));
    }
}
