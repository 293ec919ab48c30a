//! `[search]`: what `onggi search` looks at, how much each part counts, what it shows, and the words of the language.

use std::collections::BTreeMap;

use catalog::{Diagnostic, TableName};
use load::search::SearchWeights;
use serde::Deserialize;

use super::{Config, SyncSection};
use crate::toml_error;

/// Weights beyond this are a slip.
const MOST_WEIGHT: f64 = 1_000.0;

/// `[search]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchSection {
    /// Answers where no number is asked for.
    pub limit: usize,
    /// Reasons that are shown for each answer; `--json` has all of them.
    pub reasons: usize,
    /// `[search.weights]`: how much each part counts.
    pub weights: SearchWeights,
    /// What is searched, by its `[sync]` table; all of them that have texts or a vector, if none is given.
    pub targets: BTreeMap<TableName, SearchedSection>,
    /// What the kinds of reason are called.
    pub labels: SearchLabels,
    /// The words of the language that questions are asked in.
    pub words: WordsSection,
}

impl Default for SearchSection {
    fn default() -> Self {
        Self {
            limit: 5,
            reasons: 3,
            weights: SearchWeights::default(),
            targets: BTreeMap::new(),
            labels: SearchLabels::default(),
            words: WordsSection::default(),
        }
    }
}

/// `[search.targets."marts.…"]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchedSection {
    /// How much a mention in one of its rows counts: 3 for rows that are answers, 1 for texts about them, if not given.
    pub weight: Option<f64>,
    /// Those of its `text` columns that are searched; all of them if not given.
    pub columns: Option<Vec<String>>,
    /// How much a mention in a column counts beside the others, where that is not 1.
    pub column_weights: BTreeMap<String, f64>,
    /// The column that an answer is headed with; the `title` of its `[sync]` section if not given.
    pub title: Option<String>,
    /// The columns beside the title.
    pub line: Vec<String>,
    /// What stands before the value of such a column.
    pub labels: BTreeMap<String, String>,
    /// What one row is called, and many.
    pub noun: Option<[String; 2]>,
}

/// `[search.labels]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchLabels {
    /// A text holds the term.
    pub keyword: String,
    /// An item of a list does.
    pub tag: String,
    /// The texts are near as a whole.
    pub vector: String,
}

impl Default for SearchLabels {
    fn default() -> Self {
        Self { keyword: "keyword".to_owned(), tag: "tag".to_owned(), vector: "vector".to_owned() }
    }
}

/// `[search.words]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WordsSection {
    /// Words that frame a question and say nothing about what is wanted.
    pub frame: Vec<String>,
    /// Words that mean something only beside others.
    pub weak: Vec<String>,
    /// What is taken off the end of a word before it is looked for.
    pub particles: Vec<String>,
    /// Whether a word of one character means something only beside its neighbours, and is looked for as a phrase with them.
    pub join_short: bool,
    /// What people also write: the word, or a phrase, and what is tried beside it.
    pub related: BTreeMap<String, Vec<String>>,
}

/// What is wrong at a place of the file: line and column, what, and a way out.
pub(crate) type SearchProblem = ((usize, usize), String, String);

impl SearchSection {
    /// What the types cannot say, as far as this file tells; which columns a table has is told by [`Self::unknown_columns`].
    fn problems(&self, text: &str, config: &Config) -> Vec<SearchProblem> {
        let mut found = self.numbers(text);
        for (table, section) in &self.targets {
            let at = |words: &[&str]| in_target(text, table, words);
            let Some(sync) = config.sync.get(table) else {
                let known: Vec<String> = searchable(config).map(|(table, _)| format!("`{table}`")).collect();
                let hint = if known.is_empty() {
                    format!("add `[sync.\"{table}\"]` with `text` or `vector`")
                } else {
                    format!("what can be searched is {}", known.join(", "))
                };
                found.push((
                    at(&[]),
                    format!("expected a table of `[sync]` with texts or a vector, found `{table}`"),
                    hint,
                ));
                continue;
            };
            if sync.text.is_empty() && sync.vector.is_none() {
                let message = format!(
                    "expected `text` or `vector` in `[sync.\"{table}\"]`, found none: there is nothing to search"
                );
                found.push((at(&[]), message, "name its columns there, or take the table off `[search]`".to_owned()));
            }
            let columns = section.columns.iter().flatten().map(|column| ("columns", column));
            let columns = columns.chain(section.column_weights.keys().map(|column| ("column_weights", column)));
            for (key, column) in columns.filter(|(_, column)| !sync.text.contains(*column)) {
                let message = format!("expected one of the `text` columns of `[sync.\"{table}\"]`, found `{column}`");
                let known = sync.text.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
                found.push((
                    at(&[key, column]),
                    message,
                    format!("they are {known}; add it there to have it searched"),
                ));
            }
            let weights = section.column_weights.iter();
            let weights = weights.map(|(column, weight)| (vec!["column_weights", column.as_str()], *weight));
            for (words, weight) in weights.chain(section.weight.map(|weight| (vec!["weight"], weight))) {
                if !(weight > 0.0 && weight <= MOST_WEIGHT) {
                    let message = format!("expected a weight above 0 and up to {MOST_WEIGHT}, found {weight}");
                    found.push((
                        at(&words),
                        message,
                        "1 is usual; leave a column out of `columns` to have it not searched".to_owned(),
                    ));
                }
            }
            for column in section.labels.keys().filter(|column| !section.line.contains(*column)) {
                let message = format!("expected a column of `line`, found a label for `{column}`");
                found.push((
                    at(&["labels", column]),
                    message,
                    "name the column in `line`, or take the label away".to_owned(),
                ));
            }
        }
        found
    }

