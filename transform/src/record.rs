//! What went into the rows of a build, and the fingerprint of that.
//!
//! Tables enter it by their contents and never by their version numbers: a number starts again when a table is made anew or comes
//! back from a copy, and it grows with commits that bring no row. Of a parent that is read by day only the days that are read
//! count, so a new day leaves the older ones as they are.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Date, Lake, ObjectPath, PartsHash, TableName, Version, date_of, days_since_epoch, path};
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::reason::Reason;
use crate::session;

/// Raised when the fields below mean something else.
const FORMAT: u32 = 2;
/// This bit of a mark says that the day it stands for is in it.
const HAS_DAY: i64 = 1 << 62;
/// How many bits of a hash stand below the day.
const HASH_BITS: u32 = 42;
/// How many bits each half of a mark has.
const HALF_BITS: u32 = 31;

/// The first bits of a hash, fewer than 63.
fn bits(hash: PartsHash, count: u32) -> i64 {
    let first = hash.finish().iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    i64::try_from(first >> (64 - count)).unwrap_or(0)
}

/// One table that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadTable {
    /// The version, for people and for merging what came since.
    pub(crate) version: Version,
    /// What it held, of the days that are read.
    pub(crate) content: String,
    /// Hash of its columns, where the query means all of them.
    pub(crate) columns: Option<String>,
    /// Whether all of it is read, and not only days that the build's own day decides.
    pub(crate) whole: bool,
    /// What it held of the build's own day, where all of it is read and it is split by day: rows of that very day that come late are
    /// not what was known of others. An older program did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) of_day: Option<String>,
}

/// What went into the rows of one build: of a table, or of one day of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What the other fields mean.
    pub(crate) format: u32,
    /// The version of the query engine, and the settings of ours that change its answers.
    pub(crate) engine: String,
    /// Hash of the query, the materialization and the key.
    pub(crate) sql: String,
    /// Hash of the checks that the rows passed. No part of the fingerprint: other checks make no other rows.
    pub(crate) checks: String,
    /// What the tables held that the checks looked into. No part of the fingerprint either.
    pub(crate) checked: BTreeMap<TableName, String>,
    /// The versions of those of our functions that the query calls.
    pub(crate) functions: BTreeMap<String, u32>,
    /// Hashes of the views that the query looks through.
    pub(crate) views: BTreeMap<TableName, String>,
    /// The tables that were read.
    pub(crate) parents: BTreeMap<TableName, ReadTable>,
    /// The day that `$dt` stood for. None for a `latest` model, which merges every day that it has not seen.
    pub(crate) dt: Option<Date>,
    /// Whether the table is one thing that stands for that day, so that the mark must say which day it is.
    pub(crate) stands_for_day: bool,
}

impl Record {
    pub(crate) fn new(model: &Model, views: &[&Model], dt: Date) -> Self {
        let all = || std::iter::once(model).chain(views.iter().copied());
        let called: BTreeSet<&str> = all().flat_map(|model| model.statement().calls()).collect();
        let ours = crate::functions().iter().filter(|function| called.contains(function.name));
        let stands_for_day = model.stands_for_day();
        let daily = stands_for_day || model.materialization().is_by_day();
        Self {
            format: FORMAT,
            engine: session::answers().to_owned(),
            sql: model.rows_hash(),
            checks: model.checks_hash(),
            checked: BTreeMap::new(),
            functions: ours.map(|function| (function.name.to_owned(), function.version)).collect(),
            views: views.iter().map(|view| (view.name().clone(), view.rows_hash())).collect(),
            parents: BTreeMap::new(),
            dt: daily.then_some(dt),
            stands_for_day,
        }
    }

    /// The number that the table's log keeps of a build: the same exactly when the same rows would be made. Its upper half is of
    /// all but the tables that are read whole, and its lower half of those: what a day holds of a table that goes on changing is
    /// what was known on that day. For a table that stands for a day, the day can be read from the mark instead.
    pub(crate) fn mark(&self) -> i64 {
        self.marked(true)
    }

    /// The same as an older program made it, which did not ask for the own day of what is read whole.
    fn former_mark(&self) -> i64 {
        self.marked(false)
    }

    /// Whether a build with this mark made the rows that would be made now.
    pub(crate) fn is_of(&self, mark: i64) -> bool {
        mark == self.mark() || mark == self.former_mark()
    }

