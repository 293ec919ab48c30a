//! `onggi check`: every file of the project, read and planned with no data.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use catalog::{Diagnostic, TableName};

use crate::args::Global;
use crate::exit::{Exit, Problems};
use crate::project::Project;
use crate::steps;

/// Plans every model against the tables it reads and reports every error.
///
/// # Errors
/// [`Problems`] with file, line and column of each.
#[expect(clippy::unused_async, reason = "every verb is called the same way")]
pub(crate) async fn check(global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let project = checked(global)?;
    let (sources, models) = (project.sources.len(), project.models.len());
    if global.json {
        println!("{}", serde_json::json!({ "sources": sources, "models": models, "problems": 0 }));
    } else if !global.quiet {
        println!("{sources} sources and {models} models are right ({:.2}s)", started.elapsed().as_secs_f64());
    }
    Ok(Exit::Done)
}

/// The project that the command line names, once nothing is wrong with it: what every verb that runs something begins with.
///
/// # Errors
/// [`Problems`] with everything that is wrong.
pub(crate) fn checked(global: &Global) -> anyhow::Result<Project> {
    let project = Project::open(global)?;
    let problems = problems(&project);
    if problems.is_empty() { Ok(project) } else { Err(Problems(problems).into()) }
}

/// Everything that is wrong with models, enrichments and syncs.
fn problems(project: &Project) -> Vec<Diagnostic> {
    let schemas = schemas(project);
    let mut problems = project.models.check(&|name| schemas.get(name).cloned());
    problems.extend(steps::problems(project, &schemas));
    problems
}

/// The schemas of the tables that are no models: what sources land and enrichments make.
fn schemas(project: &Project) -> BTreeMap<TableName, SchemaRef> {
    let raw = project.sources.iter().map(|source| {
        let spec = source.table_spec();
        (spec.name, spec.schema)
    });
    let enriched = steps::enrichments(project).into_iter().map(|enrichment| {
        let spec = enrichment.table_spec();
        (spec.name, spec.schema)
    });
    raw.chain(enriched).collect()
}
