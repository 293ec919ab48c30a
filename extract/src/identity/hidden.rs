//! What is taken out of every text, number and name of a member of an item.

use std::collections::HashSet;

use super::{MOST_NAMES, SHORTEST_ID, SHORTEST_OF_COUNTS, mask};
use crate::json::{Json, Text, whole_digits};
use crate::needle::{Needle, Needles, decoded};
use crate::source::{Mask, Pointer};

/// What stands in the place of a person.
const NAME: &str = "[name]";

/// The names and ids of persons that are looked for in an item.
pub(super) struct Persons {
    needles: Needles,
    /// Those that are looked for where the source counts, if these are not all.
    of_counts: Option<Needles>,
    /// The digits of those that a number may be.
    numbers: HashSet<String>,
}

impl Persons {
    /// Every text is searched for each of them: a site that sends thousands must not keep us busy with them, so of the shortest
    /// only some are looked for.
    pub(super) fn new(names: impl IntoIterator<Item = String>, ids: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = longest(names);
        all.extend(longest(ids));
        let numbers = all.iter().filter_map(|name| whole_digits(name)).filter(|digits| digits.len() >= SHORTEST_ID);
        let numbers = numbers.collect();
        let is_short =
            |name: &&String| name.len() < SHORTEST_OF_COUNTS && name.bytes().all(|byte| byte.is_ascii_digit());
        let of_counts = all.iter().any(|name| is_short(&name));
        let of_counts = of_counts.then(|| needles(all.iter().filter(|name| !is_short(name))));
        Self { needles: needles(all.iter()), of_counts, numbers }
    }

    fn is_nobody(&self) -> bool {
        self.needles.is_empty()
    }

    /// The text with nobody in it, or nothing when there is nobody. Where the source counts, a short number is a count or a year.
    fn hidden_in(&self, text: &str, is_count: bool) -> Option<String> {
        let needles = self.of_counts.as_ref().filter(|_| is_count).unwrap_or(&self.needles);
        needles.replaced(text)
    }

    /// Whether a number of at least so many digits is one of them.
    fn is_one(&self, number: &str, shortest: usize) -> bool {
        !self.numbers.is_empty()
            && whole_digits(number).is_some_and(|digits| digits.len() >= shortest && self.numbers.contains(&digits))
    }

    /// Whether somebody is in what names an item.
    pub(super) fn are_in(&self, id: &Json) -> bool {
        match id {
            Json::Text(text) => self.hidden_in(text.as_str(), false).is_some(),
            Json::Number(number) => self.is_one(number, 0),
            _ => false,
        }
    }
}

/// What to look for: each as it is and without what may be left out.
fn needles<'n>(names: impl Iterator<Item = &'n String>) -> Needles {
    let all = names.flat_map(|name| {
        // What is written with escapes here may stand without them there, and people are called without the sign before a name.
        let plain = decoded(name);
        let bare =
            |name: &str| name.trim_start().strip_prefix(['@', '＠']).filter(|bare| is_word(bare)).map(str::to_owned);
        [Some(name.clone()), bare(name), bare(&plain), Some(plain)].into_iter().flatten()
    });
    Needles::new(all.map(|name| Needle::spelt(&name, NAME)).collect())
}

/// The longest ones first, and only so many.
fn longest(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    names.dedup();
    names.truncate(MOST_NAMES);
    names
}

/// Whether more than a letter is left.
fn is_word(name: &str) -> bool {
    name.chars().nth(1).is_some()
}

/// What is taken out of every text of an item.
pub(super) struct Hidden<'a> {
    pub(super) exempt: &'a [&'a Pointer],
    /// Where the source has numbers and times: short ones are nobody.
    pub(super) counts: &'a [&'a Pointer],
    /// Names of members that are none of persons.
    pub(super) known: &'a HashSet<&'a str>,
    pub(super) persons: &'a Persons,
    pub(super) masks: &'a [Mask],
}

impl Hidden<'_> {
    /// Whether there was anything.
    pub(super) fn mask_all(&self, value: &mut Json, path: &mut Vec<String>) -> bool {
        let mut is_changed = false;
        match value {
            Json::Text(text) => {
                if let Some(masked) = self.masked(text.as_str(), path)
                    && !is_below(self.exempt, path)
                {
                    text.replace(masked);
                    is_changed = true;
                }
            }
            Json::List(elements) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    path.push(index.to_string());
                    is_changed |= self.mask_all(element, path);
                    path.pop();
                }
            }
            Json::Object(members) => {
                let is_exempt = is_below(self.exempt, path);
                for (name, member) in members.iter_mut() {
                    path.push(name.as_str().to_owned());
                    is_changed |= self.mask_all(member, path);
                    path.pop();
                    if let Some(masked) = self.masked_name(name.as_str()).filter(|_| !is_exempt) {
                        name.replace(masked);
                        is_changed = true;
                    }
                }
            }
            Json::Number(number) => {
                if !is_below(self.exempt, path)
                    && let Some(mask) = self.masked_number(number, is_below(self.counts, path))
                {
                    *value = Json::Text(Text::new(mask));
                    is_changed = true;
                }
            }
            Json::Null | Json::Bool(_) => {}
        }
        is_changed
    }

    /// The name of a member, likewise. Most are words that nothing is to be looked for in.
    fn masked_name(&self, name: &str) -> Option<String> {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if (is_word && self.persons.is_nobody() && self.masks.is_empty()) || self.known.contains(name) {
            return None;
        }
        self.masked(name, &[])
    }

    /// What stands for a number that is a name or an id, or what the source has a mask for, as a whole: a part of it is another
    /// number. Where the source counts only a long one is that of a person.
    fn masked_number(&self, number: &str, is_count: bool) -> Option<String> {
        let shortest = if is_count { SHORTEST_OF_COUNTS } else { 0 };
        if self.persons.is_one(number, shortest) {
            return Some(NAME.to_owned());
        }
        let is_whole = |mask: &&Mask| mask.pattern.find(number).is_some_and(|found| found.len() == number.len());
        self.masks.iter().filter(|_| !is_count).find(is_whole).map(|mask| mask.label.clone())
    }

    /// The text with nothing in it that is to be hidden, or nothing when there is none.
    fn masked(&self, text: &str, path: &[String]) -> Option<String> {
        let mut out = self.persons.hidden_in(text, is_below(self.counts, path));
        for Mask { label, pattern } in self.masks {
            let current = out.as_deref().unwrap_or(text);
            if pattern.is_match(current) {
                out = Some(pattern.replace_all(current, regex::NoExpand(label)).into_owned());
            }
        }
        mask(out.as_deref().unwrap_or(text)).or(out)
    }
}

/// Whether a place is one of these, or lies below one.
fn is_below(places: &[&Pointer], path: &[String]) -> bool {
    places.iter().any(|pointer| pointer.covers(path))
}
