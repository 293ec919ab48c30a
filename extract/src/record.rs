//! An item → typed columns and an envelope → a `RecordBatch`.
//!
//! Mapping never loses an item. What can't be mapped becomes a row as well: with what could be mapped, with its payload,
//! and with `_error` naming the column, what it should have been and what was found. No value is bent to fit: a number is
//! not rounded, a text that is no number doesn't become 0.
//!
//! The payload is what came, byte for byte, unless something of it must not reach the lake: then only that is another, and
//! numbers and texts beside it stay as they were written.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Array, Float64Builder, Int64Builder, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field as ArrowField};
use arrow::error::ArrowError;
use catalog::{Date, Timestamp};
use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

use sha2::{Digest, Sha256};

use crate::identity::{self, IdentityKey, UnfitRules};
use crate::items::{self, Item, excerpt};
use crate::json::{Json, Text};
use crate::source::{Field, FieldType, Found, From, Secrets, Source};
use crate::task::Key;

/// One row before it is one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    cells: Vec<Cell>,
    payload: String,
    /// Why the item could not be mapped, if it could not.
    pub(crate) error: Option<String>,
    /// What names the item, if that could be mapped.
    pub(crate) key: Option<String>,
    /// Where the item stands in the source's order.
    pub(crate) order: Option<Timestamp>,
    /// The same for two forms of one item.
    pub(crate) content: [u8; 32],
    /// Whether a document was its source, in which an item may look different.
    pub(crate) is_joined: bool,
}

impl Record {
    /// Whether two rows would say the same in every column.
    pub(crate) fn is_mapped_like(&self, other: &Self) -> bool {
        self.cells == other.cells
    }

    /// What it takes to keep it, about.
    pub(crate) fn bytes(&self) -> u64 {
        let cells = self.cells.iter().map(|cell| match cell {
            Cell::Text(text) => text.len(),
            Cell::List(texts) => texts.iter().map(|text| text.as_ref().map_or(0, String::len) + 24).sum(),
            _ => 0,
        });
        let error = self.error.as_ref().map_or(0, String::len);
        (cells.sum::<usize>() + self.cells.len() * size_of::<Cell>() + self.payload.len() + error) as u64
    }
}

/// The rows of one key share these.
pub(crate) struct Columns<'a> {
    pub(crate) key: &'a Key,
    pub(crate) task: &'a str,
    pub(crate) dt: Date,
}

/// A record and what its response adds.
pub(crate) struct Row {
    pub(crate) record: Record,
    pub(crate) url: Arc<str>,
    pub(crate) fetched_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Time(i64),
    List(Vec<Option<String>>),
}

/// Why nothing is there of what came.
const NOT_KEPT: &str = "it is not kept, because the source has identity rules";

/// Scrubs the item and maps it.
pub(crate) fn map(
    source: &Source,
    key: &Key,
    identity: &IdentityKey,
    unfit: &mut UnfitRules<'_>,
    item: Item<'_>,
) -> Record {
    let is_joined = !matches!(item, Item::Raw(_));
    let (raw, mut item) = match item {
        Item::Joined(item) => (None, item),
        Item::Raw(raw) | Item::Embedded(raw) => match Json::parse(raw) {
            Ok(item) => (Some(raw), item),
            Err(why) => return unreadable(source, key, raw, &why),
        },
    };
    let had_secrets = hide_secrets(&mut item, source.secrets());
    let content = items::fingerprint(&item);
    let kind = item.kind();
    unfit.look_at(&item);
    let is_changed = identity::scrub(&mut item, source, identity) | had_secrets;
    let payload = match raw {
        Some(raw) if !is_changed => raw.to_owned(),
        _ => item.to_string(),
    };
    let mut errors = Vec::new();
    let is_object = item.is_object();
    if !is_object {
        let is_kept = !item.is_null() || kind == Json::Null.kind();
        let found = if is_kept { found(&item) } else { format!("{kind}; {NOT_KEPT}") };
        errors.push(format!("expected an item to be an object, found {found}"));
    }
    let cells: Vec<Cell> = source
        .fields()
        .iter()
        .map(|field| match cell(field, key, &item) {
            Ok(Cell::Null) if field.required && is_object => {
                errors.push(format!(
                    "expected `{}` to be {}, found nothing at {}",
                    field.column,
                    words(field.kind),
                    place(field)
                ));
                Cell::Null
            }
            Ok(cell) => cell,
            Err(message) => {
                if is_object {
                    errors.push(message);
                }
                Cell::Null
            }
        })
        .collect();
    let of = |column: &str| {
        source.fields().iter().position(|field| field.column == column).and_then(|index| cells.get(index))
    };
    let name = match of(&source.items().key) {
        Some(Cell::Text(text)) => Some(text.clone()),
        Some(Cell::Int(number)) => Some(number.to_string()),
        _ => None,
    };
    let order = match source.items().order.as_ref().and_then(|order| of(&order.column)) {
        Some(Cell::Time(microsecond)) => Timestamp::from_microsecond(*microsecond).ok(),
        _ => None,
    };
    let error = if errors.is_empty() { None } else { Some(errors.join("; ")) };
    Record { payload, cells, error, key: name, order, content, is_joined }
}

