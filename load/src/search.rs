//! Questions to the serving side: by part of a word, exactly; or in words, by keyword and vector, fused.
//!
//! The embedded folder and the database describe themselves (each index, each watermark carries its target), so a search needs no lake and
//! asks both with the same code. What is found are
//! **entities**: rows of a target that is not about another (places). Texts about them (reviews) are evidence, and each hit says which.
//! A query is data: it is folded and compared, never parsed as a query language.
//!
//! The hard part is fairness between a place with 5,000 reviews and one with 20: see `rank.rs`.

use std::path::Path;
use std::sync::Arc;

use catalog::TableName;
use serde::Serialize;

use crate::error::Result;
use crate::llm::Llm;
use crate::sink::postgres::Postgres;
use crate::text::nfc;

mod answer;
mod corpus;
mod query;
mod rank;
mod reasons;
#[cfg(test)]
pub(crate) mod tests;

use corpus::Corpus;

/// The serving side, opened for questions.
pub struct Search {
    source: Source,
}

/// An opened folder stays as it was opened; a database is asked in one snapshot for each question.
enum Source {
    Folder(Arc<Corpus>),
    Database(Arc<Postgres>),
}

/// A row that answers a question.
#[derive(Debug, Clone, Serialize)]
pub struct Hit {
    /// The table it is in.
    pub table: TableName,
    /// Its key.
    pub key: String,
    /// What people call it; the key where it has no title.
    pub title: String,
    /// The fused score; only the order means something.
    pub score: f64,
    /// Its columns from the serving table, without the vector; empty where neither `sqlite` nor `postgres` is used.
    pub fields: serde_json::Map<String, serde_json::Value>,
    /// Why it is here, the strongest first.
    pub reasons: Vec<Reason>,
}

/// One piece of evidence.
#[derive(Debug, Clone, Serialize)]
pub struct Reason {
    /// How it was found.
    pub kind: ReasonKind,
    /// What matched: a part of the query, or a related word; the whole query for a vector.
    pub term: String,
    /// The best sentence that shows it.
    pub sentence: String,
    /// The table the sentence is from: the entity's own, or that of the texts about it.
    pub from: TableName,
    /// The key of the row the sentence is from: a place, or a review.
    pub from_key: String,
    /// How many rows show it.
    pub rows: u64,
    /// Its part of the keyword score, or the cosine.
    pub score: f64,
}

/// How a piece of evidence was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonKind {
    /// A text holds the term.
    Keyword,
    /// A tag does: a voted keyword, a situation of a visit.
    Situation,
    /// The texts are near as a whole.
    Vector,
}

/// An entity whose texts hold a substring.
#[derive(Debug, Clone, Serialize)]
pub struct KeywordHit {
    /// The table it is in.
    pub table: TableName,
    /// Its key.
    pub key: String,
    /// What people call it; the key where it has no title.
    pub title: String,
    /// How many rows hold it: its own and those about it.
    pub rows: u64,
    /// Whether its own row does.
    pub own: bool,
    /// The first sentence with it, from its own row if that has it.
    pub sentence: String,
    /// The table the sentence is from.
    pub from: TableName,
    /// The key of the row the sentence is from.
    pub from_key: String,
}

impl Search {
    /// Opens a serving folder: one state of it, which stays as it is while a sync writes the next. One that is not there yet answers nothing.
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(Self { source: Source::Folder(Arc::new(Corpus::folder(dir)?)) })
    }

    /// Asks a database instead. Nothing is connected before the first question.
    pub fn on(postgres: Arc<Postgres>) -> Self {
        Self { source: Source::Database(postgres) }
    }

    async fn corpus(&self) -> Result<Arc<Corpus>> {
        Ok(match &self.source {
            Source::Folder(corpus) => Arc::clone(corpus),
            Source::Database(postgres) => Arc::new(Corpus::database(postgres).await?),
        })
    }

    /// Every entity with `part` in its own texts or in a text about it: exact, complete, the most mentioned first.
    pub async fn keyword(&self, part: &str) -> Result<Vec<KeywordHit>> {
        let corpus = self.corpus().await?;
        let hits = answer::keyword(&corpus, part).await?;
        corpus.close().await;
        Ok(hits)
    }

    /// The entities that answer `question` best, at most `limit`, each with its reasons.
    pub async fn search(&self, question: &str, limit: usize, llm: &dyn Llm) -> Result<Vec<Hit>> {
        let terms = query::parse(question)?;
        let corpus = self.corpus().await?;
        let model = llm.embedder().id();
        let usable = corpus.vectors.iter().any(|it| it.target().vector.as_ref().is_some_and(|v| v.model == model));
        let vector =
            if usable { llm.embed(&[nfc(question)]).await?.into_iter().next().map(|e| e.vector) } else { None };
        let hits = answer::ranked(&corpus, question, terms, vector.as_deref(), &model, limit).await?;
        corpus.close().await;
        Ok(hits)
    }
}
