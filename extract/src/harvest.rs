//! One key → one batch: drives a [`Fetch`], merges what it hands over, maps it.
//!
//! An item comes more than once: the document and an answer hold the first page both, and new reviews push old ones from
//! page to page. Items are merged by what names them; those that name themselves in no readable way are spoilt, and are
//! merged by what they hold. Of two forms of one item, one that can be mapped wins over one that can't, else the first.
//!
//! When to stop is decided here, from what came and not from how it was asked for: at the total of a plain list, at two
//! responses in a row with nothing new (sites go on answering with empty pages, or with the last one again; a page that had to
//! be opened again begins with what is known, so "new" means new since its document), and, for a key with a watermark, at a response that is older as a whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::array::RecordBatch;
use catalog::{Date, Timestamp};

use crate::fetch::{Body, Fetch, FetchError, FetchRequest, Flow, Response};
use crate::identity::IdentityKey;
use crate::items::{self, Page, Unreadable};
use crate::record::{self, Columns, Record, Row};
use crate::source::{Recipe, Source};
use crate::task::Key;

/// Two responses in a row without anything new are the end, whatever the site's total says.
const IDLE_RESPONSES: u32 = 2;

/// What the rows of a task share.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The task's id.
    pub task: String,
    /// The day its rows belong to.
    pub dt: Date,
    /// The only clock: stamps each response.
    pub now: fn() -> Timestamp,
}

/// What one key gave.
#[derive(Clone, Debug)]
pub struct Harvest {
    /// The raw table's schema, envelope and `dt` included.
    pub batch: RecordBatch,
    /// Rows, those with an `_error` included.
    pub fetched: u64,
    /// Rows with an `_error`.
    pub set_aside: u64,
    /// Items that had come before.
    pub duplicates: u64,
    /// Items that the site counts and did not show: sites count what they hide, so this is no error.
    pub short: u64,
    /// Responses.
    pub requests: u64,
}

/// Fetches one key. `progress` is told after each response how many records there are.
pub async fn harvest(
    fetch: &dyn Fetch,
    source: &Source,
    key: &Key,
    envelope: &Envelope,
    identity: &IdentityKey,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Harvest, FetchError> {
    let mut basket = Basket::new(source, key, envelope, identity);
    let request = FetchRequest { source, key };
    let fetched = fetch
        .fetch(&request, &mut |response| {
            let flow = basket.take(response);
            progress(basket.rows.len() as u64);
            flow
        })
        .await;
    // What could not be read is the reason, whatever the fetcher said after it was told to stop.
    if let Some(error) = basket.failure.take() {
        return Err(error);
    }
    fetched?;
    basket.finish()
}

struct Basket<'a> {
    source: &'a Source,
    key: &'a Key,
    envelope: &'a Envelope,
    identity: &'a IdentityKey,
    rows: Vec<Row>,
    by_name: HashMap<Name, Known>,
    /// Counts documents: a page that is opened again begins again.
    pass: u32,
    /// Different items since its document.
    in_pass: u64,
    duplicates: u64,
    requests: u64,
    idle: u32,
    total: Option<u64>,
    /// Stop at a response of which everything is older.
    older_than: Option<Timestamp>,
    /// It was stopped there: what is older is not missing.
    is_part: bool,
    failure: Option<FetchError>,
}

/// Where an item's row is, and in which pass it was seen last.
struct Known {
    row: usize,
    pass: u32,
}

#[derive(PartialEq, Eq, Hash)]
enum Name {
    Key(String),
    Content([u8; 32]),
}

impl<'a> Basket<'a> {
    fn new(source: &'a Source, key: &'a Key, envelope: &'a Envelope, identity: &'a IdentityKey) -> Self {
        Self {
            source,
            key,
            envelope,
            identity,
            rows: Vec::new(),
            by_name: HashMap::new(),
            pass: 0,
            in_pass: 0,
            duplicates: 0,
            requests: 0,
            idle: 0,
            total: None,
            older_than: older_than(source, key),
            is_part: false,
            failure: None,
        }
    }

