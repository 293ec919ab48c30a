//! The objects of the journal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catalog::{Date, Lake, ObjectPath, RunId};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::llm::AnswerKind;
use crate::llm::{Content, Mode, Refusal, RefusalKind, Usage};

/// One object: a reply, or some hundred lines of a batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) run: RunId,
    pub(super) dt: Date,
    pub(super) seq: u64,
    pub(super) mode: Mode,
    pub(super) kind: AnswerKind,
    pub(super) model: String,
    pub(super) usage: Usage,
    pub(super) cost: Option<f64>,
    pub(super) answers: Vec<Kept>,
}

/// What is kept of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::enrichment) struct Kept {
    pub(super) key: String,
    #[serde(flatten)]
    said: Said,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Said {
    Text(String),
    /// As it was written before reasons had kinds.
    Refused(String),
    #[serde(rename = "set_aside")]
    SetAside(Refusal),
    /// Little-endian floats in base64.
    Vector(String),
}

impl Kept {
    pub(in crate::enrichment) fn new(key: &str, content: Content) -> Vec<Self> {
        let one = |said| Self { key: key.to_owned(), said };
        match content {
            Content::Text(text) => vec![one(Said::Text(text))],
            Content::Refused(refusal) => vec![one(Said::SetAside(refusal))],
            Content::Vectors(vectors) => vectors.iter().map(|vector| one(encoded(vector))).collect(),
        }
    }

    pub(super) fn is_vector(&self) -> bool {
        matches!(self.said, Said::Vector(_))
    }

    pub(super) fn content(&self) -> Content {
        match &self.said {
            Said::Text(text) => Content::Text(text.clone()),
            Said::Refused(reason) => Content::Refused(Refusal::new(RefusalKind::Unknown, reason.clone())),
            Said::SetAside(refusal) => Content::Refused(refusal.clone()),
            Said::Vector(text) => Content::Vectors(vec![decoded(text)]),
        }
    }
}

fn encoded(vector: &[f32]) -> Said {
    Said::Vector(STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()))
}

fn decoded(text: &str) -> Vec<f32> {
    let bytes = STANDARD.decode(text).unwrap_or_default();
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Reads an object; `None` if another run gathered it since it was listed.
pub(super) async fn read(lake: &Lake, at: ObjectPath) -> Result<Option<(ObjectPath, Entry)>> {
    let Some(bytes) = lake.objects().get(&at).await? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(entry) => Ok(Some((at, entry))),
        Err(source) => Err(Error::Journal { object: at.to_string(), source: source.into() }),
    }
}
