//! Adds a summary and its embedding to every entity of a table, paying for each only once.
//!
//! Order of events: read the texts at one version → hash them into content keys → look for those keys in the table written last time,
//! then in `ops.llm_results` → ask the model for what is in neither, batch by batch, **storing each batch before it is used** → replace the
//! result table whole. So a kill loses at most the batch under way, and a text that did not change is never sent again, not even after
//! every index and the result table itself are dropped.
//!
//! A model that costs money is asked another way: each reply is stored by itself, the moment it is there (see `paid`).
//!
//! The replacing commit carries a fingerprint of the input's version and of the models. When the newest commit already carries it,
//! nothing is read at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, ListBuilder, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use catalog::{
    CommitInfo, Committed, Date, Lake, RunId, Scope, Table, TableName, TableSpec, Timestamp, Txn, TxnRule, Version,
    WriteOptions, failpoint,
};
use futures::{FutureExt, StreamExt};

use crate::error::{Error, Result};
use crate::llm::{Llm, Model};
use crate::read;
use crate::text::nfc;
use crate::value::{Value, content_hash, fingerprint};

mod answers;
mod batches;
mod cache;
mod desk;
mod estimate;
mod journal;
mod outcome;
mod paid;
#[cfg(test)]
mod paid_tests;
#[cfg(test)]
mod tests;
mod turn;

use answers::{Answers, Question};
use cache::{Answer, Cache};
pub use estimate::{Estimate, Expected, estimate};
pub use outcome::{AnswerKind, Enriched, Outcome, Progress, Spent, Wait};

/// Raise it when the same texts and models would be laid out in another way.
const VERSION: u32 = 1;
/// Lost races in a row before we say that others are in the way.
const TRIES: u32 = 5;

/// Which texts become summaries, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrichment {
    /// The table written: key, `summary`, `summary_key`, `embedding`, `embedding_key`, `model`.
    pub into: TableName,
    /// The table read.
    pub from: TableName,
    /// The column of `from` that names an entity.
    pub key: String,
    /// The column of `from` with an entity's texts: a list of text, or text.
    pub texts: String,
}

impl Enrichment {
    /// The table written, as models that read it can expect it.
    pub fn table_spec(&self) -> TableSpec {
        TableSpec {
            name: self.into.clone(),
            schema: schema(&self.key),
            partitioned: false,
            stats_columns: vec![self.key.clone()],
        }
    }
}

/// What an enrichment needs to know of the run it is part of.
pub struct Context<'a> {
    /// Stamped on the commits.
    pub run: RunId,
    /// The day the answers are filed under in `ops.llm_results`.
    pub dt: Date,
    /// The caller read the clock; we never do.
    pub now: Timestamp,
    /// How many answers are asked for and stored at once: what a kill can cost.
    pub batch: usize,
    /// How many summaries are in flight at once.
    pub jobs: usize,
    /// Told after each answer.
    pub progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// One entity with its texts, and the answers' keys as they become known.
struct Row {
    key: String,
    texts: Vec<String>,
    summary_key: Option<String>,
    embedding_key: Option<String>,
}

