//! Every fault at every kind of request, once, twice and always, printed as a table.
//!
//! A case is a fault at one kind of request while a table is written (or an object beside it). It may end in
//! three ways, and each is a promise: *done*, and the rows are there once; *refused*, and nothing of it can be seen, now
//! or later; *unknown*, and the same work done again finds it or does it. Whatever it was, after the work
//! was done again without faults the rows are there exactly once. A fault that never fired fails its case.

mod fault;
mod store;

use std::collections::BTreeMap;

use datafusion::error::DataFusionError;
use futures::StreamExt as _;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::store::CreateOnce;
use crate::{PutNew, path};
use fault::{Fault, Verb};
use store::Faulty;

/// How often a fault fires.
const TIMES: [(&str, u32); 3] = [("once", 1), ("twice", 2), ("always", u32::MAX)];

/// Which faults each kind of request can meet, and in which work.
const CASES: [(Verb, Work, &[Fault]); 11] = [
    (Verb::PutData, Work::Append, WRITE),
    (Verb::PutLog, Work::Append, CREATE),
    (Verb::PutLog, Work::Replace, CREATE),
    (Verb::PutLog, Work::Create, CREATE),
    (Verb::PutCheckpoint, Work::Append, WRITE),
    (Verb::Create, Work::Objects, CREATE),
    (Verb::Put, Work::Objects, WRITE),
    (Verb::Get, Work::Append, READ),
    (Verb::GetRange, Work::Read, READ),
    (Verb::List, Work::Append, READ),
    (Verb::Delete, Work::Objects, &[Fault::Busy, Fault::DoneThen500, Fault::LostReply, Fault::Expired, Fault::Slow]),
];

const WRITE: &[Fault] = &[
    Fault::Busy,
    Fault::DoneThen500,
    Fault::TimeoutBefore,
    Fault::TimeoutLandsLast,
    Fault::LostReply,
    Fault::Expired,
    Fault::DoneThen403,
    Fault::Slow,
];

const CREATE: &[Fault] = &[
    Fault::Busy,
    Fault::DoneThen500,
    Fault::TimeoutBefore,
    Fault::TimeoutLandsAtNext,
    Fault::TimeoutLandsLast,
    Fault::LostReply,
    Fault::Conflict,
    Fault::OwnExists,
    Fault::Expired,
    Fault::DoneThen403,
    Fault::Slow,
];

const READ: &[Fault] =
    &[Fault::Busy, Fault::TimeoutBefore, Fault::Missing, Fault::CutBody, Fault::Expired, Fault::Slow];

/// What is done while the fault fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// Rows are added by a cold process, in the commit that is followed by a checkpoint.
    Append,
    /// A day is replaced.
    Replace,
    /// A table is made.
    Create,
    /// An object beside the tables is created, overwritten, read and deleted.
    Objects,
    /// Rows are added that fill a file in parts.
    Large,
    /// Rows are read.
    Read,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Done,
    Refused,
    Unknown,
}

/// A lake with a table of a few commits; the next one is followed by a checkpoint. Each case gets a copy.
async fn base() -> InMemory {
    static BASE: tokio::sync::OnceCell<InMemory> = tokio::sync::OnceCell::const_new();
    BASE.get_or_init(make_base).await.fork()
}

async fn make_base() -> InMemory {
    let store = Arc::new(InMemory::new());
    let lake = Lake::on_store(Arc::clone(&store)).await;
    let table = lake.create(&spec("staging.t", true)).await.unwrap();
    for id in 100..108 {
        let batches = vec![rows(&[id], Some(NEXT))];
        let _ = table.append(batches, task(&id.to_string(), 1), &info()).await.unwrap();
    }
    store.fork()
}

