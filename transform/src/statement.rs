//! A statement as it was typed, read far enough to know what it leans on: tables, functions, `$dt`.
//!
//! Places are those of the file, comments included, so that every later message can point at them. A statement that is too deep
//! to plan is refused here: planners recurse, and a stack that overflows takes the whole process with it, not one query.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use catalog::{Date, TableName};
use datafusion::common::DataFusionError;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, DataType, Expr, Ident, ObjectName, Query, Select, SelectItem, Statement as Sql, TableFactor,
    TypedString, Value, ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Word};

use crate::error::{Error, Result};
use crate::model::Place;

/// Longest chain of operators in one expression, such as `a or b or c …`: each link is one more level of the plan.
const MAX_OPERATORS: usize = 500;
/// Most joins and set operations in one statement, for the same reason.
const MAX_RELATIONS: usize = 200;
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
    let statement = Statement::parse(sql).map_err(Wrong::into_error)?;
    statement.tables().map(|(name, _)| name.parse().map_err(|_| no_such_table(name))).collect()
}

fn no_such_table(name: &str) -> Error {
    Error::NoSuchTable {
        table: name.to_owned(),
        model: None,
        hint: Some("a table is `layer.name`, such as `staging.reviews`".to_owned()),
    }
}

/// What is wrong with a text, and where if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) message: String,
    pub(crate) place: Option<Place>,
    pub(crate) hint: Option<String>,
}

impl Wrong {
    fn new(message: impl Into<String>, place: Option<Place>) -> Self {
        Self { message: message.into(), place, hint: None }
    }

    pub(crate) fn into_error(self) -> Error {
        let at = self.place.map_or_else(String::new, |at| format!(" (line {}, column {})", at.line, at.column));
        Error::Sql { message: format!("{}{at}", self.message), hint: self.hint }
    }
}

/// A parsed statement and what it leans on.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    parsed: Parsed,
    /// The text without comments and white space, in one case: two statements with the same one mean the same.
    pub(crate) normal: String,
    relations: Vec<(String, Place)>,
    functions: Vec<(String, Place)>,
    parameters: Vec<(String, Place)>,
    /// How often `$dt` stands as one side of `column = $dt`.
    equalities: usize,
}

/// The days that `$dt` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Days {
    /// The day of the run.
    One(Date),
    /// `column = $dt` becomes: the column is one of these.
    Each(Vec<Date>),
    /// `column = $dt` becomes: the column has a value.
    All,
}

