//! Adds a summary and its embedding to every entity of a table, paying for each only once.
//!
//! Order of events: read the texts at one version → hash them into content keys → look for those keys in the table written last time,
//! then in `ops.llm_results` → ask the model for what is in neither, batch by batch, **storing each batch before it is used** → replace the
//! result table whole. So a kill loses at most the batch under way, and a text that did not change is never sent again, not even after
//! every index and the result table itself are dropped.
//!
//! A model that costs money is asked another way: each reply is stored by itself, the moment it is there (see `paid`). An answer that
//! can't be used is set aside and asked for again later (see `aside`); until then what was there before is shown.
//!
//! The replacing commit carries a fingerprint of the input's version and of the models. When the newest commit already carries it,
//! nothing is read at all.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Schema;
use catalog::schema::SchemaDifference;
use catalog::{
    CommitInfo, Committed, Date, Lake, RunId, Scope, Snapshot, Table, TableName, TableSpec, Timestamp, Txn, TxnRule,
    Version, WriteOptions, failpoint,
};
use futures::{FutureExt, StreamExt};

use crate::error::{Error, Result};
use crate::llm::{AnswerKind, Llm, Model, Prompt};
use rows::read;
use rows::text::nfc;
use rows::{Kind, Value, content_hash, fingerprint};

mod again;
mod answers;
mod aside;
mod batches;
mod cache;
mod estimate;
mod gateway;
mod journal;
mod lease;
mod outcome;
mod paid;
#[cfg(test)]
mod paid_tests;
mod published;
#[cfg(test)]
mod tests;

pub use again::{Reasked, ask_again};
use answers::{Answers, Wish};
use cache::{Basis, Cache};
pub use estimate::{Estimate, Expected, estimate};
pub use outcome::{Enriched, Outcome, Progress, Spent, Wait};
use published::Published;

/// Raise it when the same texts and models would be laid out in another way.
const VERSION: u32 = 2;
/// Lost races in a row before we say that others are in the way.
const TRIES: u32 = 5;

/// Which texts become summaries, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrichment {
    /// The table written: key, `summary`, `summary_key`, `embedding`, `embedding_key`, `model`, `texts_used`, `texts_given`, and the
    /// prompt's fields.
    pub into: TableName,
    /// The table read.
    pub from: TableName,
    /// The column of `from` that names an entity.
    pub key: String,
    /// The column of `from` with an entity's texts: a list of text, or text.
    pub texts: String,
    /// What a model that writes is told of the texts. One that only chooses sentences is told nothing.
    pub prompt: Prompt,
}

impl Enrichment {
    /// Whether a table of these columns has what the enrichment reads.
    ///
    /// # Errors
    /// [`Error::Config`] with the first column that it has not, or has as another type.
    pub fn check(&self, schema: &Schema) -> Result<()> {
        let wrong = |message: String| Error::Config {
            table: self.from.clone(),
            message,
            hint: Some(format!("name another column in the enrichment of `{}`", self.into)),
        };
        for column in [&self.key, &self.texts] {
            if schema.field_with_name(column).is_err() {
                return Err(wrong(format!("expected a column `{column}`, found none")));
            }
        }
        let kind = schema.field_with_name(&self.texts).map(|field| Kind::of(field.data_type()));
        match kind {
            Ok(Kind::List(item)) if *item == Kind::Text => Ok(()),
            Ok(Kind::Text) | Err(_) => Ok(()),
            Ok(kind) => {
                Err(wrong(format!("expected column `{}` to be text or a list of text, found {kind}", self.texts)))
            }
        }
    }

