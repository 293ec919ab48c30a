//! What really lies in a table, row by row, and what should: both sides in the same bytes, hashed.
//!
//! The server gives each column in a form whose bytes are the same for the same value ([`Form`]): doubles and times as it sends them,
//! numbers and texts as it prints them, lists as it sends them but without their header, documents with their members in order. The
//! mart's side writes the same bytes from the Arrow values, rounded where the column's type rounds.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::DataType;
use sqlx::Row as _;
use tokio::sync::mpsc;

use super::connect::within;
use super::copy::{self, CopyRows};
use super::encode;
use super::layout::{self, list_item};
use super::sql::{self, Form, HASH, Name, TEXT};
use super::state::{self, SHORT};
use super::{Postgres, PostgresSession};
use crate::error::{Error, Result};
use crate::fault::{Cause, SinkFault};
use crate::keys::Hashes;
use crate::sink::document::{self, float};
use crate::sink::{Contents, Rows};
use crate::target::SyncTarget;
use rows::{RowHash, Value};

/// Part of every hash.
const SEED: &str = "postgres";
/// Rows of a part, about.
const ROWS: usize = 8_192;
/// Microseconds from 1970 to 2000, where the server's times begin.
const TO_2000_MICROS: i128 = 946_684_800_000_000;

/// Reads a table in a task of its own, which has the connection.
pub(super) async fn read(sink: &Arc<Postgres>, target: &SyncTarget) -> Result<Contents, SinkFault> {
    let mut session = sink.door.open().await?;
    let connection = session.get()?;
    let name = Name::new(&sink.schema, layout::relation(&target.table));
    let mut columns = forms(connection, &name).await?;
    columns.sort_by(|one, other| one.0.cmp(&other.0));
    if !columns.iter().any(|(column, _)| *column == target.key) {
        return Ok(Box::pin(futures::stream::empty()));
    }
    state::run(connection, "set statement_timeout = 0").await?;
    let statement = sql::copy_contents(&name, &target.key, &columns);
    let (sender, receiver) = mpsc::channel(2);
    let sink = Arc::clone(sink);
    tokio::spawn(async move {
        let last = send(session, &statement, &columns, &sender).await.map_err(sink.error("reading"));
        // Nobody may be there any more, and then nobody misses it.
        let _ = sender.send(last).await;
    });
    let next = async |(mut receiver, ended): (mpsc::Receiver<Result<Option<Hashes>>>, bool)| match receiver.recv().await
    {
        Some(Ok(Some(part))) => Some((Ok(part), (receiver, ended))),
        Some(Ok(None)) => None,
        Some(Err(error)) => Some((Err(error), (receiver, true))),
        None if ended => None,
        // A task that was stopped has not read everything, and an end would say that it has.
        None => {
            let error = SinkFault::passing("the task that reads was stopped", "run again");
            let at = "the database".to_owned();
            Some((
                Err(Error::Sink { sink: crate::kind::SinkKind::Postgres, doing: "reading", at, source: error }),
                (receiver, true),
            ))
        }
    };
    Ok(Box::pin(futures::stream::unfold((receiver, false), next)))
}

async fn send(
    mut session: PostgresSession,
    statement: &sql::Sql,
    columns: &[(String, Form)],
    sender: &mpsc::Sender<Result<Option<Hashes>>>,
) -> Result<Option<Hashes>, SinkFault> {
    let mut copy = CopyRows::start(session.get()?, statement).await?;
    let mut part = Hashes::default();
    loop {
        let mut take = |fields: &[Option<&[u8]>]| {
            let cells = columns.iter().zip(&fields[1..]);
            let cells = cells.map(|((name, form), bytes)| (name.as_str(), bytes.map(|bytes| there(form, bytes))));
            part.push(copy::key(fields)?, hash(cells));
            Ok(())
        };
        let more = copy.next(&mut take).await?;
        if (part.len() >= ROWS || !more) && sender.send(Ok(Some(std::mem::take(&mut part)))).await.is_err() {
            return Ok(None);
        }
        if !more {
            drop(copy);
            session.end().await;
            return Ok(None);
        }
    }
}

fn hash<'a>(cells: impl Iterator<Item = (&'a str, Option<Vec<u8>>)>) -> RowHash {
    let cells: Vec<(&str, Value)> =
        cells.map(|(name, bytes)| (name, bytes.map_or(Value::Null, Value::Bytes))).collect();
    RowHash::of(SEED, cells.iter().map(|(name, value)| (*name, value)))
}

/// The columns of a table, each with the form that it is read in.
async fn forms(connection: &mut sqlx::postgres::PgConnection, table: &Name) -> Result<Vec<(String, Form)>, SinkFault> {
    let query = sqlx::query(
        "select a.attname::text, t.typname::text, tn.nspname::text
         from pg_class c join pg_namespace n on n.oid = c.relnamespace
         join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
         join pg_type t on t.oid = a.atttypid join pg_namespace tn on tn.oid = t.typnamespace
         where n.nspname = $1 and c.relname = $2 and c.relkind = 'r'",
    );
    let rows = within(SHORT, query.bind(&table.schema).bind(&table.name).fetch_all(connection)).await?;
    let mut columns = Vec::with_capacity(rows.len());
    for row in &rows {
        let (name, is, schema): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let form = match is.as_str() {
            "bytea" => Form::Bytes,
            "float4" | "float8" => Form::Float,
            "date" => Form::Days,
            "timestamptz" => Form::Micros,
            "jsonb" => Form::Json,
            "halfvec" => Form::HalfVec(schema),
            "_float4" | "_float8" => Form::Floats,
            list if list.starts_with('_') => Form::Texts,
            _ => Form::Text,
        };
        columns.push((name, form));
    }
    Ok(columns)
}

