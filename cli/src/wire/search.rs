//! The serving side for questions, and what `[search]` says of it.

use catalog::Lake;
use load::SyncTarget;
use load::search::{QueryEmbedder, QueryWords, Search, SearchSettings, SearchedTarget};

use super::{llm, serving, target};
use crate::config::{Config, search};
use crate::exit::{self, Failure};
use crate::project::Project;

/// The serving side, opened for questions.
///
/// # Errors
/// A [`Failure`] if nothing can be searched, or nothing was synced yet.
pub(crate) fn search(project: &Project, lake: &Lake) -> anyhow::Result<Search> {
    let settings = settings(&project.config);
    if settings.targets.is_empty() {
        let hint = "add `text = [columns]` and the sink `keywords` or `postgres` to a table of `[sync]`";
        return Err(Failure::usage("expected a table of `[sync]` with texts or a vector, found none", hint).into());
    }
    let serving = serving(project, lake)?;
    let is_database = |it: &SearchedTarget| it.target.sinks.iter().any(|kind| kind.answers_elsewhere());
    if !serving.dir().exists() && !settings.targets.iter().any(is_database) {
        let message = format!("expected a serving side below `{}`, found none", serving.dir().display());
        return Err(Failure::failed(message, "`onggi run` builds and syncs it").into());
    }
    Ok(Search::open(&serving, settings)?)
}

/// Who embeds questions. Without a key, or with settings that can't be used, nobody does: words answer, and the answer says so.
pub(crate) fn query_embedder(project: &Project) -> QueryEmbedder {
    match llm(project) {
        Ok(llm) => QueryEmbedder::new(llm),
        Err(error) => QueryEmbedder::away(exit::causes(&error).join(": ")),
    }
}

/// What a project says of its search; all that can be searched, where it says nothing.
fn settings(config: &Config) -> SearchSettings {
    let section = &config.search;
    let is_searched = |table| section.targets.is_empty() || section.of(table).is_some();
    let tables = search::searchable(config).filter(|(table, _)| is_searched(*table));
    let targets = tables.map(|(table, sync)| searched(config, target(config, table, sync))).collect();
    let words = &section.words;
    SearchSettings {
        targets,
        weights: section.weights,
        words: QueryWords::default()
            .with_frame(&words.frame)
            .with_weak(&words.weak)
            .with_particles(&words.particles)
            .with_related(words.related.iter().map(|(word, others)| (word, others.clone())))
            .joining_short(words.join_short),
    }
}

fn searched(config: &Config, target: SyncTarget) -> SearchedTarget {
    let mut searched = SearchedTarget::new(target);
    if let Some(section) = config.search.of(&searched.target.table) {
        searched.weight = section.weight.unwrap_or(searched.weight);
        if let Some(columns) = &section.columns {
            searched.columns.retain(|column, _| columns.contains(column));
        }
        for (column, weight) in &mut searched.columns {
            *weight = section.column_weights.get(column).copied().unwrap_or(*weight);
        }
    }
    searched
}
