//! How a replica misbehaves. Every switch is off at first, except for the drift of field names that the site always shows.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;

/// How a replica misbehaves; [`Replica::set_switches`](crate::Replica::set_switches) changes it while it runs.
///
/// Each rate says which requests are hit: one throw per (seed, switch, key, page), so the same crawl meets the same
/// trouble. Setting the switches starts the counting of attempts and of requests anew.
#[derive(Debug, Clone, PartialEq)]
pub struct Switches {
    /// Every answer waits so long.
    pub latency: Duration,
    /// And up to so much longer, by seed.
    pub jitter: Duration,
    /// New reviews arrive while pages are read, so that pages shift and items come twice.
    pub arrivals: Option<Arrivals>,
    /// The page asks for the reviews it already has in its document, as the site does after a click on a sort order.
    pub resend_first: bool,
    /// What decides the next page: the page number, or the cursor of the last item.
    pub paging: Paging,
    /// Place pages with next to nothing in them (status 200).
    pub half_rendered: Fault,
    /// The page that says that access is limited (status 200, for pages and GraphQL alike).
    pub block: Option<Block>,
    /// 429 with `Retry-After`.
    pub too_many: Fault,
    /// What `Retry-After` says, in seconds.
    pub retry_after: u64,
    /// 503, or 500 on every other attempt.
    pub server_error: Fault,
    /// Bodies that trickle, over `slow_for`.
    pub slow: Fault,
    /// How long a slow body takes.
    pub slow_for: Duration,
    /// Bodies that end in the middle.
    pub cut: Fault,
    /// GraphQL answers that are no JSON.
    pub garbage: Fault,
    /// GraphQL answers with `errors` and no data.
    pub partial_errors: Fault,
    /// The share of reviews that are spoilt: they can't be mapped, always and each in its own way.
    pub spoilt: f64,
    /// The share of reviews written in the site's older field names.
    pub drift: f64,
    /// So many more in `total` than are ever served.
    pub inflated_total: u64,
    /// The site has no places.
    pub empty: bool,
    /// Ids of places whose every request is answered 500.
    pub poisoned: BTreeSet<String>,
    /// A list of places ends here, whatever its total.
    pub list_cap: Option<u64>,
    /// What `/robots.txt` says.
    pub robots: Robots,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            arrivals: None,
            resend_first: false,
            paging: Paging::default(),
            half_rendered: Fault::NEVER,
            block: None,
            too_many: Fault::NEVER,
            retry_after: 1,
            server_error: Fault::NEVER,
            slow: Fault::NEVER,
            slow_for: Duration::from_secs(2),
            cut: Fault::NEVER,
            garbage: Fault::NEVER,
            partial_errors: Fault::NEVER,
            spoilt: 0.0,
            drift: 0.05,
            inflated_total: 0,
            empty: false,
            poisoned: BTreeSet::new(),
            // 6 pages of 50, as the site's list.
            list_cap: Some(300),
            robots: Robots::default(),
        }
    }
}

/// Which requests a trouble hits, and for how many attempts each.
///
/// Written as text: `0.2` (one request in five, its first attempt), `0.2x3` (its first three), `0.2xall` (for ever).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// The share of requests that are hit, in 0..=1.
    pub rate: f64,
    /// How many attempts at such a request fail before it is well; nothing means for ever.
    pub attempts: Option<u32>,
}

impl Fault {
    /// It never happens.
    pub const NEVER: Self = Self { rate: 0.0, attempts: Some(0) };

    /// The first attempt at this share of the requests fails.
    pub const fn once(rate: f64) -> Self {
        Self::times(rate, 1)
    }

    /// The first `attempts` attempts at this share of the requests fail.
    pub const fn times(rate: f64, attempts: u32) -> Self {
        Self { rate, attempts: Some(attempts) }
    }

    /// This share of the requests never succeeds.
    pub const fn always(rate: f64) -> Self {
        Self { rate, attempts: None }
    }
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Options {
            expected: "a rate in 0..=1, such as `0.2`, `0.2x3` or `0.2xall`".to_owned(),
            found: format!("`{text}`"),
        };
        let (rate, attempts) = match text.split_once('x') {
            None => (text, Some(1)),
            Some((rate, "all")) => (rate, None),
            Some((rate, count)) => (rate, Some(count.parse().map_err(|_| wrong())?)),
        };
        let rate: f64 = rate.parse().map_err(|_| wrong())?;
        if (0.0..=1.0).contains(&rate) { Ok(Self { rate, attempts }) } else { Err(wrong()) }
    }
}

/// New reviews that arrive during a crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrivals {
    /// After so many answered pages of reviews of a place …
    pub every: u32,
    /// … so many reviews arrive at it, the newest first in its list,
    pub reviews: u32,
    /// until so many have arrived there in all.
    pub limit: u32,
}

/// When access is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// So many pages and GraphQL calls are answered first (robots.txt and pictures do not count).
    pub after: u64,
    /// How long it lasts.
    pub span: BlockSpan,
}

/// How long access is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockSpan {
    /// Until the switches change.
    Forever,
    /// For so many requests.
    Requests(u64),
    /// For so long after the first request that was refused.
    For(Duration),
}

/// What decides the next page of reviews.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paging {
    /// The page number, as the site's older builds: pages shift when reviews arrive.
    #[default]
    Number,
    /// `after`, where it is given: nothing shifts.
    Cursor,
}

/// What `/robots.txt` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Robots {
    /// Everything is allowed.
    #[default]
    AllowAll,
    /// Paths that begin with this are not.
    Deny(String),
    /// Nothing but a status, such as 404 or 500.
    Status(u16),
    /// This text.
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_from_text() {
        assert_eq!("0.2".parse::<Fault>().unwrap(), Fault::once(0.2));
        assert_eq!("0.2x3".parse::<Fault>().unwrap(), Fault::times(0.2, 3));
        assert_eq!("1xall".parse::<Fault>().unwrap(), Fault::always(1.0));
        assert_eq!(
            "2".parse::<Fault>().unwrap_err().to_string(),
            "expected a rate in 0..=1, such as `0.2`, `0.2x3` or `0.2xall`, found `2`"
        );
        assert!("x".parse::<Fault>().is_err());
    }
}