impl Statement {
    /// Parses exactly one statement.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        let dialect = GenericDialect {};
        let tokens = Tokenizer::new(&dialect, text)
            .tokenize_with_location()
            .map_err(|err| Wrong::new(lower(&err.message), Some(place_of(err.location.line, err.location.column))))?;
        measure(&tokens)?;
        let normal = normal_form(&tokens);
        let mut statements = DFParserBuilder::new(tokens)
            .with_dialect(&dialect)
            .with_recursion_limit(MAX_NESTING)
            .build()
            .and_then(|mut parser| parser.parse_statements())
            .map_err(|err| syntax(&err))?;
        let parsed = statements.pop_front().ok_or_else(|| Wrong::new("expected a query, found nothing", None))?;
        if !statements.is_empty() {
            return Err(Wrong::new("expected one statement, found several", None));
        }
        let mut statement = Self {
            parsed,
            normal,
            relations: Vec::new(),
            functions: Vec::new(),
            parameters: Vec::new(),
            equalities: 0,
        };
        let mut reader = Reader::default();
        if let Some(sql) = statement.sql() {
            let _ = sql.visit(&mut reader);
        }
        statement.relations = reader.relations;
        statement.functions = reader.functions;
        statement.parameters = reader.parameters;
        statement.equalities = reader.equalities;
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
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&str, Place)> {
        self.relations.iter().map(|(name, place)| (name.as_str(), *place))
    }

    /// Whether it speaks of the day.
    pub(crate) fn uses_dt(&self) -> bool {
        self.parameters.iter().any(|(name, _)| name == "$dt")
    }

    /// The place of a `$dt` that is not one side of `column = $dt`, if there is such a one.
    pub(crate) fn dt_beyond_equality(&self) -> Option<Place> {
        let mentioned: Vec<_> = self.parameters.iter().filter(|(name, _)| name == "$dt").collect();
        (mentioned.len() > self.equalities).then(|| mentioned.first().map(|(_, place)| *place)).flatten()
    }

    /// How often `column = $dt` stands in it.
    pub(crate) fn dt_equalities(&self) -> usize {
        self.equalities
    }

    /// Parameters other than `$dt`.
    pub(crate) fn unknown_parameters(&self) -> impl Iterator<Item = (&str, Place)> {
        self.parameters.iter().filter(|(name, _)| name != "$dt").map(|(name, place)| (name.as_str(), *place))
    }

    /// The functions it calls.
    pub(crate) fn calls(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().map(|(name, _)| name.as_str())
    }

    /// Functions that answer differently each time.
    pub(crate) fn unrepeatable(&self) -> impl Iterator<Item = (&str, Place)> {
        self.functions
            .iter()
            .filter(|(name, _)| UNREPEATABLE.contains(&name.as_str()))
            .map(|(name, place)| (name.as_str(), *place))
    }

    /// Where a column or function of this name is mentioned first in a text.
    pub(crate) fn find_word(text: &str, word: &str) -> Option<Place> {
        let mut tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().ok()?.into_iter();
        tokens.find_map(|token| match token.token {
            Token::Word(Word { value, .. }) if value.eq_ignore_ascii_case(word) => Some(place(token.span)),
            _ => None,
        })
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
    pub(crate) fn without(parsed: &mut Parsed, place: Place) -> bool {
        let mut blank = Blank { place, done: false };
        if let Parsed::Statement(sql) = parsed {
            let _ = sql.visit(&mut blank);
        }
        blank.done
    }
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

fn place_of(line: u64, column: u64) -> Place {
    Place { line: usize::try_from(line).unwrap_or(0), column: usize::try_from(column).unwrap_or(0) }
}

pub(crate) fn place(span: Span) -> Place {
    place_of(span.start.line, span.start.column)
}

/// A message of the parser in our voice, with its place taken out of the text.
fn syntax(err: &DataFusionError) -> Wrong {
    let text = match err.find_root() {
        DataFusionError::SQL(parser, _) => parser.to_string(),
        other => other.message().into_owned(),
    };
    let text = text.trim_start_matches("sql parser error: ").to_owned();
    if text.contains("recursion limit") {
        return Wrong::new(format!("the statement is nested deeper than {MAX_NESTING} levels"), None);
    }
    let (message, at) = text.rsplit_once(" at Line: ").map_or((text.as_str(), None), |(message, at)| {
        let at = at.split_once(", Column: ");
        (message, at.and_then(|(line, column)| Some(place_of(line.parse().ok()?, column.trim().parse().ok()?))))
    });
    let message = message.replacen("Expected: ", "expected ", 1).replace(", found: EOF", ", found the end");
    Wrong::new(lower(&message.replace(", found: ", ", found ")), at)
}

/// Our messages begin in lower case.
pub(crate) fn lower(message: &str) -> String {
    let mut letters = message.chars();
    match letters.next() {
        Some(first) if !message.starts_with("SQL") => first.to_lowercase().chain(letters).collect(),
        _ => message.to_owned(),
    }
}

/// Refuses what would overflow a planner's stack.
fn measure(tokens: &[TokenWithSpan]) -> Result<(), Wrong> {
    let (mut operators, mut relations) = (0, 0);
    for token in tokens {
        match &token.token {
            Token::Comma | Token::SemiColon => operators = 0,
            Token::Word(word) => match word.keyword {
                Keyword::AND | Keyword::OR | Keyword::NOT => operators += 1,
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::GROUP | Keyword::WHEN => operators = 0,
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::JOIN => relations += 1,
                _ => {}
            },
            Token::Plus
            | Token::Minus
            | Token::Mul
            | Token::Div
            | Token::Mod
            | Token::StringConcat
            | Token::Pipe
            | Token::Ampersand
            | Token::Eq
            | Token::Neq
            | Token::Lt
            | Token::Gt
            | Token::LtEq
            | Token::GtEq
            | Token::DoubleColon => operators += 1,
            _ => {}
        }
        if operators > MAX_OPERATORS || relations > MAX_RELATIONS {
            let (what, most) = if operators > MAX_OPERATORS {
                ("operators in one expression", MAX_OPERATORS)
            } else {
                ("joins and unions", MAX_RELATIONS)
            };
            let mut wrong = Wrong::new(format!("expected at most {most} {what}, found more"), Some(place(token.span)));
            wrong.hint = Some("a long chain of `or` is shorter as `in (…)`; a long list belongs in a table".to_owned());
            return Err(wrong);
        }
    }
    Ok(())
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

/// Collects what the statement leans on. Names that a `with` defines are tables only outside of it.
#[derive(Default)]
struct Reader {
    relations: Vec<(String, Place)>,
    functions: Vec<(String, Place)>,
    parameters: Vec<(String, Place)>,
    equalities: usize,
    defined: Vec<String>,
    /// Names that turned out to be table functions.
    called: Vec<Place>,
}

fn ident_name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn object_name(name: &ObjectName) -> (String, Place) {
    let idents: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    let text = idents.iter().map(|ident| ident_name(ident)).collect::<Vec<_>>().join(".");
    (text, idents.first().map(|ident| place(ident.span)).unwrap_or_default())
}

fn is_dt(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) if name == "$dt")
}

