//! A response → the items in it.
//!
//! Two places hold items: the JSON answers a page (or we) asked for, and the first document, which carries an Apollo cache
//! in a script. The cache is flat and its entries point at each other; here it becomes the same shape as an answer, so
//! that what follows can't tell where an item came from.
//!
//! All of it is a pure function of the response's text. An answer in which the list of items is not found is an error and
//! never an empty page: a renamed field must not look like the end of a list.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::identity;
use crate::source::{DocumentRecipe, Found, Items};

/// What one response held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In the site's order.
    pub items: Vec<Value>,
    /// How many the site says there are in all.
    pub total: Option<u64>,
}

/// Why a response could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Not the format it should be: cut, an error page, nothing at all. Asking again may help.
    #[error("expected {expected}, found {found}")]
    Garbage {
        /// What it should have been.
        expected: &'static str,
        /// What is wrong with it.
        found: String,
    },
    /// The site answered that it could not answer.
    #[error("the answer carries an error: {0}")]
    Refused(String),
    /// It is well formed and the items are not where the source file says.
    #[error("expected a list of items at `{path}`, found {found}")]
    Shape {
        /// The pointer of the source file.
        path: String,
        /// What stands there.
        found: String,
    },
}

/// Text → JSON. A lone surrogate, which JavaScript writes and UTF-8 has no room for, stays as its own escape: `\ud83d`.
pub(crate) fn parse_json(bytes: &[u8]) -> Result<Value, Unreadable> {
    let garbage = |found: String| Unreadable::Garbage { expected: "JSON", found };
    if bytes.trim_ascii().is_empty() {
        return Err(garbage("nothing".to_owned()));
    }
    // A byte order mark is no part of JSON, and some servers send one.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(first) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|error| garbage(format!("text that is not UTF-8 from byte {}", error.valid_up_to())))?;
            let repaired = escape_lone_surrogates(text).ok_or_else(|| garbage(first.to_string()))?;
            serde_json::from_str(&repaired).map_err(|error| garbage(error.to_string()))
        }
    }
}