    /// The table written, as models that read it can expect it.
    pub fn table_spec(&self) -> TableSpec {
        TableSpec {
            name: self.into.clone(),
            schema: published::schema(&self.key, &self.prompt.fields),
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
    /// The day by the project's calendar on which money is spent, whatever day is worked on: a budget is of such a day.
    pub today: Date,
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

impl Row {
    /// Takes the text that is to be embedded.
    fn embeds(&mut self, text: &str, llm: &dyn Llm) {
        self.embedding_key =
            Some(content_key(AnswerKind::Embedding, llm.embedder(), llm.dimension(), &[], &[nfc(text)]));
    }
}

/// Brings the result table up to its input. See the module for the order of events.
pub async fn enrich(lake: &Lake, enrichment: &Enrichment, llm: &dyn Llm, context: &Context<'_>) -> Result<Enriched> {
    let spec = enrichment.table_spec();
    // A table whose fields are others now is written in its new shape with the next rows; until then it stays as it is.
    let into = match lake.find(&enrichment.into).await? {
        Some(into) if is_other(&into, &spec)? => into,
        _ => lake.create(&spec).await?,
    };
    let from = lake.snapshot(&enrichment.from).await?;
    let app_id = format!("enrich/{}", enrichment.into);
    let print = fingerprint_of(enrichment, &from, llm);
    let before = into.snapshot().await?;
    if before.txn(&app_id).await? == Some(print) {
        return Ok(Enriched::new(Outcome::Unchanged(before.version())));
    }
    if let Some(openai) = llm.paid() {
        let (from, before, into) = (&from, &before, &into);
        let lease = match lease::EnrichLease::take(lake, &enrichment.into, context).await? {
            Ok(lease) => lease,
            Err(run) => {
                return Ok(Enriched {
                    wait: Some(Wait::AnotherRun { run }),
                    ..Enriched::new(Outcome::Unchanged(before.version()))
                });
            }
        };
        let job =
            paid::Job { lake, enrichment, llm, openai, context, from, before, into, app_id, print, lease: &lease };
        let done = lease.keep_while(paid::enrich(&job).boxed()).await;
        lease.end().await?;
        return done;
    }

    let mut rows = rows(enrichment, &from, llm).await?;
    let mut was = Published::read(&before, enrichment).await?;
    let mut answers = Answers::new(Cache::open(lake).await?, std::mem::take(&mut was.known), context);

    let wanted =
        rows.iter().filter_map(|r| Some((r.summary_key.clone()?, Wish { entity: &r.key, texts: &r.texts }))).collect();
    let summaries = answers.all(AnswerKind::Summary, wanted, llm).await?;
    for row in &mut rows {
        let Some(text) =
            row.summary_key.as_ref().and_then(|key| answers.known.get(key)).and_then(|a| a.text.as_deref())
        else {
            continue;
        };
        let text = text.to_owned();
        row.embeds(&text, llm);
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
        .filter_map(|(r, texts)| Some((r.embedding_key.clone()?, Wish { entity: &r.key, texts })))
        .collect();
    let embeddings = answers.all(AnswerKind::Embedding, wanted, llm).await?;

    let shown: Vec<_> = rows.iter().map(|row| was.next(row, &answers.known, llm)).collect();
    let batch = published::batch(&shown, &answers.known, enrichment, llm)?;
    let info = CommitInfo {
        run: context.run.clone(),
        now: context.now,
        lineage: vec![(enrichment.from.clone(), from.version())],
    };
    let txn = Txn { app_id, version: print, rule: TxnRule::Equal };
    let version = replace((&into, &spec), &batch, txn, &info).await?;
    Ok(Enriched {
        summarised: summaries.asked,
        embedded: embeddings.asked,
        reused: summaries.found + embeddings.found,
        ..Enriched::new(Outcome::Built(version))
    })
}

fn fingerprint_of(enrichment: &Enrichment, from: &Snapshot, llm: &dyn Llm) -> i64 {
    let parts = [
        format!("enrich {VERSION}"),
        enrichment.from.to_string(),
        from.table_id().to_owned(),
        from.version().to_string(),
        enrichment.key.clone(),
        enrichment.texts.clone(),
        format!("{:?}", llm.summariser()),
        format!("{:?} {}", llm.embedder(), llm.dimension()),
    ];
    // Also of a model that is told nothing the table has the columns.
    let columns = enrichment.prompt.fields.iter().map(|field| format!("{} {}", field.name, field.data_type()));
    let parts = parts.into_iter().chain(said(enrichment, llm)).chain(columns).collect::<Vec<_>>();
    fingerprint(parts.iter().map(String::as_bytes))
}

/// What the project says of its summaries, if the model listens to it.
fn said(enrichment: &Enrichment, llm: &dyn Llm) -> Vec<String> {
    if llm.paid().is_some() { enrichment.prompt.key_parts() } else { Vec::new() }
}

/// What an answer depends on, hashed. Equal keys mean that the answer may be taken from the lake.
fn content_key(kind: AnswerKind, model: &Model, dimension: usize, said: &[String], texts: &[String]) -> String {
    let head = [
        kind.name().to_owned(),
        model.name.clone(),
        model.version.to_string(),
        model.parameters.clone(),
        dimension.to_string(),
    ];
    // What is said comes as one part that no text can be: its own hash behind a mark.
    let said = (!said.is_empty()).then(|| format!("\u{0}said {}", content_hash(said.iter().map(String::as_bytes))));
    content_hash(head.iter().chain(&said).chain(texts).map(String::as_bytes))
}

async fn rows(enrichment: &Enrichment, from: &Snapshot, llm: &dyn Llm) -> Result<Vec<Row>> {
    let said = said(enrichment, llm);
    let table = &enrichment.from;
    enrichment.check(&from.schema())?;
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
            let summary_key =
                (!texts.is_empty()).then(|| content_key(AnswerKind::Summary, llm.summariser(), 0, &said, &texts));
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

/// Whether the table has columns that are not declared any more, or are of another type now.
fn is_other(into: &Table, spec: &TableSpec) -> Result<bool> {
    let is_other = |it: &SchemaDifference| it.is_breaking() || matches!(it, SchemaDifference::Gone { .. });
    Ok(into.differences(spec)?.iter().any(is_other))
}

/// Replaces the whole table, again when another writer was faster.
async fn replace(
    (into, spec): (&Table, &TableSpec),
    batch: &RecordBatch,
    txn: Txn,
    info: &CommitInfo,
) -> Result<Version> {
    for _ in 0..TRIES {
        let (rows, options) = (vec![read::stream(batch.clone())], WriteOptions::default());
        let written = if is_other(into, spec)? {
            into.write_reshaped(spec, rows, &options).await?
        } else {
            into.write(rows, &options).await?
        };
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
