//! Models: `.sql` files that each are one table or view.
//!
//! A file's path is its name (`sql/reviews/staging/places.sql` is `staging.places`, and `reviews` is its pipeline), its comment
//! head says how it is kept, and the tables in its `from` are its parents. [`Models::parse`] reads them all and reports
//! everything that can be seen without knowing any table's columns; [`Models::check`](crate::Models::check) does the rest.

mod head;

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Diagnostic, Layer, PartsHash, TableName};

use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::materialization::Materialization;
use crate::nearest::nearest;
use crate::position::Position;
use crate::statement::Statement;

pub(crate) use head::Head;
pub use head::{CHECKS, Check, SETTINGS};

/// A model's file, as found: where it lies and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// The path as messages should show it; its last folder is the layer.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// One table or view and the query that makes it.
#[derive(Debug, Clone)]
pub struct Model {
    name: TableName,
    file: ModelFile,
    pipeline: Option<String>,
    head: Head,
    materialize: Materialization,
    statement: Statement,
    parents: BTreeSet<TableName>,
}

impl Model {
    /// The table it makes.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The file it was read from.
    pub fn path(&self) -> &str {
        &self.file.path
    }

    /// The folder above the layer: `reviews` for `sql/reviews/staging/places.sql`.
    pub fn pipeline(&self) -> Option<&str> {
        self.pipeline.as_deref()
    }

    /// The comment lines of the head that are not settings.
    pub fn description(&self) -> &str {
        &self.head.description
    }

    /// The file's text.
    pub fn text(&self) -> &str {
        &self.file.text
    }

    /// How it is kept.
    pub fn materialization(&self) -> &Materialization {
        &self.materialize
    }

    /// The columns that name a row.
    pub fn key(&self) -> Vec<&str> {
        match self.materialize.merges() {
            Some((by, _)) if self.head.key.is_empty() => by.iter().map(String::as_str).collect(),
            _ => self.head.key.iter().map(|(column, _)| column.as_str()).collect(),
        }
    }

    /// What must be true of its rows: what the head says, and what the key and the materialization imply.
    pub fn checks(&self) -> Vec<Check> {
        let mut checks: Vec<Check> = Vec::new();
        let mut add = |check: Check| {
            if !checks.contains(&check) {
                checks.push(check);
            }
        };
        if let Some((by, _)) = self.materialize.merges() {
            by.iter().cloned().map(Check::NotNull).for_each(&mut add);
        }
        self.head.checks.iter().map(|(check, _)| check.clone()).for_each(&mut add);
        if !self.head.key.is_empty() {
            let key: Vec<String> = self.head.key.iter().map(|(column, _)| column.clone()).collect();
            key.iter().cloned().map(Check::NotNull).for_each(&mut add);
            add(Check::Unique(key));
        }
        checks
    }

    /// Rows that break one of these are no rows of it: they are left out and counted.
    pub fn set_aside(&self) -> Vec<Check> {
        self.head.set_aside.iter().map(|(check, _)| check.clone()).collect()
    }

    /// Its tags, its pipeline among them.
    pub fn tags(&self) -> BTreeSet<&str> {
        self.head.tags.iter().map(String::as_str).chain(self.pipeline()).collect()
    }

    /// The tables in its `from`.
    pub fn parents(&self) -> &BTreeSet<TableName> {
        &self.parents
    }

    /// Everything that must be up to date before it is built: its parents and the tables that its checks look into.
    pub fn reads(&self) -> BTreeSet<TableName> {
        let checked = self.head.checks.iter().filter_map(|(check, _)| match check {
            Check::References { table, .. } => Some(table.clone()),
            _ => None,
        });
        self.parents.iter().cloned().chain(checked).filter(|table| *table != self.name).collect()
    }

    /// Whether `$dt` stands in it.
    pub fn uses_dt(&self) -> bool {
        self.statement.uses_dt()
    }

    /// Whether its table is one thing that stands for one day, the newest that it was built for.
    pub fn stands_for_day(&self) -> bool {
        self.materialize.is_replaced() && self.uses_dt()
    }

    pub(crate) fn statement(&self) -> &Statement {
        &self.statement
    }

    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// A hash of everything in the file that decides the rows: the query without comments and spaces, how it is kept, its key.
    pub(crate) fn rows_hash(&self) -> String {
        let mut hash = PartsHash::new();
        for part in [self.statement.normal.as_str(), &self.materialize.to_string(), &self.key().join(",")] {
            hash.part(part);
        }
        self.set_aside().iter().for_each(|check| hash.part(check.to_string()));
        hash.short_hex()
    }

    /// A hash of the checks alone: when only they change, the rows are looked at again and not built again.
    pub(crate) fn checks_hash(&self) -> String {
        let mut hash = PartsHash::new();
        self.checks().iter().for_each(|check| hash.part(check.to_string()));
        hash.short_hex()
    }

