//! Analyses: `.sql` files that are asked and make no table.
//!
//! A project keeps them beside its models so that they are checked with them: an analysis that no longer fits the tables it
//! asks is found before anybody asks it.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use catalog::{Diagnostic, TableName};
use datafusion::datasource::empty::EmptyTable;
use datafusion::logical_expr::{LogicalPlan, Volatility};

use crate::explain::SqlProblem;
use crate::lint;
use crate::memo::{self, Memo};
use crate::model::{ModelFile, Models};
use crate::nearest::nearest;
use crate::position::Position;
use crate::session::Session;
use crate::statement::Statement;
use crate::verify::{place_of, plan_all};

/// The column of a query that finds keys: what the source is asked by.
pub const KEY: &str = "key";
/// The column of the same that says how far back is asked, where there is one.
pub const SINCE: &str = "since";

/// What was found, for who asks the same again.
static CHECKED: Memo<Arc<[Diagnostic]>> = Memo::new(32);

impl Models {
    /// Plans every analysis against the columns of the tables it asks, without data, and says everything that is wrong with
    /// them. `schemas` knows the tables that no model makes.
    pub fn check_analyses(
        &self,
        analyses: &[ModelFile],
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> Vec<Diagnostic> {
        let key = self.analyses_key(analyses, schemas);
        if let Some(known) = CHECKED.get(&key) {
            return known.to_vec();
        }
        let found = self.look_at(analyses, schemas, |analysis, session| {
            self.plan_analysis(analysis, session, schemas).err().unwrap_or_default()
        });
        CHECKED.keep(key, found.as_slice().into());
        found
    }

    /// The same of queries that find what is asked for: these must find the same whenever they are asked on one lake, so that they
    /// may neither speak of the moment nor take some of several rows with no word of which.
    pub fn check_key_queries(
        &self,
        queries: &[ModelFile],
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> Vec<Diagnostic> {
        let mut found = self.check_analyses(queries, schemas);
        // A session that does not start is reported by the check of the models.
        let Ok(session) = Session::for_planning() else { return found };
        for query in queries {
            let Ok(statement) = Statement::parse(&query.text) else { continue };
            found.extend(of_the_moment(&statement, &session).into_iter().map(|wrong| {
                let Position { line, column } = place_of(&wrong, &query.text);
                Diagnostic { file: query.path.clone(), line, column, message: wrong.message, hint: wrong.hint }
            }));
        }
        found.extend(self.look_at(queries, schemas, |query, session| {
            // What can't be planned is told above.
            let plan = self.plan_analysis(query, session, schemas).ok().flatten();
            plan.map(|plan| key_columns(&plan)).unwrap_or_default()
        }));
        found
    }

    /// Says everything in the analyses that Athena would answer differently than this program, and how to write it so that both
    /// agree.
    pub fn check_portable(
        &self,
        analyses: &[ModelFile],
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> Vec<Diagnostic> {
        self.look_at(analyses, schemas, |analysis, session| {
            let plan = self.plan_analysis(analysis, session, schemas).ok().flatten();
            // What is no SQL here is said by others, or may be SQL there.
            let statement = Statement::parse(&analysis.text);
            statement.map(|statement| lint::portable(&statement, plan.as_ref())).unwrap_or_default()
        })
    }

    fn look_at(
        &self,
        analyses: &[ModelFile],
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
        look: impl Fn(&ModelFile, &Session) -> Vec<SqlProblem>,
    ) -> Vec<Diagnostic> {
        // A session that does not start is reported by the check of the models.
        let Ok(session) = Session::for_planning() else { return Vec::new() };
        if !analyses.is_empty() {
            self.plan_into(&session, schemas);
        }
        let found = analyses.iter().flat_map(|analysis| {
            look(analysis, &session).into_iter().map(|wrong| {
                let Position { line, column } = place_of(&wrong, &analysis.text);
                Diagnostic { file: analysis.path.clone(), line, column, message: wrong.message, hint: wrong.hint }
            })
        });
        found.collect()
    }

    /// All that their check hangs on: the models, the analyses, and the columns of the tables that these name.
    fn analyses_key(&self, analyses: &[ModelFile], schemas: &dyn Fn(&TableName) -> Option<SchemaRef>) -> memo::Key {
        let mut hash = self.planning_key(schemas);
        for analysis in analyses {
            hash.part(&analysis.path);
            hash.part(&analysis.text);
            let statement = Statement::parse(&analysis.text).ok();
            for (name, _) in statement.iter().flat_map(Statement::tables) {
                let schema = name.parse().ok().and_then(|table| schemas(&table));
                memo::columns(&mut hash, schema.as_ref());
            }
        }
        hash.finish()
    }

    /// The plan of an analysis as it was written; none where a model that it asks is broken itself, as its own check says.
    fn plan_analysis(
        &self,
        analysis: &ModelFile,
        session: &Session,
        schemas: &dyn Fn(&TableName) -> Option<SchemaRef>,
    ) -> Result<Option<LogicalPlan>, Vec<SqlProblem>> {
        let wrong =
            |message: String, place: Option<Position>, hint: Option<String>| vec![SqlProblem { message, place, hint }];
        let statement = Statement::parse(&analysis.text).map_err(|wrong| vec![wrong])?;
        if statement.query().is_none() {
            let message = "expected a query, found something else".to_owned();
            return Err(wrong(message, None, Some("an analysis is one `select`".to_owned())));
        }
        if statement.uses_dt() {
            let hint =
                "this query belongs to no day: take one from the data, as in `(select max(dt) from staging.daily)`";
            return Err(wrong("`$dt` has no value here".to_owned(), statement.dt_place(), Some(hint.to_owned())));
        }
        let mut missing = Vec::new();
        for (name, place) in statement.tables() {
            let table = name.parse::<TableName>().ok();
            if table.as_ref().is_some_and(|table| session.has(table)) {
                continue;
            }
            if let Some(table) = &table
                && let Some(schema) = schemas(table)
                && session.add(table, Arc::new(EmptyTable::new(schema))).is_ok()
            {
                continue;
            }
            if table.as_ref().is_some_and(|table| self.get(table).is_some()) {
                return Ok(None);
            }
            let names: Vec<String> = self.iter().map(|model| model.name().to_string()).collect();
            let hint = nearest(name, names.iter().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?"));
            missing.push(SqlProblem { message: format!("no table `{name}`"), place: Some(place), hint });
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        plan_all(&statement, &analysis.text, session).map(|(written, _)| Some(written))
    }
}

/// What would make a query find something else the next time, though the lake is the same.
fn of_the_moment(statement: &Statement, session: &Session) -> Vec<SqlProblem> {
    let functions = session.state().scalar_functions();
    // What the engine knows of a function counts: its name may be any of several.
    let is_repeatable = |name: &str| {
        functions.get(name).is_none_or(|function| function.signature().volatility == Volatility::Immutable)
    };
    let calls = statement.placed_calls().filter(|(name, _)| !is_repeatable(name)).map(|(name, place)| SqlProblem {
        message: format!("`{name}` answers differently each time"),
        place: Some(place),
        hint: Some(
            "keys are the same whenever they are asked for: take a day from the data, as in `(select max(dt) from staging.daily)`"
                .to_owned(),
        ),
    });
    let parts = statement.unordered().iter().map(|(what, place)| SqlProblem {
        message: format!("`{what}` without `order by` finds other keys each time"),
        place: Some(*place),
        hint: Some(
            "say which come first: `order by` columns that tell any two rows apart, the key as the last".to_owned(),
        ),
    });
    calls.chain(parts).collect()
}

/// What is wrong with the columns of a query that finds keys: they are taken by their names.
fn key_columns(plan: &LogicalPlan) -> Vec<SqlProblem> {
    let wrong = |message: String, hint: &str| vec![SqlProblem { message, place: None, hint: Some(hint.to_owned()) }];
    let fields = plan.schema().fields();
    if !fields.iter().any(|field| field.name() == KEY) {
        let names: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name())).collect();
        let hint = "name what the source is asked by: `select place_id as key`";
        return wrong(format!("expected a column `{KEY}`, found {}", names.join(", ")), hint);
    }
    match fields.iter().find(|field| field.name() == SINCE).map(|field| field.data_type()) {
        None | Some(DataType::Null) => Vec::new(),
        Some(kind) if kind.is_string() || matches!(kind, DataType::Timestamp(..) | DataType::Date32) => Vec::new(),
        Some(kind) => wrong(
            format!("expected `{SINCE}` to be a time, found {kind}"),
            "it is compared with the times of the answers",
        ),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn found(sql: &str) -> Vec<String> {
        found_by(Models::check_analyses, sql)
    }

    fn found_by(
        check: impl Fn(&Models, &[ModelFile], &dyn Fn(&TableName) -> Option<SchemaRef>) -> Vec<Diagnostic>,
        sql: &str,
    ) -> Vec<String> {
        let models = [
            ("sql/p/staging/reviews.sql", "-- materialize: table\nselect review_id, rating from raw.reviews"),
            ("sql/p/marts/good.sql", "-- materialize: view\nselect review_id from staging.reviews where rating > 4"),
            ("sql/p/marts/broken.sql", "-- materialize: table\nselect nothing from staging.reviews"),
        ];
        let file = |(path, text): (&str, &str)| ModelFile { path: path.to_owned(), text: text.to_owned() };
        let models = Models::parse(models.map(file).into()).unwrap();
        let raw = [("review_id", DataType::Utf8), ("rating", DataType::Float64)];
        let raw = Arc::new(Schema::new(raw.map(|(name, kind)| Field::new(name, kind, true)).to_vec()));
        let ops = Arc::new(Schema::new(vec![Field::new("run", DataType::Utf8, true)]));
        let schemas = |name: &TableName| match name.to_string().as_str() {
            "raw.reviews" => Some(Arc::clone(&raw)),
            "ops.runs" => Some(Arc::clone(&ops)),
            _ => None,
        };
        let analyses = [file(("sql/analyses/q.sql", sql))];
        check(&models, &analyses, &schemas).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_finds_keys_finds_the_same_ones_again() {
        const FROM: &str = "from staging.reviews";
        let same = [
            format!("select review_id as key {FROM}"),
            format!("select review_id as key, max('2026') as since {FROM} group by 1 order by 1 limit 10 offset 5"),
            format!(
                "select key from (select review_id as key, row_number() over (order by rating) as n {FROM}) where n < 9"
            ),
            format!("select distinct on (rating) review_id as key {FROM} order by rating, review_id"),
            format!("select review_id as key, sum(rating) over () as all_of_them {FROM}"),
        ];
        for sql in same {
            assert_eq!(found_by(Models::check_key_queries, &sql), [""; 0], "{sql}");
        }
        let other = [
            (format!("select review_id as k, rating {FROM}"), "expected a column `key`, found `k`, `rating`"),
            (format!("select review_id as key, 7 as since {FROM}"), "expected `since` to be a time, found Int64"),
            (format!("select review_id as key {FROM} where random() < 0.5"), "`random` answers differently"),
            (format!("select review_id as key {FROM} where now() > date '2026-01-01'"), "`now` answers differently"),
            (
                format!("select review_id as key {FROM} where current_date > date '2026-01-01'"),
                "`current_date` answers",
            ),
            (format!("select review_id as key {FROM} where current_timestamp is null"), "`current_timestamp` answers"),
            (format!("select review_id as key {FROM} where today() > date '2026-01-01'"), "`today` answers"),
            (format!("select uuid() as key {FROM}"), "`uuid` answers differently"),
            (
                format!("select review_id as key {FROM} limit 10"),
                "`limit` without `order by` finds other keys each time",
            ),
            (format!("select distinct on (rating) review_id as key {FROM}"), "`distinct on` without `order by`"),
            (
                format!("with some as (select review_id {FROM} limit 5) select review_id as key from some order by 1"),
                "`limit` without",
            ),
            (
                format!("select key from (select review_id as key, row_number() over () as n {FROM}) where n < 9"),
                "`row_number` without `order by`",
            ),
        ];
        for (sql, expected) in other {
            let found = found_by(Models::check_key_queries, &sql);
            assert_eq!(found.len(), 1, "{sql}: {found:?}");
            assert!(found[0].starts_with("sql/analyses/q.sql:1:") && found[0].contains(expected), "{sql}: {found:?}");
            assert_eq!(found_by(Models::check_analyses, &sql), [""; 0], "who only asks may ask so: {sql}");
        }
    }

    #[test]
    fn models_views_sources_and_records_can_be_asked() {
        for sql in [
            "select avg(rating) as r from staging.reviews",
            "select count(*) as n from marts.good join raw.reviews using (review_id)",
            "select count(distinct run) as n from ops.runs",
            // Its own check says what is wrong with it.
            "select * from marts.broken",
        ] {
            assert_eq!(found(sql), [""; 0], "{sql}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let cases = [
            ("-- ?\nselect ratting from staging.reviews", "sql/analyses/q.sql:2:8: no column `ratting`"),
            ("select 1 from staging.review", "sql/analyses/q.sql:1:15: no table `staging.review`"),
            ("select 1 from staging.reviews where 1 = $dt", "sql/analyses/q.sql:1:41: `$dt` has no value here"),
            ("drop table staging.reviews", "sql/analyses/q.sql:1:1: expected a query, found something else"),
            ("select from where", "sql/analyses/q.sql:1:"),
        ];
        for (sql, expected) in cases {
            let found = found(sql);
            assert_eq!(found.len(), 1, "{sql}: {found:?}");
            assert!(found[0].starts_with(expected), "{sql}: {found:?}");
        }
    }
}
