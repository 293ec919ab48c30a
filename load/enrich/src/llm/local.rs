//! The provider that needs no network, no key and no download, and is honest about what it is.
//!
//! Its summary is **extractive**: up to three sentences that people really wrote, chosen by [LexRank](super::lexrank), nothing rephrased.
//! Its embedding is **lexical**: [hashed n-grams](super::hash_embedding), so texts are near when they share words, parts of words or
//! spellings, not when they merely mean the same. `비 오는 날` and `우천 시` are far apart here; a neural model would know better.
//! Both are deterministic: the same texts give the same bytes on every machine.

use async_trait::async_trait;

use super::{Embedding, Llm, Model, Summary, hash_embedding, lexrank};
use crate::error::{Error, Result, blocking};

/// The local provider. Create it once and share it.
#[derive(Debug, Clone)]
pub struct Local {
    options: lexrank::Options,
    summariser: Model,
    embedder: Model,
}

impl Local {
    /// With its own way of summarising; [`Local::default`] is what is meant in most cases.
    pub fn new(options: lexrank::Options) -> Self {
        let summariser =
            Model { name: "local-lexrank-mmr".into(), version: lexrank::VERSION, parameters: format!("{options:?}") };
        let embedder = Model {
            name: format!("local-hash-ngram-{}", hash_embedding::DIMENSION),
            version: hash_embedding::VERSION,
            parameters: String::new(),
        };
        Self { options, summariser, embedder }
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new(lexrank::Options::default())
    }
}

#[async_trait]
impl Llm for Local {
    fn summariser(&self) -> &Model {
        &self.summariser
    }

    fn embedder(&self) -> &Model {
        &self.embedder
    }

    fn dimension(&self) -> usize {
        hash_embedding::DIMENSION
    }

    async fn summarise(&self, texts: &[String]) -> Result<Summary> {
        let (texts, options, model) = (texts.to_vec(), self.options.clone(), self.summariser.id());
        blocking(move || match lexrank::summarise(&texts, &options) {
            Some(text) => Ok(Summary { text, model }),
            None => Err(Error::Model {
                model,
                message: "expected a text with letters, found none".into(),
                retryable: false,
            }),
        })
        .await
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Embedding>> {
        let (texts, model) = (texts.to_vec(), self.embedder.id());
        blocking(move || {
            Ok(texts
                .iter()
                .map(|text| Embedding { vector: hash_embedding::embed(text), model: model.clone() })
                .collect())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_carry_their_model_and_are_the_same_each_time() {
        let local = Local::default();
        let texts = vec![
            "국물이 진하고 고기가 많아요. 혼자 가기 좋아요.".to_owned(),
            "혼밥하기 좋고 국물이 진해요.".to_owned(),
        ];
        let first = local.summarise(&texts).await.unwrap();
        assert_eq!(first, local.summarise(&texts).await.unwrap());
        assert_eq!(first.model, "local-lexrank-mmr@1");
        let vectors = local.embed(&texts).await.unwrap();
        assert_eq!(vectors.len(), 2);
        assert_eq!(vectors[0].model, "local-hash-ngram-256@1");
        assert!(vectors.iter().all(|v| v.vector.len() == local.dimension()));
    }
}
