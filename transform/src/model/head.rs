//! The comment head of a model: what SQL can't say about a table.
//!
//! ```sql
//! -- One row per review: the newest fetch wins.
//! -- materialize: latest by review_id order by fetched_at
//! -- key: review_id
//! -- check: unique(review_id), between(rating, 0, 5), references(place_id, staging.places)
//! -- tag: daily
//! ```
//!
//! A line is a setting when its first word is one of four and a colon follows; any other line is the description. So that a
//! misspelt setting is not read as prose, a first word that is nearly one of the four is an error.

use std::fmt;

use catalog::{Diagnostic, TableName};

use crate::error::nearest;

/// The words that begin a setting.
const SETTINGS: [&str; 4] = ["materialize", "key", "check", "tag"];
const MATERIALIZATIONS: [&str; 4] = ["view", "partition", "table", "latest"];
const CHECKS: [&str; 5] = ["not_null", "unique", "between", "accepted", "references"];

/// How a model is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Materialization {
    /// Not kept: its SQL stands for it wherever it is read.
    View,
    /// One partition a day: `$dt` is the day, and only that day is replaced.
    Partition,
    /// Replaced whole.
    Table,
    /// The newest row of each key, over all days: rows of days that have not been merged yet meet those that are there.
    Latest {
        /// What makes two rows the same thing.
        by: Vec<String>,
        /// The greatest value wins.
        order: String,
    },
}

impl fmt::Display for Materialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View => f.write_str("view"),
            Self::Partition => f.write_str("partition"),
            Self::Table => f.write_str("table"),
            Self::Latest { by, order } => write!(f, "latest by {} order by {order}", by.join(", ")),
        }
    }
}

/// What must be true of every row; a check is a query that returns the rows of which it is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// The column has a value.
    NotNull(String),
    /// No two rows agree in all of these columns.
    Unique(Vec<String>),
    /// The value, where there is one, lies between two literals, both included.
    Between(String, String, String),
    /// The value, where there is one, is one of these literals.
    Accepted(String, Vec<String>),
    /// The value, where there is one, stands in a column of another table.
    References {
        /// The column of this model.
        column: String,
        /// The other table.
        table: TableName,
        /// The column there.
        other: String,
    },
}

impl Check {
    /// The columns of the model itself that the check reads.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::NotNull(column)
            | Self::Between(column, ..)
            | Self::Accepted(column, _)
            | Self::References { column, .. } => vec![column],
            Self::Unique(columns) => columns.iter().map(String::as_str).collect(),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNull(column) => write!(f, "not_null({column})"),
            Self::Unique(columns) => write!(f, "unique({})", columns.join(", ")),
            Self::Between(column, low, high) => write!(f, "between({column}, {low}, {high})"),
            Self::Accepted(column, values) => write!(f, "accepted({column}, {})", values.join(", ")),
            Self::References { column, table, other } if column == other => write!(f, "references({column}, {table})"),
            Self::References { column, table, other } => write!(f, "references({column}, {table})[{other}]"),
        }
    }
}

/// Where something stands in a file, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A head as read, with the places of what may turn out wrong later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) description: String,
    pub(crate) materialize: Option<(Materialization, Place)>,
    pub(crate) key: Vec<(String, Place)>,
    pub(crate) checks: Vec<(Check, Place)>,
    pub(crate) tags: Vec<String>,
}

