//! Asking at once for what is set aside: somebody changed what stood in its way and does not want to wait.

use std::collections::HashSet;

use catalog::Lake;
use futures::FutureExt;

use super::aside::{self, Aside};
use super::cache::{Answer, AnswerRow, Cache, RowContent};
use super::published::Published;
use super::{AnswerKind, Context, Enrichment};
use crate::error::Result;
use crate::llm::{Llm, Refusal};

/// An answer that the next run asks for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasked {
    /// What was asked for.
    pub kind: AnswerKind,
    /// Whose it is.
    pub entity: String,
    /// Why it was set aside.
    pub refusal: Refusal,
    /// How often it was asked for in a row.
    pub tries: u32,
}

/// Takes the waiting off every answer of a table that is set aside: the next run asks for them. Nothing is asked here.
///
/// None where answers are free or were never asked for: those that a model computes here are never set aside.
pub async fn ask_again(
    lake: &Lake,
    enrichment: &Enrichment,
    llm: &dyn Llm,
    context: &Context<'_>,
) -> Result<Vec<Reasked>> {
    asked_again(lake, enrichment, llm, context).boxed().await
}

async fn asked_again(
    lake: &Lake,
    enrichment: &Enrichment,
    llm: &dyn Llm,
    context: &Context<'_>,
) -> Result<Vec<Reasked>> {
    let (Some(openai), Some(from), Some(into)) =
        (llm.paid(), lake.newest(&enrichment.from).await?, lake.newest(&enrichment.into).await?)
    else {
        return Ok(Vec::new());
    };
    let mut rows = super::rows(enrichment, &from, llm).await?;
    let mut known = Published::read(&into, enrichment).await?.known;
    let cache = Cache::open(lake).await?;
    let mut reasked = Vec::new();
    for kind in [AnswerKind::Summary, AnswerKind::Embedding] {
        let key_of = |row: &super::Row| match kind {
            AnswerKind::Embedding => row.embedding_key.clone(),
            AnswerKind::Summary | AnswerKind::Part => row.summary_key.clone(),
        };
        let aside_key = |key: &str| aside::key(key, &openai.bounds(kind));
        let wanted: HashSet<String> = rows
            .iter()
            .filter_map(key_of)
            .flat_map(|key| [aside_key(&key), key])
            .filter(|key| !known.contains_key(key))
            .collect();
        let found = cache.read(&wanted).await?;
        known.extend(found.answers);
        let mut stored = Vec::new();
        for row in &rows {
            let Some(key) = key_of(row) else { continue };
            let lacks = !known.get(&key).is_some_and(Answer::is_whole);
            let key = aside_key(&key);
            let Some(Aside { refusal, tries, .. }) = found.aside.get(&key).filter(|it| lacks && it.tries > 0) else {
                continue;
            };
            let (entity, refusal) = (row.key.clone(), refusal.clone());
            stored.push(AnswerRow { kind, key, entity: entity.clone(), said: RowContent::Aside(refusal.clone(), 0) });
            reasked.push(Reasked { kind, entity, refusal, tries: *tries });
        }
        if !stored.is_empty() {
            let model = if kind == AnswerKind::Embedding { llm.embedder() } else { llm.summariser() };
            cache.store(kind, &model.id(), &stored.iter().collect::<Vec<_>>(), context).await?;
        }
        for row in &mut rows {
            let text = row.summary_key.as_ref().and_then(|key| known.get(key)).and_then(|it| it.text.clone());
            if let Some(text) = text {
                row.embeds(&text, llm);
            }
        }
    }
    Ok(reasked)
}
