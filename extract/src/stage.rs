//! What was fetched and has not landed yet: one object per finished key.
//!
//! A task's output is one commit, but a task takes minutes, and who is killed after nine keys of ten should fetch only the
//! tenth again. So each finished key is put at a path that is made of its task and its name, and only if nothing is there:
//! of two workers that hold the same task after a lost lease, the first one's page counts. A key without any record is
//! staged too, else it would be fetched again and again.
//!
//! The object is an Arrow IPC stream in the raw table's schema; its counts stand in the schema's metadata. What can't be
//! read back, or is in a schema the table no longer has, is thrown away and fetched again.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use catalog::{Lake, ObjectPath, PutNew, Timestamp, path};

use crate::error::Error;
use crate::harvest::Harvest;
use crate::task::{Key, Task};

/// One key's records, as they are staged.
#[derive(Clone, Debug)]
pub struct Staged {
    /// In the raw table's schema.
    pub batch: RecordBatch,
    /// Rows of `batch` that carry an `_error`.
    pub set_aside: u64,
    /// Items that came again within the key and were merged.
    pub duplicates: u64,
    /// Items that the site counts and did not show.
    pub short: u64,
}

impl Staged {
    /// All rows.
    pub fn rows(&self) -> u64 {
        self.batch.num_rows() as u64
    }
}

impl From<Harvest> for Staged {
    fn from(harvest: Harvest) -> Self {
        let Harvest { batch, set_aside, duplicates, short, .. } = harvest;
        Self { batch, set_aside, duplicates, short }
    }
}

const SET_ASIDE: &str = "onggi.set_aside";
const DUPLICATES: &str = "onggi.duplicates";
const SHORT: &str = "onggi.short";

/// Where a task's key is staged.
pub fn place(task: &Task, key: &Key) -> ObjectPath {
    path::staged(&task.source, task.dt, task.id.as_str(), &key.file_id())
}

/// Puts a finished key, unless it is there. What it returns is what is there.
pub async fn write(lake: &Lake, task: &Task, key: &Key, staged: Staged) -> Result<Staged, Error> {
    let at = place(task, key);
    let body = encode(&staged).map_err(|source| Error::Stage { name: task.source.clone(), source })?;
    for _ in 0..3 {
        match lake.objects().put_new(&at, body.clone()).await? {
            PutNew::Created => return Ok(staged),
            PutNew::Existed => {
                if let Some(theirs) = read(lake, task, key, &staged.batch.schema()).await? {
                    return Ok(theirs);
                }
            }
        }
    }
    // It comes and goes: somebody lands the task at this moment. Ours is as good, and only one of us commits.
    Ok(staged)
}

/// Reads a staged key back, if it is there and fits the table.
pub async fn read(lake: &Lake, task: &Task, key: &Key, schema: &SchemaRef) -> Result<Option<Staged>, Error> {
    let at = place(task, key);
    let Some(body) = lake.objects().get(&at).await? else {
        return Ok(None);
    };
    match decode(body, schema) {
        Ok(staged) => Ok(Some(staged)),
        Err(error) => {
            tracing::warn!(object = %at, %error, "a staged key can't be used: it is fetched again");
            lake.objects().delete(&at).await?;
            Ok(None)
        }
    }
}

/// Removes what a task staged.
pub async fn clear(lake: &Lake, task: &Task) -> Result<(), Error> {
    lake.objects().delete_prefix(&path::staged_task(&task.source, task.dt, task.id.as_str())).await?;
    Ok(())
}

/// A key that has no data and says why: one row with nothing but its envelope.
pub fn refusal(schema: &SchemaRef, task: &Task, key: &Key, reason: &str, now: Timestamp) -> Result<Staged, Error> {
    let columns: Vec<ArrayRef> =
        schema.fields().iter().map(|field| refusal_column(field, task, key, reason, now)).collect();
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)
        .map_err(|source| Error::Stage { name: task.source.clone(), source })?;
    Ok(Staged { batch, set_aside: 1, duplicates: 0, short: 0 })
}

fn refusal_column(field: &Field, task: &Task, key: &Key, reason: &str, now: Timestamp) -> ArrayRef {
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
    match (field.name().as_str(), field.data_type()) {
        ("_key", DataType::Utf8) => text(&key.value),
        ("_error", DataType::Utf8) => text(reason),
        ("_task", DataType::Utf8) => text(task.id.as_str()),
        ("_fetched_at", DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Arc::new(TimestampMicrosecondArray::from(vec![now.as_microsecond()]).with_timezone_opt(zone.clone()))
        }
        ("dt", DataType::Date32) => Arc::new(Date32Array::from(vec![catalog::days_since_epoch(task.dt)])),
        (_, DataType::Utf8) if !field.is_nullable() => text(""),
        (_, other) => new_null_array(other, 1),
    }
}

