//! What else a model writes about an entity beside the summary: named fields with types and checks.
//!
//! They are data of the project. Each becomes a column of the result table, and what does not fit its type or its bounds is no answer:
//! it is asked for once more with the reason and then set aside, as a summary is that can't be shown.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field};
use rows::text::nfc;
use serde_json::{Map, Value as Json, json};

/// The values of an answer's fields by their names; a field that has none is absent.
pub type FieldValues = Map<String, Json>;

/// A field of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputField {
    /// Its name, and that of the column.
    pub name: String,
    /// What it says, for the model to read.
    pub description: Option<String>,
    /// Whether an answer without it is none.
    pub required: bool,
    /// Its type and bounds.
    pub kind: FieldKind,
}

// A bound is never NaN: the configuration refuses it.
impl Eq for OutputField {}

/// The type of a field, and what its values must fulfil.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldKind {
    /// A text of one line.
    Text(TextRule),
    /// A list of texts, each of them once.
    List(TextRule),
    /// A whole number of 64 bits.
    Integer(Range<i64>),
    /// A number.
    Number(Range<f64>),
    /// True or false.
    Boolean,
}

/// What a text must fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRule {
    /// The only texts there are; any if empty.
    pub values: Vec<String>,
    /// The most characters.
    pub longest: usize,
}

/// The least and the most, both included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range<T> {
    /// The least.
    pub min: Option<T>,
    /// The most.
    pub max: Option<T>,
}

/// Texts of one list.
const MOST: usize = 50;

impl OutputField {
    /// The type of its column.
    pub fn data_type(&self) -> DataType {
        match &self.kind {
            FieldKind::Text(_) => DataType::Utf8,
            FieldKind::List(_) => DataType::List(Arc::new(item())),
            FieldKind::Integer(_) => DataType::Int64,
            FieldKind::Number(_) => DataType::Float64,
            FieldKind::Boolean => DataType::Boolean,
        }
    }

    /// All that a model is told of it: a part of the key of each answer that was asked for with it.
    pub(crate) fn key_part(&self) -> String {
        format!("field={}", self.asked())
    }

    /// How it is asked for in a prompt.
    pub(crate) fn asked(&self) -> String {
        let mut asked = format!("`{}` ({}", self.name, self.bounds());
        asked.push_str(if self.required { ", always)" } else { ")" });
        if let Some(description) = &self.description {
            let _ = write!(asked, ": {description}");
        }
        asked
    }

    /// The tokens of its longest value, by the rule for letters of any script, as far as one is likely: a list as long as may be
    /// never fits into an answer.
    pub(crate) fn longest_tokens(&self) -> u64 {
        let text = |rule: &TextRule| {
            let longest = rule.values.iter().map(|value| value.chars().count()).max();
            2 * longest.unwrap_or(rule.longest) as u64
        };
        let value = match &self.kind {
            FieldKind::Text(rule) => text(rule),
            FieldKind::List(rule) => 8 * text(rule),
            FieldKind::Integer(_) | FieldKind::Number(_) | FieldKind::Boolean => 10,
        };
        value + 2 * self.name.chars().count() as u64 + 5
    }

    fn bounds(&self) -> String {
        match &self.kind {
            FieldKind::Text(rule) => rule.words("a text"),
            FieldKind::List(rule) => rule.words("a list of texts, each"),
            FieldKind::Integer(range) => range.words("a whole number"),
            FieldKind::Number(range) => range.words("a number"),
            FieldKind::Boolean => "true or false".to_owned(),
        }
    }

    /// Its part of the JSON schema. `strict` schemas have every member, so what may be absent may be null.
    pub(crate) fn schema(&self) -> Json {
        let text = |rule: &TextRule| match rule.values.as_slice() {
            [] => json!({ "type": "string" }),
            values => json!({ "type": "string", "enum": values }),
        };
        let mut schema = match &self.kind {
            FieldKind::Text(rule) => text(rule),
            FieldKind::List(rule) => json!({ "type": "array", "items": text(rule) }),
            FieldKind::Integer(_) => json!({ "type": "integer" }),
            FieldKind::Number(_) => json!({ "type": "number" }),
            FieldKind::Boolean => json!({ "type": "boolean" }),
        };
        if !self.required {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        schema
    }

    /// The value as it is kept, or what is wrong with it. `None` where it has none.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub(crate) fn fits(&self, value: Option<&Json>) -> Result<Option<Json>, String> {
        let value = match (&self.kind, value) {
            (_, None | Some(Json::Null)) => None,
            // Who has nothing to say of a text says it so, too.
            (FieldKind::Text(_), Some(Json::String(text))) if text.trim().is_empty() => None,
            (FieldKind::Text(rule), Some(Json::String(text))) => Some(Json::String(rule.fits(&self.name, text)?)),
            (FieldKind::List(rule), Some(Json::Array(items))) => Some(self.list(rule, items)?),
            (FieldKind::Integer(range), Some(Json::Number(number))) => match number.as_i64() {
                Some(number) => Some(range.fits(&self.name, number)?.into()),
                None => return Err(self.other(&Json::Number(number.clone()))),
            },
            (FieldKind::Number(range), Some(Json::Number(number))) => match number.as_f64() {
                Some(number) => Some(range.fits(&self.name, number)?.into()),
                None => return Err(self.other(&Json::Number(number.clone()))),
            },
            (FieldKind::Boolean, Some(Json::Bool(value))) => Some(Json::Bool(*value)),
            (_, Some(value)) => return Err(self.other(value)),
        };
        if value.is_none() && self.required {
            return Err(format!("expected `{}`, which an answer always has, found none", self.name));
        }
        Ok(value)
    }