/// Brings the result table up to its input. See the module for the order of events.
pub async fn enrich(lake: &Lake, enrichment: &Enrichment, llm: &dyn Llm, context: &Context<'_>) -> Result<Enriched> {
    let into = lake.create(&enrichment.table_spec()).await?;
    let from = lake.table(&enrichment.from).await?.snapshot().await?;
    let app_id = format!("enrich/{}", enrichment.into);
    let print = fingerprint_of(enrichment, from.version(), llm);
    let held = into.snapshot().await?;
    if held.txn(&app_id).await? == Some(print) {
        return Ok(Enriched::new(Outcome::Unchanged(held.version())));
    }
    if let Some(openai) = llm.paid() {
        let (from, held, into) = (&from, &held, &into);
        let job = paid::Job { lake, enrichment, llm, openai, context, from, held, into, app_id, print };
        let turn = match turn::Turn::take(lake, &enrichment.into, context).await? {
            Ok(turn) => turn,
            Err(run) => {
                return Ok(Enriched {
                    wait: Some(Wait::Others { run }),
                    ..Enriched::new(Outcome::Unchanged(held.version()))
                });
            }
        };
        let done = paid::enrich(&job).boxed().await;
        turn.end().await?;
        return done;
    }

    let mut rows = rows(enrichment, &from, llm.summariser()).await?;
    let mut answers = Answers::new(Cache::open(lake).await?, held_answers(&held).await?, context);

    let wanted = rows
        .iter()
        .filter_map(|r| Some((r.summary_key.clone()?, Question { entity: &r.key, texts: &r.texts })))
        .collect();
    let summaries = answers.all(AnswerKind::Summary, wanted, llm).await?;
    for row in &mut rows {
        let Some(text) =
            row.summary_key.as_ref().and_then(|key| answers.known.get(key)).and_then(|a| a.text.as_deref())
        else {
            continue;
        };
        row.embedding_key = Some(content_key(AnswerKind::Embedding, llm.embedder(), llm.dimension(), &[nfc(text)]));
    }
    let texts: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            r.summary_key.as_ref().and_then(|k| answers.known.get(k)).and_then(|a| a.text.clone()).into_iter().collect()
        })
        .collect();
    let wanted = rows
        .iter()
        .zip(&texts)
        .filter_map(|(r, texts)| Some((r.embedding_key.clone()?, Question { entity: &r.key, texts })))
        .collect();
    let embeddings = answers.all(AnswerKind::Embedding, wanted, llm).await?;

    let batch = result(&rows, &answers.known, &enrichment.key, llm)?;
    let info = CommitInfo {
        run: context.run.clone(),
        now: context.now,
        lineage: vec![(enrichment.from.clone(), from.version())],
    };
    let version = replace(&into, &batch, Txn { app_id, version: print, rule: TxnRule::Equal }, &info).await?;
    Ok(Enriched {
        summarised: summaries.asked,
        embedded: embeddings.asked,
        reused: summaries.found + embeddings.found,
        ..Enriched::new(Outcome::Built(version))
    })
}

/// The schema of a result table: the key first, the long things last.
fn schema(key: &str) -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new(key, DataType::Utf8, true),
        Field::new("summary_key", DataType::Utf8, true),
        Field::new("embedding_key", DataType::Utf8, true),
        Field::new("model", DataType::Utf8, true),
        Field::new("summary", DataType::Utf8, true),
        Field::new("embedding", read::vector_type(), true),
    ]))
}

fn fingerprint_of(enrichment: &Enrichment, version: Version, llm: &dyn Llm) -> i64 {
    let parts = [
        format!("enrich {VERSION}"),
        enrichment.from.to_string(),
        version.to_string(),
        enrichment.key.clone(),
        enrichment.texts.clone(),
        format!("{:?}", llm.summariser()),
        format!("{:?} {}", llm.embedder(), llm.dimension()),
    ];
    fingerprint(parts.iter().map(String::as_bytes))
}

/// What an answer depends on, hashed. Equal keys mean that the answer may be taken from the lake.
fn content_key(kind: AnswerKind, model: &Model, dimension: usize, texts: &[String]) -> String {
    let head = [
        kind.name().to_owned(),
        model.name.clone(),
        model.version.to_string(),
        model.parameters.clone(),
        dimension.to_string(),
    ];
    content_hash(head.iter().chain(texts).map(String::as_bytes))
}