/// The column of `column = $dt`, whichever side it is on.
fn equals_dt(expr: &Expr) -> Option<&Expr> {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr else { return None };
    let column = if is_dt(right) {
        left
    } else if is_dt(left) {
        right
    } else {
        return None;
    };
    matches!(column.as_ref(), Expr::Identifier(_) | Expr::CompoundIdentifier(_)).then(|| column.as_ref())
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                if !with.recursive {
                    // Its own name is not yet defined inside it; what is found here is found again below, and is kept once.
                    let (parameters, equalities, functions) =
                        (self.parameters.len(), self.equalities, self.functions.len());
                    cte.visit(self)?;
                    self.parameters.truncate(parameters);
                    self.equalities = equalities;
                    self.functions.truncate(functions);
                }
                self.defined.push(ident_name(&cte.alias.name));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let defined = query.with.as_ref().map_or(0, |with| with.cte_tables.len());
        self.defined.truncate(self.defined.len() - defined);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            self.called.push(object_name(name).1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let (name, place) = object_name(relation);
        let known = self.defined.contains(&name)
            || self.called.contains(&place)
            || self.relations.iter().any(|(there, _)| *there == name);
        if !known {
            self.relations.push((name, place));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.equalities += usize::from(equals_dt(expr).is_some());
        match expr {
            Expr::Function(function) => self.functions.push(object_name(&function.name)),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) => {
                self.parameters.push((name.clone(), place(*span)));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Substitute<'a> {
    days: &'a Days,
}

fn date_literal(day: Date) -> Expr {
    Expr::TypedString(TypedString {
        data_type: DataType::Date,
        value: ValueWithSpan { value: Value::SingleQuotedString(day.to_string()), span: Span::empty() },
        uses_odbc_syntax: false,
    })
}

impl VisitorMut for Substitute<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(column) = equals_dt(expr) {
            let column = Box::new(column.clone());
            match self.days {
                Days::One(_) => {}
                Days::Each(days) => {
                    *expr = Expr::InList {
                        expr: column,
                        list: days.iter().copied().map(date_literal).collect(),
                        negated: false,
                    };
                }
                Days::All => *expr = Expr::IsNotNull(column),
            }
        } else if let Days::One(day) = self.days
            && is_dt(expr)
        {
            *expr = date_literal(*day);
        }
        ControlFlow::Continue(())
    }
}

fn null() -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Null, span: Span::empty() })
}

/// Blanks the column or call that begins at a place.
struct Blank {
    place: Place,
    done: bool,
}

impl Blank {
    /// The last word of the column or call, if it begins at the place.
    fn name(&self, expr: &Expr) -> Option<Ident> {
        let idents: Vec<&Ident> = match expr {
            Expr::Identifier(ident) => vec![ident],
            Expr::CompoundIdentifier(idents) => idents.iter().collect(),
            Expr::Function(function) => function.name.0.iter().filter_map(|part| part.as_ident()).collect(),
            _ => return None,
        };
        (idents.first().map(|ident| place(ident.span)) == Some(self.place)).then(|| idents.last().copied().cloned())?
    }
}

impl VisitorMut for Blank {
    type Break = ();

