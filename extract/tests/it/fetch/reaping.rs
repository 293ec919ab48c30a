//! The browser ends with us, however we end, and we go on when it ends without us.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Living processes of a group, zombies not counted: where nobody reaps orphans they stay in the table.
fn living(group: u32) -> Vec<String> {
    let output = Command::new("ps").args(["-eo", "pgid=,stat=,args="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&group.to_string()) && words.next().is_some_and(|state| !state.starts_with('Z'))
        })
        .map(str::to_owned)
        .collect()
}

fn profiles_of(processes: &[String]) -> BTreeSet<String> {
    processes
        .iter()
        .flat_map(|line| line.split_whitespace())
        .filter_map(|word| word.strip_prefix("--user-data-dir="))
        .map(str::to_owned)
        .collect()
}

async fn ends_within(group: u32, limit: Duration) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if living(group).is_empty() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_and_dropping_leave_nothing_behind() {
    if !has_browser() {
        return;
    }
    for close in [true, false] {
        let site = Site::start(&[12], Switches::default()).await;
        site.reviews_of(0).await.unwrap();
        let group = site.fetchers.browser().process_group().await.unwrap();
        let processes = living(group);
        let profiles = profiles_of(&processes);
        assert!(processes.len() >= 4 && profiles.len() == 1, "{processes:?}");
        if close {
            site.fetchers.close().await;
            assert!(ends_within(group, Duration::from_millis(500)).await, "{:?}", living(group));
        } else {
            drop(site);
            assert!(ends_within(group, Duration::from_secs(8)).await, "{:?}", living(group));
        }
        assert!(profiles.iter().all(|profile| !std::path::Path::new(profile).exists()), "{profiles:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_dies_is_started_again_and_nothing_is_lost() {
    if !has_browser() {
        return;
    }
    let site = Site::start(&[395], Switches { latency: Duration::from_millis(10), ..Default::default() }).await;
    let killed = async {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if site.told.lock().unwrap().last().is_some_and(|records| *records > 100) {
                let group = site.fetchers.browser().process_group().await.unwrap();
                // The browser itself, not its keeper.
                Command::new("sh").args(["-c", &format!("kill -KILL $(ps -eo pid=,pgid=,args= | awk '$2=={group} && /remote-debugging-port/ && !/onggi-keeper/ && !/--type=/ {{print $1}}')")]).status().unwrap();
                return group;
            }
        }
    };
    let (harvest, group) = tokio::join!(site.reviews_of(0), killed);
    site.assert_complete(0, &harvest.unwrap());
    assert_ne!(site.fetchers.browser().process_group().await, Some(group));
    assert!(ends_within(group, Duration::from_secs(3)).await, "{:?}", living(group));
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_is_dropped_leaves_a_browser_that_works() {
    if !has_browser() {
        return;
    }
    let site = Site::start(&[395, 25], Switches { latency: Duration::from_millis(10), ..Default::default() }).await;
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(900), site.reviews_of(0)).await;
        assert!(dropped.is_err() || dropped.is_ok_and(|harvest| harvest.is_ok()));
    }
    let harvest = site.reviews_of(1).await.unwrap();
    site.assert_complete(1, &harvest);
    site.fetchers.close().await;
}

/// Run by the next test in a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "waits to be killed; another test runs it"]
async fn holds_a_browser_until_it_is_killed() {
    let site = Site::start(&[12], Switches::default()).await;
    site.reviews_of(0).await.unwrap();
    println!("group {}", site.fetchers.browser().process_group().await.unwrap());
    tokio::time::sleep(Duration::from_mins(1)).await;
}

#[tokio::test]
async fn a_killed_parent_takes_its_browser_along() {
    if !has_browser() {
        return;
    }
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fetch::reaping::holds_a_browser_until_it_is_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(parent.stdout.take().unwrap()).lines();
    let group: u32 =
        lines.map_while(Result::ok).find_map(|line| line.split("group ").nth(1)?.trim().parse().ok()).unwrap();
    let profiles = profiles_of(&living(group));
    assert_eq!(profiles.len(), 1);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(ends_within(group, Duration::from_secs(5)).await, "{:?}", living(group));
    assert!(profiles.iter().all(|profile| !std::path::Path::new(profile).exists()), "{profiles:?}");
}
