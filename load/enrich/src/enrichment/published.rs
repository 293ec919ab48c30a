//! What the result table holds since last time: answers for which no history has to be read, and what each entity shows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Int64Array, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{Snapshot, TableName};
use futures::StreamExt;

use super::cache::{Answer, Basis, number, text};
use super::{Enrichment, Row};
use crate::error::{Error, Result};
use crate::llm::{FieldValues, Llm, OutputField};
use rows::Value;
use rows::read;

/// What an entity shows: the keys of its answers, and which models gave them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) entity: String,
    pub(super) summary_key: Option<String>,
    pub(super) embedding_key: Option<String>,
    pub(super) model: Option<String>,
    /// How many texts there were when the summary was asked for; how many it rests on stands beside the answer.
    pub(super) given: Option<u64>,
}

/// The table, read once.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// Answers by their keys.
    pub(super) known: HashMap<String, Answer>,
    /// What entities show, by entity.
    pub(super) shown: HashMap<String, Shown>,
}

impl Published {
    /// Reads it.
    pub(super) async fn read(snapshot: &Snapshot, enrichment: &Enrichment) -> Result<Self> {
        let (table, key) = (snapshot.table(), enrichment.key.as_str());
        let is_there = |column: &&str| snapshot.schema().field_with_name(column).is_ok();
        // Another key names other entities: none of them is shown yet, and all answers are in the lake.
        if !is_there(&key) {
            return Ok(Self::default());
        }
        let mut columns = vec![key, "summary_key", "embedding_key", "model", "summary", "embedding"];
        // A lake of an earlier release has not all of them.
        let later = ["texts_used", "texts_given"];
        columns.extend(later.into_iter().filter(is_there));
        // One that was added is not there before the first answers with it are.
        let fields: Vec<&str> = enrichment.prompt.fields.iter().map(|it| it.name.as_str()).filter(is_there).collect();
        columns.extend(&fields);
        let mut read = Self::default();
        let mut stream = snapshot.scan(Some(&columns)).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(table, e))?;
            for row in 0..batch.num_rows() {
                let Some(entity) = text(&batch, key, row, table)? else { continue };
                let (used, given) =
                    (number(&batch, "texts_used", row, table)?, number(&batch, "texts_given", row, table)?);
                let mut shown = Shown { entity, given, ..Shown::default() };
                shown.model = text(&batch, "model", row, table)?;
                if let (Some(key), Some(text)) =
                    (text(&batch, "summary_key", row, table)?, text(&batch, "summary", row, table)?)
                {
                    let basis = used.zip(given).map(|(used, given)| Basis { used, given });
                    let fields = values(&batch, &fields, row, table)?;
                    read.known.insert(key.clone(), Answer { text: Some(text), fields, basis, ..Answer::default() });
                    shown.summary_key = Some(key);
                }
                if let (Some(key), Value::Vector(vector)) =
                    (text(&batch, "embedding_key", row, table)?, read::value(&batch, "embedding", row, table)?)
                {
                    read.known.insert(key.clone(), Answer { vector: Some(vector.into()), ..Answer::default() });
                    shown.embedding_key = Some(key);
                }
                read.shown.insert(shown.entity.clone(), shown);
            }
        }
        Ok(read)
    }

    /// What an entity shows now. Each answer stays until the next one is there: what is set aside or waited for takes nothing away.
    pub(super) fn next(&self, row: &Row, known: &HashMap<String, Answer>, llm: &dyn Llm) -> Shown {
        let mut next = Shown { entity: row.key.clone(), ..Shown::default() };
        if row.summary_key.is_none() {
            return next;
        }
        let is_known = |key: &&String| known.contains_key(*key);
        let last = self.shown.get(&row.key);
        let (summariser, embedder) = (llm.summariser().id(), llm.embedder().id());
        let (mut by, mut with) = (summariser, embedder.clone());
        if let Some(key) = row.summary_key.as_ref().filter(is_known) {
            next.summary_key = Some(key.clone());
            next.given = Some(row.texts.len() as u64);
        } else if let Some(last) = last.filter(|last| last.summary_key.is_some()) {
            (next.summary_key, next.given) = (last.summary_key.clone(), last.given);
            by = models(last).0.unwrap_or(by);
        }
        // The vectors of two models are no neighbours: another one's is not kept.
        let of_the_same = |last: &&Shown| models(last).1.as_deref() == Some(embedder.as_str());
        if let Some(key) = row.embedding_key.as_ref().filter(is_known) {
            next.embedding_key = Some(key.clone());
        } else if let Some(last) = last.filter(of_the_same).filter(|last| last.embedding_key.is_some()) {
            next.embedding_key.clone_from(&last.embedding_key);
            with = models(last).1.unwrap_or(with);
        }
        next.model = Some(format!("{by} {with}"));
        next
    }
}

