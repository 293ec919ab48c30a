//! A process that ends, or whose queue fails, at each of its steps: the next run makes the day whole.

use std::sync::Arc;
use std::time::Duration;

use catalog::path;
use extract::queue::MemoryQueue;
use proptest::prelude::*;

use super::bench::*;
use super::faults;

/// Runs a process that is killed at its nth step: before or after a call of the queue, or within a request. Its queue dies
/// with it, which is harder than what a kill does to a file. Says whether it was killed.
async fn killed_at(step: u32, bench: &Bench) -> bool {
    let kill = Kill::at(step);
    let queue = faults::Killed::new(Arc::new(MemoryQueue::new()), kill.clone());
    let process = bench.clone().with_queue(Arc::new(queue)).with_kill(&kill);
    tokio::select! {
        biased;
        () = kill.fell() => true,
        done = process.extract(KEYS) => {
            done.unwrap();
            false
        }
    }
}

async fn killed_and_run_again(steps: &[u32], jobs: usize) -> usize {
    let bench = Bench::new("killed").await.with_jobs(jobs);
    let mut kills = 0;
    for step in steps {
        kills += usize::from(killed_at(*step, &bench).await);
        // What a killed process was doing has ended before the next one begins.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bench.extract(KEYS).await.unwrap();
    assert_eq!(bench.rows().await, rows_of(KEYS), "killed at steps {steps:?} with {jobs} jobs");
    let calls = bench.site.calls().len();
    assert!(calls <= KEYS.len() + kills * jobs, "{calls} calls, killed at steps {steps:?} with {jobs} jobs");
    assert!(bench.lake.objects().list(&path::staged_all()).await.unwrap().is_empty());
    kills
}

#[tokio::test]
async fn killed_at_any_step_and_run_again_is_as_if_nothing_happened() {
    for jobs in [1, 3] {
        let mut step = 0;
        while killed_and_run_again(&[step], jobs).await == 1 {
            step += 1;
        }
        // 5 keys with 3 steps each, 3 tasks with a receive and a delete with 2 steps each, and a send.
        assert!(step >= 5 * 3 + 3 * 4 + 2, "a day has {step} steps only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn killed_again_and_again_is_as_if_nothing_happened(steps in proptest::collection::vec(0_u32..40, 2..5), jobs in 1_usize..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(killed_and_run_again(&steps, jobs));
    }
}

#[tokio::test]
async fn a_queue_that_fails_at_any_call_costs_a_run_and_no_row() {
    for before in [true, false] {
        for call in 0.. {
            let bench = Bench::new("queue-fails").await.with_jobs(1);
            let failing = Arc::new(faults::FailsOnce::new(bench.queue.clone(), call, before));
            let ended = bench.clone().with_queue(failing.clone()).extract(KEYS).await;
            if !failing.fired() {
                assert!(call > 8, "the fault fired at {call} calls only");
                ended.unwrap();
                break;
            }
            bench.extract(KEYS).await.unwrap();
            assert_eq!(bench.rows().await, rows_of(KEYS), "failed at call {call}, before: {before}");
            assert_eq!(bench.site.calls(), KEYS);
        }
    }
}
