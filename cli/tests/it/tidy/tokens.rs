//! Rust text as words and marks, without comments, strings and what only tests compile.

/// One word or one mark of a source file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    /// A name, a keyword, a number, or one character.
    pub(super) text: String,
    /// Where it stands, from 1.
    pub(super) line: usize,
}

impl Token {
    /// Whether it is a name, a keyword or a number.
    pub(super) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphanumeric() || first == '_')
    }
}

/// The words and marks of a file; strings, characters and lifetimes leave nothing behind.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut at, mut line, mut found) = (0, 1, Vec::new());
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => until(&chars, at, |rest| rest[0] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => after_comment(&chars, at),
            '"' => after_string(&chars, at),
            '\'' => after_quote(&chars, at),
            first if first.is_alphanumeric() || first == '_' => {
                let end = until(&chars, at, |rest| !rest[0].is_alphanumeric() && rest[0] != '_');
                let word: String = chars[at..end].iter().collect();
                match (word.as_str(), chars.get(end)) {
                    ("r" | "br", Some('"' | '#')) if is_raw_string(&chars[end..]) => after_raw_string(&chars, end),
                    ("b" | "c", Some('"')) => after_string(&chars, end),
                    ("b", Some('\'')) => after_quote(&chars, end),
                    _ => {
                        found.push(Token { text: word, line });
                        end
                    }
                }
            }
            other => {
                if !other.is_whitespace() {
                    found.push(Token { text: other.to_string(), line });
                }
                at + 1
            }
        };
        line += chars[at..end].iter().filter(|it| **it == '\n').count();
        at = end;
    }
    without_tests(&found)
}

fn until(chars: &[char], from: usize, stop: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| stop(&chars[*at..])).unwrap_or(chars.len())
}

fn after_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match chars[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn after_string(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// A character ends with its quote; a lifetime has none.
fn after_quote(chars: &[char], from: usize) -> usize {
    match chars[from + 1..] {
        ['\\', _, ..] => until(chars, from + 3, |rest| rest[0] == '\'') + 1,
        [_, '\'', ..] => from + 3,
        _ => until(chars, from + 1, |rest| !rest[0].is_alphanumeric() && rest[0] != '_'),
    }
}

fn is_raw_string(rest: &[char]) -> bool {
    rest.iter().find(|it| **it != '#') == Some(&'"')
}

fn after_raw_string(chars: &[char], from: usize) -> usize {
    let hashes = until(chars, from, |rest| rest[0] != '#') - from;
    let close = |rest: &[char]| rest[0] == '"' && rest[1..].iter().take_while(|it| **it == '#').count() >= hashes;
    (until(chars, from + hashes + 1, close) + 1 + hashes).min(chars.len())
}

/// What is left without the items behind `#[cfg(test)]`.
fn without_tests(all: &[Token]) -> Vec<Token> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut at, mut kept) = (0, Vec::new());
    while at < all.len() {
        let rest = &all[at..];
        if rest.len() > TEST.len() && rest.iter().zip(TEST).all(|(token, text)| token.text == text) {
            at = after_item(all, at + TEST.len());
        } else {
            kept.push(rest[0].clone());
            at += 1;
        }
    }
    kept
}

/// The place behind an item and what is said of it: a closed brace or a semicolon, outside of all brackets; of a `use`, only the
/// semicolon.
fn after_item(all: &[Token], from: usize) -> usize {
    let mut first = from;
    while all.get(first).is_some_and(|it| it.text == "#") {
        first += all[first..].iter().position(|it| it.text == "]").map_or(1, |at| at + 1);
    }
    let is_use = all[first..].iter().find(|it| !["pub", "(", "crate", "super", ")"].contains(&it.text.as_str()));
    let only_semicolon = is_use.is_some_and(|it| it.text == "use");
    let mut depth = 0;
    for (at, token) in all.iter().enumerate().skip(first) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 && !only_semicolon {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    all.len()
}
