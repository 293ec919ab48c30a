//! Comparisons of rows, such as `(a, b) < (c, d)`: as SQL defines them, value by value.
//!
//! The engine takes a row for one value, in which NULL is a value like any other and the smallest one. In SQL a comparison is
//! unknown where a NULL decides it (ISO/IEC 9075-2, 8.2), and what compares each value for itself says the same.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator as Op, Expr, Spanned, UnaryOperator, VisitorMut};

use super::passed_over::inner;
use crate::explain::SqlProblem;

/// Puts comparisons of values in the place of those of rows.
pub(super) struct ValueByValue;

impl VisitorMut for ValueByValue {
    type Break = SqlProblem;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlProblem> {
        match compared(expr) {
            Ok(Some(values)) => *expr = Expr::Nested(Box::new(values)),
            Ok(None) => {}
            Err(problem) => return ControlFlow::Break(problem),
        }
        ControlFlow::Continue(())
    }
}

/// The comparison value by value, of one that compares rows.
fn compared(expr: &Expr) -> Result<Option<Expr>, SqlProblem> {
    let same = |left, right| values(&Op::Eq, left, right);
    Ok(match expr {
        Expr::BinaryOp { left, op: op @ (Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq), right } => {
            of_rows(left, right)?.map(|(left, right)| values(op, left, right))
        }
        Expr::IsDistinctFrom(left, right) => of_rows(left, right)?.map(|(left, right)| {
            let each = left.iter().zip(right).map(|(l, r)| Expr::IsDistinctFrom(boxed(l), boxed(r)));
            joined(&Op::Or, each.collect())
        }),
        Expr::IsNotDistinctFrom(left, right) => of_rows(left, right)?.map(|(left, right)| {
            let each = left.iter().zip(right).map(|(l, r)| Expr::IsNotDistinctFrom(boxed(l), boxed(r)));
            joined(&Op::And, each.collect())
        }),
        Expr::Between { expr, negated, low, high } => match (of_rows(expr, low)?, of_rows(expr, high)?) {
            (Some((row, low)), Some((_, high))) => {
                let both = vec![values(&Op::GtEq, row, low), values(&Op::LtEq, row, high)];
                Some(unless(*negated, joined(&Op::And, both)))
            }
            _ => None,
        },
        Expr::InList { expr, list, negated } if is_row(expr) => {
            let mut any = Vec::with_capacity(list.len());
            for one in list {
                any.extend(of_rows(expr, one)?.map(|(left, right)| same(left, right)));
            }
            Some(unless(*negated, joined(&Op::Or, any)))
        }
        _ => None,
    })
}

fn is_row(expr: &Expr) -> bool {
    matches!(inner(expr), Expr::Tuple(_))
}

/// The values of two rows, as many of each.
type Both<'e> = (&'e [Expr], &'e [Expr]);

/// The values of two rows; none where neither is one.
fn of_rows<'e>(left: &'e Expr, right: &'e Expr) -> Result<Option<Both<'e>>, SqlProblem> {
    let problem = |message: String| {
        SqlProblem::new(message, Some(left.span().into()))
            .with_hint("compare each value: `a = c and b = d`; a row of a subquery by `exists (select …)`")
    };
    match (inner(left), inner(right)) {
        (Expr::Tuple(left), Expr::Tuple(right)) if left.len() == right.len() => Ok(Some((left, right))),
        (Expr::Tuple(left), Expr::Tuple(right)) => {
            Err(problem(format!("a row of {} values is compared with one of {}", left.len(), right.len())))
        }
        (Expr::Tuple(_), _) | (_, Expr::Tuple(_)) => Err(problem("a row is compared with what is none".to_owned())),
        _ => Ok(None),
    }
}

/// Rows compared by `op`, value by value.
fn values(op: &Op, left: &[Expr], right: &[Expr]) -> Expr {
    let pair = |op: &Op, at: usize| binary(left[at].clone(), op.clone(), right[at].clone());
    let each = |op: &Op| (0..left.len()).map(|at| pair(op, at)).collect();
    let strict = match op {
        Op::Eq => return joined(&Op::And, each(op)),
        Op::NotEq => return joined(&Op::Or, each(op)),
        Op::Lt | Op::LtEq => Op::Lt,
        _ => Op::Gt,
    };
    // From the last value on: the one before it decides, unless it is the same.
    let mut last = None;
    for at in (0..left.len()).rev() {
        last = Some(match last {
            None => pair(op, at),
            Some(rest) => {
                let same = binary(pair(&Op::Eq, at), Op::And, rest);
                binary(pair(&strict, at), Op::Or, Expr::Nested(Box::new(same)))
            }
        });
        last = last.map(|so_far| Expr::Nested(Box::new(so_far)));
    }
    last.unwrap_or_else(|| joined(&Op::And, Vec::new()))
}

/// All parts with `op` between them, as a tree that is as flat as can be: planners go down one level for each.
fn joined(op: &Op, mut parts: Vec<Expr>) -> Expr {
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(one) = rest.next() {
            pairs.push(match rest.next() {
                Some(two) => Expr::Nested(Box::new(binary(one, op.clone(), two))),
                None => one,
            });
        }
        parts = pairs;
    }
    // A row has at least one value, and so has a list.
    parts.pop().unwrap_or_else(|| Expr::Tuple(Vec::new()))
}

fn unless(negated: bool, expr: Expr) -> Expr {
    let expr = Expr::Nested(Box::new(expr));
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

fn binary(left: Expr, op: Op, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn boxed(expr: &Expr) -> Box<Expr> {
    Box::new(expr.clone())
}
