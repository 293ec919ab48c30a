//! What the engine's errors mean, in our voice: what is wrong with a text, where, and a way out.

use datafusion::common::{DataFusionError, SchemaError};

use crate::fault::{Meaning, lower};
use crate::nearest::nearest;
use crate::position::Position;

/// What is wrong with a text, and where if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SqlProblem {
    pub(crate) message: String,
    pub(crate) place: Option<Position>,
    pub(crate) hint: Option<String>,
}

impl SqlProblem {
    pub(crate) fn new(message: impl Into<String>, place: Option<Position>) -> Self {
        Self { message: message.into(), place, hint: None }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// What the engine's error means, in our voice, with its place and a way out.
pub(crate) fn explain(error: &DataFusionError) -> SqlProblem {
    let place = error
        .diagnostic()
        .and_then(|diagnostic| diagnostic.span)
        .map(|span| Position::new(span.start.line, span.start.column));
    match innermost(error) {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let columns: Vec<&str> = valid_fields
                    .iter()
                    .filter(|other| {
                        field.relation.is_none()
                            || valid_fields.iter().all(|it| it.relation != field.relation)
                            || other.relation == field.relation
                    })
                    .map(|other| other.name.as_str())
                    .collect();
                let unknown_qualifier = field
                    .relation
                    .as_ref()
                    .filter(|relation| valid_fields.iter().all(|it| it.relation.as_ref() != Some(relation)));
                let hint = if columns.contains(&field.name.as_str()) {
                    unknown_qualifier.map(|relation| format!("`{relation}` is not in this `from`"))
                } else {
                    (!columns.is_empty()).then(|| meant(&field.name, &columns))
                };
                let name = field
                    .relation
                    .as_ref()
                    .map_or_else(|| field.name.clone(), |relation| format!("{relation}.{}", field.name));
                SqlProblem { message: format!("no column `{name}`"), place, hint }
            }
            SchemaError::AmbiguousReference { field } => SqlProblem {
                message: format!("column `{}` is in more than one table", field.name),
                place,
                hint: Some(format!("say which: `table.{}`", field.name)),
            },
            other => SqlProblem { message: lower(&other.to_string()), place, hint: None },
        },
        other => general(&other.message(), place),
    }
}

fn general(message: &str, place: Option<Position>) -> SqlProblem {
    let first = message.lines().next().unwrap_or_default();
    if let Some(name) = first.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let ours = nearest(name, crate::functions().iter().map(|function| function.name));
        let theirs = message
            .lines()
            .find_map(|line| line.strip_prefix("Did you mean '"))
            .and_then(|rest| rest.split('\'').next());
        let hint = ours.or(theirs).map(|meant| format!("did you mean `{meant}`?"));
        return SqlProblem { message: format!("no function `{name}`"), place, hint };
    }
    if let Some(name) = first.strip_prefix("table '").and_then(|rest| rest.split('\'').next()) {
        return SqlProblem {
            message: format!("no table `{}`", name.trim_start_matches("lake.").trim_start_matches("main.")),
            place,
            hint: None,
        };
    }
    let ours = crate::functions().iter().find(|function| first.contains(&format!("'{}", function.name)));
    let meaning = Meaning::of_text(message);
    let hint = ours.map(|function| function.syntax.to_owned()).or(meaning.hint);
    SqlProblem { message: meaning.message, place, hint }
}

/// What it means that the engine can plan a query and can't lay it out.
pub(crate) fn no_way(error: &DataFusionError) -> SqlProblem {
    let meaning = Meaning::of(error);
    let outside = ["OuterReferenceColumn", "outer_ref", "correlated", "ScalarSubquery", "Exists"]
        .iter()
        .any(|word| meaning.message.contains(word));
    let (what, hint) = if outside {
        let hint = "write it as a join or with `group by`: a subquery that speaks of the row outside is taken in `where`, \
                    in `exists` and `in`, and as a value where it compares with `=` alone";
        ("a subquery speaks of the row outside".to_owned(), Some(hint.to_owned()))
    } else {
        (meaning.message, meaning.hint)
    };
    SqlProblem { message: format!("the engine has no way to run this query: {what}"), place: None, hint }
}

/// The error below all wrapping.
fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => innermost(inner),
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, innermost),
        other => other,
    }
}

/// The name that was meant, or the names that there are.
pub(crate) fn meant(wanted: &str, columns: &[&str]) -> String {
    const SHOWN: usize = 12;
    if let Some(meant) = nearest(wanted, columns.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    let more = if columns.len() > SHOWN { ", …" } else { "" };
    format!("the columns are {}{more}", columns.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "))
}
