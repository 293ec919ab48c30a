//! Rows on their way out: to a terminal as a table, to standard output or a file as CSV, JSON or Parquet.
//!
//! Rows are written as they come, so memory holds one batch however many there are; only a table, whose columns are as wide
//! as their widest cell, holds its first thousand. A file appears under its name when it is complete, never before; a device, a
//! pipe, or what a link leads to is written into and stays what it is.
//!
//! CSV is written as RFC 4180 says: what needs quotes is quoted, and nothing is altered. A value that begins with `=` or `@`
//! stays what it is, since these files are read by programs, too, and a lake must give back what it was given; who opens one
//! in a spreadsheet imports such columns as text. Lists and structs become JSON text, null an empty field and the empty text a quoted
//! one, `""`. JSON has no word for a number that is none or has no end: `"NaN"`, `"Infinity"` and `"-Infinity"` are texts in it, as in
//! PostgreSQL's. What would steer a terminal is shown as what it is, in a table always, in CSV where a terminal is behind it; JSON has its own escapes for it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::Context;
use arrow::array::{Array, ArrayRef, Float32Array, Float64Array, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::writer::{Encoder, EncoderFactory, EncoderOptions, NullableEncoder, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use arrow::util::pretty::pretty_format_batches_with_schema;
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::exit::Failure;
use crate::out;

/// Rows that are printed as a table; more of them are better read in another format.
pub(crate) const TABLE_ROWS: usize = 1_000;

/// Encoded rows that the Parquet writer holds before it closes a row group.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lined up for a person; the first thousand
    Table,
    /// One line a row, with a line of names
    Csv,
    /// One object a line
    Json,
    /// Typed columns, for programs; needs --output
    Parquet,
}

impl Format {
    /// The format that is meant: the one asked for, else JSON for `--json`, else what the file's ending says, else a table.
    ///
    /// # Errors
    /// A [`Failure`] if the options contradict each other.
    pub(crate) fn choose(asked: Option<Self>, json: bool, output: Option<&Path>) -> anyhow::Result<Self> {
        if json && asked.is_some_and(|asked| asked != Self::Json) {
            return Err(Failure::usage(
                "`--json` and another `--format` contradict each other",
                "leave out one of them",
            )
            .into());
        }
        let ending = output.and_then(Path::extension).and_then(|it| it.to_str()).map(str::to_lowercase);
        let by_ending = match ending.as_deref() {
            Some("csv") => Some(Self::Csv),
            Some("json" | "jsonl" | "ndjson") => Some(Self::Json),
            Some("parquet") => Some(Self::Parquet),
            _ => None,
        };
        let format = asked.or(json.then_some(Self::Json)).or(by_ending).unwrap_or(Self::Table);
        if format == Self::Parquet && output.is_none() {
            return Err(
                Failure::usage("Parquet is written to a file", "say which one with `--output rows.parquet`").into()
            );
        }
        Ok(format)
    }
}

/// Rows and their columns.
pub(crate) struct Rows {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows, as they come.
    pub batches: BoxStream<'static, anyhow::Result<RecordBatch>>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// How many rows.
    pub rows: usize,
    /// Whether a table left out the rest.
    pub cut: bool,
}

/// Writes all rows to `output`, or to standard output. A reader that closes the pipe has read enough: that is no error.
///
/// # Errors
/// If the rows or the file fail; a file that is not complete is removed.
pub(crate) async fn write(rows: Rows, format: Format, output: Option<&Path>) -> anyhow::Result<Written> {
    if matches!(format, Format::Json | Format::Parquet) {
        one_of_each_name(&rows.schema)?;
    }
    let mut target = Target::open(output)?;
    let written = match format {
        Format::Table => table(rows, &mut target).await,
        Format::Csv => {
            let steers = !target.is_terminal();
            stream(rows, Csv { out: &mut target, steers, names: true }).await
        }
        Format::Json => stream(rows, Json(&mut target)).await,
        Format::Parquet => {
            let properties =
                WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
            let writer = ArrowWriter::try_new(&mut target, Arc::clone(&rows.schema), Some(properties))?;
            stream(rows, Parquet(writer)).await
        }
    };
    match written.and_then(|written| target.finish().map(|()| written)) {
        Err(error) if is_closed_pipe(&error) => Ok(Written { rows: 0, cut: false }),
        other => other,
    }
}

/// Refuses columns of one name, where who reads the rows knows columns by their names alone.
fn one_of_each_name(schema: &SchemaRef) -> anyhow::Result<()> {
    let mut names = HashSet::new();
    match schema.fields().iter().find(|field| !names.insert(field.name())) {
        None => Ok(()),
        Some(twice) => Err(Failure::usage(
            format!("two columns are named `{}`, and who reads this format would see one", twice.name()),
            "give each a name of its own, as in `select a.id as a_id, b.id as b_id`",
        )
        .into()),
    }
}

/// A format that takes a batch at a time.
trait Writer {
    fn batch(&mut self, batch: &RecordBatch) -> anyhow::Result<()>;
    fn finish(self) -> anyhow::Result<()>;
}

async fn stream(mut rows: Rows, mut writer: impl Writer) -> anyhow::Result<Written> {
    // Names are written though there be no rows.
    writer.batch(&RecordBatch::new_empty(Arc::clone(&rows.schema)))?;
    let mut written = 0;
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        writer.batch(&batch)?;
        written += batch.num_rows();
    }
    writer.finish()?;
    Ok(Written { rows: written, cut: false })
}

