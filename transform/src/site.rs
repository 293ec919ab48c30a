//! Where in a text a failure is: the value that is written out, the call, or the cast of a column.

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::Error;
use crate::explain::{SqlProblem, explain};
use crate::fault::{self, About, Meaning};
use crate::lint;
use crate::position::Position;
use crate::statement::Statement;

/// A cast of something that is in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CastSite {
    kind: String,
    name: String,
    place: Option<Position>,
}

/// The casts of a plan.
pub(crate) fn casts(plan: &LogicalPlan) -> Vec<CastSite> {
    let mut found: Vec<CastSite> = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        let _ = node.apply_expressions(|expr| {
            expr.apply(|part| {
                if let Expr::Cast(cast) = part
                    && cast.expr.any_column_refs()
                {
                    let kind = cast.field.data_type().to_string();
                    let site = CastSite { kind, name: lint::name(&cast.expr), place: lint::place(&cast.expr) };
                    if !found.contains(&site) {
                        found.push(site);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        });
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Where in a text it is about, and the column if it is one's values. `casts` are those of the text's plan.
pub(crate) fn place(meaning: &Meaning, text: &str, casts: &[CastSite]) -> (Option<Position>, Option<String>) {
    let written = |value: &str| Statement::find_value(text, value);
    match &meaning.about {
        About::Value(value) => (written(value), None),
        About::Call(name) => (Statement::find_word(text, name), None),
        About::Cast(value, kind) => {
            if let Some(at) = written(value) {
                return (Some(at), None);
            }
            let mut sites = casts.iter().filter(|site| site.kind == *kind);
            match (sites.next(), sites.next()) {
                (Some(only), None) => (only.place, Some(only.name.clone())),
                _ => (None, None),
            }
        }
        About::Nothing => (None, None),
    }
}

/// A failed query with the place in its text that it failed at, and the column. `casts` are those of its plan.
pub(crate) fn placed(error: Error, file: Option<&str>, text: &str, casts: &[CastSite]) -> Error {
    let Error::Query { what, mut problem, mut hint, engine } = error else { return error };
    let meaning = Meaning::of(&engine);
    let (place, column) = place(&meaning, text, casts);
    if let Some(column) = &column {
        problem = format!("column `{column}`: {problem}");
    }
    if let (About::Cast(_, kind), Some(column)) = (&meaning.about, &column) {
        let filled = format!("try_cast({column} as {})", fault::type_word(kind));
        hint = hint.map(|hint| hint.replace("try_cast(… as …)", &filled));
    }
    let what = match (file, place) {
        (Some(file), Some(at)) => format!("{what} ({file}:{}:{})", at.line, at.column),
        (Some(file), None) => format!("{what} ({file})"),
        (None, Some(at)) => format!("{what} (line {}, column {})", at.line, at.column),
        (None, None) => what,
    };
    Error::Query { what, problem, hint, engine }
}

/// An error of the engine while it planned a statement that a person typed. One line needs no place.
pub(crate) fn asked(error: &DataFusionError, statement: &Statement, text: &str) -> Error {
    let wrong = explain_in(error, statement);
    let lines = text.trim().lines().count();
    SqlProblem { place: wrong.place.filter(|at| at.line > 0 && lines > 1), ..wrong }.into()
}

/// As [`explain`], for a statement: two columns of one name in it are what makes that name mean too much.
pub(crate) fn explain_in(error: &DataFusionError, statement: &Statement) -> SqlProblem {
    let wrong = explain(error);
    let twice = statement.named_twice();
    let named = twice.iter().find(|(name, _)| {
        wrong.message == format!("column `{name}` is in more than one table")
            || wrong.message == fault::twice(name).message
    });
    if let Some((name, at)) = named {
        let meaning = fault::twice(name);
        return SqlProblem { message: meaning.message, place: Some(*at), hint: meaning.hint };
    }
    let shadowed = statement.sorted_beside_its_name();
    let named = shadowed.iter().find(|name| wrong.message == format!("column `{name}` is in more than one table"));
    let hint = named.map(|name| {
        format!("`order by` says a column that the answer has another `{name}` beside: name that one otherwise, or sort in a query around this one")
    });
    SqlProblem { hint: hint.or(wrong.hint), ..wrong }
}