impl Work {
    async fn run(self, lake: &Lake) -> Result<()> {
        match self {
            Self::Append | Self::Replace | Self::Large => {
                let table = lake.table(&name("staging.t")).await?;
                let input = stream(vec![self.rows()]);
                let written = table.write(vec![input], &WriteOptions::default()).await?;
                let committed = match self {
                    Self::Replace => written.replace(Scope::Day(DAY), build(7), &info()).await?,
                    _ => written.append(task("a", 1), &info()).await?,
                };
                assert!(!matches!(committed, Committed::Conflict(_)), "nobody else was there");
                Ok(())
            }
            Self::Create => lake.create(&spec("marts.new", true)).await.map(drop),
            Self::Read => {
                let snapshot = lake.table(&name("staging.t")).await?.snapshot().await?;
                let failed = |e: DataFusionError| Error::Read { table: name("staging.t"), source: e.into() };
                let found: Vec<_> = snapshot.scan(Some(&["id"])).await?.try_collect().await.map_err(failed)?;
                assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 8, "all rows or an error");
                Ok(())
            }
            Self::Objects => {
                let (objects, kept, gone) = (lake.objects(), path::state("t", "kept"), path::state("t", "gone"));
                let created = objects.put_new(&kept, "1".into()).await?;
                objects.put(&gone, "2".into()).await?;
                objects.delete(&gone).await?;
                let read = objects.get(&kept).await?;
                assert_eq!(read.unwrap(), "1");
                // Who is told "existed" was not the first: true in the second doing only.
                assert!(created == PutNew::Created || read_back(lake).await);
                Ok(())
            }
        }
    }

    fn rows(self) -> RecordBatch {
        match self {
            Self::Large => large(),
            _ => rows(&[1, 2], Some(DAY)),
        }
    }

    /// How often the work is in the lake.
    async fn seen(self, lake: &Lake) -> usize {
        match self {
            Self::Create => usize::from(lake.find(&name("marts.new")).await.unwrap().is_some()),
            Self::Objects => usize::from(read_back(lake).await),
            Self::Read => usize::from(rows_of(lake, "staging.t", &["id"]).await.len() == 8),
            _ => {
                let ids = rows_of(lake, "staging.t", &["id", "dt"]).await;
                let kept = ids.iter().filter(|id| id.ends_with(&NEXT.to_string())).count();
                assert_eq!(kept, 8, "what was there before is there");
                let (found, one) = (ids.len() - kept, self.rows().num_rows());
                assert_eq!(found % one, 0, "half a piece of work: {ids:?}");
                found / one
            }
        }
    }
}

async fn read_back(lake: &Lake) -> bool {
    lake.objects().get(&path::state("t", "kept")).await.unwrap().is_some()
}

/// Rows that don't compress, enough for several parts.
fn large() -> RecordBatch {
    use rand::{Rng as _, SeedableRng as _};
    static LARGE: std::sync::OnceLock<RecordBatch> = std::sync::OnceLock::new();
    let make = || {
        let mut bytes = vec![0; 8 << 20];
        rand::rngs::StdRng::seed_from_u64(7).fill_bytes(&mut bytes);
        let texts = bytes.chunks(1 << 17).map(|chunk| chunk.iter().map(|byte| char::from(b' ' + byte % 95)).collect());
        let texts: Vec<String> = texts.collect();
        let ids: Vec<i64> = (0..64).collect();
        let batch = rows(&ids, Some(DAY));
        let mut columns = batch.columns().to_vec();
        columns[batch.schema().index_of("body").unwrap()] = Arc::new(StringArray::from(texts));
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    LARGE.get_or_init(make).clone()
}

/// Whether the store tells the truth about creates itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    Bare,
    CreateOnce,
}

async fn lake_on(stack: Stack, store: Arc<impl ObjectStore>) -> Lake {
    match stack {
        Stack::Bare => Lake::on_store(store).await,
        Stack::CreateOnce => Lake::on_store(Arc::new(CreateOnce::hurried(store))).await,
    }
}

/// Does the work with the fault, looks, and does it again without.
async fn case(stack: Stack, verb: Verb, work: Work, fault: Fault, times: u32) -> End {
    let what = format!("{stack:?} {verb:?} {work:?} {fault:?} {times}");
    let memory = Arc::new(base().await);
    let faulty = Faulty::new(Arc::clone(&memory), verb, fault, times);
    // The fault waits until the lake is open.
    let lake = lake_on(stack, Arc::new(faulty.clone())).await;
    faulty.arm();
    let result = work.run(&lake).await;
    faulty.disarm();
    assert!(faulty.fired() > 0, "{what}: the fault never fired ({result:?})");

    let calm = Lake::on_store(Arc::clone(&memory)).await;
    let before_landing = work.seen(&calm).await;
    faulty.land().await;
    let calm = Lake::on_store(Arc::clone(&memory)).await;
    let seen = work.seen(&calm).await;
    let end = match &result {
        Ok(()) => {
            assert_eq!((before_landing, seen), (1, 1), "{what}: done, but not there once");
            End::Done
        }
        Err(Error::Unknown { .. }) => {
            assert!(seen <= 1, "{what}: there {seen} times");
            End::Unknown
        }
        // An object's writer asks again with the same bytes: for it an error leaves open what is there.
        Err(error) if work == Work::Objects => {
            assert!(matches!(error, Error::Storage { .. } | Error::Refused { .. }), "{what}: {error:?}");
            if seen == 1 && verb == Verb::Create { End::Unknown } else { End::Refused }
        }
        Err(error) if work == Work::Read => {
            assert!(error.hint().is_some(), "{what}: {error:?}");
            End::Refused
        }
        Err(error) => {
            assert_eq!(seen, 0, "{what}: {error:?}, but it is there");
            assert!(error.hint().is_some(), "{what}: {error:?}");
            End::Refused
        }
    };

    let again = Lake::on_store(Arc::clone(&memory)).await;
    work.run(&again).await.unwrap_or_else(|error| panic!("{what}: done again: {error:?}"));
    assert_eq!(work.seen(&again).await, 1, "{what}: done again");
    assert_no_file_twice(&memory, &what).await;
    end
}

