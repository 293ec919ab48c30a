//! `ops.llm_results`: every answer a model ever gave, by content key, and every one that was set aside, with its reason and how often.
//! Append-only; the lake's memory of what was paid for.
//!
//! Two runs that ask the same at the same time may both store an answer; readers take the one that rests on the most texts, and of
//! those the first. One commit per batch, whose `txn` is the hash of the batch, so that a batch that is stored again after an unclear
//! error is stored once.
//!
//! Reading costs what is asked for: the keys are looked through first, and of the rest only the days are read on which an answer that
//! is wanted was given.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float32Builder, Int64Array, ListBuilder, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use catalog::{
    CommitInfo, Committed, Date, Lake, Layer, Snapshot, Table, TableName, TableSpec, Timestamp, Txn, TxnRule,
};
use futures::StreamExt;

use super::aside::Aside;
use super::{AnswerKind, Context, TRIES};
use crate::error::{Error, Result};
use crate::llm::{FieldValues, Refusal, RefusalKind};
use rows::read;
use rows::{Value, content_hash};

/// How many of an entity's texts an answer rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) used: u64,
    pub(super) given: u64,
}

/// A text or a vector.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) text: Option<String>,
    /// What was written beside the text.
    pub(super) fields: Option<FieldValues>,
    pub(super) vector: Option<Arc<[f32]>>,
    /// Unknown for answers from before it was kept.
    pub(super) basis: Option<Basis>,
}

impl Answer {
    /// Whether it rests on all texts that there were.
    pub(super) fn is_whole(&self) -> bool {
        self.lacks() == 0
    }

    /// How many of the texts it does not rest on.
    fn lacks(&self) -> u64 {
        self.basis.map_or(0, |it| it.given.saturating_sub(it.used))
    }
}

/// A row to be stored.
#[derive(Debug, Clone)]
pub(super) struct AnswerRow {
    pub(super) kind: AnswerKind,
    pub(super) key: String,
    pub(super) entity: String,
    pub(super) said: RowContent,
}

/// What a row says.
#[derive(Debug, Clone)]
pub(super) enum RowContent {
    Answer(Answer),
    /// Why there is none, and how often it was asked for since somebody wanted it asked at once.
    Aside(Refusal, u32),
}

/// What the table knows of some keys.
#[derive(Debug, Default)]
pub(super) struct KnownAnswers {
    pub(super) answers: HashMap<String, Answer>,
    pub(super) aside: HashMap<String, Aside>,
}

/// The table, opened.
pub(super) struct Cache {
    table: Table,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("content_key", DataType::Utf8, true),
        Field::new("kind", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, true),
        Field::new("entity", DataType::Utf8, true),
        Field::new("created_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("refusal", DataType::Utf8, true),
        Field::new("tries", DataType::Int64, true),
        Field::new("texts_used", DataType::Int64, true),
        Field::new("texts_given", DataType::Int64, true),
        Field::new("fields", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("vector", read::vector_type(), true),
        Field::new("dt", DataType::Date32, true),
    ]))
}

impl Cache {
    pub(super) async fn open(lake: &Lake) -> Result<Self> {
        let stats_columns = ["content_key", "kind", "model", "entity"].map(str::to_owned).to_vec();
        let spec = TableSpec {
            name: TableName::new(Layer::Ops, "llm_results")?,
            schema: schema(),
            partitioned: true,
            stats_columns,
        };
        Ok(Self { table: lake.create(&spec).await? })
    }

    /// The table, if any model was ever asked: for those who may only look.
    pub(super) async fn find(lake: &Lake) -> Result<Option<Self>> {
        let table = lake.find(&TableName::new(Layer::Ops, "llm_results")?).await?;
        Ok(table.map(|table| Self { table }))
    }

    /// What is known of these keys.
    pub(super) async fn read(&self, keys: &HashSet<String>) -> Result<KnownAnswers> {
        let snapshot = self.table.snapshot().await?;
        let mut found = KnownAnswers::default();
        let mut ranks: HashMap<String, (u64, Timestamp)> = HashMap::new();
        let Some((days, vectors)) = self.days(&snapshot, "content_key", keys, |_| true).await? else {
            return Ok(found);
        };
        let mut columns = vec!["content_key", "created_at", "text"];
        columns.extend(vectors.then_some("vector"));
        let rows = self.rows(&snapshot, columns, &days, |row| row.key.as_ref().is_some_and(|key| keys.contains(key)));
        for row in rows.await? {
            let (Some(key), Some(at)) = (row.key, row.at) else { continue };
            if let Some(aside) = row.aside {
                let is_newer = found.aside.get(&key).is_none_or(|it| (it.at, it.tries == 0) < (at, aside.1 == 0));
                if is_newer {
                    let (refusal, tries) = aside;
                    found.aside.insert(key, Aside { refusal, tries, at });
                }
                continue;
            }
            if row.answer.text.is_none() && row.answer.vector.is_none() {
                // Set aside before it was kept how often: it is asked for again.
                continue;
            }
            let rank = (row.answer.lacks(), at);
            if ranks.get(&key).is_none_or(|held| rank < *held) {
                ranks.insert(key.clone(), rank);
                found.answers.insert(key, row.answer);
            }
        }
        Ok(found)
    }

