//! The steps of a run and their order: sources, models, enrichments and syncs in one graph, by the tables they read and make.

mod problems;

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use catalog::TableName;
use enrich::Enrichment;
use extract::Source;
use extract::source::Keys;
use load::SyncTarget;
use transform::{Graph, GraphError, Model, Node, Selector};

use crate::config;
use crate::exit::Failure;
use crate::project::Project;
use crate::wire;

pub(crate) use problems::problems;

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
    /// The verb of [`Step::Extract`].
    pub(crate) const EXTRACT: &'static str = "extract";
    /// … of [`Step::Build`].
    pub(crate) const BUILD: &'static str = "build";
    /// … of [`Step::Enrich`].
    pub(crate) const ENRICH: &'static str = "enrich";
    /// … of [`Step::Sync`].
    pub(crate) const SYNC: &'static str = "sync";

    /// The verb that status and progress show.
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Self::Extract(_) => Self::EXTRACT,
            Self::Build(_) => Self::BUILD,
            Self::Enrich(_) => Self::ENRICH,
            Self::Sync(_) => Self::SYNC,
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

/// A step in its place: what has to have gone well before it.
pub(crate) struct Placed<'a> {
    /// The step.
    pub step: Step<'a>,
    /// The steps that it reads from: directly, or through views.
    pub above: Vec<String>,
}

/// The steps that a selection means, each after those it reads from.
///
/// A view without checks is no step, since there is nothing to do about it: what reads it has the steps above it above itself.
///
/// # Errors
/// A [`Failure`] for a selector that means nothing, and for a project without an order, which [`problems()`] tells with its place.
pub(crate) fn plan<'a>(project: &'a Project, select: &[String]) -> anyhow::Result<Vec<Placed<'a>>> {
    let (mut steps, nodes) = nodes(project)?;
    let graph = Graph::new(nodes).map_err(|error| Failure::usage(no_order(&error), ORDER_HINT))?;
    let selectors = select.iter().map(|text| text.parse::<Selector>()).collect::<Result<Vec<_>, _>>();
    let chosen = selectors.and_then(|selectors| graph.select(&selectors)).map_err(|error| {
        let names: Vec<&str> = graph.order().map(|node| node.name.as_str()).collect();
        let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("{hint}\nhint: "));
        Failure::usage(error.to_string(), format!("{hint}the steps are: {}", names.join(", ")))
    })?;
    let views: BTreeSet<String> = steps.values().filter(|step| is_view(step)).map(Step::id).collect();
    let planned = chosen.into_iter().filter_map(|name| {
        let above = above(&graph, &views, &name);
        steps.remove(&name).map(|step| Placed { step, above })
    });
    Ok(planned.filter(|placed| !has_nothing_to_do(&placed.step)).collect())
}

/// Whether a selection says a step by its name, and not by what it belongs to: who names it means it.
pub(crate) fn is_named(select: &[String], name: &str) -> bool {
    select.iter().any(|selector| selector.trim_matches('+') == name)
}

const ORDER_HINT: &str = "a step may only read what is made before it";

fn no_order(error: &GraphError) -> String {
    format!("the project has no order: {error}")
}

/// The steps that one reads from, views looked through: a view stores nothing, so it is only as good as what is above it.
fn above(graph: &Graph, views: &BTreeSet<String>, name: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        for parent in graph.parents(&name) {
            if found.insert(parent.name.clone()) && views.contains(&parent.name) {
                waiting.push(parent.name.clone());
            }
        }
    }
    found.into_iter().collect()
}

/// The steps below some models that neither ask a site nor pay for answers: other models and syncs, as far as nothing stands in
/// between that does.
///
/// # Errors
/// As [`plan`].
pub(crate) fn below(project: &Project, models: &BTreeSet<TableName>) -> anyhow::Result<Vec<String>> {
    let mut changed = models.clone();
    let mut found = Vec::new();
    for Placed { step, .. } in plan(project, &[])? {
        match &step {
            Step::Build(model) if !model.reads().is_disjoint(&changed) => {
                changed.insert(model.name().clone());
                if !models.contains(model.name()) {
                    found.push(step.id());
                }
            }
            Step::Sync(target) if changed.contains(&target.table) => found.push(step.id()),
            _ => {}
        }
    }
    Ok(found)
}

