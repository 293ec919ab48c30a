//! JSON pointers as source files write them: RFC 6901 with two additions.
//!
//! - a step may name alternatives: `/votedKeywords/0/name|displayName` takes the first that is there and not null,
//!   because sites rename fields and old answers stay in the lake;
//! - a step may be `*`: every element of a list.
//!
//! `~0` stands for `~` and `~1` for `/`, as in the RFC. A member whose own name holds `|` or is `*` can't be named.

use std::fmt;

use crate::json::{Cut, Json, Text, cut, is_null};

/// What takes the place of a value that stands where an object was expected.
const REMOVED: &str = "[removed]";

/// A parsed pointer.
#[derive(Clone, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Every element of a list.
    Each,
    /// The first of these members that is there and not null.
    Member(Vec<String>),
}

/// What a pointer finds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found<'v> {
    /// Nothing, or null.
    Absent,
    /// A value that is not null. Only a pointer without `*` finds one.
    One(&'v Json),
    /// The values in order, those that are null only where `*` stands last: there each has its place in the list. Only a pointer
    /// with `*` finds many.
    Many(Vec<&'v Json>),
    /// On the way stood something that has no members, or no elements.
    Wrong {
        /// `an object` or `a list`.
        expected: &'static str,
        /// What stood there.
        found: &'v Json,
    },
}

/// What a pointer without `*` finds in a text that is not parsed.
#[derive(Debug, PartialEq)]
pub(crate) enum FoundText<'t> {
    /// No such member.
    Absent,
    /// `null`, there or on the way.
    Null,
    /// The value as it was written.
    One(&'t str),
    /// On the way stood something without members.
    Wrong(&'t str),
}

impl Pointer {
    /// Reads a pointer. The error says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { text: String::new(), steps: Vec::new() });
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("expected a JSON pointer that starts with `/`, found `{text}`"));
        };
        let steps = rest.split('/').map(|step| step_of(text, step)).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), steps })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it goes through lists.
    pub fn is_list(&self) -> bool {
        self.steps.contains(&Step::Each)
    }

    /// The name of the member that the pointer goes through first, and its alternatives.
    pub(crate) fn first_names(&self) -> &[String] {
        match self.steps.first() {
            Some(Step::Member(names)) => names,
            _ => &[],
        }
    }

    /// The names of all members that it goes through, with their alternatives.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let of = |step| match step {
            &Step::Each => &[][..],
            Step::Member(names) => names.as_slice(),
        };
        self.steps.iter().flat_map(of).map(String::as_str)
    }

    /// Follows the pointer through `value`.
    pub(crate) fn find<'v>(&self, value: &'v Json) -> Found<'v> {
        let mut at = vec![value];
        let mut many = false;
        for (number, step) in self.steps.iter().enumerate() {
            let is_last = number + 1 == self.steps.len();
            let mut next = Vec::with_capacity(at.len());
            for value in at {
                match step {
                    Step::Each => match value {
                        Json::List(elements) => {
                            next.extend(elements.iter().filter(|element| is_last || !element.is_null()));
                        }
                        found => return Found::Wrong { expected: "a list", found },
                    },
                    Step::Member(names) => match value {
                        Json::Object(_) => next
                            .extend(names.iter().filter_map(|name| value.get(name)).find(|member| !member.is_null())),
                        Json::List(elements) => {
                            next.extend(
                                names
                                    .iter()
                                    .filter_map(|name| elements.get(name.parse::<usize>().ok()?))
                                    .find(|element| !element.is_null()),
                            );
                        }
                        found => return Found::Wrong { expected: "an object", found },
                    },
                }
            }
            // An absent list is no list; an absent member of an element is only one value less.
            if next.is_empty() && !many && *step != Step::Each {
                return Found::Absent;
            }
            many |= *step == Step::Each;
            at = next;
        }
        if many {
            return Found::Many(at);
        }
        match at.first() {
            Some(value) if !value.is_null() => Found::One(value),
            _ => Found::Absent,
        }
    }

    /// Follows a pointer without `*` through a text, of which only what it passes is cut. An error is a text that can't be.
    pub(crate) fn find_text<'t>(&self, text: &'t str) -> Result<FoundText<'t>, String> {
        let mut at = text.trim();
        for step in &self.steps {
            let Step::Member(names) = step else { return Ok(FoundText::Wrong(at)) };
            let found: Vec<&str> = match cut(at)? {
                // The last of two members of one name counts.
                Cut::Object(members) => names
                    .iter()
                    .filter_map(|name| members.iter().rev().find(|(token, _)| is_name(token, name)).map(|(_, at)| *at))
                    .collect(),
                Cut::List(elements) => {
                    names.iter().filter_map(|name| elements.get(name.parse::<usize>().ok()?).copied()).collect()
                }
                Cut::Scalar(_) => return Ok(FoundText::Wrong(at)),
            };
            match found.iter().find(|piece| !is_null(piece)) {
                Some(piece) => at = *piece,
                None if found.is_empty() => return Ok(FoundText::Absent),
                None => return Ok(FoundText::Null),
            }
        }
        Ok(if is_null(at) { FoundText::Null } else { FoundText::One(at) })
    }

    /// Every place the pointer names, all alternatives included, for changing it. Used where missing one would leak.
    pub(crate) fn each_mut(&self, value: &mut Json, change: &mut dyn FnMut(&mut Json)) {
        each_mut(&self.steps, value, change);
    }

    /// Removes every place the pointer names, all alternatives included, and hands over what it was.
    pub(crate) fn remove(&self, value: &mut Json, removed: &mut dyn FnMut(Json)) {
        let Some((last, before)) = self.steps.split_last() else { return };
        each_mut(before, value, &mut |parent| match (last, parent) {
            (Step::Member(names), Json::Object(members)) => {
                let (gone, stays) = std::mem::take(members)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(name, _)| names.iter().any(|known| known == name.as_str()));
                *members = stays;
                for (_, member) in gone {
                    removed(member);
                }
            }
            (Step::Member(names), Json::List(elements)) => {
                for name in names {
                    if let Some(element) = name.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                        removed(std::mem::replace(element, Json::Null));
                    }
                }
            }
            (Step::Each, Json::List(elements)) => std::mem::take(elements).into_iter().for_each(&mut *removed),
            _ => {}
        });
    }

    /// Removes what stands on the way to its places and can't have any: a text or a list where an object is expected. What it holds
    /// may be what the places below it would have held. Another text takes its place, since it is no object still.
    pub(crate) fn remove_misfits(&self, value: &mut Json, removed: &mut dyn FnMut(Json)) {
        remove_misfits(&self.steps, value, removed);
    }

    /// The place of the objects that have what it names as a member, unless that is the whole value.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (last, before) = self.steps.split_last()?;
        let is_member = matches!(last, Step::Member(_)) && !before.is_empty();
        is_member.then(|| Self { text: self.text.clone(), steps: before.to_vec() })
    }

    /// The names of members that it goes through right below the places of another; none if it may not go there.
    pub(crate) fn names_below(&self, other: &Self) -> &[String] {
        match self.steps.get(other.steps.len()) {
            Some(Step::Member(names)) if other.may_hold(self) => names,
            _ => &[],
        }
    }

    /// Whether a place of another may be one of its own, or lie below one.
    pub(crate) fn may_hold(&self, other: &Self) -> bool {
        let may_be = |steps: (&Step, &Step)| match steps {
            (Step::Member(one), Step::Member(two)) => one.iter().any(|name| two.contains(name)),
            (Step::Each, _) | (_, Step::Each) => true,
        };
        self.steps.len() <= other.steps.len() && self.steps.iter().zip(&other.steps).all(may_be)
    }

    /// Whether something is at a place that the pointer names, be it null.
    pub(crate) fn is_in(&self, value: &Json) -> bool {
        is_in(&self.steps, value)
    }

    /// Whether its places lie at those of another, or below them.
    pub(crate) fn lies_below(&self, other: &Self) -> bool {
        self.steps.starts_with(&other.steps)
    }

    /// Whether `path`, the names of members and indexes from the root, is a place this pointer names, or lies below one.
    pub(crate) fn covers(&self, path: &[String]) -> bool {
        path.len() >= self.steps.len()
            && self.steps.iter().zip(path).all(|(step, name)| match step {
                Step::Each => true,
                Step::Member(names) => names.contains(name),
            })
    }
}

