//! `onggi sql`: the lake, asked in SQL, here or in Athena.

mod remote;

use anyhow::Context;
use futures::StreamExt;

use crate::args::{Global, Sql};
use crate::config;
use crate::exit::Exit;
use crate::out;
use crate::project::Project;
use crate::rows::{self, Format, Rows, TABLE_ROWS, Written};
use crate::wire;

/// Writes the answer to one statement: a table, or one row after the other in another format.
///
/// # Errors
/// Whatever the engine finds wrong with the statement, with suggestions.
pub(crate) async fn sql(global: &Global, args: &Sql) -> anyhow::Result<Exit> {
    let format = Format::choose(args.format, global.json, args.output.as_deref())?;
    let statement = match args.statement.as_str() {
        "-" => std::io::read_to_string(std::io::stdin().lock()).context("reading standard input")?,
        statement => statement.to_owned(),
    };
    let project = match &global.lake {
        Some(_) if global.config.is_none() && !global.project.join(config::FILE).exists() => {
            Project::none(&global.project)?
        }
        _ => Project::open(global)?,
    };
    if args.athena {
        return remote::ask(global, args, &project, &statement, format).await;
    }
    let lake = wire::lake_to_read(&project, global).await?;
    let engine = wire::engine(&project)?;
    let answer = engine.query(&lake, &project.models, &statement).await?;
    let schema = answer.schema();
    let batches = futures::stream::unfold(answer, |mut answer| async {
        answer.next().await.map(|batch| (batch.map_err(Into::into), answer))
    });
    let written = rows::write(Rows { schema, batches: batches.boxed() }, format, args.output.as_deref()).await?;
    tell(global, args, written);
    Ok(Exit::Done)
}

/// What else there is to say of what was written.
fn tell(global: &Global, args: &Sql, written: Written) {
    if written.cut {
        out::note(format_args!("the first {TABLE_ROWS} rows; `--json` prints them all, `limit` asks for fewer"));
    }
    if let Some(output) = args.output.as_ref().filter(|_| !global.quiet) {
        out::note(format_args!("{} rows are in `{}`", written.rows, output.display()));
    }
}
