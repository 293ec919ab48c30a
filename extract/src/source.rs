//! A source: one outside system, told as a TOML file.
//!
//! The file says where the source starts, how it is fetched, which keys it is split by, where the items lie in an answer
//! and how their fields become typed columns. It is read by hand over the spanned TOML tree (`source/reader.rs`) and not
//! by `serde`, because a misspelt key three screens down must be reported with its line, its column and the word that was
//! meant, and together with every other mistake of the file.
//!
//! ```
//! use extract::source::{EMBEDDED, Source};
//!
//! for (file, text) in EMBEDDED {
//!     let source = Source::parse(file, text).expect("the shipped sources are well formed");
//!     println!("{} every {} days", source.name(), source.every_days());
//! }
//! ```

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef, TimeUnit};
use catalog::{Diagnostic, SourceName, TableName, TableSpec};

mod field;
mod limits;
mod parse;
mod percent;
mod pointer;
mod reader;
mod recipe;
mod secret;
mod template;

pub use field::{Field, FieldType, From};
pub use limits::Limits;
pub(crate) use percent::percent_encode_path;
pub use pointer::Pointer;
pub(crate) use pointer::{Found, FoundText};
pub use recipe::{
    BrowserRecipe, CacheRecipe, DocumentRecipe, FetchKind, HttpRecipe, Method, More, MoreRecipe, NextRecipe, Recipe,
    StatePlace, StateRecipe,
};
pub use secret::Secrets;
pub(crate) use template::host_of;
pub use template::{JsonTemplate, Place, UrlTemplate};

/// The source files that come with the program, as (file name, text): what `onggi init` writes.
pub const EMBEDDED: [(&str, &str); 2] = [
    ("naver_places.toml", include_str!("../sources/naver_places.toml")),
    ("naver_reviews.toml", include_str!("../sources/naver_reviews.toml")),
];

/// Names of the envelope's columns, in the order in which they follow the mapped fields.
pub const ENVELOPE: [&str; 7] = ["_key", "_payload", "_error", "_task", "_url", "_fetched_at", "dt"];

/// One outside system: what its TOML file says, checked.
#[derive(Clone, Debug)]
pub struct Source {
    pub(crate) name: SourceName,
    pub(crate) table: TableName,
    pub(crate) every_days: i64,
    pub(crate) keys: Keys,
    pub(crate) keys_per_task: usize,
    pub(crate) max_receives: u32,
    pub(crate) tolerance: f64,
    pub(crate) rate: Rate,
    pub(crate) robots: Robots,
    pub(crate) items: Items,
    pub(crate) fields: Vec<Field>,
    pub(crate) scrub: Scrub,
    pub(crate) limits: Limits,
    pub(crate) secrets: Secrets,
    pub(crate) egress: Vec<String>,
    pub(crate) recipe: Recipe,
}

impl Source {
    /// Reads a source file. `file` is only for the diagnostics. All mistakes are reported, in the order of the file.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        parse::source(file, text)
    }

    /// The source's name; its table is `raw.<name>`.
    pub fn name(&self) -> &SourceName {
        &self.name
    }

    /// The table its records land in.
    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// The table to create before the first record lands.
    pub fn table_spec(&self) -> TableSpec {
        let mut stats_columns: Vec<String> = self
            .fields
            .iter()
            .filter(|field| field.column == self.items.key || field.kind.is_short())
            .map(|field| field.column.clone())
            .collect();
        stats_columns.extend(["_key", "_task", "_fetched_at"].map(str::to_owned));
        TableSpec { name: self.table.clone(), schema: self.schema(), partitioned: true, stats_columns }
    }

    /// Mapped fields in the order of the file, then the envelope, then `dt`.
    pub fn schema(&self) -> SchemaRef {
        let mapped = self.fields.iter().map(|field| ArrowField::new(&field.column, field.kind.data_type(), true));
        let envelope = ENVELOPE.into_iter().map(|column| match column {
            "_fetched_at" => {
                ArrowField::new(column, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false)
            }
            "dt" => ArrowField::new(column, DataType::Date32, false),
            _ => ArrowField::new(column, DataType::Utf8, column == "_error"),
        });
        // The table itself keeps every column nullable: a column may be dropped from the file one day.
        Arc::new(Schema::new(mapped.chain(envelope).map(|field| field.with_nullable(true)).collect::<Vec<_>>()))
    }

    /// Days between two fetches: a run of a day that is not due does nothing for this source.
    pub fn every_days(&self) -> i64 {
        self.every_days
    }

    /// What the source is split by.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The same source with other keys: a project's configuration may name its own.
    #[must_use]
    pub fn with_keys(mut self, keys: Keys) -> Self {
        self.keys = keys;
        self
    }

    /// The host it asks.
    pub fn host(&self) -> String {
        let url = self.recipe.url().render(&Place { key: "x", page: 1, start: 1, size: 1 });
        url::Url::parse(&url).map(|url| host_of(&url)).unwrap_or_default()
    }

    /// Whether two keys are two requests: where its address has no `{key}`, all keys get the same answer.
    pub fn asks_by_key(&self) -> bool {
        self.recipe.has_key()
    }

    /// Whether ids of its items are hashed with the project's identity key: those of persons, or those in which a name stands.
    pub fn hashes(&self) -> bool {
        self.fields.iter().any(|field| field.kind == FieldType::Hash) || !self.scrub.names.is_empty()
    }

    /// How many keys one task holds at most.
    pub fn keys_per_task(&self) -> usize {
        self.keys_per_task
    }

    /// After how many receives a task goes to the dead-letter queue.
    pub fn max_receives(&self) -> u32 {
        self.max_receives
    }

    /// The share of a day's records that may be set aside, and of its keys that may be unreadable or refused, before the day
    /// counts as partial: 0 to 1.
    pub fn tolerance(&self) -> f64 {
        self.tolerance
    }

    /// What its answers are taken for: 64 bits of a hash over how it is asked, where items lie and how they are mapped, in
    /// hexadecimal. Keys, pace and bounds of tasks are no part of it. A key whose answer could not be read, or was cut at a
    /// bound, is asked for again under another definition.
    pub fn definition(&self) -> String {
        let parts = [format!("{:?}", self.recipe), format!("{:?}", self.items), format!("{:?}", self.fields)];
        crate::task::short_hash(parts.iter().map(String::as_str), 8)
    }

    /// Which fetcher reads it.
    pub fn fetch_kind(&self) -> FetchKind {
        self.recipe.kind()
    }

    /// The pace the source asks of itself, per host. A host's own setting wins.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether robots.txt is obeyed.
    pub fn robots(&self) -> &Robots {
        &self.robots
    }

    /// Where items lie in an answer.
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// How an item's fields become columns, in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What of an item must not reach the lake.
    pub fn scrub(&self) -> &Scrub {
        &self.scrub
    }

    /// Whether something in its items names a person: then nothing of them is kept that no rule speaks of.
    pub fn names_persons(&self) -> bool {
        let Scrub { drop, keep, names, masks, .. } = &self.scrub;
        self.hashes() || !(drop.is_empty() && keep.is_empty() && names.is_empty() && masks.is_empty())
    }

    /// What one key may take.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The secrets its headers and addresses refer to.
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// The same source with the values of its secrets: who may read them says what they are.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Hosts that its pages may reach beside its own, `*.` for any name below one.
    pub fn egress(&self) -> &[String] {
        &self.egress
    }

    /// How it is fetched.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

