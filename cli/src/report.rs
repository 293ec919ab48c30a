//! What a run did, as one line for people and one object for scripts.

use std::collections::BTreeMap;

use catalog::{Date, Requests, RunId};
use serde::Serialize;

use crate::count::thousands;
use crate::exit::Exit;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Every step is done.
    Done,
    /// Done, but something is missing.
    Partial,
    /// A step failed; what depends on it was not built.
    Failed,
}

impl From<Status> for Exit {
    fn from(status: Status) -> Self {
        match status {
            Status::Done => Self::Done,
            Status::Partial => Self::Partial,
            Status::Failed => Self::Failed,
        }
    }
}

/// What a run did, in totals over its steps. The field order is the order that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunReport {
    /// The run's name.
    pub run: RunId,
    /// Its day.
    pub dt: Date,
    /// How it ended.
    pub status: Status,
    /// Records that came in: `landed` + `set_aside`.
    pub fetched: i64,
    /// Records that landed with every field mapped.
    pub landed: i64,
    /// Records that landed with a reason why a field could not be mapped.
    pub set_aside: i64,
    /// Models and enrichments that were built.
    pub built: i64,
    /// Models and enrichments that were up to date.
    pub unchanged: i64,
    /// Checks that ran.
    pub checks: i64,
    /// Summaries that were computed, not found in the lake.
    pub summarised: i64,
    /// Embeddings that were computed, not found in the lake.
    pub embedded: i64,
    /// Rows written to or deleted from sinks.
    pub synced: i64,
    /// How long it took.
    pub seconds: f64,
    /// HTTP requests to the lake until the last step ended, if it is in a bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Files of the lake that readers need and that its upkeep found gone or cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

impl RunReport {
    /// The totals of a run's steps, from the counts that each step left in the run's log.
    pub(crate) fn new<'a>(
        run: RunId,
        dt: Date,
        status: Status,
        steps: impl Iterator<Item = &'a BTreeMap<String, i64>>,
        seconds: f64,
    ) -> Self {
        let mut totals: BTreeMap<&str, i64> = BTreeMap::new();
        for counts in steps {
            // Summaries that are set aside are no records: `fetched` = `landed` + `set_aside` holds for what was fetched.
            let records = counts.contains_key("fetched");
            for (name, count) in counts.iter().filter(|(name, _)| records || *name != "set_aside") {
                // A site may say of itself whatever a number can hold.
                let total = totals.entry(name).or_default();
                *total = total.saturating_add(*count);
            }
        }
        let total = |name: &str| totals.get(name).copied().unwrap_or(0);
        Self {
            run,
            dt,
            status,
            fetched: total("fetched"),
            landed: total("landed"),
            set_aside: total("set_aside"),
            built: total("built"),
            unchanged: total("unchanged"),
            checks: total("checks"),
            summarised: total("summarised"),
            embedded: total("embedded"),
            synced: total("synced"),
            seconds: (seconds * 1000.0).round() / 1000.0,
            requests: None,
            damaged: Vec::new(),
        }
    }

    /// The totals by name, as the run's record keeps them.
    pub(crate) fn totals(&self) -> BTreeMap<String, i64> {
        let totals = [
            ("fetched", self.fetched),
            ("landed", self.landed),
            ("set_aside", self.set_aside),
            ("built", self.built),
            ("unchanged", self.unchanged),
            ("checks", self.checks),
            ("summarised", self.summarised),
            ("embedded", self.embedded),
            ("synced", self.synced),
        ];
        let requests = self.requests.iter().flat_map(Requests::counts);
        let requests = requests.map(|(name, count)| (name, i64::try_from(count).unwrap_or(i64::MAX)));
        totals.into_iter().chain(requests).map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// The run in one line: `fetched 0 · built 0 · embedded 0 · synced 0`, with what else is worth a word.
    pub(crate) fn line(&self) -> String {
        let number = |count: i64| thousands(count.unsigned_abs());
        let mut parts = vec![format!("fetched {}", number(self.fetched))];
        if self.set_aside > 0 {
            parts.push(format!("set aside {}", number(self.set_aside)));
        }
        parts.push(format!("built {}", number(self.built)));
        if self.summarised > 0 {
            parts.push(format!("summarised {}", number(self.summarised)));
        }
        parts.push(format!("embedded {}", number(self.embedded)));
        parts.push(format!("synced {}", number(self.synced)));
        parts.join(" · ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_sums_over_the_steps() {
        let first = BTreeMap::from([("fetched".to_owned(), 20_050), ("landed".to_owned(), 20_000)]);
        let second = BTreeMap::from([("fetched".to_owned(), 1), ("set_aside".to_owned(), 50)]);
        let run: RunId = "r1".parse().unwrap();
        let dt = "2026-10-01".parse().unwrap();
        let report = RunReport::new(run, dt, Status::Done, [&first, &second].into_iter(), 1.23456);
        assert_eq!((report.fetched, report.landed, report.set_aside), (20_051, 20_000, 50));
        let most = BTreeMap::from([("fetched".to_owned(), i64::MAX)]);
        let run: RunId = "r2".parse().unwrap();
        let of_two = RunReport::new(run, dt, Status::Done, [&most, &most].into_iter(), 1.0);
        assert_eq!(of_two.fetched, i64::MAX, "two sites that say of themselves as much as a number can hold");
        assert_eq!(report.line(), "fetched 20,051 · set aside 50 · built 0 · embedded 0 · synced 0");
        let json = serde_json::to_string(&report).unwrap();
        assert!(json.ends_with(r#""synced":0,"seconds":1.235}"#), "{json}");
    }

    #[test]
    fn requests_are_part_of_the_record_where_they_are_counted() {
        let run: RunId = "r1".parse().unwrap();
        let dt = "2026-10-01".parse().unwrap();
        let mut report = RunReport::new(run, dt, Status::Done, std::iter::empty(), 1.0);
        assert!(!report.totals().contains_key("put_requests"));
        report.requests = Some(Requests { put: 120, get: 310, list: 14, ..Requests::default() });
        let totals = report.totals();
        assert_eq!((totals["put_requests"], totals["get_requests"], totals["list_requests"]), (120, 310, 14));
    }
}
