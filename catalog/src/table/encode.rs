//! Rows to Parquet files, several encoders at once.
//!
//! The Delta library's own write sends one day's rows through one encoder. Here every input stream
//! is drained by a task of its own into one short queue, and encoders take batches from it as they
//! are free. Until a certain amount has come in nothing is encoded: an input that ends before that
//! goes through one encoder, so that small inputs make one file. What has come in is never more than
//! that amount and a few batches, so memory stays bounded however large the input is.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, RecordBatch};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::Add;
use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use deltalake::table::config::TablePropertiesExt as _;
use futures::StreamExt;
use jiff::civil::Date;
use object_store::ObjectStore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::{Access, Error, Result};
use crate::lake::Lake;
use crate::name::TableName;
use crate::schema::{Align, DT};

use super::head::{Head, day_of, files_id};
use super::spec::WriteOptions;

/// An input of at least this many bytes in memory is worth several encoders.
const PARALLEL_FROM: usize = 16 * 1024 * 1024;

/// Rows handed to the Parquet writer at a time.
const WRITE_BATCH: usize = 8 * 1024;

/// Files that no commit names yet.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) adds: Vec<Add>,
    pub(crate) rows: u64,
}

impl Files {
    /// One id of them, or of those that hold a day's rows.
    pub(super) fn id(&self, day: Option<Date>) -> String {
        let of_day = self.adds.iter().filter(|add| day.is_none() || day_of(&add.partition_values) == day);
        files_id(of_day.map(|add| add.path.as_str()))
    }
}

/// Writes all rows of `input` to files of the table of `base`, with the columns of `shape`.
pub(crate) async fn encode(
    lake: &Lake,
    (base, shape): (&Head, &Head),
    input: Vec<SendableRecordBatchStream>,
    options: &WriteOptions,
) -> Result<Files> {
    encode_into(lake, base.object_store(), shape, input, options).await
}

/// Writes all rows of `input` to files in the folder of a table, `store`, with the columns of `shape`.
pub(crate) async fn encode_into(
    lake: &Lake,
    store: Arc<dyn ObjectStore>,
    shape: &Head,
    input: Vec<SendableRecordBatchStream>,
    options: &WriteOptions,
) -> Result<Files> {
    let name = shape.table();
    let config = config(shape, options);
    let align = Align::new(name.clone(), shape.stored_schema(), shape.is_partitioned());
    let encoders = options.encoders.max(1);
    let (to_encoders, batches) = mpsc::channel(encoders * 2);
    let work = Arc::new(EncodeWork {
        held: Mutex::default(),
        batches: tokio::sync::Mutex::new(batches),
        failed: AtomicBool::new(false),
        rows: AtomicU64::new(0),
    });

    let mut readers = JoinSet::new();
    for stream in input {
        readers.spawn(read(stream, align.clone(), to_encoders.clone(), Arc::clone(&work)));
    }
    drop(to_encoders);

    let encoders = if work.hold(PARALLEL_FROM).await { encoders } else { 1 };
    let mut writers = JoinSet::new();
    for _ in 0..encoders {
        let writer = DeltaWriter::new(Arc::clone(&store), config.clone());
        writers.spawn(write(writer, Arc::clone(&work)));
    }

    let mut adds = Vec::new();
    let mut first_error = None;
    let mut note = |error: Error| {
        if first_error.is_none() {
            first_error = Some(error);
        }
    };
    while let Some(written) = writers.join_next().await {
        match written {
            Ok(Ok(files)) => adds.extend(files),
            Ok(Err(error)) => note(Error::delta(lake.uri().as_str(), Access::Write, name, error)),
            Err(panic) => note(panicked(name, panic)),
        }
        // A writer ends early only when something failed: nobody takes batches any more.
        if work.has_failed() {
            work.batches.lock().await.close();
        }
    }
    while let Some(read) = readers.join_next().await {
        match read {
            Ok(Ok(())) => {}
            // The cause comes before what it caused.
            Ok(Err(error)) => first_error = Some(error),
            Err(panic) => first_error = Some(panicked(name, panic)),
        }
    }
    adds.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let files = Files { adds, rows: work.rows.load(Ordering::Relaxed) };
    match first_error {
        None => Ok(files),
        Some(error) => {
            remove_from(lake, name, &store, &files).await;
            Err(error)
        }
    }
}

/// Removes files that no commit names. What can't be removed is left to a vacuum.
pub(crate) async fn remove(lake: &Lake, base: &Head, files: &Files) {
    remove_from(lake, base.table(), &base.object_store(), files).await;
}

