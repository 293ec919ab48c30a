//! Tables of a page, row by row: what they say of keys can be compared with what the program knows.

/// A row of a table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The section of the nearest heading above that names one, `crawl` for `[crawl]`; empty if none does. A part in quotes stands
    /// for any name, as `*`.
    pub section: String,
    /// What stands in code in the first cell.
    pub key: String,
    /// The cells behind the first, by the table's head.
    cells: Vec<(String, String)>,
}

impl Row {
    /// The cell below this head.
    pub(crate) fn cell(&self, head: &str) -> Option<&str> {
        self.cells.iter().find(|(name, _)| name == head).map(|(_, cell)| cell.as_str())
    }

    /// Section and key as one path, `crawl.jobs`. A key in capitals stands for any name, and is left out.
    pub(crate) fn path(&self) -> String {
        let any = self.key.chars().all(|letter| letter.is_ascii_uppercase());
        let parts = [self.section.as_str(), if any { "" } else { &self.key }];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// The bounds of a number, `1 to 64`, if the cell says them.
    pub(crate) fn bounds(&self) -> Option<(f64, f64)> {
        let mut words = self.cell("Bounds")?.split_whitespace();
        let low = words.next()?.parse().ok()?;
        let high = words.next().filter(|word| *word == "to").and(words.next())?;
        Some((low, high.trim_end_matches([',', ';']).parse().ok()?))
    }

    /// The default as TOML writes it, if there is one.
    pub(crate) fn default(&self) -> Option<toml::Value> {
        let written = code(self.cell("Default")?).into_iter().next()?;
        let table: toml::Table = format!("it = {written}").parse().ok()?;
        table.get("it").cloned()
    }
}

/// The rows of the tables whose first head is this word, of the lines of a page that are prose.
pub(crate) fn rows<'l>(file: &str, prose: impl Iterator<Item = &'l str>, head: &str) -> Vec<Row> {
    let mut found = Vec::new();
    let mut section = String::new();
    let mut heads: Vec<String> = Vec::new();
    for line in prose {
        if let Some(heading) = heading(line) {
            section = section_of(heading).unwrap_or_default();
        }
        if !line.starts_with('|') {
            heads.clear();
            continue;
        }
        let cells = cells(line);
        if heads.is_empty() {
            heads = cells;
        } else if heads[0] == head && !cells[0].starts_with("--") {
            assert_eq!(cells.len(), heads.len(), "{file}: `{line}` has not the cells of its head");
            let key = code(&cells[0]).into_iter().next();
            let key = key.unwrap_or_else(|| panic!("{file}: `{line}` does not begin with code"));
            let cells = heads.iter().cloned().zip(cells).skip(1).collect();
            found.push(Row { section: section.clone(), key, cells });
        }
    }
    found
}

/// The text of a heading.
pub(crate) fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    (text.len() < line.len()).then(|| text.strip_prefix(' ')).flatten()
}

/// `crawl` of a heading with `[crawl]` in code, `hosts.*` of one with `[hosts."NAME"]`, `ops.runs` of one with that.
fn section_of(heading: &str) -> Option<String> {
    let first = code(heading).into_iter().next()?;
    let section = first.strip_prefix('[').and_then(|first| first.strip_suffix(']')).unwrap_or(&first);
    let parts: Vec<&str> = section.split('"').collect();
    Some(parts.iter().enumerate().map(|(place, part)| if place % 2 == 0 { part } else { "*" }).collect())
}

/// The cells of a row; `\|` is a sign and ends none.
fn cells(line: &str) -> Vec<String> {
    let line = line.trim().trim_start_matches('|').trim_end_matches('|');
    line.replace("\\|", "\u{0}").split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect()
}

/// What stands in code, between one back quote and the next or two and two.
pub(crate) fn code(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        let quotes = rest[start..].len() - rest[start..].trim_start_matches('`').len();
        let (quote, from) = (&rest[start..start + quotes], &rest[start + quotes..]);
        let Some(end) = from.find(quote) else { break };
        found.push(from[..end].trim().to_owned());
        rest = &from[end + quotes..];
    }
    found
}