fn is_in(steps: &[Step], value: &Json) -> bool {
    let Some((step, rest)) = steps.split_first() else { return true };
    match (step, value) {
        (Step::Each, Json::List(elements)) => elements.iter().any(|element| is_in(rest, element)),
        (Step::Member(names), Json::Object(members)) => {
            members.iter().any(|(name, member)| names.iter().any(|known| known == name.as_str()) && is_in(rest, member))
        }
        (Step::Member(names), Json::List(elements)) => names
            .iter()
            .filter_map(|name| elements.get(name.parse::<usize>().ok()?))
            .any(|element| is_in(rest, element)),
        _ => false,
    }
}

fn each_mut(steps: &[Step], value: &mut Json, change: &mut dyn FnMut(&mut Json)) {
    let Some((step, rest)) = steps.split_first() else { return change(value) };
    match (step, value) {
        (Step::Each, Json::List(elements)) => elements.iter_mut().for_each(|element| each_mut(rest, element, change)),
        (Step::Member(names), Json::Object(members)) => members
            .iter_mut()
            .filter(|(name, _)| names.iter().any(|known| known == name.as_str()))
            .for_each(|(_, member)| each_mut(rest, member, change)),
        (Step::Member(names), Json::List(elements)) => {
            for name in names {
                if let Some(element) = name.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                    each_mut(rest, element, change);
                }
            }
        }
        _ => {}
    }
}

