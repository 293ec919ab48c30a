//! What a file defines, imports and names: as much of Rust's grammar as the rules of the house need.

use super::tokens::Token;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ItemKind {
    /// A structure, an enumeration, a trait or an alias.
    Type,
    /// A function, a constant, a static, a method.
    Value,
    /// A module.
    Module,
    /// A macro.
    Macro,
    /// A field or a variant.
    Member,
}

/// One definition.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its name.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: ItemKind,
    /// Whether other crates may be able to name it.
    pub(super) public: bool,
    /// Whether it stands in the module itself: not in a body, an `impl`, or another type.
    pub(super) outermost: bool,
    /// The type of the `impl` that it is a function of, if that is no trait's.
    pub(super) method_of: Option<String>,
    /// Where it stands.
    pub(super) line: usize,
}

/// One name that a `use` brings in.
#[derive(Debug, Clone)]
pub(super) struct Import {
    /// The path, as written.
    pub(super) path: Vec<String>,
    /// The name that it has here; `*` stands for all.
    pub(super) alias: String,
    /// Whether others may import it from here.
    pub(super) handed_on: bool,
    /// Where it stands.
    pub(super) line: usize,
}

/// A path that the code names outside of `use`, or a method that it calls on `self` (then `.` is its first part).
#[derive(Debug, Clone)]
pub(super) struct Mention {
    /// Its parts.
    pub(super) path: Vec<String>,
    /// Whether it is called, as a function or a macro.
    pub(super) called: bool,
    /// Where it stands.
    pub(super) line: usize,
}

/// A file, read.
#[derive(Debug, Default)]
pub(super) struct FileItems {
    /// What it defines.
    pub(super) items: Vec<Item>,
    /// What it imports.
    pub(super) imports: Vec<Import>,
    /// What else it names.
    pub(super) mentions: Vec<Mention>,
}

/// What an open bracket belongs to.
#[derive(Debug, Clone)]
enum Scope {
    Module,
    Body,
    Implementation { of: Option<String> },
    Trait { public: bool },
    Structure,
    Enumeration { public: bool },
}

