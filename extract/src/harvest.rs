//! One key → one batch and how its list ended: drives a [`Fetch`], merges what it hands over, maps it.
//!
//! Whatever was received is in the batch, also when a later request fails, a bound is reached or one page can't be read:
//! [`Ending`] says how far it came, and only a key of which nothing at all was received is an error. So "could not ask",
//! "was told no" and "nothing there" stay three things, and who calls decides what each of them means for the day.
//!
//! An item comes more than once: the document and an answer hold the first page both, and new reviews push old ones from
//! page to page. Items are merged by what names them and by what they hold; those that name themselves in no readable way
//! are told by their place in the list (`harvest/pages.rs`). The same name with other content is not the same item twice: both
//! land. What came twice never counts towards the site's total.
//!
//! When to stop is decided here, from what came: at the total of a plain list, at responses in a row with nothing new (sites
//! go on answering with empty pages, or with the last one again; a page that had to be opened again begins with what is known,
//! so "new" means new since its document), at a bound of the source, and, for a key with a watermark, at a response that is
//! older as a whole. A page that is shorter than others is no end of a plain list: sites take out what they hide after they have
//! cut their pages, and give fewer items than they are asked for. Neither is a total that is reached by a full page, since
//! some sites state that of the page: one more request makes sure.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use catalog::{Date, Timestamp};
use tokio::time::Instant;

use crate::error::FetchError;
use crate::fetch::{Body, Fetch, FetchFlow, FetchRequest, Response};
use crate::identity::{self, IdentityKey, UnfitRules};
use crate::items::{self, Page, Unreadable};
use crate::record::{self, Columns, Record, Row};
use crate::source::{HttpRecipe, Source};
use crate::task::Key;

mod pages;

use pages::{ItemMark, ItemName, Pages};

/// So many responses in a row without anything new are the end, whatever the site's total says; of a plain list whose total
/// says no more one is enough …
const IDLE_RESPONSES: u32 = 2;

/// … but a page that asks for what it has once more has not said so while its total is not reached.
const IDLE_RESPONSES_OF_A_PAGE: u32 = 12;

/// How many unreadable bodies are kept of one key, and how much of each.
const MOST_KEPT: usize = 3;
const MOST_KEPT_BYTES: usize = 256 * 1024;

/// How far behind its end is looked for what is to be masked or redacted.
const BEHIND_THE_CUT: usize = 4 * 1024;

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

/// What one key gave. There is one whenever anything was received or learned.
#[derive(Clone, Debug)]
pub struct KeyOutput {
    /// What is to land, good rows and rows with an `_error`, possibly none. The raw table's schema, envelope and `dt` included.
    pub batch: RecordBatch,
    /// Rows, those with an `_error` included.
    pub fetched: u64,
    /// Rows with an `_error`.
    pub set_aside: u64,
    /// Items that had come before, the same in all they hold.
    pub duplicates: u64,
    /// Rows whose name had come before with other content.
    pub restated: u64,
    /// Items that the site counts and did not show: sites count what they hide, so this is no error.
    pub short: u64,
    /// Responses.
    pub requests: u64,
    /// How the key's list ended.
    pub ending: Ending,
    /// Rules for persons that none of its items has anything of.
    pub unfit: Vec<String>,
    /// Bodies that could not be read, kept for people: at most 3, at most 256 KiB each, only of a source whose items name
    /// no persons.
    pub unreadable: Vec<KeptBody>,
}

/// How a key's list ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It reached its end. Where `short` is not 0, the site counts items that it does not show.
    Whole,
    /// A bound of ours was reached before its end: which.
    Cut(String),
    /// A later request failed after something was received, or was answered with 404 or 410 before the site's own total was
    /// reached: what came is in the batch.
    Short(FetchError),
    /// 404 or 410 on the first request: what it said.
    Gone(String),
    /// A rule of robots.txt forbids it, or the rest of it: which.
    Refused(String),
    /// What came first could not be read in the source's way: why.
    Unreadable(String),
}

/// A body that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBody {
    /// The address that was asked, as the source names it.
    pub url: String,
    /// Why it could not be read.
    pub reason: String,
    /// What came, personal numbers masked; of a longer one the beginning.
    pub body: Bytes,
}