/// Every step of the project, and what each reads and makes.
fn nodes(project: &Project) -> anyhow::Result<(BTreeMap<String, Step<'_>>, Vec<Node>)> {
    let mut steps: BTreeMap<String, Step<'_>> = BTreeMap::new();
    let mut nodes = Vec::new();
    for source in &project.sources {
        let reads = match source.keys() {
            Keys::List(_) => BTreeSet::new(),
            Keys::Query(sql) => {
                let own = made_of(project, source.table());
                transform::parents(sql)?.into_iter().filter(|table| !own.contains(table)).collect()
            }
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
    Ok((steps, nodes))
}

/// The tables that are made of this one, and itself. A source may ask what it has already: that is what former runs left, and no
/// reason to wait.
pub(crate) fn made_of(project: &Project, table: &TableName) -> BTreeSet<TableName> {
    let mut found = BTreeSet::from([table.clone()]);
    let enrichments = enrichments(project);
    loop {
        let before = found.len();
        let models = project.models.iter().filter(|model| !model.reads().is_disjoint(&found)).map(Model::name);
        let enriched = enrichments.iter().filter(|it| found.contains(&it.from)).map(|it| &it.into);
        let more: Vec<TableName> = models.chain(enriched).cloned().collect();
        found.extend(more);
        if found.len() == before {
            return found;
        }
    }
}

fn is_view(step: &Step<'_>) -> bool {
    matches!(step, Step::Build(model) if !model.materialization().is_stored())
}

fn has_nothing_to_do(step: &Step<'_>) -> bool {
    is_view(step) && matches!(step, Step::Build(model) if model.checks().is_empty())
}

fn node(step: &Step<'_>, reads: BTreeSet<TableName>, makes: Option<TableName>) -> Node {
    Node { name: step.id(), reads, writes: makes.into_iter().collect(), tags: BTreeSet::new(), path: None }
}

/// The schemas of the tables that are no models: what sources land and enrichments make.
pub(crate) fn schemas(project: &Project) -> BTreeMap<TableName, SchemaRef> {
    let raw = project.sources.iter().map(|source| {
        let spec = source.table_spec();
        (spec.name, spec.schema)
    });
    let enriched = enrichments(project).into_iter().map(|enrichment| {
        let spec = enrichment.table_spec();
        (spec.name, spec.schema)
    });
    raw.chain(enriched).collect()
}

/// The enrichments that the configuration declares.
pub(crate) fn enrichments(project: &Project) -> Vec<Enrichment> {
    let declared = project.config.enrich.iter();
    let enrichment = |(into, section): (&TableName, &config::EnrichSection)| Enrichment {
        into: into.clone(),
        from: section.from.clone(),
        key: section.key.clone(),
        texts: section.texts.clone(),
        prompt: section.prompt(),
    };
    declared.map(enrichment).collect()
}

/// The tables that the configuration serves.
pub(crate) fn targets(project: &Project) -> Vec<SyncTarget> {
    let config = &project.config;
    config.sync.iter().map(|(table, section)| wire::target(config, table, section)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_above_a_view_is_above_what_reads_it() {
        let node = |name: &str, reads: &[&str]| Node {
            name: name.to_owned(),
            reads: reads.iter().map(|table| table.parse().unwrap()).collect(),
            writes: name.parse().into_iter().collect(),
            tags: BTreeSet::new(),
            path: None,
        };
        let graph = Graph::new(vec![
            node("staging.items", &["raw.shop"]),
            node("staging.view", &["staging.items"]),
            node("staging.further", &["staging.view", "staging.other"]),
            node("staging.other", &[]),
            node("marts.below", &["staging.further"]),
            node("marts.last", &["marts.below"]),
            node("sync", &["staging.view"]),
        ])
        .unwrap();
        let views = ["staging.view", "staging.further"].map(str::to_owned).into();
        let cases: [(&str, &[&str]); 5] = [
            ("staging.items", &[]),
            ("staging.view", &["staging.items"]),
            ("marts.below", &["staging.further", "staging.items", "staging.other", "staging.view"]),
            // What a table holds is what was committed, whatever is above it.
            ("marts.last", &["marts.below"]),
            ("sync", &["staging.items", "staging.view"]),
        ];
        for (name, expected) in cases {
            assert_eq!(above(&graph, &views, name), expected, "{name}");
        }
    }
}