/// Reads a file's words and marks.
pub(super) fn read(tokens: &[Token]) -> FileItems {
    let mut file = FileItems::default();
    let mut scopes: Vec<Scope> = Vec::new();
    let mut next: Option<(Scope, usize)> = None;
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text.as_str();
        match text {
            "{" | "(" | "[" => {
                let keeps_next = next.as_ref().is_some_and(|(_, depth)| text != "{" || *depth != scopes.len());
                let scope = if keeps_next { None } else { next.take() };
                scopes.push(scope.map_or(Scope::Body, |(scope, _)| scope));
            }
            "}" | ")" | "]" => drop(scopes.pop()),
            ";" if next.as_ref().is_some_and(|(_, depth)| *depth == scopes.len()) => next = None,
            "use" if is_start(tokens, at) => {
                let (handed_on, line) = (visibility(tokens, at) != Visibility::Private, tokens[at].line);
                let end = (at..tokens.len()).find(|it| tokens[*it].text == ";").unwrap_or(tokens.len());
                tree(&tokens[at + 1..end], &[], handed_on, line, &mut file.imports);
                at = end;
            }
            "impl" if is_start(tokens, at) => next = Some((implementation(tokens, at), scopes.len())),
            _ if tokens[at].is_word() => {
                let opened = definition(tokens, at, &scopes, &mut file.items);
                if let Some(scope) = opened {
                    next = Some((scope, scopes.len()));
                } else if let Some((mention, end)) = mention(tokens, at) {
                    file.mentions.push(mention);
                    at = end - 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    file
}

#[derive(PartialEq, Eq)]
enum Visibility {
    Private,
    Inner,
    Public,
}

/// What stands before the keyword of an item, past `async`, `const` and `unsafe`.
fn visibility(tokens: &[Token], keyword: usize) -> Visibility {
    let mut at = keyword;
    while at > 0 && ["async", "const", "unsafe"].contains(&tokens[at - 1].text.as_str()) {
        at -= 1;
    }
    match at.checked_sub(1).map(|before| tokens[before].text.as_str()) {
        Some("pub") => Visibility::Public,
        Some(")") => {
            let open = (0..at).rev().find(|it| tokens[*it].text == "(");
            let is_inner = open.is_some_and(|open| open > 0 && tokens[open - 1].text == "pub");
            if is_inner { Visibility::Inner } else { Visibility::Private }
        }
        _ => Visibility::Private,
    }
}

/// Whether an item may begin here.
fn is_start(tokens: &[Token], at: usize) -> bool {
    at == 0
        || visibility(tokens, at) != Visibility::Private
        || ["{", "}", ";", "]", "unsafe"].contains(&tokens[at - 1].text.as_str())
}

/// Notes what a word defines, and says what the next brace opens.
fn definition(tokens: &[Token], at: usize, scopes: &[Scope], items: &mut Vec<Item>) -> Option<Scope> {
    let before = at.checked_sub(1).map_or("", |it| tokens[it].text.as_str());
    let word = tokens[at].text.as_str();
    let public = visibility(tokens, at) == Visibility::Public;
    let outermost = scopes.iter().all(|scope| matches!(scope, Scope::Module));
    let name = tokens.get(at + 1).filter(|next| next.is_word());
    let mut add = |name: &Token, kind, public, method_of| {
        items.push(Item { name: name.text.clone(), kind, public, outermost, method_of, line: name.line });
    };
    match (word, name, scopes.last()) {
        ("struct", Some(name), _) => {
            add(name, ItemKind::Type, public, None);
            Some(Scope::Structure)
        }
        ("enum", Some(name), _) => {
            add(name, ItemKind::Type, public, None);
            Some(Scope::Enumeration { public })
        }
        ("trait", Some(name), _) => {
            add(name, ItemKind::Type, public, None);
            Some(Scope::Trait { public })
        }
        ("type", Some(name), scope) if !matches!(scope, Some(Scope::Implementation { .. } | Scope::Trait { .. })) => {
            add(name, ItemKind::Type, public, None);
            None
        }
        ("mod", Some(name), _) => {
            add(name, ItemKind::Module, public, None);
            Some(Scope::Module)
        }
        ("fn", Some(name), scope) => {
            let (by_trait, of) = match scope {
                Some(Scope::Trait { public }) => (*public, None),
                Some(Scope::Implementation { of }) => (false, of.clone()),
                _ => (false, None),
            };
            add(name, ItemKind::Value, public || by_trait, of);
            Some(Scope::Body)
        }
        ("const" | "static", Some(name), _) if name.text != "fn" && !["<", ",", "*"].contains(&before) => {
            add(name, ItemKind::Value, public, None);
            None
        }
        ("macro_rules", None, _) => {
            if let Some(name) = tokens.get(at + 2) {
                add(name, ItemKind::Macro, false, None);
            }
            Some(Scope::Body)
        }
        (_, _, Some(Scope::Structure)) if public => {
            add(&tokens[at], ItemKind::Member, true, None);
            None
        }
        (_, _, Some(Scope::Enumeration { public })) if ["{", ",", "]"].contains(&before) => {
            add(&tokens[at], ItemKind::Member, *public, None);
            Some(Scope::Body)
        }
        _ => None,
    }
}

/// The scope of an `impl`: its type, unless it is a trait's.
fn implementation(tokens: &[Token], at: usize) -> Scope {
    let head: Vec<&str> = tokens[at + 1..].iter().map(|it| it.text.as_str()).take_while(|text| *text != "{").collect();
    let (mut depth, mut of) = (0, None);
    for text in head {
        match text {
            "<" => depth += 1,
            ">" => depth -= 1,
            "for" if depth == 0 => return Scope::Implementation { of: None },
            "where" => break,
            name if depth == 0 && name.starts_with(char::is_alphabetic) => of = Some(name.to_owned()),
            _ => {}
        }
    }
    Scope::Implementation { of }
}

/// The names of a tree of imports.
fn tree(tokens: &[Token], above: &[String], handed_on: bool, line: usize, found: &mut Vec<Import>) {
    let mut path = above.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].text.as_str() {
            "{" => {
                for part in parts(&tokens[at + 1..tokens.len() - 1]) {
                    tree(part, &path, handed_on, line, found);
                }
                return;
            }
            ":" => {}
            "as" => {
                found.push(Import { path, alias: tokens[at + 1].text.clone(), handed_on, line });
                return;
            }
            "self" if !path.is_empty() => {}
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    if let Some(last) = path.last().cloned() {
        found.push(Import { path, alias: last, handed_on, line });
    }
}

/// The parts of a list, divided by commas that stand in no inner braces.
fn parts(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    let divided = tokens.split(|token| {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        depth == 0 && token.text == ","
    });
    divided.filter(|part| !part.is_empty()).collect()
}

/// A path that begins here or a method that is called here on `self`, and the place behind it.
fn mention(tokens: &[Token], at: usize) -> Option<(Mention, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |it| it.text.as_str());
    let before = at.checked_sub(1).map_or("", text);
    if before == ":" && at > 1 && text(at - 2) == ":" {
        return None;
    }
    let mut path = vec![tokens[at].text.clone()];
    let mut end = at + 1;
    while text(end) == ":" && text(end + 1) == ":" && tokens.get(end + 2).is_some_and(Token::is_word) {
        path.push(tokens[end + 2].text.clone());
        end += 3;
    }
    let called = ["(", "!"].contains(&text(end)) || (text(end) == ":" && text(end + 1) == ":");
    if before == "." {
        if !called || at < 2 || text(at - 2) != "self" {
            return None;
        }
        path.insert(0, ".".to_owned());
    }
    Some((Mention { path, called, line: tokens[at].line }, end))
}