async fn rows(enrichment: &Enrichment, from: &catalog::Snapshot, summariser: &Model) -> Result<Vec<Row>> {
    let table = &enrichment.from;
    for column in [&enrichment.key, &enrichment.texts] {
        if from.schema().field_with_name(column).is_err() {
            return Err(Error::Config {
                table: table.clone(),
                message: format!("expected a column `{column}`, found none"),
                hint: Some(format!("name another column in the enrichment of `{}`", enrichment.into)),
            });
        }
    }
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut stream = from.scan(Some(&[&enrichment.key, &enrichment.texts])).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| Error::arrow(table, e))?;
        let (keys, texts) =
            (read::column(&batch, &enrichment.key, table)?, read::column(&batch, &enrichment.texts, table)?);
        for row in 0..batch.num_rows() {
            let value = |array: &ArrayRef| Value::of(array, row).map_err(|e| Error::arrow(table, e));
            let Some(key) = value(keys)?.as_key() else {
                return Err(Error::Data {
                    table: table.clone(),
                    message: format!("expected a text or a number in key `{}`, found none", enrichment.key),
                });
            };
            let texts: Vec<String> = value(texts)?
                .texts()
                .iter()
                .map(|text| nfc(text))
                .filter(|t| t.chars().any(char::is_alphanumeric))
                .collect();
            let summary_key = (!texts.is_empty()).then(|| content_key(AnswerKind::Summary, summariser, 0, &texts));
            if rows.insert(key.clone(), Row { key: key.clone(), texts, summary_key, embedding_key: None }).is_some() {
                return Err(Error::Data {
                    table: table.clone(),
                    message: format!("expected each `{}` once, found `{key}` twice", enrichment.key),
                });
            }
        }
    }
    Ok(rows.into_values().collect())
}

/// The answers that the result table of last time holds: no history has to be read for them.
async fn held_answers(held: &catalog::Snapshot) -> Result<HashMap<String, Answer>> {
    let table = held.table();
    let mut known = HashMap::new();
    let mut stream = held.scan(Some(&["summary_key", "embedding_key", "summary", "embedding"])).await?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| Error::arrow(table, e))?;
        for row in 0..batch.num_rows() {
            if let (Value::Text(key), Value::Text(text)) =
                (read::value(&batch, "summary_key", row, table)?, read::value(&batch, "summary", row, table)?)
            {
                known.insert(key, Answer { text: Some(text), ..Answer::default() });
            }
            if let (Value::Text(key), Value::Vector(vector)) =
                (read::value(&batch, "embedding_key", row, table)?, read::value(&batch, "embedding", row, table)?)
            {
                known.insert(key, Answer { vector: Some(vector), ..Answer::default() });
            }
        }
    }
    Ok(known)
}

fn result(rows: &[Row], known: &HashMap<String, Answer>, key: &str, llm: &dyn Llm) -> Result<RecordBatch> {
    let models = format!("{} {}", llm.summariser().id(), llm.embedder().id());
    let summary = |row: &Row| row.summary_key.as_ref().and_then(|k| known.get(k)).and_then(|a| a.text.clone());
    let mut vectors = ListBuilder::new(Float32Builder::new()).with_field(read::vector_item());
    for row in rows {
        match row.embedding_key.as_ref().and_then(|k| known.get(k)).and_then(|a| a.vector.as_ref()) {
            Some(vector) => vectors.append_value(vector.iter().map(|x| Some(*x))),
            None => vectors.append_null(),
        }
    }
    let texts = |each: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(each).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|r| Some(r.key.clone())),
        texts(&|r| r.summary_key.clone()),
        texts(&|r| r.embedding_key.clone()),
        texts(&|r| r.summary_key.as_ref().map(|_| models.clone())),
        texts(&summary),
        Arc::new(vectors.finish()),
    ];
    RecordBatch::try_new(schema(key), columns).map_err(|e| Error::Model {
        model: models,
        message: e.to_string(),
        retryable: false,
    })
}

/// Replaces the whole table, again when another writer was faster.
async fn replace(into: &Table, batch: &RecordBatch, txn: Txn, info: &CommitInfo) -> Result<Version> {
    for _ in 0..TRIES {
        let written = into.write(vec![read::stream(batch.clone())], &WriteOptions::default()).await?;
        failpoint!("load.enrich.before");
        let committed = written.replace(Scope::All, txn.clone(), info).await?;
        failpoint!("load.enrich.after");
        match committed {
            Committed::Done(version) | Committed::Duplicate(version) => return Ok(version),
            Committed::Conflict(_) => {}
        }
    }
    Err(Error::Contended { table: into.name().clone(), tries: TRIES })
}