/// Puts what we sent to the site, and what it repeats, behind its reference again: no secret may be in a table.
fn hide_secrets(value: &mut Json, secrets: &Secrets) -> bool {
    if secrets.is_empty() {
        return false;
    }
    let hide = |text: &mut Text| {
        let hidden = secrets.found_in(text.as_str());
        let is_found = hidden.is_some();
        if let Some(hidden) = hidden {
            text.replace(hidden);
        }
        is_found
    };
    match value {
        Json::Text(text) => hide(text),
        Json::Number(number) => match secrets.of_number(number) {
            Some(hidden) => {
                *value = Json::Text(Text::new(hidden));
                true
            }
            None => false,
        },
        Json::List(elements) => elements.iter_mut().fold(false, |found, it| hide_secrets(it, secrets) | found),
        Json::Object(members) => {
            members.iter_mut().fold(false, |found, (name, it)| hide(name) | hide_secrets(it, secrets) | found)
        }
        Json::Null | Json::Bool(_) => false,
    }
}

/// An item that is no JSON: nothing of it can be mapped. What it was is kept where no rule says that a part of it must not
/// be, for then nobody can tell which.
fn unreadable(source: &Source, key: &Key, raw: &str, why: &str) -> Record {
    let (bytes, raw, why) = (raw.len(), &source.secrets().redact(raw), source.secrets().redact(why));
    let cells = source.fields().iter().map(|field| match field.from {
        From::Key => convert(field, &Json::Text(Text::new(key.value.clone()))).unwrap_or(Cell::Null),
        From::Item(_) => Cell::Null,
    });
    let keeps = !source.names_persons();
    let payload = if keeps { identity::mask(raw).unwrap_or_else(|| raw.clone()) } else { "null".to_owned() };
    let kept = if keeps { String::new() } else { format!("; {NOT_KEPT}") };
    Record {
        cells: cells.collect(),
        payload,
        error: Some(format!("expected an item to be JSON: {why}; it has {bytes} bytes{kept}")),
        key: None,
        order: None,
        content: Sha256::digest(raw.as_bytes()).into(),
        is_joined: false,
    }
}

/// The rows of one key as a batch of the source's schema.
pub(crate) fn batch(source: &Source, columns: &Columns<'_>, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(source.fields().len() + 7);
    for (index, field) in source.fields().iter().enumerate() {
        arrays.push(array(field.kind, rows.iter().map(|row| row.record.cells.get(index).unwrap_or(&Cell::Null))));
    }
    let text =
        |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<StringArray>()) };
    let fetched_at: TimestampMicrosecondArray = rows.iter().map(|row| Some(row.fetched_at.as_microsecond())).collect();
    let days = catalog::days_since_epoch(columns.dt);
    arrays.push(text(&|_| Some(columns.key.value.clone())));
    arrays.push(text(&|row| Some(row.record.payload.clone())));
    arrays.push(text(&|row| row.record.error.clone()));
    arrays.push(text(&|_| Some(columns.task.to_owned())));
    arrays.push(text(&|row| Some(row.url.to_string())));
    arrays.push(Arc::new(fetched_at.with_timezone("UTC")));
    arrays.push(Arc::new(Date32Array::from(vec![days; rows.len()])));
    RecordBatch::try_new(source.schema(), arrays)
}

