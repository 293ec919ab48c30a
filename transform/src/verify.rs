//! Planning every model without data: what `onggi check` says.
//!
//! Models are planned parents first, each against the columns that its parents turned out to have. A planner stops at its first
//! error; so that a person sees all of them, the column or call that failed is replaced by null and the statement is planned
//! again, until it plans or fails at a place that was seen before. A model below a broken one is not blamed: its parents' columns
//! are not known, so it is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::schema::{UnfitColumn, unfit_columns};
use catalog::{Diagnostic, PartsHash, TableName};
use datafusion::common::DataFusionError;
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::LogicalPlan;
use futures::executor::block_on;

use crate::explain::{SqlProblem, explain, meant, no_way};
use crate::fault::{self, Meaning, lower};
use crate::lint;
use crate::memo::{self, Memo};
use crate::model::{Check, Model, Models};
use crate::nearest::nearest;
use crate::position::Position;
use crate::session::Session;
use crate::site;
use crate::statement::{Days, Statement};

/// The day that stands for `$dt` when there is no run: one that nobody writes into a query.
const SOME_DAY: catalog::Date = jiff::civil::date(1688, 8, 11);
/// A day from which one can go some centuries back and forth, as the constants of a query may.
const ORDINARY_DAY: catalog::Date = jiff::civil::date(2026, 10, 1);
/// Most errors reported of one model: beyond it, they are echoes.
const MAX_ERRORS: usize = 20;

/// What planning found, for who asks the same again.
static PLANNED: Memo<Arc<PlannedModels>> = Memo::new(32);

/// What planning all models found.
struct PlannedModels {
    problems: Vec<Diagnostic>,
    /// The columns of the models that could be planned.
    schemas: BTreeMap<TableName, SchemaRef>,
}

