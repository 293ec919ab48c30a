//! Measured numbers, ours and our peers', from one run.
//!
//! Each bench asserts its result before it prints a number, prints the machine it ran on, and compares by ratios: a time by
//! itself means nothing on another machine.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

mod lake;
pub mod mart;
pub mod reader;

pub use lake::put;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;

/// The machine, in one line: what a number is worth nothing without.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).and_then(|it| it.split_once(": "));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let gib = kib.and_then(|it| it.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0 / 1024.0;
    let cores = std::thread::available_parallelism().map_or(0, Into::into);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{}, {cores} cores, {gib:.0} GiB, load {load}", model.map_or("unknown processor", |(_, name)| name))
}

/// Prints the head of a bench.
pub fn headline(name: &str) {
    println!("\n== {name}\n   {}", machine());
}

/// The memory of all processes of a group, in bytes: proportional set size, so that shared pages count once.
pub fn group_memory(group: u32) -> u64 {
    let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
    let members = processes.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let of: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()?;
        (of == group).then_some(pid)
    });
    members.map(proportional_bytes).sum()
}

fn proportional_bytes(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    kib.and_then(|it| it.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Where the peers' Python is, if `.ci/peers` installed it.
pub fn python() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a bench looks where the peers were installed")]
    let cache = std::env::var("XDG_CACHE_HOME").or_else(|_| std::env::var("HOME").map(|home| home + "/.cache")).ok()?;
    Some(PathBuf::from(cache).join("onggi/peers/bin/python")).filter(|python| python.exists())
}

/// The time between two of the marks that a crawl left, each at a number of reviews.
pub fn between(marks: &[(u64, Duration)], from: u64, to: u64) -> Option<Duration> {
    let at = |number: u64| marks.iter().find(|(reviews, _)| *reviews >= number).map(|(_, at)| *at);
    at(to)?.checked_sub(at(from)?)
}

/// CPU seconds of this process so far, from `/proc/self/stat` (user and system, in ticks of 10 ms).
///
/// # Errors
/// If the file can't be read.
pub fn cpu() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("no such file")?.1.split_ascii_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).context("no such field");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
