//! Texts from files: a folder (or one file) of JSON arrays, JSONL or CSV becomes the bodies of the reviews.
//!
//! All texts are held in one string with their ends, so that a million short texts cost little more than their bytes.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// Names under which texts are looked for, in this order.
const COLUMNS: &[&str] =
    &["review", "text", "body", "content", "document", "sentence", "comment", "리뷰", "내용", "본문"];

/// Many texts.
#[derive(Debug, Default)]
pub(crate) struct Corpus {
    all: String,
    ends: Vec<usize>,
}

impl Corpus {
    /// Reads a file, or a folder with everything below it in the order of the paths.
    pub(crate) fn read(path: &Path, column: Option<&str>) -> Result<Self> {
        let mut files = Vec::new();
        walk(path, &mut files)?;
        files.sort();
        let mut corpus = Self::default();
        for file in &files {
            let bytes = fs::read(file).map_err(|source| Error::Read { path: file.clone(), source })?;
            let text = String::from_utf8_lossy(&bytes);
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            let wrong = |expected: &str, found: String| Error::Corpus {
                path: file.clone(),
                expected: expected.to_owned(),
                found,
            };
            match kind(file) {
                Some(Kind::Csv) => {
                    corpus.add_csv(text, column).map_err(|found| wrong("a CSV file with a column of texts", found))?;
                }
                Some(Kind::Json) => {
                    corpus
                        .add_json(text, column)
                        .map_err(|found| wrong("JSON objects with a field of texts", found))?;
                }
                None => {}
            }
        }
        if corpus.ends.is_empty() {
            return Err(Error::Corpus {
                path: path.to_owned(),
                expected: "at least one text".to_owned(),
                found: format!("none in {} files", files.len()),
            });
        }
        Ok(corpus)
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Text number `n`, going round.
    pub(crate) fn get(&self, n: u64) -> &str {
        let i = usize::try_from(n % self.len() as u64).unwrap_or(0);
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.all[start..self.ends[i]]
    }

    fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    fn add_json(&mut self, text: &str, column: Option<&str>) -> Result<(), String> {
        let rows: Vec<Value> = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|e| e.to_string())?
        } else {
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            lines
                .map(|(n, line)| serde_json::from_str(line).map_err(|e| format!("{e} (line {})", n + 1)))
                .collect::<Result<_, _>>()?
        };
        for row in &rows {
            let names = column.map_or(COLUMNS, |_| &[]);
            let found = column.iter().chain(names).find_map(|name| row.get(name)).and_then(Value::as_str);
            match found.or(row.as_str()) {
                Some(text) => self.push(text),
                None => return Err(shorten(&row.to_string())),
            }
        }
        Ok(())
    }

    fn add_csv(&mut self, text: &str, column: Option<&str>) -> Result<(), String> {
        let mut rows = csv_rows(text);
        let Some(head) = rows.next() else { return Ok(()) };
        let names = column.map_or(COLUMNS, |_| &[]);
        let position = column.iter().chain(names).find_map(|name| head.iter().position(|cell| cell.trim() == *name));
        let Some(position) = position else { return Err(format!("the columns {}", shorten(&head.join(", ")))) };
        for row in rows {
            if let Some(cell) = row.get(position) {
                self.push(cell);
            }
        }
        Ok(())
    }
}

enum Kind {
    Json,
    Csv,
}

fn kind(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" | "jsonl" | "ndjson" => Some(Kind::Json),
        "csv" => Some(Kind::Csv),
        _ => None,
    }
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let fail = |source| Error::Read { path: path.to_owned(), source };
    if fs::metadata(path).map_err(fail)?.is_dir() {
        for entry in fs::read_dir(path).map_err(fail)? {
            walk(&entry.map_err(fail)?.path(), files)?;
        }
    } else if kind(path).is_some() {
        files.push(path.to_owned());
    }
    Ok(())
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The rows of a CSV text (RFC 4180): cells may be quoted, quoted cells may hold commas, line ends and doubled quotes.
fn csv_rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    let mut chars = text.chars().peekable();
    std::iter::from_fn(move || {
        loop {
            chars.peek()?;
            let mut row = Vec::new();
            let mut cell = String::new();
            let mut quoted = false;
            while let Some(c) = chars.next() {
                match c {
                    '"' if quoted && chars.peek() == Some(&'"') => {
                        chars.next();
                        cell.push('"');
                    }
                    '"' if quoted => quoted = false,
                    '"' if cell.is_empty() => quoted = true,
                    ',' if !quoted => row.push(std::mem::take(&mut cell)),
                    '\r' if !quoted && chars.peek() == Some(&'\n') => {}
                    '\n' if !quoted => break,
                    c => cell.push(c),
                }
            }
            row.push(cell);
            // A blank line is no row.
            if row.len() > 1 || !row[0].is_empty() {
                return Some(row);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(corpus: &Corpus) -> Vec<&str> {
        (0..corpus.len() as u64).map(|n| corpus.get(n)).collect()
    }

    #[test]
    fn all_three_forms_are_read_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.json"), r#"[{"review":"하나","rating":"10"},{"review":""}]"#).unwrap();
        fs::write(folder.path().join("b.jsonl"), "{\"text\":\"둘\"}\n\n{\"text\":\"셋\"}\n").unwrap();
        fs::write(
            folder.path().join("c.csv"),
            "\u{feff}가게,리뷰\r\n국밥집,\"맛있고,\n\"\"친절\"\"해요\"\r\n\r\n빵집,굿\r\n",
        )
        .unwrap();
        fs::write(folder.path().join("readme.md"), "not a text").unwrap();
        let corpus = Corpus::read(folder.path(), None).unwrap();
        assert_eq!(texts(&corpus), ["하나", "", "둘", "셋", "맛있고,\n\"친절\"해요", "굿"]);
        assert_eq!(corpus.get(6), "하나");
    }

    #[test]
    fn a_missing_column_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("c.csv"), "a,b\n1,2\n").unwrap();
        let error = Corpus::read(folder.path(), None).unwrap_err();
        assert!(error.to_string().ends_with("c.csv`, found the columns a, b"), "{error}");
        assert_eq!(texts(&Corpus::read(folder.path(), Some("b")).unwrap()), ["2"]);
        assert!(matches!(Corpus::read(&folder.path().join("none"), None), Err(Error::Read { .. })));
    }

    #[test]
    fn the_shared_film_reviews_are_read_where_they_are() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/nsmc_raw/sample");
        if !folder.is_dir() {
            println!("skipped: {} is absent", folder.display());
            return;
        }
        let corpus = Corpus::read(&folder, None).unwrap();
        assert!(corpus.len() > 1_000, "{}", corpus.len());
    }
}
