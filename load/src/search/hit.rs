//! What a search answers.

use catalog::TableName;
use serde::Serialize;

/// An entity: its table and key.
pub(super) type EntityId = (TableName, String);

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
    /// The key of the row the sentence is from.
    pub from_key: String,
    /// How many rows show it; those of a term of three characters or more that were not read are counted by its parts.
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
    /// An item of a list does: a tag.
    Tag,
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

/// The answer to a question.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SearchAnswer {
    /// The best first.
    pub hits: Vec<Hit>,
    /// What the reader has to know of how it came about: a part that is away, sinks at different versions.
    pub notes: Vec<String>,
}

/// The entities with a part of a word.
#[derive(Debug, Clone, Default, Serialize)]
pub struct KeywordAnswer {
    /// The most mentioned first.
    pub hits: Vec<KeywordHit>,
    /// How many entities there are in all.
    pub total: u64,
    /// Whether that is their number, or only the most that it can be: texts that are not shown were not read.
    pub is_total_exact: bool,
    /// As in [`SearchAnswer::notes`].
    pub notes: Vec<String>,
}
