//! A row as it is indexed: key, entity, title, and the texts that are searched.

use serde::{Deserialize, Serialize};

use crate::fault::Cause;
use crate::sink::Rows;
use crate::target::SyncTarget;
use rows::text::{fold, nfc};
use rows::{RowHash, Value};

/// One text of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// The column it is from.
    pub(crate) column: String,
    /// Whether that column is a list: tags, keywords, situations.
    pub(crate) list: bool,
    /// As it was written, NFC.
    pub(crate) text: String,
}

/// A row as it was indexed.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) key: String,
    /// The key of the row of another target that this one is about.
    pub(crate) entity: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) hash: RowHash,
    pub(crate) passages: Vec<Passage>,
}

impl Document {
    /// A row of the mart.
    pub(super) fn of(target: &SyncTarget, rows: &Rows, row: usize) -> Result<Self, Cause> {
        let cell = |name: &str| -> Result<Value, Cause> {
            let column =
                rows.batch.column_by_name(name).ok_or_else(|| format!("expected column `{name}`, found none"))?;
            Ok(Value::of(column, row)?)
        };
        let entity = match &target.entity {
            Some(entity) => cell(&entity.column)?.as_key(),
            None => None,
        };
        let title = match target.title.as_deref().map(cell).transpose()? {
            Some(Value::Text(title)) => Some(nfc(&title)),
            _ => None,
        };
        let mut passages = Vec::new();
        for column in &target.texts {
            let value = cell(column)?;
            let list = matches!(value, Value::List(_));
            passages.extend(value.texts().iter().map(|text| Passage { column: column.clone(), list, text: nfc(text) }));
        }
        Ok(Self { key: rows.keys[row].to_owned(), entity, title, hash: rows.hashes[row], passages })
    }

    /// A hash of all of it.
    pub(super) fn content(&self) -> RowHash {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let passage = |it: &Passage| {
            Value::List(vec![Value::Text(it.column.clone()), Value::Bool(it.list), Value::Text(it.text.clone())])
        };
        RowHash::of(
            "keywords",
            [
                ("entity", &text(&self.entity)),
                ("hash", &Value::Bytes(self.hash.0.to_vec())),
                ("key", &Value::Text(self.key.clone())),
                ("passages", &Value::List(self.passages.iter().map(passage).collect())),
                ("title", &text(&self.title)),
            ],
        )
    }

    /// The first passage that holds `needle` (folded).
    pub(crate) fn passage_with(&self, needle: &str) -> Option<&Passage> {
        self.passages.iter().find(|passage| passage.holds(needle))
    }
}

impl Passage {
    /// Whether its text holds `needle` (folded).
    pub(crate) fn holds(&self, needle: &str) -> bool {
        fold(&self.text).contains(needle)
    }
}