    fn list(&self, rule: &TextRule, items: &[Json]) -> Result<Json, String> {
        if items.len() > MOST {
            return Err(format!("expected at most {MOST} texts in `{}`, found {}", self.name, items.len()));
        }
        let mut texts: Vec<String> = Vec::with_capacity(items.len());
        for item in items {
            let Json::String(text) = item else { return Err(self.other(item)) };
            let text = rule.fits(&self.name, text)?;
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        Ok(texts.into())
    }

    fn other(&self, found: &Json) -> String {
        let found = match found {
            Json::Null => "nothing",
            Json::Bool(_) => "true or false",
            Json::Number(_) => "a number of another kind",
            Json::String(_) => "a text",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        };
        format!("expected {} in `{}`, found {found}", self.bounds(), self.name)
    }

    /// The column of these answers; null where an answer has none, or one of another type from before the field was changed.
    pub(crate) fn column<'a>(&self, answers: impl Iterator<Item = Option<&'a FieldValues>>) -> ArrayRef {
        let values = answers.map(|values| values.and_then(|values| values.get(&self.name)));
        match &self.kind {
            FieldKind::Text(_) => Arc::new(values.map(|value| value.and_then(Json::as_str)).collect::<StringArray>()),
            FieldKind::Integer(_) => Arc::new(values.map(|value| value.and_then(Json::as_i64)).collect::<Int64Array>()),
            FieldKind::Number(_) => {
                Arc::new(values.map(|value| value.and_then(Json::as_f64)).collect::<Float64Array>())
            }
            FieldKind::Boolean => Arc::new(values.map(|value| value.and_then(Json::as_bool)).collect::<BooleanArray>()),
            FieldKind::List(_) => {
                let mut lists = ListBuilder::new(StringBuilder::new()).with_field(item());
                for value in values {
                    match value.and_then(Json::as_array) {
                        Some(texts) => lists.append_value(texts.iter().map(Json::as_str)),
                        None => lists.append_null(),
                    }
                }
                Arc::new(lists.finish())
            }
        }
    }
}

/// The item of a list's column, as every list of a lake has it.
fn item() -> Field {
    Field::new("element", DataType::Utf8, true)
}

impl TextRule {
    fn words(&self, what: &str) -> String {
        match self.values.as_slice() {
            [] => format!("{what} of at most {} characters", self.longest),
            values => format!("{what} one of {}", values.join(", ")),
        }
    }

    fn fits(&self, name: &str, text: &str) -> Result<String, String> {
        let text = nfc(text.trim());
        if !self.values.is_empty() && !self.values.contains(&text) {
            return Err(format!("expected one of {} in `{name}`, found another", self.values.join(", ")));
        }
        let length = text.chars().count();
        if !(1..=self.longest).contains(&length) {
            return Err(format!("expected 1 to {} characters in `{name}`, found {length}", self.longest));
        }
        Ok(text)
    }
}