/// Fetches one key. `progress` is told after each response how many records there are. An error is a key of which nothing
/// was received and nothing learned.
pub async fn harvest(
    fetch: &dyn Fetch,
    source: &Source,
    key: &Key,
    envelope: &Envelope,
    identity: &IdentityKey,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<KeyOutput, FetchError> {
    let mut basket = Basket::new(source, key, envelope, identity);
    let request = FetchRequest { source, key };
    let fetched = fetch
        .fetch(&request, &mut |response| {
            let flow = basket.take(response);
            progress(basket.rows.len() as u64);
            flow
        })
        .await;
    let ending = basket.ending(fetched)?;
    basket.finish(ending)
}

struct Basket<'a> {
    source: &'a Source,
    key: &'a Key,
    envelope: &'a Envelope,
    identity: &'a IdentityKey,
    started: Instant,
    rows: Vec<Row>,
    bytes: u64,
    by_name: HashMap<ItemName, Known>,
    /// Since its document.
    pages: Pages,
    unfit: UnfitRules<'a>,
    /// Counts documents: a page that is opened again begins again.
    pass: u32,
    /// Different items since its document.
    in_pass: u64,
    duplicates: u64,
    restated: u64,
    requests: u64,
    idle: u32,
    /// Whether the site is told how many items a page of a plain list is to have.
    is_sized: bool,
    /// Items of its longest page so far.
    longest: u64,
    total: Option<u64>,
    /// Stop at a response of which everything is older.
    older_than: Option<Timestamp>,
    /// It was stopped there: what is older is not missing.
    is_part: bool,
    cut: Option<String>,
    failure: Option<FetchError>,
    unreadable: Vec<KeptBody>,
}

/// How full a page is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filling {
    /// It has as many items as it was asked for, or as the longest before it.
    Full,
    /// It has fewer.
    Short,
    /// The first of a list whose pages are of a length that nobody asked for.
    Unknown,
}

/// Where an item's rows are, and in which pass it was seen last. Nearly all have one.
struct Known {
    rows: Vec<usize>,
    pass: u32,
}

impl<'a> Basket<'a> {
    fn new(source: &'a Source, key: &'a Key, envelope: &'a Envelope, identity: &'a IdentityKey) -> Self {
        Self {
            source,
            key,
            envelope,
            identity,
            started: Instant::now(),
            rows: Vec::new(),
            bytes: 0,
            by_name: HashMap::new(),
            pages: Pages::default(),
            unfit: UnfitRules::new(source),
            pass: 0,
            in_pass: 0,
            duplicates: 0,
            restated: 0,
            requests: 0,
            idle: 0,
            is_sized: source.recipe().plain().is_some_and(HttpRecipe::is_sized),
            longest: 0,
            total: None,
            older_than: older_than(source, key),
            is_part: false,
            cut: None,
            failure: None,
            unreadable: Vec::new(),
        }
    }

    fn take(&mut self, response: Response) -> FetchFlow {
        let is_document = matches!(response.body, Body::Document(_));
        let page = match read(self.source, &response.body) {
            Ok(page) => page,
            Err(unreadable) => {
                let text = response.body.text();
                self.failure = Some(FetchError::Unreadable {
                    url: response.url,
                    reason: unreadable.to_string(),
                    body: Bytes::copy_from_slice(text.as_bytes()),
                });
                return FetchFlow::Stop;
            }
        };
        self.requests += 1;
        if is_document {
            self.pass += 1;
            self.in_pass = 0;
            self.pages = Pages::default();
        }
        // A sick site, or one whose items go while it is read, says fewer later: the most it said counts.
        self.total = self.total.max(page.total);
        let fetched_at = (self.envelope.now)();
        let url: Arc<str> = self.source.secrets().redact(&response.url).into();
        let before = self.in_pass;
        let count = page.items.len() as u64;
        let mut records = Vec::new();
        let (mut bytes, mut reached) = (0, None);
        for item in page.items {
            // What of a page can't land in any case is not held either.
            reached = self.bound_of(records.len() as u64, bytes);
            if reached.is_some() {
                break;
            }
            let record = record::map(self.source, self.key, self.identity, &mut self.unfit, item);
            bytes = bytes.saturating_add(record.bytes());
            records.push(record);
        }
        let marks: Vec<ItemMark<'_>> = records.iter().map(mark).collect();
        let names = self.pages.name(&marks, self.has_more());
        let (mut newest, mut ordered) = (None, count > 0);
        for (name, record) in names.into_iter().zip(records) {
            if let Some(bound) = self.full() {
                self.cut = Some(bound);
                return FetchFlow::Stop;
            }
            ordered &= record.order.is_some();
            newest = newest.max(record.order);
            self.in_pass += u64::from(self.put(name, record, &url, fetched_at));
        }
        if reached.is_some() {
            self.cut = reached;
            return FetchFlow::Stop;
        }
        // A document without items is no sign of the end: its answers come after it.
        self.idle = if self.in_pass == before && !is_document { self.idle + 1 } else { 0 };
        if ordered && self.older_than.is_some_and(|limit| newest.is_some_and(|newest| newest < limit)) {
            self.is_part = true;
            return FetchFlow::Stop;
        }
        let (most_idle, looks_ended) = match self.source.recipe().plain() {
            Some(recipe) => {
                let filling = self.filling(recipe, count);
                let ends = match filling {
                    Filling::Short => self.all_came() || (recipe.short_page_ends && !self.has_more()),
                    Filling::Unknown => self.all_came() && recipe.short_page_ends,
                    Filling::Full => false,
                };
                if ends {
                    return FetchFlow::Stop;
                }
                (if self.has_more() { IDLE_RESPONSES } else { 1 }, !self.has_more() && filling == Filling::Short)
            }
            None => (if self.has_more() { IDLE_RESPONSES_OF_A_PAGE } else { IDLE_RESPONSES }, false),
        };
        if self.idle >= most_idle {
            return FetchFlow::Stop;
        }
        if let Some(bound) = self.spent() {
            self.cut = Some(bound);
            return FetchFlow::Stop;
        }
        FetchFlow::Continue { items: self.in_pass, looks_ended }
    }