    fn numbers(&self, text: &str) -> Vec<SearchProblem> {
        let weights = &self.weights;
        let mut found = Vec::new();
        let mut problem = |key: &str, message: String, hint: &str| {
            let words = if key == "limit" { vec![key] } else { vec!["weights", key] };
            found.push((in_section(text, "[search", &words), message, hint.to_owned()));
        };
        for (key, weight) in [("keyword", weights.keyword), ("vector", weights.vector), ("related", weights.related)] {
            if !(0.0..=MOST_WEIGHT).contains(&weight) {
                let message = format!("expected a weight of 0 to {MOST_WEIGHT}, found {weight}");
                problem(key, message, "1 is usual, and 0 leaves the part out");
            }
        }
        if weights.keyword == 0.0 && weights.vector == 0.0 {
            let message = "expected a weight above 0 for `keyword` or `vector`, found 0 for both".to_owned();
            problem("keyword", message, "leave one of them out to have it count");
        }
        if !(0.0..=10_000.0).contains(&weights.rank_constant) {
            let message = format!("expected a constant of 0 to 10000, found {}", weights.rank_constant);
            problem("rank_constant", message, "leave it out for what was measured");
        }
        if !(-1.0..=1.0).contains(&weights.least_cosine) {
            let message = format!("expected a cosine of -1 to 1, found {}", weights.least_cosine);
            problem("least_cosine", message, "leave it out for 0.1");
        }
        if !(1..=3_200).contains(&weights.neighbours) {
            let message = format!("expected 1 to 3200 neighbours, found {}", weights.neighbours);
            problem("neighbours", message, "100 is usual");
        }
        if !(1..=10_000).contains(&self.limit) {
            problem("limit", format!("expected a limit of 1 to 10000, found {}", self.limit), "5 fit on a screen");
        }
        found
    }

    /// The columns that are shown and that the tables do not have; `columns` are those of a table, where they are known.
    pub(crate) fn unknown_columns(
        &self,
        text: &str,
        columns: &dyn Fn(&TableName) -> Option<Vec<String>>,
    ) -> Vec<SearchProblem> {
        let mut found = Vec::new();
        for (table, section) in &self.targets {
            let Some(known) = columns(table) else { continue };
            let shown = section.line.iter().map(|column| ("line", column));
            let shown = shown.chain(section.title.iter().map(|column| ("title", column)));
            for (key, column) in shown.filter(|(_, column)| !known.contains(column)) {
                let message = format!("expected a column of `{table}`, found `{column}`");
                let hint = format!("its columns are {}", known.join(", "));
                found.push((in_target(text, table, &[key, column]), message, hint));
            }
        }
        found
    }

    /// What is said of a table.
    pub(crate) fn of(&self, table: &TableName) -> Option<&SearchedSection> {
        self.targets.get(table)
    }
}

/// What is wrong with the section of a configuration, as far as its file tells.
pub(super) fn problems(config: &Config, file: &str, text: &str) -> Vec<Diagnostic> {
    diagnostics(file, config.search.problems(text, config))
}

/// Problems as they are told.
pub(crate) fn diagnostics(file: &str, problems: Vec<SearchProblem>) -> Vec<Diagnostic> {
    let told =
        |((line, column), message, hint)| Diagnostic { file: file.to_owned(), line, column, message, hint: Some(hint) };
    problems.into_iter().map(told).collect()
}

/// The tables of `[sync]` that can be searched.
pub(crate) fn searchable(config: &Config) -> impl Iterator<Item = (&TableName, &SyncSection)> {
    config.sync.iter().filter(|(_, sync)| !sync.text.is_empty() || sync.vector.is_some())
}

