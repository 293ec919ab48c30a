//! A source that is worked on: its table, its fetcher, what is known of its keys, and what waits to land.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arrow::datatypes::SchemaRef;
use catalog::{CommitInfo, Date, SourceName, Table};

use super::Extractor;
use super::parcels::Landing;
use crate::error::Error;
use crate::fetch::Fetch;
use crate::identity;
use crate::ledger::Ledger;
use crate::source::Source;
use crate::unreadable::KeptBodies;

/// One source, ready to be worked on.
pub(super) struct OpenSource {
    pub(super) source: Source,
    pub(super) fetch: Arc<dyn Fetch>,
    pub(super) table: Table,
    /// Of what is fetched. The table may have more columns: those that the source had once, or has elsewhere already.
    pub(super) schema: SchemaRef,
    pub(super) ledger: Arc<Ledger>,
    pub(super) landing: Landing,
    /// What came and could not be read.
    pub(super) bodies: KeptBodies,
    /// The site has answered somebody here.
    answered: AtomicBool,
    /// How often in a row it asked to slow down.
    rests: AtomicU32,
}

impl OpenSource {
    pub(super) async fn new(
        ctx: &Extractor,
        source: &Source,
        fetch: Arc<dyn Fetch>,
        dt: Date,
    ) -> Result<Arc<Self>, Error> {
        let lake = &ctx.lake;
        let spec = source.table_spec();
        let schema = Arc::clone(&spec.schema);
        let table = lake.create(&spec).await?;
        let info = CommitInfo { run: ctx.run.clone(), now: (ctx.now)(), lineage: Vec::new() };
        identity::hold(&table, source, &ctx.identity, &info).await?;
        let ledger = Ledger::open(lake, source, table.clone(), dt).await?;
        Ok(Arc::new(Self {
            source: source.clone(),
            fetch,
            table,
            schema,
            ledger,
            landing: Landing::default(),
            bodies: KeptBodies::new(lake, source.name()),
            answered: AtomicBool::new(false),
            rests: AtomicU32::new(0),
        }))
    }

    /// The site has answered: whatever fails next is not all of it.
    pub(super) fn answers(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.rests.store(0, Ordering::Relaxed);
    }

    pub(super) fn has_answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// The site asks to slow down, for the so-manieth time in a row.
    pub(super) fn rests(&self) -> u32 {
        self.rests.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// The open sources of a process, by name.
pub(super) struct OpenSources(tokio::sync::Mutex<HashMap<SourceName, Arc<OpenSource>>>);

impl OpenSources {
    pub(super) fn new(open: impl IntoIterator<Item = Arc<OpenSource>>) -> Self {
        let open = open.into_iter().map(|open| (open.source.name().clone(), open));
        Self(tokio::sync::Mutex::new(open.collect()))
    }

    /// The source of a task, with the day known; `None` if the project has no such source.
    pub(super) async fn get(
        &self,
        ctx: &Extractor,
        name: &SourceName,
        dt: Date,
    ) -> Result<Option<Arc<OpenSource>>, Error> {
        let mut all = self.0.lock().await;
        if let Some(open) = all.get(name).cloned() {
            open.ledger.reach(dt, open.source.every_days()).await?;
            return Ok(Some(open));
        }
        let Some(source) = ctx.sources.iter().find(|source| source.name() == name) else { return Ok(None) };
        let open = OpenSource::new(ctx, source, ctx.fetchers.get(source.fetch_kind()), dt).await?;
        all.insert(name.clone(), Arc::clone(&open));
        Ok(Some(open))
    }

    /// All that are open.
    pub(super) async fn all(&self) -> Vec<Arc<OpenSource>> {
        self.0.lock().await.values().cloned().collect()
    }
}