/// No commit names a file that another one names.
async fn assert_no_file_twice(memory: &Arc<InMemory>, what: &str) {
    use object_store::ObjectStoreExt as _;
    let mut named = std::collections::BTreeSet::new();
    let listed: Vec<_> = memory.list(None).try_collect().await.unwrap();
    for meta in listed
        .iter()
        .filter(|meta| meta.location.as_ref().contains("_delta_log/0") && meta.location.extension() == Some("json"))
    {
        let bytes = memory.get(&meta.location).await.unwrap().bytes().await.unwrap();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap();
            if let Some(path) = line["add"]["path"].as_str() {
                assert!(named.insert(path.to_owned()), "{what}: `{path}` is named twice");
                let table = meta.location.as_ref().split("/_delta_log").next().unwrap();
                let file = object_store::path::Path::from(format!("{table}/{path}"));
                assert!(memory.head(&file).await.is_ok(), "{what}: `{file}` is named and not there");
            }
        }
    }
}

/// `verb × fault × times → done/refused/unknown`, as it is pasted into notes.
#[derive(Default)]
struct Tally {
    cells: BTreeMap<(String, Fault, usize), BTreeMap<End, u32>>,
    cases: u32,
}

impl Tally {
    fn note(&mut self, row: String, fault: Fault, times: usize, end: End) {
        *self.cells.entry((row, fault, times)).or_default().entry(end).or_default() += 1;
        self.cases += 1;
    }

    fn print(&self, title: &str) {
        println!("\n{title}: {} cases, each with its rows there once at the end", self.cases);
        println!("| request | fault | once | twice | always |\n|---|---|---|---|---|");
        let mut lines: BTreeMap<(&str, Fault), [String; 3]> = BTreeMap::new();
        for ((row, fault, times), ends) in &self.cells {
            let words: Vec<_> =
                ends.iter().map(|(end, n)| format!("{} {n}", format!("{end:?}").to_lowercase())).collect();
            lines.entry((row, *fault)).or_default()[*times] = words.join(", ");
        }
        for ((row, fault), [once, twice, always]) in lines {
            println!("| {row} | {fault:?} | {once} | {twice} | {always} |");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_store_ends_in_the_truth() {
    let mut cases = Vec::new();
    for (verb, work, faults) in CASES {
        for fault in faults {
            for (column, (_, times)) in TIMES.iter().enumerate() {
                cases.push((Stack::CreateOnce, verb, work, *fault, column, *times));
                // The commit loop alone keeps the promises too. An endless 409 is an endless race to it.
                let endless = *fault == Fault::Conflict && *times == u32::MAX;
                if (verb, work) == (Verb::PutLog, Work::Append) && !endless {
                    cases.push((Stack::Bare, verb, work, *fault, column, *times));
                }
            }
        }
    }
    let ends = futures::stream::iter(cases).map(|(stack, verb, work, fault, column, times)| async move {
        (verb, work, fault, column, case(stack, verb, work, fault, times).await)
    });
    let ends: Vec<_> = ends.buffer_unordered(8).collect().await;
    let mut tally = Tally::default();
    for (verb, work, fault, column, end) in ends {
        tally.note(format!("{verb:?} ({work:?})"), fault, column, end);
    }
    assert!(tally.cases >= 100);
    tally.print("faults of the store");
}

#[tokio::test]
async fn a_file_in_parts_that_breaks_is_as_if_it_had_not_been_begun() {
    let mut tally = Tally::default();
    for verb in [Verb::Part, Verb::Complete] {
        for fault in [Fault::DoneThen500, Fault::LostReply, Fault::Expired, Fault::Slow] {
            for (column, (_, times)) in TIMES.iter().enumerate().filter(|(column, _)| *column != 1) {
                let end = case(Stack::CreateOnce, verb, Work::Large, fault, *times).await;
                let expected = if fault == Fault::Slow { End::Done } else { End::Refused };
                assert_eq!(end, expected, "{verb:?} {fault:?}");
                tally.note(format!("{verb:?} ({:?})", Work::Large), fault, column, end);
            }
        }
    }
    tally.print("faults of a file in parts");
}