async fn table(mut rows: Rows, target: &mut Target) -> anyhow::Result<Written> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut seen = 0;
    while let Some(batch) = rows.batches.next().await {
        let batch = batch?;
        seen += batch.num_rows();
        batches.push(batch);
        if seen > TABLE_ROWS {
            break;
        }
    }
    let cut = seen.saturating_sub(TABLE_ROWS);
    if cut > 0
        && let Some(last) = batches.pop()
    {
        batches.push(last.slice(0, last.num_rows() - cut));
    }
    let text = pretty_format_batches_with_schema(rows.schema, &batches)?.to_string();
    writeln!(target, "{}", out::shown(&text))?;
    Ok(Written { rows: seen - cut, cut: cut > 0 })
}

struct Json<W: Write>(W);

impl<W: Write> Writer for Json<W> {
    fn batch(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
        let builder = builder.with_encoder_factory(Arc::new(EveryNumber));
        let mut text = Vec::new();
        let mut writer: arrow::json::LineDelimitedWriter<_> = builder.build(&mut text);
        writer.write(batch)?;
        writer.finish()?;
        Ok(self.0.write_all(out::json(&String::from_utf8(text)?).as_bytes())?)
    }

    fn finish(self) -> anyhow::Result<()> {
        Ok(())
    }
}

struct Csv<W: Write> {
    out: W,
    /// Whether what would steer a terminal may stand in it.
    steers: bool,
    /// Whether the line of names is still to come.
    names: bool,
}

impl<W: Write> Writer for Csv<W> {
    fn batch(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let names = std::mem::replace(&mut self.names, false);
        let mut text = Vec::new();
        csv(&flat(batch)?, names, &mut text)?;
        if self.steers {
            return Ok(self.out.write_all(&text)?);
        }
        Ok(self.out.write_all(out::shown(&String::from_utf8(text)?).as_bytes())?)
    }

    fn finish(self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Rows as RFC 4180 says. The empty text is quoted, so that it is not NULL; so is NULL where it would be an empty line.
fn csv(batch: &RecordBatch, names: bool, text: &mut Vec<u8>) -> anyhow::Result<()> {
    let field = |value: &str, is_null: bool, text: &mut Vec<u8>| {
        let quoted = value.contains([',', '"', '\n', '\r']);
        if quoted || (value.is_empty() && (!is_null || batch.num_columns() == 1)) {
            text.push(b'"');
            text.extend(value.replace('"', "\"\"").bytes());
            text.push(b'"');
        } else {
            text.extend(value.bytes());
        }
    };
    let schema = batch.schema();
    if names {
        for (place, column) in schema.fields().iter().enumerate() {
            if place > 0 {
                text.push(b',');
            }
            field(column.name(), false, text);
        }
        text.push(b'\n');
    }
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut value = String::new();
    for row in 0..batch.num_rows() {
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                text.push(b',');
            }
            value.clear();
            column.value(row).write(&mut value)?;
            field(&value, batch.column(place).is_null(row), text);
        }
        text.push(b'\n');
    }
    Ok(())
}

/// Encodes numbers as JSON, those too that JSON has no word for.
#[derive(Debug)]
struct EveryNumber;

impl EncoderFactory for EveryNumber {
    fn make_default_encoder<'a>(
        &self,
        field: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let doubles = array.as_any().downcast_ref::<Float64Array>();
        let floats = array.as_any().downcast_ref::<Float32Array>();
        let odd: Vec<f64> = match (doubles, floats) {
            (Some(doubles), _) => doubles.values().iter().copied().collect(),
            (_, Some(floats)) => floats.values().iter().copied().map(f64::from).collect(),
            _ => return Ok(None),
        };
        if odd.iter().all(|value| value.is_finite()) {
            return Ok(None);
        }
        let plain = make_encoder(field, array, &PLAIN)?;
        Ok(Some(NullableEncoder::new(Box::new(OddNumbers { values: odd, plain }), array.nulls().cloned())))
    }
}

static PLAIN: LazyLock<EncoderOptions> = LazyLock::new(EncoderOptions::default);

