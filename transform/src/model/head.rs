//! The comment head of a model: what SQL can't say about a table.
//!
//! ```sql
//! -- One row per review: the newest fetch wins.
//! -- materialize: latest by review_id order by fetched_at
//! -- key: review_id
//! -- set_aside: between(rating, 0, 5), length(body, 0, 100000)
//! -- check: unique(review_id), references(place_id, staging.places)
//! -- tag: daily
//! ```
//!
//! The head ends where SQL begins; blank lines don't end it. A line is a setting when its first word is one of five and a colon
//! follows; any other line is the description. So that no setting is read as prose, it is an error if a first word is nearly
//! one of the five, if a line says what only a setting says, and if one stands below the head.

use std::fmt;

use catalog::{Diagnostic, TableName};

use crate::materialization::{MATERIALIZATIONS, Materialization};
use crate::nearest::nearest;
use crate::position::Position;

mod misread;

use misread::{below, first_word, meant};

/// The words that begin a setting.
pub const SETTINGS: [&str; 5] = ["materialize", "key", "set_aside", "check", "tag"];
/// What can be checked of rows.
pub const CHECKS: [&str; 6] = ["not_null", "unique", "between", "length", "accepted", "references"];

/// What must be true of every row; a check is a query that returns the rows of which it is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Check {
    /// The column has a value.
    NotNull(String),
    /// No two rows agree in all of these columns.
    Unique(Vec<String>),
    /// The value, where there is one, lies between two literals, both included.
    Between(String, String, String),
    /// The text, where there is one, has at least and at most so many characters.
    Length(String, String, String),
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
            | Self::Length(column, ..)
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
            Self::Length(column, low, high) => write!(f, "length({column}, {low}, {high})"),
            Self::Accepted(column, values) => write!(f, "accepted({column}, {})", values.join(", ")),
            Self::References { column, table, other } if column == other => write!(f, "references({column}, {table})"),
            Self::References { column, table, other } => write!(f, "references({column}, {table})[{other}]"),
        }
    }
}

/// A head as read, with the places of what may turn out wrong later.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) description: String,
    pub(crate) materialize: Option<(Materialization, Position)>,
    pub(crate) key: Vec<(String, Position)>,
    /// Rows that break one of these are left out and counted.
    pub(crate) set_aside: Vec<(Check, Position)>,
    pub(crate) checks: Vec<(Check, Position)>,
    pub(crate) tags: Vec<String>,
}

/// Reads the comment lines at the top of a file. What is wrong is added to `problems`.
pub(crate) fn parse(file: &str, text: &str, problems: &mut Vec<Diagnostic>) -> Head {
    let mut head = Head::default();
    let mut described: Vec<&str> = Vec::new();
    let mut length = 0;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        if line.trim_start().is_empty() {
            continue;
        }
        let Some(comment) = line.trim_start().strip_prefix("--") else { break };
        length = number + 1;
        let comment = comment.trim_start_matches('-');
        let column = chars(line) - chars(comment);
        let mut reader = HeadReader { file, line: number + 1, column, rest: comment, problems: &mut *problems };
        let (word, colon) = reader.first_word();
        if colon && SETTINGS.contains(&word.as_str()) {
            reader.take_setting(&word, &mut head);
        } else if let Some((message, hint)) = meant(comment) {
            reader.skip_spaces();
            reader.report(message, Some(hint));
        } else {
            described.push(comment.trim());
        }
    }
    described.join("\n").trim().clone_into(&mut head.description);
    below(file, text, length, problems);
    head
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// What is left of one line, and where that is.
struct HeadReader<'a> {
    file: &'a str,
    line: usize,
    /// How many characters stand before `rest`.
    column: usize,
    rest: &'a str,
    problems: &'a mut Vec<Diagnostic>,
}

/// A list of arguments that was not what was expected: already reported.
struct Reported;

impl<'a> HeadReader<'a> {
    fn place(&self) -> Position {
        Position { line: self.line, column: self.column + 1 }
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
        first_word(self.rest)
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

    fn column_names(&mut self) -> Result<Vec<(String, Position)>, Reported> {
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
            "check" => self.checks(&mut head.checks),
            "set_aside" => self.row_checks(&mut head.set_aside),
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

    fn checks(&mut self, into: &mut Vec<(Check, Position)>) -> Result<(), Reported> {
        loop {
            self.skip_spaces();
            let place = self.place();
            into.extend(self.check()?.into_iter().map(|check| (check, place)));
            if !self.eat(",") {
                return Ok(());
            }
        }
    }

    /// Checks that can be decided from one row alone.
    fn row_checks(&mut self, into: &mut Vec<(Check, Position)>) -> Result<(), Reported> {
        let mut found = Vec::new();
        self.checks(&mut found)?;
        for (check, place) in found {
            if matches!(check, Check::Unique(_) | Check::References { .. }) {
                self.problems.push(Diagnostic {
                    file: self.file.to_owned(),
                    line: place.line,
                    column: place.column,
                    message: format!("`{check}` looks at more than one row"),
                    hint: Some("only what a row says of itself can set it aside; write it as a `check:`".to_owned()),
                });
                return Err(Reported);
            }
            into.push((check, place));
        }
        Ok(())
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
            "between" | "length" => {
                let column = self.column_name()?;
                self.expect(",")?;
                let low = self.literal()?;
                self.expect(",")?;
                let high = self.literal()?;
                let between = name == "between";
                vec![if between { Check::Between(column, low, high) } else { Check::Length(column, low, high) }]
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
mod tests;
