//! What was fetched and has not landed yet: one object per finished key.
//!
//! Keys land together, but a task takes minutes, and who is killed after nine keys of ten should fetch only the tenth again.
//! So each finished key is put at a path that is made of its day, its name and what it is to land on top of, and only if
//! nothing is there: of two workers that hold the same key after a lost lease, the first one's page counts. Which task the
//! key was in does not matter. A key without any record is staged too, else it would be fetched again and again; what is to
//! be asked for again is not.
//!
//! The object is an Arrow IPC stream in the source's schema; the key's outcome stands in the schema's metadata. What can't be
//! read back, or is in a schema that the source no longer has, is thrown away and fetched again.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use catalog::{Date, Lake, ObjectPath, PutNew, SourceName, path};

use crate::error::Error;
use crate::outcome::KeyOutcome;
use crate::task::{Key, Task};

/// One key's records, and how it ended.
#[derive(Clone, Debug)]
pub struct Staged {
    /// In the source's schema; no row if there is nothing.
    pub batch: RecordBatch,
    /// What is to stand in the lake with them.
    pub outcome: KeyOutcome,
    /// Items that came again within the key and were merged.
    pub duplicates: u64,
}

impl Staged {
    /// A key that has no rows.
    pub(crate) fn without_rows(schema: &SchemaRef, outcome: KeyOutcome) -> Self {
        Self { batch: RecordBatch::new_empty(Arc::clone(schema)), outcome, duplicates: 0 }
    }
}

const OUTCOME: &str = "onggi.outcome";
const DUPLICATES: &str = "onggi.duplicates";

/// Where a key of a day is staged.
pub fn place(source: &SourceName, dt: Date, key: &Key) -> ObjectPath {
    let over = key.over.map_or_else(|| "first".to_owned(), |over| format!("over-{over}"));
    path::staged(source, dt, &over, &key.file_id())
}

/// Puts a finished key, unless it is there. What it returns is what is there.
pub async fn write(lake: &Lake, task: &Task, key: &Key, staged: Staged) -> Result<Staged, Error> {
    let at = place(&task.source, task.dt, key);
    let body = encode(&staged).map_err(|source| Error::Stage { name: task.source.clone(), source })?;
    for _ in 0..3 {
        match lake.objects().put_new(&at, body.clone()).await? {
            PutNew::Created => return Ok(staged),
            PutNew::Existed => {
                if let Some(theirs) = read(lake, task, key, &staged.batch.schema(), &staged.outcome.definition).await? {
                    return Ok(theirs);
                }
            }
        }
    }
    // It comes and goes: somebody lands the key at this moment. Ours is as good, and only one of us commits.
    Ok(staged)
}

/// Reads a staged key back, if it is there and fits the source as it is defined now.
pub async fn read(
    lake: &Lake,
    task: &Task,
    key: &Key,
    schema: &SchemaRef,
    definition: &str,
) -> Result<Option<Staged>, Error> {
    let at = place(&task.source, task.dt, key);
    let Some(body) = lake.objects().get(&at).await? else {
        return Ok(None);
    };
    let fits = |staged: Staged| {
        if staged.outcome.definition == definition {
            Ok(staged)
        } else {
            Err(ArrowError::SchemaError("it was fetched by another definition of the source".to_owned()))
        }
    };
    match decode(body, schema).and_then(fits) {
        Ok(staged) => Ok(Some(staged)),
        Err(error) => {
            tracing::warn!(object = %at, %error, "a staged key can't be used: it is fetched again");
            lake.objects().delete(&at).await?;
            Ok(None)
        }
    }
}

/// Removes staged keys, which have landed.
pub async fn clear(lake: &Lake, source: &SourceName, dt: Date, keys: &[Key]) -> Result<(), Error> {
    for key in keys {
        lake.objects().delete(&place(source, dt, key)).await?;
    }
    Ok(())
}

fn encode(staged: &Staged) -> Result<Bytes, ArrowError> {
    let outcome = serde_json::to_string(&staged.outcome).map_err(|error| ArrowError::ExternalError(error.into()))?;
    let metadata =
        HashMap::from([(OUTCOME.to_owned(), outcome), (DUPLICATES.to_owned(), staged.duplicates.to_string())]);
    let schema = Schema::new_with_metadata(staged.batch.schema().fields().clone(), metadata);
    let batch = RecordBatch::try_new(Arc::new(schema), staged.batch.columns().to_vec())?;
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(&batch)?;
    Ok(Bytes::from(writer.into_inner()?))
}