struct OddNumbers<'a> {
    values: Vec<f64>,
    plain: NullableEncoder<'a>,
}

impl Encoder for OddNumbers<'_> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        match self.values[row] {
            value if value.is_finite() => self.plain.encode(row, out),
            value if value.is_nan() => out.extend(b"\"NaN\""),
            value if value > 0.0 => out.extend(b"\"Infinity\""),
            _ => out.extend(b"\"-Infinity\""),
        }
    }
}

struct Parquet<W: Write + Send>(ArrowWriter<W>);

impl<W: Write + Send> Writer for Parquet<W> {
    fn batch(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        self.0.write(batch)?;
        if self.0.memory_size() > ROW_GROUP_BYTES {
            self.0.flush()?;
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        self.0.close()?;
        Ok(())
    }
}

/// The same rows with JSON text in the place of lists and structs.
fn flat(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let options = EncoderOptions::default().with_encoder_factory(Arc::new(EveryNumber));
    let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| -> anyhow::Result<_> {
        if !field.data_type().is_nested() {
            return Ok((Arc::clone(field), Arc::clone(column)));
        }
        let mut encoder = make_encoder(field, column, &options)?;
        let (mut texts, mut text) = (StringBuilder::new(), Vec::new());
        for row in 0..column.len() {
            if encoder.is_null(row) {
                texts.append_null();
            } else {
                text.clear();
                encoder.encode(row, &mut text);
                texts.append_value(std::str::from_utf8(&text).context("a list as JSON")?);
            }
        }
        let texts: ArrayRef = Arc::new(texts.finish());
        Ok((Arc::new(Field::new(field.name(), DataType::Utf8, true)), texts))
    });
    let (fields, columns): (Vec<_>, Vec<_>) = columns.collect::<anyhow::Result<Vec<_>>>()?.into_iter().unzip();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Standard output, something that takes what is written into it, or a file that is another one until it is complete.
enum Target {
    Stdout,
    Stream(BufWriter<File>),
    File { file: Option<BufWriter<File>>, part: PathBuf, path: PathBuf },
}

impl Target {
    fn open(output: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = output else { return Ok(Self::Stdout) };
        if takes_a_stream(path) {
            let file = File::options().write(true).open(path);
            let file = file.with_context(|| format!("writing into `{}`", path.display()))?;
            return Ok(Self::Stream(BufWriter::new(file)));
        }
        // Of a link, what it leads to is made anew, not the link.
        let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).with_context(|| format!("making `{}`", part.display()))?;
        Ok(Self::File { file: Some(BufWriter::new(file)), part, path: path.to_owned() })
    }

    fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stream(file) => file.get_ref().is_terminal(),
            Self::File { .. } => false,
        }
    }

    fn finish(mut self) -> anyhow::Result<()> {
        match &mut self {
            Self::Stdout => Ok(io::stdout().flush()?),
            Self::Stream(file) => Ok(file.flush()?),
            Self::File { file, part, path } => {
                let Some(mut writer) = file.take() else { return Ok(()) };
                let kept = writer
                    .flush()
                    .and_then(|()| writer.get_ref().sync_all())
                    .and_then(|()| std::fs::rename(&*part, &*path));
                if kept.is_err() {
                    let _ = std::fs::remove_file(&*part);
                }
                kept.with_context(|| format!("writing `{}`", path.display()))
            }
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Self::File { file: Some(_), part, .. } = self {
            let _ = std::fs::remove_file(part);
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // Not locked: rows are awaited between the lines.
            Self::Stdout => io::stdout().write(bytes),
            Self::Stream(file) => file.write(bytes),
            Self::File { file, .. } => file.as_mut().map_or(Ok(bytes.len()), |file| file.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().flush(),
            Self::Stream(file) => file.flush(),
            Self::File { file, .. } => file.as_mut().map_or(Ok(()), Write::flush),
        }
    }
}

/// Whether a path is something to write into: a device, a pipe, a descriptor of this process. To put a file in its place would take it
/// away from everybody else.
fn takes_a_stream(path: &Path) -> bool {
    let is_special = std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir());
    let leads_to = std::fs::read_link(path).unwrap_or_else(|_| path.to_owned());
    is_special || ["/dev/fd", "/proc"].iter().any(|folder| path.starts_with(folder) || leads_to.starts_with(folder))
}

/// Whether whoever read our standard output has gone away.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| {
        let arrow = match cause.downcast_ref::<ArrowError>() {
            Some(ArrowError::IoError(_, error)) => closed(error),
            Some(error) => error.to_string().contains("Broken pipe"),
            None => false,
        };
        arrow || cause.downcast_ref::<io::Error>().is_some_and(closed)
    })
}

#[cfg(test)]
mod tests;
