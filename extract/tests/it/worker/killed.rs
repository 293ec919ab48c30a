//! A worker that is really killed: SIGKILL while it holds a message of a queue file.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use extract::queue::{EmbeddedQueue, Queue};

use super::bench::*;

const FILE: &str = "ONGGI_TEST_QUEUE_FILE";

/// Not a test by itself: what the child of the next one does.
#[tokio::test]
async fn child_that_hangs_on_a_key() {
    let Some(file) = std::env::var_os(FILE) else { return };
    let queue = Arc::new(EmbeddedQueue::open(std::path::PathBuf::from(file)).await.unwrap());
    let bench =
        Bench::new("killed-child").await.with_queue(queue).with_jobs(2).with_visibility(Duration::from_mins(10));
    bench.site.script("a", Answer::Hang);
    bench.site.script("c", Answer::Hang);
    bench.site.announce();
    bench.extract(KEYS).await.unwrap();
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_worker_gives_its_messages_back_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queue.sqlite");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["worker::killed::child_that_hangs_on_a_key", "--exact", "--nocapture"])
        .env(FILE, &file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .filter_map(|line| line.split_once("asked for ").map(|(_, key)| key.to_owned()))
        .take(2)
        .collect();
    asked.sort_unstable();
    assert_eq!(asked, ["a", "c"]);
    child.kill().unwrap();

    let queue = Arc::new(EmbeddedQueue::open(&file).await.unwrap());
    let bench = Bench::new("killed-heir").await.with_queue(queue.clone()).with_visibility(Duration::from_mins(10));
    assert_eq!(bench.counts().await, (1, 2, 0), "two were in its hands");
    let began = std::time::Instant::now();
    bench.extract(KEYS).await.unwrap();
    assert!(began.elapsed().as_secs() < 60, "nobody waited for the visibility timeout");
    child.wait().unwrap();
    assert_eq!(bench.rows().await, rows_of(KEYS));
    assert_eq!(queue.counts(&bench.of(), now()).await.unwrap(), extract::queue::Counts::default());
}