    fn take(&mut self, response: Response) -> Flow {
        self.requests += 1;
        let is_document = matches!(response.body, Body::Document(_));
        if is_document {
            self.pass += 1;
            self.in_pass = 0;
        }
        let page = match self.read(&response.body) {
            Ok(page) => page,
            Err(unreadable) => {
                self.failure = Some(match unreadable {
                    Unreadable::Garbage { .. } | Unreadable::Refused(_) => {
                        FetchError::Transient { url: response.url, reason: unreadable.to_string() }
                    }
                    Unreadable::Shape { .. } => {
                        FetchError::Permanent { url: response.url, reason: unreadable.to_string() }
                    }
                });
                return Flow::Stop;
            }
        };
        self.total = page.total.or(self.total);
        let fetched_at = (self.envelope.now)();
        let url: Arc<str> = response.url.into();
        let before = self.in_pass;
        let (mut newest, mut ordered) = (None, !page.items.is_empty());
        for item in page.items {
            let content = items::fingerprint(&item);
            let record = record::map(self.source, self.key, self.identity, item);
            ordered &= record.order.is_some();
            newest = newest.max(record.order);
            self.in_pass += u64::from(self.put(record, content, &url, fetched_at));
        }
        // A document without items is no sign of the end: its answers come after it.
        self.idle = if self.in_pass == before && !is_document { self.idle + 1 } else { 0 };
        if ordered && self.older_than.is_some_and(|limit| newest.is_some_and(|newest| newest < limit)) {
            self.is_part = true;
            return Flow::Stop;
        }
        let all = matches!(self.source.recipe(), Recipe::Http(_))
            && self.total.is_some_and(|total| self.rows.len() as u64 >= total);
        if all || self.idle >= IDLE_RESPONSES { Flow::Stop } else { Flow::Continue(self.in_pass) }
    }

    fn read(&self, body: &Body) -> Result<Page, Unreadable> {
        match (body, self.source.recipe()) {
            (Body::Answer(answer), _) => items::in_answer(self.source.items(), answer),
            (Body::Document(html), Recipe::Browser(recipe)) => recipe
                .document
                .as_ref()
                .map_or_else(|| Ok(Page::default()), |document| items::in_document(document, html)),
            (Body::Document(_), Recipe::Http(_)) => Ok(Page::default()),
        }
    }

    /// Whether it is new in this pass: what a page showed before it was opened again is no sign of its end.
    fn put(&mut self, record: Record, content: [u8; 32], url: &Arc<str>, fetched_at: Timestamp) -> bool {
        let name = record.key.clone().map_or(Name::Content(content), Name::Key);
        let row = Row { record, url: Arc::clone(url), fetched_at };
        match self.by_name.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(Known { row: self.rows.len(), pass: self.pass });
                self.rows.push(row);
                true
            }
            Entry::Occupied(mut entry) => {
                self.duplicates += 1;
                let known = entry.get_mut();
                if let Some(there) = self.rows.get_mut(known.row)
                    && there.record.error.is_some()
                    && row.record.error.is_none()
                {
                    *there = row;
                }
                std::mem::replace(&mut known.pass, self.pass) != self.pass
            }
        }
    }

    fn finish(self) -> Result<Harvest, FetchError> {
        let found = self.rows.len() as u64;
        let short = self.total.filter(|_| !self.is_part).map_or(0, |total| total.saturating_sub(found));
        if let Some(total) = self.total.filter(|total| *total != found) {
            // Sites count what they don't show, and go on counting while they are read: worth a number, no error.
            tracing::debug!(source = %self.source.name(), key = self.key.value, total, found, "the site's total is another");
        }
        let columns = Columns { key: self.key, task: &self.envelope.task, dt: self.envelope.dt };
        let batch = record::batch(self.source, &columns, &self.rows).map_err(|error| FetchError::Permanent {
            url: self.source.name().to_string(),
            reason: format!("its records don't fit its table: {error}"),
        })?;
        let set_aside = self.rows.iter().filter(|row| row.record.error.is_some()).count() as u64;
        Ok(Harvest { batch, fetched: found, set_aside, duplicates: self.duplicates, short, requests: self.requests })
    }
}

/// The watermark minus the overlap. A watermark that can't be read means reading everything.
fn older_than(source: &Source, key: &Key) -> Option<Timestamp> {
    let order = source.items().order.as_ref()?;
    let since = key.since.as_deref()?.trim();
    let at = since
        .parse::<Timestamp>()
        .ok()
        .or_else(|| {
            since
                .parse::<jiff::civil::DateTime>()
                .ok()?
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
                .map(|zoned| zoned.timestamp())
        })
        .or_else(|| since.parse::<Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp()));
    if at.is_none() {
        tracing::warn!(source = %source.name(), since, "expected `since` to be an instant or a day; everything is read");
    }
    at?.checked_sub(jiff::SignedDuration::try_from(order.overlap).ok()?).ok()
}

#[cfg(test)]
mod tests;
