//! A response → the items in it.
//!
//! Two places hold items: the JSON answers a page (or we) asked for, and the documents of a page, which may carry some in a
//! script (`items/document.rs`). An Apollo cache is flat and its entries point at each other; in `items/state.rs` it becomes
//! the same shape as an answer, so that what follows can't tell where an item came from.
//!
//! All of it is a pure function of the response's text. An answer in which the list of items is not found is an error and
//! never an empty page: a renamed field must not look like the end of a list. An item is handed over as it was written: it
//! is parsed one by one later, so that one that can't be spoils no other.

use catalog::PartsHash;

use crate::identity;
use crate::json::{Cut, Json, cut};
use crate::source::{FoundText, From, Source};

mod document;
mod script;
mod state;

pub(crate) use document::in_document;

/// What one response held.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Page<'t> {
    /// In the site's order.
    pub(crate) items: Vec<Item<'t>>,
    /// How many the site says there are in all.
    pub(crate) total: Option<u64>,
}

/// One item, not looked at yet.
#[derive(Debug, PartialEq)]
pub(crate) enum Item<'t> {
    /// As it was written in an answer.
    Raw(&'t str),
    /// As it was written in a document, which may be another form than that of the answers.
    Embedded(&'t str),
    /// Put together from the entries of a document's cache.
    Joined(Json),
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
    /// It is more than is taken. Asking again will not make it less.
    #[error("expected {expected}, found more")]
    TooMuch {
        /// What is taken at most.
        expected: String,
    },
    /// It is well formed and the items are not where the source file says.
    #[error("expected a list of items at `{path}`, found {found}")]
    Shape {
        /// The pointer of the source file.
        path: String,
        /// What stands there.
        found: String,
    },
}

/// The items of an answer. A list of answers (a batch) is read element by element; elements of other operations are passed over.
pub(crate) fn in_answer<'t>(source: &Source, text: &'t str) -> Result<Page<'t>, Unreadable> {
    let garbage = |why: String| Unreadable::Garbage { expected: "JSON", found: format!("something else: {why}") };
    let text = text.trim();
    if text.is_empty() {
        return Err(Unreadable::Garbage { expected: "JSON", found: "nothing".to_owned() });
    }
    let answers = match cut(text).map_err(garbage)? {
        Cut::List(answers) => answers,
        Cut::Object(_) => vec![text],
        Cut::Scalar(_) => {
            Json::parse(text).map_err(garbage)?;
            vec![text]
        }
    };
    let mut page: Option<Page<'t>> = None;
    let mut refused = None;
    let mut shape = None;
    // The root itself may be the list.
    let answers = if source.items().path.as_str().is_empty() { vec![text] } else { answers };
    for answer in answers {
        let found = source.items().path.find_text(answer).map_err(garbage)?;
        if let Some(items) = listed(source, answer, &found).map_err(garbage)? {
            let page = page.get_or_insert_default();
            page.items.extend(items.into_iter().map(Item::Raw));
            page.total = total(source, answer).or(page.total);
        } else {
            refused = refused.or_else(|| error_of(answer).map(|message| source.secrets().redact(&message)));
            shape = shape.or_else(|| Some(describe(&found)));
        }
    }
    match (page, refused) {
        (Some(page), _) => Ok(page),
        (None, Some(message)) => Err(Unreadable::Refused(message)),
        (None, None) => Err(Unreadable::Shape {
            path: source.items().path.to_string(),
            found: shape.unwrap_or_else(|| "an empty batch".to_owned()),
        }),
    }
}

/// The items that one answer lists, if what was found is a list. Services that turn XML into JSON write a list of one as the
/// one, and a list of none as an empty text.
fn listed<'t>(source: &Source, answer: &str, found: &FoundText<'t>) -> Result<Option<Vec<&'t str>>, String> {
    let total = || total(source, answer);
    Ok(match found {
        FoundText::One(list) => match cut(list)? {
            Cut::List(items) => Some(items),
            Cut::Object(_) if is_item(source, list) => Some(vec![list]),
            Cut::Scalar("\"\"") if total().unwrap_or(0) == 0 => Some(Vec::new()),
            Cut::Object(_) | Cut::Scalar(_) => None,
        },
        FoundText::Wrong("\"\"") if total().unwrap_or(0) == 0 => Some(Vec::new()),
        // A list that is null beside a total of 0 is a list without items; without any total it is none as well, unless
        // the answer says what went wrong.
        FoundText::Null => {
            let none = match source.items().total {
                Some(_) => total() == Some(0),
                None => error_of(answer).is_none(),
            };
            none.then(Vec::new)
        }
        FoundText::Absent => (total() == Some(0)).then(Vec::new),
        FoundText::Wrong(_) => None,
    })
}

/// Whether an object is an item and not the list's wrapping: it has what names an item.
fn is_item(source: &Source, text: &str) -> bool {
    let key = source.fields().iter().find(|field| field.column == source.items().key);
    key.is_some_and(|field| match &field.from {
        From::Item(pointer) => matches!(pointer.find_text(text), Ok(FoundText::One(_))),
        From::Key => false,
    })
}

fn total(source: &Source, answer: &str) -> Option<u64> {
    match source.items().total.as_ref()?.find_text(answer) {
        Ok(FoundText::One(text)) => count(text),
        _ => None,
    }
}

/// `12`, `"12"`, `"1,002"`
fn count(text: &str) -> Option<u64> {
    text.trim_matches('"').replace(',', "").trim().parse().ok()
}

/// The first message of a GraphQL answer's `errors`.
fn error_of(answer: &str) -> Option<String> {
    let Ok(Cut::Object(members)) = cut(answer) else { return None };
    let (_, errors) = members.into_iter().find(|(name, _)| *name == "\"errors\"")?;
    let Ok(Cut::List(errors)) = cut(errors) else { return None };
    let first = errors.first()?;
    let message = Json::parse(first)
        .ok()
        .and_then(|error| error.get("message").and_then(Json::as_str).map(str::to_owned))
        .unwrap_or_else(|| (*first).to_owned());
    let message = identity::mask(&message).unwrap_or(message);
    Some(excerpt(&message, 200))
}

fn describe(found: &FoundText<'_>) -> String {
    match found {
        FoundText::Absent | FoundText::Null => "nothing".to_owned(),
        FoundText::One(text) | FoundText::Wrong(text) => match text.as_bytes().first() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b'"') => "a text",
            Some(b't' | b'f') => "a boolean",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => "something else",
        }
        .to_owned(),
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
pub(crate) fn fingerprint(item: &Json) -> [u8; 32] {
    fn feed(value: &Json, hash: &mut PartsHash) {
        match value {
            Json::Object(members) => {
                let mut members: Vec<_> = members
                    .iter()
                    .filter(|(name, member)| name.as_str() != "__typename" && !member.is_null())
                    .map(|(name, member)| (name.as_str(), member))
                    .collect();
                members.sort_by_key(|(name, _)| *name);
                hash.part("{");
                for (name, member) in members {
                    text(name, hash);
                    feed(member, hash);
                }
                hash.part("}");
            }
            Json::List(elements) => {
                hash.part("[");
                for element in elements {
                    feed(element, hash);
                }
                hash.part("]");
            }
            Json::Text(it) => text(it.as_str(), hash),
            scalar => hash.part(scalar.to_string()),
        }
    }
    // Told from what else is written like it: a number, the end of an object.
    fn text(text: &str, hash: &mut PartsHash) {
        hash.part("\"");
        hash.part(text);
    }
    let mut hash = PartsHash::new();
    feed(item, &mut hash);
    hash.finish()
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