fn remove_misfits(steps: &[Step], value: &mut Json, removed: &mut dyn FnMut(Json)) {
    let Some((step, rest)) = steps.split_first() else { return };
    match (step, value) {
        (_, Json::Null) => {}
        (Step::Each, Json::List(elements)) => {
            for element in elements {
                remove_misfits(rest, element, removed);
            }
        }
        (Step::Member(names), Json::Object(members)) => {
            for (_, member) in members.iter_mut().filter(|(name, _)| names.iter().any(|known| known == name.as_str())) {
                remove_misfits(rest, member, removed);
            }
        }
        (Step::Member(names), Json::List(elements)) if names.iter().any(|name| name.parse::<usize>().is_ok()) => {
            for name in names {
                if let Some(element) = name.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                    remove_misfits(rest, element, removed);
                }
            }
        }
        // Whoever maps it says that it is not what was expected.
        (_, other) => {
            let misfit = std::mem::replace(other, Json::Text(Text::new(REMOVED)));
            if misfit.as_str() != Some(REMOVED) {
                removed(misfit);
            }
        }
    }
}

/// Whether a token is this name, also where it was written with escapes.
fn is_name(token: &str, name: &str) -> bool {
    let inner = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
    inner == name || (inner.contains('\\') && Json::parse(token).is_ok_and(|text| text.as_str() == Some(name)))
}

fn step_of(pointer: &str, step: &str) -> Result<Step, String> {
    if step == "*" {
        return Ok(Step::Each);
    }
    step.split('|')
        .map(|name| {
            if name.is_empty() {
                Err(format!("expected a name between `/` and `|` in the JSON pointer `{pointer}`, found nothing"))
            } else {
                unescape(pointer, name)
            }
        })
        .collect::<Result<_, _>>()
        .map(Step::Member)
}