/// Where a key, and behind it a value, stand in the section of a target; its head, if they do not.
fn in_target(text: &str, table: &TableName, words: &[&str]) -> (usize, usize) {
    in_section(text, &format!("[search.targets.\"{table}\""), words)
}

/// Where the last of some words stands behind the head of a section, each behind the one before it; as far as they do.
fn in_section(text: &str, head: &str, words: &[&str]) -> (usize, usize) {
    let found = text.find(head);
    let start = found.unwrap_or(0);
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut offset = start;
    let mut behind = found.map_or(0, |at| at + head.len());
    for word in words {
        let is_whole = |at: &usize| !text[..*at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part);
        let Some(at) = text[behind..].match_indices(word).map(|(at, _)| behind + at).find(is_whole) else { break };
        (offset, behind) = (at, at + word.len());
    }
    toml_error::position(text, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"[project]
name = "films"
timezone = "UTC"
sources = "sources"
models = "sql"

[identity]
key = "file:.onggi/identity.key"

[sync."marts.films"]
key = "film_id"
sinks = ["keywords"]
title = "name"
text = ["name", "plot"]
"#;

    fn said(section: &str) -> String {
        match Config::parse("onggi.toml", &format!("{HEAD}\n{section}\n")) {
            Ok(_) => String::new(),
            Err(error) => crate::exit::render(&error),
        }
    }

    #[test]
    fn without_a_section_neutral_defaults_hold() {
        let config = Config::parse("onggi.toml", HEAD).unwrap();
        assert_eq!((config.search.limit, config.search.labels.tag.as_str()), (5, "tag"));
        assert!(config.search.targets.is_empty() && config.search.words.frame.is_empty());
        assert_eq!(searchable(&config).count(), 1);
    }

    #[test]
    fn what_is_not_there_is_refused_where_it_stands() {
        let target = |body: &str| format!("[search.targets.\"marts.films\"]\n{body}");
        let cases = [
            (
                target("columns = [\"plot\", \"plo\"]"),
                "onggi.toml:17:21: expected one of the `text` columns of `[sync.\"marts.films\"]`, found `plo`",
            ),
            (target("column_weights = { nam = 2.0 }"), "onggi.toml:17:20: expected one of the `text` columns"),
            (
                target("column_weights = { name = 0.0 }"),
                "onggi.toml:17:20: expected a weight above 0 and up to 1000, found 0",
            ),
            (target("weight = nan"), "onggi.toml:17:1: expected a weight above 0"),
            (
                target("line = [\"plot\"]\nlabels = { year = \"from\" }"),
                "onggi.toml:18:12: expected a column of `line`",
            ),
            (target("colums = []"), "onggi.toml:17:1: expected one of `weight`, `columns`"),
            (
                "[search.targets.\"marts.film\"]\nweight = 1.0".to_owned(),
                "onggi.toml:16:1: expected a table of `[sync]` with texts or a vector, found `marts.film`",
            ),
            (
                "[search.weights]\nkeyword = -1.0".to_owned(),
                "onggi.toml:17:1: expected a weight of 0 to 1000, found -1",
            ),
            (
                "[search.weights]\nkeyword = 0.0\nvector = 0.0".to_owned(),
                "onggi.toml:17:1: expected a weight above 0 for `keyword` or `vector`",
            ),
            ("[search]\nlimit = 0".to_owned(), "onggi.toml:17:1: expected a limit of 1 to 10000, found 0"),
            ("[search.weights]\nneighbours = 100000".to_owned(), "onggi.toml:17:1: expected 1 to 3200 neighbours"),
        ];
        for (section, expected) in cases {
            let said = said(&section);
            assert!(said.contains(expected), "{section}\n{said}");
            assert!(said.contains("hint:"), "{said}");
        }
    }

    #[test]
    fn the_projects_of_this_repository_say_everything_that_a_language_needs() {
        for text in [include_str!("../../../onggi.toml"), include_str!("../../../onggi.cloud.toml")] {
            let config = Config::parse("onggi.toml", text).unwrap();
            let words = &config.search.words;
            assert!(
                words.join_short && words.frame.len() > 20 && words.particles.len() > 20 && words.related.len() > 10
            );
            assert!(words.related.values().flatten().all(|word| word != "1인"), "each `1인분` would be somebody alone");
            assert_eq!(config.search.targets.len(), 2);
            let shown = config.search.unknown_columns(text, &|_| Some(vec!["name".to_owned()]));
            assert_eq!(shown.len(), 3, "{shown:?}");
        }
    }
}
