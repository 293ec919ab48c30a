//! Reading a TOML tree by hand: every value is asked for by name, and what nobody asked for is a mistake.
//!
//! A [`Section`] remembers which keys were asked for. When it is finished, each key that is left gets a diagnostic at its
//! own line and column with the nearest name that would have been read. Mistakes are collected, never returned early, so
//! that one look at the list is enough to repair a file.

use std::ops::Range;

use catalog::{Diagnostic, without_user};
use toml::de::{DeTable, DeValue};

/// The file under way and the mistakes found so far.
pub(super) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    problems: Vec<(usize, Diagnostic)>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, problems: Vec::new() }
    }

    /// Notes a mistake at a place of the file.
    pub(super) fn problem(&mut self, at: &Range<usize>, message: impl Into<String>, hint: Option<String>) {
        let mut start = at.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        self.problems.push((
            start,
            Diagnostic {
                file: self.file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
                message: without_user(&message.into()),
                hint: hint.map(|hint| without_user(&hint)),
            },
        ));
    }

    /// The mistakes in the order of the file, if there are any.
    pub(super) fn finish(mut self) -> Result<(), Vec<Diagnostic>> {
        if self.problems.is_empty() {
            return Ok(());
        }
        self.problems.sort_by_key(|(start, _)| *start);
        Err(self.problems.into_iter().map(|(_, problem)| problem).collect())
    }
}

/// A value and where it stands.
pub(super) type At<T> = (T, Range<usize>);

