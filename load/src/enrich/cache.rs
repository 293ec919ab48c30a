//! `ops.llm_results`: every answer a model ever gave, by content key. Append-only; the lake's memory of what was paid for.
//!
//! Two runs that ask the same at the same time may both store an answer; readers take the first. One commit per batch, whose `txn` is
//! the hash of the batch's keys, so that a batch that is stored again after an unclear error is stored once.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float32Builder, ListBuilder, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use catalog::{CommitInfo, Committed, Lake, Layer, Table, TableName, TableSpec, Txn, TxnRule};
use futures::StreamExt;

use super::{AnswerKind, Context, TRIES};
use crate::error::{Error, Result};
use crate::read;
use crate::value::{Value, content_hash};

/// A text or a vector, or why there is none and none is asked for again.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) text: Option<String>,
    pub(super) vector: Option<Vec<f32>>,
    pub(super) reason: Option<String>,
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
        Field::new("text", DataType::Utf8, true),
        Field::new("vector", read::vector_type(), true),
        Field::new("dt", DataType::Date32, true),
    ]))
}

impl Cache {
    pub(super) async fn open(lake: &Lake) -> Result<Self> {
        let stats_columns = ["content_key", "kind", "model"].map(str::to_owned).to_vec();
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

    /// Adds every answer of the lake to `known`, unless one with its key is there.
    pub(super) async fn read(&self, known: &mut HashMap<String, Answer>) -> Result<()> {
        let name = self.table.name();
        let mut oldest: HashMap<String, (i128, Answer)> = HashMap::new();
        let mut stream =
            self.table.snapshot().await?.scan(Some(&["content_key", "created_at", "text", "vector"])).await?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|e| Error::arrow(name, e))?;
            for row in 0..batch.num_rows() {
                let Value::Text(key) = read::value(&batch, "content_key", row, name)? else { continue };
                if known.contains_key(&key) {
                    continue;
                }
                let Value::Time(at) = read::value(&batch, "created_at", row, name)? else { continue };
                let text = match read::value(&batch, "text", row, name)? {
                    Value::Text(text) => Some(text),
                    _ => None,
                };
                let vector = match read::value(&batch, "vector", row, name)? {
                    Value::Vector(vector) => Some(vector),
                    _ => None,
                };
                let held = oldest.get(&key).map(|(at, answer)| (*at, &answer.text));
                if held.is_none_or(|held| (at, &text) < held) {
                    oldest.insert(key, (at, Answer { text, vector, reason: None }));
                }
            }
        }
        known.extend(oldest.into_iter().map(|(key, (_, answer))| (key, answer)));
        Ok(())
    }

    /// Stores one batch of answers, once. `answers` are (content key, entity, answer).
    pub(super) async fn store(
        &self,
        kind: AnswerKind,
        model: &str,
        answers: &[(&str, &str, &Answer)],
        context: &Context<'_>,
    ) -> Result<()> {
        let batch = self.batch(kind, model, answers, context)?;
        let app_id = format!("llm/{}", &content_hash(answers.iter().map(|(key, ..)| key.as_bytes()))[..32]);
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

    fn batch(
        &self,
        kind: AnswerKind,
        model: &str,
        answers: &[(&str, &str, &Answer)],
        context: &Context<'_>,
    ) -> Result<RecordBatch> {
        let count = answers.len();
        let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(read::vector_item());
        for (_, _, answer) in answers {
            match &answer.vector {
                Some(vector) => vectors.append_value(vector.iter().map(|x| Some(*x))),
                None => vectors.append_null(),
            }
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(answers.iter().map(|(key, ..)| Some(*key)).collect::<StringArray>()),
            Arc::new(StringArray::from(vec![kind.name(); count])),
            Arc::new(StringArray::from(vec![model; count])),
            Arc::new(answers.iter().map(|(_, entity, _)| Some(*entity)).collect::<StringArray>()),
            Arc::new(TimestampMicrosecondArray::from(vec![context.now.as_microsecond(); count]).with_timezone("UTC")),
            Arc::new(answers.iter().map(|(.., answer)| answer.reason.as_deref()).collect::<StringArray>()),
            Arc::new(answers.iter().map(|(.., answer)| answer.text.as_deref()).collect::<StringArray>()),
            Arc::new(vectors.finish()),
            Arc::new(Date32Array::from(vec![read::days(context.dt); count])),
        ];
        RecordBatch::try_new(schema(), columns).map_err(|e| Error::arrow(self.table.name(), e))
    }
}