    /// How full a page of a plain list is that has so many items.
    fn filling(&mut self, recipe: &HttpRecipe, count: u64) -> Filling {
        let longest = self.longest;
        self.longest = longest.max(count);
        let is_first = self.requests == 1;
        match if self.is_sized { recipe.page_size } else { longest } {
            _ if !self.is_sized && is_first => Filling::Unknown,
            full if count < full => Filling::Short,
            _ => Filling::Full,
        }
    }

    /// Whether the site's total has come. One that was passed is no total: the list goes on to its end.
    fn all_came(&self) -> bool {
        self.total == Some(self.by_name.len() as u64)
    }

    /// Whether the site counts more items than it has shown since its document.
    fn has_more(&self) -> bool {
        self.total.is_some_and(|total| self.in_pass < total)
    }

    /// The bound of what is held that is reached.
    fn full(&self) -> Option<String> {
        self.bound_of(self.rows.len() as u64, self.bytes)
    }

    /// The bound that so much reaches.
    fn bound_of(&self, rows: u64, bytes: u64) -> Option<String> {
        let limits = self.source.limits();
        if rows >= limits.records {
            return Some(format!("it has more than {} records, [limits] records", limits.records));
        }
        (bytes >= limits.bytes).then(|| format!("it has more than {} bytes of records, [limits] bytes", limits.bytes))
    }

    /// The bound of what is asked that is reached.
    fn spent(&self) -> Option<String> {
        let limits = self.source.limits();
        if self.requests >= limits.answers {
            return Some(format!("it has more than {} answers, [limits] answers", limits.answers));
        }
        (self.started.elapsed() >= limits.time)
            .then(|| format!("it takes longer than {} s, [limits] time", limits.time.as_secs_f64()))
    }

    /// Whether it is new in this pass: what a page showed before it was opened again is no sign of its end.
    fn put(&mut self, name: ItemName, record: Record, url: &Arc<str>, fetched_at: Timestamp) -> bool {
        let pass = self.pass;
        let known = self.by_name.entry(name).or_insert_with(|| Known { rows: Vec::new(), pass: 0 });
        let is_new = std::mem::replace(&mut known.pass, pass) != pass || known.rows.is_empty();
        let row = Row { record, url: Arc::clone(url), fetched_at };
        let there = known
            .rows
            .iter()
            .copied()
            .find(|at| self.rows.get(*at).is_some_and(|there| is_same(&there.record, &row.record)));
        if let Some(at) = there {
            self.duplicates += 1;
            // An item that was changed and changed back while its list was read: what was said last is the newest.
            let is_said_again = known.rows.last() != Some(&at);
            known.rows.retain(|known| *known != at);
            known.rows.push(at);
            if let Some(there) = self.rows.get_mut(at) {
                // Of two forms the one that can be mapped wins.
                if there.record.error.is_some() && row.record.error.is_none() {
                    *there = row;
                } else if is_said_again {
                    (there.url, there.fetched_at) = (row.url, row.fetched_at);
                }
            }
        } else {
            self.restated += u64::from(!known.rows.is_empty());
            known.rows.push(self.rows.len());
            self.bytes = self.bytes.saturating_add(row.record.bytes());
            self.rows.push(row);
        }
        is_new
    }