    fn marked(&self, with_own_day: bool) -> i64 {
        let mut own = PartsHash::new();
        own.part(self.format.to_string());
        own.part(&self.engine);
        own.part(&self.sql);
        own.part(self.dt.map_or_else(String::new, |day| day.to_string()));
        for (name, version) in &self.functions {
            own.part(format!("function {name} {version}"));
        }
        for (name, view) in &self.views {
            own.part(format!("view {name} {view}"));
        }
        let mut whole = PartsHash::new();
        for (name, read) in &self.parents {
            let columns = read.columns.as_deref().unwrap_or_default();
            let hash = if read.whole { &mut whole } else { &mut own };
            hash.part(format!("table {name} {} {columns}", read.content));
            if let Some(of_day) = read.of_day.as_ref().filter(|_| with_own_day) {
                own.part(format!("day of {name} {of_day}"));
            }
        }
        let (own, whole) = (bits(own, HALF_BITS), bits(whole, HALF_BITS));
        match self.dt.filter(|_| self.stands_for_day) {
            Some(day) => {
                let day = i64::from(days_since_epoch(day)).clamp(0, (1 << (2 * HALF_BITS - HASH_BITS)) - 1);
                let mut hash = PartsHash::new();
                hash.part(format!("{own} {whole}"));
                HAS_DAY | day << HASH_BITS | bits(hash, HASH_BITS)
            }
            None => own << HALF_BITS | whole,
        }
    }

    /// Whether a build of the day with this mark differs in nothing but what it read whole, and there in other days alone.
    pub(crate) fn is_as_of_then(&self, mark: i64) -> bool {
        let own = |mark: i64| mark >> HALF_BITS;
        !self.is_of(mark) && [self.mark(), self.former_mark()].map(own).contains(&own(mark))
    }

    /// Whether it is of one day of a table among others.
    pub(crate) fn has_day(&self) -> bool {
        self.dt.is_some() && !self.stands_for_day
    }

    /// The day that a table stands for, by the mark of its last build.
    pub(crate) fn day_of_mark(mark: i64) -> Option<Date> {
        let day = (mark & !HAS_DAY) >> HASH_BITS;
        (mark & HAS_DAY != 0).then(|| i32::try_from(day).ok().and_then(date_of)).flatten()
    }

    /// Whether rows that were checked as `before` says need to be looked at again, and why.
    pub(crate) fn recheck_since(&self, before: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.checks != before.checks {
            reasons.push(Reason::ChecksChanged);
        }
        let changed = self.checked.iter().filter(|(name, content)| before.checked.get(*name) != Some(*content));
        reasons.extend(changed.map(|(name, _)| Reason::ReferenceChanged(name.clone())));
        reasons
    }

    /// What changed since `before` that makes other rows.
    pub(crate) fn reasons_since(&self, before: &Self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.sql != before.sql {
            reasons.push(Reason::SqlChanged);
        }
        if self.engine != before.engine {
            reasons.push(Reason::EngineChanged);
        }
        // A query that calls a function for the first time is another query, and says so.
        let changed =
            self.functions.iter().filter(|(name, now)| before.functions.get(*name).is_some_and(|then| then != *now));
        reasons.extend(changed.map(|(name, _)| Reason::FunctionChanged(name.clone())));
        for name in self.views.keys().chain(before.views.keys()).collect::<BTreeSet<_>>() {
            if self.sql == before.sql && self.views.get(name) != before.views.get(name) {
                reasons.push(Reason::ViewChanged(name.clone()));
            }
        }
        for (name, read) in &self.parents {
            let same = |then: &ReadTable| then.content == read.content && then.columns == read.columns;
            if before.parents.get(name).is_some_and(|then| !same(then)) {
                reasons.push(Reason::ParentChanged(name.clone()));
            }
        }
        // A table that was read and is not there, or is to be made first, is not the one that was read.
        if self.sql == before.sql && self.views == before.views {
            let gone = before.parents.keys().filter(|name| !self.parents.contains_key(*name));
            reasons.extend(gone.cloned().map(Reason::ParentChanged));
        }
        if let (Some(day), Some(other)) = (self.dt, before.dt)
            && day != other
        {
            reasons.push(Reason::OtherDay(other));
        }
        reasons
    }
}