    // A blank in the list of a `select` keeps its name: two blanks must not be two columns of one name.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(alias) = self.name(expr)
            {
                *item = SelectItem::ExprWithAlias { expr: null(), alias };
                self.done = true;
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.name(expr).is_some() {
            *expr = null();
            self.done = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(sql: &str) -> Vec<String> {
        Statement::parse(sql).unwrap().tables().map(|(name, at)| format!("{name}@{}:{}", at.line, at.column)).collect()
    }

    #[test]
    fn tables_are_found_wherever_they_stand() {
        let cases: &[(&str, &[&str])] = &[
            ("select 1", &[]),
            ("select * from raw.a", &["raw.a@1:15"]),
            ("-- head\nselect *\nfrom RAW.A as x", &["raw.a@3:6"]),
            (
                "select * from raw.a join raw.b using (id) where id in (select id from raw.c)",
                &["raw.a@1:15", "raw.b@1:26", "raw.c@1:71"],
            ),
            (
                "with t as (select * from raw.a), u as (select * from t) select * from u, raw.b",
                &["raw.a@1:26", "raw.b@1:74"],
            ),
            ("with t as (select * from t) select * from t", &["t@1:26"]),
            ("(with t as (select 1) select * from t) union all (select * from t)", &["t@1:65"]),
            ("with recursive n as (select 1 as i union all select i + 1 from n where i < 9) select * from n", &[]),
            ("select (select max(x) from raw.b) from raw.a", &["raw.b@1:28", "raw.a@1:40"]),
            ("select * from generate_series(1, 3)", &[]),
            ("explain select * from raw.a", &["raw.a@1:23"]),
            ("select 'from raw.z' from raw.a -- from raw.y", &["raw.a@1:26"]),
        ];
        for (sql, expected) in cases {
            assert_eq!(tables(sql), *expected, "{sql}");
        }
    }

    #[test]
    fn comments_case_and_space_mean_nothing() {
        let normal = |sql: &str| Statement::parse(sql).unwrap().normal;
        assert_eq!(normal("-- a\nSELECT  a,b FROM raw.T /* x */ ;"), normal("select a , b\nfrom raw.t"));
        assert_ne!(normal("select 'A' from raw.t"), normal("select 'a' from raw.t"));
        assert_ne!(normal("select \"A\" from raw.t"), normal("select a from raw.t"));
    }

    #[test]
    fn the_day_is_put_in() {
        let statement = Statement::parse("select $dt as d from raw.a x where x.dt = $dt and $dt > y").unwrap();
        assert_eq!(
            statement.on(&Days::One("2026-10-01".parse().unwrap())).to_string(),
            "SELECT DATE '2026-10-01' AS d FROM raw.a x WHERE x.dt = DATE '2026-10-01' AND DATE '2026-10-01' > y"
        );
        assert_eq!(statement.dt_beyond_equality(), Some(Place { line: 1, column: 8 }));
        assert_eq!(statement.dt_equalities(), 1);
        let statement = Statement::parse("with t as (select * from raw.a where $dt = dt) select * from t").unwrap();
        assert_eq!(statement.dt_beyond_equality(), None);
        let days = vec!["2026-10-01".parse().unwrap(), "2026-10-02".parse().unwrap()];
        assert_eq!(
            statement.on(&Days::Each(days)).to_string(),
            "WITH t AS (SELECT * FROM raw.a WHERE dt IN (DATE '2026-10-01', DATE '2026-10-02')) SELECT * FROM t"
        );
        assert_eq!(
            statement.on(&Days::All).to_string(),
            "WITH t AS (SELECT * FROM raw.a WHERE dt IS NOT NULL) SELECT * FROM t"
        );
    }

    #[test]
    fn what_is_too_deep_is_refused_and_not_planned() {
        let long = format!("select {}", vec!["1"; 3_000].join(" + "));
        assert!(Statement::parse(&long).unwrap_err().message.contains("at most 500 operators"));
        let nested = format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(Statement::parse(&nested).unwrap_err().message.contains("nested deeper"));
        let unions = vec!["select 1"; 1_000].join(" union all ");
        assert!(Statement::parse(&unions).unwrap_err().message.contains("at most 200 joins"));
        let list = format!("select {} from raw.a", vec!["a + 1"; 1_000].join(", "));
        assert!(Statement::parse(&list).is_ok());
    }

    #[test]
    fn a_syntax_error_has_a_place() {
        let wrong = Statement::parse("select a\nfrm raw.a where").unwrap_err();
        assert_eq!(
            (wrong.message.as_str(), wrong.place),
            ("expected end of statement, found raw", Some(Place { line: 2, column: 5 }))
        );
        let wrong = Statement::parse("select 'a").unwrap_err();
        assert_eq!(wrong.place, Some(Place { line: 1, column: 8 }));
        assert_eq!(
            Statement::parse("select 1; select 2").unwrap_err().message,
            "expected one statement, found several"
        );
    }

    #[test]
    fn only_questions_are_questions() {
        for sql in [
            "select 1",
            "explain select 1",
            "explain analyze select 1",
            "show tables",
            "describe raw.a",
            "with t as (select 1) select * from t",
        ] {
            assert_eq!(Statement::parse(sql).unwrap().beyond_asking(), None, "{sql}");
        }
        for sql in [
            "insert into raw.a values (1)",
            "drop table raw.a",
            "create table a as select 1",
            "copy raw.a to 'x'",
            "set a = 1",
            "explain insert into raw.a select 1",
        ] {
            assert!(Statement::parse(sql).unwrap().beyond_asking().is_some(), "{sql}");
        }
    }
}