    /// How the list ended, or the error of a key of which nothing came.
    fn ending(&mut self, fetched: Result<(), FetchError>) -> Result<Ending, FetchError> {
        if let Some(bound) = self.cut.take() {
            return Ok(Ending::Cut(bound));
        }
        // What could not be read is the reason, whatever the fetcher said after it was told to stop.
        let Some(error) = self.failure.take().or(fetched.err()) else { return Ok(Ending::Whole) };
        let secrets = self.source.secrets();
        let error = error.redacted(secrets);
        let error = match error {
            FetchError::Unreadable { url, reason, body } => {
                self.keep(&url, &reason, &body);
                // The body has its place; errors are stored and told.
                FetchError::Unreadable { url, reason, body: Bytes::new() }
            }
            other => other,
        };
        Ok(match error {
            FetchError::Cut { why } => Ending::Cut(why),
            // Sites answer 404 behind the last page. One that counts more items than it has shown has not shown its last page.
            FetchError::Gone { .. } if self.requests > 0 && self.pass == 0 && !self.has_more() => Ending::Whole,
            // The rest will be forbidden the next time as well: what came of it is what may be had.
            FetchError::RobotsDenied { .. } if self.requests > 0 => {
                let answers = if self.requests == 1 { "answer" } else { "answers" };
                Ending::Refused(format!("cut after {} {answers}: {error}", self.requests))
            }
            error if self.requests > 0 => Ending::Short(error),
            FetchError::Gone { .. } => Ending::Gone(error.to_string()),
            FetchError::RobotsDenied { .. } => Ending::Refused(error.to_string()),
            FetchError::Unreadable { .. } | FetchError::Permanent { .. } => Ending::Unreadable(error.to_string()),
            error => return Err(error),
        })
    }

    fn keep(&mut self, url: &str, reason: &str, body: &[u8]) {
        if self.source.names_persons() || self.unreadable.len() >= MOST_KEPT || body.is_empty() {
            return;
        }
        // A number that the end of what is kept would cut in two is masked whole first.
        let body = identity::mask_bytes(&body[..body.len().min(MOST_KEPT_BYTES + BEHIND_THE_CUT)]);
        let body = self.source.secrets().redact_bytes(&body);
        let body = Bytes::copy_from_slice(&body[..body.len().min(MOST_KEPT_BYTES)]);
        self.unreadable.push(KeptBody { url: url.to_owned(), reason: reason.to_owned(), body });
    }

    fn finish(self, ending: Ending) -> Result<KeyOutput, FetchError> {
        let found = self.by_name.len() as u64;
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
        Ok(KeyOutput {
            batch,
            fetched: self.rows.len() as u64,
            set_aside,
            duplicates: self.duplicates,
            restated: self.restated,
            short,
            requests: self.requests,
            ending,
            unfit: self.unfit.told(),
            unreadable: self.unreadable,
        })
    }
}

fn read<'b>(source: &Source, body: &'b Body) -> Result<Page<'b>, Unreadable> {
    match (body, source.recipe().document()) {
        (Body::Answer(text), _) => items::in_answer(source, text),
        (Body::Document(html) | Body::NextDocument(html), Some(document)) => items::in_document(document, html),
        (Body::Document(_) | Body::NextDocument(_), None) | (Body::Nothing, _) => Ok(Page::default()),
    }
}

/// What an item shows of itself.
fn mark(record: &Record) -> ItemMark<'_> {
    record.key.as_deref().map_or(ItemMark::Content(&record.content), ItemMark::Key)
}

/// Whether two forms of one name are one item: they say the same, also in every column. A document's cache holds it in another
/// form than an answer does: there it counts what the columns say, and the form that can be mapped is the better one.
fn is_same(one: &Record, other: &Record) -> bool {
    (one.content == other.content && one.is_mapped_like(other))
        || (one.is_joined != other.is_joined
            && (one.error.is_some() || other.error.is_some() || one.is_mapped_like(other)))
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
