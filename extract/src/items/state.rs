//! The items that a document carries in an Apollo cache: `window.<state> = {…}`, an object of entries by name, which refer
//! to each other by `{"__ref": "<name>"}`.
//!
//! A page decides what it refers to, and how often: six kilobytes of references can mean more than any memory holds. So
//! what they expand to is counted, and a document that goes beyond it is refused as a whole.

use std::collections::HashMap;

use super::script::variable;
use super::{Item, Page, Unreadable};
use crate::json::{Json, NoJson, Text};
use crate::source::{CacheRecipe, Found};

/// How many values a cache may hold, and how many its references may expand to.
const MOST_VALUES: usize = 500_000;

/// How deep references may follow each other.
const MOST_REFERENCES: usize = 32;

/// The items that a document's cache lists.
pub(super) fn in_cache(recipe: &CacheRecipe, html: &str) -> Result<Page<'static>, Unreadable> {
    let state = variable(html, &recipe.state, &['{'])?;
    let state = Json::parse_within(state, MOST_VALUES).map_err(|why| match why {
        NoJson::TooMuch(bound) => Unreadable::TooMuch { expected: format!("a document whose state has {bound}") },
        NoJson::Broken(why) => Unreadable::Garbage {
            expected: "a document with its state in a script",
            found: format!("one that is no JSON: {why}"),
        },
    })?;
    let Json::Object(entries) = &state else {
        return Err(Unreadable::Garbage { expected: "an object", found: "something else".to_owned() });
    };
    let cache: HashMap<&str, &Json> = entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
    let mut expansion = Expansion { cache: &cache, above: Vec::new(), values_left: MOST_VALUES };
    let mut page = Page::default();
    let mut listed = false;
    if let Some(Json::Object(root)) = cache.get("ROOT_QUERY").copied() {
        for (_, field) in root.iter().filter(|(name, _)| bare_name(name.as_str()) == recipe.field) {
            let field = expansion.resolve(field)?;
            if let Found::One(Json::List(found)) = recipe.path.find(&field) {
                listed = true;
                page.items.extend(found.iter().filter(|item| !item.is_null()).cloned().map(Item::Joined));
                page.total = total(&field).or(page.total);
            }
        }
    }
    if !listed {
        let prefix = format!("{}:", recipe.typename);
        for (name, entry) in entries {
            let is_one = name.as_str().starts_with(&prefix)
                || entry.get("__typename").and_then(Json::as_str) == Some(recipe.typename.as_str());
            if is_one {
                expansion.above.push(name.as_str());
                page.items.push(Item::Joined(expansion.resolve(entry)?));
                expansion.above.pop();
            }
        }
    }
    Ok(page)
}

fn too_much() -> Unreadable {
    Unreadable::TooMuch { expected: format!("a document whose state has at most {MOST_VALUES} values") }
}

fn total(field: &Json) -> Option<u64> {
    if let Json::Number(number) = field.get("total")? { number.parse().ok() } else { None }
}

/// `media({"size":1})` → `media`
fn bare_name(name: &str) -> &str {
    name.split(['(', ':']).next().unwrap_or(name)
}

/// Puts entries in the place of the references to them.
struct Expansion<'c> {
    cache: &'c HashMap<&'c str, &'c Json>,
    above: Vec<&'c str>,
    values_left: usize,
}

impl<'c> Expansion<'c> {
    /// Long texts count more: they too are copied wherever they are referred to.
    fn pay(&mut self, value: &Json) -> Result<(), Unreadable> {
        let bytes = match value {
            Json::Text(text) => text.as_str().len(),
            Json::Object(members) => members.iter().map(|(name, _)| name.as_str().len()).sum(),
            _ => 0,
        };
        self.values_left = self.values_left.checked_sub(1 + bytes / 64).ok_or_else(too_much)?;
        Ok(())
    }

    /// A reference to what is missing, or that would go round in a circle, is null: its text holds an id, and the item's
    /// identity rules don't look for ids there.
    fn resolve(&mut self, value: &'c Json) -> Result<Json, Unreadable> {
        self.pay(value)?;
        match value {
            Json::Object(members) => {
                if let Some(name) = value.get("__ref").and_then(Json::as_str) {
                    return match self.cache.get(name) {
                        Some(entry) if !self.above.contains(&name) && self.above.len() < MOST_REFERENCES => {
                            self.above.push(name);
                            let resolved = self.resolve(entry);
                            self.above.pop();
                            resolved
                        }
                        _ => Ok(Json::Null),
                    };
                }
                let mut resolved = Vec::with_capacity(members.len());
                for (name, member) in members {
                    // A plain field wins over one of the same name with arguments.
                    let text = name.as_str();
                    let bare = if text.contains('(') { bare_name(text) } else { text };
                    if bare == text {
                        resolved.push((name.clone(), self.resolve(member)?));
                    } else if value.get(bare).is_none() {
                        resolved.push((Text::new(bare), self.resolve(member)?));
                    }
                }
                Ok(Json::Object(resolved))
            }
            Json::List(elements) => {
                elements.iter().map(|element| self.resolve(element)).collect::<Result<_, _>>().map(Json::List)
            }
            other => Ok(other.clone()),
        }
    }
}