    pub(crate) fn diagnostic(&self, at: Position, message: impl Into<String>, hint: Option<String>) -> Diagnostic {
        Diagnostic { file: self.file.path.clone(), line: at.line, column: at.column, message: message.into(), hint }
    }
}

/// All models of a project, each after its parents.
#[derive(Debug, Clone, Default)]
pub struct Models {
    models: Vec<Model>,
    places: BTreeMap<TableName, usize>,
}

impl Models {
    /// Reads the files. Everything that is wrong is reported, not only the first.
    pub fn parse(files: Vec<ModelFile>) -> std::result::Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut models: BTreeMap<TableName, Model> = BTreeMap::new();
        for file in files {
            let Some(model) = parse_model(file, &mut problems) else { continue };
            if let Some(other) = models.get(&model.name) {
                let hint = format!("`{}` makes it too; rename or remove one of them", other.path());
                problems.push(model.diagnostic(
                    Position::START,
                    format!("two models make `{}`", model.name),
                    Some(hint),
                ));
                continue;
            }
            models.insert(model.name.clone(), model);
        }
        let order = match Graph::new(models.values().map(node).collect()) {
            Ok(graph) => graph.order().map(|node| node.name.clone()).collect::<Vec<_>>(),
            Err(wrong) => {
                let first = wrong
                    .nodes()
                    .first()
                    .and_then(|name| models.values().find(|model| model.name.to_string() == *name));
                if let Some(model) = first {
                    let next = wrong.nodes().get(1).cloned().unwrap_or_default();
                    let at =
                        model.statement.tables().find(|(name, _)| *name == next).map_or(Position::START, |(_, at)| at);
                    problems.push(model.diagnostic(
                        at,
                        wrong.to_string(),
                        Some("a table can't be made from itself; read an earlier layer instead".to_owned()),
                    ));
                }
                Vec::new()
            }
        };
        if !problems.is_empty() {
            problems.sort_by(|one, two| (&one.file, one.line, one.column).cmp(&(&two.file, two.line, two.column)));
            return Err(problems);
        }
        let models: Vec<Model> = order.iter().filter_map(|name| models.remove(&name.parse().ok()?)).collect();
        let places = models.iter().enumerate().map(|(place, model)| (model.name.clone(), place)).collect();
        Ok(Self { models, places })
    }

    /// The models, parents first.
    pub fn iter(&self) -> impl Iterator<Item = &Model> {
        self.models.iter()
    }

    /// The model of a name.
    pub fn get(&self, name: &TableName) -> Option<&Model> {
        self.places.get(name).map(|place| &self.models[*place])
    }

    /// The model of a name, or an error that names the nearest one.
    pub fn require(&self, name: &TableName) -> Result<&Model> {
        self.get(name).ok_or_else(|| {
            let names: Vec<String> = self.models.iter().map(|model| model.name.to_string()).collect();
            let hint = nearest(&name.to_string(), names.iter().map(String::as_str))
                .map(|meant| format!("did you mean `{meant}`?"));
            Error::NoSuchModel { model: name.clone(), hint }
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// The models as nodes for a [`Graph`], to which others can be added.
    pub fn nodes(&self) -> Vec<Node> {
        self.models.iter().map(node).collect()
    }

    /// Every table that models read and none of them makes: what sources and enrichments must bring.
    pub fn external_tables(&self) -> BTreeSet<TableName> {
        self.models.iter().flat_map(Model::reads).filter(|table| self.get(table).is_none()).collect()
    }

    /// What the tables lead to when views among them are looked through: the stored tables, and the views, parents first.
    pub(crate) fn resolve(&self, tables: impl IntoIterator<Item = TableName>) -> (BTreeSet<TableName>, Vec<&Model>) {
        let (mut stored, mut views) = (BTreeSet::new(), BTreeSet::new());
        let mut waiting: Vec<TableName> = tables.into_iter().collect();
        while let Some(table) = waiting.pop() {
            match self.get(&table).filter(|model| !model.materialize.is_stored()) {
                Some(view) => {
                    if views.insert(table) {
                        waiting.extend(view.parents.iter().cloned());
                    }
                }
                None => {
                    stored.insert(table);
                }
            }
        }
        (stored, self.models.iter().filter(|model| views.contains(&model.name)).collect())
    }
}

fn node(model: &Model) -> Node {
    Node {
        name: model.name.to_string(),
        reads: model.reads(),
        writes: [model.name.clone()].into(),
        tags: model.tags().into_iter().map(str::to_owned).collect(),
        path: Some(model.file.path.clone()),
    }
}

/// The name that a path gives, and the folder above it.
fn name_of(path: &str) -> std::result::Result<(TableName, Option<String>), (String, Option<String>)> {
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    let [before @ .., layer, file] = parts.as_slice() else {
        return Err((
            "expected a path such as `reviews/staging/places.sql`".to_owned(),
            Some("the folder of a model is its layer".to_owned()),
        ));
    };
    let stem = file.strip_suffix(".sql").unwrap_or(file);
    let name: TableName = format!("{layer}.{stem}").parse().map_err(|_| {
        let hint = nearest(layer, ["staging", "marts"])
            .filter(|meant| meant != layer)
            .map(|meant| format!("did you mean the folder `{meant}`?"));
        let rule =
            "the folder is the layer, `staging` or `marts`, and the file's name has only a-z, 0-9 and _".to_owned();
        (format!("`{layer}/{stem}` is no name for a table"), Some(hint.unwrap_or(rule)))
    })?;
    if matches!(name.layer(), Layer::Raw | Layer::Ops) {
        return Err((
            format!("a model can't make `{name}`"),
            Some("raw tables are written by sources and ops tables by runs; use `staging` or `marts`".to_owned()),
        ));
    }
    Ok((name, before.last().filter(|folder| **folder != "sql").map(|folder| (*folder).to_owned())))
}

fn parse_model(file: ModelFile, problems: &mut Vec<Diagnostic>) -> Option<Model> {
    let mut report = |at: Position, message: String, hint: Option<String>| {
        problems.push(Diagnostic { file: file.path.clone(), line: at.line, column: at.column, message, hint });
    };
    let top = Position::START;
    let named = name_of(&file.path).map_err(|(message, hint)| report(top, message, hint)).ok();
    let statement = Statement::parse(&file.text)
        .map_err(|wrong| report(wrong.place.unwrap_or(top), wrong.message, wrong.hint))
        .ok();
    let mut head_problems = Vec::new();
    let head = head::parse(&file.path, &file.text, &mut head_problems);
    let broken_head = !head_problems.is_empty();
    problems.append(&mut head_problems);
    let (Some((name, pipeline)), Some(statement)) = (named, statement) else { return None };

    let mut report = |at: Position, message: String, hint: Option<&str>| {
        problems.push(Diagnostic {
            file: file.path.clone(),
            line: at.line,
            column: at.column,
            message,
            hint: hint.map(str::to_owned),
        });
    };
    if statement.query().is_none() {
        let found = statement
            .beyond_asking()
            .unwrap_or_else(|| statement.normal.split(' ').next().unwrap_or_default().to_owned());
        report(
            top,
            format!("expected a query, found `{found}`"),
            Some("a model is one `select`; the table is made from its rows"),
        );
        return None;
    }
    let materialize = head.materialize.as_ref().map(|(materialize, _)| materialize.clone());
    if materialize.is_none() && !broken_head {
        let hint = "add `-- materialize: view`, `partition`, `table` or `latest by <key> order by <column>`";
        report(top, format!("`{name}` doesn't say how it is kept"), Some(hint));
    }
    let materialize = materialize.unwrap_or_default();
    for (parameter, at) in statement.unknown_parameters() {
        report(at, format!("unknown parameter `{parameter}`"), Some("`$dt`, the day of the run, is the only one"));
    }
    for (function, at) in statement.unrepeatable() {
        report(
            at,
            format!("`{function}` answers differently each time"),
            Some("a model must give the same rows when it is built again; use `$dt` or a column"),
        );
    }
    let dt_at = statement.tables().next().map_or(top, |(_, at)| at);
    if !materialize.is_stored() && statement.uses_dt() {
        let hint = "a view is read on any day; use `partition` or `table`";
        report(dt_at, "a view can't use `$dt`".to_owned(), Some(hint));
    }
    if materialize.merges().is_some()
        && let Some(at) = statement.dt_beyond_equality()
    {
        let hint = "the rows of several days are merged at once";
        report(at, "expected `$dt` of a `latest` model only as `column = $dt`".to_owned(), Some(hint));
    }
    let mut parents = BTreeSet::new();
    for (table, at) in statement.tables() {
        // A name that is written as a text has no place of its own.
        let written = || Statement::find_value(&file.text, table).unwrap_or(Position::START);
        let at = if at == Position::default() { written() } else { at };
        match table.parse::<TableName>() {
            Ok(table) if table == name => report(
                at,
                format!("`{name}` reads itself"),
                Some(
                    "a table can't be made from its own rows: read what its rows come from; `latest` keeps the rows of former days by itself",
                ),
            ),
            Ok(table) => {
                parents.insert(table);
            }
            Err(_) => report(
                at,
                format!("`{table}` is no name for a table"),
                Some("a table is `layer.name`, such as `staging.reviews`"),
            ),
        }
    }
    Some(Model { name, file, pipeline, head, materialize, statement, parents })
}

#[cfg(test)]
mod tests;
