//! A statement as it was typed, read far enough to know what it leans on: tables, functions, `$dt`.
//!
//! Places are those of the file, comments included, so that every later message can point at them. A statement that is too deep
//! to plan is refused here: planners recurse, and a stack that overflows takes the whole process with it, not one query.

mod edit;
mod extent;
mod number;
mod passed_over;
mod reader;
mod rows;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use catalog::TableName;
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{Query, Statement as Sql, Visit, VisitMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use crate::error::{Error, Result};
use crate::explain::SqlProblem;
use crate::fault::lower;
use crate::position::Position;

pub(crate) use edit::Days;
use edit::{Blank, Substitute};
use reader::{OutputNames, SortedBeside, StatementReader};

/// Deepest nesting of parentheses and subqueries that the parser follows.
const MAX_NESTING: usize = 50;

/// Functions whose answer is not a function of their arguments: a model that used one could not be built twice.
const UNREPEATABLE: [&str; 8] =
    ["now", "current_date", "current_time", "current_timestamp", "today", "random", "uuid", "gen_random_uuid"];

/// The tables that a statement reads, in order of name. Tables that it defines itself (`with`) are not among them.
///
/// ```
/// let parents = transform::parents("with new as (select * from raw.a) select * from new join staging.b using (id)")?;
/// let names: Vec<String> = parents.iter().map(ToString::to_string).collect();
/// assert_eq!(names, ["raw.a", "staging.b"]);
/// # Ok::<(), transform::Error>(())
/// ```
pub fn parents(sql: &str) -> Result<BTreeSet<TableName>> {
    let statement = Statement::parse(sql).map_err(Error::from)?;
    statement.tables().map(|(name, _)| name.parse().map_err(|_| no_such_table(name))).collect()
}

fn no_such_table(name: &str) -> Error {
    Error::NoSuchTable {
        table: name.to_owned(),
        model: None,
        hint: Some("a table is `layer.name`, such as `staging.reviews`".to_owned()),
    }
}

/// A parsed statement and what it leans on.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    parsed: Parsed,
    /// The text without comments and white space, in one case: two statements with the same one mean the same.
    pub(crate) normal: String,
    relations: Vec<(String, Position)>,
    functions: Vec<(String, Position)>,
    parameters: Vec<(String, Position)>,
    /// How often `$dt` stands as one side of `column = $dt`.
    equalities: usize,
    /// What takes some of several rows with no word of which, and where.
    unordered: Vec<(&'static str, Position)>,
    /// Whether `*` stands in it, or anything else that means whatever columns there are.
    all_columns: bool,
}

impl Statement {
    /// Parses exactly one statement.
    pub(crate) fn parse(text: &str) -> Result<Self, SqlProblem> {
        let dialect = GenericDialect {};
        let tokens = Tokenizer::new(&dialect, text)
            .tokenize_with_location()
            .map_err(|err| SqlProblem::new(lower(&err.message), Some(err.location.into())))?;
        extent::of_tokens(&tokens)?;
        let normal = normal_form(&tokens);
        let mut statements = DFParserBuilder::new(tokens)
            .with_dialect(&dialect)
            .with_recursion_limit(MAX_NESTING)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|err| syntax(&err))?;
        let mut parsed =
            statements.pop_front().ok_or_else(|| SqlProblem::new("expected a query, found nothing", None))?;
        if !statements.is_empty() {
            return Err(SqlProblem::new("expected one statement, found several", None));
        }
        keep_numbers(&mut parsed);
        let mut statement = Self {
            parsed,
            normal,
            relations: Vec::new(),
            functions: Vec::new(),
            parameters: Vec::new(),
            equalities: 0,
            unordered: Vec::new(),
            all_columns: false,
        };
        let mut reader = StatementReader::default();
        if let Some(sql) = statement.sql() {
            extent::of_queries(sql)?;
            if let ControlFlow::Break(part) = sql.visit(&mut passed_over::Seeker) {
                let place = Self::find_word(text, &part.word);
                let message = format!("`{}` is not understood here", part.what);
                return Err(SqlProblem::new(message, place).with_hint(part.hint));
            }
        }
        rows_by_value(&mut statement.parsed)?;
        if let Some(sql) = statement.sql() {
            let _ = sql.visit(&mut reader);
        }
        if let Some(place) = reader.swallowing {
            let message = "`is distinct from` takes all that follows it for its right side, `and` and `or` too";
            return Err(SqlProblem::new(message, Some(place))
                .with_hint("put it into parentheses: `(a is distinct from b) and …`"));
        }
        statement.relations = reader.relations;
        statement.functions = reader.functions;
        statement.parameters = reader.parameters;
        statement.equalities = reader.equalities;
        statement.unordered = reader.unordered;
        statement.all_columns = reader.all_columns;
        Ok(statement)
    }

    /// The statement inside, under any number of `explain`.
    fn sql(&self) -> Option<&Sql> {
        let mut parsed = &self.parsed;
        loop {
            match parsed {
                Parsed::Statement(sql) => return Some(sql),
                Parsed::Explain(explain) => parsed = &explain.statement,
                _ => return None,
            }
        }
    }

    /// The query, if the statement is one and nothing else.
    pub(crate) fn query(&self) -> Option<&Query> {
        match &self.parsed {
            Parsed::Statement(sql) => match sql.as_ref() {
                Sql::Query(query) => Some(query),
                _ => None,
            },
            _ => None,
        }
    }

    /// What the statement does, when it does more than ask.
    pub(crate) fn beyond_asking(&self) -> Option<String> {
        let asks = match self.sql() {
            Some(Sql::Query(_) | Sql::ExplainTable { .. } | Sql::Explain { .. }) => true,
            Some(sql) => is_show(sql),
            None => false,
        };
        let first = self.normal.split(' ').next().unwrap_or_default();
        (!asks).then(|| first.to_owned())
    }

    /// Whether the engine answers from `information_schema`, so that all tables must be known to it.
    pub(crate) fn needs_information_schema(&self) -> bool {
        self.sql().is_some_and(is_show)
            || self.relations.iter().any(|(name, _)| name.starts_with("information_schema."))
    }

    /// The names of the tables it reads, each once, with the place of the first mention.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, Position)> {
        self.relations.iter().map(|(name, place)| (name.as_str(), *place))
    }

    /// Whether it speaks of the day.
    pub(crate) fn uses_dt(&self) -> bool {
        self.parameters.iter().any(|(name, _)| name == "$dt")
    }

    /// The place of a `$dt` that is not one side of `column = $dt`, if there is such a one.
    pub(crate) fn dt_beyond_equality(&self) -> Option<Position> {
        let mentioned: Vec<_> = self.parameters.iter().filter(|(name, _)| name == "$dt").collect();
        (mentioned.len() > self.equalities).then(|| mentioned.first().map(|(_, place)| *place)).flatten()
    }

    /// Where `$dt` is mentioned first.
    pub(crate) fn dt_place(&self) -> Option<Position> {
        self.parameters.iter().find(|(name, _)| name == "$dt").map(|(_, place)| *place)
    }

    /// How often `column = $dt` stands in it.
    pub(crate) fn dt_equalities(&self) -> usize {
        self.equalities
    }

    /// Whether its answer depends on which columns the tables have, beyond those that it names.
    pub(crate) fn takes_all_columns(&self) -> bool {
        self.all_columns
    }

    /// Parameters other than `$dt`.
    pub(crate) fn unknown_parameters(&self) -> impl Iterator<Item = (&str, Position)> {
        self.parameters.iter().filter(|(name, _)| name != "$dt").map(|(name, place)| (name.as_str(), *place))
    }

    /// The functions it calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|(name, _)| name.as_str())
    }

    /// The functions it calls, with their places.
    pub(crate) fn placed_calls(&self) -> impl Iterator<Item = (&str, Position)> {
        self.functions.iter().map(|(name, place)| (name.as_str(), *place))
    }

    /// What takes some of several rows and does not say which come first.
    pub(crate) fn unordered(&self) -> &[(&'static str, Position)] {
        &self.unordered
    }

    /// Functions that answer differently each time.
    pub(crate) fn unrepeatable(&self) -> impl Iterator<Item = (&str, Position)> {
        self.functions
            .iter()
            .filter(|(name, _)| UNREPEATABLE.contains(&name.as_str()))
            .map(|(name, place)| (name.as_str(), *place))
    }

    /// Where a column or function of this name is mentioned first in a text.
    pub(crate) fn find_word(text: &str, word: &str) -> Option<Position> {
        let mut tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?.into_iter();
        tokens.find_map(|token| match token.token {
            Token::Word(Word { value, .. }) if value.eq_ignore_ascii_case(word) => Some(token.span.into()),
            _ => None,
        })
    }

    /// Where a value is written out first in a text, or a text that begins with it.
    pub(crate) fn find_value(text: &str, value: &str) -> Option<Position> {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?;
        let is = |token: &Token| match token {
            Token::SingleQuotedString(written) => written == value || (value.len() > 7 && written.starts_with(value)),
            Token::Number(written, _) => written == value,
            _ => false,
        };
        tokens.into_iter().find(|token| is(&token.token)).map(|token| token.span.into())
    }

    /// The names that two columns of one `select` have, and where the second one stands.
    pub(crate) fn named_twice(&self) -> Vec<(String, Position)> {
        let mut names = OutputNames::default();
        if let Some(sql) = self.sql() {
            let _ = sql.visit(&mut names);
        }
        names.twice
    }

    /// The names of columns that an `order by` says with their table, beside another column of that name in the answer.
    pub(crate) fn sorted_beside_its_name(&self) -> Vec<String> {
        let mut names = SortedBeside::default();
        if let Some(sql) = self.sql() {
            let _ = sql.visit(&mut names);
        }
        names.0
    }

    /// The statement with `$dt` replaced.
    pub(crate) fn on(&self, days: &Days) -> Parsed {
        let mut parsed = self.parsed.clone();
        if let Parsed::Statement(sql) = &mut parsed {
            let _ = sql.visit(&mut Substitute { days });
        }
        parsed
    }

    /// The statement as it is.
    pub(crate) fn plain(&self) -> Parsed {
        self.parsed.clone()
    }

    /// The statement with the expression at `place` replaced by null, so that planning can go on behind an error.
    pub(crate) fn without(parsed: &mut Parsed, place: Position) -> bool {
        let mut blank = Blank { place, done: false };
        if let Parsed::Statement(sql) = parsed {
            let _ = sql.visit(&mut blank);
        }
        blank.done
    }
}