/// Reads the comment lines at the top of a file. What is wrong is added to `problems`.
pub(crate) fn parse(file: &str, text: &str, problems: &mut Vec<Diagnostic>) -> Head {
    let mut head = Head::default();
    let mut described: Vec<&str> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.is_empty() && head.materialize.is_none() && described.is_empty() {
            continue;
        }
        let Some(comment) = line.trim_start().strip_prefix("--") else { break };
        let mut reader = Reader {
            file,
            line: number + 1,
            column: chars(line) - chars(comment),
            rest: comment,
            problems: &mut *problems,
        };
        let (word, colon) = reader.first_word();
        let setting = SETTINGS.contains(&word.as_str());
        if !colon || !setting {
            if colon && let Some(meant) = nearest(&word, SETTINGS) {
                reader.skip_spaces();
                reader.report(format!("unknown setting `{word}`"), Some(format!("did you mean `{meant}:`?")));
            } else {
                described.push(comment.trim());
            }
            continue;
        }
        reader.take_setting(&word, &mut head);
    }
    described.join("\n").trim().clone_into(&mut head.description);
    head
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// What is left of one line, and where that is.
struct Reader<'a> {
    file: &'a str,
    line: usize,
    /// How many characters stand before `rest`.
    column: usize,
    rest: &'a str,
    problems: &'a mut Vec<Diagnostic>,
}

/// A list of arguments that was not what was expected: already reported.
struct Reported;

impl<'a> Reader<'a> {
    fn place(&self) -> Place {
        Place { line: self.line, column: self.column + 1 }
    }

    fn report(&mut self, message: String, hint: Option<String>) {
        self.problems.push(Diagnostic {
            file: self.file.to_owned(),
            line: self.line,
            column: self.column + 1,
            message,
            hint,
        });
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.column += chars(taken);
        self.rest = rest;
        taken
    }

    fn skip_spaces(&mut self) {
        self.advance(self.rest.len() - self.rest.trim_start().len());
    }

    /// The first word of the line and whether a colon follows it; the line itself is not consumed.
    fn first_word(&self) -> (String, bool) {
        let text = self.rest.trim_start();
        let end = text
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_' && letter != '-')
            .unwrap_or(text.len());
        (text[..end].to_lowercase(), end > 0 && text[end..].trim_start().starts_with(':'))
    }

    fn eat(&mut self, wanted: &str) -> bool {
        self.skip_spaces();
        let found = self.rest.starts_with(wanted);
        if found {
            self.advance(wanted.len());
        }
        found
    }

    /// The next word, or an empty one.
    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        let end =
            self.rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(self.rest.len());
        self.advance(end)
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Reported> {
        if self.eat(wanted) { Ok(()) } else { Err(self.unexpected(&format!("`{wanted}`"))) }
    }

    fn unexpected(&mut self, expected: &str) -> Reported {
        self.skip_spaces();
        let found = self.rest.split([' ', ',', '(', ')']).next().filter(|found| !found.is_empty());
        let found = found.map_or_else(
            || self.rest.chars().next().map_or("the end of the line".to_owned(), |it| format!("`{it}`")),
            |it| format!("`{it}`"),
        );
        self.report(format!("expected {expected}, found {found}"), None);
        Reported
    }

