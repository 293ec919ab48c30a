//! Planning every model without data: what `onggi check` says.
//!
//! Models are planned parents first, each against the columns that its parents turned out to have. A planner stops at its first
//! error; so that a person sees all of them, the column or call that failed is replaced by null and the statement is planned
//! again, until it plans or fails at a place that was seen before. A model below a broken one is not blamed: its parents' columns
//! are not known, so it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Diagnostic, TableName};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use futures::executor::block_on;

use crate::error::nearest;
use crate::model::{Check, Materialization, Model, Models, Place};
use crate::session::Session;
use crate::statement::{Days, Statement, Wrong, lower};

/// The day that stands for `$dt` when there is no run.
const SOME_DAY: catalog::Date = jiff::civil::date(2000, 1, 1);
/// Most errors reported of one model: beyond it, they are echoes.
const MAX_ERRORS: usize = 20;

impl Models {
    /// Plans every model against the columns of the tables it reads, without data, and says everything that is wrong with them.
    /// `schemas` knows the tables that no model makes.
    pub fn check(&self, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> Vec<Diagnostic> {
        let session = match Session::for_planning() {
            Ok(session) => session,
            Err(error) => {
                return vec![Diagnostic {
                    file: String::new(),
                    line: 1,
                    column: 1,
                    message: lower(&error.message()),
                    hint: None,
                }];
            }
        };
        let mut known: BTreeMap<TableName, SchemaRef> = BTreeMap::new();
        for table in self.external_tables() {
            if let Some(schema) = schemas(&table)
                && session.add(&table, Arc::new(EmptyTable::new(Arc::clone(&schema)))).is_ok()
            {
                known.insert(table, schema);
            }
        }
        let mut found = Vec::new();
        for model in self.iter() {
            found.extend(check_model(self, model, &session, &mut known));
        }
        found
    }

    /// The columns of every model that can be planned, in order of the models.
    pub fn schemas(&self, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> BTreeMap<TableName, SchemaRef> {
        let Ok(session) = Session::for_planning() else { return BTreeMap::new() };
        self.plan_into(&session, schemas)
    }

    /// Makes every model that can be planned a table of the session, and says their columns.
    pub(crate) fn plan_into(
        &self,
        session: &Session,
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> BTreeMap<TableName, SchemaRef> {
        let mut known = BTreeMap::new();
        for table in self.external_tables() {
            if let Some(schema) = schemas(&table) {
                let _ = session.add(&table, Arc::new(EmptyTable::new(schema)));
            }
        }
        for model in self.iter() {
            let _ = check_model(self, model, session, &mut known);
        }
        known
    }
}

/// Plans one model and adds its columns to `known`, or says what is wrong.
fn check_model(
    models: &Models,
    model: &Model,
    session: &Session,
    known: &mut BTreeMap<TableName, SchemaRef>,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut waits = false;
    for (name, at) in model.statement().tables() {
        let Ok(table) = name.parse::<TableName>() else { continue };
        if session.has(&table) {
            continue;
        }
        if models.get(&table).is_some() {
            waits = true; // It is broken itself, and said so.
        } else {
            let names: Vec<String> = models
                .iter()
                .map(|model| model.name().to_string())
                .chain(known.keys().map(ToString::to_string))
                .collect();
            let others = names.iter().map(String::as_str).filter(|other| *other != model.name().to_string());
            let hint = nearest(name, others).map(|meant| format!("did you mean `{meant}`?"));
            found.push(model.diagnostic(
                at,
                format!("no table `{name}`"),
                Some(hint.unwrap_or_else(|| "it is neither a model nor the table of a source".to_owned())),
            ));
        }
    }
    if waits || !found.is_empty() {
        return found;
    }
    let plan = match plan_all(model.statement(), model.text(), session) {
        Ok(plan) => plan,
        Err(wrong) => {
            found.extend(wrong.into_iter().map(|wrong| {
                let at = place_of(&wrong, model.text());
                model.diagnostic(at, wrong.message, wrong.hint)
            }));
            return found;
        }
    };
    let schema = output_schema(model, plan.schema().as_arrow());
    check_head(model, &schema, known, models, &mut found);
    let view = *model.materialization() == Materialization::View;
    if !view {
        for field in schema.fields().iter().filter(|field| !is_storable(field.data_type())) {
            let at = Statement::find_word(model.text(), field.name()).unwrap_or_else(|| start_of_sql(model.text()));
            let message =
                format!("column `{}` is of type {}, which no table keeps", field.name(), plain(field.data_type()));
            found.push(model.diagnostic(
                at,
                message,
                Some(format!("say its type: `cast({} as text)`, for example", field.name())),
            ));
        }
    }
    let added = if view {
        session.add_view(model.name(), plan, model.text())
    } else {
        session.add(model.name(), Arc::new(EmptyTable::new(Arc::clone(&schema))))
    };
    if let Err(error) = added {
        let wrong = explain(&error);
        found.push(model.diagnostic(start_of_sql(model.text()), wrong.message, wrong.hint));
    } else {
        known.insert(model.name().clone(), schema);
    }
    found
}

/// Plans a query to the end of type checking, going on behind errors that have a place.
pub(crate) fn plan_all(query: &Statement, text: &str, session: &Session) -> Result<LogicalPlan, Vec<Wrong>> {
    let mut statement = query.on(&Days::One(SOME_DAY));
    let mut found: Vec<Wrong> = Vec::new();
    loop {
        let state = session.context().state();
        let planned = block_on(session.plan(statement.clone()))
            .and_then(|plan| state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {}));
        let error = match planned {
            Ok(plan) if found.is_empty() => return Ok(plan),
            Ok(_) => return Err(sorted(found)),
            Err(error) => error,
        };
        let mut blanked = false;
        for mut wrong in error.iter().map(explain) {
            // Some clauses lose the place of a column; its name has one.
            if let (None, Some(column)) = (wrong.place, missing_column(&wrong.message)) {
                wrong.place = Statement::find_word(text, column);
            }
            if found.contains(&wrong) {
                continue;
            }
            // Once something is blanked, other errors may be nothing but its echo.
            if !found.is_empty() && !is_about_a_name(&wrong.message) {
                continue;
            }
            if let Some(at) = wrong.place {
                blanked |= Statement::without(&mut statement, at);
            }
            found.push(wrong);
        }
        if !blanked || found.len() >= MAX_ERRORS {
            return Err(sorted(found));
        }
    }
}

fn sorted(mut found: Vec<Wrong>) -> Vec<Wrong> {
    found.sort_by_key(|wrong| wrong.place.map(|at| (at.line, at.column)));
    found
}

/// Whether a message of [`explain`] says that a name means nothing, or too much: true whatever else is wrong.
fn is_about_a_name(message: &str) -> bool {
    ["no column `", "no function `", "no table `"].iter().any(|kind| message.starts_with(kind))
        || message.ends_with("in more than one table")
}

/// The column that a message of [`explain`] misses, without what stands before its dot.
fn missing_column(message: &str) -> Option<&str> {
    let name = message.strip_prefix("no column `")?.strip_suffix('`')?;
    Some(name.rsplit('.').next().unwrap_or(name))
}

/// The columns of the table that a model's query fills: in a partition, `dt` is added if the query leaves it out.
pub(crate) fn output_schema(model: &Model, query: &Schema) -> SchemaRef {
    let mut fields: Vec<Field> =
        query.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    if *model.materialization() == Materialization::Partition && query.field_with_name("dt").is_err() {
        fields.push(Field::new("dt", DataType::Date32, true));
    }
    Arc::new(Schema::new(fields))
}

/// What the head says of columns: that they are there.
fn check_head(
    model: &Model,
    schema: &SchemaRef,
    known: &BTreeMap<TableName, SchemaRef>,
    models: &Models,
    found: &mut Vec<Diagnostic>,
) {
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut said = BTreeSet::new();
    let mut need = |column: &str, at: Place, found: &mut Vec<Diagnostic>| {
        if !columns.contains(&column) && said.insert((column.to_owned(), at.line)) {
            let at = in_line(model, at, column);
            found.push(model.diagnostic(
                at,
                format!("no column `{column}` in `{}`", model.name()),
                Some(meant(column, &columns)),
            ));
        }
    };
    let head = model.head();
    if let Some((Materialization::Latest { by, order }, at)) = &head.materialize {
        by.iter().chain([order]).for_each(|column| need(column, *at, found));
    }
    if let Some((Materialization::Partition, at)) = &head.materialize
        && schema.field_with_name("dt").is_ok_and(|field| *field.data_type() != DataType::Date32)
    {
        found.push(model.diagnostic(
            *at,
            "expected `dt` to be a date",
            Some("leave `dt` out and it is added".to_owned()),
        ));
    }
    for (column, at) in &head.key {
        need(column, *at, found);
    }
    for (check, at) in &head.checks {
        for column in check.columns() {
            need(column, *at, found);
        }
        let Check::References { table, other, .. } = check else { continue };
        if table == model.name() {
            continue;
        }
        match known.get(table) {
            Some(there) if there.field_with_name(other).is_err() => {
                let columns: Vec<&str> = there.fields().iter().map(|field| field.name().as_str()).collect();
                found.push(model.diagnostic(
                    in_line(model, *at, other),
                    format!("no column `{other}` in `{table}`"),
                    Some(meant(other, &columns)),
                ));
            }
            None if models.get(table).is_none() => {
                found.push(model.diagnostic(
                    in_line(model, *at, &table.to_string()),
                    format!("no table `{table}`"),
                    None,
                ));
            }
            _ => {}
        }
    }
}

fn meant(wanted: &str, columns: &[&str]) -> String {
    const SHOWN: usize = 12;
    if let Some(meant) = nearest(wanted, columns.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    let more = if columns.len() > SHOWN { ", …" } else { "" };
    format!("the columns are {}{more}", columns.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", "))
}

/// The place of `word` in the line of `at`, at or behind it.
fn in_line(model: &Model, at: Place, word: &str) -> Place {
    let Some(line) = model.text().lines().nth(at.line.saturating_sub(1)) else { return at };
    let from = line.char_indices().nth(at.column.saturating_sub(1)).map_or(line.len(), |(byte, _)| byte);
    let apart = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '_');
    let found = line[from..]
        .match_indices(word)
        .map(|(byte, _)| from + byte)
        .find(|byte| apart(line[..*byte].chars().next_back()) && apart(line[byte + word.len()..].chars().next()));
    found.map_or(at, |byte| Place { line: at.line, column: line[..byte].chars().count() + 1 })
}

/// The first line that is neither empty nor a comment.
fn start_of_sql(text: &str) -> Place {
    let line = text.lines().position(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"));
    Place { line: line.map_or(1, |line| line + 1), column: 1 }
}

/// Where the reader should look for what is wrong.
pub(crate) fn place_of(wrong: &Wrong, text: &str) -> Place {
    wrong.place.or_else(|| mentioned(text, &wrong.message)).unwrap_or_else(|| start_of_sql(text))
}

/// Where something that a message quotes stands in the file.
fn mentioned(text: &str, message: &str) -> Option<Place> {
    message.split(['`', '\'', '"', ' ', '(', ')', ',', '.']).filter(|word| word.len() > 2).find_map(|word| {
        let known = [
            "the",
            "and",
            "for",
            "not",
            "with",
            "from",
            "type",
            "select",
            "function",
            "expected",
            "coerce",
            "arguments",
            "date",
            "timestamp",
        ];
        if known.contains(&word.to_lowercase().as_str()) { None } else { Statement::find_word(text, word) }
    })
}

/// Whether a table can keep such a column.
fn is_storable(kind: &DataType) -> bool {
    match kind {
        DataType::Null
        | DataType::Interval(_)
        | DataType::Duration(_)
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Date64
        | DataType::Decimal256(..)
        | DataType::Map(..)
        | DataType::Union(..)
        | DataType::RunEndEncoded(..) => false,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_storable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_storable(field.data_type())),
        DataType::Dictionary(_, value) => is_storable(value),
        _ => true,
    }
}

/// A type in a person's words.
fn plain(kind: &DataType) -> String {
    match kind {
        DataType::Null => "null".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "interval".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// What the engine's error means, in our voice, with its place and a way out.
pub(crate) fn explain(error: &DataFusionError) -> Wrong {
    let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(|span| {
        Some(Place { line: usize::try_from(span.start.line).ok()?, column: usize::try_from(span.start.column).ok()? })
    });
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
                Wrong { message: format!("no column `{name}`"), place, hint }
            }
            SchemaError::AmbiguousReference { field } => Wrong {
                message: format!("column `{}` is in more than one table", field.name),
                place,
                hint: Some(format!("say which: `table.{}`", field.name)),
            },
            other => Wrong { message: lower(&other.to_string()), place, hint: None },
        },
        other => general(&other.message(), place),
    }
}

fn general(message: &str, place: Option<Place>) -> Wrong {
    let first = message.lines().next().unwrap_or_default();
    if let Some(name) = first.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let ours = nearest(name, crate::functions().iter().map(|function| function.name));
        let theirs = message
            .lines()
            .find_map(|line| line.strip_prefix("Did you mean '"))
            .and_then(|rest| rest.split('\'').next());
        let hint = ours.or(theirs).map(|meant| format!("did you mean `{meant}`?"));
        return Wrong { message: format!("no function `{name}`"), place, hint };
    }
    if let Some(name) = first.strip_prefix("table '").and_then(|rest| rest.split('\'').next()) {
        return Wrong {
            message: format!("no table `{}`", name.trim_start_matches("lake.").trim_start_matches("main.")),
            place,
            hint: None,
        };
    }
    let first = first.trim_start_matches("Error during planning: ");
    let first = first.split(". No function matches").next().unwrap_or(first).trim_end_matches('.');
    let ours = crate::functions().iter().find(|function| first.contains(&format!("'{}", function.name)));
    Wrong { message: lower(first), place, hint: ours.map(|function| function.syntax.to_owned()) }
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

#[cfg(test)]
mod tests;
