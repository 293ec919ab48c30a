//! Questions to the serving side: by part of a word, exactly; or in words, by keyword and vector, fused.
//!
//! What is searched, and how much each part counts, is data of the project ([`SearchSettings`]). The embedded indexes and the tables of a
//! database answer with the same code, and describe themselves (each index, each watermark carries its target). What is found are
//! **entities**: rows of a target that is not about another. Texts about them are evidence, and each hit says which.
//! A query is data: it is folded and compared, never parsed as a query language.
//!
//! The hard part is fairness between an entity with 5,000 texts about it and one with 20: see `rank.rs`. The other one is that an answer of
//! five costs what five cost, however many texts hold the words: see `order.rs`.

mod answer;
mod corpus;
mod embedder;
mod hit;
mod keyword;
mod near;
mod order;
mod query;
mod rank;
mod reasons;
#[cfg(test)]
mod relevance;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

pub use embedder::QueryEmbedder;
pub use hit::{Hit, KeywordAnswer, KeywordHit, Reason, ReasonKind, SearchAnswer};
pub use settings::{QueryWords, SearchSettings, SearchWeights, SearchedTarget};

use answer::ParsedQuestion;
use corpus::{Corpus, OpenedServing, SearchedVectors};

use crate::error::Result;
use crate::serving::Serving;

/// The serving side, opened for questions.
pub struct Search {
    opened: OpenedServing,
    settings: SearchSettings,
}

impl Search {
    /// Opens a serving side: one state of its folder, which stays as it is while a sync writes the next, and of its database for each
    /// question one. A table that is not there yet answers nothing. Nothing is connected before the first question.
    pub fn open(serving: &Serving, settings: SearchSettings) -> Result<Self> {
        Ok(Self { opened: OpenedServing::open(serving, settings.clone())?, settings })
    }

    /// The entities with `part` in their own texts or in a text about them, the most mentioned first; all of them without a limit.
    pub async fn keyword(&self, part: &str, limit: Option<usize>) -> Result<KeywordAnswer> {
        let corpus = self.opened.corpus().await?;
        let answer = keyword::keyword(&corpus, part, limit).await;
        corpus.close().await;
        answer
    }

    /// The entities that answer `question` best, at most `limit`, each with its reasons. Without an embedder words alone answer, and a
    /// note says so.
    pub async fn search(&self, question: &str, limit: usize, embedder: &QueryEmbedder) -> Result<SearchAnswer> {
        let terms = query::parse(question, &self.settings.words, self.settings.weights.related)?;
        let corpus = self.opened.corpus().await?;
        let mut notes = corpus.notes.clone();
        let vector = self.vector(&corpus, question, embedder, &mut notes).await;
        let vector = vector.as_ref().map(|(vector, model)| (vector.as_slice(), model.as_str()));
        let weights = self.settings.weights;
        let hits = answer::ranked(&corpus, ParsedQuestion { text: question, terms, vector, limit, weights }).await;
        corpus.close().await;
        Ok(SearchAnswer { hits: hits?, notes })
    }

    /// The vector of a question and its model, where there are vectors to compare it with.
    async fn vector(
        &self,
        corpus: &Corpus<'_>,
        question: &str,
        embedder: &QueryEmbedder,
        notes: &mut Vec<String>,
    ) -> Option<(Vec<f32>, String)> {
        if self.settings.weights.vector <= 0.0 || corpus.vectors.is_empty() {
            return None;
        }
        let model = embedder.model();
        let is_of_model = |it: &&SearchedVectors| {
            it.target().vector.as_ref().is_some_and(|of| model.as_ref().is_none_or(|it| of.model == *it))
        };
        for others in corpus.vectors.iter().filter(|it| !is_of_model(it)) {
            let (Some(of), Some(model)) = (&others.target().vector, &model) else { continue };
            let (table, of) = (&others.target().table, &of.model);
            notes.push(format!(
                "the vectors of `{table}` are of `{of}`, and questions are embedded by `{model}`: they are left out until a run \
                 embeds them anew"
            ));
        }
        if !corpus.vectors.iter().any(|it| is_of_model(&it)) {
            return None;
        }
        let vector = match embedder.vector(question).await {
            Ok(vector) => vector,
            Err(why) => {
                notes.push(format!("answered by words alone, the embedder is away: {why}"));
                return None;
            }
        };
        for vectors in corpus.vectors.iter().filter(is_of_model) {
            if let Err(found) = vectors.compares(vector.len()) {
                let (table, length) = (&vectors.target().table, vector.len());
                notes.push(format!(
                    "the vectors of `{table}` have {found} numbers, that of a question has {length}: they are left out"
                ));
            }
        }
        model.map(|model| (vector, model))
    }
}
