//! Laws that hold for every order and every repetition.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

async fn lake() -> Lake {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    Lake::open(&format!("memory://laws-{n}"), "demo").await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What a lake of the same history without repetitions would hold.
fn texts(ids: impl IntoIterator<Item = i64>) -> Vec<String> {
    let ids: BTreeSet<_> = ids.into_iter().map(|id| format!("r{id}")).collect();
    ids.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// However often and in whatever order tasks are delivered, each lands once.
    #[test]
    fn appending_twice_is_appending_once(deliveries in prop::collection::vec(0_i64..6, 1..14)) {
        let (found, versions) = block_on(async {
            let lake = lake().await;
            let table = lake.create(&spec("raw.t", true)).await.unwrap();
            for id in &deliveries {
                let rows = vec![rows(&[*id * 10, *id * 10 + 1], Some(DAY))];
                let _ = table.append(rows, task(&id.to_string(), 1), &info()).await.unwrap();
            }
            let version = table.snapshot().await.unwrap().version();
            (rows_of(&lake, "raw.t", &["id"]).await, version)
        });
        let unique: BTreeSet<_> = deliveries.iter().copied().collect();
        prop_assert_eq!(versions, unique.len() as u64, "a repetition commits nothing");
        prop_assert_eq!(found, texts(unique.into_iter().flat_map(|id| [id * 10, id * 10 + 1])));
    }

    /// Building a day again gives that day, and no other day changes.
    #[test]
    fn replacing_is_idempotent(builds in prop::collection::vec((0_i8..3, 0_i64..4), 1..10)) {
        let day = |n: i8| Date::constant(2026, 10, 1 + n);
        let (found, again) = block_on(async {
            let lake = lake().await;
            let table = lake.create(&spec("marts.t", true)).await.unwrap();
            let build = |n: i8, fingerprint: i64| {
                let table = table.clone();
                async move {
                    let txn = Txn { app_id: format!("build/{}", day(n)), version: fingerprint, rule: TxnRule::Equal };
                    let ids: Vec<_> = (0..fingerprint).map(|i| i64::from(n) * 100 + i).collect();
                    let written = write(&table, vec![rows(&ids, Some(day(n)))]).await;
                    written.replace(Scope::Day(day(n)), txn, &info()).await.unwrap()
                }
            };
            for (n, fingerprint) in &builds {
                let _ = build(*n, *fingerprint).await;
            }
            let found = rows_of(&lake, "marts.t", &["id"]).await;
            let (n, fingerprint) = *builds.last().unwrap();
            (found, matches!(build(n, fingerprint).await, Committed::Duplicate(_)))
        });
        let mut last = std::collections::BTreeMap::new();
        last.extend(builds.iter().copied());
        prop_assert_eq!(found, texts(last.into_iter().flat_map(|(n, f)| (0..f).map(move |i| i64::from(n) * 100 + i))));
        prop_assert!(again);
    }

    /// How rows are cut into batches and streams, and in which order they come, does not show.
    #[test]
    fn cutting_and_order_do_not_show(
        ids in prop::collection::vec(0_i64..1_000, 1..60).prop_shuffle(),
        cut in 1_usize..20,
        streams in 1_usize..4,
    ) {
        let mut expected: Vec<_> = ids.iter().map(|id| format!("r{id}")).collect();
        expected.sort_unstable();
        let found = block_on(async {
            let table = lake().await.create(&spec("staging.t", true)).await.unwrap();
            let batches: Vec<_> = ids.chunks(cut).map(|ids| rows(ids, Some(DAY))).collect();
            let share = batches.len().div_ceil(streams);
            let input = batches.chunks(share).map(|batches| stream(batches.to_vec())).collect();
            let written = table.write(input, &WriteOptions::default()).await.unwrap();
            let pending = sql(written.provider().unwrap(), "select id from t").await;
            let _ = written.replace(Scope::Day(DAY), build(1), &info()).await.unwrap();
            assert_eq!(rows_in(&table.snapshot().await.unwrap(), &["id"]).await, pending);
            pending
        });
        prop_assert_eq!(found, expected);
    }
}
