//! Lines of comments that were meant as settings and are read as prose, or stand where nobody reads them.

use catalog::Diagnostic;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

use super::{CHECKS, SETTINGS};
use crate::materialization::MATERIALIZATIONS;
use crate::nearest::nearest;
use crate::position::Position;

/// Reports settings in the comments below the first `length` lines, where nobody reads them.
pub(super) fn below(file: &str, text: &str, length: usize, problems: &mut Vec<Diagnostic>) {
    // What can't be told apart into words is reported by who reads the SQL.
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location() else { return };
    for token in tokens {
        let Token::Whitespace(Whitespace::SingleLineComment { comment, .. } | Whitespace::MultiLineComment(comment)) =
            &token.token
        else {
            continue;
        };
        let start = Position::from(token.span);
        for (number, line) in comment.lines().enumerate() {
            let place = Position { line: start.line + number, column: if number == 0 { start.column } else { 1 } };
            let line = line.trim_start_matches([' ', '\t', '-', '*']);
            let (word, colon) = first_word(line);
            if place.line > length && ((colon && SETTINGS.contains(&word.as_str())) || meant(line).is_some()) {
                problems.push(Diagnostic {
                    file: file.to_owned(),
                    line: place.line,
                    column: place.column,
                    message: format!("`{}` stands where no setting is read", line.trim_end()),
                    hint: Some("settings are lines of their own that begin with `--`, above the SQL".to_owned()),
                });
            }
        }
    }
}

/// What people put before a line of a list.
const BULLETS: [char; 12] = [' ', '\t', '\u{a0}', '-', '*', '+', '#', '>', '•', '·', '–', '—'];
/// What looks like a colon, and other keyboards give for it.
const COLONS: [char; 5] = ['：', '﹕', '︓', '∶', 'ː'];

/// What is wrong with a line that is no setting and was meant as one, with a hint.
pub(super) fn meant(line: &str) -> Option<(String, String)> {
    let line = line.trim_start_matches(BULLETS);
    let (word, colon) = first_word(line);
    let rest = line.get(word.len()..)?.trim_start();
    if SETTINGS.contains(&word.as_str())
        && let Some(value) = rest.strip_prefix(':').or_else(|| rest.strip_prefix(COLONS))
    {
        let found = rest.chars().next().filter(|letter| COLONS.contains(letter));
        let message = match found {
            Some(found) => format!("expected `:` after `{word}`, found `{found}`"),
            None => format!("`{word}:` does not begin its line"),
        };
        return Some((message, format!("write `-- {word}: {}`", value.trim())));
    }
    if colon && let Some(meant) = nearest(&word, SETTINGS) {
        return Some((format!("unknown setting `{word}`"), format!("did you mean `{meant}:`?")));
    }
    let rest = rest.strip_prefix([':', '=', ';']).unwrap_or(rest).trim_start();
    let (next, next_colon) = first_word(rest);
    // The setting of two words, written as people speak.
    let two = format!("{word}_{next}");
    if next_colon && let Some(meant) = nearest(&two, SETTINGS.into_iter().filter(|it| it.contains('_'))) {
        return Some((format!("unknown setting `{word} {next}`"), format!("did you mean `{meant}:`?")));
    }
    let says_check = CHECKS.contains(&next.as_str()) && rest[next.len()..].trim_start().starts_with('(');
    let says_kind = MATERIALIZATIONS.contains(&next.as_str());
    if !colon
        && ((says_check && ["check", "set_aside"].contains(&word.as_str())) || (says_kind && word == "materialize"))
    {
        return Some((format!("expected `:` after `{word}`"), format!("write `-- {word}: {}`", rest.trim_end())));
    }
    // A check by itself: no prose has a name of one with its arguments and nothing beside it.
    let line = line.trim_end();
    let is_bare =
        CHECKS.contains(&word.as_str()) && line[word.len()..].trim_start().starts_with('(') && line.ends_with(')');
    if is_bare {
        return Some((format!("`{word}(…)` stands without its setting"), format!("write `-- check: {line}`")));
    }
    if colon && CHECKS.contains(&word.as_str()) {
        return Some((format!("unknown setting `{word}`"), format!("write `-- check: {word}(…)`")));
    }
    (colon && says_check)
        .then(|| (format!("unknown setting `{word}`"), format!("write `-- check: {}`", rest.trim_end())))
}

/// The first word of a line, in small letters, and whether a colon follows it.
pub(super) fn first_word(line: &str) -> (String, bool) {
    let text = line.trim_start();
    let end = text
        .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-')
        .unwrap_or(text.len());
    (text[..end].to_lowercase(), end > 0 && text[end..].trim_start().starts_with(':'))
}
