//! From what the TOML reader says to a place in the file and a suggestion.

use catalog::Diagnostic;

/// The diagnostic of a TOML error: where it is, what was expected, and the key that was probably meant.
pub(crate) fn diagnostic(file: &str, text: &str, error: &toml::de::Error) -> Diagnostic {
    let (line, column) = position(text, error.span().map_or(0, |span| span.start));
    let raw = error.message();
    let (message, hint) = match unknown(raw) {
        Some((found, expected)) => {
            let list = expected.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let one_of = if expected.len() == 1 { "expected" } else { "expected one of" };
            (format!("{one_of} {list}, found `{found}`"), closest(&found, &expected))
        }
        None => (raw.lines().next().unwrap_or_default().to_owned(), None),
    };
    Diagnostic { file: file.to_owned(), line, column, message, hint }
}

/// Where `needle` first stands in the text, as line and column: as a word of a line that is no comment, else anywhere, else what is
/// behind its last point; the start of the file if none of them does.
pub(crate) fn find(text: &str, needle: &str) -> (usize, usize) {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let word = |needle: &str| {
        let is_word = |at: &usize| {
            let (before, behind) = (&text[..*at], &text[at + needle.len()..]);
            let line = before.rsplit('\n').next().unwrap_or_default();
            !line.trim_start().starts_with('#') && !before.ends_with(is_part) && !behind.starts_with(is_part)
        };
        text.match_indices(needle).map(|(at, _)| at).find(is_word)
    };
    let last = || needle.rsplit_once('.').and_then(|(_, last)| word(last));
    position(text, word(needle).or_else(|| text.find(needle)).or_else(last).unwrap_or(0))
}

/// The line and column of an offset.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}

/// Takes serde's "unknown field `a`, expected one of `b`, `c`" apart.
fn unknown(message: &str) -> Option<(String, Vec<String>)> {
    let rest = message.strip_prefix("unknown field ").or_else(|| message.strip_prefix("unknown variant "))?;
    let mut names = rest.split('`').skip(1).step_by(2).map(str::to_owned);
    let found = names.next()?;
    let expected: Vec<String> = names.collect();
    (!expected.is_empty()).then_some((found, expected))
}

fn closest(found: &str, expected: &[String]) -> Option<String> {
    expected
        .iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_where_it_stands_and_not_where_it_is_spoken_of() {
        let text = "# model and fields.price\n[project]\nmodels = \"sql\"\n[enrich.x.fields.price]\ntype = 1\n[a]\nmodel = 2\n";
        for (needle, line) in
            [("model", 7), ("models", 3), ("fields.price", 4), ("any.type", 5), ("spoken", 1), ("nobody", 1)]
        {
            assert_eq!(find(text, needle).0, line, "{needle}");
        }
    }
}