/// Keeps the digits of numbers that the engine would alter.
fn keep_numbers(parsed: &mut Parsed) {
    match parsed {
        Parsed::Statement(sql) => {
            let _ = sql.visit(&mut number::ExactNumbers);
        }
        Parsed::Explain(explain) => keep_numbers(&mut explain.statement),
        _ => {}
    }
}

/// Compares rows value by value.
fn rows_by_value(parsed: &mut Parsed) -> Result<(), SqlProblem> {
    let compared = match parsed {
        Parsed::Statement(sql) => sql.visit(&mut rows::ValueByValue),
        Parsed::Explain(explain) => return rows_by_value(&mut explain.statement),
        _ => ControlFlow::Continue(()),
    };
    compared.break_value().map_or(Ok(()), Err)
}

fn is_show(sql: &Sql) -> bool {
    matches!(
        sql,
        Sql::ShowTables { .. }
            | Sql::ShowColumns { .. }
            | Sql::ShowFunctions { .. }
            | Sql::ShowVariable { .. }
            | Sql::ShowVariables { .. }
            | Sql::ShowCreate { .. }
            | Sql::ShowSchemas { .. }
    )
}

/// A message of the parser in our voice, with its place taken out of the text.
fn syntax(err: &DataFusionError) -> SqlProblem {
    let text = match err.find_root() {
        DataFusionError::SQL(parser, _) => parser.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.trim_start_matches("sql parser error: ").to_owned();
    if text.contains("recursion limit") {
        return SqlProblem::new(format!("the statement is nested deeper than {MAX_NESTING} levels"), None);
    }
    let (message, at) = text.rsplit_once(" at Line: ").map_or((text.as_str(), None), |(message, at)| {
        let at = at.split_once(", Column: ");
        (message, at.and_then(|(line, column)| Some(Position::new(line.parse().ok()?, column.trim().parse().ok()?))))
    });
    let message = message.replacen("Expected: ", "expected ", 1).replace(", found: EOF", ", found the end");
    SqlProblem::new(lower(&message.replace(", found: ", ", found ")), at)
}

fn normal_form(tokens: &[TokenWithSpan]) -> String {
    let words: Vec<String> = tokens
        .iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF | Token::SemiColon))
        .map(|token| match &token.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_lowercase(),
            other => other.to_string(),
        })
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
