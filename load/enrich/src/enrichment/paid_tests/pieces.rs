//! Answers are gathered in pieces: what waits for its commit is what memory has to hold.

use super::*;
use crate::enrichment::batches::take::LINES;
use crate::enrichment::paid::GATHER;
use crate::llm::Mode;

/// How many answers each commit to `ops.llm_results` brought.
async fn commits(world: &World) -> Vec<u64> {
    let table = world.lake.table(&name("ops.llm_results")).await.unwrap();
    let last = table.snapshot().await.unwrap().version();
    let (mut commits, mut before) = (Vec::new(), 0);
    for version in 0..=last {
        let rows = table.snapshot_at(version).await.unwrap().row_count().unwrap();
        if rows > before {
            commits.push(rows - before);
        }
        before = rows;
    }
    commits
}

#[tokio::test]
async fn no_more_answers_wait_for_their_commit_than_a_piece_holds() {
    let places = 2 * GATHER + 100;
    let (world, replica) = (world(places).await, replica(Switches::default()).await);
    let batch = Settings { mode: Mode::Batch, ..settings(&replica) };
    let mut runs = 0;
    while go(&world, batch.clone(), &format!("b{runs}")).await.unwrap().wait.is_some() {
        runs += 1;
        assert!(runs < 6, "no end");
    }
    assert_eq!(shown(&world).await, (places, places, places));
    let commits = commits(&world).await;
    assert_eq!(commits.iter().sum::<u64>(), 2 * places as u64, "{commits:?}");
    // An object of the journal is used as a whole, so a piece may be larger by one object.
    assert!(commits.iter().all(|answers| *answers < (GATHER + LINES) as u64), "{commits:?}");
    assert_eq!(journal(&world).await, 0);
    assert!(replica.stats().paid_too_often().is_empty());
}
