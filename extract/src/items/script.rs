//! What a document has in its scripts.
//!
//! A document is looked at as a text and not as a tree: a script is found by its tag and a variable by its name, and what
//! they hold is cut out as it was written. All of it is linear in the text, whatever the page writes.

use super::{Unreadable, find_ignoring_case};
use crate::json::span;

/// How many beginnings of a variable are looked at: a page may write thousands that never end.
const MOST_STATES: usize = 8;

/// The literal in `<name> = {…}`, up to its matching bracket: script text follows it.
pub(super) fn variable<'h>(html: &'h str, name: &str, opens: &[char]) -> Result<&'h str, Unreadable> {
    let mut found = "none";
    let literals = html.match_indices(name).filter_map(|(at, _)| {
        let after = &html[at + name.len()..];
        // `window["name"] = …`
        let after = after.strip_prefix("\"]").or_else(|| after.strip_prefix("']")).unwrap_or(after);
        let is_whole = !html[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$');
        after.trim_start().strip_prefix('=').map(str::trim_start).filter(|text| is_whole && text.starts_with(opens))
    });
    for literal in literals.take(MOST_STATES) {
        match span(literal, 0) {
            Ok(end) => return Ok(&literal[..end]),
            Err(_) => found = "one that is cut off",
        }
    }
    Err(Unreadable::Garbage { expected: "a document with its state in a script", found: found.to_owned() })
}

/// One script: what its tag says, and what stands in it.
#[derive(Debug, PartialEq)]
pub(super) struct Script<'h> {
    attributes: &'h str,
    pub(super) text: &'h str,
}

impl<'h> Script<'h> {
    /// An attribute of its tag, as it was written.
    pub(super) fn attribute(&self, name: &str) -> Option<&'h str> {
        let mut rest = self.attributes;
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
            if rest.is_empty() {
                return None;
            }
            let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/')).unwrap_or(rest.len());
            let (found, after) = rest.split_at(end.max(usize::from(rest.starts_with('='))));
            let (value, after) = match after.trim_start().strip_prefix('=') {
                Some(value) => value_of(value.trim_start()),
                None => ("", after),
            };
            if found.eq_ignore_ascii_case(name) {
                return Some(value);
            }
            rest = after;
        }
    }
}

/// The value of an attribute, and what follows it.
fn value_of(text: &str) -> (&str, &str) {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        return text[1..].split_once(quote).unwrap_or((&text[1..], ""));
    }
    text.split_at(text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len()))
}

/// The scripts of a document, in order. One that does not end is none.
pub(super) fn scripts(html: &str) -> impl Iterator<Item = Script<'_>> {
    let mut rest = html;
    std::iter::from_fn(move || {
        loop {
            let open = find_ignoring_case(rest, "<script")?;
            let after = &rest[open + "<script".len()..];
            // `<scripted>` is another element.
            if !after.starts_with(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')) {
                rest = after;
                continue;
            }
            let end = tag_end(after)?;
            let (attributes, body) = (&after[..end], &after[end + 1..]);
            let close = find_ignoring_case(body, "</script")?;
            rest = &body[close..];
            return Some(Script { attributes, text: &body[..close] });
        }
    })
}

/// Where the tag ends: a `>` in quotes does not end it.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = b' ';
    for (at, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at),
            // Only a value is quoted.
            (None, b'"' | b'\'') if before == b'=' => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_found_as_they_are_written() {
        let html = "<scripted>no</scripted><SCRIPT\nID = 'a' data-x=\"1 > 0\" async>{\"x\": \"</b>\"}</Script>\
            <script id=b/>1</script ><script>2</script><script id=\"c\" id='d'>3</script><script id=e>never closed";
        let found: Vec<_> = scripts(html).map(|script| (script.attribute("id"), script.text)).collect();
        assert_eq!(found, [(Some("a"), "{\"x\": \"</b>\"}"), (Some("b/"), "1"), (None, "2"), (Some("c"), "3"),]);
        let first = scripts(html).next().unwrap();
        assert_eq!(
            (first.attribute("data-x"), first.attribute("async"), first.attribute("x")),
            (Some("1 > 0"), Some(""), None)
        );
    }

    #[test]
    fn a_variable_is_found_by_its_whole_name() {
        for (html, expected) in [
            ("<script>window.S = {\"a\": \"}\"};</script>", Some("{\"a\": \"}\"}")),
            ("<script>window[\"S\"]=[1];x</script>", Some("[1]")),
            ("<script>self['S'] = {}</script>", Some("{}")),
            ("<script>MY_S = {\"no\": 1}; var S = {\"yes\": 1}</script>", Some("{\"yes\": 1}")),
            ("<script>S == {}; S = 7; S: {}</script>", None),
            ("<script>S = {\"cut\": </script>", None),
        ] {
            assert_eq!(variable(html, "S", &['{', '[']).ok(), expected, "{html}");
        }
    }
}