/// One table of the file.
pub(super) struct Section<'t> {
    /// `[browser.more]`, or `the file`.
    name: String,
    table: Option<&'t DeTable<'t>>,
    at: Range<usize>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self { name: "the file".to_owned(), table: Some(table), at: 0..0, asked: Vec::new() }
    }

    /// A table that was already found.
    pub(super) fn of(name: String, table: &'t DeTable<'t>, at: Range<usize>) -> Self {
        Self { name, table: Some(table), at, asked: Vec::new() }
    }

    pub(super) fn at(&self) -> &Range<usize> {
        &self.at
    }

    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Asks for a value of any type.
    pub(super) fn value(&mut self, key: &'static str) -> Option<At<&'t DeValue<'t>>> {
        self.asked.push(key);
        self.table?.get(key).map(|value| (value.get_ref(), value.span()))
    }

    /// Asks for a table. An absent one reads as an empty one; the caller asks [`Section::is_there`].
    pub(super) fn section(&mut self, r: &mut Reader<'_>, key: &'static str, name: &str) -> Section<'t> {
        let mut section = Section { name: format!("[{name}]"), table: None, at: self.at.clone(), asked: Vec::new() };
        if let Some((value, at)) = self.value(key) {
            match value {
                DeValue::Table(table) => section.table = Some(table),
                other => wrong(r, &at, key, "a table", other),
            }
            section.at = at;
        }
        section
    }

    pub(super) fn string(&mut self, r: &mut Reader<'_>, key: &'static str) -> Option<At<String>> {
        let (value, at) = self.value(key)?;
        let DeValue::String(text) = value else {
            wrong(r, &at, key, "a string", value);
            return None;
        };
        Some((text.clone().into_owned(), at))
    }

    /// A string that must be there and not empty.
    pub(super) fn need_string(&mut self, r: &mut Reader<'_>, key: &'static str, example: &str) -> Option<At<String>> {
        if !self.has(key) {
            self.missing(r, key, example);
            return None;
        }
        let (text, at) = self.string(r, key)?;
        if text.trim().is_empty() {
            r.problem(
                &at,
                format!("expected `{key}` to be a text, found an empty one"),
                Some(format!("write something like `{key} = {example}`")),
            );
            return None;
        }
        Some((text, at))
    }

    /// A string read by `parse`, whose error says what was expected.
    pub(super) fn parsed<T>(
        &mut self,
        r: &mut Reader<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, at) = self.string(r, key)?;
        parse(&text).map_err(|message| r.problem(&at, message, None)).ok()
    }

    pub(super) fn need_parsed<T>(
        &mut self,
        r: &mut Reader<'_>,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, at) = self.need_string(r, key, example)?;
        parse(&text)
            .map_err(|message| r.problem(&at, message, Some(format!("write something like `{key} = {example}`"))))
            .ok()
    }

    pub(super) fn integer(
        &mut self,
        r: &mut Reader<'_>,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let (value, at) = self.value(key)?;
        let DeValue::Integer(number) = value else {
            wrong(r, &at, key, "a whole number", value);
            return None;
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                r.problem(
                    &at,
                    format!("expected `{key}` to be between {} and {}, found {number}", range.start(), range.end()),
                    None,
                );
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, r: &mut Reader<'_>, key: &'static str) -> Option<bool> {
        let (value, at) = self.value(key)?;
        let DeValue::Boolean(flag) = value else {
            wrong(r, &at, key, "true or false", value);
            return None;
        };
        Some(*flag)
    }

    /// A list of strings. Absent reads as empty.
    pub(super) fn strings(&mut self, r: &mut Reader<'_>, key: &'static str) -> Vec<At<String>> {
        let Some((value, at)) = self.value(key) else { return Vec::new() };
        let DeValue::Array(elements) = value else {
            wrong(r, &at, key, "a list of strings", value);
            return Vec::new();
        };
        let mut texts = Vec::with_capacity(elements.len());
        for element in elements {
            match element.get_ref() {
                DeValue::String(text) => texts.push((text.clone().into_owned(), element.span())),
                other => wrong(r, &element.span(), key, "a list of strings", other),
            }
        }
        texts
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        r: &mut Reader<'_>,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let (text, at) = self.string(r, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        r.problem(
            &at,
            format!("expected `{key}` to be {}, found `{text}`", either(&known)),
            nearest(&text, &known).map(|word| format!("did you mean `{word}`?")),
        );
        None
    }

    /// A key that may stand here although nobody reads its value.
    pub(super) fn knows(&mut self, key: &'static str) {
        self.asked.push(key);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Notes that a key is missing. In an absent section nothing is: the section itself is what is missing.
    pub(super) fn missing(&mut self, r: &mut Reader<'_>, key: &'static str, example: &str) {
        self.asked.push(key);
        if self.is_there() {
            r.problem(
                &self.at.clone(),
                format!("expected `{key}` in {}, found nothing", self.name),
                Some(format!("add `{key} = {example}`")),
            );
        }
    }

    /// All entries in the order of the file, for a section whose keys are free.
    pub(super) fn entries(&self) -> Vec<(At<&'t str>, At<&'t DeValue<'t>>)> {
        let mut entries: Vec<_> = self
            .table
            .into_iter()
            .flat_map(DeTable::iter)
            .map(|(key, value)| ((key.get_ref().as_ref(), key.span()), (value.get_ref(), value.span())))
            .collect();
        entries.sort_by_key(|((_, at), _)| at.start);
        entries
    }

    /// Reports what nobody asked for.
    pub(super) fn finish(self, r: &mut Reader<'_>) {
        for ((key, at), _) in self.entries() {
            if !self.asked.contains(&key) {
                let hint = match nearest(key, &self.asked) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("{} knows {}", self.name, either(&self.asked)),
                };
                r.problem(&at, format!("unknown key `{key}` in {}", self.name), Some(hint));
            }
        }
    }
}

/// Notes that a value has the wrong type.
pub(super) fn wrong(r: &mut Reader<'_>, at: &Range<usize>, key: &str, expected: &str, found: &DeValue<'_>) {
    r.problem(at, format!("expected `{key}` to be {expected}, found {}", article(found.type_str())), None);
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

/// `a`, `b` or `c`.
pub(super) fn either(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        None => "nothing".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(text: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|word| (strsim::jaro_winkler(text, word), *word))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