/// What to do about several keys that all get the same answer.
pub const NO_KEY_HINT: &str = "write `{key}` into `url`, a header or the body of the source file, or leave one key";

/// What a source is split by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Written in the file.
    List(Vec<String>),
    /// A query over the lake with a column `key` and, for an incremental source, a column `since`.
    Query(String),
}

/// How often a host may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From the start of one request to the start of the next.
    pub interval: Duration,
}

/// One request a day is the slowest pace that still ends.
const SLOWEST: Duration = Duration::from_hours(24);

impl Rate {
    /// One request a second: what a host is asked at most when nobody says otherwise.
    pub const DEFAULT: Self = Self { interval: Duration::from_secs(1) };

    /// So many requests a second; nothing for a number that is no pace: none at all, or slower than one a day.
    pub fn per_second(rate: f64) -> Option<Self> {
        let interval = Duration::try_from_secs_f64(1.0 / rate).ok()?;
        (rate.is_finite() && rate > 0.0 && interval <= SLOWEST).then_some(Self { interval })
    }

    /// Reads `1/s`, `30/min` or `100/h`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || format!("expected a rate such as `1/s` or `30/min`, found `{text}`");
        let (count, unit) = text.split_once('/').ok_or_else(expected)?;
        let count: f64 = count.trim().parse().map_err(|_| expected())?;
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "min" | "minute" => 60.0,
            "h" | "hour" => 3600.0,
            _ => return Err(expected()),
        };
        // 100,000 a second is a local replica without a pace.
        let interval = seconds / count;
        if !count.is_finite() || count <= 0.0 || !(1e-5..=SLOWEST.as_secs_f64()).contains(&interval) {
            return Err(format!("expected a rate between one a day and 100000 a second, found `{text}`"));
        }
        Ok(Self { interval: Duration::from_secs_f64(interval) })
    }
}

/// Whether robots.txt is obeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Robots {
    /// A disallowed address is not fetched.
    Obey,
    /// It is read, recorded and not obeyed, for this reason (a contract, an API that invites machines).
    Ignore {
        /// Recorded with every decision.
        reason: String,
    },
}

/// Where items lie in an answer, what names one, and where an incremental source stops.
#[derive(Clone, Debug)]
pub struct Items {
    /// The list of items.
    pub path: Pointer,
    /// How many the site says there are.
    pub total: Option<Pointer>,
    /// The column that names an item.
    pub key: String,
    /// How the answers are ordered, if they are.
    pub order: Option<Order>,
}

/// Newest first by a column, so that a key with a watermark can stop early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// A timestamp column.
    pub column: String,
    /// How far behind the watermark to read on: items are written late.
    pub overlap: Duration,
}

/// What of an item must not reach the lake. Columns of type `hash` name the ids that are replaced by their keyed hash.
#[derive(Clone, Debug, Default)]
pub struct Scrub {
    /// Removed.
    pub drop: Vec<Pointer>,
    /// Objects of which only these members stay: what the site adds tomorrow is not kept by accident.
    pub keep: Vec<(Pointer, Vec<String>)>,
    /// Texts in which phone numbers and the like are left alone.
    pub unmasked: Vec<Pointer>,
    /// Where names of persons stand, which are then looked for in the other texts of the item. Without any, everything that
    /// is removed is looked for.
    pub names: Vec<Pointer>,
    /// Members at the top of an item that are kept although no field and no rule speaks of them.
    pub allow: Vec<String>,
    /// What is masked in every text beside what always is.
    pub masks: Vec<Mask>,
    /// What is there seldom: a rule that speaks of it, or of what lies below it, may fit nothing for days.
    pub seldom: Vec<Pointer>,
}

/// A form of number or address that names somebody.
#[derive(Clone, Debug)]
pub struct Mask {
    /// What it is called: `[plate]` stands in its place.
    pub label: String,
    /// How it is written.
    pub pattern: regex::Regex,
}

#[cfg(test)]
pub(crate) mod tests;
