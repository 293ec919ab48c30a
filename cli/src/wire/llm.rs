//! Who summarises and embeds.

use std::sync::Arc;
use std::time::Duration;

use enrich::llm::openai::{self, BatchLimits, OpenAi, Settings};
use enrich::{Llm, Local};

use crate::config::{Config, LlmSection, Provider};
use crate::exit::Failure;
use crate::project::Project;

/// The provider of a project.
///
/// # Errors
/// If the service's key is missing, or its settings can't be used.
pub(crate) fn llm(project: &Project) -> anyhow::Result<Arc<dyn Llm>> {
    provider(project, true)
}

/// The provider for those who ask it nothing: what is missing and what it would cost can be said without a key.
///
/// # Errors
/// If the settings can't be used.
pub(crate) fn llm_unasked(project: &Project) -> anyhow::Result<Arc<dyn Llm>> {
    provider(project, false)
}

fn provider(project: &Project, asked: bool) -> anyhow::Result<Arc<dyn Llm>> {
    let section = &project.config.llm;
    if section.provider == Provider::Local {
        return Ok(Arc::new(Local::default()));
    }
    let key = match (&section.key, asked) {
        (Some(reference), true) => String::from_utf8(reference.read(&project.folder)?).map_err(|_| {
            Failure::usage("expected the key of [llm] to be text, found other bytes", "correct what `key` refers to")
        })?,
        _ => "not asked".to_owned(),
    };
    let (summary_model, embedding_model) = models(section);
    let settings = Settings {
        dimensions: section.dimensions,
        mode: section.mode,
        requests_per_minute: section.requests_per_minute,
        tokens_per_minute: section.tokens_per_minute,
        budget: section.budget,
        prices: section.prices.clone(),
        prompt_tokens: section.prompt_tokens,
        output_tokens: section.output_tokens,
        timeout: Duration::from_secs(section.timeout),
        batch: BatchLimits { requests: section.batch_requests, bytes: section.batch_bytes },
        ..Settings::new(&section.url, &key, summary_model, embedding_model)
    };
    Ok(Arc::new(OpenAi::new(settings)?))
}

/// The name of the embedder, as it stands beside vectors; no key is needed for it.
pub(crate) fn embedder(config: &Config) -> String {
    let section = &config.llm;
    match section.provider {
        Provider::Local => Local::default().embedder().id(),
        Provider::Openai => {
            let (summary_model, embedding_model) = models(section);
            openai::models(summary_model, embedding_model, section.dimensions, section.prompt_tokens).1.id()
        }
    }
}

/// The models, which the configuration's checks have proved to be there.
fn models(section: &LlmSection) -> (&str, &str) {
    (section.summary_model.as_deref().unwrap_or_default(), section.embedding_model.as_deref().unwrap_or_default())
}
