//! The steps of a run and their order: sources, models, enrichments and syncs in one graph, by the tables they read and make.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use catalog::{Diagnostic, TableName};
use extract::Source;
use extract::source::Keys;
use load::{Enrichment, SyncTarget};
use transform::{Graph, Materialization, Model, Node, Selector};

use crate::config;
use crate::exit::Failure;
use crate::project::Project;
use crate::toml_error;
use crate::wire;

/// One step of a run.
pub(crate) enum Step<'a> {
    /// Land what a source has.
    Extract(&'a Source),
    /// Build a model's table.
    Build(&'a Model),
    /// Summarise and embed.
    Enrich(Enrichment),
    /// Bring the sinks up to a mart.
    Sync(SyncTarget),
}

impl Step<'_> {
    /// The verb that status and progress show.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Extract(_) => "extract",
            Self::Build(_) => "build",
            Self::Enrich(_) => "enrich",
            Self::Sync(_) => "sync",
        }
    }

    /// What the step is about, which is its name without the verb.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Extract(source) => source.name().to_string(),
            Self::Build(model) => model.name().to_string(),
            Self::Enrich(enrichment) => enrichment.into.to_string(),
            Self::Sync(target) => target.table.to_string(),
        }
    }

    /// The name in the graph, which selectors use: a sync shares its table's name, so it says `sync:` before it.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Sync(target) => format!("sync:{}", target.table),
            _ => self.name(),
        }
    }
}

/// The steps that a selection means, each after those it reads from, with the names of the steps directly above it.
///
/// Views are no steps: they are part of the SQL that reads them.
///
/// # Errors
/// A [`Failure`] for a cycle, a table with two makers or a selector that means nothing.
pub(crate) fn plan<'a>(project: &'a Project, select: &[String]) -> anyhow::Result<Vec<(Step<'a>, Vec<String>)>> {
    let mut steps: BTreeMap<String, Step<'a>> = BTreeMap::new();
    let mut nodes = Vec::new();
    for source in &project.sources {
        let reads = match source.keys() {
            Keys::List(_) => BTreeSet::new(),
            Keys::Query(sql) => transform::parents(sql)?.into_iter().collect(),
        };
        let step = Step::Extract(source);
        nodes.push(node(&step, reads, Some(source.table_spec().name)));
        steps.insert(step.id(), step);
    }
    for model in project.models.iter() {
        let step = Step::Build(model);
        let mut node = node(&step, model.reads(), Some(model.name().clone()));
        node.tags = model.tags().into_iter().map(str::to_owned).collect();
        node.path = Some(model.path().to_owned());
        nodes.push(node);
        steps.insert(step.id(), step);
    }
    for enrichment in enrichments(project) {
        let into = enrichment.into.clone();
        let step = Step::Enrich(enrichment.clone());
        nodes.push(node(&step, [enrichment.from].into(), Some(into)));
        steps.insert(step.id(), step);
    }
    for target in targets(project) {
        let reads = [target.table.clone()].into();
        let step = Step::Sync(target);
        nodes.push(node(&step, reads, None));
        steps.insert(step.id(), step);
    }
    let graph = Graph::new(nodes).map_err(|error| {
        Failure::usage(format!("the project has no order: {error}"), "a step may only read what is made before it")
    })?;
    let selectors = select.iter().map(|text| text.parse::<Selector>()).collect::<Result<Vec<_>, _>>();
    let chosen = selectors.and_then(|selectors| graph.select(&selectors)).map_err(|error| {
        let names: Vec<&str> = graph.order().map(|node| node.name.as_str()).collect();
        Failure::usage(error.to_string(), format!("the steps are: {}", names.join(", ")))
    })?;
    let planned = chosen.into_iter().filter_map(|name| {
        let above = graph.parents(&name).map(|node| node.name.clone()).collect();
        steps.remove(&name).map(|step| (step, above))
    });
    Ok(planned.filter(|(step, _)| !is_view(step)).collect())
}

fn is_view(step: &Step<'_>) -> bool {
    matches!(step, Step::Build(model) if matches!(model.materialization(), Materialization::View))
}

fn node(step: &Step<'_>, reads: BTreeSet<TableName>, makes: Option<TableName>) -> Node {
    Node { name: step.id(), reads, writes: makes.into_iter().collect(), tags: BTreeSet::new(), path: None }
}

/// The enrichments that the configuration declares.
pub(crate) fn enrichments(project: &Project) -> Vec<Enrichment> {
    let declared = project.config.enrich.iter();
    let enrichment = |(into, section): (&TableName, &config::EnrichSection)| Enrichment {
        into: into.clone(),
        from: section.from.clone(),
        key: section.key.clone(),
        texts: section.texts.clone(),
    };
    declared.map(enrichment).collect()
}

/// The tables that the configuration serves.
pub(crate) fn targets(project: &Project) -> Vec<SyncTarget> {
    let config = &project.config;
    config.sync.iter().map(|(table, section)| wire::target(config, table, section)).collect()
}

/// What is wrong with `[enrich]` and `[sync]`: tables that nothing makes, columns that are not there.
pub(crate) fn problems(project: &Project, schemas: &BTreeMap<TableName, SchemaRef>) -> Vec<Diagnostic> {
    let file = project.file.display().to_string();
    let text = std::fs::read_to_string(&project.file).unwrap_or_default();
    let known = |name: &TableName| schemas.contains_key(name) || project.models.get(name).is_some();
    let wanted =
        enrichments(project).into_iter().map(|it| it.from).chain(targets(project).into_iter().map(|it| it.table));
    wanted
        .filter(|table| !known(table))
        .map(|table| {
            let (line, column) = toml_error::find(&text, &format!("\"{table}\""));
            Diagnostic {
                file: file.clone(),
                line,
                column,
                message: format!("expected a table that the project makes, found `{table}`"),
                hint: Some("`onggi plan` lists the steps and what they make".to_owned()),
            }
        })
        .collect()
}