impl<T: PartialOrd + Copy + std::fmt::Display> Range<T> {
    fn words(&self, what: &str) -> String {
        match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
            (Some(min), None) => format!("{what} of at least {min}"),
            (None, Some(max)) => format!("{what} of at most {max}"),
            (None, None) => what.to_owned(),
        }
    }

    fn fits(&self, name: &str, number: T) -> Result<T, String> {
        let fits = self.min.is_none_or(|min| number >= min) && self.max.is_none_or(|max| number <= max);
        if fits { Ok(number) } else { Err(format!("expected {} in `{name}`, found {number}", self.words("a number"))) }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;

    fn field(name: &str, required: bool, kind: FieldKind) -> OutputField {
        OutputField { name: name.to_owned(), description: None, required, kind }
    }

    fn text(values: &[&str], longest: usize) -> TextRule {
        TextRule { values: values.iter().map(|it| (*it).to_owned()).collect(), longest }
    }

    #[test]
    fn a_value_fits_or_the_reason_is_said() {
        let price = || FieldKind::Text(text(&["cheap", "fair"], 200));
        let stars = || FieldKind::Integer(Range { min: Some(1), max: Some(5) });
        let share = || FieldKind::Number(Range { min: Some(0.0), max: None });
        let dishes = || FieldKind::List(text(&[], 5));
        let good = [
            (price(), json!(" cheap "), Some(json!("cheap"))),
            (price(), json!(null), None),
            (price(), json!(""), None),
            (FieldKind::Text(text(&[], 3)), json!("가나"), Some(json!("가나"))),
            (stars(), json!(5), Some(json!(5))),
            (share(), json!(3), Some(json!(3.0))),
            (share(), json!(0.25), Some(json!(0.25))),
            (dishes(), json!(["국", "밥", "국"]), Some(json!(["국", "밥"]))),
            (dishes(), json!([]), Some(json!([]))),
            (FieldKind::Boolean, json!(false), Some(json!(false))),
        ];
        for (kind, value, kept) in good {
            assert_eq!(field("f", false, kind).fits(Some(&value)), Ok(kept), "{value}");
        }
        let bad = [
            (price(), json!("dear"), "one of cheap, fair in `f`, found another"),
            (price(), json!(5), "found a number"),
            (FieldKind::Text(text(&[], 3)), json!("가나다라"), "1 to 3 characters in `f`, found 4"),
            (stars(), json!(0), "a number from 1 to 5 in `f`, found 0"),
            (stars(), json!(4.5), "a whole number from 1 to 5"),
            (stars(), json!("5"), "found a text"),
            (share(), json!(-1), "at least 0 in `f`, found -1"),
            (dishes(), json!(["국", 5]), "found a number"),
            (dishes(), json!("국"), "found a text"),
            (dishes(), json!(["a long one"]), "1 to 5 characters"),
            (dishes(), json!(vec!["x"; 51]), "at most 50"),
            (FieldKind::Boolean, json!("yes"), "true or false in `f`, found a text"),
        ];
        for (kind, value, reason) in bad {
            let found = field("f", false, kind).fits(Some(&value)).unwrap_err();
            assert!(found.contains(reason), "{value}: {found}");
        }
        for nothing in [None, Some(&Json::Null)] {
            assert_eq!(field("f", false, FieldKind::Boolean).fits(nothing), Ok(None));
            assert!(field("f", true, FieldKind::Boolean).fits(nothing).unwrap_err().contains("always has"));
        }
        assert!(field("f", true, price()).fits(Some(&json!(" "))).is_err());
    }

    #[test]
    fn a_column_has_the_type_that_is_declared_and_null_where_there_is_no_such_value() {
        let kinds = [
            FieldKind::Text(text(&[], 9)),
            FieldKind::List(text(&[], 9)),
            FieldKind::Integer(Range { min: None, max: None }),
            FieldKind::Number(Range { min: None, max: None }),
            FieldKind::Boolean,
        ];
        let values = [json!("t"), json!(["a", "b"]), json!(7), json!(0.5), json!(true)];
        for (at, kind) in kinds.into_iter().enumerate() {
            let field = field("f", false, kind);
            let answers: Vec<FieldValues> =
                values.iter().map(|value| [("f".to_owned(), value.clone())].into_iter().collect()).collect();
            let column = field.column(answers.iter().map(Some).chain([None, Some(&FieldValues::new())]));
            assert_eq!((column.data_type(), column.len()), (&field.data_type(), 7));
            assert!(column.is_valid(at) && column.is_null(5) && column.is_null(6), "{field:?}");
        }
        let lists = field("f", false, FieldKind::List(text(&[], 9)));
        let answer: FieldValues = [("f".to_owned(), json!(["a", "b"]))].into_iter().collect();
        let column = lists.column([Some(&answer)].into_iter());
        assert_eq!(
            column.as_list::<i32>().value(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(),
            ["a", "b"]
        );
    }

    #[test]
    fn whatever_is_declared_of_a_field_is_part_of_the_key_and_said_to_the_model() {
        let price = field("price", true, FieldKind::Text(text(&["cheap", "fair"], 200)));
        let stars = field("stars", false, FieldKind::Integer(Range { min: Some(1), max: Some(5) }));
        let said = OutputField { description: Some("how dear it is".to_owned()), ..price.clone() };
        let optional = OutputField { required: false, ..price.clone() };
        let narrow = field("price", true, FieldKind::Text(text(&["cheap"], 200)));
        let all = [&price, &stars, &said, &optional, &narrow];
        let keys: std::collections::HashSet<_> = all.iter().map(|it| it.key_part()).collect();
        assert_eq!(keys.len(), all.len());
        assert_eq!(said.asked(), "`price` (a text one of cheap, fair, always): how dear it is");
        assert_eq!(stars.asked(), "`stars` (a whole number from 1 to 5)");
        assert_eq!(price.schema(), json!({ "type": "string", "enum": ["cheap", "fair"] }));
        assert_eq!(stars.schema(), json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }));
    }
}
