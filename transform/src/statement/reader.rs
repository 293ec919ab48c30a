//! What a statement leans on, read out of its syntax tree.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Ident, Join, JoinConstraint, JoinOperator, LimitClause, ObjectName, OrderBy,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, TableFactor, Value, ValueWithSpan, Visitor,
    WindowType,
};

use crate::position::Position;

/// Collects what the statement leans on. Names that a `with` defines are tables only outside of it.
#[derive(Default)]
pub(super) struct StatementReader {
    pub(super) relations: Vec<(String, Position)>,
    pub(super) functions: Vec<(String, Position)>,
    pub(super) parameters: Vec<(String, Position)>,
    pub(super) equalities: usize,
    pub(super) unordered: Vec<(&'static str, Position)>,
    pub(super) all_columns: bool,
    /// Where an `is distinct from` begins that has an `and` or `or` on its right side.
    pub(super) swallowing: Option<Position>,
    defined: Vec<String>,
    /// How many names are defined outside of each query that is being read.
    scopes: Vec<usize>,
    /// The parts of `with` that are still to be read, by where they are, and the name that each has from then on.
    parts: Vec<(*const Query, String)>,
    /// Names that turned out to be table functions.
    called: Vec<Position>,
}

pub(super) fn ident_name(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

pub(super) fn object_name(name: &ObjectName) -> (String, Position) {
    let idents: Vec<&Ident> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    let text = idents.iter().map(|ident| ident_name(ident)).collect::<Vec<_>>().join(".");
    (text, idents.first().map(|ident| ident.span.into()).unwrap_or_default())
}

/// Functions of a window that go by the order of its rows.
const ORDERED: [&str; 9] =
    ["row_number", "rank", "dense_rank", "percent_rank", "ntile", "lag", "lead", "first_value", "last_value"];

/// What of a query's own rows it takes only some, and where that is said.
fn part_of(query: &Query) -> Option<(&'static str, Position)> {
    let limit = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit: Some(limit), .. } | LimitClause::OffsetCommaLimit { limit, .. }) => {
            Some(("limit", limit.span()))
        }
        // `offset` alone is refused.
        Some(LimitClause::LimitOffset { limit: None, .. }) | None => None,
    };
    let distinct = || match query.body.as_ref() {
        SetExpr::Select(select) => match &select.distinct {
            Some(Distinct::On(columns)) => Some(("distinct on", columns.first()?.span())),
            _ => None,
        },
        _ => None,
    };
    limit.or_else(distinct).map(|(what, span)| (what, span.into()))
}

/// Whether it is `$dt`.
pub(super) fn is_dt(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) if name == "$dt")
}

/// The column of `column = $dt`, whichever side it is on.
pub(super) fn equals_dt(expr: &Expr) -> Option<&Expr> {
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

impl Visitor for StatementReader {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.push(self.defined.len());
        if query.order_by.is_none() {
            self.unordered.extend(part_of(query));
        }
        for (with, cte) in query.with.iter().flat_map(|with| with.cte_tables.iter().map(move |cte| (with, cte))) {
            if with.recursive {
                self.defined.push(ident_name(&cte.alias.name));
            } else {
                // Its own name is not yet defined inside it.
                self.parts.push((std::ptr::from_ref(cte.query.as_ref()), ident_name(&cte.alias.name)));
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.defined.truncate(self.scopes.pop().unwrap_or_default());
        let place = std::ptr::from_ref(query);
        if let Some(part) = self.parts.iter().position(|(part, _)| *part == place) {
            self.defined.push(self.parts.swap_remove(part).1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            self.called.push(object_name(name).1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        let is_natural = |join: &Join| {
            use JoinOperator as J;
            let (J::Join(on)
            | J::Inner(on)
            | J::Left(on)
            | J::LeftOuter(on)
            | J::Right(on)
            | J::RightOuter(on)
            | J::FullOuter(on)) = &join.join_operator
            else {
                return false;
            };
            matches!(on, JoinConstraint::Natural)
        };
        self.all_columns |=
            select.projection.iter().any(is_star) || select.from.iter().flat_map(|from| &from.joins).any(is_natural);
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
        if let Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) = expr
            && matches!(right.as_ref(), Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. })
        {
            self.swallowing.get_or_insert(left.span().into());
        }
        match expr {
            Expr::Function(function) => {
                let (name, place) = object_name(&function.name);
                if let (Some(what), Some(WindowType::WindowSpec(window))) =
                    (ORDERED.iter().find(|known| **known == name), &function.over)
                    && window.order_by.is_empty()
                {
                    self.unordered.push((what, place));
                }
                self.functions.push((name, place));
            }
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) => {
                self.parameters.push((name.clone(), (*span).into()));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Collects the names that two columns of one `select` have.
#[derive(Default)]
pub(super) struct OutputNames {
    pub(super) twice: Vec<(String, Position)>,
}

impl Visitor for OutputNames {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut seen: Vec<String> = Vec::new();
        for item in &select.projection {
            let ident = match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias),
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => Some(ident),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(idents)) => idents.last(),
                _ => None,
            };
            let Some(ident) = ident else { continue };
            let name = ident_name(ident);
            if seen.contains(&name) {
                self.twice.push((name, ident.span.into()));
            } else {
                seen.push(name);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Collects the names of columns that an `order by` says with their table, and that are also given to something else.
#[derive(Default)]
pub(super) struct SortedBeside(pub(super) Vec<String>);

impl Visitor for SortedBeside {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let SetExpr::Select(select) = query.body.as_ref() else { return ControlFlow::Continue(()) };
        let Some(OrderBy { kind: OrderByKind::Expressions(sorted), .. }) = &query.order_by else {
            return ControlFlow::Continue(());
        };
        for item in &select.projection {
            let SelectItem::ExprWithAlias { alias, .. } = item else { continue };
            let name = ident_name(alias);
            let is_said = |sort: &OrderByExpr| matches!(&sort.expr, Expr::CompoundIdentifier(idents) if idents.last().is_some_and(|last| ident_name(last) == name));
            if sorted.iter().any(is_said) {
                self.0.push(name);
            }
        }
        ControlFlow::Continue(())
    }
}