impl Models {
    /// Plans every model against the columns of the tables it reads, without data, and says everything that is wrong with them.
    /// `schemas` knows the tables that no model makes.
    pub fn check(&self, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> Vec<Diagnostic> {
        match self.planned(schemas) {
            Ok(planned) => planned.problems.clone(),
            Err(error) => vec![Diagnostic {
                file: String::new(),
                line: 1,
                column: 1,
                message: lower(&error.message()),
                hint: None,
            }],
        }
    }

    /// The columns of every model that can be planned, in order of the models.
    pub fn schemas(&self, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> BTreeMap<TableName, SchemaRef> {
        self.planned(schemas).map(|planned| planned.schemas.clone()).unwrap_or_default()
    }

    fn planned(
        &self,
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> Result<Arc<PlannedModels>, DataFusionError> {
        let key = self.planning_key(schemas).finish();
        if let Some(known) = PLANNED.get(&key) {
            return Ok(known);
        }
        let session = Session::for_planning()?;
        let mut known: BTreeMap<TableName, SchemaRef> = BTreeMap::new();
        for table in self.external_tables() {
            if let Some(schema) = schemas(&table)
                && session.add(&table, Arc::new(EmptyTable::new(Arc::clone(&schema)))).is_ok()
            {
                known.insert(table, schema);
            }
        }
        let problems = self.iter().flat_map(|model| check_model(self, model, &session, &mut known)).collect();
        known.retain(|table, _| self.get(table).is_some());
        let planned = Arc::new(PlannedModels { problems, schemas: known });
        PLANNED.keep(key, Arc::clone(&planned));
        Ok(planned)
    }

    /// All that planning the models hangs on.
    pub(crate) fn planning_key(&self, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> PartsHash {
        let mut hash = PartsHash::new();
        for model in self.iter() {
            hash.part(model.path());
            hash.part(model.text());
        }
        hash.part("tables");
        for table in self.external_tables() {
            hash.part(table.to_string());
            memo::columns(&mut hash, schemas(&table).as_ref());
        }
        hash
    }

    /// Makes every model that can be planned a table of the session.
    pub(crate) fn plan_into(&self, session: &Session, schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) {
        let mut known = BTreeMap::new();
        for table in self.external_tables() {
            if let Some(schema) = schemas(&table) {
                let _ = session.add(&table, Arc::new(EmptyTable::new(schema)));
            }
        }
        for model in self.iter() {
            let _ = check_model(self, model, session, &mut known);
        }
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
    let (written, plan) = match plan_all(model.statement(), model.text(), session) {
        Ok(plans) => plans,
        Err(wrong) => {
            found.extend(wrong.into_iter().map(|wrong| {
                let at = place_of(&wrong, model.text());
                model.diagnostic(at, wrong.message, wrong.hint)
            }));
            return found;
        }
    };
    let schema = output_schema(model, plan.schema().as_arrow());
    for (place, field) in schema.fields().iter().enumerate() {
        if schema.fields()[..place].iter().any(|other| other.name() == field.name()) {
            let named = model.statement().named_twice();
            let at = named.into_iter().find(|(name, _)| name == field.name()).map(|(_, at)| at);
            let meaning = fault::twice(field.name());
            let at = at.unwrap_or_else(|| start_of_sql(model.text()));
            found.push(model.diagnostic(at, meaning.message, meaning.hint));
        }
    }
    if !found.is_empty() {
        return found;
    }
    check_head(model, &schema, known, models, &mut found);
    let view = !model.materialization().is_stored();
    if !view {
        found.extend(unfit_columns(&schema).into_iter().map(|UnfitColumn { column, problem, hint }| {
            let at = Statement::find_word(model.text(), &column).unwrap_or_else(|| start_of_sql(model.text()));
            model.diagnostic(at, format!("column `{column}`: {problem}"), Some(hint))
        }));
    }
    if model.materialization().merges().is_some()
        && let Some(what) = lint::latest(&written, SOME_DAY)
    {
        found.push(model.diagnostic(
            model.statement().dt_place().unwrap_or_else(|| start_of_sql(model.text())),
            format!("{what} with `$dt` in it in a `latest` model: its rows would depend on which days were merged together"),
            Some(
                "take the rows of the day here as they are, and group, rank or count in a `table` or `partition` model that reads this one"
                    .to_owned(),
            ),
        ));
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
/// Gives the plan as it was written and the one in which all types fit.
pub(crate) fn plan_all(
    query: &Statement,
    text: &str,
    session: &Session,
) -> Result<(LogicalPlan, LogicalPlan), Vec<SqlProblem>> {
    let mut statement = query.on(&Days::One(SOME_DAY));
    let mut found: Vec<SqlProblem> = Vec::new();
    loop {
        let state = session.state();
        let planned = block_on(session.plan(statement.clone())).and_then(|written| {
            let typed = state.analyzer().execute_and_check(written.clone(), state.config_options(), |_, _| {})?;
            Ok((written, typed))
        });
        let error = match planned {
            Ok((written, typed)) if found.is_empty() => {
                let mut problems = [lint::mixed_types(&written), lint::wrong_answers(&written)].concat();
                if problems.is_empty() {
                    problems.extend(reckoned(query, text, session));
                }
                return if problems.is_empty() { Ok((written, typed)) } else { Err(sorted(problems)) };
            }
            Ok(_) => return Err(sorted(found)),
            Err(error) => error,
        };
        let mut blanked = false;
        for mut wrong in error.iter().map(|error| site::explain_in(error, query)) {
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

/// What fails as soon as the constants of the statement are reckoned or its steps are laid out, which no day and no row can mend.
fn reckoned(query: &Statement, text: &str, session: &Session) -> Option<SqlProblem> {
    let planned = block_on(async {
        let plan = session.plan(query.on(&Days::One(ORDINARY_DAY))).await?;
        session.state().create_physical_plan(&plan).await
    });
    let error = planned.err()?;
    if !fault::is_of_statement(&error) {
        return Some(no_way(&error));
    }
    let meaning = Meaning::of(&error);
    let (place, _) = site::place(&meaning, text, &[]);
    Some(SqlProblem { message: meaning.message, place, hint: meaning.hint })
}

fn sorted(mut found: Vec<SqlProblem>) -> Vec<SqlProblem> {
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
    if model.materialization().is_by_day() && query.field_with_name("dt").is_err() {
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
    let mut need = |column: &str, at: Position, found: &mut Vec<Diagnostic>| {
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
    if let Some((materialize, at)) = &head.materialize
        && let Some((by, order)) = materialize.merges()
    {
        by.iter().map(String::as_str).chain([order]).for_each(|column| need(column, *at, found));
    }
    if let Some((materialize, at)) = &head.materialize
        && materialize.is_by_day()
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
    for (check, at) in head.set_aside.iter().chain(&head.checks) {
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

/// The place of `word` in the line of `at`, at or behind it.
fn in_line(model: &Model, at: Position, word: &str) -> Position {
    let Some(line) = model.text().lines().nth(at.line.saturating_sub(1)) else { return at };
    let from = line.char_indices().nth(at.column.saturating_sub(1)).map_or(line.len(), |(byte, _)| byte);
    let apart = |letter: Option<char>| letter.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '_');
    let found = line[from..]
        .match_indices(word)
        .map(|(byte, _)| from + byte)
        .find(|byte| apart(line[..*byte].chars().next_back()) && apart(line[byte + word.len()..].chars().next()));
    found.map_or(at, |byte| Position { line: at.line, column: line[..byte].chars().count() + 1 })
}

/// The first line that is neither empty nor a comment.
fn start_of_sql(text: &str) -> Position {
    let line = text.lines().position(|line| !line.trim().is_empty() && !line.trim_start().starts_with("--"));
    Position { line: line.map_or(1, |line| line + 1), column: 1 }
}

/// Where the reader should look for what is wrong.
pub(crate) fn place_of(wrong: &SqlProblem, text: &str) -> Position {
    wrong.place.or_else(|| mentioned(text, &wrong.message)).unwrap_or_else(|| start_of_sql(text))
}

/// Where something that a message quotes stands in the file.
fn mentioned(text: &str, message: &str) -> Option<Position> {
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

#[cfg(test)]
mod tests;
