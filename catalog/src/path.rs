//! Every path in the lake, built here and nowhere else.
//!
//! ```text
//! <lake>/raw/naver_reviews/            a table: _delta_log/ and Parquet under dt=…/
//! <lake>/_onggi/lake.json              whose lake this is
//! <lake>/_onggi/lake-id.json           what tells it from every other lake, for those outside that follow it
//! <lake>/_onggi/probe.json             that the store was proved to create an object once
//! <lake>/_onggi/staged/…               finished keys of tasks that have not landed yet
//! <lake>/_onggi/plans/…                what programs before this one set out to fetch; nobody reads it
//! <lake>/_onggi/claims/…               keys that a run has taken on, while it lives
//! <lake>/_onggi/sent/…                 which tasks of a day were sent to a queue that can't tell
//! <lake>/_onggi/dead/…                 tasks that were given up, where the queue can't keep why
//! <lake>/_onggi/workers/<worker>.json  the sign of life of a worker
//! <lake>/_onggi/runs/<run>/…           what a run reports while it goes on
//! <lake>/_onggi/state/<part>/…         small objects of the parts of the house
//! <lake>/_onggi/llm/<table>/<run>/…    replies of language models that are paid for and not in a table yet
//! <lake>/_onggi/batches/<table>/<n>/…  batches of requests to language models, and how far each is
//! ```

use std::fmt;

use jiff::civil::Date;
use object_store::path::{Path, PathPart};

use crate::name::{RunId, SourceName, TableName};

/// Where the house's own things lie.
const HOUSE: &str = "_onggi";

/// The place of an object under `<lake>/_onggi/`, or of a folder of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(Path);