    fn column_name(&mut self) -> Result<String, Reported> {
        self.skip_spaces();
        if !self.rest.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_') {
            return Err(self.unexpected("a column"));
        }
        Ok(self.word().to_owned())
    }

    fn column_names(&mut self) -> Result<Vec<(String, Place)>, Reported> {
        let mut names = Vec::new();
        loop {
            self.skip_spaces();
            let place = self.place();
            names.push((self.column_name()?, place));
            if !self.eat(",") {
                return Ok(names);
            }
        }
    }

    /// A number, or a text in single quotes, as SQL writes it.
    fn literal(&mut self) -> Result<String, Reported> {
        self.skip_spaces();
        if let Some(quoted) = self.rest.strip_prefix('\'') {
            let mut end = 0;
            loop {
                match quoted[end..].find('\'') {
                    None => return Err(self.unexpected("a text that ends with a quote")),
                    Some(quote) if quoted[end + quote + 1..].starts_with('\'') => end += quote + 2,
                    Some(quote) => return Ok(self.advance(end + quote + 2).to_owned()),
                }
            }
        }
        let end = self
            .rest
            .find(|letter: char| !letter.is_ascii_digit() && !".-+eE".contains(letter))
            .unwrap_or(self.rest.len());
        if self.rest[..end].parse::<f64>().is_err() {
            return Err(self.unexpected("a number or a text in single quotes"));
        }
        Ok(self.advance(end).to_owned())
    }

    fn take_setting(&mut self, setting: &str, head: &mut Head) {
        self.skip_spaces();
        let start = self.place();
        self.advance(setting.len());
        self.eat(":");
        self.skip_spaces();
        let place = self.place();
        let taken = match setting {
            "materialize" if head.materialize.is_some() => {
                self.problems.push(Diagnostic {
                    file: self.file.to_owned(),
                    line: start.line,
                    column: start.column,
                    message: "`materialize` is said twice".to_owned(),
                    hint: Some("keep one of them".to_owned()),
                });
                return;
            }
            "materialize" => self.materialization().map(|it| head.materialize = Some((it, place))),
            "key" => self.column_names().map(|names| head.key.extend(names)),
            "check" => self.checks(head),
            _ => self.tags(head),
        };
        self.skip_spaces();
        if taken.is_ok() && !self.rest.is_empty() {
            self.unexpected("the end of the line");
        }
    }

    fn tags(&mut self, head: &mut Head) -> Result<(), Reported> {
        loop {
            self.skip_spaces();
            let end = self.rest.find([' ', ',']).unwrap_or(self.rest.len());
            if end == 0 {
                return Err(self.unexpected("a tag"));
            }
            head.tags.push(self.advance(end).to_owned());
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    fn materialization(&mut self) -> Result<Materialization, Reported> {
        let start = (self.column, self.rest);
        let word = self.word();
        match word {
            "view" => Ok(Materialization::View),
            "partition" => Ok(Materialization::Partition),
            "table" => Ok(Materialization::Table),
            "latest" => {
                self.expect("by")?;
                let by = self.column_names()?.into_iter().map(|(name, _)| name).collect();
                self.expect("order")?;
                self.expect("by")?;
                let order = self.column_name()?;
                Ok(Materialization::Latest { by, order })
            }
            _ => {
                (self.column, self.rest) = start;
                let hint = nearest(word, MATERIALIZATIONS).map_or_else(
                    || "one of `view`, `partition`, `table`, `latest by <key> order by <column>`".to_owned(),
                    |meant| format!("did you mean `{meant}`?"),
                );
                self.report(format!("expected a materialization, found `{word}`"), Some(hint));
                Err(Reported)
            }
        }
    }

    fn checks(&mut self, head: &mut Head) -> Result<(), Reported> {
        loop {
            self.skip_spaces();
            let place = self.place();
            for check in self.check()? {
                head.checks.push((check, place));
            }
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    fn check(&mut self) -> Result<Vec<Check>, Reported> {
        let start = (self.column, self.rest);
        let name = self.word();
        if !CHECKS.contains(&name) {
            (self.column, self.rest) = start;
            let hint = nearest(name, CHECKS).map_or_else(
                || format!("the checks are {}", CHECKS.join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            self.report(format!("unknown check `{name}`"), Some(hint));
            return Err(Reported);
        }
        self.expect("(")?;
        let checks = match name {
            "not_null" => self.column_names()?.into_iter().map(|(column, _)| Check::NotNull(column)).collect(),
            "unique" => vec![Check::Unique(self.column_names()?.into_iter().map(|(column, _)| column).collect())],
            "between" => {
                let column = self.column_name()?;
                self.expect(",")?;
                let low = self.literal()?;
                self.expect(",")?;
                vec![Check::Between(column, low, self.literal()?)]
            }
            "accepted" => {
                let column = self.column_name()?;
                let mut values = Vec::new();
                self.expect(",")?;
                values.push(self.literal()?);
                while self.eat(",") {
                    values.push(self.literal()?);
                }
                vec![Check::Accepted(column, values)]
            }
            _ => return self.references().map(|check| vec![check]),
        };
        self.expect(")")?;
        Ok(checks)
    }

    /// `references(place_id, staging.places)`, with `[id]` behind it when the column has another name there.
    fn references(&mut self) -> Result<Check, Reported> {
        let column = self.column_name()?;
        self.expect(",")?;
        self.skip_spaces();
        let end = self.rest.find([' ', ',', ')']).unwrap_or(self.rest.len());
        let Ok(table) = self.rest[..end].parse::<TableName>() else {
            return Err(self.unexpected("a table such as `staging.places`"));
        };
        self.advance(end);
        self.expect(")")?;
        let mut other = column.clone();
        if self.rest.starts_with('[') {
            self.advance(1);
            other = self.column_name()?;
            self.expect("]")?;
        }
        Ok(Check::References { column, table, other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Head, Vec<String>) {
        let mut problems = Vec::new();
        let head = parse("m.sql", text, &mut problems);
        let problems = problems
            .iter()
            .map(|it| it.hint.as_ref().map_or_else(|| it.to_string(), |hint| format!("{it} ({hint})")))
            .collect();
        (head, problems)
    }

    #[test]
    fn a_whole_head_is_read() {
        let (head, problems) = read(
            "-- One row per review.\n-- The newest fetch wins: always.\n-- materialize: latest by review_id, place_id order by fetched_at\n-- key: review_id\n\
             -- check: not_null(a, b), unique(a, b), between(rating, 0, 5.5)\n-- check: accepted(kind, 'a,b', 'it''s'), references(p, staging.places)[id], references(q, raw.x)\n\
             -- tag: daily, naver\nselect 1 -- check: nothing(here)\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(head.description, "One row per review.\nThe newest fetch wins: always.");
        assert_eq!(head.materialize.unwrap().0.to_string(), "latest by review_id, place_id order by fetched_at");
        assert_eq!(head.key[0].0, "review_id");
        let checks: Vec<_> = head.checks.iter().map(|(check, _)| check.to_string()).collect();
        assert_eq!(
            checks,
            [
                "not_null(a)",
                "not_null(b)",
                "unique(a, b)",
                "between(rating, 0, 5.5)",
                "accepted(kind, 'a,b', 'it''s')",
                "references(p, staging.places)[id]",
                "references(q, raw.x)"
            ]
        );
        assert_eq!(head.tags, ["daily", "naver"]);
    }

    #[test]
    fn what_is_misspelt_is_said_with_its_place() {
        let cases = [
            ("-- materialise: table", "m.sql:1:4: unknown setting `materialise` (did you mean `materialize:`?)"),
            ("-- checks: unique(a)", "m.sql:1:4: unknown setting `checks` (did you mean `check:`?)"),
            ("-- materialize: tabel", "m.sql:1:17: expected a materialization, found `tabel` (did you mean `table`?)"),
            ("-- materialize: latest review_id", "m.sql:1:24: expected `by`, found `review_id`"),
            ("-- 설명\n-- check: unqiue(a)", "m.sql:2:11: unknown check `unqiue` (did you mean `unique`?)"),
            ("-- check: between(a, 0)", "m.sql:1:23: expected `,`, found `)`"),
            ("-- check: between(a, zero, 1)", "m.sql:1:22: expected a number or a text in single quotes, found `zero`"),
            (
                "-- check: references(a, places)",
                "m.sql:1:25: expected a table such as `staging.places`, found `places`",
            ),
            ("-- check: unique(a) not_null(b)", "m.sql:1:21: expected the end of the line, found `not_null`"),
            ("-- check: accepted(a, 'x)", "m.sql:1:23: expected a text that ends with a quote, found `'x`"),
            ("-- key:", "m.sql:1:8: expected a column, found the end of the line"),
            (
                "-- materialize: view\n-- materialize: table",
                "m.sql:2:4: `materialize` is said twice (keep one of them)",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).1, [expected], "{text}");
        }
    }

    #[test]
    fn prose_with_a_colon_is_prose() {
        let (head, problems) = read("-- Note: the page shows ten.\n-- 참고: 없음\nselect 1");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(head.description, "Note: the page shows ten.\n참고: 없음");
    }
}
