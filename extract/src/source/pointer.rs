//! JSON pointers as source files write them: RFC 6901 with two additions.
//!
//! - a step may name alternatives: `/votedKeywords/0/name|displayName` takes the first that is there and not null,
//!   because sites rename fields and old answers stay in the lake;
//! - a step may be `*`: every element of a list.
//!
//! `~0` stands for `~` and `~1` for `/`, as in the RFC. A member whose own name holds `|` or is `*` can't be named.

use std::fmt;

use serde_json::Value;

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
pub enum Found<'v> {
    /// Nothing, or null.
    Absent,
    /// A value that is not null. Only a pointer without `*` finds one.
    One(&'v Value),
    /// The values that are not null, in order. Only a pointer with `*` finds many.
    Many(Vec<&'v Value>),
    /// On the way stood something that has no members, or no elements.
    Wrong {
        /// `an object` or `a list`.
        expected: &'static str,
        /// What stood there.
        found: &'v Value,
    },
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

    /// Follows the pointer through `value`.
    pub fn find<'v>(&self, value: &'v Value) -> Found<'v> {
        let mut at = vec![value];
        let mut many = false;
        for step in &self.steps {
            let mut next = Vec::with_capacity(at.len());
            for value in at {
                match step {
                    Step::Each => match value {
                        Value::Array(elements) => next.extend(elements.iter().filter(|element| !element.is_null())),
                        found => return Found::Wrong { expected: "a list", found },
                    },
                    Step::Member(names) => match value {
                        Value::Object(members) => next
                            .extend(names.iter().filter_map(|name| members.get(name)).find(|member| !member.is_null())),
                        Value::Array(elements) => {
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

    /// Every place the pointer names, all alternatives included, for changing it. Used where missing one would leak.
    pub(crate) fn each_mut(&self, value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
        each_mut(&self.steps, value, change);
    }

    /// Removes every place the pointer names, all alternatives included.
    pub(crate) fn remove(&self, value: &mut Value) {
        let Some((last, before)) = self.steps.split_last() else { return };
        each_mut(before, value, &mut |parent| match (last, parent) {
            (Step::Member(names), Value::Object(members)) => members.retain(|name, _| !names.contains(name)),
            (Step::Member(names), Value::Array(elements)) => {
                for name in names {
                    if let Some(element) = name.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                        *element = Value::Null;
                    }
                }
            }
            (Step::Each, Value::Array(elements)) => elements.clear(),
            _ => {}
        });
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

fn each_mut(steps: &[Step], value: &mut Value, change: &mut dyn FnMut(&mut Value)) {
    let Some((step, rest)) = steps.split_first() else { return change(value) };
    match (step, value) {
        (Step::Each, Value::Array(elements)) => elements.iter_mut().for_each(|element| each_mut(rest, element, change)),
        (Step::Member(names), Value::Object(members)) => {
            for name in names {
                if let Some(member) = members.get_mut(name) {
                    each_mut(rest, member, change);
                }
            }
        }
        (Step::Member(names), Value::Array(elements)) => {
            for name in names {
                if let Some(element) = name.parse::<usize>().ok().and_then(|index| elements.get_mut(index)) {
                    each_mut(rest, element, change);
                }
            }
        }
        _ => {}
    }
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
        let value = json!({
            "a": {"b": 1, "n": null, "x/y": 2, "t~u": 3},
            "kw": [{"name": "맛"}, {"displayName": "친절"}, {"name": null, "displayName": "청결"}, null, {}],
            "nest": [{"k": [{"n": "x"}, {"n": "y"}]}, {}, {"k": []}],
            "empty": [],
            "s": "text",
        });
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
                Found::One(Value::String(text)) => format!("One({text})"),
                Found::One(value) => format!("One({value})"),
                Found::Many(values) if values.iter().all(|value| value.is_string()) => {
                    texts(&values.iter().filter_map(|value| value.as_str()).collect::<Vec<_>>())
                }
                Found::Many(values) => format!(
                    "Many({:?})",
                    values.iter().map(|value| [value.as_array().unwrap().len()]).collect::<Vec<_>>()
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
        let mut value = json!({"author": {"id": 1, "objectId": 2, "x": 3}, "list": [{"p": 1, "q": 2}, {"p": 3}]});
        Pointer::parse("/author/id|objectId").unwrap().remove(&mut value);
        Pointer::parse("/list/*/p").unwrap().remove(&mut value);
        Pointer::parse("/absent/deep").unwrap().remove(&mut value);
        assert_eq!(value, json!({"author": {"x": 3}, "list": [{"q": 2}, {}]}));
    }
}
