//! The database of a project, from its `[postgres]` section.

use std::sync::Arc;

use load::sink::Sink as _;
use load::{Postgres, PostgresOptions};

use crate::exit::Failure;
use crate::project::Project;

/// The database, where one is configured. Nothing is connected yet.
///
/// # Errors
/// If its URL cannot be read, or is none. No part of the URL is in the message.
pub(super) fn database(project: &Project) -> anyhow::Result<Option<Arc<Postgres>>> {
    let Some(section) = &project.config.postgres else { return Ok(None) };
    let url = String::from_utf8(section.url.read(&project.folder)?).map_err(|_| {
        // The error would show the bytes.
        Failure::usage("expected the URL of `[postgres]` in UTF-8, found other bytes", "write it anew")
    })?;
    let options = PostgresOptions {
        url,
        schema: section.schema.clone(),
        pool: section.pool,
        rows_per_second: section.rows_per_second,
        project: project.config.project.name.clone(),
    };
    Ok(Some(Arc::new(Postgres::new(&options)?)))
}

/// What there is to say about the database, in one line.
///
/// # Errors
/// If it cannot be reached, or lacks what a sync needs.
pub(crate) async fn doctor(project: &Project) -> anyhow::Result<String> {
    match database(project)? {
        Some(database) => Ok(database.doctor().await?),
        None => Ok("not configured".to_owned()),
    }
}
