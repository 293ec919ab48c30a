//! What working on a source needs, made when its first task comes.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::{Lake, SourceName, Table};

use super::Extractor;
use crate::error::Error;
use crate::fetch::Fetch;
use crate::source::Source;

/// One source, ready to be worked on.
pub(super) struct Desk {
    pub(super) source: Source,
    pub(super) fetch: Arc<dyn Fetch>,
    pub(super) table: Table,
    pub(super) schema: SchemaRef,
}

impl Desk {
    pub(super) async fn new(lake: &Lake, source: &Source, fetch: Arc<dyn Fetch>) -> Result<Arc<Self>, Error> {
        let spec = source.table_spec();
        let schema = Arc::clone(&spec.schema);
        let table = lake.create(&spec).await?;
        Ok(Arc::new(Self { source: source.clone(), fetch, table, schema }))
    }
}

/// The desks of a process, by source.
pub(super) struct Desks(tokio::sync::Mutex<HashMap<SourceName, Arc<Desk>>>);

impl Desks {
    pub(super) fn new(desks: impl IntoIterator<Item = Arc<Desk>>) -> Self {
        let desks = desks.into_iter().map(|desk| (desk.source.name().clone(), desk));
        Self(tokio::sync::Mutex::new(desks.collect()))
    }

    /// The desk of a source; `None` if the project has no such source.
    pub(super) async fn get(&self, ctx: &Extractor, name: &SourceName) -> Result<Option<Arc<Desk>>, Error> {
        let mut desks = self.0.lock().await;
        if let Some(desk) = desks.get(name) {
            return Ok(Some(Arc::clone(desk)));
        }
        let Some(source) = ctx.sources.iter().find(|source| source.name() == name) else { return Ok(None) };
        let desk = Desk::new(&ctx.lake, source, ctx.fetchers.get(source.fetch_kind())).await?;
        desks.insert(name.clone(), Arc::clone(&desk));
        Ok(Some(desk))
    }
}
