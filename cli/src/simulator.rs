//! Years in minutes: random histories of a whole project against an oracle that knows what is true.
//!
//! A history is a month of a small shop's site that is crawled every day: two sources, one of them split by what the other
//! found, a chain of models below them, sinks that follow two of these, and a model of language that is paid for what it says of
//! a third. Sites go down, block and change; so does the service of the model; people edit files and break them; runs are killed, doubled and made for other days; parts of the lake are lost, and files and rows of sinks
//! are others; clocks are wrong. After each run the laws are held against the lake (`laws.rs`) and its sinks (`follow.rs`), and
//! at the end one healthy run must reach the truth. Sinks that need a server are not played.
//!
//! The program is driven through its highest seam only: project files on disk, the run itself, and tables read back through
//! the engine. The clock and the death of a process are [`catalog::simulation`]'s, the lake lies in memory (`/dev/shm`) where
//! there is such a place, and the site answers in the same thread, so that a run takes milliseconds.
//!
//! A history is the same each time it is played, as far as [`catalog::simulation`] goes: what is drawn, asked for, written and
//! read hangs on its seed, but for a second of the clock here and there while the engine reads. Where several processes work at
//! once, who comes first may still be the system's doing.
//!
//! `ONGGI_HISTORIES`, `ONGGI_DAYS` and `ONGGI_SEED` say how many, how long and which; `ONGGI_WITHOUT` leaves out operations
//! by their names, separated by `;`. `ONGGI_STEPS` plays a history of one's own, as a failure prints it: names and seeds of
//! operations, separated by `;`. A new operation is one line in `operation.rs`, which says how; what was found once and is
//! mended stands in `found.rs`.

mod bodies;
mod damage;
mod files;
mod follow;
mod found;
mod history;
mod how;
mod last;
mod laws;
mod operation;
mod others;
mod perform;
mod sabotage;
mod served;
mod service;
mod serving;
mod sinks;
mod site;
mod stale_days;
mod tables;
mod tally;
mod truth;
mod verbs;
mod world;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use history::{Step, drawn, play, shrunk};
use laws::{Broken, Law};
use tally::Tally;

/// Histories, days in each, and the first seed, unless asked otherwise. A run takes a few hundred milliseconds in a build for
/// tests, nearly all of them in the planning of some twenty statements and in a dozen commits, and a month has 45 runs: so
/// many histories are some minutes. `make soak` plays the rest.
const HISTORIES: u64 = 16;
const DAYS: u64 = 30;
const SEED: u64 = 1;

/// Failures of one law that are made small.
const SHRINK: u64 = 2;

/// A history that broke a law.
struct Failure {
    seed: u64,
    steps: Vec<Step>,
    broken: (usize, Broken),
}

fn setting(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "a test is asked by its environment, as cli is")]
    std::env::var(name).ok()
}

fn number(name: &str, otherwise: u64) -> u64 {
    setting(name).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn histories_keep_the_laws() {
    let (histories, days, first) =
        (number("ONGGI_HISTORIES", HISTORIES), number("ONGGI_DAYS", DAYS), number("ONGGI_SEED", SEED));
    let days = u32::try_from(days).unwrap();
    let without: Vec<String> =
        setting("ONGGI_WITHOUT").unwrap_or_default().split(';').map(|name| name.trim().to_owned()).collect();
    let given = setting("ONGGI_STEPS").map(|text| found::steps(&text));
    let histories = if given.is_some() { 1 } else { histories };
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let tally = Mutex::new(Tally::default());
    let failures: Mutex<Vec<Failure>> = Mutex::default();
    let work = || loop {
        let seed = first + next.fetch_add(1, Ordering::Relaxed);
        if seed >= first + histories {
            return;
        }
        let steps = match &given {
            Some(steps) => steps.clone(),
            None => drawn(seed, days, &without),
        };
        let mut mine = Tally::default();
        let broken = play(&steps, &mut mine);
        tally.lock().unwrap().add(&mine);
        if let Some(broken) = broken {
            say(&format!("seed {seed}: step {} breaks: {}\n", broken.0, broken.1.law.name()));
            failures.lock().unwrap().push(Failure { seed, steps, broken });
        }
    };
    let hands = std::thread::available_parallelism().map_or(2, Into::into);
    in_threads(hands, &work);
    let took = begun.elapsed();

    let mut failures = failures.into_inner().unwrap();
    failures.sort_by_key(|failure| failure.seed);
    let mut of_law: BTreeMap<Law, Vec<&Failure>> = BTreeMap::new();
    for failure in &failures {
        of_law.entry(failure.broken.1.law).or_default().push(failure);
    }
    // Also when the test passes: what was tried is part of its answer.
    let mut text = tally.into_inner().unwrap().text();
    text += &format!(
        "{histories} histories of {days} days from seed {first} on, in {:.1} s: {:.1} ms a day\n",
        took.as_secs_f64(),
        took.as_secs_f64() * 1000.0 / (histories * u64::from(days)).max(1) as f64
    );
    for (law, failures) in &of_law {
        let seeds: Vec<String> = failures.iter().map(|failure| failure.seed.to_string()).collect();
        text += &format!("{} times broken: {} (seeds {})\n", failures.len(), law.name(), seeds.join(" "));
    }
    say(&text);

    let most = usize::try_from(number("ONGGI_SHRINK", SHRINK)).unwrap();
    let small: Vec<&Failure> = of_law.values().flat_map(|failures| failures.iter().take(most).copied()).collect();
    let next = AtomicU64::new(0);
    in_threads(hands, &|| {
        while let Some(failure) = small.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
            let (steps, broken) = shrunk(&failure.steps, &failure.broken);
            say(&told(failure.seed, days, &steps, &broken));
        }
    });
    assert!(failures.is_empty(), "{} of {histories} histories broke a law, as told above", failures.len());
}

/// Shows it at once, whether the test passes or not.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Does the same in several threads, with a stack on which statements can be planned.
fn in_threads(threads: usize, work: &(impl Fn() + Sync)) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            std::thread::Builder::new().stack_size(16 << 20).spawn_scoped(scope, work).unwrap();
        }
    });
}

fn told(seed: u64, days: u32, steps: &[Step], broken: &Broken) -> String {
    let words: Vec<String> = steps.iter().map(|step| format!("    {}\n", step.operation.name)).collect();
    let how: Vec<String> = broken.how.trim_end().lines().map(|line| format!("      {line}\n")).collect();
    let (law, test) =
        (broken.law.name(), "cargo test --workspace --features cli/failpoints --bin onggi simulator::histories");
    format!(
        "\nseed {seed}, {law}:\n{}  broken by the last of these:\n{}  the whole history again: ONGGI_SEED={seed} \
         ONGGI_HISTORIES=1 ONGGI_DAYS={days} {test}\n  only these steps: ONGGI_STEPS='{}' {test}\n",
        words.concat(),
        how.concat(),
        found::text(steps),
    )
}