/// What is known of how a table, or a day of it, was built last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastBuild {
    /// All that went in.
    Known(Box<Record>),
    /// It was made by a program that kept other records; the day it stood for, if it said so.
    Older(Option<Date>),
    /// Nothing: there is no record.
    Lost,
}

impl LastBuild {
    /// Reads what [`Record`] was written as, by this program or an older one.
    pub(crate) fn parse(bytes: Option<&[u8]>) -> Self {
        let Some(bytes) = bytes else { return Self::Lost };
        if let Ok(record) = serde_json::from_slice::<Record>(bytes)
            && record.format == FORMAT
        {
            return Self::Known(Box::new(record));
        }
        match serde_json::from_slice::<serde_json::Value>(bytes) {
            Ok(value) if value.get("parents").is_some() => {
                Self::Older(value.get("dt").and_then(|day| day.as_str()?.parse().ok()))
            }
            _ => Self::Lost,
        }
    }

    pub(crate) fn record(&self) -> Option<&Record> {
        match self {
            Self::Known(record) => Some(record),
            Self::Older(_) | Self::Lost => None,
        }
    }

    /// The day that it was built for, if it was built for one and that is known.
    pub(crate) fn day(&self) -> Option<Date> {
        match self {
            Self::Known(record) => record.dt,
            Self::Older(day) => *day,
            Self::Lost => None,
        }
    }
}

/// The name of a model's builds in its table's log: one for each day that is built by itself.
pub(crate) fn app_id(model: &Model, dt: Date) -> String {
    format!("build/{}/{}", model.name(), label(model, dt))
}

/// The day whose partition is built, for a model that is kept by day.
pub(crate) fn day_of(model: &Model, dt: Date) -> Option<Date> {
    (model.materialization().is_by_day()).then_some(dt)
}

fn label(model: &Model, dt: Date) -> String {
    day_of(model, dt).map_or_else(|| "-".to_owned(), |day| day.to_string())
}

/// Where the record of a build lies whose rows lie in these files and passed these checks: a list of names says which days
/// they were tried on, and whether the rows that a day has are those of its build.
pub(crate) fn record_path(model: &Model, dt: Date, mark: i64, checks: &str, files: &str) -> ObjectPath {
    path::state("builds", &format!("{}~{checks}~{files}", record_name(model, dt, mark)))
}

/// Where older programs left it: with the checks, and before without.
fn older_record_paths(model: &Model, dt: Date, mark: i64, checks: &str) -> [ObjectPath; 2] {
    let name = record_name(model, dt, mark);
    [path::state("builds", &format!("{name}~{checks}")), path::state("builds", &name)]
}

fn record_name(model: &Model, dt: Date, mark: i64) -> String {
    format!("{}~{}~{mark:016x}", model.name(), label(model, dt))
}

/// The record of a build.
pub(crate) struct FoundRecord {
    pub(crate) last: LastBuild,
    /// Where it lies, if it was found.
    pub(crate) path: Option<ObjectPath>,
    /// Whether it is of other files than those that are there: somebody changed the rows since. A mark outlives the rows of its
    /// build where the table was kept in another way for a while, so without a record it says nothing of a day that has no
    /// files, or of a table that is split otherwise than its model says.
    pub(crate) of_other_files: bool,
}

/// Reads the record of a build, whichever checks its rows passed. `files` are those that hold the rows now.
pub(crate) async fn read_record(
    lake: &Lake,
    model: &Model,
    dt: Date,
    mark: i64,
    files: &str,
) -> catalog::Result<FoundRecord> {
    let (objects, checks) = (lake.objects(), model.checks_hash());
    let found = |bytes: Option<&[u8]>, path: ObjectPath, of_other_files| FoundRecord {
        last: LastBuild::parse(bytes),
        path: Some(path),
        of_other_files,
    };
    let of_these = record_path(model, dt, mark, &checks, files);
    for path in std::iter::once(of_these).chain(older_record_paths(model, dt, mark, &checks)) {
        if let Some(bytes) = objects.get(&path).await? {
            return Ok(found(Some(&bytes), path, false));
        }
    }
    // It passed others, whose hash stands in its name alone, or has other rows.
    let others = objects.list(&path::states("builds")).await?;
    let label = record_name(model, dt, mark);
    let mut places: Vec<(bool, ObjectPath)> = others
        .into_iter()
        .filter(|path| name_of(path).strip_prefix(&label).is_some_and(|rest| rest.starts_with('~')))
        .filter_map(|path| Some((!place_of(&path)?.is_of(files), path)))
        .collect();
    places.sort();
    match places.into_iter().next() {
        Some((of_other_files, path)) => Ok(found(objects.get(&path).await?.as_deref(), path, of_other_files)),
        None => Ok(FoundRecord { last: LastBuild::Lost, path: None, of_other_files: false }),
    }
}

