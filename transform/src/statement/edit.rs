//! Changes to a statement's syntax tree: days put in, and what is wrong blanked.

use std::ops::ControlFlow;

use catalog::Date;
use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, Select, SelectItem, TypedString, Value, ValueWithSpan, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::reader::{equals_dt, is_dt};
use crate::position::Position;

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

/// Puts days in the place of `$dt`.
pub(super) struct Substitute<'a> {
    pub(super) days: &'a Days,
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
pub(super) struct Blank {
    pub(super) place: Position,
    pub(super) done: bool,
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
        (idents.first().map(|ident| ident.span.into()) == Some(self.place)).then(|| idents.last().copied().cloned())?
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