/// Who summarised and who embedded.
fn models(shown: &Shown) -> (Option<String>, Option<String>) {
    let parts = shown.model.as_deref().and_then(|both| both.rsplit_once(' '));
    (parts.map(|it| it.0.to_owned()), parts.map(|it| it.1.to_owned()))
}

/// What a row says in these fields, if there are any.
fn values(batch: &RecordBatch, fields: &[&str], row: usize, table: &TableName) -> Result<Option<FieldValues>> {
    let mut values = FieldValues::new();
    for field in fields {
        match read::value(batch, field, row, table)? {
            Value::Null => {}
            value => drop(values.insert((*field).to_owned(), value.to_json())),
        }
    }
    Ok((!fields.is_empty()).then_some(values))
}

/// The schema of a result table: the key first, the long things last.
pub(super) fn schema(key: &str, fields: &[OutputField]) -> SchemaRef {
    let mut columns = vec![
        Field::new(key, DataType::Utf8, true),
        Field::new("summary_key", DataType::Utf8, true),
        Field::new("embedding_key", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, true),
        Field::new("texts_used", DataType::Int64, true),
        Field::new("texts_given", DataType::Int64, true),
    ];
    columns.extend(fields.iter().map(|field| Field::new(&field.name, field.data_type(), true)));
    columns.push(Field::new("summary", DataType::Utf8, true));
    columns.push(Field::new("embedding", read::vector_type(), true));
    Arc::new(Schema::new(columns))
}

/// The rows of a result table.
pub(super) fn batch(
    rows: &[Shown],
    known: &HashMap<String, Answer>,
    enrichment: &Enrichment,
    llm: &dyn Llm,
) -> Result<RecordBatch> {
    let (key, fields) = (&enrichment.key, &enrichment.prompt.fields);
    let answer = |key: &Option<String>| key.as_ref().and_then(|key| known.get(key));
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(read::vector_item());
    for row in rows {
        match answer(&row.embedding_key).and_then(|it| it.vector.as_ref()) {
            Some(vector) => {
                vectors.values().append_slice(vector);
                vectors.append(true);
            }
            None => vectors.append_null(),
        }
    }
    let texts = |each: &dyn Fn(&Shown) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(each).collect::<StringArray>())
    };
    let counts = |each: &dyn Fn(&Shown) -> Option<u64>| -> ArrayRef {
        let counts = rows.iter().map(|row| each(row).map(|it| i64::try_from(it).unwrap_or(i64::MAX)));
        Arc::new(counts.collect::<Int64Array>())
    };
    let mut columns: Vec<ArrayRef> = vec![
        texts(&|row| Some(row.entity.clone())),
        texts(&|row| row.summary_key.clone()),
        texts(&|row| row.embedding_key.clone()),
        texts(&|row| row.model.clone()),
        counts(&|row| answer(&row.summary_key)?.basis.map(|it| it.used)),
        counts(&|row| answer(&row.summary_key).and_then(|it| it.basis.map(|it| it.given)).or(row.given)),
    ];
    let said = |row: &Shown| answer(&row.summary_key).and_then(|it| it.fields.as_ref());
    columns.extend(fields.iter().map(|field| field.column(rows.iter().map(said))));
    columns.push(texts(&|row| answer(&row.summary_key)?.text.clone()));
    columns.push(Arc::new(vectors.finish()));
    RecordBatch::try_new(schema(key, fields), columns).map_err(|e| Error::Model {
        model: format!("{} {}", llm.summariser().id(), llm.embedder().id()),
        message: e.to_string(),
        retryable: false,
    })
}