/// `"\ud83d"` → `"\\ud83d"` where no low surrogate follows; nothing when there is none.
fn escape_lone_surrogates(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at..];
        let length = match unit(escape) {
            Some(0xD800..=0xDBFF) if matches!(escape.get(6..).and_then(unit), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                out.push('\\');
                changed = true;
                6
            }
            Some(_) => 6,
            // A two-character escape; the second may be a backslash, which then escapes nothing.
            None => 1 + escape[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&escape[..length]);
        rest = &escape[length..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The UTF-16 unit of a leading `\uXXXX`.
fn unit(text: &str) -> Option<u16> {
    let hex = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(hex, 16).ok().filter(|_| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The items of an answer. A list of answers (a batch) is read element by element; elements of other operations are passed over.
pub(crate) fn in_answer(items: &Items, answer: &Value) -> Result<Page, Unreadable> {
    let answers = match answer {
        Value::Array(answers) => answers.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut page: Option<Page> = None;
    let mut refused = None;
    let mut shape = None;
    for answer in answers {
        match items.path.find(answer) {
            Found::One(Value::Array(found)) => {
                let page = page.get_or_insert_default();
                page.items.extend(found.iter().cloned());
                page.total = total(items, answer).or(page.total);
            }
            found => {
                // A list that is null beside a total of 0 is a list without items.
                if matches!(found, Found::Absent) && total(items, answer) == Some(0) {
                    page.get_or_insert_default().total = Some(0);
                }
                refused = refused.or_else(|| error_of(answer));
                shape = shape.or_else(|| Some(describe(&found)));
            }
        }
    }
    if let Some(page) = page {
        return Ok(page);
    }
    match refused {
        Some(message) => Err(Unreadable::Refused(message)),
        None => Err(Unreadable::Shape {
            path: items.path.to_string(),
            found: shape.unwrap_or_else(|| "an empty batch".to_owned()),
        }),
    }
}

fn total(items: &Items, answer: &Value) -> Option<u64> {
    match items.total.as_ref()?.find(answer) {
        Found::One(Value::Number(number)) => number.as_u64(),
        Found::One(Value::String(text)) => text.replace(',', "").trim().parse().ok(),
        _ => None,
    }
}

/// The first message of a GraphQL answer's `errors`.
fn error_of(answer: &Value) -> Option<String> {
    let error = answer.get("errors")?.as_array()?.first()?;
    let message = error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
    let message = identity::mask(&message).unwrap_or(message);
    Some(excerpt(&message, 200))
}

fn describe(found: &Found<'_>) -> String {
    match found {
        Found::Absent => "nothing".to_owned(),
        Found::Many(_) => "several lists".to_owned(),
        Found::One(value) | Found::Wrong { found: value, .. } => kind(value).to_owned(),
    }
}

/// What a JSON value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The items that a document carries in its Apollo cache.
pub(crate) fn in_document(recipe: &DocumentRecipe, html: &str) -> Result<Page, Unreadable> {
    let state = script_object(html, &recipe.state)?;
    let Value::Object(cache) = parse_json(state.as_bytes())? else {
        return Err(Unreadable::Garbage { expected: "an object", found: "something else".to_owned() });
    };
    let root = cache.get("ROOT_QUERY").and_then(Value::as_object);
    let fields = root.into_iter().flatten().filter(|(name, _)| bare_name(name) == recipe.field);
    let mut page = Page::default();
    let mut listed = false;
    for (_, field) in fields {
        let field = resolve(field, &cache, &mut Vec::new());
        if let Found::One(Value::Array(found)) = recipe.path.find(&field) {
            listed = true;
            page.items.extend(found.iter().filter(|item| !item.is_null()).cloned());
            page.total = field.get("total").and_then(Value::as_u64).or(page.total);
        }
    }
    if !listed {
        let prefix = format!("{}:", recipe.typename);
        let entries = cache.iter().filter(|(name, entry)| {
            name.starts_with(&prefix)
                || entry.get("__typename").and_then(Value::as_str) == Some(recipe.typename.as_str())
        });
        page.items.extend(entries.map(|(name, entry)| resolve(entry, &cache, &mut vec![name.clone()])));
    }
    Ok(page)
}

/// The object literal in `<name> = {…}`, up to its matching brace: script text follows it.
fn script_object<'h>(html: &'h str, name: &str) -> Result<&'h str, Unreadable> {
    let missing = |found: &str| Unreadable::Garbage {
        expected: "a document with its state in a script",
        found: found.to_owned(),
    };
    let mut found = "none";
    for (at, _) in html.match_indices(name) {
        let after = html[at + name.len()..].trim_start();
        let Some(object) = after.strip_prefix('=').map(str::trim_start).filter(|object| object.starts_with('{')) else {
            continue;
        };
        match matching_brace(object) {
            Some(end) => return Ok(&object[..=end]),
            None => found = "one that is cut off",
        }
    }
    Err(missing(found))
}

/// Where the brace closes that opens the text. Braces in strings don't count, nor do escaped quotes.
fn matching_brace(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

/// `media({"size":1})` → `media`
fn bare_name(name: &str) -> &str {
    name.split(['(', ':']).next().unwrap_or(name)
}

/// Puts entries in the place of the references to them. One that is missing, or that would go round in a circle, is null:
/// its text holds an id, and the item's identity rules don't look for ids there.
fn resolve(value: &Value, cache: &Map<String, Value>, above: &mut Vec<String>) -> Value {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("__ref") {
                return match cache.get(name) {
                    Some(entry) if !above.contains(name) && above.len() < 32 => {
                        above.push(name.clone());
                        let resolved = resolve(entry, cache, above);
                        above.pop();
                        resolved
                    }
                    _ => Value::Null,
                };
            }
            let mut resolved = Map::new();
            for (name, member) in members {
                // A plain field wins over one of the same name with arguments.
                let bare = if name.contains('(') { bare_name(name) } else { name };
                if bare == name || !members.contains_key(bare) {
                    resolved.insert(bare.to_owned(), resolve(member, cache, above));
                }
            }
            Value::Object(resolved)
        }
        Value::Array(elements) => elements.iter().map(|element| resolve(element, cache, above)).collect(),
        other => other.clone(),
    }
}

/// The phrase by which a text is known as a block page. Scripts don't count: a page's table of strings may hold any phrase.
pub(crate) fn block_phrase<'p>(phrases: &'p [String], text: &str) -> Option<&'p str> {
    let found = |text: &str| phrases.iter().find(|phrase| text.contains(phrase.as_str())).map(String::as_str);
    found(text)?;
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = find_ignoring_case(rest, "<script") {
        shown.push_str(&rest[..open]);
        let Some(close) = find_ignoring_case(&rest[open..], "</script") else {
            rest = "";
            break;
        };
        rest = &rest[open + close..];
        rest = &rest["</script".len()..];
    }
    shown.push_str(rest);
    found(&shown)
}

fn find_ignoring_case(text: &str, ascii: &str) -> Option<usize> {
    text.as_bytes().windows(ascii.len()).position(|window| window.eq_ignore_ascii_case(ascii.as_bytes()))
}

/// The same for two forms of one item: from a document and from an answer. Names of types and nulls don't count, nor does order.
pub(crate) fn fingerprint(item: &Value) -> [u8; 32] {
    fn feed(value: &Value, hash: &mut Sha256) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> =
                    members.iter().filter(|(name, member)| *name != "__typename" && !member.is_null()).collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                hash.update([b'{']);
                for (name, member) in members {
                    feed(&Value::String(name.clone()), hash);
                    feed(member, hash);
                }
                hash.update([b'}']);
            }
            Value::Array(elements) => {
                hash.update([b'[']);
                for element in elements {
                    feed(element, hash);
                }
                hash.update([b']']);
            }
            // JSON text ends by itself: a quote, or the separator that follows.
            scalar => {
                hash.update(scalar.to_string().as_bytes());
                hash.update([b',']);
            }
        }
    }
    let mut hash = Sha256::new();
    feed(item, &mut hash);
    hash.finalize().into()
}

/// The beginning of a text, for a message.
pub(crate) fn excerpt(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
