//! How large a statement is for a planner, before one sees it.
//!
//! Planners go down one level for each link of a chain, and put a `with` part in wherever it is named. A stack that overflows, or
//! memory that ends, takes the whole process along and not one query; so what is too deep, or grows too far, is refused here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Cte, ObjectName, Query, Statement as Sql, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::reader::{ident_name, object_name};
use crate::explain::SqlProblem;

/// Longest chain of operators in one expression, such as `a or b or c …`: each link is one more level of the plan.
const MAX_OPERATORS: usize = 500;
/// Most joins and set operations in one statement, for the same reason.
const MAX_RELATIONS: usize = 200;
/// Most values of one list: planners go down one level for each of them.
const MAX_VALUES: usize = 10_000;
/// Most parts of a dotted name.
const MAX_NAME: usize = 4;
/// How often tables may be read when every `with` part stands where it is named.
const MAX_EXPANDED: u64 = 2_000;
/// How many `with` parts may read one another in a row.
const MAX_LEVELS: usize = 200;

/// What stands between a pair of parentheses, or in a `case`, as far as it was read.
#[derive(Default)]
struct Level {
    /// Operators of the expression that is being read.
    operators: usize,
    /// How deep the deepest parenthesis in it is.
    below: usize,
    /// How deep the deepest expression before it is.
    deepest: usize,
    /// Values, of a list; the rows of `values` are not counted.
    values: Option<usize>,
    /// Whether tables are being listed.
    tables: bool,
    /// Whether it is a `case`.
    case: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.deepest.max(self.operators + self.below)
    }

    /// Another expression begins.
    fn next(&mut self) {
        self.deepest = self.depth();
        (self.operators, self.below) = (0, 0);
    }

    /// Goes into a pair of parentheses.
    fn open(&mut self, above: &mut Vec<Self>, inner: Self) {
        above.push(std::mem::replace(self, inner));
    }

    /// Goes back out of it.
    fn close(&mut self, above: &mut Vec<Self>) {
        let inner = std::mem::replace(self, above.pop().unwrap_or_default());
        self.below = self.below.max(inner.depth());
    }
}

/// Refuses a text with an expression that is too deep, or with too many relations or values.
pub(super) fn of_tokens(tokens: &[TokenWithSpan]) -> Result<(), SqlProblem> {
    let (mut above, mut level) = (Vec::new(), Level::default());
    let (mut relations, mut dots) = (0, 0);
    for token in tokens {
        let problem = |message: String, hint: &str| SqlProblem::new(message, Some(token.span.into())).with_hint(hint);
        dots = match &token.token {
            Token::Period => dots + 1,
            Token::Word(_) => dots,
            _ => 0,
        };
        match &token.token {
            Token::LParen | Token::LBracket => {
                // An index is a link of a chain, too.
                level.operators += usize::from(token.token == Token::LBracket);
                level.open(&mut above, Level { values: Some(0), ..Level::default() });
            }
            Token::RParen | Token::RBracket => {
                while level.case && !above.is_empty() {
                    level.close(&mut above);
                }
                level.close(&mut above);
            }
            Token::Comma => {
                relations += usize::from(level.tables);
                level.next();
                level.values = level.values.map(|values| values + 1);
            }
            Token::SemiColon => level.next(),
            Token::Period => level.operators += usize::from(dots > MAX_NAME),
            Token::Word(word) if word.keyword == Keyword::CASE => {
                level.open(&mut above, Level { case: true, ..Level::default() });
            }
            Token::Word(word) if word.keyword == Keyword::END && level.case => level.close(&mut above),
            Token::Word(word) => read_word(word.keyword, &mut level, &mut relations),
            Token::EOF | Token::Whitespace(_) | Token::Number(..) | Token::Char(_) | Token::Placeholder(_) => {}
            text if is_text(text) => {}
            _ => level.operators += 1,
        }
        if level.values.is_some_and(|values| values >= MAX_VALUES) {
            return Err(problem(
                format!("expected at most {MAX_VALUES} values in one list, found more"),
                "write `in (select v from (values (…), (…)) as t(v))`, or keep them in a table",
            ));
        }
        for (found, most, what) in [
            (level.operators + level.below, MAX_OPERATORS, "operators in one expression"),
            (relations, MAX_RELATIONS, "joins and unions"),
        ] {
            if found > most {
                return Err(problem(
                    format!("expected at most {most} {what}, found more"),
                    "a long chain of `or` is shorter as `in (…)`; a long list belongs in a table",
                ));
            }
        }
    }
    Ok(())
}

