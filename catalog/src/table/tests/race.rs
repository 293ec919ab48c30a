//! Writers at the same time: real threads, each with a lake value and a runtime of its own, as
//! processes would have them.

use std::sync::Barrier;

use super::*;

const WRITERS: i64 = 8;

/// A lake that several open, each as a process of its own would.
#[derive(Debug, Clone)]
pub(super) enum Where {
    Uri(String),
    Bucket(s3::Spot),
}

impl Where {
    async fn open(&self) -> Lake {
        match self {
            Self::Uri(uri) => Lake::open(uri, "demo").await.unwrap(),
            Self::Bucket(spot) => spot.open().await.unwrap(),
        }
    }
}

/// With a second thread: a look at a log blocks the one it is on, and a bucket's connections must go on meanwhile.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs `work` in `WRITERS` threads at once and gives back what each got.
fn race<T, F>(at: &Where, work: impl Fn(i64, Lake) -> F + Sync) -> Vec<T>
where
    T: Send,
    F: Future<Output = T>,
{
    let start = Barrier::new(usize::try_from(WRITERS).unwrap());
    std::thread::scope(|threads| {
        let (start, work) = (&start, &work);
        let spawn = |id| {
            threads.spawn(move || {
                let runtime = runtime();
                runtime.block_on(async {
                    let lake = at.open().await;
                    start.wait();
                    work(id, lake).await
                })
            })
        };
        let running: Vec<_> = (0..WRITERS).map(spawn).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn after<T>(at: &Where, look: impl AsyncFnOnce(Lake) -> T) -> T {
    let runtime = runtime();
    runtime.block_on(async { look(at.open().await).await })
}

pub(super) fn all_races(at: &Where) {
    let created = race(at, |_, lake| async move { lake.create(&spec("raw.t", true)).await.map(drop) });
    assert!(created.iter().all(Result::is_ok), "{created:?}");

    // The same task delivered to all: it lands once.
    let landed = race(at, |_, lake| async move {
        let table = lake.table(&name("raw.t")).await.unwrap();
        table.append(vec![rows(&[1, 2], Some(DAY))], task("same", 1), &info()).await.unwrap()
    });
    assert_eq!(landed.iter().filter(|c| matches!(c, Committed::Done(_))).count(), 1, "{landed:?}");
    assert!(landed.iter().all(|c| !matches!(c, Committed::Conflict(_))));
    assert_eq!(after(at, async |lake| rows_of(&lake, "raw.t", &["id"]).await), ["r1", "r2"]);

    // Different tasks: all land.
    let landed = race(at, |id, lake| async move {
        let table = lake.table(&name("raw.t")).await.unwrap();
        table.append(vec![rows(&[10 + id], Some(DAY))], task(&id.to_string(), 1), &info()).await.unwrap()
    });
    assert!(landed.iter().all(|c| matches!(c, Committed::Done(_))), "{landed:?}");
    assert_eq!(after(at, async |lake| rows_of(&lake, "raw.t", &["id"]).await).len(), 2 + 8);

    // The same build at once: one builds, and nothing is there twice.
    race(at, |_, lake| async move { lake.create(&spec("marts.t", true)).await.map(drop).unwrap() });
    let built = race(at, |_, lake| async move {
        let table = lake.table(&name("marts.t")).await.unwrap();
        let written = write(&table, vec![rows(&[1, 2, 3], Some(DAY))]).await;
        written.replace(Scope::Day(DAY), build(42), &info()).await.unwrap()
    });
    assert_eq!(built.iter().filter(|c| matches!(c, Committed::Done(_))).count(), 1, "{built:?}");
    assert!(built.iter().all(|c| !matches!(c, Committed::Conflict(_))), "{built:?}");
    assert_eq!(after(at, async |lake| rows_of(&lake, "marts.t", &["n"]).await), ["1", "2", "3"]);

    // Different builds of one day, begun on the same version: one wins, and the day is that one's.
    let base = Barrier::new(usize::try_from(WRITERS).unwrap());
    let built = race(at, |id, lake| {
        let base = &base;
        async move {
            let table = lake.table(&name("marts.t")).await.unwrap();
            let written = write(&table, vec![rows(&[100 + id], Some(DAY))]).await;
            base.wait();
            written.replace(Scope::Day(DAY), build(100 + id), &info()).await.unwrap()
        }
    });
    let winner = built.iter().position(|c| matches!(c, Committed::Done(_))).unwrap();
    assert_eq!(built.iter().filter(|c| matches!(c, Committed::Conflict(_))).count(), 7, "{built:?}");
    assert_eq!(after(at, async |lake| rows_of(&lake, "marts.t", &["n"]).await), [format!("{}", 100 + winner)]);

    // Builds of different days do not get in each other's way.
    let built = race(at, |id, lake| async move {
        let day = Date::constant(2026, 11, i8::try_from(id).unwrap() + 1);
        let table = lake.table(&name("marts.t")).await.unwrap();
        let written = write(&table, vec![rows(&[id], Some(day))]).await;
        let txn = Txn { app_id: format!("build/{day}"), version: 1, rule: TxnRule::Equal };
        written.replace(Scope::Day(day), txn, &info()).await.unwrap()
    });
    assert!(built.iter().all(|c| matches!(c, Committed::Done(_))), "{built:?}");
    assert_eq!(after(at, async |lake| rows_of(&lake, "marts.t", &["n"]).await).len(), 9);

    // Columns added by all at once are added once.
    let widened = race(at, |_, lake| async move {
        let mut wider = spec("marts.t", true);
        let mut fields: Vec<_> = wider.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("extra", DataType::Int64, true)));
        wider.schema = Arc::new(Schema::new(fields));
        lake.create(&wider).await.map(|table| table.schema().fields().len())
    });
    assert!(widened.iter().all(|n| matches!(n, Ok(7))), "{widened:?}");
}

#[test]
fn races_on_disk() {
    let (_dir, uri) = folder();
    all_races(&Where::Uri(uri));
}

#[test]
fn races_in_memory() {
    all_races(&Where::Uri("memory://races".into()));
}
