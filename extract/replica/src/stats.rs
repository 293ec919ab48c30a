//! What was asked and what was answered, counted. Tests count requests instead of timing them.

use std::collections::BTreeMap;

/// Everything a replica has been asked since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// All requests, pictures too.
    pub requests: u64,
    /// The most requests that were under way at once.
    pub peak_in_flight: u64,
    /// `/robots.txt`.
    pub robots: u64,
    /// List pages, by search words.
    pub list_pages: BTreeMap<String, u64>,
    /// Home pages, by place.
    pub home_pages: BTreeMap<String, u64>,
    /// Pages of the review tab, by place.
    pub review_pages: BTreeMap<String, u64>,
    /// Pictures: a crawler that does not load them leaves this at 0.
    pub pictures: u64,
    /// GraphQL requests (a batch is one).
    pub graphql: u64,
    /// GraphQL operations, by name.
    pub operations: BTreeMap<String, u64>,
    /// `getVisitorReviews`, by place and page.
    pub review_calls: BTreeMap<(String, u64), u64>,
    /// `getRestaurants`, by search words and start.
    pub list_calls: BTreeMap<(String, u64), u64>,
    /// Requests for what does not exist, or that could not be read.
    pub unknown: u64,
    /// Answered with the page that says that access is limited.
    pub blocked: u64,
    /// Answered 429.
    pub too_many: u64,
    /// Answered 500 or 503 by a switch.
    pub server_errors: u64,
    /// Answered 500 because the place is poisoned.
    pub poisoned: u64,
    /// Bodies that trickled.
    pub slow: u64,
    /// Bodies that ended in the middle.
    pub cut: u64,
    /// GraphQL answers that were no JSON.
    pub garbage: u64,
    /// GraphQL answers with `errors`.
    pub partial_errors: u64,
    /// Place pages with next to nothing in them.
    pub half_rendered: u64,
    /// Reviews that arrived while pages were read.
    pub arrived: u64,
    /// Reviews sent, in documents and answers, each time they were sent.
    pub reviews_sent: u64,
    /// Spoilt reviews sent, each time they were sent.
    pub spoilt_sent: u64,
    /// Reviews sent under older field names, each time they were sent.
    pub drifted_sent: u64,
}

impl Stats {
    /// All pages: lists, homes and review tabs.
    pub fn pages(&self) -> u64 {
        [&self.list_pages, &self.home_pages, &self.review_pages].iter().flat_map(|counts| counts.values()).sum()
    }

    /// Pages and GraphQL requests: what a crawler paid the site's attention for.
    pub fn fetches(&self) -> u64 {
        self.pages() + self.graphql
    }

    /// Everything asked about one place: its pages and its `getVisitorReviews` calls.
    pub fn fetches_of(&self, place: &str) -> u64 {
        let pages = self.home_pages.get(place).unwrap_or(&0) + self.review_pages.get(place).unwrap_or(&0);
        pages + self.review_calls.iter().filter(|((id, _), _)| id == place).map(|(_, count)| count).sum::<u64>()
    }
}

/// Counts one more of `key`.
pub(crate) fn count<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    *counts.entry(key).or_default() += 1;
}