fn array<'c>(kind: FieldType, cells: impl Iterator<Item = &'c Cell>) -> ArrayRef {
    match kind {
        FieldType::String | FieldType::Id | FieldType::Hash => {
            let mut out = StringBuilder::new();
            cells.for_each(|cell| out.append_option(if let Cell::Text(text) = cell { Some(text) } else { None }));
            Arc::new(out.finish())
        }
        FieldType::Int64 | FieldType::Count => {
            let mut out = Int64Builder::new();
            cells.for_each(|cell| out.append_option(if let Cell::Int(number) = cell { Some(*number) } else { None }));
            Arc::new(out.finish())
        }
        FieldType::Float64 => {
            let mut out = Float64Builder::new();
            cells.for_each(|cell| out.append_option(if let Cell::Float(number) = cell { Some(*number) } else { None }));
            Arc::new(out.finish())
        }
        FieldType::Timestamp => {
            let mut out = TimestampMicrosecondBuilder::new().with_timezone("UTC");
            cells.for_each(|cell| {
                out.append_option(if let Cell::Time(microsecond) = cell { Some(*microsecond) } else { None });
            });
            Arc::new(out.finish())
        }
        FieldType::Bool => {
            let mut out = BooleanBuilder::new();
            cells.for_each(|cell| out.append_option(if let Cell::Bool(flag) = cell { Some(*flag) } else { None }));
            Arc::new(out.finish())
        }
        FieldType::ListString => {
            let mut out =
                ListBuilder::new(StringBuilder::new()).with_field(ArrowField::new_list_field(DataType::Utf8, true));
            for cell in cells {
                if let Cell::List(texts) = cell {
                    for text in texts {
                        out.values().append_option(text.as_ref());
                    }
                    out.append(true);
                } else {
                    out.append(false);
                }
            }
            Arc::new(out.finish())
        }
    }
}

fn cell(field: &Field, key: &Key, item: &Json) -> Result<Cell, String> {
    let pointer = match &field.from {
        From::Key => return convert(field, &Json::Text(Text::new(key.value.clone()))),
        From::Item(pointer) => pointer,
    };
    match pointer.find(item) {
        Found::Absent => Ok(Cell::Null),
        Found::One(value) => convert(field, value),
        Found::Many(values) => list(field, values.into_iter()),
        Found::Wrong { expected, found: value } => {
            Err(format!("expected {expected} on the way to `{}` at {pointer}, found {}", field.column, found(value)))
        }
    }
}

fn convert(field: &Field, value: &Json) -> Result<Cell, String> {
    let wrong = || Err(format!("expected `{}` to be {}, found {}", field.column, words(field.kind), found(value)));
    let text = match value {
        Json::Null => return Ok(Cell::Null),
        // Its escape would stand in the column as if the site had written those six characters.
        Json::Text(text) if text.has_half_a_pair() => {
            return Err(format!(
                "expected `{}` to be {}, found half of a character (a surrogate without its other half) in {}",
                field.column,
                words(field.kind),
                found(value)
            ));
        }
        Json::Text(text) => Some(text.as_str()),
        _ => None,
    };
    match (field.kind, value, text) {
        (FieldType::String | FieldType::Id | FieldType::Hash, _, Some(text)) => Ok(Cell::Text(text.to_owned())),
        // By its digits: no float comes between.
        (FieldType::Id, Json::Number(number), _) => Ok(Cell::Text(number.to_string())),
        // Sites write "no number" as an empty text.
        (FieldType::Int64 | FieldType::Float64 | FieldType::Timestamp, _, Some(text)) if text.trim().is_empty() => {
            Ok(Cell::Null)
        }
        (FieldType::Int64, Json::Number(number), _) => whole(number).map_or_else(wrong, |number| Ok(Cell::Int(number))),
        (FieldType::Int64, _, Some(text)) => {
            ungrouped(text).and_then(|text| text.parse().ok()).map_or_else(wrong, |number| Ok(Cell::Int(number)))
        }
        (FieldType::Float64, Json::Number(number), _) => {
            finite(number).map_or_else(wrong, |number| Ok(Cell::Float(number)))
        }
        (FieldType::Float64, _, Some(text)) => {
            let number = ungrouped(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)));
            number.and_then(|text| finite(&text)).map_or_else(wrong, |number| Ok(Cell::Float(number)))
        }
        (FieldType::Timestamp, _, Some(text)) => match instant(text.trim(), field.zone.as_ref()) {
            // As it is stored, in whole milliseconds: what came before is compared with what comes now.
            Some(at) => Ok(Cell::Time(at.as_microsecond().div_euclid(1_000) * 1_000)),
            None if field.zone.is_none()
                && offset(text.trim()).is_none()
                && text.trim().parse::<DateTime>().is_ok() =>
            {
                let found = found(value);
                Err(format!(
                    "expected `{}` to be {}, found {found}: say whose clock it is, `zone = \"Asia/Seoul\"`",
                    field.column,
                    words(field.kind)
                ))
            }
            None if is_late(text.trim()) => Err(format!(
                "expected `{}` to be an instant up to {}, the last one that is kept, found {}",
                field.column,
                Timestamp::MAX,
                found(value)
            )),
            None => wrong(),
        },
        (FieldType::Bool, Json::Bool(flag), _) => Ok(Cell::Bool(*flag)),
        (FieldType::Count, Json::List(elements), _) => {
            i64::try_from(elements.len()).map_or_else(|_| wrong(), |count| Ok(Cell::Int(count)))
        }
        (FieldType::ListString, Json::List(elements), _) => list(field, elements.iter()),
        _ => wrong(),
    }
}

