//! A page of the documents, as far as tests look at it: its headings, tables, code and links.

use std::path::Path;

pub(super) use super::table::code;
use super::table::{Row, heading, rows};

/// One Markdown file.
pub(crate) struct Page {
    /// Its path from the root of the repository.
    pub file: String,
    lines: Vec<Line>,
}

/// A line, and whether it stands between fences.
struct Line {
    text: String,
    is_fenced: bool,
}

impl Page {
    /// Reads a page of the repository.
    pub(crate) fn read(repository: &Path, file: &str) -> Self {
        let text = std::fs::read_to_string(repository.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        Self::parse(file, &text)
    }

    pub(crate) fn parse(file: &str, text: &str) -> Self {
        let mut is_fenced = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            lines.push(Line { text: line.to_owned(), is_fenced: is_fenced || is_fence });
            is_fenced ^= is_fence;
        }
        assert!(!is_fenced, "{file}: a fence is not closed");
        Self { file: file.to_owned(), lines }
    }

    /// How many lines it has.
    pub(crate) fn length(&self) -> usize {
        self.lines.len()
    }

    /// The lines of prose, with their numbers.
    pub(crate) fn prose(&self) -> impl Iterator<Item = (usize, &str)> {
        let prose = self.lines.iter().enumerate().filter(|(_, line)| !line.is_fenced);
        prose.map(|(place, line)| (place + 1, line.text.as_str()))
    }

    /// The lines between fences, with their numbers.
    pub(crate) fn fenced(&self) -> impl Iterator<Item = (usize, &str)> {
        let fenced = self.lines.iter().enumerate().filter(|(_, line)| line.is_fenced);
        fenced.map(|(place, line)| (place + 1, line.text.as_str()))
    }

    /// All code within prose, with its line.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, String)> {
        self.prose().flat_map(|(number, line)| code(line).into_iter().map(move |span| (number, span)))
    }

    /// What links point at, with their lines.
    pub(crate) fn links(&self) -> impl Iterator<Item = (usize, &str)> {
        self.prose().flat_map(|(number, line)| {
            let parts = line.split("](").skip(1);
            parts.filter_map(move |rest| rest.split_once(')')).map(move |(target, _)| (number, target))
        })
    }

    /// The names that links give to its headings.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter_map(|(_, line)| heading(line));
        headings.map(anchor).collect()
    }

    /// The rows of the tables whose first head is this word.
    pub(crate) fn rows(&self, head: &str) -> Vec<Row> {
        rows(&self.file, self.prose().map(|(_, line)| line), head)
    }
}

/// How links name a heading: small letters, hyphens for blanks, and of signs only hyphens and `_`.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.trim().chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.map(|it| if it == ' ' { '-' } else { it }).collect()
}