fn unescape(pointer: &str, name: &str) -> Result<String, String> {
    let mut parts = name.split('~');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => {
                return Err(format!(
                    "expected `~0` or `~1` after `~` in the JSON pointer `{pointer}`, found `~{part}`"
                ));
            }
        };
        text.push(escaped);
        text.push_str(rest);
    }
    Ok(text)
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({})", self.text)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_finds() {
        let value = Json::from(json!({
            "a": {"b": 1, "n": null, "x/y": 2, "t~u": 3},
            "kw": [{"name": "맛"}, {"displayName": "친절"}, {"name": null, "displayName": "청결"}, null, {}],
            "nest": [{"k": [{"n": "x"}, {"n": "y"}]}, {}, {"k": []}],
            "empty": [],
            "s": "text",
        }));
        let texts = |values: &[&str]| format!("Many({values:?})");
        let cases = [
            ("/a/b", "One(1)".to_owned()),
            ("/a/n", "Absent".to_owned()),
            ("/a/z", "Absent".to_owned()),
            ("/z/b", "Absent".to_owned()),
            ("/a/z|b", "One(1)".to_owned()),
            ("/a/n|b", "One(1)".to_owned()),
            ("/a/x~1y", "One(2)".to_owned()),
            ("/a/t~0u", "One(3)".to_owned()),
            ("/kw/0/name", "One(맛)".to_owned()),
            ("/kw/9/name", "Absent".to_owned()),
            ("/kw/*/name|displayName", texts(&["맛", "친절", "청결"])),
            ("/nest/*/k", "Many([[2], [0]])".to_owned()),
            ("/empty/*/name", texts(&[])),
            ("/none/*/name", "Absent".to_owned()),
            ("/s/b", "Wrong(an object)".to_owned()),
            ("/s/*", "Wrong(a list)".to_owned()),
            ("/a/*", "Wrong(a list)".to_owned()),
        ];
        for (pointer, expected) in cases {
            let found = match Pointer::parse(pointer).unwrap().find(&value) {
                Found::Absent => "Absent".to_owned(),
                Found::One(Json::Text(text)) => format!("One({})", text.as_str()),
                Found::One(value) => format!("One({value})"),
                Found::Many(values) if values.iter().all(|value| value.as_str().is_some()) => {
                    texts(&values.iter().filter_map(|value| value.as_str()).collect::<Vec<_>>())
                }
                Found::Many(values) => format!(
                    "Many({:?})",
                    values
                        .iter()
                        .map(|value| if let Json::List(elements) = value { [elements.len()] } else { [99] })
                        .collect::<Vec<_>>()
                ),
                Found::Wrong { expected, .. } => format!("Wrong({expected})"),
            };
            assert_eq!(found, expected, "{pointer}");
        }
    }

    #[test]
    fn a_bad_pointer_says_what_was_expected() {
        for (pointer, part) in [
            ("id", "starts with `/`"),
            ("/a~2b", "`~0` or `~1`"),
            ("/a||b", "found nothing"),
            ("/a//b", "found nothing"),
        ] {
            let message = Pointer::parse(pointer).unwrap_err();
            assert!(message.contains(part), "{pointer}: {message}");
        }
    }

    #[test]
    fn what_is_removed_is_removed_in_every_alternative() {
        let text = r#"{"author": {"id": 1, "objectId": 2, "x": 3, "id": 4}, "list": [{"p": 1, "q": 2}, {"p": 3}]}"#;
        let mut value = Json::parse(text).unwrap();
        let mut removed = Vec::new();
        for pointer in ["/author/id|objectId", "/list/*/p", "/absent/deep"] {
            Pointer::parse(pointer).unwrap().remove(&mut value, &mut |gone| removed.push(gone.to_string()));
        }
        assert_eq!(value, json!({"author": {"x": 3}, "list": [{"q": 2}, {}]}).into());
        assert_eq!(removed, ["1", "2", "4", "1", "3"]);
    }

    #[test]
    fn a_text_is_followed_as_its_value_is() {
        let text = r#"{"a": {"b": 1, "b": [2], "n": null, "e\u0073c": 3}, "l": [{"x": NaN}, null], "s": "text"}"#;
        let cases = [
            ("", FoundText::One(text)),
            ("/a/b", FoundText::One("[2]")),
            ("/a/n", FoundText::Null),
            ("/a/z", FoundText::Absent),
            ("/z/b", FoundText::Absent),
            ("/a/n|b", FoundText::One("[2]")),
            ("/a/esc", FoundText::One("3")),
            ("/l/0/x", FoundText::One("NaN")),
            ("/l/1", FoundText::Null),
            ("/l/9", FoundText::Absent),
            ("/s/b", FoundText::Wrong("\"text\"")),
        ];
        for (pointer, expected) in cases {
            assert_eq!(Pointer::parse(pointer).unwrap().find_text(text).unwrap(), expected, "{pointer}");
        }
        assert!(Pointer::parse("/a").unwrap().find_text("{\"a\": [").is_err());
    }
}