/// The longest offset of a clock in seconds: 18 hours.
const LONGEST_OFFSET: i32 = 18 * 3600;

/// An instant as it is written, or, where it is known whose clock is meant, a time or a day of that clock.
fn instant(text: &str, zone: Option<&TimeZone>) -> Option<Timestamp> {
    // An offset that no clock has is a mistake of who wrote it: neither an instant, nor a time of another clock.
    if offset(text).is_some_and(|seconds| seconds.abs() > LONGEST_OFFSET) {
        return None;
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // A zone of its own says more than the source's.
    if text.ends_with(']') {
        return text.parse::<Zoned>().ok().map(|at| at.timestamp());
    }
    Some(text.parse::<DateTime>().ok()?.to_zoned(zone?.clone()).ok()?.timestamp())
}

/// Whether it is a time of the last days that calendars have, behind the last instant: who has no end writes one.
fn is_late(text: &str) -> bool {
    let day = Pieces::parse(text).map(|pieces| pieces.date());
    day.is_ok_and(|day| day >= Timestamp::MAX.to_zoned(TimeZone::UTC).date())
}

/// The offset that is written with an instant, in seconds.
fn offset(text: &str) -> Option<i32> {
    Some(Pieces::parse(text).ok()?.to_numeric_offset()?.seconds())
}

fn list<'v>(field: &Field, values: impl Iterator<Item = &'v Json>) -> Result<Cell, String> {
    values
        .map(|value| match value {
            Json::Text(text) if text.has_half_a_pair() => Err(format!(
                "expected each element of `{}` to be a text, found half of a character (a surrogate without its other half)",
                field.column
            )),
            Json::Text(text) => Ok(Some(text.as_str().to_owned())),
            Json::Number(number) => Ok(Some(number.to_string())),
            // It has its place among the others.
            Json::Null => Ok(None),
            other => Err(format!("expected each element of `{}` to be a text, found {}", field.column, found(other))),
        })
        .collect::<Result<_, _>>()
        .map(Cell::List)
}

/// A number as a column holds it; one that no float holds is none.
fn finite(number: &str) -> Option<f64> {
    number.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A JSON number that is whole, also when it was written `3.0`, and only where a float still is exact.
fn whole(number: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2⁵³
    number.parse().ok().or_else(|| {
        let float = finite(number).filter(|float| float.fract() == 0.0 && float.abs() <= EXACT)?;
        format!("{float:.0}").parse().ok()
    })
}

/// `1,821` → `1821`. A comma that doesn't stand before three digits is no thousands separator.
fn ungrouped(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.contains(',') {
        return Some(text.to_owned());
    }
    let (whole, fraction) = text.split_once('.').map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let mut groups = whole.split(',');
    let first = groups.next()?.trim_start_matches(['-', '+']);
    let fits = (1..=3).contains(&first.len())
        && groups.all(|group| group.len() == 3)
        && whole.trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let fits = fits && fraction.is_none_or(|fraction| fraction.bytes().all(|byte| byte.is_ascii_digit()));
    fits.then(|| text.replace(',', ""))
}

fn words(kind: FieldType) -> &'static str {
    match kind {
        FieldType::String => "a text",
        FieldType::Int64 => "a whole number",
        FieldType::Float64 => "a number",
        FieldType::Timestamp => "an instant such as 2026-09-13T04:38:00Z",
        FieldType::Bool => "true or false",
        FieldType::ListString => "a list of texts",
        FieldType::Count => "a list",
        FieldType::Id | FieldType::Hash => "an id",
    }
}

fn place(field: &Field) -> String {
    match &field.from {
        From::Item(pointer) => format!("`{pointer}`"),
        From::Key => "`$key`".to_owned(),
    }
}

/// `the text "어제"`. The item was scrubbed before, so nothing personal is quoted.
fn found(value: &Json) -> String {
    match value {
        Json::Text(text) => {
            let start = excerpt(text.as_str(), 60);
            format!("the text {}", excerpt(&Json::Text(Text::new(start)).to_string(), 60))
        }
        Json::Number(_) | Json::Bool(_) => {
            format!("{} {}", value.kind().replacen("a ", "the ", 1), excerpt(&value.to_string(), 60))
        }
        other => other.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests;