fn decode(body: Bytes, schema: &SchemaRef) -> Result<Staged, ArrowError> {
    let reader = StreamReader::try_new(Cursor::new(body), None)?;
    let stored = reader.schema();
    if stored.fields() != schema.fields() {
        return Err(ArrowError::SchemaError("expected the schema of the source, found another one".to_owned()));
    }
    let word = |name: &str| stored.metadata().get(name).map(String::as_str).unwrap_or_default();
    let expected = |name: &str| ArrowError::SchemaError(format!("expected `{name}`, found `{}`", word(name)));
    let outcome = serde_json::from_str(word(OUTCOME)).map_err(|_| expected(OUTCOME))?;
    let duplicates = word(DUPLICATES).parse().map_err(|_| expected(DUPLICATES))?;
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        // A stream that was cut off ends without any batch; one is always written, be it empty.
        return Err(ArrowError::IpcError("expected one batch, found none".to_owned()));
    }
    let batches = concat_batches(&stored, &batches)?;
    let batch = RecordBatch::try_new(Arc::clone(schema), batches.columns().to_vec())?;
    Ok(Staged { batch, outcome, duplicates })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, StringArray, new_null_array};
    use arrow::datatypes::{DataType, Field, Int32Type, TimeUnit};

    use super::*;
    use crate::outcome::Outcome;
    use crate::outcome::tests::outcome;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("review_id", DataType::Utf8, true),
            Field::new("keywords", DataType::new_list(DataType::Int32, true), true),
            Field::new("_key", DataType::Utf8, true),
            Field::new("_payload", DataType::Utf8, true),
            Field::new("_error", DataType::Utf8, true),
            Field::new("_task", DataType::Utf8, true),
            Field::new("_url", DataType::Utf8, true),
            Field::new("_fetched_at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("dt", DataType::Date32, true),
        ]))
    }

    fn task() -> Task {
        Task::new(
            &"naver_reviews".parse().unwrap(),
            "2026-10-01".parse().unwrap(),
            vec![Key::new("망원동/국밥"), Key::new("b")],
        )
    }

    fn staged(ids: &[&str]) -> Staged {
        let rows = ids.len();
        let schema = schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match field.name().as_str() {
                "review_id" => Arc::new(StringArray::from(ids.to_vec())),
                "keywords" => Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(
                    ids.iter().map(|_| Some(vec![Some(1), None])),
                )),
                _ => new_null_array(field.data_type(), rows),
            }
        });
        let columns = columns.collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let outcome =
            KeyOutcome { rows: rows as u64, set_aside: 1, missing: 3, ..outcome("k", "2026-10-01", Outcome::Landed) };
        Staged { batch, outcome, duplicates: 2 }
    }

    async fn lake(name: &str) -> Lake {
        Lake::open(&format!("memory://stage-{name}"), "test").await.unwrap()
    }

    #[tokio::test]
    async fn a_staged_key_comes_back_as_it_was() {
        let lake = lake("back").await;
        let task = task();
        assert!(read(&lake, &task, &task.keys[0], &schema(), "d").await.unwrap().is_none());
        write(&lake, &task, &task.keys[0], staged(&["1", "2"])).await.unwrap();
        let back = read(&lake, &task, &task.keys[0], &schema(), "d").await.unwrap().unwrap();
        let was = staged(&["1", "2"]);
        assert_eq!((back.batch, back.outcome, back.duplicates), (was.batch, was.outcome, 2));
        assert!(read(&lake, &task, &task.keys[1], &schema(), "d").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_key_without_records_is_staged_too() {
        let lake = lake("empty").await;
        let task = task();
        write(&lake, &task, &task.keys[0], staged(&[])).await.unwrap();
        assert_eq!(read(&lake, &task, &task.keys[0], &schema(), "d").await.unwrap().unwrap().batch.num_rows(), 0);
    }

    #[tokio::test]
    async fn of_two_that_stage_the_same_key_the_first_counts() {
        let lake = lake("first").await;
        let task = task();
        write(&lake, &task, &task.keys[0], staged(&["1"])).await.unwrap();
        let kept = write(&lake, &task, &task.keys[0], staged(&["1", "2"])).await.unwrap();
        assert_eq!(kept.batch, staged(&["1"]).batch);
    }

    #[tokio::test]
    async fn what_can_not_be_used_is_thrown_away_and_made_again() {
        let lake = lake("damage").await;
        let task = task();
        let at = place(&task.source, task.dt, &task.keys[0]);
        let whole = encode(&staged(&["1", "2"])).unwrap();
        for cut in [0, 1, 7, 100, whole.len() / 2, whole.len() - 30] {
            lake.objects().put(&at, whole.slice(..cut)).await.unwrap();
            assert!(read(&lake, &task, &task.keys[0], &schema(), "d").await.unwrap().is_none(), "cut at {cut}");
            assert!(lake.objects().get(&at).await.unwrap().is_none(), "cut at {cut}");
        }
        lake.objects().put(&at, whole).await.unwrap();
        let wider = Arc::new(Schema::new(vec![
            Field::new("review_id", DataType::Utf8, true),
            Field::new("new", DataType::Utf8, true),
        ]));
        let wider = read(&lake, &task, &task.keys[0], &wider, "d").await.unwrap();
        assert!(wider.is_none(), "of a schema that the source had before");
        lake.objects().put(&at, encode(&staged(&["1"])).unwrap()).await.unwrap();
        let mended = read(&lake, &task, &task.keys[0], &schema(), "mended").await.unwrap();
        assert!(mended.is_none(), "of a definition that the source had before");
        lake.objects().put(&at, Bytes::from_static(b"garbage")).await.unwrap();
        let kept = write(&lake, &task, &task.keys[0], staged(&["9"])).await.unwrap();
        assert_eq!(kept.batch, staged(&["9"]).batch);
        assert!(read(&lake, &task, &task.keys[0], &schema(), "d").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn clearing_keys_leaves_others_alone() {
        let lake = lake("clear").await;
        let (one, other) =
            (task(), Task::new(&"naver_reviews".parse().unwrap(), "2026-10-01".parse().unwrap(), vec![Key::new("z")]));
        write(&lake, &one, &one.keys[0], staged(&["1"])).await.unwrap();
        write(&lake, &one, &one.keys[1], staged(&["1"])).await.unwrap();
        write(&lake, &other, &other.keys[0], staged(&["1"])).await.unwrap();
        clear(&lake, &one.source, one.dt, &one.keys).await.unwrap();
        assert_eq!(
            lake.objects().list(&path::staged_all()).await.unwrap(),
            [place(&other.source, other.dt, &other.keys[0])]
        );
    }
}