    /// The parts of these entities' summaries, by the keys of their calls.
    pub(super) async fn parts(&self, entities: &HashSet<String>) -> Result<HashMap<String, String>> {
        let snapshot = self.table.snapshot().await?;
        let is_part = |kind: &str| kind == AnswerKind::Part.name();
        let Some((days, _)) = self.days(&snapshot, "entity", entities, is_part).await? else {
            return Ok(HashMap::new());
        };
        let columns = vec!["content_key", "created_at", "text", "entity", "kind"];
        let wanted =
            |row: &ResultRow| row.is_part && row.entity.as_ref().is_some_and(|entity| entities.contains(entity));
        let rows = self.rows(&snapshot, columns, &days, wanted).await?;
        Ok(rows.into_iter().filter_map(|row| Some((row.key?, row.answer.text?))).collect())
    }

    /// The days on which something was stored under one of these values, and whether a vector is among it; `None` if nothing was.
    async fn days(
        &self,
        snapshot: &Snapshot,
        column: &str,
        wanted: &HashSet<String>,
        kinds: impl Fn(&str) -> bool + Send,
    ) -> Result<Option<(BTreeSet<Date>, bool)>> {
        if wanted.is_empty() {
            return Ok(None);
        }
        let name = self.table.name();
        let (mut days, mut vectors) = (BTreeSet::new(), false);
        let mut stream = snapshot.scan(Some(&[column, "kind", "dt"])).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(name, e))?;
            for row in 0..batch.num_rows() {
                let Value::Text(value) = read::value(&batch, column, row, name)? else { continue };
                if !wanted.contains(&value) {
                    continue;
                }
                let Value::Text(kind) = read::value(&batch, "kind", row, name)? else { continue };
                if let (true, Value::Date(day)) = (kinds(&kind), read::value(&batch, "dt", row, name)?) {
                    vectors |= kind == AnswerKind::Embedding.name();
                    days.extend(catalog::date_of(day));
                }
            }
        }
        Ok((!days.is_empty()).then_some((days, vectors)))
    }

    /// The rows of some days that are wanted.
    async fn rows(
        &self,
        snapshot: &Snapshot,
        mut columns: Vec<&str>,
        days: &BTreeSet<Date>,
        wanted: impl Fn(&ResultRow) -> bool + Send,
    ) -> Result<Vec<ResultRow>> {
        let name = self.table.name();
        // A lake of an earlier release has not all of them.
        let later = ["reason", "refusal", "tries", "texts_used", "texts_given", "fields"];
        columns.extend(later.into_iter().filter(|column| snapshot.schema().field_with_name(column).is_ok()));
        let mut rows = Vec::new();
        let mut stream = snapshot.scan_days(&columns, days).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(name, e))?;
            for at in 0..batch.num_rows() {
                let mut row = ResultRow::named(&batch, at, name)?;
                if wanted(&row) {
                    row.fill(&batch, at, name)?;
                    rows.push(row);
                }
            }
        }
        Ok(rows)
    }

    /// Stores rows of one kind, once.
    pub(super) async fn store(
        &self,
        kind: AnswerKind,
        model: &str,
        rows: &[&AnswerRow],
        context: &Context<'_>,
    ) -> Result<()> {
        let batch = self.batch(kind, model, rows, context)?;
        let marks = rows.iter().flat_map(|row| [row.key.clone(), row.said.mark(context.now)]);
        let marks: Vec<String> = std::iter::once("2".to_owned()).chain(marks).collect();
        let app_id = format!("llm/{}", &content_hash(marks.iter().map(String::as_bytes))[..32]);
        let info = CommitInfo { run: context.run.clone(), now: context.now, lineage: Vec::new() };
        for _ in 0..TRIES {
            let txn = Txn { app_id: app_id.clone(), version: 1, rule: TxnRule::AtLeast };
            match self.table.append(vec![batch.clone()], txn, &info).await? {
                Committed::Done(_) | Committed::Duplicate(_) => return Ok(()),
                Committed::Conflict(_) => {}
            }
        }
        Err(Error::Contended { table: self.table.name().clone(), tries: TRIES })
    }

    fn batch(&self, kind: AnswerKind, model: &str, rows: &[&AnswerRow], context: &Context<'_>) -> Result<RecordBatch> {
        let count = rows.len();
        let answer = |row: &AnswerRow| match &row.said {
            RowContent::Answer(answer) => answer.clone(),
            RowContent::Aside(..) => Answer::default(),
        };
        let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(read::vector_item());
        for row in rows {
            match answer(row).vector {
                Some(vector) => vectors.append_value(vector.iter().map(|x| Some(*x))),
                None => vectors.append_null(),
            }
        }
        let text = |each: &dyn Fn(&AnswerRow) -> Option<String>| -> ArrayRef {
            Arc::new(rows.iter().map(|row| each(row)).collect::<StringArray>())
        };
        let number = |each: &dyn Fn(&AnswerRow) -> Option<u64>| -> ArrayRef {
            let numbers = rows.iter().map(|row| each(row).map(|it| i64::try_from(it).unwrap_or(i64::MAX)));
            Arc::new(numbers.collect::<Int64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|row| Some(row.key.clone())),
            Arc::new(StringArray::from(vec![kind.name(); count])),
            Arc::new(StringArray::from(vec![model; count])),
            text(&|row| Some(row.entity.clone())),
            Arc::new(TimestampMicrosecondArray::from(vec![context.now.as_microsecond(); count]).with_timezone("UTC")),
            text(&|row| Some(row.said.aside()?.0.reason.clone())),
            text(&|row| Some(row.said.aside()?.0.kind.name().to_owned())),
            number(&|row| Some(u64::from(row.said.aside()?.1))),
            number(&|row| answer(row).basis.map(|it| it.used)),
            number(&|row| answer(row).basis.map(|it| it.given)),
            text(&|row| answer(row).fields.map(|fields| serde_json::Value::Object(fields).to_string())),
            text(&|row| answer(row).text),
            Arc::new(vectors.finish()),
            Arc::new(Date32Array::from(vec![catalog::days_since_epoch(context.dt); count])),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|e| Error::arrow(self.table.name(), e))
    }
}