/// The bytes that the server gave for a value, as they are compared.
fn there(form: &Form, bytes: &[u8]) -> Vec<u8> {
    match form {
        Form::Float => float(f64::from_be_bytes(bytes.try_into().unwrap_or_default())),
        Form::Json => document::compared(bytes),
        Form::Floats => list(
            items(bytes).map(|item| item.map(|item| float(f64::from_be_bytes(item.try_into().unwrap_or_default())))),
        ),
        Form::Texts => list(items(bytes).map(|item| item.map(<[u8]>::to_vec))),
        Form::Text | Form::Bytes | Form::Days | Form::Micros | Form::HalfVec(_) => bytes.to_vec(),
    }
}

/// The items of a list of one dimension as `array_send` writes it: dimensions, flags and type, length and lower bound, then each
/// item behind its length, a null as -1.
fn items(bytes: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut left = bytes.get(20..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, rest) = left.split_first_chunk()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            left = rest;
            return Some(None);
        };
        let (item, rest) = rest.split_at_checked(length)?;
        left = rest;
        Some(Some(item))
    })
}

/// What [`read`] says of each of these rows where they lie as they should.
pub(super) fn stored(target: &SyncTarget, rows: &Rows) -> Result<Vec<RowHash>, Cause> {
    let schema = rows.batch.schema();
    let mut order: Vec<usize> = (0..schema.fields().len()).collect();
    order.sort_by_key(|at| schema.field(*at).name().clone());
    let vector = target.vector.as_ref().map(|it| it.column.as_str());
    let (vectors, texts) = (encode::vectors_of(target, rows)?, encode::texts(&target.texts, rows)?);
    let texts = texts.as_string::<i32>();
    let mut hashes = Vec::with_capacity(rows.keys.len());
    for row in 0..rows.keys.len() {
        let mut cells: Vec<(&str, Option<Vec<u8>>)> = Vec::with_capacity(order.len() + 2);
        for at in &order {
            let (field, column) = (schema.field(*at), rows.batch.column(*at));
            let bytes = match &vectors {
                Some(vectors) if vector == Some(field.name()) => {
                    let cells = vectors.as_binary::<i32>();
                    (!arrow::array::Array::is_null(cells, row)).then(|| cells.value(row).to_vec())
                }
                _ => should_be(&Value::of(column.as_ref(), row)?, field.data_type())
                    .map_err(|e| format!("`{}` of `{}`: {e}", field.name(), &rows.keys[row]))?,
            };
            cells.push((field.name(), bytes));
        }
        cells.push((HASH, Some(rows.hashes[row].0.to_vec())));
        if !target.texts.is_empty() {
            cells.push((TEXT, Some(texts.value(row).as_bytes().to_vec())));
        }
        cells.sort_by_key(|(name, _)| *name);
        hashes.push(hash(cells.into_iter()));
    }
    Ok(hashes)
}

/// The bytes that the server should give for a value of a column of this type.
fn should_be(value: &Value, data_type: &DataType) -> Result<Option<Vec<u8>>, Cause> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Float(f) => float(*f),
        Value::Bytes(bytes) => bytes.clone(),
        Value::Date(days) => days.to_string().into_bytes(),
        Value::Time(nanos) => i64::try_from(nanos / 1_000 - TO_2000_MICROS)?.to_be_bytes().to_vec(),
        Value::Vector(_) | Value::List(_) if list_item(data_type).is_none() => {
            document::bytes(&value.to_stored_json()?)
        }
        Value::Vector(numbers) => list(numbers.iter().map(|x| Some(float(f64::from(*x))))),
        Value::List(values) => {
            let items = values.iter().map(|value| match value {
                Value::Float(f) => Some(float(*f)),
                value => printed(value).map(String::into_bytes),
            });
            list(items)
        }
        Value::Struct(_) | Value::Map(_) => document::bytes(&value.to_stored_json()?),
        value => printed(value).unwrap_or_default().into_bytes(),
    }))
}

/// A value as the server prints it, in UTC; `None` for a null.
fn printed(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(n) => Some(n.to_string()),
        Value::Text(t) | Value::Decimal(t) | Value::Other(t) => Some(t.clone()),
        Value::Bytes(bytes) => Some(format!("\\x{}", hex::encode(bytes))),
        Value::Time(nanos) => {
            let time = jiff::Timestamp::from_nanosecond(nanos / 1_000 * 1_000).ok()?;
            Some(time.strftime("%Y-%m-%d %H:%M:%S%.f+00").to_string())
        }
        Value::Date(_) => value.moment(),
        Value::Float(_) | Value::Vector(_) | Value::List(_) | Value::Struct(_) | Value::Map(_) => {
            Some(value.to_json().to_string())
        }
    }
}

fn list(items: impl Iterator<Item = Option<Vec<u8>>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for item in items {
        match item {
            None => bytes.extend_from_slice(&u64::MAX.to_be_bytes()),
            Some(item) => {
                bytes.extend_from_slice(&(item.len() as u64).to_be_bytes());
                bytes.extend_from_slice(&item);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_as_the_server_sends_it() {
        let mut bytes = vec![0; 20];
        for item in [Some("a"), None, Some("")] {
            let length = item.map_or(-1, |item| i32::try_from(item.len()).unwrap());
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(item.unwrap_or_default().as_bytes());
        }
        assert_eq!(items(&bytes).collect::<Vec<_>>(), [Some(&b"a"[..]), None, Some(&b""[..])]);
        assert_eq!(items(&[0; 12]).count(), 0, "an empty list has no dimension");
    }
}