/// Where the record of a view's last checks lies: nothing else of a view is kept.
pub(crate) fn view_record_path(view: &Model) -> ObjectPath {
    path::state("builds", &format!("{}~-~view", view.name()))
}

/// The name that a path was made of: paths escape the tilde.
fn name_of(path: &ObjectPath) -> String {
    path.stem().replace("%7E", "~")
}

/// What the place of a record says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordPlace {
    /// The mark of the build.
    pub(crate) mark: i64,
    /// The checks that its rows passed; an older program does not say.
    pub(crate) checks: Option<String>,
    /// The files that hold its rows; an older program does not say.
    pub(crate) files: Option<String>,
    /// Where it lies.
    pub(crate) path: ObjectPath,
}

impl RecordPlace {
    /// Whether it is of the rows that these files hold, as far as it says.
    pub(crate) fn is_of(&self, files: &str) -> bool {
        self.files.as_deref().is_none_or(|of| of == files)
    }
}

/// The model and the day of a record, and what else its place says.
pub(crate) fn parse_record_path(path: &ObjectPath) -> Option<(TableName, Date, RecordPlace)> {
    let name = name_of(path);
    let mut parts = name.split('~');
    let (name, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((name, day, place_of(path)?))
}

fn place_of(path: &ObjectPath) -> Option<RecordPlace> {
    let name = name_of(path);
    let mut parts = name.split('~').skip(2);
    let mark = i64::from_str_radix(parts.next()?, 16).ok()?;
    let (checks, files) = (parts.next().map(str::to_owned), parts.next().map(str::to_owned));
    Some(RecordPlace { mark, checks, files, path: path.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let read = |content: &str| ReadTable {
            version: 3,
            content: content.to_owned(),
            columns: None,
            whole: true,
            of_day: None,
        };
        Record {
            format: FORMAT,
            engine: "e".into(),
            sql: "s".into(),
            checks: "c".into(),
            checked: [("staging.r".parse().unwrap(), "r".to_owned())].into(),
            functions: [("nfc".to_owned(), 1)].into(),
            views: [("staging.v".parse().unwrap(), "v".to_owned())].into(),
            parents: [("raw.a".parse().unwrap(), read("a")), ("raw.b".parse().unwrap(), read("b"))].into(),
            dt: Some("2026-10-01".parse().unwrap()),
            stands_for_day: false,
        }
    }

    #[test]
    fn each_change_has_its_reason_and_its_mark() {
        type Change = fn(&mut Record);
        let changes: [(Change, bool, &str); 11] = [
            (|_| {}, true, ""),
            (|it| it.checks = "d".into(), true, "checks changed"),
            (
                |it| drop(it.checked.insert("staging.r".parse().unwrap(), "q".into())),
                true,
                "staging.r, which a check looks into, changed",
            ),
            // Commits that bring no row.
            (|it| it.parents.values_mut().for_each(|read| read.version += 1), true, ""),
            (|it| it.sql = "t".into(), false, "sql changed"),
            (|it| it.engine = "f".into(), false, "the query engine changed"),
            (|it| it.functions = [("nfc".to_owned(), 2)].into(), false, "function nfc changed"),
            (|it| drop(it.views.insert("staging.v".parse().unwrap(), "w".into())), false, "view staging.v changed"),
            (|it| it.parents.values_mut().last().unwrap().content = "c".into(), false, "raw.b changed"),
            (|it| it.dt = Some("2026-10-02".parse().unwrap()), false, "it was built for 2026-10-01"),
            (|it| it.format += 1, false, ""),
        ];
        let before = record();
        for (change, same, why) in changes {
            let mut now = record();
            change(&mut now);
            let reasons = [now.reasons_since(&before), now.recheck_since(&before)].concat();
            assert_eq!(reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "), why);
            assert_eq!(now.mark() == before.mark(), same, "{why}");
        }
    }

    #[test]
    fn what_was_known_then_is_told_from_what_is_stale() {
        let before = record();
        let by_day = |change: fn(&mut ReadTable), whole: bool| {
            let mut record = record();
            record.parents.values_mut().for_each(|read| read.whole = whole);
            let then = record.mark();
            record.parents.values_mut().for_each(change);
            record.is_as_of_then(then)
        };
        assert!(by_day(|read| read.content.push('x'), true));
        assert!(!by_day(|read| read.content.push('x'), false));
        assert!(!before.is_as_of_then(before.mark()));
        let changed = Record { sql: "t".into(), ..record() };
        assert!(!changed.is_as_of_then(before.mark()));
        // Rows of its own day that come late are no matter of others, wherever else it reads.
        let own = |of_day: Option<&str>, content: &str| {
            let mut record = record();
            for read in record.parents.values_mut() {
                (read.of_day, read.content) = (of_day.map(str::to_owned), content.to_owned());
            }
            record
        };
        let then = own(Some("d"), "a");
        assert!(own(Some("d"), "b").is_as_of_then(then.mark()));
        assert!(!own(Some("e"), "b").is_as_of_then(then.mark()));
        // What an older program built is told as it did.
        let older = own(None, "a").mark();
        assert!(own(Some("d"), "a").is_of(older));
        assert!(own(Some("d"), "b").is_as_of_then(older) && !own(Some("d"), "b").is_of(older));
    }

    #[test]
    fn the_place_of_a_record_says_what_it_is_of() {
        let text = "-- materialize: partition\n-- check: not_null(a)\nselect 1 as a where $dt is not null".to_owned();
        let file = crate::ModelFile { path: "x/staging/a.sql".to_owned(), text };
        let models = crate::Models::parse(vec![file]).unwrap();
        let model = models.iter().next().unwrap();
        let day: Date = "2026-10-01".parse().unwrap();
        let [with_checks, without] = older_record_paths(model, day, 7, "c0ffee");
        let cases = [
            (record_path(model, day, 7, "c0ffee", "f11e5"), Some("c0ffee".to_owned()), Some("f11e5".to_owned())),
            (with_checks, Some("c0ffee".to_owned()), None),
            (without, None, None),
        ];
        for (path, checks, files) in cases {
            let place = RecordPlace { mark: 7, checks, files, path: path.clone() };
            assert_eq!(parse_record_path(&path), Some((model.name().clone(), day, place)), "{path}");
        }
        assert_eq!(parse_record_path(&view_record_path(model)), None);
    }

    #[test]
    fn a_mark_says_its_day_where_the_table_stands_for_one() {
        assert_eq!(Record::day_of_mark(record().mark()), None);
        for day in ["1970-01-01", "2026-10-01", "4000-02-29"] {
            let day: Date = day.parse().unwrap();
            let marked = Record { dt: Some(day), stands_for_day: true, ..record() };
            assert!(marked.mark() > 0);
            assert_eq!(Record::day_of_mark(marked.mark()), Some(day));
            let other = Record { sql: "t".into(), ..marked.clone() };
            assert_ne!(other.mark(), marked.mark());
        }
    }

    #[test]
    fn records_of_older_programs_are_told_from_lost_ones() {
        let older = br#"{"sql":"a","checks":"b","functions":1,"views":{},"parents":{"raw.a":3},"dt":"2026-10-03"}"#;
        let day = "2026-10-03".parse().unwrap();
        let known = record();
        let cases: [(Option<Vec<u8>>, LastBuild); 5] = [
            (None, LastBuild::Lost),
            (Some(b"{".to_vec()), LastBuild::Lost),
            (Some(older.to_vec()), LastBuild::Older(Some(day))),
            (Some(serde_json::to_vec(&Record { format: 1, ..record() }).unwrap()), LastBuild::Older(record().dt)),
            (Some(serde_json::to_vec(&known).unwrap()), LastBuild::Known(Box::new(known))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(LastBuild::parse(bytes.as_deref()), expected);
        }
    }
}