fn encode(staged: &Staged) -> Result<Bytes, ArrowError> {
    let mut metadata: HashMap<String, String> = HashMap::new();
    metadata.insert(SET_ASIDE.to_owned(), staged.set_aside.to_string());
    metadata.insert(DUPLICATES.to_owned(), staged.duplicates.to_string());
    metadata.insert(SHORT.to_owned(), staged.short.to_string());
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
        return Err(ArrowError::SchemaError("expected the schema of the raw table, found another one".to_owned()));
    }
    let count = |name: &str| {
        let text = stored.metadata().get(name).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| ArrowError::SchemaError(format!("expected `{name}` to be a count, found `{text}`")))
    };
    let (set_aside, duplicates) = (count(SET_ASIDE)?, count(DUPLICATES)?);
    // Who staged before this was counted has counted nothing.
    let short = if stored.metadata().contains_key(SHORT) { count(SHORT)? } else { 0 };
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    if batches.is_empty() {
        // A stream that was cut off ends without any batch; one is always written, be it empty.
        return Err(ArrowError::IpcError("expected one batch, found none".to_owned()));
    }
    let batches = concat_batches(&stored, &batches)?;
    let batch = RecordBatch::try_new(Arc::clone(schema), batches.columns().to_vec())?;
    Ok(Staged { batch, set_aside, duplicates, short })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

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

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
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
        Staged { batch, set_aside: 1, duplicates: 2, short: 3 }
    }

    async fn lake(name: &str) -> Lake {
        Lake::open(&format!("memory://stage-{name}"), "test").await.unwrap()
    }

    #[tokio::test]
    async fn a_staged_key_comes_back_as_it_was() {
        let lake = lake("back").await;
        let task = task();
        assert!(read(&lake, &task, &task.keys[0], &schema()).await.unwrap().is_none());
        write(&lake, &task, &task.keys[0], staged(&["1", "2"])).await.unwrap();
        let back = read(&lake, &task, &task.keys[0], &schema()).await.unwrap().unwrap();
        assert_eq!((back.batch, back.set_aside, back.duplicates, back.short), (staged(&["1", "2"]).batch, 1, 2, 3));
        assert!(read(&lake, &task, &task.keys[1], &schema()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_was_staged_before_all_of_this_was_counted_is_used() {
        let lake = lake("older").await;
        let task = task();
        let batch = staged(&["1", "2"]).batch;
        let counts = [(SET_ASIDE, "1"), (DUPLICATES, "2")].map(|(name, count)| (name.to_owned(), count.to_owned()));
        let schema = Schema::new_with_metadata(batch.schema().fields().clone(), counts.into());
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()).unwrap();
        let older = writer.into_inner().unwrap();
        lake.objects().put(&place(&task, &task.keys[0]), older.into()).await.unwrap();
        let back = read(&lake, &task, &task.keys[0], &batch.schema()).await.unwrap().unwrap();
        assert_eq!((back.batch, back.set_aside, back.duplicates, back.short), (batch, 1, 2, 0));
    }

    #[tokio::test]
    async fn a_key_without_records_is_staged_too() {
        let lake = lake("empty").await;
        let task = task();
        write(&lake, &task, &task.keys[0], staged(&[])).await.unwrap();
        assert_eq!(read(&lake, &task, &task.keys[0], &schema()).await.unwrap().unwrap().rows(), 0);
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
        let at = place(&task, &task.keys[0]);
        let whole = encode(&staged(&["1", "2"])).unwrap();
        for cut in [0, 1, 7, 100, whole.len() / 2, whole.len() - 30] {
            lake.objects().put(&at, whole.slice(..cut)).await.unwrap();
            assert!(read(&lake, &task, &task.keys[0], &schema()).await.unwrap().is_none(), "cut at {cut}");
            assert!(lake.objects().get(&at).await.unwrap().is_none(), "cut at {cut}");
        }
        lake.objects().put(&at, whole).await.unwrap();
        let wider = Arc::new(Schema::new(vec![
            Field::new("review_id", DataType::Utf8, true),
            Field::new("new", DataType::Utf8, true),
        ]));
        assert!(
            read(&lake, &task, &task.keys[0], &wider).await.unwrap().is_none(),
            "of a schema that the source had before"
        );
        lake.objects().put(&at, Bytes::from_static(b"garbage")).await.unwrap();
        let kept = write(&lake, &task, &task.keys[0], staged(&["9"])).await.unwrap();
        assert_eq!(kept.batch, staged(&["9"]).batch);
        assert!(read(&lake, &task, &task.keys[0], &schema()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn clearing_a_task_leaves_others_alone() {
        let lake = lake("clear").await;
        let (one, other) =
            (task(), Task::new(&"naver_reviews".parse().unwrap(), "2026-10-01".parse().unwrap(), vec![Key::new("z")]));
        write(&lake, &one, &one.keys[0], staged(&["1"])).await.unwrap();
        write(&lake, &one, &one.keys[1], staged(&["1"])).await.unwrap();
        write(&lake, &other, &other.keys[0], staged(&["1"])).await.unwrap();
        clear(&lake, &one).await.unwrap();
        assert_eq!(lake.objects().list(&path::staged_all()).await.unwrap(), [place(&other, &other.keys[0])]);
    }

    #[test]
    fn a_refusal_is_one_row_that_says_why() {
        let task = task();
        let refusal = refusal(&schema(), &task, &task.keys[0], "robots.txt denies it", now()).unwrap();
        let text = |name: &str| refusal.batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!((refusal.rows(), refusal.set_aside), (1, 1));
        assert_eq!(text("_key").value(0), task.keys[0].value);
        assert_eq!(text("_error").value(0), "robots.txt denies it");
        assert_eq!(text("_task").value(0), task.id.as_str());
        assert!(text("_payload").is_null(0) && text("review_id").is_null(0));
        assert!(
            refusal.batch.column_by_name("dt").unwrap().is_valid(0)
                && refusal.batch.column_by_name("_fetched_at").unwrap().is_valid(0)
        );
    }
}