impl RowContent {
    fn aside(&self) -> Option<(&Refusal, u32)> {
        match self {
            Self::Answer(_) => None,
            Self::Aside(refusal, tries) => Some((refusal, *tries)),
        }
    }

    /// What tells a row from another one of the same key.
    fn mark(&self, now: Timestamp) -> String {
        match self {
            Self::Answer(Answer { basis: Some(basis), .. }) => format!("answer {} of {}", basis.used, basis.given),
            Self::Answer(_) => "answer".to_owned(),
            Self::Aside(refusal, tries) => format!("{} {tries} {now}", refusal.kind.name()),
        }
    }
}

/// A row as it was read.
#[derive(Debug, Default)]
struct ResultRow {
    key: Option<String>,
    entity: Option<String>,
    is_part: bool,
    at: Option<Timestamp>,
    answer: Answer,
    aside: Option<(Refusal, u32)>,
}

impl ResultRow {
    /// The names alone: most rows are not wanted.
    fn named(batch: &RecordBatch, row: usize, table: &TableName) -> Result<Self> {
        let key = text(batch, "content_key", row, table)?;
        let entity = text(batch, "entity", row, table)?;
        let is_part = text(batch, "kind", row, table)?.as_deref() == Some(AnswerKind::Part.name());
        Ok(Self { key, entity, is_part, ..Self::default() })
    }

    fn fill(&mut self, batch: &RecordBatch, row: usize, table: &TableName) -> Result<()> {
        if let Value::Time(at) = read::value(batch, "created_at", row, table)? {
            self.at = Timestamp::from_nanosecond(at).ok();
        }
        self.answer.text = text(batch, "text", row, table)?;
        let fields = text(batch, "fields", row, table)?;
        self.answer.fields = fields.and_then(|fields| serde_json::from_str(&fields).ok());
        if batch.column_by_name("vector").is_some()
            && let Value::Vector(vector) = read::value(batch, "vector", row, table)?
        {
            self.answer.vector = Some(vector.into());
        }
        let (used, given) = (number(batch, "texts_used", row, table)?, number(batch, "texts_given", row, table)?);
        self.answer.basis = used.zip(given).map(|(used, given)| Basis { used, given });
        if let Some(kind) = text(batch, "refusal", row, table)? {
            let reason = text(batch, "reason", row, table)?.unwrap_or_default();
            let tries = number(batch, "tries", row, table)?.unwrap_or(1);
            let refusal = Refusal::new(RefusalKind::named(&kind), reason);
            self.aside = Some((refusal, u32::try_from(tries).unwrap_or(u32::MAX)));
        }
        Ok(())
    }
}

/// A text of a row; `None` also where the table has no such column.
pub(super) fn text(batch: &RecordBatch, column: &str, row: usize, table: &TableName) -> Result<Option<String>> {
    if batch.column_by_name(column).is_none() {
        return Ok(None);
    }
    Ok(match read::value(batch, column, row, table)? {
        Value::Text(text) => Some(text),
        _ => None,
    })
}

/// A count of a row; `None` also where the table has no such column.
pub(super) fn number(batch: &RecordBatch, column: &str, row: usize, table: &TableName) -> Result<Option<u64>> {
    if batch.column_by_name(column).is_none() {
        return Ok(None);
    }
    Ok(match read::value(batch, column, row, table)? {
        Value::Int(number) => u64::try_from(number).ok(),
        _ => None,
    })
}
