//! `onggi sql`: the lake, asked in SQL.

use std::io::{Read, Write};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use arrow::util::pretty::pretty_format_batches_with_schema;

use crate::args::{Global, Sql};
use crate::exit::Exit;
use crate::project::Project;
use crate::wire;

/// Rows that are printed as a table; more of them are better read as `--json`.
const TABLE_ROWS: usize = 1_000;

/// Prints the answer to one statement: a table, or one JSON object a row.
///
/// # Errors
/// Whatever the engine finds wrong with the statement, with suggestions.
pub(crate) async fn sql(global: &Global, args: &Sql) -> anyhow::Result<Exit> {
    let statement = match args.statement.as_str() {
        "-" => std::io::read_to_string(std::io::stdin().lock().take(1 << 20)).context("reading standard input")?,
        statement => statement.to_owned(),
    };
    let project = Project::open(global)?;
    let lake = wire::lake(&project, global).await?;
    let engine = wire::engine(&project)?;
    let mut answer = engine.query(&lake, &project.models, &statement).await?;
    let schema = answer.schema();
    // Not locked: rows are awaited between the lines.
    let mut out = std::io::stdout();
    if global.json {
        while let Some(batch) = answer.next().await {
            write_json(&mut out, &batch?)?;
        }
        return Ok(Exit::Done);
    }
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    while let Some(batch) = answer.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        batches.push(batch);
        if rows > TABLE_ROWS {
            break;
        }
    }
    let cut = rows.saturating_sub(TABLE_ROWS);
    if cut > 0
        && let Some(last) = batches.pop()
    {
        batches.push(last.slice(0, last.num_rows() - cut));
    }
    writeln!(out, "{}", pretty_format_batches_with_schema(schema, &batches)?)?;
    if cut > 0 {
        eprintln!("the first {TABLE_ROWS} rows; `--json` prints them all, `limit` asks for fewer");
    }
    Ok(Exit::Done)
}

fn write_json(out: &mut impl Write, batch: &RecordBatch) -> anyhow::Result<()> {
    let builder = arrow::json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: LineDelimitedWriter<_> = builder.build(out);
    writer.write(batch)?;
    writer.finish()?;
    Ok(())
}