fn read_word(keyword: Keyword, level: &mut Level, relations: &mut usize) {
    match keyword {
        Keyword::AND
        | Keyword::OR
        | Keyword::XOR
        | Keyword::NOT
        | Keyword::IS
        | Keyword::IN
        | Keyword::BETWEEN
        | Keyword::LIKE
        | Keyword::ILIKE
        | Keyword::RLIKE
        | Keyword::REGEXP
        | Keyword::MATCH
        | Keyword::SIMILAR
        | Keyword::MEMBER
        | Keyword::OVERLAPS
        | Keyword::OPERATOR
        | Keyword::DIV
        | Keyword::COLLATE
        | Keyword::NOTNULL
        | Keyword::AT => level.operators += 1,
        Keyword::FROM => {
            level.next();
            level.tables = true;
        }
        Keyword::SELECT | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER | Keyword::WINDOW => {
            level.next();
            level.tables = false;
        }
        Keyword::WHEN | Keyword::THEN | Keyword::ELSE => level.next(),
        Keyword::VALUES => level.values = None,
        Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT => {
            *relations += 1;
            level.tables = false;
        }
        Keyword::JOIN => *relations += 1,
        _ => {}
    }
}

/// Whether it is a text in any of its spellings.
fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

/// How much a query is when every `with` part stands where it is named.
#[derive(Debug, Clone, Copy, Default)]
struct Expanded {
    tables: u64,
    levels: usize,
}

/// Refuses a statement whose `with` parts make it grow too far.
pub(super) fn of_queries(statement: &Sql) -> Result<(), SqlProblem> {
    let mut defined = Vec::new();
    let mut reader = ExtentReader { defined: &mut defined, found: Expanded::default(), inner: 0 };
    let _ = statement.visit(&mut reader);
    let Expanded { tables, levels } = reader.found;
    let (found, most, what) = if tables > MAX_EXPANDED {
        (tables, MAX_EXPANDED, "tables are read when each part of `with` stands where it is named")
    } else if levels > MAX_LEVELS {
        (levels as u64, MAX_LEVELS as u64, "parts of `with` read one another in a row")
    } else {
        return Ok(());
    };
    Err(SqlProblem::new(format!("{found} {what}, and {most} can be planned"), None)
        .with_hint("make what is read often a model of its own, with `-- materialize: table`"))
}

/// Adds up the relations of one query, without its `with`.
struct ExtentReader<'d> {
    defined: &'d mut Vec<(String, Expanded)>,
    found: Expanded,
    /// How many queries inside this one are being passed: they were measured when they were met.
    inner: usize,
}

fn measure(query: &Query, defined: &mut Vec<(String, Expanded)>) -> Expanded {
    let before = defined.len();
    for Cte { alias, query, .. } in query.with.iter().flat_map(|with| &with.cte_tables) {
        let part = measure(query, defined);
        // One without a table is read as often as it is named, too.
        let part = Expanded { tables: part.tables.max(1), levels: part.levels + 1 };
        defined.push((ident_name(&alias.name), part));
    }
    let mut reader = ExtentReader { defined, found: Expanded::default(), inner: 0 };
    let _ = query.body.visit(&mut reader);
    let _ = query.order_by.visit(&mut reader);
    let _ = query.limit_clause.visit(&mut reader);
    let found = reader.found;
    defined.truncate(before);
    found
}

impl ExtentReader<'_> {
    fn add(&mut self, part: Expanded) {
        self.found.tables = self.found.tables.saturating_add(part.tables);
        self.found.levels = self.found.levels.max(part.levels);
    }
}

impl Visitor for ExtentReader<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if self.inner == 0 {
            let part = measure(query, self.defined);
            self.add(part);
        }
        self.inner += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.inner -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        if self.inner == 0 {
            let (name, _) = object_name(relation);
            let part = self.defined.iter().rev().find(|(it, _)| *it == name).map(|(_, part)| *part);
            self.add(part.unwrap_or(Expanded { tables: 1, levels: 0 }));
        }
        ControlFlow::Continue(())
    }
}
