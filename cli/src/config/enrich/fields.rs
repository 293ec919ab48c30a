//! `[enrich."staging.…".fields.…]`: what else a model writes about an entity.

use enrich::{FieldKind, OutputField, Range, TextRule};
use serde::Deserialize;

/// The longest description.
const LONGEST_DESCRIPTION: usize = 1_000;
/// The most characters of a text, if a field does not say how many.
const LONGEST_TEXT: usize = 200;
/// … and the most that it can say.
const MOST_CHARACTERS: usize = 2_000;
/// The most fields of an answer.
pub(super) const MOST_FIELDS: usize = 30;
/// The columns that every result table has, beside its key.
const TAKEN: [&str; 8] =
    ["summary", "summary_key", "embedding", "embedding_key", "model", "texts_used", "texts_given", "dt"];

/// `[enrich."staging.…".fields.…]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldSection {
    /// The type.
    r#type: FieldType,
    /// What the field says.
    description: Option<String>,
    /// Whether an answer without it is none.
    #[serde(default)]
    required: bool,
    /// The only texts that are taken.
    values: Option<Vec<String>>,
    /// The most characters of a text.
    #[serde(default = "longest_text")]
    longest: usize,
    /// The least that is taken.
    min: Option<f64>,
    /// The most that is taken.
    max: Option<f64>,
}

fn longest_text() -> usize {
    LONGEST_TEXT
}

/// The types of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FieldType {
    Text,
    List,
    Integer,
    Number,
    Boolean,
}

impl FieldType {
    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::List)
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Integer | Self::Number)
    }
}

impl FieldSection {
    /// The field, which [`FieldSection::problems`] has proved to make sense.
    pub(super) fn field(&self, name: &str) -> OutputField {
        let rule = || TextRule { values: self.values.clone().unwrap_or_default(), longest: self.longest };
        #[expect(clippy::cast_possible_truncation, reason = "bounds of whole numbers are proved to be whole")]
        let whole = |bound: Option<f64>| bound.map(|bound| bound as i64);
        let kind = match self.r#type {
            FieldType::Text => FieldKind::Text(rule()),
            FieldType::List => FieldKind::List(rule()),
            FieldType::Integer => FieldKind::Integer(Range { min: whole(self.min), max: whole(self.max) }),
            FieldType::Number => FieldKind::Number(Range { min: self.min, max: self.max }),
            FieldType::Boolean => FieldKind::Boolean,
        };
        OutputField { name: name.to_owned(), description: self.description.clone(), required: self.required, kind }
    }

    /// What the types cannot say of the field `name` beside the key `key`: the words, and what to do.
    pub(super) fn problems(&self, name: &str, key: &str) -> Vec<(String, &'static str)> {
        let mut problems = Vec::new();
        let mut problem = |message: String, hint: &'static str| problems.push((message, hint));
        let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_name {
            problem(
                format!("expected the name of a field of a-z, 0-9 and `_` that starts with a letter, found `{name}`"),
                "it is the name of the column",
            );
        } else if name == key || TAKEN.contains(&name) {
            problem(
                format!("expected a field whose name is free, found `{name}`, a column that the table has by itself"),
                "call it otherwise; how long a summary is stands under `summary`, and what it says in `instructions`",
            );
        }
        let length = self.description.as_ref().map_or(1, |it| it.trim().chars().count());
        if !(1..=LONGEST_DESCRIPTION).contains(&length) {
            problem(
                format!("expected 1 to {LONGEST_DESCRIPTION} characters in `description` of `{name}`, found {length}"),
                "leave it out to say nothing of the field",
            );
        }
        if !self.r#type.is_text() && (self.values.is_some() || self.longest != LONGEST_TEXT) {
            problem(
                format!("expected no `values` and no `longest` of `{name}`, which is no text"),
                "a number has `min` and `max`",
            );
        }
        if !self.r#type.is_number() && (self.min.is_some() || self.max.is_some()) {
            problem(format!("expected no `min` and no `max` of `{name}`, which is no number"), "a text has `longest`");
        }
        let longest = self.longest;
        if !(1..=MOST_CHARACTERS).contains(&longest) {
            problem(
                format!("expected 1 to {MOST_CHARACTERS} characters as `longest` of `{name}`, found {longest}"),
                "200 suits a phrase",
            );
        }
        if let Some(values) = &self.values {
            let is_odd = |at: usize, value: &String| {
                let length = value.chars().count();
                value.trim() != value || !(1..=longest).contains(&length) || values[..at].contains(value)
            };
            if values.is_empty() || values.iter().enumerate().any(|(at, value)| is_odd(at, value)) {
                problem(
                    format!(
                        "expected in `values` of `{name}` texts of 1 to {longest} characters, each once, without blanks around them"
                    ),
                    "leave `values` out to take any text",
                );
            }
        }
        let bounds = [self.min, self.max].into_iter().flatten();
        // The whole numbers that a number of TOML with a point names exactly.
        let is_whole = |bound: &f64| bound.fract() == 0.0 && bound.abs() < 9e15;
        let is_odd = |bound: &f64| !bound.is_finite() || (self.r#type == FieldType::Integer && !is_whole(bound));
        if bounds.clone().any(|bound| is_odd(&bound)) || self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            problem(
                format!("expected `min` and `max` of `{name}` to be numbers of its type, the smaller one first"),
                "leave one out to have no bound on that side",
            );
        }
        problems
    }
}
