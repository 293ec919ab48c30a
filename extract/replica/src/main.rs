//! `onggi-replica`: the replica run by hand, to look at its pages or to crawl it from elsewhere.
//!
//! This program is the edge, as `onggi` is: it alone reads the clock, and only to know which day it is.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use jiff::civil::Date;
use replica::{Arrivals, Block, BlockSpan, Fault, Paging, Replica, ReplicaOptions, Robots, Sizes, Switches};

/// Serve generated restaurants as the crawled site does, by seed and switch, on 127.0.0.1 until it is interrupted.
///
/// A trouble is written as a rate: 0.2 hits one request in five once, 0.2x3 its first three attempts, 0.2xall for ever.
#[derive(Debug, Parser)]
#[command(name = "onggi-replica", version)]
struct Arguments {
    /// The port; 0 takes a free one.
    #[arg(long, default_value_t = 8_730)]
    port: u16,
    /// How many places.
    #[arg(long, default_value_t = 200)]
    places: usize,
    /// How many reviews in all, exactly.
    #[arg(long, default_value_t = 20_000)]
    reviews: u64,
    /// All content and all misbehaviour follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How unequal the places are: 0 makes them alike.
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// The most reviews of one place.
    #[arg(long, default_value_t = 20_000)]
    max: u64,
    /// So many reviews for each place, instead of --places, --reviews, --zipf and --max.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<u64>,
    /// The day on which the site is seen; today in Korea if not given.
    #[arg(long)]
    today: Option<Date>,
    /// The day on which the generated history ends; --today if not given.
    #[arg(long)]
    until: Option<Date>,
    /// A folder or file of JSON, JSONL or CSV whose texts become the reviews.
    #[arg(long)]
    texts: Option<PathBuf>,
    /// The field or column of the texts.
    #[arg(long)]
    text_column: Option<String>,
    #[command(flatten)]
    switches: SwitchArguments,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Switches")]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
struct SwitchArguments {
    /// Milliseconds every answer waits.
    #[arg(long, default_value_t = 0)]
    latency: u64,
    /// Milliseconds it waits longer, at most.
    #[arg(long, default_value_t = 0)]
    jitter: u64,
    /// New reviews arrive: EVERY so many pages, so MANY, up to a LIMIT at each place.
    #[arg(long, num_args = 3, value_names = ["EVERY", "MANY", "LIMIT"])]
    arrivals: Vec<u32>,
    /// The page asks once more for the reviews it has.
    #[arg(long)]
    resend_first: bool,
    /// Page by cursor, not by number.
    #[arg(long)]
    cursor: bool,
    /// Place pages with next to nothing in them.
    #[arg(long, default_value = "0")]
    half_rendered: Fault,
    /// Access is limited after so many requests.
    #[arg(long)]
    block_after: Option<u64>,
    /// For so many requests; for ever if not given.
    #[arg(long, requires = "block_after")]
    block_requests: Option<u64>,
    /// For so many seconds.
    #[arg(long, requires = "block_after", conflicts_with = "block_requests")]
    block_seconds: Option<u64>,
    /// 429.
    #[arg(long, default_value = "0")]
    too_many: Fault,
    /// What Retry-After says, in seconds.
    #[arg(long, default_value_t = 1)]
    retry_after: u64,
    /// 500 and 503.
    #[arg(long, default_value = "0")]
    server_error: Fault,
    /// Bodies that trickle for two seconds.
    #[arg(long, default_value = "0")]
    slow: Fault,
    /// Bodies that end in the middle.
    #[arg(long, default_value = "0")]
    cut: Fault,
    /// GraphQL answers that are no JSON.
    #[arg(long, default_value = "0")]
    garbage: Fault,
    /// GraphQL answers with errors and no data.
    #[arg(long, default_value = "0")]
    partial_errors: Fault,
    /// The share of reviews that can't be mapped.
    #[arg(long, default_value_t = 0.0)]
    spoilt: f64,
    /// The share of reviews under older field names.
    #[arg(long, default_value_t = 0.05)]
    drift: f64,
    /// So many more in the total than are served.
    #[arg(long, default_value_t = 0)]
    inflated_total: u64,
    /// There are no places.
    #[arg(long)]
    empty: bool,
    /// Ids of places that always answer 500.
    #[arg(long, value_delimiter = ',')]
    poisoned: Vec<String>,
    /// Lists do not end at 300 places.
    #[arg(long)]
    no_list_cap: bool,
    /// robots.txt denies this path.
    #[arg(long)]
    robots_deny: Option<String>,
    /// robots.txt is this status.
    #[arg(long, conflicts_with = "robots_deny")]
    robots_status: Option<u16>,
}

impl SwitchArguments {
    fn into_switches(self) -> Switches {
        let span = match (self.block_requests, self.block_seconds) {
            (Some(requests), _) => BlockSpan::Requests(requests),
            (None, Some(seconds)) => BlockSpan::For(Duration::from_secs(seconds)),
            (None, None) => BlockSpan::Forever,
        };
        let arrivals = match self.arrivals.as_slice() {
            [every, reviews, limit] => Some(Arrivals { every: *every, reviews: *reviews, limit: *limit }),
            _ => None,
        };
        let robots = match (self.robots_deny, self.robots_status) {
            (Some(path), _) => Robots::Deny(path),
            (None, Some(status)) => Robots::Status(status),
            (None, None) => Robots::AllowAll,
        };
        Switches {
            latency: Duration::from_millis(self.latency),
            jitter: Duration::from_millis(self.jitter),
            arrivals,
            resend_first: self.resend_first,
            paging: if self.cursor { Paging::Cursor } else { Paging::Number },
            half_rendered: self.half_rendered,
            block: self.block_after.map(|after| Block { after, span }),
            too_many: self.too_many,
            retry_after: self.retry_after,
            server_error: self.server_error,
            slow: self.slow,
            cut: self.cut,
            garbage: self.garbage,
            partial_errors: self.partial_errors,
            spoilt: self.spoilt,
            drift: self.drift,
            inflated_total: self.inflated_total,
            empty: self.empty,
            poisoned: self.poisoned.into_iter().collect::<BTreeSet<_>>(),
            list_cap: if self.no_list_cap { None } else { Switches::default().list_cap },
            robots,
            ..Switches::default()
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let sizes = if arguments.sizes.is_empty() {
        Sizes::Zipf { exponent: arguments.zipf, max: arguments.max }
    } else {
        Sizes::Explicit(arguments.sizes)
    };
    let options = ReplicaOptions {
        seed: arguments.seed,
        places: arguments.places,
        reviews: arguments.reviews,
        sizes,
        today: arguments.today.unwrap_or_else(today),
        until: arguments.until,
        port: arguments.port,
        texts: arguments.texts,
        text_column: arguments.text_column,
        switches: arguments.switches.into_switches(),
    };
    let replica = Replica::start(options).await?;
    let truth = replica.truth();
    let mut out = std::io::stdout();
    writeln!(out, "{}", replica.url())?;
    writeln!(out, "{} places, {} reviews", truth.places().count(), truth.total())?;
    if let Some(place) = truth.places().max_by_key(|place| place.reviews) {
        writeln!(
            out,
            "the largest: {}/restaurant/{}/review/visitor ({}, {} reviews)",
            replica.url(),
            place.id,
            place.name,
            place.reviews
        )?;
        writeln!(out, "a list: {}/restaurant/list?query=%EB%A7%9B%EC%A7%91", replica.url())?;
    }
    tokio::signal::ctrl_c().await?;
    let stats = replica.stats();
    writeln!(
        out,
        "{} requests: {} pages, {} GraphQL, {} pictures",
        stats.requests,
        stats.pages(),
        stats.graphql,
        stats.pictures
    )?;
    replica.stop().await;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "run by hand, it is its own edge: the only use of the clock")]
fn today() -> Date {
    jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::fixed(jiff::tz::offset(9))).date()
}