impl ObjectPath {
    fn under<'a>(parts: impl IntoIterator<Item = PathPart<'a>>) -> Self {
        Self(std::iter::once(PathPart::from(HOUSE)).chain(parts).collect())
    }

    /// The path from the lake's root, `_onggi/…`.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// The last part, without its ending: `00007` of `_onggi/…/00007.json`.
    pub fn stem(&self) -> &str {
        let name = self.0.filename().unwrap_or_default();
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }

    /// What a store listed. Only this crate lists, and only under `_onggi/`.
    pub(crate) fn listed(path: Path) -> Self {
        Self(path)
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whose lake this is.
pub fn lake() -> ObjectPath {
    ObjectPath::under([PathPart::from("lake.json")])
}

/// What tells this lake from every other one.
pub(crate) fn lake_id() -> ObjectPath {
    ObjectPath::under([PathPart::from("lake-id.json")])
}

/// That the lake's place was proved, and where.
pub(crate) fn probe() -> ObjectPath {
    ObjectPath::under([PathPart::from("probe.json")])
}

/// A key that a proof creates and deletes.
pub(crate) fn probe_key(n: u64) -> ObjectPath {
    let name = format!("{n:016x}");
    ObjectPath::under(["probe", &name].map(PathPart::from))
}

/// All of [`probe_key`].
pub(crate) fn probe_keys() -> ObjectPath {
    ObjectPath::under([PathPart::from("probe")])
}

/// The finished output of one key, in a folder for what it is to land on top of. Names may hold any character; it is escaped.
pub fn staged(source: &SourceName, dt: Date, task: &str, key: &str) -> ObjectPath {
    let (day, file) = (dt.to_string(), format!("{key}.arrow"));
    ObjectPath::under(["staged", source.as_str(), &day, task, &file].map(PathPart::from))
}

/// All of [`staged`] of one task.
pub fn staged_task(source: &SourceName, dt: Date, task: &str) -> ObjectPath {
    let day = dt.to_string();
    ObjectPath::under(["staged", source.as_str(), &day, task].map(PathPart::from))
}

/// All of [`staged`].
pub fn staged_all() -> ObjectPath {
    ObjectPath::under([PathPart::from("staged")])
}

/// All of [`staged`] of a source's day.
pub fn staged_day(source: &SourceName, dt: Date) -> ObjectPath {
    let day = dt.to_string();
    ObjectPath::under(["staged", source.as_str(), &day].map(PathPart::from))
}

/// The keys of a source that a run of a day has taken on, by the name of who holds them.
pub fn claim(source: &SourceName, holder: &str, dt: Date) -> ObjectPath {
    let file = format!("{holder}-{dt}.json");
    ObjectPath::under(["claims", source.as_str(), &file].map(PathPart::from))
}

/// All of [`claim`] of a source, or of all.
pub fn claims(source: Option<&SourceName>) -> ObjectPath {
    ObjectPath::under(["claims"].into_iter().chain(source.map(SourceName::as_str)).map(PathPart::from))
}

/// Which tasks of a source's day were sent, for a queue that can't tell.
pub fn sent(source: &SourceName, dt: Date) -> ObjectPath {
    let file = format!("{dt}.json");
    ObjectPath::under(["sent", source.as_str(), &file].map(PathPart::from))
}

/// All of [`sent`].
pub fn sent_all() -> ObjectPath {
    ObjectPath::under([PathPart::from("sent")])
}

/// A task that was given up, and why.
pub fn dead(source: &SourceName, dt: Date, task: &str) -> ObjectPath {
    let (day, file) = (dt.to_string(), format!("{task}.json"));
    ObjectPath::under(["dead", source.as_str(), &day, &file].map(PathPart::from))
}

/// All of [`dead`] of a source's day; of all its days, or of all sources, where those are left out.
pub fn dead_letters(source: Option<&SourceName>, dt: Option<Date>) -> ObjectPath {
    let day = dt.map(|dt| dt.to_string());
    let parts = ["dead"].into_iter().chain(source.map(SourceName::as_str));
    let day = source.and(day.as_deref());
    ObjectPath::under(parts.chain(day).map(PathPart::from))
}

/// What programs before this one set out to fetch.
pub(crate) fn old_plans() -> ObjectPath {
    ObjectPath::under([PathPart::from("plans")])
}

/// The sign of life of a worker, by a name that no other process has.
pub fn worker(name: &str) -> ObjectPath {
    let file = format!("{name}.json");
    ObjectPath::under(["workers", &file].map(PathPart::from))
}

/// All of [`worker`].
pub fn workers() -> ObjectPath {
    ObjectPath::under([PathPart::from("workers")])
}

/// One event of a run, by its place in the run's story.
pub fn run_event(run: &RunId, seq: u64) -> ObjectPath {
    let file = format!("{seq:08}.json");
    ObjectPath::under(["runs", run.as_str(), &file].map(PathPart::from))
}

/// The latest sign of life of a run, and how far its steps were then.
pub fn run_heartbeat(run: &RunId) -> ObjectPath {
    ObjectPath::under(["runs", run.as_str(), "heartbeat.json"].map(PathPart::from))
}

/// All that is told of one run.
pub fn run(run: &RunId) -> ObjectPath {
    ObjectPath::under(["runs", run.as_str()].map(PathPart::from))
}

/// All that is told of all runs.
pub fn runs() -> ObjectPath {
    ObjectPath::under([PathPart::from("runs")])
}

/// A reply of a language model that was paid for and is not in `ops.llm_results` yet: the `seq`th of a run, for the table `into`.
pub fn llm_reply(into: &TableName, run: &RunId, seq: u64) -> ObjectPath {
    let (table, file) = (into.to_string(), format!("{seq:08}.json"));
    ObjectPath::under(["llm", &table, run.as_str(), &file].map(PathPart::from))
}

/// All of [`llm_reply`] for a table.
pub fn llm_replies(into: &TableName) -> ObjectPath {
    ObjectPath::under(["llm", &into.to_string()].map(PathPart::from))
}

/// One fact about the `n`th batch of requests for the table `into`, such as its `intent`.
pub fn batch(into: &TableName, n: u64, fact: &str) -> ObjectPath {
    let (table, number, file) = (into.to_string(), format!("{n:05}"), format!("{fact}.json"));
    ObjectPath::under(["batches", &table, &number, &file].map(PathPart::from))
}

/// All of [`batch`] for a table.
pub fn batches(into: &TableName) -> ObjectPath {
    ObjectPath::under(["batches", &into.to_string()].map(PathPart::from))
}

/// A free place for a part of the house that keeps its own small objects: `_onggi/state/<part>/<name>.json`.
pub fn state(part: &str, name: &str) -> ObjectPath {
    let file = format!("{name}.json");
    ObjectPath::under(["state", part, &file].map(PathPart::from))
}

/// All of [`state`] of one part.
pub fn states(part: &str) -> ObjectPath {
    ObjectPath::under(["state", part].map(PathPart::from))
}

/// When the last upkeep began.
pub(crate) fn last_upkeep() -> ObjectPath {
    state("upkeep", "last")
}

/// What an upkeep that only looks writes to read the store's clock, and removes: beside [`last_upkeep`].
pub(crate) fn upkeep_clock() -> ObjectPath {
    state("upkeep", &format!("clock-{}", crate::fresh_id()))
}

/// Where [`last_upkeep`] is.
pub(crate) fn last_upkeep_folder() -> ObjectPath {
    states("upkeep")
}

/// A table's folder from the lake's root, `marts/places`: for catalogs that list what lies where.
pub fn table_folder(name: &TableName) -> String {
    table(name).to_string()
}

/// A table's folder, from the lake's root.
pub(crate) fn table(name: &TableName) -> Path {
    [name.layer().as_str(), name.name()].into_iter().collect()
}

/// A table's log, from the lake's root.
pub(crate) fn log(name: &TableName) -> Path {
    [name.layer().as_str(), name.name(), "_delta_log"].into_iter().collect()
}

/// The file of one commit, from the lake's root.
pub(crate) fn commit(name: &TableName, version: u64) -> Path {
    [name.layer().as_str(), name.name(), "_delta_log", &format!("{version:020}.json")].into_iter().collect()
}

/// The folder of the embedded parts in a local lake.
pub(crate) const LOCAL_HOUSE: &str = HOUSE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_where_the_map_says() {
        let source = SourceName::new("naver_reviews").unwrap();
        let dt = Date::constant(2026, 10, 1);
        let run_id: RunId = "r1".parse().unwrap();
        assert_eq!(staged(&source, dt, "t1", "k1").as_str(), "_onggi/staged/naver_reviews/2026-10-01/t1/k1.arrow");
        assert!(staged(&source, dt, "t1", "k1").as_str().starts_with(staged_day(&source, dt).as_str()));
        assert_eq!(sent(&source, dt).as_str(), "_onggi/sent/naver_reviews/2026-10-01.json");
        assert_eq!(dead(&source, dt, "t1").as_str(), "_onggi/dead/naver_reviews/2026-10-01/t1.json");
        assert_eq!(dead_letters(Some(&source), Some(dt)).as_str(), "_onggi/dead/naver_reviews/2026-10-01");
        assert_eq!(dead_letters(None, Some(dt)).as_str(), "_onggi/dead", "days lie below sources");
        assert_eq!(worker("w1").as_str(), "_onggi/workers/w1.json");
        assert_eq!(run_event(&run_id, 12).as_str(), "_onggi/runs/r1/00000012.json");
        assert_eq!(run_event(&run_id, 12).stem(), "00000012");
        let table_name: TableName = "raw.naver_reviews".parse().unwrap();
        assert_eq!(commit(&table_name, 7).as_ref(), "raw/naver_reviews/_delta_log/00000000000000000007.json");
    }

    #[test]
    fn odd_ids_stay_one_part() {
        let source = SourceName::new("s").unwrap();
        let path = staged(&source, Date::constant(2026, 10, 1), "../../x", "망원동 국밥/1#2");
        assert_eq!(path.as_str().matches('/').count(), 5, "{path}");
        assert!(path.as_str().split('/').all(|part| part != ".."), "{path}");
    }
}
