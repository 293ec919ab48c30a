//! Differences that can be seen in the text of a query.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, DateTimeField, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, NamedWindowExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned,
    Subscript, Value, ValueWithSpan, Visit, Visitor, WindowType,
};

use crate::explain::SqlProblem;
use crate::position::Position;

/// Functions that are never NULL, whatever they are given.
const NEVER_NULL: [&str; 7] =
    ["count", "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "approx_distinct"];

pub(super) fn differences(query: &Query) -> Vec<SqlProblem> {
    let mut reader = Reader::default();
    let _ = query.visit(&mut reader);
    reader.found
}

#[derive(Default)]
struct Reader {
    found: Vec<SqlProblem>,
    /// Places at which what stands around says which is meant.
    settled: BTreeSet<Position>,
    /// How many things around ask for the length of a list.
    measured: usize,
}

impl Reader {
    fn say(&mut self, at: Position, message: impl Into<String>, hint: impl Into<String>) {
        self.found.push(SqlProblem::new(message, (at.line > 0).then_some(at)).with_hint(hint));
    }

    /// Looks at an `order by`; `columns` are what its names and numbers may stand for.
    fn order(&mut self, by: &[OrderByExpr], columns: &[SelectItem]) {
        for OrderByExpr { expr, options, .. } in by {
            if options.asc == Some(false) && options.nulls_first.is_none() && !never_null(meant(expr, columns)) {
                let message = format!("`order by {expr} desc`: NULL comes first here and last in Athena");
                self.say(at(expr), message, "write `desc nulls last`, or `desc nulls first`");
            }
        }
    }

    fn function(&mut self, function: &Function, place: Position) {
        self.order(&function.within_group, &[]);
        if let Some(WindowType::WindowSpec(window)) = &function.over {
            self.order(&window.order_by, &[]);
        }
        if let FunctionArguments::List(list) = &function.args {
            for clause in &list.clauses {
                if let FunctionArgumentClause::OrderBy(by) = clause {
                    self.order(by, &[]);
                }
            }
        }
        let arguments = arguments(function);
        match name(function).as_str() {
            called @ ("concat" | "greatest" | "least") if !arguments.iter().all(|argument| never_null(argument)) => {
                let (here, instead) = if called == "concat" {
                    ("is empty", "`coalesce(…, '')` around what may be NULL, or `||` where NULL is meant")
                } else {
                    ("is left out", "`coalesce(…, …)` around what may be NULL")
                };
                let message = format!("`{called}` of what may be NULL: it {here} here and makes all NULL in Athena");
                self.say(place, message, format!("write {instead}"));
            }
            "regexp_replace" if arguments.len() == 3 && !arguments.get(1).is_some_and(|it| is_anchored(it)) => {
                self.say(
                    place,
                    "`regexp_replace`: the first match is replaced here, and every match in Athena",
                    "begin the pattern with `^` or end it with `$`, so that it fits once; or replace in a model",
                );
            }
            "split_part" if !self.settled.contains(&place) => {
                self.say(
                    place,
                    "`split_part`: a part that is not there is empty here, and NULL in Athena",
                    "write `nullif(split_part(…), '')`, or `coalesce(split_part(…), '')`",
                );
            }
            // `substr` of three parts is written so too.
            "substr" | "substring" => self.substring(arguments.get(1).copied(), place),
            // What stands around says what is meant if the part is not there.
            "nullif" | "coalesce" if arguments.last().is_some_and(|last| text(last).is_some_and(str::is_empty)) => {
                self.settled.extend(arguments.iter().map(|argument| at(argument)));
            }
            _ => {}
        }
    }

    fn substring(&mut self, from: Option<&Expr>, place: Position) {
        if from.is_some_and(|from| !is_positive(from)) {
            self.say(
                place,
                "`substr` from a place that may be before the first: it counts on from there here, and from the end in Athena",
                "write a number from 1, `strpos(…) + 1`, or `greatest(coalesce(…, 1), 1)`",
            );
        }
    }
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let columns: &[SelectItem] = match query.body.as_ref() {
            SetExpr::Select(select) => &select.projection,
            _ => &[],
        };
        if let Some(OrderByKind::Expressions(by)) = query.order_by.as_ref().map(|order| &order.kind) {
            self.order(by, columns);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.measured += usize::from(select.selection.as_ref().is_some_and(measures));
        for window in &select.named_window {
            if let NamedWindowExpr::WindowSpec(window) = &window.1 {
                self.order(&window.order_by, &[]);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.measured -= usize::from(select.selection.as_ref().is_some_and(measures));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let place = at(expr);
        match expr {
            Expr::Function(function) => self.function(function, place),
            Expr::Substring { substring_from, .. } => self.substring(substring_from.as_deref(), place),
            Expr::Case { .. } => self.measured += usize::from(measures(expr)),
            Expr::BinaryOp { left, op: BinaryOperator::Modulo, right } if number(right) == Some("7") => {
                self.settled.insert(at(left));
            }
            Expr::Extract { field: DateTimeField::Dow | DateTimeField::DayOfWeek, .. }
                if !self.settled.contains(&place) =>
            {
                self.say(
                    place,
                    "the day of the week: Sunday is 0 here and 7 in Athena",
                    "write `extract(dow from …) % 7`: Sunday is 0 in both",
                );
            }
            Expr::Like { pattern, escape_char: None, .. } if pattern.to_string().contains('\\') => {
                self.say(
                    place,
                    "`like` with a backslash: it takes the next sign as it is here, and means itself in Athena",
                    "add `escape '\\'`, or write the pattern without it",
                );
            }
            Expr::CompoundFieldAccess { access_chain, .. } if self.measured == 0 => {
                let by_number = |access: &AccessExpr| match access {
                    AccessExpr::Subscript(Subscript::Index { index }) => text(index).is_none(),
                    _ => false,
                };
                if access_chain.iter().any(by_number) {
                    self.say(
                        place,
                        "an item of a list: one that is not there is NULL here, and an error in Athena",
                        "write `case when cardinality(list) >= n then list[n] end`",
                    );
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Case { .. }) {
            self.measured -= usize::from(measures(expr));
        }
        ControlFlow::Continue(())
    }
}

/// Where it begins.
fn at(expr: &Expr) -> Position {
    match expr {
        Expr::Nested(inner) => at(inner),
        _ => expr.span().into(),
    }
}

fn name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let arguments = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    arguments.collect()
}

/// What a name or a number in `order by` stands for.
fn meant<'a>(expr: &'a Expr, columns: &'a [SelectItem]) -> &'a Expr {
    let aliases: BTreeMap<&str, &Expr> = columns
        .iter()
        .filter_map(|column| match column {
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.as_str(), expr)),
            _ => None,
        })
        .collect();
    if let Expr::Identifier(ident) = expr {
        return aliases.get(ident.value.as_str()).copied().unwrap_or(expr);
    }
    let place = number(expr).and_then(|number| number.parse::<usize>().ok()?.checked_sub(1));
    match place.and_then(|place| columns.get(place)) {
        Some(SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. }) => column,
        _ => expr,
    }
}

/// Whether it has a value whatever the rows are.
fn never_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(ValueWithSpan { value, .. }) => *value != Value::Null,
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } | Expr::Cast { expr: inner, .. } => never_null(inner),
        Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::TypedString { .. } => true,
        Expr::BinaryOp { left, right, .. } => never_null(left) && never_null(right),
        Expr::Function(function) => match name(function).as_str() {
            "coalesce" => arguments(function).iter().any(|argument| never_null(argument)),
            "concat" | "greatest" | "least" | "round" => {
                arguments(function).iter().all(|argument| never_null(argument))
            }
            called => NEVER_NULL.contains(&called),
        },
        _ => false,
    }
}

/// Whether a pattern fits a text at most once.
fn is_anchored(pattern: &Expr) -> bool {
    text(pattern).is_some_and(|pattern| {
        let ends = pattern.ends_with('$') && !pattern.ends_with("\\$");
        (pattern.starts_with('^') || ends) && !pattern.contains('|')
    })
}

/// Whether a place is at or behind the first letter.
fn is_positive(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_positive(inner),
        Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => {
            let counts =
                |expr: &Expr| matches!(expr, Expr::Function(it) if ["strpos", "length"].contains(&name(it).as_str()));
            (is_positive(left) && (is_positive(right) || counts(right))) || (counts(left) && is_positive(right))
        }
        Expr::Function(function) if name(function) == "greatest" => {
            arguments(function).iter().any(|argument| is_positive(argument))
        }
        _ => number(expr).and_then(|number| number.parse::<u64>().ok()).is_some_and(|number| number > 0),
    }
}

/// Whether it asks for the length of a list.
fn measures(expr: &Expr) -> bool {
    expr.to_string().to_lowercase().contains("cardinality(")
}

fn number(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => Some(number),
        _ => None,
    }
}

fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}