/// [`remove`] in the folder of a table, `store`.
pub(crate) async fn remove_from(lake: &Lake, name: &TableName, store: &Arc<dyn ObjectStore>, files: &Files) {
    let paths: Vec<_> = files.adds.iter().map(|add| Ok(object_store::path::Path::from(add.path.as_str()))).collect();
    let mut removed = store.delete_stream(futures::stream::iter(paths).boxed());
    while let Some(result) = removed.next().await {
        if let Err(error) = result {
            tracing::debug!(table = %name, lake = %lake.uri(), %error, "left to a vacuum");
        }
    }
}

fn config(shape: &Head, options: &WriteOptions) -> WriterConfig {
    let properties = shape.properties();
    let stats: Option<Vec<String>> = properties
        .data_skipping_stats_columns
        .as_ref()
        .map(|columns| columns.iter().map(ToString::to_string).collect());
    let schema = shape.stored_schema();
    let mut parquet = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_created_by("onggi".into())
        .set_statistics_enabled(EnabledStatistics::None);
    for column in stats.iter().flatten() {
        parquet = parquet.set_column_statistics_enabled(ColumnPath::new(vec![column.clone()]), EnabledStatistics::Page);
    }
    let partition = if shape.is_partitioned() { vec![DT.to_owned()] } else { Vec::new() };
    WriterConfig::new(
        schema,
        partition,
        Some(parquet.build()),
        NonZeroU64::new(options.target_file_bytes),
        Some(WRITE_BATCH),
        properties.num_indexed_cols(),
        stats,
    )
}

/// What readers and writers share.
struct EncodeWork {
    /// What came in before it was known how many encoders are worth it.
    held: Mutex<VecDeque<RecordBatch>>,
    batches: tokio::sync::Mutex<mpsc::Receiver<RecordBatch>>,
    failed: AtomicBool,
    rows: AtomicU64,
}

impl EncodeWork {
    /// Takes in up to `limit` bytes; says whether there may be more.
    async fn hold(&self, limit: usize) -> bool {
        let mut batches = self.batches.lock().await;
        let mut bytes = 0;
        while bytes < limit {
            let Some(batch) = batches.recv().await else { return false };
            bytes += size_of(&batch);
            self.held.lock().unwrap_or_else(PoisonError::into_inner).push_back(batch);
        }
        true
    }

    async fn next(&self) -> Option<RecordBatch> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match held {
            Some(batch) => Some(batch),
            None => self.batches.lock().await.recv().await,
        }
    }

    fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// Drains one stream into the queue.
async fn read(
    mut stream: SendableRecordBatchStream,
    align: Align,
    queue: mpsc::Sender<RecordBatch>,
    work: Arc<EncodeWork>,
) -> Result<()> {
    let table = align.table().clone();
    while let Some(batch) = stream.next().await {
        let pieces = match batch {
            Ok(batch) => align.apply(&batch),
            Err(source) => Err(Error::Input { table: table.clone(), source }),
        };
        let pieces = pieces.inspect_err(|_| work.fail())?;
        for piece in pieces {
            // No one takes it: an encoder failed and says why.
            if queue.send(piece).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Encodes what it can get until there is no more. After a failure anywhere it gives up its files.
async fn write(mut writer: DeltaWriter, work: Arc<EncodeWork>) -> Result<Vec<Add>, deltalake::DeltaTableError> {
    while let Some(batch) = work.next().await {
        if work.has_failed() {
            break;
        }
        if let Err(error) = writer.write(&batch).await {
            work.fail();
            // The first error counts; an upload that can't be aborted is the store's to expire.
            let _ = writer.abort().await;
            return Err(error);
        }
        work.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        // Encoding waits for nothing: without this one encoder would take all that is held.
        tokio::task::yield_now().await;
    }
    if work.has_failed() {
        let _ = writer.abort().await;
        return Ok(Vec::new());
    }
    writer.close().await.inspect_err(|_| work.fail())
}

/// What a batch's rows take, not what the buffers they are cut from take.
fn size_of(batch: &RecordBatch) -> usize {
    let sizes = batch.columns().iter().map(|column| {
        let data = column.to_data();
        data.get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    });
    sizes.sum()
}

fn panicked(table: &TableName, panic: tokio::task::JoinError) -> Error {
    Error::Input { table: table.clone(), source: DataFusionError::External(panic.into()) }
}
