//! `onggi check`: every file of the project, read and planned with no data.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use catalog::{Diagnostic, TableName};
use transform::LakeState;

use crate::args::Global;
use crate::count::counted;
use crate::exit::{Exit, Problems};
use crate::lake_state;
use crate::out;
use crate::project::Project;
use crate::steps;
use crate::wire;

/// Plans every model and every analysis against the tables it reads and reports every error.
///
/// # Errors
/// [`Problems`] with file, line and column of each.
pub(crate) async fn check(global: &Global) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let project = checked(global)?;
    // Only this verb looks at them: an analysis that is wrong keeps no table from being built.
    let problems = analyses(&project)?;
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    let state = match wire::lake_if_there(&project, global).await? {
        Some(lake) => {
            wire::identity_fits(&project, &lake).await?;
            lake_state::look(&project, &lake).await?
        }
        None => LakeState::default(),
    };
    let standing = lake_state::lines(&state);
    let (sources, models, analyses) = (project.sources.len(), project.models.len(), project.analyses.len());
    if global.json {
        out::object(
            &serde_json::json!({ "sources": sources, "models": models, "analyses": analyses, "problems": [], "lake": standing }),
        )?;
    } else if !global.quiet {
        let took = started.elapsed().as_secs_f64();
        let count = |number: usize, noun: &str| counted(number as u64, noun);
        let analyses = if analyses == 1 { "1 analysis".to_owned() } else { format!("{analyses} analyses") };
        let (sources, models) = (count(sources, "source"), count(models, "model"));
        out::line(format_args!("{sources}, {models} and {analyses} are right ({took:.2}s)"));
        if !standing.is_empty() {
            out::line("the lake is not as the project says; a run changes what it can:");
            for line in &standing {
                out::line(format_args!("  {line}"));
            }
        }
    }
    lake_state::refused(&state)?;
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
    let schemas = steps::schemas(project);
    let mut problems = project.models.check(&|name| schemas.get(name).cloned());
    problems.extend(steps::problems(project, &schemas));
    problems
}

/// Everything that is wrong with the analyses in `analyses`: also what Athena would answer differently, where the project has one.
fn analyses(project: &Project) -> anyhow::Result<Vec<Diagnostic>> {
    let schemas = askable(project)?;
    let mut problems = project.models.check_analyses(&project.analyses, &|name| schemas.get(name).cloned());
    if project.config.athena.is_some() {
        problems.extend(project.models.check_portable(&project.analyses, &|name| schemas.get(name).cloned()));
    }
    Ok(problems)
}

/// The schemas of the tables that are no models and that questions may ask: the runs' own records too.
pub(crate) fn askable(project: &Project) -> anyhow::Result<BTreeMap<TableName, SchemaRef>> {
    let mut schemas = steps::schemas(project);
    schemas.extend(catalog::run::record_specs()?.into_iter().map(|spec| (spec.name, spec.schema)));
    Ok(schemas)
}
